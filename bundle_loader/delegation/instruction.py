"""An agent's body rendered: Jinja2 in its sandbox, where an unknown variable is an error that names it."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from jinja2 import Template, TemplateError, TemplateSyntaxError, UndefinedError, nodes

from bundle_loader.declared.agent import Agent
from bundle_loader.declared.context import expand
from bundle_loader.declared.recipe_template import undeclared
from bundle_loader.declared.template_places import column_of, name_pattern
from bundle_loader.delegation.sandbox import BoundedEnvironment, bounded, compiled
from bundle_loader.delegation.template_faults import syntax_fault
from bundle_loader.errors import DeclarationError, Fault, did_you_mean

ALWAYS: Final = ("workdir", "date", "agent")
"""Variables that every instruction can use."""

_CHANCE: Final = ("random", "lipsum")
_UNDEFINED: Final = re.compile(r"'(\w+)' is undefined")
_ENVIRONMENT: Final = BoundedEnvironment()


def render(agent: Agent, variables: Mapping[str, Any]) -> str:
    """The agent's instruction with `variables` filled in and the files that it mentions, each once and taken literally.

    Bodies of other tools' files are taken literally. Raises DeclarationError with file, line and every unknown variable.
    """
    return _rendered(agent, variables, set())


def _rendered(agent: Agent, variables: Mapping[str, Any], laid: set[str]) -> str:
    """As `render`; `laid` are the names of the files that are in the prompt already."""
    if not agent.template:
        return agent.instruction
    values = dict(variables)
    if agent.parent_instruction is not None and "base" in agent.instruction:
        values["base"] = _rendered(agent.parent_instruction, variables, laid)
    template = _compiled(agent.instruction)
    if isinstance(template, TemplateSyntaxError):
        raise DeclarationError([syntax_fault(agent, template)])
    try:
        text = bounded(template, values)
    except UndefinedError as error:
        raise DeclarationError(_unknown(agent, values, error)) from None
    except (
        TemplateError,
        TypeError,
        ValueError,
        ArithmeticError,
        LookupError,
        AttributeError,
        RecursionError,
        MemoryError,
    ) as error:
        message = f"the template cannot be rendered: {error}"
        raise DeclarationError([Fault(agent.file, agent.body_line + _line(error) - 1, 0, "", message)]) from None
    files = [file for file in agent.files if file.name not in laid]
    laid.update(file.name for file in files)
    return expand(text, files)


def varies(agent: Agent) -> bool:
    """True for an instruction that may come out differently for the same variables."""
    parent = agent.parent_instruction
    return agent.template and (any(word in agent.instruction for word in _CHANCE) or (parent is not None and varies(parent)))


def variables_of(agent: Agent) -> frozenset[str]:
    """The variables that a body uses; empty where it is not a template."""
    if not agent.template or isinstance(_compiled(agent.instruction), TemplateSyntaxError):
        return frozenset()
    own = frozenset(undeclared(_ENVIRONMENT.parse(agent.instruction)))
    parent = agent.parent_instruction
    return own if parent is None else (own - {"base"}) | variables_of(parent)


@lru_cache(maxsize=1024)
def _compiled(text: str) -> Template | TemplateSyntaxError:
    return compiled(_ENVIRONMENT, text)


def _unknown(agent: Agent, values: Mapping[str, Any], error: UndefinedError) -> list[Fault]:
    line = agent.body_line + _line(error) - 1
    named = _UNDEFINED.fullmatch(error.message or "")
    if named is None:
        return [Fault(agent.file, line, 0, "", f"the template cannot be rendered: {error.message}")]
    parsed = _ENVIRONMENT.parse(agent.instruction)
    asked_after = {test.node.name for test in parsed.find_all(nodes.Test) if isinstance(test.node, nodes.Name)}
    asked_after |= {made.node.name for made in parsed.find_all(nodes.Filter) if isinstance(made.node, nodes.Name)}
    unknown = {named[1]} | (undeclared(parsed) - set(values) - asked_after)
    lines = {named[1]: _line(error)}
    for name in parsed.find_all(nodes.Name):
        lines.setdefault(name.name, name.lineno)
    return [_unknown_variable(agent, values, name, lines.get(name, _line(error))) for name in sorted(unknown, key=_by(lines))]


def _by(lines: Mapping[str, int]) -> Callable[[str], tuple[int, str]]:
    return lambda name: (lines.get(name, 0), name)


def _unknown_variable(agent: Agent, values: Mapping[str, Any], name: str, line: int) -> Fault:
    place = agent.file, agent.body_line + line - 1, column_of(agent.instruction, line, name_pattern(name))
    if name == "base":
        return Fault(*place, "", "'{{ base }}' stands for the extended agent's text, and this agent extends none")
    near = did_you_mean(name, list(values))
    remedy = f"give vars={{'{name}': ...}} (--var {name}=...), or 'vars' in the bundle"
    return Fault(*place, "", f"unknown variable '{name}'{near}; {remedy}")


def _line(error: BaseException) -> int:
    """The line of the template on which rendering failed."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<template>"]
    return frames[-1].lineno or 1 if frames else 1
