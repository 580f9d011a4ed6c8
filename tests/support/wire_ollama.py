"""Ollama's native API: chat in lines of JSON, the installed models, and what one of them is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.script import Reply, Request
from tests.support.vendor import Answer, Stream, Vendor, encode, is_base64, matches

_CREATED = "2026-01-01T00:00:00.000000001Z"
_STATUS_WORDS = {
    401: "unauthorized",
    404: "model not found",
    500: "llama runner process has terminated: exit status 2",
    503: "server busy, please try again.  maximum pending requests exceeded",
}
_ROLES = ("system", "user", "assistant", "tool", "developer")
_REFUSAL = "I'm sorry, but I can't help with that."


class OllamaWire:
    """`Wire` for Ollama. It knows no safety block, so a refused answer is one in words."""

    stream_type = "application/x-ndjson"

    def endpoint(self, request: Request) -> tuple[str, str]:
        if request.method == "GET" and request.path == "/api/tags":
            return "list", ""
        if request.method == "POST" and request.path == "/api/chat":
            body = request.body_json
            return "chat", str(body.get("model", "")) if isinstance(body, dict) else ""
        return "other", ""

    def key(self, request: Request) -> str | None:
        return request.headers.get("authorization", "").removeprefix("Bearer ") or None

    def wrong_key(self, request: Request) -> Answer:
        return self.error(401)

    def entry(self, model: str, created: str) -> dict[str, Any]:
        name = model if ":" in model else f"{model}:latest"
        family, _, size = name.partition(":")
        return {
            "name": name,
            "model": name,
            "modified_at": f"{created}T09:30:00.123456789+02:00",
            "size": 5_200_000_000,
            "digest": hashlib.sha256(name.encode()).hexdigest(),
            "details": {
                "parent_model": "",
                "format": "gguf",
                "family": family,
                "families": [family],
                "parameter_size": size.upper() if size[:1].isdigit() else "8.2B",
                "quantization_level": "Q4_K_M",
            },
        }

    def identity(self, entry: Mapping[str, Any]) -> str:
        return str(entry["model"])

    def listing(self, vendor: Vendor, request: Request) -> Answer:
        return Answer(encode({"models": vendor.models}), content_type="application/json; charset=utf-8")

    def other(self, vendor: Vendor, request: Request) -> Answer | None:
        if request.path == "/" and request.method in ("GET", "HEAD"):
            return Answer(b"Ollama is running", content_type="text/plain; charset=utf-8")
        if request.path == "/api/version":
            return Answer(encode({"version": "0.14.2"}))
        if request.path == "/api/ps":
            return Answer(encode({"models": []}))
        if request.path == "/api/show":
            return self._show(vendor, request)
        return None

    def objection(self, vendor: Vendor, request: Request) -> Answer | None:
        body = request.body_json
        if not isinstance(body, dict):
            return self.error(400, message="invalid character '<' looking for beginning of value")
        if not body.get("model"):
            return self.error(400, message="model is required")
        if self._find(vendor, str(body["model"])) is None:
            return self._unknown(str(body["model"]))
        if body.get("tools") and matches(body["model"], vendor.refuses_tools):
            return self.error(400, message=f"{body['model']} does not support tools")
        words = _complaint(body.get("messages") or []) or _format(body.get("format"))
        if any(message.get("images") for message in body.get("messages") or []) and matches(body["model"], vendor.refuses_images):
            words = words or "this model is missing data required for image input"
        return self.error(400, message=words) if words else None

    def whole(self, vendor: Vendor, request: Request, reply: Reply) -> Answer:
        text = _REFUSAL if reply.reason == "refused" else reply.text
        body = self._line(request, reply, _message(text, reply, vendor)) | self._done(reply)
        return Answer(encode(body), content_type="application/json; charset=utf-8")

    def stream(self, vendor: Vendor, request: Request, reply: Reply) -> Stream:
        messages: list[dict[str, Any]] = []
        if reply.thinking:
            messages.append({"role": "assistant", "content": "", "thinking": reply.thinking})
        spoken = [_REFUSAL] if reply.reason == "refused" else reply.pieces()
        messages += [{"role": "assistant", "content": text} for text in spoken]
        if reply.tool_calls:
            messages.append(_message("", Reply(tool_calls=reply.tool_calls), vendor))
        pieces = [encode(self._line(request, reply, message) | {"done": False}) + b"\n" for message in messages]
        last = self._line(request, reply, {"role": "assistant", "content": ""}) | self._done(reply)
        pieces.append(encode(last) + b"\n")
        return Stream(tuple(pieces), len(pieces) // 2, 1 if reply.thinking else 0)

    def error(self, status: int, word: str = "", message: str = "", retry_after: float | None = None) -> Answer:
        headers = {} if retry_after is None else {"retry-after": f"{retry_after:g}"}
        words = message or word or _STATUS_WORDS.get(status, "an error was encountered")
        return Answer(encode({"error": words}), status, "application/json; charset=utf-8", headers)

    def error_event(self, word: str, message: str) -> bytes:
        words = message or word or "an error was encountered while running the model: unexpected EOF"
        return encode({"error": words}) + b"\n"

    def event(self, text: str) -> bytes:
        return f"{text}\n".encode()

    def too_long(self, model: str) -> Answer:
        return self.error(400, message="the input length exceeds the context length")

    def refused_prompt(self, vendor: Vendor, request: Request) -> Answer | Stream:
        reply = Reply(finish="refused")
        return self.stream(vendor, request, reply) if request.streamed else self.whole(vendor, request, reply)

    def _find(self, vendor: Vendor, model: str) -> dict[str, Any] | None:
        return vendor.find(model) if ":" in model else vendor.find(f"{model}:latest")

    def _unknown(self, model: str) -> Answer:
        return self.error(404, message=f"model '{model}' not found, try pulling it first")

    def _show(self, vendor: Vendor, request: Request) -> Answer:
        body = request.body_json if isinstance(request.body_json, dict) else {}
        model = str(body.get("model", ""))
        entry = self._find(vendor, model)
        if entry is None:
            return self._unknown(model)
        family = entry.get("details", {}).get("family", "llama")
        takes_tools = not matches(model, vendor.refuses_tools)
        sees = "clip" in entry.get("details", {}).get("families", ())
        shown = {
            "modelfile": "",
            "parameters": "",
            "template": "{{ .Prompt }}",
            "details": entry.get("details", {}),
            "model_info": {"general.architecture": family, f"{family}.context_length": 40_960},
            "capabilities": ["completion", *["tools"] * takes_tools, *["vision"] * sees],
            "modified_at": entry.get("modified_at", _CREATED),
        }
        return Answer(encode(shown))

    def _line(self, request: Request, reply: Reply, message: Mapping[str, Any]) -> dict[str, Any]:
        return {"model": reply.model or request.body_json["model"], "created_at": _CREATED, "message": message}

    def _done(self, reply: Reply) -> dict[str, Any]:
        reason = {"tools": "stop", "refused": "stop"}.get(reply.reason, reply.reason)
        done: dict[str, Any] = {"done": True, "done_reason": reason, "total_duration": 5_000_000, "load_duration": 1_000_000}
        if reply.usage is not None:
            done |= {"prompt_eval_count": reply.usage.input_tokens, "prompt_eval_duration": 2_000_000}
            done |= {"eval_count": reply.usage.output_tokens, "eval_duration": 2_000_000}
        return done


def _message(text: str, reply: Reply, vendor: Vendor) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if reply.thinking:
        message["thinking"] = reply.thinking
    if reply.tool_calls:
        message["tool_calls"] = [
            {"id": f"call_{vendor.number():06d}", "function": {"index": index, "name": name, "arguments": dict(arguments)}}
            for index, (name, arguments) in enumerate(reply.tool_calls)
        ]
    return message


def _complaint(messages: Sequence[Mapping[str, Any]]) -> str | None:
    for message in messages:
        if message.get("role") not in _ROLES:
            return f'invalid role: {message.get("role")}, role must be one of "system", "user", "assistant", "tool"'
        if not isinstance(message.get("images") or [], list) or not all(map(is_base64, message.get("images") or ())):
            return "illegal base64 data at input byte 4"
        if not isinstance(message.get("content", ""), str):
            return "json: cannot unmarshal array into Go struct field ChatRequest.messages.content of type string"
        for call in message.get("tool_calls") or ():
            if not isinstance(call.get("function", {}).get("arguments"), dict):
                return (
                    "json: cannot unmarshal string into Go struct field ChatRequest.messages.tool_calls.function.arguments of"
                    " type api.ToolCallFunctionArguments"
                )
    return None


def _format(form: Any) -> str | None:
    if form is None or form in ("", "json") or (isinstance(form, dict) and form):
        return None
    return f'invalid format: {form!r}; expected "json" or a valid JSON Schema object'
