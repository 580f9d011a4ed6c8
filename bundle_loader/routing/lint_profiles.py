"""Names of profiles and stages that lead nowhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.recipe import AgentStep, Recipe
from bundle_loader.declared.tree import position
from bundle_loader.errors import Fault, did_you_mean

DEFAULT: Final = "default"
"""The cell that is no stage."""
_SLIP: Final = 0.85
"""How alike two stages are where one is a slip of the other: painting is none of planning."""


def lint_profiles(bundle: Bundle) -> list[Fault]:
    """A default profile, and profiles for stages, that the bundle does not have; stages that are nearly the name of another."""
    return [
        *_profiles(bundle),
        *_stages(bundle),
        *(fault for recipe in bundle.recipes.values() for fault in misspelt_stages(bundle, recipe)),
    ]


def stages_of(bundle: Bundle) -> tuple[str, ...]:
    """The stages of its profiles, in written order; `default` is none."""
    named = [stage for cells in bundle.profiles.values() for stage in cells]
    named += [stage for stages in bundle.stage_profiles.values() for stage in stages]
    return tuple(dict.fromkeys(stage for stage in named if stage != DEFAULT))


def _profiles(bundle: Bundle) -> Iterator[Fault]:
    named: list[tuple[tuple[str, ...], str | None]] = [(("default_profile",), bundle.default_profile)]
    for profile, stages in bundle.stage_profiles.items():
        named += [(("profiles", profile, "stage_profiles", stage), other) for stage, other in stages.items()]
    for path, name in named:
        if name is not None and name not in bundle.profiles and bundle.header is not None:
            near = did_you_mean(name, list(bundle.profiles)) or f"; it has {', '.join(bundle.profiles) or 'none'}"
            message = f"no profile '{name}' in bundle '{bundle.name}'{near}"
            yield Fault(*position(bundle.header, path), ".".join(path), message, "warning", "unknown-profile")


def _stages(bundle: Bundle) -> Iterator[Fault]:
    """Stages that only one profile names, and whose name is a slip of one that others name."""
    count = Counter(stage for cells in bundle.profiles.values() for stage in cells)
    for profile, cells in bundle.profiles.items():
        others = [("profiles", profile, "stage_profiles", stage) for stage in bundle.stage_profiles.get(profile, {})]
        for path in (*(("profiles", profile, stage) for stage in cells), *others):
            stage = path[-1]
            known = [name for name, times in count.items() if times > count[stage] and name != stage]
            near = did_you_mean(stage, known, _SLIP) if count[stage] <= 1 and bundle.header is not None else ""
            if near and bundle.header is not None:
                message = f"no other profile has the stage '{stage}'{near}"
                yield Fault(*position(bundle.header, path, key=True), ".".join(path), message, "warning", "misspelt-stage")


def misspelt_stages(bundle: Bundle, recipe: Recipe) -> Iterator[Fault]:
    """Stages of a recipe that no profile knows, but nearly: their steps would run on the `default` cell."""
    known = stages_of(bundle)
    named: list[tuple[str, str, str | None]] = []
    for stage in recipe.stages:
        if stage.steps:
            named.append((stage.steps[0].id, f"stages.{stage.name}.stage", stage.stage))
    named += [(step.id, f"{step.id}.stage", step.action.stage) for step in recipe.walk() if isinstance(step.action, AgentStep)]
    for step_id, key, said in named:
        if said and "{{" not in said and said not in known and (near := did_you_mean(said, known, _SLIP)):
            message = f"no profile of bundle '{bundle.name}' has the stage '{said}'{near}"
            yield Fault(*recipe.place(step_id), key, message, "warning", "misspelt-stage")
