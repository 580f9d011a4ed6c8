"""Which variables a recipe's texts and conditions may read, step by step, and which they read in vain."""

from __future__ import annotations

from typing import Any, Literal

from bundle_loader.declared.recipe import ALWAYS, WITHIN_LOOPS
from bundle_loader.declared.recipe_condition import ConditionError, bare_words, variables_of
from bundle_loader.declared.recipe_expression import Expression, read_condition
from bundle_loader.declared.recipe_read import Path, ReadStage, ReadStep, RecipeReading, all_steps
from bundle_loader.declared.recipe_template import read_template
from bundle_loader.declared.recipe_text import is_template, scan, texts_in
from bundle_loader.declared.tree import Mapping, Node, Scalar, Sequence, path_text
from bundle_loader.errors import Fault, Hints

_PROMPTS = ("prompt", "instruction", "message")
"""Where all of Jinja2 may stand."""
_PROSE = ("agent", "mode", "recipe", "output_schema", "provider", "model", "tier", "profile", "stage", "model_role", "role")
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
        after = bool(stage.path) and waits(self.reading, stage) == "after"
        if stage.path:
            self._condition(stage.tree, stage.path, "condition", stage.written.condition, known)
            for key in ("profile", "stage"):
                self._texts(stage.tree, stage.path, (key,), getattr(stage.written, key), known)
        if stage.path and not after:
            self._gate(stage, known)
        self._steps(stage.steps, known)
        if after:
            self._gate(stage, known)

    def _gate(self, stage: ReadStage, known: set[str]) -> None:
        self._approval(stage.tree, stage.path, stage.written.approval, known)
        self._prompt(stage.tree, stage.path, ("approval_message",), stage.written.approval_message, known)

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
            known.add(written.as_ or written.as_var or "item")
        if step.has("foreach") or loops:
            known.update(WITHIN_LOOPS)
        if loops:
            known |= names_set(step).union(*(names_set(child) for child in all_steps(step.children)))
        for key in _CONDITIONS:
            self._condition(step.tree, step.path, key, getattr(written, key), known)
        for key, text in (("while", written.while_), ("while_condition", written.while_condition)):
            self._condition(step.tree, step.path, key, text, known)
        self._approval(step.tree, step.path, written.approval, known)
        for key in _PROMPTS:
            self._prompt(step.tree, step.path, (key,), getattr(written, key), known)
        for key in (*_PROSE, *_NUMBERS):
            value = getattr(written, key)
            value = value.model_dump(exclude_none=True) if hasattr(value, "model_dump") else value
            self._texts(step.tree, step.path, (key,), value, known)
        for key in _CODE:
            self._texts(step.tree, step.path, (key,), getattr(written, key), known, code=True)
        self._texts(step.tree, step.path, ("context",), written.context, known)
        self._texts(step.tree, step.path, ("step_context",), written.step_context, known)
        if isinstance(written.parallel, str):
            self._texts(step.tree, step.path, ("parallel",), written.parallel, outside)
        together = bool(written.parallel) or isinstance(step.tree.entries.get("parallel"), Sequence)
        self._steps(step.children, known, together=together and not step.has("foreach"))
        own = known | names_set(step).union(*(names_set(child) for child in all_steps(step.children)))
        self._condition(step.tree, step.path, "break_when", written.break_when, own)
        self._texts(step.tree, step.path, ("update_context",), written.update_context, own)
        if step.has("foreach") or loops:
            known.difference_update({*WITHIN_LOOPS, (written.as_ or written.as_var or "item") if step.has("foreach") else ""})
            known |= outside

    def _approval(self, tree: Mapping, path: Path, written: Any, known: set[str]) -> None:
        for key in ("prompt", "message") if written is not None else ():
            at = ("approval", key) if isinstance(tree.entries.get("approval"), Mapping) else ("approval",)
            self._prompt(tree, path, at, getattr(written, key), known)

    def _prompt(self, tree: Mapping, path: Path, at: Path, text: str | None, known: set[str]) -> None:
        """A text that may be a template: read as one where it says more than references."""
        if text is None or not is_template(text):
            self._texts(tree, path, at, text, known)
            return
        reading = read_template(text)
        unclosed = [wrong for wrong in scan(text)[1] if "}}" not in text[wrong.start :].split("\n", 1)[0]]
        if reading.tree is None and unclosed and "{%" not in text:
            self._texts(tree, path, at, text, known, template=True)
            return
        node, key = node_at(tree, at), path_text((*path, *at))
        starts = [0, *(index + 1 for index, sign in enumerate(text) if sign == "\n")]
        for wrong in scan(text)[1]:
            if wrong.foreign:
                self.faults.append(Fault(*self._place(node, wrong.start, wrong.shown), key, str(wrong), "warning", "template"))
        for fault in reading.faults:
            place = self._template_place(node, text, starts, fault.line, fault.column)
            self.faults.append(Fault(*place, key, fault.message, fault.level, "template"))
        for name, line, column in reading.names:
            self._reference(name, self._template_place(node, text, starts, line, column), key, known)

    def _template_place(self, node: Node, text: str, starts: list[int], line: int, column: int) -> tuple[str, int, int]:
        """The place in the file of a line and column of a template."""
        offset = starts[min(max(line, 1), len(starts)) - 1] + max(column - 1, 0)
        return self._place(node, offset, text[offset : offset + 30].split("\n", 1)[0])

    def _texts(
        self, tree: Mapping, path: Path, at: Path, value: Any, known: set[str], *, code: bool = False, template: bool = False
    ) -> None:
        """Texts with references. Of a text meant as a `template`, only the braces that do not close are wrong."""
        for inner, text in texts_in(value):
            references, misread = scan(text)
            if not references and not misread:
                continue
            node = node_at(tree, (*at, *inner))
            key = path_text((*path, *at, *inner))
            for wrong in misread[:_MAX_MISREAD]:
                if template and "}}" in text[wrong.start :].split("\n", 1)[0]:
                    continue
                place = self._place(node, wrong.start, wrong.shown)
                level = "warning" if code or wrong.foreign else "error"
                self.faults.append(Fault(*place, key, str(wrong), level, "template"))
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
            parsed = read_condition(text)
        except ConditionError as error:
            place = self._place(node, error.offset, text[error.offset : error.offset + 10])
            self.faults.append(Fault(*place, named, f"the condition is wrong: {error}", rule="template"))
            return
        if isinstance(parsed, Expression):
            for fault in parsed.reading.faults:
                self.faults.append(Fault(*self._place(node, 0, text[:10]), named, fault.message, fault.level, "template"))
            for name, _, _ in parsed.reading.names:
                self._reference(name, self._place(node, max(text.find(name), 0), name), named, known)
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
        if name == "steps":
            message = "nobody sets 'steps'; write 'output: NAME' in the step that is meant, and {{NAME}} here"
        self.faults.append(Fault(*place, key, message, rule="unset-variable"))

    def _place(self, node: Node, offset: int, shown: str) -> tuple[str, int, int]:
        if isinstance(node, Scalar):
            return self.reading.lines.place(node, offset, shown)
        return node.file, node.line, node.column


def waits(reading: RecipeReading, stage: ReadStage) -> Literal["before", "after"]:
    """Whether a stage waits for its approval before its first step or after its last.

    1. As `when` says. 2. Before, where the approval is written in short. 3. After, where its text reads what the stage's own
    steps set. 4. Before, where it reads what earlier stages' steps set. 5. After.
    """
    approval = stage.written.approval
    if approval is not None and approval.when is not None:
        return "after" if approval.when.startswith("after") else "before"
    if approval is not None and isinstance(stage.tree.entries.get("approval"), Scalar):
        return "before"
    text = (approval.prompt or approval.message if approval is not None else stage.written.approval_message) or ""
    names = {name for name, _, _ in read_template(text).names} if is_template(text) else set()
    names |= {reference.name for reference in scan(text)[0]}
    earlier = {
        name
        for one in reading.stages[: next(index for index, one in enumerate(reading.stages) if one is stage)]
        for step in all_steps(one.steps)
        for name in names_set(step)
    }
    if names.isdisjoint(name for step in all_steps(stage.steps) for name in names_set(step)) and names & earlier:
        return "before"
    return "after"


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
