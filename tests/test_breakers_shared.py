"""Health between hosts, around calls and over time: whose it is, when a probe is decided, and what says nothing."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from time import perf_counter

import pytest

from bundle_loader.delegation.result import DelegationResult
from bundle_loader.errors import FailureKind, NoAnswer, ProviderFailure
from bundle_loader.events import TextEvent
from bundle_loader.host import Host
from bundle_loader.ledger.breakers import FIRST, LEAST, Breakers, Change
from bundle_loader.ledger.leases import LEASE, LONGEST
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.operations import Granted, Open, Recover, Refused, Reserve, Unlease
from bundle_loader.messages import Delta, Message, StreamPart, Text, Turn, Usage
from bundle_loader.providers.anthropic import AnthropicProvider
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.declared_models import DeclaredModels
from bundle_loader.providers.health_scopes import health_scopes
from bundle_loader.routing.catalogue import ModelInfo
from tests.support.hosting import worker

NOW = 1_780_000_000.0
Said = Callable[[ChatRequest], ProviderFailure | str]


class Played:
    """A host's own provider: it says what it is told to say, and nothing of its key."""

    local = False

    def __init__(self, id: str, said: Said = lambda request: "ok", models: tuple[str, ...] = ("m",)) -> None:
        self.id = id
        self.said = said
        self.models = models
        self.asked: list[str] = []

    async def list_models(self) -> list[ModelInfo]:
        return [ModelInfo(id=model) for model in self.models]

    async def stream(self, request: ChatRequest) -> AsyncIterator[StreamPart]:
        self.asked.append(request.model)
        said = self.said(request)
        if isinstance(said, ProviderFailure):
            raise said
        if said:
            yield Delta(said)
        message = Message("assistant", (Text(said),) if said else ())
        yield Turn(message=message, finish="stop", usage=Usage(10, 5), model=request.model)

    async def aclose(self) -> None:
        pass


def failure(
    kind: FailureKind = FailureKind.BUSY, *, scope: str = "model", status: int | None = 503, after: float | None = None
) -> ProviderFailure:
    return ProviderFailure(kind, "p", "down", status=status, scope=scope, retry_after=after)


def refusal(scope: str = "model") -> ProviderFailure:
    return failure(FailureKind.REFUSED, scope=scope, status=403 if scope == "model" else 401)


def worn(breakers: Breakers, *models: str, scope: str = "model", now: float = NOW) -> list[Change]:
    changes: list[Change] = []
    for number in range(LEAST):
        changes += breakers.failed("p", (models or ("m",))[number % len(models or "m")], failure(scope=scope), f"c{number}", now)
    return changes


def row(opened: Change, **other: object) -> dict[str, object]:
    assert isinstance(opened, Open)
    told = {name: getattr(opened, name) for name in ("key", "provider", "model", "until", "times", "reason")}
    return {**told, "refused": int(opened.refused), **other}


# --- whose it is


async def test_a_wrong_key_of_one_host_closes_nothing_for_another(tmp_path: Path) -> None:
    bundle, ledger = worker(tmp_path, "p/m"), tmp_path / "l.db"
    wrong, right = Played("p", lambda request: refusal("provider")), Played("p")
    async with Host(bundle, providers={"p": wrong}, ledger=ledger) as one:
        with pytest.raises(NoAnswer):
            await one.delegate("worker", "x")
        assert set(one.breakers.down(one.clock())) == {("p", None)}, "its own host knows"
        one.ledger.flush()
        assert one.ledger.peek("breakers") == []
        async with Host(bundle, providers={"p": right}, ledger=ledger) as other:
            assert (await other.delegate("worker", "x")).text == "ok"


def test_key_address_proxy_and_authority_tell_providers_apart_and_only_these() -> None:
    def made(key: str = "one", **way: object) -> AnthropicProvider:
        return AnthropicProvider(api_key=key, **way)  # type: ignore[arg-type]

    ways = {
        "plain": made(),
        "key": made("two"),
        "address": made(base_url="https://other.example"),
        "proxy": made(proxy="http://proxy.example"),
        "authority": made(ca_file="/corp.pem"),
        "hasty": made(connect_timeout=0.1),
    }
    scopes = health_scopes(ways, {})
    assert len(set(scopes.values())) == len(ways)
    same = {"again": made(), "patient": made(connect_timeout=60.0), "declared": DeclaredModels(made(), ["m"])}
    assert set(health_scopes(same, {}).values()) == {scopes["plain"]}
    assert health_scopes({"plain": made()}, {"HTTPS_PROXY": "http://proxy.example"}) != {"plain": scopes["plain"]}
    assert health_scopes({"own client": made(http_client=object()), "unknown": Played("p")}, {}) == {}


def test_what_is_only_this_hosts_is_neither_told_nor_taken_over_nor_forgotten() -> None:
    breakers = Breakers({"q": "scope"})
    assert worn(breakers) == []
    breakers.merge([], NOW + 3)
    assert set(breakers.down(NOW + 3)) == {("p", "m")}
    (opened,) = Breakers().failed("p", "m", refusal("provider"), "c", NOW)
    breakers.merge([row(opened)], NOW + 3)
    assert set(breakers.down(NOW + 3)) == {("p", "m")}


# --- what a probe says


@pytest.mark.parametrize("kind", [FailureKind.BUSY, FailureKind.BROKEN])
def test_a_provider_whose_probe_fails_in_one_model_stays_down_and_another_model_is_next(kind: FailureKind) -> None:
    breakers = Breakers()
    worn(breakers, "a", "b")
    later = NOW + FIRST
    breakers.probing(breakers.due("p", "a"), "probe", later)
    changes = breakers.failed("p", "a", failure(kind), "probe", later)
    assert [(one.model, one.until - later, one.times) for one in changes if isinstance(one, Open)] == [
        (None, 2 * FIRST, 2),
        ("a", 3 * FIRST, 1),
    ]
    assert not any(isinstance(one, Recover) for one in changes)
    again = later + 2 * FIRST
    assert breakers.against("p", "a", again) is not None
    assert breakers.against("p", "b", again) is None


@pytest.mark.parametrize("kind", [FailureKind.WRONG_REQUEST, FailureKind.TOO_LONG, FailureKind.CONTENT_REFUSED])
def test_a_word_on_the_request_shows_that_a_provider_is_there(kind: FailureKind) -> None:
    breakers = Breakers()
    worn(breakers, "a", "b")
    breakers.probing(breakers.due("p", "a"), "probe", NOW + FIRST)
    (closed,) = breakers.failed("p", "a", failure(kind, status=400), "probe", NOW + FIRST)
    assert isinstance(closed, Recover)


def test_a_late_refusal_of_another_call_leaves_the_probe_and_how_often_it_was_down() -> None:
    breakers = Breakers()
    worn(breakers)
    later = NOW + FIRST
    breakers.probing(breakers.due("p", "m"), "first", later)
    breakers.failed("p", "m", failure(), "first", later)
    later += 2 * FIRST
    breakers.probing(breakers.due("p", "m"), "probe", later)
    (opened,) = breakers.failed("p", "m", refusal(), "late", later)
    assert isinstance(opened, Open)
    assert (opened.times, opened.leaves) == (2, "probe")
    down = breakers.against("p", "m", later)
    assert down is not None
    assert down.probing
    assert any(isinstance(one, Recover) for one in breakers.answered("p", "m", "probe", later))


def test_a_probe_that_finds_the_key_refused_gives_the_models_lease_back() -> None:
    breakers = Breakers()
    worn(breakers)
    breakers.probing(breakers.due("p", "m"), "probe", NOW + FIRST)
    changes = breakers.failed("p", "m", refusal("provider"), "probe", NOW + FIRST)
    assert [type(one) for one in changes] == [Open, Unlease]


def test_a_probe_of_this_process_that_says_nothing_is_lost_after_its_lease() -> None:
    breakers = Breakers()
    worn(breakers)
    breakers.probing(breakers.due("p", "m"), "lost", NOW + FIRST)
    assert breakers.against("p", "m", NOW + FIRST + LEASE - 1) is not None
    assert breakers.against("p", "m", NOW + FIRST + LEASE) is None


def test_what_failed_before_a_probe_does_not_count_after_it() -> None:
    breakers = Breakers()
    worn(breakers)
    breakers.failed("p", "m", failure(), "late", NOW + 1)
    breakers.probing(breakers.due("p", "m"), "probe", NOW + FIRST)
    breakers.answered("p", "m", "probe", NOW + FIRST)
    for number in range(LEAST - 1):
        assert breakers.failed("p", "m", failure(), f"d{number}", NOW + FIRST) == []


def test_five_outcomes_are_enough_and_half_of_them() -> None:
    breakers = Breakers()
    assert [bool(breakers.failed("p", "m", failure(), "c", NOW)) for _ in range(5)] == [False, False, False, False, True]
    breakers = Breakers()
    breakers.failed("p", "m", failure(), "c", NOW)
    for _ in range(4):
        breakers.answered("p", "m", "c", NOW)
    assert [bool(breakers.failed("p", "m", failure(), "c", NOW)) for _ in range(3)] == [False, False, True], "4 of 8"


# --- the ledger


def opening(until: float, **other: object) -> Open:
    return Open("p|m", "p", "m", until, **{"times": 1, "reason": "busy", "at": NOW, **other})  # type: ignore[arg-type]


async def probe(ledger: Ledger, call: str) -> Granted | Refused:
    return await ledger.reserve(Reserve(call, (), 0, 0, probes=("p|m",)))


async def test_an_opening_ends_the_lease_unless_another_call_is_finding_out(tmp_path: Path) -> None:
    now = NOW
    with contextlib.closing(Ledger(tmp_path / "l.db", clock=lambda: now)) as ledger:
        ledger.enter(opening(NOW))
        assert isinstance(await probe(ledger, "one"), Granted)
        ledger.enter(opening(NOW, leaves="one"))
        ledger.enter(Unlease("p|m", "another"))
        held = await probe(ledger, "two")
        assert isinstance(held, Refused)
        assert held.held
        ledger.enter(opening(NOW, times=4))
        ledger.enter(opening(NOW, times=2))
        assert isinstance(await probe(ledger, "two"), Granted)
        assert [one["times"] for one in ledger.peek("breakers")] == [4]


async def test_a_clock_that_is_set_back_keeps_nothing_down_for_longer(tmp_path: Path) -> None:
    now = NOW + 86_400
    with contextlib.closing(Ledger(tmp_path / "l.db", clock=lambda: now)) as ledger:
        ledger.enter(opening(now + LONGEST, at=now))
        ledger.enter(Open("p|x", "p", "x", now, 1, "busy", now))
        assert isinstance(await ledger.reserve(Reserve("old", (), 0, 0, probes=("p|x",))), Granted)
        here = Breakers()
        here.merge(ledger.peek("breakers"), now)
        assert here.against("p", "m", now) is not None
        now = NOW
        assert isinstance(await ledger.reserve(Reserve("new", (), 0, 0, probes=("p|x",))), Granted), "its lease is over"
        here.merge(ledger.peek("breakers"), now)
        assert here.against("p", "m", now) is None
        assert isinstance(await probe(ledger, "c"), Granted)
        ledger.enter(opening(now + 5, at=now))
        again = await probe(ledger, "d")
        assert isinstance(again, Refused)
        assert again.retry_after == 5.0


def test_what_was_known_before_the_clock_was_set_back_hides_nothing() -> None:
    breakers, later = Breakers(), NOW + 86_400
    (opened,) = [one for one in worn(breakers) if isinstance(one, Open)]
    breakers.probing(breakers.due("p", "m"), "probe", later)
    breakers.answered("p", "m", "probe", later)
    breakers.merge([row(opened, until=NOW + 9)], NOW)
    assert breakers.against("p", "m", NOW) is not None


def test_an_opening_lives_until_its_end_unless_the_ledger_had_it_and_lost_it() -> None:
    breakers = Breakers()
    (opened,) = breakers.failed("p", "m", refusal(), "c", NOW)
    breakers.merge([], NOW + LONGEST - 1)
    assert breakers.against("p", "m", NOW + LONGEST - 1) is not None, "the ledger could not be written"
    breakers.merge([row(opened)], NOW + LONGEST - 1)
    breakers.merge([], NOW + LONGEST - 1)
    assert breakers.against("p", "m", NOW + LONGEST - 1) is None, "somebody reset it"


async def test_a_locked_ledger_and_a_probe_that_is_due_move_on(tmp_path: Path) -> None:
    now = NOW
    first, second = AnthropicProvider(api_key="k"), Played("q")
    (listed,) = (DeclaredModels(first, ["claude-x"]),)
    bundle = worker(tmp_path, "anthropic/claude-x", "q/m")
    async with Host(bundle, providers={"anthropic": listed, "q": second}, ledger=tmp_path / "l.db", clock=lambda: now) as host:
        (opened,) = host.breakers.failed("anthropic", "claude-x", refusal(), "c", now)
        host.ledger.enter(opened)
        host.ledger.flush()
        now += LONGEST + 1
        with contextlib.closing(sqlite3.connect(tmp_path / "l.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            began = perf_counter()
            result = await host.delegate("worker", "x", timeout=60)
            other.execute("ROLLBACK")
        assert (result.provider, perf_counter() - began < 10) == ("q", True)


# --- around calls


def due(host: Host, now: float) -> None:
    """The model has been down, and may be tried again."""
    worn(host.breakers, now=now - FIRST)


async def test_a_slow_reader_holds_no_probe(tmp_path: Path) -> None:
    async with Host(worker(tmp_path, "p/m"), providers={"p": Played("p")}, ledger=tmp_path / "l.db") as host:
        due(host, host.clock())
        events = host.stream("worker", "x")
        async for event in events:
            if isinstance(event, TextEvent):
                break
        assert host.breakers.down(host.clock()) == {}
        assert (await host.delegate("worker", "y", timeout=5)).text == "ok"
        await events.aclose()  # type: ignore[attr-defined]


async def test_a_probe_that_is_cancelled_tells_nothing(tmp_path: Path) -> None:
    entered = asyncio.Event()

    class Silent(Played):
        async def stream(self, request: ChatRequest) -> AsyncIterator[StreamPart]:
            entered.set()
            await asyncio.Event().wait()
            yield Delta("never")

    async with Host(worker(tmp_path, "p/m"), providers={"p": Silent("p")}, ledger=tmp_path / "l.db") as host:
        due(host, host.clock())
        task: asyncio.Task[DelegationResult] = asyncio.create_task(host.delegate("worker", "x"))
        await asyncio.wait_for(entered.wait(), 10)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert host.breakers.due("p", "m") == (("p", "m"),), "it is not taken for up"
        assert host.breakers.against("p", "m", host.clock()) is None, "and the next may find out"


async def test_empty_answers_count_and_are_paid_for(tmp_path: Path) -> None:
    empty, other = Played("p", lambda request: ""), Played("q")
    async with Host(worker(tmp_path, "p/m", "q/m"), providers={"p": empty, "q": other}, ledger=tmp_path / "l.db") as host:
        for _ in range(LEAST + 1):
            assert (await host.delegate("worker", "x")).provider == "q"
        assert len(empty.asked) == LEAST
        calls = [call for call in host.ledger.calls() if call["provider"] == "p"]
        assert {(call["outcome"], call["input_tokens"], call["output_tokens"], call["estimated"]) for call in calls} == {
            ("failed", 10, 5, 0)
        }
