"""Neutral messages to the form of Ollama's SDK, and a stream of its chunks to one neutral turn."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bundle_loader.messages import (
    Blob,
    Finish,
    Message,
    Part,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    ToolSpec,
    Turn,
    Usage,
)
from bundle_loader.providers import faults
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.blobs import in_base64

VENDOR = "ollama"

_KEPT = ("type", "items", "description", "enum")
_WITHOUT_MEANING = frozenset({*_KEPT, "title"})


def messages(request: ChatRequest) -> list[dict[str, Any]]:
    """The system text and the history in the form that the SDK sends: what is empty is left out."""
    written: list[dict[str, Any]] = [{"role": "system", "content": request.system}] if request.system else []
    for message in request.messages:
        if message.role == "tool":
            written += [_result(part) for part in message.parts if isinstance(part, ToolResult)]
        else:
            written.append(_message(message))
    return written


def _message(message: Message) -> dict[str, Any]:
    text, thinking = "", ""
    images: list[str] = []
    calls: list[dict[str, Any]] = []
    for part in message.parts:
        if isinstance(part, Text):
            text += part.text
        elif isinstance(part, ToolCall):
            calls.append({"function": {"name": part.name, "arguments": dict(part.arguments)}})
        elif isinstance(part, Blob):
            images.append(in_base64(part))
        elif isinstance(part, Thinking) and part.vendor == VENDOR:
            thinking += part.text
    written: dict[str, Any] = {"role": message.role}
    for key, said in (("content", text), ("thinking", thinking), ("images", images), ("tool_calls", calls)):
        if said:
            written[key] = said
    return written


def _result(result: ToolResult) -> dict[str, Any]:
    text = f"error: {result.text}" if result.is_error else result.text
    written: dict[str, Any] = {"role": "tool", "tool_name": result.name}
    if text:
        written["content"] = text
    if result.parts:
        written["images"] = [in_base64(blob) for blob in result.parts]
    return written


def tool(spec: ToolSpec) -> dict[str, Any]:
    """A tool as the SDK takes it.

    The SDK's type keeps only the type, items, description and enum of a property and drops the rest of its schema
    (nested properties, anyOf, bounds). Such a property carries its schema as JSON in its description.
    """
    schema = _plain(spec.schema)
    definitions: dict[str, Any] = schema.get("$defs") or schema.get("definitions") or {}
    properties = schema.get("properties") or {}
    parameters: dict[str, Any] = {
        "type": "object",
        "properties": {name: _property(inner, definitions) for name, inner in properties.items()},
    }
    if schema.get("required"):
        parameters["required"] = schema["required"]
    if definitions:
        parameters["$defs"] = definitions
    return {
        "type": "function",
        "function": {"name": spec.name, "description": spec.description, "parameters": parameters},
    }


def _property(schema: Any, definitions: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(schema, dict):
        return {}
    schema = _resolved(schema, definitions)
    branches = [branch for branch in schema.get("anyOf", ()) if branch.get("type") != "null"]
    if len(branches) == 1:
        rest = {key: value for key, value in schema.items() if key != "anyOf"}
        schema = {**_resolved(branches[0], definitions), **rest}
    written = {key: schema[key] for key in _KEPT if key in schema}
    lost = {key: value for key, value in schema.items() if key not in _WITHOUT_MEANING}
    if lost:
        words = f"JSON schema: {json.dumps(lost, ensure_ascii=False)}"
        described = written.get("description")
        written["description"] = f"{described} {words}" if described else words
    return written


def _resolved(schema: dict[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with the definition that it refers to in place of the reference."""
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return schema
    meant = definitions.get(reference.rpartition("/")[2])
    if not isinstance(meant, dict):
        return schema
    return {**meant, **{key: value for key, value in schema.items() if key != "$ref"}}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


class Answer:
    """What a stream of the SDK's chunks says, gathered into one turn."""

    def __init__(self, provider: str, request: ChatRequest) -> None:
        self._provider = provider
        self._asked = request.model
        self._turn = sum(message.role == "assistant" for message in request.messages)
        self._text: list[str] = []
        self._thinking: list[str] = []
        self._calls: list[ToolCall] = []
        self._last: Any = None
        self._model: str | None = None

    def add(self, chunk: Any) -> str:
        """Take one chunk; gives its words that are meant to be shown."""
        message = chunk.message
        self._model = chunk.model or self._model
        if message.thinking:
            self._thinking.append(message.thinking)
        for call in message.tool_calls or ():
            id = f"call_{self._turn}_{len(self._calls)}"
            self._calls.append(ToolCall(id, call.function.name, dict(call.function.arguments)))
        if chunk.done:
            self._last = chunk
        text: str = message.content or ""
        if text:
            self._text.append(text)
        return text

    def turn(self, notes: tuple[str, ...]) -> Turn:
        """The finished turn. Raises `ProviderFailure` when the stream was no whole answer."""
        last = self._last
        if last is None:
            raise faults.broken(self._provider, self._asked, "the stream ended before it was done")
        finish: Finish = "tools" if self._calls else "stop"
        if last.done_reason == "length":
            finish = "length"
        elif last.done_reason not in ("stop", None):
            raise faults.broken(self._provider, self._asked, f"done for the reason {last.done_reason!r}")
        text = "".join(self._text)
        if finish == "stop" and not text:
            raise faults.broken(self._provider, self._asked, "an empty answer")
        parts: list[Part] = [Thinking("".join(self._thinking), VENDOR)] if self._thinking else []
        if text:
            parts.append(Text(text))
        return Turn(Message("assistant", (*parts, *self._calls)), _usage(last), self._model, finish, notes)


def _usage(last: Any) -> Usage | None:
    if last.prompt_eval_count is None:
        return None
    return Usage(input_tokens=last.prompt_eval_count, output_tokens=last.eval_count or 0)
