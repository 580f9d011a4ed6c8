"""Recipes held against the lists of models and the bundle that is to run them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.preference import Preference
from bundle_loader.declared.recipe import AgentStep, Recipe
from bundle_loader.errors import Fault
from bundle_loader.routing.catalogue import Catalogue
from bundle_loader.routing.lint_branches import Names, provider_branches
from bundle_loader.routing.lint_preferences import Judge, level_of
from bundle_loader.routing.lint_profiles import misspelt_stages


def lint_recipes(bundle: Bundle, catalogues: Mapping[str, Catalogue], providers: Mapping[str, str]) -> list[Fault]:
    """What is wrong with the recipes of a bundle; see `lint_recipe`."""
    names, judge = Names(catalogues, providers), Judge(catalogues, providers, bundle.model_order)
    return [fault for recipe in bundle.recipes.values() for fault in _lint(recipe, names, judge)]


def lint_recipe(bundle: Bundle, recipe: Recipe, catalogues: Mapping[str, Catalogue], providers: Mapping[str, str]) -> list[Fault]:
    """Patterns of a recipe's steps that match nothing, stages that no profile of the bundle knows but nearly, and every place
    at which it asks who the provider is.
    """
    found = _lint(recipe, Names(catalogues, providers), Judge(catalogues, providers, bundle.model_order))
    return [*found, *misspelt_stages(bundle, recipe)]


def _lint(recipe: Recipe, names: Names, judge: Judge) -> list[Fault]:
    return [*provider_branches(recipe, names), *_patterns(recipe, judge)]


def _patterns(recipe: Recipe, judge: Judge) -> Iterator[Fault]:
    for step in recipe.walk():
        choices = step.action.preferences if isinstance(step.action, AgentStep) else ()
        for index, choice in enumerate(choices):
            if not isinstance(choice, Preference) or "{{" in choice.provider + choice.model:
                continue
            for rule, message in judge.findings(choice):
                listed = f"provider_preferences[{index}]"
                key = listed if recipe.writes(step.id, listed) else "model" if recipe.writes(step.id, "model") else "provider"
                place = recipe.text_place(step.id, key)
                yield Fault(*place, f"{step.id}.{key}", message, level_of(rule, choice.optional), rule)
