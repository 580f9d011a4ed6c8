"""Which words of a command are read again by somebody: as code for another interpreter, or as options."""

from __future__ import annotations

import re
from itertools import pairwise

from bundle_loader.recipes.shell_builtins import Use, names, tested
from bundle_loader.recipes.shell_simple import DECLARES
from bundle_loader.recipes.shell_tables import (
    AMOUNT,
    ASSIGNS,
    CHECKSUMS,
    CODE_BEHIND,
    CODE_LETTERS,
    CODE_MODULES,
    CODE_OPTIONS,
    CONTAINERS,
    DATA,
    FILTER_TAKES,
    FILTERS,
    GLUED,
    LANGUAGES,
    NAMES,
    NO_LETTERS,
    NODE_CODE,
    NODE_TAKES,
    OPTIONS_ACT,
    PYTHON_CODE,
    PYTHON_TAKES,
    PYTHONS,
    SCRIPTED,
    SHELL_CODE,
    SHELLS,
    STARTS,
    VALUE_OPTIONS,
    WRAPPERS,
)
from bundle_loader.recipes.shell_tree import Need, Word


def use(words: list[Word]) -> Use:
    """What the command of these words does with them."""
    made = Use()
    _read(words, made, 0)
    return made


def _read(words: list[Word], made: Use, depth: int) -> None:
    first = words[0]
    rest = words[1:]
    if first.literal is None:
        made.plain([first], "as the name of a command")
        made.stdin = "read by a command that is only known when it runs"
        if first.refs or first.scripts:
            made.plain(rest, "given to a command that is only known when it runs")
        else:
            _general(rest, made, depth)
            _vanishing(first, rest, made, depth)
        return
    name = first.literal.rsplit("/", 1)[-1]
    why = f"in what '{name}' reads as code"
    if (runs_code(name) or name in SHELL_CODE or "{" in name) and any(_braces(word) for word in words):
        made.plain(rest, "beside braces that make several words")
        made.stdin = why
    if name in SHELL_CODE:
        _shell_code(name, rest, made, why)
    elif name in SHELLS:
        _shell(rest, made, why)
    elif PYTHONS.fullmatch(name):
        _interpreter(rest, made, why, PYTHON_CODE, PYTHON_TAKES)
    elif name in SCRIPTED:
        _interpreter(rest, made, why, NODE_CODE, NODE_TAKES, words=True)
    elif name in FILTERS:
        _filter(name, rest, made, why)
    elif name in LANGUAGES:
        made.plain(rest, why)
        made.stdin = why
    elif name in NAMES or name in DECLARES or (name == "printf" and rest):
        names(name, rest, made)
    elif name in ("test", "["):
        tested(rest if name == "test" else rest[:-1], made)
    elif name in WRAPPERS:
        _wrapped(name, rest, made, depth)
    elif name not in DATA:
        _general(rest, made, depth, container=name in CONTAINERS, behind=_behind(name, rest))
    if name in OPTIONS_ACT:
        _options(name, rest, made)


def _behind(name: str, rest: list[Word]) -> frozenset[str]:
    """The short options of a program behind which a command stands."""
    found = [CODE_BEHIND.get(f"{name} {word.literal}", frozenset()) for word in rest if word.literal]
    return CODE_BEHIND.get(name, frozenset()).union(*found)


def _braces(word: Word) -> bool:
    text = word.literal
    return text is not None and "{" in text and "}" in text and ("," in text or ".." in text) and word.raw == text


def _vanishing(first: Word, rest: list[Word], made: Use, depth: int) -> None:
    """A variable that may be empty: then the word behind it is the command."""
    if first.raw.startswith('"') and "@" not in first.raw:
        return
    for index, word in enumerate(rest):
        if word.literal:
            if depth < 10:
                _read(rest[index:], made, depth + 1)
            return
        made.plain([word], "where the name of a command may be")


def _shell_code(name: str, rest: list[Word], made: Use, why: str) -> None:
    texts = [word.literal for word in rest]
    if name == "eval" and None not in texts:
        made.shell.append((" ".join(text or "" for text in texts), []))
    elif name == "trap" and texts and texts[0] is not None:
        made.shell.append((texts[0] if texts[0] not in ("-", "--", "-p", "-l") else "", []))
        made.plain(rest[1:], why)
    else:
        made.plain(rest, why)
    if name in ("eval", "trap", "compgen", "complete", "bind", "alias"):
        made.mentions += rest
    if name in ("source", "."):
        made.code_file += rest[:1]
        made.sets.append(("@", rest[1:]))
        made.stdin = why
    if name in ("mapfile", "readarray"):
        if "-C" in texts:
            made.reads.append("@")
        made.reads.append(next((text for text in reversed(texts) if text and text.isidentifier()), "MAPFILE"))


def _shell(rest: list[Word], made: Use, why: str) -> None:
    """Options, then with `-c` code and its arguments, else a file of code and its arguments, else code is read."""
    coded = False
    skip = 0
    for index, word in enumerate(rest):
        text = word.literal
        if skip:
            skip -= 1
            made.plain([word], why)
        elif text is None:
            made.plain(rest[index:], why)
            made.mentions.append(word)
            made.stdin = "" if coded else why
            return
        elif text == "-s" or (text == "-" and not coded):
            made.plain(rest[index:], why)
            break
        elif text in ("--rcfile", "--init-file"):
            skip = 1
        elif text.startswith(("-", "+")) and len(text) > 1:
            short = not text.startswith("--")
            coded = coded or (short and "c" in text)
            skip = 1 if short and ("o" in text or "O" in text) else 0
        elif coded:
            made.shell.append((text, rest[index + 1 :]))
            made.sets += [("@", rest[index + 1 :]), ("0", rest[index + 1 : index + 2])]
            return
        else:
            made.code_file.append(word)
            if text.startswith(("/dev/", "/proc/")):
                made.stdin = why
            return
    made.stdin = why
    made.shell_stdin = True


def _interpreter(
    rest: list[Word], made: Use, why: str, code: re.Pattern[str], taking: frozenset[str], *, words: bool = False
) -> None:
    """Options, of which some take a word; then code or a file of code; then arguments, which may be anything.

    `words`: a long option that is not known may take a word too, and `eval` is a command that takes code.
    """
    skip = 0
    filed = False
    for index, word in enumerate(rest):
        text = word.literal
        if filed:
            if code.fullmatch(text or ""):
                made.plain(rest[index + 1 : index + 2], why)
        elif skip:
            skip -= 1
            made.plain([word], why)
        elif text is None:
            made.plain([word], why)
            if not word.lead.startswith("-"):
                made.plain(rest[index + 1 :], why)
                made.stdin = why
                return
        elif text == "-":
            break
        elif code.fullmatch(text):
            module = next((word.literal for word in rest[index + 1 : index + 2]), None) if text.endswith("m") else ""
            made.plain(rest[index + 1 :] if module in CODE_MODULES else rest[index + 1 : index + 2], why)
            return
        elif text in taking:
            skip = 1
        elif not text.startswith("-"):
            made.code_file.append(word)
            if text.startswith(("/dev/", "/proc/")):
                made.stdin = why
            if words and text in ("eval", "repl"):
                made.plain(rest[index + 1 :], why)
            before = rest[index - 1].literal or "" if index else ""
            if not words or not before.startswith("--") or "=" in before:
                return
            filed = True
    made.stdin = "" if filed else why


def _filter(name: str, rest: list[Word], made: Use, why: str) -> None:
    """awk, sed and jq: the first word that is no option is the program, unless an option brought it."""
    program = False
    skip = 0
    for index, word in enumerate(rest):
        text = word.literal or ""
        lead = word.lead
        if skip:
            skip -= 1
        elif "jq" in name or name == "jaq":
            if text in ("--arg", "--argjson", "--slurpfile", "--rawfile", "--indent", "--argfile", "-L"):
                skip = 2 if text.startswith("--") and text != "--indent" else 1
            elif lead.startswith("-") and word.literal is not None and text not in ("-f", "--from-file"):
                continue
            elif not program or lead.startswith("-"):
                program = True
                made.plain([word, *(rest[index + 1 : index + 2] if lead.startswith("-") else [])], why)
            elif word.first is not None:
                made.own.append((word.first, Need.NO_DASH, f"as an argument of '{name}'"))
        elif lead.startswith(("-e", "-f", "--e", "--f", "-E")) or (lead.startswith("-") and text.endswith(("e", "f"))):
            if word.literal is not None and name.endswith("sed") and text in ("-E", "-nE", "-rE", "-Ee"):
                made.plain(rest[index + 1 :] if text == "-Ee" else [], why)
                continue
            program = True
            skip = 1
            made.plain(rest[index : index + 2], why)
            if any(_STDIN.search(one.literal or "") for one in rest[index : index + 2]):
                made.stdin = why
        elif text in FILTER_TAKES:
            skip = 1
            made.plain(rest[index + 1 : index + 2], why)
        elif text in ("-v", "-F", "--assign", "--field-separator") and name.endswith("awk"):
            skip = 1
            for number in (number for one in rest[index + 1 : index + 2] for number in one.refs):
                made.own.append((number, Need.NO_BACKSLASH, "in what awk reads with its escapes"))
        elif not lead.startswith("-") and not program:
            program = True
            made.plain([word], why)
        elif lead.startswith("-") and word.literal is None:
            made.plain([word], why)


_STDIN = re.compile(r"^-$|=-$|^-\w*f-$|/dev/|/proc/")
"""A file name that means what is given to read."""


def _wrapped(name: str, rest: list[Word], made: Use, depth: int) -> None:
    replaced = (
        [word.literal for before, word in pairwise(rest) if before.literal in ("-I", "-i", "-J")] if name == "xargs" else []
    )
    for index, word in enumerate(rest):
        text = word.literal
        assigns = ASSIGNS.match(word.lead)
        if text is None and assigns is not None:
            made.sets.append((assigns[1], [word]))
            if word.splits():
                made.plain([word], "outside of quotes, where it may be several words")
            continue
        if name == "command" and text in ("-v", "-V"):
            return
        if text is None or (not text.startswith("-") and assigns is None and not AMOUNT.fullmatch(text)):
            if depth >= 10:
                made.plain(rest, "behind too many commands that run commands")
                return
            if name == "xargs" and text is not None and (runs_code(text) or any(one in text for one in ["{}", *replaced] if one)):
                made.stdin = "in what xargs gives to a command that reads it as code"
            acting = [word.literal for word in rest[index:] if (word.literal or "").rsplit("/", 1)[-1] in OPTIONS_ACT]
            if name == "xargs" and acting and rest[-1].literal != "--":
                made.given.append((Need.NO_OPTIONS, f"in what xargs gives to '{acting[0]}'"))
            _read(rest[index:], made, depth + 1)
            option = rest[index - 1].literal or "" if index else ""
            takes = option.startswith("-") and "=" not in option and not GLUED.fullmatch(option)
            if text is not None and takes and rest[index + 1 :]:
                # it may be what the option before takes, and the command comes after
                _wrapped(name, rest[index + 1 :], made, depth + 1)
            return


def counts(words: list[str | None]) -> bool:
    """Whether all that the command of these words writes is numbers (or checksums), whatever it reads."""
    if not words or None in words:
        return False
    name, rest = words[0], [word or "" for word in words[1:]]
    if name == "wc" or name in CHECKSUMS:
        return all(word.startswith("-") for word in rest)
    if name == "grep":
        return any(word.startswith("-") and word[1:2] != "-" and "c" in word for word in rest) and len(rest) == 2
    given = [word for word in rest if not word.startswith("-")]
    return name == "jq" and len(given) == 1 and given[0].split("|")[-1].strip() == "length"


def runs_code(name: str) -> bool:
    """Whether a program of this name reads code, or runs what it is given."""
    name = name.rsplit("/", 1)[-1]
    known = (SHELLS, LANGUAGES, FILTERS, SCRIPTED, WRAPPERS)
    return any(name in names for names in known) or name == "eval" or PYTHONS.fullmatch(name) is not None


def _general(rest: list[Word], made: Use, depth: int, *, container: bool = False, behind: frozenset[str] = frozenset()) -> None:
    """A command that is not known: code may stand behind `-c` and its like, or be given to an interpreter that it starts."""
    for index, word in enumerate(rest):
        text = word.literal
        if text is None:
            option = word.lead.split("=")[0]
            if (_code_option(option) and "=" in word.lead) or option in behind:
                made.plain([word], f"behind '{option}'")
            continue
        after = rest[index + 1 : index + 2]
        if _code_option(text) or text in behind or (CODE_LETTERS.fullmatch(text) and text not in NO_LETTERS):
            made.plain(after, f"behind '{text}'")
        elif text in STARTS:
            words = [word for word in rest[index + 1 :] if not (word.literal or "").startswith("-")]
            if words and (container or words[0].literal is None):
                made.plain(rest[index + 1 :], f"as a command behind '{text}'")
        if runs_code(text) and depth < 10:
            _read(rest[index:], made, depth + 1)
            return


def _code_option(text: str) -> bool:
    """Whether code stands behind an option, which programs may know by its beginning too."""
    return text in CODE_OPTIONS or (len(text) > 4 and text.startswith("--") and any(one.startswith(text) for one in CODE_OPTIONS))


def _options(name: str, rest: list[Word], made: Use) -> None:
    """A value at the beginning of a word of a command whose options act."""
    before = ""
    for word in rest:
        if word.literal == "--":
            return
        leading = word.leading() if before not in VALUE_OPTIONS else None
        if leading is not None:
            # a variable may hold any word or line of a value
            need = Need.NO_OPTIONS if leading.names or leading.scripts else Need.NO_DASH
            made.needs.append((leading, need, f"as an argument of '{name}'"))
        if word.splits():
            made.needs.append((word, Need.NO_OPTIONS, f"outside of quotes as an argument of '{name}'"))
        before = word.literal or ""
