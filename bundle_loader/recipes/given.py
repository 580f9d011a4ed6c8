"""The variables that somebody gives to a recipe, held against those that it declares. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from bundle_loader.declared.recipe import Recipe, Variable
from bundle_loader.errors import RecipeFailed, did_you_mean
from bundle_loader.masking import masked

_WORDS: Final = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_ANYWHERE: Final = ("model_profile", "summary_profile")
"""Variables that choose models, whether a recipe declares them or not."""
_SHOWN: Final = 60


def given_variables(recipe: Recipe, given: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, each value as its variable's type has it; defaults are not in it.

    Text stands for a number, an integer or a boolean (`true`, `false`, `yes`, `no`, `on`, `off`) as it is written, and for a
    list or a mapping as JSON; a list may also be given as words with commas between. Raises RecipeFailed with every fault: a
    name that the recipe does not declare, a required one that is missing, a value of another type or outside of the choices.
    """
    faults: list[str] = []
    found: dict[str, Any] = {}
    for name, value in given.items():
        variable = recipe.variables.get(name)
        if variable is None and name in _ANYWHERE:
            found[name] = value
            continue
        if variable is None:
            faults.append(_unknown(recipe, name))
            continue
        try:
            found[name] = _read(variable, value)
        except ValueError as error:
            faults.append(f"{name}: {error}")
    for name, variable in recipe.variables.items():
        if variable.required and name not in given:
            about = f" ({variable.description})" if variable.description else ""
            faults.append(f"{name}: is required and was not given{about}; write --set {name}=... or {name}='...'")
    if faults:
        raise RecipeFailed(f"recipe '{recipe.name}' cannot be run with these variables:", faults=faults)
    return found


def _unknown(recipe: Recipe, name: str) -> str:
    declared = list(recipe.variables)
    near = did_you_mean(name, declared)
    some = f"declares {', '.join(declared)}" if declared else "declares none"
    return f"{name}: the recipe has no such variable{near}{' It' if near else '; it'} {some}"


def _read(variable: Variable, value: Any) -> Any:
    """The value as the variable's type has it. Raises ValueError in words."""
    if isinstance(value, str) and variable.type in _FROM_TEXT:
        # an empty text for a number or a list says that there is none
        value = _FROM_TEXT[variable.type](value) if value.strip() else None
    fits = _FITS.get(variable.type)
    presumed = variable.type == "text" and variable.default == ""  # an empty default says little of the type
    if value is not None and fits is not None and not presumed and not fits(value):
        raise ValueError(f"{_shown(value)} is no {variable.type}")
    if variable.required and (value is None or value == ""):
        raise ValueError("is required and may not be empty")
    if variable.choices and value not in variable.choices:
        known = [str(choice) for choice in variable.choices]
        near = did_you_mean(str(value), known)
        raise ValueError(f"{_shown(value)} is not one of {', '.join(known)}{near}")
    return value


def _number(text: str) -> float | int:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        found = float(text)
    except ValueError:
        raise ValueError(f"{_shown(text)} is no number") from None
    if found != found or found in (float("inf"), float("-inf")):
        raise ValueError(f"{_shown(text)} is no number that JSON knows")
    return found


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{_shown(text)} is no integer; write one such as 3") from None


def _boolean(text: str) -> bool:
    found = _WORDS.get(text.strip().casefold())
    if found is None:
        raise ValueError(f"{_shown(text)} is no boolean; write true or false")
    return found


def _json(text: str, kind: type, noun: str, example: str) -> Any:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, kind):
        raise ValueError(f"{_shown(text)} is no {noun}; write JSON such as {example}")
    return found


def _list(text: str) -> Any:
    if text.lstrip()[:1] in ("[", "{"):
        return _json(text, list, "list", '["a", "b"]')
    return [part.strip() for part in text.split(",") if part.strip()]


def _mapping(text: str) -> Any:
    return _json(text, dict, "mapping", '{"a": 1}')


_FROM_TEXT: Final[dict[str, Callable[[str], Any]]] = {
    "number": _number,
    "integer": _integer,
    "boolean": _boolean,
    "list": _list,
    "mapping": _mapping,
}
_FITS: Final[dict[str, Callable[[Any], bool]]] = {
    "text": lambda value: isinstance(value, str),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "list": lambda value: isinstance(value, (list, tuple)),
    "mapping": lambda value: isinstance(value, dict),
}


def _shown(value: Any) -> str:
    said = masked(repr(value))
    return said if len(said) <= _SHOWN else said[: _SHOWN - 1] + "…"
