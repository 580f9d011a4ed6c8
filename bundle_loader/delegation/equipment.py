"""What an agent works with: the tools that it may use, its own servers' among them, and whom the host asks before each call."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, TypeAlias

from bundle_loader.declared.agent import Agent
from bundle_loader.delegation.mcp_servers import McpServers
from bundle_loader.delegation.tool_threads import in_thread
from bundle_loader.delegation.tools import Tool, ToolBox
from bundle_loader.messages import ToolCall

Approval: TypeAlias = Callable[[str, ToolCall], Awaitable[bool | str] | bool | str]
"""Asked with the agent's name before each call of a tool: True, or a refusal: False, or the words that the model is told."""


class Equipment:
    """The same for all delegations of a host."""

    def __init__(self, servers: McpServers | None = None, approve: Approval | None = None) -> None:
        self.servers = servers or McpServers({}, {})
        self._approve = approve
        self._asking = asyncio.Lock()

    async def tools(
        self, agent: Agent, given: Iterable[Callable[..., Any] | Tool], *, within: float, local_only: bool
    ) -> tuple[ToolBox, list[str]]:
        """The agent's tools, `given` by the host and those of MCP servers, and in words what it names and does not get.

        Servers have at most `within` seconds to start. Raises RequestError for what cannot be a tool.
        """
        served, notes = await self.servers.tools(agent.tools, agent.deny_tools, within=within, local_only=local_only)
        approve = None if self._approve is None else partial(self._approval, self._approve, agent.name)
        box = ToolBox((*given, *served), agent.tools, agent.deny_tools, approve=approve)
        said = list(notes)
        if box.excluded:
            allowed = ", ".join(agent.tools or ()) or "none"
            said.append(f"agent '{agent.name}' allows only the tools {allowed}; {', '.join(box.excluded)} was not offered to it")
        if box.missing:
            said.append(f"the host does not offer the tools {', '.join(box.missing)}")
        return box, said

    async def _approval(self, approve: Approval, agent: str, call: ToolCall) -> Any:
        """What the host says. One that blocks, such as a question on a terminal, is asked in a thread, one call at a time."""
        if inspect.iscoroutinefunction(approve):
            return await approve(agent, call)
        async with self._asking:
            said = await in_thread(approve, (agent, call), {})
        return await said if isinstance(said, Awaitable) else said
