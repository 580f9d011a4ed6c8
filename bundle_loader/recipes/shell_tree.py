"""What a shell command is made of: words, commands and lists, and where in them the references of a recipe stand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeAlias

_QUOTED: Final = re.compile(r"\$?'[^']*'|\"(?:[^\"\\]|\\.)*\"|\\.", re.DOTALL)
_LEADING: Final = re.compile(r"(?:[\"']|\$(?=['\"])|\{\{[^{}]*\}\}|\$[A-Za-z_]\w*)*", re.ASCII)
_NAMED: Final = re.compile(r"\$([A-Za-z_]\w*)", re.ASCII)


class Form(Enum):
    """How a value is handed over at a place."""

    BARE = "bare"
    DOUBLE = "in double quotes"
    SINGLE = "in single quotes"
    ANSI = "in $'...'"
    LITERAL = "as it is"
    COMMENT = "in a comment"


class Need(Enum):
    """What a value must be to stand at a place; the text is what a refusal says of any other."""

    PLAIN = "only letters, digits and _ . / : @ , + - may stand there"
    NUMBER = "only a whole number may stand there"
    NO_DASH = "it begins with '-' and would be taken for an option; write -- before it"
    NO_ESCAPES = "'%' and '\\' mean something there; write '%s' and the value after it"
    NO_BACKSLASH = "'\\' means something there"
    NO_OPERATOR = "it could be taken for an operator of the test; write one comparison in each [ ]"
    NO_OPTIONS = "a word of it begins with '-' and would be taken for an option; write it in double quotes, and -- before it"
    NO_LIST = "it begins with '(', and bash reads it once more as a list"


@dataclass(slots=True)
class Word:
    """One word. `refs` are those of its own text, also within `${..}`; those of nested commands are in `scripts`."""

    start: int
    end: int = 0
    literal: str | None = ""
    """Its text without quotes; None where a part of it is only known when it runs."""
    lead: str = ""
    """The literal text before the first part that is not."""
    raw: str = ""
    """As it is written, quotes and all."""
    refs: list[int] = field(default_factory=list)
    first: int | None = None
    """The reference that it begins with."""
    names: set[str] = field(default_factory=set)
    """The variables that it expands."""
    scripts: list[Script] = field(default_factory=list)

    def add(self, text: str) -> None:
        """More literal text."""
        if self.literal is not None:
            self.literal += text
            self.lead += text

    def dynamic(self) -> None:
        """What follows is only known when it runs."""
        self.literal = None

    def splits(self) -> bool:
        """Whether bash makes several words of what an expansion in it gives: one stands outside of quotes."""
        outside = _QUOTED.sub("", self.raw)
        return "$" in outside or "`" in outside

    def leading(self) -> Word | None:
        """What may give its first character, as a word of its own; None where that is written."""
        if self.lead or self.literal is not None:
            return None
        found = _LEADING.match(self.raw)
        end = found.end() if found is not None else 0
        if self.raw[end : end + 1] in ("$", "`"):
            return self
        head = self.raw[:end]
        return Word(self.start, literal=None, refs=self.refs[: head.count("{{")], names=set(_NAMED.findall(head)) & self.names)


@dataclass(slots=True)
class Redirect:
    """`< word`, `> word`, `<<< word`, or a here-document whose text is the word."""

    sign: str
    word: Word


@dataclass(slots=True)
class Assignment:
    """`name=value`, also of an element."""

    name: str
    words: list[Word]
    elements: list[Word] | None = None
    """Of a list in parentheses without indexes."""
    more: bool = False
    """True for `+=`."""


@dataclass(slots=True)
class Simple:
    """Assignments, then a command's name and arguments."""

    assignments: list[Assignment] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    redirects: list[Redirect] = field(default_factory=list)


@dataclass(slots=True)
class Compound:
    """A loop, a case, a group, a subshell, a test: lists inside, and the words of its head."""

    kind: str
    scripts: list[Script] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    variable: str = ""
    redirects: list[Redirect] = field(default_factory=list)


@dataclass(slots=True)
class Function:
    """`name() body`."""

    name: str
    body: Compound


Command: TypeAlias = Simple | Compound | Function


@dataclass(slots=True)
class Pipeline:
    """Commands joined by `|`."""

    commands: list[Command] = field(default_factory=list)


@dataclass(slots=True)
class Script:
    """Pipelines one after the other, however joined."""

    pipelines: list[Pipeline] = field(default_factory=list)
    reading: bool = False
    """True for `>( )`, which reads what others write."""


Part: TypeAlias = Script | Pipeline | Command | Redirect | Assignment | Word


def parts(node: Part) -> list[Part]:
    """What a node is directly made of."""
    if isinstance(node, Script):
        return list(node.pipelines)
    if isinstance(node, Pipeline):
        return list(node.commands)
    if isinstance(node, Simple):
        return [*node.assignments, *node.words, *node.redirects]
    if isinstance(node, Compound):
        return [*node.words, *node.scripts, *node.redirects]
    if isinstance(node, Function):
        return [node.body]
    if isinstance(node, Redirect):
        return [node.word]
    return list(node.words) if isinstance(node, Assignment) else list(node.scripts)


def walk(node: Part) -> Iterator[Part]:
    """The node and all within it; bodies of functions too."""
    waiting = [node]
    while waiting:
        one = waiting.pop()
        yield one
        waiting.extend(parts(one))
