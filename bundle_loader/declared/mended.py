"""A tree with faults without what is faulty: what is right in it goes on to be checked against everything else."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from bundle_loader.declared.tree import Mapping, Node, Sequence, plain
from bundle_loader.declared.written import Refusal, Written, place_faults, refusals
from bundle_loader.errors import Fault, nearest

M = TypeVar("M", bound=Written)
Path = tuple[str | int, ...]

_MEANT: Final = re.compile(r"unknown key; did you mean '(.+)'\?")
_ROUNDS: Final = 8
"""Times that faulty values are taken out one by one, before whole keys are."""


@dataclass(frozen=True, slots=True)
class Mended(Generic[M]):
    """What is left of a tree once its faulty values are gone. It is there to find more faults in, never to be used."""

    written: M
    tree: Mapping
    faults: tuple[Fault, ...]
    """What only shows once the first faults are out of the way, and does not come of taking them out."""
    lost: frozenset[Path]
    """Keys that were taken out: a name that somebody else misses may be among them."""


def mended(model: type[M], tree: Mapping) -> Mended[M]:
    """`tree` without what `model` refuses in it, each faulty value taken out as deep inside as can be.

    What is refused only then is a fault of the author's own, unless something that may be missing there was taken out: any
    value but an unknown key that is like no other.
    """
    faults: list[Fault] = []
    lost: set[Path] = set()
    doubtful: set[Path] = set()
    for turn in range(2 * _ROUNDS):
        written, refused = refusals(model, plain(tree))
        if written is not None:
            return Mended(written, tree, tuple(faults), frozenset(lost))
        if turn:
            own = [entry for entry in refused if not any(path[: len(entry.path)] == entry.path for path in doubtful)]
            faults += [fault for entry in own for fault in place_faults(model, tree, (), entry)]
        foreign = _foreign(refused)
        gone = {path: path if turn < _ROUNDS else path[:1] for path in (_deepest(tree, entry.path) for entry in refused)}
        lost.update(gone.values())
        doubtful.update(short for path, short in gone.items() if path not in foreign)
        tree = _without(tree, set(gone.values()))
    empty = Mapping({}, {}, tree.file, tree.line, tree.column)
    return Mended(model(), empty, tuple(faults), frozenset({*lost, *((key,) for key in tree.entries)}))


def _deepest(tree: Mapping, path: Path) -> Path:
    """As much of a path as is written."""
    node: Node = tree
    for index, step in enumerate(path):
        if isinstance(node, Mapping) and isinstance(step, str) and step in node.entries:
            node = node.entries[step]
        elif isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
        else:
            return path[:index]
    return path


def _foreign(refused: list[Refusal]) -> set[Path]:
    """Keys for want of which nothing can be missing: they are unknown, and like no other."""
    return {entry.path for entry in refused if entry.unknown and not nearest(str(entry.path[-1]), entry.known, 1)}


def _without(node: Any, paths: set[Path]) -> Any:
    """The tree without the values at `paths`."""
    if () in paths:
        return Mapping({}, {}, node.file, node.line, node.column)
    below: dict[str | int, set[Path]] = {}
    for path in paths:
        below.setdefault(path[0], set()).add(path[1:])
    if isinstance(node, Sequence):
        kept = [index for index in range(len(node.items)) if () not in below.get(index, ())]
        items = [_without(node.items[index], below[index]) if index in below else node.items[index] for index in kept]
        numbers = tuple(node.number(index) for index in kept)
        return Sequence(items, node.file, node.line, node.column, node.sealed, numbers)
    entries = {
        key: _without(value, below[key]) if key in below else value
        for key, value in node.entries.items()
        if () not in below.get(key, ())
    }
    return Mapping(entries, node.keys, node.file, node.line, node.column, node.sealed)


def not_following(later: Iterable[Fault], first: Iterable[Fault]) -> list[Fault]:
    """The faults of `later` but for those that only follow from errors of `first`: about the same key, or what encloses it."""
    errors = [fault for fault in first if fault.level == "error"]
    inside = {(fault.file, key) for fault in errors for key in _enclosing(fault.key)}
    inside |= {(fault.file, f"{fault.key[: -len(written)]}{meant}") for fault in errors for written, meant in _misspelt(fault)}
    same = {(fault.file, fault.line, fault.key) for fault in errors if fault.key}
    return [fault for fault in later if (fault.file, fault.key) not in inside and (fault.file, fault.line, fault.key) not in same]


def _misspelt(fault: Fault) -> list[tuple[str, str]]:
    """The misspelt key of a fault, and the one that was meant."""
    found = _MEANT.fullmatch(fault.message)
    written = re.split(r"[.\]]", fault.key)[-1]
    return [(written, found[1])] if found and written else []


def _enclosing(key: str) -> list[str]:
    """`tiers.low` and `tiers` for `tiers.low[2]`."""
    return [key[:index] for index, letter in enumerate(key) if index and letter in ".["]
