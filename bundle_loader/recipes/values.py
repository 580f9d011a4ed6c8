"""The variables of a run: plain JSON values over one another, and what they are as text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn

from bundle_loader.errors import UnknownVariable
from bundle_loader.recipes.json_text import whole_json


class Empty:
    """The value of an output that was left out: no text, false, no elements, and the same again at every key."""

    __slots__ = ()

    def __getitem__(self, key: object) -> Empty:
        return self

    def __getattr__(self, name: str) -> Empty:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __iter__(self) -> Iterator[NoReturn]:
        return iter(())

    def __contains__(self, value: object) -> bool:
        return False

    def __len__(self) -> int:
        return 0

    def __bool__(self) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Empty) or other is None or (isinstance(other, str) and not other)

    def __hash__(self) -> int:
        return hash("")

    def __lt__(self, other: object) -> bool:
        return False

    __le__ = __gt__ = __ge__ = __lt__

    def __str__(self) -> str:
        return ""

    def __repr__(self) -> str:
        return "EMPTY"

    def __reduce__(self) -> str:
        return "EMPTY"


EMPTY: Final = Empty()
"""The one empty value; as JSON it is null, and null reads as it does."""


class Values(Mapping[str, Any]):
    """The variables of a run at one moment: plain JSON values, `names` laid over those `below`.

    What somebody writes into `names` is seen at once. A value of null is EMPTY.
    """

    __slots__ = ("_below", "_names")

    def __init__(self, names: Mapping[str, Any], below: Values | None = None) -> None:
        self._names = names
        self._below = below

    def __getitem__(self, name: str) -> Any:
        scope: Values | None = self
        while scope is not None:
            if name in scope._names:
                value = scope._names[name]
                return EMPTY if value is None else value
            scope = scope._below
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        seen: dict[str, None] = {}
        scope: Values | None = self
        while scope is not None:
            seen.update(dict.fromkeys(scope._names))
            scope = scope._below
        return iter(seen)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def over(self, names: Mapping[str, Any]) -> Values:
        """Those names laid over these values."""
        return Values(names, self)

    def at(self, path: tuple[str, ...]) -> Any:
        """The value at a path such as `("a", "b", "0")`; numbers count the elements of a list.

        Below EMPTY, and below null, everything is EMPTY. A text that is a JSON object or list, bare or in one fence, is looked
        into. Raises UnknownVariable for a name or key that is not there.
        """
        if not path or path[0] not in self:
            raise UnknownVariable(path, sorted(self))
        value = self[path[0]]
        for index, key in enumerate(path[1:], start=1):
            if value is EMPTY:
                return EMPTY
            if isinstance(value, str):
                value = found if (found := whole_json(value)) is not None else value
            if isinstance(value, dict) and key in value:
                value = value[key]
            elif isinstance(value, (list, tuple)) and key.isdecimal() and len(key) < 10 and int(key) < len(value):
                value = value[int(key)]
            else:
                raise self._missing(path, index, value)
            value = EMPTY if value is None else value
        return value

    def _missing(self, path: tuple[str, ...], index: int, value: Any) -> UnknownVariable:
        if isinstance(value, str):
            said = "write 'parse_json: true' in the step that sets it, or see that it answers with JSON"
            remedy = f"'{'.'.join(path[:index])}' is text and no JSON; {said}"
            return UnknownVariable(path[: index + 1], remedy=remedy)
        return UnknownVariable(path[: index + 1], sorted(value) if isinstance(value, dict) else ())

    def has(self, path: tuple[str, ...]) -> bool:
        """Whether there is a value at a path."""
        try:
            self.at(path)
        except UnknownVariable:
            return False
        return True


class Lenient(Values):
    """Values for conditions: a key of a text that is no JSON is EMPTY, and is noted."""

    __slots__ = ("noted",)

    def __init__(self, values: Values) -> None:
        super().__init__({}, values)
        self.noted: list[str] = []
        """What was taken as empty, in words."""

    def _missing(self, path: tuple[str, ...], index: int, value: Any) -> UnknownVariable:
        error = super()._missing(path, index, value)
        if isinstance(value, str):
            raise _Taken(error)
        return error

    def at(self, path: tuple[str, ...]) -> Any:
        """As of `Values`, but for that."""
        try:
            return super().at(path)
        except _Taken as taken:
            self.noted.append(f"the condition takes {taken.error.message} as empty; {taken.error.remedy}")
            return EMPTY


class _Taken(Exception):
    def __init__(self, error: UnknownVariable) -> None:
        self.error = error


def to_text(value: Any) -> str:
    """A value as it stands in a text: text as it is, `true` and `false`, plain numbers, nothing for EMPTY and null, else JSON."""
    if isinstance(value, str):
        return str(value)
    if value is None or value is EMPTY:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"))


def plain(value: Any) -> Any:
    """A value as JSON has it and as it can be written: EMPTY is null, tuples are lists, texts are `writable`."""
    if value is EMPTY:
        return None
    if isinstance(value, str):
        return writable(value)
    if isinstance(value, dict):
        return {writable(key) if isinstance(key, str) else key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def writable(text: str) -> str:
    """The text with U+FFFD for half characters, which JSON can name (`\\ud800`) and nothing can write."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
