"""GitHub Copilot through its official SDK, which drives the Copilot CLI as a process of its own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Final, Never

from bundle_loader.errors import ProviderFailure
from bundle_loader.messages import StreamPart, Turn
from bundle_loader.providers import copilot_cli, copilot_faults, copilot_wire, faults, table
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.copilot_running import Running
from bundle_loader.providers.copilot_runtime import Runtime
from bundle_loader.providers.copilot_session import Session
from bundle_loader.providers.patience import Patience
from bundle_loader.providers.prepared import prepared
from bundle_loader.providers.sdk_import import imported
from bundle_loader.routing.catalogue import ModelInfo

_START_SECONDS: Final = 30.0
_LIST_SECONDS: Final = 30.0


class CopilotProvider:
    """The models of one GitHub account. The CLI is started by the first request of a loop and serves all that follow.

    A turn that ends with calls of tools leaves its session waiting. The request that brings their results goes on in it;
    one that does not fit, or comes too late, opens a new session and sends the conversation as text.
    """

    local = False

    def __init__(
        self,
        *,
        id: str = "github-copilot",
        api_key: str | None,
        environment: Mapping[str, str] | None = None,
        wait_for_tools: float = 600.0,
    ) -> None:
        """`api_key` is a GitHub token. `environment` (by default the process's own) says where the CLI is, and is handed on
        to it without keys. `wait_for_tools` is how long a session waits for the results of tools, in seconds.
        """
        self._row = table.rows()["github-copilot"]
        self._id = id
        self._token = api_key or ""
        self._environment = dict(os.environ if environment is None else environment)
        self._wait_for_tools = wait_for_tools
        self._loops: dict[asyncio.AbstractEventLoop, Running] = {}

    def __repr__(self) -> str:
        return f"CopilotProvider(id={self._id!r})"

    def __reduce__(self) -> Never:
        raise TypeError("a CopilotProvider holds a process and a token, and does not leave its own process")

    @property
    def id(self) -> str:
        """The name that preferences use."""
        return self._id

    async def list_models(self) -> Sequence[ModelInfo]:
        """Every model that the account is told of, those that are switched off too. Raises ProviderFailure."""
        failed: ProviderFailure
        patience = Patience()
        try:
            until = asyncio.get_running_loop().time() + _LIST_SECONDS
            return copilot_wire.models(await patience.step(self._listed(), until), self._id)
        except Exception as error:  # noqa: BLE001 - the boundary: nothing of the SDK may pass
            failed = self._failure(error, None, sent=False, seconds=_LIST_SECONDS)
        finally:
            patience.close()
        # raised out here so that it has no context
        raise failed

    async def _listed(self) -> object:
        """The CLI's answer; one that was lost since it last served is replaced once."""
        running = self._running()
        runtime = await running.get()
        try:
            return await runtime.fetch("models.list")
        except Exception as error:
            if not copilot_faults.is_lost(error):
                raise
            runtime.lose()
        return await (await running.get()).fetch("models.list")

    async def stream(self, request: ChatRequest) -> AsyncGenerator[StreamPart]:
        """Any number of `Delta`s, then one `Turn`. Raises ProviderFailure and nothing else."""
        failed: ProviderFailure | None = None
        turn: Turn | None = None
        sessions: list[Session] = []
        until = asyncio.get_running_loop().time() + request.timeout
        try:
            async with aclosing(self._parts(request, sessions, until)) as parts:
                async for part in parts:
                    if isinstance(part, Turn):
                        turn = part
                    else:
                        yield part
        except Exception as error:  # noqa: BLE001 - the boundary: nothing of the SDK may pass
            sent = bool(sessions) and sessions[-1].sent
            failed = self._failure(error, request.model, sent=sent, seconds=request.timeout)
        finally:
            self._put_away(sessions, turn)
        # raised out here so that it has no context
        if failed is not None:
            raise failed
        if turn is not None:
            yield turn

    async def _parts(self, request: ChatRequest, sessions: list[Session], until: float) -> AsyncGenerator[StreamPart]:
        """The parts of one turn; the session that gives them is put into `sessions`.

        A CLI that was lost, or has forgotten, before anything was sent to the model is asked once more.
        """
        request, changed = prepared(self._row, request, self._id, None)
        taken, told = copilot_wire.settings(self._row, self._id, request)
        notes = (*changed, *told)
        running = self._running()
        for tries_left in (1, 0):
            session = running.take(request)
            if session is None:
                patience = Patience()
                try:
                    runtime = await patience.step(running.get(), until)
                finally:
                    patience.close()
                session = Session(runtime, self._id, request, self._token)
            sessions.append(session)
            try:
                async with aclosing(session.run(request, taken, notes, until)) as parts:
                    async for part in parts:
                        yield part
                return
            except Exception as error:
                lost = copilot_faults.is_lost(error)
                if lost:
                    session.runtime.lose()
                if session.sent or not tries_left or not (lost or isinstance(error, copilot_faults.Forgotten)):
                    raise

    def _put_away(self, sessions: list[Session], turn: Turn | None) -> None:
        """Keep the session of a turn that waits for tools; end every other, for which nobody waits."""
        for session in sessions:
            if turn is not None and session is sessions[-1] and session.waits and session.runtime.usable:
                self._running().keep(session)
            else:
                session.end()

    async def aclose(self) -> None:
        """Stop the running loop's CLI and forget those of loops that have ended. Safe to call twice."""
        for loop in [loop for loop in self._loops if loop.is_closed()]:
            del self._loops[loop]
        running = self._loops.pop(asyncio.get_running_loop(), None)
        if running is not None:
            await running.close()

    def _running(self) -> Running:
        loop = asyncio.get_running_loop()
        running = self._loops.get(loop)
        if running is None:
            running = self._loops[loop] = Running(self._start, self._wait_for_tools)
        return running

    async def _start(self) -> Runtime:
        """A CLI that is up. Raises ProviderFailure."""
        if not self._token:
            raise faults.no_key(self._id, self._row.key_variables)
        path = copilot_cli.cli_path(self._environment)
        missing = copilot_cli.sdk_missing() or copilot_cli.cli_missing(self._environment)
        if missing is not None or path is None:
            raise faults.unreachable(self._id, None, missing or "no Copilot CLI")
        failed: ProviderFailure
        try:
            await imported("copilot", ("copilot.tools",))
            runtime = Runtime(path, self._token, self._environment)
            await runtime.start(_START_SECONDS)
            return runtime
        except Exception as error:  # noqa: BLE001 - the boundary: nothing of the SDK may pass
            failed = copilot_faults.not_started(error, self._id, self._token)
        raise failed

    def _failure(self, error: Exception, model: str | None, *, sent: bool, seconds: float) -> ProviderFailure:
        return copilot_faults.sort(error, self._id, model, sent=sent, seconds=seconds, secret=self._token)
