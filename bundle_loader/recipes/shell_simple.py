"""Simple commands, redirections, assignments, tests and here-documents of a shell command."""

from __future__ import annotations

import re
from typing import Final

from bundle_loader.recipes.shell_expansions import Expansions
from bundle_loader.recipes.shell_tree import Assignment, Compound, Form, Need, Redirect, Simple, Word
from bundle_loader.recipes.shell_words import Here

DECLARES: Final = frozenset({"declare", "typeset", "local", "export", "readonly"})
_ASSIGNMENT: Final = re.compile(r"([A-Za-z_]\w*)(\+?=|\[)", re.ASCII)
_REDIRECT: Final = re.compile(r"[0-9]*(<<<|<<-|<<|<>|<&|<(?!\()|>>|>&|>\||>(?!\())|(&>>|&>)")
_HERE_END: Final = re.compile(r"(?:[\w.,:!%+@^/-]|\\[^\n]|'[^'\n]*'|\"[^\"\n$`\\]*\")+")
_UNQUOTED: Final = re.compile(r"\\(.)|['\"]")
IDENTIFIER: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_NUMBERS: Final = frozenset({"-eq", "-ne", "-lt", "-le", "-gt", "-ge"})
_NAMES: Final = frozenset({"-v", "-R"})


class Simples(Expansions):
    """What is left of a command without its lists."""

    def blank(self) -> None:
        """Blanks, continued lines and a comment."""
        while self.at < len(self.text):
            if self.sign in " \t":
                self.at += 1
            elif self.sees("\\\n"):
                self._continued()
            elif self.sign == "#":
                self._comment()
            else:
                return

    def _continued(self) -> None:
        """A backslash and a new line, which bash leaves out: only where that joins nothing."""
        before, after = self.text[self.at - 1 : self.at], self.text[self.at + 2 : self.at + 3]
        apart = before in ("", " ", "\t", "\n") or after in ("", " ", "\t")
        if not apart and (before not in "|&;(" or after in "|&;<>()\\#"):
            raise self.fail("a line continued within a word")
        self.at += 2

    def _comment(self) -> None:
        end = self.text.find("\n", self.at)
        end = len(self.text) if end < 0 else end
        while self.at < end:
            found = self.spans.get(self.at)
            if found is not None:
                self.forms[found[0]] = Form.COMMENT
                self.at = found[1]
            else:
                self.at += 1

    def lines(self) -> None:
        """Blanks, comments and new lines, with the here-documents that begin after them."""
        while True:
            self.blank()
            if self.sign != "\n" or self.at in self.spans:
                return
            self._newline()

    def _newline(self) -> None:
        self.at += 1
        heres, self.heres = self.heres, []
        for here in heres:
            self._here_text(here)

    def _here_text(self, here: Here) -> None:
        start = self.at
        while True:
            if self.at >= len(self.text):
                raise self.fail(f"a here-document without its end '{here.end}'")
            stop = self.text.find("\n", self.at)
            stop = len(self.text) if stop < 0 else stop
            line = self.text[self.at : stop]
            if (line.lstrip("\t") if here.tabs else line) == here.end:
                break
            if not here.quoted and (len(line) - len(line.rstrip("\\"))) % 2:
                raise self.fail("a line continued within a here-document")
            for number, _ in [span for begin, span in self.spans.items() if self.at <= begin < stop]:
                self.guards[number] = (self.at, stop, here.end, here.tabs)
            self.at = stop + 1
        self._here_words(here, start, self.at)
        self.at = min(stop + 1, len(self.text))

    def _here_words(self, here: Here, start: int, stop: int) -> None:
        here.word.start = self.at = start
        while self.at < stop:
            if here.quoted:
                if not self.reference(here.word, Form.LITERAL, Need.PLAIN, "in a quoted here-document"):
                    here.word.add(self.sign)
                    self.at += 1
            elif not self.reference(here.word, Form.DOUBLE):
                self.within_double(here.word, self.sign)
        if self.at != stop:
            raise self.fail("an expansion across the end of a here-document")
        here.word.end = stop
        here.word.raw = self.text[start:stop]

    def simple(self) -> Simple:
        """Assignments, words and redirections up to the end of the command."""
        made = Simple()
        start = self.at
        while True:
            self.blank()
            ref = self.at in self.spans
            if not ref and self.sign in ("", ";", "|", ")", "\n"):
                break
            found = None if ref else self.redirect()
            if found is not None:
                made.redirects.append(found)
                continue
            if not ref and self.sign in "&(":
                if self.sign == "&":
                    break
                raise self.fail("'('")
            assigned = None if ref else self._assignment(made)
            if assigned is not None:
                made.assignments.append(assigned)
            else:
                made.words.append(self.word())
        if self.at == start or not (made.assignments or made.words or made.redirects):
            raise self.fail(f"'{self.sign}'")
        return made

    def _assignment(self, made: Simple) -> Assignment | None:
        declares = bool(made.words) and made.words[0].literal in DECLARES
        found = _ASSIGNMENT.match(self.text, self.at) if declares or not made.words else None
        if found is None:
            return None
        if made.words and (found[2] == "[" or not self.text.startswith("(", found.end())):
            if found[2] == "[":
                raise self.fail("an index in a declaration")
            return None
        name = found[1]
        index = Word(self.at)
        self.at = found.end()
        if found[2] == "[":
            self.bashisms.add("arrays")
            self.subscript(index, name)
            if not self.sees("=") and not self.sees("+="):
                raise self.fail("'[' in the name of a command")
            self.at += 1 if self.sees("=") else 2
        if self.sees("(") and self.at not in self.spans:
            self.bashisms.add("arrays")
            words = self._array(name)
            plain = found[2] != "[" and not any(word.raw.startswith("[") or not word.raw for word in words)
            return Assignment(name, [index, *words], words if plain else None, found[2] == "+=")
        return Assignment(name, [index, self.word()])

    def _array(self, name: str) -> list[Word]:
        self.at += 1
        found: list[Word] = []
        if self.heres:
            raise self.fail("a here-document across a '('")
        while True:
            self.lines()
            ref = self.at in self.spans
            if self.sees(")") and not ref:
                self.at += 1
                return found
            if self.sees("[") and not ref:
                key = Word(self.at)
                self.at += 1
                self.subscript(key, name)
                if not self.sees("="):
                    raise self.fail("'[' in a list")
                self.at += 1
                found.append(key)
                found.append(self.word())
                continue
            word = self.word()
            if word.end == word.start:
                raise self.fail("a '(' that is not closed")
            found.append(word)

    def redirect(self) -> Redirect | None:
        """A redirection, where one begins here."""
        found = _REDIRECT.match(self.text, self.at) if self.at not in self.spans else None
        if found is None:
            return None
        sign = found[1] or found[2]
        if sign in ("<<<", "&>", "&>>"):
            self.bashisms.add(sign)
        self.at = found.end()
        while self.sign and self.sign in " \t":
            self.at += 1
        if sign in ("<<", "<<-"):
            return Redirect(sign, self._here(sign == "<<-"))
        word = self.word()
        if word.end == word.start:
            raise self.fail(f"'{sign}' without a name")
        return Redirect(sign, word)

    def _here(self, tabs: bool) -> Word:
        found = _HERE_END.match(self.text, self.at)
        if found is None or any(found.start() <= at < found.end() for at in self.spans):
            raise self.fail("the end word of a here-document")
        after = self.text[found.end() : found.end() + 1]
        if after not in ("", " ", "\t", "\n", ";", "&", "|", "<", ">", ")"):
            raise self.fail("the end word of a here-document")
        self.at = found.end()
        written = found[0]
        word = Word(self.at)
        end = _UNQUOTED.sub(lambda one: one[1] or "", written)
        self.heres.append(Here(word, end, end != written, tabs))
        return word

    def test(self) -> Compound:
        """`[[ ... ]]`"""
        self.bashisms.add("[[ ]]")
        self.at += 2
        made = Compound("[[")
        clause: list[Word] = []
        while True:
            self.lines()
            if self.at not in self.spans:
                if not self.sign:
                    raise self.fail("a [[ that is not closed")
                if self.sees("]]") and self.text[self.at + 2 : self.at + 3] in (
                    "",
                    " ",
                    "\t",
                    "\n",
                    ";",
                    "&",
                    "|",
                    ")",
                    "<",
                    ">",
                ):
                    self.at += 2
                    self._clause(made, clause)
                    return made
                if self.sees("&&") or self.sees("||") or self.sign in "()":
                    self.at += 1 if self.sign in "()" else 2
                    self._clause(made, clause)
                    clause = []
                    continue
                if self.sign in "<>" and self.text[self.at + 1 : self.at + 2] != "(":
                    self.at += 1
                    continue
            word = self._regex() if clause and clause[-1].literal == "=~" else self.word()
            if word.end == word.start:
                raise self.fail(f"'{self.sign}' in [[ ]]")
            clause.append(word)

    def _regex(self) -> Word:
        word = Word(self.at)
        depth = 0
        while True:
            if self.reference(word, Form.BARE):
                continue
            sign = self.sign
            if not sign or (sign in " \t\n" and not depth) or (sign == ")" and not depth):
                break
            if sign in "()":
                depth += 1 if sign == "(" else -1
                self.at += 1
            elif sign in "|<>":
                self.at += 1
            elif sign in ";&\n#":
                raise self.fail("a regular expression that is not read")
            else:
                self.piece(word, sign)
        word.dynamic()
        word.end = self.at
        return word

    def _clause(self, made: Compound, words: list[Word]) -> None:
        """One comparison: where it is one of numbers, bash works its two sides out as arithmetic."""
        made.words += words
        said = {word.literal for word in words}
        if said & _NUMBERS:
            need, why = Need.NUMBER, "in a comparison of numbers in [[ ]]"
        elif said & _NAMES:
            need, why = Need.PLAIN, "as the name of a variable"
        else:
            return
        for word in words:
            self.absorb(Word(word.start), word, why, need)
            self.sinks.append(({*word.names, *IDENTIFIER.findall(word.raw)}, need, why))
