"""Checking a located tree against a written model: every fault at once, each with its place and a remedy."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from collections.abc import Mapping as MappingType
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, WithJsonSchema

from bundle_loader.declared.protected import names_credential, without_secrets
from bundle_loader.declared.tree import Mapping, path_text, plain, position, written_path
from bundle_loader.declared.tree import core as core_value
from bundle_loader.errors import Fault, did_you_mean

M = TypeVar("M", bound="Written")


class Written(BaseModel):
    """What an author may write for one noun: everything optional, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=False, hide_input_in_errors=True)


class Final(BaseModel):
    """A finished value: frozen, compared by content."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class WrongWithin(ValueError):
    """Several things wrong inside of one value: each with the path of its key below that value, and what is wrong."""

    def __init__(self, found: Sequence[tuple[tuple[str | int, ...], str]]) -> None:
        super().__init__("; ".join(message for _, message in found))
        self.found = tuple(found)


_DURATION = re.compile(r"((?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,2})?)\s*(ms|s|m|h)?")
MOST_SECONDS = 30 * 86400.0
"""The longest time that may be written."""
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


def seconds(value: Any) -> Any:
    """`120s`, `2m`, `500ms`, `1h` or a plain number, in seconds."""
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            raise ValueError("write a length of time such as 120s, 2m or 500ms")
        value = float(match[1]) * _SECONDS[match[2]]
    if isinstance(value, (int, float)) and value > MOST_SECONDS:
        raise ValueError(f"write at most {MOST_SECONDS / 86400:g} days")
    return value


def one_or_many(value: Any) -> Any:
    """A single text as a list of one."""
    return [value] if isinstance(value, str) else value


def _words(value: Any) -> Any:
    if isinstance(value, str) and (wrong := _no_word(value, "write a list: [{}]")):
        raise ValueError(wrong)
    if isinstance(value, list):
        said = [(index, _no_word(item, "write each by itself: {}")) for index, item in enumerate(value) if isinstance(item, str)]
        found: list[tuple[tuple[str | int, ...], str]] = [((index,), wrong) for index, wrong in said if wrong]
        if found:
            raise WrongWithin(found)
    return one_or_many(value)


def _no_word(text: str, remedy: str) -> str:
    """What is wrong with a text that is to be one name, or nothing."""
    if not text.strip():
        return "is empty; write a name, or leave it out"
    if "," not in text:
        return ""
    parts = ", ".join(part.strip() for part in text.split(",") if part.strip())
    return f"{_shown(text)} is one name here; {remedy.format(without_secrets(parts[:100]))}"


_NAME_READ = WithJsonSchema({"type": ["string", "number", "boolean"], "pattern": r"\S"})
Words = Annotated[list[Annotated[str, _NAME_READ]], BeforeValidator(_words)]
"""Names; a single text is a list of one, and one with commas or without a letter is none."""


def _not_blank(value: Any) -> Any:
    if isinstance(value, str) and not value.strip():
        raise ValueError("is empty; write a name, or leave the key out")
    return value


Named = Annotated[str, BeforeValidator(_not_blank), _NAME_READ]
"""The name of something; an empty one is none."""

Duration = Annotated[
    float,
    BeforeValidator(seconds),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": r"^\s*(?=[^eE]*[1-9])(\d+(\.\d*)?|\.\d+)([eE][-+]?\d{1,2})?\s*(ms|s|m|h)?\s*$"},
            ],
            "description": "120s, 2m, 500ms, 1h, or seconds",
        }
    ),
]


def _known_format(value: Any) -> Any:
    if str(value) != "1":
        raise ValueError(f"{_shown(value)} is not read by this version, which reads format 1; write 1, or leave the key out")
    return str(value)


Format = Annotated[Literal["1"], BeforeValidator(_known_format)]
"""Which form of our own files this is."""
CoreMap = Annotated[dict[str, Any], BeforeValidator(core_value)]
Texts = Annotated[list[str], BeforeValidator(one_or_many)]


def check(model: type[M], tree: Mapping, prefix: tuple[str | int, ...] = ()) -> tuple[M | None, list[Fault]]:
    """The written value of `tree`, or None and all its faults. `prefix` is put before the keys that faults name."""
    return check_values(model, plain(tree), lambda: tree, prefix)


def check_values(
    model: type[M], values: Any, locate: Callable[[], Mapping], prefix: tuple[str | int, ...] = ()
) -> tuple[M | None, list[Fault]]:
    """As `check`, for values whose tree is only built (`locate()`) when there are faults to place."""
    written, refused = refusals(model, values)
    if written is not None:
        return written, []
    tree = locate()
    return None, [fault for entry in refused for fault in place_faults(model, tree, prefix, entry)]


@dataclass(frozen=True, slots=True)
class Refusal:
    """One thing that a model refuses in plain values."""

    path: tuple[str | int, ...]
    unknown: bool
    """True for a key that the model does not have."""
    known: tuple[str, ...]
    """The keys that may stand where the unknown one stands; none after very many unknown ones."""
    entry: Any
    """What pydantic says of it."""


_COMPARED = 500
"""Unknown keys of one tree that are held against the known ones."""


def refusals(model: type[M], values: Any) -> tuple[M | None, list[Refusal]]:
    """The written value of plain values, or None and all that the model refuses in them."""
    try:
        return model.model_validate(values), []
    except ValidationError as error:
        found: list[Refusal] = []
        unknowns = 0
        for entry in error.errors(include_url=False, include_input=True):
            path = tuple(step for step in entry["loc"] if isinstance(step, (str, int)))
            unknown = entry["type"] == "extra_forbidden"
            unknowns += unknown
            known = tuple(keys_at(model, path[:-1])) if unknown and unknowns <= _COMPARED else ()
            found.append(Refusal(path, unknown, known, entry))
        return None, found


_LIKE_A_KEY = "api_version"
"""Nobody who writes `api_key` means it."""


def place_faults(model: type[BaseModel], tree: Mapping, prefix: tuple[str | int, ...], refusal: Refusal) -> list[Fault]:
    """What a refusal says of the tree that the values came from; `prefix` is put before the keys."""
    said = refusal.entry.get("ctx", {}).get("error")
    path = refusal.path
    key = path_text(prefix + written_path(tree, path))
    if isinstance(said, WrongWithin):
        return [Fault(*position(tree, path + within, key=True), key, message) for within, message in said.found]
    kind = refusal.entry["type"]
    place = position(tree, path, key=refusal.unknown or kind == "missing")
    near = did_you_mean(str(path[-1]), refusal.known) if refusal.unknown else ""
    if refusal.unknown and names_credential(str(path[-1])) and (not near or f"'{_LIKE_A_KEY}'" in near):
        near = "; keys come from the environment or a .env file, never from here"
    message = f"unknown key{near}" if refusal.unknown else without_secrets(_in_words(kind, refusal.entry))
    return [Fault(*place, key, message)]


_EXPECTED = {
    "string_type": "write text",
    "int_type": "write a whole number",
    "int_parsing": "write a whole number",
    "int_from_float": "write a whole number",
    "float_type": "write a number",
    "float_parsing": "write a number",
    "decimal_type": "write an amount such as 0.05",
    "decimal_parsing": "write an amount such as 0.05",
    "bool_type": "write true or false",
    "bool_parsing": "write true or false",
    "list_type": "write a list",
    "dict_type": "write 'key: value' lines",
    "model_type": "write 'key: value' lines",
    "model_attributes_type": "write 'key: value' lines",
    "missing": "is missing; add it",
}


def _in_words(kind: str, entry: Any) -> str:
    if kind == "value_error":
        return str(entry["ctx"]["error"])
    if kind == "literal_error":
        written = entry["input"]
        expected = entry["ctx"]["expected"]
        words = re.findall(r"'([^']*)'", expected)
        near = did_you_mean(written, words) if isinstance(written, str) else ""
        return f"{_shown(written)} is not one of {', '.join(words) or expected}{near}"
    if kind in _EXPECTED:
        if kind == "missing":
            return _EXPECTED[kind]
        return f"{_shown(entry['input'])} does not fit; {_EXPECTED[kind]}"
    said = entry["msg"]
    return f"{_shown(entry['input'])} does not fit: {said[0].lower()}{said[1:]}"


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = without_secrets(str(value)[:2000])
    return repr(text if len(text) <= 60 else text[:57] + "...")


_REST = "__pydantic_extra__"
"""What a model says of the keys that it has no field for."""


def keys_at(model: type[BaseModel], path: tuple[str | int, ...]) -> list[str]:
    """The keys that may stand in the mapping at `path` of a written model; empty where any key may."""
    current: Any = model
    for step in path:
        if isinstance(current, type) and issubclass(current, BaseModel) and isinstance(step, str):
            field = current.model_fields.get(step)
            if field is None and current.model_config.get("extra") != "allow":
                return []
            rest = field is None
            current = _element(get_type_hints(current, include_extras=True)[_REST] if field is None else field.annotation)
            current = current.inner if rest else current
        elif isinstance(current, _Container):
            current = current.inner
        else:
            return []
    if isinstance(current, type) and issubclass(current, BaseModel):
        return list(current.model_fields)
    return []


class _Container:
    """A list or mapping on the way down to a model; `inner` is what it holds."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner


def _element(annotation: Any) -> Any:
    """The model that an annotation leads to: itself, or wrapped in `_Container` for each list or mapping around it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    origin = getattr(annotation, "__origin__", None)
    arguments: tuple[Any, ...] = getattr(annotation, "__args__", ())
    if origin is Annotated:
        return _element(arguments[0])
    if origin in (list, tuple):
        return _Container(_element(arguments[0]))
    if origin in (dict, MappingType):
        return _Container(_element(arguments[1]))
    for argument in arguments:
        found = _element(argument)
        if found is not None and argument is not type(None):
            return found
    return None
