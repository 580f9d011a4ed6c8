"""Budgets as they are declared: amounts, shares, layers of settings, what is mandatory, and what `check` finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from bundle_loader.cli.check import provider_names
from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.schema import bundle_schema
from bundle_loader.errors import DeclarationError
from bundle_loader.routing.catalogue import Catalogue, ModelInfo
from bundle_loader.routing.lint import lint
from bundle_loader.sources.load import load_bundle
from bundle_loader.sources.settings import find_settings
from tests.support.declared import load, write

CASES: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "cases" / "budgets" / "declared.yaml").read_text("utf-8"))
BUNDLE = """\
bundle: {name: team}
tiers: {low: [anthropic/claude-haiku-*], top: [anthropic/claude-haiku-*, {tier: low}], odd: [openai/gpt-new]}
profiles: {cost: {default: low, other: top}}
tests: [{agent: x, tier: odd, expect: {tier: odd}}]
agents:
  x: {description: d, tier: low, aliases: [ex]}
budgets:
"""
PLACES = {
    "organisation": "site/settings.yaml",
    "project": "project/.bundle-loader/settings.yaml",
    "user": "home/settings.yaml",
}
LISTED = {"anthropic": ("claude-haiku-4-5", "claude-haiku-4-4"), "openai": ("gpt-new", "gpt-4o", "grok-4", "kimi-k2", "claude-4")}


def loaded(folder: Path, case: dict[str, Any]) -> Bundle:
    settings = {PLACES[origin]: text for origin, text in case.get("settings", {}).items()}
    indented = "".join(f"  {line}\n" for line in case["budgets"].splitlines())
    write(folder, {"project/team.yaml": BUNDLE + indented, **settings}, mark=False)
    found = find_settings(
        {"BUNDLE_LOADER_SITE": str(folder / "site"), "BUNDLE_LOADER_HOME": str(folder / "home")}, folder / "project"
    )
    return load_bundle(folder / "project" / "team.yaml", settings=found)


@pytest.mark.parametrize("name", CASES)
def test_what_is_declared(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    if "faults" in case:
        with pytest.raises(DeclarationError) as caught:
            loaded(tmp_path, case)
        found = [_shifted(fault.line, fault.column, fault.file, f"{fault.key}: {fault.message}") for fault in caught.value.faults]
        assert len(found) == len(case["faults"]), found
        for text, words in zip(found, case["faults"], strict=True):
            assert words in text
        return
    bundle = loaded(tmp_path, case)
    if "final" in case:
        assert {id: str(budget) for id, budget in bundle.budgets.items()} == case["final"]
    if "says" in case:
        _says(bundle, case["says"], case.get("unpriced"))


def _shifted(line: int, column: int, file: str, text: str) -> str:
    """Places as the case writes them: without the two spaces that stand before each line of the bundle's budgets."""
    return f"{line}:{column - 2 if file.endswith('team.yaml') else column}: {text}"


def _says(bundle: Bundle, expected: list[str], unpriced: str | None) -> None:
    priced = None if unpriced is None else lambda provider, model: f"{provider}/{model.id}" != unpriced
    catalogues = {id: Catalogue(id, tuple(map(ModelInfo, ids))) for id, ids in LISTED.items()}
    faults = [
        *bundle.problems,
        *lint(bundle, catalogues, provider_names(), None, priced),
    ]
    found = [f"{fault.level} {fault.rule}: {fault.key}: {fault.message}" for fault in faults if fault.key.startswith("budgets")]
    assert len(found) == len(expected), found
    for words in expected:
        assert any(text.startswith(words.split(": ")[0]) and words in text for text in found), (words, found)


def test_bundles_merge_budgets_key_by_key(tmp_path: Path) -> None:
    files = {
        "base.yaml": "budgets:\n  day: {money: 5, per: day, scope: {agent: x, tier: low}, alert_at: [50%]}\n"
        "  gone: {money: 1, per: run}\n",
        "mine.yaml": "includes: [./base.yaml]\nbudgets:\n  day: {money: 7, scope: {tier: null}}\n  gone: null\n",
    }
    bundle = load(tmp_path, "mine.yaml", files)
    [day] = bundle.budgets.values()
    assert str(day) == "$7 a day for agent x"
    assert [float(part) for part in day.alert_at] == [0.5]


def test_a_patch_that_does_not_fit_loses_nothing_else(tmp_path: Path) -> None:
    """One budget that does not go together with what it patches is a fault, and no reason to forget the other tables."""
    files = {
        "base.yaml": "tiers: {low: [a/b]}\nbudgets:\n  day: {money: 5, per: day, zone: Asia/Tokyo}\n",
        "mine.yaml": "includes: [./base.yaml]\nbudgets:\n  day: {per: minute}\n  other: {share: {of: day, percent: 5%}}\n",
    }
    with pytest.raises(DeclarationError) as caught:
        load(tmp_path, "mine.yaml", files)
    assert [(Path(fault.file).name, fault.key) for fault in caught.value.faults] == [("base.yaml", "budgets.day.zone")]


def test_very_long_chains_of_shares_end_in_a_fault(tmp_path: Path) -> None:
    chain = "".join(f"  b{n}: {{share: {{of: b{n + 1}, percent: 100%}}}}\n" for n in range(3000))
    with pytest.raises(DeclarationError, match="more than 100 deep"):
        load(tmp_path, "mine.yaml", {"mine.yaml": f"budgets:\n{chain}  b3000: {{money: 1, per: day}}\n"})


def test_the_schema_takes_every_spelling() -> None:
    budgets = {
        "a": {"money": "$5", "per": "day", "zone": "UTC", "scope": {"agent": "x", "tag": ["a", "b"]}, "each": "agent"},
        "b": {"tokens": 5, "per": "run", "alert_at": ["50%", 80], "throttle_at": "90%", "unknown_price": "refuse"},
        "c": {"share": {"of": "a", "percent": 40}, "emergency": "low", "least_tokens": 10, "mandatory": True},
        "d": None,
    }
    schema = Draft202012Validator(bundle_schema())
    assert list(schema.iter_errors({"budgets": budgets})) == []
    assert list(schema.iter_errors({"budgets": {"a": {"mony": 5}}}))


def test_the_example_of_the_docs_checks(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "budgets.md").read_text("utf-8")
    example = page.split("```")[1]
    assert example.lstrip().startswith("budgets:")
    bundle = load(tmp_path, "b.yaml", {"b.yaml": f"tiers: {{budget: [anthropic/claude-haiku-*]}}\n{example}"}, strict=True)
    assert [str(budget) for budget in bundle.budgets.values()] == [
        "$5 a day",
        "$100 a month",
        "$2 a day for model claude-opus-*",
        "2000000 tokens a day for each agent",
        "200 requests a run for tag nightly-*",
    ]


@pytest.mark.requirement("RTR-57")
@pytest.mark.parametrize(("others", "faults"), [("10%", 0), ("10.1%", 1), ("9%", 0)])
def test_allocations_by_percent_must_sum_to_the_whole(tmp_path: Path, others: str, faults: int) -> None:
    """40, 30, 20 and 10 percent: more than 100 is refused, less is told, and 100 says nothing."""
    shares = {"grok": "40%", "claude": "30%", "kimi": "20%", "others": others}
    text = "budgets:\n  day: {money: 5, per: day}\n"
    text += "".join(f"  {name}: {{share: {{of: day, percent: {percent}}}}}\n" for name, percent in shares.items())
    if faults:
        with pytest.raises(DeclarationError, match=r"b.yaml:2:3: budgets.day: its shares come to 100.1%"):
            load(tmp_path, "b.yaml", {"b.yaml": text})
        return
    bundle = load(tmp_path, "b.yaml", {"b.yaml": text})
    assert [float(bundle.budgets[name].limit) for name in ("grok", "claude", "kimi")] == [2.0, 1.5, 1.0]
    assert [(fault.level, fault.rule) for fault in bundle.problems] == ([] if others == "10%" else [("note", "shares")])
