"""What the loopback vendors refuse and what they take, seen through the four official SDKs."""

from __future__ import annotations

import base64
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from google.genai import errors as google_errors
from google.genai import types
from ollama import ResponseError

from tests.support import sdks
from tests.support.sdks import HEAR, hear
from tests.support.vendors import DEFAULT_TEXT, Reply, World
from tests.support.wire_google import CALL_SIGNATURE

Vendors = tuple[World, str]

ASK = {"role": "user", "content": "Hello?"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
LONG = "x" * 41


def use(call: str = "toolu_1", name: str = "add", given: Any = None) -> dict[str, Any]:
    block = {"type": "tool_use", "id": call, "name": name, "input": {"a": 1} if given is None else given}
    return {"role": "assistant", "content": [block]}


def result(*calls: str, before: str = "") -> dict[str, Any]:
    blocks: list[dict[str, Any]] = [{"type": "tool_result", "tool_use_id": call, "content": "2"} for call in calls]
    return {"role": "user", "content": ([{"type": "text", "text": before}] if before else []) + blocks}


ANTHROPIC: dict[str, tuple[dict[str, Any], str]] = {
    "no messages": ({"messages": []}, "at least one message is required"),
    "assistant first": ({"messages": [{"role": "assistant", "content": "Hi"}, ASK]}, 'first message must use the "user" role'),
    "system as a message": ({"messages": [{"role": "system", "content": "Be brief."}, ASK]}, 'Unexpected role "system"'),
    "empty text": ({"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]}, "must be non-empty"),
    "empty content": ({"messages": [{"role": "user", "content": ""}]}, "all messages must have non-empty content"),
    "empty system": ({"system": [{"type": "text", "text": ""}]}, "system: text content blocks must be non-empty"),
    "result without use": ({"messages": [result("toolu_1")]}, "unexpected `tool_use_id` found in `tool_result` blocks: toolu_1"),
    "result of another use": ({"messages": [ASK, use(), result("toolu_2")]}, "unexpected `tool_use_id` found"),
    "two results of one use": ({"messages": [ASK, use(), result("toolu_1", "toolu_1")]}, "must have a single result"),
    "use without result": ({"messages": [ASK, use(), ASK]}, "without `tool_result` blocks immediately after: toolu_1"),
    "result after text": ({"messages": [ASK, use(), result("toolu_1", before="So:")]}, "without `tool_result` blocks"),
    "use at the end": ({"messages": [ASK, use()]}, "without `tool_result` blocks"),
    "foreign call id": (
        {"messages": [ASK, use("call.1"), result("call.1")]},
        "should match pattern '\\^\\[a-zA-Z0-9_-\\]\\+\\$'",
    ),
    "input as text": ({"messages": [ASK, use(given="{}"), result("toolu_1")]}, "Input should be a valid dictionary"),
    "bad tool name": ({"tools": [{"name": "a b", "input_schema": SCHEMA}]}, "tools.0.custom.name: String should match"),
    "tool without schema": ({"tools": [{"name": "add", "input_schema": {}}]}, "input_schema.type: Field required"),
    "tool twice": ({"tools": [{"name": "add", "input_schema": SCHEMA}] * 2}, "Tool names must be unique"),
    "choice without tools": ({"tool_choice": {"type": "auto"}}, "tool_choice"),
    "too many tokens": ({"max_tokens": 64_001}, "64001 > 64000, which is the maximum allowed"),
    "no tokens": ({"max_tokens": 0}, "max_tokens: Input should be greater"),
    "hot": ({"extra_body": {"temperature": 1.5}}, "range: 0..1"),
    "two samplings": ({"extra_body": {"temperature": 0.5, "top_p": 0.5}}, "cannot both be specified"),
    "unknown parameter": ({"extra_body": {"seed": 1}}, "seed: Extra inputs are not permitted"),
    "prefill": ({"model": "claude-opus-4-6", "messages": [ASK, {"role": "assistant", "content": "Hi"}]}, "prefill"),
    "foreign thinking": (
        {"messages": [ASK, {"role": "assistant", "content": [{"type": "thinking", "thinking": "x", "signature": "y"}]}, ASK]},
        "Invalid `signature` in `thinking` block",
    ),
}


@pytest.mark.parametrize("case", ANTHROPIC)
async def test_anthropic_refuses(vendors: Vendors, case: str) -> None:
    request, words = ANTHROPIC[case]
    with pytest.raises(anthropic.BadRequestError, match=words):
        await hear(vendors, "anthropic", **request)


def called(call: str = "call_1", arguments: Any = '{"a": 1}', name: str = "add") -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": call, "type": "function", "function": function}]}


def answered(call: str = "call_1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call, "content": "2"}


def function(name: str = "add", parameters: Any = None) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": SCHEMA if parameters is None else parameters}}


OPENAI: dict[str, tuple[dict[str, Any], str]] = {
    "no messages": ({"messages": []}, "empty array"),
    "unknown role": ({"messages": [{"role": "model", "content": "x"}]}, "Invalid value: 'model'"),
    "no content": ({"messages": [{"role": "user", "content": None}]}, "expected a string, got null"),
    "tool without calls": ({"messages": [ASK, answered()]}, "must be a response to a preceeding message with 'tool_calls'"),
    "tool of another call": ({"messages": [ASK, called(), answered("call_2")]}, "'call_2' not found in 'tool_calls'"),
    "tool without id": ({"messages": [ASK, called(), {"role": "tool", "content": "2"}]}, "must have a 'tool_call_id'"),
    "call without tool": ({"messages": [ASK, called(), ASK]}, "did not have response messages: call_1"),
    "call at the end": ({"messages": [ASK, called()]}, "did not have response messages: call_1"),
    "long call id": ({"messages": [ASK, called(LONG), answered(LONG)]}, "maximum length 40"),
    "arguments as object": ({"messages": [ASK, called(arguments={"a": 1}), answered()]}, "expected a string, but got an object"),
    "empty calls": ({"messages": [ASK, {"role": "assistant", "content": "x", "tool_calls": []}]}, "empty array"),
    "empty tools": ({"tools": []}, "Invalid 'tools': empty array"),
    "bad tool name": ({"tools": [function("a.b")]}, "string does not match pattern"),
    "long tool name": ({"tools": [function("x" * 65)]}, "maximum length 64"),
    "bad schema": ({"tools": [function(parameters={})]}, "schema must be a JSON Schema of 'type: \"object\"'"),
    "choice without tools": ({"tool_choice": "auto"}, "only allowed when 'tools' are specified"),
    "both limits": ({"max_tokens": 5, "max_completion_tokens": 5}, "at the same time is not supported"),
    "old limit": ({"model": "gpt-5.2", "max_tokens": 5}, "Use 'max_completion_tokens' instead"),
    "temperature": ({"model": "gpt-5.2", "temperature": 0.2}, "'temperature' does not support 0.2 with this model"),
    "unknown parameter": ({"extra_body": {"top_k": 1}}, "Unrecognized request argument supplied: top_k"),
}


@pytest.mark.parametrize("case", OPENAI)
async def test_openai_refuses(vendors: Vendors, case: str) -> None:
    request, words = OPENAI[case]
    with pytest.raises(openai.BadRequestError, match=words):
        await hear(vendors, "openai", **request)


def content(role: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "parts": list(parts)}


CALL: dict[str, Any] = {"function_call": {"name": "add", "args": {"a": 1}}}
RESPONSE: dict[str, Any] = {"function_response": {"name": "add", "response": {"result": "2"}}}
SPEECH: dict[str, Any] = content("user", {"text": "Hello?"})
NEWER = "gemini-3-pro-preview"


def declaring(name: str, **parameters: Any) -> types.GenerateContentConfig:
    declaration = types.FunctionDeclaration.model_validate({"name": name, **parameters})
    off = types.AutomaticFunctionCallingConfig(disable=True)
    return types.GenerateContentConfig(tools=[types.Tool(function_declarations=[declaration])], automatic_function_calling=off)


GOOGLE: dict[str, tuple[dict[str, Any], str]] = {
    "no parts": ({"contents": [content("user")]}, "parts must not be empty"),
    "unknown role": ({"contents": [content("assistant", {"text": "x"})]}, "valid role: user, model"),
    "response without call": ({"contents": [SPEECH, content("user", RESPONSE)]}, "response turn comes immediately after"),
    "call without response": (
        {"contents": [SPEECH, content("model", CALL), SPEECH]},
        "number of function response parts is equal",
    ),
    "call first": ({"contents": [content("model", CALL), content("user", RESPONSE)]}, "call turn comes immediately after a user"),
    "response of another": (
        {"contents": [SPEECH, content("model", CALL), content("user", {"function_response": {"name": "x", "response": {}}})]},
        "name the functions",
    ),
    "response without name": (
        {"contents": [SPEECH, content("model", CALL), content("user", {"function_response": {"response": {}}})]},
        "Name cannot be empty",
    ),
    "model last": ({"contents": [SPEECH, content("model", {"text": "Hi"})]}, "end with a user role"),
    "bad tool name": ({"config": declaring("a b")}, "Invalid function name"),
    "no signature": (
        {"model": NEWER, "contents": [SPEECH, content("model", CALL), content("user", RESPONSE)]},
        "missing a thought_signature",
    ),
    "false signature": (
        {"model": NEWER, "contents": [SPEECH, content("model", CALL | {"thought_signature": b"x"}), content("user", RESPONSE)]},
        "Corrupted thought signature",
    ),
}


@pytest.mark.parametrize("case", GOOGLE)
async def test_google_refuses(vendors: Vendors, case: str) -> None:
    request, words = GOOGLE[case]
    with pytest.raises(google_errors.ClientError, match=words) as caught:
        await hear(vendors, "google", **request)
    assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT")


async def test_what_the_sdks_would_not_send_is_refused_too(vendors: Vendors) -> None:
    world, base = vendors
    posts: list[tuple[str, str, dict[str, Any], str]] = [
        ("anthropic", "/v1/messages", {"model": "claude-opus-4-6", "messages": [ASK]}, "max_tokens: Field required"),
        ("anthropic", "/v1/messages", {"max_tokens": 1, "messages": [ASK]}, "model: Field required"),
        (
            "openai",
            "/chat/completions",
            {"model": "gpt-4o", "messages": [ASK], "stream_options": {}},
            "only allowed when 'stream'",
        ),
        ("google", "/v1/models/gemini-2.5-pro:generateContent", {"contents": []}, "contents is not specified"),
        (
            "google",
            "/v1/models/gemini-2.5-pro:generateContent",
            {"contents": [SPEECH], "messages": []},
            'Unknown name "messages"',
        ),
        (
            "google",
            "/v1/models/gemini-2.5-pro:generateContent",
            {"contents": [SPEECH], "tools": [DIALECT]},
            'Unknown name "oneOf"',
        ),
        ("ollama", "/api/chat", {"messages": [ASK]}, "model is required"),
    ]
    async with httpx2.AsyncClient(headers={"anthropic-version": "2023-06-01"}) as http:
        for name, path, body, words in posts:
            answer = await http.post(world.url(base, name) + path, json=body)
            message = answer.json()["error"]
            assert answer.status_code == 400
            assert words in (message if isinstance(message, str) else message["message"])


DIALECT = {"functionDeclarations": [{"name": "add", "parameters": {"type": "object", "properties": {"a": {"oneOf": []}}}}]}


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"messages": [{"role": "model", "content": "x"}]}, "invalid role: model"),
        ({"model": "gemma3:4b", "tools": [function()]}, "does not support tools"),
    ],
)
async def test_ollama_refuses(vendors: Vendors, request_: dict[str, Any], words: str) -> None:
    with pytest.raises(ResponseError, match=words) as caught:
        await hear(vendors, "ollama", **request_)
    assert caught.value.status_code == 400


UNKNOWN: dict[str, tuple[type[Exception], str]] = {
    "anthropic": (anthropic.NotFoundError, "model: no-such-model"),
    "openai": (openai.NotFoundError, "The model `no-such-model` does not exist"),
    "google": (google_errors.ClientError, "404 NOT_FOUND.*models/no-such-model is not found"),
    "ollama": (ResponseError, "model 'no-such-model' not found, try pulling it first"),
}


@pytest.mark.parametrize("name", UNKNOWN)
async def test_an_unknown_model_is_a_404_and_uses_nothing_up(vendors: Vendors, name: str) -> None:
    vendor = vendors[0].vendor(name)
    vendor.replies = [Reply("kept")]
    error, words = UNKNOWN[name]
    with pytest.raises(error, match=words):
        await hear(vendors, name, model="no-such-model")
    assert vendors[0].requests[-1].status == 404
    assert (await hear(vendors, name)).text == "kept"


async def test_models_can_be_told_to_refuse_temperature_and_tools(vendors: Vendors) -> None:
    world, _ = vendors
    world.vendor("anthropic").refuses_temperature = {"claude-opus-*"}
    world.vendor("anthropic").refuses_tools = {"claude-haiku-*"}
    warm = {"extra_body": {"temperature": 0.5}}
    with pytest.raises(anthropic.BadRequestError, match="`temperature` is deprecated for this model"):
        await hear(vendors, "anthropic", model="claude-opus-4-6", **warm)
    assert (await hear(vendors, "anthropic", **warm)).text == DEFAULT_TEXT
    with pytest.raises(anthropic.BadRequestError, match="does not support tools"):
        await hear(vendors, "anthropic", tools=[{"name": "add", "input_schema": SCHEMA}])


SIGNED = CALL | {"thought_signature": base64.b64decode(CALL_SIGNATURE)}
ROUNDS: list[tuple[str, dict[str, Any]]] = [
    ("anthropic", {"messages": [ASK, use(), result("toolu_1"), ASK], "tools": [{"name": "add", "input_schema": SCHEMA}]}),
    ("openai", {"messages": [ASK, called(), answered(), ASK], "tools": [function()]}),
    ("google", {"contents": [SPEECH, content("model", CALL), content("user", RESPONSE)], "config": declaring("add")}),
    ("google", {"model": NEWER, "contents": [SPEECH, content("model", SIGNED), content("user", RESPONSE)]}),
    (
        "google",
        {"model": NEWER, "contents": [SPEECH, content("model", CALL), content("user", RESPONSE, {"text": "So?"}), SPEECH]},
    ),
    (
        "ollama",
        {
            "messages": [
                ASK,
                {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "add", "arguments": {"a": 1}}}]},
                {"role": "tool", "content": "2", "tool_name": "add"},
            ],
            "tools": [function()],
        },
    ),
]


@pytest.mark.parametrize(("name", "request_"), ROUNDS)
async def test_a_sound_history_with_tools_is_taken(vendors: Vendors, name: str, request_: dict[str, Any]) -> None:
    assert (await hear(vendors, name, **request_)).text == DEFAULT_TEXT


async def test_newer_google_models_sign_and_number_the_first_call_of_a_turn(vendors: Vendors) -> None:
    world, base = vendors
    world.vendor("google").replies = [Reply(tool_calls=[("add", {}), ("add", {})])]
    async with sdks.google_client(world.url(base, "google")) as client:
        answer = await client.models.generate_content(model=NEWER, contents="Hello?")
    first, second = answer.candidates[0].content.parts
    assert (first.thought_signature, second.thought_signature) == (SIGNED["thought_signature"], None)
    assert first.function_call.id != second.function_call.id


def test_every_sdk_is_covered() -> None:
    assert set(UNKNOWN) == set(HEAR)
