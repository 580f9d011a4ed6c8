"""Anthropic's Messages API and model list, as the vendor answers them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from bundle_loader.messages import Usage
from tests.support.script import Reply, Request, split
from tests.support.strict_anthropic import complaint
from tests.support.vendor import Answer, Stream, Vendor, encode

THINKING_SIGNATURE = "EqQBCgIYAhIkbG9vcGJhY2stdGhpbmtpbmctc2lnbmF0dXJl"

_TYPES = {
    400: ("invalid_request_error", "Invalid request."),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "Your credit balance is too low to access the Anthropic API."),
    403: ("permission_error", "Your API key does not have permission to use the specified resource."),
    404: ("not_found_error", "Not found"),
    408: ("timeout_error", "Request timed out"),
    413: ("request_too_large", "Request exceeds the maximum size"),
    429: ("rate_limit_error", "This request would exceed your organization's rate limit of 50 requests per minute."),
    500: ("api_error", "Internal server error"),
    502: ("api_error", "Bad gateway"),
    503: ("api_error", "Service temporarily unavailable"),
    504: ("timeout_error", "Gateway timeout"),
    529: ("overloaded_error", "Overloaded"),
}
_STOP_REASONS = {"stop": "end_turn", "tools": "tool_use", "length": "max_tokens", "refused": "refusal"}


class AnthropicWire:
    """`Wire` for Anthropic."""

    stream_type = "text/event-stream; charset=utf-8"

    def endpoint(self, request: Request) -> tuple[str, str]:
        if request.method == "GET" and request.path == "/v1/models":
            return "list", ""
        if request.method == "POST" and request.path == "/v1/messages":
            body = request.body_json
            return "chat", str(body.get("model", "")) if isinstance(body, dict) else ""
        return "other", ""

    def key(self, request: Request) -> str | None:
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        return bearer or request.headers.get("x-api-key")

    def wrong_key(self, request: Request) -> Answer:
        return self.error(401)

    def entry(self, model: str, created: str) -> dict[str, Any]:
        line = next((word for word in ("haiku", "sonnet", "opus", "fable", "mythos") if word in model), None)
        return {
            "type": "model",
            "id": model,
            "display_name": model.replace("-", " ").title(),
            "created_at": f"{created}T00:00:00Z",
            "lifecycle": "active",
            "line": line,
            "deprecated_at": None,
            "retires_at": None,
            "max_input_tokens": 200_000,
            "max_tokens": 64_000,
            "capabilities": None,
        }

    def identity(self, entry: Mapping[str, Any]) -> str:
        return str(entry["id"])

    def listing(self, vendor: Vendor, request: Request) -> Answer:
        wanted = {value for key, value in request.query.items() if key.startswith("lifecycle")} or {"active", "deprecated"}
        shown = [entry for entry in vendor.models if entry.get("lifecycle", "active") in wanted]
        size = min(int(request.query.get("limit", 20)), vendor.page_size or 1000)
        after = request.query.get("after_id")
        ids = [self.identity(entry) for entry in shown]
        if after is not None and after not in ids:
            return self.error(400, message=f"after_id: model {after} not found")
        start = ids.index(after) + 1 if after is not None else 0
        page = shown[start : start + size]
        body = {
            "data": page,
            "has_more": start + size < len(shown),
            "first_id": self.identity(page[0]) if page else None,
            "last_id": self.identity(page[-1]) if page else None,
        }
        return self._answer(body)

    def other(self, vendor: Vendor, request: Request) -> Answer | None:
        if request.method == "GET" and request.path.startswith("/v1/models/"):
            model = request.path.removeprefix("/v1/models/")
            entry = vendor.find(model)
            return self._answer(entry) if entry else self.error(404, message=f"model: {model}")
        if request.method == "POST" and request.path == "/v1/messages/count_tokens":
            return self._answer({"input_tokens": max(1, len(json.dumps(request.body_json)) // 4)})
        return None

    def objection(self, vendor: Vendor, request: Request) -> Answer | None:
        if "anthropic-version" not in request.headers:
            return self.error(400, message="anthropic-version: header is required")
        body = request.body_json
        if not isinstance(body, dict):
            return self.error(400, message="The request body is not valid JSON.")
        model = body.get("model")
        entry = vendor.find(model) if isinstance(model, str) else None
        if isinstance(model, str) and (entry is None or entry.get("lifecycle") == "retired"):
            return self.error(404, message=f"model: {model}")
        words = complaint(vendor, body, entry or {}, THINKING_SIGNATURE)
        return self.error(400, message=words) if words else None

    def whole(self, vendor: Vendor, request: Request, reply: Reply) -> Answer:
        content: list[dict[str, Any]] = []
        if reply.thinking:
            content.append({"type": "thinking", "thinking": reply.thinking, "signature": THINKING_SIGNATURE})
        if reply.text:
            content.append({"type": "text", "text": reply.text})
        for name, arguments in reply.tool_calls:
            content.append({"type": "tool_use", "id": _tool_id(vendor), "name": name, "input": dict(arguments)})
        body = self._message(vendor, request, reply)
        body |= {"content": content, "stop_reason": _stop_reason(reply), "stop_details": _stop_details(reply)}
        if reply.usage is not None:
            body["usage"] = _usage(reply.usage, reply.usage.output_tokens) | dict(reply.also_counted)
        return self._answer(body)

    def stream(self, vendor: Vendor, request: Request, reply: Reply) -> Stream:
        message = self._message(vendor, request, reply)
        if reply.usage is not None:
            message["usage"] = _usage(reply.usage, 1) | dict(reply.also_counted)
        head = _event("message_start", message=message) + _event("ping")
        pieces = [head, *_blocks(vendor, reply)]
        delta = {"stop_reason": _stop_reason(reply), "stop_sequence": None, "stop_details": _stop_details(reply)}
        usage = (
            {} if reply.usage is None else {"usage": _usage(reply.usage, reply.usage.output_tokens) | dict(reply.also_counted)}
        )
        pieces.append(_event("message_delta", delta=delta, **usage) + _event("message_stop"))
        return Stream(tuple(pieces), max(1, len(pieces) // 2), 3 if reply.thinking else 1)

    def error(self, status: int, word: str = "", message: str = "", retry_after: float | None = None) -> Answer:
        usual, words = _TYPES.get(status, ("invalid_request_error" if status < 500 else "api_error", "Error"))
        body = {"type": "error", "error": {"type": word or usual, "message": message or words}, "request_id": "req_011loopback"}
        headers = {"request-id": "req_011loopback"}
        if retry_after is not None:
            headers["retry-after"] = f"{retry_after:g}"
        return Answer(encode(body), status, headers=headers)

    def error_event(self, word: str, message: str) -> bytes:
        kind = word or "overloaded_error"
        words = message or next((words for usual, words in _TYPES.values() if usual == kind), "Error")
        return _event("error", error={"type": kind, "message": words})

    def event(self, text: str) -> bytes:
        return f"event: content_block_delta\ndata: {text}\n\n".encode()

    def too_long(self, model: str) -> Answer:
        return self.error(400, message="prompt is too long: 210137 tokens > 200000 maximum")

    def refused_prompt(self, vendor: Vendor, request: Request) -> Answer:
        return self.error(400, message="Output blocked by content filtering policy")

    def _message(self, vendor: Vendor, request: Request, reply: Reply) -> dict[str, Any]:
        asked = request.body_json["model"]
        return {
            "id": f"msg_{vendor.number():06d}",
            "type": "message",
            "role": "assistant",
            "model": reply.model or vendor.aliases.get(asked, asked),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
        }

    def _answer(self, body: Mapping[str, Any]) -> Answer:
        return Answer(encode(body), headers={"request-id": "req_011loopback"})


def _blocks(vendor: Vendor, reply: Reply) -> Iterator[bytes]:
    """The content blocks as a stream brings them: one write for each delta."""
    index = 0
    if reply.thinking:
        yield _event("content_block_start", index=index, content_block={"type": "thinking", "thinking": "", "signature": ""})
        yield _delta(index, {"type": "thinking_delta", "thinking": reply.thinking})
        yield _delta(index, {"type": "signature_delta", "signature": THINKING_SIGNATURE}) + _event(
            "content_block_stop", index=index
        )
        index += 1
    if reply.text:
        start = _event("content_block_start", index=index, content_block={"type": "text", "text": ""})
        for text in reply.pieces():
            yield start + _delta(index, {"type": "text_delta", "text": text})
            start = b""
        yield _event("content_block_stop", index=index)
        index += 1
    for name, arguments in reply.tool_calls:
        block = {"type": "tool_use", "id": _tool_id(vendor), "name": name, "input": {}}
        yield _event("content_block_start", index=index, content_block=block)
        for fragment in ["", *split(json.dumps(dict(arguments)), 3)]:
            yield _delta(index, {"type": "input_json_delta", "partial_json": fragment})
        yield _event("content_block_stop", index=index)
        index += 1


def _event(kind: str, **data: Any) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + encode({"type": kind, **data}) + b"\n\n"


def _delta(index: int, delta: Mapping[str, Any]) -> bytes:
    return _event("content_block_delta", index=index, delta=delta)


def _tool_id(vendor: Vendor) -> str:
    return f"toolu_{vendor.number():06d}"


def _stop_reason(reply: Reply) -> str:
    return _STOP_REASONS.get(reply.reason, reply.reason)


def _stop_details(reply: Reply) -> dict[str, Any] | None:
    if reply.reason != "refused":
        return None
    return {"type": "refusal", "category": "general_harms", "explanation": "The request was declined by a safety classifier."}


def _usage(usage: Usage, output: int) -> dict[str, Any]:
    """Anthropic counts what came from or went to the cache beside `input_tokens`, not in it."""
    counted: dict[str, Any] = {
        "input_tokens": usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cache_read_tokens,
        "output_tokens": output,
    }
    if usage.reasoning_tokens:
        counted["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return counted
