"""Which profile each stage of a run uses: from the recipe's variables, the bundle's tables and the run that leads to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.recipe import AgentStep, Recipe, Stage
from bundle_loader.routing.step import StepChoice, step_choice
from bundle_loader.spelling import did_you_mean

ROOT: Final = "model_profile"
IMPLEMENTATION: Final = "implementation_profile"
SUMMARY: Final = "summary_profile"
STAGES: Final[Mapping[str, tuple[str, ...]]] = {IMPLEMENTATION: ("implementation",), SUMMARY: ("summary", "analysis")}
"""Variable of a recipe -> the stages that it speaks for."""


@dataclass(frozen=True, slots=True)
class StageProfiles:
    """The profiles of one run. Empty texts where none is in force: then each agent decides by itself."""

    root: str = ""
    implementation: str = ""
    summary: str = ""
    warnings: tuple[str, ...] = ()
    given: Mapping[str, str] = field(default_factory=dict)
    """Variable -> the profile that was given by it, here or in a run above."""
    stages: Mapping[str, str] = field(default_factory=dict)
    """Stage -> profile, where that is not the root."""

    def profile_of(self, stage: str | None) -> str | None:
        """The profile that a stage of the run uses; None where none is in force."""
        return self.stages.get(stage or "", self.root) or None

    @property
    def variables(self) -> dict[str, str]:
        """Variable -> the profile that is in force by it; `model_profile` always where there is a root."""
        return {**({ROOT: self.root} if self.root else {}), **self.given}

    def seen(self, recipe: Recipe, given: Mapping[str, Any]) -> dict[str, Any]:
        """The variables that were given as the texts of the recipe see them: what is in force, without what was left out."""
        kept = {name: value for name, value in given.items() if name not in (ROOT, *STAGES) or name in self.variables}
        return {**kept, **{name: profile for name, profile in self.variables.items() if name in recipe.variables}}


def stage_profiles(
    bundle: Bundle, recipe: Recipe, variables: Mapping[str, Any], above: StageProfiles | None = None
) -> StageProfiles:
    """The profiles of a run of `recipe`, for which `variables` were given; `above` is the run whose step it is.

    The root, by the first that says one which the bundle has:
    1. `model_profile` among the variables
    2. the run above
    3. the recipe's own default of `model_profile`
    4. the bundle's `default_profile`, for a recipe that declares `model_profile`
    A stage uses the first of
    1. `implementation_profile` (for implementation) or `summary_profile` (for summary and analysis): among the variables, then
       of the run above, then the recipe's own default
    2. what the root says for it under `stage_profiles`
    3. the root
    An empty value is as if it were left out, and so is one that the bundle does not have, or `implementation_profile` for a
    recipe that does not declare it; of these there is a warning.
    """
    reader = _Reader(bundle, recipe, variables)
    root = reader.given(ROOT) or (above.root if above else "") or reader.default(ROOT)
    if not root and ROOT in recipe.variables:
        root = reader.known(bundle.default_profile, "default_profile of the bundle")
    given = dict(above.given) if above else {}
    for variable in STAGES:
        said = reader.given(variable) or given.get(variable, "") or reader.default(variable)
        if said:
            given[variable] = said
    if not root:
        for variable in given:
            reader.warnings.append(f"{variable} is '{given[variable]}', but no model_profile is in force for the other stages")
    stages = {
        stage: reader.known(profile, f"profiles.{root}.stage_profiles.{stage}") or root
        for stage, profile in bundle.stage_profiles.get(root, {}).items()
    }
    for variable, names in STAGES.items():
        stages.update({stage: given[variable] for stage in names if variable in given})
    return StageProfiles(
        root,
        stages.get("implementation", root),
        stages.get("summary", root),
        tuple(dict.fromkeys(reader.warnings)),
        given,
        stages,
    )


def choice_of(
    bundle: Bundle, profiles: StageProfiles, step: AgentStep, stage: Stage, name: str, fill: Callable[[str], str] = str
) -> tuple[StepChoice, tuple[str, ...]]:
    """What the step `name` says about who does its work, and warnings; `fill` fills in the texts of step and stage.

    What it is for is the step's own `stage`, else its stage's. The profile in force for it is the first of
    1. the step's own `profile`
    2. its stage's `profile`
    3. the run's for what it is for
    """
    purpose = next((said for text in (step.stage, stage.stage) if text and (said := fill(text).strip())), None)
    warnings: list[str] = []
    for text in (step.profile, stage.profile):
        profile = known_profile(bundle, fill(text), f"profile of step '{name}'", warnings) if text else ""
        if profile:
            break
    else:
        profile = profiles.profile_of(purpose) or ""
    return step_choice(step, profile=profile or None, stage=purpose, name=name, fill=fill), tuple(warnings)


def known_profile(bundle: Bundle, value: Any, whose: str, warnings: list[str]) -> str:
    """The profile that a value names; nothing where the bundle does not have it, with a warning unless it is None."""
    text = value.strip() if isinstance(value, str) else value
    if isinstance(text, str) and text in bundle.profiles:
        return text
    names = ", ".join(bundle.profiles) or "none: it has no profiles"
    if text == "":
        warnings.append(f"{whose} is '', which is as if it were left out; write one of {names}")
    elif text is not None:
        shown = text if isinstance(text, str) else repr(text)
        near = did_you_mean(shown, list(bundle.profiles))
        said = f"is no profile of the bundle and is left out{near or ';'}"
        warnings.append(f"{whose}: '{shown[:60]}' {said} write one of {names}")
    return ""


class _Reader:
    """What the variables of one recipe say, with what is wrong with them."""

    def __init__(self, bundle: Bundle, recipe: Recipe, variables: Mapping[str, Any]) -> None:
        self.bundle = bundle
        self.recipe = recipe
        self.variables = variables
        self.warnings: list[str] = []

    def given(self, variable: str) -> str:
        if variable not in self.variables:
            return ""
        value = self.variables[variable]
        if variable == IMPLEMENTATION and variable not in self.recipe.variables:
            self.warnings.append(f"recipe '{self.recipe.name}' takes no {variable}; '{str(value)[:60]}' is left out")
            return ""
        return self.known(value, variable)

    def default(self, variable: str) -> str:
        declared = self.recipe.variables.get(variable)
        if declared is None or declared.default in (None, ""):
            return ""
        return self.known(declared.default, f"{variable}'s default in recipe '{self.recipe.name}'")

    def known(self, value: Any, whose: str) -> str:
        return known_profile(self.bundle, value, whose, self.warnings)
