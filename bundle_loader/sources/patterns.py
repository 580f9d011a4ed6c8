"""Files that a pattern names below a root: nothing outside is looked into, and links in a circle are walked once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fnmatch import fnmatch
from glob import has_magic
from itertools import islice
from pathlib import Path

from bundle_loader.sources.files import real

MAX_MATCHES = 100_000
"""More files than this no pattern gives."""


def matching(pattern: str, folder: Path, root: Path) -> tuple[list[str], list[str]]:
    """The files that `pattern` names from `folder`, as sorted normalised paths; and the folders on its way outside of `root`.

    The rules are those of `glob` with `**`: hidden files and folders are left out unless a step begins with a dot.
    """
    steps = [step for step in pattern.split("/") if step not in ("", ".")]
    start = os.sep if pattern.startswith("/") else str(folder)
    walk = _Walk(steps, root)
    files = {os.path.normpath(name) for name in islice(walk.files(start, 0), MAX_MATCHES)}
    return sorted(files), sorted(walk.outside)


class _Walk:
    def __init__(self, steps: list[str], root: Path) -> None:
        self.steps = steps
        self.root = root
        self.outside: set[str] = set()
        self._seen: set[tuple[Path, int]] = set()

    def files(self, path: str, at: int) -> Iterator[str]:
        """What the steps from `at` on name below `path`."""
        while at < len(self.steps) and not has_magic(self.steps[at]):
            path = os.path.join(path, self.steps[at])
            at += 1
        if at == len(self.steps):
            if os.path.isfile(path):
                yield path
            return
        folder = real(path)
        if not folder.is_relative_to(self.root):
            self.outside.add(os.path.normpath(path))
            return
        if (folder, at) in self._seen:
            return
        self._seen.add((folder, at))
        yield from self._entries(path, at)

    def _entries(self, path: str, at: int) -> Iterator[str]:
        step, last = self.steps[at], at == len(self.steps) - 1
        deep = step == "**"
        if deep and not last:
            yield from self.files(path, at + 1)
        try:
            entries = list(os.scandir(path))
        except OSError:
            return
        for entry in entries:
            if entry.name.startswith(".") and not step.startswith("."):
                continue
            if not deep and not fnmatch(entry.name, step):
                continue
            if last and entry.is_file():
                yield entry.path
            elif (deep or not last) and entry.is_dir():
                yield from self.files(entry.path, at if deep else at + 1)
