"""Neutral conversations made up at random, and what a body for a vendor says, read back in neutral words."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from bundle_loader.messages import Blob, Message, Part, Text, Thinking, ToolCall, ToolResult, ToolSpec
from bundle_loader.providers import anthropic_wire, google_wire, openai_responses_wire, openai_wire, table
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.ollama import OllamaProvider
from bundle_loader.providers.prepared import prepared
from bundle_loader.providers.table import ProviderRow
from tests.support.script import Request
from tests.support.strict_responses import SEALED
from tests.support.wire_anthropic import THINKING_SIGNATURE
from tests.support.wire_google import CALL_SIGNATURE
from tests.support.world import World

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
REASONER = "gpt-5.2-codex"
MODELS = {
    "anthropic": "claude-haiku-4-5-20251001",
    "openai": "gpt-4o",
    "responses": REASONER,
    "google": "gemini-3-pro-preview",
    "ollama": "qwen3:8b",
}
"""Wire -> a model of its loopback vendor; the one of Google wants its signatures back."""

Said = tuple[Any, ...]


def row_of(name: str) -> ProviderRow:
    """The row of the table."""
    found = table.row(name)
    assert found is not None
    return found


def body_of(wire: str, request: ChatRequest) -> dict[str, Any]:
    """The body that a request becomes, as JSON has it."""
    if wire == "ollama":
        fields, _ = OllamaProvider(base_url="http://127.0.0.1:1")._fields(request)
        return dict(json.loads(json.dumps(fields)))
    row = row_of({"responses": "openai"}.get(wire, wire))
    if wire == "responses":
        row = openai_responses_wire.as_responses(row)
        request, _ = prepared(row, request, "openai")
        return dict(json.loads(json.dumps(openai_responses_wire.body(row, request, "openai")[0])))
    request, _ = prepared(row, request, wire, google_wire.NAMES) if wire == "google" else prepared(row, request, wire)
    if wire == "google":
        return dict(json.loads(json.dumps(google_wire.body(request, row.call_ids, {}))))
    made = anthropic_wire.body(row, request) if wire == "anthropic" else openai_wire.body(row, request)
    return dict(json.loads(json.dumps(made[0])))


def refusal(wire: str, body: Mapping[str, Any], world: World | None = None) -> str | None:
    """What the strict loopback vendor has against a body; None where it takes it."""
    vendor = (world or World()).vendor({"responses": "openai"}.get(wire, wire))
    paths = {"openai": "/chat/completions", "responses": "/responses", "ollama": "/api/chat", "anthropic": "/v1/messages"}
    headers = {"anthropic-version": "2026-10-21"}
    request = Request(vendor.name, "POST", paths.get(wire, "/"), {}, headers, body, "chat", MODELS[wire])
    answer = vendor.wire.objection(vendor, request)
    return None if answer is None else answer.body.decode()


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=12).filter(str.strip)
NAMES = st.sampled_from(["read_file", "add", "search", "mcp__github__list"])
ARGUMENTS = st.dictionaries(
    WORDS, st.one_of(st.integers(-9, 9), WORDS, st.booleans(), st.none(), st.lists(WORDS, max_size=2)), max_size=2
)
IDS = st.one_of(
    st.sampled_from(["call_0", "call_0_0", "toolu_01AbC", "call.1", "sim-x-1-1", "fc-" + "9" * 60, "ä", "a b"]),
    st.text(min_size=1, max_size=50).filter(lambda id: not any(0xD800 <= ord(letter) < 0xE000 for letter in id)),
)
IMAGES = st.builds(lambda name: Blob(PNG, "image/png", name=name), st.sampled_from([None, "a.png"]))
ANY_BLOB = st.one_of(
    IMAGES,
    st.just(Blob(b"%PDF-1.4 x", "application/pdf", name="b.pdf")),
    st.just(Blob("grüße".encode(), "text/plain", name="c.txt")),
    st.just(Blob(b"\x00\x01zip", "application/zip", name="d.zip")),
    st.just(Blob(None, "image/jpeg", "https://example.org/e.jpg")),
)


def _thought(vendor: str, text: str) -> Thinking:
    """Reasoning as that vendor left it, which it takes back."""
    if vendor == "anthropic":
        return Thinking(text, vendor, {"type": "thinking", "thinking": text, "signature": THINKING_SIGNATURE})
    if vendor == "google":
        return Thinking(text, vendor, {"signature": CALL_SIGNATURE})
    if vendor == "responses":
        own = openai_responses_wire.vendor("openai", REASONER)
        return Thinking(text, own, {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": SEALED})
    return Thinking(text, vendor)


VENDORS = st.sampled_from(["anthropic", "google", "ollama", "openai", "responses", "deepseek"])


@st.composite
def answers(draw: st.DrawFn) -> Message:
    """An answer as any vendor gives one: reasoning, words, calls of tools."""
    vendor = draw(VENDORS)
    parts: list[Part] = [_thought(vendor, draw(WORDS))] if draw(st.booleans()) else []
    words = draw(st.lists(WORDS, max_size=2))
    parts += map(Text, words)
    signature = CALL_SIGNATURE if vendor == "google" else None
    count = draw(st.integers(0 if words else 1, 3))
    ids = draw(st.lists(IDS, min_size=count, max_size=count, unique=True))
    calls = [ToolCall(id, draw(NAMES), draw(ARGUMENTS), vendor, signature) for id in ids]
    return Message("assistant", (*parts, *calls))


@st.composite
def sound_conversations(draw: st.DrawFn, images: bool = True) -> tuple[Message, ...]:
    """A conversation as delegations have it; its last message is a user's or holds the results of tools."""
    messages: list[Message] = []
    blobs = st.lists(IMAGES, max_size=1) if images else st.just([])
    for _ in range(draw(st.integers(1, 3))):
        messages.append(Message("user", (*map(Text, draw(st.lists(WORDS, min_size=1, max_size=2))), *draw(blobs))))
        for _ in range(draw(st.integers(0, 3))):
            answer = draw(answers())
            messages.append(answer)
            if not answer.tool_calls:
                break
            results = [
                ToolResult(call.id, call.name, draw(WORDS), draw(st.booleans()), tuple(draw(blobs))) for call in answer.tool_calls
            ]
            messages.append(Message("tool", tuple(replace_error(result) for result in results)))
    if messages[-1].role == "assistant":
        messages.append(Message("user", (Text(draw(WORDS)),)))
    return tuple(messages)


def replace_error(result: ToolResult) -> ToolResult:
    """An error has words only."""
    return ToolResult(result.call_id, result.name, result.text, True) if result.is_error else result


@st.composite
def odd_conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    """Any messages in any order, as a host's own history may have them; a user speaks last."""
    text = st.one_of(WORDS, st.sampled_from(["", " ", "\n"]))
    result = st.builds(ToolResult, IDS, NAMES, text, st.booleans(), st.lists(ANY_BLOB, max_size=1).map(tuple))
    users = st.lists(st.one_of(text.map(Text), ANY_BLOB), max_size=2).map(lambda parts: Message("user", tuple(parts)))
    results = st.lists(result, max_size=3).map(lambda parts: Message("tool", tuple(parts)))
    calls = st.builds(ToolCall, IDS, st.one_of(NAMES, st.sampled_from(["", "a.b", "9 lives", "x" * 90])), ARGUMENTS)
    mixed = st.lists(st.one_of(text.map(Text), calls, WORDS.map(lambda words: _thought("anthropic", words))), max_size=3)
    odd = mixed.map(lambda parts: Message("assistant", tuple(parts)))
    messages = draw(st.lists(st.one_of(users, results, odd, answers()), max_size=7))
    return (*messages, Message("user", (Text(draw(WORDS)),)))


def request_of(wire: str, messages: tuple[Message, ...], **more: Any) -> ChatRequest:
    """A request with a system text and one tool."""
    spec = ToolSpec("add", "Adds.", {"type": "object", "properties": {"a": {"type": "integer"}}})
    return ChatRequest(MODELS[wire], messages, **{"system": "Be brief.", "tools": (spec,), "max_tokens": 100, **more})


def _joined(said: Sequence[Said]) -> list[Said]:
    """Texts of one side that follow each other are one."""
    joined: list[Said] = []
    for one in said:
        if joined and one[0] == joined[-1][0] and one[0] in ("user", "said"):
            joined[-1] = (one[0], joined[-1][1] + one[1])
        else:
            joined.append(one)
    return joined


def meaning(messages: Sequence[Message]) -> tuple[list[Said], int]:
    """What is said, called and given back, in order, calls numbered; and how many images."""
    said: list[Said] = []
    calls = 0
    for message in messages:
        open_calls = {part.call_id: index for index, part in enumerate(message.parts) if isinstance(part, ToolResult)}
        for part in message.parts:
            if isinstance(part, Text):
                said.append(("user" if message.role == "user" else "said", part.text))
            elif isinstance(part, ToolCall):
                said.append(("call", calls, part.name, dict(part.arguments)))
                calls += 1
            elif isinstance(part, ToolResult):
                said.append(("result", calls - len(open_calls) + open_calls[part.call_id], part.text))
    return _joined(said), sum(len(message.blobs) for message in messages)


def read_back(wire: str, body: Mapping[str, Any]) -> tuple[list[Said], int]:
    """The same, from a body."""
    said, images = _READERS[wire](body)
    return _joined([one for one in said if not str(one[1]).startswith("[from the tool '")]), images


def _of_anthropic(body: Mapping[str, Any]) -> tuple[list[Said], int]:
    said: list[Said] = []
    at: dict[str, int] = {}
    images = 0
    for message in body["messages"]:
        for block in message["content"]:
            if block["type"] == "text":
                said.append(("user" if message["role"] == "user" else "said", block["text"]))
            elif block["type"] == "tool_use":
                at[block["id"]] = len(at)
                said.append(("call", at[block["id"]], block["name"], block["input"]))
            elif block["type"] == "tool_result":
                content = block.get("content", "")
                inner = content if isinstance(content, list) else [{"type": "text", "text": content}]
                images += sum(one["type"] == "image" for one in inner)
                text = "".join(one["text"] for one in inner if one["type"] == "text")
                said.append(("result", at[block["tool_use_id"]], text))
            images += block["type"] == "image"
    return said, images


def _of_openai(body: Mapping[str, Any]) -> tuple[list[Said], int]:
    said: list[Said] = []
    at: dict[str, int] = {}
    images = 0
    for message in body["messages"]:
        content = message["content"]
        if message["role"] == "tool":
            said.append(("result", at[message["tool_call_id"]], content))
        elif message["role"] in ("user", "assistant"):
            for part in content if isinstance(content, list) else [{"type": "text", "text": content}] if content else []:
                images += part["type"] == "image_url"
                if part["type"] == "text":
                    said.append(("user" if message["role"] == "user" else "said", part["text"]))
        for call in message.get("tool_calls") or ():
            at[call["id"]] = len(at)
            said.append(("call", at[call["id"]], call["function"]["name"], json.loads(call["function"]["arguments"])))
    return said, images


def _of_responses(body: Mapping[str, Any]) -> tuple[list[Said], int]:
    said: list[Said] = []
    at: dict[str, int] = {}
    images = 0
    for item in body["input"]:
        if item.get("type") == "function_call":
            at[item["call_id"]] = len(at)
            said.append(("call", at[item["call_id"]], item["name"], json.loads(item["arguments"])))
        elif item.get("type") == "function_call_output":
            output = item["output"]
            parts = output if isinstance(output, list) else [{"type": "input_text", "text": output}]
            images += sum(part["type"] == "input_image" for part in parts)
            said.append(("result", at[item["call_id"]], "".join(part.get("text", "") for part in parts)))
        elif item.get("role") == "assistant":
            said.append(("said", item["content"]))
        elif item.get("role") == "user":
            images += sum(part["type"] == "input_image" for part in item["content"])
            said += [("user", part["text"]) for part in item["content"] if part["type"] == "input_text"]
    return said, images


def _of_google(body: Mapping[str, Any]) -> tuple[list[Said], int]:
    said: list[Said] = []
    at: dict[str, int] = {}
    images = 0
    for content in body["contents"]:
        for part in content["parts"]:
            if part.get("thought") or part.get("text") == "":
                continue
            images += "inlineData" in part
            if "functionCall" in part:
                at[part["functionCall"]["id"]] = len(at)
                said.append(("call", at[part["functionCall"]["id"]], part["functionCall"]["name"], part["functionCall"]["args"]))
            elif "functionResponse" in part:
                given = part["functionResponse"]
                said.append(("result", at[given["id"]], *given["response"].values()))
            elif "text" in part:
                said.append(("user" if content["role"] == "user" else "said", part["text"]))
    return said, images


def _of_ollama(body: Mapping[str, Any]) -> tuple[list[Said], int]:
    said: list[Said] = []
    waiting: list[int] = []
    calls = images = 0
    for message in body["messages"]:
        images += len(message.get("images") or ())
        if message["role"] == "tool":
            said.append(("result", waiting.pop(0), message.get("content", "").removeprefix("error: ")))
        elif message["role"] in ("user", "assistant") and message.get("content"):
            said.append(("user" if message["role"] == "user" else "said", message["content"]))
        for call in message.get("tool_calls") or ():
            said.append(("call", calls, call["function"]["name"], call["function"]["arguments"]))
            waiting.append(calls)
            calls += 1
    return said, images


_READERS: dict[str, Callable[[Mapping[str, Any]], tuple[list[Said], int]]] = {
    "anthropic": _of_anthropic,
    "openai": _of_openai,
    "responses": _of_responses,
    "google": _of_google,
    "ollama": _of_ollama,
}


def strings(value: Any) -> list[str]:
    """Every text within a body, those within JSON in text too."""
    if isinstance(value, dict):
        return [text for key, inner in value.items() for text in (key, *strings(inner))]
    if isinstance(value, list):
        return [text for inner in value for text in strings(inner)]
    return [value] if isinstance(value, str) else []
