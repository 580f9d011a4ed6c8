"""Tools of a delegation: arguments checked, approval asked for, called once, errors given back to the model."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, Final, TypeAlias

from pydantic import BaseModel, ValidationError

from bundle_loader.declared.mcp_server import server_of
from bundle_loader.delegation.sound_text import sound_result
from bundle_loader.delegation.tool_names import is_denied, is_meant, wire_name
from bundle_loader.delegation.tool_output import cut, output_of
from bundle_loader.delegation.tool_signature import signature_of
from bundle_loader.delegation.tool_threads import in_thread
from bundle_loader.errors import RequestError
from bundle_loader.messages import ToolCall, ToolResult, ToolSpec

logger = logging.getLogger("bundle_loader")

MOST_OF_A_BLOB: Final = 10 << 20
"""Bytes of one image or file that a tool gives back; what is larger is left out, which is said."""
TOOL_TIMEOUT: Final = 120.0
"""Seconds that one call of a tool may take, where the tool says nothing; the deadline of the delegation holds beside it."""

Approve: TypeAlias = Callable[[ToolCall], Awaitable[bool | str] | bool | str]
"""Whether a call may be made: True, or a refusal: False, or the words that the model is told."""


class ToolFailed(Exception):
    """A tool raises it to have the model told of a failure in exactly these words."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that a model may ask for. `call` gets keyword arguments and may be async; it runs in the host's process."""

    spec: ToolSpec
    call: Callable[..., Any]
    arguments: type[BaseModel] | None = None
    """Checks and converts the model's arguments; None passes them as they are."""
    renamed: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Fields of `arguments` -> parameters, where a parameter's own name cannot be a field's."""
    timeout: float | None = None
    """Seconds that one call may take; None is `TOOL_TIMEOUT`, infinity leaves it to the delegation's deadline."""
    alone: bool = False
    """True where no other tool of the same turn may run beside it."""
    named: str = ""
    """What agents call it in `tools` and `deny_tools`; empty: the name in `spec`."""

    @property
    def name(self) -> str:
        """What agents call it."""
        return self.named or self.spec.name

    def told_as(self, name: str) -> Tool:
        """The same tool under the name that models are told."""
        if name == self.spec.name:
            return self
        return replace(self, spec=replace(self.spec, name=name), named=self.name)

    @classmethod
    def of(cls, function: Callable[..., Any] | Tool) -> Tool:
        """A tool from a callable with a signature. Raises RequestError for one whose parameters a model cannot fill."""
        if isinstance(function, Tool):
            return function
        found = signature_of(function)
        return cls(found.spec, function, found.arguments, found.renamed)


class ToolBox:
    """The tools of one delegation, by the names that models are told."""

    def __init__(
        self,
        tools: Iterable[Callable[..., Any] | Tool],
        allowed: tuple[str, ...] | None = None,
        denied: tuple[str, ...] = (),
        *,
        approve: Approve | None = None,
    ) -> None:
        """1. `allowed` are the entries of the agent's `tools`: what none of them means is out; None allows all.
        2. `denied` (`deny_tools`) is taken out of that, whatever allows it.

        `approve` is asked before each call. Raises RequestError for two tools of one name.
        """
        offered: dict[str, Tool] = {}
        for tool in map(Tool.of, tools):
            if offered.setdefault(tool.name, tool).call != tool.call:
                raise RequestError(f"two tools are named '{tool.name}'; give one of them another name")
        meant = list(offered) if allowed is None else _in_order(allowed, offered)
        self.missing = tuple(
            name for name in allowed or () if server_of(name) is None and not any(is_meant(one, (name,)) for one in offered)
        )
        """Tools that the agent names and the host does not offer; those of MCP servers are not looked at."""
        self.excluded = tuple(name for name in offered if name not in meant)
        """Tools that the host offers and the agent does not allow."""
        self._tools: dict[str, Tool] = {}
        for name in meant:
            if not is_denied(name, denied):
                wire = wire_name(name, self._tools)
                self._tools[wire] = offered[name].told_as(wire)
        self._approve = approve
        self.specs = tuple(tool.spec for tool in self._tools.values())
        """What a model is told of them."""

    async def run(self, calls: Iterable[ToolCall], told: Callable[[ToolResult], None] | None = None) -> list[ToolResult]:
        """Run the calls, each once; results come in the order of the calls. A tool's own error becomes its result.

        `told` is called with each result as it comes.
        They run side by side, but one that is `alone` waits for those before it, and those after it wait for it. Who is cancelled
        cancels the tools; what runs in a thread cannot be stopped and goes on unheard.
        """
        results: list[ToolResult] = []
        side_by_side: list[ToolCall] = []
        for call in calls:
            tool = self._tools.get(call.name)
            if tool is not None and tool.alone:
                results += await self._together(side_by_side, told)
                results += await self._together([call], told)
                side_by_side = []
            else:
                side_by_side.append(call)
        return results + await self._together(side_by_side, told)

    async def _together(self, calls: list[ToolCall], told: Callable[[ToolResult], None] | None) -> list[ToolResult]:
        if len(calls) == 1:
            return [await self._told(calls[0], told)]
        return await asyncio.gather(*(self._told(call, told) for call in calls))

    async def _told(self, call: ToolCall, told: Callable[[ToolResult], None] | None) -> ToolResult:
        result = sound_result(await self._run(call))
        if told is not None:
            told(result)
        return result

    async def _run(self, call: ToolCall) -> ToolResult:
        tool = self._tools.get(call.name)
        if tool is None:
            names = ", ".join(self._tools) or "none"
            return _failed(call, f"there is no tool '{call.name}'; there are: {names}")
        try:
            arguments = _arguments(tool, call.arguments)
        except ValidationError as error:
            said = "; ".join(f"{'.'.join(map(str, entry['loc']))}: {entry['msg']}" for entry in error.errors(include_url=False))
            return _failed(call, f"wrong arguments: {said}")
        refusal = await self._refusal(call) if self._approve is not None else None
        if refusal is not None:
            return _failed(call, refusal)
        return await _answered(tool, call, arguments)

    async def _refusal(self, call: ToolCall) -> str | None:
        """What the model is told where the host does not approve of a call; None where it does."""
        assert self._approve is not None
        try:
            said = self._approve(call)
            answer = await said if isinstance(said, Awaitable) else said
        except Exception:
            logger.exception("the call of tool '%s' could not be approved, and is not made", call.name)
            return f"the call of '{call.name}' was not made: it could not be approved"
        if answer is True:
            return None
        reason = f": {answer}" if isinstance(answer, str) and answer else ""
        return f"the call of '{call.name}' was refused{reason}"


def _in_order(allowed: tuple[str, ...], offered: Mapping[str, Tool]) -> list[str]:
    """The tools that the entries mean, in the order of the entries."""
    return list(dict.fromkeys(name for entry in allowed for name in offered if is_meant(name, (entry,))))


def _failed(call: ToolCall, text: str) -> ToolResult:
    return ToolResult(call.id, call.name, text, True)


async def _answered(tool: Tool, call: ToolCall, arguments: dict[str, Any]) -> ToolResult:
    """What the tool gives back within its time. It is asked once."""
    in_a_thread = not inspect.iscoroutinefunction(tool.call)
    limit = TOOL_TIMEOUT if tool.timeout is None else tool.timeout
    timer: asyncio.Timeout | None = None
    try:
        async with asyncio.timeout(None if limit == inf else limit) as timer:
            output = output_of(await _called(tool.call, arguments, in_a_thread))
    except ToolFailed as error:
        return _failed(call, cut(str(error)))
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and not task.cancelling():
            return _failed(call, "CancelledError: something that it waited for was cancelled")
        if in_a_thread:
            logger.warning(
                "the tool '%s' was cancelled, but runs in a thread, which cannot be stopped: it may yet finish", call.name
            )
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a tool raises is told to the model
        if timer is not None and timer.expired():
            on = "it cannot be stopped, and may yet finish" if in_a_thread else "it was stopped, and may have had effects"
            return _failed(call, f"'{call.name}' was not done within {limit:g} s; {on}")
        return _failed(call, cut(f"{type(error).__name__}: {error}"))
    small = tuple(blob for blob in output.parts if len(blob.data or b"") <= MOST_OF_A_BLOB)
    left_out = len(output.parts) - len(small)
    said = f"{cut(output.text)}\n[left out: {left_out} images or files of more than {MOST_OF_A_BLOB >> 20} MiB]"
    return ToolResult(call.id, call.name, said if left_out else cut(output.text), output.is_error, small)


def _arguments(tool: Tool, given: Mapping[str, Any]) -> dict[str, Any]:
    if tool.arguments is None:
        return dict(given)
    checked = tool.arguments.model_validate(dict(given))
    return {tool.renamed.get(name, name): getattr(checked, name) for name in checked.model_fields_set}


async def _called(function: Callable[..., Any], arguments: dict[str, Any], in_a_thread: bool) -> Any:
    value = await (in_thread(function, (), arguments) if in_a_thread else function(**arguments))
    return await value if isinstance(value, Awaitable) else value
