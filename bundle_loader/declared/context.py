"""Mentions `@name:path` in texts, and the texts of the files that they name, each laid once."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from posixpath import normpath
from typing import TYPE_CHECKING
from typing import Final as Constant

from bundle_loader.declared.tree import Mapping, Node, Scalar, Sequence, is_null
from bundle_loader.declared.written import Final

if TYPE_CHECKING:
    from bundle_loader.declared.layer import Layer

_NAME = r"[^\W\d_][\w.-]*"
_MENTION: Constant = re.compile(rf"(?<![\w@./\\:+%-])@({_NAME}):([\w./+~%=#-]+)")
_NAMED: Constant = re.compile(rf"({_NAME}):(.+)", re.DOTALL)
_FENCE: Constant = re.compile(r"[ \t>]*(`{3,}|~{3,})(.*)")
_ITEM: Constant = re.compile(r"[ \t]*([-*+]|\d{1,9}[.)])[ \t]")
_TICKS: Constant = re.compile(r"`+")
_INK: Constant = re.compile(r"[^\n]")


class ContextFile(Final):
    """The text of a file that a prompt takes in."""

    name: str
    """`bundle:path`."""
    text: str


@dataclass(frozen=True, slots=True)
class ContextPart:
    """A piece of a bundle's text and where it came from."""

    bundle: str
    """The bundle whose text it is, or whose header or text led to the file."""
    file: str
    """The file that holds it."""
    name: str
    """`bundle:path` of an included or mentioned file; empty for a bundle's own text."""
    text: str
    named_at: str = ""
    """`file:line:column` of the first place that names it; empty for a bundle's own text."""

    @property
    def value(self) -> ContextFile:
        """What of it is content."""
        return ContextFile(name=self.name, text=self.text)


@dataclass(frozen=True, slots=True)
class Mention:
    """One `@bundle:path` and where it stands in its text; lines and columns count from 1."""

    bundle: str
    path: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"@{self.bundle}:{self.path}"

    @property
    def name(self) -> str:
        """The name of the file that it stands for."""
        return file_name(self.bundle, self.path)


def mentions_in(text: str, *, template: bool = False) -> list[Mention]:
    """The mentions in a text, in order; those in code and, with `template`, in Jinja2's comments are left alone.

    `me@host:path`, `@word`, `@name: text` and `\\@name:path` are no mentions. Takes time linear in the text.
    """
    if _MENTION.search(text) is None:
        return []
    bare = without_code(text)
    if template:
        bare = _without_comments(bare)
    found: list[Mention] = []
    line, line_start, done = 1, 0, 0
    for match in _MENTION.finditer(bare):
        path = match[2].rstrip(".")
        if not path:
            continue
        begin = match.start()
        line += bare.count("\n", done, begin)
        line_start = bare.rfind("\n", done, begin) + 1 or line_start
        done = begin
        found.append(Mention(match[1], path, line, begin - line_start + 1))
    return found


def file_name(bundle: str, path: str) -> str:
    """`bundle:path`, the same for every spelling of the path."""
    return f"{bundle}:{normpath(path)}"


def split_name(target: str) -> tuple[str, str] | None:
    """Bundle and path of `name:path`; None for a path alone."""
    match = _NAMED.fullmatch(target)
    return (match[1], match[2]) if match else None


def included(layers: SequenceOf[Layer]) -> list[list[Scalar]]:
    """What each layer's `context.include` names, as the composition leaves it.

    The lists of all layers add up; a written null (of `context` or `include`) removes what the layers below include.
    """
    found: list[list[Scalar]] = []
    for layer in layers:
        context = layer.header.entries.get("context")
        include = context.entries.get("include") if isinstance(context, Mapping) else None
        if is_null(context) or is_null(include):
            found = [[] for _ in found]
        found.append(_texts(include))
    return found


def _texts(node: Node | None) -> list[Scalar]:
    items = node.items if isinstance(node, Sequence) else [node]
    return [item for item in items if isinstance(item, Scalar) and not item.is_null]


def block(file: ContextFile) -> str:
    """The text of a file under its name."""
    return f'<file name="{file.name}">\n{file.text.strip(chr(10))}\n</file>'


def expand(text: str, files: Iterable[ContextFile]) -> str:
    """`text` with the texts of `files` in it, each once.

    A mention that has a line to itself gives way to the text; the files that are named within a sentence, or by other
    files, follow at the end in their order, and the mention stays as the name to find them by.
    """
    left = {file.name: file for file in files}
    if not left:
        return text
    lines = text.split("\n")
    for mention in mentions_in(text):
        index = mention.line - 1
        if mention.name in left and lines[index].strip() == str(mention):
            lines[index] = block(left.pop(mention.name))
    return "\n\n".join(piece for piece in ("\n".join(lines), *map(block, left.values())) if piece.strip())


def text_of(layer: Layer) -> str:
    """A bundle's part of the text for the front of the host's prompt: what it includes, then its own text."""
    pieces = [block(part.value) for part in layer.included]
    body = expand(layer.body, [part.value for part in layer.mentioned])
    return "\n\n".join([*pieces, body] if body.strip() else pieces)


def parts_of(layer: Layer) -> list[ContextPart]:
    """Where a bundle's part of the text came from, in the order of `text_of` (mentioned files after the text)."""
    own = [ContextPart(layer.name, layer.file, "", layer.body)] if layer.body.strip() else []
    return [*layer.included, *own, *layer.mentioned]


# --- what is not prose


def without_code(text: str) -> str:
    """`text` with its markdown code (fenced, indented, inline) blanked out, every other character in its place."""
    lines = text.split("\n")
    prose: list[int] = []
    fence = ""
    blank, in_list, indented = True, False, False
    for index, line in enumerate(lines):
        mark = _FENCE.match(line)
        if fence:
            closes = mark is not None and mark[1].startswith(fence) and not mark[2].strip()
            lines[index] = " " * len(line)
            fence = "" if closes else fence
            continue
        if mark is not None and not (mark[1][0] == "`" and "`" in mark[2]):
            fence = mark[1]
            lines[index] = " " * len(line)
            continue
        if not line.strip():
            blank = True
            continue
        indented = line.startswith(("    ", "\t")) and not in_list and (blank or indented)
        if indented:
            lines[index] = " " * len(line)
        else:
            prose.append(index)
            in_list = _ITEM.match(line) is not None or (in_list and (not blank or line[0] in " \t"))
        blank = False
    return _without_spans(lines, prose)


def _without_spans(lines: list[str], prose: list[int]) -> str:
    """Inline code blanked: it ends at the next run of as many backticks within the same paragraph."""
    start = 0
    for position, index in enumerate(prose):
        if position + 1 < len(prose) and prose[position + 1] == index + 1:
            continue
        paragraph = prose[start : position + 1]
        start = position + 1
        joined = "\n".join(lines[number] for number in paragraph)
        if "`" in joined:
            for number, line in zip(paragraph, _spans_blanked(joined).split("\n"), strict=True):
                lines[number] = line
    return "\n".join(lines)


def _spans_blanked(paragraph: str) -> str:
    runs = [(match.start(), match.end()) for match in _TICKS.finditer(paragraph)]
    by_length: dict[int, list[int]] = {}
    for begin, end in runs:
        by_length.setdefault(end - begin, []).append(begin)
    pieces: list[str] = []
    done = 0
    for begin, end in runs:
        if begin < done:
            continue
        same = by_length[end - begin]
        after = bisect_left(same, end)
        if after < len(same):
            close = same[after] + end - begin
            pieces += [paragraph[done:begin], _INK.sub(" ", paragraph[begin:close])]
            done = close
    return "".join([*pieces, paragraph[done:]])


def _without_comments(text: str) -> str:
    pieces: list[str] = []
    done = 0
    while (begin := text.find("{#", done)) >= 0 and (end := text.find("#}", begin + 2)) >= 0:
        pieces += [text[done:begin], _INK.sub(" ", text[begin : end + 2])]
        done = end + 2
    return "".join([*pieces, text[done:]])
