"""Neutral messages as plain JSON values, and back."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import lru_cache
from typing import Any, Final, get_args

from bundle_loader.messages import Message, Part

_BYTES: Final = "base64"
_PARTS: Final[Mapping[str, type]] = {kind.__name__: kind for kind in get_args(Part)}


def to_json(message: Message) -> dict[str, Any]:
    """A message as JSON's own types; each part names its kind, and what is as usual is left out."""
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
    for name, usual in _usually(kind):
        value = getattr(part, name)
        if value != usual:
            said[name] = value if type(value) is str else _plain(value)
    return said


@lru_cache(maxsize=16)
def _usually(kind: type) -> tuple[tuple[str, Any], ...]:
    """The fields of a part, each with what it usually holds."""
    return tuple((field.name, _usual(field)) for field in fields(kind))


def _usual(field: Any) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _plain(value: Any) -> Any:
    if value is None or type(value) in (str, int, bool):
        return value
    if isinstance(value, (bytes, bytearray)):
        return {_BYTES: base64.b64encode(value).decode("ascii")}
    if type(value).__name__ in _PARTS and isinstance(value, _PARTS[type(value).__name__]):
        return _part(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def _made(value: Any) -> Any:
    if not isinstance(value, dict) or value.get("kind") not in _PARTS:
        kind = value.get("kind") if isinstance(value, dict) else value
        raise ValueError(f"is no message: it has a part of the unknown kind {kind!r}")
    kind = _PARTS[value["kind"]]
    found: dict[str, Any] = {}
    for field in fields(kind):
        if field.name not in value:
            if _usual(field) is MISSING:
                raise ValueError(f"is no message: a part {value['kind']} has no '{field.name}'")
            continue
        found[field.name] = _field(value["kind"], field.name, str(field.type), value[field.name])
    return kind(**found)


def _field(kind: str, name: str, declared: str, value: Any) -> Any:
    said = _back(value)
    if declared.startswith("tuple") and isinstance(said, list):
        return tuple(_made(item) if isinstance(item, dict) and item.get("kind") in _PARTS else item for item in said)
    allowed = tuple(type for word, type in _TYPES.items() if word in declared.replace("[", " ").replace("|", " ").split())
    if (said is None and "None" in declared) or not allowed or isinstance(said, allowed):
        return said
    raise ValueError(f"is no message: '{name}' of a part {kind} is a {type(said).__name__}")


_TYPES: Final[Mapping[str, type]] = {"str": str, "bool": bool, "bytes": bytes, "int": int, "float": float, "Mapping": dict}


def _back(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {_BYTES} and isinstance(value[_BYTES], str):
            try:
                return base64.b64decode(value[_BYTES], validate=True)
            except binascii.Error as error:
                raise ValueError(f"is no message: {error}") from None
        return {key: _back(item) for key, item in value.items()} if value.get("kind") not in _PARTS else value
    return [_back(item) for item in value] if isinstance(value, list) else value
