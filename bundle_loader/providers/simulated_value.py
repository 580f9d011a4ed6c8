"""The least value that fits a JSON Schema: what a simulated model answers where a structured answer is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_WORD: Final = "simulated"
_MAX_DEPTH: Final = 20
_FORMATS: Final = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "email": "simulated@example.org",
    "uri": "https://example.org/simulated",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "hostname": "example.org",
}


def simulated_value(schema: Any) -> Any:
    """A value for `schema`, the same at every call.

    1. What the schema itself names: `const`, the first of `enum`, `default`, the first of `examples`.
    2. The first of `anyOf` and `oneOf`; all of `allOf` together.
    3. Of an object the required properties; of the others the least that the bounds allow. Texts are `simulated`.

    Patterns, and bounds that only hold together with `not` or `if`, are not read: such a value may not fit.
    """
    return _value(schema, schema, 0)


def _value(schema: Any, root: Any, depth: int) -> Any:
    if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
        return None
    schema = _whole(schema, root, depth)
    for word in ("const", "default"):
        if word in schema:
            return schema[word]
    for word in ("enum", "examples"):
        if schema.get(word):
            return schema[word][0]
    kind = schema.get("type")
    if isinstance(kind, (list, tuple)):
        kind = kind[0] if kind else None
    if kind is None:
        kind = "object" if "properties" in schema or "required" in schema else "array" if "items" in schema else "string"
    if kind == "object":
        properties = schema.get("properties") or {}
        return {name: _value(properties.get(name, {}), root, depth + 1) for name in schema.get("required") or ()}
    if kind == "array":
        first = [_value(item, root, depth + 1) for item in schema.get("prefixItems") or ()]
        more = int(schema.get("minItems") or 0) - len(first)
        return first + [_value(schema.get("items", {}), root, depth + 1) for _ in range(more)]
    if kind in ("integer", "number"):
        return _number(schema, whole=kind == "integer")
    return _text(schema) if kind == "string" else False if kind == "boolean" else None


def _whole(schema: Mapping[str, Any], root: Any, depth: int) -> Mapping[str, Any]:
    """The schema with what it refers to, and the first of what it leaves open, laid into it."""
    found = dict(schema)
    while depth <= _MAX_DEPTH:
        depth += 1
        parts = [_at(root, found.pop("$ref"))] if "$ref" in found else []
        parts += found.pop("allOf", None) or []
        parts += [options[0] for word in ("anyOf", "oneOf") if (options := found.pop(word, None))]
        if not parts:
            break
        for part in parts:
            if isinstance(part, Mapping):
                found = _laid(found, part)
    return found


def _laid(over: Mapping[str, Any], under: Mapping[str, Any]) -> dict[str, Any]:
    """Both schemas as one: properties and required names of both, else what `over` says."""
    both = {**under, **over}
    if "properties" in over and "properties" in under:
        both["properties"] = {**under["properties"], **over["properties"]}
    if "required" in over and "required" in under:
        both["required"] = list(dict.fromkeys([*under["required"], *over["required"]]))
    return both


def _at(root: Any, reference: Any) -> Any:
    """What a reference within the schema leads to; `{}` where it leads nowhere."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return {}
    here = root
    for word in reference[1:].split("/")[1:]:
        word = word.replace("~1", "/").replace("~0", "~")
        if isinstance(here, Mapping) and word in here:
            here = here[word]
        elif isinstance(here, list) and word.isdecimal() and int(word) < len(here):
            here = here[int(word)]
        else:
            return {}
    return here


def _number(schema: Mapping[str, Any], *, whole: bool) -> float | int:
    """0 where that is within the bounds, else what lies nearest to it."""
    step = schema.get("multipleOf") or (1 if whole else 0)
    least, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    most, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    value: float | int = 0
    if least is not None and value < least:
        value = -(-least // step) * step if step else least
    if above is not None and value <= above:
        value = (above // step + 1) * step if step else above + 1
        if not step and below is not None and value >= below:
            value = (above + below) / 2
    if most is not None and value > most:
        value = most // step * step if step else most
    if below is not None and value >= below:
        value = -(-below // step) * step - step if step else below - 1
    return int(value) if whole else value


def _text(schema: Mapping[str, Any]) -> str:
    text = _FORMATS.get(schema.get("format", ""), _WORD)
    least, most = int(schema.get("minLength") or 0), schema.get("maxLength")
    text += "." * (least - len(text))
    return text if most is None else text[: int(most)]
