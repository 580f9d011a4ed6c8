"""What a step of a recipe says about who does its work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from bundle_loader.declared.preference import Preference
from bundle_loader.declared.recipe import AgentStep, RoleChoice, TierChoice

Listed: TypeAlias = Preference | TierChoice | RoleChoice
"""An element of a step's own list."""


@dataclass(frozen=True, slots=True)
class StepChoice:
    """Its own list, else its tier, else its role, else the cell of its stage in the profile in force."""

    preferences: tuple[Listed, ...] = ()
    tier: str | None = None
    role: tuple[str, ...] = ()
    """The first that the bundle has a table with."""
    profile: str | None = None
    """The profile in force for the step; None where none is."""
    stage: str | None = None
    """What the step is for."""
    name: str = ""
    """What the step is called: its id."""

    def __post_init__(self) -> None:
        if isinstance(self.role, str):
            object.__setattr__(self, "role", (self.role,))


def step_choice(
    step: AgentStep, *, profile: str | None, stage: str | None, name: str, fill: Callable[[str], str] = str
) -> StepChoice:
    """The choice of a declared step, in a stage of a run, under the profile that is in force; `fill` fills in its texts."""
    filled = [_filled(item, fill) for item in step.preferences]
    # a variable that is left empty: no provider is no preference, no model is any model
    listed = tuple(item for item in filled if not isinstance(item, Preference) or item.provider)
    tier = fill(step.tier).strip() if step.tier else ""
    role = tuple(said for text in step.model_role if (said := fill(text).strip()))
    return StepChoice(listed, tier or None, role, profile, stage, name)


def _filled(item: Listed, fill: Callable[[str], str]) -> Listed:
    said = {
        name: fill(value) for name in ("provider", "model", "tier", "role") if isinstance(value := getattr(item, name, None), str)
    }
    if said.get("model") == "":
        said["model"] = "*"
    return item.model_copy(update=said)


def step_of(value: StepChoice | Mapping[str, Any] | None) -> StepChoice | None:
    """A step's choice, or the one of `step_plain`'s value."""
    if value is None or isinstance(value, StepChoice):
        return value
    said = {field.name: value[field.name] for field in fields(StepChoice) if field.name in value}
    listed = said.pop("preferences", ())
    return StepChoice(tuple(map(_element, listed)), **{**said, "role": tuple(said.get("role", ()))})


def _element(said: Mapping[str, Any]) -> Listed:
    kind = TierChoice if "tier" in said else RoleChoice if "role" in said else Preference
    return kind(**said)


def step_plain(step: StepChoice) -> dict[str, Any]:
    """A step's choice as JSON's own types, without what it does not say."""
    said = {field.name: getattr(step, field.name) for field in fields(StepChoice)}
    said["preferences"] = [item.model_dump(mode="json", exclude_defaults=True) for item in step.preferences]
    said["role"] = list(step.role)
    return {name: value for name, value in said.items() if value}
