"""What Anthropic's Messages API refuses, in its own words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.support.vendor import Vendor, is_base64, matches

_PARAMETERS = (
    "model messages max_tokens system tools tool_choice stop_sequences stream temperature top_p top_k thinking output_config"
    " metadata service_tier container inference_geo cache_control context_management mcp_servers speed"
)
_KNOWN = frozenset(_PARAMETERS.split())
_ID = re.compile(r"[a-zA-Z0-9_-]+")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_NO_PREFILL = ("claude-*-4-6*", "claude-*-5*")

_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_THOUGHTS = ("thinking", "redacted_thinking")
_SCHEMA_WORDS = "type properties required additionalProperties items enum const anyOf allOf $ref $defs definitions title"
_SCHEMA = frozenset(f"{_SCHEMA_WORDS} description format minItems default".split())

Body = Mapping[str, Any]


def complaint(vendor: Vendor, body: Body, entry: Body, signature: str) -> str | None:
    """The words of the first thing wrong with a request to a model that exists; None when nothing is."""
    checks: Sequence[Callable[[], str | None]] = (
        lambda: _top_level(body, entry),
        lambda: _sampling(vendor, body),
        lambda: _tools(vendor, body),
        lambda: _contents(body, signature),
        lambda: _tool_turns(_turns(body["messages"])),
        lambda: _images(vendor, body),
        lambda: _thinking(body),
        lambda: _output(body.get("output_config") or {}),
        lambda: _ending(body),
    )
    return next((words for check in checks if (words := check()) is not None), None)


def _top_level(body: Body, entry: Body) -> str | None:
    for key in ("model", "max_tokens", "messages"):
        if key not in body:
            return f"{key}: Field required"
    for key in body:
        if key not in _KNOWN:
            return f"{key}: Extra inputs are not permitted"
    most = body["max_tokens"]
    if not isinstance(most, int) or isinstance(most, bool):
        return "max_tokens: Input should be a valid integer"
    if most < 1:
        return "max_tokens: Input should be greater than or equal to 1"
    limit = entry.get("max_tokens")
    if limit and most > limit:
        return f"max_tokens: {most} > {limit}, which is the maximum allowed number of output tokens for {body['model']}"
    if not isinstance(body["messages"], list):
        return "messages: Input should be a valid list"
    if not body["messages"]:
        return "messages: at least one message is required"
    system = body.get("system")
    if isinstance(system, list) and any(not block.get("text") for block in system):
        return "system: text content blocks must be non-empty"
    return None


def _sampling(vendor: Vendor, body: Body) -> str | None:
    refused = matches(body["model"], vendor.refuses_temperature)
    for key in ("temperature", "top_p", "top_k"):
        if key in body and refused:
            return f"`{key}` is deprecated for this model."
    if "temperature" in body and not 0 <= body["temperature"] <= 1:
        return "temperature: range: 0..1"
    if "temperature" in body and "top_p" in body and matches(body["model"], ("claude-*-4-5*", *_NO_PREFILL)):
        return "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
    return None


def _tools(vendor: Vendor, body: Body) -> str | None:
    tools = body.get("tools") or []
    if tools and matches(body["model"], vendor.refuses_tools):
        return f"'{body['model']}' does not support tools."
    for index, tool in enumerate(tools):
        if tool.get("type", "custom") != "custom":
            continue
        where = f"tools.{index}.custom"
        if not _NAME.fullmatch(str(tool.get("name", ""))):
            return f"{where}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
        if not isinstance(tool.get("input_schema"), dict):
            return f"{where}.input_schema: Field required"
        if tool["input_schema"].get("type") != "object":
            return f"{where}.input_schema.type: Field required"
    names = [tool.get("name") for tool in tools]
    if len(set(names)) != len(names):
        return "tools: Tool names must be unique."
    if body.get("tool_choice") and not tools:
        return "tool_choice: Tools must be provided when tool_choice is set."
    return None


def _contents(body: Body, signature: str) -> str | None:
    messages = body["messages"]
    for index, message in enumerate(messages):
        role, content = message.get("role"), message.get("content")
        if role == "system":
            return (
                'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter, not "system" as an'
                " input message role."
            )
        if role not in ("user", "assistant"):
            return f"messages.{index}.role: Input should be 'user' or 'assistant'"
        if index == 0 and role != "user":
            return 'messages: first message must use the "user" role'
        if content is None:
            return f"messages.{index}.content: Field required"
        if not content and not (role == "assistant" and index == len(messages) - 1):
            return f"messages.{index}: all messages must have non-empty content except for the optional final assistant message"
        for place, block in enumerate(_blocks(message)):
            words = _block(f"messages.{index}.content.{place}", role, block, signature)
            if words:
                return words
    return None


def _block(where: str, role: str, block: Body, signature: str) -> str | None:
    kind = block.get("type")
    if kind == "text":
        if not block.get("text"):
            return "messages: text content blocks must be non-empty"
        if not str(block["text"]).strip():
            return "messages: text content blocks must contain non-whitespace text"
    elif kind == "tool_use":
        if role != "assistant":
            return f"{where}: `tool_use` blocks can only be in `assistant` messages"
        if not _ID.fullmatch(str(block.get("id", ""))):
            return f"{where}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"
        if not _NAME.fullmatch(str(block.get("name", ""))):
            return f"{where}.tool_use.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
        if not isinstance(block.get("input"), dict):
            return f"{where}.tool_use.input: Input should be a valid dictionary"
    elif kind == "tool_result":
        if role != "user":
            return f"{where}: `tool_result` blocks can only be in `user` messages"
        if not isinstance(block.get("tool_use_id"), str):
            return f"{where}.tool_result.tool_use_id: Field required"
        return _result(where, block, signature)
    elif kind == "thinking":
        if role != "assistant":
            return f"{where}: `thinking` blocks can only be in `assistant` messages"
        if block.get("signature") != signature:
            return f"{where}: Invalid `signature` in `thinking` block"
    elif kind in ("image", "document"):
        return _source(f"{where}.{kind}.source", kind, block.get("source")) if role == "user" else f"{where}: not in this role"
    elif kind not in ("redacted_thinking", "server_tool_use"):
        return f"{where}: Input tag '{kind}' found using 'type' does not match any of the expected tags"
    return None


def _result(where: str, block: Body, signature: str) -> str | None:
    content = block.get("content")
    if block.get("is_error") and not content:
        return f"{where}.tool_result: content cannot be empty if `is_error` is true"
    if not isinstance(content, list):
        return (
            None if content is None or isinstance(content, str) else f"{where}.tool_result.content: Input should be a valid list"
        )
    for place, inner in enumerate(content):
        if inner.get("type") not in ("text", "image", "document"):
            return f"{where}.tool_result.content.{place}: Input tag '{inner.get('type')}' does not match any of the expected tags"
        if block.get("is_error") and inner["type"] != "text":
            return f"{where}.tool_result: all content must be type `text` if `is_error` is true"
        words = _block(f"{where}.tool_result.content.{place}", "user", inner, signature)
        if words:
            return words
    return None


def _source(where: str, kind: str, source: Any) -> str | None:
    if not isinstance(source, dict):
        return f"{where}: Field required"
    form = source.get("type")
    if form == "url":
        return None if str(source.get("url", "")).startswith("https://") else f"{where}.url.url: Only HTTPS URLs are supported."
    if form == "text" and kind == "document":
        return None if source.get("media_type") == "text/plain" else f"{where}.text.media_type: Input should be 'text/plain'"
    if form != "base64":
        return f"{where}: Input tag '{form}' found using 'type' does not match any of the expected tags"
    known = _IMAGES if kind == "image" else ("application/pdf",)
    if source.get("media_type") not in known:
        return f"{where}.base64.media_type: Input should be {' or '.join(map(repr, known))}"
    return None if is_base64(source.get("data")) else f"{where}.base64.data: Input should be a valid base64 string"


def _images(vendor: Vendor, body: Body) -> str | None:
    if matches(body["model"], vendor.refuses_images) and '"image"' in json.dumps(body["messages"]):
        return f"'{body['model']}' does not support image input."
    return None


def _thinking(body: Body) -> str | None:
    """The rules for what models thought: never the last block, and first where the tools of a thinking turn are answered."""
    turns = _turns(body["messages"])
    for index, (role, blocks) in enumerate(turns):
        if role == "assistant" and index < len(turns) - 1 and blocks and blocks[-1]["type"] in _THOUGHTS:
            return f"messages.{index}.content.{len(blocks) - 1}: The final block in an assistant message cannot be `thinking`."
    if (body.get("thinking") or {}).get("type") != "enabled" or len(turns) < 2:
        return None
    going_on = turns[-1][0] == "user" and any(block["type"] == "tool_result" for block in turns[-1][1])
    first = turns[-2][1][0]["type"]
    if going_on and first not in _THOUGHTS:
        return (
            f"messages.{len(turns) - 2}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{first}`. When"
            " `thinking` is enabled, a final `assistant` message must start with a thinking block (preceeding the lastmost set of"
            " `tool_use` and `tool_result` blocks)."
        )
    return None


def _output(config: Body) -> str | None:
    form = config.get("format")
    if form is None:
        return None
    if form.get("type") != "json_schema" or not isinstance(form.get("schema"), dict):
        return "output_config.format: Input tag does not match any of the expected tags"
    return _closed(form["schema"])


def _closed(schema: Any) -> str | None:
    if not isinstance(schema, dict):
        return "output_config.format.schema: Input should be a valid dictionary"
    for key in schema:
        if key not in _SCHEMA:
            return f"output_config.format.schema: For '{schema.get('type')}' type, property '{key}' is not supported"
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        return "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false"
    if schema.get("minItems", 0) not in (0, 1):
        return "output_config.format.schema: For 'array' type, 'minItems' values other than 0 or 1 are not supported"
    inner = [*(schema.get("properties") or {}).values(), *(schema.get("$defs") or {}).values()]
    inner += [one for key in ("anyOf", "allOf") for one in schema.get(key, ())]
    inner += [schema["items"]] if "items" in schema else []
    return next((words for one in inner if (words := _closed(one)) is not None), None)


def _blocks(message: Body) -> list[Body]:
    content = message.get("content") or []
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _turns(messages: Sequence[Body]) -> list[tuple[str, list[Body]]]:
    """Messages of one role that follow each other count as one turn, as the vendor counts them."""
    turns: list[tuple[str, list[Body]]] = []
    for message in messages:
        if turns and turns[-1][0] == message["role"]:
            turns[-1][1].extend(_blocks(message))
        else:
            turns.append((message["role"], _blocks(message)))
    return turns


def _tool_turns(turns: Sequence[tuple[str, list[Body]]]) -> str | None:
    asked: list[str] = []
    for index, (role, blocks) in enumerate(turns):
        if role == "user":
            words = _results(index, asked, blocks)
            if words:
                return words
        asked = [block["id"] for block in blocks if block["type"] == "tool_use"] if role == "assistant" else []
        if len(set(asked)) != len(asked):
            return f"messages.{index}: `tool_use` ids must be unique"
    if asked:
        return _unanswered(len(turns) - 1, asked)
    return None


def _results(index: int, asked: Sequence[str], blocks: Sequence[Body]) -> str | None:
    given = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
    for place, call in enumerate(given):
        if call not in asked:
            return (
                f"messages.{index}.content.{place}: unexpected `tool_use_id` found in `tool_result` blocks: {call}. Each"
                " `tool_result` block must have a corresponding `tool_use` block in the previous message."
            )
        if given.count(call) > 1:
            words = "each tool_use must have a single result. Found multiple `tool_result` blocks with id"
            return f"messages.{index}: {words}: {call}"
    leading = [block["tool_use_id"] for block in blocks[: len(asked)] if block["type"] == "tool_result"]
    missing = [call for call in asked if call not in leading]
    return _unanswered(index, missing) if missing else None


def _unanswered(index: int, missing: Sequence[str]) -> str:
    return (
        f"messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(missing)}. Each"
        " `tool_use` block must have a corresponding `tool_result` block in the next message."
    )


def _ending(body: Body) -> str | None:
    last = body["messages"][-1]
    if last["role"] != "assistant":
        return None
    if matches(body["model"], _NO_PREFILL):
        return "This model does not support assistant message prefill. The conversation must end with a user message."
    blocks = _blocks(last)
    if blocks and str(blocks[-1].get("text", "")).endswith((" ", "\n", "\t")):
        return "messages: final assistant content cannot end with trailing whitespace"
    return None
