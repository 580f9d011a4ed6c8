"""Variables that an agent's body uses and that nobody defines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from jinja2 import TemplateSyntaxError, meta, nodes

from bundle_loader.declared.agent import Agent
from bundle_loader.delegation.instruction import ALWAYS
from bundle_loader.delegation.sandbox import BoundedEnvironment, parsed
from bundle_loader.delegation.template_places import column_of, name_pattern
from bundle_loader.errors import MISSPELT, Fault, did_you_mean


class _Any(dict[str, Any]):
    """Filters or tests of which none is unknown: that one is wrong hides no variable."""

    def get(self, key: str, default: Any = None) -> Any:
        """The one of that name, else some other."""
        return super().get(key, str)


_ENVIRONMENT = BoundedEnvironment()
_ENVIRONMENT.filters, _ENVIRONMENT.tests = _Any(_ENVIRONMENT.filters), _Any(_ENVIRONMENT.tests)
_NONE: frozenset[str] = frozenset()


def undefined_variables(agent: Agent, defined: Iterable[str]) -> list[Fault]:
    """A note for each variable of the body that is neither always there, nor in `defined`, nor asked after before it is used.

    Bodies that are no templates, or wrong ones, have none.
    """
    if not agent.template:
        return []
    tree = parsed(_ENVIRONMENT, agent.instruction)
    if tree is None:
        return []
    known = {*ALWAYS, *defined, *_ENVIRONMENT.globals}
    if agent.parent_instruction is not None:
        known.add("base")
    try:
        unknown = meta.find_undeclared_variables(tree) - known
    except (TemplateSyntaxError, RecursionError, ValueError):
        return []
    lines: dict[str, int] = {}
    with suppress(RecursionError):
        for name in _unguarded(tree, frozenset()) if unknown else ():
            if name.name in unknown:
                lines.setdefault(name.name, name.lineno)
    return [
        Fault(
            agent.file,
            agent.body_line + line - 1,
            column,
            "",
            _message(name, known - set(_ENVIRONMENT.globals)),
            "note",
            "undefined-variable",
        )
        for name, line in lines.items()
        for column in (column_of(agent.instruction, line, name_pattern(name)),)
    ]


def _message(name: str, known: Iterable[str]) -> str:
    if name == "base":
        return "'{{ base }}' stands for the extended agent's text, and this agent extends none"
    near = did_you_mean(name, sorted(known), MISSPELT)
    return f"nobody defines '{name}'{near}; write it under 'vars' in the bundle, guard it, or every caller must give it"


def _unguarded(node: nodes.Node, safe: frozenset[str]) -> Iterator[nodes.Name]:
    """Names that are read where nothing has made sure that they are defined."""
    if isinstance(node, nodes.Name):
        if node.ctx == "load" and node.name not in safe:
            yield node
    elif isinstance(node, (nodes.If, nodes.CondExpr)):
        yield from _branches(node, safe)
    elif isinstance(node, (nodes.And, nodes.Or)):
        yield from _unguarded(node.left, safe)
        yield from _unguarded(node.right, safe | _proves(node.left, isinstance(node, nodes.And)))
    else:
        yield from _sequence(node.iter_child_nodes(exclude=("node",) if _asks_after(node) else ()), safe)


def _branches(node: nodes.If | nodes.CondExpr, safe: frozenset[str]) -> Iterator[nodes.Name]:
    yield from _unguarded(node.test, safe)
    if isinstance(node, nodes.CondExpr):
        yield from _unguarded(node.expr1, safe | _proves(node.test, True))
        if node.expr2 is not None:
            yield from _unguarded(node.expr2, safe | _proves(node.test, False))
        return
    yield from _sequence(node.body, safe | _proves(node.test, True))
    safe |= _proves(node.test, False)
    for other in node.elif_:
        yield from _unguarded(other.test, safe)
        yield from _sequence(other.body, safe | _proves(other.test, True))
        safe |= _proves(other.test, False)
    yield from _sequence(node.else_, safe)


def _sequence(body: Iterable[nodes.Node], safe: frozenset[str]) -> Iterator[nodes.Name]:
    for child in body:
        yield from _unguarded(child, safe)
        if isinstance(child, nodes.Assign) and isinstance(child.target, nodes.Name):
            safe |= {child.target.name}


def _asks_after(node: nodes.Node) -> bool:
    """`x is defined`, `x is undefined`, `x | default(...)`: these read a name that may be undefined."""
    tests = isinstance(node, nodes.Test) and node.name in ("defined", "undefined")
    filters = isinstance(node, nodes.Filter) and node.name in ("default", "d")
    return (tests or filters) and isinstance(getattr(node, "node", None), nodes.Name)


def _proves(test: nodes.Node, outcome: bool) -> frozenset[str]:
    """The names that are defined where `test` came out as `outcome`."""
    if isinstance(test, nodes.Not):
        return _proves(test.node, not outcome)
    if isinstance(test, (nodes.And, nodes.Or)):
        left, right = _proves(test.left, outcome), _proves(test.right, outcome)
        return left | right if isinstance(test, nodes.And) is outcome else left & right
    if isinstance(test, nodes.Test) and isinstance(test.node, nodes.Name) and test.name in ("defined", "undefined"):
        return frozenset({test.node.name}) if (test.name == "defined") is outcome else _NONE
    return _NONE
