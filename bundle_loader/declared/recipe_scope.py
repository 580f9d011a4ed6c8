"""Which variables a recipe's texts and conditions may read, step by step, and which they read in vain."""

from __future__ import annotations

from typing import Any

from bundle_loader.declared.recipe import ALWAYS
from bundle_loader.declared.recipe_condition import ConditionError, bare_words, parse_condition, variables_of
from bundle_loader.declared.recipe_read import Path, ReadStage, ReadStep, RecipeReading, all_steps
from bundle_loader.declared.recipe_text import scan, texts_in
from bundle_loader.declared.tree import Mapping, Node, Scalar, Sequence, path_text
from bundle_loader.errors import Fault, Hints

_PROSE = ("prompt", "instruction", "agent", "mode", "recipe", "output_schema", "provider", "model", "tier", "profile", "stage")
_CODE = ("bash", "command", "shell", "args", "cwd", "env", "python")
"""Where braces that are no variable are somebody else's syntax."""
_CONDITIONS = ("condition", "when")
_MAX_MISREAD = 100
"""Faults of one text."""
_NUMBERS = ("timeout", "max_iterations", "max_while_iterations", "retry")


class Scope:
    """Walks a recipe in the order in which it runs; what is read and never set is a fault."""

    def __init__(self, reading: RecipeReading) -> None:
        self.reading = reading
        self.faults: list[Fault] = []
        self.hints = Hints()
        self.later = {
            name: step.id
            for steps in ([stage for read in reading.stages for stage in read.steps], *reading.strays)
            for step in all_steps(steps)
            for name in names_set(step)
        }
        self.declared = set(reading.written.context or {})

    def check(self) -> list[Fault]:
        """Every fault of every text."""
        known = {*ALWAYS, *self.declared}
        context = self.reading.written.context or {}
        for name, value in context.items():
            self._texts(self.reading.tree, (), ("context", name), value, known)
        for stage in self.reading.stages:
            self._stage(stage, known)
        for stray in self.reading.strays:
            self._steps(stray, known)
        return self.faults

    def _stage(self, stage: ReadStage, known: set[str]) -> None:
        if stage.path:
            self._condition(stage.tree, stage.path, "condition", stage.written.condition, known)
            self._approval(stage.tree, stage.path, stage.written.approval, known)
            for key in ("profile", "stage"):
                self._texts(stage.tree, stage.path, (key,), getattr(stage.written, key), known)
        self._steps(stage.steps, known)

    def _steps(self, steps: list[ReadStep], known: set[str], *, together: bool = False) -> None:
        """`known` grows by what the steps set; steps that run together do not see each other's."""
        after: set[str] = set()
        for step in steps:
            inside = set(known)
            self._step(step, inside)
            after |= names_set(step) | (inside if step.children else set())
            if not together:
                known |= after
        known |= after

    def _step(self, step: ReadStep, known: set[str]) -> None:
        written = step.written
        self._texts(step.tree, step.path, ("foreach",), written.foreach, known)
        outside = set(known)
        loops = written.while_ or written.while_condition
        if step.has("foreach"):
            known.add(written.as_ or "item")
        if loops:
            known |= names_set(step).union(*(names_set(child) for child in all_steps(step.children)))
        for key in _CONDITIONS:
            self._condition(step.tree, step.path, key, getattr(written, key), known)
        for key, text in (("while", written.while_), ("while_condition", written.while_condition)):
            self._condition(step.tree, step.path, key, text, known)
        self._approval(step.tree, step.path, written.approval, known)
        for key in (*_PROSE, *_NUMBERS):
            value = getattr(written, key)
            value = value.model_dump(exclude_none=True) if hasattr(value, "model_dump") else value
            self._texts(step.tree, step.path, (key,), value, known)
        for key in _CODE:
            self._texts(step.tree, step.path, (key,), getattr(written, key), known, code=True)
        self._texts(step.tree, step.path, ("context",), written.context, known)
        if isinstance(written.parallel, str):
            self._texts(step.tree, step.path, ("parallel",), written.parallel, outside)
        together = bool(written.parallel) or isinstance(step.tree.entries.get("parallel"), Sequence)
        self._steps(step.children, known, together=together and not step.has("foreach"))
        own = known | names_set(step)
        self._condition(step.tree, step.path, "break_when", written.break_when, own)
        self._texts(step.tree, step.path, ("update_context",), written.update_context, own)
        if step.has("foreach"):
            known.discard(written.as_ or "item")
            known |= outside

    def _approval(self, tree: Mapping, path: Path, written: Any, known: set[str]) -> None:
        for key in ("prompt", "message") if written is not None else ():
            at = ("approval", key) if isinstance(tree.entries.get("approval"), Mapping) else ("approval",)
            self._texts(tree, path, at, getattr(written, key), known)

    def _texts(self, tree: Mapping, path: Path, at: Path, value: Any, known: set[str], *, code: bool = False) -> None:
        for inner, text in texts_in(value):
            references, misread = scan(text)
            if not references and not misread:
                continue
            node = node_at(tree, (*at, *inner))
            key = path_text((*path, *at, *inner))
            for wrong in misread[:_MAX_MISREAD]:
                place = self._place(node, wrong.start, wrong.shown)
                self.faults.append(Fault(*place, key, str(wrong), "warning" if code else "error", "template"))
            seen: set[str] = set()
            for reference in references:
                if reference.name and reference.name not in seen:
                    seen.add(reference.name)
                    shown = text[reference.start : reference.end]
                    self._reference(reference.name, self._place(node, reference.start, shown), key, known)

    def _condition(self, tree: Mapping, path: Path, key: str, text: str | None, known: set[str]) -> None:
        if text is None or not text.strip():
            return
        node = node_at(tree, (key,))
        named = path_text((*path, key))
        try:
            parsed = parse_condition(text)
        except ConditionError as error:
            place = self._place(node, error.offset, text[error.offset : error.offset + 10])
            self.faults.append(Fault(*place, named, f"the condition is wrong: {error}", rule="template"))
            return
        for name in dict.fromkeys(path[0] for path in variables_of(parsed)):
            self._reference(name, self._place(node, text.find(name), name), named, known)
        for word in bare_words(parsed):
            if word.split(".")[0] in known - set(ALWAYS):
                place = self._place(node, text.find(word), word)
                message = f"'{word}' is taken as text; write {{{{{word}}}}} for the variable, or quotes for the text"
                self.faults.append(Fault(*place, named, message, "warning", "recipe-style"))

    def _reference(self, name: str, place: tuple[str, int, int], key: str, known: set[str]) -> None:
        if name in known:
            return
        if name in self.later:
            message = f"'{name}' is set by step '{self.later[name]}', which does not run before this one"
            self.faults.append(Fault(*place, key, message, "warning", "variable-set-later"))
            return
        near = self.hints.near(name, sorted({*known, *self.later}))
        message = f"nobody sets '{name}'{near}; write it under 'context', or as the output of an earlier step"
        self.faults.append(Fault(*place, key, message, rule="unset-variable"))

    def _place(self, node: Node, offset: int, shown: str) -> tuple[str, int, int]:
        if isinstance(node, Scalar):
            return self.reading.lines.place(node, offset, shown)
        return node.file, node.line, node.column


def names_set(step: ReadStep) -> set[str]:
    """The variables that a step sets."""
    written = step.written
    return {
        name
        for name in (written.output, written.collect, written.output_exit_code, *(written.update_context or ()))
        if name is not None
    }


def node_at(tree: Mapping, path: Path) -> Node:
    """The value at a path, or the nearest that encloses where it would be."""
    node: Node = tree
    for step in path:
        if isinstance(node, Mapping) and isinstance(step, str) and step in node.entries:
            node = node.entries[step]
        elif isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
        else:
            break
    return node
