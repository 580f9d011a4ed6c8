"""Steps of a recipe that can never run: behind a step that always fails, under a condition that never holds, and the like."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from bundle_loader.declared.recipe_condition import Both, Condition, ConditionError, Not, Text, Variable
from bundle_loader.declared.recipe_expression import Expression, read_condition
from bundle_loader.declared.recipe_read import ReadStep, RecipeReading
from bundle_loader.declared.recipe_text import scan
from bundle_loader.declared.tree import Sequence, path_text
from bundle_loader.errors import Fault

_FALSE: Final = frozenset({"", "false", "no", "off", "0", "none", "null"})
_HARMLESS: Final = re.compile(r"\s*(?:#.*|set\s+[-+][^;&|]*|(?:echo|printf)\s[^;&|$`]*)?\s*")
_EXITS: Final = re.compile(r"\s*exit\s+0*[1-9][0-9]{0,2}\s*;?\s*(?:#.*)?")


def reach_faults(reading: RecipeReading) -> list[Fault]:
    """A warning for each step that can never run, of a group only for the group."""
    found = _Reach()
    for stage in reading.stages:
        never = "its stage's condition never holds" if _never(stage.written.condition) else None
        found.steps(stage.steps, _Way(never, hinders=False) if never else found.way)
    return found.faults


@dataclass(slots=True)
class _Way:
    """Why the steps from here on are not come to, if anything; and the step at which they are again."""

    blocked: str | None = None
    until: str | None = None
    targets: set[str] = field(default_factory=set)
    """Steps that an earlier step may jump to."""
    hinders: bool = True
    """Whether what is not come to hinders whoever waits for it."""


class _Reach:
    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.never: set[str] = set()
        self.failing: set[str] = set()
        self.way = _Way()

    def steps(self, steps: list[ReadStep], way: _Way) -> None:
        """The steps of one list, in their order."""
        for step in steps:
            if step.id and step.id in (way.until, *way.targets):
                way.blocked = way.until = None
            waiting = way.blocked or self._waiting(step)
            if waiting is not None and (way.hinders or not way.blocked):
                self.never.add(step.id)
            reason = waiting or _own(step)
            if reason is not None:
                self._say(step, reason)
                continue
            together = isinstance(step.tree.entries.get("parallel"), Sequence) or bool(step.written.parallel)
            for inner in [[child] for child in step.children] if together else [step.children]:
                self.steps(inner, _Way())
            self._onward(step, way)

    def _waiting(self, step: ReadStep) -> str | None:
        """The step that it waits for in vain, if any. One that its own condition leaves out hinders nobody."""
        for name in step.written.depends_on or ():
            if name in self.never:
                return f"it waits for '{name}', which never runs"
            if name in self.failing:
                return f"it waits for '{name}', which always fails"
        return None

    def _onward(self, step: ReadStep, way: _Way) -> None:
        action, target = step.written.on_error or ("stop", None)
        if action == "goto" and target is not None:
            way.targets.add(target)
        if not _always_fails(step):
            return
        self.failing.add(step.id)
        if action == "continue":
            return
        how = {"stop": "stops the recipe", "skip_remaining": "skips the rest"}.get(action, f"leads to '{target}'")
        way.blocked, way.until = f"step '{step.id}' always fails and {how}", target

    def _say(self, step: ReadStep, reason: str) -> None:
        message = f"is never run: {reason}; remove the step, or change what keeps it from running"
        place = (step.tree.file, step.tree.line, step.tree.column)
        self.faults.append(Fault(*place, path_text(step.path), message, "warning", "unreachable-step"))


def _own(step: ReadStep) -> str | None:
    """Why a step that is come to does not run, if anything."""
    if _never(step.written.condition) or _never(step.written.when):
        return "its condition never holds"
    if _never(step.written.while_) or _never(step.written.while_condition):
        return "its 'while' never holds"
    return None


def _always_fails(step: ReadStep) -> bool:
    """A command that comes to nothing but a failure, whatever the variables are, and that nothing makes conditional."""
    written = step.written
    said = written.bash or written.command or written.shell
    if said is None or written.condition or written.when or step.has("foreach") or written.while_ or written.while_condition:
        return False
    lines = [line for line in said.split("\n") if not _HARMLESS.fullmatch(line)]
    return bool(lines) and (_EXITS.fullmatch(lines[0]) is not None or [line.strip() for line in lines] == ["false"])


def _parsed(text: str | None) -> Condition | None:
    if text is None or not text.strip():
        return None
    try:
        read = read_condition(text)
    except ConditionError:
        return None
    return None if isinstance(read, Expression) else read


def _never(text: str | None) -> bool:
    parsed = _parsed(text)
    return parsed is not None and constant(parsed) is False


def constant(condition: Condition) -> bool | None:
    """What a condition comes to whatever the variables are; None where they matter."""
    if isinstance(condition, Variable):
        return None
    if isinstance(condition, Text):
        return None if scan(condition.text)[0] else condition.text.strip().lower() not in _FALSE
    if isinstance(condition, Not):
        inner = constant(condition.inner)
        return None if inner is None else not inner
    if isinstance(condition, Both):
        sides = {constant(condition.left), constant(condition.right)}
        deciding = condition.word == "or"
        return deciding if deciding in sides else None if None in sides else not deciding
    left, right = condition.left, condition.right
    if not (isinstance(left, Text) and isinstance(right, Text)) or scan(left.text)[0] or scan(right.text)[0]:
        return None
    if condition.sign not in ("==", "!="):
        return None
    return (_plain(left.text) == _plain(right.text)) == (condition.sign == "==")


def _plain(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text
