"""Values as JSON's own types and back, by the types of their fields: nothing is lost on the way to another process."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from types import UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

KIND: Final = "kind"
"""The key that names the class of a value where its field may hold several."""
TAG: Final = "$"
"""The key that names the type of what JSON has no type for, where a field may hold anything."""


def to_plain(value: Any) -> Any:
    """A value of dataclasses (or pydantic models) as JSON's own types. Raises TypeError for what no process could read back."""
    return _told(value, type(value))


def from_plain(kind: type, value: Any) -> Any:
    """The value of `to_plain`, of the class `kind`. Raises ValueError, with its place, for what is not one."""
    return _read(value, kind, kind.__name__)


def _told(value: Any, hint: Any) -> Any:
    origin = get_origin(hint)
    if value is None:
        return None
    if origin in (Union, UnionType):
        options = [option for option in get_args(hint) if option is not type(None)]
        named = [option for option in options if _fields(option)]
        if len(named) > 1 and type(value) in named:
            return {KIND: type(value).__name__, **_told(value, type(value))}
        return _told(value, named[0] if named and type(value) is named[0] else options[0] if len(options) == 1 else type(value))
    if own := _fields(hint):
        if type(value) is not hint:
            raise TypeError(f"a {type(value).__name__} stands where a {hint.__name__} belongs")
        return {name: _told(getattr(value, name), inner) for name, inner in own.items()}
    if origin is tuple:
        inner = get_args(hint)
        each = [inner[0]] * len(value) if len(inner) == 2 and inner[1] is ... else inner
        return [_told(item, one) for item, one in zip(value, each, strict=True)]
    if origin is frozenset:
        return sorted(value)
    if hint is Decimal:
        return str(value)
    if hint is datetime:
        return value.isoformat()
    if hint is bytes:
        return base64.b64encode(value).decode("ascii")
    if isinstance(hint, type) and issubclass(hint, Enum):
        return value.value
    return any_to_plain(value)


def any_to_plain(value: Any) -> Any:
    """What a field without a type of its own holds. Raises TypeError as `to_plain`."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {TAG: "float", "of": repr(value)}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value) and TAG not in value:
            return {key: any_to_plain(item) for key, item in value.items()}
        return {TAG: "mapping", "of": [[any_to_plain(key), any_to_plain(item)] for key, item in value.items()]}
    if isinstance(value, list):
        return [any_to_plain(item) for item in value]
    if isinstance(value, (tuple, set, frozenset)):
        items = list(value) if isinstance(value, tuple) else sorted(value, key=repr)
        return {TAG: type(value).__name__, "of": [any_to_plain(item) for item in items]}
    if isinstance(value, (bytes, Decimal, datetime)):
        return {TAG: type(value).__name__, "of": _told(value, type(value))}
    raise TypeError(f"a {type(value).__name__} cannot go to another process: {str(value)[:80]!r}")


def _read(value: Any, hint: Any, where: str) -> Any:
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return _one_of(value, get_args(hint), where)
    if _fields(hint):
        return _made(value, hint, where)
    if origin is tuple:
        inner, items = get_args(hint), _list(value, where)
        each = [inner[0]] * len(items) if len(inner) == 2 and inner[1] is ... else inner
        if len(each) != len(items):
            raise ValueError(f"{where} has {len(items)} items, not {len(each)}")
        return tuple(_read(item, one, f"{where}[{index}]") for index, (item, one) in enumerate(zip(items, each, strict=True)))
    if origin is frozenset:
        return frozenset(_list(value, where))
    if origin is Literal:
        if value not in get_args(hint):
            raise ValueError(f"{where} is none of {', '.join(map(str, get_args(hint)))}: {str(value)[:80]!r}")
        return value
    if hint in _SIMPLE and not isinstance(value, _SIMPLE[hint]):
        raise ValueError(f"{where} is a {type(value).__name__}, not a {hint.__name__}")
    try:
        if hint in (Decimal, datetime, bytes):
            return _named(hint.__name__, value)
        if isinstance(hint, type) and issubclass(hint, Enum):
            return hint(value)
        found = any_from_plain(value)
    except (ArithmeticError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where} cannot be read: {error or type(error).__name__}") from None
    if _is_mapping(hint) and not isinstance(found, dict):
        raise ValueError(f"{where} is a {type(found).__name__}, not an object")
    return float(found) if hint is float and isinstance(found, int) else found


def _is_mapping(hint: Any) -> bool:
    kind = get_origin(hint) or hint
    return isinstance(kind, type) and issubclass(kind, Mapping)


_SIMPLE: Final[Mapping[Any, Any]] = {str: str, bool: bool, int: int, float: (int, float, dict)}


def any_from_plain(value: Any) -> Any:
    """The other way of `any_to_plain`. Raises ValueError or KeyError for what it does not make."""
    if isinstance(value, list):
        return [any_from_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    return _named(value[TAG], value["of"]) if TAG in value else {key: any_from_plain(item) for key, item in value.items()}


def _named(name: str, value: Any) -> Any:
    match name:
        case "mapping":
            return {any_from_plain(key): any_from_plain(item) for key, item in value}
        case "tuple" | "set" | "frozenset":
            return {"tuple": tuple, "set": set, "frozenset": frozenset}[name](map(any_from_plain, value))
        case "float":
            return float(value)
        case "Decimal":
            return Decimal(value)
        case "datetime":
            return datetime.fromisoformat(value)
        case "bytes":
            return base64.b64decode(value, validate=True)
    raise ValueError(f"there is no type {name!r}")


def _one_of(value: Any, options: Sequence[Any], where: str) -> Any:
    if value is None and type(None) in options:
        return None
    left = [option for option in options if option is not type(None)]
    named = {option.__name__: option for option in left if _fields(option)}
    if len(named) > 1:
        kind = value.get(KIND) if isinstance(value, dict) else None
        if kind not in named:
            raise ValueError(f"{where} has a kind that is none of {', '.join(named)}: {str(kind)[:80]!r}")
        return _made({key: item for key, item in value.items() if key != KIND}, named[kind], where)
    return _read(value, left[0], where) if len(left) == 1 else any_from_plain(value)


def _made(value: Any, kind: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{where} is a {type(value).__name__}, not an object")
    hints = _fields(kind)
    for name in value:
        if name not in hints:
            raise ValueError(f"{where} has no '{name}'")
    found = {name: _read(value[name], hint, f"{where}.{name}") for name, hint in hints.items() if name in value}
    try:
        return kind(**found)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from None


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{where} is a {type(value).__name__}, not a list")
    return value


@lru_cache(maxsize=128)
def _fields(hint: Any) -> Mapping[str, Any]:
    """Names and types of the fields of a dataclass or a pydantic model; of anything else none."""
    if not isinstance(hint, type):
        return {}
    if issubclass(hint, BaseModel):
        return {name: field.annotation for name, field in hint.model_fields.items()}
    if not is_dataclass(hint):
        return {}
    hints = get_type_hints(hint)
    return {field.name: hints[field.name] for field in fields(hint) if field.init}
