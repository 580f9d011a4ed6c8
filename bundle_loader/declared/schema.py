"""JSON Schemas of agent, bundle and settings files, generated from the written models, for editors that complete and check."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from bundle_loader.declared.agent import WrittenAgent
from bundle_loader.declared.models_lock import WrittenLock
from bundle_loader.declared.recipe_written import ON_ERROR, WrittenRecipe
from bundle_loader.declared.settings import WrittenSettings
from bundle_loader.declared.tables import WrittenBundle
from bundle_loader.declared.tree import FALSE_WORDS, TRUE_WORDS

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
        "properties": {"include": {"anyOf": [{"type": _TEXT}, {"type": "array", "items": {"type": _TEXT}}, {"type": "null"}]}},
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


def models_lock_schema() -> dict[str, Any]:
    """The schema of `models.lock`."""
    made = _as_editors_read(WrittenLock.model_json_schema())
    made["properties"]["format"] = {"enum": [1, "1"]}
    described = "A lock file of bundle_loader: which models patterns are held to"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "description": described}


def _schema(model: Any, description: str) -> dict[str, Any]:
    made = _as_editors_read(model.model_json_schema())
    for noun in ("WrittenPreference", "WrittenStepPreference"):
        if noun in made["$defs"]:
            made["$defs"][noun] = _preference(made["$defs"][noun])
    for noun in ("WrittenRouteTest", "WrittenPin"):
        if noun in made["$defs"]:
            _narrow(noun, made["$defs"][noun])
    if "provider_preferences" in made["properties"]:
        made["properties"]["provider_preferences"] = _not_empty(made["properties"]["provider_preferences"])
    for table in (made["properties"].get("roles"), made["$defs"].get("WrittenProfile")):
        if table is not None:
            _cells(table)
    made["properties"]["format"] = {"enum": [1, "1", None]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "description": description}


def _preference(element: dict[str, Any]) -> dict[str, Any]:
    """`provider/glob`, `base`, a pair, or the name of a tier; in a step also a role, or a provider alone."""
    element["properties"].pop("base", None)
    nothing = {"enum": [None, ""]}
    said: dict[str, Any] = {"type": _TEXT, "not": {"const": ""}}
    pair = {"properties": {"provider": said, "model": said, "tier": {"type": "null"}}, "required": ["provider", "model"]}
    unsaid: dict[str, Any] = {"provider": nothing, "model": nothing, "config": {"enum": [None, {}]}}
    tier = {"properties": {"tier": {"type": _TEXT}, **unsaid}, "required": ["tier"]}
    text = {"type": "string", "pattern": r"^base$|^[^/]*[^/\s][^/]*/[\s\S]*\S"}
    forms: list[dict[str, Any]] = [pair, tier]
    if "class" in element["properties"]:
        alone = {"provider": said, **_no("tier", "role", "class")}
        of_tier = {"tier": {"type": _TEXT}, **unsaid, **_no("role", "class")}
        forms = [{"properties": alone, "required": ["provider"]}, {"properties": of_tier, "required": ["tier"]}]
        for key, other in (("role", "class"), ("class", "role")):
            named = {key: {"type": _TEXT, "pattern": r"\S"}, **_no(other, "tier"), **unsaid}
            forms.append({"properties": named, "required": [key]})
    return {"anyOf": [text, {**element, "anyOf": forms}]}


def _no(*keys: str) -> dict[str, Any]:
    return {key: {"type": "null"} for key in keys}


def _narrow(noun: str, element: dict[str, Any]) -> None:
    properties = element["properties"]
    if noun == "WrittenRouteTest":
        # a test without an expectation says nothing, and null leaves it none
        properties["expect"] = next(one for one in properties["expect"]["anyOf"] if one != {"type": "null"})
        return
    keys = ("tier", "provider_preferences", "model_role")
    unsaid: dict[str, Any] = {"enum": [None, "", []]}
    element["oneOf"] = [{"required": [key], "properties": {key: {"not": unsaid}}} for key in keys]


def _not_empty(field: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [{**one, "minItems": 1} if one.get("type") == "array" else one for one in field["anyOf"]]}


def _cells(table: dict[str, Any]) -> None:
    """A cell may be the name of a tier in place of a list."""
    for one in table.get("anyOf", (table,)):
        inner = one.get("additionalProperties")
        if isinstance(inner, dict):
            _cells(inner)
        elif one.get("type") == "array":
            table["anyOf"].append({"type": _TEXT})
            return


def _words(words: frozenset[str]) -> str:
    """A pattern of these words in any case; patterns of JSON Schema have no flag for it."""
    return "|".join(
        "".join(f"[{letter.upper()}{letter}]" if letter.isalpha() else letter for letter in word) for word in sorted(words)
    )


_FLAG: Final[dict[str, Any]] = {
    "anyOf": [
        {"type": "boolean"},
        {"enum": [0, 1]},
        {"type": "string", "pattern": f"^({_words(TRUE_WORDS | FALSE_WORDS)})$"},
    ]
}


def _as_editors_read(node: Any) -> Any:
    """Without titles and defaults; text where YAML may see a number; a list of texts may be a single one."""
    if isinstance(node, list):
        return [_as_editors_read(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {key: _as_editors_read(value) for key, value in node.items() if key not in ("title", "default")}
    if "properties" in node:
        kept["properties"] = {name: _as_editors_read(value) for name, value in node["properties"].items()}
    kind = kept.get("type")
    if kind == "boolean":
        return _FLAG
    if kind == "integer" and kept.get("minimum") in (None, 1):
        digits = {"type": "string", "pattern": r"^\s*\+?0*[1-9][0-9]*(\.0+)?\s*$" if kept.get("minimum") else r"^[-+]?[0-9]+$"}
        return {"anyOf": [kept, digits]}
    if kind == "string" and "enum" not in kept and "const" not in kept and "pattern" not in kept:
        kept["type"] = _TEXT
    items = kept.get("items")
    if kind == "array" and isinstance(items, dict) and "$ref" not in items and "properties" not in items:
        return {"anyOf": [kept, items]}
    return kept


SCHEMAS: Final[dict[str, Callable[[], dict[str, Any]]]] = {
    "agent": agent_schema,
    "bundle": bundle_schema,
    "settings": settings_schema,
    "recipe": recipe_schema,
    "models-lock": models_lock_schema,
}
"""What is written in a file of its own -> the schema of that file."""
