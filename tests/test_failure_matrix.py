"""Every failure, of every vendor, in every way of asking: what follows, who is not called, what is told and what is left."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from itertools import pairwise, product
from pathlib import Path

import pytest

from bundle_loader import BrokenAnswer, Host, Stopped
from bundle_loader.delegation.result import DoneEvent
from bundle_loader.errors import FailureKind, ProviderFailure
from bundle_loader.events import FallbackEvent, StatusEvent, TextEvent
from bundle_loader.ledger.breakers import LEAST, Breakers
from bundle_loader.ledger.ledger import Ledger
from tests.support.budgeted import reserved, settled
from tests.support.hosting import MODELS
from tests.support.vendor_cells import HEALTH, TEXT, TOKENS, WAYS, WORDS, Cell, Played, cells, chain, play
from tests.support.vendors import World

Served = tuple[World, str]

FAULTS = (
    "connection refused", "reset", "DNS", "401", "402", "403", "404", "408", "413", "429 short", "429 long", "429 daily quota",
    "500", "502 HTML", "503", "529", "hang before headers", "hang before first token", "stall in mid-stream", "cut at token 40",
    "empty 200", "malformed JSON", "error inside a 200 stream", "context length", "safety block", "bad tool schema",
)  # fmt: skip
CELLS = cells()
PLAYED = [cell for cell in CELLS if cell.next in WORDS]
STREAMED = [cell for cell in PLAYED if cell.next == "broken"]


def test_the_matrix_has_every_cell_and_a_reason_for_each_that_is_not_played() -> None:
    found = Counter((cell.fault, cell.vendor, cell.way) for cell in CELLS)
    assert found == Counter(product(FAULTS, MODELS, WAYS))
    for cell in CELLS:
        assert cell.next in WORDS or len(cell.next.removeprefix("n/a: ")) > 20, cell
        assert cell.next in WORDS or cell.next.startswith("n/a: "), cell
        assert cell.health in HEALTH, cell
        assert cell.kind in set(FailureKind), cell


@pytest.mark.parametrize("cell", PLAYED, ids=str)
async def test_what_follows(vendors: Served, tmp_path: Path, cell: Cell, caplog: pytest.LogCaptureFixture) -> None:
    world, base = vendors
    before = asyncio.all_tasks()
    async with chain(cell, world, base, tmp_path) as (host, failing):
        played = await play(cell, world, host, failing)
        (row,) = host.ledger.delegations()
        ends_as_expected(cell, played, row["outcome"])
        told_as_expected(cell, played)
        called_as_expected(cell, world, failing)
        written_as_expected(cell, played, host)
        health_as_expected(cell, host.breakers)
    await world.until(lambda: not world.connections and not any(vendor.in_flight for vendor in world.vendors.values()))
    assert asyncio.all_tasks() == before, "no task is left"
    ledger = Ledger(tmp_path / "l.db")
    assert ledger.query("reservations") == []
    ledger.close()
    says_no_key(world, played, tmp_path, caplog.text)


def ends_as_expected(cell: Cell, played: Played, outcome: str) -> None:
    if cell.answered:
        assert played.error is None
        assert played.result is not None
        assert (played.result.provider, played.result.model) == cell.attempts[-1]
        assert (played.result.text, outcome) == (TEXT, "answered")
    else:
        assert type(played.error) is (Stopped if cell.next == "stop" else BrokenAnswer)
        assert outcome == "failed"
    assert played.noted == (["once-7731"] if cell.way == "tools" else []), "no tool runs twice"


def told_as_expected(cell: Cell, played: Played) -> None:
    """One status for each attempt, one event for each hop, and no text of a candidate that came to nothing."""
    attempts = played.result.attempts if played.result is not None else played.error.attempts if played.error else ()
    statuses, hops = played.of(StatusEvent), played.of(FallbackEvent)
    assert [(one.provider, one.model) for one in statuses] == cell.attempts
    assert [one.number for one in statuses] == list(range(1, len(statuses) + 1))
    assert [len(one.before) for one in statuses] == list(range(len(statuses)))
    assert [((hop.from_provider, hop.from_model), (hop.to_provider, hop.to_model)) for hop in hops] == list(
        pairwise(cell.attempts)
    )
    assert [hop.reason for hop in hops] == [attempt.reason for attempt in attempts[: len(hops)]]
    assert all(hop.reason.startswith(cell.kind) for hop in hops)
    steps = [event for event in played.events if isinstance(event, StatusEvent | FallbackEvent)]
    assert [type(step) for step in steps] == [StatusEvent, *(FallbackEvent, StatusEvent) * len(hops)]
    texts = played.of(TextEvent)
    shown = "".join(event.text for event in texts)
    if cell.next == "broken":
        assert isinstance(played.error, BrokenAnswer)
        assert played.error.partial == shown
        assert 0 < len(shown) < len(TEXT)
        assert TEXT.startswith(shown)
        if "at" in cell.does:
            assert shown == TEXT[: cell.does["at"] * len(TEXT) // TOKENS]
    else:
        assert shown == (TEXT if cell.way == "stream" and cell.answered else "")
    if texts:
        last = max(index for index, event in enumerate(played.events) if isinstance(event, StatusEvent))
        assert played.events.index(texts[0]) > last, "only who answers is shown"
    assert isinstance(played.events[-1], DoneEvent) == cell.answered
    assert len(played.of(DoneEvent)) == int(cell.answered)


def called_as_expected(cell: Cell, world: World, failing: object) -> None:
    """Every request that arrived anywhere; whoever is not among them was not called."""
    wanted = Counter(cell.attempts)
    if cell.lost:
        wanted -= Counter([(cell.vendor, cell.first), (cell.vendor, cell.second)])
    if cell.way == "tools":
        wanted[cell.vendor, cell.first] += 1
    assert Counter((chat.vendor, chat.model) for chat in world.chats()) == wanted
    if cell.way == "tools" and cell.answered:
        taken = json.dumps(world.chats()[-1].body_json)
        assert "once-7731" in taken, "who takes over is told what was done"
        assert "noted as number 1" in taken
        assert "Let me note it." in taken
    asked = Counter(getattr(failing, "asked", ()))
    turns = int(cell.way == "tools")
    assert asked == Counter(model for vendor, model in cell.attempts if vendor == cell.vendor) + Counter({cell.first: turns})


def written_as_expected(cell: Cell, played: Played, host: Host) -> None:
    """The ledger has every attempt with its kind and reason; what calls cost stays spent, and nothing stays reserved."""
    (row,) = host.ledger.delegations()
    rows = host.ledger.attempts(row["id"])
    assert [(one["provider"], one["model"]) for one in rows] == cell.attempts
    assert [one["number"] for one in rows] == list(range(1, len(rows) + 1))
    failed = rows[:-1] if cell.answered else rows
    assert [(one["outcome"], one["kind"]) for one in failed] == [("failed", cell.kind)] * len(failed)
    assert all(str(one["reason"]).startswith(cell.kind) for one in failed)
    if cell.answered:
        assert (rows[-1]["outcome"], rows[-1]["kind"], rows[-1]["reason"]) == ("answered", None, None)
    calls = host.ledger.calls(row["id"])
    assert len(calls) == len(rows) + (cell.way == "tools")
    assert [call["outcome"] for call in calls if call["outcome"] == "answered"] == ["answered"] * (
        int(cell.answered) + (cell.way == "tools")
    )
    spent = sum(call["cost"] for call in calls)
    assert settled(host).get("day", 0) == spent
    assert settled(host).get("talk", 0) * 10**12 == sum(call["input_tokens"] + call["output_tokens"] for call in calls)
    if played.result is not None:
        assert played.result.cost == spent, "the result has the cost of every attempt"
    if cell.answered and cell.attempts[-1][0] != "ollama":
        assert calls[-1]["cost"] > 0, "an answer is paid for"
    if cell.way == "tools" and cell.vendor != "ollama":
        assert calls[0]["cost"] > 0, "the turn that went well stays paid for"
    assert reserved(host) == 0


def health_as_expected(cell: Cell, breakers: Breakers) -> None:
    """What the failure counted against: how many more of the same kind it takes until it is taken for down."""
    now = time.time()
    down = breakers.down(now)
    if cell.health.endswith(" out"):
        assert list(down) == [(cell.vendor, cell.first if cell.health == "model out" else None)]
        return
    assert down == {}
    whole, one = (counted(breakers, cell, scope, now) for scope in ("provider", "model"))
    assert (whole > 0, one > 0) == {"provider": (True, False), "model": (True, True), "nobody": (False, False)}[cell.health]


def counted(breakers: Breakers, cell: Cell, scope: str, now: float) -> int:
    """How many outcomes were counted for the provider, or for the model that failed."""
    pair = cell.vendor, cell.first if scope == "model" else None
    for more in range(LEAST + 1):
        if pair in breakers.down(now):
            return LEAST - more
        failure = ProviderFailure(FailureKind.BUSY, cell.vendor, "down", scope=scope)
        breakers.failed(cell.vendor, cell.first, failure, "later", now)
    raise AssertionError(f"{pair} is not down after {LEAST + 1} failures")


def says_no_key(world: World, played: Played, folder: Path, logged: str) -> None:
    said = [logged, *map(repr, played.events), repr(played.error), str(played.error)]
    kept = b"".join(path.read_bytes() for path in folder.glob("l.db*"))
    for vendor in MODELS:
        assert not [text for text in said if world.key(vendor) in text]
        assert world.key(vendor).encode() not in kept


@pytest.mark.parametrize("cell", STREAMED, ids=str)
async def test_a_stream_that_breaks_starts_the_turn_anew_where_the_agent_says_so(
    vendors: Served, tmp_path: Path, cell: Cell
) -> None:
    world, base = vendors
    async with chain(cell, world, base, tmp_path, on_broken_stream="continue") as (host, failing):
        played = await play(cell, world, host, failing)
    assert played.result is not None
    assert (played.result.provider, played.result.model, played.result.text) == (cell.vendor, cell.second, TEXT)
    kinds = [type(event) for event in played.events]
    hop = kinds.index(FallbackEvent)
    assert kinds.count(FallbackEvent) == 1
    before, after = (
        "".join(one.text for one in part if isinstance(one, TextEvent)) for part in (played.events[:hop], played.events[hop:])
    )
    assert 0 < len(before) < len(TEXT)
    assert TEXT.startswith(before)
    assert after == TEXT, "the reader is told by the event, and has the whole answer after it"
    assert Counter((chat.vendor, chat.model) for chat in world.chats()) == {
        (cell.vendor, cell.first): 1,
        (cell.vendor, cell.second): 1,
    }
