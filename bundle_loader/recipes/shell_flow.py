"""Where the values in a shell command go on to: by variables, pipes and functions to whatever reads them as code."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from bundle_loader.recipes.shell_builtins import Use
from bundle_loader.recipes.shell_grammar import Grammar
from bundle_loader.recipes.shell_programs import counts, use
from bundle_loader.recipes.shell_simple import IDENTIFIER
from bundle_loader.recipes.shell_tables import COUNTED, GUARDED, MAKES
from bundle_loader.recipes.shell_tree import (
    Assignment,
    Compound,
    Function,
    Need,
    Part,
    Pipeline,
    Redirect,
    Script,
    Simple,
    Word,
    parts,
    walk,
)
from bundle_loader.recipes.shell_words import Unclear

_MAX_VISITS: Final = 50_000
_MAX_ROUNDS: Final = 200

_LISTED: Final = re.compile(r'"\$\{([A-Za-z_]\w*)\[@\]\}"', re.ASCII)
_PROMPTS: Final = re.compile(r"PS[0-4]|PROMPT_COMMAND")
_A_LIST: Final = r"\b%s(?:\+?=\(|\[)|[ \t]-\w*[aA]\w*[^\n;]*\b%s\b|(?:mapfile|readarray)\b[^\n;]*\b%s\b"
"""Where a name is that of a list."""
Asked = tuple[int, Need, str]


def needs(grammar: Grammar, root: Script, given: dict[str, set[int]]) -> list[Asked]:
    """What each reference must be, by what becomes of its value. `given`: variables of the environment -> references in them.

    Raises Unclear.
    """
    flow = _Flow(grammar, root, given)
    flow.visit(root, ())
    return flow.found()


class _Flow:
    def __init__(self, grammar: Grammar, root: Script, given: dict[str, set[int]]) -> None:
        self.grammar = grammar
        self.root = root
        self.functions: dict[str, list[Function]] = {}
        for node in walk(root):
            if isinstance(node, Function):
                self.functions.setdefault(node.name, []).append(node)
        self.held = {name: set(refs) for name, refs in given.items()}
        """Variable -> the references whose values may be in it."""
        self.edges: list[tuple[str, tuple[Part, ...]]] = []
        self.sinks: list[tuple[tuple[Part, ...], Need, str]] = []
        self.own: list[Asked] = []
        self.lists: dict[str, list[Assignment]] = {}
        self.listed: list[tuple[str, Simple, tuple[Part, ...]]] = []
        self.spread: list[tuple[Simple, tuple[Part, ...]]] = []
        self.any_name: list[Word] = []
        self.typed: set[str] = set()
        self.dynamic: list[tuple[Simple, tuple[Part, ...]]] = []
        self.calls: set[tuple[str, tuple[int, ...]]] = set()
        self.visits = 0
        self.exported = list(given)
        self.made = False
        """Whether make is run."""
        self.last = re.search(r"(?<!\w)_(?!\w)", grammar.text) is not None
        """Whether `$_` is read: the last word of the command before."""
        self.everywhere: list[Part] = []
        """What `exec < ...` gives to all commands to read."""
        for node in walk(root):
            if isinstance(node, Simple) and node.words and node.words[0].literal == "exec":
                self.everywhere += node.redirects

    def visit(self, node: Part, reads: tuple[Part, ...]) -> None:
        """Notes what flows where. `reads` is what a command here finds in its standard input."""
        self.visits += 1
        if self.visits > _MAX_VISITS:
            raise Unclear(0, "more than can be followed")
        match node:
            case Pipeline():
                for index, command in enumerate(node.commands):
                    self.visit(command, (*reads, *node.commands[:index]))
            case Simple():
                self._simple(node, reads)
            case Compound():
                inside = (*reads, *node.redirects)
                self._written(node, node.redirects, inside)
                if node.variable:
                    self.edges.append((node.variable, tuple(node.words)))
                if node.kind == "select":
                    self.edges.append(("REPLY", inside))
                for part in parts(node):
                    self.visit(part, inside if isinstance(part, Script) else reads)
            case Word():
                for script in node.scripts:
                    self.visit(script, (self.root,) if script.reading else reads)
            case Function():
                self.visit(node.body, ())
            case Script() | Assignment() | Redirect():
                for part in parts(node):
                    self.visit(part, reads)

    def _simple(self, node: Simple, reads: tuple[Part, ...]) -> None:
        inside = (*reads, *node.redirects, *self.everywhere)
        self._written(node, node.redirects, inside)
        for assignment in node.assignments:
            self._assigned(assignment, inside)
        for part in parts(node):
            self.visit(part, inside)
        if not node.words:
            return
        if self.last:
            self.edges.append(("_", tuple(node.words)))
        name = node.words[0].literal
        if name in self.functions:
            self.edges.append(("@", tuple(node.words[1:])))
            call = (name or "", tuple(id(part) for part in inside))
            if call not in self.calls:
                self.calls.add(call)
                for function in self.functions[call[0]]:
                    self.visit(function.body, inside)
            return
        listed = _LISTED.fullmatch(node.words[0].raw)
        if listed is not None:
            self.listed.append((listed[1], node, inside))
        elif any(_LISTED.fullmatch(word.raw) for word in node.words):
            self.spread.append((node, inside))
        else:
            self._used(node, use(node.words), inside)

    def _by_list(self, name: str, node: Simple, inside: tuple[Part, ...]) -> None:
        """`"${name[@]}" words`: the elements of the list, where all of them stand in the script and the first is a constant."""
        lists = self.lists.get(name, [])
        begun = [one.elements for one in lists if not one.more]
        added = [word for one in lists if one.more for word in one.elements or ()]
        if not begun or not all(one.elements is not None for one in lists) or not all(one and one[0].literal for one in begun):
            self._used(node, use(node.words), inside)
            return
        for words in begun:
            whole = [*(words or ()), *added, *node.words[1:]]
            self._used(Simple(words=whole, redirects=node.redirects), use(whole), inside)

    def _spread(self, node: Simple, inside: tuple[Part, ...]) -> None:
        """`command "${name[@]}"`: the elements of a list stand there, where all that is ever in it stands in the script."""
        words: list[Word] = []
        for word in node.words:
            listed = _LISTED.fullmatch(word.raw)
            name = listed[1] if listed is not None else ""
            lists = self.lists.get(name, [])
            read = re.search(rf"\b(?:read|mapfile|readarray)\b[^\n;]*\b{name}\b", self.grammar.text)
            if lists and read is None and all(one.elements is not None for one in lists):
                words += [element for one in lists for element in one.elements or ()]
            else:
                words.append(word)
        self._used(Simple(words=words, assignments=node.assignments, redirects=node.redirects), use(words), inside)

    def _used(self, node: Simple, used: Use, inside: tuple[Part, ...]) -> None:
        self.own += used.own
        self.sinks += [((word, *(inside if word.scripts else ())), need, why) for word, need, why in used.needs]
        self.sinks += [(inside, need, why) for need, why in used.given]
        self.exported += used.exported
        for name, word in used.declared:
            if re.search(_A_LIST % (name, name, name), self.grammar.text):
                self.sinks.append(((word,), Need.NO_LIST, f"in '{name}', which is a list"))
        if (node.words[0].literal or "").rsplit("/", 1)[-1] in MAKES:
            self.made = True
            words = [word for one in node.assignments for word in one.words]
            self.sinks.append((tuple(words), Need.PLAIN, "in the environment of make, for which it is code"))
        self.edges += [(target, tuple(words)) for target, words in used.sets]
        self.edges += [(target, inside) for target in used.reads]
        self.grammar.sinks += [({name}, need, why) for name, need, why in used.typed]
        self.typed |= {name for name, need, _ in used.typed if need is Need.NUMBER}
        self.sinks += [((_file(word), word), Need.PLAIN, "in a file that is read as code") for word in used.code_file]
        self.grammar.sinks += [
            ({*IDENTIFIER.findall(word.raw)}, Need.PLAIN, "in what bash reads once more") for word in used.mentions
        ]
        self.any_name += used.any_name
        if node.words[0].literal is None:
            # a command that a variable names: where a value may be in it, everything that it is given must be plain
            self.dynamic.append((node, inside))
        elif "/" in node.words[0].literal:
            self.sinks.append(((_file(node.words[0]),), Need.PLAIN, "in a file that is run"))
        if node.words[0].literal == "tee":
            for word in node.words[1:]:
                self.edges.append((_name_of(word), inside))
        if used.stdin:
            self.sinks.append((inside, Need.PLAIN, used.stdin))
        for redirect in node.redirects if used.shell_stdin else []:
            if redirect.sign.startswith("<<") and redirect.word.literal is not None:
                self.visit(self.grammar.inner(redirect.word.literal, node.words[0].start), ())
            names = {*IDENTIFIER.findall(redirect.word.raw)}
            self.grammar.sinks.append((names, Need.PLAIN, used.stdin))
        for code, words in used.shell:
            self.edges.append(("@", tuple(words)))
            self.visit(self.grammar.inner(code, node.words[0].start), inside)

    def _named(self, node: Simple, inside: tuple[Part, ...]) -> None:
        """A command that a variable names is whatever the script puts into that variable."""
        for name, nodes in list(self.edges):
            if name in node.words[0].names:
                found = [part.literal for one in nodes for part in walk(one) if isinstance(part, Word) and part.literal]
                first = [Word(node.words[0].start, literal=text) for one in found for text in one.split()]
                if first and len(first) < 50:
                    self._used(Simple(words=[*first, *node.words[1:]]), use([*first, *node.words[1:]]), inside)

    def _written(self, node: Part, redirects: list[Redirect], inside: tuple[Part, ...]) -> None:
        """What a command writes to a file may come back from it."""
        for redirect in redirects:
            if ">" in redirect.sign:
                sources: tuple[Part, ...] = ()
                if isinstance(node, (Simple, Compound)):
                    sources = (*node.words, *getattr(node, "scripts", ()))
                name = node.words[0].literal if isinstance(node, Simple) and node.words else None
                if name in self.functions or name == "exec":
                    sources = (self.root,) if name == "exec" else (node,)
                self.edges.append((_name_of(redirect.word), (*sources, *inside)))

    def _assigned(self, assignment: Assignment, inside: tuple[Part, ...]) -> None:
        words = tuple(assignment.words)
        if _PROMPTS.fullmatch(assignment.name) and any("$(" in word.raw or "`" in word.raw for word in words):
            raise Unclear(words[0].start, f"a command in {assignment.name}")
        self.lists.setdefault(assignment.name, []).append(assignment)
        self.edges.append((assignment.name, (*words, *(inside if any(word.scripts for word in words) else ()))))

    def found(self) -> list[Asked]:
        """Everything that is asked of the references, after all flows are followed to their ends."""
        for name, node, inside in self.listed:
            self._by_list(name, node, inside)
        for node, inside in self.spread:
            self._spread(node, inside)
        for node, inside in list(self.dynamic):
            self._named(node, inside)
        self.edges += [(name, (word,)) for name, word in self.grammar.assigned]
        for _ in range(_MAX_ROUNDS):
            before = sum(map(len, self.held.values()))
            for name, nodes in self.edges:
                reached = self._reaching(nodes)
                if reached:
                    self.held.setdefault(name, set()).update(reached)
            if sum(map(len, self.held.values())) == before:
                break
        else:
            raise Unclear(0, "more than can be followed")
        asked = [*self.grammar.needs, *self.own]
        for name, numbers in self.held.items():
            if GUARDED.fullmatch(name):
                why = f"in {name}, by which programs are found or run"
                asked += [(number, Need.PLAIN, why) for number in numbers]
            if name in COUNTED:
                asked += [(number, Need.NUMBER, f"in {name}, which is a number") for number in numbers]
        sinks = [*self.sinks]
        for names, need, why in self.grammar.sinks:
            all_names = self._named_in(names) if need is Need.NUMBER else names
            sinks.append(((Word(0, literal=None, names=all_names),), need, why))
        if self.made:
            why = "in the environment of make, for which it is code"
            sinks.append(((Word(0, literal=None, names=set(self.exported)),), Need.PLAIN, why))
        if self._reaching(self.any_name):
            sinks.append(((Word(0, literal=None, names={"*"}),), Need.PLAIN, "where a value names the variable that is read"))
        mentioned = {name for target, nodes in self.edges if target in self.typed for name in _mentioned(nodes)}
        sinks.append(((Word(0, literal=None, names=mentioned),), Need.NUMBER, "in a variable that is declared as a number"))
        for node, _ in self.dynamic:
            if self._reaching(node.words[:1]):
                sinks.append((tuple(node.words[1:]), Need.PLAIN, "given to a command that a value names"))
        for nodes, need, why in sinks:
            asked += [(number, need, why) for number in sorted(self._reaching(nodes))]
        return asked

    def _named_in(self, names: set[str]) -> set[str]:
        """These variables, and those whose names the script puts into them: arithmetic goes on to what a name names."""
        found, waiting = set(names), list(names)
        while waiting:
            name = waiting.pop()
            for target, nodes in self.edges:
                if target == name:
                    words = [one.literal for one in nodes if isinstance(one, Word) and one.literal]
                    more = {other for text in words for other in IDENTIFIER.findall(text)} - found
                    found |= more
                    waiting += more
        return found

    def _reaching(self, nodes: Iterable[Part]) -> set[int]:
        """The references whose values may be part of what these hold or write."""
        reached: set[int] = set()
        seen: set[str] = set()
        waiting = list(nodes)
        while waiting:
            for node in self._flowing(waiting.pop()):
                if isinstance(node, Word):
                    reached.update(node.refs)
                    for name in (*node.names, _name_of(node)) if node.raw else node.names:
                        reached |= self.held.get(name, set())
                    if "*" in node.names:
                        reached.update(*self.held.values())
                elif isinstance(node, Simple) and node.words and node.words[0].literal in self.functions:
                    name = node.words[0].literal or ""
                    if name not in seen:
                        seen.add(name)
                        waiting += [function.body for function in self.functions[name]]
        return reached

    def _flowing(self, node: Part) -> Iterator[Part]:
        """As `walk`, without pipelines of which only a number comes out."""
        waiting = [node]
        while waiting:
            one = waiting.pop()
            yield one
            for part in parts(one):
                last = part.commands[-1] if isinstance(part, Pipeline) and isinstance(one, Script) else None
                words = [word.literal for word in last.words] if isinstance(last, Simple) else []
                if isinstance(last, Simple) and any(">" in redirect.sign for redirect in last.redirects):
                    words = []
                if not words or words[0] in self.functions or not counts(words):
                    waiting.append(part)


def _name_of(word: Word) -> str:
    """Under which name what is in the file of that path is kept among the variables."""
    # whatever folder it lies in: the same one may be written in many ways
    last = word.raw.strip("\"'").rpartition("/")[2]
    if word.literal is not None or ("/" in word.raw and last and "$" not in last and "{" not in last):
        return f"file {last if word.literal is None else word.literal.rpartition('/')[2]}"
    return f"file {' '.join(sorted(word.names)) or word.raw}"


def _file(word: Word) -> Word:
    """Whatever was written into the file of that name."""
    return Word(word.start, literal=None, names={_name_of(word)}, raw=word.raw)


def _mentioned(nodes: Iterable[Part]) -> set[str]:
    return {name for node in nodes for part in walk(node) if isinstance(part, Word) for name in IDENTIFIER.findall(part.raw)}
