"""The model lists that ship with the package: read from its data folder when first asked for, then kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from importlib.resources import files
from typing import Any

from bundle_loader.errors import RequestError, did_you_mean
from bundle_loader.providers.table import row
from bundle_loader.providers.unlisted import filled
from bundle_loader.routing import model_entries
from bundle_loader.routing.catalogue import ModelInfo

_SNAPSHOT = "snapshot.json"
_VERIFY = "verify-2026-02-20.json"
_KEYS = tuple(field.name for field in fields(ModelInfo))


@dataclass(frozen=True, slots=True)
class Expected:
    """What one agent has to end on: its tier (None inherits) and the model of that day's list."""

    agent: str
    tier: str | None
    model: str


@dataclass(frozen=True, slots=True)
class VerifyCatalogue:
    """The fixed list of one day against which the savings of the shipped agents are shown, whatever has been released since."""

    provider: str
    as_of: str
    """The day of the list, `YYYY-MM-DD`."""
    session_model: str
    """The model that a host's own session ran on that day: what every delegation cost without routing."""
    expected: tuple[Expected, ...]
    models: tuple[ModelInfo, ...]


def snapshot_providers() -> tuple[str, ...]:
    """The ids of the providers whose lists are shipped, in the order of the file."""
    return tuple(_snapshot())


def snapshot_models(provider_id: str) -> tuple[ModelInfo, ...]:
    """What `provider_id` listed on the day of the snapshot, in the provider's order; empty when no list is shipped."""
    return _models_of(provider_id) if provider_id in _snapshot() else ()


def snapshot_date(provider_id: str) -> str | None:
    """The day, `YYYY-MM-DD`, of the list that is shipped for `provider_id`; None when there is none."""
    entry = _snapshot().get(provider_id)
    return None if entry is None else str(entry["as_of"])


@lru_cache(maxsize=1)
def verify_catalogue() -> VerifyCatalogue:
    """The list that `verify` resolves the shipped agents against."""
    data = _read(_VERIFY)
    return VerifyCatalogue(
        provider=data["provider"],
        as_of=data["as_of"],
        session_model=data["session_model"],
        expected=tuple(Expected(**entry) for entry in data["expected"]),
        models=tuple(model_info(entry) for entry in data["models"]),
    )


def model_info(value: ModelInfo | Mapping[str, Any] | str) -> ModelInfo:
    """A model from its id alone, or from a mapping with the names of `ModelInfo`'s fields.

    `created` and `retires` may be ISO 8601 text, seconds since the epoch or a `datetime`; without an offset it is UTC.
    Raises `RequestError` for an unknown key, a missing id or a date that is none.
    """
    if isinstance(value, ModelInfo):
        return value
    if isinstance(value, str):
        return ModelInfo(value)
    for key in value:
        if key not in _KEYS:
            raise RequestError(f"a model has no {key!r}{did_you_mean(str(key), _KEYS)}")
    if not isinstance(value.get("id"), str):
        raise RequestError(f"a model needs an id: {dict(value)!r}")
    given = {key: fact for key, fact in value.items() if fact is not None}
    read = model_entries.model_info(given)
    for name in ("created", "retires"):
        if name in given and getattr(read, name) is None:
            raise RequestError(f"{name}: {given[name]!r} is not a date of ISO 8601")
    return replace(read, extra=given.get("extra", {}))


def _read(name: str) -> Any:
    return json.loads(files(__package__).joinpath("data", name).read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def _snapshot() -> Mapping[str, Mapping[str, Any]]:
    providers: Mapping[str, Mapping[str, Any]] = _read(_SNAPSHOT)["providers"]
    return providers


@lru_cache(maxsize=64)
def _models_of(provider_id: str) -> tuple[ModelInfo, ...]:
    return tuple(filled([model_info(entry) for entry in _snapshot()[provider_id]["models"]], row(provider_id)))
