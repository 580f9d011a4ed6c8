"""What is wrong with an agent's body before any variable is known: syntax, filters, and what the sandbox refuses."""

from __future__ import annotations

from typing import Final

from jinja2 import TemplateSyntaxError
from jinja2.sandbox import (
    UNSAFE_ASYNC_GENERATOR_ATTRIBUTES,
    UNSAFE_COROUTINE_ATTRIBUTES,
    UNSAFE_FUNCTION_ATTRIBUTES,
    UNSAFE_GENERATOR_ATTRIBUTES,
    UNSAFE_METHOD_ATTRIBUTES,
)

from bundle_loader.declared.agent import Agent
from bundle_loader.declared.template_places import column_of
from bundle_loader.declared.template_tree import refused, syntax_words
from bundle_loader.delegation.sandbox import BoundedEnvironment, compiled, parsed
from bundle_loader.errors import Fault

_ENVIRONMENT: Final = BoundedEnvironment()
_INTERNAL: Final = frozenset(
    {
        *UNSAFE_ASYNC_GENERATOR_ATTRIBUTES,
        *UNSAFE_COROUTINE_ATTRIBUTES,
        *UNSAFE_FUNCTION_ATTRIBUTES,
        *UNSAFE_GENERATOR_ATTRIBUTES,
        *UNSAFE_METHOD_ATTRIBUTES,
        "mro",
    }
)


def template_faults(agent: Agent) -> list[Fault]:
    """What is wrong with a body before any variable is known, each with its place: a syntax error, else every filter and test
    that nobody knows and every attribute that the sandbox refuses.
    """
    if not agent.template:
        return []
    text = agent.instruction
    template = compiled(_ENVIRONMENT, text)
    tree = parsed(_ENVIRONMENT, text)
    try:
        found = list(refused(tree, _ENVIRONMENT.filters, _ENVIRONMENT.tests, _INTERNAL)) if tree is not None else []
    except RecursionError:
        found = []
    faults = [_placed(agent, line, pattern, message, level) for line, pattern, message, level in found]
    if isinstance(template, TemplateSyntaxError) and not any(fault.level == "error" for fault in faults):
        faults.append(syntax_fault(agent, template))
    return sorted(set(faults))


def syntax_fault(agent: Agent, error: TemplateSyntaxError) -> Fault:
    """What Jinja2 says of a text that it cannot read, with the column and what to write."""
    said, sought = syntax_words(error.message or "it cannot be read", _ENVIRONMENT.filters, _ENVIRONMENT.tests)
    return _placed(agent, error.lineno, sought, f"the template is wrong: {said}", "error")


def _placed(agent: Agent, line: int, pattern: str, message: str, level: str) -> Fault:
    return Fault(agent.file, agent.body_line + line - 1, column_of(agent.instruction, line, pattern), "", message, level)
