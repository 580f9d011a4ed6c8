"""Neutral messages as plain JSON values, and back, without loss; what is as usual is left out."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import lru_cache
from typing import Any, Final, get_args

from pydantic_core import to_jsonable_python

from bundle_loader.delegation.plain import any_from_plain, any_to_plain
from bundle_loader.messages import Message, Part

_PARTS: Final[Mapping[str, type]] = {kind.__name__: kind for kind in get_args(Part)}
_TYPES: Final[Mapping[str, type]] = {"str": str, "bool": bool, "bytes": str, "Mapping[str, Any]": dict, "tuple[Blob, ...]": list}
"""The types of fields, without None -> what JSON has of them."""


def to_json(message: Message) -> dict[str, Any]:
    """A message as JSON's own types; each part names its kind."""
    return {"role": message.role, "parts": [_part(part) for part in message.parts]}


def from_json(value: Any) -> Message:
    """The message of `to_json`. Raises ValueError for anything else."""
    if not isinstance(value, dict) or value.get("role") not in ("user", "assistant", "tool"):
        raise ValueError("is no message: it has no role of user, assistant and tool")
    parts = value.get("parts")
    if not isinstance(parts, list):
        raise ValueError("is no message: its parts are no list")
    return Message(value["role"], tuple(_made(part) for part in parts))


def _part(part: Any) -> dict[str, Any]:
    kind: Any = type(part)
    said: dict[str, Any] = {"kind": kind.__name__}
    for name, declared, usual, _ in _fields(kind):
        value = getattr(part, name)
        if value != usual:
            said[name] = value if declared in ("str", "bool") or value is None else _written(declared, value)
    return said


@lru_cache(maxsize=16)
def _fields(kind: type) -> tuple[tuple[str, str, Any, bool], ...]:
    """The fields of a part: name, type, what it usually holds, and whether that may be None."""
    found = []
    for field in fields(kind):
        usual = field.default_factory() if field.default_factory is not MISSING else field.default
        declared = str(field.type)
        found.append((field.name, declared.removesuffix(" | None"), usual, declared.endswith(" | None")))
    return tuple(found)


def _written(declared: str, value: Any) -> Any:
    if declared == "bytes":
        return base64.b64encode(value).decode("ascii")
    if declared == "tuple[Blob, ...]":
        return [_part(blob) for blob in value]
    try:
        return any_to_plain(value)
    except TypeError:
        # no JSON, so no model has said it: it is kept as well as it can be
        return to_jsonable_python(value, fallback=str, serialize_unknown=True)


def _made(value: Any) -> Any:
    if not isinstance(value, dict) or value.get("kind") not in _PARTS:
        kind = value.get("kind") if isinstance(value, dict) else value
        raise ValueError(f"is no message: it has a part of the unknown kind {kind!r}")
    kind = _PARTS[value["kind"]]
    found: dict[str, Any] = {}
    for name, declared, usual, optional in _fields(kind):
        if name in value:
            found[name] = None if optional and value[name] is None else _read(value["kind"], name, declared, value[name])
        elif usual is MISSING:
            raise ValueError(f"is no message: a part {value['kind']} has no '{name}'")
    return kind(**found)


def _read(kind: str, name: str, declared: str, value: Any) -> Any:
    wanted: Any = _TYPES[declared]
    if not isinstance(value, wanted):
        raise ValueError(f"is no message: '{name}' of a part {kind} is a {type(value).__name__}")
    if declared in ("str", "bool"):
        return value
    if declared == "tuple[Blob, ...]":
        return tuple(map(_made, value))
    try:
        found = base64.b64decode(value, validate=True) if declared == "bytes" else any_from_plain(value)
    except (binascii.Error, ArithmeticError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"is no message: '{name}' of a part {kind} cannot be read: {error}") from None
    if declared != "bytes" and not isinstance(found, dict):
        raise ValueError(f"is no message: '{name}' of a part {kind} is a {type(found).__name__}")
    return found
