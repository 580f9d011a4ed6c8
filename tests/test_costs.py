"""Usage to cost: vectors worked by hand, who says what it costs, and what each vendor's answer comes to in the ledger."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundle_loader import Host, load_bundle
from bundle_loader.cli.check import provider_names, public_prices
from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.frontmatter import read_yaml_document
from bundle_loader.declared.preference import Preference
from bundle_loader.declared.prices import DeclaredPrice, Rates
from bundle_loader.declared.settings import Origin, read_settings
from bundle_loader.errors import DeclarationError
from bundle_loader.ledger.estimate import CallScope
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.meter import LedgerMeter
from bundle_loader.ledger.prices import PriceBook, Priced, Sale, listed_price, sale_way
from bundle_loader.ledger.savings import saving, savings_by
from bundle_loader.messages import Delta, Message, StreamPart, Text, Turn, Usage
from bundle_loader.providers import table
from bundle_loader.providers.base import ChatRequest, Provider
from bundle_loader.providers.compatible import CompatibleProvider
from bundle_loader.providers.reported import reported_cost
from bundle_loader.providers.simulated import simulated_providers
from bundle_loader.providers.snapshot import snapshot_models
from bundle_loader.routing.candidate import Candidate
from bundle_loader.routing.catalogue import Catalogue, ModelInfo
from bundle_loader.routing.lint import lint
from bundle_loader.routing.price import FREE, Price, Rate, flat
from tests.support.hosting import mounted
from tests.support.vendors import Reply, World

Served = tuple[World, str]

FILE = yaml.load(Path(__file__).with_name("cases").joinpath("costs.yaml").read_text(encoding="utf-8"), yaml.BaseLoader)
CASES = FILE["cases"]
NOW = datetime.fromisoformat(FILE["as_of"]).replace(hour=12, tzinfo=UTC).timestamp()
RATES = ("input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning")
PUBLIC = [case for case in CASES if case.get("public") != "false"]


def rate(written: Any) -> Rate:
    if isinstance(written, str):
        return flat(Decimal(written))
    return tuple((int(size), Decimal(amount)) for size, amount in written)


def price_of(case: dict[str, Any]) -> Price:
    written = case["price"]
    rates = {name: rate(written[name]) for name in RATES if name in written}
    media: Any = tuple((kind, rate(amount)) for kind, amount in written.get("media", {}).items())
    fees = {name: Decimal(written[name]) for name in ("request", "search") if name in written}
    assert set(written) <= {*rates, *fees, "media"}, "a misspelt key would check nothing"
    return Price(**rates, media=media, **fees)  # type: ignore[arg-type]


def usage_of(case: dict[str, Any]) -> Usage:
    written = dict(case["usage"])
    media: Any = tuple((kind, int(tokens)) for kind, tokens in written.pop("media", {}).items())
    names = {name: f"{name}_tokens" for name in ("input", "output", "cache_read", "cache_write", "reasoning", "cache_write_1h")}
    counts: dict[str, Any] = {names.get(name, name): int(count) for name, count in written.items()}
    return Usage(media=media, **counts)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['model']}: {case['name']}")
def test_usage_costs_what_was_worked_out_by_hand(case: dict[str, Any]) -> None:
    price, usage = price_of(case), usage_of(case)
    assert price.cost(usage) == Decimal(case["cost"])
    if not any(kind.startswith("input") for kind, _ in usage.media) and not usage.searches:
        assert price.cost(usage) <= price.worst(usage.input_tokens, usage.output_tokens)


def test_the_vectors_cover_what_is_sold() -> None:
    assert len({(case["provider"], case["model"]) for case in PUBLIC}) >= 12
    assert len({case["provider"] for case in PUBLIC}) >= 5
    assert {name for case in CASES for name in case["usage"]} >= {"cache_read", "cache_write", "cache_write_1h", "reasoning"}
    assert {case.get("way") for case in CASES} >= {"batch", "flex", "priority"}
    assert sum(isinstance(case["price"]["input"], list) for case in CASES) >= 4


def test_the_installed_prices_are_those_of_the_vectors() -> None:
    """Where a new edition of genai-prices has other figures for that day, look whether it or the case was wrong."""
    book = PriceBook()
    moved = []
    for case in PUBLIC:
        found = book.public_ways(case["provider"], case["model"], NOW).get(case.get("way", "standard"))
        written = price_of(case)
        for name in (*RATES, "media"):
            sold = getattr(found, name, None)
            if sold != getattr(written, name):
                moved.append(f"{case['provider']}/{case['model']} {name}: {getattr(written, name)} here, {sold} there")
        if found and "search" in case["price"] and found.search != written.search:
            moved.append(f"{case['provider']}/{case['model']} search: {written.search} here, {found.search} there")
    agree = len(PUBLIC) - len({line.split()[0] for line in moved})
    assert not moved, f"genai-prices {version('genai-prices')} agrees with {agree} of {len(PUBLIC)}; others:\n" + "\n".join(moved)


def test_the_edition_of_the_public_prices_is_known() -> None:
    said = PriceBook().edition(NOW)
    assert said.startswith(f"genai-prices {version('genai-prices')}, newest price of 2026-")
    assert PriceBook().edition(NOW - 365 * 86_400).rpartition(" ")[2] < said.rpartition(" ")[2]


# --- who says so

CHEAP = DeclaredPrice(provider="openai", model="gpt-4o*", rates=Rates(input=Decimal(1), output=Decimal(2)))
LISTED = (("input", "0.000003"), ("output", "0.000012"))


def sale(model: str = "gpt-4o", **more: Any) -> Sale:
    return Sale(provider="openai", model=model, **more)


def rates_of(priced: Priced) -> tuple[Decimal, Decimal] | None:
    return None if priced.price is None else (priced.price.input[0][1], priced.price.output[0][1])


@pytest.mark.parametrize(
    ("declared", "asked", "source", "rates"),
    [
        ((CHEAP,), sale(listed=LISTED), "declared", (1, 2)),
        ((), sale(listed=LISTED), "listed", (3, 12)),
        ((), sale(), "public", (Decimal("2.5"), 10)),
        ((), sale("zz-unknown"), None, None),
        ((), sale("zz-unknown", listed=LISTED), "listed", (3, 12)),
        ((), sale("zz-unknown", local=True), "free", (0, 0)),
        ((CHEAP,), sale("gpt-4o", local=True), "declared", (1, 2)),
        ((CHEAP,), sale("gpt-5"), "public", (Decimal("1.25"), 10)),
        ((), sale(listed=(("input", "0.000003"),)), "public", (Decimal("2.5"), 10)),
        ((), sale("zz-unknown", listed=(("input", "-1"), ("output", "nan"))), None, None),
        ((), sale("zz-unknown", listed=(("input", "1e9"), ("output", "1"))), None, None),
        ((), sale("zz-unknown", listed=(("input", "0"), ("output", "0"))), "listed", (0, 0)),
    ],
)
def test_who_says_what_it_costs(
    declared: tuple[DeclaredPrice, ...], asked: Sale, source: str | None, rates: tuple[Decimal, Decimal] | None
) -> None:
    found = PriceBook(declared).priced(asked, NOW)
    assert (found.source, rates_of(found)) == (source, rates)


@pytest.mark.parametrize(
    ("asked", "answered", "source", "rates"),
    [
        ("gpt-4o", "gpt-4o-2024-11-20", "declared", (1, 2)),  # a snapshot of what was asked
        ("gpt-4o", "gpt-5", "public", (Decimal("1.25"), 10)),  # another model answered
        ("gpt-5", "gpt-4o", "declared", (1, 2)),
        ("gpt-4o", "my-deployment-7", "declared", (1, 2)),  # a name that nobody knows is charged as what was asked
    ],
)
def test_the_model_that_answered_is_priced(asked: str, answered: str, source: str, rates: tuple[Decimal, Decimal]) -> None:
    exact = CHEAP.model_copy(update={"model": "gpt-4o"})
    found = PriceBook((exact,)).priced(sale(asked, answered=answered), NOW)
    assert (found.source, rates_of(found)) == (source, rates)


def test_a_snapshot_of_what_was_asked_is_the_model_that_is_listed() -> None:
    found = PriceBook().priced(sale(answered="gpt-4o-2024-11-20", listed=LISTED), NOW)
    assert (found.source, rates_of(found)) == ("listed", (3, 12))
    found = PriceBook().priced(sale(answered="gpt-4o-mini", listed=LISTED), NOW)
    assert (found.source, rates_of(found)) == ("public", (Decimal("0.15"), Decimal("0.6")))


def test_a_local_model_of_another_name_still_costs_its_declared_price() -> None:
    power = DeclaredPrice(provider="llama.cpp", model="tiny", rates=Rates(input=Decimal("0.01"), output=Decimal("0.02")))
    asked = Sale("llama.cpp", "tiny", answered="/models/tiny-q4.gguf", local=True)
    assert PriceBook((power,)).priced(asked, NOW).source == "declared"


def test_steps_of_a_declared_price_keep_what_they_do_not_say() -> None:
    written = DeclaredPrice(
        provider="google",
        model="g",
        rates=Rates(input=Decimal(1), output=Decimal(10), cache_read=Decimal("0.1")),
        above=((100, Rates(input=Decimal(2))), (200, Rates(output=Decimal(30), cache_write=Decimal(5)))),
        request=Decimal("0.5"),
        service_tiers={"flex": Decimal("0.5")},
    )
    found = PriceBook((written,)).priced(Sale("google", "g"), NOW)
    assert found.price == Price(
        input=((0, Decimal(1)), (100, Decimal(2)), (200, Decimal(2))),
        output=((0, Decimal(10)), (100, Decimal(10)), (200, Decimal(30))),
        cache_read=((0, Decimal("0.1")), (100, Decimal("0.1")), (200, Decimal("0.1"))),
        cache_write=((0, Decimal(1)), (100, Decimal(2)), (200, Decimal(5))),
        request=Decimal("0.5"),
    )
    # 50 x 1 + 10 x 10 = 150 millionths and the fee; half of the tokens' price, and the whole fee, when served later
    assert found.cost(Usage(50, 10)) == Decimal("0.50015")
    assert found.cost(Usage(50, 10, served="flex")) == Decimal("0.500075")
    assert found.cost(Usage(50, 10, served="priority")) is None


@pytest.mark.parametrize(
    ("config", "way"),
    [
        ({}, "standard"),
        ({"service_tier": "auto"}, "standard"),
        ({"service_tier": "Flex"}, "flex"),
        ({"serviceTier": "priority"}, "priority"),
        ({"speed": "fast"}, "fast"),
        ({"speed": "standard", "service_tier": "standard_only"}, "standard"),
        ({"service_tier": 3, "temperature": 1}, "standard"),
    ],
)
def test_the_way_of_serving_that_a_config_asks_for(config: dict[str, Any], way: str) -> None:
    assert sale_way(config) == way


def test_a_way_of_serving_without_a_price_is_unknown_and_not_the_usual_price() -> None:
    book = PriceBook()
    assert book.priced(sale(way="scale"), NOW).price is None
    usual = book.priced(sale(), NOW)
    million = Usage(1_000_000)
    assert usual.cost(million) == Decimal("2.5")
    assert usual.cost(Usage(1_000_000, served="standard")) == Decimal("2.5")
    assert usual.cost(Usage(1_000_000, served="priority")) == Decimal("4.25")
    assert usual.cost(Usage(1_000_000, served="scale")) is None
    flex = book.priced(sale("gpt-5", way="flex"), NOW)
    assert flex.cost(million) == Decimal("0.625")
    assert flex.cost(Usage(1_000_000, served="standard")) == Decimal("1.25")
    assert flex.reserved is not None
    assert flex.reserved.worst(1_000_000, 0) >= Decimal("1.25")  # the vendor may serve it in the usual way


# --- bounds


def test_a_price_far_from_the_public_one_is_noted_and_a_listed_one_reserves_the_dearer() -> None:
    low = (("input", "0.0000002"), ("output", "0.00001"))  # input 12.5 times below
    found = PriceBook().priced(sale(listed=low), NOW)
    assert found.source == "listed"
    assert found.note is not None
    assert "more than 10 times below the public price ($0.2 against $2.5 per million tokens of input)" in found.note
    assert found.cost(Usage(1_000_000)) == Decimal("0.2")
    assert found.reserved is not None
    assert found.reserved.worst(1_000_000, 0) == Decimal("2.5")
    high = PriceBook().priced(sale(listed=(("input", "0.0000025"), ("output", "0.000101"))), NOW)
    assert high.note is not None
    assert "above" in high.note
    assert high.reserved is not None
    assert high.reserved.worst(0, 1_000_000) == 101
    just = PriceBook().priced(sale(listed=(("input", "0.00000025"), ("output", "0.0001"))), NOW)
    assert (just.note, just.bound) == (None, None)


def test_the_meter_reserves_at_the_dearer_price_and_passes_the_note_on(tmp_path: Path) -> None:
    book, low = PriceBook(), (("input", "0.0000002"), ("output", "0.00001"))
    scope = CallScope(attempt="a", delegation="d", root="d", agent="worker", tier=None)
    chosen = Candidate("openai", "gpt-4o", Preference(provider="openai", model="gpt-4o"))
    with closing(Ledger(tmp_path / "l.db")) as ledger:
        meter = LedgerMeter(ledger, scope, lambda candidate, _: book.priced(sale(candidate.model, listed=low), NOW), lambda: NOW)
        price = meter.price(chosen)
    assert price is not None
    assert price.worst(1_000_000, 0) == Decimal("2.5")
    assert [note for note in meter.notes if "the dearer of the two is reserved" in note]


def test_a_declared_price_out_of_bounds_is_noted_and_taken_at_its_word() -> None:
    mistaken = CHEAP.model_copy(update={"rates": Rates(input=Decimal("0.0000025"), output=Decimal("0.00001"))})
    found = PriceBook((mistaken,)).priced(sale(), NOW)
    assert found.note is not None
    assert found.note.startswith("the declared price of openai/gpt-4o is more than 10 times below")
    assert found.reserved == found.price


def test_what_a_list_leaves_out_is_taken_from_the_public_price_in_proportion() -> None:
    public = Price(
        ((0, Decimal(3)), (200_000, Decimal(6))),
        ((0, Decimal(15)), (200_000, Decimal("22.5"))),
        cache_read=flat(Decimal("0.3")),
        cache_write_1h=flat(Decimal(6)),
    )
    found = listed_price((("input", "0.000002"), ("output", "0.00003"), ("request", "0.01")), public)
    assert found is not None
    assert found.input == ((0, Decimal(2)), (200_000, Decimal(4)))
    assert found.output == ((0, Decimal(30)), (200_000, Decimal(45)))
    assert found.cache_read is not None
    assert found.cache_read[0][1] == Decimal("0.3") * Decimal(2) / Decimal(3)
    assert found.request == Decimal("0.01")


# --- declared, in files

AGENT = "agents: {worker: {tier: budget}}\ntiers: {budget: [openai/gpt-4o]}\n"


def bundle_of(folder: Path, prices: str, *, settings: tuple[tuple[Origin, str, bool], ...] = ()) -> Bundle:
    path = folder / "team.yaml"
    path.write_text(f"format: 1\nbundle: {{name: team}}\n{AGENT}{prices}", encoding="utf-8")
    files = [
        read_settings(read_yaml_document(text, f"{origin}.yaml"), origin, trusted=trusted, folder=str(folder))
        for origin, text, trusted in settings
    ]
    return load_bundle(path, settings=files)


def test_the_most_specific_pattern_wins(tmp_path: Path) -> None:
    bundle = bundle_of(
        tmp_path,
        "prices:\n"
        '  "openai/*": {input: 1, output: 1}\n'
        '  "openai/gpt-4o*": {input: 2, output: 2}\n'
        '  "openai/gpt-4?*": {input: 3, output: 3}\n'
        '  openai/gpt-4o: {input: 4, output: 4}\n'
        '  "*/gpt-4o-mini-2024*": {input: 5, output: 5}\n',
        settings=(("user", 'prices: {"openai/gpt-4o*": {input: 6, output: 6}}\n', True),),
    )  # fmt: skip
    book = PriceBook(bundle.prices)
    expected = {
        "gpt-4o": 4,  # an exact id before a pattern
        "gpt-4o-mini-2024-07-18": 5,  # a longer pattern before a shorter one
        "gpt-4o-mini": 6,  # of the same length, the one of a later layer
        "gpt-4.1": 3,
        "o3": 1,
    }
    found = {model: book.priced(Sale("openai", model), NOW).price for model in expected}
    assert {model: price.input[0][1] for model, price in found.items() if price} == expected


def test_settings_are_laid_over_the_bundle_key_by_key(tmp_path: Path) -> None:
    bundle = bundle_of(
        tmp_path,
        "prices:\n  openai/a: {input: 1, output: 2, cache_read: 0.5}\n  openai/b: {input: 1, output: 2}\n",
        settings=(("user", "prices: {openai/a: {input: 3}, openai/b: null}\n", True),),
    )
    assert [(str(price), price.rates.input, price.rates.cache_read) for price in bundle.prices] == [
        ("openai/a", Decimal(3), Decimal("0.5"))
    ]


def test_a_strangers_word_on_prices_is_not_taken(tmp_path: Path) -> None:
    """A price of 0 would undo the budget of whoever includes a bundle, or stands in a cloned project."""
    (tmp_path / "base.yaml").write_text(
        "format: 1\nbundle: {name: base}\nprices: {openai/gpt-4o: {input: 0, output: 0}}\n", encoding="utf-8"
    )
    bundle = bundle_of(
        tmp_path,
        "includes: [./base.yaml]\n",
        settings=(("project", "prices: {openai/gpt-4o: {input: 0, output: 0}}\n", False),),
    )
    assert bundle.prices == ()
    told = [fault for fault in bundle.problems if fault.key == "prices"]
    assert [(Path(fault.file).name, fault.line, fault.level, fault.rule) for fault in told] == [
        ("base.yaml", 3, "warning", "not-from-here"),
        ("project.yaml", 1, "warning", "not-from-here"),
    ]
    assert "what models cost" in told[1].message
    trusted = bundle_of(tmp_path, "", settings=(("project", "prices: {openai/gpt-4o: {input: 0, output: 0}}\n", True),))
    assert len(trusted.prices) == 1


def test_wrong_prices_are_told_all_at_once_with_their_places(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError) as caught:
        bundle_of(
            tmp_path,
            "prices:\n"
            "  openai/a: {input: -1, output: nan}\n"
            "  openai/b: {input: .inf, output: true}\n"
            "  openai/c: {input: 1, output: 2, above: {many: {input: 1}, 0: {input: 1}}}\n"
            "  openai/d: {input: 1, output: 2, above: {1000: {inptu: 1}}}\n"
            "  openai/e: {input: 1, output: 2, service_tiers: {flex: -50%}}\n"
            "  openai/f: {input: 200000, output: 1e3}\n",
        )
    assert [(fault.line, fault.column, fault.key) for fault in caught.value.faults] == [
        (6, 21, "prices.openai/a.input"),
        (6, 33, "prices.openai/a.output"),
        (7, 21, "prices.openai/b.input"),
        (7, 35, "prices.openai/b.output"),
        (8, 43, "prices.openai/c.above"),
        (8, 61, "prices.openai/c.above"),
        (9, 50, "prices.openai/d.above.1000.inptu"),
        (10, 57, "prices.openai/e.service_tiers.flex"),
        (11, 21, "prices.openai/f.input"),
    ]
    with pytest.raises(DeclarationError) as caught:
        bundle_of(tmp_path, 'prices:\n  gpt-4o: {input: 1, output: 2}\n  openai/b: {output: 1}\n  "openai/*": {}\n')
    assert [(fault.line, fault.message.rpartition("; ")[2]) for fault in caught.value.faults] == [
        (6, 'prices are for "provider/model", such as "anthropic/claude-opus-4-6" or "ollama/*"'),
        (7, "add input"),
        (8, "add input and output"),
    ]


def test_check_warns_of_prices_that_are_probably_not_meant(tmp_path: Path) -> None:
    bundle = bundle_of(
        tmp_path,
        "prices:\n"
        "  openai/gpt-4o: {input: 0.0025, output: 0.01}\n"  # for a thousand tokens
        '  "openai/gpt-4o-m*": {input: 0.15, output: 0.6}\n'
        '  "antropic/*": {input: 1, output: 2}\n'
        '  "openai/gtp-*": {input: 1, output: 2}\n'
        '  "ollama/*": {input: 0.01, output: 0.02}\n',
    )
    catalogues = {id: Catalogue(id, tuple(snapshot_models(id)), version=1) for id in ("openai", "ollama", "anthropic")}
    faults = lint(bundle, catalogues, provider_names(), public_prices(bundle, NOW))
    found = [(fault.line, fault.rule) for fault in faults if fault.key.startswith("prices.")]
    assert found == [(6, "price-out-of-bounds"), (8, "unknown-provider"), (9, "glob-matches-nothing")]


# --- from the wire to the ledger


async def call_of(bundle: Bundle, ledger: Path, providers: dict[str, Provider], clock: float = NOW) -> dict[str, Any]:
    async with Host(bundle, providers=providers, ledger=ledger, clock=lambda: clock) as host:
        result = await host.delegate("worker", "Say hello.")
        [call] = host.ledger.calls()
    assert result.cost == call["cost"]
    return {**call, "notes": result.notes}


def working(folder: Path, preference: str, prices: str = "", **keys: Any) -> Bundle:
    provider, _, model = preference.partition("/")
    config = f", config: {yaml.safe_dump(keys['config'], default_flow_style=True).strip()}" if "config" in keys else ""
    path = folder / "work.yaml"
    path.write_text(
        "format: 1\nbundle: {name: work}\n"
        f"agents: {{worker: {{provider_preferences: [{{provider: {provider}, model: \"{model}\"{config}}}]}}}}\n{prices}",
        encoding="utf-8",
    )  # fmt: skip
    return load_bundle(path, strict=True)


# 1,000 of prompt (400 from a cache, 200 written to one where the vendor says so), 500 of answer (100 of them thought)
USED = Usage(1_000, 500, cache_read_tokens=400, reasoning_tokens=100)
WIRES = [
    # 400 plain x 1 + 400 read x 0.1 + 200 written x 1.25 + 500 x 5 = 3,190
    ("anthropic/claude-haiku-4-5-20251001", Usage(1_000, 500, 400, 200, 100), "0.00319", "public"),
    # 600 x 0.15 + 400 x 0.075 + 500 x 0.6 = 420
    ("openai/gpt-4o-mini", USED, "0.00042", "public"),
    # 600 x 0.3 + 400 x 0.03 + 500 x 2.5 = 1,442: thoughts are told beside the answer's tokens, and charged as they are
    ("google/gemini-2.5-flash", USED, "0.001442", "public"),
    ("ollama/qwen3:8b", Usage(1_000, 500), "0", "free"),
]


@pytest.mark.parametrize(("preference", "used", "cost", "source"), WIRES)
async def test_each_vendors_usage_is_charged_right(
    vendors: Served, tmp_path: Path, preference: str, used: Usage, cost: str, source: str
) -> None:
    world, base = vendors
    world.vendor(preference.partition("/")[0]).replies = [Reply("Done.", usage=used)]
    call = await call_of(working(tmp_path, preference), tmp_path / "l.db", mounted(world, base))
    assert (call["cost"], call["cost_source"]) == (Decimal(cost), source)


async def test_what_anthropic_keeps_for_an_hour_and_searches_for_is_charged(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    also = {
        "cache_creation": {"ephemeral_5m_input_tokens": 50, "ephemeral_1h_input_tokens": 150},
        "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1},
        "service_tier": "standard",
    }
    world.vendor("anthropic").replies = [Reply("Done.", usage=Usage(1_000, 500, 400, 200), also_counted=also)]
    call = await call_of(working(tmp_path, "anthropic/claude-haiku-4-5-20251001"), tmp_path / "l.db", mounted(world, base))
    # 400 x 1 + 400 x 0.1 + 50 x 1.25 + 150 x 2 + 500 x 5 = 3,302.5 millionths, and 2 x 0.01
    assert call["cost"] == Decimal("0.0233025")


@pytest.mark.parametrize(("served", "cost"), [("priority", None), ("batch", "0.00175"), ("standard", "0.0035")])
async def test_the_way_in_which_anthropic_served_decides(vendors: Served, tmp_path: Path, served: str, cost: str | None) -> None:
    """Nobody knows what bought capacity (`priority`) costs a token; a batch is half."""
    world, base = vendors
    world.vendor("anthropic").replies = [Reply("Done.", usage=Usage(1_000, 500), also_counted={"service_tier": served})]
    call = await call_of(working(tmp_path, "anthropic/claude-haiku-4-5-20251001"), tmp_path / "l.db", mounted(world, base))
    assert call["cost"] == (None if cost is None else Decimal(cost))
    assert call["cost_source"] == ("public" if cost else None)
    doubts = [note for note in call["notes"] if "served as 'priority' is not known" in note]
    assert len(doubts) == (cost is None)


@pytest.mark.parametrize(
    ("asked", "served", "cost"),
    [
        # 1,000 x 2.5 + 500 x 10 = 7,500; with priority 1,000 x 4.25 + 500 x 17 = 12,750
        (None, "default", "0.0075"),
        (None, "priority", "0.01275"),
        ("priority", "priority", "0.01275"),
        ("priority", "default", "0.0075"),
        ("priority", None, "0.01275"),
        (None, "scale", None),
    ],
)
async def test_openai_charges_for_the_tier_that_it_served(
    vendors: Served, tmp_path: Path, asked: str | None, served: str | None, cost: str | None
) -> None:
    world, base = vendors
    said = {"service_tier": served} if served else {}
    world.vendor("openai").replies = [Reply("Done.", usage=Usage(1_000, 500), also_said=said)]
    keys = {"config": {"service_tier": asked}} if asked else {}
    call = await call_of(working(tmp_path, "openai/gpt-4o", **keys), tmp_path / "l.db", mounted(world, base))
    assert call["cost"] == (None if cost is None else Decimal(cost))


async def test_sound_in_googles_prompt_is_charged_as_sound(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    details = [{"modality": "TEXT", "tokenCount": 400}, {"modality": "AUDIO", "tokenCount": 600}]
    world.vendor("google").replies = [Reply("Done.", usage=Usage(1_000, 500), also_counted={"promptTokensDetails": details})]
    call = await call_of(working(tmp_path, "google/gemini-2.5-flash"), tmp_path / "l.db", mounted(world, base))
    # 400 x 0.3 + 600 x 1 + 500 x 2.5 = 1,970
    assert call["cost"] == Decimal("0.00197")


async def test_a_local_model_costs_its_declared_price(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    world.vendor("ollama").replies = [Reply("Done.", usage=Usage(1_000, 500))]
    prices = 'prices: {"ollama/*": {input: 0.01, output: 0.02}}\n'
    call = await call_of(working(tmp_path, "ollama/qwen3:8b", prices), tmp_path / "l.db", mounted(world, base))
    # 1,000 x 0.01 + 500 x 0.02 = 20 millionths
    assert (call["cost"], call["cost_source"]) == (Decimal("0.00002"), "declared")


async def test_a_declared_price_far_off_is_told_with_the_answer(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    prices = "prices: {openai/gpt-4o-mini: {input: 150, output: 600}}\n"
    call = await call_of(working(tmp_path, "openai/gpt-4o-mini", prices), tmp_path / "l.db", mounted(world, base))
    assert call["cost_source"] == "declared"
    [note] = [note for note in call["notes"] if "public price" in note]
    assert note.startswith("the declared price of openai/gpt-4o-mini is more than 10 times above")


# --- what providers report

RELAYED = "openai/gpt-4o-mini"


async def relayed(world: World, base: str, folder: Path, told: dict[str, Any], row: str = "openrouter") -> dict[str, Any]:
    world.vendor("openrouter").replies = [Reply("Done.", usage=Usage(1_000, 500), also_counted=told)]
    found = table.row(row)
    assert found is not None
    one = CompatibleProvider(
        replace(found, models_path="models"), id="openrouter", api_key="k", base_url=world.url(base, "openrouter")
    )
    return await call_of(working(folder, f"openrouter/{RELAYED}"), folder / "l.db", {"openrouter": one})


async def test_what_a_relay_says_it_charges_wins_and_is_marked(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    told = {"cost": 0.000123, "is_byok": False, "cost_details": {"upstream_inference_cost": 9}}
    call = await relayed(world, base, tmp_path, told)
    assert (call["cost"], call["cost_source"]) == (Decimal("0.000123"), "reported")
    (tmp_path / "silent").mkdir()
    call = await relayed(world, base, tmp_path / "silent", {})
    # its list of models has the price: 1,000 x 0.1 + 500 x 0.4 = 300 millionths
    assert (call["cost"], call["cost_source"]) == (Decimal("0.0003"), "listed")


async def test_with_the_accounts_own_key_the_vendors_bill_is_added(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    told = {"cost": 0.0001, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.002}}
    assert (await relayed(world, base, tmp_path, told))["cost"] == Decimal("0.0021")


async def test_ticks_are_ten_thousand_millionths_of_a_dollar(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    call = await relayed(world, base, tmp_path, {"cost_in_usd_ticks": 37_756_000}, row="xai")
    assert (call["cost"], call["cost_source"]) == (Decimal("0.0037756"), "reported")


@pytest.mark.parametrize("lie", [-0.1, 1e9, "0.1", "free", True, [1], {"total": 1}])
async def test_a_cost_that_cannot_be_is_not_believed_and_told(vendors: Served, tmp_path: Path, lie: Any) -> None:
    world, base = vendors
    call = await relayed(world, base, tmp_path, {"cost": lie})
    assert (call["cost"], call["cost_source"]) == (Decimal("0.0003"), "listed")


@pytest.mark.parametrize("lie", [float("nan"), float("inf"), -1, "1", 1001, True])
def test_figures_that_are_no_amounts_are_named(lie: Any) -> None:
    cost, note = reported_cost(table.row("openrouter"), {"cost": lie})
    assert cost is None
    assert note is not None
    assert "not believed" in note
    assert reported_cost(table.row("openrouter"), {"cost": None}) == (None, None)
    assert reported_cost(table.row("groq"), {"cost": 1}) == (None, None)
    assert reported_cost(table.row("openrouter"), {"cost": 0}) == (Decimal(0), None)


@pytest.mark.parametrize("lie", [Decimal(-1), Decimal("nan"), Decimal("inf"), Decimal(10**9), 0.5, "1"])
async def test_a_hosts_own_provider_is_not_believed_either(tmp_path: Path, lie: Any) -> None:
    class Liar:
        id, local = "liar", False

        async def list_models(self) -> list[ModelInfo]:
            return [ModelInfo("m-1")]

        async def stream(self, request: ChatRequest) -> AsyncGenerator[StreamPart]:
            yield Delta("Done.")
            yield Turn(Message("assistant", (Text("Done."),)), Usage(1_000, 500), "m-1", "stop", cost=lie)

        async def aclose(self) -> None: ...

    prices = "prices: {liar/m-1: {input: 1, output: 2}}\n"
    call = await call_of(working(tmp_path, "liar/m-1", prices), tmp_path / "l.db", {"liar": Liar()})
    # 1,000 x 1 + 500 x 2 = 2,000
    assert (call["cost"], call["cost_source"]) == (Decimal("0.002"), "declared")
    assert [note for note in call["notes"] if "not believed" in note]


# --- what a cheaper tier saves


@pytest.mark.requirement("AGT-36")
async def test_budget_delegations_cost_a_fifth_of_the_parents_price_or_less(tmp_path: Path) -> None:
    """The shipped bundle, the simulated providers, the bundled prices: what agents of the budget tier used, at Opus's price."""
    foundation = load_bundle("foundation")
    budget = [name for name, agent in foundation.agents.items() if agent.tier == "budget"]
    assert budget
    async with Host(foundation, providers=simulated_providers(None), ledger=tmp_path / "l.db", clock=lambda: NOW) as host:
        for name in budget:
            await host.delegate(name, "Say which files changed. " * 20, provider="anthropic", parent="anthropic/claude-opus-4-6")
            await host.delegate(name, "Say which files changed. " * 20, provider="openai")
        opus = host.prices.public("anthropic", "claude-opus-4-6", NOW)
        calls = host.ledger.calls()
    assert opus is not None
    report = saving(calls, opus)
    assert (report.calls, report.unknown) == (2 * len(budget), 0)
    assert report.ratio is not None
    assert 5 <= report.ratio <= 50
    assert report.saved == report.against - report.cost > 0
    by_model = savings_by("asked", calls, opus)
    assert len(by_model) == 2
    assert all(one.ratio is not None and one.ratio >= 5 for one in by_model.values())
    assert "times as much" in str(report)


def test_a_saving_leaves_out_what_is_unknown_and_divides_by_nothing() -> None:
    row = {"input_tokens": 1_000, "output_tokens": 100, "cache_read_tokens": None, "cache_write_tokens": 0, "reasoning_tokens": 0}
    price = Price(flat(Decimal(5)), flat(Decimal(25)))
    rows = [row | {"cost": Decimal("0.001")}, row | {"cost": None}, row | {"cost": Decimal(0), "input_tokens": None}]
    found = saving(rows, price)
    # 1,000 x 5 + 100 x 25 = 7,500 millionths
    assert (found.calls, found.unknown, found.cost, found.against) == (1, 2, Decimal("0.001"), Decimal("0.0075"))
    assert found.ratio == Decimal("7.5")
    assert saving([row | {"cost": Decimal(0)}], price).ratio is None
    assert FREE.cost(Usage(5, 5)) == 0
