"""The `tests` of a bundle: what they may say, how they are inherited, and what a failing one tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.tables import Decider
from bundle_loader.routing.catalogue import Catalogue, ModelInfo
from bundle_loader.routing.offer import Offer, Offers
from bundle_loader.routing.request import DecidedBy
from bundle_loader.routing.route_tests import run_tests
from tests.support.command import Ran, command
from tests.support.declared import load, refused, said, write
from tests.support.vendors import World, served_in_thread

IDS = {"anthropic": ("claude-haiku-5-5", "claude-opus-5-5"), "openai": ("gpt-4o-mini-2024-07-18", "gpt-5.5")}
BUNDLE = """tiers:
  cheap: [anthropic/claude-haiku-*, openai/gpt-9-*, openai/gpt-4o-mini]
  dear: [anthropic/claude-opus-*, openai/gpt-5.5]
roles: {judge: dear}
profiles: {cost: {default: cheap, planning: dear}}
default: cheap
agents:
  mine: {description: d, tier: cheap}
  quiet: {description: d}
"""


def offers() -> Offers:
    found = {id: Offer(id, Catalogue(id, tuple(ModelInfo(name) for name in ids), version=1)) for id, ids in IDS.items()}
    return Offers(found, {"claude": "anthropic"})


def bundle_with(folder: Path, *tests: str) -> Bundle:
    return load(folder, "b.yaml", {"b.yaml": BUNDLE + "tests:\n" + "".join(f"  - {test}\n" for test in tests)})


def outcome(folder: Path, test: str) -> str:
    """Empty where the test holds, else its fault."""
    [found] = run_tests(bundle_with(folder, test), offers())
    return said(folder, [found.fault], level=False)[0] if found.fault else ""


@pytest.mark.parametrize(
    "test",
    [
        "{agent: mine, expect: {provider: anthropic, model: claude-haiku-*, tier: cheap, decided_by: agent}}",
        "{agent: mine, expect: {provider: claude, model: CLAUDE-haiku-5-5}}",
        "{agent: mine, expect: {rejected: [openai/gpt-9-*]}}",
        "{agent: mine, expect: {rejected: openai}}",
        "{agent: mine, provider: openai, expect: {model: gpt-4o-mini, rejected: [claude, anthropic/claude-haiku-*]}}",
        "{agent: mine, provider: openai, expect: {model: gpt-4o-mini-2024-07-18}}",
        "{agent: mine, preferences: [openai/gpt-5*], expect: {model: gpt-5.5, decided_by: caller}}",
        "{agent: mine, model: openai/gpt-5.5, expect: {model: gpt-5.5}}",
        "{agent: mine, tier: dear, expect: {tier: dear, decided_by: caller}}",
        "{agent: mine, role: judge, expect: {model: claude-opus-*}}",
        "{agent: mine, profile: cost, expect: {model: claude-haiku-*}}",
        "{agent: mine, profile: cost, stage: planning, expect: {model: claude-opus-*}}",
        "{agent: quiet, parent: openai/gpt-5.5, expect: {decided_by: bundle, model: claude-haiku-*}}",
        "{agent: self, parent: openai/gpt-5.5, expect: {decided_by: parent, model: gpt-5.5}}",
    ],
)
def test_what_holds(tmp_path: Path, test: str) -> None:
    assert outcome(tmp_path, test) == ""


WAS = "It was decided by agent (4): mine, tier cheap. Rejected: openai/gpt-9-*: 'gpt-9-*' matches none of 2 models"


@pytest.mark.parametrize(
    ("expect", "wrong"),
    [
        ("provider: openai", "expected provider openai, got anthropic/claude-haiku-5-5"),
        ("model: claude-opus-*", "expected model claude-opus-*, got anthropic/claude-haiku-5-5"),
        ("model: claude-haiku", "expected model claude-haiku, got anthropic/claude-haiku-5-5"),
        ("provider: openai, model: claude-haiku-*", "expected openai/claude-haiku-*, got anthropic/claude-haiku-5-5"),
        ("tier: dear", "expected tier dear, got cheap"),
        ("decided_by: bundle", "expected it decided by bundle, got agent"),
        ("rejected: [anthropic, openai/gpt-9-*]", "expected anthropic rejected, which it is not"),
        ("rejected: [openai/gpt-4o-mini]", "expected openai/gpt-4o-mini rejected, which it is not"),
        ("tier: dear, decided_by: bundle", "expected tier dear, got cheap; expected it decided by bundle, got agent"),
    ],
)
def test_what_does_not_hold_is_told_with_what_came(tmp_path: Path, expect: str, wrong: str) -> None:
    told = outcome(tmp_path, f"{{name: first, agent: mine, expect: {{{expect}}}}}")
    assert told == f"b.yaml:11:5: tests[0]: 'first', agent mine: {wrong}. {WAS}"


@pytest.mark.parametrize(
    ("test", "wrong"),
    [
        (
            "{agent: mnie, expect: {tier: cheap}}",
            "agent mnie: cannot be routed: no agent 'mnie' in bundle 'b'; did you mean 'mine'?",
        ),
        ("{agent: mine, tier: daer, expect: {tier: dear}}", "agent mine: cannot be routed: no tier 'daer'"),
        ("{agent: mine, tier: dear, role: judge, expect: {tier: dear}}", "agent mine: cannot be routed: give one of tier, role"),
        (
            "{agent: mine, preferences: [openai/gpt-8*], expect: {model: gpt-*}}",
            "agent mine: expected model gpt-*, got no candidate",
        ),
    ],
)
def test_what_cannot_be_routed_fails(tmp_path: Path, test: str, wrong: str) -> None:
    assert outcome(tmp_path, test).startswith(f"b.yaml:11:5: tests[0]: {wrong}")


# --- what is written


@pytest.mark.parametrize(
    ("test", "wrong"),
    [
        ("{expect: {tier: cheap}}", "b.yaml:11:5: tests[0].agent: is missing; name the agent that is routed"),
        ("{agent: mine}", "b.yaml:11:5: tests[0].expect: says nothing; write what the route must come to,"),
        ("{agent: mine, expect: {model: null}}", "b.yaml:11:27: tests[0].expect: says nothing; write what"),
        ("{agent: mine, expect: {modle: x}}", "b.yaml:11:28: tests[0].expect.modle: unknown key; did you mean 'model'?"),
        ("{agnet: mine, expect: {model: x}}", "b.yaml:11:6: tests[0].agnet: unknown key; did you mean 'agent'?"),
        ("{agent: mine, expect: {decided_by: agnet}}", "b.yaml:11:40: tests[0].expect.decided_by: 'agnet' is not one of caller,"),
        ("{agent: mine, preferences: [base], expect: {tier: a}}", "b.yaml:11:33: tests[0].preferences[0]: a caller's own list"),
        ("{agent: mine, preferences: [{tier: cheap}], expect: {tier: a}}", "b.yaml:11:33: tests[0].preferences[0]: a caller's"),
    ],
)
def test_a_test_that_is_wrong_is_refused_at_its_place(tmp_path: Path, test: str, wrong: str) -> None:
    [fault] = refused(tmp_path, "b.yaml", {"b.yaml": f"{BUNDLE}tests:\n  - {test}\n"})
    assert fault.startswith(wrong)


def test_a_wrong_test_costs_no_other_value(tmp_path: Path) -> None:
    """What is wrong once the layers are folded is still only the test's own fault."""
    files = {
        "low.yaml": f"{BUNDLE}tests:\n  - {{name: t, agent: mine, expect: {{tier: cheap}}}}\n",
        "b.yaml": "includes: [low.yaml]\ntests: [{name: t, expect: {tier: null}}]\n",
    }
    assert refused(tmp_path, "b.yaml", files) == [
        "b.yaml:2:27: tests[0].expect: says nothing; write what the route must come to, such as {model: claude-haiku-*}"
    ]


def test_who_may_decide_is_what_routing_knows() -> None:
    assert set(get_args(Decider)) == {by.value for by in DecidedBy}


def expected(folder: Path, text: str) -> list[tuple[str | None, str, str | None]]:
    tests = "".join(
        f"  - {{name: {name}, agent: {agent}, expect: {{tier: cheap}}}}\n" for name, agent in (("a", "mine"), ("b", "quiet"))
    )
    low = f"{BUNDLE}tests:\n{tests}"
    bundle = load(folder, "b.yaml", {"low.yaml": low, "b.yaml": f"includes: [low.yaml]\n{text}"})
    return [(test.name, test.agent, test.expect.tier) for test in bundle.tests]


@pytest.mark.parametrize(
    ("text", "tests"),
    [
        ("", [("a", "mine", "cheap"), ("b", "quiet", "cheap")]),
        ("tests: [{name: a, expect: {tier: dear}}]", [("a", "mine", "dear"), ("b", "quiet", "cheap")]),
        ("tests: [{name: a, remove: true}]", [("b", "quiet", "cheap")]),
        ("tests: [{agent: self, expect: {tier: dear}}]", [(None, "self", "dear")]),
        ("tests: null", []),
    ],
)
def test_tests_are_inherited_as_other_lists_are(tmp_path: Path, text: str, tests: list[Any]) -> None:
    assert expected(tmp_path, text) == tests


def test_a_patched_test_fails_at_the_line_of_the_patch(tmp_path: Path) -> None:
    expected(tmp_path, "tests:\n  - {name: b, expect: {tier: dear}}\n")
    bundle = load(tmp_path, "b.yaml")
    faults = [outcome.fault for outcome in run_tests(bundle, offers()) if outcome.fault is not None]
    assert [(Path(fault.file).name, fault.line, fault.key) for fault in faults] == [("b.yaml", 3, "tests[0]")], (
        "as it is numbered in that file"
    )


# --- the command


def run(folder: Path, *arguments: str, **options: Any) -> Ran:
    (folder / "home").mkdir(exist_ok=True)
    return command("check", *arguments, home=folder / "home", cwd=folder, **options)


def test_check_runs_them_when_asked_and_fails_with_them(tmp_path: Path) -> None:
    text = "tests:\n  - {agent: git-ops, expect: {tier: budget}}\n  - {agent: git-ops, expect: {tier: frontier}}\n"
    write(tmp_path, {"b.yaml": f"includes: [foundation]\n{text}"})
    assert run(tmp_path, "--bundle", "b.yaml").code == 0
    ran = run(tmp_path, "--bundle", "b.yaml", "--routes")
    assert ran.code == 1
    assert "b.yaml:4:5: tests[1]: agent git-ops: expected tier frontier, got budget. It was decided by agent (4)" in ran.out
    assert "1 of 2 route tests hold" in ran.out.splitlines()[-1]
    told = run(tmp_path, "--bundle", "b.yaml", "--routes", "--json").json
    assert [(route["agent"], route["ok"]) for route in told["routes"]] == [("git-ops", True), ("git-ops", False)]
    [fault] = [fault for fault in told["faults"] if fault["level"] == "error"]
    assert (fault["rule"], fault["line"], fault["column"]) == ("route-test", 4, 5)
    assert not told["ok"]


@pytest.mark.parametrize("bundle", ["foundation", "dev"])
def test_the_shipped_tests_hold(tmp_path: Path, bundle: str) -> None:
    ran = run(tmp_path, "--bundle", bundle, "--routes", "--strict", "--json")
    assert ran.code == 0, ran.out
    assert len(ran.json["routes"]) >= 5
    assert all(route["ok"] for route in ran.json["routes"])


def test_with_refresh_they_are_held_against_what_is_listed_now(tmp_path: Path) -> None:
    world = World()
    world.vendor("openai").offer("gpt-77")
    agents = "agents: {mine: {description: d, provider_preferences: [openai/gpt-77]}}\n"
    write(tmp_path, {"b.yaml": f"{agents}tests: [{{agent: mine, expect: {{model: gpt-77}}}}]\n"})
    assert run(tmp_path, "--bundle", "b.yaml", "--routes").code == 1
    with served_in_thread(world) as base:
        ran = run(tmp_path, "--bundle", "b.yaml", "--routes", "--refresh", environment=world.environment(base))
    assert ran.code == 0, ran.out
    assert "1 of 1 route tests hold" in ran.out
