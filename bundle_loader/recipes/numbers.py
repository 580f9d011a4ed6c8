"""Numbers and lengths of time of a recipe, which may be texts that come to one when it runs."""

from __future__ import annotations

import math

from bundle_loader.recipes.failures import Mistake
from bundle_loader.recipes.texts import fill_value
from bundle_loader.recipes.values import EMPTY, Values, to_text

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def whole(key: str, value: int | str, values: Values) -> int:
    """A whole number from 1 on. Raises Mistake."""
    found = fill_value(value, values) if isinstance(value, str) else value
    try:
        number = float(to_text(found))
    except ValueError:
        number = math.nan
    if isinstance(found, bool) or not 1 <= number < 1e9 or number != int(number):
        raise Mistake(f"{key}: {_shown(found)} is no whole number from 1 on")
    return int(number)


def seconds(key: str, value: float | str, values: Values) -> float:
    """A length of time in seconds, written as a number or such as `90s`, `2m`, `500ms`. Raises Mistake."""
    found = fill_value(value, values) if isinstance(value, str) else value
    text = to_text(found).strip()
    unit = next((unit for unit in _UNITS if text.endswith(unit)), "")
    try:
        number = float(text.removesuffix(unit)) * _UNITS.get(unit, 1.0)
    except ValueError:
        number = math.nan
    if isinstance(found, bool) or not 0 <= number < 1e9:
        raise Mistake(f"{key}: {_shown(found)} is no length of time; write seconds, or such as 90s or 2m")
    return number


def _shown(value: object) -> str:
    return "an empty value" if value is EMPTY or value is None else repr(value)[:60]
