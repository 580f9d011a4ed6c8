"""Steps of a recipe, and of those that it leads to, that only a trusted source may run."""

from __future__ import annotations

from bundle_loader.declared.recipe import PythonStep, Recipe, RecipeStep, ShellStep
from bundle_loader.errors import DeclarationError, RequestError
from bundle_loader.recipes.context import FindRecipe

_MOST_RECIPES = 100


def untrusted_steps(recipe: Recipe, find: FindRecipe) -> list[str]:
    """Shell and Python steps, with file and line. A recipe whose name is only known when it runs is looked at then."""
    found: list[str] = []
    seen: set[str] = set()
    waiting = [recipe]
    while waiting and len(seen) < _MOST_RECIPES:
        one = waiting.pop(0)
        if one.file in seen:
            continue
        seen.add(one.file)
        for step in one.walk():
            action = step.action
            if isinstance(action, (ShellStep, PythonStep)):
                what = "a shell command" if isinstance(action, ShellStep) else f"the function {action.module}:{action.function}"
                file, line, column = one.place(step.id)
                found.append(f"{file}:{line}:{column}: step '{step.id}' runs {what}")
            elif isinstance(action, RecipeStep) and "{{" not in action.recipe:
                try:
                    waiting.append(find(action.recipe, one.file))
                except (DeclarationError, RequestError):
                    continue  # it is told of when the step is reached
    return found
