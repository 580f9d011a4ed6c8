"""What a template's tree reads, and what in it can only fail. Jinja2's nodes are known by name: nothing here loads Jinja2."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final

from bundle_loader.errors import did_you_mean

Node = Any
"""A node of the tree that Jinja2's parser makes."""
Refusal = tuple[int, str, str, str]
"""Line, pattern to look for, message and level."""

_CHANGES: Final = frozenset(
    [
        *("add", "append", "clear", "difference_update", "discard", "extend", "insert", "intersection_update", "pop", "popitem"),
        *("remove", "reverse", "setdefault", "sort", "symmetric_difference_update", "update"),
    ]
)
"""Methods that change the list, set or mapping that they are called on."""
_IN_FORMAT: Final = re.compile(r"\{[^{}]*?(\.|\[)(?P<name>_\w*)")
_QUOTED_WORD: Final = re.compile(r"'([^']*)'")
_TAGS: Final = sorted(("block", "call", "filter", "for", "if", "elif", "else", "endif", "endfor", "macro", "raw", "set", "with"))
_NONE: Final[frozenset[str]] = frozenset()


def kind(node: Node) -> str:
    """What a node is called in Jinja2: `Name`, `Filter`, ..."""
    return type(node).__name__


def nodes_of(tree: Node, *kinds: str) -> Iterator[Node]:
    """Every node of these kinds."""
    for child in tree.iter_child_nodes():
        if kind(child) in kinds:
            yield child
        yield from nodes_of(child, *kinds)


# --- what is wrong


def syntax_words(said: str, filters: Collection[str], tests: Collection[str]) -> tuple[str, str]:
    """What Jinja2 says of a text that it cannot read, with what to write; and the pattern of what to look for."""
    words = _QUOTED_WORD.findall(said)
    remedy = "; put braces that are plain text between {% raw %} and {% endraw %}"
    if words and said.startswith("Encountered unknown tag"):
        remedy = "; nothing is open that it would close" if words[0] in _TAGS else did_you_mean(words[0], _TAGS, 0.6) or remedy
    elif "needs to be closed" in said:
        remedy = f"; write '{{% end{words[-1]} %}}' where it ends"
    elif words and said.startswith(("No filter", "No test")):
        noun = "filter" if said.startswith("No filter") else "test"
        said, remedy = f"no {noun} is called '{words[0]}'", _near(words[0], filters if noun == "filter" else tests, noun)
    elif said.startswith(("nested too deep", "more than")):
        remedy = "; say less in one text"
    sought = words[-1] if words and "got '" in said else words[0] if words else "\0"
    return f"{said.rstrip('.')}{remedy}", re.escape(sought)


def _near(name: str, known: Collection[str], noun: str) -> str:
    some = "default, join, lower, upper, replace" if noun == "filter" else "defined, none, string, number"
    named = sorted(key for key in known if not key.startswith("_"))
    return did_you_mean(name, named, 0.65) or f"; there are {some} and the others of Jinja2"


def refused(tree: Node, filters: Collection[str], tests: Collection[str], internal: Collection[str]) -> Iterator[Refusal]:
    """Everything that could only fail. `internal` are the attributes that lead into the program."""
    for node in nodes_of(tree, "Filter", "Test"):
        noun, before, known = ("filter", r"\|\s*", filters) if kind(node) == "Filter" else ("test", r"\bis\s+(?:not\s+)?", tests)
        if node.name not in known:
            message = f"the template is wrong: no {noun} is called '{node.name}'{_near(node.name, known, noun)}"
            yield node.lineno, rf"{before}(?P<at>{re.escape(node.name)})", message, "error"
        elif noun == "filter" and node.name == "attr" and node.args:
            yield from _attribute(node.args[0], node.lineno, internal)
    for access in nodes_of(tree, "Getattr"):
        yield from _named(access.attr, access.lineno, internal)
    for item in nodes_of(tree, "Getitem"):
        yield from _attribute(item.arg, item.lineno, internal)
    for call in nodes_of(tree, "Call"):
        if kind(call.node) == "Getattr":
            yield from _called(call.node)


def _attribute(node: Node, line: int, internal: Collection[str]) -> Iterator[Refusal]:
    if kind(node) == "Const" and isinstance(node.value, str):
        yield from _named(node.value, line, internal)


def _named(name: str, line: int, internal: Collection[str]) -> Iterator[Refusal]:
    if (name.startswith("__") and name.endswith("__") and len(name) > 4) or name in internal:
        message = f"the sandbox refuses the attribute '{name}', which leads into the program; leave it out"
        yield line, rf"(?P<at>{re.escape(name)})\b", message, "error"
    elif name.startswith("_"):
        message = f"the sandbox refuses attributes that begin with '_'; '{name}' works as the key of a mapping only"
        yield line, rf"(?P<at>{re.escape(name)})\b", message, "warning"


def _called(method: Node) -> Iterator[Refusal]:
    if method.attr in _CHANGES:
        message = f"the sandbox lets nothing change a list, set or mapping, as '{method.attr}' would; make a new value with 'set'"
        yield method.lineno, rf"\.\s*(?P<at>{method.attr})\b", message, "warning"
    subject = method.node.value if kind(method.node) == "Const" else None
    if method.attr in ("format", "format_map") and isinstance(subject, str):
        for found in _IN_FORMAT.finditer(subject):
            message = f"the sandbox refuses the attribute '{found['name']}' in a format; leave it out"
            yield method.lineno, rf"(?P<at>{re.escape(found['name'])})\b", message, "error"


# --- what is read


def unguarded(node: Node, safe: frozenset[str] = _NONE) -> Iterator[Node]:
    """Names that are read where nothing has made sure that they are defined."""
    what = kind(node)
    if what == "Name":
        if node.ctx == "load" and node.name not in safe:
            yield node
    elif what in ("If", "CondExpr"):
        yield from _branches(node, safe)
    elif what in ("And", "Or"):
        yield from unguarded(node.left, safe)
        yield from unguarded(node.right, safe | _proves(node.left, what == "And"))
    else:
        yield from _sequence(node.iter_child_nodes(exclude=("node",) if _asks_after(node) else ()), safe)


def _branches(node: Node, safe: frozenset[str]) -> Iterator[Node]:
    yield from unguarded(node.test, safe)
    if kind(node) == "CondExpr":
        yield from unguarded(node.expr1, safe | _proves(node.test, True))
        if node.expr2 is not None:
            yield from unguarded(node.expr2, safe | _proves(node.test, False))
        return
    yield from _sequence(node.body, safe | _proves(node.test, True))
    safe |= _proves(node.test, False)
    for other in node.elif_:
        yield from unguarded(other.test, safe)
        yield from _sequence(other.body, safe | _proves(other.test, True))
        safe |= _proves(other.test, False)
    yield from _sequence(node.else_, safe)


def _sequence(body: Iterable[Node], safe: frozenset[str]) -> Iterator[Node]:
    for child in body:
        yield from unguarded(child, safe)
        if kind(child) == "Assign" and kind(child.target) == "Name":
            safe |= {child.target.name}


def _asks_after(node: Node) -> bool:
    """`x is defined`, `x is undefined`, `x | default(...)`: these read a name that may be undefined."""
    tests = kind(node) == "Test" and node.name in ("defined", "undefined")
    filters = kind(node) == "Filter" and node.name in ("default", "d")
    return (tests or filters) and kind(getattr(node, "node", None)) == "Name"


def _proves(test: Node, outcome: bool) -> frozenset[str]:
    """The names that are defined where `test` came out as `outcome`."""
    if kind(test) == "Not":
        return _proves(test.node, not outcome)
    if kind(test) in ("And", "Or"):
        left, right = _proves(test.left, outcome), _proves(test.right, outcome)
        return left | right if (kind(test) == "And") is outcome else left & right
    if kind(test) == "Test" and kind(test.node) == "Name" and test.name in ("defined", "undefined"):
        return frozenset({test.node.name}) if (test.name == "defined") is outcome else _NONE
    return _NONE
