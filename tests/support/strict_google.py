"""What Google's Gemini API refuses, in its own words."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.support.vendor import Vendor, is_base64, matches

_FIELDS = (
    "contents systemInstruction tools toolConfig generationConfig safetySettings cachedContent labels model store serviceTier"
)
_SCHEMA_FIELDS = (
    "type format title description nullable enum maxItems minItems properties required minProperties maxProperties minLength"
    " maxLength pattern example anyOf propertyOrdering default items minimum maximum additionalProperties ref defs $ref $defs"
)
_PART_FIELDS = ("text", "functionCall", "functionResponse", "inlineData", "fileData", "executableCode")
_KNOWN = frozenset(_FIELDS.split())
_SCHEMA = frozenset(_SCHEMA_FIELDS.split())
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}")
_DUMMY = "skip_thought_signature_validator"
_FREE_SIGNATURES = frozenset({_DUMMY, base64.b64encode(_DUMMY.encode()).decode()})

Body = Mapping[str, Any]


def complaint(vendor: Vendor, model: str, body: Body, signature: str) -> str | None:
    """The words of the first thing wrong with a request to a model that exists; None when nothing is."""
    contents = body.get("contents") or []
    checks: Sequence[Callable[[], str | None]] = (
        lambda: _top_level(body),
        lambda: _tools(vendor, model, body.get("tools") or []),
        lambda: _contents(contents),
        lambda: _turns(contents),
        lambda: _files(vendor, model, contents),
        lambda: _answer(model, body),
        lambda: _signatures(contents, signature) if matches(model, vendor.needs_signature) else None,
    )
    return next((words for check in checks if (words := check()) is not None), None)


def _top_level(body: Body) -> str | None:
    for key in body:
        if key not in _KNOWN:
            return f'Invalid JSON payload received. Unknown name "{key}": Cannot find field.'
    if not body.get("contents"):
        return "* GenerateContentRequest.contents: contents is not specified\n"
    return None


def _tools(vendor: Vendor, model: str, tools: Sequence[Body]) -> str | None:
    for index, tool in enumerate(tools):
        for place, declaration in enumerate(tool.get("functionDeclarations") or []):
            if matches(model, vendor.refuses_tools):
                return f"Function calling is not enabled for models/{model}"
            where = f"tools[{index}].function_declarations[{place}]"
            if not _NAME.fullmatch(str(declaration.get("name", ""))):
                return (
                    f"* GenerateContentRequest.{where}.name: Invalid function name. Must start with a letter or an underscore."
                    " Must be alphameric (a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes (-), with a maximum"
                    " length of 64.\n"
                )
            words = _schema(declaration.get("parameters") or {}, f"{where}.parameters")
            if words:
                return words
    return None


def _schema(schema: Body, where: str) -> str | None:
    for key in schema:
        if key not in _SCHEMA:
            return f"Invalid JSON payload received. Unknown name \"{key}\" at '{where}': Cannot find field."
    properties = schema.get("properties") or {}
    inner: list[tuple[str, Any]] = [(f"{where}.properties[{name}].value", value) for name, value in properties.items()]
    inner += [(f"{where}.items", schema["items"])] if schema.get("items") else []
    inner += [(f"{where}.any_of[{index}]", value) for index, value in enumerate(schema.get("anyOf") or [])]
    return next((words for place, value in inner if (words := _schema(value, place)) is not None), None)


def _contents(contents: Sequence[Body]) -> str | None:
    for index, content in enumerate(contents):
        where = f"GenerateContentRequest.contents[{index}]"
        if content.get("role", "user") not in ("user", "model", "function"):
            return "Please use a valid role: user, model."
        parts = content.get("parts")
        if not parts:
            return f"* {where}.parts: contents.parts must not be empty.\n"
        for place, part in enumerate(parts):
            if not any(key in part for key in _PART_FIELDS):
                return f"* {where}.parts[{place}].data: required oneof field 'data' must have one initialized field\n"
            for key, word in (("functionCall", "function_call"), ("functionResponse", "function_response")):
                if key in part and not part[key].get("name"):
                    return f"* {where}.parts[{place}].{word}.name: Name cannot be empty.\n"
            if "functionResponse" in part and not isinstance(part["functionResponse"].get("response"), dict):
                return f"* {where}.parts[{place}].function_response.response: Response must be an object.\n"
    return None


def _files(vendor: Vendor, model: str, contents: Sequence[Body]) -> str | None:
    for index, content in enumerate(contents):
        for place, part in enumerate(content["parts"]):
            where = f"contents[{index}].parts[{place}]"
            inline, fetched = part.get("inlineData"), part.get("fileData")
            if inline is not None and not is_base64(inline.get("data")):
                return f"Invalid value at '{where}.inline_data.data' (TYPE_BYTES), Base64 decoding failed"
            kind = str((inline or fetched or {}).get("mimeType", ""))
            if inline is not None or fetched is not None:
                if not kind.startswith(("image/", "audio/", "video/", "text/")) and kind != "application/pdf":
                    return f"Unsupported MIME type: {kind}"
                if kind.startswith("image/") and matches(model, vendor.refuses_images):
                    return "Image input modality is not enabled for this model"
            if fetched is not None and not fetched.get("fileUri"):
                return f"* GenerateContentRequest.{where}.file_data.file_uri: is required\n"
    return None


_JSON_SCHEMA_WORDS = (
    "$id $defs $ref $anchor type format title description enum items prefixItems minItems maxItems minimum maximum"
)
_JSON_SCHEMA = frozenset(f"{_JSON_SCHEMA_WORDS} anyOf oneOf properties additionalProperties required propertyOrdering".split())


def _answer(model: str, body: Body) -> str | None:
    config = body.get("generationConfig") or {}
    kind = config.get("responseMimeType", "text/plain")
    schema = config.get("responseJsonSchema")
    if schema is not None and kind != "application/json":
        return (
            "* GenerateContentRequest.generation_config.response_json_schema: only allowed when mime type is application/json\n"
        )
    if kind == "application/json" and body.get("tools") and matches(model, ("gemini-1*", "gemini-2*")):
        return "Function calling with a response mime type: 'application/json' is unsupported"
    return _json_schema(schema) if schema is not None else None


def _json_schema(schema: Any) -> str | None:
    if not isinstance(schema, dict):
        return None if isinstance(schema, bool) else "Invalid value at 'generation_config.response_json_schema'"
    for key in schema:
        if key not in _JSON_SCHEMA:
            return f"response_json_schema: the keyword '{key}' is not supported"
    inner = [*(schema.get("properties") or {}).values(), *(schema.get("$defs") or {}).values()]
    inner += [one for key in ("anyOf", "oneOf", "prefixItems") for one in schema.get(key, ())]
    inner += [schema[key] for key in ("items", "additionalProperties") if key in schema]
    return next((words for one in inner if (words := _json_schema(one)) is not None), None)


def _having(content: Body | None, key: str) -> list[Body]:
    return [part[key] for part in (content or {}).get("parts", ()) if key in part]


def _turns(contents: Sequence[Body]) -> str | None:
    before: Body | None = None
    for content in contents:
        calls, responses = _having(content, "functionCall"), _having(content, "functionResponse")
        asked = _having(before, "functionCall")
        if calls and (before is None or before.get("role", "user") == "model"):
            return "Please ensure that function call turn comes immediately after a user turn or after a function response turn."
        if responses and not asked:
            return "Please ensure that function response turn comes immediately after a function call turn."
        if asked and len(responses) != len(asked):
            return (
                "Please ensure that the number of function response parts is equal to the number of function call parts of the"
                " function call turn."
            )
        ids = [response["id"] for response in responses if response.get("id")]
        if len(set(ids)) != len(ids) or any(call.get("id") and call["id"] not in ids for call in asked if ids):
            return "Please ensure that the ids of function response parts match those of the function call parts."
        if sorted(call["name"] for call in asked) != sorted(response["name"] for response in responses):
            return "Please ensure that the function response parts name the functions of the function call turn."
        before = content
    if before is not None and before.get("role", "user") == "model":
        return "Please ensure that multiturn requests end with a user role or a function response."
    return None


def _signatures(contents: Sequence[Body], signature: str) -> str | None:
    """Only the calls since the user last spoke must bear their signature; an older one may have lost it, none may be false."""
    spoke = max((index for index, content in enumerate(contents) if _is_speech(content)), default=0)
    for index, content in enumerate(contents):
        parts = content["parts"]
        for part in parts:
            given = part.get("thoughtSignature")
            if given is not None and given != signature and given not in _FREE_SIGNATURES:
                return "Corrupted thought signature."
        first = next((part for part in parts if "functionCall" in part), None)
        if index > spoke and first is not None and "thoughtSignature" not in first:
            return (
                "Function call is missing a thought_signature in functionCall parts. This is required for tools to work"
                " correctly, and missing thought_signature may lead to degraded model performance. Additional data, function call"
                f" `default_api:{first['functionCall']['name']}`, position {index + 1}."
            )
    return None


def _is_speech(content: Body) -> bool:
    return content.get("role", "user") == "user" and not _having(content, "functionResponse")
