"""Words of a shell command as bash reads them: quotes, expansions, substitutions, comments, here-documents."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import Final

from bundle_loader.recipes.shell_tree import Form, Need, Script, Word

METAS: Final = " \t\n;&|<>()"
MAX_DEPTH: Final = 60
NAME: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_SPECIAL: Final = re.compile(r"[0-9@*#?$!-]")


class Unclear(Exception):
    """Syntax that is not read with certainty: nothing is known of the places in such a command."""

    def __init__(self, offset: int, what: str) -> None:
        super().__init__(what)
        self.offset = offset
        self.what = what


class Here:
    """A here-document that has been announced."""

    def __init__(self, word: Word, end: str, quoted: bool, tabs: bool) -> None:
        self.word = word
        self.end = end
        self.quoted = quoted
        self.tabs = tabs


class Words(ABC):
    """Reads from `at` on. `spans` are the references: start -> (number, end)."""

    def __init__(self, text: str, spans: dict[int, tuple[int, int]]) -> None:
        self.text = text
        self.spans = spans
        self.at = 0
        self.depth = 0
        self.forms: dict[int, Form] = {}
        self.needs: list[tuple[int, Need, str]] = []
        self.sinks: list[tuple[set[str], Need, str]] = []
        """Variables whose values must be so, because bash reads them once more there."""
        self.assigned: list[tuple[str, Word]] = []
        self.heres: list[Here] = []
        self.guards: dict[int, tuple[int, int, str, bool]] = {}
        """Reference -> the line of the here-document that it stands in, and the end word that it may not become."""
        self.bashisms: set[str] = set()
        self.associative: set[str] = set()

    @abstractmethod
    def script(self, ends: tuple[str, ...]) -> Script:
        """The commands up to one of these ends, which is not read."""

    def fail(self, what: str) -> Unclear:
        """The error for what stands here."""
        return Unclear(self.at, what)

    def sees(self, text: str) -> bool:
        """Whether this text comes next."""
        return self.text.startswith(text, self.at)

    @property
    def sign(self) -> str:
        """The next character; empty at the end."""
        return self.text[self.at : self.at + 1]

    def reference(self, word: Word, form: Form, need: Need | None = None, why: str = "") -> bool:
        """Reads a reference where one stands here."""
        found = self.spans.get(self.at)
        if found is None:
            return False
        number, end = found
        if word.literal == "" and self.at == word.start + (form is Form.DOUBLE or form is Form.SINGLE):
            word.first = number
        word.refs.append(number)
        word.dynamic()
        self.forms[number] = form
        if need is not None:
            self.needs.append((number, need, why))
        self.at = end
        return True

    def word(self) -> Word:
        """A word, up to a blank or an operator."""
        word = Word(self.at)
        while self.at < len(self.text):
            sign = self.sign
            if self.reference(word, Form.BARE):
                continue
            if sign in "<>" and self.text[self.at + 1 : self.at + 2] == "(":
                if self.at != word.start:
                    raise self.fail("a process substitution within a word")
                self._process(word)
            elif sign in METAS:
                if sign == "(" and self.at > word.start:
                    raise self.fail("'(' within a word")
                break
            elif (
                sign == "\\"
                and self.sees("\\\n")
                and self.text[self.at + 2 : self.at + 3] in ("", " ", "\t")
                and self.at > word.start
            ):
                break
            else:
                self.piece(word, sign)
        word.end = self.at
        word.raw = self.text[word.start : word.end]
        return word

    def piece(self, word: Word, sign: str) -> None:
        """One character or construct of a word outside of quotes."""
        if sign == "\\":
            self._escape(word, doubled=False)
        elif sign == "'":
            self.single(word)
        elif sign == '"':
            self.double(word)
        elif sign == "$":
            self.dollar(word, quoted=False)
        elif sign == "`":
            self.backtick(word)
        else:
            word.add(sign)
            self.at += 1

    def _escape(self, word: Word, *, doubled: bool) -> None:
        after = self.text[self.at + 1 : self.at + 2]
        if not after:
            raise self.fail("a backslash at the end")
        if after == "\n":
            if not doubled or self.text[self.at - 1] in "$`\\<>":
                raise self.fail("a line continued within a word")
            self.at += 2
            return
        self.at += 1
        if self.reference(word, Form.LITERAL, Need.PLAIN, "after a backslash"):
            return
        if doubled and after not in '$`"\\':
            word.add("\\")
        word.add(after)
        self.at += 1

    def single(self, word: Word) -> None:
        """`'...'`"""
        end = self.text.find("'", self.at + 1)
        if end < 0:
            raise self.fail("a single quote that is not closed")
        self.at += 1
        while True:
            # a reference may hold quotes of its own only as literal text, which is none any more
            if self.reference(word, Form.SINGLE):
                continue
            if self.at >= len(self.text):
                raise self.fail("a single quote that is not closed")
            if self.sign == "'":
                break
            word.add(self.sign)
            self.at += 1
        self.at += 1

    def double(self, word: Word) -> None:
        """`"..."`"""
        self.at += 1
        while True:
            if self.reference(word, Form.DOUBLE):
                continue
            if self.at >= len(self.text):
                raise self.fail("a double quote that is not closed")
            sign = self.sign
            if sign == '"':
                break
            self.within_double(word, sign)
        self.at += 1

    def within_double(self, word: Word, sign: str) -> None:
        if sign == "\\":
            self._escape(word, doubled=True)
        elif sign == "$":
            self.dollar(word, quoted=True)
        elif sign == "`":
            self.backtick(word)
        else:
            word.add(sign)
            self.at += 1

    def dollar(self, word: Word, *, quoted: bool) -> None:
        """Whatever begins with `$`."""
        start = self.at
        self.at += 1
        if self.reference(word, Form.LITERAL, Need.PLAIN, "as the name of a variable"):
            word.names.add("*")
            return
        if self.sees("'") and not quoted:
            self._ansi(word)
        elif (self.sees('"') and not quoted) or self.sees("[") or self.sees("\\\n"):
            raise self.fail(f"'${self.sign}'")
        elif self.sees("(("):
            self.at += 2
            word.dynamic()
            self.arithmetic(word, "))")
        elif self.sees("("):
            self.at += 1
            word.dynamic()
            word.scripts.append(self._nested())
        elif self.sees("{"):
            self.at += 1
            word.dynamic()
            self.parameter(word, quoted=quoted)
        else:
            found = NAME.match(self.text, self.at) or _SPECIAL.match(self.text, self.at)
            if found is None:
                word.add("$")
                return
            self.at = found.end()
            if self.sees("\\\n"):
                raise self.fail("a line continued within a name")
            word.dynamic()
            word.names.add(known(found[0]))
        if self.at <= start:
            raise self.fail("'$'")

    def _ansi(self, word: Word) -> None:
        self.bashisms.add("$'...'")
        self.at += 1
        while True:
            if self.reference(word, Form.ANSI):
                continue
            if self.at >= len(self.text):
                raise self.fail("$' that is not closed")
            sign = self.sign
            self.at += 1
            if sign == "'":
                return
            if sign == "\\":
                word.dynamic()
                if not self.reference(word, Form.LITERAL, Need.PLAIN, "after a backslash"):
                    self.at += 1
            else:
                word.add(sign)

    def _nested(self) -> Script:
        """A list of commands up to `)`, which is read too."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.fail(f"nesting deeper than {MAX_DEPTH}")
        outer, self.heres = self.heres, []
        before = self.text.count("\n", 0, self.at) if outer else 0
        found = self.script((")",))
        if not self.sees(")"):
            raise self.fail("a '(' that is not closed")
        if self.heres or (outer and self.text.count("\n", 0, self.at) != before):
            raise self.fail("a here-document across a '('")
        self.heres = outer
        self.at += 1
        self.depth -= 1
        return found

    def _process(self, word: Word) -> None:
        self.bashisms.add(f"{self.sign}( )")
        reading = self.sign == ">"
        self.at += 2
        found = self._nested()
        found.reading = reading
        word.dynamic()
        word.scripts.append(found)

    def backtick(self, word: Word) -> None:
        """Old substitution: only plain values, as its text is unescaped once before it is read."""
        start = self.at + 1
        self.at = start
        code: list[str] = []
        word.dynamic()
        while True:
            if self.reference(word, Form.LITERAL, Need.PLAIN, "in backticks"):
                code.append("X")
                continue
            if self.at >= len(self.text):
                raise self.fail("a backtick that is not closed")
            sign = self.sign
            self.at += 1
            if sign == "`":
                break
            if sign == "\\":
                after = self.sign
                if self.at in self.spans:
                    raise self.fail("a backslash before a value in backticks")
                code.append(after if after in ("$", "`", "\\") else "\\" + after)
                self.at += 1
            else:
                code.append(sign)
        word.scripts.append(self.inner("".join(code), start))

    @abstractmethod
    def inner(self, code: str, offset: int) -> Script:
        """Shell code that another command holds as a text without references."""

    @abstractmethod
    def arithmetic(self, word: Word, end: str, *, parts: bool = False) -> None:
        """An arithmetic expression up to `end`, which is read too."""

    @abstractmethod
    def parameter(self, word: Word, *, quoted: bool) -> None:
        """`${...}`, the brace read."""


def known(name: str) -> str:
    """All positional parameters are one."""
    return "@" if name == "*" or (name.isdigit() and name != "0") else name
