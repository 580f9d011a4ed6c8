"""How often a step runs: `foreach` over a list, `while` a condition holds, and the keys that need one of them."""

from __future__ import annotations

import json
from typing import Any, Final, Protocol

from bundle_loader.declared.recipe import ForEach, While
from bundle_loader.declared.recipe_read import Path, ReadStep
from bundle_loader.declared.recipe_text import only_reference
from bundle_loader.declared.tree import Sequence

UNBOUNDED: Final = 100
"""Rounds of a `while` that says no bound, as other runners of these files have it."""


class Say(Protocol):
    """Takes a fault of a step; `key` puts it at the key rather than at its value."""

    def __call__(
        self, step: ReadStep, at: Path, message: str, *, key: bool = False, level: str = "error", rule: str = "declaration"
    ) -> None: ...


def loop_of(step: ReadStep, kind: str | None, context: dict[str, Any], fault: Say) -> ForEach | While | None:
    """The loop of a step, or None. `kind` is what the step does, `context` what the recipe declares."""
    written = step.written
    condition = written.while_ if written.while_ is not None else written.while_condition
    looping = step.has("while") or step.has("while_condition")
    if looping and step.has("foreach"):
        fault(step, ("foreach",), "stands beside 'while'; put one loop into a group of its own", key=True)
        return None
    _without_loop(step, kind, looping, fault)
    most = written.max_iterations if written.max_iterations is not None else written.max_while_iterations
    if looping:
        if condition is not None and not condition.strip():
            fault(step, ("while",), "is empty; write the condition under which it goes on")
        if most is None and not (step.has("max_iterations") or step.has("max_while_iterations")):
            key = "while" if step.has("while") else "while_condition"
            message = f"has no bound, so it ends after {UNBOUNDED} rounds; write max_iterations beside it to say how many"
            fault(step, (key,), message, level="warning", rule="recipe-style")
            most = UNBOUNDED
        if condition is None or most is None:
            return None
        return While(
            condition=condition.strip(),
            max_iterations=most,
            break_when=(written.break_when or "").strip() or None,
            update=written.update_context or {},
            collect=written.collect,
        )
    if not step.has("foreach") or written.foreach is None:
        return None
    items = _items(step, context, fault)
    parallel = written.parallel if not isinstance(written.parallel, list) else None
    limit = None if isinstance(parallel, bool) else parallel
    together = parallel is not None and parallel is not False
    return ForEach(
        items=items,
        variable=written.as_ or written.as_var or "item",
        collect=written.collect,
        together=together,
        limit=limit,
        max_iterations=most,
        break_when=(written.break_when or "").strip() or None,
        update=written.update_context or {},
    )


def _without_loop(step: ReadStep, kind: str | None, looping: bool, fault: Say) -> None:
    """Keys of a loop where there is none."""
    each = step.has("foreach")
    for key, fits in (
        ("as", each),
        ("as_var", each),
        ("checkpoint_iterations", each or looping),
        ("collect", each or looping),
        ("max_iterations", each or looping),
        ("max_while_iterations", each or looping),
        ("break_when", each or looping),
        ("update_context", each or looping),
    ):
        if step.has(key) and not fits:
            needed = "'foreach'" if key in ("as", "as_var") else "a loop"
            fault(step, (key,), f"needs {needed} beside it; remove it, or write 'foreach' or 'while'", key=True)
    if each and step.written.parallel not in (None, False) and not isinstance(step.written.parallel, list):
        for key in ("break_when", "update_context"):
            if step.has(key):
                message = "stands beside 'parallel', where rounds do not follow one another; remove one of the two"
                fault(step, (key,), message, key=True)
    if isinstance(step.tree.entries.get("parallel"), Sequence) or step.written.parallel in (None, False):
        return
    if not each and kind is not None and kind != "steps":
        fault(step, ("parallel",), "has nothing to run at the same time; write 'foreach', or a list of steps", key=True)


def _items(step: ReadStep, context: dict[str, Any], fault: Say) -> str | tuple[Any, ...]:
    """The elements, or the text that is one reference to them."""
    items: str | list[Any] = step.written.foreach
    if isinstance(items, list):
        if not items:
            fault(step, ("foreach",), "is empty; write a list, or a variable that holds one")
        return tuple(items)
    path = only_reference(items)
    if path is None:
        try:
            read = json.loads(items)
        except (ValueError, RecursionError):
            read = None
        if isinstance(read, list) and read:
            return tuple(read)
        message = 'needs a list; write one, or one variable that holds one, such as "{{files}}"'
        fault(step, ("foreach",), message)
        return items
    default = context.get(path[0])
    if len(path) == 1 and isinstance(default, (bool, int, float, dict)) and not _declares(default):
        fault(step, ("foreach",), f"needs a list, and the default of '{path[0]}' is none")
    return "{{" + ".".join(path) + "}}"


def _declares(default: Any) -> bool:
    """True for a mapping that declares a variable rather than being its value."""
    return isinstance(default, dict) and (
        default.get("type") in ("list", "array", "any") or isinstance(default.get("default"), list)
    )
