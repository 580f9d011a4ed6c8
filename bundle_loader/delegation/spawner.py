"""The default spawner: runs turns and tools on one candidate through its provider."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Protocol

from bundle_loader.delegation.context import LEAST_SHARE, LONG_SILENCE, DelegationContext, SpawnLimits, output_bound
from bundle_loader.delegation.conversation import prompt_bound, prompt_bytes
from bundle_loader.delegation.tools import ToolBox
from bundle_loader.errors import DeadlineExceeded, LimitReached, ProviderFailure
from bundle_loader.events import Event, OutcomeEvent, TextEvent, ToolEvent, TurnEvent
from bundle_loader.ledger.estimate import CallEstimate
from bundle_loader.ledger.meter import Meter
from bundle_loader.messages import Delta, Message, StreamPart, ToolResult, Turn
from bundle_loader.providers.base import ChatRequest, Provider
from bundle_loader.providers.faults import broken, foreign, too_slow
from bundle_loader.providers.patience import Patience
from bundle_loader.routing.candidate import Candidate


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
        """Turns until the model stops asking for tools. Raises LimitReached at the agent's last turn."""
        candidate = context.candidate
        assert candidate is not None
        provider = self._provider_of(candidate.provider)
        history = list(context.messages)
        end = asyncio.get_running_loop().time() + context.limits.timeout
        limits = context.limits
        for _ in range(context.turns_done, limits.max_turns):
            turn: Turn | None = None
            async with (
                meter.call(_estimate(candidate, context, history, meter, end)) as call,
                _Parts(provider, _request(candidate, context, history, call.output_bound, end), limits, end) as parts,
            ):
                while turn is None:
                    part = await parts.next()
                    if isinstance(part, Turn):
                        call.settle(part.usage, part.model, part.cost)
                        call.told(part.limits)
                        if _is_empty(part, history):
                            raise broken(candidate.provider, candidate.model, "an empty answer")
                        turn = part
                    else:
                        call.streamed(len(part.text.encode()))
                        yield TextEvent(part.text)
            added = [turn.message]
            if turn.finish == "tools":
                results = await _run_tools(tools, turn, context, end)
                for wanted, result in zip(turn.message.tool_calls, results, strict=True):
                    yield ToolEvent(wanted, result)
                added.append(Message("tool", tuple(results)))
            history += added
            limits = replace(limits, load=0.0)
            yield TurnEvent(turn, tuple(added))
            if turn.finish != "tools":
                yield OutcomeEvent(turn.message.text, turn.model or candidate.model, turn.finish)
                return
        raise LimitReached(
            f"agent '{context.agent}' used all of its {context.limits.max_turns} turns (limits.max_turns) without an answer"
        )


def _is_empty(turn: Turn, history: Sequence[Message]) -> bool:
    """Nothing at all, to whoever asked for an answer; after a tool's result a model may have nothing to add."""
    return turn.finish == "stop" and not turn.message.text and not turn.message.tool_calls and history[-1].role != "tool"


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
    )


def _estimate(
    candidate: Candidate, context: DelegationContext, history: Sequence[Message], meter: Meter, end: float
) -> CallEstimate:
    said, most = prompt_bytes(context.instruction, history, context.tools), output_bound(candidate)
    bound = prompt_bound(context.instruction, history, context.tools, context.config)
    price = meter.price(candidate)
    left = max(end - asyncio.get_running_loop().time(), 0.001)
    return CallEstimate(candidate, bound, most, price.worst(bound, most) if price else None, said, left, context.limits.first)


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
            await close()
