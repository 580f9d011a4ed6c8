"""OpenAI's responses format: neutral requests into bodies, and the events of an answer into a turn."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from bundle_loader.messages import Blob, Finish, Message, Part, Text, Thinking, ToolCall, ToolResult, Turn, Usage
from bundle_loader.providers import config, faults, sdk_faults
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.blobs import address, file_name
from bundle_loader.providers.call_ids import CallIds
from bundle_loader.providers.output_format import is_strict
from bundle_loader.providers.table import ProviderRow
from bundle_loader.routing.price import way_of

_REFUSES: Final = {"stop": ("*",), "seed": ("*",)}
_TAKES: Final = ("application/pdf", "image/jpeg", "image/png", "image/gif", "image/webp")
_ENDS: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})
_TOO_MANY: Final = 10**12


def as_responses(row: ProviderRow) -> ProviderRow:
    """The row for the same vendor, spoken to in this format."""
    return replace(
        row,
        config=MappingProxyType({**row.config, "reasoning_effort": "reasoning.effort"}),
        refuses=MappingProxyType({**row.refuses, **_REFUSES}),
        output_field="max_output_tokens",
        takes=_TAKES,
        fetches=("image/*", "application/pdf"),
    )


def vendor(provider: str, model: str) -> str:
    """Whose reasoning goes back: what is sealed for one account and model is of no use to another."""
    return f"{provider}/{model}"


def body(row: ProviderRow, request: ChatRequest, provider: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body of a streamed request, which is `prepared`, and what of the config was changed or dropped.

    Nothing is stored at the vendor: reasoning comes sealed, and goes back with the conversation. `row` is of `as_responses`.
    """
    parameters, notes = config.translate(row, request.model, request.config)
    parameters.setdefault("store", False)
    parameters |= {
        "model": request.model,
        row.output_field: request.max_tokens,
        "input": items(request.messages, vendor(provider, request.model), row.call_ids),
        "stream": True,
    }
    if not config.refused(row, request.model, "reasoning_effort"):
        parameters.setdefault("include", ["reasoning.encrypted_content"])
    if request.system.strip():
        parameters["instructions"] = request.system
    if request.tools:
        parameters["tools"] = [
            # a schema is strict unless this is said
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": dict(tool.schema),
                "strict": False,
            }
            for tool in request.tools
        ]
    if request.output_schema is not None:
        notes += config.overlay(parameters, ("text", "format"), _format(row, request.output_schema))
    return parameters, notes


def _format(row: ProviderRow, schema: Mapping[str, Any]) -> dict[str, Any]:
    if row.output_schema == "json_object":
        return {"type": "json_object"}
    return {"type": "json_schema", "name": "answer", "schema": schema, "strict": is_strict(schema)}


def items(history: Sequence[Message], own: str, call_ids: str) -> list[dict[str, Any]]:
    """Neutral messages as items of an input. They bear no ids of items, so that none depends on another's being there."""
    ids = CallIds(call_ids)
    sent: list[dict[str, Any]] = []
    for message in history:
        if message.role == "assistant":
            sent += _answer(message, own, ids)
        elif message.role == "user":
            content = [written for part in message.parts if (written := _input(part)) is not None]
            if content:
                sent.append({"role": "user", "content": content})
        else:
            sent += [_output(part, ids) for part in message.parts if isinstance(part, ToolResult)]
    return sent


def _answer(message: Message, own: str, ids: CallIds) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []
    phase: dict[str, Any] = {}
    for part in message.parts:
        if isinstance(part, Thinking) and part.vendor == own and "phase" in part.data:
            phase = dict(part.data)
        elif isinstance(part, Thinking) and part.vendor == own and part.data.get("encrypted_content"):
            sent.append(dict(part.data))
        elif isinstance(part, Text) and part.text:
            sent.append({"role": "assistant", "content": part.text, **phase})
            phase = {}
        elif isinstance(part, ToolCall):
            arguments = json.dumps(dict(part.arguments), ensure_ascii=False)
            sent.append({"type": "function_call", "call_id": ids.call(part.id), "name": part.name, "arguments": arguments})
    # sealed reasoning without what it led to is refused
    while sent and sent[-1].get("type") == "reasoning":
        sent.pop()
    return sent


def _input(part: Part) -> dict[str, Any] | None:
    if isinstance(part, Text):
        return {"type": "input_text", "text": part.text} if part.text else None
    return _file(part) if isinstance(part, Blob) else None


def _file(blob: Blob) -> dict[str, Any]:
    if blob.is_image:
        return {"type": "input_image", "image_url": address(blob)}
    if blob.url is not None:
        return {"type": "input_file", "file_url": blob.url}
    return {"type": "input_file", "filename": file_name(blob), "file_data": address(blob)}


def _output(result: ToolResult, ids: CallIds) -> dict[str, Any]:
    output: Any = result.text
    if result.parts:
        words = [{"type": "input_text", "text": result.text}] if result.text else []
        output = [*words, *map(_file, result.parts)]
    return {"type": "function_call_output", "call_id": ids.result(result.call_id), "output": output}


class Answer:
    """Folds the events of one stream; `turn` tells whether they were an answer."""

    def __init__(self, provider: str, model: str, row: ProviderRow) -> None:
        self._provider = provider
        self._asked = model
        self._row = row
        self._items: dict[int, Mapping[str, Any]] = {}
        self._response: Mapping[str, Any] | None = None
        self._started = False
        self.ended = False
        """True once the answer's last event was seen."""

    def take(self, name: str, event: Any) -> str:
        """The answer text that an event brings, often none. Raises ProviderFailure for an error in it or a wrong shape."""
        try:
            kind = event.get("type") or name
            if kind == "error" or "error" in event:
                raise sdk_faults.inside_stream(event.get("error") or event, self._provider, self._asked)
            self._started = self._started or kind.startswith("response.")
            if kind == "response.output_text.delta":
                return str(event["delta"])
            if kind == "response.output_item.done":
                # llama.cpp gives no index: items come in their order
                self._items[event.get("output_index", len(self._items))] = dict(event["item"])
            elif kind in _ENDS:
                self._response = dict(event["response"])
                self.ended = True
        except (KeyError, TypeError, AttributeError, ValueError):
            raise faults.broken(self._provider, self._asked, f"an event of the wrong shape: {str(event)[:200]}") from None
        if kind == "response.failed":
            raise sdk_faults.inside_stream(event["response"].get("error") or {}, self._provider, self._asked)
        return ""

    def turn(self, notes: tuple[str, ...]) -> Turn:
        """The finished turn. Raises ProviderFailure when the stream had no answer, no end or a refusal."""
        if not self._started:
            raise faults.broken(self._provider, self._asked, "the stream held no answer")
        if self._response is None:
            raise faults.broken(self._provider, self._asked, "the stream was cut before its end")
        finish = self._finish(self._response)
        refusals: list[str] = []
        try:
            parts = [part for index in sorted(self._items) for part in self._parts(self._items[index], refusals)]
        except (KeyError, TypeError, AttributeError):
            raise faults.broken(self._provider, self._asked, "an item of the wrong shape") from None
        message = Message("assistant", tuple(parts))
        if refusals and not message.text and not message.tool_calls:
            raise faults.content_refused(self._provider, self._asked, f"the model refused: {''.join(refusals)[:300]}")
        if message.tool_calls and finish == "stop":
            finish = "tools"
        usage = usage_of(self._response.get("usage"), way_of(self._response.get("service_tier")))
        return Turn(message, usage, self._response.get("model"), finish, notes)

    def _finish(self, response: Mapping[str, Any]) -> Finish:
        if response.get("status") != "incomplete":
            return "stop"
        reason = (response.get("incomplete_details") or {}).get("reason")
        if reason == "content_filter":
            raise faults.content_refused(self._provider, self._asked, "the answer was stopped by the content filter")
        if reason != "max_output_tokens":
            raise faults.broken(self._provider, self._asked, f"the answer is incomplete: {reason}")
        return "length"

    def _parts(self, item: Mapping[str, Any], refusals: list[str]) -> list[Part]:
        own = vendor(self._provider, self._asked)
        if item["type"] == "reasoning":
            summary = "\n\n".join(piece["text"] for piece in item.get("summary") or ())
            kept = {key: item[key] for key in ("type", "id", "summary", "encrypted_content") if item.get(key) is not None}
            return [Thinking(summary, own, {"summary": [], **kept})]
        if item["type"] == "message":
            refusals += [piece["refusal"] for piece in item["content"] if piece["type"] == "refusal"]
            text = "".join(piece["text"] for piece in item["content"] if piece["type"] == "output_text")
            phase = [Thinking("", own, {"phase": item["phase"]})] if item.get("phase") else []
            return [*phase, Text(text)] if text else []
        if item["type"] == "function_call":
            return [ToolCall(item["call_id"], item["name"], self._arguments(item["arguments"]), self._row.id)]
        # what a tool on the vendor's side did
        return []

    def _arguments(self, written: str) -> dict[str, Any]:
        try:
            value = json.loads(written) if written.strip() else {}
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise faults.broken(self._provider, self._asked, f"a tool call with malformed arguments: {written[:200]}")
        return value


def usage_of(told: Mapping[str, Any] | None, served: str | None = None) -> Usage | None:
    """The figures as neutral ones, or None; all are totals that include their parts."""
    if not told or not _is_count(told.get("input_tokens")) or not _is_count(told.get("output_tokens", 0)):
        return None
    before, after = told.get("input_tokens_details") or {}, told.get("output_tokens_details") or {}
    return Usage(
        input_tokens=int(told["input_tokens"]),
        output_tokens=_number(told, "output_tokens"),
        cache_read_tokens=_number(before, "cached_tokens"),
        cache_write_tokens=_number(before, "cache_write_tokens"),
        reasoning_tokens=_number(after, "reasoning_tokens"),
        served=served,
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _TOO_MANY


def _number(told: object, key: str) -> int:
    value = told.get(key) if isinstance(told, Mapping) else None
    return int(value) if _is_count(value) and isinstance(value, int | float) else 0
