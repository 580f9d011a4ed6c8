"""The one slot at every pair of layers: whoever is more derived decides, whichever of the three fields the two of them write."""

from __future__ import annotations

from itertools import combinations, product
from pathlib import Path

import pytest

from bundle_loader.declared.bundle import Bundle
from bundle_loader.routing.explain import origins
from bundle_loader.routing.request import DecidedBy, make_request
from bundle_loader.routing.select import select
from bundle_loader.sources.load import load_bundle
from bundle_loader.sources.settings import find_settings
from tests.support.declared import pairs, write

LAYERS = ("extended agent", "agent file", "patch of base", "patch of derived", "organisation", "user")
"""Least derived first."""
FIELDS = ("model_role", "provider_preferences", "tier")
IN_BUNDLES = LAYERS[:4]


def wrote(layer: str, field: str) -> str:
    """The line with which a layer chooses the list that bears its number."""
    number = LAYERS.index(layer)
    return {
        "model_role": f"model_role: r{number}",
        "provider_preferences": f"provider_preferences: [p/{number}]",
        "tier": f"tier: t{number}",
    }[field]


def bundle_of(folder: Path, lines: dict[str, str]) -> Bundle:
    """A bundle on a base bundle with an agent x that extends y, under two settings files; each of `lines` stands in one layer."""
    numbers = range(len(LAYERS))

    def patch(layer: str) -> str:
        return f"agents: {{x: {{{lines[layer]}}}}}\n" if layer in lines else ""

    base = f"  x: {{{lines['patch of base']}}}\n" if "patch of base" in lines else ""
    files = {
        "project/y.md": f"---\n{lines.get('extended agent', '')}\n---\n",
        "project/x.md": f"---\nextends: y\n{lines.get('agent file', '')}\n---\n",
        "project/base.yaml": f"tiers: {{{', '.join(f't{n}: [p/{n}]' for n in numbers)}}}\n"
        f"roles: {{{', '.join(f'r{n}: [p/{n}]' for n in numbers)}}}\nagents:\n  include: ['*.md']\n{base}",
        "project/top.yaml": "includes: [./base.yaml]\n" + patch("patch of derived"),
        "site/settings.yaml": patch("organisation"),
        "home/settings.yaml": patch("user"),
    }
    here = write(folder, files, mark=False) / "project"
    settings = find_settings({"BUNDLE_LOADER_SITE": str(folder / "site"), "BUNDLE_LOADER_HOME": str(folder / "home")}, here)
    return load_bundle(here / "top.yaml", settings=settings, strict=True)


PAIRS = [
    pytest.param(lower, upper, below, above, id=f"{lower} {below} < {upper} {above}")
    for lower, upper in combinations(LAYERS, 2)
    for below, above in product(FIELDS, FIELDS)
]


@pytest.mark.parametrize(("lower", "upper", "below", "above"), PAIRS)
def test_the_more_derived_layer_decides(lower: str, upper: str, below: str, above: str, tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, {lower: wrote(lower, below), upper: wrote(upper, above)})
    said = select(bundle, make_request(bundle.agent("x")))
    assert pairs(said.preferences) == [f"p/{LAYERS.index(upper)}"]
    assert said.decided_by is (DecidedBy.AGENT if upper in IN_BUNDLES else DecidedBy.PIN)
    standing = [origin.field for origin in origins(bundle, "x") if origin.field in FIELDS and not origin.lost]
    expected = above if upper in IN_BUNDLES else below
    assert standing == ([expected] if lower in IN_BUNDLES else [])


@pytest.mark.parametrize(("lower", "upper"), list(combinations(IN_BUNDLES, 2)))
@pytest.mark.parametrize(("below", "above"), list(product(FIELDS, FIELDS)))
def test_null_of_any_field_clears_them_all(lower: str, upper: str, below: str, above: str, tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, {lower: wrote(lower, below), upper: f"{above}: ~"})
    agent = bundle.agent("x")
    assert (agent.slot, agent.preferences, agent.tier, agent.model_role) == (None, (), None, ())


@pytest.mark.parametrize(("lower", "upper"), list(combinations(IN_BUNDLES, 2)))
@pytest.mark.parametrize("below", ["provider_preferences", "tier"])
def test_base_keeps_the_list_or_the_tier(lower: str, upper: str, below: str, tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, {lower: wrote(lower, below), upper: "provider_preferences: [base, p/9]"})
    assert pairs(bundle.agent("x").preferences) == [f"p/{LAYERS.index(lower)}", "p/9"]


@pytest.mark.parametrize("silent", ["agent file", "patch of base", "patch of derived"])
@pytest.mark.parametrize("field", FIELDS)
def test_a_layer_that_writes_something_else_clears_nothing(silent: str, field: str, tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, {"extended agent": wrote("extended agent", field), silent: "description: other"})
    assert pairs(select(bundle, make_request(bundle.agent("x"))).preferences) == ["p/0"]


def test_with_every_layer_writing_each_is_next_once_those_above_are_silent(tmp_path: Path) -> None:
    for count in range(len(LAYERS), 0, -1):
        lines = {layer: wrote(layer, FIELDS[index % 3]) for index, layer in enumerate(LAYERS[:count])}
        (tmp_path / str(count)).mkdir()
        bundle = bundle_of(tmp_path / str(count), lines)
        assert pairs(select(bundle, make_request(bundle.agent("x"))).preferences) == [f"p/{count - 1}"]


def test_a_null_pin_of_the_users_gives_the_agent_its_own_again(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, {"agent file": "tier: t1", "organisation": "tier: t4"})
    assert pairs(select(bundle, make_request(bundle.agent("x"))).preferences) == ["p/4"]
    (tmp_path / "home/settings.yaml").write_text("agents: {x: ~}\n")
    settings = find_settings(
        {"BUNDLE_LOADER_SITE": str(tmp_path / "site"), "BUNDLE_LOADER_HOME": str(tmp_path / "home")}, tmp_path / "project"
    )
    freed = load_bundle(tmp_path / "project/top.yaml", settings=settings)
    assert pairs(select(freed, make_request(freed.agent("x"))).preferences) == ["p/1"]
