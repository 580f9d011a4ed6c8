"""Python callables as tools: schema from the signature, arguments checked, errors given back to the model."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakKeyDictionary

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from bundle_loader.errors import RequestError
from bundle_loader.messages import ToolCall, ToolResult, ToolSpec

MAX_RESULT: Final = 100_000
"""Characters of one tool result that a model is told; what is cut is said."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that a model may ask for. `call` gets keyword arguments and may be async; it runs in the host's process."""

    spec: ToolSpec
    call: Callable[..., Any]
    arguments: type[BaseModel] | None = None
    """Checks and converts the model's arguments; None passes them as they are."""
    renamed: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Fields of `arguments` -> parameters, where a parameter's own name cannot be a field's."""

    @classmethod
    def of(cls, function: Callable[..., Any] | Tool) -> Tool:
        """A tool from a callable with a signature. Raises RequestError for one whose parameters a model cannot fill."""
        if isinstance(function, Tool):
            return function
        try:
            known = _TOOLS.get(function)
        except TypeError:
            known = None
        if known is None:
            known = _made(function)
            with suppress(TypeError):
                _TOOLS[function] = known
        return known


_TOOLS: WeakKeyDictionary[Callable[..., Any], Tool] = WeakKeyDictionary()


def _made(function: Callable[..., Any]) -> Tool:
    name = getattr(function, "__name__", None)
    if not callable(function) or not name or name == "<lambda>":
        raise RequestError(f"{function!r} cannot be a tool: give a named function, or a Tool")
    fields: dict[str, Any] = {}
    renamed: dict[str, str] = {}
    try:
        signature = inspect.signature(function, eval_str=True)
    except (NameError, TypeError, ValueError) as error:
        raise RequestError(f"the tool '{name}' has a signature that cannot be read: {error}") from None
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise RequestError(f"the tool '{name}' has the parameter '{parameter}', which a model cannot fill by name")
        kind = Any if parameter.annotation is parameter.empty else parameter.annotation
        default = ... if parameter.default is parameter.empty else parameter.default
        own = parameter.name
        if own.startswith("_") or hasattr(BaseModel, own):
            renamed[f"parameter_{own.strip('_')}"] = own
            fields[f"parameter_{own.strip('_')}"] = (kind, Field(default, alias=own))
        else:
            fields[own] = (kind, default)
    arguments = create_model(name, __config__=ConfigDict(extra="forbid", arbitrary_types_allowed=True), **fields)
    schema = arguments.model_json_schema()
    schema.pop("title", None)
    return Tool(ToolSpec(name, inspect.getdoc(function) or "", schema), function, arguments, renamed)


class ToolBox:
    """The tools of one delegation, by name."""

    def __init__(self, tools: Iterable[Callable[..., Any] | Tool], allowed: tuple[str, ...] | None = None) -> None:
        offered = {tool.spec.name: tool for tool in map(Tool.of, tools)}
        self.missing = tuple(name for name in allowed or () if name not in offered)
        """Tools that the agent names and the host does not offer."""
        self.excluded = () if allowed is None else tuple(name for name in offered if name not in allowed)
        """Tools that the host offers and the agent does not allow."""
        self._tools = offered if allowed is None else {name: offered[name] for name in allowed if name in offered}
        self.specs = tuple(tool.spec for tool in self._tools.values())
        """What a model is told of them."""

    async def run(self, calls: Iterable[ToolCall]) -> list[ToolResult]:
        """Run the calls side by side; results come in the order of the calls. A tool's own error becomes its result."""
        return await asyncio.gather(*(self._run(call) for call in calls))

    async def _run(self, call: ToolCall) -> ToolResult:
        tool = self._tools.get(call.name)
        if tool is None:
            names = ", ".join(self._tools) or "none"
            return ToolResult(call.id, call.name, f"there is no tool '{call.name}'; there are: {names}", True)
        try:
            arguments = _arguments(tool, call.arguments)
        except ValidationError as error:
            said = "; ".join(f"{'.'.join(map(str, entry['loc']))}: {entry['msg']}" for entry in error.errors(include_url=False))
            return ToolResult(call.id, call.name, f"wrong arguments: {said}", True)
        try:
            text = _text(await _called(tool.call, arguments))
        except Exception as error:  # noqa: BLE001 - whatever a tool raises is told to the model
            return ToolResult(call.id, call.name, f"{type(error).__name__}: {error}", True)
        return ToolResult(call.id, call.name, text)


def _arguments(tool: Tool, given: Mapping[str, Any]) -> dict[str, Any]:
    if tool.arguments is None:
        return dict(given)
    checked = tool.arguments.model_validate(dict(given))
    return {tool.renamed.get(name, name): getattr(checked, name) for name in checked.model_fields_set}


async def _called(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    if inspect.iscoroutinefunction(function):
        return await function(**arguments)
    value = await asyncio.to_thread(function, **arguments)
    return await value if isinstance(value, Awaitable) else value


def _text(value: Any) -> str:
    if isinstance(value, str):
        text = value
    elif isinstance(value, BaseModel):
        text = value.model_dump_json()
    else:
        text = json.dumps(value, default=str, ensure_ascii=False)
    if len(text) > MAX_RESULT:
        return f"{text[:MAX_RESULT]}\n[cut: {len(text) - MAX_RESULT} more characters]"
    return text
