"""How a pattern came to its model: the steps agree with the order, and say why each model fell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from bundle_loader.cli.explain_model import explain_model
from bundle_loader.declared.model_order import OrderPolicy
from bundle_loader.host import Host
from bundle_loader.providers.simulated import SimulatedProvider
from bundle_loader.routing.catalogue import ModelInfo
from bundle_loader.routing.model_names import ModelList, model_info, newest_models
from bundle_loader.routing.narrowing import Narrowed, Narrowing, narrowing
from bundle_loader.routing.ranking import STEPS, Step
from bundle_loader.sources.load import load_bundle
from tests.support.command import command
from tests.support.declared import write
from tests.test_model_name_lists import LISTS
from tests.test_model_names import LISTS as ANY_LIST
from tests.test_model_names import PATTERNS

POLICIES = st.builds(OrderPolicy, ga_first=st.booleans(), base_first=st.booleans(), larger_first=st.booleans())


def check_agrees(found: Narrowing, order: list[ModelInfo]) -> None:
    """One order, told step by step: nobody is lost, nobody falls twice, and who fell later stands before who fell earlier."""
    ids = [model.id for model in order]
    assert list(found.matched) == ids
    assert found.chosen == (ids[0] if ids else None)
    left = set(ids)
    for step in found.steps:
        fell = {one.model for one in step.fell}
        assert fell | set(step.remained) == left
        assert not fell & set(step.remained)
        assert ids[: len(step.remained)] == list(step.remained)
        left = set(step.remained)
    assert len(left) == min(1, len(ids))
    assert [step.step for step in found.steps] == list(STEPS[: len(found.steps)])


@given(PATTERNS, ANY_LIST, POLICIES)
def test_the_narrowing_ends_at_the_first_of_the_order(pattern: str, models: list[ModelInfo], policy: OrderPolicy) -> None:
    check_agrees(narrowing(pattern, ModelList(models), policy), newest_models(pattern, models, policy=policy))


@pytest.mark.parametrize("provider", sorted(LISTS))
@pytest.mark.parametrize("pattern", ["*", "*-[0-9]*", "*mini*", "*/*", "*preview*", "[g-q]*"])
def test_it_does_so_on_real_lists(provider: str, pattern: str) -> None:
    check_agrees(narrowing(pattern, ModelList(LISTS[provider])), newest_models(pattern, LISTS[provider]))


def by_step(pattern: str, *models: ModelInfo | str, policy: OrderPolicy | None = None) -> dict[Step, Narrowed]:
    found = narrowing(pattern, ModelList(models), policy or OrderPolicy())
    return {step.step: step for step in found.steps}


@pytest.mark.parametrize(
    ("step", "leads", "falls", "why"),
    [
        (Step.KIND, "m-1", "m-2-tts", "is for audio, which the pattern does not name"),
        (Step.KIND, "m-1", ModelInfo("m-2", kind="embedding"), "is for embedding, which the pattern does not name"),
        (Step.STAGE, "m-1", "m-2-exp", "is a preview: 'exp' in its name"),
        (Step.STAGE, "m-1", ModelInfo("m-2", stage="preview"), "is a preview, says its provider"),
        (Step.STAGE, "m-1", ModelInfo("m-2", stage="retired"), "is retired"),
        (Step.EDITION, "m-1", "m-2-fast-mini", "'fast', 'mini' in its name, which the pattern does not say"),
        (Step.POINTER, "m-1", "m-latest", "points to some model and names no version"),
        (Step.VERSION, "m-4.10", "m-4.9", "4.9 is before 4.10"),
        (Step.VERSION, "m-4", "m", "no version is before 4"),
        (Step.VERSION, "m-4o", "m-4", "4 is before 4o"),
        (Step.BRAND, "m-2026-01-01", "n-2025-01-01", "has no version; what m-2026-01-01 is called is newer by its date"),
        (Step.SNAPSHOT, "m-4-20260101", "m-4-20250101", "snapshot 2025-01-01 is before snapshot 2026-01-01"),
        (Step.SNAPSHOT, "m-1-002", "m-1-001", "revision 001 is before revision 002"),
        (Step.SNAPSHOT, "m-4", "m-4-20250101", "is another name of the release that m-4 is the alias of"),
        (Step.MAKE, "m-4-turbo", "m-4", "m-4-turbo is a later make of the same version"),
        (Step.TAG, "m:latest", "m:q8_0", "tag 'q8_0' is not the default"),
        (Step.SIZE, "m:70b", "m:8b", "8b, m:70b 70b"),
        (Step.NAME, "m-it", "m-instruct", "nothing tells it from m-it but the longer name or the alphabet"),
    ],
)
def test_who_falls_is_told_why(step: Step, leads: str, falls: str | ModelInfo, why: str) -> None:
    found = by_step("*", falls, leads)
    assert list(found)[-1] is step
    last = found[step]
    assert last.remained == (leads,)
    assert [fell.model for fell in last.fell] == [falls if isinstance(falls, str) else falls.id]
    assert last.fell[0].why.startswith(why)


def on(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


def test_stamps_are_told_with_their_days_and_why_they_are_believed() -> None:
    listed = [ModelInfo("g-4.20", created=on("2026-03-09")), ModelInfo("g-4.3", created=on("2026-04-17"))]
    found = by_step("*", *listed)[Step.CREATED]
    assert found.fell[0].why == "came 2026-03-09, g-4.3 2026-04-17"
    assert found.note == "created is believed: 2 of 2 models have a date of their own"


@pytest.mark.parametrize(
    ("listed", "why"),
    [
        ([ModelInfo("a"), ModelInfo("b")], "the list does not say when models were created"),
        ([ModelInfo("a", digest="1"), ModelInfo("b", digest="2")], "its dates are those of the download"),
        (
            [ModelInfo("a", created=on("2026-04-17")), ModelInfo("b", created=on("2026-04-18"))],
            "all were created at nearly one moment: that of the request, not the release",
        ),
        (
            [ModelInfo("a", created=on("2026-04-17")), ModelInfo("b", created=on("2025-04-18")), ModelInfo("c")],
            "only 2 of 3 models have a date of their own",
        ),
        (
            [ModelInfo(f"m-{n}", created=on("2026-04-17" if n % 2 else "2025-04-18")) for n in range(8)],
            "8 models share 2 moments",
        ),
    ],
)
def test_why_stamps_are_not_believed(listed: list[ModelInfo], why: str) -> None:
    assert narrowing("*", ModelList(listed)).dated == f"not believed: {why}"


def test_a_switch_that_is_turned_is_told_where_it_acts() -> None:
    policy = OrderPolicy(ga_first=False, base_first=False, larger_first=False)
    found = by_step("*", "m:8b", "m:70b", policy=policy)
    assert found[Step.STAGE].note == "model_order.ga_first is false: previews are as good as released models"
    assert found[Step.EDITION].note == "model_order.base_first is false: special editions are as good as plain models"
    assert found[Step.SIZE].note == "model_order.larger_first is false: the smaller leads"
    assert found[Step.SIZE].remained == ("m:8b",)
    assert all(not by_step("*", "m:8b", "m:70b")[step].note for step in (Step.STAGE, Step.EDITION, Step.SIZE))


def test_nothing_matches() -> None:
    found = narrowing("x*", ModelList(["a"]))
    assert (found.chosen, found.matched, found.steps, found.listed) == (None, (), (), 1)


ASK = """
import json, sys
from tests.test_model_name_lists import LISTS
from bundle_loader.routing.model_names import newest_models
patterns = ("*", "*mini*", "*-*")
found = {name: [[model.id for model in newest_models(p, models)] for p in patterns] for name, models in LISTS.items()}
print(json.dumps(found, sort_keys=True))
"""


def test_processes_with_other_hash_seeds_give_one_order() -> None:
    root = Path(__file__).parent.parent
    asked = [
        subprocess.run(
            [sys.executable, "-c", ASK],
            cwd=root,
            env={"PATH": os.environ["PATH"], "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4242")
    ]
    assert len(set(asked)) == 1
    here = {name: [model.id for model in newest_models("*", models)] for name, models in LISTS.items()}
    assert {name: found[0] for name, found in json.loads(asked[0]).items()} == here


# --- the command


def test_explain_model_shows_a_pattern_in_one_list(tmp_path: Path) -> None:
    ran = command("explain", "model", "anthropic/claude-opus-4*", "--simulate", home=tmp_path)
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[0].startswith("anthropic, list: simulated, shipped list of ")
    assert lines[1].startswith("  claude-opus-4* matches ")
    assert any(line.startswith("  release by created: ") and "created is believed" in line for line in lines)
    assert any(line.startswith("    x claude-opus-4-") and " came " in line for line in lines)
    assert lines[-1].startswith("-> anthropic/claude-opus-4")


def test_explain_model_without_a_provider_shows_every_list_that_has_a_match(tmp_path: Path) -> None:
    found = command("explain", "model", "claude-opus-*", "--simulate", "--json", home=tmp_path).json
    answers = {entry["provider"]: entry for entry in found["answers"]}
    assert found["provider"] is None
    assert {name for name, entry in answers.items() if entry["matched"]} >= {"anthropic", "github-copilot"}
    for entry in answers.values():
        if entry["matched"]:
            assert entry["narrowing"]["matched"] == entry["matched"]
            assert entry["chosen"] == entry["matched"][0]
            assert entry["list"]["source"] == "simulated"
    shown = command("explain", "model", "claude-opus-*", "--simulate", home=tmp_path)
    assert [line for line in shown.out.splitlines() if line.startswith("-> ")] == [
        f"-> {name}/{entry['chosen']}" for name, entry in answers.items() if entry["matched"]
    ]
    assert "google" not in shown.out + shown.err, "a list without a match says nothing"


def test_explain_model_of_an_exact_id_says_what_it_stands_for(tmp_path: Path) -> None:
    ran = command("explain", "model", "claude-haiku-4-5", "--provider", "anthropic", "--simulate", home=tmp_path)
    assert "claude-haiku-4-5 is not listed itself; it stands for claude-haiku-4-5-20251001" in ran.out
    assert ran.out.endswith("-> anthropic/claude-haiku-4-5-20251001\n")
    ran = command("explain", "model", "openai/gpt-4o", "--simulate", home=tmp_path)
    assert "gpt-4o is listed; its listed snapshots are gpt-4o-2024-11-20" in ran.out


def test_explain_model_that_matches_nothing_names_the_nearest(tmp_path: Path) -> None:
    ran = command("explain", "model", "anthropic/claud-opus-5*", "--simulate", home=tmp_path)
    assert (ran.code, ran.out) == (4, "")
    assert "'claud-opus-5*' matches none of" in ran.err
    assert "nearest are claude-opus-5" in ran.err
    ran = command("explain", "model", "anthropic/claud-opus-5", "--simulate", home=tmp_path)
    assert ran.code == 4
    assert ran.err.count("nearest are") == 1


def test_explain_model_tells_what_the_gates_have_against_the_first(tmp_path: Path) -> None:
    ran = command("explain", "model", "google/gemini-embedding*", "--simulate", home=tmp_path)
    assert ran.code == 0
    assert "gates: gemini-embedding-2 " in ran.out
    assert ran.out.endswith("-> none of them may be used\n")


def test_explain_model_follows_the_switches_of_the_bundle(tmp_path: Path) -> None:
    path = tmp_path / "b.yaml"
    path.write_text("bundle: {name: b}\nmodel_order: {ga_first: false}\nagents: {a: {provider_preferences: [google/*]}}\n")
    ran = command("explain", "model", "google/gemini-*-pro*", "--simulate", "--bundle", str(path), home=tmp_path)
    assert "model_order.ga_first is false" in ran.out
    assert "preview" in ran.out.splitlines()[-1]
    plain = command("explain", "model", "google/gemini-*-pro*", "--simulate", home=tmp_path)
    assert "preview" not in plain.out.splitlines()[-1]
    resolved = command("resolve", "google/gemini-*-pro*", "--simulate", "--bundle", str(path), "--json", home=tmp_path).json
    assert resolved["resolved"][0]["model"].startswith(ran.out.splitlines()[-1].removeprefix("-> "))


def ending_host(folder: Path) -> Host:
    models = [
        {"id": "m-4", "stage": "retired"},
        {"id": "m-3", "retires": "2027-03-01T00:00:00Z", "stage": "deprecated"},
        {"id": "m-2"},
        {"id": "m-2-20260101"},
        {"id": "m-1", "aliases": ["old"]},
    ]
    path = write(folder, {"b.yaml": "agents: {a: {provider_preferences: [p/*]}}\n"})
    bundle = load_bundle(path / "b.yaml")
    return Host(
        bundle,
        providers={"p": SimulatedProvider("p", models=map(model_info, models))},
        ledger=folder / "l.db",
        clock=lambda: 1_790_000_000.0,
    )


def test_the_facts_of_the_gates_that_matter_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    explain_model(ending_host(tmp_path), "m-[34]", "p", json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:] == [
        "  m-[34] matches 2 of 5 models",
        "  stage: 1 fell, 1 left",
        "    x m-4: is retired",
        "  note: m-3 is deprecated and ends on 2027-03-01",
        "-> p/m-3",
    ]
    with pytest.raises(typer.Exit):
        explain_model(ending_host(tmp_path), "nothing-like-it*", "p", json=False)
    assert capsys.readouterr().out == ""
    explain_model(ending_host(tmp_path), "m-4", "p", json=False)
    assert capsys.readouterr().out.splitlines()[1:] == [
        "  m-4 is listed",
        "  gates: m-4 is retired",
        "-> none of them may be used",
    ]
    explain_model(ending_host(tmp_path), "OLD", "p", json=False)
    assert capsys.readouterr().out.splitlines()[1:] == ["  OLD is not listed itself; it stands for m-1", "-> p/m-1"]


def test_an_id_that_several_stand_behind_is_narrowed_among_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    explain_model(ending_host(tmp_path), "m-latest", "p", json=True)
    answer = json.loads(capsys.readouterr().out)["answers"][0]
    assert answer["stands_for"] == "m-latest"
    assert answer["narrowing"]["matched"] == answer["matched"]
    assert len(answer["matched"]) == 5


def test_a_provider_that_nobody_mounts_is_refused(tmp_path: Path) -> None:
    ran = command("explain", "model", "x*", "--provider", "nobody", "--simulate", home=tmp_path)
    assert (ran.code, ran.out) == (1, "")
    assert "no provider 'nobody' is mounted" in ran.err
    ran = command("explain", "model", "openai/", "--simulate", home=tmp_path)
    assert (ran.code, ran.out) == (1, "")
    assert "write a pattern or an id behind the provider" in ran.err
