"""What `check` finds beyond faults: each rule where it speaks, and where it keeps silent."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from bundle_loader.cli.check import provider_names
from bundle_loader.declared.bundle import Bundle
from bundle_loader.delegation.template_lint import undefined_variables
from bundle_loader.errors import DeclarationError, Fault
from bundle_loader.routing.catalogue import Catalogue, ModelInfo
from bundle_loader.routing.lint import lint
from bundle_loader.routing.lint_places import tables
from bundle_loader.routing.newer_siblings import newer_sibling
from bundle_loader.sources.load import load_bundle
from tests.support.command import command
from tests.support.declared import load, said, write
from tests.support.vendors import World, served_in_thread

ROOT = Path(__file__).resolve().parent.parent
GPT = ("gpt-5", "gpt-5.4", "gpt-5.5", "gpt-5.5-2026-04-23", "gpt-5.4-mini", "gpt-5.2-codex", "gpt-4o", "gpt-4o-mini")
CLAUDE = ("claude-haiku-5-5", "claude-haiku-4-5-20251001", "claude-sonnet-5-5", "claude-opus-5-5")
A = "---\nname: {name}\ntools: [read]\nprovider_preferences: [anthropic/claude-haiku-*]\n---\n"


def listed(provider: str, *ids: str) -> Catalogue:
    return Catalogue(provider, tuple(ModelInfo(id) for id in ids))


def linted(bundle: Bundle) -> list[Fault]:
    catalogues = {"openai": listed("openai", *GPT), "anthropic": listed("anthropic", *CLAUDE)}
    found = [*bundle.problems, *lint(bundle, catalogues, provider_names())]
    for agent in bundle.agents.values():
        found += undefined_variables(agent, bundle.vars)
    return sorted(set(found))


def found_in(folder: Path, files: dict[str, str], name: str = "b.yaml") -> list[str]:
    """`rule level file:line:column: key: message` of everything that is found, in file order."""
    faults = linted(load(folder, name, files))
    return [f"{fault.rule} {text}" for fault, text in zip(faults, said(folder, faults), strict=True)]


# --- preferences


def test_each_kind_of_list_is_looked_at_where_it_is_written(tmp_path: Path) -> None:
    text = """tiers:
  cheap: [anthropic/claude-haiku-*, openai/gpt-9-*]
roles:
  judge: [{provider: openai, model: gpt-4o-mni}, {tier: cheap}]
profiles:
  cost: {default: cheap, planning: [openai/gpt-8-*]}
agents:
  include: [a.md]
  mine: {description: d, content_fallback: [antropic/claude-*], tier: cheap}
"""
    agent = (
        "---\nname: a\nprovider_preferences:\n  - {tier: cheap}\n  - {provider: openai, model: gpt-7-*, optional: true}\n---\n"
    )
    assert found_in(tmp_path, {"b.yaml": text, "a.md": agent}) == [
        "glob-matches-nothing note a.md:5:5: provider_preferences[1]: openai: 'gpt-7-*' matches none of 8 models",
        "glob-matches-nothing warning b.yaml:2:37: tiers.cheap[1]: openai: 'gpt-9-*' matches none of 8 models",
        "model-not-listed warning b.yaml:4:11: roles.judge[0]: openai: 'gpt-4o-mni' is not among its 8 models;"
        " nearest are gpt-4o-mini, gpt-5.4-mini, gpt-4o",
        "glob-matches-nothing warning b.yaml:6:37: profiles.cost.planning[0]: openai: 'gpt-8-*' matches none of 8 models",
        "unknown-provider warning b.yaml:9:45: agents.mine.content_fallback[0]: no provider is called 'antropic';"
        " did you mean 'anthropic'?",
    ]


def test_what_base_stands_for_is_blamed_on_who_wrote_it(tmp_path: Path) -> None:
    files = {
        "low/base.yaml": "agents: {include: [a.md]}\n",
        "low/a.md": "---\nname: a\nprovider_preferences: [openai/gpt-9-*]\n---\n",
        "b.yaml": "includes: [low/base.yaml]\nagents:\n  a:\n    provider_preferences: [anthropic/claude-haiku-*, base]\n",
    }
    [only] = found_in(tmp_path, files)
    assert only == (
        "glob-matches-nothing warning low/a.md:3:24: provider_preferences[0]: openai: 'gpt-9-*' matches none of 8 models"
    )


def test_a_list_that_was_replaced_is_nobodys_fault(tmp_path: Path) -> None:
    files = {
        "low/base.yaml": "agents: {include: [a.md]}\n",
        "low/a.md": "---\nname: a\nprovider_preferences: [openai/gpt-9-*]\n---\n",
        "b.yaml": "includes: [low/base.yaml]\nagents:\n  a: {provider_preferences: [openai/gpt-8-*]}\n",
    }
    [only] = found_in(tmp_path, files)
    assert "b.yaml:3:30: agents.a.provider_preferences[0]: openai: 'gpt-8-*'" in only


def test_a_list_that_comes_by_extending_what_was_replaced_is_found_at_the_agent(tmp_path: Path) -> None:
    files = {
        "low/base.yaml": "agents: {include: [a.md]}\n",
        "low/a.md": "---\nname: a\nprovider_preferences: [openai/gpt-9-*]\n---\n",
        "b.yaml": "includes: [low/base.yaml]\nagents: {include: [a.md]}\n",
        "a.md": "---\nname: a\nextends: base:a\n---\n",
    }
    [found] = [line for line in found_in(tmp_path, files) if line.startswith("glob-matches-nothing")]
    assert found.startswith("glob-matches-nothing warning a.md:3:1: provider_preferences: openai/gpt-9-*: openai: 'gpt-9-*'")


# --- newer siblings


@pytest.mark.parametrize(
    ("pattern", "more", "newer", "wider"),
    [
        ("gpt-5.[0-9]", ["gpt-5.10"], "gpt-5.10", "gpt-5.*"),
        ("gpt-5.[0-9]", ["gpt-6.1"], "gpt-6.1", "gpt-*"),
        ("gpt-5.[0-9]", ["gpt-5.10", "gpt-6.1"], "gpt-6.1", "gpt-*"),
        ("gpt-5.[0-9]", ["gpt-6"], "gpt-6", "gpt-*"),
        ("gpt-5.[0-9]-codex", ["gpt-5.10-codex"], "gpt-5.10-codex", "gpt-5.*-codex"),
        ("gpt-5.[0-4]", [], "gpt-5.5", "gpt-5.*"),
        ("GPT-5.[0-9]", ["gpt-5.10"], "gpt-5.10", "GPT-5.*"),
        ("gpt-[45]*", ["gpt-6"], "gpt-6", "gpt-*"),
        ("claude-haiku-4-[0-9]*", list(CLAUDE), "claude-haiku-5-5", "claude-haiku-*"),
        ("claude-haiku-[3-4]-[0-9]*", list(CLAUDE), "claude-haiku-5-5", "claude-haiku-*-*"),
    ],
)
def test_a_newer_sibling_outside_a_class_is_named(pattern: str, more: list[str], newer: str, wider: str) -> None:
    found = newer_sibling(pattern, listed("openai", *GPT, *more))
    assert found is not None
    assert (found.model, found.wider) == (newer, wider)


@pytest.mark.parametrize(
    ("pattern", "more"),
    [
        pytest.param("gpt-5.[0-9]", [], id="nothing newer"),
        pytest.param("gpt-5.[0-9]", ["gpt-5.10-mini", "gpt-6.1-codex", "gpt-6.1-pro"], id="editions"),
        pytest.param("gpt-5.[0-9]", ["gpt-5.10-2026-12-01", "gpt-5.5-2026-11-01"], id="dated snapshots"),
        pytest.param("gpt-5.[0-9]", ["gpt-6-preview"], id="a preview"),
        pytest.param("gpt-5.[0-9]", ["gpt-realtime-6", "gpt-audio-6"], id="another kind"),
        pytest.param("gpt-5.[0-9]", ["openai/gpt-6"], id="another vendor's prefix"),
        pytest.param("gpt-5.4", ["gpt-5.10"], id="an exact id"),
        pytest.param("gpt-5.*", ["gpt-6.1"], id="no class"),
        pytest.param("gpt-4[a-z]", [], id="a class of letters"),
        pytest.param("gpt-5.[!0-3]", ["gpt-6"], id="a class of what not"),
        pytest.param("gpt-4o-[0-9]*", ["gpt-4o-2025-01-01", "gpt-4o-2026-01-01"], id="dates are no versions"),
        pytest.param("gpt-7.[0-9]", ["gpt-8"], id="matches nothing"),
    ],
)
def test_what_is_no_newer_sibling(pattern: str, more: list[str]) -> None:
    assert newer_sibling(pattern, listed("openai", *GPT, *more)) is None


def test_a_newer_sibling_is_a_warning_at_the_preference(tmp_path: Path) -> None:
    text = "default: t\ntiers:\n  t:\n    - {provider: openai, model: 'gpt-5.[0-4]', optional: true}\n"
    assert found_in(tmp_path, {"b.yaml": text}) == [
        "newer-sibling warning b.yaml:4:7: tiers.t[0]: openai: 'gpt-5.5' is newer than 'gpt-5.4' and lies outside 'gpt-5.[0-4]';"
        " 'gpt-5.*' takes it in"
    ]


# --- tiers and tables


def test_a_tier_that_nobody_names(tmp_path: Path) -> None:
    text = """default: by-default
tier_order: [idle]
tiers:
  {pairs}
  by-tier: [{{tier: below}}]
agents:
  include: [a.md]
  p: {{description: d, tier: by-patch}}
  q: {{description: d, provider_preferences: [{{tier: by-list}}]}}
roles: {{r: by-role}}
profiles: {{p: {{default: [{{tier: by-cell}}, {{tier: by-tier}}]}}}}
tasks: {{classification: [by-task]}}
tests: [{{agent: p, tier: by-test, expect: {{decided_by: caller}}}}]
"""
    names = ["idle", "by-default", "below", "by-patch", "by-list", "by-role", "by-cell", "by-task", "by-test"]
    pairs = "\n  ".join(f"{name}: [anthropic/claude-haiku-*]" for name in names)
    files = {"b.yaml": text.format(pairs=pairs), "a.md": A.format(name="a")}
    assert [line for line in found_in(tmp_path, files) if not line.startswith("not-in-force")] == [
        "unused-tier warning b.yaml:4:3: tiers.idle: no agent, profile, role, default or other tier names this tier; remove it,"
        " or name it in a test if callers do"
    ]


def test_inherited_tiers_and_bundles_to_include_are_left_alone(tmp_path: Path) -> None:
    low = "tiers: {t: [anthropic/claude-haiku-*]}\n"
    files = {"low.yaml": low, "b.yaml": "includes: [low.yaml]\nagents: {include: [a.md]}\n", "a.md": A.format(name="a")}
    assert found_in(tmp_path, files) == []
    assert found_in(tmp_path, {}, "low.yaml") == []


@pytest.mark.parametrize("own", ["provider_preferences: [anthropic/claude-haiku-*]\ntier: strong", "tier: strong"])
def test_a_tier_that_base_stands_for_is_used(tmp_path: Path, own: str) -> None:
    files = {
        "low/i.yaml": "agents: {include: [ok.md]}\ntiers: {strong: [anthropic/claude-haiku-*]}\n",
        "low/ok.md": f"---\nname: ok\n{own}\n---\n",
        "b.yaml": "includes: [low/i.yaml]\ntiers: {strong: [openai/gpt-5*]}\n"
        "agents: {ok: {provider_preferences: [openai/gpt-4o, base]}}\n",
    }
    assert [str(item) for item in load(tmp_path, "b.yaml", files).agent("ok").preferences] == ["openai/gpt-4o", "openai/gpt-5*"]
    assert found_in(tmp_path, files) == []


@pytest.mark.parametrize(("tier", "told"), [("stron", True), ("strong", False), ("frontier", False)])
def test_a_label_that_is_nearly_a_tier(tmp_path: Path, tier: str, told: bool) -> None:
    agent = A.format(name="a").replace("name: a\n", f"name: a\ntier: {tier}\n")
    files = {"b.yaml": "default: strong\ntiers: {strong: [openai/gpt-5*]}\nagents: {include: [a.md]}\n", "a.md": agent}
    lines = [line for line in found_in(tmp_path, files) if "tier" in line]
    assert lines == (["misspelt-tier warning a.md:3:7: tier: no tier 'stron'; did you mean 'strong'?"] if told else [])


def test_what_names_nothing(tmp_path: Path) -> None:
    text = "default: t\ntier_order: [t, t]\ntiers: {t: []}\nroles: {r: []}\nprofiles: {p: {s: []}, q: {}}\n"
    lines = found_in(tmp_path, {"b.yaml": text})
    assert [[*line.split(" ", 3)[:3], line.split(": ")[1]] for line in lines] == [
        ["names-nothing", "warning", "b.yaml:2:13:", "tier_order"],
        ["names-nothing", "warning", "b.yaml:3:9:", "tiers.t"],
        ["names-nothing", "warning", "b.yaml:4:9:", "roles.r"],
        ["names-nothing", "warning", "b.yaml:5:16:", "profiles.p.s"],
        ["names-nothing", "warning", "b.yaml:5:24:", "profiles.q"],
    ]


@pytest.mark.parametrize(
    "text",
    [
        "tiers: {cheap: [anthropic/x]}\ntier_order: [chaep]\n",
        "tiers: {cheap: [anthropic/x]}\nroles: {r: chaep}\n",
        "tiers: {cheap: [anthropic/x]}\nprofiles: {p: {default: chaep}}\n",
        "tiers: {cheap: [anthropic/x]}\ndefault: chaep\n",
    ],
)
def test_a_table_that_names_a_tier_that_is_not_there_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        load(tmp_path, "b.yaml", {"b.yaml": text})
    assert {(fault.rule, fault.line) for fault in caught.value.faults} == {("unknown-tier", 2)}
    assert "no tier 'chaep'; did you mean 'cheap'?" in str(caught.value)


# --- tools


def widened(folder: Path, files: dict[str, str]) -> list[str]:
    return [line for line in found_in(folder, files) if line.startswith("widened-tools")]


LOW = {"low/base.yaml": "agents: {include: [a.md]}\n", "low/a.md": A.format(name="a")}


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ("tools: [read, write, shell]", "allows shell, write, which low/a.md:3:1 does not; it allows read"),
        ("tools: null", "removes the list, so every tool of the host may be used; low/a.md:3:1 allows read"),
        ("tools: [read]", None),
        ("tools: []", None),
        ("description: d", None),
    ],
)
def test_a_patch_that_widens_the_tools_is_named_with_both_places(tmp_path: Path, patch: str, message: str | None) -> None:
    files = {**LOW, "b.yaml": f"includes: [low/base.yaml]\nagents:\n  a:\n    {patch}\n"}
    expected = [f"widened-tools warning b.yaml:4:5: agents.a.tools: {message}"] if message else []
    assert widened(tmp_path, files) == expected


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("tools: [write]", "a.md:3:1: tools: allows write, which low/a.md:3:1 does not; it allows read"),
        ("description: d", "a.md:2:1: tools: has no list, so every tool of the host may be used; low/a.md:3:1 allows read"),
        ("extends: base:a", None),
        ("tools: [read]", None),
    ],
)
def test_a_file_that_replaces_an_agent_and_widens_its_tools(tmp_path: Path, header: str, message: str | None) -> None:
    agent = f"---\nname: a\n{header}\nprovider_preferences: [anthropic/claude-haiku-*]\n---\n"
    files = {**LOW, "b.yaml": "includes: [low/base.yaml]\nagents: {include: [a.md]}\n", "a.md": agent}
    assert widened(tmp_path, files) == ([f"widened-tools warning {message}"] if message else [])


def test_tools_are_compared_with_the_layer_right_below(tmp_path: Path) -> None:
    files = {
        **LOW,
        "low/a.md": A.format(name="a").replace("[read]", "[read, write]"),
        "mid.yaml": "includes: [low/base.yaml]\nagents: {a: {tools: [read]}}\n",
        "b.yaml": "includes: [mid.yaml]\nagents: {a: {tools: [read, write]}}\n",
    }
    [line] = widened(tmp_path, files)
    assert "b.yaml:2:14: agents.a.tools: allows write, which mid.yaml:2:14 does not" in line


def test_a_bundle_may_say_of_its_own_agent_what_it_likes(tmp_path: Path) -> None:
    files = {
        "low.yaml": "agents: {include: [a.md], a: {tools: [read, write]}}\n",
        "a.md": A.format(name="a"),
        "b.yaml": "includes: [low.yaml]\nagents: {a: {tools: [write]}}\n",
    }
    assert widened(tmp_path, files) == []


# --- template variables


@pytest.mark.parametrize(
    ("body", "unknown"),
    [
        ("{{ team }}", ["team"]),
        ("{{ workdir }} {{ date }} {{ agent }} {{ known }}", []),
        ("{{ team | default('us') }} {{ team | d('us') | upper }}", []),
        ("{% if team is defined %}{{ team }}{% endif %}", []),
        ("{% if team is defined and team %}{{ team }}{% else %}none{% endif %}", []),
        ("{% if team is not defined %}none{% else %}{{ team }}{% endif %}", []),
        ("{% if team is undefined or not team %}none{% else %}{{ team }}{% endif %}", []),
        ("{{ team if team is defined else 'us' }}", []),
        ("{% if a is defined %}{{ a }}{% elif b is defined %}{{ b }}{% endif %}", []),
        ("{% if team is defined %}x{% endif %}{{ team }}", ["team"]),
        ("{% if team %}{{ team }}{% endif %}", ["team"]),
        ("{% if team is defined %}{{ other }}{% else %}{{ team }}{% endif %}", ["other", "team"]),
        ("{% set team = team | default('us') %}{{ team }}", []),
        ("{% for one in [1, 2] %}{{ one }} {{ loop.index }}{% endfor %}{{ range(3) }}", []),
        ("{{ x | join(sep) }}", ["sep", "x"]),
        ("{{ base }}", ["base"]),
        ("{% if %}", []),
    ],
)
def test_variables_that_nobody_defines(tmp_path: Path, body: str, unknown: list[str]) -> None:
    files = {"b.yaml": "vars: {known: 1}\nagents: {include: [a.md]}\n", "a.md": A.format(name="a") + f"First line.\n{body}\n"}
    bundle = load(tmp_path, "b.yaml", files)
    found = undefined_variables(bundle.agent("a"), bundle.vars)
    assert sorted(re.findall(r"'(?:{{ )?(\w+)", fault.message)[0] for fault in found) == unknown
    assert {(fault.line, fault.level, fault.rule) for fault in found} <= {(7, "note", "undefined-variable")}


def test_a_variable_that_is_like_none_has_no_nearest(tmp_path: Path) -> None:
    files = {
        "b.yaml": "vars: {joined: 1}\nagents: {include: [a.md]}\n",
        "a.md": A.format(name="a") + "{{ one }} {{ ranges }} {{ joind }}\n",
    }
    bundle = load(tmp_path, "b.yaml", files)
    found = {fault.message.partition(" write it")[0] for fault in undefined_variables(bundle.agent("a"), bundle.vars)}
    near = "nobody defines 'joind'; did you mean 'joined'?;"
    assert found == {"nobody defines 'one';", "nobody defines 'ranges';", near}


def test_a_variable_has_its_nearest_and_base_its_agent(tmp_path: Path) -> None:
    files = {
        "b.yaml": "agents: {include: ['*.md']}\n",
        "a.md": A.format(name="a") + "In {{ workdri }}.\n",
        "c.md": "---\nname: c\nextends: a\n---\n{{ base }} More.\n",
    }
    assert found_in(tmp_path, files) == [
        "undefined-variable note a.md:6:7: nobody defines 'workdri'; did you mean 'workdir'?; write it under 'vars' in the"
        " bundle, guard it, or every caller must give it"
    ]


def test_a_body_that_is_no_template_has_no_variables(tmp_path: Path) -> None:
    agent = "---\nmeta: {name: a, description: d}\n---\n{{ whatever }}\n"
    bundle = load(tmp_path, "a.md", {"a.md": agent})
    assert undefined_variables(bundle.agent("a"), ()) == []


# --- the command


def run(folder: Path, *arguments: str, **options: Any) -> Any:
    (folder / "home").mkdir(exist_ok=True)
    return command("check", *arguments, home=folder / "home", cwd=folder, **options)


def test_the_order_of_includes_is_shown_by_check(tmp_path: Path) -> None:
    files = {"addon.yaml": "includes: [low.yaml]\n", "low.yaml": "vars: {a: 1}\n", "b.yaml": "includes: [addon.yaml, low.yaml]\n"}
    write(tmp_path, files)
    ran = run(tmp_path, "--bundle", "b.yaml", "--json")
    [fault] = ran.json["faults"]
    assert (fault["rule"], fault["level"], fault["line"], fault["column"]) == ("include-order", "warning", 1, 24)
    assert run(tmp_path, "--bundle", "b.yaml").code == 0
    assert run(tmp_path, "--bundle", "b.yaml", "--strict").code == 1


def test_json_has_stable_keys_and_the_age_of_the_lists(tmp_path: Path) -> None:
    write(tmp_path, {"a.md": "---\nname: a\nprovider_preferences: [openai/gpt-0-*]\n---\nx\n"})
    ran = run(tmp_path, "--bundle", "a.md", "--json")
    told = ran.json
    keys = {"bundle", "ok", "counts", "faults", "lists", "routes", "summary", "without_preferences"}
    assert set(told) == keys
    [fault] = told["faults"]
    assert set(fault) == {"file", "line", "column", "key", "message", "level", "rule"}
    assert told["counts"] == {"error": 0, "warning": 1, "note": 0}
    [listing] = told["lists"]
    assert (listing["provider"], listing["asked"], listing["reason"]) == ("openai", False, None)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", listing["as_of"])
    last = run(tmp_path, "--bundle", "a.md").out.splitlines()[-1]
    age = rf"a: 1 agent, 0 tiers: 0 errors, 1 warning, 0 notes; globs matched against shipped lists of {listing['as_of']}"
    assert re.fullmatch(age + r", the oldest \d+ days old", last)


def test_faults_that_stop_loading_have_the_same_json(tmp_path: Path) -> None:
    write(tmp_path, {"b.yaml": "teirs: {}\ntier_order: [x]\n"})
    ran = run(tmp_path, "--bundle", "b.yaml", "--json")
    assert (ran.code, ran.json["ok"], ran.json["bundle"]) == (1, False, None)
    assert [(fault["rule"], fault["level"]) for fault in ran.json["faults"]] == [
        ("declaration", "error"),
        ("unknown-tier", "error"),
    ]


def test_refresh_asks_and_says_who_could_not_be_asked(tmp_path: Path) -> None:
    world = World()
    name = world.vendor("anthropic").models[0]["id"]
    text = f"---\nname: a\nprovider_preferences: [anthropic/{name}, openai/gpt-0-*, mistral/mistral-small-*]\n---\nx\n"
    write(tmp_path, {"a.md": text})
    with served_in_thread(world) as base:
        ran = run(tmp_path, "--bundle", "a.md", "--refresh", environment=world.environment(base))
    assert "openai: 'gpt-0-*' matches none of" in ran.out
    assert re.search(r"^mistral: could not be asked \(no key: .*\); its shipped list of [\d-]+ is used$", ran.out, re.M)
    assert "lists of anthropic, openai asked for now and shipped lists of" in ran.out.splitlines()[-1]


# --- profiles


def test_profiles_and_stages_that_lead_nowhere(tmp_path: Path) -> None:
    text = """tiers: {low: [anthropic/claude-haiku-*]}
default_profile: blanced
profiles:
  balanced: {default: low, planning: low, summary: low, stage_profiles: {summary: csot, sumary: cost}}
  cost: {default: low, planing: low, summary: low, stage_profiles: {summary: null, own-stage: cost}}
  local: {default: low, planning: low, painting: low}
recipes: {include: [r.yaml]}
"""
    recipe = """name: r-one
description: A recipe with stages.
tags: [x]
stages:
  - {name: first, stage: plannin, steps: [{id: look-at-it, agent: self, stage: summry, prompt: Look at all of it.}]}
  - {name: second, stage: "{{s}}", steps: [{id: mend-it, agent: self, stage: mending, prompt: Mend all of it.}]}
context: {s: planing}
"""
    found = [line for line in found_in(tmp_path, {"b.yaml": text, "r.yaml": recipe}) if "-profile" in line or "-stage" in line]
    assert found == [
        "unknown-profile warning b.yaml:2:18: default_profile: no profile 'blanced' in bundle 'b'; did you mean 'balanced'?",
        "unknown-profile warning b.yaml:4:83: profiles.balanced.stage_profiles.summary: no profile 'csot' in bundle 'b';"
        " did you mean 'cost'?",
        "misspelt-stage warning b.yaml:4:89: profiles.balanced.stage_profiles.sumary: no other profile has the stage 'sumary';"
        " did you mean 'summary'?",
        "misspelt-stage warning b.yaml:5:24: profiles.cost.planing: no other profile has the stage 'planing';"
        " did you mean 'planning'?",
        "misspelt-stage warning r.yaml:5:43: look-at-it.stage: no profile of bundle 'b' has the stage 'summry';"
        " did you mean 'summary'?",
        "misspelt-stage warning r.yaml:5:43: stages.first.stage: no profile of bundle 'b' has the stage 'plannin';"
        " did you mean 'planning'?",
    ]


def test_what_an_alias_repeats_is_told_once(tmp_path: Path) -> None:
    text = "profiles:\n  p: {default: &gone [openai/gpt-9-*], planning: *gone, local_first: yes, stage_profiles: {summary: p}}\n"
    assert found_in(tmp_path, {"b.yaml": text}) == [
        "glob-matches-nothing warning b.yaml:2:23: profiles.p.default[0]: openai: 'gpt-9-*' matches none of 8 models"
    ]
    listed = [key for key, _ in tables(load(tmp_path, "b.yaml"))]
    assert listed == ["profiles.p.default", "profiles.p.planning"], "what is said beside the cells is no list"


# --- the page


def test_lists_of_agents_that_come_to_nothing(tmp_path: Path) -> None:
    written = (
        "bundle: {name: b}\nagents:\n  boss:\n    description: d\n    tools: [delegate]\n"
        "    agents: [helper, halper, 'x*', self]\n"
        "  helper: {description: d, agents: [boss]}\n  lone: {description: d, tools: [delegate], agents: []}\n"
        "  fine: {description: d, tools: [delegate], agents: all}\n"
    )
    found = [line for line in found_in(tmp_path, {"b.yaml": written}) if line.startswith(("unknown-agent", "agents-unused"))]
    assert found == [
        "unknown-agent warning b.yaml:6:22: agents: there is no agent 'halper'; did you mean 'helper'?",
        "unknown-agent warning b.yaml:6:30: agents: no agent fits 'x*'",
        "agents-unused warning b.yaml:7:37: agents: is for agents that delegate; write 'delegate' in the tools of 'helper', or"
        " leave it out",
        "agents-unused warning b.yaml:8:34: tools: 'delegate' is not offered: 'agents' lets 'lone' use nobody",
    ]


def test_every_rule_that_is_written_in_the_code_is_in_the_docs_and_the_other_way_round() -> None:
    page = (ROOT / "docs" / "check.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `([a-z-]+)` \| (?:error|warning|note) \|", page, re.M)
    assert len(documented) == len(set(documented)) >= 20
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "bundle_loader").rglob("*.py"))
    for rule in documented:
        assert f'"{rule}"' in code, rule
    emitted = set(re.findall(r'"(?:error|warning|note)", "([a-z]+-[a-z-]+)"\)', code)) | set(
        re.findall(r'yield "([a-z]+-[a-z-]+)"', code)
    )
    assert emitted <= set(documented)


def test_the_shipped_bundles_have_nothing_to_warn_of() -> None:
    for name in ("foundation", "dev"):
        bundle = load_bundle(name)
        assert [str(fault) for fault in linted_as_shipped(bundle) if fault.level != "note"] == []


def linted_as_shipped(bundle: Bundle) -> list[Fault]:
    return [*bundle.problems, *lint(bundle, {}, provider_names())]
