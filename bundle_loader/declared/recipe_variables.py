"""The variables that a recipe declares under `context`: plain defaults, or mappings that say more."""

from __future__ import annotations

import re
from typing import Any, Final

from bundle_loader.declared.recipe import ALWAYS, Variable, VariableType
from bundle_loader.declared.recipe_read import RecipeReading
from bundle_loader.declared.recipe_scope import node_at
from bundle_loader.declared.recipe_text import scan, texts_in
from bundle_loader.declared.tree import Mapping, path_text
from bundle_loader.errors import Fault, did_you_mean

NAME: Final = re.compile(r"[A-Za-z_]\w*")
_KEYS: Final = frozenset({"type", "required", "default", "description", "enum", "choices"})
_TYPES: Final[dict[str, VariableType]] = {
    "text": "text", "string": "text", "str": "text", "number": "number", "float": "number", "integer": "integer",
    "int": "integer", "boolean": "boolean", "bool": "boolean", "list": "list", "array": "list", "mapping": "mapping",
    "object": "mapping", "dict": "mapping", "any": "any",
}  # fmt: skip
_PYTHON: Final[dict[VariableType, tuple[type, ...]]] = {
    "text": (str,), "number": (int, float), "integer": (int,), "boolean": (bool,), "list": (list,), "mapping": (dict,),
}  # fmt: skip


def variables(reading: RecipeReading) -> tuple[dict[str, Variable], list[Fault]]:
    """The variables in written order, and what is wrong with them."""
    reader = _Variables(reading)
    return reader.found, reader.faults


def type_of(value: Any) -> VariableType:
    """The type that a default speaks for."""
    if isinstance(value, bool):
        return "boolean"
    if value is None:
        return "any"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    if isinstance(value, list):
        return "list"
    return "mapping" if isinstance(value, dict) else "text"


class _Variables:
    def __init__(self, reading: RecipeReading) -> None:
        self.reading = reading
        self.faults: list[Fault] = []
        self.found: dict[str, Variable] = {}
        for name, value in (reading.written.context or {}).items():
            if not NAME.fullmatch(name):
                self._fault((name,), f"'{name}' is not a name of a variable; use letters, digits and '_'")
            elif name in ALWAYS:
                self._fault((name,), f"'{name}' is always there and cannot be declared; choose another name")
            elif isinstance(value, dict) and value and value.keys() <= _KEYS:
                self._declared(name, value)
            else:
                self.found[name] = Variable(type=type_of(value), default=value)
        self._loops()

    def _declared(self, name: str, value: dict[str, Any]) -> None:
        before = len(self.faults)
        written = value.get("type", "any")
        kind = _TYPES.get(written) if isinstance(written, str) else None
        if kind is None:
            known = ("text", "number", "integer", "boolean", "list", "mapping", "any")
            near = did_you_mean(written, list(_TYPES)) if isinstance(written, str) else ""
            self._fault((name, "type"), f"write one of {', '.join(known)}{near}")
        required = value.get("required", False)
        if not isinstance(required, bool):
            self._fault((name, "required"), "write true or false")
        description = value.get("description") or ""
        if not isinstance(description, str):
            self._fault((name, "description"), "write text")
        choices = value.get("choices", value.get("enum", []))
        if not isinstance(choices, list) or (not choices and ("choices" in value or "enum" in value)):
            key = "choices" if "choices" in value else "enum"
            self._fault((name, key), "write a list of the values that may be given")
        if kind is not None:
            kind = self._default(name, value, kind, choices if isinstance(choices, list) else [])
        if required is True and value.get("default") is not None:
            self._fault((name, "required"), "has a default, so it is never missing; remove one of the two", "warning")
        if len(self.faults) == before or all(fault.level != "error" for fault in self.faults[before:]):
            self.found[name] = Variable(
                type=kind or "any",
                default=value.get("default"),
                required=required and value.get("default") is None,
                description=description,
                choices=tuple(choices),
            )

    def _default(self, name: str, value: dict[str, Any], kind: VariableType, choices: list[Any]) -> VariableType:
        """The type of the variable; a default of another type or outside of the choices is a fault."""
        default = value.get("default")
        if default is None:
            return kind
        filled_in = isinstance(default, str) and "{{" in default
        fits = _PYTHON.get(kind)
        wrong = fits is not None and (not isinstance(default, fits) or (isinstance(default, bool) and kind != "boolean"))
        if wrong and not filled_in:
            self._fault((name, "default"), f"is no {kind}; write one, or another type")
        if choices and default not in choices and not filled_in:
            self._fault((name, "default"), f"is not one of its choices: {', '.join(map(str, choices[:8]))}")
        return type_of(default) if kind == "any" and "type" not in value else kind

    def _loops(self) -> None:
        """Defaults that are made of each other in a circle."""
        uses = {
            name: [reference.name for _, text in texts_in(value) for reference in scan(text)[0] if reference.name in self.found]
            for name, value in (self.reading.written.context or {}).items()
        }
        done: set[str] = set()
        for name in uses:
            way: list[str] = []
            self._follow(name, uses, way, done)

    def _follow(self, start: str, uses: dict[str, list[str]], way: list[str], done: set[str]) -> None:
        """Depth first, without recursion: a context may chain thousands of defaults."""
        stack = [(start, iter(uses.get(start, ())))] if start not in done else []
        way += [start] if stack else []
        while stack:
            name, rest = stack[-1]
            after = next(rest, None)
            if after is None:
                done.add(name)
                stack.pop()
                way.pop()
            elif after in way:
                loop = " -> ".join([*way[way.index(after) :], after])
                self._fault((name,), f"defaults are made of each other in a loop: {loop}")
            elif after not in done:
                stack.append((after, iter(uses.get(after, ()))))
                way.append(after)

    def _fault(self, at: tuple[str, ...], message: str, level: str = "error") -> None:
        path = ("context", *at)
        node = node_at(self.reading.tree, path)
        above = node_at(self.reading.tree, path[:-1])
        place = (node.line, node.column)
        if isinstance(above, Mapping) and len(at) == 1:
            place = above.keys.get(at[-1], place)
        rule = "declaration" if level == "error" else "recipe-style"
        self.faults.append(Fault(node.file, *place, path_text(path), message, level, rule))
