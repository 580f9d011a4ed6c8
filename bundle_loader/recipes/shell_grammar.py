"""Lists, pipelines, loops and functions of a shell command, read as bash reads them. What is unclear is refused."""

from __future__ import annotations

import re
from typing import Final

from bundle_loader.recipes.shell_simple import Simples
from bundle_loader.recipes.shell_tree import (
    Command,
    Compound,
    Function,
    Pipeline,
    Script,
    Word,
)
from bundle_loader.recipes.shell_words import Unclear

_RESERVED: Final = re.compile(
    r"(if|then|elif|else|fi|while|until|for|select|do|done|case|esac|in|function|coproc|time|\{|\}|!|\[\[)(?=[\s;&|<>()]|\\\n|$)"
)
_ENDS: Final = frozenset({"then", "elif", "else", "fi", "do", "done", "esac", "}"})
_FUNCTION: Final = re.compile(r"([A-Za-z_][\w.:-]*)[ \t]*\([ \t]*\)", re.ASCII)
_IDENTIFIER: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_ASSOCIATIVE: Final = re.compile(
    r"(?:^|[;&|({]|\b(?:do|then|else))[ \t]*(?:declare|local|typeset|readonly)[ \t]+-[a-zA-Z]*A[a-zA-Z]*"
    r"((?:[ \t]+[A-Za-z_]\w*)+)",
    re.ASCII | re.MULTILINE,
)
_PLAINLY: Final = re.compile(r"\b(?:declare|local|typeset|readonly|unset)[ \t]+((?!-[a-zA-Z]*A)[^;\n]*)", re.ASCII)
_OPTIONS: Final = re.compile(
    r"expand_aliases|extglob|\bset[ \t][^\n;]*posix|POSIXLY_CORRECT|command_not_found_handle|BASH_COMPAT|compat[0-9]"
)


class Grammar(Simples):
    """Reads a whole command. Raises Unclear for what it does not know for certain."""

    def __init__(self, text: str, spans: dict[int, tuple[int, int]]) -> None:
        super().__init__(text, spans)
        for found in _ASSOCIATIVE.finditer(text):
            self.associative |= set(found[1].split())
        for found in _PLAINLY.finditer(text):
            # the same name may be a list with numbers elsewhere
            self.associative -= set(_IDENTIFIER.findall(found[1]))

    def whole(self) -> Script:
        """All of it."""
        odd = _OPTIONS.search(self.text)
        if odd is not None:
            raise Unclear(odd.start(), f"'{odd[0]}', which changes how the rest is read")
        if "\r" in self.text or "\0" in self.text:
            raise Unclear(0, "a carriage return or a zero byte")
        found = self.script(())
        if self.at < len(self.text):
            raise self.fail(f"'{self.text[self.at : self.at + 10].split()[0]}'")
        if self.heres:
            raise self.fail("a here-document that does not end")
        return found

    def inner(self, code: str, offset: int) -> Script:
        """Shell code that another command holds as a text without references."""
        reader = Grammar(code, {})
        reader.depth = self.depth + 1
        reader.associative |= self.associative
        if reader.depth > 20:
            raise Unclear(offset, "nesting deeper than 20")
        try:
            found = reader.whole()
        except Unclear as unclear:
            raise Unclear(offset, unclear.what) from None
        self.sinks += reader.sinks
        self.assigned += reader.assigned
        self.bashisms |= reader.bashisms
        return found

    def script(self, ends: tuple[str, ...]) -> Script:
        """The commands up to one of these ends, which is not read."""
        found = Script()
        while True:
            self.lines()
            if self.at >= len(self.text) or self._ending(ends):
                return found
            if self.sign in ";&|)":
                raise self.fail(f"'{self.sign}'")
            found.pipelines.append(self._pipeline())
            self.blank()
            if self._ending(ends):
                return found
            if self.sees("&&") or self.sees("||"):
                self.at += 2
                self.lines()
                if self.at >= len(self.text) or self._ending(ends):
                    raise self.fail("'&&' or '||' without a command")
            elif self.sign in (";", "&"):
                self.at += 1
            elif self.sign and self.sign != "\n":
                raise self.fail(f"'{self.sign}'")

    def _ending(self, ends: tuple[str, ...]) -> bool:
        if self.at in self.spans:
            return False
        if self.sign == ")":
            return ")" in ends
        if self.sees(";;") or self.sees(";&"):
            return ";;" in ends
        found = _RESERVED.match(self.text, self.at)
        if found is None or found[1] not in _ENDS:
            return False
        if found[1] not in ends:
            raise self.fail(f"'{found[1]}'")
        return True

    def _pipeline(self) -> Pipeline:
        found = Pipeline()
        while True:
            prefix = _RESERVED.match(self.text, self.at)
            if self.at in self.spans or prefix is None or prefix[1] not in ("!", "time"):
                break
            self.at = prefix.end()
            self.blank()
            if prefix[1] == "time" and self.sees("-p "):
                self.at += 3
                self.blank()
        while True:
            found.commands.append(self._command())
            self.blank()
            if self.sees("||") or not self.sees("|"):
                return found
            self.at += 2 if self.sees("|&") else 1
            self.lines()

    def _command(self) -> Command:
        if self.at in self.spans:
            return self.simple()
        if self.sees("(("):
            self.bashisms.add("(( ))")
            head = Word(self.at)
            self.at += 2
            self.arithmetic(head, "))")
            return self._redirected(Compound("((", words=[head]))
        if self.sees("("):
            self.at += 1
            return self._redirected(Compound("(", [self._nested()]))
        found = _RESERVED.match(self.text, self.at)
        if found is not None:
            return self._reserved(found[1])
        named = _FUNCTION.match(self.text, self.at)
        if named is not None:
            return self._function(named[1], named.end())
        return self.simple()

    def _reserved(self, name: str) -> Command:
        if name == "function":
            self.bashisms.add("function")
            self.at += len(name)
            self.blank()
            found = re.compile(r"([A-Za-z_][\w.:-]*)(?:[ \t]*\([ \t]*\))?", re.ASCII).match(self.text, self.at)
            if found is None or found.end() in self.spans:
                raise self.fail("the name of a function")
            return self._function(found[1], found.end())
        if name == "[[":
            return self._redirected(self.test())
        if name not in ("{", "if", "while", "until", "for", "select", "case"):
            raise self.fail(f"'{name}'")
        self.depth += 1
        if self.depth > 60:
            raise self.fail("nesting deeper than 60")
        start = self.at
        self.at += len(name)
        made = {"if": self._if, "for": self._for, "select": self._for, "case": self._case, "{": self._group}.get(
            name, self._while
        )()
        made.kind = name
        self.depth -= 1
        if self.at <= start:
            raise self.fail(f"'{name}'")
        return self._redirected(made)

    def _function(self, name: str, end: int) -> Function:
        self.at = end
        self.lines()
        body = self._command()
        if not isinstance(body, Compound):
            raise self.fail("the body of a function")
        return Function(name, body)

    def _redirected(self, command: Compound) -> Compound:
        while True:
            self.blank()
            found = self.redirect()
            if found is None:
                return command
            command.redirects.append(found)

    def _keyword(self, *names: str) -> str:
        found = _RESERVED.match(self.text, self.at)
        if self.at in self.spans or found is None or found[1] not in names:
            raise self.fail(f"a command without '{names[0]}'")
        self.at = found.end()
        return found[1]

    def _group(self) -> Compound:
        made = Compound("{", [self.script(("}",))])
        self._keyword("}")
        return made

    def _if(self) -> Compound:
        made = Compound("if")
        while True:
            made.scripts.append(self.script(("then",)))
            self._keyword("then")
            made.scripts.append(self.script(("elif", "else", "fi")))
            name = self._keyword("elif", "else", "fi")
            if name == "else":
                made.scripts.append(self.script(("fi",)))
                name = self._keyword("fi")
            if name == "fi":
                return made

    def _while(self) -> Compound:
        made = Compound("while", [self.script(("do",))])
        self._keyword("do")
        made.scripts.append(self.script(("done",)))
        self._keyword("done")
        return made

    def _for(self) -> Compound:
        made = Compound("for")
        self.blank()
        if self.sees("(("):
            self.bashisms.add("for (( ))")
            head = Word(self.at)
            self.at += 2
            self.arithmetic(head, "))", parts=True)
            made.words.append(head)
        else:
            name = _IDENTIFIER.match(self.text, self.at)
            if name is None or self.at in self.spans or name.end() in self.spans:
                raise self.fail("the variable of a loop")
            made.variable = name[0]
            self.at = name.end()
            if self.sign not in (" ", "\t", "\n", ";"):
                raise self.fail("the variable of a loop")
            self.lines()
            if self.sees(";"):
                made.words.append(Word(self.at, literal=None, names={"@"}))
            elif self._keyword("in", "do") == "do":
                made.words.append(Word(self.at, literal=None, names={"@"}))
                return self._loop_body(made)
            else:
                made.words += self._list(";\n")
        self.blank()
        if self.sees(";") and not self.sees(";;"):
            self.at += 1
        self.lines()
        self._keyword("do")
        return self._loop_body(made)

    def _loop_body(self, made: Compound) -> Compound:
        made.scripts.append(self.script(("done",)))
        self._keyword("done")
        return made

    def _list(self, ends: str) -> list[Word]:
        found: list[Word] = []
        while True:
            self.blank()
            if self.at not in self.spans and (self.sign in ends or not self.sign):
                return found
            word = self.word()
            if word.end == word.start:
                raise self.fail(f"'{self.sign}' in a list of words")
            found.append(word)

    def _case(self) -> Compound:
        made = Compound("case")
        self.blank()
        made.words.append(self.word())
        self.lines()
        self._keyword("in")
        while True:
            self.lines()
            found = _RESERVED.match(self.text, self.at)
            if self.at not in self.spans and found is not None and found[1] == "esac":
                self.at = found.end()
                return made
            if self.sign == "(" and self.at not in self.spans:
                self.at += 1
            while True:
                self.blank()
                pattern = self.word()
                if pattern.end == pattern.start:
                    raise self.fail("a pattern of a case")
                made.words.append(pattern)
                self.blank()
                self.at += 1
                if self.text[self.at - 1 : self.at] == ")":
                    break
                if self.text[self.at - 1 : self.at] != "|":
                    raise self.fail("a pattern of a case")
            made.scripts.append(self.script((";;", "esac")))
            for end in (";;&", ";;", ";&"):
                if self.sees(end):
                    self.at += len(end)
                    break
