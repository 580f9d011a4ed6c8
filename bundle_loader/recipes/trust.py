"""Steps of a recipe, and of those that it leads to, that only a trusted source may run."""

from __future__ import annotations

from bundle_loader.declared.recipe import PythonStep, Recipe, ShellStep
from bundle_loader.recipes.context import FindRecipe
from bundle_loader.recipes.reached import reached


def untrusted_steps(recipe: Recipe, find: FindRecipe) -> list[str]:
    """Shell and Python steps, with file and line. A recipe whose name is only known when it runs is looked at then."""
    found: list[str] = []
    for one in reached(recipe, find):
        for step in one.walk():
            action = step.action
            if isinstance(action, (ShellStep, PythonStep)):
                what = "a shell command" if isinstance(action, ShellStep) else f"the function {action.module}:{action.function}"
                file, line, column = one.place(step.id)
                found.append(f"{file}:{line}:{column}: step '{step.id}' runs {what}")
    return found
