"""What the loopback vendors refuse of conversations with tools, files, reasoning and schemas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bundle_loader.messages import Blob, Message, Text, ToolCall, ToolResult, user
from tests.support.conversations import PNG, body_of, refusal, request_of

SHOT = Blob(PNG, "image/png")
HISTORY = (
    user("Look.", SHOT, Blob(b"%PDF", "application/pdf", name="a.pdf")),
    Message("assistant", (Text("So."), ToolCall("a", "add", {"a": 1}), ToolCall("b", "add", {"a": 2}))),
    Message("tool", (ToolResult("a", "add", "1", parts=(SHOT,)), ToolResult("b", "add", "2"))),
)
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}

Spoil = Callable[[dict[str, Any]], Any]


def thinking(body: dict[str, Any]) -> None:
    body["thinking"] = {"type": "enabled", "budget_tokens": 1024}


def thought_last(body: dict[str, Any]) -> None:
    body["messages"] = [{"role": "user", "content": "x"}, {"role": "assistant", "content": [{"type": "redacted_thinking"}]}]
    body["messages"].append({"role": "user", "content": "y"})


CASES: list[tuple[str, Spoil, str]] = [
    ("anthropic", thinking, "Expected `thinking` or `redacted_thinking`, but found `text`"),
    ("anthropic", thought_last, "final block in an assistant message cannot be `thinking`"),
    ("anthropic", lambda body: body["messages"][0]["content"][1]["source"].update(media_type="image/tiff"), "media_type: Input"),
    ("anthropic", lambda body: body["messages"][0]["content"][1]["source"].update(data="@"), "valid base64"),
    ("anthropic", lambda body: body["messages"][2]["content"][0].update(is_error=True), "must be type `text` if `is_error`"),
    ("anthropic", lambda body: body["messages"][2]["content"][0]["content"][1].update(type="audio"), "Input tag 'audio'"),
    ("anthropic", lambda body: body["output_config"]["format"]["schema"].pop("additionalProperties"), "explicitly set to false"),
    (
        "anthropic",
        lambda body: body["output_config"]["format"]["schema"].update(minProperties=1),
        "'minProperties' is not supported",
    ),
    ("openai", lambda body: body["messages"][2]["tool_calls"][1].update(id="a"), "Duplicate tool call id"),
    ("openai", lambda body: body["messages"].insert(4, body["messages"][3]), "Duplicate value for 'tool_call_id'"),
    (
        "openai",
        lambda body: body["messages"][1]["content"][1]["image_url"].update(url="data:text/plain;base64,eA=="),
        "image MIME",
    ),
    ("openai", lambda body: body["messages"][1]["content"][2]["file"].pop("filename"), "file.filename"),
    ("openai", lambda body: body["messages"][3].update(content=[{"type": "image_url"}]), "Invalid value: 'image_url'"),
    ("openai", lambda body: body["response_format"]["json_schema"]["schema"].pop("required"), "every key in properties"),
    ("openai", lambda body: body.update(response_format={"type": "json_object"}), "must contain the word 'json'"),
    ("responses", lambda body: body["input"].pop(), "No tool output found for function call b"),
    ("responses", lambda body: body["input"].pop(2), "No tool call found for function call output with call_id a"),
    ("responses", lambda body: body["input"][2].update(id="fc_1"), "Items are not persisted"),
    ("responses", lambda body: body["input"][2].update(call_id="b"), "Duplicate call_id"),
    ("responses", lambda body: body["tools"][0].update(strict=True), "Invalid schema|additionalProperties"),
    ("responses", lambda body: body["input"][0]["content"][0].update(type="text"), "Invalid value: 'text'"),
    ("responses", lambda body: body["input"].insert(1, {"type": "reasoning", "id": "r", "summary": []}), "could not be verified"),
    ("responses", lambda body: body.update(stop=["x"]), "Unknown parameter: 'stop'"),
    ("google", lambda body: body["contents"][2]["parts"].pop(0), "number of function response parts"),
    ("google", lambda body: body["contents"][2]["parts"][0]["functionResponse"].update(id="z"), "ids of function response parts"),
    ("google", lambda body: body["contents"][1]["parts"][1].pop("thoughtSignature"), "missing a thought_signature"),
    ("google", lambda body: body["contents"][0]["parts"][1]["inlineData"].update(data="@"), "Base64 decoding failed"),
    (
        "google",
        lambda body: body["contents"][0]["parts"][1]["inlineData"].update(mimeType="application/zip"),
        "Unsupported MIME type",
    ),
    ("google", lambda body: body["generationConfig"]["responseJsonSchema"].update(allOf=[]), "keyword 'allOf' is not supported"),
    ("google", lambda body: body["generationConfig"].update(responseMimeType="text/plain"), "only allowed when mime type"),
    ("ollama", lambda body: body["messages"][1].update(images=["@"]), "illegal base64"),
    ("ollama", lambda body: body.update(format="yaml"), "invalid format"),
]


def sound_body(wire: str) -> dict[str, Any]:
    history = HISTORY
    if wire == "ollama":
        history = (user("Look.", SHOT), *HISTORY[1:])
    return body_of(wire, request_of(wire, history, output_schema=SCHEMA))


@pytest.mark.parametrize(("wire", "spoil", "words"), CASES, ids=range(len(CASES)))
def test_a_body_that_is_spoilt_is_refused(wire: str, spoil: Spoil, words: str) -> None:
    body = sound_body(wire)
    assert refusal(wire, body) is None
    spoil(body)
    said = refusal(wire, body)
    assert said is not None
    assert any(word in said.replace('\\"', '"') for word in words.split("|"))
