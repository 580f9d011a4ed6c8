"""Recipes that do something else for one provider than for another: a value compared with a provider's or a model's name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from bundle_loader.declared.recipe import AgentStep, ApprovalStep, Recipe, ShellStep, Step, While
from bundle_loader.declared.recipe_condition import Both, Comparison, Condition, ConditionError, Not, Text, Variable
from bundle_loader.declared.recipe_expression import Expression, read_condition
from bundle_loader.declared.recipe_template import read_template
from bundle_loader.declared.recipe_text import is_template
from bundle_loader.declared.template_tree import kind, nodes_of
from bundle_loader.errors import Fault
from bundle_loader.routing.catalogue import Catalogue

_CASE: Final = re.compile(r"\bcase\s+(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s;]+)\s+in\b(?P<arms>.*?)\besac\b", re.DOTALL)
_ARM: Final = re.compile(r"(?:^|;;&?|;&|\n)\s*\(?\s*(?P<words>[^()\s;#][^()\n;#]*)\)")
_WORD: Final = r"(?:\"(?P<double>[^\"\n]*)\"|'(?P<single>[^'\n]*)'|(?P<bare>\^?[\w.:*?/-]+\$?))"
_COMPARED: Final = (
    re.compile(rf"(?P<sign>==|!=|=~|(?<=\s)=(?=\s))\s*{_WORD}"),
    re.compile(rf"{_WORD}\s*(?P<sign>==|!=|=~|(?<=\s)=(?=\s))"),
)
_ASKED: Final = frozenset({"provider", "provider_id", "vendor", "model", "model_id", "model_name", "llm"})
"""What a variable that holds a provider or a model is called."""
_FAMILY: Final = re.compile(r"[A-Za-z]+")
_METHODS: Final = {"startswith": "{}*", "endswith": "*{}"}


class Names:
    """The names of providers and models that are known."""

    def __init__(self, catalogues: Mapping[str, Catalogue], providers: Mapping[str, str]) -> None:
        self.providers = {name.lower() for name in (*providers, *providers.values())}
        self.models = sorted({model.id.lower() for catalogue in catalogues.values() for model in catalogue.models})
        self._families: dict[str, bool] = {}

    def meant(self, word: str, sign: str = "==", asked: str = "") -> str | None:
        """What a word that something is compared with names, in words; None where it names neither provider nor model.

        `sign` may be `in` for a part of a text, `=~` for an expression; `asked` is the variable that it is compared with.
        """
        word = word.strip().lower()
        if sign == "=~":
            word = "*" + word.strip("^$").replace(".*", "*") + "*"
        elif sign == "in":
            word = f"*{word}*"
        bare = word.strip("*")
        if bare in self.providers:
            return f"provider '{bare}'"
        if "*" not in word:
            if word in self.models and re.search(r"[-\d]", word):
                return f"model '{word}'"
            return f"models '{word}'" if asked in _ASKED and self._family(word) else None
        literal = max(re.split(r"[*?\[\]|()]", word), key=len)
        if len(literal) >= 3 and self._family(literal.strip("-.:/")) and any(fnmatchcase(id, word) for id in self.models):
            return f"models '{word}'"
        return None

    def _family(self, word: str) -> bool:
        """Whether a word stands for a family of models and for nothing else: all names that hold it begin alike."""
        if word not in self._families:
            holding = [id for id in self.models if "/" not in id and word in id] if len(word) >= 3 else []
            begin = {match[0] for id in holding if (match := _FAMILY.match(id))}
            self._families[word] = len(holding) >= 3 and len(begin) == 1
        return self._families[word]


def provider_branches(recipe: Recipe, names: Names) -> list[Fault]:
    """An error for each place at which a recipe asks which provider or model it is."""
    return sorted(set(_faults(recipe, names)))


def _faults(recipe: Recipe, names: Names) -> Iterator[Fault]:
    for stage in recipe.stages:
        yield from _conditions(recipe, "", f"{stage.name}.condition", stage.condition, f"stages.{stage.name}.condition", names)
        if stage.approval is not None:
            yield from _templates(recipe, "", stage.name, stage.approval.prompt, f"stages.{stage.name}.approval", names)
    for step in recipe.walk():
        yield from _step(recipe, step, names)


def _step(recipe: Recipe, step: Step, names: Names) -> Iterator[Fault]:
    yield from _conditions(recipe, step.id, "condition", step.condition, f"{step.id}.condition", names)
    if isinstance(step.loop, While):
        yield from _conditions(recipe, step.id, "while", step.loop.condition, f"{step.id}.while", names)
    if step.loop is not None:
        yield from _conditions(recipe, step.id, "break_when", step.loop.break_when, f"{step.id}.break_when", names)
    action = step.action
    if isinstance(action, ShellStep):
        for offset, what in _in_command(action.command, names):
            yield _fault(recipe, step.id, "command", offset, f"{step.id}.command", what)
    elif isinstance(action, AgentStep):
        yield from _templates(recipe, step.id, "prompt", action.prompt, f"{step.id}.prompt", names)
    elif isinstance(action, ApprovalStep):
        yield from _templates(recipe, step.id, "approval", action.approval.prompt, f"{step.id}.approval", names)


def _fault(recipe: Recipe, step: str, key: str, offset: int, shown: str, what: str) -> Fault:
    message = f"does something else for {what}; a recipe does the same whoever answers: choose models by stage, profile or tier"
    return Fault(*recipe.text_place(step, key, offset), shown, message, rule="provider-branch")


# --- conditions


def _conditions(recipe: Recipe, step: str, key: str, text: str | None, shown: str, names: Names) -> Iterator[Fault]:
    if text is None:
        return
    try:
        read = read_condition(text)
    except ConditionError:
        return
    for word, what in _in_tree(read.reading.tree, names) if isinstance(read, Expression) else _compared(read, names):
        yield _fault(recipe, step, key, max(text.find(word), 0), shown, what)


def _compared(condition: Condition, names: Names) -> Iterator[tuple[str, str]]:
    """Each word in a condition that names a provider or a model, and what it names."""
    if isinstance(condition, Not):
        yield from _compared(condition.inner, names)
    elif isinstance(condition, Both):
        yield from _compared(condition.left, names)
        yield from _compared(condition.right, names)
    elif isinstance(condition, Comparison):
        for said, other, sign in (
            (condition.left, condition.right, "in" if "in" in condition.sign else "=="),
            (condition.right, condition.left, "=="),
        ):
            if isinstance(said, Text) and "{{" not in said.text and not (isinstance(other, Text) and "{{" not in other.text):
                asked = other.path[-1] if isinstance(other, Variable) else ""
                listed = re.split(r"[\s,;|]+", said.text) if said is condition.right and "in" in condition.sign else [said.text]
                for word in listed:
                    yield from _named(word, names.meant(word, sign, asked))


# --- templates


def _templates(recipe: Recipe, step: str, key: str, text: str, shown: str, names: Names) -> Iterator[Fault]:
    if is_template(text):
        tree = read_template(text).tree
        for word, what in _in_tree(tree, names) if tree is not None else ():
            yield _fault(recipe, step, key, max(text.find(word), 0), shown, what)


def _in_tree(tree: Any, names: Names) -> Iterator[tuple[str, str]]:
    for node in nodes_of(tree, "Compare", "Test", "Call", "Getitem"):
        what = kind(node)
        for word in _looked_up(node):
            yield from _named(word, names.meant(word))
        if what == "Compare":
            sides = [(node.expr, "=="), *((operand.expr, operand.op) for operand in node.ops)]
            within = any(sign in ("in", "notin") for _, sign in sides[1:])
            part = "in" if within and not _constants(sides[1][0]) else "=="
            asked = next((_last(side) for side, _ in sides if _last(side)), "")
            for index, (side, _) in enumerate(sides):
                for word in _constants(side):
                    yield from _named(word, names.meant(word, part if index == 0 else "==", asked))
        elif what == "Test" and node.name in ("eq", "equalto", "==", "sameas", "in"):
            for word in (word for argument in node.args for word in _constants(argument)):
                yield from _named(word, names.meant(word, "==", _last(node.node)))
        elif what == "Call" and kind(node.node) == "Getattr" and node.node.attr in _METHODS:
            for word in (word for argument in node.args for word in _constants(argument)):
                yield from _named(word, names.meant(_METHODS[node.node.attr].format(word)))


def _looked_up(node: Any) -> list[str]:
    """The keys of a mapping that is written out, of which a variable picks one."""
    if kind(node) == "Getitem":
        table, key = node.node, node.arg
    elif kind(node) == "Call" and kind(node.node) == "Getattr" and node.node.attr == "get" and node.args:
        table, key = node.node.node, node.args[0]
    else:
        return []
    written = kind(table) == "Dict" and kind(key) != "Const"
    return [word for pair in table.items for word in _constants(pair.key)] if written else []


def _named(word: str, what: str | None) -> Iterator[tuple[str, str]]:
    if what is not None:
        yield word, what


def _last(node: Any) -> str:
    """The last part of a variable's path."""
    if kind(node) in ("Filter", "Test") and node.node is not None:
        return _last(node.node)
    return str(node.name if kind(node) == "Name" else node.attr if kind(node) == "Getattr" else "")


def _constants(node: Any) -> list[str]:
    if kind(node) in ("List", "Tuple"):
        return [word for item in node.items for word in _constants(item)]
    value = node.value if kind(node) == "Const" else None
    return [item for item in (value if isinstance(value, (list, tuple)) else (value,)) if isinstance(item, str)]


# --- commands


def _in_command(command: str, names: Names) -> Iterator[tuple[int, str]]:
    """Arms of `case`, and words beside a sign of comparison, in the shell or in what it is given to run."""
    for case in _CASE.finditer(command):
        for arm in _ARM.finditer(case["arms"]):
            at = case.start("arms") + arm.start("words")
            for word in arm["words"].split("|"):
                what = names.meant(word.strip().strip("\"'"))
                if what is not None:
                    yield at + len(word) - len(word.lstrip()), what
                at += len(word) + 1
    for pattern in _COMPARED:
        for match in pattern.finditer(command):
            group = next(name for name in ("double", "single", "bare") if match[name] is not None)
            if any(sign in match[group] for sign in "{}`") or "$" in match[group][:-1]:
                continue
            what = names.meant(match[group], match["sign"])
            if what is not None:
                yield match.start(group), what
