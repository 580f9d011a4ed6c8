"""What OpenAI's chat completions refuse, in its own words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.vendor import Vendor, is_base64, matches

_PARAMETERS = (
    "model messages max_tokens max_completion_tokens temperature top_p n stream stream_options stop presence_penalty"
    " frequency_penalty logit_bias logprobs top_logprobs user seed tools tool_choice parallel_tool_calls response_format"
    " reasoning_effort verbosity"
    " service_tier store metadata modalities audio prediction web_search_options functions function_call safety_identifier"
    " prompt_cache_key prompt_cache_retention moderation"
)
_KNOWN = frozenset(_PARAMETERS.split())
_NAME = re.compile(r"[a-zA-Z0-9_-]+")
_ROLES = ("system", "assistant", "user", "function", "tool", "developer")

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Complaint:
    """One refusal: the words, the parameter and the code."""

    message: str
    param: str | None = None
    code: str | None = None


def complaint(vendor: Vendor, body: Body, strict: bool) -> Complaint | None:
    """The first thing wrong with a request to a model that exists; None when nothing is."""
    checks: Sequence[Callable[[], Complaint | None]] = (
        lambda: _top_level(vendor, body) if strict else None,
        lambda: _list(body, "messages"),
        lambda: _tools(vendor, body),
        lambda: _messages(body["messages"], strict),
        lambda: _contents(vendor, body) if strict else None,
        lambda: _tool_turns(body["messages"]),
        lambda: response_format(body.get("response_format"), body["messages"]) if strict else None,
    )
    return next((found for check in checks if (found := check()) is not None), None)


def _top_level(vendor: Vendor, body: Body) -> Complaint | None:
    model = body["model"]
    for key in body:
        if key not in _KNOWN:
            return Complaint(f"Unrecognized request argument supplied: {key}")
    if matches(model, vendor.refuses_temperature):
        for key in ("temperature", "top_p"):
            if body.get(key, 1) != 1:
                words = f"Unsupported value: '{key}' does not support {body[key]} with this model. Only the default (1) value is"
                return Complaint(f"{words} supported.", key, "unsupported_value")
    if "max_tokens" in body and matches(model, vendor.refuses_max_tokens):
        words = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        return Complaint(words, "max_tokens", "unsupported_parameter")
    if "max_tokens" in body and "max_completion_tokens" in body:
        return Complaint("Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.")
    if "stream_options" in body and not body.get("stream"):
        return Complaint("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")
    if body.get("tool_choice") and not body.get("tools"):
        words = "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified."
        return Complaint(words, "tool_choice")
    return None


def _list(body: Body, key: str) -> Complaint | None:
    if key not in body:
        return Complaint(f"Missing required parameter: '{key}'.", key, "missing_required_parameter")
    return _filled(body[key], key)


def _filled(value: Any, where: str) -> Complaint | None:
    if not isinstance(value, list):
        words = f"Invalid type for '{where}': expected an array of objects, but got something else."
        return Complaint(words, where, "invalid_type")
    if not value:
        words = f"Invalid '{where}': empty array. Expected an array with minimum length 1, but got an empty array instead."
        return Complaint(words, where, "empty_array")
    return None


def _tools(vendor: Vendor, body: Body) -> Complaint | None:
    if "tools" not in body:
        return None
    found = _filled(body["tools"], "tools")
    if found:
        return found
    if matches(body["model"], vendor.refuses_tools):
        return Complaint("tools is not supported in this model.", "tools", "unsupported_parameter")
    for index, tool in enumerate(body["tools"]):
        function = tool.get("function")
        if tool.get("type") != "function" or not isinstance(function, dict):
            return Complaint(f"Missing required parameter: 'tools[{index}].function'.", f"tools[{index}].function")
        found = tool_name(function.get("name"), f"tools[{index}].function.name")
        if found:
            return found
        schema = function.get("parameters", {"type": "object"})
        if schema.get("type") != "object":
            words = (
                f"Invalid schema for function '{function['name']}': schema must be a JSON Schema of 'type: \"object\"', got"
                f" 'type: \"{schema.get('type')}\"'."
            )
            return Complaint(words, f"tools[{index}].function.parameters", "invalid_function_parameters")
    return None


def tool_name(name: Any, where: str) -> Complaint | None:
    """What is wrong with the name of a function."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        words = "string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
        return Complaint(f"Invalid '{where}': {words}", where, "invalid_value")
    if len(name) > 64:
        return _too_long(where, 64, name)
    return None


def _too_long(where: str, most: int, value: str) -> Complaint:
    words = (
        f"Invalid '{where}': string too long. Expected a string with maximum length {most}, but got a string with length"
        f" {len(value)} instead."
    )
    return Complaint(words, where, "string_above_max_length")


def _messages(messages: Sequence[Body], strict: bool) -> Complaint | None:
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        role, content = message.get("role"), message.get("content")
        if role not in _ROLES:
            supported = "'system', 'assistant', 'user', 'function', 'tool', and 'developer'"
            return Complaint(f"Invalid value: '{role}'. Supported values are: {supported}.", f"{where}.role", "invalid_value")
        if content is None and not (role == "assistant" and message.get("tool_calls")):
            return Complaint("Invalid value for 'content': expected a string, got null.", f"{where}.content")
        if isinstance(content, list):
            found = _filled(content, f"{where}.content")
            if found:
                return found
        if role == "tool" and not isinstance(message.get("tool_call_id"), str):
            words = "Missing parameter 'tool_call_id': messages with role 'tool' must have a 'tool_call_id'."
            return Complaint(words, f"{where}.tool_call_id")
        if "tool_calls" in message:
            found = _calls(message["tool_calls"], f"{where}.tool_calls", strict)
            if found:
                return found
    return None


def _calls(calls: Any, where: str, strict: bool) -> Complaint | None:
    found = _filled(calls, where)
    if found:
        return found
    for index, call in enumerate(calls):
        place = f"{where}[{index}]"
        if not isinstance(call.get("id"), str):
            return Complaint(f"Missing required parameter: '{place}.id'.", f"{place}.id", "missing_required_parameter")
        if strict and len(call["id"]) > 40:
            return _too_long(f"{place}.id", 40, call["id"])
        function = call.get("function") or {}
        found = tool_name(function.get("name"), f"{place}.function.name")
        if found:
            return found
        if not isinstance(function.get("arguments"), str):
            words = f"Invalid type for '{place}.function.arguments': expected a string, but got an object instead."
            return Complaint(words, f"{place}.function.arguments", "invalid_type")
    return None


_PARTS = {
    "user": ("text", "image_url", "input_audio", "file"),
    "tool": ("text",),
    "system": ("text",),
    "assistant": ("text", "refusal"),
}


def _contents(vendor: Vendor, body: Body) -> Complaint | None:
    for index, message in enumerate(body["messages"]):
        content = message.get("content")
        for place, part in enumerate(content if isinstance(content, list) else ()):
            where = f"messages[{index}].content[{place}]"
            kind = part.get("type")
            allowed = _PARTS.get(message["role"], ("text",))
            if kind not in allowed:
                words = f"Invalid value: '{kind}'. Supported values are: {', '.join(map(repr, allowed))}."
                return Complaint(words, f"{where}.type", "invalid_value")
            found = _part(part, kind, where)
            if found:
                return found
            if kind == "image_url" and matches(body["model"], vendor.refuses_images):
                return Complaint("Invalid content type. image_url is only supported by certain models.", f"{where}.type")
    return None


def _part(part: Body, kind: str, where: str) -> Complaint | None:
    if kind == "text":
        return None if isinstance(part.get("text"), str) else Complaint(f"Missing required parameter: '{where}.text'.", where)
    if kind == "image_url":
        return image_address((part.get("image_url") or {}).get("url"), f"{where}.image_url.url")
    if kind == "input_audio":
        sound = part.get("input_audio") or {}
        fine = sound.get("format") in ("wav", "mp3") and is_base64(sound.get("data"))
        return None if fine else Complaint(f"Invalid value for '{where}.input_audio'.", where, "invalid_value")
    given = part.get("file") or {}
    if given.get("file_id"):
        return None
    return file_data(given, f"{where}.file")


def image_address(url: Any, where: str) -> Complaint | None:
    """What is wrong with an image's address: a page to fetch, or an image within it."""
    if isinstance(url, str) and url.startswith(("https://", "http://")):
        return None
    found = re.fullmatch(r"data:image/(png|jpe?g|gif|webp);base64,(.+)", url or "", re.DOTALL)
    if found is None or not is_base64(found[2]):
        words = "Expected a base64-encoded data URL with an image MIME type (e.g. 'data:image/png;base64,aW1nIGJ5dGVzIGhlcmU=')"
        return Complaint(f"Invalid '{where}'. {words}, but got a value without the 'data:' prefix.", where, "invalid_value")
    return None


def file_data(given: Body, where: str) -> Complaint | None:
    """What is wrong with a file whose bytes are in the request."""
    if not given.get("filename"):
        return Complaint(f"Missing required parameter: '{where}.filename'.", where, "missing_required_parameter")
    found = re.fullmatch(r"data:application/pdf;base64,(.+)", given.get("file_data") or "", re.DOTALL)
    if found is None or not is_base64(found[1]):
        words = "Expected a base64-encoded data URL with an application/pdf MIME type."
        return Complaint(f"Invalid '{where}.file_data'. {words}", where, "invalid_value")
    return None


def response_format(form: Any, said: Any) -> Complaint | None:
    """What is wrong with the wish for JSON; `said` is all that the model is told."""
    if form is None or form.get("type") == "text":
        return None
    if form.get("type") == "json_object":
        if "json" not in str(said).lower():
            words = "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
            return Complaint(words, "messages")
        return None
    told = form.get("json_schema") if "json_schema" in form else form
    if form.get("type") != "json_schema" or not _NAME.fullmatch(str(told.get("name", ""))):
        return Complaint("Missing required parameter: 'response_format.json_schema'.", "response_format.json_schema")
    schema = told.get("schema") or {}
    if schema.get("type") != "object":
        words = f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{schema.get('type')}\"'."
        return _bad_schema(words)
    return _strict_schema(schema, "()") if told.get("strict") else None


def _bad_schema(words: str) -> Complaint:
    return Complaint(f"Invalid schema for response_format 'answer': {words}", "response_format", None)


def _strict_schema(schema: Any, where: str) -> Complaint | None:
    for key in ("oneOf", "allOf", "not", "if", "minLength", "maxLength", "patternProperties", "default", "uniqueItems"):
        if key in schema:
            return _bad_schema(f"In context={where}, '{key}' is not permitted.")
    properties = schema.get("properties") or {}
    if schema.get("type") == "object":
        if schema.get("additionalProperties") is not False:
            return _bad_schema(f"In context={where}, 'additionalProperties' is required to be supplied and to be false.")
        if set(schema.get("required") or ()) != set(properties):
            words = "'required' is required to be supplied and to be an array including every key in properties."
            return _bad_schema(f"In context={where}, {words}")
    elif not any(key in schema for key in ("type", "anyOf", "$ref", "enum", "const")):
        return _bad_schema(f"In context={where}, schema must have a 'type' key.")
    inner = [*properties.values(), *(schema.get("$defs") or {}).values(), *schema.get("anyOf", ())]
    inner += [schema["items"]] if "items" in schema else []
    return next((found for one in inner if (found := _strict_schema(one, f"{where}...")) is not None), None)


def _tool_turns(messages: Sequence[Body]) -> Complaint | None:
    waiting: list[str] = []
    asked: set[str] = set()
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            if not asked:
                words = "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
                return Complaint(f"Invalid parameter: {words}", f"messages.[{index}].role")
            call = message["tool_call_id"]
            if call not in asked:
                words = f"Invalid parameter: 'tool_call_id' of '{call}' not found in 'tool_calls' of previous message."
                return Complaint(words, f"messages.[{index}].tool_call_id")
            if call not in waiting:
                words = f"Invalid parameter: Duplicate value for 'tool_call_id' of '{call}' in message with role 'tool'."
                return Complaint(words, f"messages.[{index}].tool_call_id")
            waiting = [other for other in waiting if other != call]
            continue
        if waiting:
            return _unanswered(index, waiting)
        waiting = [call["id"] for call in message.get("tool_calls") or ()]
        asked = set(waiting)
        if len(asked) < len(waiting):
            return Complaint(f"Invalid parameter: Duplicate tool call id in messages[{index}].", f"messages.[{index}].tool_calls")
    return _unanswered(len(messages) - 1, waiting) if waiting else None


def _unanswered(index: int, waiting: Sequence[str]) -> Complaint:
    words = (
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The"
        f" following tool_call_ids did not have response messages: {', '.join(waiting)}"
    )
    return Complaint(words, f"messages.[{index}].role")
