"""Where the paths of a bundle start and what they may not leave: one answer for mentions, context and includes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bundle_loader.declared.context import file_name
from bundle_loader.errors import did_you_mean, nearest
from bundle_loader.sources.files import Reader, real, root_of

MAX_PATH: Final = 1024
"""Characters of a path."""


class Wrong(str):
    """Why a file cannot be taken, in words."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Home:
    """Where the paths of a bundle start, and what they may not leave."""

    folder: Path
    root: Path

    @classmethod
    def of(cls, path: Path) -> Home:
        """The home of the bundle in the file `path`, which is resolved."""
        return cls(path.parent, root_of(path))


class Homes:
    """The bundles that can be named, and the files that `name:path` names in them."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._homes: dict[str, Home] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._homes

    def __iter__(self) -> Iterator[str]:
        return iter(self._homes)

    def add(self, name: str, path: Path) -> None:
        """The bundle `name` lies in the file `path`; the first of a name stays."""
        self._homes.setdefault(name, Home.of(path))

    def get(self, name: str) -> Home | None:
        """The home of a bundle."""
        return self._homes.get(name)

    def find(self, bundle: str, path: str, asker: Home) -> Path | Wrong:
        """The file that `bundle:path` names, links followed, or why a bundle that lives at `asker` cannot have it."""
        home = self._homes.get(bundle)
        if home is None:
            known = did_you_mean(bundle, list(self._homes)) or f"; bundles here are {', '.join(sorted(self._homes)[:8])}"
            return Wrong(f"no bundle '{bundle}' here{known}")
        return self.inside(home, bundle, path, asker)

    def inside(self, home: Home, bundle: str, path: str, asker: Home) -> Path | Wrong:
        """The file at `path` in the bundle that lives at `home`: beside the bundle's own file, else from its root."""
        if "\0" in path:
            return Wrong("is no path: it holds a NUL character")
        if len(path) > MAX_PATH:
            return Wrong(f"is no path: longer than {MAX_PATH} characters")
        if os.path.isabs(path):
            return Wrong("is an absolute path; write it relative to the bundle's file")
        found = real(home.folder / path)
        refused = self._outside(found, home, asker)
        if refused is None and os.path.isfile(found):
            return found
        from_root = real(home.root / path)
        if os.path.isfile(from_root) and self._outside(from_root, home, asker) is None:
            return from_root
        if refused is not None:
            return refused
        if os.path.isdir(found):
            return Wrong("is a directory; name a file in it")
        if os.path.lexists(found):
            return Wrong("is not a file")
        return Wrong(f"no such file{self._near(bundle, path, home, asker)}")

    def _outside(self, found: Path, home: Home, asker: Home) -> Wrong | None:
        """5. Relative paths are relative to the file that holds them and may not leave its root (composition).

        A bundle of another root may reach less: only what lies beside the bundle, in the open.
        """
        own = asker.root == home.root
        limit = home.root if own else home.folder
        if not found.is_relative_to(limit):
            return Wrong(f"leads out of {self.reader.shown(limit)}; keep it inside")
        if not own and any(part.startswith(".") for part in found.relative_to(limit).parts):
            return Wrong("is hidden from bundles of another root")
        return None

    def _near(self, bundle: str, path: str, home: Home, asker: Home) -> str:
        for start in dict.fromkeys((home.folder, home.root)):
            found = real(start / path)
            try:
                beside = os.listdir(found.parent) if self._outside(found, home, asker) is None else []
            except OSError:
                beside = []
            close = nearest(found.name, beside, 1)
            if close:
                return f"; did you mean '{file_name(bundle, os.path.join(os.path.dirname(path), close[0]))}'?"
        return f"; paths start at {self.reader.shown(home.folder)}"
