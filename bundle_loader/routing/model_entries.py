"""Read models as lists and files tell them: from mappings and ids to `ModelInfo`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from bundle_loader.routing.catalogue import ModelInfo
from bundle_loader.routing.moments import moment

MOST_TOKENS: Final = 10**12
"""A window or a limit beyond it is a mistake."""
_MOST_PLACES: Final = 30
_LONGEST_NUMBER: Final = 100
_FIELDS: Final = tuple(field.name for field in fields(ModelInfo))
_KNOWN: Final = frozenset(_FIELDS) - {"extra"}


def model_info(entry: ModelInfo | Mapping[str, object] | str) -> ModelInfo:
    """A model as a mapping tells it: `id`, and optionally the other fields of `ModelInfo`; what cannot be read is absent.

    A text is an id. Raises ValueError for anything else, and without a text `id`.
    """
    if isinstance(entry, ModelInfo):
        return sound(entry)
    if isinstance(entry, str):
        entry = {"id": entry}
    if not isinstance(entry, Mapping):
        raise ValueError(f"{entry!r} is no model: give a ModelInfo, a mapping with an id, or an id")
    model_id = entry.get("id")
    if not isinstance(model_id, str) or not model_id:
        raise ValueError("a model needs an id")
    methods = _texts(entry.get("methods"))
    told = {key: value for key, value in entry.items() if key in _KNOWN and value is not None}
    told["kind"] = _text(entry.get("kind")) or _kind_of_methods(methods)
    return _read({**told, "extra": {key: value for key, value in entry.items() if key not in _KNOWN}})


def sound(model: ModelInfo) -> ModelInfo:
    """The same model; each value of a wrong type or beyond all measure is taken as not told. Raises ValueError without an id."""
    if not isinstance(model.id, str):
        raise ValueError(f"a model needs an id, not {model.id!r}")
    told = {name: getattr(model, name) for name in _FIELDS}
    read = {name: _READ[name](value) for name, value in told.items()}
    same = type(model) is ModelInfo and all(read[name] is value for name, value in told.items())
    return model if same else ModelInfo(**read)


def _read(told: Mapping[str, Any]) -> ModelInfo:
    return ModelInfo(**{name: _READ[name](value) for name, value in told.items()})


def count(value: object) -> int | None:
    """A number of tokens; None for what is none, or could not be one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MOST_TOKENS else None


def price_text(value: object, unit: Decimal = Decimal(1)) -> str | None:
    """US dollars for one token as plain decimal text, from so many of `unit`; None for what is no price."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal)):
        return None
    try:
        written = str(value)
        price = Decimal(written) if len(written) <= _LONGEST_NUMBER else Decimal("NaN")
    except (ArithmeticError, ValueError):
        return None
    # looked at before anything is computed: numbers of any size can be written
    if not price.is_finite() or price < 0 or (price and not -_MOST_PLACES <= price.adjusted() <= _MOST_PLACES):
        return None
    return format((price * unit).normalize(), "f") if price else "0"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _texts(value: object) -> tuple[str, ...] | None:
    if isinstance(value, tuple) and all(isinstance(item, str) for item in value):
        return value
    if not isinstance(value, (list, tuple, set, frozenset)):
        return None
    return tuple(item for item in value if isinstance(item, str))


def _words(value: object) -> frozenset[str] | None:
    if isinstance(value, frozenset) and all(isinstance(item, str) for item in value):
        return value
    texts = _texts(value)
    return None if texts is None else frozenset(texts)


def _locality(value: object) -> bool | None:
    """What cannot be read is not local: nothing may leave the machine by mistake."""
    return value if value is None or isinstance(value, bool) else False


def _prices(value: object) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        return {}
    if all(isinstance(kind, str) and _is_price(price) for kind, price in value.items()):
        return value
    return {kind: price for kind, price in value.items() if isinstance(kind, str) and _is_price(price)}


def _is_price(value: object) -> bool:
    return isinstance(value, str) and price_text(value) is not None


def _extra(value: object) -> Mapping[str, object]:
    """What can be written down again: another package's objects may do anything when they are shown."""
    if not isinstance(value, Mapping):
        return {}
    if all(isinstance(key, str) and _is_plain(item) for key, item in value.items()):
        return value
    return {key: item for key, item in value.items() if isinstance(key, str) and _is_plain(item)}


def _is_plain(value: object, depth: int = 8) -> bool:
    if value is None or type(value) in _PLAIN:
        return True
    if depth and type(value) in (list, tuple, set, frozenset):
        return all(_is_plain(item, depth - 1) for item in value)  # type: ignore[attr-defined]
    if depth and isinstance(value, Mapping):
        return all(type(key) is str and _is_plain(item, depth - 1) for key, item in value.items())
    return False


_PLAIN: Final = frozenset({str, int, float, bool, Decimal, datetime})
_READ: Final[Mapping[str, Callable[[object], Any]]] = {
    "id": lambda value: value,
    "created": moment,
    "window": count,
    "output_limit": count,
    "capabilities": _words,
    "assumed": lambda value: _words(value) or frozenset(),
    "kind": _text,
    "stage": _text,
    "barred": _text,
    "retires": moment,
    "aliases": lambda value: _texts(value) or (),
    "prices": _prices,
    "local": _locality,
    "declared": lambda value: value is True,
    "from_table": lambda value: _words(value) or frozenset(),
    "digest": _text,
    "extra": _extra,
}
"""How each field of `ModelInfo` is read."""


def _kind_of_methods(methods: Sequence[str] | None) -> str | None:
    """Gemini lists what a model can do; without `generateContent` it does not chat."""
    if not methods or "generateContent" in methods:
        return None
    return "embedding" if any(method.startswith("embed") for method in methods) else "other"
