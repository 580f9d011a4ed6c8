"""Text to a located tree and a body, through python-frontmatter with a handler that lets nothing pass in silence."""

from __future__ import annotations

import re
from typing import Any, Final

import frontmatter
import yaml
from frontmatter.default_handlers import YAMLHandler
from yaml.cyaml import CParser  # type: ignore[attr-defined]
from yaml.events import CollectionEndEvent, CollectionStartEvent
from yaml.nodes import MappingNode, ScalarNode, SequenceNode

from bundle_loader.declared.tree import NULLS, Mapping, Node, Plain, Scalar, Sequence, plain
from bundle_loader.errors import Fault

MAX_HEADER: Final = 256 * 1024
MAX_DEPTH: Final = 64
MAX_NODES: Final = 50_000
MAX_ALIASES: Final = 100

_MANY_OPENERS: Final = 1000
"""Fewer characters that can open a level than this cannot nest deep enough to harm libyaml, which recurses."""

_FENCE = re.compile(r"^---[ \t]*$", re.MULTILINE)
_CORE_TAGS = frozenset({"", "!", "tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})


_RELEASED: Final[dict[str, Any]] = {}


class Document:
    """One declared file: the values of its header as written, its body, and everything wrong so far.

    `values` is None where the header could not be read. The located tree is built from `source` when somebody asks for
    `header`, which most files never need: ten thousand trees would be kept for nothing.
    """

    __slots__ = ("body", "body_line", "faults", "file", "first_line", "nodes", "source", "values")

    def __init__(self, file: str, source: str, first_line: int, body: str = "", body_line: int = 1) -> None:
        self.file = file
        self.source = source
        """The YAML text of the header."""
        self.first_line = first_line
        """The line of the file on which `source` begins."""
        self.body = body
        self.body_line = body_line
        self.faults: list[Fault] = []
        self.values: dict[str, Any] | None = None
        self.nodes: Any = None
        """libyaml's own nodes, until `release`."""

    def release(self) -> None:
        """Let go of the values, once they have been checked."""
        self.nodes = None
        if self.values is not None:
            self.values = _RELEASED

    @property
    def header(self) -> Mapping:
        """The located tree of the header; empty where it could not be read."""
        tree: Mapping | None = None
        if self.nodes is not None:
            tree = _located(self.nodes, self.file, self.first_line, [])
        elif self.values is not None:
            tree = read_tree(self.source, self.file, self.first_line, [])
        return tree or Mapping({}, {}, self.file, self.first_line, 1)


class _Composer(CParser):  # type: ignore[misc, unused-ignore]
    """libyaml's composer, with tags left to whoever reads the value."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        return ""

    def descend_resolver(self, current_node: Any, current_index: Any) -> None:
        return

    def ascend_resolver(self) -> None:
        return


class _Refused(Exception):
    """A header that is not read any further; carries the fault."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


class LocatedHandler(YAMLHandler):  # type: ignore[misc, unused-ignore]
    """A python-frontmatter handler that keeps positions and collects faults. One instance reads one file."""

    def __init__(self, file: str, first_line: int) -> None:
        self.document = Document(file, "", first_line + 1)

    def split(self, text: str) -> tuple[str, str]:
        """Header and body of `text`, which begins at the opening fence."""
        document = self.document
        first_line = document.first_line - 1
        opened = _FENCE.match(text)
        if opened is None:
            message = "no header: the first line must be '---', followed by the keys and another '---'"
            raise _Refused(Fault(document.file, first_line, 1, "", message))
        closed = _FENCE.search(text, opened.end())
        if closed is None:
            message = "the header is not closed: write a line '---' after the last key"
            raise _Refused(Fault(document.file, first_line, 1, "", message))
        document.source = text[opened.end() + 1 : closed.start()]
        body = text[closed.end() :]
        blank = len(body) - len(body.lstrip())
        document.body_line = first_line + text.count("\n", 0, closed.end() + blank)
        return document.source, body

    def load(self, fm: str, **_: object) -> dict[str, Any]:
        """Read the header; its values are kept on the document, the metadata stay empty."""
        read_values(self.document)
        return {}


def read_document(text: str, file: str) -> Document:
    """A markdown file with a header. Never raises for what an author wrote: see `Document.faults`."""
    text = _lines(text)
    stripped = text.lstrip()
    handler = LocatedHandler(file, 1 + text.count("\n", 0, len(text) - len(stripped)))
    document = handler.document
    try:
        _, document.body = frontmatter.parse(stripped, handler=handler)
    except _Refused as refused:
        document.faults.append(refused.fault)
    return document


def read_yaml_document(text: str, file: str) -> Document:
    """A `.yaml` file: the same keys, no body."""
    document = Document(file, _lines(text), 1)
    try:
        read_values(document)
    except _Refused as refused:
        document.faults.append(refused.fault)
    return document


def _lines(text: str) -> str:
    text = text.removeprefix("\ufeff")
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def read_values(document: Document) -> None:
    """Fill `document.values` from its source; what is wrong goes to its faults. Raises `_Refused` past a limit."""
    root = _composed(document.source, document.file, document.first_line, document.faults)
    if root is None:
        if not document.faults:
            document.values = {}
        return
    # as strict as `_Walk`, so that the tree of what passes here can always be built
    budget = [MAX_NODES - 1]
    try:
        if "&" in document.source:
            raise _Unusual
        document.values = _values(root, 0, budget)
    except _Unusual:
        document.values = plain(_located(root, document.file, document.first_line, document.faults))
    document.nodes = root


def read_tree(source: str, file: str, first_line: int, faults: list[Fault]) -> Mapping | None:
    """The located tree of YAML text; faults are added to `faults`. Raises `_Refused` past a limit."""
    root = _composed(source, file, first_line, faults)
    return None if root is None else _located(root, file, first_line, faults)


def _located(root: Any, file: str, first_line: int, faults: list[Fault]) -> Mapping:
    located = _Walk(file, first_line, faults).node(root, 0, "")
    assert isinstance(located, Mapping)
    return located


def _composed(text: str, file: str, first_line: int, faults: list[Fault]) -> Any:
    """libyaml's own nodes, or None (with a fault, or where there is nothing)."""
    if len(text) > MAX_HEADER:
        raise _Refused(
            Fault(file, first_line, 1, "", f"the header is larger than {MAX_HEADER // 1024} KiB; move text into the body")
        )
    nul = text.find("\0")
    if nul >= 0:
        place = (first_line + text.count("\n", 0, nul), nul - text.rfind("\n", 0, nul))
        raise _Refused(Fault(file, *place, "", "a NUL byte: this is not a text file"))
    try:
        if sum(map(text.count, "[{-?:")) > _MANY_OPENERS:
            _check_depth(text, file, first_line)
        root = _Composer(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + first_line, mark.column + 1) if mark else (first_line, 1)
        said = ", ".join(word for word in (error.context, error.problem) if word)
        hint = _yaml_hint(text, mark.line if mark else 0)
        faults.append(Fault(file, line, column, "", f"not YAML: {said}{hint}"))
        return None
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        faults.append(Fault(file, first_line, 1, "", f"not YAML: {said}"))
        return None
    if root is not None and type(root) is not MappingNode:
        mark = root.start_mark
        faults.append(Fault(file, mark.line + first_line, mark.column + 1, "", "the header must be 'key: value' lines"))
        return None
    return root


def _check_depth(text: str, file: str, first_line: int) -> None:
    """Raise `_Refused` for text nested so deep that composing it would overrun the stack."""
    parser: Any = _Composer(text)
    depth = 0
    while (event := parser.get_event()) is not None:
        if isinstance(event, CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH + 1:
                mark: Any = event.start_mark
                message = f"nested deeper than {MAX_DEPTH} levels"
                raise _Refused(Fault(file, mark.line + first_line, mark.column + 1, "", message))
        elif isinstance(event, CollectionEndEvent):
            depth -= 1


class _Unusual(Exception):
    """The quick walk met something that has to be looked at with its place."""


def _values(node: Any, depth: int, budget: list[int]) -> Any:
    """The plain values of libyaml's nodes, as `tree.plain` gives them; anything out of the ordinary is left to `_Walk`."""
    kind = type(node)
    if kind is ScalarNode:
        if node.tag:
            raise _Unusual
        value = node.value
        if node.style:
            return value
        return None if value in NULLS else Plain(value)
    budget[0] -= len(node.value)
    if depth > MAX_DEPTH or budget[0] < 0 or node.tag:
        raise _Unusual
    depth += 1
    if kind is SequenceNode:
        return [_values(item, depth, budget) for item in node.value]
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = key_node.value
        if type(key_node) is not ScalarNode or key in found or key == "<<":
            raise _Unusual
        found[key] = _values(value_node, depth, budget)
    return found


def _yaml_hint(text: str, line: int) -> str:
    lines = text.split("\n")
    written = lines[line] if line < len(lines) else ""
    if "\t" in written[: len(written) - len(written.lstrip())]:
        return "; indent with spaces, not tabs"
    if written.count(": ") > 1:
        return "; put text that holds ': ' in quotes"
    return ""


class _Walk:
    """libyaml's nodes to ours, with repeated keys, foreign tags and runaway sizes refused."""

    def __init__(self, file: str, first_line: int, faults: list[Fault]) -> None:
        self.file = file
        self.first_line = first_line
        self.faults = faults
        self.count = 0
        self.seen: dict[int, int] = {}

    def node(self, node: Any, depth: int, key: str) -> Node:
        mark = node.start_mark
        line, column = mark.line + self.first_line, mark.column + 1
        self.count += 1
        if self.count > MAX_NODES:
            raise _Refused(Fault(self.file, line, column, key, f"more than {MAX_NODES} values in one header"))
        if type(node) is ScalarNode:
            if node.tag not in _CORE_TAGS:
                self.fault(line, column, key, f"the tag {node.tag} is not used here; write a plain value")
            return Scalar(node.value, bool(node.style), self.file, line, column)
        self.guard(node, depth, line, column, key)
        if node.tag not in _CORE_TAGS:
            self.fault(line, column, key, f"the tag {node.tag} is not used here; write a plain value")
        if type(node) is SequenceNode:
            return Sequence([self.node(item, depth + 1, key) for item in node.value], self.file, line, column)
        return self.mapping(node, depth, line, column)

    def mapping(self, node: Any, depth: int, line: int, column: int) -> Mapping:
        entries: dict[str, Node] = {}
        keys: dict[str, tuple[int, int]] = {}
        for key_node, value_node in node.value:
            mark = key_node.start_mark
            place = (mark.line + self.first_line, mark.column + 1)
            if type(key_node) is not ScalarNode:
                self.fault(*place, "", "a key must be a word")
                continue
            key = key_node.value
            if key == "<<" and not key_node.style:
                self.fault(*place, key, "merge keys are not read; write the keys out, or use 'extends'")
                continue
            if key in entries:
                self.fault(*place, key, f"written twice; the first is on line {keys[key][0]}")
                continue
            keys[key] = place
            entries[key] = self.node(value_node, depth + 1, key)
        return Mapping(entries, keys, self.file, line, column)

    def guard(self, node: Any, depth: int, line: int, column: int, key: str) -> None:
        visits = self.seen.get(id(node), 0) + 1
        self.seen[id(node)] = visits
        if depth > MAX_DEPTH:
            raise _Refused(Fault(self.file, line, column, key, f"nested deeper than {MAX_DEPTH} levels"))
        if visits > MAX_ALIASES:
            raise _Refused(Fault(self.file, line, column, key, f"an alias used more than {MAX_ALIASES} times"))

    def fault(self, line: int, column: int, key: str, message: str) -> None:
        self.faults.append(Fault(self.file, line, column, key, message))
