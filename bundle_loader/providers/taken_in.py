"""A provider's list as it is taken in: each model once, with values of the right types, and an id that can be shown and sent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from bundle_loader.providers.faults import broken
from bundle_loader.routing.catalogue import ModelInfo
from bundle_loader.routing.model_entries import model_info

MOST_MODELS: Final = 20_000
"""A longer list is taken for a mistake: ordering it would hold up everything else."""
LONGEST_ID: Final = 512
"""Characters of an id."""


@dataclass(frozen=True, slots=True)
class TakenIn:
    """The models, and how many were left out for their ids."""

    models: tuple[ModelInfo, ...]
    left_out: int = 0

    @property
    def note(self) -> str | None:
        """That some were left out."""
        if not self.left_out:
            return None
        return f"{self.left_out} of its models {'is' if self.left_out == 1 else 'are'} left out: no id that can be shown and sent"


def taken_in(provider: str, listed: Iterable[Any]) -> TakenIn:
    """Each model once, as it was first listed. Raises ProviderFailure for too many, ValueError for what is no model."""
    found: dict[str, ModelInfo] = {}
    left_out = 0
    for number, entry in enumerate(listed):
        if number >= MOST_MODELS:
            raise broken(provider, None, f"it lists more than {MOST_MODELS:,} models")
        model = model_info(entry)
        if not is_usable(model.id):
            left_out += 1
        elif model.id not in found:
            found[model.id] = _with_usable_aliases(model)
    return TakenIn(tuple(found.values()), left_out)


def is_usable(id: str) -> bool:
    """Whether an id can be shown on a line and sent: no control or formatting character, no half of a pair, not blank."""
    return id.isprintable() and bool(id.strip()) and len(id) <= LONGEST_ID


def _with_usable_aliases(model: ModelInfo) -> ModelInfo:
    usable = tuple(alias for alias in model.aliases if is_usable(alias))
    return model if len(usable) == len(model.aliases) else replace(model, aliases=usable)
