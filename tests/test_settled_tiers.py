"""Settings that were made for one bundle, laid over another: what does not fit is left out with a warning."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundle_loader.declared.bundle import Bundle
from bundle_loader.routing.explain import origins
from bundle_loader.routing.lint import lint
from bundle_loader.sources.load import load_bundle
from bundle_loader.sources.settings import find_settings
from tests.support.declared import pairs, said, write

BUNDLE = """\
bundle: {name: team}
tiers: {low: [a/low], high: [a/high, {tier: low}]}
tier_order: [low, high]
profiles: {cost: {default: low, planning: high}}
agents: {x: {description: d, tier: low}}
"""


def settled(folder: Path, user: str, organisation: str = "", project: str = "") -> Bundle:
    files = {"project/team.yaml": BUNDLE, "home/settings.yaml": user, "site/settings.yaml": organisation}
    write(folder, {**files, "project/.bundle-loader/settings.yaml": project}, mark=False)
    environment = {"BUNDLE_LOADER_SITE": str(folder / "site"), "BUNDLE_LOADER_HOME": str(folder / "home")}
    return load_bundle(folder / "project/team.yaml", settings=find_settings(environment, folder / "project"))


LEFT_OUT = {
    "base of nothing": ("tiers: {new: [openai/o3, base]}", "1:26: tiers.new[1]: 'base' stands for"),
    "unknown in a tier": ("tiers: {low: [{tier: hgih}, base]}", "1:22: tiers.low[0].tier: no tier 'hgih'"),
    "itself": ("tiers: {low: [base, {tier: high}]}", "1:28: tiers.low[1].tier: tier 'high' leads back to 'low'"),
    "order": ("tier_order: [budget, low]", "1:14: tier_order: no tier 'budget'"),
    "all of an order": ("tier_order: [budget, strong]", "1:14: tier_order: no tier 'budget'"),
    "cell": ("profiles: {cost: {default: nope}}", "1:28: profiles.cost.default: no tier 'nope'"),
    "list in a cell": ("profiles: {c: {default: [{tier: nope}, a/b]}}", "1:33: profiles.c.default[0].tier: no tier 'nope'"),
    "pin with a list": (
        "agents: {x: {provider_preferences: [{tier: nope}, a/b]}}",
        "agents.x.provider_preferences[0].tier: no tier",
    ),
}


@pytest.mark.parametrize("origin", ["user", "organisation", "project"])
@pytest.mark.parametrize("case", LEFT_OUT)
def test_what_another_bundle_has_stops_nobody(case: str, origin: str, tmp_path: Path) -> None:
    text, expected = LEFT_OUT[case]
    bundle = settled(tmp_path, **{"user": "", origin: text})
    found = [fault for fault in bundle.problems if fault.rule == "settings"]
    assert found
    assert {fault.level for fault in bundle.problems} == {"warning"}
    assert all(fault.file.endswith("settings.yaml") for fault in found)
    assert expected in str(found[0])
    assert "left out" in found[0].message


def test_the_rest_of_a_list_stays_and_what_lies_below_an_empty_one_does(tmp_path: Path) -> None:
    bundle = settled(
        tmp_path,
        "tiers: {new: [openai/o3, base], low: [{tier: nope}]}\ntier_order: [nope, high]\nprofiles: {cost: {default: nope}}\n"
        "agents: {x: {provider_preferences: [{tier: nope}, a/b]}}\n",
    )
    assert pairs(bundle.tiers["new"]) == ["openai/o3"]
    assert pairs(bundle.tiers["low"]) == ["a/low"]
    assert bundle.tier_order[0] == "high"
    assert pairs(bundle.profiles["cost"]["default"]) == ["a/low"]
    assert pairs(bundle.pins["x"].preferences) == ["a/b"]


def test_what_a_profile_says_beside_its_cells_stays_where_there_are_cells(tmp_path: Path) -> None:
    said = "stage_profiles: {summary: cost}, local_first: true"
    text = f"profiles: {{cost: {{default: nope, {said}}}, mine: {{default: nope, {said}}}, plain: {{default: low, {said}}}}}\n"
    bundle = settled(tmp_path, text)
    assert set(bundle.profiles) == {"cost", "plain"}, "nothing is left of mine"
    assert bundle.stage_profiles == {"cost": {"summary": "cost"}, "plain": {"summary": "cost"}}
    assert bundle.local_first == ("cost", "plain")


def test_a_tier_that_other_settings_write_is_there(tmp_path: Path) -> None:
    bundle = settled(tmp_path, "tiers: {mine: [a/mine]}", "tier_order: [mine]\nprofiles: {c: {default: mine}}\n")
    assert [fault for fault in bundle.problems if fault.level != "note"] == []
    assert pairs(bundle.profiles["c"]["default"]) == ["a/mine"]
    gone = settled(tmp_path, "tiers: {mine: null}", "tiers: {mine: [a/mine]}\ntier_order: [mine]\n")
    assert ["no tier 'mine'" in str(fault) for fault in gone.problems] == [True]


def test_an_order_of_a_provider_that_nobody_knows_is_named(tmp_path: Path) -> None:
    bundle = settled(tmp_path, "provider_order: [opnai, a]")
    [fault] = [fault for fault in lint(bundle, {}, {"openai": "openai", "a": "a"}) if fault.rule == "settings"]
    assert said(tmp_path, [fault]) == [
        "warning home/settings.yaml:1:18: provider_order: no provider is called 'opnai'; did you mean 'openai'?"
    ]


def test_every_pin_that_lost_is_shown_with_its_place(tmp_path: Path) -> None:
    bundle = settled(
        tmp_path,
        "agents: {x: {tier: low}}",
        "agents:\n  x: {tier: high, mandatory: yes}\n",
        "agents:\n\n  x: {tier: high, mandatory: true}\n",
    )
    pins = [(origin.bundle, origin.line, bool(origin.lost)) for origin in origins(bundle, "x") if origin.field == "pin"]
    assert pins == [("user settings", 1, False), ("project settings", 3, True), ("organisation settings", 2, True)]
    assert str(origins(bundle, "x")[-1]).endswith("and still a gate: it is mandatory")
    shown = {layer.settings: [str(setting) for setting in layer.sets] for layer in bundle.laid if layer.settings}
    assert shown["organisation"] == ["agents x to tier high (mandatory)"]
    assert shown["project"] == ["agents x to tier high"]


LISTED = "agents: {x: {description: d, provider_preferences: [a/own], tier: frob}}\n"
OF_NOTHING = {
    "unknown tier": ("tiers: {frob: [{tier: strong}]}", "tiers.frob[0].tier: no tier 'strong'"),
    "base": ("tiers: {frob: [base]}", "tiers.frob[0]: 'base' stands for"),
    "empty": ("tiers: {frob: []}", "tiers.frob: an empty list names nothing"),
    "of one of nothing": ("tiers: {frob: [{tier: brof}], brof: [{tier: strong}]}", "tiers.brof[0].tier: no tier 'strong'"),
    "named elsewhere": ("tiers: {frob: [base]}\nprofiles: {p: {default: frob}}\ntier_order: [frob]", "tiers.frob[0]: 'base'"),
    "a profile": ("profiles: {p: {default: strong}}", "profiles.p.default: no tier 'strong'"),
}


@pytest.mark.parametrize("case", OF_NOTHING)
def test_what_comes_to_nothing_takes_nothing_over_and_is_told_once(case: str, tmp_path: Path) -> None:
    user, expected = OF_NOTHING[case]
    home = {"BUNDLE_LOADER_HOME": str(tmp_path / "home"), "BUNDLE_LOADER_SITE": str(tmp_path / "site")}
    write(tmp_path, {"project/b.yaml": LISTED, "home/settings.yaml": user}, mark=False)
    bundle = load_bundle(tmp_path / "project/b.yaml", settings=find_settings(home, tmp_path / "project"))
    assert bundle.agent("x").slot == "list"
    assert (bundle.tiers, bundle.profiles, bundle.tier_order) == ({}, {}, ())
    [fault] = [*bundle.problems, *lint(bundle, {}, {"a": "a"})]
    assert fault.level == "warning"
    assert expected in str(fault)


def test_a_tier_that_two_settings_lead_in_a_circle_is_left_out_of_both(tmp_path: Path) -> None:
    bundle = settled(tmp_path, "tiers: {frob: [{tier: mine}]}", "tiers: {mine: [{tier: frob}, a/mine]}")
    assert "frob" not in bundle.tiers
    assert pairs(bundle.tiers["mine"]) == ["a/mine"]
    assert [fault.key for fault in bundle.problems] == ["tiers.frob[0].tier"]


@pytest.mark.parametrize(
    ("pin", "expected"),
    [
        ("agents: {zzz: {tier: nope}}", "agents.zzz: pins an agent that this bundle does not have"),
        ("agents: {zzz: {model_role: nope}}", "agents.zzz: pins an agent that this bundle does not have"),
        ("agents: {why: {tier: low}}", "agents.why: 'why' is an alias of 'x'; pin 'x'"),
    ],
)
def test_a_pin_for_nobody_is_told_once(pin: str, expected: str, tmp_path: Path) -> None:
    text = BUNDLE.replace("tier: low}}\n", "tier: low, aliases: [why]}}\n")
    write(tmp_path, {"project/team.yaml": text, "home/settings.yaml": pin}, mark=False)
    home = {"BUNDLE_LOADER_HOME": str(tmp_path / "home"), "BUNDLE_LOADER_SITE": str(tmp_path / "site")}
    bundle = load_bundle(tmp_path / "project/team.yaml", settings=find_settings(home, tmp_path / "project"))
    [fault] = bundle.problems
    assert (fault.level, fault.rule) == ("warning", "settings")
    assert expected in str(fault)
    assert bundle.pins == {}
