"""Which file an include, or a caller's name for a bundle, means."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

from bundle_loader.declared.context import split_name
from bundle_loader.errors import DeclarationError, Fault, did_you_mean, nearest
from bundle_loader.sources.files import SUFFIXES, Reader, real, root_of, shipped_folder
from bundle_loader.sources.homes import Home, Homes, Wrong

Place: TypeAlias = tuple[str, int, int]


class Finder:
    """Finds bundle files by bare name, by path and by `name:path`; what is wrong with an include goes to `faults`."""

    def __init__(self, reader: Reader, faults: list[Fault]) -> None:
        self.reader = reader
        self.faults = faults
        self.homes = Homes(reader)
        """The bundles that were read so far."""

    def root(self, name: str, folder: Path | None = None) -> Path:
        """The file of the bundle that a caller named, or that settings in `folder` name. Raises DeclarationError."""
        if not name:
            raise _fault("", "the bundle has no name; give a name or a path")
        if _is_bare(name):
            found = self._bare(name, folder or self.reader.here)
            if found is not None:
                return found
            known = _shipped()
            near = did_you_mean(name, known) or f"; shipped are {', '.join(known)}; a path needs a '/' or a suffix such as .md"
            raise _fault(name, f"no bundle of that name{near}")
        try:
            path = (folder or Path()) / Path(name).expanduser()
        except RuntimeError as error:
            raise _fault(name, f"cannot be found: {error}") from None
        if path.is_dir():
            inside = sorted(file.name for file in path.iterdir() if file.suffix in SUFFIXES)
            hint = f", such as {path / inside[0]}" if inside else ""
            raise _fault(name, f"is a directory; name the bundle file in it{hint}")
        if not path.exists():
            siblings = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
            near = "".join(f"; did you mean '{path.parent / close}'?" for close in nearest(path.name, siblings, 1))
            raise _fault(name, f"no such file{near}")
        return real(path)

    def include(self, target: str, path: Path, place: Place) -> Path | None:
        """The file that `target` names in the bundle file `path`; None, and a fault at `place`, where it names none."""
        if target.startswith("git+"):
            found: Path | Wrong = Wrong(f"'{target}': bundles are not fetched with git yet; include a local file")
        elif is_named(target):
            found = self._named(target, path)
        else:
            found = self._local(target, path)
        if isinstance(found, Wrong):
            self.faults.append(Fault(*place, "includes", str(found)))
            return None
        return found

    def _local(self, target: str, path: Path) -> Path | Wrong:
        if _is_bare(target):
            named = self._bare(target, path.parent)
            if named is None:
                return Wrong(f"no bundle '{target}'{did_you_mean(target, _shipped())}")
            found = named
        else:
            found = real(path.parent / target)
        if not any(found.is_relative_to(folder) for folder in (root_of(path), shipped_folder() / "bundles")):
            return Wrong(f"'{target}' {leaves(root_of(path), self.reader)}")
        if not found.is_file():
            return Wrong(f"'{target}': {'is a directory; name the bundle file in it' if found.is_dir() else 'no such file'}")
        return found

    def _named(self, target: str, path: Path) -> Path | Wrong:
        """5. `name:path` is a path inside the bundle of that name (composition).

        The bundle is one that was read, else one that rule 4 finds.
        """
        bundle, rest = split_name(target) or ("", target)
        home = self.homes.get(bundle)
        if home is None:
            named = self._local(bundle, path) if _is_bare(bundle) else Wrong()
            if isinstance(named, Wrong):
                known = sorted({*self.homes, *_shipped()})
                near = did_you_mean(bundle, known) or f"; bundles here are {', '.join(known[:8])}"
                return Wrong(f"'{target}': no bundle '{bundle}' here{near}")
            home = Home.of(named)
        found = self.homes.inside(home, bundle, rest, Home.of(path))
        return Wrong(f"'{target}': {found}") if isinstance(found, Wrong) else found

    def _bare(self, name: str, folder: Path) -> Path | None:
        """4. A bare name, in `includes` or given to `load_bundle`, is looked up beside the including file, then in the
        root's `bundles/`, then among the shipped; shadowing is a warning (composition).
        """
        places = [folder, root_of(folder / "x") / "bundles", shipped_folder() / "bundles"]
        found: dict[Path, Path] = {}
        for place in places:
            for suffix in SUFFIXES:
                path = place / f"{name}{suffix}"
                if path.is_file():
                    found.setdefault(real(path), path)
        shown = [self.reader.shown(path) for path in found.values()]
        if len(shown) > 1:
            message = f"bundle '{name}' shadows {', '.join(shown[1:])}"
            self.faults.append(Fault(shown[0], 1, 1, "", message, "warning", "shadowed-bundle"))
        return next(iter(found), None)


def is_named(target: str) -> bool:
    """True for `name:path`."""
    return split_name(target) is not None


def leaves(root: Path, reader: Reader) -> str:
    """What is wrong with a path of a bundle file that leads out of its root."""
    return f"leads out of {reader.shown(root)}; keep it inside, or put a .bundle-loader folder at the root of the project"


def _shipped() -> list[str]:
    return sorted(path.stem for path in (shipped_folder() / "bundles").iterdir() if path.suffix in SUFFIXES)


def _is_bare(name: str) -> bool:
    return "/" not in name and os.sep not in name and not name.endswith(SUFFIXES) and name not in (".", "..")


def _fault(file: str, message: str) -> DeclarationError:
    return DeclarationError([Fault(file, 0, 0, "", message)])
