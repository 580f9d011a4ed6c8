"""Steps that run more than once: `foreach` over elements, `while` a condition holds."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

from bundle_loader.declared.recipe import ForEach, GroupStep, Step, While
from bundle_loader.recipes.conditions import holds
from bundle_loader.recipes.doing import Doer, merged, together
from bundle_loader.recipes.done import Done, Ended
from bundle_loader.recipes.failures import Mistake
from bundle_loader.recipes.json_text import json_in
from bundle_loader.recipes.numbers import whole
from bundle_loader.recipes.scope import Frame, Scope
from bundle_loader.recipes.texts import fill_value
from bundle_loader.recipes.values import EMPTY, Lenient, Values, plain

MAX_ELEMENTS: Final = 10_000
"""Elements of a loop that does not say how many it may have."""
_ROUND: Final = ("_loop_index", "_loop_iteration")
"""Variables of a loop that counts: from 0, and from 1."""


async def foreach(doer: Doer, step: Step, loop: ForEach, frame: Frame, id: str) -> tuple[Done, list[Ended]]:
    """Once for each element. Raises StepFailed."""
    values = frame.values(step)
    elements = _elements(loop, values)
    most = whole("max_iterations", loop.max_iterations, values) if loop.max_iterations is not None else MAX_ELEMENTS
    if len(elements) > most:
        raise Mistake(f"foreach: {len(elements)} elements, and at most {most} are allowed", remedy="raise max_iterations")
    scope = Scope(frame.scope)
    inner = frame.inner(scope)
    if loop.together and not _sees_itself(loop):
        limit = whole("parallel", loop.limit, values) if loop.limit is not None else None
        scopes = [Scope(frame.scope, {loop.variable: element}) for element in elements]
        work = [partial(doer.element, step, frame.inner(one), f"{id}[{index}]", alone=False) for index, one in enumerate(scopes)]
        ended = await together(work, limit)
        merged(inner, scopes, loop.variable)
    else:
        ended = []
        for index, element in enumerate(elements):
            one = Scope(scope, {loop.variable: element, **_round(index)})
            ended.append(await doer.element(step, inner.inner(one), f"{id}[{index}]", alone=False))
            for name in _ROUND:
                one.names.pop(name, None)
            merged(inner, [one], loop.variable)
            if not _goes_on(loop, step, inner, {loop.variable: element, **_round(index)}):
                break
    return _done(step, loop.collect, scope, ended), ended


def _sees_itself(loop: ForEach) -> bool:
    """Whether a round looks at what the one before it has set."""
    return loop.break_when is not None or bool(loop.update)


async def repeat(doer: Doer, step: Step, loop: While, frame: Frame, id: str) -> tuple[Done, list[Ended]]:
    """As long as the condition holds, at most so many times. Raises StepFailed."""
    recipe = frame.recipe
    most = whole("max_iterations", loop.max_iterations, frame.values(step))
    scope = Scope(frame.scope)
    inner = frame.inner(scope)
    ended: list[Ended] = []
    for index in range(most):
        values = Lenient(inner.values(step).over(_round(index)))
        going = holds(loop.condition, values, recipe.text_place(step.id, "while"))
        doer.ctx.warn(*(f"step '{step.id}': {note}" for note in values.noted))
        if not going:
            break
        one = Scope(scope, _round(index))
        ended.append(await doer.element(step, inner.inner(one), f"{id}[{index}]", alone=False))
        for name in _ROUND:
            one.names.pop(name, None)
        merged(inner, [one])
        if not _goes_on(loop, step, inner, _round(index)):
            break
    return _done(step, loop.collect, scope, ended), ended


def _goes_on(loop: ForEach | While, step: Step, frame: Frame, here: dict[str, Any]) -> bool:
    """After a round: its updates, then whether it breaks off."""
    values = frame.values(step).over(here)
    frame.scope.take({name: fill_value(value, values) for name, value in loop.update.items()}, {})
    if loop.break_when is None:
        return True
    return not holds(loop.break_when, Lenient(values), frame.recipe.text_place(step.id, "break_when"))


def _round(index: int) -> dict[str, Any]:
    return {"_loop_index": index, "_loop_iteration": index + 1}


def _done(step: Step, collect: str | None, scope: Scope, ended: Sequence[Ended]) -> Done:
    """What a loop gives: the last round's output, and all of them where they are collected."""
    outputs = [plain(one.record.output) for one in ended]
    last = outputs[-1] if outputs else EMPTY
    sets = dict(scope.names)
    if collect is not None:
        sets[collect] = outputs
    if step.output is not None and isinstance(step.action, GroupStep):
        sets[step.output] = last
    return Done(last, sets, dict(scope.outcomes))


def _elements(loop: ForEach, values: Values) -> list[Any]:
    """The list that a loop runs over. Raises Mistake."""
    found = fill_value(loop.items, values)
    if found is None or found is EMPTY or found == "":
        return []
    if isinstance(found, str):
        with suppress(ValueError):
            found = json_in(found)
    if isinstance(found, (list, tuple)):
        return list(found)
    shown = {dict: "a mapping", str: "text that holds no list", bool: "a boolean", int: "a number", float: "a number"}
    said = loop.items if isinstance(loop.items, str) else "it"
    raise Mistake(
        f"foreach: {said} is {shown.get(type(found), type(found).__name__)}, not a list",
        remedy="give a list, or have the step before it answer with one ('parse_json: true')",
    )
