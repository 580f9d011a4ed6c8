"""What the shell's own commands do with their words: names, formats, declarations, tests."""

from __future__ import annotations

from dataclasses import dataclass, field

from bundle_loader.recipes.shell_simple import DECLARES, IDENTIFIER
from bundle_loader.recipes.shell_tables import ASSIGNS, BINARY, UNARY
from bundle_loader.recipes.shell_tree import Need, Word


@dataclass(slots=True)
class Use:
    """What a command does with its words."""

    needs: list[tuple[Word, Need, str]] = field(default_factory=list)
    """Words with all that flows into them."""
    own: list[tuple[int, Need, str]] = field(default_factory=list)
    """Single references."""
    stdin: str = ""
    """Why what it reads must be plain; empty where it may be anything."""
    shell: list[tuple[str, list[Word]]] = field(default_factory=list)
    """Texts that a shell runs, and the words that it is given with them."""
    sets: list[tuple[str, list[Word]]] = field(default_factory=list)
    """Variables, and the words that flow into them."""
    typed: list[tuple[str, Need, str]] = field(default_factory=list)
    """Variables whose values are read once more when they are set."""
    reads: list[str] = field(default_factory=list)
    """Variables that take what is read."""
    mentions: list[Word] = field(default_factory=list)
    """Texts that bash reads once more: every variable that they name counts, in quotes too."""
    any_name: list[Word] = field(default_factory=list)
    """Words that name variables, so that a value in them may reach any."""
    code_file: list[Word] = field(default_factory=list)
    """Files that are read as code."""
    given: list[tuple[Need, str]] = field(default_factory=list)
    """What it reads must be so."""
    declared: list[tuple[str, Word]] = field(default_factory=list)
    """Variables that are declared, with what is put into them."""
    exported: list[str] = field(default_factory=list)
    shell_stdin: bool = False
    """True where a shell reads its commands from what it is given."""

    def plain(self, words: list[Word], why: str) -> None:
        """Only plain values in these words, none that begins as an option does."""
        for word in words:
            self.needs.append((word, Need.PLAIN, why))
            if word.first is not None:
                self.own.append((word.first, Need.NO_DASH, why))


def names(name: str, rest: list[Word], made: Use) -> None:
    texts = [word.literal for word in rest]
    if name == "printf":
        _printf(rest, made)
    elif name in DECLARES:
        _declared(name, rest, made)
    elif name == "set" and "--" in texts:
        made.plain(rest[: texts.index("--")], "in what 'set' reads")
        made.sets.append(("@", rest))
    elif name == "let":
        made.needs += [(word, Need.NUMBER, "in arithmetic") for word in rest]
        names = {found for word in rest for found in IDENTIFIER.findall(word.raw)}
        made.typed += [(found, Need.NUMBER, "in arithmetic") for found in names]
    else:
        made.plain(rest, f"in what '{name}' takes for a name or an option")
        made.any_name += rest
        made.mentions += rest if name == "unset" else []
        _indexes(rest, made)
    if name == "read":
        found = [text for text in texts if text and text.isidentifier()]
        made.reads += found or ["REPLY"]
    if name == "getopts":
        made.sets.append(("OPTARG", [Word(0, literal=None, names={"@"})]))


def _indexes(rest: list[Word], made: Use) -> None:
    """Names such as `a[n]`, in quotes too: the index is worked out."""
    found = [name for word in rest if word.literal and "[" in word.literal for name in IDENTIFIER.findall(word.literal)]
    made.typed += [(name, Need.NUMBER, "as an index") for name in found]


def _printf(rest: list[Word], made: Use) -> None:
    if rest[0].literal == "-v" and len(rest) > 1:
        made.plain(rest[1:2], "as the name of a variable")
        made.any_name += rest[1:2]
        _indexes(rest[1:2], made)
        made.sets.append((rest[1].literal or "*", rest[2:]))
        rest = rest[2:]
    elif rest[0].literal == "--":
        rest = rest[1:]
    for word in rest[:1]:
        made.own += [(number, Need.NO_ESCAPES, "in the format of printf") for number in word.refs]
        if word.first is not None:
            made.own.append((word.first, Need.NO_DASH, "in the format of printf"))


def _declared(name: str, rest: list[Word], made: Use) -> None:
    flags = "".join(word.literal or "" for word in rest if word.lead.startswith("-"))
    for word in rest:
        found = ASSIGNS.match(word.lead)
        target = found[1] if found is not None else word.literal if word.literal and word.literal.isidentifier() else None
        if "i" in flags and target:
            made.typed.append((target, Need.NUMBER, "in a variable that is declared as a number"))
        if target and (name == "export" or "x" in flags):
            made.exported.append(target)
        if "n" in flags and target and name != "export":
            _indexes([word], made)
            made.typed.append((target, Need.PLAIN, "in a variable that names another"))
        if found is None or (set(flags) & set("aAn") and name != "export"):
            made.plain([word], f"in what '{name}' takes for a name or a list")
            made.any_name.append(word)
        if found is not None:
            made.sets.append((found[1], [word]))
            made.declared.append((found[1], word))


def tested(rest: list[Word], made: Use) -> None:
    """`[ ]`: a value is never an operator of it, and no name whose index would be worked out."""
    texts = [word.literal for word in rest]
    if "-v" in texts or "-R" in texts:
        made.plain(rest, "as the name of a variable")
        made.any_name += rest
        made.mentions += rest
    while texts and texts[0] == "!" and len(texts) > 1:
        texts, rest = texts[1:], rest[1:]
    clear = len(rest) < 2
    clear = clear or (len(rest) == 2 and bool(UNARY.fullmatch(texts[0] or "")))
    clear = clear or (len(rest) == 3 and texts[1] in BINARY)
    if not clear:
        for word in rest:
            made.needs.append((word, Need.NO_OPERATOR, "in a test of several parts"))
