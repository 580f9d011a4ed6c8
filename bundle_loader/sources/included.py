"""The files that an `include` of a bundle takes in: named by paths and patterns, kept inside of the bundle's root."""

from __future__ import annotations

import os
from collections.abc import Collection
from glob import has_magic
from pathlib import Path
from typing import Final, NamedTuple

from bundle_loader.declared.tree import Node, Scalar, Sequence
from bundle_loader.errors import Fault
from bundle_loader.sources.files import Reader, real, root_of
from bundle_loader.sources.includes import Place, leaves
from bundle_loader.sources.patterns import TooMany, matching, what_it_is

_MAX_FAULTS: Final = 100
"""Files that lead out of the root and that are told one by one."""


class Included(NamedTuple):
    """The files that an `include` takes in."""

    names: list[str]
    faults: list[Fault]
    left: list[str]
    """Files that it names and that are left out for a fault; `*` where nobody knows which."""


def included_files(
    include: Node | None, key: str, path: Path, reader: Reader, *, suffixes: tuple[str, ...], without: Collection[str] = ()
) -> Included:
    """The files that `include`, written under `key` in the bundle file `path`, names, each once, and what is wrong with it.

    Only files with one of `suffixes` count, and none of `without`. 5. Relative paths are relative to the file that holds them
    and may not leave its root (composition).
    """
    root = root_of(path)
    found: dict[str, None] = {}
    faults: list[Fault] = []
    left: list[str] = []
    folders: dict[str, bool] = {}
    for pattern, place in texts_of(include):
        try:
            named, outside, no_files = matching(pattern, path.parent, root)
        except TooMany as error:
            faults.append(Fault(*place, key, f"'{pattern}' {error}"))
            left.append("*")
            continue
        matched = [name for name in named if name.endswith(suffixes) and name not in without]
        left_out = [name for name in no_files if name.endswith(suffixes)]
        for name in left_out:
            message = f"'{pattern}': {reader.shown(name)} {what_it_is(name)}, no file; it is left out"
            faults.append(Fault(*place, key, message, "warning" if has_magic(pattern) else "error", "no-file"))
        leading = [name for name in matched if not _inside(name, root, folders)]
        for name in [*outside, *leading][:_MAX_FAULTS]:
            which = f": {reader.shown(name)}" if os.path.isfile(name) and os.path.islink(name) else ""
            faults.append(Fault(*place, key, f"'{pattern}'{which} {leaves(root, reader)}"))
        left += ["*" for _ in outside] + leading + left_out
        if not matched and not outside and not left_out:
            level = "warning" if has_magic(pattern) else "error"
            faults.append(Fault(*place, key, f"'{pattern}' matches no file", level, "include-matches-nothing"))
            left += [] if has_magic(pattern) else [pattern]
        gone = set(leading)
        found.update(dict.fromkeys(name for name in matched if name not in gone))
    return Included(list(found), faults, left)


def texts_of(node: object) -> list[tuple[str, Place]]:
    """Texts of a list (or a single one), each with its place."""
    items = node.items if isinstance(node, Sequence) else [node]
    return [(item.text, (item.file, item.line, item.column)) for item in items if isinstance(item, Scalar) and not item.is_null]


def _inside(name: str, root: Path, folders: dict[str, bool]) -> bool:
    """Whether a file lies below the root, links followed; `folders` keeps what is known of its folder."""
    if os.path.islink(name):
        return real(name).is_relative_to(root)
    folder = os.path.dirname(name)
    if folder not in folders:
        folders[folder] = real(folder).is_relative_to(root)
    return folders[folder]
