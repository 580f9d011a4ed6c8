"""The switches of the order of models: declared, laid by settings, shown, and in force wherever a glob is resolved."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from bundle_loader.declared.frontmatter import read_yaml_document
from bundle_loader.declared.model_order import OrderPolicy
from bundle_loader.declared.settings import Origin, read_settings
from bundle_loader.host import Host
from bundle_loader.providers.simulated import SimulatedProvider
from bundle_loader.routing.catalogue import Catalogue, ModelInfo
from bundle_loader.routing.lint import lint
from bundle_loader.routing.price import Price, flat
from bundle_loader.sources.load import load_bundle
from tests.support.command import command
from tests.support.declared import load, refused

AGENT = "agents: {a: {provider_preferences: ['p/m-*']}}\n"


def in_force(folder: Path, bundle: str, **settings: str) -> OrderPolicy:
    (folder / "b.yaml").write_text(f"bundle: {{name: b}}\n{bundle}{AGENT}", encoding="utf-8")
    origins: tuple[Origin, ...] = ("organisation", "project", "user")
    files = [read_settings(read_yaml_document(settings[o], f"{o}.yaml"), o) for o in origins if o in settings]
    return load_bundle(folder / "b.yaml", strict=True, settings=files).model_order


@pytest.mark.parametrize(
    ("bundle", "settings", "expected"),
    [
        ("", {}, OrderPolicy()),
        ("model_order: {ga_first: false}\n", {}, OrderPolicy(ga_first=False)),
        ("model_order: {ga_first: no, larger_first: 'off'}\n", {}, OrderPolicy(ga_first=False, larger_first=False)),
        ("", {"organisation": "model_order: {base_first: false}"}, OrderPolicy(base_first=False)),
        ("model_order: {ga_first: false}\n", {"project": "model_order: {ga_first: true}"}, OrderPolicy()),
        ("model_order: {ga_first: false}\n", {"user": "model_order: null"}, OrderPolicy()),
        (
            "model_order: {ga_first: false}\n",
            {"organisation": "model_order: {base_first: false}", "user": "model_order: {larger_first: false, base_first: true}"},
            OrderPolicy(ga_first=False, larger_first=False),
        ),
    ],
)
def test_each_switch_is_laid_by_itself(tmp_path: Path, bundle: str, settings: dict[str, str], expected: OrderPolicy) -> None:
    assert in_force(tmp_path, bundle, **settings) == expected


def test_an_included_bundle_hands_its_switches_on(tmp_path: Path) -> None:
    files = {
        "a.yaml": "bundle: {name: a}\nincludes: [./b.yaml]\nmodel_order: {base_first: false}\n" + AGENT,
        "b.yaml": "bundle: {name: b}\nmodel_order: {base_first: true, ga_first: false}\n",
    }
    assert load(tmp_path, "a.yaml", files).model_order == OrderPolicy(ga_first=False, base_first=False)


def test_what_is_no_switch_is_refused_at_its_place(tmp_path: Path) -> None:
    text = "bundle: {name: a}\nmodel_order:\n  ga_frist: true\n  base_first: sometimes\n"
    told = refused(tmp_path, "a.yaml", {"a.yaml": text})
    assert any(":3:3: model_order.ga_frist: unknown key; did you mean 'ga_first'?" in line for line in told)
    assert any(":4:15: model_order.base_first: " in line for line in told)
    assert len(told) == 2


async def test_a_host_routes_by_the_switches_of_its_bundle(tmp_path: Path) -> None:
    for said, expected in (("", "m-1"), ("model_order: {ga_first: false}\n", "m-2-preview")):
        path = tmp_path / "b.yaml"
        path.write_text(f"bundle: {{name: b}}\n{said}{AGENT}", encoding="utf-8")
        provider = SimulatedProvider("p", models=["m-1", "m-2-preview"])
        async with Host(load_bundle(path), providers={"p": provider}, ledger=tmp_path / "l.db") as host:
            route = await host.route("a")
        assert [candidate.model for candidate in route.candidates] == [expected]


def test_explain_bundle_shows_the_switches_of_settings(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "settings.yaml").write_text("model_order: {ga_first: false, larger_first: true}\n", encoding="utf-8")
    (tmp_path / "b.yaml").write_text(f"bundle: {{name: b}}\n{AGENT}", encoding="utf-8")
    ran = command("explain", "bundle", str(tmp_path / "b.yaml"), home=tmp_path)
    assert "model_order ga_first false, larger_first true" in ran.out


def test_the_tests_of_a_bundle_and_check_go_by_its_switches(tmp_path: Path) -> None:
    text = """bundle: {name: b}
model_order: {ga_first: false}
agents: {a: {provider_preferences: ['google/gemini-3*-pro*', 'google/gemini-*-pro*']}}
tests:
  - {agent: a, model: google/gemini-*-pro*, expect: {model: '*preview*'}}
"""
    (tmp_path / "b.yaml").write_text(text, encoding="utf-8")
    ran = command("check", str(tmp_path / "b.yaml"), "--routes", home=tmp_path)
    assert ran.code == 0, ran.out + ran.err
    (tmp_path / "b.yaml").write_text(text.replace("false", "true"), encoding="utf-8")
    assert command("check", str(tmp_path / "b.yaml"), "--routes", home=tmp_path).code == 1


def test_lints_look_at_the_model_that_the_switches_choose(tmp_path: Path) -> None:
    catalogue = Catalogue("p", tuple(ModelInfo(id) for id in ("m-1", "m-2-preview", "m-3-preview")))
    text = """bundle: {name: b}
agents: {a: {provider_preferences: ['p/m-[1-2]*']}}
prices: {'p/m-*': {input: 1, output: 1}}
budgets: {day: {money: 5, per: day}}
SWITCH
"""
    dollar, dear = (Price(flat(Decimal(amount)), flat(Decimal(amount))) for amount in (1, 1000))

    def rules(switch: str) -> set[str]:
        bundle = load(tmp_path, "b.yaml", {"b.yaml": text.replace("SWITCH", switch)})
        found = lint(
            bundle,
            {"p": catalogue},
            {"p": "p"},
            lambda provider, model: dollar if model == "m-1" else dear,
            lambda provider, model: model.id == "m-1",
        )
        return {fault.rule for fault in found}

    turned = {"newer-sibling", "price-out-of-bounds", "unknown-price"}
    assert not rules("") & turned
    assert rules("model_order: {ga_first: false}") >= turned
