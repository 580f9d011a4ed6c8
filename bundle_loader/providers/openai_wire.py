"""OpenAI's chat completions format: neutral requests into bodies, and the chunks of an answer into a turn."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bundle_loader.errors import FailureKind, ProviderFailure
from bundle_loader.messages import Blob, Finish, Media, Message, Part, Text, Thinking, ToolCall, ToolResult, Turn, Usage
from bundle_loader.providers import config, faults, sdk_faults
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.blobs import address, file_name, in_base64
from bundle_loader.providers.call_ids import CallIds
from bundle_loader.providers.output_format import is_strict
from bundle_loader.providers.reported import reported_cost
from bundle_loader.providers.table import ProviderRow
from bundle_loader.routing.price import way_of

_FINISH: dict[str, Finish] = {
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tools",
    "function_call": "tools",
}
_REASONING = ("reasoning_content", "reasoning")
_MEDIA: tuple[tuple[Media, str, str], ...] = (
    ("input_audio", "prompt_tokens_details", "audio_tokens"),
    ("input_image", "prompt_tokens_details", "image_tokens"),
    ("output_audio", "completion_tokens_details", "audio_tokens"),
    ("output_image", "completion_tokens_details", "image_tokens"),
)
_TOO_MANY = 10**12
_BETWEEN = "Noted."


def body(row: ProviderRow, request: ChatRequest) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body of a streamed request, and what of the config was changed or dropped."""
    parameters, notes = config.translate(row, request.model, request.config)
    parameters |= {
        "model": request.model,
        row.output_field: request.max_tokens,
        "messages": messages(request.messages, request.system, row),
        "stream": True,
    }
    if row.stream_usage:
        parameters["stream_options"] = {"include_usage": True}
    if request.tools:
        parameters["tools"] = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": dict(tool.schema)},
            }
            for tool in request.tools
        ]
    if request.output_schema is not None:
        notes += config.overlay(parameters, ("response_format",), response_format(row, request.output_schema))
    return parameters, notes


def response_format(row: ProviderRow, schema: Mapping[str, Any]) -> dict[str, Any]:
    """How chat completions is told of the schema of an answer."""
    if row.output_schema == "json_object":
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": is_strict(schema)}}


def messages(history: Sequence[Message], system: str, row: ProviderRow) -> list[dict[str, Any]]:
    """Neutral messages as chat completions takes them: one `tool` message for each result.

    A `tool` message holds text only: images and files of results come right behind them, in a user's message.
    """
    ids = CallIds(row.call_ids)
    sent: list[dict[str, Any]] = [{"role": "system", "content": system}] if system.strip() else []
    for message in history:
        results = [part for part in message.parts if isinstance(part, ToolResult)]
        sent += [{"role": "tool", "tool_call_id": ids.result(part.call_id), "content": part.text} for part in results]
        if message.role == "assistant":
            said = _assistant(message, ids, row)
            if said is not None:
                sent.append(said)
        elif message.blobs or message.text:
            if not row.user_after_tool and sent and sent[-1]["role"] == "tool":
                sent.append({"role": "assistant", "content": _BETWEEN})
            sent.append({"role": "user", "content": _content(message) if message.blobs else message.text})
    return sent


def _content(message: Message) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = []
    for part in message.parts:
        if isinstance(part, Text) and part.text:
            content.append({"type": "text", "text": part.text})
        elif isinstance(part, Blob):
            content.append(_file(part))
        elif isinstance(part, ToolResult) and part.parts:
            content += [{"type": "text", "text": f"[from the tool '{part.name}']"}, *map(_file, part.parts)]
    return content


def _file(blob: Blob) -> dict[str, Any]:
    if blob.is_image:
        return {"type": "image_url", "image_url": {"url": address(blob)}}
    if blob.media_type.startswith("audio/"):
        form = "wav" if "wav" in blob.media_type else "mp3"
        return {"type": "input_audio", "input_audio": {"data": in_base64(blob), "format": form}}
    return {"type": "file", "file": {"filename": file_name(blob), "file_data": address(blob)}}


def _assistant(message: Message, ids: CallIds, row: ProviderRow) -> dict[str, Any] | None:
    calls = [
        {
            "id": ids.call(call.id),
            "type": "function",
            "function": {"name": call.name, "arguments": json.dumps(dict(call.arguments), ensure_ascii=False)},
        }
        for call in message.tool_calls
    ]
    if not calls and not message.text:
        return None
    said: dict[str, Any] = {"role": "assistant", "content": message.text or None}
    if calls:
        said["tool_calls"] = calls
    if row.reasoning_back:
        thought = "".join(part.text for part in message.parts if isinstance(part, Thinking) and part.vendor == row.id)
        if thought:
            said[row.reasoning_back] = thought
    return said


class _Call:
    """A tool call while its pieces arrive."""

    __slots__ = ("arguments", "id", "name")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []


class Answer:
    """Folds the chunks of one stream; `turn` tells whether they were an answer."""

    def __init__(self, provider: str, model: str, vendor: str, row: ProviderRow | None = None) -> None:
        """`row` says where the vendor reports what it charges."""
        self._row = row
        self._served: str | None = None
        self._provider = provider
        self._asked = model
        self._vendor = vendor
        self._model: str | None = None
        self._text: list[str] = []
        self._thinking: list[str] = []
        self._refusal: list[str] = []
        self._calls: list[_Call] = []
        self._at: dict[int, _Call] = {}
        self._usage: Mapping[str, Any] | None = None
        self._finish: str | None = None
        self._started = False
        self.ended = False
        """Set by the reader once `[DONE]` was seen."""

    def take(self, name: str, chunk: Any) -> str:
        """The answer text that a chunk brings, often none. Raises ProviderFailure for an error in it or a wrong shape."""
        try:
            if name == "error" or chunk.get("error"):
                raise sdk_faults.inside_stream(chunk.get("error") or chunk, self._provider, self._asked)
            usage = chunk.get("usage") or (chunk.get("x_groq") or {}).get("usage")
            if usage:
                self._usage = usage
            self._served = way_of(chunk.get("service_tier")) or self._served
            choices = chunk["choices"]
            if not choices:
                return ""
            self._started = True
            self._model = chunk.get("model") or self._model
            choice = choices[0]
            self._finish = choice.get("finish_reason") or self._finish
            return self._delta(choice.get("delta") or {})
        except (KeyError, TypeError, AttributeError, IndexError):
            raise faults.broken(self._provider, self._asked, f"a chunk of the wrong shape: {str(chunk)[:200]}") from None

    def _delta(self, delta: Mapping[str, Any]) -> str:
        for call in delta.get("tool_calls") or ():
            self._call(call)
        thought = next((delta[key] for key in _REASONING if delta.get(key)), None)
        if isinstance(thought, str):
            self._thinking.append(thought)
        if delta.get("refusal"):
            self._refusal.append(delta["refusal"])
        content = delta.get("content")
        if not content:
            return ""
        text = content if isinstance(content, str) else self._pieces(content)
        self._text.append(text)
        return text

    def _pieces(self, content: Sequence[Mapping[str, Any]]) -> str:
        """The text of a content list; what it holds of thinking is kept (Mistral)."""
        for piece in content:
            if piece["type"] == "thinking":
                self._thinking += [inner["text"] for inner in piece["thinking"] if inner.get("text")]
        return "".join(piece["text"] for piece in content if piece["type"] == "text")

    def _call(self, piece: Mapping[str, Any]) -> None:
        index = piece.get("index")
        known = self._at.get(index) if isinstance(index, int) else (self._calls[-1] if self._calls else None)
        id = piece.get("id")
        # some servers give every call of an answer the index 0, and only the id tells them apart
        if known is None or (id and known.id and id != known.id):
            known = _Call()
            self._calls.append(known)
            if isinstance(index, int):
                self._at[index] = known
        known.id = id or known.id
        function = piece.get("function") or {}
        known.name = function.get("name") or known.name
        written = function.get("arguments")
        if written:
            known.arguments.append(written if isinstance(written, str) else json.dumps(written))

    def turn(self, notes: tuple[str, ...]) -> Turn:
        """The finished turn. Raises ProviderFailure when the stream had no answer, no end or a refusal."""
        if not self._started:
            raise faults.broken(self._provider, self._asked, "the stream held no answer")
        if self._finish is None:
            raise faults.broken(self._provider, self._asked, "the stream was cut before its end")
        if self._finish == "content_filter":
            raise faults.content_refused(self._provider, self._asked, "the answer was stopped by the content filter")
        if self._refusal and not self._text and not self._calls:
            raise faults.content_refused(self._provider, self._asked, f"the model refused: {''.join(self._refusal)[:300]}")
        if self._finish == "insufficient_system_resource":
            raise ProviderFailure(FailureKind.BUSY, self._provider, "the vendor ran out of resources", model=self._asked)
        if self._finish == "error":
            raise faults.broken(self._provider, self._asked, "the vendor ended the answer with an error")
        finish = _FINISH.get(self._finish)
        if finish is None:
            finish, notes = "stop", (*notes, f"unknown finish_reason {self._finish} taken as a stop")
        if self._calls and finish == "stop":
            finish = "tools"
        message = Message("assistant", tuple(self._parts()))
        cost, doubt = reported_cost(self._row, self._usage)
        notes = (*notes, doubt) if doubt else notes
        return Turn(message, usage_of(self._usage, self._served), self._model, finish, notes, cost)

    def _parts(self) -> list[Part]:
        parts: list[Part] = []
        if self._thinking:
            parts.append(Thinking("".join(self._thinking), self._vendor))
        if text := "".join(self._text):
            parts.append(Text(text))
        for number, call in enumerate(self._calls, 1):
            if not call.name:
                raise faults.broken(self._provider, self._asked, "a tool call without a name")
            parts.append(ToolCall(call.id or f"call_{number}", call.name, self._arguments(call), self._vendor))
        return parts

    def _arguments(self, call: _Call) -> dict[str, Any]:
        written = "".join(call.arguments).strip()
        try:
            value = json.loads(written) if written else {}
        except ValueError:
            value = None
        if not isinstance(value, dict):
            cut = " (cut at the limit of tokens)" if self._finish == "length" else ""
            raise faults.broken(self._provider, self._asked, f"a tool call with malformed arguments{cut}: {written[:200]}")
        return value


def usage_of(told: Mapping[str, Any] | None, served: str | None = None) -> Usage | None:
    """OpenAI's figures as neutral ones, or None. `served` is the way of serving that the answer names."""
    if not told or not _is_count(told.get("prompt_tokens")) or not _is_count(told.get("completion_tokens", 0)):
        return None
    prompt = _number(told, "prompt_tokens")
    output = _number(told, "completion_tokens")
    before = _mapping(told, "prompt_tokens_details")
    after = _mapping(told, "completion_tokens_details")
    reasoning = _number(after, "reasoning_tokens")
    # xAI counts reasoning beside completion_tokens, all others inside it
    if reasoning and _number(told, "total_tokens") == prompt + output + reasoning:
        output += reasoning
    cached = _number(before, "cached_tokens") or _number(told, "prompt_cache_hit_tokens") or _number(told, "cached_tokens")
    return Usage(
        input_tokens=prompt,
        output_tokens=output,
        cache_read_tokens=cached,
        cache_write_tokens=_number(before, "cache_write_tokens"),
        reasoning_tokens=reasoning,
        media=tuple((kind, tokens) for kind, place, key in _MEDIA if (tokens := _number(_mapping(told, place), key))),
        served=served,
    )


def _is_count(value: object) -> bool:
    """Whether a vendor's figure can be a number of tokens; where it is none, the usage is not known."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _TOO_MANY


def _number(told: Mapping[str, Any], key: str) -> int:
    value = told.get(key)
    return int(value) if isinstance(value, int | float) and 0 <= value < _TOO_MANY else 0


def _mapping(told: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = told.get(key)
    return value if isinstance(value, Mapping) else {}
