"""The default spawner: runs turns and tools on one candidate through its provider."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Protocol

from bundle_loader.delegation.context import DelegationContext, output_bound
from bundle_loader.delegation.conversation import prompt_bytes
from bundle_loader.delegation.tools import ToolBox
from bundle_loader.errors import LimitReached
from bundle_loader.events import Event, OutcomeEvent, TextEvent, ToolEvent, TurnEvent
from bundle_loader.ledger.meter import CallEstimate, Meter
from bundle_loader.messages import Delta, Message, Turn
from bundle_loader.providers.base import ChatRequest, Provider
from bundle_loader.providers.faults import broken, too_slow
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
        for _ in range(context.turns_done, context.limits.max_turns):
            turn: Turn | None = None
            async with aclosing(self._turn(provider, candidate, context, meter, tuple(history))) as parts:
                async for part in parts:
                    if isinstance(part, Turn):
                        turn = part
                    else:
                        yield TextEvent(part.text)
            assert turn is not None
            added = [turn.message]
            if turn.finish == "tools":
                results = await tools.run(turn.message.tool_calls)
                for call, result in zip(turn.message.tool_calls, results, strict=True):
                    yield ToolEvent(call, result)
                added.append(Message("tool", tuple(results)))
            history += added
            yield TurnEvent(turn, tuple(added))
            if turn.finish != "tools":
                yield OutcomeEvent(turn.message.text, turn.model or candidate.model, turn.finish)
                return
        raise LimitReached(
            f"agent '{context.agent}' used all of its {context.limits.max_turns} turns (limits.max_turns) without an answer"
        )

    async def _turn(
        self, provider: Provider, candidate: Candidate, context: DelegationContext, meter: Meter, messages: tuple[Message, ...]
    ) -> AsyncGenerator[Delta | Turn, None]:
        """One request, metered, with its time limits."""
        request = ChatRequest(
            model=candidate.model,
            messages=messages,
            system=context.instruction,
            tools=context.tools,
            max_tokens=output_bound(candidate),
            config=context.config,
            timeout=context.limits.timeout,
        )
        bound = prompt_bytes(context.instruction, messages, context.tools)
        price = meter.price(candidate)
        estimate = CallEstimate(candidate, bound, request.max_tokens, price.worst(bound, request.max_tokens) if price else None)
        async with meter.call(estimate) as call, aclosing(_patient(provider, request, context)) as parts:
            async for part in parts:
                if isinstance(part, Turn):
                    call.settle(part.usage, part.model)
                    yield part
                    return
                call.streamed(len(part.text.encode()))
                yield part
            raise broken(candidate.provider, candidate.model, "the stream ended without an answer")


async def _patient(provider: Provider, request: ChatRequest, context: DelegationContext) -> AsyncGenerator[Delta | Turn, None]:
    """The provider's stream with the candidate's share for the first part, the idle limit after it."""
    limits = context.limits
    loop = asyncio.get_running_loop()
    end = loop.time() + limits.timeout
    patience = limits.first
    stream = provider.stream(request)
    try:
        while True:
            allowed = min(patience, end - loop.time())
            try:
                async with asyncio.timeout(allowed):
                    part = await anext(stream, None)
            except TimeoutError:
                raise too_slow(provider.id, request.model, allowed) from None
            if part is None:
                return
            yield part
            patience = limits.idle
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()
