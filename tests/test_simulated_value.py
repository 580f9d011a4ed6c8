"""The least value that fits a schema: what a simulated model answers where a structured answer is asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from bundle_loader.messages import Turn, user
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.simulated import SimulatedProvider
from bundle_loader.providers.simulated_value import simulated_value

TREE = {
    "$defs": {
        "node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}, "n": {"type": "integer"}}, "required": ["n"]}
    },
    "$ref": "#/$defs/node",
}
CASES: list[tuple[dict[str, Any], Any]] = [
    ({"type": "string"}, "simulated"),
    ({"type": "string", "minLength": 12}, "simulated..."),
    ({"type": "string", "maxLength": 3}, "sim"),
    ({"type": "string", "format": "date"}, "2026-01-01"),
    ({"type": "integer"}, 0),
    ({"type": "integer", "minimum": 3}, 3),
    ({"type": "integer", "exclusiveMinimum": 3, "multipleOf": 5}, 5),
    ({"type": "integer", "maximum": -2}, -2),
    ({"type": "integer", "maximum": -3, "multipleOf": 2}, -4),
    ({"type": "integer", "minimum": 4, "multipleOf": 3}, 6),
    ({"type": "integer", "exclusiveMaximum": -3, "multipleOf": 3}, -6),
    ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0.5),
    ({"type": "number", "exclusiveMinimum": 2.5}, 3.5),
    ({"type": "number", "minimum": 1.5, "multipleOf": 0.5}, 1.5),
    ({"type": "number", "exclusiveMaximum": 0}, -1),
    ({"type": "boolean"}, False),
    ({"type": "null"}, None),
    ({"type": ["null", "string"]}, None),
    ({"const": 5}, 5),
    ({"enum": ["b", "a"]}, "b"),
    ({"type": "integer", "default": 9}, 9),
    ({"type": "array", "items": {"type": "boolean"}}, []),
    ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, [False, False]),
    ({"type": "array", "prefixItems": [{"const": 1}, {"const": 2}]}, [1, 2]),
    ({"type": "object", "properties": {"a": {"type": "string"}, "b": {}}, "required": ["a"]}, {"a": "simulated"}),
    ({"properties": {"a": {"type": "null"}}, "required": ["a"]}, {"a": None}),
    ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, 0),
    ({"allOf": [{"required": ["a"]}, {"required": ["b"], "properties": {"b": {"const": 1}}}]}, {"b": 1, "a": "simulated"}),
    (TREE, {"n": 0}),
    ({}, "simulated"),
]


@pytest.mark.parametrize(("schema", "value"), CASES, ids=[json.dumps(schema)[:60] for schema, _ in CASES])
def test_the_least_value_fits_its_schema(schema: dict[str, Any], value: Any) -> None:
    found = simulated_value(schema)
    assert found == value
    assert list(Draft202012Validator(schema).iter_errors(found)) == []


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#/nowhere"},
        {"$defs": {"a": {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "required": ["a"]}}, "$ref": "#/$defs/a"},
        {"allOf": [{"$ref": "#"}]},
        True,
    ],
)
def test_a_schema_that_leads_back_to_itself_comes_to_an_end(schema: Any) -> None:
    json.dumps(simulated_value(schema))


async def test_a_simulated_model_answers_with_a_value_that_fits() -> None:
    schema = {
        "type": "object",
        "properties": {"verdict": {"enum": ["good", "bad"]}, "lines": {"type": "array"}},
        "required": ["verdict"],
    }
    provider = SimulatedProvider("anthropic")
    request = ChatRequest("claude-opus-5", (user("Judge"),), output_schema=schema)
    parts = [part async for part in provider.stream(request)]
    assert isinstance(parts[-1], Turn)
    assert json.loads(parts[-1].message.text) == {"verdict": "good"}
