"""Neutral messages to Gemini's JSON, and a stream of the SDK's chunks to one neutral turn."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

from bundle_loader.errors import FailureKind, ProviderFailure
from bundle_loader.messages import (
    Blob,
    Finish,
    Media,
    Message,
    Part,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Turn,
    Usage,
)
from bundle_loader.providers import faults
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.blobs import in_base64
from bundle_loader.providers.call_ids import CallIds
from bundle_loader.routing.price import MEDIA

VENDOR = "google"
NAMES = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}")
"""Names of functions that it takes."""

# Gemini 3 refuses a history whose tool calls lack its signature; for calls that it did not make itself the vendor
# documents this word (ai.google.dev/gemini-api/docs/thought-signatures). Older models ignore it.
_FOREIGN_CALL = "skip_thought_signature_validator"

_REFUSED = frozenset(
    {"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR", "ESCALATION"}
    | {"IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"}
)
_MEDIA: dict[str, Media] = {kind: kind for kind in MEDIA}
_ROLES = {"user": "user", "assistant": "model", "tool": "user"}


def body(request: ChatRequest, call_ids: str, generation: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON of `streamGenerateContent` for a `prepared` request; `generation` is added to its `generationConfig`."""
    written: dict[str, Any] = {
        "contents": _contents(request.messages, CallIds(call_ids)),
        "generationConfig": {**_plain(generation), "maxOutputTokens": request.max_tokens},
    }
    if request.output_schema is not None:
        form = {"responseMimeType": "application/json", "responseJsonSchema": _plain(request.output_schema)}
        written["generationConfig"] |= form
    if request.system:
        written["systemInstruction"] = {"parts": [{"text": request.system}]}
    if request.tools:
        declared = [
            {"name": tool.name, "description": tool.description, "parametersJsonSchema": _plain(tool.schema)}
            for tool in request.tools
        ]
        written["tools"] = [{"functionDeclarations": declared}]
    return written


def _contents(messages: tuple[Message, ...], ids: CallIds) -> list[dict[str, Any]]:
    contents: list[dict[str, Any]] = []
    before = ""
    for message in messages:
        parts = _parts(message, ids)
        if not parts:
            continue
        # all results of one turn must stand in one content
        if message.role == "tool" and before == "tool":
            contents[-1]["parts"] += parts
        else:
            contents.append({"role": _ROLES[message.role], "parts": parts})
        before = message.role
    return contents


def _parts(message: Message, ids: CallIds) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    beside: list[dict[str, Any]] = []
    signed = False
    for part in message.parts:
        match part:
            case Text(text):
                if text:
                    parts.append({"text": text})
            case Blob():
                parts.append(_file(part))
            case Thinking(vendor=vendor):
                if vendor == VENDOR and (part.text or part.data.get("signature")):
                    parts.append(_thought(part))
            case ToolCall():
                written = _call(part, ids.call(part.id))
                # only the first of parallel calls bears a signature
                if "thoughtSignature" not in written and not signed:
                    written["thoughtSignature"] = _FOREIGN_CALL
                signed = True
                parts.append(written)
            case ToolResult(call_id, name, text, is_error):
                response = {"error" if is_error else "result": text}
                parts.append({"functionResponse": {"id": ids.result(call_id), "name": name, "response": response}})
                if part.parts:
                    # older models take no files within a functionResponse
                    beside += [{"text": f"[from the tool '{name}']"}, *map(_file, part.parts)]
    return parts + beside


def _file(blob: Blob) -> dict[str, Any]:
    if blob.url is not None:
        return {"fileData": {"mimeType": blob.media_type, "fileUri": blob.url}}
    return {"inlineData": {"mimeType": blob.media_type, "data": in_base64(blob)}}


def _call(call: ToolCall, id: str) -> dict[str, Any]:
    written: dict[str, Any] = {"functionCall": {"id": id, "name": call.name, "args": _plain(call.arguments)}}
    if call.vendor == VENDOR and call.signature:
        written["thoughtSignature"] = call.signature
    return written


def _thought(thinking: Thinking) -> dict[str, Any]:
    written: dict[str, Any] = {"text": thinking.text}
    if thinking.text:
        written["thought"] = True
    if signature := thinking.data.get("signature"):
        written["thoughtSignature"] = signature
    return written


def _plain(value: Any) -> Any:
    """The same value as dicts and lists, which is all that the SDK's JSON encoder takes."""
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
        self._parts: list[Part] = []
        self._text: list[str] = []
        self._thought: list[str] = []
        self._calls = 0
        self._usage: Any = None
        self._model: str | None = None
        self._finish = ""
        self._why = ""

    def add(self, chunk: Any) -> str:
        """Take one chunk; gives its words that are meant to be shown. Raises `ProviderFailure` for a blocked prompt."""
        feedback = chunk.prompt_feedback
        if feedback is not None and feedback.block_reason:
            words = f"the prompt was blocked: {feedback.block_reason.value} {feedback.block_reason_message or ''}"
            raise faults.content_refused(self._provider, self._asked, words.strip())
        if chunk.usage_metadata is not None:
            self._usage = chunk.usage_metadata
        self._model = chunk.model_version or self._model
        if not chunk.candidates:
            return ""
        candidate = chunk.candidates[0]
        if candidate.finish_reason:
            self._finish = candidate.finish_reason.value
            self._why = candidate.finish_message or ""
        shown = ""
        for part in (candidate.content.parts if candidate.content else None) or ():
            shown += self._add_part(part)
        return shown

    def _add_part(self, part: Any) -> str:
        signature = base64.b64encode(part.thought_signature).decode() if part.thought_signature else None
        if part.function_call is not None:
            self._flush()
            self._parts.append(self._tool_call(part.function_call, signature))
            return ""
        text: str = part.text or ""
        if part.thought:
            self._end_text()
            self._thought.append(text)
            if signature:
                self._end_thought(signature)
            return ""
        if text:
            self._end_thought()
            self._text.append(text)
        if signature:
            self._flush()
            self._parts.append(Thinking("", VENDOR, {"signature": signature}))
        return text

    def _tool_call(self, call: Any, signature: str | None) -> ToolCall:
        if not call.name:
            raise faults.broken(self._provider, self._asked, "a tool call without a name")
        id = call.id or f"call_{self._turn}_{self._calls}"
        self._calls += 1
        return ToolCall(id, call.name, call.args or {}, VENDOR, signature)

    def _end_text(self) -> None:
        if self._text:
            self._parts.append(Text("".join(self._text)))
            self._text.clear()

    def _end_thought(self, signature: str | None = None) -> None:
        if self._thought or signature:
            data = {"signature": signature} if signature else {}
            self._parts.append(Thinking("".join(self._thought), VENDOR, data))
            self._thought.clear()

    def _flush(self) -> None:
        self._end_thought()
        self._end_text()

    def turn(self, notes: tuple[str, ...]) -> Turn:
        """The finished turn. Raises `ProviderFailure` when the stream was no whole answer."""
        self._flush()
        finish = self._finished()
        message = Message("assistant", tuple(self._parts))
        if finish == "stop" and not message.text:
            raise faults.broken(self._provider, self._asked, "an empty answer")
        return Turn(message, _usage(self._usage), self._model, finish, notes)

    def _finished(self) -> Finish:
        reason = self._finish.upper()
        if not reason:
            raise faults.broken(self._provider, self._asked, "the stream ended without a finish reason")
        if reason in _REFUSED:
            raise faults.content_refused(self._provider, self._asked, f"{reason} {self._why}".strip())
        if reason == "PUP_LIMITED_DISABLED":
            words = f"the account is limited: {reason} {self._why}".strip()
            raise ProviderFailure(FailureKind.REFUSED, self._provider, words, model=self._asked, scope="provider")
        if reason in ("MAX_TOKENS", "CONTINUATION"):
            return "length"
        if reason != "STOP":
            raise faults.broken(self._provider, self._asked, f"finish reason {reason} {self._why}".strip())
        return "tools" if self._calls else "stop"


def _usage(told: Any) -> Usage | None:
    """Tokens as totals: the vendor counts thoughts and the prompts of its own tools apart. None when it said nothing."""
    if told is None or told.prompt_token_count is None:
        return None
    thoughts = told.thoughts_token_count or 0
    return Usage(
        input_tokens=told.prompt_token_count + (told.tool_use_prompt_token_count or 0),
        output_tokens=(told.candidates_token_count or 0) + thoughts,
        cache_read_tokens=told.cached_content_token_count or 0,
        reasoning_tokens=thoughts,
        media=tuple(sorted(_media(told).items())),
    )


def _media(told: Any) -> dict[Media, int]:
    """What of the tokens was sound or pictures."""
    found: dict[Media, int] = {}
    for way, field in (("input", "prompt_tokens_details"), ("output", "candidates_tokens_details")):
        for part in getattr(told, field, None) or ():
            kind = _MEDIA.get(f"{way}_{str(getattr(part.modality, 'value', part.modality)).lower()}")
            if kind is not None and part.token_count:
                found[kind] = found.get(kind, 0) + part.token_count
    return found
