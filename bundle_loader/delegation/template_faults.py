"""What is wrong with an agent's body before any variable is known: syntax, filters, and what the sandbox refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from jinja2 import TemplateSyntaxError, nodes
from jinja2.sandbox import (
    UNSAFE_ASYNC_GENERATOR_ATTRIBUTES,
    UNSAFE_COROUTINE_ATTRIBUTES,
    UNSAFE_FUNCTION_ATTRIBUTES,
    UNSAFE_GENERATOR_ATTRIBUTES,
    UNSAFE_METHOD_ATTRIBUTES,
)

from bundle_loader.declared.agent import Agent
from bundle_loader.delegation.sandbox import BoundedEnvironment, compiled, parsed
from bundle_loader.delegation.template_places import column_of
from bundle_loader.errors import Fault, did_you_mean

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
        found = list(_refused(tree)) if tree is not None else []
    except RecursionError:
        found = []
    faults = [_placed(agent, line, pattern, message, level) for line, pattern, message, level in found]
    if isinstance(template, TemplateSyntaxError) and not any(fault.level == "error" for fault in faults):
        faults.append(syntax_fault(agent, template))
    return sorted(set(faults))


def syntax_fault(agent: Agent, error: TemplateSyntaxError) -> Fault:
    """What Jinja2 says of a text that it cannot read, with the column and what to write."""
    said = error.message or "it cannot be read"
    words = _QUOTED_WORD.findall(said)
    remedy = "; put braces that are plain text between {% raw %} and {% endraw %}"
    if words and said.startswith("Encountered unknown tag"):
        remedy = "; nothing is open that it would close" if words[0] in _TAGS else did_you_mean(words[0], _TAGS, 0.6) or remedy
    elif "needs to be closed" in said:
        remedy = f"; write '{{% end{words[-1]} %}}' where it ends"
    elif words and said.startswith(("No filter", "No test")):
        noun = "filter" if said.startswith("No filter") else "test"
        said, remedy = f"no {noun} is called '{words[0]}'", _near(words[0], noun == "filter")
    elif said.startswith(("nested too deep", "more than")):
        remedy = "; say less in one text"
    sought = words[-1] if words and "got '" in said else words[0] if words else "\0"
    return _placed(agent, error.lineno, re.escape(sought), f"the template is wrong: {said.rstrip('.')}{remedy}", "error")


def _placed(agent: Agent, line: int, pattern: str, message: str, level: str) -> Fault:
    return Fault(agent.file, agent.body_line + line - 1, column_of(agent.instruction, line, pattern), "", message, level)


def _near(name: str, is_filter: bool) -> str:
    known = sorted(key for key in (_ENVIRONMENT.filters if is_filter else _ENVIRONMENT.tests) if not key.startswith("_"))
    some = "default, join, lower, upper, replace" if is_filter else "defined, none, string, number"
    return did_you_mean(name, known, 0.65) or f"; there are {some} and the others of Jinja2"


def _refused(tree: nodes.Template) -> Iterator[tuple[int, str, str, str]]:
    """Line, pattern to look for, message and level of everything that could only fail."""
    for node in tree.find_all((nodes.Filter, nodes.Test)):
        is_filter = isinstance(node, nodes.Filter)
        if node.name not in (_ENVIRONMENT.filters if is_filter else _ENVIRONMENT.tests):
            noun, before = ("filter", r"\|\s*") if is_filter else ("test", r"\bis\s+(?:not\s+)?")
            message = f"the template is wrong: no {noun} is called '{node.name}'{_near(node.name, is_filter)}"
            yield node.lineno, rf"{before}(?P<at>{re.escape(node.name)})", message, "error"
        elif is_filter and node.name == "attr" and node.args:
            yield from _attribute(node.args[0], node.lineno)
    for access in tree.find_all(nodes.Getattr):
        yield from _named(access.attr, access.lineno)
    for item in tree.find_all(nodes.Getitem):
        yield from _attribute(item.arg, item.lineno)
    for call in tree.find_all(nodes.Call):
        if isinstance(call.node, nodes.Getattr):
            yield from _called(call.node)


def _attribute(node: nodes.Expr, line: int) -> Iterator[tuple[int, str, str, str]]:
    if isinstance(node, nodes.Const) and isinstance(node.value, str):
        yield from _named(node.value, line)


def _named(name: str, line: int) -> Iterator[tuple[int, str, str, str]]:
    if (name.startswith("__") and name.endswith("__") and len(name) > 4) or name in _INTERNAL:
        message = f"the sandbox refuses the attribute '{name}', which leads into the program; leave it out"
        yield line, rf"(?P<at>{re.escape(name)})\b", message, "error"
    elif name.startswith("_"):
        message = f"the sandbox refuses attributes that begin with '_'; '{name}' works as the key of a mapping only"
        yield line, rf"(?P<at>{re.escape(name)})\b", message, "warning"


def _called(method: nodes.Getattr) -> Iterator[tuple[int, str, str, str]]:
    if method.attr in _CHANGES:
        message = f"the sandbox lets nothing change a list, set or mapping, as '{method.attr}' would; make a new value with 'set'"
        yield method.lineno, rf"\.\s*(?P<at>{method.attr})\b", message, "warning"
    subject = method.node.value if isinstance(method.node, nodes.Const) else None
    if method.attr in ("format", "format_map") and isinstance(subject, str):
        for found in _IN_FORMAT.finditer(subject):
            message = f"the sandbox refuses the attribute '{found['name']}' in a format; leave it out"
            yield method.lineno, rf"(?P<at>{re.escape(found['name'])})\b", message, "error"
