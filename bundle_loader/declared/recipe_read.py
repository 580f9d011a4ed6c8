"""A recipe file's tree to written steps and stages: as much as can be read, and every fault of its form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from bundle_loader.declared.frontmatter import Document
from bundle_loader.declared.recipe_text import Lines
from bundle_loader.declared.recipe_written import WrittenRecipe, WrittenStage, WrittenStep, keys_of
from bundle_loader.declared.tree import Mapping, Node, Sequence, is_null, path_text
from bundle_loader.declared.written import Written, check
from bundle_loader.errors import Fault, did_you_mean, nearest

M = TypeVar("M", bound=Written)
Path = tuple[str | int, ...]

STEP_LISTS = ("steps", "while_steps", "parallel")
_STAGE_LISTS = ("steps",)
_RECIPE_LISTS = ("steps", "stages")


@dataclass(slots=True)
class ReadStep:
    """A step as far as it can be read; `tree` has misspelt keys under the names that they are taken for."""

    written: WrittenStep
    tree: Mapping
    path: Path
    children: list[ReadStep] = field(default_factory=list)

    @property
    def id(self) -> str:
        """Its id; empty where it has none."""
        return self.written.id or ""

    def has(self, key: str) -> bool:
        """Whether a key is written, be its value right or wrong."""
        return key in self.tree.entries and not is_null(self.tree.entries[key])


@dataclass(slots=True)
class ReadStage:
    """A stage as far as it can be read."""

    written: WrittenStage
    tree: Mapping
    path: Path
    steps: list[ReadStep]


class RecipeReading:
    """One recipe file, read. `strays` are lists of steps under a key that is none, read for their faults only."""

    def __init__(self, document: Document) -> None:
        self.file = document.file
        self.faults: list[Fault] = list(document.faults)
        self.lines = Lines(document.source, document.first_line)
        self.strays: list[list[ReadStep]] = []
        header = document.header
        self.written, self.tree, lost = self._checked(WrittenRecipe, header, (), _RECIPE_LISTS)
        self.stages: list[ReadStage] = []
        stages = self.tree.entries.get("stages")
        if stages is not None and not is_null(stages):
            self.stages = self._stages(stages, (self._as_written(header, "stages"),))
        steps = self.tree.entries.get("steps")
        if steps is not None and not is_null(steps):
            read = self._steps(steps, (self._as_written(header, "steps"),))
            self.stages.append(ReadStage(WrittenStage(), self.tree, (), read))
        for key in lost:
            node = header.entries[key]
            if isinstance(node, Sequence) and node.items and all(isinstance(item, Mapping) for item in node.items):
                self.strays.append(self._steps(node, (key,)))

    def _as_written(self, header: Mapping, key: str) -> str:
        """What a key of the repaired tree is called in the file."""
        node = self.tree.entries[key]
        return next((name for name, value in header.entries.items() if value is node), key)

    def _stages(self, node: Node, path: Path) -> list[ReadStage]:
        found = []
        for item, at in self._items(node, path, "stages"):
            written, tree, _ = self._checked(WrittenStage, item, at, _STAGE_LISTS)
            steps = tree.entries.get("steps")
            if steps is None or is_null(steps):
                self._fault(item, (*at, "steps"), "has no steps; write at least one")
            read = self._steps(steps, (*at, "steps")) if steps is not None else []
            found.append(ReadStage(written, tree, at, read))
        return found

    def _steps(self, node: Node, path: Path) -> list[ReadStep]:
        found = []
        for item, at in self._items(node, path, "steps"):
            written, tree, _ = self._checked(WrittenStep, item, at, STEP_LISTS)
            step = ReadStep(written, tree, at)
            for key in STEP_LISTS:
                below = tree.entries.get(key)
                if isinstance(below, Sequence):
                    step.children += self._steps(below, (*at, key))
            found.append(step)
        return found

    def _items(self, node: Node, path: Path, what: str) -> list[tuple[Mapping, Path]]:
        """The mappings of a list, each with its path."""
        if is_null(node):
            return []
        if not isinstance(node, Sequence):
            self._fault(node, path, f"write a list of {what}, each beginning with '- '")
            return []
        if not node.items:
            self._fault(node, path, "is empty; write at least one")
        found: list[tuple[Mapping, Path]] = []
        for index, item in enumerate(node.items):
            if isinstance(item, Mapping):
                found.append((item, (*path, index)))
            else:
                self._fault(item, (*path, index), f"write 'key: value' lines; these are {what}")
        return found

    def _checked(self, model: type[M], node: Mapping, path: Path, lists: tuple[str, ...]) -> tuple[M, Mapping, list[str]]:
        """What can be read of a mapping, its tree with misspelt keys put right, and the keys that mean nothing.

        A misspelt key is a fault, and is then taken for the key that it resembles, so that its value is checked as well.
        The lists of steps in it are left to the caller.
        """
        known = keys_of(model)
        entries: dict[str, Node] = {}
        keys: dict[str, tuple[int, int]] = {}
        lost = []
        for key, value in node.entries.items():
            place, name = node.keys[key], key
            if key not in known:
                self.faults.append(Fault(node.file, *place, path_text((*path, key)), f"unknown key{did_you_mean(key, known)}"))
                name = next(iter(nearest(key, known, 1)), "")
                if not name or name in node.entries or name in entries:
                    lost.append(key)
                    continue
            entries[name], keys[name] = value, place
        tree = Mapping(entries, keys, node.file, node.line, node.column)
        apart = {key for key in lists if key in ("steps", "stages", "while_steps") or isinstance(entries.get(key), Sequence)}
        plain_keys = {key: value for key, value in entries.items() if key not in apart}
        written, faults = check(model, _part(tree, plain_keys), path)
        if written is None:
            self.faults += faults
            good = {key: value for key, value in plain_keys.items() if not check(model, _part(tree, {key: value}))[1]}
            written, _ = check(model, _part(tree, good), path)
        return written if written is not None else model(), tree, lost

    def _fault(self, node: Node, path: Path, message: str) -> None:
        self.faults.append(Fault(node.file, node.line, node.column, path_text(path), message))


def _part(tree: Mapping, entries: dict[str, Node]) -> Mapping:
    return Mapping(entries, tree.keys, tree.file, tree.line, tree.column)


def all_steps(steps: list[ReadStep]) -> list[ReadStep]:
    """The steps and those in their groups, in written order."""
    return [found for step in steps for found in (step, *all_steps(step.children))]
