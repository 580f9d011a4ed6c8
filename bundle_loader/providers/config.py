"""Neutral config keys turned into one vendor's, with a note for each that the model does not take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

from bundle_loader.providers.table import ProviderRow

NEUTRAL = frozenset({"temperature", "top_p", "top_k", "stop", "seed", "reasoning_effort"})
"""The keys that mean the same for every provider."""

OF_SCHEMAS: Final = frozenset({"output_schema", "output_schema_with_tools"})
"""What `refuses` of a row may name beside neutral keys."""
TWO_APIS: Final = ("openai", "azure-openai", "compatible")
"""Adapters whose requests may choose between two protocols, by the key `api`."""

_OWN = frozenset(
    {"model", "messages", "contents", "system", "system_instruction", "tools", "stream", "stream_options"}
    | {"input", "instructions"}
    | {"max_completion_tokens", "max_output_tokens", "num_predict"}
)


def translate(row: ProviderRow, model: str, config: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What to send for `config`, nested as the vendor wants it, and in words what was changed or dropped.

    Neutral keys go where the table says; keys that are not neutral go as they are. `max_tokens` is left out, it has
    a place of its own in a request; so are `api`, which chooses one, and the fields that a request itself decides, such as
    `messages`.
    """
    parameters: dict[str, Any] = {}
    notes: list[str] = []
    for key, given in config.items():
        if key == "max_tokens" or (given is None and key in NEUTRAL):
            continue
        if key == "api":
            notes += [] if row.adapter in TWO_APIS else [f"api dropped: {row.id} has one only"]
            continue
        if key in _OWN:
            notes.append(f"{key} dropped: a request's own field cannot be set by config")
        elif key not in NEUTRAL:
            _put(parameters, (key,), given)
        elif refused(row, model, key):
            notes.append(f"{key} dropped: {model} does not take it")
        else:
            value, note = _value(row, key, given)
            notes += note
            _put(parameters, row.config.get(key, key).split("."), value)
    return parameters, tuple(notes)


def refused(row: ProviderRow, model: str, key: str) -> bool:
    """Whether a model does not take what `refuses` of its row has under a key."""
    id = model.lower()
    patterns = row.refuses.get(key, ())
    if any(fnmatchcase(id, pattern[1:]) for pattern in patterns if pattern.startswith("!")):
        return False
    return any(fnmatchcase(id, pattern) for pattern in patterns)


def _value(row: ProviderRow, key: str, given: Any) -> tuple[Any, list[str]]:
    if key == "stop":
        return list(given) if isinstance(given, list | tuple) else [str(given)], []
    most = row.at_most.get(key)
    if most is not None and isinstance(given, int | float) and given > most:
        return most, [f"{key} lowered from {given:g} to {most:g}: {row.id} takes no more"]
    return given, []


def _put(target: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set a value at a path; a mapping that is already there is added to."""
    for step in path[:-1]:
        inner = target.get(step)
        target[step] = dict(inner) if isinstance(inner, Mapping) else {}
        target = target[step]
    last = path[-1]
    there = target.get(last)
    target[last] = {**there, **value} if isinstance(there, dict) and isinstance(value, Mapping) else value


def overlay(parameters: dict[str, Any], path: Sequence[str], value: Any) -> tuple[str, ...]:
    """Set what the agent's `output_schema` decides, in the place of what config says there; that is noted."""
    there: Any = parameters
    for step in path:
        there = there.get(step) if isinstance(there, Mapping) else None
    for key in reversed(path[1:]):
        value = {key: value}
    if len(path) > 1:
        _put(parameters, path[:1], value)
    else:
        parameters[path[0]] = value
    return () if there is None else (f"{'.'.join(path)} dropped: output_schema stands in its place",)
