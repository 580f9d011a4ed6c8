"""Whether what is written as a JSON Schema is one: the values of the keywords that the 2020-12 vocabulary knows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

from bundle_loader.declared.tree import path_text
from bundle_loader.declared.written import WrongWithin
from bundle_loader.errors import did_you_mean

Path: TypeAlias = tuple[str | int, ...]
Wrong: TypeAlias = Iterator[tuple[Path, str]]

TYPES: Final = ("object", "array", "string", "number", "integer", "boolean", "null")
_MAX_DEPTH: Final = 40
_NOT_PYTHON: Final = ("\\p", "\\P", "\\u{", "\\c", "(?<")
"""What regular expressions of JSON Schema have and Python's have not: they cannot be judged here."""


def check_output_schema(schema: dict[str, Any] | None) -> dict[str, Any] | None:
    """The schema of an answer; raises WrongWithin that names all that is wrong in it. Keywords that nobody knows say nothing."""
    found = list(_schema(schema, (), 0)) if schema is not None else []
    if found:
        raise WrongWithin([(path, f"{path_text(path)}: {message}" if path else message) for path, message in found])
    return schema


def _schema(value: Any, path: Path, depth: int) -> Wrong:
    if isinstance(value, bool):
        return
    if not isinstance(value, dict):
        yield path, "a schema is 'key: value' lines, or true or false"
        return
    if depth > _MAX_DEPTH:
        yield path, f"schemas within schemas more than {_MAX_DEPTH} deep"
        return
    for key, item in value.items():
        check = _KEYWORDS.get(key)
        # null takes out what was inherited
        if check is not None and not (item is None and key not in ("const", "default", "examples")):
            yield from check(item, (*path, key), depth + 1)
    if "type" not in value and not any(key in _KEYWORDS for key in value):
        near = next((near for key in value if (near := did_you_mean(key, list(_KEYWORDS), 0.75))), "")
        if near:
            yield (*path, next(iter(value))), f"is no keyword of JSON Schema{near}"


def _type(value: Any, path: Path, depth: int) -> Wrong:
    listed = isinstance(value, list)
    if listed and not value:
        yield path, f"names no type; write one of {', '.join(TYPES)}"
    for index, word in enumerate(value if listed else [value]):
        here = (*path, index) if listed else path
        if word not in TYPES:
            near = did_you_mean(word, TYPES) if isinstance(word, str) else ""
            yield here, f"{str(word)[:60]!r} is no type; write one of {', '.join(TYPES)}{near}"
        elif listed and word in value[:index]:
            yield here, f"'{word}' is written twice"


def _table(value: Any, path: Path, depth: int) -> Wrong:
    if not isinstance(value, dict):
        yield path, "write 'name: schema' lines"
        return
    for name, item in value.items():
        if item is not None:
            yield from _schema(item, (*path, name), depth)


def _patterns(value: Any, path: Path, depth: int) -> Wrong:
    yield from _table(value, path, depth)
    for name in value if isinstance(value, dict) else ():
        yield from _pattern(name, (*path, name), depth)


def _many(value: Any, path: Path, depth: int) -> Wrong:
    if not isinstance(value, list) or not value:
        yield path, "write a list of schemas"
        return
    for index, item in enumerate(value):
        yield from _schema(item, (*path, index), depth)


def _texts(value: Any, path: Path, depth: int) -> Wrong:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        yield path, "write a list of names"
    elif len(set(value)) < len(value):
        yield path, "a name is written twice"


def _names_of(value: Any, path: Path, depth: int) -> Wrong:
    if not isinstance(value, dict):
        yield path, "write 'name: [names]' lines"
        return
    for name, item in value.items():
        yield from _texts(item, (*path, name), depth)


def _enum(value: Any, path: Path, depth: int) -> Wrong:
    if not isinstance(value, list):
        yield path, "write a list of values"


def _pattern(value: Any, path: Path, depth: int) -> Wrong:
    if not isinstance(value, str):
        yield path, "write a regular expression"
        return
    if any(part in value for part in _NOT_PYTHON):
        return
    try:
        re.compile(value)
    except (re.error, RecursionError, OverflowError) as error:
        yield path, f"is no regular expression: {error}"


def _number(value: Any, path: Path, depth: int) -> Wrong:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        yield path, "write a number"


def _positive(value: Any, path: Path, depth: int) -> Wrong:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        yield path, "write a number above 0"


def _count(value: Any, path: Path, depth: int) -> Wrong:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0 or value != int(value):
        yield path, "write a whole number, 0 or more"


def _flag(value: Any, path: Path, depth: int) -> Wrong:
    if not isinstance(value, bool):
        yield path, "write true or false"


def _text(value: Any, path: Path, depth: int) -> Wrong:
    if not isinstance(value, str):
        yield path, "write text"


_GROUPS: Final[tuple[tuple[Callable[[Any, Path, int], Wrong], tuple[str, ...]], ...]] = (
    (_type, ("type",)),
    (_table, ("properties", "$defs", "definitions", "dependentSchemas")),
    (_patterns, ("patternProperties",)),
    (_many, ("allOf", "anyOf", "oneOf", "prefixItems")),
    (
        _schema,
        (
            "items",
            "contains",
            "additionalProperties",
            "propertyNames",
            "unevaluatedItems",
            "unevaluatedProperties",
            "not",
            "if",
            "then",
            "else",
        ),
    ),
    (_texts, ("required",)),
    (_names_of, ("dependentRequired",)),
    (_enum, ("enum", "examples")),
    (_pattern, ("pattern",)),
    (_number, ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")),
    (_positive, ("multipleOf",)),
    (
        _count,
        (
            "minLength",
            "maxLength",
            "minItems",
            "maxItems",
            "minContains",
            "maxContains",
            "minProperties",
            "maxProperties",
        ),
    ),
    (_flag, ("uniqueItems", "deprecated", "readOnly", "writeOnly")),
    (_text, ("$ref", "$schema", "$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$comment", "title", "description", "format")),
)
_KEYWORDS: Final = {name: check for check, names in _GROUPS for name in names}
