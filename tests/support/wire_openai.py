"""OpenAI's chat completions and model list, and the servers that speak the same: OpenRouter and llama.cpp."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from bundle_loader.messages import Usage
from tests.support import strict_responses, wire_responses
from tests.support.script import Reply, Request, split
from tests.support.strict_openai import Complaint, complaint
from tests.support.vendor import Answer, Stream, Vendor, encode, matches

_CREATED = 1_790_000_000
_RESPONSES = "/responses"
_ERRORS: dict[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "Invalid request."),
    401: (
        "invalid_request_error",
        "invalid_api_key",
        "Incorrect API key provided: wrong. You can find your API key at https://platform.openai.com/account/api-keys.",
    ),
    402: ("insufficient_quota", "insufficient_quota", "Insufficient credits. Add more to continue."),
    403: ("request_forbidden", "unsupported_country_region_territory", "Country, region, or territory not supported"),
    404: ("invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
    408: ("server_error", "timeout", "Request timed out."),
    413: ("invalid_request_error", "request_too_large", "Request body is too large."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests. Limit: 3 / min. Please try again in 20s."),
    500: ("server_error", None, "The server had an error while processing your request. Sorry about that!"),
    502: ("server_error", None, "Bad gateway."),
    503: ("server_error", None, "The engine is currently overloaded, please try again later."),
    504: ("server_error", None, "Gateway timeout."),
}
_QUOTA = "You exceeded your current quota, please check your plan and billing details."
_FINISH = {"stop": "stop", "tools": "tool_calls", "length": "length", "refused": "content_filter"}


class OpenAIWire:
    """`Wire` for OpenAI itself."""

    stream_type = "text/event-stream; charset=utf-8"
    strict = True
    """Refuse parameters that are not the vendor's."""
    always_counts = False
    """Send usage at the end of a stream that did not ask for it."""

    def endpoint(self, request: Request) -> tuple[str, str]:
        if request.method == "GET" and request.path == "/models":
            return "list", ""
        if request.method == "POST" and request.path in ("/chat/completions", _RESPONSES):
            body = request.body_json
            return "chat", str(body.get("model", "")) if isinstance(body, dict) else ""
        return "other", ""

    def key(self, request: Request) -> str | None:
        return request.headers.get("authorization", "").removeprefix("Bearer ") or None

    def wrong_key(self, request: Request) -> Answer:
        return self.error(401)

    def entry(self, model: str, created: str) -> dict[str, Any]:
        stamp = int(datetime.fromisoformat(created).replace(tzinfo=UTC).timestamp())
        return {"id": model, "object": "model", "created": stamp, "owned_by": "system"}

    def identity(self, entry: Mapping[str, Any]) -> str:
        return str(entry["id"])

    def listing(self, vendor: Vendor, request: Request) -> Answer:
        return self._answer({"object": "list", "data": vendor.models})

    def other(self, vendor: Vendor, request: Request) -> Answer | None:
        if request.method == "GET" and request.path.startswith("/models/"):
            model = request.path.removeprefix("/models/")
            entry = vendor.find(model)
            return self._answer(entry) if entry else self.unknown_model(model)
        return None

    def objection(self, vendor: Vendor, request: Request) -> Answer | None:
        body = request.body_json
        if not isinstance(body, dict):
            return self.complain(Complaint("We could not parse the JSON body of your request."))
        model = body.get("model")
        if not isinstance(model, str) or not model:
            return self.complain(Complaint("you must provide a model parameter"))
        if vendor.find(model) is None:
            return self.unknown_model(model)
        if request.path == _RESPONSES:
            found = strict_responses.complaint(vendor, body)
        elif matches(model, vendor.responses_only):
            return self.complain(
                Complaint("This model is only supported in v1/responses and not in v1/chat/completions.", "model")
            )
        else:
            found = complaint(vendor, body, self.strict)
        return self.complain(found) if found else None

    def unknown_model(self, model: str) -> Answer:
        return self.error(404, message=f"The model `{model}` does not exist or you do not have access to it.")

    def complain(self, found: Complaint) -> Answer:
        error = {"message": found.message, "type": "invalid_request_error", "param": found.param, "code": found.code}
        return self._answer({"error": error}, 400)

    def whole(self, vendor: Vendor, request: Request, reply: Reply) -> Answer:
        if request.path == _RESPONSES:
            return wire_responses.whole(vendor, request, reply)
        message: dict[str, Any] = {"role": "assistant", "content": reply.text or None, "refusal": None}
        if reply.thinking:
            message["reasoning_content"] = reply.thinking
        if reply.tool_calls:
            message["tool_calls"] = [
                {"id": _call_id(vendor), "type": "function", "function": {"name": name, "arguments": json.dumps(dict(arguments))}}
                for name, arguments in reply.tool_calls
            ]
        choice = {"index": 0, "message": message, "finish_reason": _FINISH.get(reply.reason, reply.reason), "logprobs": None}
        body = self._frame(vendor, request, reply) | {"object": "chat.completion", "choices": [choice]}
        if reply.usage is not None:
            body["usage"] = _usage(reply.usage) | dict(reply.also_counted)
        return self._answer(body)

    def stream(self, vendor: Vendor, request: Request, reply: Reply) -> Stream:
        if request.path == _RESPONSES:
            return wire_responses.stream(vendor, request, reply)
        frame = self._frame(vendor, request, reply) | {"object": "chat.completion.chunk"}
        asked = bool((request.body_json.get("stream_options") or {}).get("include_usage"))
        counted = reply.usage is not None and (asked or self.always_counts)

        def chunk(delta: Mapping[str, Any], finish: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
            return _data(frame | {"choices": [choice]} | ({"usage": None} if asked else {}))

        pieces = [chunk({"role": "assistant", "content": "", "refusal": None})]
        pieces += [chunk(delta) for delta in _deltas(vendor, reply)]
        last = chunk({}, _FINISH.get(reply.reason, reply.reason))
        if counted and reply.usage is not None:
            last += _data(frame | {"choices": [], "usage": _usage(reply.usage) | dict(reply.also_counted)})
        pieces.append(last + b"data: [DONE]\n\n")
        return Stream(tuple(pieces), max(1, len(pieces) // 2), 2 if reply.thinking else 1)

    def error(self, status: int, word: str = "", message: str = "", retry_after: float | None = None) -> Answer:
        kind, code, words = _ERRORS.get(status, ("invalid_request_error" if status < 500 else "server_error", None, "Error."))
        if word == "insufficient_quota":
            kind, words = word, _QUOTA
        error = {"message": message or words, "type": kind, "param": None, "code": word or code}
        headers = {"x-request-id": "req_loopback"}
        if retry_after is not None:
            headers["retry-after"] = f"{retry_after:g}"
        return Answer(encode({"error": error}), status, headers=headers)

    def error_event(self, word: str, message: str) -> bytes:
        kind = word or "server_error"
        words = message or (_QUOTA if kind == "insufficient_quota" else _ERRORS[500][2])
        return _data({"error": {"message": words, "type": kind, "param": None, "code": kind}})

    def event(self, text: str) -> bytes:
        return f"data: {text}\n\n".encode()

    def too_long(self, model: str) -> Answer:
        words = (
            "This model's maximum context length is 128000 tokens. However, your messages resulted in 130012 tokens. Please"
            " reduce the length of the messages."
        )
        return self.complain(Complaint(words, "messages", "context_length_exceeded"))

    def refused_prompt(self, vendor: Vendor, request: Request) -> Answer:
        words = "Your request was rejected as a result of our safety system. It contains text that is not allowed by our content"
        return self.complain(Complaint(f"{words} policy.", None, "content_policy_violation"))

    def _frame(self, vendor: Vendor, request: Request, reply: Reply) -> dict[str, Any]:
        asked = request.body_json["model"]
        return {
            "id": f"chatcmpl-{vendor.number():06d}",
            "created": _CREATED,
            "model": reply.model or vendor.aliases.get(asked, asked),
            "system_fingerprint": "fp_loopback",
            **reply.also_said,
        }

    def _answer(self, body: Mapping[str, Any], status: int = 200) -> Answer:
        return Answer(encode(body), status, headers={"x-request-id": "req_loopback"})


class OpenRouterWire(OpenAIWire):
    """`Wire` for OpenRouter: prices and limits in the list, pages by link, numbers as error codes."""

    strict = False
    always_counts = True

    def entry(self, model: str, created: str) -> dict[str, Any]:
        stamp = super().entry(model, created)["created"]
        return {
            "id": model,
            "canonical_slug": model,
            "name": model,
            "created": stamp,
            "description": "",
            "context_length": 128_000,
            "architecture": {
                "modality": "text->text",
                "input_modalities": ["text"],
                "output_modalities": ["text"],
                "tokenizer": "Other",
            },
            "pricing": {"prompt": "0.0000001", "completion": "0.0000004"},
            "top_provider": {"context_length": 128_000, "max_completion_tokens": 16_384, "is_moderated": False},
            "per_request_limits": None,
            "supported_parameters": ["max_tokens", "temperature", "tool_choice", "tools"],
            "expiration_date": None,
        }

    def listing(self, vendor: Vendor, request: Request) -> Answer:
        start = int(request.query.get("offset", 0))
        size = vendor.page_size or max(1, len(vendor.models))
        following = start + size
        more = following < len(vendor.models)
        link = f"/api/v1/models?offset={following}" if more else None
        body = {"data": vendor.models[start:following], "total_count": len(vendor.models), "links": {"next": link}}
        return self._answer(body)

    def unknown_model(self, model: str) -> Answer:
        return self.error(400, message=f"{model} is not a valid model ID")

    def complain(self, found: Complaint) -> Answer:
        return self.error(400, message=found.message)

    def error(self, status: int, word: str = "", message: str = "", retry_after: float | None = None) -> Answer:
        plain = json.loads(super().error(status, word, message, retry_after).body)["error"]["message"]
        error: dict[str, Any] = {"message": plain, "code": status}
        if status == 429:
            error["metadata"] = {"raw": plain, "provider_name": "Loopback"}
        headers = {} if retry_after is None else {"retry-after": f"{retry_after:g}"}
        return Answer(encode({"error": error}), status, headers=headers)

    def error_event(self, word: str, message: str) -> bytes:
        error = {"code": word or 502, "message": message or "Provider disconnected unexpectedly"}
        choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
        return _data(
            {"id": "gen-loopback", "object": "chat.completion.chunk", "created": _CREATED, "error": error, "choices": [choice]}
        )

    def too_long(self, model: str) -> Answer:
        words = "This endpoint's maximum context length is 128000 tokens. However, you requested about 130012 tokens."
        return self.error(400, message=words)

    def refused_prompt(self, vendor: Vendor, request: Request) -> Answer:
        return self.error(403, message="Input was flagged as violence by the moderation of the provider.")


class LlamaCppWire(OpenAIWire):
    """`Wire` for a llama.cpp server: one model, any name, its own error words."""

    strict = False

    def entry(self, model: str, created: str) -> dict[str, Any]:
        meta = {"n_ctx": 8192, "n_ctx_train": 8192, "n_embd": 64, "n_params": 4096, "n_vocab": 512, "size": 8192, "vocab_type": 1}
        return super().entry(model, created) | {"owned_by": "llamacpp", "meta": meta}

    def listing(self, vendor: Vendor, request: Request) -> Answer:
        second = [{"name": self.identity(entry), "model": self.identity(entry), "type": "model"} for entry in vendor.models]
        return self._answer({"models": second, "object": "list", "data": vendor.models})

    def error(self, status: int, word: str = "", message: str = "", retry_after: float | None = None) -> Answer:
        kinds = {401: "authentication_error", 404: "not_found_error", 500: "server_error", 503: "unavailable_error"}
        words = {401: "Invalid API Key", 404: "File Not Found", 503: "Loading model"}
        error = {
            "code": status,
            "message": message or words.get(status, "Error"),
            "type": word or kinds.get(status, "invalid_request_error"),
        }
        headers = {} if retry_after is None else {"retry-after": f"{retry_after:g}"}
        return Answer(encode({"error": error}), status, headers=headers)

    def complain(self, found: Complaint) -> Answer:
        return self.error(400, message=found.message)

    def too_long(self, model: str) -> Answer:
        words = "request (9012 tokens) exceeds the available context size (8192 tokens), try increasing it"
        error = {"code": 400, "message": words, "type": "exceed_context_size_error", "n_prompt_tokens": 9012, "n_ctx": 8192}
        return Answer(encode({"error": error}), 400)


def _deltas(vendor: Vendor, reply: Reply) -> Iterator[Mapping[str, Any]]:
    if reply.thinking:
        yield {"reasoning_content": reply.thinking}
    for text in reply.pieces():
        yield {"content": text}
    for index, (name, arguments) in enumerate(reply.tool_calls):
        function = {"name": name, "arguments": ""}
        yield {"tool_calls": [{"index": index, "id": _call_id(vendor), "type": "function", "function": function}]}
        for fragment in split(json.dumps(dict(arguments)), 3):
            yield {"tool_calls": [{"index": index, "function": {"arguments": fragment}}]}


def _data(value: Any) -> bytes:
    return b"data: " + encode(value) + b"\n\n"


def _call_id(vendor: Vendor) -> str:
    return f"call_{vendor.number():06d}"


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens, "audio_tokens": 0},
    }
