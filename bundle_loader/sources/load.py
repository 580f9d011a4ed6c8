"""From a name or path to a bundle: finding files, following includes, laying them in order."""

from __future__ import annotations

import os
from collections.abc import Sequence as SequenceOf
from glob import has_magic
from pathlib import Path

from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.compose import compose
from bundle_loader.declared.frontmatter import Document, read_document, read_yaml_document
from bundle_loader.declared.layer import Layer, looks_like_bundle, read_agent, read_layer
from bundle_loader.declared.settings import SettingsFile
from bundle_loader.declared.tree import Mapping, Scalar, Sequence
from bundle_loader.errors import DeclarationError, Fault, did_you_mean, nearest
from bundle_loader.sources.files import SUFFIXES, Reader, real, root_of, shipped_folder
from bundle_loader.sources.mentions import read_context
from bundle_loader.sources.patterns import matching
from bundle_loader.sources.settings import find_settings

DEFAULT_BUNDLE = "foundation"


def load_bundle(
    name_or_path: str | os.PathLike[str] | None = None,
    *,
    strict: bool = False,
    settings: SequenceOf[SettingsFile] | None = None,
) -> Bundle:
    """Load a bundle by shipped name or by path, with all that it includes.

    A bare name is looked up in the working directory, then in the `bundles/` of its root, then among the shipped; without
    a name it is the settings' bundle, else the shipped `foundation`. A path may also name a single agent file, which becomes
    a bundle of one agent.

    `settings` are laid over it: by default those of the organisation, the project and the user that are found from the
    working directory (`find_settings`); an empty list is none.

    An agent file with faults does not stop the others: see `Bundle.problems` and `Bundle.broken`. Raises DeclarationError,
    with every fault of every file at once, when a bundle or settings file itself has faults, or for any fault at all with
    `strict`.
    """
    loader = _Loader(Reader())
    settings = find_settings() if settings is None else settings
    chosen = _default_bundle(settings) if name_or_path is None else None
    if name_or_path is not None:
        path = loader.find_root(os.fspath(name_or_path))
    elif chosen is not None and chosen.written.bundle:
        path = loader.find_root(chosen.written.bundle, Path(chosen.folder) if chosen.folder else None)
    else:
        path = shipped_folder() / "bundles" / f"{DEFAULT_BUNDLE}.md"
    loader.add(path, ())
    complete = not any(fault.level == "error" for fault in loader.faults)
    loader.faults += read_context(loader.layers, loader.reader, complete=complete)
    broken = [*loader.faults, *(fault for layer in loader.layers for fault in layer.faults)]
    if any(fault.level == "error" for fault in broken):
        broken += [fault for layer in loader.layers for source in layer.agent_files for fault in source.faults]
        broken += [fault for file in settings for fault in file.faults]
        raise DeclarationError(sorted({fault for fault in broken if fault.level == "error"}))
    bundle = compose(loader.layers, faults=loader.faults, settings=settings, trusted=chosen is None or chosen.trusted)
    bundle_files = {layer.file for layer in loader.layers} | {file.file for file in settings}
    fatal = [fault for fault in bundle.problems if fault.level == "error" and (strict or fault.file in bundle_files)]
    if fatal:
        raise DeclarationError([fault for fault in bundle.problems if fault.level == "error"])
    return bundle


def _default_bundle(settings: SequenceOf[SettingsFile]) -> SettingsFile | None:
    """The settings that say which bundle whoever names none gets: the most derived."""
    return next((file for file in reversed(settings) if file.written.bundle), None)


class _Loader:
    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.layers: list[Layer] = []
        self.faults: list[Fault] = []
        self.laid: dict[Path, str] = {}
        self.order: dict[Path, int] = {}
        self.names: dict[str, tuple[Path, tuple[str, ...]]] = {}

    # --- finding

    def find_root(self, name: str, folder: Path | None = None) -> Path:
        """The file of the bundle that a caller named, or that settings in `folder` name."""
        if not name:
            raise _fault("", 0, 0, "", "the bundle has no name; give a name or a path")
        if _is_bare(name):
            found = self._bare(name, folder or self.reader.here)
            if found is not None:
                return found
            known = sorted(path.stem for path in (shipped_folder() / "bundles").iterdir() if path.suffix in SUFFIXES)
            near = did_you_mean(name, known) or f"; shipped are {', '.join(known)}; a path needs a '/' or a suffix such as .md"
            raise _fault(name, 0, 0, "", f"no bundle of that name{near}")
        try:
            path = (folder or Path()) / Path(name).expanduser()
        except RuntimeError as error:
            raise _fault(name, 0, 0, "", f"cannot be found: {error}") from None
        if path.is_dir():
            inside = sorted(file.name for file in path.iterdir() if file.suffix in SUFFIXES)
            hint = f", such as {path / inside[0]}" if inside else ""
            raise _fault(name, 0, 0, "", f"is a directory; name the bundle file in it{hint}")
        if not path.exists():
            siblings = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
            near = "".join(f"; did you mean '{path.parent / close}'?" for close in nearest(path.name, siblings, 1))
            raise _fault(name, 0, 0, "", f"no such file{near}")
        return real(path)

    def _bare(self, name: str, folder: Path) -> Path | None:
        """Rule 4: beside the including file, then in the root's `bundles/`, then among the shipped."""
        root = root_of(folder / "x")
        places = [folder, root / "bundles", shipped_folder() / "bundles"]
        found = [
            place / f"{name}{suffix}"
            for place in dict.fromkeys(places)
            for suffix in SUFFIXES
            if (place / f"{name}{suffix}").is_file()
        ]
        if len(found) > 1:
            message = f"bundle '{name}' shadows {', '.join(self.reader.shown(path) for path in found[1:])}"
            self.faults.append(Fault(self.reader.shown(found[0]), 1, 1, "", message, "warning", "shadowed-bundle"))
        return real(found[0]) if found else None

    # --- laying

    def add(self, path: Path, chain: tuple[Path, ...], at: tuple[str, int, int] | None = None) -> None:
        """Rule 1: depth first, left to right, each once, after all that it includes."""
        if path in chain:
            loop = " -> ".join(self.reader.shown(step) for step in (*chain[chain.index(path) :], path))
            self.faults.append(
                Fault(*(at or (self.reader.shown(path), 1, 1)), "includes", f"bundles include each other in a loop: {loop}")
            )
            return
        if path in self.laid:
            return
        document = self._document(path)
        if document is None:
            return
        if not chain and path.suffix == ".md" and document.values and not looks_like_bundle(document.values):
            self.layers.append(_bundle_of_one(document))
            return
        layer = read_layer(document)
        self._check_name(layer, path, (*chain, path))
        self.laid[path] = layer.name
        self._includes(layer, path, chain)
        self._agent_files(layer, path)
        self.order[path] = len(self.layers)
        self.layers.append(layer)

    def _includes(self, layer: Layer, path: Path, chain: tuple[Path, ...]) -> None:
        """Lay what a bundle includes; warn where inclusion contradicts the order in which it is written."""
        last: tuple[int, str] | None = None
        for target, place in _texts(layer.header.entries.get("includes")):
            found = self._include(target, path, place)
            if found is None:
                continue
            self.add(found, (*chain, path), place)
            here = self.order.get(found)
            if here is None:
                continue
            layer.includes.append(self.reader.shown(found))
            if last is not None and here < last[0]:
                message = f"'{target}' is written after '{last[1]}', but inclusion lays it before, so '{last[1]}' overrides it"
                self.faults.append(Fault(*place, "includes", message, "warning", "include-order"))
            else:
                last = here, target

    def _check_name(self, layer: Layer, path: Path, chain: tuple[Path, ...]) -> None:
        """Rule 2: two sources for one name are an error that shows both chains."""
        shown = tuple(self.reader.shown(step) for step in chain)
        other = self.names.setdefault(layer.name, (path, shown))
        if other[0] != path:
            message = (
                f"two bundles are named '{layer.name}': {' -> '.join(other[1])} and {' -> '.join(shown)}; rename one of them"
            )
            self.faults.append(Fault(layer.file, 1, 1, "bundle.name", message))

    def _document(self, path: Path) -> Document | None:
        shown = self.reader.shown(path)
        try:
            text = self.reader.read(path)
        except DeclarationError as error:
            self.faults += error.faults
            return None
        document = read_document(text, shown) if path.suffix == ".md" else read_yaml_document(text, shown)
        if document.values is None:
            self.faults += document.faults
            return None
        return document

    def _include(self, target: str, path: Path, place: tuple[str, int, int]) -> Path | None:
        if target.startswith("git+"):
            self.faults.append(
                Fault(*place, "includes", f"'{target}': bundles are not fetched with git yet; include a local file")
            )
            return None
        if _is_bare(target):
            found = self._bare(target, path.parent)
            if found is None:
                known = sorted(file.stem for file in (shipped_folder() / "bundles").iterdir() if file.suffix in SUFFIXES)
                self.faults.append(Fault(*place, "includes", f"no bundle '{target}'{did_you_mean(target, known)}"))
                return None
        else:
            found = real(path.parent / target)
        if not any(found.is_relative_to(folder) for folder in (root_of(path), shipped_folder() / "bundles")):
            self.faults.append(Fault(*place, "includes", f"'{target}' {_leaves(root_of(path), self.reader)}"))
            return None
        if not found.is_file():
            what = "is a directory; name the bundle file in it" if found.is_dir() else "no such file"
            self.faults.append(Fault(*place, "includes", f"'{target}': {what}"))
            return None
        return found

    def _agent_files(self, layer: Layer, path: Path) -> None:
        agents = layer.header.entries.get("agents")
        include = agents.entries.get("include") if isinstance(agents, Mapping) else None
        root = root_of(path)
        seen: set[str] = set()
        folders: dict[str, bool] = {}
        for pattern, place in _texts(include):
            bundles = {str(laid) for laid in self.laid}
            named, outside = matching(pattern, path.parent, root)
            matched = [name for name in named if name.endswith(".md") and name not in bundles]
            outside += [name for name in matched if not self._inside(name, root, folders)]
            if outside:
                which = f": {self.reader.shown(outside[0])}" if os.path.isfile(outside[0]) and os.path.islink(outside[0]) else ""
                self.faults.append(Fault(*place, "agents.include", f"'{pattern}'{which} {_leaves(root, self.reader)}"))
                continue
            if not matched:
                level = "warning" if has_magic(pattern) else "error"
                message = f"'{pattern}' matches no file"
                self.faults.append(Fault(*place, "agents.include", message, level, "include-matches-nothing"))
            for name in matched:
                if name not in seen:
                    seen.add(name)
                    self._agent(layer, name)

    def _inside(self, name: str, root: Path, folders: dict[str, bool]) -> bool:
        """Whether a file lies below the root, links followed; `folders` keeps what is known of its folder."""
        if os.path.islink(name):
            return real(name).is_relative_to(root)
        folder = os.path.dirname(name)
        if folder not in folders:
            folders[folder] = real(folder).is_relative_to(root)
        return folders[folder]

    def _agent(self, layer: Layer, path: str) -> None:
        shown = self.reader.shown(path)
        try:
            document = read_document(self.reader.read(path), shown)
        except DeclarationError as error:
            document = Document(shown, "", 1)
            document.faults += error.faults
        if document.values is not None and isinstance(document.values.get("bundle"), dict):
            self.faults.append(Fault(shown, 1, 1, "bundle", "is a bundle, not an agent; it is left out here", "note"))
            return
        layer.agent_files.append(read_agent(document))


def _bundle_of_one(document: Document) -> Layer:
    """A single agent file given as a bundle."""
    source = read_agent(document)
    layer = Layer(source.name, document.file, Mapping({}, {}, document.file, 1, 1), "")
    layer.agent_files.append(source)
    return layer


def _texts(node: object) -> list[tuple[str, tuple[str, int, int]]]:
    """Texts of a list (or a single one), each with its place."""
    items = node.items if isinstance(node, Sequence) else [node]
    return [(item.text, (item.file, item.line, item.column)) for item in items if isinstance(item, Scalar) and not item.is_null]


def _is_bare(name: str) -> bool:
    return "/" not in name and os.sep not in name and not name.endswith(SUFFIXES) and name not in (".", "..")


def _leaves(root: Path, reader: Reader) -> str:
    return f"leads out of {reader.shown(root)}; keep it inside, or put a .bundle-loader folder at the root of the project"


def _fault(file: str, line: int, column: int, key: str, message: str) -> DeclarationError:
    return DeclarationError([Fault(file, line, column, key, message)])
