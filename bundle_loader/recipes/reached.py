"""The recipes that a recipe leads to, as far as that is written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bundle_loader.declared.recipe import Recipe, RecipeStep
from bundle_loader.errors import DeclarationError, RequestError
from bundle_loader.recipes.context import FindRecipe

_MOST_RECIPES: Final = 100


def reached(recipe: Recipe, find: FindRecipe) -> Iterator[Recipe]:
    """A recipe, and those below it, each once. Not those whose name is only known when a step is reached, or is wrong."""
    seen: set[str] = set()
    waiting = [recipe]
    while waiting and len(seen) < _MOST_RECIPES:
        one = waiting.pop(0)
        if one.file in seen:
            continue
        seen.add(one.file)
        yield one
        for step in one.walk():
            if isinstance(step.action, RecipeStep) and "{{" not in step.action.recipe:
                try:
                    waiting.append(find(step.action.recipe, one.file))
                except (DeclarationError, RequestError):
                    continue  # it is told of when the step is reached
