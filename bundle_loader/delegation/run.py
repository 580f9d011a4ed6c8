"""One delegation under way: the flow of attempts driven against the spawner, every step recorded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any, TypeAlias

from bundle_loader.delegation.attempts import Answered, Failed, Try, Verdict, attempts
from bundle_loader.delegation.books import Books
from bundle_loader.delegation.chain import same
from bundle_loader.delegation.context import DelegationContext, limits_of
from bundle_loader.delegation.defeat import defeat, no_candidate
from bundle_loader.delegation.entries import attempt_record, delegation_record, scope_of
from bundle_loader.delegation.inherited import DELEGATE
from bundle_loader.delegation.merging import Inbox
from bundle_loader.delegation.progress import Progress
from bundle_loader.delegation.recorded import RecordedTools
from bundle_loader.delegation.result import Attempt, ChildEvent, DelegationResult, DoneEvent, StreamEvent
from bundle_loader.delegation.sessions import Journal, Opening
from bundle_loader.delegation.spawner import Spawner
from bundle_loader.delegation.tools import ToolBox
from bundle_loader.errors import (
    BudgetRefused,
    DeadlineExceeded,
    InvalidOutput,
    LimitReached,
    NoAnswer,
    NoCandidate,
    NotAdmitted,
    NotSent,
    ProviderFailure,
)
from bundle_loader.events import AnswerEvent, Event, FallbackEvent, OutcomeEvent, StatusEvent, TextEvent, TurnEvent
from bundle_loader.ledger.meter import LedgerMeter
from bundle_loader.ledger.records import HopRecord, Outcome, ResumeRecord
from bundle_loader.ledger.refusals import again_in
from bundle_loader.messages import Message
from bundle_loader.routing.candidate import Candidate, Rejection, Route

Readmit: TypeAlias = Callable[[Candidate, tuple[Message, ...]], Awaitable[str | None]]
"""Has a candidate pass all gates once more, for the conversation as it is by then: a reason, or None."""


class Run:
    """One delegation on one route. Use `events` once."""

    def __init__(
        self,
        base: DelegationContext,
        route: Route,
        spawner: Spawner,
        tools: ToolBox,
        books: Books,
        *,
        end: float,
        notes: Iterable[str] = (),
        continue_broken: bool = False,
        content_fallback: Callable[[], tuple[Candidate, ...]] = lambda: (),
        emergency: Callable[[str], tuple[Candidate, ...]] = lambda tier: (),
        gone: Callable[[str], None] = lambda provider: None,
        readmit: Readmit | None = None,
        opening: Opening | None = None,
    ) -> None:
        self.base = base
        self.route = route
        self.spawner = spawner
        self.tools = tools
        self.books = books
        self.end = end
        """The deadline in the event loop's time; it counts from before the route was made."""
        self.gone = gone
        """Told of each provider that does not know a model that it lists."""
        self.state = Progress(list(base.messages), list(notes))
        self.flow = attempts(
            route.candidates,
            continue_broken=continue_broken,
            content_fallback=content_fallback,
            emergency=partial(self.state.emergency, emergency),
            over=next((bar.emergency for bar in route.barred if bar.emergency), None),
            waiting=tuple(
                (candidate, max(down.until - books.clock(), 0.0)) for candidate, down in route.waiting if not down.refused
            ),
            left=base.limits.timeout,
        )
        self._readmit = readmit
        self._opening = opening
        self._journal: Journal | None = None
        self.inbox: Inbox | None = None
        """Where the events of children arrive while somebody streams."""
        self.now: tuple[Candidate, ...] = ()
        """The candidate that is tried, and those that remain."""
        self._passed = list(route.passed)
        self.started = 0.0
        self.began = 0.0

    async def events(self, *, show: bool, children: bool | None = None) -> AsyncGenerator[StreamEvent, None]:
        """Everything that happens, last a `DoneEvent`. With `show`, text is yielded as it comes, and then a turn that breaks is
        not taken over by another model; with `children` what they do is yielded too (None: with `show`). Raises NoAnswer's kinds.
        """
        self.started, self.began = self.books.clock(), perf_counter()
        self._open()
        if (show if children is None else children) and self.delegates:
            self.inbox = Inbox()
        try:
            async with aclosing(self._drive(self.end, show)) as events:
                async for event in events:
                    yield event
            result = self._result()
        except (asyncio.CancelledError, GeneratorExit) as error:
            self._record("cancelled", type(error).__name__, None)
            raise
        except BaseException as error:
            refused = isinstance(error, (NoCandidate, BudgetRefused)) or getattr(error, "limit", "") == "max_cost"
            self._record("refused" if refused else "failed", str(error).partition("\n")[0], None)
            raise
        self._record("answered", None, result)
        yield DoneEvent(result)

    @property
    def session(self) -> str | None:
        """The session by which what was done so far can be carried on."""
        return self._journal.id if self._journal is not None and self._journal.fault is None else None

    @property
    def delegates(self) -> bool:
        """Whether it may delegate on."""
        return any(spec.name == DELEGATE for spec in self.tools.specs)

    def _open(self) -> None:
        """Begin the transcript, or go on with it."""
        opening, base = self._opening, self.base
        if opening is None:
            return
        self._journal, note = opening.begin(base.id)
        if note is not None:
            self.state.notes.append(note)
        if opening.id != base.id:
            self.books.ledger.append(ResumeRecord(base.id, opening.id, self.started))
        if self._journal is not None and self.tools.specs:
            self.tools = RecordedTools(self.tools, self._journal)

    async def _drive(self, end: float, show: bool) -> AsyncGenerator[StreamEvent, None]:
        loop = asyncio.get_running_loop()
        step = next(self.flow, None)
        if step is None:
            raise no_candidate(self.base.agent, self.route, self.books.clock())
        stays = False
        while True:
            if step.wait:
                await asyncio.sleep(step.wait)
            candidate = step.candidate
            number = len(self.state.attempts) + 1
            if not stays:
                for hop in self._stood_in_for(candidate):
                    yield hop
                yield self._status(candidate, number)
            failure: ProviderFailure | None = None
            try:
                async with aclosing(self._attempt(step, number, end - loop.time(), show)) as events:
                    async for event in events:
                        yield event
            except ProviderFailure as error:
                failure = error
                if failure.model_gone:
                    self.gone(candidate.provider)
            except LimitReached as error:
                raise LimitReached(str(error), limit=error.limit, **self._reasons()) from None
            except InvalidOutput as error:
                raise InvalidOutput(error.summary, faults=error.faults, text=error.text, **self._reasons()) from None
            except DeadlineExceeded as error:
                raise DeadlineExceeded(str(error), **self._reasons()) from None
            if isinstance(failure, NotSent) and failure.held:
                self.state.held_back(failure)
            for event in self.state.news():
                yield event
            answer = self._failed(candidate, failure, end - loop.time()) if failure else Answered()
            try:
                step = self.flow.send(answer)
            except StopIteration as stop:
                if failure is not None:
                    raise defeat(
                        self.base.agent,
                        stop.value,
                        failure,
                        route=self.route,
                        kept=self.state.kept,
                        now=self.books.clock(),
                        partial=self.state.shown,
                        timeout=self.base.limits.timeout,
                        reasons=self._reasons(stop.value),
                    ) from None
                return
            assert failure is not None
            after = step.candidate
            if step.again and isinstance(failure, NotSent):
                self.state.held_back(self.state.kept.get((after.provider, after.model), failure))
            for event in self.state.news():
                yield event
            stays = step.again and same(candidate, after)
            if not stays:
                yield self._hop(candidate.provider, candidate.model, after, str(failure))

    def _failed(self, candidate: Candidate, failure: ProviderFailure, left: float) -> Failed:
        now = self.books.clock()
        down = self.books.breakers.against(candidate.provider, candidate.model, now)
        after = None if down is None or (down.refused and not down.probing) else again_in(down, now)
        return Failed(failure, bool(self.state.shown), left, after)

    def _stood_in_for(self, candidate: Candidate) -> list[FallbackEvent]:
        """Models that would have been tried in its place but for their health or a budget, each told of once."""
        mine = [one for one in self._passed if (one.provider, one.instead) == (candidate.provider, candidate.model)]
        self._passed = [one for one in self._passed if one not in mine]
        return [self._hop(one.provider, one.model, candidate, one.reason) for one in mine]

    def _hop(self, provider: str, model: str, after: Candidate, reason: str) -> FallbackEvent:
        """One model gives way to another: exactly one event and one record."""
        hop = provider, model, after.provider, after.model, reason
        self.books.ledger.append(HopRecord(self.base.id, self.books.clock(), *hop))
        return FallbackEvent(*hop)

    def _status(self, candidate: Candidate, number: int) -> StatusEvent:
        """What is about to be tried, for whom, and why nothing before it served."""
        base, state = self.base, self.state
        came_to_nothing = (*state.turned_down(self.route), *state.attempts)
        return StatusEvent(
            candidate.provider,
            candidate.model,
            number,
            base.agent,
            base.tier,
            str(candidate.preference),
            tuple(map(str, came_to_nothing)),
        )

    async def _attempt(self, step: Try, number: int, left: float, show: bool) -> AsyncGenerator[StreamEvent, None]:
        """One candidate: its events, then its record."""
        base, state, candidate = self.base, self.state, step.candidate
        books = self.books
        books.ledger.usable()
        meter = LedgerMeter(
            books.ledger, scope_of(base, number), books.price, books.clock, books.budgets, books.breakers, books.slots
        )
        started, began = self.books.clock(), perf_counter()
        outcome: Outcome = "failed"
        failure: ProviderFailure | None = None
        reason: str | None = None
        state.shown, state.simulated = "", candidate.simulated
        self.now = (candidate, *step.remaining)
        try:
            await self._admit(candidate)
            state.trying(candidate, self.route)
            own = self.spawner.spawn(self._context(step, left), meter, self.tools)
            spawned: AsyncIterator[Event | ChildEvent] = own if self.inbox is None else self.inbox.merged(own)
            try:
                async for event in spawned:
                    state.hear(meter.notes)
                    for said in state.news():
                        yield said
                    if isinstance(event, TextEvent):
                        if show:
                            state.shown += event.text
                            yield event
                        continue
                    if isinstance(event, AnswerEvent):
                        if self._journal is not None:
                            self._journal.answer(event.message)
                        continue
                    if isinstance(event, TurnEvent):
                        state.turn(event, meter.lowered)
                        if self._journal is not None:
                            self._journal.turn(event, f"{candidate.provider}/{candidate.model}")
                    elif isinstance(event, OutcomeEvent):
                        state.outcome = event
                        outcome = "answered"
                    yield event
            finally:
                # a caller who leaves early must find the request closed and settled before it is recorded
                if isinstance(spawned, AsyncGenerator):
                    await spawned.aclose()
        except ProviderFailure as error:
            failure, reason = error, str(error)
            raise
        except (asyncio.CancelledError, GeneratorExit):
            outcome = "cancelled" if outcome != "answered" else outcome
            raise
        except NoAnswer as error:
            reason = str(error)
            raise
        finally:
            self._tried(candidate, number, meter, outcome, failure, reason, started, perf_counter() - began)

    def _tried(
        self,
        candidate: Candidate,
        number: int,
        meter: LedgerMeter,
        outcome: Outcome,
        failure: ProviderFailure | None,
        reason: str | None,
        started: float,
        latency: float,
    ) -> None:
        """An attempt is over, or no call of it was let through."""
        state = self.state
        state.hear(meter.notes)
        key = candidate.provider, candidate.model
        state.refused.pop(key, None)
        state.kept.pop(key, None)
        if isinstance(failure, NotSent):
            state.kept[key] = failure
        if isinstance(failure, NotSent) and not meter.calls:
            state.refused[key] = Rejection(*key, failure.message, candidate.preference)
        else:
            kind = str(failure.kind) if failure else None
            attempt = Attempt(number, *key, outcome, kind, reason, meter.usage, meter.cost, latency)
            self._keep(attempt, meter.scope.attempt, candidate.preference.model, started)

    async def _admit(self, candidate: Candidate) -> None:
        """Every hop of a fallback passes all gates again; the first try has just passed them. Raises NotAdmitted."""
        if self._readmit is None or not (self.state.attempts or self.state.refused):
            return
        reason = await self._readmit(candidate, tuple(self.state.history))
        if reason is not None:
            raise NotAdmitted(candidate.provider, reason, model=candidate.model)

    def _context(self, step: Try, left: float) -> DelegationContext:
        """What the spawner is handed for this try."""
        base, state = self.base, self.state
        said, local = self.books.timeouts(step.candidate.provider), step.candidate.local
        return replace(
            base,
            candidate=step.candidate,
            remaining=step.remaining,
            messages=tuple(state.history),
            config={key: value for key, value in step.candidate.config.items() if key != "max_tokens"},
            limits=limits_of(base.limits, said, left, len(step.remaining) + step.held, local=local),
            turns_done=state.turns,
            repaired=state.rejected > 0,
        )

    def _keep(self, attempt: Attempt, id: str, pattern: str, started: float) -> None:
        """Add an attempt that is over to the sums and to the ledger."""
        state = self.state
        state.attempts.append(attempt)
        state.usage = state.usage + attempt.usage
        state.cost = None if state.cost is None or attempt.cost is None else state.cost + attempt.cost
        self.books.ledger.append(attempt_record(self.base.id, attempt, id, pattern, started))

    def _result(self) -> DelegationResult:
        state, last = self.state, self.state.attempts[-1]
        state.notes += [self._journal.fault] if self._journal is not None and self._journal.fault else []
        assert state.outcome is not None
        return DelegationResult(
            text=state.outcome.text,
            provider=last.provider,
            model=last.model,
            answered_by=state.outcome.model,
            decided_by=self.route.decided_by,
            attempts=tuple(state.attempts),
            usage=state.usage,
            cost=state.cost,
            route=self.route,
            id=self.base.id,
            agent=self.base.agent,
            latency=perf_counter() - self.began,
            turns=state.turns,
            messages=tuple(state.history),
            notes=tuple(state.notes),
            simulated=state.simulated,
            finish=state.outcome.finish,
            refused=tuple(state.refused.values()),
            data=state.outcome.data,
            session=self.session,
            children=tuple(state.children),
        )

    def _reasons(self, verdict: Verdict | None = None) -> dict[str, Any]:
        """What an error says of every preference."""
        skipped = verdict.skipped if verdict is not None else ()
        return {
            "attempts": self.state.attempts,
            "skipped": [f"{candidate} was not tried: {reason}" for candidate, reason in skipped],
            "rejections": self.state.turned_down(self.route),
        }

    def _record(self, outcome: Outcome, reason: str | None, result: DelegationResult | None) -> None:
        base = self.base
        if self._journal is not None:
            self._journal.end(outcome, reason)
        answered = (result.provider, result.model) if result else (None, None)
        rejected = self.state.turned_down(self.route)
        timed, played = {"started": self.started, "latency": perf_counter() - self.began}, self.state.simulated
        self.books.ledger.append(
            delegation_record(base, self.route.decided_by, outcome, reason, answered, rejected, simulated=played, **timed)
        )
