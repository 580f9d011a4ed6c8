"""Around every provider request: reserve before, settle after, record always."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Decimal
from functools import cached_property
from time import perf_counter
from types import TracebackType
from typing import Protocol

from bundle_loader.errors import DeadlineExceeded, FailureKind, ProviderFailure
from bundle_loader.ledger.accounts import Hold
from bundle_loader.ledger.breakers import Breakers
from bundle_loader.ledger.budgets import Budgets, only_stated
from bundle_loader.ledger.call_health import CallHealth
from bundle_loader.ledger.estimate import CallEstimate, CallScope, estimate_tokens
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.operations import Answer, Charge, Close, Correct, Granted, Refused, Reserve, Settle, Settled
from bundle_loader.ledger.prices import Priced, believable, believable_usage
from bundle_loader.ledger.records import CallRecord, Outcome
from bundle_loader.ledger.refusals import over_budget, passed
from bundle_loader.ledger.slots import Place, Slots
from bundle_loader.ledger.vendor_limits import arrived, closed, heard
from bundle_loader.messages import Usage, VendorLimit
from bundle_loader.routing.candidate import Candidate
from bundle_loader.routing.charged import PICO, CallFacts, mark_of
from bundle_loader.routing.model_names import family
from bundle_loader.routing.price import FREE, Price

logger = logging.getLogger("bundle_loader")

_TO_LEASE = 1.0
"""Seconds for which a ledger that another process keeps locked is waited for where only a probe is to be leased."""

MOST_UNSAID = 4096
"""The most tokens of an answer that is reserved for under a budget where no config says how many."""


class Meter(Protocol):
    """What a spawner is given to account for its requests."""

    def call(self, estimate: CallEstimate) -> Call:
        """Use as `async with meter.call(estimate) as call: ...; call.settle(usage, model)`."""
        ...

    def price(self, candidate: Candidate) -> Price | None:
        """The candidate's price now; None where it is unknown."""
        ...


class LedgerMeter:
    """The meter of one attempt: reserves each call under every budget that applies, and records it with its cost."""

    def __init__(
        self,
        ledger: Ledger,
        scope: CallScope,
        price_of: Callable[[Candidate, str | None], Priced],
        clock: Callable[[], float],
        budgets: Budgets | None = None,
        breakers: Breakers | None = None,
        slots: Slots | None = None,
    ) -> None:
        self.ledger = ledger
        self.scope = scope
        self.price_of = price_of
        self.clock = clock
        self.budgets = budgets or Budgets()
        self.breakers = breakers or Breakers()
        self.slots = slots or Slots()
        self.calls = 0
        """How many are recorded."""
        self.usage = Usage()
        self.cost: Decimal | None = Decimal(0)
        """Of all calls so far; None once any of them has an unknown cost."""
        self.notes: list[str] = []
        """What budgets had to say, in words."""
        self.lowered: tuple[str, int] | None = None
        """The budget for which the answer of the last call was lowered, and the tokens that it was left."""
        self._begun = 0

    def call(self, estimate: CallEstimate) -> Call:
        """One request; leaving the block records it, however it ended. Entering raises OverBudget."""
        self._begun += 1
        return Call(self, estimate, f"{self.scope.attempt}-{self._begun}")

    def price(self, candidate: Candidate) -> Price | None:
        """The price to reserve the candidate's calls at; None where it is unknown."""
        priced = self.price_of(candidate, None)
        if priced.note is not None:
            self.note(priced.note)
        return priced.reserved

    def note(self, text: str) -> None:
        """Keep what a budget has to say, once."""
        if text not in self.notes:
            self.notes.append(text)


@dataclass(slots=True)
class _Ending:
    """How a call ended, as far as it is known."""

    usage: Usage | None = None
    answered: str | None = None
    settled: bool = False
    streamed: int = 0
    first_token: float | None = None
    reported: Decimal | None = None
    known: Usage | None = None  # what it used, where that was said before it was settled
    arrived: float | None = None
    """When its vendor had it for sure (epoch seconds)."""


class Call:
    """One request under way."""

    def __init__(self, meter: LedgerMeter, estimate: CallEstimate, id: str) -> None:
        self._meter = meter
        self._estimate = estimate
        self._id = id
        self._end = _Ending()
        self._reserve: Reserve | None = None
        self._idle: tuple[Hold, ...] = ()
        """Accounts of which the call needs nothing at worst: what it costs all the same is entered."""
        self._started = self._began = 0.0
        self._until: float | None = None
        """The deadline, in the event loop's time."""
        self._place = Place(meter.slots)
        self._health = CallHealth(meter.breakers, meter.ledger, estimate.candidate, id, meter.clock)
        self.output_bound = estimate.output_bound
        """The most tokens that the answer may have: what was asked for, lowered to what the budgets have left."""

    async def __aenter__(self) -> Call:
        estimate = self._estimate
        self._until = None if estimate.within is None else asyncio.get_running_loop().time() + estimate.within
        if (down := self._health.down()) is not None:
            raise down
        try:
            waited = await self._place.take(estimate.candidate, estimate.within, estimate.patience)
            if waited and (down := self._health.down()) is not None:
                raise down
            await self._admitted(estimate.candidate)
        except BaseException:
            self._place.leave()
            raise
        self._started = self._meter.clock()
        self._began = perf_counter()
        return self

    async def _admitted(self, candidate: Candidate) -> None:
        meter = self._meter
        probes = self._health.probe()
        if probes or meter.scope.caps or meter.budgets.in_force(meter.clock()):
            await self._take(candidate, probes)

    async def _take(self, candidate: Candidate, probes: tuple[str, ...]) -> None:
        """Reserve the worst case, and lease what is to be found out. Raises OverBudget and Unhealthy."""
        meter, scope, estimate = self._meter, self._meter.scope, self._estimate
        kin = self._facts.family
        price = self._worst_price()
        likely = estimate_tokens(self._prompt) + min(estimate.output_bound, MOST_UNSAID)
        holds = meter.budgets.holds(self._facts, meter.clock(), estimate.input_bound, price, scope.caps, likely)
        if isinstance(holds, Refused):
            self._health.left()
            raise over_budget(holds, candidate)
        self._idle = tuple(hold for hold in holds if not (hold.fixed or hold.per_token))
        holds = tuple(hold for hold in holds if hold.fixed or hold.per_token)
        mark = mark_of(candidate.provider, kin)
        if not holds and not probes and not meter.budgets.is_closed(mark, meter.clock()):
            return
        what = (scope.attempt, scope.delegation, scope.root, scope.agent, scope.tier, candidate.provider,
                candidate.preference.model, candidate.model, kin, int(candidate.simulated))  # fmt: skip
        least = max((hold.budget.least_tokens for hold in holds if hold.per_token), default=0)
        asked = Reserve(self._id, holds, self._wanted(holds), least, json.dumps(what), (mark,), probes)
        answer: Granted | Refused | None = None
        try:
            async with asyncio.timeout_at(self._patience(bool(probes) and not holds)):
                answer = await meter.ledger.reserve(asked)
        except TimeoutError:
            if probes and not holds:
                raise self._health.held("another process keeps the ledger locked") from None
            message = f"agent '{scope.agent}': the deadline passed while another process kept the ledger locked"
            raise DeadlineExceeded(message) from None
        finally:
            if not isinstance(answer, Granted):
                self._health.left()
        if isinstance(answer, Refused):
            raise over_budget(answer, candidate) if answer.down is None else self._health.refused(answer)
        meter.lowered = None
        if answer.lowered_by is not None:
            meter.lowered = answer.lowered_by, answer.tokens
            meter.note(f"budget '{answer.lowered_by}' leaves {answer.tokens} tokens for an answer of {candidate}")
        self.output_bound = answer.tokens
        self._reserve = asked

    def _patience(self, only_probes: bool) -> float | None:
        """Until when the ledger is waited for, in the loop's time: budgets must be asked, a probe can wait."""
        if not only_probes:
            return self._until
        soon = asyncio.get_running_loop().time() + _TO_LEASE
        return soon if self._until is None else min(soon, self._until)

    @cached_property
    def _facts(self) -> CallFacts:
        candidate, scope = self._estimate.candidate, self._meter.scope
        return CallFacts(
            candidate.provider, candidate.model, family(candidate.model), scope.agent, scope.root,
            scope.profile, scope.stage, scope.role, scope.tier, scope.tags,
        )  # fmt: skip

    def _wanted(self, holds: tuple[Hold, ...]) -> int:
        """The tokens to ask for: without a word of the config, a model's whole output limit would use up a budget at once."""
        bound = self._estimate.output_bound
        if "max_tokens" in self._estimate.candidate.config or not any(hold.per_token for hold in holds):
            return bound
        return min(bound, MOST_UNSAID)

    def _worst_price(self) -> Price | None:
        """The price to reserve at: the known one, or the bound that the estimate itself brings."""
        estimate = self._estimate
        price, bound = self._meter.price(estimate.candidate), estimate.cost_bound
        if bound is None or (price is not None and bound == price.worst(estimate.input_bound, estimate.output_bound)):
            return price
        return replace(FREE, request=bound)

    @property
    def _prompt(self) -> int:
        """Bytes of the prompt."""
        estimate = self._estimate
        return estimate.input_bound if estimate.prompt is None else estimate.prompt

    def streamed(self, size: int) -> None:
        """Note that `size` more bytes of the answer have come."""
        if self._end.first_token is None:
            self._end.first_token = perf_counter() - self._began
        if size and not self._end.streamed:
            self._health.begun()
        self._end.streamed += size

    def settle(self, usage: Usage | None, model: str | None, cost: Decimal | None = None) -> None:
        """The request is answered. A missing usage is estimated and marked; `cost` is what the provider says it charges."""
        end = self._end
        end.settled = True
        if usage is not None and not believable_usage(usage):
            self._meter.note(f"{self._estimate.candidate.provider} says that it used what cannot be; its tokens are estimated")
            usage = None
        end.usage = usage if usage is not None else self._estimated()
        end.answered = model
        if cost is None or believable(cost):
            end.reported = cost
        else:
            self._meter.note(f"{self._estimate.candidate.provider} says that it charges {cost!r}, which is not believed")

    def used(self, usage: Usage, cost: Decimal | None = None) -> None:
        """What the request has used so far, where that is said before its end: what is recorded if it never is settled."""
        if believable_usage(usage) and (cost is None or believable(cost)):
            self._end.known, self._end.reported = usage, cost

    def told(self, limits: Sequence[VendorLimit]) -> None:
        """The vendor has said what its limits are: its word wins over the table's."""
        now = self._meter.clock()
        if limits:
            self._end.arrived = now - max(max(said.age for said in limits), 0.0)
        for operation in heard(self._meter.budgets, self._facts, limits, now):
            self._enter(operation)

    def _enter(self, operation: Close | Correct) -> None:
        if isinstance(operation, Close):
            self._meter.budgets.close(operation.key, operation.until)
        self._meter.ledger.enter(operation)

    def _estimated(self) -> Usage:
        return Usage(estimate_tokens(self._prompt), estimate_tokens(self._end.streamed), estimated=True)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._place.leave()
        outcome: Outcome = "answered"
        reason = None
        self._health.ended(error, settled=self._end.settled)
        if self._end.settled and isinstance(error, ProviderFailure):
            outcome, reason = "failed", str(error)
        if not self._end.settled:
            outcome = "cancelled" if kind in (asyncio.CancelledError, GeneratorExit) else "failed"
            reason = str(error) if isinstance(error, ProviderFailure) else kind.__name__ if kind else "left without an answer"
            charged = self._end.streamed or outcome == "cancelled" or may_be_charged(error)
            self._end.usage = self._end.known or (self._estimated() if charged else Usage())
            if isinstance(error, ProviderFailure) and error.kind is FailureKind.LIMITED and error.retry_after:
                shut = closed(self._facts, self._meter.clock(), error.retry_after, f"limited: {error.message}")
                if shut is not None:
                    self._enter(shut)
        record = self._recorded(outcome, reason)
        used = tuple(Charge(hold, 0, amount) for hold in self._idle if (amount := self._used(hold, record)))
        if self._reserve is not None:
            used += self._reserve.charges(self.output_bound, lambda hold: self._used(hold, record))
        elif not used:
            self._meter.ledger.append(record)
            return
        settling = self._meter.ledger.submit(Settle(self._id, arrived(used, self._arrived()), record))
        settling.add_done_callback(self._alert)  # said even when whoever waits leaves: it is said once
        await asyncio.shield(settling)

    def _alert(self, settling: asyncio.Future[Answer]) -> None:
        done = None if settling.cancelled() or settling.exception() else settling.result()
        holds = (*self._idle, *(self._reserve.holds if self._reserve is not None else ()))
        for alert in done.alerts if isinstance(done, Settled) else ():
            text = passed(alert, holds)
            logger.warning("%s", text)
            self._meter.note(text)

    def _arrived(self) -> float:
        """The latest moment at which its vendor can have got the request."""
        end = self._end
        if end.arrived is None and end.first_token is not None:
            return self._started + end.first_token
        return end.arrived if end.arrived is not None else self._meter.clock()

    def _used(self, hold: Hold, record: CallRecord) -> int:
        """What the call took from one account, in whole units."""
        usage = record.usage or Usage()
        if hold.budget.unit == "requests":
            return 1
        if only_stated(hold.budget):
            return usage.input_tokens - usage.cache_read_tokens + usage.output_tokens
        if hold.budget.unit == "tokens":
            return usage.input_tokens + usage.output_tokens
        if record.cost is not None:
            return int((record.cost * PICO).to_integral_value(ROUND_CEILING))
        return hold.fixed + usage.output_tokens * hold.per_token

    def _recorded(self, outcome: Outcome, reason: str | None) -> CallRecord:
        """The call's record; its usage and cost are added to the meter's."""
        meter, candidate, scope, end = self._meter, self._estimate.candidate, self._meter.scope, self._end
        usage = end.usage or Usage()
        priced = meter.price_of(candidate, end.answered)
        cost: Decimal | None
        source = priced.source
        if end.reported is not None:
            cost, source = end.reported, "reported"
        elif usage.input_tokens == 0 and usage.output_tokens == 0 and not end.settled:
            cost = Decimal(0)
        else:
            cost = priced.cost(usage)
            if doubt := priced.doubt(usage):
                meter.note(f"{candidate}: {doubt}")
        meter.calls += 1
        meter.usage = meter.usage + usage
        meter.cost = None if meter.cost is None or cost is None else meter.cost + cost
        return CallRecord(
            id=self._id,
            attempt=scope.attempt,
            delegation=scope.delegation,
            root=scope.root,
            agent=scope.agent,
            tier=scope.tier,
            provider=candidate.provider,
            pattern=candidate.preference.model,
            asked=candidate.model,
            answered=end.answered,
            started=self._started,
            latency=perf_counter() - self._began,
            first_token=end.first_token,
            usage=usage,
            cost=cost,
            outcome=outcome,
            reason=reason,
            simulated=candidate.simulated,
            family=family(candidate.model),
            profile=scope.profile,
            stage=scope.stage,
            role=scope.role,
            tags=scope.tags,
            cost_source=source if cost is not None else None,
        )


def may_be_charged(error: BaseException | None) -> bool:
    """Whether a vendor may charge for a request that failed so: not for one that it refused or that never reached it."""
    return not isinstance(error, ProviderFailure) or (error.status is None and error.scope != "provider")
