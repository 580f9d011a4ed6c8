"""Breakers: when they open and close, who may find out, and who hears of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundle_loader.errors import FailureKind, ProviderFailure
from bundle_loader.ledger.breakers import FIRST, LEAST, LONGEST_REST, RECENT, WINDOW, Breakers
from bundle_loader.ledger.leases import LONGEST
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.operations import Granted, Open, Recover, Refused, Reserve, Unlease

NOW = 1_780_000_000.0


def failure(kind: FailureKind = FailureKind.BUSY, *, scope: str = "model", retry_after: float | None = None) -> ProviderFailure:
    return ProviderFailure(kind, "p", "down", status=503, scope=scope, retry_after=retry_after)


def worn(breakers: Breakers, model: str = "m", *, scope: str = "model", now: float = NOW) -> None:
    for number in range(LEAST):
        breakers.failed("p", model, failure(scope=scope), f"c{number}", now)


def test_a_model_is_down_after_enough_failures_and_its_provider_is_not() -> None:
    breakers = Breakers()
    for number in range(LEAST - 1):
        assert breakers.failed("p", "m", failure(), f"c{number}", NOW) == []
    assert breakers.against("p", "m", NOW) is None
    (opened,) = breakers.failed("p", "m", failure(), "c", NOW)
    assert isinstance(opened, Open)
    assert (opened.model, opened.until) == ("m", NOW + FIRST)
    down = breakers.against("p", "m", NOW + FIRST - 0.1)
    assert down is not None
    assert down.told(NOW) == "p/m is down (busy 503: down); free again in 5 s"
    assert breakers.against("p", "other", NOW) is None


def test_a_provider_is_down_where_nothing_of_it_can_be_reached() -> None:
    breakers = Breakers()
    worn(breakers, scope="provider")
    assert breakers.against("p", "any", NOW) is not None
    assert breakers.against("q", "any", NOW) is None


def test_a_provider_is_down_where_several_of_its_models_fail() -> None:
    breakers = Breakers()
    for number in range(LEAST):
        breakers.failed("p", f"m{number % 3}", failure(), "c", NOW)
    assert set(breakers.down(NOW)) == {("p", None)}


@pytest.mark.parametrize(
    "kind",
    [FailureKind.LIMITED, FailureKind.TOO_LONG, FailureKind.CONTENT_REFUSED, FailureKind.UNSUPPORTED, FailureKind.WRONG_REQUEST],
)
def test_what_is_no_illness_never_counts(kind: FailureKind) -> None:
    breakers = Breakers()
    for _ in range(3 * RECENT):
        assert breakers.failed("p", "m", failure(kind), "c", NOW) == []
    assert breakers.down(NOW) == {}


def test_a_near_deadline_says_nothing_of_a_provider() -> None:
    breakers = Breakers()
    hurried = failure()
    hurried.hurried = True
    for _ in range(3 * RECENT):
        breakers.failed("p", "m", hurried, "c", NOW)
    assert breakers.down(NOW) == {}


def test_answers_outweigh_failures_and_old_outcomes_do_not_count() -> None:
    breakers = Breakers()
    for _ in range(LEAST - 1):
        breakers.failed("p", "m", failure(), "c", NOW)
    for _ in range(RECENT):
        breakers.answered("p", "m", "c", NOW)
    breakers.failed("p", "m", failure(), "c", NOW)
    assert breakers.down(NOW) == {}, "one of ten failed"
    other = Breakers()
    for _ in range(LEAST - 1):
        other.failed("p", "m", failure(), "c", NOW)
    other.failed("p", "m", failure(), "c", NOW + WINDOW)
    assert other.down(NOW + WINDOW) == {}


@pytest.mark.parametrize(
    ("scope", "pair"), [("provider", ("p", None)), ("model", ("p", "m"))], ids=["a key or an account", "a model"]
)
def test_what_a_vendor_refuses_is_out_at_once(scope: str, pair: tuple[str, str | None]) -> None:
    breakers = Breakers()
    (opened,) = breakers.failed("p", "m", failure(FailureKind.REFUSED, scope=scope), "c", NOW)
    assert isinstance(opened, Open)
    assert (opened.provider, opened.model) == pair
    assert (opened.until, opened.refused) == (NOW + LONGEST, True)
    assert set(breakers.down(NOW)) == {pair}


def test_another_key_is_another_provider() -> None:
    old, new = Breakers({"p": "old"}), Breakers({"p": "new"})
    (opened,) = old.failed("p", "m", failure(FailureKind.REFUSED, scope="provider"), "c", NOW)
    assert isinstance(opened, Open)
    told = {"key": opened.key, "provider": "p", "model": None}
    rows = [{**told, "until": opened.until, "times": 1, "reason": opened.reason, "refused": 1}]
    new.merge(rows, NOW)
    assert new.down(NOW) == {}
    same = Breakers({"p": "old"})
    same.merge(rows, NOW)
    assert set(same.down(NOW)) == {("p", None)}


def test_one_call_finds_out_and_closes_it() -> None:
    breakers = Breakers()
    worn(breakers)
    later = NOW + FIRST
    assert breakers.against("p", "m", later) is None
    due = breakers.due("p", "m")
    assert due == (("p", "m"),)
    breakers.probing(due, "probe", later)
    held = breakers.against("p", "m", later)
    assert held is not None
    assert held.probing
    assert breakers.answered("p", "m", "somebody else", later) == []
    (closed,) = breakers.answered("p", "m", "probe", later)
    assert isinstance(closed, Recover)
    assert breakers.down(later) == {}


def test_a_probe_that_fails_opens_it_for_twice_as_long_up_to_a_bound() -> None:
    breakers = Breakers()
    worn(breakers)
    now, rests = NOW + FIRST, []
    for number in range(8):
        breakers.probing(breakers.due("p", "m"), f"probe{number}", now)
        changes = breakers.failed("p", "m", failure(), f"probe{number}", now)
        until = next(change.until for change in changes if isinstance(change, Open))
        rests.append(until - now)
        now = until
    assert rests == [10, 20, 40, *[LONGEST_REST] * 5]


def test_a_busy_vendor_that_says_when_is_taken_at_its_word() -> None:
    breakers = Breakers()
    for _ in range(LEAST):
        changes = breakers.failed("p", "m", failure(retry_after=30), "c", NOW)
    assert [change.until for change in changes if isinstance(change, Open)] == [NOW + 30]


def test_a_probe_that_ends_without_a_word_is_given_back() -> None:
    breakers = Breakers()
    worn(breakers)
    breakers.probing(breakers.due("p", "m"), "probe", NOW + FIRST)
    assert [type(change) for change in breakers.left("p", "m", "probe")] == [Unlease]
    assert breakers.against("p", "m", NOW + FIRST) is None, "somebody else may find out"


def test_a_limit_shows_that_it_is_up() -> None:
    breakers = Breakers()
    worn(breakers)
    breakers.probing(breakers.due("p", "m"), "probe", NOW + FIRST)
    (closed,) = breakers.failed("p", "m", failure(FailureKind.LIMITED), "probe", NOW + FIRST)
    assert isinstance(closed, Recover)


def opening(key: str = "p|m", until: float = NOW) -> Open:
    return Open(key, "p", "m", until, 1, "busy: down", NOW)


async def probe(ledger: Ledger, call: str) -> Granted | Refused:
    return await ledger.reserve(Reserve(call, (), 0, 0, probes=("p|m",)))


async def test_exactly_one_of_many_processes_has_the_lease(tmp_path: Path) -> None:
    """Two connections to one file stand for two processes: they share nothing but the file."""
    now = NOW
    one, two = (Ledger(tmp_path / "l.db", clock=lambda: now) for _ in range(2))
    try:
        one.enter(opening(until=NOW + 5))
        one.flush()
        early = await probe(two, "early")
        assert isinstance(early, Refused)
        assert (early.down, early.retry_after, early.held) == ("p|m", 5.0, False)
        now = NOW + 5
        answers = [await probe(ledger, f"c{number}") for number, ledger in enumerate((one, two, one, two))]
        assert [type(answer) for answer in answers] == [Granted, Refused, Refused, Refused]
        assert all(answer.held for answer in answers if isinstance(answer, Refused))
        one.enter(Unlease("p|m", "c0"))
        one.flush()
        assert isinstance(await probe(two, "c5"), Granted), "what was given back may be taken"
        two.enter(Recover("p|m", "p", "m", now))
        two.flush()
        assert [isinstance(await probe(ledger, f"up{number}"), Granted) for number, ledger in enumerate((one, two))] == [
            True,
            True,
        ]
        assert one.peek("breakers") == []
    finally:
        one.close()
        two.close()


async def test_the_lease_of_a_process_that_died_ends(tmp_path: Path) -> None:
    now = NOW
    ledger = Ledger(tmp_path / "l.db", clock=lambda: now)
    try:
        ledger.enter(opening())
        assert isinstance(await probe(ledger, "lost"), Granted)
        assert isinstance(await probe(ledger, "next"), Refused)
        now = NOW + 61
        assert isinstance(await probe(ledger, "next"), Granted)
    finally:
        ledger.close()
