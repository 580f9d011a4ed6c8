"""Conditions of recipes: text to a small tree of comparisons, without evaluating anything."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from bundle_loader.declared.recipe_text import PATH, scan, steps_of

MAX_DEPTH: Final = 50
MAX_LINKS: Final = 200
MAX_LENGTH: Final = 10_000
_COMPARISONS: Final = ("==", "!=", "<=", ">=", "<", ">", "in", "not in")
_TOKEN: Final = re.compile(
    rf"(?P<variable>\{{\{{\s*{PATH}\s*\}}\}})"
    r"|(?P<text>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
    r"|(?P<sign>==|!=|<=|>=|<|>|\(|\))"
    r"|(?P<word>[\w.-]+)",
    re.DOTALL,
)
_SPACE: Final = re.compile(r"\s*")
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_REMEDIES: Final = {
    "&": "write 'and'",
    "|": "write 'and' and 'or'",
    "!": "write 'not'",
    "=": "write '=='",
    "{": "a variable is written {{name}} or {{name.key}}, the comparison outside of the braces",
    "'": "the text is not closed",
    '"': "the text is not closed",
}


@dataclass(frozen=True, slots=True)
class Variable:
    """The value at a path: `{{ name.key }}`."""

    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """A text, in quotes or a bare word (`true` and numbers are bare words too); `{{ }}` in it are filled in."""

    text: str
    quoted: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two values and how they are compared: as numbers where both are, else as texts; `in` looks into text or a list."""

    sign: str
    left: Condition
    right: Condition


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    inner: Condition


@dataclass(frozen=True, slots=True)
class Both:
    """`and`, `or`: the right side only counts where the left does not decide."""

    word: str
    left: Condition
    right: Condition


Condition: TypeAlias = Variable | Text | Comparison | Not | Both


class ConditionError(ValueError):
    """A condition that cannot be read; `offset` is where in its text. `limit` says that it is only too much to be read."""

    def __init__(self, message: str, offset: int, limit: bool = False) -> None:
        super().__init__(message)
        self.offset = offset
        self.limit = limit


def parse_condition(text: str) -> Condition:
    """The condition as a tree. `or` binds least, then `and`, `not`, comparisons. Raises ConditionError."""
    if len(text) > MAX_LENGTH:
        raise ConditionError(f"is longer than {MAX_LENGTH} characters", 0, limit=True)
    return _Parser(text).whole()


def variables_of(condition: Condition) -> list[tuple[str, ...]]:
    """The paths of the variables that it reads, in order."""
    if isinstance(condition, Variable):
        return [condition.path]
    if isinstance(condition, Text):
        return [reference.path for reference in scan(condition.text)[0] if reference.path]
    if isinstance(condition, Not):
        return variables_of(condition.inner)
    return [*variables_of(condition.left), *variables_of(condition.right)]


def texts_of(condition: Condition) -> list[str]:
    """The texts in it that hold braces."""
    if isinstance(condition, Variable):
        return []
    if isinstance(condition, Text):
        return [condition.text] if "{{" in condition.text else []
    if isinstance(condition, Not):
        return texts_of(condition.inner)
    return [*texts_of(condition.left), *texts_of(condition.right)]


def bare_words(condition: Condition) -> list[str]:
    """The words that stand without quotes."""
    if isinstance(condition, Text):
        return [] if condition.quoted else [condition.text]
    if isinstance(condition, Variable):
        return []
    if isinstance(condition, Not):
        return bare_words(condition.inner)
    return [*bare_words(condition.left), *bare_words(condition.right)]


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(_tokens(text))
        self.at = 0
        self.links = 0

    def whole(self) -> Condition:
        found = self._chain("or", 0)
        if self.at < len(self.tokens):
            _, word, offset = self.tokens[self.at]
            raise ConditionError(f"{word!r} is not expected here; join comparisons with 'and' or 'or'", offset)
        return found

    def _word(self, ahead: int = 0) -> str:
        """The keyword or sign that comes next; empty for anything else."""
        if self.at + ahead >= len(self.tokens):
            return ""
        kind, word, _ = self.tokens[self.at + ahead]
        return word if kind in ("word", "sign") else ""

    def _chain(self, word: str, depth: int) -> Condition:
        if depth > MAX_DEPTH:
            raise ConditionError(f"is nested deeper than {MAX_DEPTH} levels", self._offset(), limit=True)
        found = self._chain("and", depth) if word == "or" else self._not(depth)
        while self._word() == word:
            self.links += 1
            if self.links > MAX_LINKS:
                raise ConditionError(f"joins more than {MAX_LINKS} comparisons", self._offset(), limit=True)
            self.at += 1
            found = Both(word, found, self._chain("and", depth) if word == "or" else self._not(depth))
        return found

    def _not(self, depth: int) -> Condition:
        if self._word() != "not":
            return self._comparison(depth)
        if depth > MAX_DEPTH:
            raise ConditionError(f"is nested deeper than {MAX_DEPTH} levels", self._offset(), limit=True)
        self.at += 1
        return Not(self._not(depth + 1))

    def _comparison(self, depth: int) -> Condition:
        left = self._value(depth)
        sign = self._word()
        if sign == "not" and self._word(1) == "in":
            self.at += 1
            sign = "not in"
        if sign not in _COMPARISONS:
            return left
        self.at += 1
        right = self._value(depth)
        if self._word() in _COMPARISONS:
            raise ConditionError("comparisons are not chained; join two with 'and'", self._offset())
        return Comparison(sign, left, right)

    def _value(self, depth: int) -> Condition:
        offset = self._offset()
        if self.at >= len(self.tokens):
            raise ConditionError("something is missing at the end", offset)
        kind, word, _ = self.tokens[self.at]
        self.at += 1
        if kind == "variable":
            return Variable(steps_of(word[2:-2]))
        if kind == "text":
            return Text(_ESCAPED.sub(r"\1", word[1:-1]), True)
        if word == "(":
            inner = self._chain("or", depth + 1)
            if self._word() != ")":
                raise ConditionError("')' is missing", self._offset())
            self.at += 1
            return inner
        if kind == "sign" or word in ("and", "or", "not", "in"):
            raise ConditionError(f"a value is missing before '{word}'", offset)
        return Text(word, False)

    def _offset(self) -> int:
        return self.tokens[self.at][2] if self.at < len(self.tokens) else len(self.text)


def _tokens(text: str) -> list[tuple[str, str, int]]:
    found = []
    at = len(_SPACE.match(text)[0])  # type: ignore[index]
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            remedy = _REMEDIES.get(text[at])
            raise ConditionError(f"{text[at]!r} is not read here" + (f": {remedy}" if remedy else ""), at)
        found.append((str(match.lastgroup), match[0], at))
        at = match.end()
        at += len(_SPACE.match(text, at)[0])  # type: ignore[index]
    if not found:
        raise ConditionError("says nothing", 0)
    return found
