"""Expansions of a shell command: `${...}`, indexes and arithmetic, in which bash reads values once more."""

from __future__ import annotations

import re
from typing import Final

from bundle_loader.recipes.shell_tree import Form, Need, Word
from bundle_loader.recipes.shell_words import NAME, Words, known

_PARAMETER: Final = re.compile(r"[A-Za-z_]\w*|[0-9]+|[@*#?$!_-]", re.ASCII)
_WORD_OPERATORS: Final = (":-", ":=", ":+", ":?", "-", "=", "+", "?")
_PATTERN_OPERATORS: Final = ("#", "%", "/", "^", ",")


class Expansions(Words):
    """What stands between the braces and brackets of an expansion."""

    def arithmetic(self, word: Word, end: str, *, parts: bool = False) -> None:
        """An arithmetic expression up to `end`, which is read too. Only numbers stand in it, also in its variables.

        `parts`: it is the head of a loop, three of them with `;` between.
        """
        names: set[str] = set()
        depth = 0
        word.dynamic()
        while True:
            if self.reference(word, Form.LITERAL, Need.NUMBER, "in arithmetic"):
                continue
            if self.at >= len(self.text):
                raise self.fail("arithmetic that is not closed")
            if not depth and self.sees(end):
                break
            sign = self.sign
            found = NAME.match(self.text, self.at)
            if found is not None:
                names.add(found[0])
                self.at = found.end()
            elif sign in "'\"`\\#;":
                if (sign == "#" and self.text[self.at - 1].isalnum()) or (sign == ";" and parts):
                    self.at += 1
                    continue
                raise self.fail(f"{sign} in arithmetic")
            elif sign == "$":
                inner = Word(self.at)
                self.dollar(inner, quoted=True)
                names |= inner.names
                self.absorb(word, inner, "in arithmetic")
            else:
                depth += {"(": 1, ")": -1, "[": 1, "]": -1}.get(sign, 0)
                if depth < 0:
                    raise self.fail("arithmetic that ends otherwise")
                self.at += 1
        self.at += len(end)
        self.sinks.append((names, Need.NUMBER, "in arithmetic"))

    def absorb(self, word: Word, inner: Word, why: str, need: Need = Need.NUMBER) -> None:
        """Takes over what stands in a part of a word, where every value must be so."""
        for part in inner.refs:
            self.needs.append((part, need, why))
        word.refs.extend(inner.refs)
        word.scripts.extend(inner.scripts)
        word.names |= inner.names
        if inner.scripts:
            # what a nested command prints is read once more
            self.sinks.append(({"$("}, need, why))
            self.assigned.append(("$(", inner))

    def subscript(self, word: Word, name: str) -> None:
        """`[...]` behind a name, the first bracket read: a number, or a key of an associative array."""
        inner = Word(self.at)
        keyed = name in self.associative
        need = Need.PLAIN if keyed else Need.NUMBER
        while not self.sees("]"):
            if self.reference(inner, Form.LITERAL, need, "as an index"):
                continue
            sign = self.sign
            found = NAME.match(self.text, self.at)
            if found is not None and not keyed:
                inner.names.add(found[0])
                self.at = found.end()
            elif sign in ("", "\n", "\\", "[", "'", "`", "(", ")"):
                raise self.fail("an index that is not read")
            elif sign == "$":
                self.dollar(inner, quoted=True)
            elif sign == '"':
                quoted = Word(self.at)
                self.double(quoted)
                self.absorb(inner, quoted, "as an index", need)
            else:
                self.at += 1
        self.at += 1
        self.absorb(word, inner, "as an index", need)
        if not keyed:
            self.sinks.append((inner.names, need, "as an index"))

    def parameter(self, word: Word, *, quoted: bool) -> None:
        """`${...}`, the brace read."""
        sign = self.sign
        if sign in ("", " ", "\t", "\n", "|", "(", "\\"):
            raise self.fail("'${' and what follows")
        prefix = ""
        if sign in "!#" and self.text[self.at + 1 : self.at + 2] not in ("}", ""):
            prefix = sign
            self.at += 1
        if self.reference(word, Form.LITERAL, Need.PLAIN, "as the name of a variable"):
            name = "*"
        else:
            found = _PARAMETER.match(self.text, self.at)
            if found is None:
                raise self.fail("'${' and what follows")
            name = known(found[0])
            self.at = found.end()
            if self.sees("\\\n"):
                raise self.fail("a line continued within a name")
        keys = prefix == "!" and (self.text[self.at : self.at + 4] in ("[@]}", "[*]}") or self.sees("*}"))
        if prefix != "#" and not keys:
            word.names.add(name)
        if prefix == "!":
            self.bashisms.add("${!name}")
        if prefix == "!" and not keys:
            self.sinks.append(({name}, Need.PLAIN, "as the name of a variable"))
            word.names.add("*")
        if self.sees("["):
            self.bashisms.add("arrays")
            self.at += 1
            if self.sees("@]") or self.sees("*]"):
                self.at += 2
            else:
                self.subscript(word, name)
        self._operator(word, name, quoted=quoted)

    def _operator(self, word: Word, name: str, *, quoted: bool) -> None:
        """What follows the name, up to the closing brace."""
        if self.sees("}"):
            self.at += 1
            return
        for operator in _WORD_OPERATORS:
            if self.sees(operator):
                self.at += len(operator)
                self._alternative(word, name if "=" in operator else "", quoted=quoted)
                return
        if self.sees(":"):
            self.bashisms.add("${name:from:length}")
            self.at += 1
            self.arithmetic(word, "}")
        elif self.sees("@"):
            self.bashisms.add("${name@...}")
            if self.sees("@P"):
                self.sinks.append(({name}, Need.PLAIN, "in ${...@P}"))
            if self.text[self.at + 2 : self.at + 3] != "}":
                raise self.fail("'${...@'")
            self.at += 3
        elif self.sign in _PATTERN_OPERATORS:
            self._pattern(word, quoted=quoted)
        elif self.sees("*}"):
            self.at += 2
        else:
            raise self.fail("'${...}'")

    def _alternative(self, word: Word, name: str, *, quoted: bool) -> None:
        """The text of `${x:-text}`."""
        inner = Word(self.at)
        while not self.sees("}"):
            if self.reference(inner, Form.DOUBLE if quoted else Form.BARE):
                continue
            sign = self.sign
            if not sign or (quoted and sign in "'\""):
                raise self.fail("quotes within ${...} within quotes")
            if sign in "<>" and self.text[self.at + 1 : self.at + 2] == "(":
                raise self.fail("a process substitution within ${...}")
            if quoted:
                self.within_double(inner, sign)
            else:
                self.piece(inner, sign)
        self.at += 1
        word.refs.extend(inner.refs)
        word.scripts.extend(inner.scripts)
        word.names |= inner.names
        if name:
            self.assigned.append((name, inner))

    def _pattern(self, word: Word, *, quoted: bool) -> None:
        """The pattern of `${x#pattern}` and its like: a value in it would be a pattern too."""
        inner = Word(self.at)
        while not self.sees("}"):
            if self.reference(inner, Form.LITERAL, Need.PLAIN, "in a pattern"):
                continue
            sign = self.sign
            if not sign:
                raise self.fail("'${' that is not closed")
            if sign in "<>" and self.text[self.at + 1 : self.at + 2] == "(":
                raise self.fail("a process substitution within ${...}")
            if sign == "\n" or (quoted and sign in "'`"):
                raise self.fail("quotes within ${...} within quotes")
            self.piece(inner, sign)
        self.at += 1
        for number in inner.refs:
            self.needs.append((number, Need.PLAIN, "in a pattern"))
        word.refs.extend(inner.refs)
        word.scripts.extend(inner.scripts)
        word.names |= inner.names
