"""The recipes of a composed bundle: laid over one another, and held against the bundle's agents and tables."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bundle_loader.declared.recipe import AgentStep, Recipe, RoleChoice, TierChoice
from bundle_loader.declared.tree import is_null
from bundle_loader.errors import DeclarationError, Fault, RequestError, did_you_mean

if TYPE_CHECKING:
    from bundle_loader.declared.bundle import Bundle
    from bundle_loader.declared.layer import Layer


@dataclass(slots=True)
class LaidRecipes:
    """The recipes that are reached by name, those with faults, and everything that is wrong."""

    recipes: dict[str, Recipe] = field(default_factory=dict)
    broken: dict[str, tuple[Fault, ...]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)


def lay_recipes(layers: Sequence[Layer], tiers: Collection[str] | None) -> LaidRecipes:
    """Recipes of the layers, least derived first. `tiers` are those that they may name; None where nobody knows them.

    3. A recipe file replaces an inherited recipe of the same name whole, and a warning says so; `recipes: null` removes what
    was inherited. A recipe with faults takes the place of what it was to replace: nobody runs the inherited one by mistake.
    """
    done = LaidRecipes()
    by: dict[str, tuple[str, str]] = {}
    for layer in layers:
        if is_null(layer.header.entries.get("recipes")):
            done.recipes.clear()
            done.broken.clear()
            by.clear()
        for source in layer.recipe_files:
            # whose agent a bare name means is known here
            faults = [fault for fault in source.faults if fault.rule != "bare-agent"]
            bundle, file = by.get(source.name, ("", ""))
            if bundle == layer.name:
                faults.append(
                    Fault(source.file, 1, 1, "name", f"recipe '{source.name}' is also written in {file}; rename one of them")
                )
                done.faults += faults
                continue
            if bundle:
                message = f"recipe '{source.name}' replaces the one of bundle '{bundle}'"
                faults.append(Fault(source.file, 1, 1, "name", message, "warning", "recipe-replaced"))
            by[source.name] = layer.name, source.file
            if source.recipe is not None and tiers is not None:
                faults += unknown_tiers(source.recipe, tiers)
            errors = tuple(fault for fault in faults if fault.level == "error")
            done.recipes.pop(source.name, None)
            done.broken.pop(source.name, None)
            if source.recipe is None or errors:
                done.broken[source.name] = errors
            else:
                done.recipes[source.name] = source.recipe
            done.faults += faults
    return done


def unknown_tiers(recipe: Recipe, tiers: Collection[str]) -> Iterable[Fault]:
    """An error for each tier that a step names and that is not among `tiers`."""
    for step, action in _agents(recipe):
        named = [*([action.tier] if action.tier else []), *(p.tier for p in action.preferences if isinstance(p, TierChoice))]
        for tier in named:
            if tier not in tiers and "{{" not in tier:
                near = did_you_mean(tier, list(tiers))
                yield Fault(*recipe.place(step), f"{step}.tier", f"no tier '{tier}'{near}", rule="unknown-tier")


def lint_recipes(bundle: Bundle) -> list[Fault]:
    """Agents, roles and profiles that the steps of a bundle's recipes name and that the bundle does not have."""
    return [fault for recipe in bundle.recipes.values() for fault in unknown_names(bundle, recipe)]


def unknown_names(bundle: Bundle, recipe: Recipe) -> list[Fault]:
    """Agents, roles and profiles that a recipe names and that the bundle which is to run it does not have."""
    found = []
    for stage in recipe.stages:
        if stage.profile and "{{" not in stage.profile and stage.profile not in bundle.profiles and stage.steps:
            found.append(_no_profile(bundle, recipe, stage.steps[0].id, f"stages.{stage.name}", stage.profile))
    for step, action in _agents(recipe):
        place = recipe.place(step)
        if "{{" not in action.agent:
            try:
                bundle.agent(action.agent)
            except RequestError as error:
                found.append(Fault(*place, f"{step}.agent", str(error), "warning", "unknown-agent"))
            except DeclarationError:
                message = f"agent '{action.agent}' has faults of its own"
                found.append(Fault(*place, f"{step}.agent", message, "warning", "unknown-agent"))
        if action.profile and "{{" not in action.profile and action.profile not in bundle.profiles:
            found.append(_no_profile(bundle, recipe, step, step, action.profile))
        if action.model_role and not any(role in bundle.roles or "{{" in role for role in action.model_role):
            message = f"no table of bundle '{bundle.name}' has the role {' or '.join(action.model_role)}"
            found.append(Fault(*place, f"{step}.model_role", message, "warning", "unknown-role"))
        for index, choice in enumerate(action.preferences):
            if isinstance(choice, RoleChoice) and choice.role not in bundle.roles and "{{" not in choice.role:
                key = f"provider_preferences[{index}]"
                message = f"no table of bundle '{bundle.name}' has the role {choice.role}, so this element is passed over"
                found.append(Fault(*recipe.text_place(step, key), f"{step}.{key}", message, "warning", "unknown-role"))
    return found


def _no_profile(bundle: Bundle, recipe: Recipe, step: str, key: str, profile: str) -> Fault:
    near = did_you_mean(profile, list(bundle.profiles))
    message = f"no profile '{profile}' in bundle '{bundle.name}'{near}"
    return Fault(*recipe.place(step), f"{key}.profile", message, "warning", "unknown-profile")


def _agents(recipe: Recipe) -> list[tuple[str, AgentStep]]:
    return [(step.id, step.action) for step in recipe.walk() if isinstance(step.action, AgentStep)]
