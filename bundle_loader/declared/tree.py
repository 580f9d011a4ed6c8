"""Located trees: YAML text as written, with the file, line and column of every key and value."""

from __future__ import annotations

import re
from typing import Any, Final, TypeAlias

NULLS: Final = frozenset({"", "null", "Null", "NULL", "~"})
TRUE_WORDS: Final = frozenset({"true", "yes", "on", "t", "y", "1"})
FALSE_WORDS: Final = frozenset({"false", "no", "off", "f", "n", "0"})
"""What a typed field of yes or no takes for yes and for no, in any case."""
_MAX_DIGITS: Final = 4000
"""Python reads no longer number; such a one stays text."""
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL_FLOAT = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


class Scalar:
    """One value as written. `quoted` is true for quoted and block text, which is never anything but text."""

    __slots__ = ("column", "file", "line", "quoted", "text")

    def __init__(self, text: str, quoted: bool, file: str, line: int, column: int) -> None:
        self.text = text
        self.quoted = quoted
        self.file = file
        self.line = line
        self.column = column

    def __repr__(self) -> str:
        return f"Scalar({self.text!r} at {self.file}:{self.line}:{self.column})"

    @property
    def is_null(self) -> bool:
        """`null`, `~` or nothing at all, unquoted: removes what was inherited."""
        return not self.quoted and self.text in NULLS


class Sequence:
    """A list. `sealed` marks a list that replaces whatever is found to lie below it."""

    __slots__ = ("column", "file", "items", "line", "numbers", "sealed")

    def __init__(
        self,
        items: list[Node],
        file: str,
        line: int,
        column: int,
        sealed: bool = False,
        numbers: tuple[int, ...] | None = None,
    ) -> None:
        self.items = items
        self.numbers = numbers
        """The place of each item in the list where it is written, where that is not its place here."""
        self.file = file
        self.line = line
        self.column = column
        self.sealed = sealed

    def __repr__(self) -> str:
        return f"Sequence({self.items!r})"

    def number(self, index: int) -> int:
        """The place of the item at `index` in the list where it is written."""
        return index if self.numbers is None or index >= len(self.numbers) else self.numbers[index]


class Mapping:
    """Keys in written order, with the place of each key. `sealed` as in `Sequence`."""

    __slots__ = ("column", "entries", "file", "keys", "line", "sealed")

    def __init__(
        self,
        entries: dict[str, Node],
        keys: dict[str, tuple[int, int]],
        file: str,
        line: int,
        column: int,
        sealed: bool = False,
    ) -> None:
        self.entries = entries
        self.keys = keys
        self.file = file
        self.line = line
        self.column = column
        self.sealed = sealed

    def __repr__(self) -> str:
        return f"Mapping({self.entries!r})"


Node: TypeAlias = Scalar | Sequence | Mapping


class Plain(str):
    """Text of an unquoted scalar: where no type is due, YAML 1.2's core schema may read it as something else."""

    __slots__ = ()


def is_null(node: Node | None) -> bool:
    """True for a written null; false for an absent value."""
    return isinstance(node, Scalar) and node.is_null


def says_true(value: object) -> bool:
    """True for a text, or the scalar of one, that a field of yes or no takes for yes, however it is written."""
    text = value.text if isinstance(value, Scalar) else value
    return isinstance(text, str) and text.lower() in TRUE_WORDS


def plain(node: Node) -> Any:
    """The tree as dicts, lists, `Plain` or `str` texts and None: what the written models check."""
    if isinstance(node, Scalar):
        if node.quoted:
            return node.text
        return None if node.text in NULLS else Plain(node.text)
    if isinstance(node, Mapping):
        return {key: plain(value) for key, value in node.entries.items()}
    return [plain(item) for item in node.items]


def core(value: Any) -> Any:
    """A plain value with its unquoted scalars read by YAML 1.2's core schema (so `no` and dates stay text)."""
    if isinstance(value, Plain):
        return core_scalar(str(value))
    if isinstance(value, dict):
        return {str(key): core(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [core(item) for item in value]
    return value


def core_scalar(text: str) -> Any:
    """One unquoted scalar by the core schema: null, bool, int, float, else text."""
    if text in NULLS:
        return None
    if text in ("true", "True", "TRUE"):
        return True
    if text in ("false", "False", "FALSE"):
        return False
    if _INTEGER.fullmatch(text):
        if len(text) > _MAX_DIGITS:
            return text
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _SPECIAL_FLOAT.fullmatch(text):
        return float(text.replace(".", "", 1))
    return text


def enclosing(root: Node, path: tuple[str, ...]) -> Node:
    """The value at `path`, or the nearest that encloses where it would be."""
    node = root
    for step in path:
        if not isinstance(node, Mapping) or step not in node.entries:
            break
        node = node.entries[step]
    return node


def position(root: Node, path: tuple[str | int, ...], *, key: bool = False) -> tuple[str, int, int]:
    """File, line and column of the value at `path`, or of its key; the nearest enclosing place where it is absent."""
    node: Node = root
    place = (node.file, node.line, node.column)
    for index, step in enumerate(path):
        last = index == len(path) - 1
        if isinstance(node, Mapping) and isinstance(step, str) and step in node.entries:
            child = node.entries[step]
            line, column = node.keys.get(step, (child.line, child.column))
            place = (child.file, line, column) if last and key else (child.file, child.line, child.column)
            node = child
        elif isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
            place = (node.file, node.line, node.column)
        else:
            break
    return place


def written_path(root: Node, path: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """`path` with the places that its items have in the lists where they are written."""
    node: Node | None = root
    found: list[str | int] = []
    for step in path:
        if isinstance(node, Sequence) and isinstance(step, int):
            found.append(node.number(step))
            node = node.items[step] if step < len(node.items) else None
        else:
            found.append(step)
            node = node.entries.get(step) if isinstance(node, Mapping) and isinstance(step, str) else None
    return tuple(found)


def path_text(path: tuple[str | int, ...]) -> str:
    """`('provider_preferences', 1, 'model')` as `provider_preferences[1].model`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text
