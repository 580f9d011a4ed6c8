"""What OpenAI's responses API refuses, in its own words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.support.strict_openai import Complaint, file_data, image_address, response_format
from tests.support.strict_openai import tool_name as name_of
from tests.support.vendor import Vendor, matches

_PARAMETERS = (
    "model input instructions max_output_tokens max_tool_calls metadata parallel_tool_calls previous_response_id prompt reasoning"
    " service_tier store stream stream_options temperature text tool_choice tools top_logprobs top_p truncation user include"
    " background conversation safety_identifier prompt_cache_key prompt_cache_retention moderation"
)
_KNOWN = frozenset(_PARAMETERS.split())
_CONTENT = {
    "user": ("input_text", "input_image", "input_file"),
    "system": ("input_text",),
    "developer": ("input_text",),
    "assistant": ("output_text", "refusal"),
}
SEALED = "gAAAAABloopback-sealed-reasoning"

Body = Mapping[str, Any]


def complaint(vendor: Vendor, body: Body) -> Complaint | None:
    """The first thing wrong with a request to a model that exists; None when nothing is."""
    checks: Sequence[Callable[[], Complaint | None]] = (
        lambda: _top_level(vendor, body),
        lambda: _tools(vendor, body),
        lambda: _items(vendor, body),
        lambda: _calls(body["input"]) if isinstance(body["input"], list) else None,
        lambda: response_format((body.get("text") or {}).get("format"), [body.get("instructions"), body["input"]]),
    )
    return next((found for check in checks if (found := check()) is not None), None)


def _top_level(vendor: Vendor, body: Body) -> Complaint | None:
    for key in body:
        if key not in _KNOWN:
            return Complaint(f"Unknown parameter: '{key}'.", key, "unknown_parameter")
    if not body.get("input"):
        return Complaint("Missing required parameter: 'input'.", "input", "missing_required_parameter")
    least = body.get("max_output_tokens", 16)
    if not isinstance(least, int) or least < 16:
        words = f"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got {least} instead."
        return Complaint(words, "max_output_tokens", "integer_below_min_value")
    reasons = matches(body["model"], vendor.refuses_temperature)
    for key in ("temperature", "top_p"):
        if reasons and body.get(key, 1) != 1:
            return Complaint(f"Unsupported parameter: '{key}' is not supported with this model.", key)
    if "reasoning.encrypted_content" in (body.get("include") or ()) and not reasons:
        return Complaint("Encrypted content is not supported with this model.", "include")
    if body.get("reasoning") and not reasons:
        return Complaint("Unsupported parameter: 'reasoning.effort' is not supported with this model.", "reasoning.effort")
    return None


def _tools(vendor: Vendor, body: Body) -> Complaint | None:
    for index, tool in enumerate(body.get("tools") or ()):
        where = f"tools[{index}]"
        if matches(body["model"], vendor.refuses_tools):
            return Complaint("tools is not supported in this model.", "tools", "unsupported_parameter")
        if tool.get("type") != "function":
            return Complaint(f"Invalid value: '{tool.get('type')}'.", f"{where}.type", "invalid_value")
        found = name_of(tool.get("name"), f"{where}.name")
        if found:
            return found
        schema = tool.get("parameters")
        if not isinstance(schema, dict) or schema.get("type") != "object":
            return Complaint(
                f"Invalid schema for function '{tool['name']}'.", f"{where}.parameters", "invalid_function_parameters"
            )
        if tool.get("strict", True):
            found = response_format({"type": "json_schema", "name": "x", "schema": schema, "strict": True}, "")
            if found:
                return Complaint(found.message, f"{where}.parameters", "invalid_function_parameters")
    return None


def _items(vendor: Vendor, body: Body) -> Complaint | None:
    if isinstance(body["input"], str):
        return None
    for index, item in enumerate(body["input"]):
        where = f"input[{index}]"
        kind = item.get("type", "message")
        found: Complaint | None
        if kind == "message":
            found = _message(vendor, body["model"], item, where)
        elif kind == "function_call":
            found = _call(item, where)
        elif kind == "function_call_output":
            found = _content(vendor, body["model"], item.get("output"), "user", f"{where}.output")
        elif kind == "reasoning":
            found = _reasoning(item, body["input"][index + 1 : index + 2], where)
        else:
            found = Complaint(f"Invalid value: '{kind}'.", where, "invalid_value")
        if found:
            return found
    return None


def _message(vendor: Vendor, model: str, item: Body, where: str) -> Complaint | None:
    role = item.get("role")
    if role not in _CONTENT:
        return Complaint(f"Invalid value: '{role}'.", f"{where}.role", "invalid_value")
    return _content(vendor, model, item.get("content"), str(role), f"{where}.content")


def _content(vendor: Vendor, model: str, content: Any, role: str, where: str) -> Complaint | None:
    if isinstance(content, str):
        return None
    if not isinstance(content, list) or not content:
        return Complaint(f"Invalid type for '{where}': expected text or an array of objects.", where, "invalid_type")
    for place, part in enumerate(content):
        here, kind = f"{where}[{place}]", part.get("type")
        if kind not in _CONTENT[role]:
            words = f"Invalid value: '{kind}'. Supported values are: {', '.join(map(repr, _CONTENT[role]))}."
            return Complaint(words, here, "invalid_value")
        if kind in ("input_text", "output_text") and not isinstance(part.get("text"), str):
            return Complaint(f"Missing required parameter: '{here}.text'.", here, "missing_required_parameter")
        if kind == "input_image":
            if matches(model, vendor.refuses_images):
                return Complaint("This model does not support image inputs.", here, "invalid_value")
            found = image_address(part.get("image_url"), f"{here}.image_url")
            if found:
                return found
        if kind == "input_file" and not part.get("file_url"):
            found = file_data(part, here)
            if found:
                return found
    return None


def _call(item: Body, where: str) -> Complaint | None:
    id = item.get("call_id")
    if not isinstance(id, str) or not 0 < len(id) <= 64:
        return Complaint(f"Invalid '{where}.call_id': string too long or missing.", f"{where}.call_id", "string_above_max_length")
    if item.get("id") is not None:
        return Complaint(f"Item with id '{item['id']}' not found. Items are not persisted when `store` is set to false.", where)
    if not isinstance(item.get("arguments"), str):
        return Complaint(f"Invalid type for '{where}.arguments': expected a string.", f"{where}.arguments", "invalid_type")
    return name_of(item.get("name"), f"{where}.name")


def _reasoning(item: Body, following: Sequence[Body], where: str) -> Complaint | None:
    if item.get("encrypted_content") != SEALED:
        return Complaint(
            f"The encrypted content for item {item.get('id')} could not be verified.", where, "invalid_encrypted_content"
        )
    if not isinstance(item.get("summary"), list):
        return Complaint(f"Missing required parameter: '{where}.summary'.", where, "missing_required_parameter")
    own = following and (following[0].get("role") == "assistant" or following[0].get("type") in ("function_call", "reasoning"))
    if not own:
        return Complaint(f"Item '{item.get('id')}' of type 'reasoning' was provided without its required following item.", where)
    return None


def _calls(items: Sequence[Body]) -> Complaint | None:
    """Every call has one output, after it and before anything is said."""
    waiting: list[str] = []
    known: set[str] = set()
    for index, item in enumerate(items):
        kind = item.get("type", "message")
        if kind == "function_call":
            if item["call_id"] in known:
                return Complaint(f"Duplicate call_id '{item['call_id']}'.", f"input[{index}]")
            known.add(item["call_id"])
            waiting.append(item["call_id"])
        elif kind == "function_call_output":
            if item.get("call_id") not in waiting:
                return Complaint(f"No tool call found for function call output with call_id {item.get('call_id')}.", "input")
            waiting.remove(item["call_id"])
        elif waiting and item.get("role") == "user":
            return Complaint(f"No tool output found for function call {waiting[0]}.", "input")
    return Complaint(f"No tool output found for function call {waiting[0]}.", "input") if waiting else None
