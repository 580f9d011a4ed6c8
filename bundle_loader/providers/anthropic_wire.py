"""Anthropic's messages format: neutral requests into bodies, and the events of an answer into a turn."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bundle_loader.errors import FailureKind, ProviderFailure
from bundle_loader.messages import Blob, Finish, Message, Part, Text, Thinking, ToolCall, ToolResult, Turn, Usage
from bundle_loader.providers import config, faults, sdk_faults
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.blobs import in_base64
from bundle_loader.providers.call_ids import CallIds
from bundle_loader.providers.table import ProviderRow
from bundle_loader.routing.price import STANDARD, way_of

VENDOR = "anthropic"
"""Whose thinking blocks go back: those of Anthropic's models, wherever they run. An imitation's seals are its own."""

_FINISH: dict[str, Finish] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "tool_use": "tools",
}


def body(row: ProviderRow, request: ChatRequest, own: str = VENDOR) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body of a streamed request, which is `prepared`, and what of the config was changed or dropped.

    `own` is whose thinking it takes back.
    """
    parameters, notes = config.translate(row, request.model, request.config)
    parameters |= {
        "model": request.model,
        "max_tokens": request.max_tokens,
        "messages": messages(request.messages, row.call_ids, own),
        "stream": True,
    }
    if request.system.strip():
        parameters["system"] = request.system
    if request.tools:
        parameters["tools"] = [
            {"name": tool.name, "description": tool.description, "input_schema": dict(tool.schema)} for tool in request.tools
        ]
    if request.output_schema is not None:
        wanted = {"type": "json_schema", "schema": request.output_schema}
        notes += config.overlay(parameters, ("output_config", "format"), wanted)
    if _thinking_is_foreign(parameters):
        del parameters["thinking"]
        notes = (*notes, "thinking dropped: the tools were called by a model that left no thinking of this vendor")
    return parameters, notes


def _thinking_is_foreign(parameters: Mapping[str, Any]) -> bool:
    """Whether thinking is on, and a loop of tools goes on whose last answer does not begin with thinking: that is refused."""
    thinking, sent = parameters.get("thinking"), parameters["messages"]
    if not isinstance(thinking, Mapping) or thinking.get("type") != "enabled" or len(sent) < 2:
        return False
    if not any(block["type"] == "tool_result" for block in sent[-1]["content"]):
        return False
    return sent[-2]["content"][0]["type"] not in ("thinking", "redacted_thinking")


def messages(history: Sequence[Message], call_ids: str, own: str = VENDOR) -> list[dict[str, Any]]:
    """Neutral messages as Anthropic takes them: roles that alternate, results of tools first in a user's message."""
    ids = CallIds(call_ids)
    sent: list[dict[str, Any]] = []
    for message in history:
        role = "assistant" if message.role == "assistant" else "user"
        blocks = [block for part in message.parts if (block := _block(part, ids, own)) is not None]
        # the last block of an answer may not be thinking
        while role == "assistant" and blocks and blocks[-1]["type"] in ("thinking", "redacted_thinking"):
            blocks.pop()
        if not blocks:
            continue
        if sent and sent[-1]["role"] == role:
            sent[-1]["content"] += blocks
        else:
            sent.append({"role": role, "content": blocks})
    return sent


def _block(part: Part, ids: CallIds, own: str) -> dict[str, Any] | None:
    if isinstance(part, Text):
        # blank text is refused
        return {"type": "text", "text": part.text} if part.text.strip() else None
    if isinstance(part, Blob):
        return _file(part)
    if isinstance(part, Thinking):
        return dict(part.data) if part.vendor == own and part.data else None
    if isinstance(part, ToolCall):
        return {"type": "tool_use", "id": ids.call(part.id), "name": part.name, "input": dict(part.arguments)}
    return _result(part, ids)


def _file(blob: Blob) -> dict[str, Any]:
    if blob.url is not None:
        source: dict[str, Any] = {"type": "url", "url": blob.url}
    elif blob.media_type == "text/plain":
        source = {"type": "text", "media_type": "text/plain", "data": (blob.data or b"").decode(errors="replace")}
    else:
        source = {"type": "base64", "media_type": blob.media_type, "data": in_base64(blob)}
    if blob.is_image:
        return {"type": "image", "source": source}
    return {"type": "document", "source": source, **({"title": blob.name} if blob.name else {})}


def _result(part: ToolResult, ids: CallIds) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": ids.result(part.call_id)}
    text = part.text if part.text.strip() else ""
    if part.is_error:
        # an error holds words only, and one without words is refused
        unseen = f" [{len(part.parts)} files cannot be shown]" if part.parts else ""
        block |= {"is_error": True, "content": f"{text or 'error'}{unseen}"}
    elif part.parts:
        words = [{"type": "text", "text": text}] if text else []
        block["content"] = [*words, *map(_file, part.parts)]
    elif text:
        block["content"] = text
    return block


class Answer:
    """Folds the events of one stream; `turn` tells whether they were an answer."""

    def __init__(self, provider: str, model: str, own: str = VENDOR) -> None:
        """`own` is whose thinking the answer holds."""
        self._own = own
        self._provider = provider
        self._asked = model
        self._model: str | None = None
        self._blocks: dict[int, dict[str, Any]] = {}
        self._pieces: dict[int, list[str]] = {}
        """What the deltas of each block brought: text, thinking, or the JSON of arguments."""
        self._usage: dict[str, Any] = {}
        self._stop: str | None = None
        self._why = "it gave no reason"
        self._started = False
        self.ended = False
        """True once `message_stop` was seen."""

    def take(self, name: str, event: Any) -> str:
        """The answer text that an event brings, often none. Raises ProviderFailure for an error event or a wrong shape."""
        try:
            kind = event["type"]
            if kind == "content_block_delta":
                return self._delta(event["index"], event["delta"])
            if kind == "content_block_start":
                block = dict(event["content_block"])
                self._blocks[event["index"]] = block
                self._pieces[event["index"]] = []
                return str(block["text"]) if block["type"] == "text" else ""
            if kind == "message_start":
                self._started = True
                self._model = event["message"].get("model")
                self._count(event["message"].get("usage"))
            elif kind == "message_delta":
                self._stop = event["delta"].get("stop_reason") or self._stop
                self._why = (event["delta"].get("stop_details") or {}).get("explanation") or self._why
                self._count(event.get("usage"))
            elif kind == "message_stop":
                self.ended = True
        except (KeyError, TypeError, AttributeError):
            raise self._odd(name, event) from None
        if kind == "error":
            raise sdk_faults.inside_stream(event.get("error"), self._provider, self._asked)
        return ""

    def _odd(self, name: str, event: Any) -> ProviderFailure:
        if isinstance(event, Mapping) and (name == "error" or "error" in event):
            return sdk_faults.inside_stream(event.get("error", event), self._provider, self._asked)
        return faults.broken(self._provider, self._asked, f"an event of the wrong shape: {str(event)[:200]}")

    def _delta(self, index: int, delta: Mapping[str, Any]) -> str:
        kind = delta["type"]
        if kind == "text_delta":
            text: str = delta["text"]
            self._pieces[index].append(text)
            return text
        if kind == "input_json_delta":
            self._pieces[index].append(delta["partial_json"])
        elif kind == "thinking_delta":
            self._pieces[index].append(delta["thinking"])
        elif kind == "signature_delta":
            self._blocks[index]["signature"] = delta["signature"]
        return ""

    def _count(self, usage: Mapping[str, Any] | None) -> None:
        """Later figures replace earlier ones: they are totals."""
        for key, value in (usage or {}).items():
            if value is not None:
                self._usage[key] = value

    def turn(self, notes: tuple[str, ...]) -> Turn:
        """The finished turn. Raises ProviderFailure when the stream had no answer, no end or a refusal."""
        if not self._started:
            raise faults.broken(self._provider, self._asked, "the stream held no answer")
        if self._stop is None:
            raise faults.broken(self._provider, self._asked, "the stream was cut before its end")
        if self._stop == "refusal":
            raise faults.content_refused(self._provider, self._asked, f"the model's safety system refused: {self._why}")
        if self._stop == "model_context_window_exceeded":
            what = "the answer ran into the end of the context window"
            raise ProviderFailure(FailureKind.TOO_LONG, self._provider, what, model=self._asked)
        finish = _FINISH.get(self._stop)
        if finish is None:
            finish, notes = "stop", (*notes, f"unknown stop_reason {self._stop} taken as a stop")
        if self._stop == "pause_turn":
            notes = (*notes, "the vendor paused a long turn (pause_turn); what it said so far is the answer")
        try:
            parts = tuple(part for index in sorted(self._blocks) if (part := self._part(index)) is not None)
        except (KeyError, TypeError):
            raise faults.broken(self._provider, self._asked, "a block of the wrong shape") from None
        return Turn(Message("assistant", parts), usage_of(self._usage), self._model, finish, notes)

    def _part(self, index: int) -> Part | None:
        block = self._blocks[index]
        kind = block["type"]
        if kind == "text":
            text = block["text"] + "".join(self._pieces[index])
            return Text(text) if text else None
        if kind == "thinking":
            block["thinking"] = block.get("thinking", "") + "".join(self._pieces[index])
            return Thinking(block["thinking"], self._own, block)
        if self._pieces[index]:
            block["input"] = self._arguments(index)
        if kind == "tool_use":
            return ToolCall(block["id"], block["name"], block.get("input") or {}, VENDOR)
        # thinking that is sealed, or what a tool on the vendor's side did: only the vendor can read it again
        return Thinking("", self._own, block)

    def _arguments(self, index: int) -> dict[str, Any]:
        written = "".join(self._pieces[index])
        try:
            value = json.loads(written) if written.strip() else {}
        except ValueError:
            value = None
        if not isinstance(value, dict):
            cut = " (cut at max_tokens)" if self._stop == "max_tokens" else ""
            raise faults.broken(self._provider, self._asked, f"a tool call with malformed arguments{cut}: {written[:200]}")
        return value


def usage_of(told: Mapping[str, Any]) -> Usage | None:
    """Anthropic's figures as neutral ones, or None. Its `input_tokens` leave out what caches read and wrote."""
    if "input_tokens" not in told and "output_tokens" not in told:
        return None
    read = int(told.get("cache_read_input_tokens", 0))
    wrote = int(told.get("cache_creation_input_tokens", 0))
    details, kept, tools = (told.get(key) for key in ("output_tokens_details", "cache_creation", "server_tool_use"))
    ways = [way_of(told.get(key)) for key in ("speed", "service_tier")]
    return Usage(
        input_tokens=int(told.get("input_tokens", 0)) + read + wrote,
        output_tokens=int(told.get("output_tokens", 0)),
        cache_read_tokens=read,
        cache_write_tokens=wrote,
        reasoning_tokens=_part(details, "thinking_tokens"),
        cache_write_1h_tokens=_part(kept, "ephemeral_1h_input_tokens"),
        searches=_part(tools, "web_search_requests"),
        served=next((way for way in ways if way not in (None, STANDARD)), STANDARD if any(ways) else None),
    )


def _part(told: Any, key: str) -> int:
    return int(told.get(key) or 0) if isinstance(told, Mapping) else 0
