"""The ids of a recipe's steps, and what leads from one step to another: `depends_on` and `goto`."""

from __future__ import annotations

import re
from typing import Final

from bundle_loader.declared.recipe_read import ReadStep, RecipeReading, all_steps
from bundle_loader.declared.recipe_scope import node_at
from bundle_loader.declared.tree import path_text
from bundle_loader.errors import Fault, Hints

_MAX_SEARCHES: Final = 100
_NOT_IN_IDS: Final = re.compile(r"[/\[\]:]")


def order_faults(reading: RecipeReading) -> list[Fault]:
    """Ids that are missing or repeated, and steps that are led to but are not there or lead in a circle."""
    flat = [step for stage in reading.stages for step in stage.steps]
    return _Order([flat, *reading.strays], len(flat)).faults


class _Order:
    def __init__(self, lists: list[list[ReadStep]], top: int) -> None:
        self.faults: list[Fault] = []
        self.hints = Hints()
        self.searches = _MAX_SEARCHES
        self.first: dict[str, ReadStep] = {}
        steps = [step for some in lists for step in all_steps(some)]
        self.place = {id(step): index for index, step in enumerate(steps)}
        self.home = {id(step): number for some in lists for step in some for number in [id(some)]}
        for step in steps:
            for child in step.children:
                self.home[id(child)] = id(step)
        for step in steps:
            self._id(step)
        for step in steps:
            self._needs(step)
            self._goto(step)

    def _id(self, step: ReadStep) -> None:
        if not step.has("id"):
            self._fault(step, ("id",), "is missing; name the step, so that others and a resumed run can find it")
        elif step.id:
            odd = _NOT_IN_IDS.search(step.id)
            if odd is not None:
                said = f"'{odd[0]}' may not stand in the id of a step: a run tells its rounds and the steps in it apart by it"
                self._fault(step, ("id",), f"{said}; use letters, digits, '-' and '_'")
            first = self.first.setdefault(step.id, step)
            if first is not step:
                line = node_at(first.tree, ("id",)).line
                self._fault(step, ("id",), f"'{step.id}' is written twice; the first is on line {line}")

    def _needs(self, step: ReadStep) -> None:
        for index, name in enumerate(step.written.depends_on or ()):
            path = ("depends_on", index)
            needed = self.first.get(name)
            if needed is None:
                self._fault(step, path, f"no step '{name}'{self.hints.near(name, list(self.first))}")
                continue
            later = self.place[id(needed)] >= self.place[id(step)]
            loop = self._loop(step.id, name) if later else []
            if loop:
                self._fault(step, path, f"steps wait for each other in a loop: {' -> '.join(loop)}")
            elif _within(step, needed) or _within(needed, step):
                self._fault(step, path, f"'{name}' is the group of this step or a step in it; neither can wait for the other")
            elif later:
                self._fault(step, path, f"'{name}' comes after this step; steps run in written order, so write it before")

    def _loop(self, start: str, first: str) -> list[str]:
        """The way from a step over what it needs back to itself, or nothing."""
        # a loop has a step that waits for a later one; past so many, saying that it is later is enough
        self.searches -= 1
        if self.searches < 0:
            return []
        came_from = {first: start}
        queue = [first]
        while queue:
            name = queue.pop(0)
            if name == start:
                way = [name]
                while True:
                    way.append(came_from[way[-1]])
                    if way[-1] == start:
                        return way[::-1]
            step = self.first.get(name)
            for needed in (step.written.depends_on or ()) if step else ():
                if needed not in came_from:
                    came_from[needed] = name
                    queue.append(needed)
        return []

    def _goto(self, step: ReadStep) -> None:
        action, name = step.written.on_error or (None, None)
        if action != "goto" or name is None:
            return
        target = self.first.get(name)
        if target is None:
            self._fault(step, ("on_error",), f"no step '{name}' to go to{self.hints.near(name, list(self.first))}")
        elif self.place[id(target)] <= self.place[id(step)]:
            message = f"'goto: {name}' leads back and would run in a loop; name a later step, or write 'retry'"
            self._fault(step, ("on_error",), message)
        elif self.home[id(target)] != self.home[id(step)]:
            self._fault(step, ("on_error",), f"'{name}' is in another group; name a step beside this one")

    def _fault(self, step: ReadStep, path: tuple[str | int, ...], message: str) -> None:
        node = node_at(step.tree, path)
        self.faults.append(Fault(node.file, node.line, node.column, path_text((*step.path, *path)), message))


def _within(inner: ReadStep, outer: ReadStep) -> bool:
    return inner is not outer and inner.path[: len(outer.path)] == outer.path
