"""The shape that a recipe expects of an answer, by what it reads of it: what a simulated model then answers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from bundle_loader.declared.recipe import ForEach, Recipe, RecipeStep, Step
from bundle_loader.declared.recipe_text import PATH, only_reference, steps_of, texts_in
from bundle_loader.errors import DeclarationError, RequestError
from bundle_loader.recipes.context import FindRecipe

_EACH: Final = "[]"
"""Stands in a path for any element of a list."""
_DEEPEST: Final = 5
_BRACES: Final = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_FOR: Final = re.compile(rf"\{{%-?\s*for\s+(\w+)\s+in\s+({PATH})")
_PATHS: Final = re.compile(rf"(?<![\w.'\"]){PATH}")

_Path = tuple[str, ...]


def expected(recipe: Recipe, step: Step, find: FindRecipe) -> dict[str, Any] | None:
    """A JSON Schema of what the recipe, and those below it, read of the step's output; None where they read it as a whole."""
    paths = set(_reads(recipe, find, 0))
    below = {path[1:] for path in paths if step.output and path[0] == step.output}
    collected = step.loop.collect if step.loop is not None else None
    below |= {path[2:] for path in paths if collected and path[:2] == (collected, _EACH)}
    return _shape(below - {()})


def _reads(recipe: Recipe, find: FindRecipe, depth: int) -> Iterator[_Path]:
    """Every path that is read, from a variable of the recipe on."""
    stages = [stage.model_dump(exclude={"steps"}) for stage in recipe.stages]
    texts = [text for _, text in texts_in([*stages, *(step.model_dump(exclude={"extra"}) for step in recipe.steps)])]
    elements = {**dict(_elements(recipe)), **{found[1]: steps_of(found[2]) for text in texts for found in _FOR.finditer(text)}}

    def from_variable(path: _Path) -> _Path:
        """A path from a loop's element, as one from the list that is gone through."""
        for _ in elements:
            listed = elements.get(path[0])
            if listed is None:
                break
            path = (*listed, _EACH, *path[1:])
        return tuple(_EACH if part.isdigit() else part for part in path)

    for text in texts:
        yield from (from_variable(path) for path in _in_text(text))
    yield from (from_variable((variable,)) for variable in elements)
    for step in recipe.walk() if depth < _DEEPEST else ():
        if isinstance(step.action, RecipeStep) and "{{" not in step.action.recipe:
            try:
                other = find(step.action.recipe, recipe.file)
            except (DeclarationError, RequestError):
                continue  # it is told of when the step is reached
            inner = set(_reads(other, find, depth + 1))
            for name, value in step.action.context.items():
                given = only_reference(value) if isinstance(value, str) else None
                if given is not None:
                    yield from (from_variable((*given, *path[1:])) for path in inner if path[0] == name)


def _elements(recipe: Recipe) -> Iterator[tuple[str, _Path]]:
    """The variable of each loop over a list that a reference gives, and that list's path."""
    for step in recipe.walk():
        if isinstance(step.loop, ForEach) and isinstance(step.loop.items, str):
            listed = only_reference(step.loop.items)
            if listed is not None:
                yield step.loop.variable, listed


def _in_text(text: str) -> Iterator[_Path]:
    for block in _BRACES.findall(text):
        yield from (steps_of(found) for found in _PATHS.findall(block))


def _shape(paths: Iterable[_Path]) -> dict[str, Any] | None:
    """The schema of a value of which these paths are read; None where there are none."""
    tree: dict[str, Any] = {}
    for path in paths:
        at = tree
        for part in path:
            at = at.setdefault(part, {})
    return _schema(tree) if tree else None


def _schema(tree: dict[str, Any]) -> dict[str, Any]:
    if not tree:
        return {"type": "string"}
    if _EACH in tree:
        return {"type": "array", "items": _schema(tree[_EACH]), "minItems": 1}
    return {"type": "object", "properties": {name: _schema(part) for name, part in tree.items()}, "required": list(tree)}
