"""What a recipe's template reads and what is wrong with it, before any value is known: Jinja2's parser, nothing rendered."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from bundle_loader.declared.recipe_text import as_template
from bundle_loader.declared.template_places import column_of, name_pattern
from bundle_loader.declared.template_tree import Node, kind, nodes_of, refused, syntax_words, unguarded

_UNREADABLE: Final = (RecursionError, SyntaxError, MemoryError, ValueError, OverflowError)
"""Python's own limits, met while a template is read."""

MOST_TAGS: Final = 5_000
"""Tags and expressions of one text."""


@dataclass(frozen=True, slots=True)
class TemplateFault:
    """What is wrong, by the line of the text, from 1 on, and the column, 0 where nobody knows it."""

    line: int
    column: int
    message: str
    level: str = "error"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text says as a template. `tree` is None where it cannot be read."""

    names: tuple[tuple[str, int, int], ...] = ()
    """The variables that it reads without asking whether they are defined, each once, with line and column."""
    faults: tuple[TemplateFault, ...] = ()
    tree: Node | None = None


@dataclass(frozen=True, slots=True)
class _Syntax:
    parse: Callable[[str], Node]
    undeclared: Callable[[Any], set[str]]
    error: type[Exception]
    filters: Collection[str]
    tests: Collection[str]
    internal: Collection[str]


@lru_cache(maxsize=1)
def _syntax() -> _Syntax:
    # only for the few texts that are templates: bundles without them do not wait for it
    from jinja2 import TemplateSyntaxError, sandbox, utils

    # a finalizer that takes the context keeps Jinja2 from working out constants, which may cost any amount of time and memory
    environment = sandbox.ImmutableSandboxedEnvironment(optimized=False, finalize=utils.pass_context(_as_it_is))
    unsafe = [getattr(sandbox, name) for name in dir(sandbox) if name.startswith("UNSAFE_")]
    return _Syntax(
        environment.parse,
        undeclared,
        TemplateSyntaxError,
        environment.filters,
        environment.tests,
        frozenset(name for names in unsafe for name in names) | {"mro"},
    )


def _as_it_is(context: Any, value: Any) -> Any:
    return value


def undeclared(tree: Node) -> set[str]:
    """The names that a tree reads and does not set. Jinja2's own function of that kind works out constants on the way."""
    from jinja2 import meta

    generator = meta.TrackingCodeGenerator(tree.environment)
    generator.optimizer = None
    generator.visit(tree)
    return generator.undeclared_identifiers


@lru_cache(maxsize=2048)
def read_template(text: str) -> Reading:
    """A text as a template of Jinja2."""
    if text.count("{{") + text.count("{%") > MOST_TAGS:
        return Reading(faults=(TemplateFault(1, 0, f"the template is wrong: more than {MOST_TAGS} tags and expressions"),))
    syntax = _syntax()
    try:
        tree = syntax.parse(as_template(text))
        found = list(refused(tree, syntax.filters, syntax.tests, syntax.internal))
        known = syntax.undeclared(_without_unknown(tree, syntax))
        read = list(unguarded(tree))
    except syntax.error as error:
        said, sought = syntax_words(getattr(error, "message", None) or str(error), syntax.filters, syntax.tests)
        line = getattr(error, "lineno", 1)
        return Reading(faults=(TemplateFault(line, column_of(text, line, sought), f"the template is wrong: {said}"),))
    except _UNREADABLE:
        return Reading(faults=(TemplateFault(1, 0, "the template is wrong: nested too deep, or a number too long"),))
    names: dict[str, tuple[str, int, int]] = {}
    for node in read:
        if node.name in known and node.name not in names:
            names[node.name] = (node.name, node.lineno, column_of(text, node.lineno, name_pattern(node.name)))
    faults = [TemplateFault(line, column_of(text, line, pattern), said, level) for line, pattern, said, level in found]
    return Reading(tuple(names.values()), tuple(dict.fromkeys(faults)), tree)


def _without_unknown(tree: Node, syntax: _Syntax) -> Node:
    """The tree, for `undeclared`, which refuses filters and tests that it does not know."""
    for node in nodes_of(tree, "Filter", "Test"):
        known, some = (syntax.filters, "string") if kind(node) == "Filter" else (syntax.tests, "defined")
        if node.name not in known:
            node.name = some
    return tree


@lru_cache(maxsize=2048)
def read_expression(source: str) -> Reading:
    """A text as one expression of Jinja2; lines and columns are those of the text."""
    inner = read_template("{{\n" + source + "\n}}")
    tree = inner.tree
    if tree is not None and not (len(tree.body) == 1 and kind(tree.body[0]) == "Output" and len(tree.body[0].nodes) == 1):
        return Reading(faults=(TemplateFault(1, 0, "is more than one expression"),))
    return Reading(
        tuple((name, line - 1, column) for name, line, column in inner.names),
        tuple(TemplateFault(max(fault.line - 1, 1), fault.column, fault.message, fault.level) for fault in inner.faults),
        tree,
    )
