"""One running Copilot CLI: started once for a loop, watched while it works, stopped without a trace."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
import weakref
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar

from bundle_loader.messages import ToolSpec
from bundle_loader.providers.copilot_cli import cli_environment
from bundle_loader.providers.copilot_faults import Lost

_T = TypeVar("_T")

_STOP_SECONDS: Final = 3.0
"""The longest that a stop may take before the process is killed."""
_END_SECONDS: Final = 2.0
"""The longest that ending one session may take before the CLI counts as lost."""
_PING_SECONDS: Final = 5.0
_PING_EVERY: Final = 1.0
_FORGET_SECONDS: Final = 3600
"""The CLI itself drops a session that was silent for so long."""


class Runtime:
    """The SDK's client with its process, and the sessions that it has open.

    Its files, which hold what was said, lie in a folder of its own that is removed with it.
    """

    def __init__(self, path: str, token: str, environment: Mapping[str, str]) -> None:
        """Nothing is started yet. The SDK must have been imported."""
        from copilot import CopilotClient, RuntimeConnection

        _hush()
        home = tempfile.mkdtemp(prefix="bundle-loader-copilot-")
        self._remove = weakref.finalize(self, shutil.rmtree, home, True)
        self.client: Any = CopilotClient(
            connection=RuntimeConnection.for_stdio(path=path),
            mode="empty",
            working_directory=home,
            base_directory=home,
            log_level="none",
            env=cli_environment(environment),
            github_token=token,
            use_logged_in_user=False,
            session_idle_timeout_seconds=_FORGET_SECONDS,
        )
        self._process: Any = None
        self._processes: list[Any] = []
        """All that there ever were."""
        self._lost = False
        self._down: asyncio.Task[None] | None = None
        self._checked = 0.0
        self._checking: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()

    async def start(self, seconds: float) -> None:
        """Bring the process up. Raises whatever it fails with, after the process is gone."""
        starting = asyncio.get_running_loop().create_task(self.client.start())
        try:
            # its first step makes the process, and the SDK forgets the process of a start that fails
            await asyncio.sleep(0)
            self._take_process()
            async with asyncio.timeout(seconds):
                await starting
        except BaseException:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            await self._kill()
            self._close_pipes()
            self._remove()
            raise

    @property
    def usable(self) -> bool:
        """A new session may be opened on it."""
        return not self._lost and self._down is None and (self._process is None or self._process.poll() is None)

    @property
    def gone(self) -> bool:
        """Nothing of it is left."""
        return self._down is not None and self._down.done()

    def lose(self) -> None:
        """From here on it counts as gone, and what is left of it is killed."""
        self._lost = True
        self._begin_down()

    async def check(self) -> None:
        """Return when the CLI still answers. Raises Lost.

        The SDK tells nobody who waits for an event that the process has ended, so it is asked when it is silent: once for
        all who wait, and not oftener than every second.
        """
        if not self.usable:
            raise Lost(self._epitaph())
        loop = asyncio.get_running_loop()
        if self._checking is None and loop.time() - self._checked < _PING_EVERY:
            return
        if self._checking is None:
            self._checking = loop.create_task(self._ping())
        checking = self._checking
        await asyncio.shield(checking)
        if self._lost:
            raise Lost(self._epitaph())

    async def _ping(self) -> None:
        try:
            async with asyncio.timeout(_PING_SECONDS):
                await self.client.ping()
        except Exception:  # noqa: BLE001 - whatever it is, the CLI does not answer
            self.lose()
        finally:
            self._checked = asyncio.get_running_loop().time()
            self._checking = None

    def _epitaph(self) -> str:
        code = self._process.poll() if self._process is not None else None
        return f"it ended with code {code}" if code is not None else "it does not answer any more"

    async def fetch(self, method: str) -> object:
        """What the CLI answers to a request without parameters, as it came: the SDK keeps the first list for good."""
        return await self.client.rpc.models._client.request(method, {})

    async def open(self, session_id: str, on_event: Callable[[Any], None], tools: tuple[ToolSpec, ...], **more: Any) -> Any:
        """A session with nothing but the given tools, which the SDK does not run by itself."""
        from copilot.tools import Tool

        try:
            return await self.client.create_session(
                session_id=session_id,
                on_event=on_event,
                on_permission_request=_deny,
                tools=[_tool(Tool, spec) for spec in tools],
                available_tools=["custom:*"] if tools else [],
                streaming=True,
                infinite_sessions={"enabled": False},
                # else a long result is written to a file that the model has no tool to read
                large_output={"enabled": False},
                include_sub_agent_streaming_events=False,
                **more,
            )
        finally:
            self._take_process()

    def end(self, session_id: str, session: Any | None, running: bool) -> None:
        """Stop what a session still does and remove all of it, beside whatever goes on."""
        task = asyncio.get_running_loop().create_task(self._end(session_id, session, running))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _end(self, session_id: str, session: Any | None, running: bool) -> None:
        if not self.usable:
            return
        try:
            async with asyncio.timeout(_END_SECONDS):
                if session is not None:
                    if running:
                        await _quietly(session.abort())
                    await _quietly(session.disconnect())
                await _quietly(self.client.delete_session(session_id))
        except TimeoutError:
            self.lose()

    async def close(self) -> None:
        """Stop the process and remove its files. Safe to call twice; what cannot be stopped is killed."""
        await asyncio.shield(self._begin_down())

    def _begin_down(self) -> asyncio.Task[None]:
        if self._down is None:
            self._down = asyncio.get_running_loop().create_task(self._take_down())
        return self._down

    async def _take_down(self) -> None:
        self._take_process()
        tasks = [*self._ending, *filter(None, [self._checking])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if not self._lost and self._process is not None and self._process.poll() is None:
            with suppress(Exception):
                async with asyncio.timeout(_STOP_SECONDS):
                    await self.client.stop()
        await self._kill()
        self._close_pipes()
        self._remove()

    async def _kill(self) -> None:
        with suppress(Exception):
            await self.client.force_stop()
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                await asyncio.to_thread(process.wait)

    def _take_process(self) -> None:
        """The SDK has no public name for its process, and starts a new one itself where it finds the old one gone."""
        found = getattr(self.client, "_cli_process", None)
        if found is not None and found is not self._process:
            self._process = found
            self._processes.append(found)

    def _close_pipes(self) -> None:
        """The SDK leaves them open."""
        for process in self._processes:
            for pipe in (process.stdin, process.stdout, process.stderr):
                with suppress(Exception):
                    pipe.close()


def _hush() -> None:
    """The SDK logs the CLI's words and its own tracebacks. Whoever wants them sets a level for its logger."""
    logger = logging.getLogger("copilot")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)


def _tool(kind: Any, spec: ToolSpec) -> Any:
    """A tool without a handler: its call waits until it is answered. It takes the place of the CLI's own of that name."""
    return kind(
        name=spec.name,
        description=spec.description,
        parameters=dict(spec.schema),
        overrides_built_in_tool=True,
        skip_permission=True,
        defer="never",
    )


def _deny(request: Any, invocation: Any) -> Any:
    """Nothing of the CLI's own may run."""
    from copilot.generated.rpc import PermissionDecisionReject

    return PermissionDecisionReject()


async def _quietly(awaited: Awaitable[_T]) -> None:
    """A step of taking down: the next is taken whether or not it succeeds."""
    try:
        await awaited
    except TimeoutError:
        raise
    except Exception:  # noqa: BLE001 - there is nobody left to tell
        pass
