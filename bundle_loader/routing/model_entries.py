"""Read models as lists and files tell them: from mappings and ids to `ModelInfo`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime

from bundle_loader.routing.catalogue import ModelInfo

_KNOWN = frozenset(field.name for field in fields(ModelInfo)) - {"extra"}


def model_info(entry: ModelInfo | Mapping[str, object] | str) -> ModelInfo:
    """A model as a mapping tells it: `id`, and optionally the other fields of `ModelInfo`; what cannot be read is absent.

    A text is an id. Raises ValueError for anything else, and without a text `id`.
    """
    if isinstance(entry, ModelInfo):
        return entry
    if isinstance(entry, str):
        entry = {"id": entry}
    if not isinstance(entry, Mapping):
        raise ValueError(f"{entry!r} is no model: give a ModelInfo, a mapping with an id, or an id")
    model_id = entry.get("id")
    if not isinstance(model_id, str) or not model_id:
        raise ValueError("a model needs an id")
    capabilities = _texts(entry.get("capabilities"))
    return ModelInfo(
        id=model_id,
        created=_moment(entry.get("created")),
        window=_count(entry.get("window")),
        output_limit=_count(entry.get("output_limit")),
        capabilities=None if capabilities is None else frozenset(capabilities),
        assumed=frozenset(_texts(entry.get("assumed")) or ()),
        kind=_text(entry.get("kind")) or _kind_of_methods(_texts(entry.get("methods"))),
        stage=_text(entry.get("stage")),
        barred=_text(entry.get("barred")),
        retires=_moment(entry.get("retires")),
        aliases=_texts(entry.get("aliases")) or (),
        prices=_prices(entry.get("prices")),
        local=_truth(entry.get("local")),
        digest=_text(entry.get("digest")),
        extra={key: value for key, value in entry.items() if key not in _KNOWN},
    )


def _moment(value: object) -> datetime | None:
    """RFC 3339 text, seconds (or milliseconds) since the epoch, or a datetime; None for anything else."""
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return value if value.tzinfo else value.replace(tzinfo=UTC)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
            return datetime.fromtimestamp(value / 1000 if value > 1e11 else value, tz=UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _texts(value: object) -> tuple[str, ...] | None:
    if isinstance(value, str) or not isinstance(value, Iterable):
        return None
    return tuple(item for item in value if isinstance(item, str))


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _truth(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _prices(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        return {}
    return {kind: price for kind, price in value.items() if isinstance(kind, str) and isinstance(price, str)}


def _kind_of_methods(methods: Sequence[str] | None) -> str | None:
    """Gemini lists what a model can do; without `generateContent` it does not chat."""
    if not methods or "generateContent" in methods:
        return None
    return "embedding" if any(method.startswith("embed") for method in methods) else "other"
