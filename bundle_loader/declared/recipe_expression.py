"""Conditions that the small grammar does not read: one expression of Jinja2, put together without reading it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from bundle_loader.declared.recipe_condition import Condition, ConditionError, parse_condition, texts_of
from bundle_loader.declared.recipe_template import Reading, read_expression
from bundle_loader.declared.recipe_text import scan


@dataclass(frozen=True, slots=True)
class Expression:
    """A condition as one expression of Jinja2, and what it reads."""

    source: str
    reading: Reading


@lru_cache(maxsize=2048)
def read_condition(text: str) -> Condition | Expression:
    """A condition: by the small grammar first, else as one expression of Jinja2 in which `{{ a }}` stands for `(a)`.

    Raises ConditionError, of the reader that the text looks meant for.
    """
    try:
        parsed = parse_condition(text)
        if not any(scan(said)[1] for said in texts_of(parsed)):
            return parsed
        refused = ConditionError("braces within quotes hold no variable", 0)
    except ConditionError as error:
        if error.limit:
            raise
        refused = error
    meant = _meant_for_jinja(text)
    try:
        source = expression(text)
    except ConditionError as error:
        raise error if meant else refused from None
    reading = read_expression(source)
    errors = [fault for fault in reading.faults if fault.level == "error"]
    if not errors:
        return Expression(source, reading)
    if not meant:
        raise refused
    said = errors[0].message.removeprefix("the template is wrong: ").split("; put braces")[0]
    if said.endswith(("')'", "'end of print statement'")) and ")" not in text:
        said = "an expression within the braces is not finished"
    raise ConditionError(said, _offset(text, said))


def _meant_for_jinja(text: str) -> bool:
    """Whether braces hold more than a name, or a filter or a test stands in it."""
    return bool(scan(text)[1]) or ("|" in text and "||" not in text) or " is " in text


def _offset(text: str, said: str) -> int:
    """Where in the condition the word stands that a fault names."""
    word = said.split("'")[1] if said.count("'") > 1 else ""
    return max(text.find(word), 0) if word else 0


def expression(condition: str) -> str:
    """The condition as one expression of Jinja2: `{{ a }}` stands for `(a)`, within quotes for a part of the text.

    Raises ConditionError for braces that do not close, and for tags.
    """
    made: list[str] = []
    quote = ""
    at = 0
    while at < len(condition):
        sign = condition[at]
        if condition.startswith(("{%", "{#"), at) and not quote:
            raise ConditionError("a condition holds no tags and no comments; write one expression", at)
        if condition.startswith("{{", at):
            end = _closing(condition, at)
            inner = condition[at + 2 : end]
            made.append(f"{quote} ~ ({inner}) ~ {quote}" if quote else f"({inner})")
            at = end + 2
            continue
        if quote and sign == "\\":
            made.append(condition[at : at + 2])
            at += 2
            continue
        if sign in "'\"":
            made.append("(" + sign if not quote else sign + ")" if sign == quote else sign)
            quote = sign if not quote else "" if sign == quote else quote
        else:
            made.append(sign)
        at += 1
    if quote:
        raise ConditionError("the text is not closed", len(condition))
    return "".join(made)


def _closing(condition: str, start: int) -> int:
    """Where the braces that open at `start` close; quotes inside may hold braces."""
    quote = ""
    depth = 0
    at = start + 2
    while at < len(condition):
        sign = condition[at]
        if quote:
            at += 1 if sign == "\\" else 0
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        elif sign == "{":
            depth += 1
        elif sign == "}" and depth:
            depth -= 1
        elif condition.startswith("}}", at):
            return at
        at += 1
    raise ConditionError("'}}' is missing", start)
