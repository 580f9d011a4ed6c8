"""JSON Schemas of agent, bundle and settings files, generated from the written models, for editors that complete and check."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from bundle_loader.declared.agent import WrittenAgent
from bundle_loader.declared.recipe_written import ON_ERROR, WrittenRecipe
from bundle_loader.declared.settings import WrittenSettings
from bundle_loader.declared.tables import WrittenBundle

_TEXT = ["string", "number", "boolean"]
"""What an editor may take a text for: `version: 1.10` and `name: no` arrive as text here, whatever YAML says."""


def agent_schema() -> dict[str, Any]:
    """The schema of an agent file's header."""
    return _schema(WrittenAgent, "The header of an agent file of bundle_loader")


def bundle_schema() -> dict[str, Any]:
    """The schema of a bundle file; each of `agents` but `include` is a patch of the agent's keys."""
    schema = _schema(WrittenBundle, "A bundle file of bundle_loader, or its header")
    patch = agent_schema()
    schema["$defs"] = {**patch["$defs"], **schema["$defs"]}
    schema["$defs"]["AgentPatch"] = {key: patch[key] for key in ("type", "properties", "additionalProperties")}
    schema["properties"]["agents"] = {
        "type": ["object", "null"],
        "properties": {"include": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}},
        "additionalProperties": {"anyOf": [{"$ref": "#/$defs/AgentPatch"}, {"type": "null"}]},
    }
    return schema


def settings_schema() -> dict[str, Any]:
    """The schema of a settings file."""
    return _schema(WrittenSettings, "A settings file of bundle_loader")


def recipe_schema() -> dict[str, Any]:
    """The schema of a recipe file; what is short for a mapping (`retry: 3`) is taken as well."""
    schema = _schema(WrittenRecipe, "A recipe file of bundle_loader")
    step = schema["$defs"]["WrittenStep"]["properties"]
    for properties in (step, schema["$defs"]["WrittenStage"]["properties"]):
        properties["approval"]["anyOf"].append({"type": ["boolean", "string"]})
    step["retry"]["anyOf"].append({"type": ["integer", "string"]})
    step["parallel"] = {
        "anyOf": [step["parallel"], {"type": "array", "items": {"$ref": "#/$defs/WrittenStep"}}, {"type": "null"}]
    }
    goto = {"type": "object", "properties": {"goto": {"type": "string"}}, "required": ["goto"], "additionalProperties": False}
    words = {"enum": [*ON_ERROR, None]}
    step["on_error"] = {"anyOf": [words, {"type": "string", "pattern": r"^\s*goto\s*:\s*\S"}, goto]}
    return schema


def _schema(model: Any, description: str) -> dict[str, Any]:
    made = _as_editors_read(model.model_json_schema())
    element = made["$defs"]["WrittenPreference"]
    element["properties"].pop("base", None)
    made["$defs"]["WrittenPreference"] = {"anyOf": [{"type": "string"}, element]}
    made["properties"]["format"] = {"enum": [1, "1", None]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "description": description}


def _as_editors_read(node: Any) -> Any:
    """Without titles and defaults; text where YAML may see a number; a list of texts may be a single one."""
    if isinstance(node, list):
        return [_as_editors_read(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {key: _as_editors_read(value) for key, value in node.items() if key not in ("title", "default")}
    if "properties" in node:
        kept["properties"] = {name: _as_editors_read(value) for name, value in node["properties"].items()}
    if kept.get("type") == "string" and "enum" not in kept:
        kept["type"] = _TEXT
    if kept.get("type") == "array" and kept.get("items") == {"type": _TEXT}:
        return {"anyOf": [kept, {"type": _TEXT}]}
    return kept


SCHEMAS: Final[dict[str, Callable[[], dict[str, Any]]]] = {
    "agent": agent_schema,
    "bundle": bundle_schema,
    "settings": settings_schema,
    "recipe": recipe_schema,
}
"""What is written in a file of its own -> the schema of that file."""
