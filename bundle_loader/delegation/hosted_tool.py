"""The delegate tool for a host's own loop: its schema in each vendor's form, and the handler of its calls."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from bundle_loader.delegation.delegate_tool import DelegateTool
from bundle_loader.delegation.given_messages import Given, messages_of
from bundle_loader.delegation.lineage import Caller, Lineage
from bundle_loader.delegation.result import Child, ChildEvent
from bundle_loader.delegation.tools import Tool, ToolBox
from bundle_loader.delegation.work import make_work
from bundle_loader.errors import RequestError, did_you_mean
from bundle_loader.messages import ToolCall, ToolResult
from bundle_loader.routing.request import Pair

Conversation = Sequence[Given] | Callable[[], Sequence[Given]]
"""What was said so far, or what gives it at the time of a call."""

VENDORS: Final = ("anthropic", "openai", "openai-responses", "gemini", "ollama")


class HostedTool:
    """What a host's own loop offers its model to delegate with. One for each conversation: it counts what was delegated.

    `schema(vendor)` goes into the `tools` of a request; `handle(arguments)` answers a call of it.
    """

    def __init__(
        self,
        tool: DelegateTool,
        *,
        agent: str | None,
        pairs: Sequence[Pair],
        messages: Conversation = (),
        tools: Sequence[Callable[..., Any] | Tool] = (),
        vars: Mapping[str, Any] | None = None,
        tags: Sequence[str] = (),
        local_only: bool = False,
        listener: Callable[[ChildEvent], None] | None = None,
    ) -> None:
        make_work("its own words come with each call", tools, None, vars, tags=tags)
        ToolBox(tools)
        self.id = uuid.uuid4().hex
        """What the ledger knows this conversation by: the parent and the root of all that it delegates."""
        lineage = Lineage(self.id, self.id, 1, (), tuple(tags), local_only)
        self._caller = Caller(
            agent,
            lineage,
            lambda: pairs,
            lambda: messages_of(messages() if callable(messages) else messages, loops=True),
            dict(vars or {}),
            tuple(tools),
            hear=listener,
            watched=lambda: listener is not None,
        )
        tool.attach(self._caller)
        self._tool = tool
        self._box = ToolBox([tool.tool])

    @property
    def name(self) -> str:
        """What models call it."""
        return self._tool.spec.name

    @property
    def description(self) -> str:
        """What models are told, with the agents that may be used."""
        return self._tool.spec.description

    @property
    def parameters(self) -> dict[str, Any]:
        """The JSON Schema of its arguments."""
        return dict(self._tool.spec.schema)

    @property
    def children(self) -> tuple[Child, ...]:
        """What was delegated so far, with its cost, in the order in which it ended."""
        return tuple(self._caller.children)

    def schema(self, vendor: str) -> dict[str, Any]:
        """The tool as a request to that vendor has it: one of `VENDORS`. Raises RequestError for another."""
        said = {"name": self.name, "description": self.description}
        if vendor == "anthropic":
            return {**said, "input_schema": self.parameters}
        if vendor in ("openai", "ollama"):
            return {"type": "function", "function": {**said, "parameters": self.parameters}}
        if vendor == "openai-responses":
            return {"type": "function", **said, "parameters": self.parameters, "strict": False}
        if vendor in ("gemini", "google"):
            return {"function_declarations": [{**said, "parameters_json_schema": self.parameters}]}
        near = did_you_mean(vendor, VENDORS) or f"; there are {', '.join(VENDORS)}"
        raise RequestError(f"no tools in the form of '{vendor}'{near}")

    async def handle(self, arguments: Mapping[str, Any] | str | None, call_id: str = "") -> ToolResult:
        """The answer to one call: `.text` and `.is_error`, which is how the model is told why nothing came of it.

        `arguments` are a mapping, or the JSON text of one. Calls may be handled side by side. Cancelling it cancels the work.
        """
        given: Any = arguments if arguments is not None else {}
        if isinstance(given, str):
            try:
                given = json.loads(given or "{}")
            except (ValueError, RecursionError) as error:
                return ToolResult(call_id, self.name, f"wrong arguments: they are not JSON: {error}", True)
        if not isinstance(given, Mapping):
            return ToolResult(call_id, self.name, f"wrong arguments: write an object, not a {type(given).__name__}", True)
        given = {str(name): value for name, value in given.items()}
        (result,) = await self._box.run((ToolCall(call_id, self.name, given),))
        return result


class SyncHostedTool:
    """As `HostedTool`, with a `handle` that waits; usable from any thread."""

    def __init__(self, hosted: HostedTool, run: Callable[[Any], Any]) -> None:
        self._hosted = hosted
        self._run = run
        self.id = hosted.id
        self.name = hosted.name
        self.description = hosted.description
        self.parameters = hosted.parameters
        self.schema = hosted.schema

    @property
    def children(self) -> tuple[Child, ...]:
        """See `HostedTool.children`."""
        return self._hosted.children

    def handle(self, arguments: Mapping[str, Any] | str | None, call_id: str = "") -> ToolResult:
        """See `HostedTool.handle`."""
        result: ToolResult = self._run(self._hosted.handle(arguments, call_id))
        return result

    def handle_all(self, calls: Sequence[tuple[str, Mapping[str, Any] | str | None]]) -> list[ToolResult]:
        """The answers to several calls (id and arguments), which are worked on side by side, in their order."""

        async def together() -> list[ToolResult]:
            return await asyncio.gather(*(self._hosted.handle(arguments, id) for id, arguments in calls))

        results: list[ToolResult] = self._run(together())
        return results
