"""The schema of an answer on its way to each vendor: in the vendor's own form, or in words where it has none."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle_loader.messages import ToolSpec, Turn, user
from bundle_loader.providers.base import ChatRequest, Provider
from bundle_loader.providers.compatible import CompatibleProvider
from bundle_loader.providers.output_format import fitted, is_strict
from bundle_loader.providers.prepared import prepared
from tests.support.conversations import MODELS, body_of, refusal, request_of, row_of
from tests.support.hosting import mounted
from tests.support.vendors import World

Served = tuple[World, str]

CLOSED: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
LOOSE: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "city": {"type": "string", "minLength": 2, "description": "Where."},
        "days": {"type": "integer", "minimum": 1, "default": 3},
        "kind": {"const": "trip"},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 2, "uniqueItems": True},
    },
    "required": ["city"],
}
TREE: dict[str, Any] = {
    "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
    "type": "object",
    "properties": {"first": {"$ref": "#/$defs/node"}},
}
LIST: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
OPEN: dict[str, Any] = {"type": "object", "additionalProperties": {"type": "integer"}}
ADD = ToolSpec("add", "", {"type": "object", "properties": {}})
SCHEMAS = (CLOSED, LOOSE, TREE, LIST, OPEN, {})


async def answer(provider: Provider, request: ChatRequest) -> Turn:
    turn: Turn | None = None
    stream: Any = provider.stream(request)
    async with aclosing(stream) as parts:
        async for part in parts:
            if isinstance(part, Turn):
                turn = part
    assert turn is not None
    return turn


def sent_schema(wire: str, body: dict[str, Any]) -> Any:
    """The schema where the vendor looks for it."""
    if wire == "anthropic":
        return body.get("output_config", {}).get("format", {}).get("schema")
    if wire == "openai":
        return body.get("response_format", {}).get("json_schema", {}).get("schema")
    if wire == "responses":
        return body.get("text", {}).get("format", {}).get("schema")
    if wire == "google":
        return body["generationConfig"].get("responseJsonSchema")
    return body.get("format")


@pytest.mark.parametrize("wire", MODELS)
def test_each_vendor_is_told_in_its_own_way(wire: str) -> None:
    request = request_of(wire, (user("Plan."),), tools=(), output_schema=CLOSED)
    body = body_of(wire, request)
    assert refusal(wire, body) is None
    assert sent_schema(wire, body) == CLOSED
    assert "JSON Schema below" not in json.dumps(body)


@pytest.mark.parametrize("wire", MODELS)
@pytest.mark.parametrize("tools", [(), (ADD,)])
@pytest.mark.parametrize("schema", SCHEMAS, ids=range(len(SCHEMAS)))
def test_every_schema_reaches_every_vendor(wire: str, tools: tuple[ToolSpec, ...], schema: dict[str, Any]) -> None:
    body = body_of(wire, request_of(wire, (user("Plan."),), tools=tools, output_schema=schema))
    assert refusal(wire, body) is None
    beside = sent_schema(wire, body) is not None
    assert ("JSON Schema below" in json.dumps(body)) is not beside, "one way, and not both"


def test_what_a_vendors_form_lacks_is_told_in_the_description() -> None:
    sent = sent_schema("anthropic", body_of("anthropic", request_of("anthropic", (user("Plan."),), output_schema=LOOSE)))
    assert sent["additionalProperties"] is False
    assert sent["properties"]["city"]["description"] == 'Where. JSON schema: {"minLength": 2}'
    assert sent["properties"]["days"]["description"] == 'JSON schema: {"minimum": 1}'
    google = request_of("google", (user("Plan."),), tools=(), output_schema=LOOSE)
    sent = sent_schema("google", body_of("google", google))
    assert sent["properties"]["days"] == {"type": "integer", "minimum": 1}
    assert sent["properties"]["kind"] == {"enum": ["trip"]}


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (CLOSED, True),
        (LOOSE, False),
        (TREE, False),
        (LIST, False),
        ({**CLOSED, "required": ["city"]}, False),
        ({**CLOSED, "additionalProperties": True}, False),
        ({**CLOSED, "properties": {"city": {"type": "string", "maxLength": 3}, "days": {"type": "integer"}}}, False),
        ({**CLOSED, "properties": {"city": {"anyOf": [{"type": "string"}, {"type": "null"}]}, "days": CLOSED}}, True),
        ({**CLOSED, "properties": {"city": {"type": ["string", "null"]}, "days": {"type": "array"}}}, False),
    ],
)
def test_openais_strict_mode_only_where_the_schema_fits_it(schema: dict[str, Any], strict: bool) -> None:
    assert is_strict(schema) is strict
    body = body_of("openai", request_of("openai", (user("Plan."),), output_schema=schema))
    assert refusal("openai", body) is None
    if schema.get("type") == "object":
        assert body["response_format"]["json_schema"]["strict"] is strict


@st.composite
def schemas(draw: st.DrawFn, depth: int = 3) -> dict[str, Any]:
    """Schemas of all kinds."""
    kind = draw(st.sampled_from(["string", "integer", "object", "array", "enum", "anyOf"] if depth else ["string", "integer"]))
    if kind == "object":
        names = draw(st.lists(st.sampled_from(["a", "b", "type", "items"]), max_size=3, unique=True))
        extra = draw(st.sampled_from([{}, {"additionalProperties": False}, {"additionalProperties": True}]))
        required = draw(st.lists(st.sampled_from(names), unique=True)) if names else []
        return {"type": "object", "properties": {name: draw(schemas(depth - 1)) for name in names}, "required": required, **extra}
    if kind == "array":
        return {
            "type": "array",
            "items": draw(schemas(depth - 1)),
            **draw(st.sampled_from([{}, {"minItems": 3}, {"maxItems": 3}])),
        }
    if kind == "enum":
        return {"enum": draw(st.lists(st.sampled_from(["a", 1, None, True]), min_size=1, unique_by=repr))}
    if kind == "anyOf":
        return {"anyOf": draw(st.lists(schemas(depth - 1), min_size=1, max_size=2))}
    bounds: list[dict[str, Any]] = [{}, {"pattern": "^a"}, {"format": "date"}] if kind == "string" else [{}, {"minimum": 1}]
    return {"type": kind, **draw(st.sampled_from(bounds))}


@given(schema=schemas(), wire=st.sampled_from(sorted(MODELS)))
def test_no_vendor_refuses_a_schema(schema: dict[str, Any], wire: str) -> None:
    before = json.dumps(schema)
    body = body_of(wire, request_of(wire, (user("Plan."),), tools=(), output_schema=schema))
    assert refusal(wire, body) is None
    assert json.dumps(schema) == before, "the schema itself is not touched"


def test_a_definition_that_leads_back_to_itself_is_told_in_words_where_the_vendor_has_no_form_for_it() -> None:
    assert fitted(TREE, "anthropic") is None
    assert fitted(TREE, "google") is not None


@pytest.mark.parametrize(
    ("name", "model", "tools", "form"),
    [
        ("deepseek", "deepseek-chat", False, "json_object"),
        ("deepseek", "deepseek-chat", True, "json_object"),
        ("moonshot", "kimi-k2", False, "json_object"),
        ("groq", "openai/gpt-oss-120b", False, "json_schema"),
        ("groq", "openai/gpt-oss-120b", True, None),
        ("groq", "llama-3.3-70b-versatile", False, None),
        ("huggingface", "x/y", False, None),
        ("openrouter", "x/y", True, "json_schema"),
        ("mistral", "mistral-small", False, "json_schema"),
        ("vllm", "x", False, "json_schema"),
        ("vllm", "x", True, None),
    ],
)
async def test_a_server_that_speaks_openais_protocol_is_told_as_its_row_says(
    vendors: Served, name: str, model: str, tools: bool, form: str | None
) -> None:
    world, base = vendors
    other = world.add_compatible("other", "/other/v1", model)
    other.wire.strict = True  # type: ignore[attr-defined]
    row = row_of(name)
    provider = CompatibleProvider(row, id="other", api_key="k", base_url=world.url(base, "other"))
    offered = (ADD,) if tools else ()
    turn = await answer(provider, ChatRequest(model, (user("Plan."),), "Be brief.", offered, output_schema=CLOSED))
    await provider.aclose()
    body = world.chats("other")[0].body_json
    assert body.get("response_format", {}).get("type") == form
    in_words = "JSON Schema below" in body["messages"][0]["content"]
    assert in_words is (form != "json_schema")
    assert bool([note for note in turn.notes if note.startswith("output_schema went as words")]) is in_words


OWN: dict[str, dict[str, Any]] = {
    "anthropic": {"output_config": {"effort": "low", "format": {"type": "text"}}},
    "openai": {"response_format": {"type": "text"}},
    "google": {"response_mime_type": "text/plain", "responseSchema": {"type": "STRING"}},
    "ollama": {"format": "json"},
}


@pytest.mark.parametrize("wire", OWN)
async def test_a_key_of_the_config_for_the_same_does_not_collide(vendors: Served, wire: str) -> None:
    world, base = vendors
    provider = mounted(world, base)[wire]
    turn = await answer(provider, ChatRequest(MODELS[wire], (user("Plan."),), config=OWN[wire], output_schema=CLOSED))
    await provider.aclose()
    body = world.chats(wire)[0].body_json
    assert sent_schema(wire, body) == CLOSED
    assert [note for note in turn.notes if note.endswith("output_schema stands in its place")]
    if wire == "anthropic":
        assert body["output_config"]["effort"] == "low"


@pytest.mark.parametrize("wire", OWN)
async def test_without_an_output_schema_the_config_is_the_users(vendors: Served, wire: str) -> None:
    world, base = vendors
    own = {"openai": {"response_format": {"type": "json_object"}}, "ollama": {"format": "json"}}.get(wire)
    if own is None:
        own = {"anthropic": {"output_config": {"effort": "low"}}, "google": {"response_mime_type": "application/json"}}[wire]
    provider = mounted(world, base)[wire]
    model = "claude-opus-4-6" if wire == "anthropic" else MODELS[wire]
    turn = await answer(provider, ChatRequest(model, (user("Answer in JSON."),), config=own))
    await provider.aclose()
    assert not [note for note in turn.notes if "output_schema" in note]


def test_models_before_structured_output_are_told_in_words() -> None:
    for name, model in (("anthropic", "claude-sonnet-4-20250514"), ("openai", "gpt-4-turbo"), ("google", "gemma-3-27b-it")):
        request, notes = prepared(row_of(name), ChatRequest(model, (user("Plan."),), output_schema=CLOSED), name)
        assert request.output_schema is None
        assert notes == (f"output_schema went as words: {model} takes no schema",)
        assert '"city"' in request.system
