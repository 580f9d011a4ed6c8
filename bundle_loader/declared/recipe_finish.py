"""A recipe file to its final value: each step's one kind, its loop, its synonyms settled; every fault at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from bundle_loader.declared.frontmatter import Document
from bundle_loader.declared.recipe import Recipe, Recursion, Stage, Step
from bundle_loader.declared.recipe_order import order_faults
from bundle_loader.declared.recipe_read import Path, ReadStage, RecipeReading
from bundle_loader.declared.recipe_scope import Scope, node_at
from bundle_loader.declared.recipe_step import StepFinisher, approval_of
from bundle_loader.declared.recipe_style import style_faults
from bundle_loader.declared.recipe_variables import variables
from bundle_loader.declared.tree import Mapping, path_text
from bundle_loader.errors import Fault

RECIPE_KEYS = ("steps", "stages")
_IDLE = ("rate_limiting", "orchestrator")
"""Keys of a recipe that are read and kept but that nothing acts on."""


@dataclass(slots=True)
class RecipeFile:
    """A recipe file that was read. `recipe` is None where it has faults; `name` is what it would be called."""

    name: str
    file: str
    recipe: Recipe | None
    faults: list[Fault]


def looks_like_recipe(values: dict[str, Any]) -> bool:
    """True for a file that declares a recipe rather than a bundle or an agent."""
    return any(key in values for key in RECIPE_KEYS) and not any(key in values for key in ("bundle", "agents", "includes"))


def read_recipe(document: Document, bundle: str = "") -> RecipeFile:
    """The recipe of a file, with every fault of it. `bundle` is the bundle that brings it."""
    stem = PurePosixPath(document.file.replace("\\", "/")).stem
    if document.values is None:
        return RecipeFile(stem, document.file, None, document.faults)
    return _Finisher(RecipeReading(document), stem, bundle).file()


class _Finisher:
    def __init__(self, reading: RecipeReading, stem: str, bundle: str) -> None:
        self.reading = reading
        self.bundle = bundle
        self.faults = reading.faults
        self.steps = StepFinisher(reading)
        self.name = (reading.written.name or "").strip() or stem

    def file(self) -> RecipeFile:
        reading = self.reading
        has_both = all(key in reading.tree.entries for key in RECIPE_KEYS)
        if has_both:
            self._say(reading.tree, (), ("steps",), "a recipe has 'steps' or 'stages', not both; move the steps into a stage")
        elif not any(key in reading.tree.entries for key in RECIPE_KEYS):
            self._say(reading.tree, (), (), "is no recipe: it has neither 'steps' nor 'stages'; write at least one step")
        elif not reading.stages and not any(fault.level == "error" for fault in self.faults):
            key = next(key for key in RECIPE_KEYS if key in reading.tree.entries)
            self._say(reading.tree, (), (key,), "is empty; write at least one")
        if reading.written.name is not None and not reading.written.name.strip():
            self._say(reading.tree, (), ("name",), "is empty; name the recipe")
        found, wrong = variables(reading)
        self.faults += wrong
        extra = self._extra()
        stages = self._stages()
        for stray in reading.strays:
            self.steps.finished(stray)
        self.faults += self.steps.faults
        self.faults += order_faults(reading)
        self.faults += Scope(reading).check()
        self.faults += style_faults(reading)
        faults = sorted(set(self.faults))
        good = not any(fault.level == "error" for fault in faults)
        recipe = self._recipe(found, stages, extra) if good else None
        return RecipeFile(self.name, reading.file, recipe, faults)

    def _recipe(self, found: dict[str, Any], stages: list[Stage], extra: dict[str, Any]) -> Recipe:
        written = self.reading.written
        texts = {
            key: getattr(written, key) or "" for key in ("description", "version", "author", "created", "updated", "license")
        }
        recursion = Recursion(**written.recursion.model_dump()) if written.recursion else Recursion()
        recipe = Recipe(
            name=self.name,
            bundle=self.bundle,
            **texts,
            tags=tuple(written.tags or ()),
            variables=found,
            stages=tuple(stages),
            recursion=recursion,
            extra=extra,
            file=self.reading.file,
        )
        recipe._places = self.steps.places
        return recipe

    def _extra(self) -> dict[str, Any]:
        found = {}
        for key in _IDLE:
            value = getattr(self.reading.written, key)
            if value is not None:
                found[key] = value
                message = "is read and kept, but nothing acts on it"
                self._say(self.reading.tree, (), (key,), message, "warning", "not-in-force")
        return found

    def _stages(self) -> list[Stage]:
        names: dict[str, int] = {}
        found = []
        for read in self.reading.stages:
            name = (read.written.name or "").strip()
            if read.path:
                if not name and "name" not in read.tree.entries:
                    self._say(read.tree, read.path, ("name",), "is missing; name the stage")
                elif not name and read.written.name is not None:
                    self._say(read.tree, read.path, ("name",), "is empty; name the stage")
                line = node_at(read.tree, ("name",)).line
                if name and names.setdefault(name, line) != line:
                    message = f"'{name}' is written twice; the first is on line {names[name]}"
                    self._say(read.tree, read.path, ("name",), message)
            found.append(self._stage(read, name))
        return found

    def _stage(self, read: ReadStage, name: str) -> Stage:
        steps = self.steps.finished(read.steps)
        if not read.path:
            return Stage(steps=tuple(steps))
        written = read.written
        approval = approval_of(written.approval)
        if approval is not None and not approval.prompt.strip():
            self._say(read.tree, read.path, ("approval",), "has no prompt; say what is to be approved")
        return Stage(
            name=name,
            description=written.description or "",
            stage=written.stage,
            profile=written.profile,
            condition=(written.condition or "").strip() or None,
            approval=approval,
            steps=tuple(steps),
        )

    def _say(self, tree: Mapping, path: Path, at: Path, message: str, level: str = "error", rule: str = "declaration") -> None:
        node = node_at(tree, at)
        place = tree.keys.get(str(at[0]), (node.line, node.column)) if len(at) == 1 else (node.line, node.column)
        self.faults.append(Fault(tree.file, *place, path_text((*path, *at)), message, level, rule))


__all__ = ["Recipe", "RecipeFile", "Step", "looks_like_recipe", "read_recipe"]
