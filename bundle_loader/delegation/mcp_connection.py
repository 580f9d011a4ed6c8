"""One connection to an MCP server: opened, asked, and closed by one task, as the client wants it."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from pydantic import ValidationError

from bundle_loader.declared.mcp_server import McpServer, NotSet, filled
from bundle_loader.delegation.mcp_results import output_of
from bundle_loader.delegation.mcp_stderr import LastWords
from bundle_loader.delegation.tool_output import ToolOutput
from bundle_loader.delegation.tools import ToolFailed
from bundle_loader.masking import masked
from bundle_loader.providers.echoes import without
from bundle_loader.providers.sdk_import import imported
from bundle_loader.providers.table import shown

INHERITED: Final = (
    "HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER",
    "APPDATA", "COMSPEC", "HOMEDRIVE", "HOMEPATH", "LOCALAPPDATA", "PATHEXT", "PROCESSOR_ARCHITECTURE", "SYSTEMDRIVE",
    "SYSTEMROOT", "TEMP", "TMP", "USERNAME", "USERPROFILE",
)  # fmt: skip
"""Variables that a server's program is given of the environment; of all others only what the server declares."""
MOST_PAGES: Final = 100
_CLOSING: Final = 10.0
_CONNECTING: Final = 30.0
_CLOSED: Final = -32000
"""The protocol's code for a connection that is gone."""
_SESSION_GONE: Final = "Session terminated"


class NotStarted(Exception):
    """A server could not be started or reached; the words say why."""


class Connection:
    """A server that runs, or listens. `open` it once; after `alive` is False it is of no more use."""

    def __init__(self, server: McpServer, environment: Mapping[str, str]) -> None:
        self.server = server
        self._environment = environment
        self._secrets: tuple[str, ...] = ()
        self._client: Any = None
        self._words: LastWords | None = None
        self._task: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        """Set once there is nothing at the other end any more, or nobody needs it."""
        self.alive = False
        self.tools: tuple[Any, ...] = ()
        """What the server offered when it was opened."""

    async def open(self, within: float) -> None:
        """Start or reach the server, and ask for its tools. Raises NotStarted."""
        try:
            await imported("mcp", ("mcp.client.stdio", "mcp.client.streamable_http"))
        except ModuleNotFoundError:
            raise NotStarted("it needs the extra 'mcp': pip install 'bundle_loader[mcp]'") from None
        try:
            connect = self._connect()
        except NotSet as error:
            raise NotStarted(str(error)) from None
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._hold(connect, ready), name=f"mcp:{self.server.name}")
        try:
            async with asyncio.timeout(within):
                await asyncio.shield(ready)
        except TimeoutError:
            await self.close()
            raise NotStarted(f"it gave no answer within {within:g} s{self._said()}") from None
        except asyncio.CancelledError:
            await self.close()
            raise
        except Exception as error:  # noqa: BLE001 - whatever the client raises keeps the server from being used
            await self.close()
            raise NotStarted(f"{self._why(error)}{self._said()}") from None

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> ToolOutput:
        """What the tool gives back. It is asked once, whatever comes of it. Raises ToolFailed."""
        try:
            result = await self._client.call_tool(tool, dict(arguments))
        except Exception as error:  # noqa: BLE001 - whatever the client raises is told to the model
            if self._is_gone(error):
                self._ended.set()
                self.alive = False
                lost = f"the MCP server '{self.server.name}' was lost while '{tool}' ran{self._said()}"
                raise ToolFailed(f"{lost}; whether it was done is not known") from None
            if isinstance(error, ValidationError):
                odd = f"the MCP server '{self.server.name}' answered the call of '{tool}' with what is no result"
                raise ToolFailed(self._clean(f"{odd} ({_first_fault(error)}); it may have done it")) from None
            raise ToolFailed(self._clean(f"the MCP server '{self.server.name}' says: {error}")) from None
        return output_of(result)

    async def close(self) -> None:
        """Stop the server, or let go of it. Safe to call twice."""
        self._ended.set()
        self.alive = False
        task = self._task
        if task is None:
            return
        if self._client is None:
            # it is still being opened, and hears nothing else
            task.cancel()
        await asyncio.wait([task], timeout=_CLOSING)
        if not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=_CLOSING)
        if task.done() and not task.cancelled():
            # what it raised is told already, or is of no more interest
            task.exception()

    async def _hold(self, connect: Callable[[], Any], ready: asyncio.Future[None]) -> None:
        """The life of the connection, in one task: the client's scopes are left in the task that has entered them."""
        from mcp import Client

        try:
            async with Client(connect(), raise_exceptions=False, cache=None) as client:
                self.tools = await _listed(client)
                self._client, self.alive = client, True
                if not ready.done():
                    ready.set_result(None)
                await self._ended.wait()
                self.alive = False
        except BaseException as error:
            if not ready.done():
                cause = _first(error)
                ready.set_exception(cause if isinstance(cause, Exception) else RuntimeError(str(cause)))
                # where nobody waits any more, nobody hears it
                ready.exception()
            if not isinstance(error, Exception):
                raise
        finally:
            self.alive = False
            if self._words is not None:
                self._words.close()

    def _connect(self) -> Callable[[], Any]:
        """What opens the transport. Raises NotSet."""
        server = self.server
        if server.url is not None:
            headers = filled(server.headers, self._environment, "headers")
            self._keep_secret(server.headers, headers)
            return partial(_http, server.url, headers)
        declared = filled(server.env, self._environment, "env")
        self._keep_secret(server.env, declared)
        given = {name: self._environment[name] for name in INHERITED if name in self._environment}
        self._words = LastWords(f"mcp:{server.name}")
        return partial(self._started, {**given, **declared})

    @asynccontextmanager
    async def _started(self, variables: dict[str, str]) -> AsyncGenerator[Any, None]:
        """The program's streams; that it has ended is noticed at once."""
        from mcp import StdioServerParameters
        from mcp.client import stdio

        # a program that prints what is no message is named by its own words, not by a traceback
        stdio.logger.addFilter(_without_traceback)
        server, words = self.server, self._words
        assert words is not None
        command, folder = self._program()
        said = StdioServerParameters(command=command, args=list(server.args), env=variables, cwd=folder)
        async with stdio.stdio_client(said, errlog=words.file) as (read, write):
            # the program has its own by now, and the reader is to see when it is gone
            words.close()
            yield _Watched(read, self._ended.set), write

    def _program(self) -> tuple[str, str | None]:
        """The program and its folder, with the user's own folder filled in."""
        folder = self.server.cwd
        return os.path.expanduser(self.server.command or ""), None if folder is None else os.path.expanduser(folder)

    def _keep_secret(self, written: Mapping[str, str], given: Mapping[str, str]) -> None:
        self._secrets = tuple(given[name] for name, text in written.items() if given[name] != text)

    def _clean(self, text: str) -> str:
        """Without the values that came from the environment, and whatever else looks like a key."""
        for secret in self._secrets:
            text = without(secret, text) if len(secret) >= 4 else text
        return masked(text)

    def _said(self) -> str:
        last = self._words.last if self._words is not None else ""
        return self._clean(f" (its last words: {last})") if last else ""

    def _why(self, error: Exception) -> str:
        server = self.server
        if server.url is not None:
            said = str(error).partition("\n")[0] or type(error).__name__
            return self._clean(f"{shown(server.url)} cannot be used: {said}")
        if isinstance(error, FileNotFoundError):
            missing = (
                server.cwd if server.cwd is not None and not os.path.isdir(os.path.expanduser(server.cwd)) else server.command
            )
            return self._clean(f"there is no '{missing}'")
        if isinstance(error, OSError):
            return self._clean(f"'{server.command}' cannot be run: {error.strerror or error}")
        if self._is_gone(error):
            return self._clean(f"'{server.command}' ended")
        said = _first_fault(error) if isinstance(error, ValidationError) else str(error) or type(error).__name__
        return self._clean(f"'{server.command}' does not speak the protocol: {said}")

    def _is_gone(self, error: BaseException) -> bool:
        """Whether it says that nobody is there any more."""
        code, message = getattr(error, "code", None), str(error)
        if code is None:
            return type(error).__name__ in ("ClosedResourceError", "BrokenResourceError", "EndOfStream")
        return code == _CLOSED or (self.server.url is not None and message == _SESSION_GONE)


def _without_traceback(record: logging.LogRecord) -> bool:
    record.exc_info = record.exc_text = None
    return True


@asynccontextmanager
async def _http(url: str, headers: dict[str, str]) -> AsyncGenerator[Any, None]:
    """The streams of a server that listens."""
    from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client

    client = create_mcp_http_client(headers=headers)
    # how long a tool may take is the tool's limit, not the connection's
    client.timeout = (_CONNECTING, None, _CONNECTING, _CONNECTING)
    async with client, streamable_http_client(url, http_client=client) as streams:
        yield streams


async def _listed(client: Any) -> tuple[Any, ...]:
    """Every page of the server's tools; none of a server that has none."""
    if client.server_capabilities.tools is None:
        return ()
    found: list[Any] = []
    cursor: str | None = None
    for _ in range(MOST_PAGES):
        page = await client.list_tools(cursor=cursor)
        found += page.tools
        cursor = page.next_cursor
        if cursor is None:
            break
    return tuple(found)


def _first_fault(error: ValidationError) -> str:
    """The first of the many lines that a wrong shape comes to."""
    fault = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"


def _first(error: BaseException) -> BaseException:
    """What a group of errors began with."""
    while isinstance(error, BaseExceptionGroup):
        error = next((one for one in error.exceptions if not isinstance(one, asyncio.CancelledError)), error.exceptions[0])
    return error


class _Watched:
    """A stream of messages that tells when it has ended."""

    def __init__(self, stream: Any, ended: Callable[[], None]) -> None:
        self._stream = stream
        self._ended = ended

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __aiter__(self) -> _Watched:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self._stream.__anext__()
        except BaseException:
            self._ended()
            raise

    async def receive(self) -> Any:
        """The next message."""
        try:
            return await self._stream.receive()
        except BaseException:
            self._ended()
            raise

    async def __aenter__(self) -> _Watched:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *said: Any) -> Any:
        return await self._stream.__aexit__(*said)
