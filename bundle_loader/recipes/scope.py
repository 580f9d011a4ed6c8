"""Where a step stands while a recipe runs: the variables that it sees and sets, its stage, and its place in the run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bundle_loader.declared.recipe import Recipe, Stage, Step
from bundle_loader.declared.recipe_text import scan, texts_in
from bundle_loader.recipes.stage_profiles import StageProfiles
from bundle_loader.recipes.texts import fill_value
from bundle_loader.recipes.values import EMPTY, Values


class Scope:
    """Variables that steps set, and how those steps ended, over those around it."""

    def __init__(self, below: Scope | None = None, names: Mapping[str, Any] | None = None) -> None:
        self.names: dict[str, Any] = dict(names or {})
        self.outcomes: dict[str, str] = {}
        """Step -> `done`, `skipped`, `failed`, or `blocked`: left out for want of another step, or jumped over."""
        self.below = below
        self.values: Values = Values(self.names, below.values if below is not None else None)

    def outcome(self, step: str) -> str | None:
        """How a step ended; None where it did not run."""
        scope: Scope | None = self
        while scope is not None:
            if step in scope.outcomes:
                return scope.outcomes[step]
            scope = scope.below
        return None

    def take(self, sets: Mapping[str, Any], outcomes: Mapping[str, str]) -> None:
        """What steps have set, and how they ended."""
        self.names.update({name: EMPTY if value is None else value for name, value in sets.items()})
        self.outcomes.update(outcomes)


@dataclass(frozen=True, slots=True)
class Limits:
    """How far recipes may lead to further recipes."""

    depth: int
    steps: int


@dataclass(frozen=True, slots=True)
class Frame:
    """Where steps run."""

    recipe: Recipe
    scope: Scope
    stage: Stage
    profiles: StageProfiles
    limits: Limits
    chain: tuple[str, ...]
    """The recipes that led here, this one last."""
    numbers: Mapping[str, int]
    """Step -> its number within the recipe, from 0."""
    prefix: str = ""
    """What the ids of its steps begin with."""

    def position(self, step: Step) -> str:
        """The id of a step within the run."""
        return f"{self.prefix}{step.id}"

    def inner(self, scope: Scope, prefix: str | None = None) -> Frame:
        """The same, with other variables and another beginning of ids."""
        return replace(self, scope=scope, prefix=self.prefix if prefix is None else prefix)

    def values(self, step: Step | None = None) -> Values:
        """The variables as a step, or its stage, sees them."""
        here: dict[str, Any] = {"stage": self.stage.name}
        if step is not None:
            here["step"] = {"id": step.id, "index": self.numbers.get(step.id, 0)}
        return self.scope.values.over(here)


def numbered(recipe: Recipe) -> dict[str, int]:
    """Step -> its number, those in groups after their group."""
    return {step.id: number for number, step in enumerate(recipe.walk())}


def first_values(recipe: Recipe, given: Mapping[str, Any], always: Mapping[str, Any]) -> dict[str, Any]:
    """The variables that a recipe begins with: what is always there, what was given, and its defaults.

    A default may be made of other variables. What was given is never filled in.
    """
    known: dict[str, Any] = {**always, **given}
    values = Values(known)
    waiting = {name: variable.default for name, variable in recipe.variables.items() if name not in given}
    for start in list(waiting):
        way = [start]
        while way:
            name = way[-1]
            needed = [other for other in _read(waiting.get(name)) if other in waiting and other not in way]
            if needed:
                way.append(needed[0])
                continue
            way.pop()
            if name in waiting:
                known[name] = fill_value(waiting.pop(name), values)
    return known


def _read(value: Any) -> Iterable[str]:
    return (reference.name for _, text in texts_in(value) if "{{" in text for reference in scan(text)[0] if reference.name)
