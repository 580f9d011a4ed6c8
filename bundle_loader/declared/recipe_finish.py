"""A recipe file to its final value: each step's one kind, its loop, its synonyms settled; every fault at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from bundle_loader.declared.frontmatter import Document
from bundle_loader.declared.recipe import Approval, Recipe, Recursion, Stage, Step
from bundle_loader.declared.recipe_order import order_faults
from bundle_loader.declared.recipe_reach import reach_faults
from bundle_loader.declared.recipe_read import Path, ReadStage, RecipeReading
from bundle_loader.declared.recipe_scope import Scope, node_at, waits
from bundle_loader.declared.recipe_step import StepFinisher, approval_of
from bundle_loader.declared.recipe_style import style_faults
from bundle_loader.declared.recipe_variables import variables
from bundle_loader.declared.recipe_written import WrittenApproval
from bundle_loader.declared.tree import Mapping, Scalar, path_text
from bundle_loader.errors import Fault

RECIPE_KEYS = ("steps", "stages")
_IDLE = {
    "rate_limiting": "is read and kept, but nothing acts on it",
    "orchestrator": "is read and kept, but nothing acts on it",
    "dependencies": "are read and kept, but nothing is fetched: agents are those of the bundle that runs the recipe",
    "capabilities": "are read and kept, but nothing acts on them: what an agent may use is its own to say",
}
"""Keys of a recipe that are read and kept but that nothing acts on, and what is said of them."""


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
        self.faults += reach_faults(reading)
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
        recipe._texts = self.steps.texts
        return recipe

    def _extra(self) -> dict[str, Any]:
        found = {}
        for key, message in _IDLE.items():
            value = getattr(self.reading.written, key)
            if value:
                found[key] = [one.model_dump(exclude_none=True) for one in value] if key == "dependencies" else value
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
        approval = self._approval(read, name)
        condition = read.tree.entries.get("condition")
        if isinstance(condition, Scalar):
            self.steps.texts.keep_text("", f"{name}.condition", condition)
        return Stage(
            name=name,
            description=written.description or "",
            stage=written.stage,
            profile=written.profile,
            condition=(written.condition or "").strip() or None,
            approval=approval,
            steps=tuple(steps),
        )

    def _approval(self, read: ReadStage, name: str) -> Approval | None:
        """What a stage waits for, and whether before its steps or after them.

        It waits where `when` says. Without that: before, where the approval is written in short; before, where its text reads
        what earlier steps set and nothing that the stage's own steps set; else after, as other runners of these files do.
        """
        written, entries = read.written, read.tree.entries
        if "auto_approve_if" in entries:
            message = "is read, but nothing acts on it: a person is asked, whatever it says"
            self._say(read.tree, read.path, ("auto_approve_if",), message, "warning", "not-in-force")
        flat = [key for key in ("approval_required", "approval_message") if key in entries]
        if flat and written.approval is not None:
            self._say(read.tree, read.path, (flat[0],), "stands beside 'approval'; write it into that")
        said = written.approval
        if said is None and flat:
            required = written.approval_required
            said = WrittenApproval(required=required, prompt=written.approval_message)
            if required is None and written.approval_message is None:
                return None
        approval = approval_of(said)
        if approval is None:
            return None
        key = "approval" if written.approval is not None else flat[-1]
        if not approval.prompt.strip():
            self._say(read.tree, read.path, (key,), "has no prompt; say what is to be approved")
        node = entries[key]
        if isinstance(node, (Scalar, Mapping)):
            self.steps.texts.keep_text("", name, node)
        when = waits(self.reading, read)
        if said is not None and said.when is None and key == "approval" and approval.prompt.strip() and isinstance(node, Mapping):
            where = "after this stage's last step" if when == "after" else "before this stage's first step"
            other = "before_stage" if when == "after" else "after_stage"
            self._say(
                read.tree,
                read.path,
                (key,),
                f"is waited for {where}; write 'when: {other}' for the other, or 'when: {when}_stage' to be sure",
                "note",
                "approval-place",
            )
        return approval.model_copy(update={"when": when})

    def _say(self, tree: Mapping, path: Path, at: Path, message: str, level: str = "error", rule: str = "declaration") -> None:
        node = node_at(tree, at)
        place = tree.keys.get(str(at[0]), (node.line, node.column)) if len(at) == 1 else (node.line, node.column)
        self.faults.append(Fault(tree.file, *place, path_text((*path, *at)), message, level, rule))


__all__ = ["Recipe", "RecipeFile", "Step", "looks_like_recipe", "read_recipe"]
