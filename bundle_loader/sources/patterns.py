"""Files that a pattern names below a root: nothing outside is looked into, and links in a circle are walked once."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from fnmatch import fnmatch
from glob import has_magic
from itertools import islice
from pathlib import Path
from typing import Final

from bundle_loader.sources.files import real

MAX_MATCHES: Final = 20_000
"""Files that one pattern may name."""
MAX_LOOKED: Final = 200_000
"""Entries of folders that are looked at for one pattern."""
MAX_DEPTH: Final = 100
"""Folders from where a pattern starts to the last that is looked into."""


class TooMany(ValueError):
    """A pattern that names, or walks through, more than it may."""


def matching(pattern: str, folder: Path, root: Path) -> tuple[list[str], list[str], list[str]]:
    """The files that `pattern` names from `folder`, as sorted normalised paths; the folders on its way outside of `root`; and
    what it names that is no file: folders, links to nothing, devices, pipes.

    The rules are those of `glob` with `**`: hidden files and folders are left out unless a step begins with a dot. Raises
    TooMany, which says what to write.
    """
    steps = [step for step in pattern.split("/") if step not in ("", ".")]
    start = os.sep if pattern.startswith("/") else str(folder)
    walk = _Walk(steps, root)
    files = {os.path.normpath(name) for name in islice(walk.files(start, 0), MAX_MATCHES + 1)}
    if len(files) > MAX_MATCHES:
        raise TooMany(f"names more than {MAX_MATCHES} files; name fewer folders")
    return sorted(files), sorted(walk.outside), sorted(walk.no_files)


class _Walk:
    def __init__(self, steps: list[str], root: Path) -> None:
        self.steps = steps
        self.root = root
        self.outside: set[str] = set()
        self.no_files: set[str] = set()
        self._seen: set[tuple[Path, int]] = set()
        self._looked = self._depth = 0

    def files(self, path: str, at: int) -> Iterator[str]:
        """What the steps from `at` on name below `path`."""
        while at < len(self.steps) and not has_magic(self.steps[at]):
            path = os.path.join(path, self.steps[at])
            at += 1
        if at == len(self.steps):
            if os.path.isfile(path):
                yield path
            elif os.path.lexists(path):
                self._no_file(path)
            return
        folder = real(path)
        if not folder.is_relative_to(self.root):
            self.outside.add(os.path.normpath(path))
            return
        if (folder, at) in self._seen:
            return
        self._seen.add((folder, at))
        if self._depth == MAX_DEPTH:
            raise TooMany(f"walks through folders more than {MAX_DEPTH} deep; name fewer folders")
        self._depth += 1
        yield from self._entries(path, at)
        self._depth -= 1

    def _entries(self, path: str, at: int) -> Iterator[str]:
        step, last = self.steps[at], at == len(self.steps) - 1
        deep = step == "**"
        if deep and not last:
            yield from self.files(path, at + 1)
        try:
            entries = list(islice(os.scandir(path), MAX_LOOKED - self._looked + 1))
        except OSError:
            return
        self._looked += len(entries)
        if self._looked > MAX_LOOKED:
            raise TooMany(f"walks through more than {MAX_LOOKED} files and folders; name fewer folders")
        for entry in entries:
            if entry.name.startswith(".") and not step.startswith("."):
                continue
            if not deep and not fnmatch(entry.name, step):
                continue
            if last and entry.is_file():
                yield entry.path
                continue
            if last:
                self._no_file(entry.path)
            if (deep or not last) and entry.is_dir():
                yield from self.files(entry.path, at if deep else at + 1)

    def _no_file(self, path: str) -> None:
        if len(self.no_files) <= MAX_MATCHES:
            self.no_files.add(os.path.normpath(path))


def what_it_is(path: str) -> str:
    """In a word or two, what a path leads to that is no file."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return "is a link to nothing" if os.path.islink(path) else "cannot be looked at"
    if stat.S_ISDIR(mode):
        return "is a folder"
    return "is a device, pipe or socket"
