"""`models.lock`: which model a pattern means until somebody moves it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import yaml

from bundle_loader.declared.frontmatter import Document
from bundle_loader.declared.tree import position
from bundle_loader.declared.written import Format, Named, Written, check
from bundle_loader.errors import Fault

FORMAT: Final = 1
_HEAD: Final = "# Which model a pattern means, until 'bundle-loader lock --update' moves it. Written by 'bundle-loader lock'.\n"


class WrittenLock(Written):
    """Every key that a lock file may have."""

    format: Format
    models: dict[Named, dict[Named, Named]] | None = None


@dataclass(frozen=True, slots=True)
class Pin:
    """What one pattern is held to."""

    model: str
    file: str = ""
    line: int = 0
    column: int = 0

    @property
    def place(self) -> str:
        """`FILE:LINE`; for one that was not read from a file, what it is."""
        return f"{self.file}:{self.line}" if self.file else "the lock"


@dataclass(frozen=True, slots=True)
class ModelsLock:
    """Patterns of providers, by id, and the models that they are held to."""

    pins: Mapping[str, Mapping[str, Pin]] = field(default_factory=dict)
    """Provider -> pattern -> pin."""
    simulated: bool = False
    """It holds the answers of simulated providers, else those of live ones: neither says anything of the other."""

    def pin(self, provider: str, pattern: str) -> Pin | None:
        """What a pattern of a provider is held to; patterns are compared in any case."""
        held = self.pins.get(provider)
        if not held:
            return None
        exact = held.get(pattern)
        if exact is not None:
            return exact
        folded = pattern.casefold()
        return next((pin for written, pin in held.items() if written.casefold() == folded), None)

    def canonical(self, id_of: Callable[[str], str | None]) -> ModelsLock:
        """The same pins under the ids that the names of providers mean; a name that means none stays.

        Of two pins of one pattern the one holds that is written under the id itself, else the first.
        """
        pins: dict[str, dict[str, Pin]] = {}
        for name in sorted(self.pins, key=lambda name: id_of(name) != name):
            held = pins.setdefault(id_of(name) or name, {})
            there = {pattern.casefold() for pattern in held}
            held.update((pattern, pin) for pattern, pin in self.pins[name].items() if pattern.casefold() not in there)
        return replace(self, pins=pins)

    def text(self) -> str:
        """The file: the same pins give the same bytes."""
        models = {id: {glob: self.pins[id][glob].model for glob in sorted(self.pins[id])} for id in sorted(self.pins)}
        kept = {id: held for id, held in models.items() if held}
        said = yaml.safe_dump({"format": FORMAT, "models": kept}, sort_keys=False, allow_unicode=True, width=1000)
        return _HEAD + str(said)


def read_models_lock(document: Document, *, simulated: bool = False) -> tuple[ModelsLock, tuple[Fault, ...]]:
    """A lock file checked, with every fault at its place. Where there is any fault the lock holds nothing."""
    faults = list(document.faults)
    tree = document.header
    if faults and not tree.entries:
        return ModelsLock(simulated=simulated), tuple(faults)
    written, found = check(WrittenLock, tree)
    faults += found
    pins: dict[str, dict[str, Pin]] = {}
    for provider, held in ((written.models or {}) if written is not None else {}).items():
        seen: dict[str, str] = {}
        for pattern, model in held.items():
            path = ("models", provider, pattern)
            wrong = _wrong(pattern, model, seen)
            if wrong:
                faults.append(Fault(*position(tree, path, key=True), ".".join(path), wrong))
            seen[pattern.casefold()] = pattern
            pins.setdefault(provider, {})[pattern] = Pin(model, *position(tree, path, key=True))
    return ModelsLock({} if faults else pins, simulated), tuple(faults)


def _wrong(pattern: str, model: str, seen: Mapping[str, str]) -> str | None:
    if any(mark in model for mark in "*?"):  # a `[` may stand in an id
        return f"'{model}' is a pattern; write the id of one model"
    if pattern.casefold() in seen:
        return f"is the same pattern as '{seen[pattern.casefold()]}', which stands above; keep one of them"
    return None
