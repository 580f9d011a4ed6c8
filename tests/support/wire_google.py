"""Google's Gemini API: generateContent, its stream, and the list of models."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from bundle_loader.messages import Usage
from tests.support.script import Reply, Request
from tests.support.strict_google import complaint
from tests.support.vendor import Answer, Stream, Vendor, encode, matches

CALL_SIGNATURE = base64.b64encode(b"loopback call signature").decode()

_ERRORS = {
    400: ("INVALID_ARGUMENT", "Request contains an invalid argument."),
    401: ("UNAUTHENTICATED", "Request had invalid authentication credentials."),
    403: ("PERMISSION_DENIED", "The caller does not have permission"),
    404: ("NOT_FOUND", "Requested entity was not found."),
    409: ("ABORTED", "The operation was aborted."),
    429: ("RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
    499: ("CANCELLED", "The operation was cancelled."),
    500: (
        "INTERNAL",
        "An internal error has occurred. Please retry or report in https://developers.generativeai.google/guide/troubleshooting",
    ),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
    504: ("DEADLINE_EXCEEDED", "The request timed out. Please try again."),
}
_FINISH = {"stop": "STOP", "tools": "STOP", "length": "MAX_TOKENS", "refused": "SAFETY"}
_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
_RETRY = "type.googleapis.com/google.rpc.RetryInfo"
_RATINGS = [{"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": "HIGH", "blocked": True}]


class GoogleWire:
    """`Wire` for Google. A wrong key is a 400 and no key a 403, as the vendor has it; a 429's delay stands in the body only."""

    stream_type = "text/event-stream"

    def endpoint(self, request: Request) -> tuple[str, str]:
        path = request.path.removeprefix("/v1beta").removeprefix("/v1")
        if request.method == "GET" and path == "/models":
            return "list", ""
        model, _, verb = path.removeprefix("/models/").partition(":")
        if request.method == "POST" and verb in ("generateContent", "streamGenerateContent"):
            return "chat", model
        return "other", model

    def key(self, request: Request) -> str | None:
        return request.headers.get("x-goog-api-key") or request.query.get("key")

    def wrong_key(self, request: Request) -> Answer:
        if self.key(request) is None:
            words = "Method doesn't allow unregistered callers (callers without established identity). Please use API Key."
            return self.error(403, message=words)
        info = {"@type": _INFO, "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
        return _failure(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", [info])

    def entry(self, model: str, created: str) -> dict[str, Any]:
        return {
            "name": f"models/{model}",
            "version": "001",
            "displayName": model.replace("-", " ").title(),
            "description": f"Stable version of {model}, released on {created}.",
            "inputTokenLimit": 1_048_576,
            "outputTokenLimit": 65_536,
            "supportedGenerationMethods": ["generateContent", "countTokens", "createCachedContent", "batchGenerateContent"],
            "temperature": 1,
            "topP": 0.95,
            "topK": 64,
            "maxTemperature": 2,
            "thinking": True,
        }

    def identity(self, entry: Mapping[str, Any]) -> str:
        return str(entry["name"]).removeprefix("models/")

    def listing(self, vendor: Vendor, request: Request) -> Answer:
        token = request.query.get("pageToken", "")
        try:
            start = int(base64.b64decode(token, validate=True)) if token else 0
        except ValueError:
            return self.error(400, message="Invalid page token.")
        size = min(int(request.query.get("pageSize") or 50), vendor.page_size or 1000)
        body: dict[str, Any] = {"models": vendor.models[start : start + size]}
        if start + size < len(vendor.models):
            body["nextPageToken"] = base64.b64encode(str(start + size).encode()).decode()
        return Answer(encode(body))

    def other(self, vendor: Vendor, request: Request) -> Answer | None:
        model = request.path.rpartition("/models/")[2]
        if request.method == "GET" and "/models/" in request.path:
            entry = vendor.find(model)
            return Answer(encode(entry)) if entry else self._unknown(model)
        if request.path.endswith(":countTokens"):
            return Answer(encode({"totalTokens": max(1, len(json.dumps(request.body_json)) // 4)}))
        return None

    def objection(self, vendor: Vendor, request: Request) -> Answer | None:
        entry = vendor.find(request.model)
        if entry is None or "generateContent" not in entry.get("supportedGenerationMethods", ["generateContent"]):
            return self._unknown(request.model)
        if not isinstance(request.body_json, dict):
            return self.error(400, message="Invalid JSON payload received. Unexpected token.")
        words = complaint(vendor, request.model, request.body_json, CALL_SIGNATURE)
        return self.error(400, message=words) if words else None

    def whole(self, vendor: Vendor, request: Request, reply: Reply) -> Answer:
        parts = [*_thoughts(reply), *([{"text": reply.text}] if reply.text else ()), *_calls(vendor, request, reply)]
        return Answer(encode(self._chunk(self._frame(vendor, request, reply), reply, parts, last=True)))

    def stream(self, vendor: Vendor, request: Request, reply: Reply) -> Stream:
        frame = self._frame(vendor, request, reply)
        texts = [{"text": text} for text in reply.pieces()]
        calls = _calls(vendor, request, reply)
        pieces = [_data(self._chunk(frame, reply, [part])) for part in (*_thoughts(reply), *texts)]
        ending = calls or ([] if reply.reason == "refused" else [{"text": ""}])
        pieces.append(_data(self._chunk(frame, reply, ending, last=True)))
        return Stream(tuple(pieces), len(pieces) // 2, len(_thoughts(reply)))

    def error(self, status: int, word: str = "", message: str = "", retry_after: float | None = None) -> Answer:
        usual, words = _ERRORS.get(status, ("INVALID_ARGUMENT" if status < 500 else "INTERNAL", "Error."))
        details: list[Any] = []
        headers: dict[str, str] = {}
        if retry_after is not None and status == 429:
            details.append({"@type": _RETRY, "retryDelay": f"{retry_after:g}s"})
        elif retry_after is not None:
            headers["retry-after"] = f"{retry_after:g}"
        return _failure(status, word or usual, message or words, details, headers)

    def error_event(self, word: str, message: str) -> bytes:
        status = word or "UNAVAILABLE"
        code, words = next(((code, words) for code, (usual, words) in _ERRORS.items() if usual == status), (500, "Error."))
        return _data({"error": {"code": code, "message": message or words, "status": status}})

    def event(self, text: str) -> bytes:
        return f"data: {text}\r\n\r\n".encode()

    def too_long(self, model: str) -> Answer:
        return self.error(400, message="The input token count (1200012) exceeds the maximum number of tokens allowed (1048576).")

    def refused_prompt(self, vendor: Vendor, request: Request) -> Answer | Stream:
        body = {
            "promptFeedback": {"blockReason": "PROHIBITED_CONTENT", "safetyRatings": _RATINGS},
            "usageMetadata": {"promptTokenCount": 20, "totalTokenCount": 20},
            "modelVersion": request.model,
        }
        return Stream((_data(body),), 1) if request.streamed else Answer(encode(body))

    def _unknown(self, model: str) -> Answer:
        words = (
            f"models/{model} is not found for API version v1, or is not supported for generateContent. Call ListModels to see the"
            " list of available models and their supported methods."
        )
        return self.error(404, message=words)

    def _frame(self, vendor: Vendor, request: Request, reply: Reply) -> dict[str, Any]:
        model = reply.model or vendor.aliases.get(request.model, request.model)
        return {"modelVersion": model, "responseId": f"resp{vendor.number():06d}"}

    def _chunk(
        self, frame: Mapping[str, Any], reply: Reply, parts: list[dict[str, Any]], *, last: bool = False
    ) -> dict[str, Any]:
        candidate: dict[str, Any] = {"index": 0}
        if parts:
            candidate["content"] = {"role": "model", "parts": parts}
        if last:
            candidate["finishReason"] = _FINISH.get(reply.reason, reply.reason)
            if reply.reason == "refused":
                candidate["safetyRatings"] = _RATINGS
        counted = {} if reply.usage is None else {"usageMetadata": _usage(reply.usage, last) | dict(reply.also_counted)}
        return {"candidates": [candidate], **counted, **frame}


def _thoughts(reply: Reply) -> list[dict[str, Any]]:
    return [{"text": reply.thinking, "thought": True}] if reply.thinking else []


def _calls(vendor: Vendor, request: Request, reply: Reply) -> list[dict[str, Any]]:
    """Only the newer models give their calls ids and signatures, and of parallel calls only the first is signed."""
    newer = matches(request.model, vendor.needs_signature)
    parts: list[dict[str, Any]] = []
    for name, arguments in reply.tool_calls:
        call: dict[str, Any] = {"name": name, "args": dict(arguments)}
        if newer:
            call["id"] = f"call{vendor.number():06d}"
        parts.append({"functionCall": call})
    if newer and parts:
        parts[0]["thoughtSignature"] = CALL_SIGNATURE
    return parts


def _failure(status: int, word: str, message: str, details: list[Any], headers: Mapping[str, str] | None = None) -> Answer:
    error: dict[str, Any] = {"code": status, "message": message, "status": word}
    if details:
        error["details"] = details
    return Answer(encode({"error": error}), status, "application/json; charset=UTF-8", headers or {})


def _data(value: Any) -> bytes:
    return b"data: " + encode(value) + b"\r\n\r\n"


def _usage(usage: Usage, last: bool) -> dict[str, Any]:
    """Google counts thoughts beside the candidates' tokens, and counts the candidates only in the last chunk here."""
    counted: dict[str, Any] = {"promptTokenCount": usage.input_tokens}
    if usage.cache_read_tokens:
        counted["cachedContentTokenCount"] = usage.cache_read_tokens
    if not last:
        return counted | {"totalTokenCount": usage.input_tokens}
    counted["candidatesTokenCount"] = usage.output_tokens - usage.reasoning_tokens
    if usage.reasoning_tokens:
        counted["thoughtsTokenCount"] = usage.reasoning_tokens
    return counted | {"totalTokenCount": usage.input_tokens + usage.output_tokens}
