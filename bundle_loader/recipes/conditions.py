"""Whether a condition holds for the values of a run. Values are compared, never read as part of the condition."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from jinja2 import TemplateSyntaxError, UndefinedError

from bundle_loader.declared.recipe_condition import (
    Both,
    Comparison,
    Condition,
    ConditionError,
    Not,
    Text,
    Variable,
)
from bundle_loader.declared.recipe_expression import Expression, read_condition
from bundle_loader.delegation.sandbox import bounded, compiled
from bundle_loader.errors import Place, StepFailed
from bundle_loader.recipes.texts import ENVIRONMENT, RENDERING_FAULTS, fill, unknown
from bundle_loader.recipes.values import EMPTY, Values, to_text

_NUMBER: Final = re.compile(r"\s*[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,4})?\s*")
_LONGEST_NUMBER: Final = 1000
_FALSE: Final = frozenset({"", "false", "no", "off", "0", "none", "null"})
_BARE: Final = {"True": "true", "False": "false", "None": "", "none": "", "null": "", "Null": ""}
_ORDER: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}


def holds(condition: str, values: Values, place: Place = ("", 0, 0)) -> bool:
    """Whether it holds. What the small grammar cannot read is an expression of Jinja2, in its sandbox.

    Raises StepFailed for a variable that nobody has set, for what cannot be read, and for values that do not compare.
    """
    try:
        parsed = read_condition(condition)
        if isinstance(parsed, Expression):
            return _by_template(parsed, values)
        return _true(_value(parsed, values))
    except ConditionError as error:
        raise StepFailed(f"the condition is wrong: {error}", place=place) from None
    except StepFailed as error:
        raise error.placed("", place) from None


def _value(condition: Condition, values: Values) -> Any:
    if isinstance(condition, Variable):
        return values.at(condition.path)
    if isinstance(condition, Text):
        text = fill(condition.text, values)
        return text if condition.quoted else _BARE.get(text, text)
    if isinstance(condition, Not):
        return not _true(_value(condition.inner, values))
    if isinstance(condition, Both):
        left = _true(_value(condition.left, values))
        return _true(_value(condition.right, values)) if left == (condition.word == "and") else left
    return _compared(condition, values)


def _compared(comparison: Comparison, values: Values) -> bool:
    left, right, sign = _value(comparison.left, values), _value(comparison.right, values), comparison.sign
    if sign in ("in", "not in"):
        return _within(left, right) == (sign == "in")
    if sign in ("==", "!="):
        return _equal(left, right) == (sign == "==")
    numbers = _number(left), _number(right)
    if numbers[0] is not None and numbers[1] is not None:
        return _ORDER[sign](*numbers)
    if left is EMPTY or right is EMPTY:
        return False
    return _ORDER[sign](to_text(left), to_text(right))


def _equal(left: Any, right: Any) -> bool:
    numbers = _number(left), _number(right)
    if numbers[0] is not None and numbers[1] is not None:
        return numbers[0] == numbers[1]
    return to_text(left) == to_text(right)


def _within(item: Any, whole: Any) -> bool:
    if isinstance(whole, dict):
        return to_text(item) in whole
    if isinstance(whole, (list, tuple)):
        return any(_equal(item, one) for one in whole)
    return whole is not EMPTY and to_text(item) in to_text(whole)


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool):
        return None
    text = to_text(value) if isinstance(value, (int, float, str)) else ""
    return Decimal(text.strip()) if len(text) <= _LONGEST_NUMBER and _NUMBER.fullmatch(text) else None


def _true(value: Any) -> bool:
    """Nothing, zero, and the words for no are false; everything else is true."""
    if isinstance(value, str):
        return len(value) > 10 or value.strip().lower() not in _FALSE
    return bool(value)


def _by_template(condition: Expression, values: Values) -> bool:
    # the answer comes back as itself, not as the text that it would be printed as
    template = compiled(ENVIRONMENT, "{{ _answer(" + condition.source + "\n) }}")
    if isinstance(template, TemplateSyntaxError):
        raise StepFailed(f"the condition is wrong: {template.message}")
    found: list[Any] = []

    def answer(value: Any) -> str:
        found.append(value)
        return ""

    try:
        bounded(template, {**values, "_answer": answer})
        return _true(found[-1]) if found else False
    except UndefinedError as error:
        raise StepFailed(f"the condition cannot be worked out: {unknown(error, values)}") from None
    except RENDERING_FAULTS as error:
        raise StepFailed(f"the condition cannot be worked out: {error}") from None
