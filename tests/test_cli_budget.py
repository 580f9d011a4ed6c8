"""`bundle-loader budget`, as a process: every account with its figures, and what may still be spent."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from bundle_loader.declared.budget import Budget
from bundle_loader.ledger.accounts import hold_of, window_of
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.operations import Close, Reserve, Settle
from bundle_loader.routing.charged import PICO, CallFacts
from bundle_loader.routing.price import FREE
from bundle_loader.routing.remaining import Remaining, remaining
from bundle_loader.routing.standing import AccountStanding, Standing
from bundle_loader.sources.load import load_bundle
from tests.support.command import Ran, command

Run = Callable[..., Ran]

BUNDLE = """
format: 1
bundle: {name: b}
budgets:
  month: {money: 10, per: month, zone: Asia/Tokyo}
  day: {money: 5, per: day}
  part: {share: {of: day, percent: 40%}, scope: {agent: worker}}
  each: {tokens: 1000, per: day, each: agent}
  calls: {requests: 7, per: minute, scope: {provider: openai}}
agents:
  worker: {provider_preferences: [openai/gpt-4o]}
"""
FACTS = CallFacts("openai", "gpt-4o", "gpt", "worker", "tree")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "b.yaml").write_text(BUNDLE, encoding="utf-8")
    (tmp_path / "home").mkdir()

    def go(*arguments: str) -> Ran:
        return command("budget", "--bundle", "b.yaml", *arguments, home=tmp_path / "home", cwd=tmp_path)

    return go


async def charge(path: Path, one: Budget, settled: Decimal, reserved: Decimal = Decimal(0)) -> None:
    unit = PICO if one.unit == "money" else 1
    with closing(Ledger(path)) as ledger:
        for id, held, used in (("used", settled, settled), ("held", reserved, None)):
            if not held:
                continue
            hold = replace(hold_of(one, FACTS, time.time(), 1, FREE), fixed=int(held * unit), per_token=0)
            asked = Reserve(f"{one.id}-{id}", (hold,), 0, 0)
            await ledger.reserve(asked)
            if used is not None:
                await ledger.settle(Settle(asked.id, asked.charges(0, lambda hold: hold.fixed)))


def of(ran: Ran) -> dict[str, dict[str, Any]]:
    return {row["budget"]: row for row in ran.json["budgets"]}


async def test_every_account_says_what_is_settled_left_and_may_still_be_spent(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    budgets = load_bundle(tmp_path / "b.yaml").budgets
    await charge(path, budgets["month"], Decimal(9))
    await charge(path, budgets["day"], Decimal(3))
    await charge(path, budgets["part"], Decimal("0.5"))
    await charge(path, budgets["each"], Decimal(250))
    await charge(path, budgets["calls"], Decimal(2))
    rows = of(run("--ledger", str(path), "--json"))
    figures = {
        id: [rows[id][key] for key in ("limit", "settled", "reserved", "left", "may_be_spent", "bound_by")] for id in budgets
    }
    # the day's 2 are cut to the month's 1, and so is the share of the day's
    assert figures["month"] == ["10", "9", "0", "1", "1", None]
    assert figures["day"] == ["5", "3", "0", "2", "1", "month"]
    assert figures["part"] == ["2", "0.5", "0", "1.5", "1", "month"]
    assert figures["each"] == [1000, 250, 0, 750, 750, None]
    assert figures["calls"] == [7, 2, 0, 5, 5, None]
    assert (rows["each"]["account"], rows["part"]["share_of"]) == ("each|agent=worker", "day")
    lines = run("--ledger", str(path)).out.splitlines()
    at = window_of(budgets["month"], time.time()).renews
    assert at is not None
    renews = datetime.fromtimestamp(at, ZoneInfo("Asia/Tokyo"))
    assert lines[0] == f"month: $10 a month; renews {renews:%Y-%m-%d} 00:00 Asia/Tokyo"
    assert lines[1].strip().startswith("[##################..] $9.0000 settled, $0.0000 reserved, $1.0000 left")
    assert lines[3].endswith("may still be spent: $1.0000, bound by month")
    assert lines[4].startswith("  part: "), "a share stands below its whole"
    assert "agent=worker: 250 tokens settled" in "".join(lines)
    assert any(line.endswith("over the last 60 seconds") for line in lines)


async def test_what_is_reserved_by_a_process_that_runs_is_shown(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    one = load_bundle(tmp_path / "b.yaml").budgets["day"]
    with closing(Ledger(path)) as ledger:
        hold = replace(hold_of(one, FACTS, time.time(), 1, FREE), fixed=int(PICO) * 2, per_token=0)
        await ledger.reserve(Reserve("held", (hold,), 0, 0))
        rows = of(run("--ledger", str(path), "--json"))
        assert [rows["day"][key] for key in ("settled", "reserved", "left")] == ["0", "2", "3"]
        assert "[++++++++............]" in run("--ledger", str(path)).out


def test_before_anything_was_spent_all_of_it_is_left(run: Run, tmp_path: Path) -> None:
    rows = of(run("--json"))
    assert [rows["day"][key] for key in ("settled", "left", "may_be_spent")] == ["0", "5", "5"]
    assert rows["each"]["account"] is None
    assert "nothing is charged to it now" in run().out
    assert not (tmp_path / "home" / "data" / "ledger.db").exists(), "looking makes no ledger"


def test_what_vendors_have_closed_is_shown(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    with closing(Ledger(path)) as ledger:
        ledger.enter(Close("openai|gpt", time.time() + 600, "limited: slow down"))
    (closed,) = run("--ledger", str(path), "--json").json["closed"]
    assert (closed["key"], closed["reason"]) == ("openai|gpt", "limited: slow down")
    assert ": openai gpt: limited: slow down" in run("--ledger", str(path)).out


def test_files_that_are_not_there_and_wrong_ones_are_told(run: Run, tmp_path: Path) -> None:
    missing = run("--ledger", str(tmp_path / "none.db"))
    assert (missing.code, "there is no ledger" in missing.err) == (1, True)
    (tmp_path / "l.db").write_text("not a database " * 100)
    wrong = run("--ledger", str(tmp_path / "l.db"))
    assert (wrong.code, "not a ledger that can be read" in wrong.err) == (1, True)


# --- which budgets are wider


def budget(id: str, **given: Any) -> Budget:
    return Budget.model_validate({"id": id, "unit": "money", "limit": Decimal(10), "per": "day", **given})


@pytest.mark.parametrize(
    ("narrow", "wide", "key"),
    [
        ({}, {}, "w"),
        ({"scope": {"agent": ("a",)}}, {}, "w"),
        ({}, {"scope": {"agent": ("a",)}}, None),
        ({"scope": {"agent": ("a", "b")}}, {"scope": {"agent": ("a",)}}, None),
        ({"scope": {"agent": ("a",)}}, {"scope": {"agent": ("a", "b")}}, "w"),
        ({"scope": {"model": ("claude-haiku-*",)}}, {"scope": {"model": ("claude-*",)}}, "w"),
        ({"scope": {"model": ("claude-*",)}}, {"scope": {"model": ("claude-haiku-*",)}}, None),
        ({"scope": {"model": ("a*",)}}, {"scope": {"model": ("a?",)}}, None),
        ({"scope": {"model": ("gpt-[ab]",)}}, {"scope": {"model": ("gpt-?????",)}}, None),
        ({"each": ("agent",)}, {"each": ("agent",)}, "w|agent=a"),
        ({"each": ("agent",)}, {"scope": {"agent": ("a",)}}, "w"),
        ({"each": ("agent",)}, {"scope": {"agent": ("b",)}}, None),
        ({"each": ("agent",)}, {"each": ("provider",)}, None),
        ({"scope": {"provider": ("p",)}}, {"each": ("provider",)}, "w|provider=p"),
        ({"scope": {"provider": ("p*",)}}, {"each": ("provider",)}, None),
        ({}, {"unit": "tokens"}, None),
        ({}, {"per": "run"}, None),
    ],
)
def test_a_wider_budget_bounds_what_may_be_spent(narrow: dict[str, Any], wide: dict[str, Any], key: str | None) -> None:
    own, other = budget("n", **narrow), budget("w", **wide)
    account = AccountStanding("n|agent=a" if "each" in narrow else "n", own, 10, 0, 2, None)
    wider = {
        name: AccountStanding(name, other, 10, 9, 0, None)
        for name in ("w", "w|agent=a", "w|agent=b", "w|provider=p", "w|provider=q")
    }
    found = remaining(account, (own, other), Standing(0.0, wider if key is None else {key: wider[key]}))
    assert found == (Remaining(8) if key is None else Remaining(1, "w"))
