"""The default spawner: runs turns and tools on one candidate through its provider."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

from bundle_loader.delegation.context import LEAST_SHARE, LONG_SILENCE, DelegationContext, SpawnLimits, output_bound
from bundle_loader.delegation.conversation import around_bound, message_bytes, prompt_bound, prompt_bytes, within
from bundle_loader.delegation.one_call_each import one_call_each
from bundle_loader.delegation.sound_text import Pieces, sound_turn
from bundle_loader.delegation.structured import Expected, NotFitting, expected, invalid_output, repair
from bundle_loader.delegation.tools import ToolBox
from bundle_loader.errors import DeadlineExceeded, InvalidOutput, LimitReached, ProviderFailure
from bundle_loader.events import AnswerEvent, Event, OutcomeEvent, TextEvent, ToolEvent, TurnEvent
from bundle_loader.ledger.estimate import CallEstimate
from bundle_loader.ledger.meter import Meter
from bundle_loader.messages import Delta, Message, StreamPart, ToolResult, Turn, user
from bundle_loader.providers.base import ChatRequest, Provider
from bundle_loader.providers.faults import broken, foreign, too_slow
from bundle_loader.providers.output_format import in_words
from bundle_loader.providers.patience import Patience
from bundle_loader.routing.candidate import Candidate

logger = logging.getLogger("bundle_loader")


class Spawner(Protocol):
    """Runs a delegation context on its candidate. A host may pass its own."""

    def spawn(self, context: DelegationContext, meter: Meter, tools: ToolBox) -> AsyncIterator[Event]:
        """Yields text as it comes and every finished turn, and ends in one `OutcomeEvent`; raises ProviderFailure."""
        ...


class ProviderSpawner:
    """Drives the official SDKs through the mounted providers."""

    def __init__(self, provider_of: Callable[[str], Provider]) -> None:
        self._provider_of = provider_of

    async def spawn(self, context: DelegationContext, meter: Meter, tools: ToolBox) -> AsyncIterator[Event]:
        """Turns until the model stops asking for tools. Raises LimitReached at the agent's last turn, and InvalidOutput.

        With an `output_schema` text is yielded only once its turn is over and it fits: what does not is never shown.
        """
        candidate = context.candidate
        assert candidate is not None
        provider = self._provider_of(candidate.provider)
        wanted = None if context.output_schema is None else await expected(context.output_schema)
        history = _History(context)
        end = asyncio.get_running_loop().time() + context.limits.timeout
        limits = context.limits
        repaired = context.repaired
        for number in range(context.turns_done, limits.max_turns):
            turn: Turn | None = None
            sent = history.within(candidate)
            async with (
                meter.call(_estimate(candidate, context, sent, meter, end)) as call,
                _Parts(provider, _request(candidate, context, sent.messages, call.output_bound, end), limits, end) as parts,
            ):
                pieces = Pieces()
                while turn is None:
                    part = await parts.next()
                    if isinstance(part, Turn):
                        call.settle(part.usage, part.model, part.cost)
                        call.told(part.limits)
                        turn = _as_kept(part, sent, candidate)
                    text = pieces.rest() if isinstance(part, Turn) else pieces.take(part.text)
                    if text:
                        call.streamed(len(text.encode()))
                        if wanted is None:
                            yield TextEvent(text)
            answer = None if turn.finish == "tools" else _Answer(turn, wanted)
            added = [turn.message]
            if answer is not None and answer.faults:
                last = repaired or number + 1 == limits.max_turns
                added = _rejected(turn, answer, context, last)
                yield TurnEvent(turn, tuple(added), rejected=True)
                if last:
                    raise answer.invalid(context, repaired)
                history.add(added)
                repaired = True
                continue
            if wanted is not None and turn.message.text:
                yield TextEvent(turn.message.text)
            if answer is None:
                yield AnswerEvent(turn.message)
                results = await _run_tools(tools, turn, context, end)
                for wish, result in zip(turn.message.tool_calls, results, strict=True):
                    yield ToolEvent(wish, result)
                added.append(Message("tool", tuple(results)))
            history.add(added)
            limits = replace(limits, load=0.0)
            yield TurnEvent(turn, tuple(added))
            if answer is not None:
                yield OutcomeEvent(turn.message.text, turn.model or candidate.model, turn.finish, answer.data)
                return
        raise LimitReached(
            f"agent '{context.agent}' used all of its {context.limits.max_turns} turns (limits.max_turns) without an answer"
        )


def _as_kept(turn: Turn, sent: _Sent, candidate: Candidate) -> Turn:
    """The turn with each call once, in text that can be sent, and a note of what its request left out. Raises ProviderFailure.

    A turn that ends for its tools and calls none is an answer: else it would be asked again until the turns are used up.
    """
    turn = one_call_each(sound_turn(turn))
    if turn.finish == "tools" and not turn.message.tool_calls:
        turn = replace(turn, finish="stop")
    if _is_empty(turn, sent.messages):
        raise broken(candidate.provider, candidate.model, "an empty answer")
    return turn if sent.cut is None else replace(turn, notes=(*turn.notes, sent.cut))


def _is_empty(turn: Turn, history: Sequence[Message]) -> bool:
    """Nothing at all, to whoever asked for an answer; after a tool's result a model may have nothing to add."""
    return turn.finish == "stop" and not turn.message.text and not turn.message.tool_calls and history[-1].role != "tool"


class _Sent(NamedTuple):
    """What is sent of a conversation."""

    messages: Sequence[Message]
    size: int
    """Bytes of the prompt."""
    bound: int
    """The most tokens that the prompt can have."""
    cut: str | None
    """A note where something was left out."""


class _History:
    """The conversation so far, measured once: each turn adds only what it adds."""

    def __init__(self, context: DelegationContext) -> None:
        self._context = context
        self.messages = list(context.messages)
        self._size = prompt_bytes(context.instruction, self.messages, context.tools)
        self._around = around_bound(self.messages)
        schema = context.output_schema
        config = context.config if schema is None else {**context.config, "output_schema": in_words(schema)}
        self._beside = prompt_bound(context.instruction, (), context.tools, config, 0)

    def add(self, messages: Sequence[Message]) -> None:
        """A turn is over."""
        self.messages += messages
        self._size += sum(map(message_bytes, messages))
        self._around += around_bound(messages)

    def within(self, candidate: Candidate) -> _Sent:
        """What is sent of it to that candidate."""
        context, window = self._context, _window(candidate)
        most = output_bound(candidate)
        sent, size, cut = within(window, most, context.instruction, tuple(self.messages), context.tools, self._size)
        around = self._around if cut is None else around_bound(sent)
        return _Sent(sent, size, self._beside + size + around, cut)


class _Answer:
    """The last turn of a model, held against what the answer must be."""

    def __init__(self, turn: Turn, wanted: Expected | None) -> None:
        self.text = turn.message.text
        self.data: Any = None
        self.faults: tuple[str, ...] = ()
        if wanted is not None:
            try:
                self.data = wanted.value(self.text, turn.finish)
            except NotFitting as error:
                self.faults = error.faults

    def invalid(self, context: DelegationContext, repaired: bool) -> InvalidOutput:
        """The end of a delegation whose answer does not fit."""
        return invalid_output(context.agent, self.faults, self.text, told=repaired)


def _rejected(turn: Turn, answer: _Answer, context: DelegationContext, last: bool) -> list[Message]:
    """What an answer that does not fit adds to the history: itself, and where there is another turn what is wrong with it."""
    said = [turn.message] if turn.message.parts else []
    assert context.output_schema is not None
    return said if last else [*said, user(repair(answer.faults, context.output_schema))]


def _window(candidate: Candidate) -> int | None:
    return candidate.info.window if candidate.info is not None else None


def _request(
    candidate: Candidate, context: DelegationContext, history: Sequence[Message], max_tokens: int, end: float
) -> ChatRequest:
    """The request for one turn; `end` is the deadline in the loop's time."""
    return ChatRequest(
        model=candidate.model,
        messages=tuple(history),
        system=context.instruction,
        tools=context.tools,
        max_tokens=max_tokens,
        config=context.config,
        timeout=max(end - asyncio.get_running_loop().time(), 0.001),
        output_schema=context.output_schema,
    )


def _estimate(candidate: Candidate, context: DelegationContext, sent: _Sent, meter: Meter, end: float) -> CallEstimate:
    most = output_bound(candidate)
    price = meter.price(candidate)
    worst = price.worst(sent.bound, most) if price else None
    left = max(end - asyncio.get_running_loop().time(), 0.001)
    return CallEstimate(candidate, sent.bound, most, worst, sent.size, left, context.limits.first)


async def _run_tools(tools: ToolBox, turn: Turn, context: DelegationContext, end: float) -> list[ToolResult]:
    """The results of a turn's tools; the deadline holds for them too."""
    try:
        async with asyncio.timeout_at(end):
            return await tools.run(turn.message.tool_calls)
    except TimeoutError:
        names = ", ".join(call.name for call in turn.message.tool_calls)
        raise DeadlineExceeded(f"agent '{context.agent}': the deadline passed while its tools ran ({names})") from None


class _Parts:
    """The parts of one answer: the first within the candidate's share, each later one within the idle limit."""

    def __init__(self, provider: Provider, request: ChatRequest, limits: SpawnLimits, end: float) -> None:
        self._provider = provider.id
        self._model = request.model
        self._idle = limits.idle
        self._allowed = max(limits.first, limits.load)
        self._least = limits.due
        self._due = max(limits.due, limits.load)
        self._end = end
        self._time = asyncio.get_running_loop().time
        self._patience = Patience()
        try:
            self._stream = provider.stream(request)
        except ProviderFailure:
            raise
        except Exception as error:  # noqa: BLE001 - a host's own provider may raise anything
            raise foreign(error, provider.id, request.model) from None

    async def __aenter__(self) -> _Parts:
        return self

    async def next(self) -> StreamPart:
        """The next part. Raises ProviderFailure when it does not come in time, or at all."""
        now = self._time()
        until = min(now + self._allowed, self._end)
        try:
            part = await self._patience.step(anext(self._stream, None), until)
        except TimeoutError:
            failed = too_slow(self._provider, self._model, until - now)
            failed.hurried = self._hurried(now)
            raise failed from None
        except ProviderFailure as failed:
            failed.hurried = self._time() >= self._end and self._hurried(now)
            raise
        except Exception as error:  # noqa: BLE001 - a host's own provider may raise anything
            strange = foreign(error, self._provider, self._model)
            strange.hurried = self._time() >= self._end and self._hurried(now)
            raise strange from None
        if part is None:
            raise broken(self._provider, self._model, "the stream ended without an answer")
        if not isinstance(part, (Delta, Turn)):
            raise broken(self._provider, self._model, f"the provider gave a {type(part).__name__}, not a Delta or a Turn")
        self._allowed, self._due = self._idle, min(self._least, LEAST_SHARE)
        return part

    def _hurried(self, asked: float) -> bool:
        """Whether the silence says nothing of the provider.

        1. A minute of it always does say something.
        2. What the whole deadline cut short does not: another might have waited.
        3. Nor does what ended at a limit below the least that a provider has to have.
        """
        if self._time() - asked >= LONG_SILENCE:
            return False
        return asked + self._allowed >= self._end or self._allowed < self._due

    async def __aexit__(self, *_: object) -> None:
        self._patience.close()
        close = getattr(self._stream, "aclose", None)
        if close is not None:
            try:
                await close()
            except Exception:
                # what was answered was answered: a turn is not run again since its stream did not end well
                logger.warning("the stream of %s/%s could not be closed", self._provider, self._model, exc_info=True)
