"""References `{{ name.key }}` in the texts of a recipe, and where in the file they stand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from bundle_loader.declared.tree import Scalar

PATH: Final = r"[A-Za-z_]\w*(?:\.[\w-]+|\[\d+\])*"
_REFERENCE: Final = re.compile(rf"\{{\{{\s*(?:({PATH})|'([^'\n]*)'|\"([^\"\n]*)\")\s*\}}\}}")
_ONLY: Final = re.compile(rf"\s*\{{\{{\s*({PATH})\s*\}}\}}\s*")
_STEP: Final = re.compile(r"[\w-]+")
_TAG: Final = re.compile(r"\{%[-+]?\s*[A-Za-z_]|\{#.*?#\}", re.DOTALL)
_FOREIGN: Final = re.compile(
    r"\{\{(?:[#/>^!&.$%*=?@\\~]|\s*\.|else\s*\}\}|-?\s*(?:end|else|range|template)\b\s*[^}|]*\}\}|[^{}|]*\|\s*\w+\s*:)"
)
"""What opens a tag of Handlebars, Mustache, Go, Liquid and the like, and is no expression of Jinja2."""
_SHOWN: Final = 40


@dataclass(frozen=True, slots=True)
class Reference:
    """One `{{ ... }}` of a text: a variable by its path, or (with an empty path) literal text such as `{{ '{{' }}`."""

    start: int
    end: int
    path: tuple[str, ...]
    text: str = ""
    """What stands in its place where it is literal text."""

    @property
    def name(self) -> str:
        """The variable that it begins with; empty for literal text."""
        return self.path[0] if self.path else ""


@dataclass(frozen=True, slots=True)
class Misread:
    """Two opening braces that begin no reference."""

    start: int
    shown: str
    """The text from there, cut short."""
    foreign: bool = False
    """True: another tool's syntax, which stays as it stands."""

    def __str__(self) -> str:
        if self.foreign:
            return f"'{self.shown}' is another tool's syntax and stays as it is; a variable is written {{{{name}}}}"
        return f"'{self.shown}' is not a variable; write {{{{name}}}} or {{{{name.key}}}}, and {{{{ '{{{{' }}}} for plain braces"


def scan(text: str) -> tuple[list[Reference], list[Misread]]:
    """The references in a text, in order, and the braces that are none. Everything else is plain text."""
    references: list[Reference] = []
    misread: list[Misread] = []
    at = text.find("{{")
    while at >= 0:
        match = _REFERENCE.match(text, at)
        if match is not None and match[1] != "else":
            literal = match[2] if match[2] is not None else match[3]
            references.append(Reference(at, match.end(), steps_of(match[1] or ""), literal or ""))
            at = match.end()
        elif text.startswith("{", at + 2):
            at += 1
        else:
            end = text.find("}}", at, at + _SHOWN)
            shown = text[at : end + 2] if end >= 0 else text[at : at + _SHOWN]
            foreign = _FOREIGN.match(text, at) is not None
            misread.append(Misread(at, shown.split("\n", 1)[0].rstrip(), foreign))
            at += 2
        at = text.find("{{", at)
    return references, misread


def is_template(text: str) -> bool:
    """Whether a prompt says more than references do, so that Jinja2 must read it: a tag, a comment, a filter, an expression."""
    return "{" in text and (_TAG.search(text) is not None or any(not wrong.foreign for wrong in scan(text)[1]))


def as_template(text: str) -> str:
    """The text with other tools' tags marked as plain text, for Jinja2 to read; its lines stay its lines."""
    made: list[str] = []
    at = 0
    for wrong in scan(text)[1]:
        end = text.find("}}", wrong.start) + 2
        if wrong.foreign and end >= 2:
            made += [text[at : wrong.start], "{% raw %}", text[wrong.start : end], "{% endraw %}"]
            at = end
    return "".join([*made, text[at:]])


def steps_of(path: str) -> tuple[str, ...]:
    """`a.b[0]` as `("a", "b", "0")`."""
    return tuple(_STEP.findall(path))


def only_reference(text: str) -> tuple[str, ...] | None:
    """The path where a text is one reference and nothing else: its value is then taken as it is, not as text."""
    match = _ONLY.fullmatch(text)
    return steps_of(match[1]) if match else None


def texts_in(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], str]]:
    """Every text in a plain value, with its path."""
    if isinstance(value, str):
        return [(path, str(value))]
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in texts_in(item, (*path, key))]
    if isinstance(value, (list, tuple)):
        return [found for index, item in enumerate(value) for found in texts_in(item, (*path, index))]
    return []


class Lines:
    """The lines of a YAML text, to find the place of something inside of a value."""

    def __init__(self, source: str, first_line: int) -> None:
        self._lines = source.split("\n")
        self._first = first_line

    def place(self, scalar: Scalar, offset: int, shown: str) -> tuple[str, int, int]:
        """File, line and column of `shown`, which stands at `offset` of the scalar's text; else of the scalar."""
        written = self._line(scalar.line)
        opened = written[scalar.column - 1 : scalar.column]
        if opened not in ("|", ">"):
            found = written.find(shown, scalar.column - 1 + offset)
            return scalar.file, scalar.line, found + 1 if found >= 0 else scalar.column
        before = scalar.text.rfind("\n", 0, offset) + 1
        line = scalar.line + 1 + scalar.text.count("\n", 0, offset)
        found = self._line(line).find(scalar.text[before:].split("\n", 1)[0])
        if found >= 0:
            return scalar.file, line, found + 1 + offset - before
        # a folded text has other lines than the file
        return scalar.file, scalar.line, scalar.column

    def _line(self, number: int) -> str:
        index = number - self._first
        return self._lines[index] if 0 <= index < len(self._lines) else ""
