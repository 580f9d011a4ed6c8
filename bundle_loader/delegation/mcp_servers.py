"""The MCP servers of a host: each started when its tools are first needed, once more after it died, and stopped with the host."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final

from bundle_loader.declared.mcp_server import PREFIX, McpServer, server_of
from bundle_loader.delegation.mcp_connection import Connection, NotStarted
from bundle_loader.delegation.tool_names import is_denied, is_meant, server_tool
from bundle_loader.delegation.tool_output import ToolOutput
from bundle_loader.delegation.tools import Tool, ToolFailed
from bundle_loader.errors import did_you_mean
from bundle_loader.messages import ToolSpec
from bundle_loader.providers.table import is_private, shown

START: Final = 30.0
"""Seconds that a server has to start and to tell its tools."""
AGAIN: Final = 30.0
"""Seconds after which a server that could not be started is tried again."""


class McpServers:
    """Belongs to one event loop. Nothing is started before `tools` or a tool needs it."""

    def __init__(self, declared: Mapping[str, McpServer], environment: Mapping[str, str]) -> None:
        """`environment` is where `${NAME}` and the few variables that every program gets come from."""
        self._servers = {name: _Server(server, environment) for name, server in declared.items()}

    async def tools(
        self, allowed: Iterable[str] | None, denied: Iterable[str] = (), *, within: float = START, local_only: bool = False
    ) -> tuple[tuple[Tool, ...], tuple[str, ...]]:
        """The tools of the servers that an agent's `tools` name, and in words why some are not there.

        An agent without a list names no server. Servers are started side by side, in at most `within` seconds. Under `local_only`
        none is asked that is not on this machine or its private network.
        """
        entries = tuple(entry for entry in allowed or () if server_of(entry) is not None)
        if not entries:
            return (), ()
        denied = tuple(denied)
        notes = [note for entry in entries if (note := self._unknown(entry)) is not None]
        named = [one for name, one in self._servers.items() if any(_names(entry, name) for entry in entries)]
        wanted = [one for one in named if not is_denied(f"{PREFIX}{one.server.name}", denied)]
        found: list[Tool] = []
        offered = await asyncio.gather(*(one.offered(min(within, START), local_only) for one in wanted))
        for one, (tools, note) in zip(wanted, offered, strict=True):
            own = [entry for entry in entries if _names(entry, one.server.name)]
            found += [tool for tool in tools if is_meant(tool.name, own) and not is_denied(tool.name, denied)]
            if note is not None:
                notes.append(note)
            else:
                notes += one.without(own)
        return tuple(found), tuple(notes)

    def _unknown(self, entry: str) -> str | None:
        name = server_of(entry) or ""
        if any(_names(entry, known) for known in self._servers):
            return None
        near = did_you_mean(name, list(self._servers))
        return f"no MCP server '{name}' is declared (tools: {entry}){near}"

    async def aclose(self) -> None:
        """Stop what was started. Safe to call twice."""
        await asyncio.gather(*(one.aclose() for one in self._servers.values()))


def _names(entry: str, server: str) -> bool:
    """Whether an entry of `tools` names this server, or a tool of it."""
    return is_meant(f"{PREFIX}{server}", (entry.partition("/")[0],))


class _Server:
    """One declared server, and the connection that it has now."""

    def __init__(self, server: McpServer, environment: Mapping[str, str]) -> None:
        self.server = server
        self._environment = environment
        self._opening = asyncio.Lock()
        self._connection: Connection | None = None
        self._again = False
        """True from a second start until the server has answered a call."""
        self._down: tuple[str, float] | None = None
        """Why it could not be started, and until when it is not tried again, in the loop's time."""
        self._closed = False

    async def offered(self, within: float, local_only: bool) -> tuple[tuple[Tool, ...], str | None]:
        """Its tools, or why there are none."""
        name, url = self.server.name, self.server.url
        if local_only and url is not None and not is_private(url):
            return (), f"local_only: the MCP server '{name}' at {shown(url)} is not local"
        try:
            connection = await self._open(within)
        except NotStarted as error:
            return (), f"the MCP server '{name}' could not be used: {error}"
        # of two tools of one name nobody could say which is meant
        first = {told.name: told for told in reversed(connection.tools)}
        return tuple(self._tool(told) for told in connection.tools if first[told.name] is told), None

    def without(self, entries: Iterable[str]) -> list[str]:
        """What entries name of this server that it does not have, and what it has more than once."""
        tools = [told.name for told in self._connection.tools] if self._connection is not None else []
        twice = [name for name in dict.fromkeys(tools) if tools.count(name) > 1]
        lost = [f"the MCP server '{self.server.name}' has several tools '{name}'; the first is used" for name in twice]
        for entry in entries:
            _, slash, tool = entry.partition("/")
            if slash and not any(is_meant(server_tool(self.server.name, one), (entry,)) for one in tools):
                near = did_you_mean(tool, tools)
                lost.append(f"the MCP server '{self.server.name}' has no tool '{tool}'{near}")
        return lost

    def _tool(self, told: Any) -> Tool:
        name = server_tool(self.server.name, told.name)
        spec = ToolSpec(name, told.description or told.title or "", told.input_schema)
        return Tool(spec, partial(self._call, told.name), timeout=self.server.timeout)

    async def _call(self, tool: str, /, **arguments: Any) -> ToolOutput:
        """One call, made once: a server that dies in it is started again for the next."""
        try:
            connection = await self._open(START)
        except NotStarted as error:
            raise ToolFailed(f"the MCP server '{self.server.name}' could not be used: {error}; nothing was called") from None
        output = await connection.call(tool, arguments)
        self._again = False
        return output

    async def _open(self, within: float) -> Connection:
        """The connection, which is made where there is none. Raises NotStarted.

        1. A server is started when it is first needed.
        2. One that died is started once more; where it dies again before it has answered a call, it stays down.
        3. One that listens is not started here: it is reached for again each time it was lost.
        4. What could not be started or reached is tried again after a while, not at once.
        """
        connection = self._connection
        if connection is not None and connection.alive:
            return connection
        async with self._opening:
            connection = self._connection
            if connection is not None and connection.alive:
                return connection
            if self._closed:
                raise NotStarted("the host is closed")
            now = asyncio.get_running_loop().time()
            if self._down is not None and now < self._down[1]:
                raise NotStarted(self._down[0])
            if connection is not None:
                if self._again and self.server.url is None:
                    raise NotStarted("it died again after it was started a second time")
                self._again = True
                await connection.close()
            opened = Connection(self.server, self._environment)
            try:
                await opened.open(within)
            except NotStarted as error:
                self._down = str(error), asyncio.get_running_loop().time() + AGAIN
                raise
            self._connection, self._down = opened, None
            return opened

    async def aclose(self) -> None:
        self._closed = True
        async with self._opening:
            if self._connection is not None:
                await self._connection.close()
