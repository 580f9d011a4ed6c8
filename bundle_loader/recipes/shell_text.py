"""A shell command with the values of a run: each goes by a variable of its own, quoted for the place where it stands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from bundle_loader.declared.recipe_text import Reference, scan
from bundle_loader.errors import Place, UnknownVariable, UnsafeValue
from bundle_loader.recipes.shell_flow import Asked, needs
from bundle_loader.recipes.shell_grammar import Grammar
from bundle_loader.recipes.shell_tables import GUARDED
from bundle_loader.recipes.shell_tree import Form, Need
from bundle_loader.recipes.shell_words import Unclear
from bundle_loader.recipes.texts import place_within
from bundle_loader.recipes.values import Values, to_text

MAX_LITERAL: Final = 8_192
"""Characters of a value that is put into the command itself."""
MAX_COMMAND: Final = 1_000_000
"""Characters of a command."""
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:@,+-]*")
_FITS: Final[dict[Need, re.Pattern[str]]] = {
    Need.PLAIN: _PLAIN,
    Need.NUMBER: re.compile(r"-?[0-9]{1,18}"),
    Need.NO_DASH: re.compile(r"(?!-).*", re.DOTALL),
    Need.NO_ESCAPES: re.compile(r"[^%\\]*"),
    Need.NO_BACKSLASH: re.compile(r"[^\\]*"),
    Need.NO_OPERATOR: re.compile(r"(?![-(!)=<>]|\w+\[).*", re.DOTALL),
    Need.NO_OPTIONS: re.compile(r"(?!-\S)(?!.*?[^\w./:@,+-]-\S).*", re.DOTALL),
    Need.NO_LIST: re.compile(r"(?!\().*", re.DOTALL),
}
_WRITTEN: Final = {
    Form.BARE: '"${%s}"',
    Form.DOUBLE: "${%s}",
    Form.SINGLE: "'\"${%s}\"'",
    Form.ANSI: "'\"${%s}\"$'",
    Form.COMMENT: "${%s}",
}
_HERE: Final = re.compile(r"<<-?\s*[\\'\"]*([^\s\\'\"<>;&|()]+)")


@dataclass(frozen=True, slots=True)
class PreparedCommand:
    """A command that holds no value of the run, and the variables by which it takes them."""

    command: str
    environment: dict[str, str] = field(default_factory=dict)
    """Variable -> value, exactly."""
    bash_only: tuple[str, ...] = ()
    """What in it another shell would not understand."""


@dataclass(frozen=True, slots=True)
class _Standing:
    """One reference of the command, or of the step's environment (`name`)."""

    reference: Reference
    start: int
    end: int
    name: str = ""


def prepare(command: str, values: Values, place: Place = ("", 0, 0), env: Mapping[str, str] | None = None) -> PreparedCommand:
    """The command with its references replaced by variables, quoted for where they stand. `place` is where its text begins.

    Where no quoting makes a value safe, only plain values (letters, digits and `_./:@,+-`) are taken. `env` is the step's
    own environment as written: what the command does with its variables counts too. Raises UnsafeValue with file, line and
    reason, and UnknownVariable.
    """
    text, standing = _without_literals(command)
    if len(text) > MAX_COMMAND:
        raise UnsafeValue(f"the command is longer than {MAX_COMMAND} characters", place=place)
    given: dict[str, set[int]] = {}
    for name, written in (env or {}).items():
        for reference in scan(written)[0]:
            if reference.path:
                given.setdefault(name, set()).add(len(standing))
                standing.append(_Standing(reference, -1, -1, name))
    texts = [_text_of(one, values, place, command) for one in standing]
    spans = {one.start: (number, one.end) for number, one in enumerate(standing) if not one.name}
    grammar = Grammar(text, spans)
    asked: list[Asked]
    try:
        asked = needs(grammar, grammar.whole(), given)
        forms = grammar.forms
    except (Unclear, RecursionError) as error:
        unclear = error if isinstance(error, Unclear) else Unclear(0, "nesting")
        line = text.count("\n", 0, unclear.offset) + 1
        why = f"in a command that is not read with certainty (its line {line}: {unclear.what})"
        asked = [(number, Need.PLAIN, why) for number in range(len(standing))]
        forms = dict.fromkeys(range(len(standing)), Form.LITERAL)
        grammar.guards.clear()
        grammar.bashisms.add(unclear.what)
    asked += [(n, Need.PLAIN, f"in {one.name}, by which programs are found or run") for n, one in enumerate(standing)
              if one.name and GUARDED.fullmatch(one.name)]  # fmt: skip
    _judge(standing, texts, asked, forms, place, command)
    _guard(standing, texts, grammar, forms, text, place, command)
    made, environment = _written(text, standing, texts, forms)
    return PreparedCommand(made, environment, tuple(sorted(grammar.bashisms)))


def _without_literals(command: str) -> tuple[str, list[_Standing]]:
    """The command with what an author wrote as `{{ '{{' }}` in its place, and the references that are left."""
    made: list[str] = []
    standing: list[_Standing] = []
    at = length = 0
    for reference in scan(command)[0]:
        before = command[at : reference.start]
        middle = command[reference.start : reference.end] if reference.path else reference.text
        length += len(before)
        if reference.path:
            standing.append(_Standing(reference, length, length + len(middle)))
        made += [before, middle]
        length += len(middle)
        at = reference.end
    return "".join([*made, command[at:]]), standing


def _text_of(one: _Standing, values: Values, place: Place, command: str) -> str:
    where = place if one.name else place_within(place, command, one.reference.start)
    try:
        text = to_text(values.at(one.reference.path))
    except UnknownVariable as error:
        raise error.placed("", where) from None
    if "\0" in text:
        raise UnsafeValue(f"{_shown(one)} holds a zero byte, which no command can take", place=where)
    if any("\ud800" <= sign <= "\udfff" for sign in text) if not text.isascii() else False:
        raise UnsafeValue(f"{_shown(one)} holds half of a character, which no command can take", place=where)
    return text


def _shown(one: _Standing) -> str:
    return "{{" + ".".join(one.reference.path) + "}}"


def _judge(
    standing: list[_Standing], texts: list[str], asked: list[Asked], forms: dict[int, Form], place: Place, command: str
) -> None:
    """Refuses the first value that may not stand where it does."""
    for number, need, why in sorted(asked, key=lambda one: one[0]):
        one, text = standing[number], texts[number]
        if forms.get(number) is Form.COMMENT or _FITS[need].fullmatch(text):
            continue
        where = place if one.name else place_within(place, command, one.reference.start)
        raise UnsafeValue(
            f"the value of {_shown(one)} may not stand {why}: {'' if text else 'it is empty, and '}{need.value}",
            remedy="hand it over as an argument or in 'env' and let the program read it there" if need is Need.PLAIN else "",
            place=where,
        )
    for number, form in forms.items():
        if form is Form.LITERAL and len(texts[number]) > MAX_LITERAL:
            one = standing[number]
            where = place if one.name else place_within(place, command, one.reference.start)
            raise UnsafeValue(f"the value of {_shown(one)} is longer than {MAX_LITERAL} characters, the most here", place=where)


def _guard(
    standing: list[_Standing],
    texts: list[str],
    grammar: Grammar,
    forms: dict[int, Form],
    text: str,
    place: Place,
    command: str,
) -> None:
    """Refuses values that would make a line of a here-document its end."""
    ends = set(_HERE.findall(text)) if not grammar.guards else set()
    for number, one in enumerate(standing):
        if one.name or forms.get(number) is not Form.LITERAL:
            continue
        start, stop, end, tabs = grammar.guards.get(number, (0, 0, "", False))
        if number in grammar.guards:
            line = _line(text, start, stop, standing, texts, forms)
            bad = (line.lstrip("\t") if tabs else line) == end
        else:
            start = text.rfind("\n", 0, one.start) + 1
            stop = text.find("\n", one.start)
            line = _line(text, start, len(text) if stop < 0 else stop, standing, texts, forms)
            bad = line.strip() in ends
        if bad:
            where = place_within(place, command, one.reference.start)
            raise UnsafeValue(f"the value of {_shown(one)} would end the here-document that it stands in", place=where)


def _line(text: str, start: int, stop: int, standing: list[_Standing], texts: list[str], forms: dict[int, Form]) -> str:
    """A part of the command with the values that are put into it as they are."""
    made = []
    at = start
    for number, one in enumerate(standing):
        if not one.name and start <= one.start < stop:
            made += [text[at : one.start], texts[number] if forms.get(number) is Form.LITERAL else "$"]
            at = one.end
    return "".join([*made, text[at:stop]])


def _written(text: str, standing: list[_Standing], texts: list[str], forms: dict[int, Form]) -> tuple[str, dict[str, str]]:
    prefix = "BL_"
    while prefix in text:
        prefix += "_"
    names: dict[tuple[str, ...], str] = {}
    environment: dict[str, str] = {}
    made = []
    at = 0
    for number, one in enumerate(standing):
        if one.name:
            continue
        form = forms.get(number, Form.LITERAL)
        made.append(text[at : one.start])
        at = one.end
        if form is Form.LITERAL:
            made.append(texts[number])
            continue
        name = names.setdefault(one.reference.path, f"{prefix}{len(names) + 1}")
        made.append(_WRITTEN[form] % name)
        if form is not Form.COMMENT:
            environment[name] = texts[number]
    return "".join([*made, text[at:]]), environment
