"""Around every provider request: reserve before, settle after, record always."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from time import perf_counter
from types import TracebackType
from typing import Protocol

from bundle_loader.errors import ProviderFailure
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.records import CallRecord, Outcome
from bundle_loader.messages import Usage
from bundle_loader.routing.candidate import Candidate
from bundle_loader.routing.price import Price

BYTES_PER_TOKEN = 4
"""The stated rule by which tokens are estimated where a provider does not count them."""


@dataclass(frozen=True, slots=True)
class CallEstimate:
    """The most that one request can use. `cost_bound` None: the price is unknown."""

    candidate: Candidate
    input_bound: int
    """Bytes of the prompt: no prompt has more tokens than bytes."""
    output_bound: int
    cost_bound: Decimal | None


@dataclass(frozen=True, slots=True)
class CallScope:
    """Whose call it is, for the record."""

    attempt: str
    delegation: str
    root: str
    agent: str
    tier: str | None


def estimate_tokens(size: int) -> int:
    """Tokens for that many bytes, rounded up."""
    return -(-size // BYTES_PER_TOKEN)


class Meter(Protocol):
    """What a spawner is given to account for its requests."""

    def call(self, estimate: CallEstimate) -> Call:
        """Use as `async with meter.call(estimate) as call: ...; call.settle(usage, model)`."""
        ...

    def price(self, candidate: Candidate) -> Price | None:
        """The candidate's price now; None where it is unknown."""
        ...


class LedgerMeter:
    """The meter of one attempt: records each call in the ledger, with its cost."""

    def __init__(
        self,
        ledger: Ledger,
        scope: CallScope,
        price_of: Callable[[Candidate, str | None], Price | None],
        clock: Callable[[], float],
    ) -> None:
        self.ledger = ledger
        self.scope = scope
        self.price_of = price_of
        self.clock = clock
        self.calls = 0
        """How many are recorded."""
        self.usage = Usage()
        self.cost: Decimal | None = Decimal(0)
        """Of all calls so far; None once any of them has an unknown cost."""

    def call(self, estimate: CallEstimate) -> Call:
        """One request; leaving the block records it, however it ended."""
        return Call(self, estimate)

    def price(self, candidate: Candidate) -> Price | None:
        """The candidate's price now; None where it is unknown."""
        return self.price_of(candidate, None)


class Call:
    """One request under way."""

    def __init__(self, meter: LedgerMeter, estimate: CallEstimate) -> None:
        self._meter = meter
        self._estimate = estimate
        self._usage: Usage | None = None
        self._answered: str | None = None
        self._settled = False
        self._streamed = 0
        self._first_token: float | None = None
        self._started = self._began = 0.0

    async def __aenter__(self) -> Call:
        self._started = self._meter.clock()
        self._began = perf_counter()
        return self

    def streamed(self, size: int) -> None:
        """Note that `size` more bytes of the answer have come."""
        if self._first_token is None:
            self._first_token = perf_counter() - self._began
        self._streamed += size

    def settle(self, usage: Usage | None, model: str | None) -> None:
        """The request is answered. A missing usage is estimated and marked."""
        self._settled = True
        self._usage = usage if usage is not None else self._estimated()
        self._answered = model

    def _estimated(self) -> Usage:
        return Usage(estimate_tokens(self._estimate.input_bound), estimate_tokens(self._streamed), estimated=True)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        outcome: Outcome = "answered"
        reason = None
        if not self._settled:
            outcome = "cancelled" if kind in (asyncio.CancelledError, GeneratorExit) else "failed"
            reason = str(error) if isinstance(error, ProviderFailure) else kind.__name__ if kind else "left without an answer"
            # what was streamed before the break is charged by vendors; a request refused outright is not
            self._usage = self._estimated() if self._streamed or outcome == "cancelled" else Usage()
        self._record(outcome, reason)

    def _record(self, outcome: Outcome, reason: str | None) -> None:
        meter, candidate, scope = self._meter, self._estimate.candidate, self._meter.scope
        usage = self._usage or Usage()
        price = meter.price_of(candidate, self._answered)
        nothing = usage.input_tokens == 0 and usage.output_tokens == 0
        cost = Decimal(0) if nothing and not self._settled else price.cost(usage) if price else None
        meter.calls += 1
        meter.usage = meter.usage + usage
        meter.cost = None if meter.cost is None or cost is None else meter.cost + cost
        meter.ledger.append(
            CallRecord(
                id=f"{scope.attempt}-{meter.calls}",
                attempt=scope.attempt,
                delegation=scope.delegation,
                root=scope.root,
                agent=scope.agent,
                tier=scope.tier,
                provider=candidate.provider,
                pattern=candidate.preference.model,
                asked=candidate.model,
                answered=self._answered,
                started=self._started,
                latency=perf_counter() - self._began,
                first_token=self._first_token,
                usage=usage,
                cost=cost,
                outcome=outcome,
                reason=reason,
                simulated=candidate.simulated,
            )
        )
