"""The recipes that a recipe leads to: whether they are there, take what they are given, and come to an end."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bundle_loader.declared.recipe import Recipe, RecipeStep, Step
from bundle_loader.errors import DeclarationError, Fault, RequestError
from bundle_loader.spelling import did_you_mean

RULE = "sub-recipe"
HANDED_ON = frozenset({"model_profile", "summary_profile"})
"""Variables that every recipe takes, declared or not."""
_DEEPEST = 50


def follow(recipe: Recipe, find: Callable[[str, str], Recipe]) -> list[Fault]:
    """Warnings about the steps that run further recipes, at those steps, in the recipes below as well.

    `find(name, beside)` gives the recipe that a name means in a step of the file `beside`; it raises RequestError or
    DeclarationError.
    """
    return list(dict.fromkeys(_follow(recipe, find, [], set())))


def _follow(recipe: Recipe, find: Callable[[str, str], Recipe], way: list[str], done: set[tuple[str, str]]) -> Iterator[Fault]:
    own = (recipe.file, recipe.name)
    if own in done:
        return
    done.add(own)
    way = [*way, recipe.name]
    for step in recipe.walk():
        action = step.action
        if not isinstance(action, RecipeStep) or "{{" in action.recipe:
            continue
        try:
            below = find(action.recipe, recipe.file)
        except RequestError as error:
            yield _fault(recipe, step, "recipe", f"{error}; the step fails when it is run")
            continue
        except DeclarationError as error:
            first = next(iter(error.faults), None)
            yield _fault(recipe, step, "recipe", f"'{action.recipe}' has faults of its own: {first}")
            continue
        yield from _given(recipe, step, action, below)
        if (below.file, below.name) == own or below.name in way:
            loop = " -> ".join([*way[way.index(below.name) :], below.name]) if below.name in way else below.name
            if _unconditional(step):
                message = f"leads back to itself without a condition ({loop}), so it only ends at recursion.max_depth"
                yield _fault(recipe, step, "recipe", message)
        elif len(way) < _DEEPEST:
            yield from _follow(below, find, way, done)


def _given(recipe: Recipe, step: Step, action: RecipeStep, below: Recipe) -> Iterator[Fault]:
    """What is handed on and not declared, and what is needed and not handed on."""
    for name in action.context:
        if name not in below.variables and name not in HANDED_ON:
            near = did_you_mean(name, list(below.variables))
            yield _fault(recipe, step, "recipe", f"recipe '{below.name}' declares no variable '{name}'{near}", f"context.{name}")
    for name, variable in below.variables.items():
        if variable.required and name not in action.context:
            yield _fault(recipe, step, "recipe", f"recipe '{below.name}' needs '{name}'; write it under 'context'", "context")


def _unconditional(step: Step) -> bool:
    return step.condition is None and step.loop is None


def _fault(recipe: Recipe, step: Step, at: str, message: str, key: str = "") -> Fault:
    return Fault(*recipe.text_place(step.id, at), f"{step.id}.{key or at}", message, "warning", RULE)
