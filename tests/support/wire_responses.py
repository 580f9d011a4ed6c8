"""The answers of OpenAI's responses API: whole, and as a stream of events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bundle_loader.messages import Usage
from tests.support.script import Reply, Request, split
from tests.support.strict_responses import SEALED
from tests.support.vendor import Answer, Stream, Vendor, encode, matches

_CREATED = 1_790_000_000


def whole(vendor: Vendor, request: Request, reply: Reply) -> Answer:
    """The answer in one body."""
    return Answer(encode(_response(vendor, request, reply, _items(vendor, request, reply))), headers={"x-request-id": "req_loop"})


def stream(vendor: Vendor, request: Request, reply: Reply) -> Stream:
    """The answer in events, without a last `[DONE]`."""
    items = _items(vendor, request, reply)
    last = _response(vendor, request, reply, items)
    begun = {**last, "status": "in_progress", "output": [], "usage": None}
    pieces = [_event("response.created", response=begun)]
    for index, item in enumerate(items):
        pieces.append(_event("response.output_item.added", output_index=index, item={**item, "status": "in_progress"}))
        if item["type"] == "message":
            for content in item["content"]:
                key = "refusal" if content["type"] == "refusal" else "output_text"
                for text in split(content.get("text") or content.get("refusal") or "", 5):
                    delta = {"item_id": item["id"], "output_index": index, "content_index": 0, "delta": text}
                    pieces.append(_event(f"response.{key}.delta", **delta))
        elif item["type"] == "function_call":
            for text in split(item["arguments"], 3):
                pieces.append(
                    _event("response.function_call_arguments.delta", item_id=item["id"], output_index=index, delta=text)
                )
        pieces.append(_event("response.output_item.done", output_index=index, item=item))
    kind = "response.incomplete" if last["status"] == "incomplete" else "response.completed"
    pieces.append(_event(kind, response=last))
    return Stream(tuple(pieces), max(1, len(pieces) // 2))


def error_event(kind: str, words: str) -> bytes:
    """The error as it stands inside a 200 stream."""
    return _event("error", code=kind, message=words, param=None)


def _items(vendor: Vendor, request: Request, reply: Reply) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if reply.thinking and matches(request.model, vendor.refuses_temperature):
        summary = [{"type": "summary_text", "text": reply.thinking}]
        items.append({"type": "reasoning", "id": f"rs_{vendor.number()}", "summary": summary, "encrypted_content": SEALED})
    if reply.text:
        content = {"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []}
        items.append({"type": "message", "id": f"msg_{vendor.number()}", "role": "assistant", "content": [content]})
    for name, arguments in reply.tool_calls:
        number = vendor.number()
        call = {"type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number:06d}", "name": name}
        items.append({**call, "arguments": json.dumps(dict(arguments))})
    return [{**item, "status": "completed"} if item["type"] != "reasoning" else item for item in items]


def _response(vendor: Vendor, request: Request, reply: Reply, items: list[dict[str, Any]]) -> dict[str, Any]:
    asked = request.body_json["model"]
    why = {"length": "max_output_tokens", "refused": "content_filter"}.get(reply.reason)
    return {
        "id": f"resp_{vendor.number()}",
        "object": "response",
        "created_at": _CREATED,
        "status": "incomplete" if why else "completed",
        "incomplete_details": {"reason": why} if why else None,
        "error": None,
        "model": reply.model or vendor.aliases.get(asked, asked),
        "output": items,
        "usage": None if reply.usage is None else {**_usage(reply.usage), **reply.also_counted},
        **reply.also_said,
    }


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cache_read_tokens, "cache_write_tokens": usage.cache_write_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _event(kind: str, **data: Any) -> bytes:
    body: Mapping[str, Any] = {"type": kind, "sequence_number": 0, **data}
    return b"event: " + kind.encode() + b"\ndata: " + encode(body) + b"\n\n"
