"""A JSON Schema for an answer in the form that a vendor takes, or as words where it takes none."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Dialect = Literal["openai", "anthropic", "google", "plain"]

_KNOWN_FORMATS: Final = "date-time time date duration email hostname uri ipv4 ipv6 uuid"
_STRICT_WORDS: Final = (
    "type properties required additionalProperties items enum const anyOf $ref $defs definitions description title pattern format"
    " multipleOf minimum maximum exclusiveMinimum exclusiveMaximum minItems maxItems"
)
_GOOGLE_WORDS: Final = (
    "$id $anchor $ref $defs type format title description enum prefixItems items minItems maxItems minimum maximum anyOf oneOf"
    " properties additionalProperties required"
)
_FORMATS: Final = frozenset(_KNOWN_FORMATS.split())
_STRICT: Final = frozenset(_STRICT_WORDS.split())
_GOOGLE: Final = frozenset(_GOOGLE_WORDS.split())
_SCALARS: Final = (str, int, float, bool, type(None))
_IN_ORDER: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_BY_NAME: Final = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")
_WITHIN: Final = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")
_STRICT_DEPTH: Final = 10
_STRICT_PROPERTIES: Final = 5000


class _NotExpressible(Exception):
    """The vendor's form has no words for a part of the schema."""


def in_words(schema: Mapping[str, Any]) -> str:
    """What a system text says of the schema where the vendor has no other way."""
    written = json.dumps(schema, ensure_ascii=False, default=str)
    return (
        "Your final answer is one JSON value that is valid against the JSON Schema below, and nothing else: no other words, no"
        f" Markdown fence.\n{written}"
    )


def fitted(schema: Mapping[str, Any], dialect: Dialect) -> dict[str, Any] | None:
    """The schema as the vendor takes it, or None where it has no form for it: then it is told in words.

    What a vendor's form lacks (bounds, lengths) is told in the description instead; the answer is checked against the
    schema as it was declared. Openai: the schema as it is, of an object. Anthropic: objects are closed. Google: the
    keywords that it knows. Plain: as it is.
    """
    plain: dict[str, Any] = _plain(schema)
    plain.pop("$schema", None)
    if not plain:
        return None
    if dialect == "plain":
        return plain
    if dialect == "openai":
        return plain if plain.get("type") == "object" else None
    try:
        if dialect == "google":
            return _google(plain)
        if _loops(plain):
            return None
        return _closed(plain)
    except _NotExpressible:
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


def _inner(schema: Any) -> Iterator[dict[str, Any]]:
    """The schemas right inside a schema."""
    if not isinstance(schema, dict):
        return
    for key in _BY_NAME:
        table = schema.get(key)
        if isinstance(table, dict):
            yield from (value for value in table.values() if isinstance(value, dict))
    for key in _IN_ORDER:
        listed = schema.get(key)
        if isinstance(listed, list):
            yield from (value for value in listed if isinstance(value, dict))
    for key in _WITHIN:
        if isinstance(schema.get(key), dict):
            yield schema[key]


@dataclass(slots=True)
class _Seen:
    properties: int = 0


def is_strict(schema: Mapping[str, Any]) -> bool:
    """Whether OpenAI's strict mode takes a schema: objects closed and every property required, known keywords only."""
    return schema.get("type") == "object" and "anyOf" not in schema and _strict(schema, 1, _Seen())


def _strict(schema: Mapping[str, Any], depth: int, seen: _Seen) -> bool:
    if depth > _STRICT_DEPTH or not schema.keys() <= _STRICT or not schema:
        return False
    kinds = schema.get("type")
    if kinds == "object" or (isinstance(kinds, list) and "object" in kinds) or "properties" in schema:
        properties = schema.get("properties", {})
        seen.properties += len(properties)
        if schema.get("additionalProperties") is not False or set(schema.get("required") or ()) != set(properties):
            return False
        if seen.properties > _STRICT_PROPERTIES:
            return False
    if (kinds == "array" or (isinstance(kinds, list) and "array" in kinds)) and not isinstance(schema.get("items"), dict):
        return False
    if "$ref" in schema and (len(schema) > 1 or not str(schema["$ref"]).startswith("#")):
        return False
    if "format" in schema and schema["format"] not in _FORMATS - {"uri"}:
        return False
    if not any(key in schema for key in ("type", "anyOf", "$ref", "enum", "const")):
        return False
    return all(_strict(inner, depth + (0 if "$ref" in inner else 1), seen) for inner in _inner(schema))


def _loops(schema: dict[str, Any]) -> bool:
    """Whether a definition leads back to itself, or a reference leads out of the schema."""
    definitions = {f"#/{key}/{name}": value for key in ("$defs", "definitions") for name, value in schema.get(key, {}).items()}
    leads = {place: set(_references(value)) for place, value in definitions.items()}
    if any(target not in leads for target in _references(schema)):
        return True
    done: set[str] = set()
    while True:
        free = {place for place, targets in leads.items() if place not in done and targets <= done}
        if not free:
            return len(done) < len(leads)
        done |= free


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        for inner in _inner(schema):
            yield from _references(inner)


def _closed(schema: Any) -> dict[str, Any]:
    """As Anthropic takes it. Raises _NotExpressible for what would change its meaning: open objects, or anything at all."""
    if not isinstance(schema, dict):
        raise _NotExpressible
    left = dict(schema)
    written: dict[str, Any] = {}
    for key in ("$defs", "definitions"):
        if key in left:
            written[key] = {name: _closed(value) for name, value in left.pop(key).items()}
    if "$ref" in left:
        return {**written, "$ref": left["$ref"]}
    literal = "const" in left or "enum" in left
    values = [left["const"]] if "const" in left else left.get("enum", [])
    if not all(isinstance(value, _SCALARS) for value in values):
        raise _NotExpressible
    for key in ("const", "enum"):
        if key in left:
            written[key] = left.pop(key)
    many = next((key for key in ("anyOf", "oneOf", "allOf") if key in left), None)
    if many is not None:
        written["allOf" if many == "allOf" else "anyOf"] = [_closed(value) for value in left.pop(many)]
    kind = left.pop("type", None)
    if kind is not None and not literal and many is None:
        written["type"] = kind
    elif kind is None and not literal and many is None:
        raise _NotExpressible
    if any(key in left for key in ("not", "if", "patternProperties", "dependentSchemas", "oneOf", "anyOf", "allOf")):
        raise _NotExpressible
    written |= {key: left.pop(key) for key in ("title", "description") if key in left}
    _closed_kind(kind, left, written)
    return _with_rest(written, left)


def _closed_kind(kind: Any, left: dict[str, Any], written: dict[str, Any]) -> None:
    kinds = kind if isinstance(kind, list) else [kind]
    if "object" in kinds and "type" in written:
        if left.pop("additionalProperties", False) is not False or not left.get("properties"):
            raise _NotExpressible
        written["properties"] = {name: _closed(value) for name, value in left.pop("properties").items()}
        written["additionalProperties"] = False
        if "required" in left:
            written["required"] = left.pop("required")
    if "array" in kinds and "items" in left:
        written["items"] = _closed(left.pop("items"))
    if left.get("minItems") in (0, 1):
        written["minItems"] = left.pop("minItems")
    if left.get("format") in _FORMATS:
        written["format"] = left.pop("format")


def _google(schema: Any) -> dict[str, Any]:
    if not isinstance(schema, dict):
        raise _NotExpressible
    left = dict(schema)
    if "definitions" in left or any(key in left for key in ("allOf", "not", "if", "patternProperties")):
        raise _NotExpressible
    if isinstance(left.get("const"), str | int | float):
        left["enum"] = [left.pop("const")]
    written: dict[str, Any] = {}
    for key in [key for key in left if key in _GOOGLE]:
        value = left.pop(key)
        if key in ("properties", "$defs"):
            value = {name: _google(inner) for name, inner in value.items()}
        elif key in ("anyOf", "oneOf", "prefixItems"):
            value = [_google(inner) for inner in value]
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            value = _google(value)
        written[key] = value
    return _with_rest(written, left)


def _with_rest(written: dict[str, Any], left: dict[str, Any]) -> dict[str, Any]:
    """The keywords that have no place, as words of the description."""
    for key in ("default", "examples", "$comment", "$schema", "deprecated", "readOnly", "writeOnly"):
        left.pop(key, None)
    if left:
        words = f"JSON schema: {json.dumps(left, ensure_ascii=False, default=str)}"
        said = written.get("description")
        written["description"] = f"{said} {words}" if said else words
    return written
