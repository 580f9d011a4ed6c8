"""What a provider says that it used is believed only where it can be; a ledger that is locked does not outlast the deadline."""

from __future__ import annotations

import contextlib
import sqlite3
from decimal import Decimal
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from bundle_loader import DeadlineExceeded, Host, LedgerError, SimulatedProvider
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.prices import MOST_TOKENS
from bundle_loader.messages import Usage
from bundle_loader.providers.openai_wire import usage_of
from bundle_loader.providers.simulated import Reply


def bundle(folder: Path) -> Path:
    path = folder / "b.yaml"
    path.write_text(
        "budgets: {day: {money: 5, per: day}}\nprices: {'sim/*': {input: 1, output: 1}}\n"
        "agents: {worker: {description: d, provider_preferences: [sim/m-1]}}\n",
        encoding="utf-8",
    )
    return path


def hosted(folder: Path, *replies: Reply) -> Host:
    provider = SimulatedProvider("sim", models=["m-1"], replies=replies)
    return Host(bundle(folder), providers={"sim": provider}, ledger=folder / "l.db")


@pytest.mark.parametrize(
    "lie",
    [Usage(-100_000, 10), Usage(10, -1), Usage(10, 10, cache_read_tokens=-5), Usage(10**13, 10), Usage(10, MOST_TOKENS + 1)],
    ids=["negative prompt", "negative answer", "negative cache", "huge prompt", "a little too much"],
)
async def test_a_usage_that_cannot_be_is_estimated_and_never_gives_money_back(lie: Usage, tmp_path: Path) -> None:
    async with hosted(tmp_path, Reply("Done.", usage=lie)) as host:
        result = await host.delegate("worker", "Work.")
        [call] = host.ledger.calls(result.id)
        [account] = [row for row in host.ledger.query("accounts", account=None) if row["account"] == "day"]
    assert result.usage.estimated
    assert call["estimated"]
    assert call["input_tokens"] > 0
    assert call["cost"] > Decimal(0)
    assert account["settled"] > 0
    assert any("says that it used what cannot be" in note for note in result.notes)


async def test_a_usage_that_can_be_is_taken_as_it_is(tmp_path: Path) -> None:
    async with hosted(tmp_path, Reply("Done.", usage=Usage(MOST_TOKENS // 1000, 7))) as host:
        result = await host.delegate("worker", "Work.")
    assert result.usage == Usage(MOST_TOKENS // 1000, 7)


@pytest.mark.parametrize(
    "told",
    [
        {"prompt_tokens": None, "completion_tokens": None},
        {"prompt_tokens": "12", "completion_tokens": 3},
        {"prompt_tokens": 12, "completion_tokens": "x"},
        {"prompt_tokens": 12, "completion_tokens": -3},
        {"prompt_tokens": 10**13, "completion_tokens": 1},
        {"prompt_tokens": True, "completion_tokens": 1},
        {"completion_tokens": 1},
    ],
)
def test_a_usage_that_cannot_be_read_is_unknown_and_not_nothing(told: dict[str, Any]) -> None:
    assert usage_of(told) is None


async def test_a_locked_ledger_does_not_outlast_the_deadline(tmp_path: Path) -> None:
    async with hosted(tmp_path) as host:
        await host.delegate("worker", "First.")
        other = sqlite3.connect(tmp_path / "l.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        began = perf_counter()
        with pytest.raises(DeadlineExceeded, match="kept the ledger locked"):
            await host.delegate("worker", "Work.", timeout=0.5)
        took = perf_counter() - began
        other.execute("ROLLBACK")
        other.close()
        assert took < 5
        assert (await host.delegate("worker", "Again.")).text
        assert host.ledger.query("reservations") == []


@pytest.mark.parametrize("address", ["postgresql://u:secret@127.0.0.1:1/x", "sqlite:///l.db"])
def test_an_address_is_no_file(address: str, tmp_path: Path) -> None:
    with contextlib.chdir(tmp_path), pytest.raises(LedgerError, match="the ledger is a file for now") as caught:
        Ledger(address)
    assert "secret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
