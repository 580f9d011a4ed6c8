"""Variables that an agent's body uses and that nobody defines."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from jinja2 import TemplateSyntaxError

from bundle_loader.declared.agent import Agent
from bundle_loader.declared.recipe_template import undeclared
from bundle_loader.declared.template_places import column_of, name_pattern
from bundle_loader.declared.template_tree import unguarded
from bundle_loader.delegation.instruction import ALWAYS
from bundle_loader.delegation.sandbox import BoundedEnvironment, parsed
from bundle_loader.errors import MISSPELT, Fault, did_you_mean


class _Any(dict[str, Any]):
    """Filters or tests of which none is unknown: that one is wrong hides no variable."""

    def get(self, key: str, default: Any = None) -> Any:
        """The one of that name, else some other."""
        return super().get(key, str)


_ENVIRONMENT = BoundedEnvironment()
_ENVIRONMENT.filters, _ENVIRONMENT.tests = _Any(_ENVIRONMENT.filters), _Any(_ENVIRONMENT.tests)


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
        unknown = undeclared(tree) - known
    except (TemplateSyntaxError, RecursionError, ValueError):
        return []
    lines: dict[str, int] = {}
    with suppress(RecursionError):
        for name in unguarded(tree) if unknown else ():
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
