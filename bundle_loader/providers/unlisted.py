"""What a vendor's list of models leaves out and its documentation says: gaps filled from the provider table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from bundle_loader.providers.table import ProviderRow
from bundle_loader.routing.catalogue import ModelInfo


def filled(models: Sequence[ModelInfo], row: ProviderRow | None) -> list[ModelInfo]:
    """The models, with `row.models` where the list says nothing; each field that was filled is named in `from_table`."""
    return [_filled(model, row) for model in models] if row is not None and row.models else list(models)


def _filled(model: ModelInfo, row: ProviderRow) -> ModelInfo:
    told: dict[str, Any] = {}
    for pattern, fields in row.models.items():
        if fnmatchcase(model.id.lower(), pattern):
            for name, value in fields.items():
                if getattr(model, name) is None:
                    told.setdefault(name, frozenset(value) if name == "capabilities" else value)
    return replace(model, **told, from_table=frozenset(told)) if told else model
