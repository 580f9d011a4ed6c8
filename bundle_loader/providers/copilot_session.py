"""One session of the Copilot CLI: a prompt, its streamed turn, and the rounds of tools that follow."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

from bundle_loader.messages import Delta, StreamPart, ToolResult
from bundle_loader.providers import copilot_faults, copilot_wire
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.copilot_runtime import Runtime
from bundle_loader.providers.patience import Patience

_QUIET: Final = 0.5
"""Seconds without an event after which the CLI is asked whether it is still there."""
_MENDING: Final = 5.0
"""Seconds that the CLI has to mend a failed call on its own: a refused token takes it two."""


class Session:
    """What the CLI knows of one conversation. It is waited on by one request at a time."""

    def __init__(self, runtime: Runtime, provider: str, request: ChatRequest, secret: str) -> None:
        self.runtime = runtime
        self.sent = False
        """A prompt, or results of tools, are on their way to the model."""
        self._provider = provider
        self._request = request
        self._secret = secret
        self._id = str(uuid.uuid4())
        self._session: Any = None
        self._asked = False
        self._events: asyncio.Queue[Any] = asyncio.Queue()
        self._pending: Mapping[str, str] = {}
        self._idle = True

    @property
    def waits(self) -> bool:
        """Its turn ended with calls of tools, and it can go on once they are answered."""
        return bool(self._pending)

    def goes_on_with(self, request: ChatRequest) -> bool:
        """Whether a request is this conversation with the results of its tools, and nothing else changed."""
        mine = self._request
        if (request.model, request.system, request.tools) != (mine.model, mine.system, mine.tools):
            return False
        if dict(request.config) != dict(mine.config) or request.messages[: len(mine.messages)] != mine.messages:
            return False
        rest = request.messages[len(mine.messages) :]
        if not rest or rest[0].role != "assistant" or any(message.role != "tool" for message in rest[1:]):
            return False
        asked = [call.id for call in rest[0].tool_calls]
        answered = [part.call_id for message in rest[1:] for part in message.parts if isinstance(part, ToolResult)]
        return sorted(asked) == sorted(self._pending) == sorted(answered)

    async def run(
        self, request: ChatRequest, taken: Mapping[str, Any], notes: tuple[str, ...], until: float
    ) -> AsyncGenerator[StreamPart]:
        """The pieces of one turn, then the turn; `until` is in the loop's time.

        Raises what the SDK raises, TimeoutError, Lost, Forgotten or ProviderFailure.
        """
        loop = asyncio.get_running_loop()
        patience = Patience()
        answer = copilot_wire.Answer(self._provider, request.model, self._secret)
        try:
            if self.waits:
                await patience.step(self._answer(request), until)
            else:
                written_out = await patience.step(self._open(request, taken), until)
                notes = (*notes, copilot_wire.AS_TEXT) if written_out else notes
            mending: float | None = None
            while not answer.ended:
                mending = None if answer.troubled is None else mending or loop.time() + _MENDING
                event = await self._next(patience, min(until, mending or until))
                if event is None:
                    if answer.troubled is not None:
                        raise answer.troubled
                    raise TimeoutError
                text = answer.take(event)
                self._idle = answer.idle
                if text:
                    yield Delta(text)
            turn = answer.turn(notes, request.max_tokens)
        finally:
            patience.close()
        self._pending = answer.pending
        self._request = request
        yield turn

    async def _next(self, patience: Patience, until: float) -> Any:
        """The next event, None when there is none until then. Raises Lost."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                return await patience.step(self._events.get(), min(until, loop.time() + _QUIET))
            except TimeoutError:
                if loop.time() >= until:
                    return None
            try:
                await patience.step(self.runtime.check(), until)
            except TimeoutError:
                return None

    async def _open(self, request: ChatRequest, taken: Mapping[str, Any]) -> bool:
        self._asked = True
        self._session = await self.runtime.open(
            self._id,
            self._events.put_nowait,
            request.tools,
            model=request.model,
            system_message={"mode": "replace", "content": request.system},
            **taken,
        )
        text, written_out = copilot_wire.prompt(request.messages)
        self.sent, self._idle = True, False
        await self._session.send(text)
        return written_out

    async def _answer(self, request: ChatRequest) -> None:
        """Hand the results of the tools in. They are taken once."""
        from copilot.generated.rpc import ExternalToolTextResultForLlm, HandlePendingToolCallRequest

        pending, self._pending = self._pending, {}
        results = [part for message in request.messages for part in message.parts if isinstance(part, ToolResult)]
        self.sent = False
        for result in results:
            asked = pending.get(result.call_id)
            if asked is None:
                continue
            said = ExternalToolTextResultForLlm(
                text_result_for_llm=result.text,
                result_type="failure" if result.is_error else "success",
                error=result.text if result.is_error else None,
            )
            taken = await self._session.rpc.tools.handle_pending_tool_call(
                HandlePendingToolCallRequest(request_id=asked, result=said)
            )
            if not taken.success:
                raise copilot_faults.Forgotten
            self.sent, self._idle = True, False

    def end(self) -> None:
        """Take the session down, if the CLI ever heard of it. The runtime sees it through."""
        self._pending = {}
        if self._asked:
            self.runtime.end(self._id, self._session, not self._idle)
