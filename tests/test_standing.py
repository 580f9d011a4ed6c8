"""The standing: what is folded from the ledger, how old it may be, and what the budget gate makes of it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle_loader import Host, SimulatedProvider
from bundle_loader.declared.budget import Budget
from bundle_loader.errors import BudgetRefused
from bundle_loader.ledger.accounts import hold_of, window_of
from bundle_loader.ledger.fold import Fold
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.operations import Close, Reserve, Settle
from bundle_loader.ledger.records import FeedbackRecord
from bundle_loader.routing.charged import PICO, CallFacts
from bundle_loader.routing.price import FREE
from bundle_loader.routing.standing import RECENT, Standing, Success
from bundle_loader.sources.load import load_bundle
from tests.support.records import call_record, delegation_record

NOW = 1_780_012_800.0
"""2026-05-29 00:00 UTC."""
DAY = 86_400


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger(tmp_path / "l.db")) as opened:
        yield opened


def fresh(ledger: Ledger, *budgets: Budget) -> Fold:
    """A fold that has seen nothing yet."""
    ledger.flush()
    return Fold(ledger.peek, lambda: budgets)


# --- figures


def test_percentiles_are_of_real_calls_by_nearest_rank(ledger: Ledger) -> None:
    for number in range(1, 101):
        ledger.append(call_record(str(number), latency=float(number), started=NOW))
    ledger.append(call_record("failed", latency=500.0, started=NOW, outcome="failed"))
    standing = fresh(ledger).read(NOW)
    found = standing.latency[("openai", "gpt-4o")]
    assert (found.count, found.p50, found.p95, found.p99) == (100, 50.0, 95.0, 99.0)
    assert standing.latency[("openai", "gpt-4o", "worker")] == found
    assert standing.success[("openai", "gpt-4o")] == Success(100, 1)


def test_latency_and_success_are_of_the_latest_calls_of_each_key(ledger: Ledger) -> None:
    for number in range(RECENT + 50):
        late = number >= 50
        ledger.append(call_record(f"a{number}", latency=1.0 if late else 99.0, outcome="answered"))
    ledger.append(call_record("b", asked="other", latency=7.0))
    standing = fresh(ledger).read(NOW)
    assert standing.latency[("openai", "gpt-4o")].p99 == 1.0
    assert standing.latency[("openai", "gpt-4o")].count == RECENT
    assert standing.latency[("openai", "other")].p50 == 7.0


def test_what_says_nothing_of_a_model_is_no_failure(ledger: Ledger) -> None:
    for outcome in ("answered", "failed", "cancelled", "refused", "lost"):
        ledger.append(call_record(outcome, outcome=outcome))
    standing = fresh(ledger).read(NOW)
    assert standing.success[("openai", "gpt-4o")] == Success(1, 1)
    assert standing.success[("openai", "gpt-4o")].rate == 0.5


def test_spend_is_told_apart_by_day_and_month_and_what_is_unknown_stays_so(ledger: Ledger) -> None:
    for id, days, cost in (("now", 0, "1"), ("yesterday", 1, "2"), ("before", 40, "4")):
        ledger.append(call_record(id, started=NOW - days * DAY, cost=Decimal(cost)))
    ledger.append(call_record("mystery", started=NOW, cost=None, tier=None))
    ledger.append(call_record("played", started=NOW, cost=Decimal(100), simulated=True))
    spent = fresh(ledger).read(NOW).spend
    openai = spent[("provider", "openai")]
    assert [one.known for one in (openai.today, openai.month, openai.total)] == [1, 3, 7]
    assert (openai.today.calls, openai.today.unknown, openai.today.cost) == (2, 1, None)
    assert spent[("tier", "budget")].total.cost == 7
    assert spent[("agent", "worker")].total.calls == 4
    assert fresh(ledger).read(NOW + DAY).spend[("model", "gpt-4o")].today.calls == 0


def test_simulated_work_has_a_standing_of_its_own(ledger: Ledger) -> None:
    ledger.append(call_record("played", simulated=True))
    ledger.flush()
    assert Fold(ledger.peek, tuple, simulated=True).read(NOW).calls == 1
    assert Fold(ledger.peek, tuple).read(NOW).calls == 0


def test_feedback_is_scored_by_model_and_task(ledger: Ledger) -> None:
    for id, agent, score in (("1", "worker", 1.0), ("2", "worker", 0.5), ("3", "other", 0.0)):
        ledger.append(delegation_record(id, agent=agent))
        ledger.append(FeedbackRecord(NOW, id, score))
    scores = fresh(ledger).read(NOW).scores
    assert (scores[("openai", "gpt-4o")].count, scores[("openai", "gpt-4o")].mean) == (3, 0.5)
    assert scores[("openai", "gpt-4o", "worker")].mean == 0.75


def test_it_is_a_plain_value(ledger: Ledger) -> None:
    ledger.append(call_record("1"))
    standing = fresh(ledger).read(NOW)
    assert "Latency(count=1" in repr(standing)
    assert standing == replace(standing)
    with pytest.raises(AttributeError):
        standing.taken = 0.0  # type: ignore[misc]


# --- folding


CALLS = st.builds(
    lambda agent, asked, latency, outcome, cost, days, simulated: {
        "agent": agent, "asked": asked, "latency": latency, "outcome": outcome, "cost": cost,
        "started": NOW - days * DAY, "simulated": simulated, "tier": None if agent == "b" else "budget",
    },
    st.sampled_from("ab"), st.sampled_from(["m-1", "m-2"]), st.floats(0, 100), st.sampled_from(["answered", "failed", "lost"]),
    st.sampled_from([None, Decimal(0), Decimal("0.3")]), st.integers(0, 60), st.booleans(),
)  # fmt: skip


@given(steps=st.lists(st.one_of(st.just("read"), st.just("prune"), CALLS), max_size=25), page=st.integers(1, 5))
def test_what_is_folded_bit_by_bit_is_what_is_folded_at_once(steps: list[Any], page: int) -> None:
    with tempfile.TemporaryDirectory() as folder, closing(Ledger(Path(folder) / "l.db", clock=lambda: NOW)) as ledger:
        ledger.flush()
        fold = Fold(ledger.peek, tuple, page=page)
        for number, step in enumerate(steps):
            if step == "read":
                ledger.flush()
                assert fold.read(NOW) == Fold(ledger.peek, tuple).read(NOW)
            elif step == "prune":
                asyncio.run(ledger.prune(NOW - 30 * DAY))
            else:
                ledger.append(call_record(str(number), delegation=str(number), root=str(number), **step))
                ledger.append(delegation_record(str(number), started=step["started"]))
        ledger.flush()
        assert fold.read(NOW) == Fold(ledger.peek, tuple).read(NOW)


WRITER = """
import sys
from bundle_loader.ledger.ledger import Ledger
from tests.support.records import call_record
ledger = Ledger(sys.argv[1])
for number in range(300):
    ledger.append(call_record(f"{sys.argv[2]}-{number}", asked=f"m-{number % 3}", latency=float(number)))
    if number % 50 == 0:
        ledger.flush()
ledger.close()
"""


def test_calls_of_other_processes_are_folded_while_they_come(ledger: Ledger, tmp_path: Path) -> None:
    fold = fresh(ledger)
    root = Path(__file__).parent.parent
    path = str(tmp_path / "l.db")
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, path, name], cwd=root) for name in "ab"]
    readings = 0
    while any(writer.poll() is None for writer in writers):
        fold.read(NOW)
        readings += 1
    assert [writer.returncode for writer in writers] == [0, 0]
    assert readings > 1
    assert fold.read(NOW) == fresh(ledger).read(NOW)
    assert fold.read(NOW).calls == 600


def test_only_what_is_new_is_read(ledger: Ledger) -> None:
    read: list[int] = []

    def ask(name: str, /, **parameters: Any) -> list[dict[str, Any]]:
        rows = ledger.peek(name, **parameters)
        read.extend(row["place"] for row in rows if name == "calls to fold")
        return rows

    fold = Fold(ask, tuple)
    for number in range(5):
        ledger.append(call_record(str(number)))
        ledger.flush()
        fold.read(NOW)
    assert read == [1, 2, 3, 4, 5]


def test_a_ledger_whose_rows_were_replaced_is_folded_anew(ledger: Ledger, tmp_path: Path) -> None:
    ledger.append(call_record("1"))
    ledger.append(call_record("2"))
    ledger.flush()
    other = Ledger(tmp_path / "other.db")
    asked = [ledger]
    fold = Fold(lambda name, /, **given: asked[-1].peek(name, **given), tuple)
    for number in range(3):
        other.append(call_record(f"other-{number}", latency=9.0))
    other.flush()
    first = fold.read(NOW)
    asked.append(other)  # what a file looks like that was put back from a copy
    again = fold.read(NOW)
    assert (first.calls, again.calls) == (2, 3)
    assert again.latency[("openai", "gpt-4o")].p50 == 9.0
    other.close()


# --- accounts


def budget(**given: Any) -> Budget:
    return Budget.model_validate({"id": "day", "unit": "money", "limit": Decimal(1), "per": "day", **given})


FACTS = CallFacts("openai", "gpt-4o", "gpt", "worker", "t")


async def charge(ledger: Ledger, one: Budget, settled: int | None, reserved: int, now: float = NOW, id: str = "c") -> None:
    """A call that holds so much, and has settled if `settled` is given."""
    hold = replace(hold_of(one, FACTS, now, 1, FREE), fixed=reserved, per_token=0)
    asked = Reserve(id, (hold,), 0, 0)
    await ledger.reserve(asked)
    if settled is not None:
        await ledger.settle(Settle(id, asked.charges(0, lambda _: settled)))


async def test_accounts_tell_what_is_settled_held_and_left_in_the_window_that_runs(ledger: Ledger) -> None:
    one = budget(each=("agent",))
    await charge(ledger, one, int(PICO) // 4, int(PICO) // 2, id="done")
    await charge(ledger, one, None, int(PICO) // 2, id="running")
    (account,) = (await asyncio.to_thread(fresh(ledger, one).read, NOW)).accounts.values()
    assert (account.account, account.apart) == ("day|agent=worker", "agent=worker")
    assert (account.settled, account.reserved, account.left) == (int(PICO) // 4, int(PICO) // 2, int(PICO) // 4)
    assert account.renews == window_of(one, NOW).renews
    assert fresh(ledger, one).read(NOW + DAY).accounts == {}


async def test_accounts_of_a_budget_whose_name_begins_alike_are_another_budgets(ledger: Ledger) -> None:
    short, long = budget(id="day"), budget(id="day-2", each=("agent",))
    await charge(ledger, long, 5, 5)
    standing = fresh(ledger, short, long).read(NOW)
    assert list(standing.accounts) == ["day-2|agent=worker"]
    assert standing.accounts["day-2|agent=worker"].budget.id == "day-2"


# --- how old it may be


async def test_it_is_read_once_for_many_and_again_after_a_second(ledger: Ledger) -> None:
    asked: list[str] = []

    def ask(name: str, /, **parameters: Any) -> list[dict[str, Any]]:
        asked.append(name)
        return ledger.peek(name, **parameters)

    fold = Fold(ask, tuple)
    found = await asyncio.gather(*(fold.standing(NOW) for _ in range(20)))
    assert asked == ["closed", "breakers"], "one reading, and no calls"
    assert all(one is found[0] for one in found)
    assert await fold.standing(NOW + 0.99) is found[0]
    assert (await fold.standing(NOW + 1)).taken == NOW + 1
    assert (await fold.standing(NOW - 5)).taken == NOW - 5, "a clock that was put back"
    assert asked == ["closed", "breakers"] * 3


async def test_a_caller_who_leaves_does_not_end_the_reading_for_others(ledger: Ledger) -> None:
    fold = fresh(ledger)
    leaving, staying = (asyncio.create_task(fold.standing(NOW, whole=True)) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying).taken == NOW


async def test_a_ledger_that_cannot_be_read_leaves_what_was_known(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    ledger.append(call_record("1"))
    fold = fresh(ledger)
    known = await fold.standing(NOW, whole=True)
    ledger.close()
    assert await fold.standing(NOW + 60, whole=True) is known
    assert await Fold(ledger.peek, tuple).standing(NOW) == Standing()


# --- what a host does with it


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


BUNDLE = """
format: 1
bundle: {{name: b}}
budgets: {budgets}
tiers: {{main: [{main}], spare: [b/m-*]}}
agents:
  worker: {{tier: main}}
"""


def hosted(folder: Path, budgets: str, clock: Clock, *main: str) -> Host:
    path = folder / "b.yaml"
    path.write_text(BUNDLE.format(budgets=budgets, main=", ".join(main or ("a/m-*",))), encoding="utf-8")
    providers = {id: SimulatedProvider(id, models=["m-1"]) for id in "ab"}
    return Host(load_bundle(path), providers=providers, ledger=folder / "l.db", clock=clock)


DAILY = "{daily: {requests: 1, per: day, scope: {provider: a}, zone: Europe/Berlin%s}}"


async def test_a_used_up_budget_takes_its_models_out_of_routes_until_it_renews(tmp_path: Path) -> None:
    clock = Clock()
    async with hosted(tmp_path, DAILY % "", clock, "a/m-*", "b/m-*") as host:
        assert (await host.delegate("worker", "go")).provider == "a"
        clock.now += 1
        result = await host.delegate("worker", "go")
        assert (result.provider, [attempt.provider for attempt in result.attempts]) == ("b", ["b"])
        (rejection,) = result.route.rejections
        assert "budget 'daily'" in rejection.reason
        assert "is used up: 0 requests left, it renews at 2026-05-30 00:00 Europe/Berlin" in rejection.reason
        assert (await host.route("worker")).rejections == (rejection,)
        clock.now += DAY
        assert (await host.delegate("worker", "go")).provider == "a"


async def test_what_may_renew_in_time_is_left_to_the_meter(tmp_path: Path) -> None:
    clock = Clock()
    renews = window_of(
        Budget.model_validate({"id": "x", "unit": "requests", "limit": 1, "per": "day", "zone": "Europe/Berlin"}), NOW
    ).renews
    assert renews is not None
    async with hosted(tmp_path, DAILY % "", clock, "a/m-*", "b/m-*") as host:
        await host.delegate("worker", "go")
        clock.now = renews - 200
        assert (await host.route("worker")).chosen.provider == "a"  # type: ignore[union-attr]
        clock.now = renews - 400
        assert (await host.route("worker")).chosen.provider == "b"  # type: ignore[union-attr]


async def test_when_budgets_stand_against_everything_the_error_says_which_what_is_left_and_when(tmp_path: Path) -> None:
    clock = Clock()
    async with hosted(tmp_path, DAILY % "", clock) as host:
        await host.delegate("worker", "go")
        clock.now += 1
        with pytest.raises(BudgetRefused) as caught:
            await host.delegate("worker", "go")
        newest = (await asyncio.to_thread(host.ledger.delegations))[0]
    error = caught.value
    assert (error.budget, error.left, error.zone) == ("daily", "0 requests", "Europe/Berlin")
    assert error.renews == 1_780_092_000.0
    assert error.attempts == ()
    assert len(error.rejections) == 1
    assert newest["outcome"] == "refused"


async def test_the_emergency_tier_takes_over_what_the_gate_keeps_out(tmp_path: Path) -> None:
    clock = Clock()
    async with hosted(tmp_path, DAILY % ", emergency: spare", clock) as host:
        await host.delegate("worker", "go")
        clock.now += 1
        result = await host.delegate("worker", "go")
    assert result.provider == "b"
    assert "daily" in result.route.rejections[0].reason


async def test_a_family_that_another_process_found_closed_is_closed_here(tmp_path: Path) -> None:
    clock = Clock()
    async with hosted(tmp_path, "{}", clock, "a/m-*", "b/m-*") as host:
        assert (await host.delegate("worker", "go")).provider == "a"
        with closing(Ledger(tmp_path / "l.db")) as other:
            family = "m"
            other.enter(Close(f"a|{family}", NOW + 600, "limited: slow down"))
            other.flush()
        clock.now += 1
        result = await host.delegate("worker", "go")
        assert result.provider == "b"
        reason = result.route.rejections[0].reason
        assert reason == "a has limited its m for now (slow down); free again in 599 s, at 2026-05-29 00:10 UTC"
        assert host.budgets.in_force(clock.now)
        clock.now = NOW + 601  # before any list of models is due
        assert (await host.delegate("worker", "go")).provider == "a"
