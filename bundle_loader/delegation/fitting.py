"""A host's own spawner held to what a spawner promises: events of their shape, in time, and one outcome that fits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any, Final, get_args

from bundle_loader.delegation.context import DelegationContext
from bundle_loader.delegation.message_json import from_json, to_json
from bundle_loader.delegation.spawner import Spawner
from bundle_loader.delegation.structured import NotFitting, expected, invalid_output
from bundle_loader.delegation.tools import ToolBox
from bundle_loader.errors import BundleLoaderError, ProviderFailure, RequestError
from bundle_loader.events import AnswerEvent, Event, OutcomeEvent, TextEvent, ToolEvent, TurnEvent
from bundle_loader.ledger.meter import Meter
from bundle_loader.masking import masked
from bundle_loader.messages import Finish, Message, ToolCall, ToolResult, Turn, assistant
from bundle_loader.providers.faults import broken, foreign, short, too_slow

logger = logging.getLogger("bundle_loader")

LATE: Final = 2.0
"""Seconds after the deadline at which a spawner is stopped that does not keep it: one that does tells more of what it did."""
GRACE: Final = 10.0
"""Seconds that a spawner may take to tidy up once its work is over, or stopped."""


class Fitting:
    """A spawner whose events are checked before anybody sees them.

    It is stopped `late` seconds after the deadline, and then has `grace` seconds to end.
    """

    def __init__(self, spawner: Spawner, *, late: float = LATE, grace: float = GRACE) -> None:
        if not callable(getattr(spawner, "spawn", None)):
            raise RequestError(f"spawner is an object with spawn(context, meter, tools), not a {type(spawner).__name__}")
        self._spawner = spawner
        self._patience = late, grace

    async def spawn(self, context: DelegationContext, meter: Meter, tools: ToolBox) -> AsyncIterator[Event]:
        """As the spawner's own, under these rules. Raises ProviderFailure for what breaks them.

        1. What it raises that is no error of this package costs a hop, as what is no event of a spawner, and an end without an
           outcome, do.
        2. The deadline holds, whatever it does; the shorter limits of the context are the spawner's to keep.
        3. An outcome without a turn is a turn: the history has the answer.
        4. Once there is an outcome it stands; what comes after it is logged.
        5. Under an `output_schema` text comes once the answer fits; raises InvalidOutput where not. Whether to let the model
           try again is left to the spawner.
        """
        wanted = None if context.output_schema is None else await expected(context.output_schema)
        outcome: OutcomeEvent | None = None
        turns = 0
        async with aclosing(_Working(self._spawner, context, meter, tools, *self._patience).events()) as events:
            async for event in events:
                if isinstance(event, OutcomeEvent):
                    outcome = event
                    continue
                turns += isinstance(event, TurnEvent)
                if wanted is None or not isinstance(event, TextEvent):
                    yield event
        assert outcome is not None, "what ends without one has raised"
        data = outcome.data
        if wanted is not None:
            try:
                data = data if data is not None else wanted.value(outcome.text, outcome.finish)
                wanted.check(data)
            except NotFitting as error:
                raise invalid_output(context.agent, error.faults, outcome.text, told=False) from None
            if outcome.text:
                yield TextEvent(outcome.text)
        if not turns:
            message = assistant(outcome.text)
            yield TurnEvent(Turn(message, None, outcome.model, outcome.finish), (message,))
        yield replace(outcome, data=data)


class _Working:
    """A spawner at work, in a task of its own: it is stopped in time, and left behind where it does not heed that."""

    def __init__(
        self, spawner: Spawner, context: DelegationContext, meter: Meter, tools: ToolBox, late: float, grace: float
    ) -> None:
        assert context.candidate is not None
        self._who = context.candidate.provider, context.candidate.model
        self._limit = context.limits.timeout
        self._late = late
        self._grace = grace
        self._spawn: Callable[[], Any] = partial(spawner.spawn, context, meter, tools)
        self._queue: asyncio.Queue[tuple[Any, asyncio.Event] | None] = asyncio.Queue()
        self._raised: BaseException | None = None

    async def events(self) -> AsyncGenerator[Event, None]:
        """Its events, each taken when it is asked for; exactly one outcome, the last. Raises BundleLoaderError's kinds."""
        end = asyncio.get_running_loop().time() + self._limit + self._late
        outcome: OutcomeEvent | None = None
        task = asyncio.create_task(self._work())
        try:
            while (came := await self._next(end, outcome)) is not None:
                event, taken = came
                if outcome is not None:
                    logger.warning("the spawner for %s/%s yielded a %s after its outcome", *self._who, type(event).__name__)
                elif isinstance(checked := self._checked(event), OutcomeEvent):
                    outcome = checked
                    end = min(end, asyncio.get_running_loop().time() + self._grace)
                else:
                    yield checked
                taken.set()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task], timeout=self._grace)
            if not task.done():
                logger.warning("the spawner for %s/%s does not end when it is cancelled, and is left behind", *self._who)
        if outcome is None:
            raise self._failure()
        if self._raised is not None:
            logger.warning("the spawner for %s/%s broke after its outcome: %s", *self._who, short(self._raised))
        yield outcome

    async def _next(self, end: float, outcome: OutcomeEvent | None) -> tuple[Any, asyncio.Event] | None:
        """What it yields next, with what tells it to go on; None at its end."""
        try:
            async with asyncio.timeout_at(end):
                return await self._queue.get()
        except TimeoutError:
            if outcome is not None:
                return None
            late = too_slow(*self._who, round(self._limit, 3))
            late.hurried = True  # the whole deadline is over: that says nothing of the provider
            raise late from None

    async def _work(self) -> None:
        try:
            events = self._spawn()
            if not hasattr(events, "__aiter__"):
                if asyncio.iscoroutine(events):
                    events.close()
                raise broken(*self._who, f"the spawner gave a {type(events).__name__}, and events come from an async iterator")
            try:
                async for event in events:
                    taken = asyncio.Event()
                    self._queue.put_nowait((event, taken))
                    await taken.wait()
            finally:
                if isinstance(events, AsyncGenerator):
                    await events.aclose()
        except (Exception, SystemExit, asyncio.CancelledError) as error:  # noqa: BLE001 - a host's own spawner may raise anything
            # who stopped it does not look; what it raised by itself, a cancellation too, is its failure
            self._raised = error
        finally:
            self._queue.put_nowait(None)

    def _failure(self) -> BundleLoaderError:
        error = self._raised
        if isinstance(error, BundleLoaderError):
            return error
        if error is None:
            return broken(*self._who, "the spawner ended without an outcome")
        if isinstance(error, Exception):
            return foreign(error, *self._who, what="spawner")
        return broken(*self._who, f"the spawner broke ({type(error).__name__})")

    def _checked(self, event: Any) -> Any:
        """The event, where it is one that a spawner may yield and holds what it should. Raises ProviderFailure."""
        if isinstance(event, TextEvent) and isinstance(event.text, str):
            return event
        if isinstance(event, AnswerEvent):
            self._messages([event.message])
            return event
        if isinstance(event, ToolEvent) and isinstance(event.call, ToolCall) and isinstance(event.result, ToolResult):
            return event
        if isinstance(event, TurnEvent) and isinstance(event.turn, Turn) and isinstance(event.added, (tuple, list)):
            self._messages([event.turn.message, *event.added])
            return replace(event, added=tuple(event.added))
        if isinstance(event, OutcomeEvent) and isinstance(event.text, str) and event.finish in get_args(Finish):
            return event if isinstance(event.model, str) else replace(event, model=self._who[1])
        raise self._strange(repr(event)[:100])

    def _messages(self, messages: list[Any]) -> None:
        for message in messages:
            try:
                if not isinstance(message, Message):
                    raise TypeError("is no Message")
                from_json(to_json(message))
            except (ValueError, TypeError, AttributeError) as error:
                raise self._strange(f"{message!r:.100}, which {error}") from None

    def _strange(self, what: str) -> ProviderFailure:
        return broken(*self._who, f"the spawner yielded what is no event of a spawner: {masked(what)}")
