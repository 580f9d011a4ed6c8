"""An answer that must be one JSON value of a schema: read, checked, and said what is wrong with it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from math import isfinite
from typing import Any, Final, NoReturn

from bundle_loader.delegation.sound_text import sound_value
from bundle_loader.errors import InvalidOutput, RequestError
from bundle_loader.messages import Finish
from bundle_loader.providers.sdk_import import imported

MOST_FAULTS: Final = 10
"""Faults that a model, or a caller, is told at once."""
_MOST_OF_A_FAULT: Final = 300
_PLAIN: Final = ("const", "enum", "default", "examples")
"""Keywords whose values are no schemas."""
_OPENING: Final = re.compile(r"(`{3,}+|~{3,}+)[ \t]*+(?:(?:json|JSON)[ \t]*+)?\r?\n")


class NotFitting(ValueError):
    """An answer is no JSON value, or none of the schema. `faults` says all that is wrong, one line each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


class Expected:
    """What an answer must be. Made by `expected`."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        import jsonschema
        import referencing
        from referencing.jsonschema import DRAFT202012

        self.schema = schema
        kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
        try:
            kind.check_schema(schema)
        except jsonschema.SchemaError as error:
            raise RequestError(f"output_schema is no JSON Schema: {error.json_path}: {_short(error.message)}") from None
        # nothing is fetched: a reference leads to a place in the schema itself
        registry = referencing.Registry()
        self._validator = kind(schema, registry=registry)
        self._unresolvable = referencing.exceptions.Unresolvable
        self._best = jsonschema.exceptions.best_match
        if not any("$id" in node for node in _nodes(schema)):
            resource = referencing.Resource.from_contents(schema, default_specification=DRAFT202012)
            resolver = registry.with_resource("", resource).resolver()
            for node in _nodes(schema):
                self._look_up(resolver, node.get("$ref"))

    def _look_up(self, resolver: Any, reference: Any) -> None:
        if isinstance(reference, str):
            try:
                resolver.lookup(reference)
            except self._unresolvable:
                raise _no_such(reference) from None

    def value(self, text: str, finish: Finish = "stop") -> Any:
        """The value that an answer is: bare, or alone in one fence. Raises NotFitting."""
        value = parsed(text, finish)
        self.check(value)
        return value

    def check(self, value: Any) -> None:
        """Raises NotFitting for a value that the schema does not take."""
        faults = []
        try:
            for error in self._validator.iter_errors(value):
                leaf = self._best([error])
                faults.append(f"{leaf.json_path}: {_short(leaf.message)}")
                if len(faults) == MOST_FAULTS:
                    break
        except self._unresolvable as error:
            raise _no_such(getattr(error, "ref", "")) from None
        except RecursionError:
            faults = ["$: goes deeper than can be checked"]
        if faults:
            raise NotFitting(faults)


async def expected(schema: Mapping[str, Any]) -> Expected:
    """What the schema asks for. Raises RequestError for what is no JSON Schema, or refers to what is not in it."""
    await imported("jsonschema", ("referencing",))
    try:
        return _expected(json.dumps(schema))
    except (TypeError, ValueError) as error:
        raise RequestError(f"output_schema is no JSON: {error}") from None


@lru_cache(maxsize=256)
def _expected(written: str) -> Expected:
    return Expected(json.loads(written))


def parsed(text: str, finish: Finish = "stop") -> Any:
    """The one JSON value that a text is, bare or alone in one fence. Raises NotFitting for anything else."""
    said = text.strip()
    opening = _OPENING.match(said)
    fenced = opening is not None and said.endswith(opening[1], opening.end())
    try:
        written = said[opening.end() : -len(opening[1])] if opening is not None and fenced else said
        return sound_value(json.loads(written, object_pairs_hook=_once, parse_constant=_no_number, parse_float=_finite))
    except RecursionError:
        raise NotFitting(["the JSON goes deeper than can be read"]) from None
    except _Twice as error:
        raise NotFitting([str(error)]) from None
    except ValueError as error:
        why = "the answer was cut at its most tokens" if finish == "length" else _where(error)
        raise NotFitting([f"the answer is not one JSON value: {why}" if said else "the answer is empty"]) from None


class _Twice(ValueError):
    """A key that says two things."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in made if names.count(name) > 1)
        raise _Twice(f"the key {_short(repr(twice))} is there twice in one object")
    return made


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


def _finite(word: str) -> float:
    number = float(word)
    return number if isfinite(number) else _no_number(word)


def _where(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} (line {error.lineno}, column {error.colno})"
    return str(error)


def invalid_output(agent: str, faults: Sequence[str], text: str, *, told: bool, **reasons: Any) -> InvalidOutput:
    """The failure of a delegation whose answer does not fit; `told` where the model was told so and answered once more."""
    again = ", also after it was told why" if told else ""
    listed = "".join(f"\n  {fault}" for fault in faults)
    message = f"agent '{agent}': the answer does not fit its output_schema{again}:{listed}"
    return InvalidOutput(message, faults=faults, text=text, **reasons)


def repair(faults: tuple[str, ...], schema: Mapping[str, Any]) -> str:
    """What a model is told of an answer that does not fit."""
    listed = "\n".join(f"- {fault}" for fault in faults)
    return (
        f"Your answer does not fit what was asked for:\n{listed}\n\n"
        "Answer again with the whole JSON value, and nothing before or after it. It must fit this JSON Schema:\n"
        f"{json.dumps(schema, ensure_ascii=False)}"
    )


def _short(text: str) -> str:
    return text if len(text) <= _MOST_OF_A_FAULT else text[: _MOST_OF_A_FAULT - 3] + "..."


def _no_such(reference: str) -> RequestError:
    return RequestError(f"output_schema refers to '{reference}', which is not in it; nothing is fetched from elsewhere")


def _nodes(node: Any) -> Iterator[Mapping[str, Any]]:
    """Every mapping within a schema."""
    left = [node]
    while left:
        node = left.pop()
        if isinstance(node, Mapping):
            yield node
            left += [value for key, value in node.items() if key not in _PLAIN]
        elif isinstance(node, list):
            left += node
