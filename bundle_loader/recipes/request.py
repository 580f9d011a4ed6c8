"""What somebody wrote to have a recipe run: `execute x.yaml with task_id='my-task'`, and `--set task_id=my-task`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bundle_loader.declared.recipe_variables import NAME
from bundle_loader.errors import RequestError, did_you_mean, one_line

MAX_LENGTH: Final = 1_000_000
"""Characters of a request."""
_VERBS: Final = ("execute", "run")
_EXAMPLE: Final = "execute task-loop.yaml with task_id='my-task'"
_QUOTES: Final = "'\""
_CURLY: Final = {"‘": "'", "’": "'", "‚": "'", "‛": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "`": "'"}
"""Quotes that a word processor puts in the place of plain ones."""
_BARE: Final = re.compile(r"\S+")
_WORD: Final = re.compile(r"[^\s='\",]+")
_SPACE: Final = re.compile(r"\s*")
_NEXT: Final = re.compile(r"[A-Za-z_][\w-]*\s*=(?!=)")
_SHOWN: Final = 24
_IN_QUOTES: Final = "; a value with spaces stands in quotes"


@dataclass(frozen=True, slots=True)
class RecipeRequest:
    """A recipe as it was named, and the variables given to it, as text."""

    recipe: str
    variables: dict[str, str] = field(default_factory=dict)


def is_request(text: str) -> bool:
    """Whether a text is a request in words (`execute ...` or `run ...`) rather than the name of a recipe."""
    verb, *rest = text.split(None, 1)[:2] or [""]
    return bool(rest) and verb.casefold() in _VERBS


def parse_request(text: str) -> RecipeRequest:
    """The request that a text states: `execute RECIPE with NAME=VALUE NAME=VALUE ...`.

    1. It begins with `execute` or `run`, then the recipe, in quotes where its name holds spaces; `with` stands before the
    variables. 2. Variables come in any order and number, with spaces or commas between. 3. A value in quotes, single or
    double, is taken as it is, but for `\\'`, `\\"` and `\\\\`, which stand for the second character; a value without quotes ends
    at the next space. Raises RequestError with the column of what cannot be read and what to write.
    """
    return _Reader(text).whole()


def parse_sets(given: Iterable[str]) -> dict[str, str]:
    """The variables of `--set NAME=VALUE`, values as they are. Raises RequestError."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise RequestError(f"--set {_cut(text)}: holds no '='; write --set NAME=VALUE")
        name = name.strip()
        if not NAME.fullmatch(name):
            raise RequestError(f"--set {_cut(text)}: {_no_name(name)}")
        if name in found:
            raise RequestError(f"--set {name}: is given twice; leave one of them out")
        found[name] = value
    return found


def request_of(text: str, variables: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The recipe that a text names, or that a request in words names, and its variables with those beside it.

    Raises RequestError, also where both give the same variable.
    """
    if not is_request(text):
        return text, dict(variables)
    found = parse_request(text)
    twice = sorted(found.variables.keys() & variables.keys())
    if twice:
        raise RequestError(f"'{twice[0]}' is given in the request and beside it; leave one of them out")
    return found.recipe, {**found.variables, **variables}


class _Reader:
    def __init__(self, text: str) -> None:
        if len(text) > MAX_LENGTH:
            raise RequestError(f"the request is longer than {MAX_LENGTH:,} characters; put long values into a file")
        self.text = text
        self.at = 0

    def whole(self) -> RecipeRequest:
        self._skip()
        start = self.at
        verb = self._word()
        if verb.casefold() not in _VERBS:
            near = did_you_mean(verb, _VERBS)
            raise self._fault(start, f"expected 'execute' or 'run'{near or f'; write {_EXAMPLE}'}")
        recipe = self._recipe()
        self._skip()
        variables: dict[str, str] = {}
        if self.at == len(self.text):
            return RecipeRequest(recipe, variables)
        start = self.at
        match = _WORD.match(self.text, start)
        word = match[0] if match is not None else ""
        if word.casefold() == "with" and not self.text.startswith("=", start + len(word)):
            self.at += len(word)
            self._skip()
            if self.at == len(self.text):
                raise self._fault(start, f"no variables follow; leave 'with' out, or write {_EXAMPLE}")
        elif not _NEXT.match(self.text, start):
            raise self._fault(start, f"expected 'with' and variables; write {_EXAMPLE}")
        while self._more(variables):
            name = self._name(variables)
            variables[name] = self._value(name)
        return RecipeRequest(recipe, variables)

    def _recipe(self) -> str:
        self._skip()
        start = self.at
        if start == len(self.text):
            raise self._fault(start, f"names no recipe; write {_EXAMPLE}")
        if self.text[start] in _QUOTES:
            recipe = self._quoted("the recipe's name")
        else:
            self._no_curly(start, "the recipe's name")
            recipe = self._bare()
            if _NEXT.match(recipe) or recipe.casefold() == "with":
                raise self._fault(start, f"names no recipe before its variables; write {_EXAMPLE}")
        if not recipe.strip():
            raise self._fault(start, f"the recipe's name is empty; write {_EXAMPLE}")
        return recipe

    def _more(self, variables: dict[str, str]) -> bool:
        """Whether another variable follows; a comma may stand between two."""
        self._skip()
        if variables and self._sees(","):
            self.at += 1
            self._skip()
        return self.at < len(self.text)

    def _name(self, variables: dict[str, str]) -> str:
        start = self.at
        match = _WORD.match(self.text, start)
        if match is None:
            raise self._fault(start, f"expected the name of a variable; write NAME='value'{_IN_QUOTES}")
        name = match[0]
        self.at = match.end()
        self._skip()
        if not self._sees("="):
            raise self._fault(start, f"'{_cut(name)}' has no '=' after it; write {self._as_name(name)}='value'{_IN_QUOTES}")
        if not NAME.fullmatch(name):
            raise self._fault(start, _no_name(name))
        if name in variables:
            raise self._fault(start, f"'{name}' is given twice; leave one of them out")
        self.at += 1
        if self._sees("="):
            raise self._fault(self.at, f"one '=' is enough; write {name}='value'")
        return name

    def _value(self, name: str) -> str:
        self._skip()
        start = self.at
        if start == len(self.text) or self._sees(",") or _NEXT.match(self.text, start):
            raise self._fault(start, f"'{name}' has no value; write {name}='value', or {name}='' for an empty one")
        if self.text[start] in _QUOTES:
            value = self._quoted(f"the value of '{name}'")
            if self.at < len(self.text) and not self.text[self.at].isspace() and not self._sees(","):
                quote = self.text[start]
                message = f"the value of '{name}' ends before this; write a space after it, or \\{quote} for a {quote} within it"
                raise self._fault(self.at, message)
            return value
        self._no_curly(start, f"the value of '{name}'")
        value = self._bare()
        for offset, letter in enumerate(value):
            if letter in _QUOTES:
                message = f"a {letter} within the value of '{name}', which stands in no quotes; put quotes around all of it"
                raise self._fault(start + offset, message)
        if value.endswith(","):
            message = f"the value of '{name}' ends in a comma; leave it out, or put the value into quotes where it belongs to it"
            raise self._fault(self.at - 1, message)
        return value

    def _quoted(self, what: str) -> str:
        start = self.at
        quote = self.text[start]
        pieces: list[str] = []
        at = start + 1
        while True:
            end = next((i for i in range(at, len(self.text)) if self.text[i] in (quote, "\\")), -1)
            if end < 0:
                raise self._fault(start, f"{what} is not closed; write another {quote} at its end{self._escapes(start, quote)}")
            pieces.append(self.text[at:end])
            if self.text[end] == quote:
                self.at = end + 1
                return "".join(pieces)
            after = self.text[end + 1 : end + 2]
            stands = after if after in ("\\", *_QUOTES) and after else "\\" + after
            pieces.append(stands)
            at = end + 2

    def _escapes(self, start: int, quote: str) -> str:
        """What a quote that did not close it stands for."""
        told = f" (\\{quote} in it stands for a {quote}, and \\\\ for a backslash)"
        return told if f"\\{quote}" in self.text[start:] else ""

    # --- words and places

    def _skip(self) -> None:
        match = _SPACE.match(self.text, self.at)
        assert match is not None
        self.at = match.end()

    def _sees(self, sign: str) -> bool:
        return self.text.startswith(sign, self.at)

    def _word(self) -> str:
        """The next word; empty at the end."""
        match = _BARE.match(self.text, self.at)
        self.at = match.end() if match is not None else self.at
        return match[0] if match is not None else ""

    _bare = _word

    def _no_curly(self, start: int, what: str) -> None:
        plain = _CURLY.get(self.text[start])
        if plain is not None:
            message = f"{what} begins with {self.text[start]}, which is no plain quote; write {plain} on both sides of it"
            raise self._fault(start, message)

    def _as_name(self, word: str) -> str:
        return word if NAME.fullmatch(word) else "NAME"

    def _fault(self, at: int, message: str) -> RequestError:
        line = self.text.count("\n", 0, at) + 1
        column = at - (self.text.rfind("\n", 0, at) + 1) + 1
        place = f"line {line}, column {column}" if "\n" in self.text.strip() else f"column {column}"
        seen = one_line(self.text[at : at + _SHOWN].split("\n", 1)[0], "\N{REPLACEMENT CHARACTER}")
        near = f" at '{seen.rstrip()}'" if seen.strip() else " at its end" if at >= len(self.text) else ""
        return RequestError(f"the request, {place}{near}: {message}")


def _no_name(name: str) -> str:
    suggested = re.sub(r"\W+", "_", name.strip("-")).strip("_")
    better = f"; did you mean '{_cut(suggested)}'?" if NAME.fullmatch(suggested) else ""
    return f"'{_cut(name)}' is no name of a variable: these are letters, digits and '_'{better}"


def _cut(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"
