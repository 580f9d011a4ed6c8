"""From a name or path to a bundle: finding files, following includes, laying them in order."""

from __future__ import annotations

import os
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path
from typing import Final

from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.compose import compose
from bundle_loader.declared.frontmatter import Document, read_document, read_yaml_document
from bundle_loader.declared.layer import Layer, looks_like_bundle, read_agent, read_layer
from bundle_loader.declared.settings import SettingsFile
from bundle_loader.declared.tree import Mapping
from bundle_loader.errors import DeclarationError, Fault
from bundle_loader.sources.files import Reader, shipped_folder
from bundle_loader.sources.included import included_files, texts_of
from bundle_loader.sources.includes import Finder, is_named
from bundle_loader.sources.mentions import read_context
from bundle_loader.sources.recipes import read_recipes
from bundle_loader.sources.settings import find_settings

DEFAULT_BUNDLE = "foundation"
_TABLES: Final = ("agents", "tiers", "roles", "profiles", "budgets")
"""What a bundle that cannot be read may have held."""
_NOT_MISSING: Final = ("agents.include", "recipes.include", "bundle.name")
"""Keys whose faults leave no bundle out."""
MAX_CHAIN: Final = 100
"""Bundles from the root to the last that it leads to."""


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
    found = examine_bundle(name_or_path, settings=settings)
    errors = [fault for fault in found.faults if fault.level == "error"]
    if found.bundle is None or not found.usable or (strict and errors):
        raise DeclarationError(errors)
    return found.bundle


@dataclass(frozen=True, slots=True)
class Examined:
    """What came of a bundle, with everything that is wrong with it."""

    bundle: Bundle | None
    """None where its own file cannot be read. One that is not `usable` is there to find more faults in."""
    faults: tuple[Fault, ...]
    """Every fault, warning and note of its files and of the settings, in file order."""
    usable: bool
    """False where a bundle or settings file has faults; those of an agent file leave that agent out."""


def examine_bundle(
    name_or_path: str | os.PathLike[str] | None = None, *, settings: SequenceOf[SettingsFile] | None = None
) -> Examined:
    """As `load_bundle`, but faults are handed back, with the bundle as far as it can be made."""
    loader = _Loader(Reader())
    settings = find_settings() if settings is None else settings
    of_settings = [fault for file in settings for fault in file.faults]
    chosen = _default_bundle(settings) if name_or_path is None else None
    try:
        loader.load(_root(loader.finder, name_or_path, chosen))
    except DeclarationError as error:
        loader.faults += error.faults
    if not loader.layers:
        return Examined(None, tuple(sorted({*loader.faults, *of_settings})), False)
    complete = not any(fault.level == "error" and fault.key not in _NOT_MISSING for fault in loader.faults)
    loader.faults += read_context(loader.layers, loader.reader, complete=complete)
    bundle = compose(
        loader.layers,
        faults=loader.faults,
        settings=settings,
        trusted=chosen is None or chosen.trusted,
        lost=() if complete else [(table,) for table in _TABLES],
    )
    own = {layer.file for layer in loader.layers} | {file.file for file in settings}
    fatal = {*loader.faults, *of_settings, *(fault for layer in loader.layers for fault in layer.faults)}
    fatal.update(fault for fault in bundle.problems if fault.file in own)
    return Examined(bundle, bundle.problems, not any(fault.level == "error" for fault in fatal))


def _root(finder: Finder, name_or_path: str | os.PathLike[str] | None, chosen: SettingsFile | None) -> Path:
    """The file of the bundle that is asked for. Raises DeclarationError."""
    if name_or_path is not None:
        return finder.root(os.fspath(name_or_path))
    if chosen is not None and chosen.written.bundle:
        return finder.root(chosen.written.bundle, Path(chosen.folder) if chosen.folder else None)
    return shipped_folder() / "bundles" / f"{DEFAULT_BUNDLE}.md"


def _default_bundle(settings: SequenceOf[SettingsFile]) -> SettingsFile | None:
    """4. With no bundle named at all: the settings', else the shipped `foundation` (composition). The most derived settings."""
    return next((file for file in reversed(settings) if file.written.bundle), None)


@dataclass(frozen=True, slots=True)
class _Target:
    """One element of `includes`, and the file that it names."""

    text: str
    place: tuple[str, int, int]
    path: Path


class _Loader:
    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.layers: list[Layer] = []
        self.faults: list[Fault] = []
        self.finder = Finder(reader, self.faults)
        self.laid: dict[Path, str] = {}
        self.order: dict[Path, int] = {}
        self.names: dict[str, tuple[Path, tuple[str, ...]]] = {}
        self.pinned: dict[str, Path] = {}
        """Name -> the one source of that name that the root file writes in its own includes."""
        self._read: dict[Path, Layer | None] = {}
        self._targets: dict[Path, list[_Target]] = {}

    # --- laying

    def load(self, path: Path) -> None:
        """Lay the root file and all that it includes; a single agent file becomes a bundle of one."""
        document = self._document(path)
        if document is None:
            return
        if path.suffix == ".md" and document.values and not looks_like_bundle(document.values):
            self.layers.append(_bundle_of_one(document))
            return
        self._keep(path, read_layer(document))
        self._pin(path)
        self._add(path, ())

    def _pin(self, root: Path) -> None:
        """2. Two sources for one name are an error, unless the root file pins one (composition).

        It pins one by writing exactly one of them in its own `includes`.
        """
        written: dict[str, dict[Path, None]] = {}
        for target in self._included(root):
            layer = self._layer(target.path)
            if layer is not None:
                written.setdefault(layer.name, {})[target.path] = None
        self.pinned = {name: next(iter(paths)) for name, paths in written.items() if len(paths) == 1}

    def _add(self, path: Path, chain: tuple[Path, ...], at: tuple[str, int, int] | None = None) -> None:
        """1. Bundles are laid depth first, left to right, each once, after all that it includes; what is laid later
        overrides. Only a loop of includes is an error, and it prints the loop (composition).
        """
        if path in chain:
            loop = " -> ".join(self.reader.shown(step) for step in (*chain[chain.index(path) :], path))
            self.faults.append(
                Fault(*(at or (self.reader.shown(path), 1, 1)), "includes", f"bundles include each other in a loop: {loop}")
            )
            return
        layer = None if path in self.laid else self._layer(path)
        if layer is None:
            return
        if len(chain) > MAX_CHAIN:
            self.faults.append(Fault(*(at or (layer.file, 1, 1)), "includes", f"bundles include more than {MAX_CHAIN} deep"))
            return
        self._check_name(layer, path, (*chain, path))
        self.laid[path] = layer.name
        self._lay_included(layer, path, chain)
        self._agent_files(layer, path)
        self.order[path] = len(self.layers)
        self.layers.append(layer)

    def _lay_included(self, layer: Layer, path: Path, chain: tuple[Path, ...]) -> None:
        """1. Where that contradicts the written left-to-right order, inclusion wins and `check` warns, naming both."""
        last: tuple[int, str] | None = None
        for target in self._included(path):
            found = self._taken(target, chain[0] if chain else path)
            self._add(found, (*chain, path), target.place)
            here = self.order.get(found)
            if here is None:
                continue
            layer.includes.append(self.reader.shown(found))
            if last is not None and here < last[0]:
                message = (
                    f"'{target.text}' is written after '{last[1]}', but inclusion lays it before, so '{last[1]}' overrides it"
                )
                self.faults.append(Fault(*target.place, "includes", message, "warning", "include-order"))
            else:
                last = here, target.text

    def _taken(self, target: _Target, root: Path) -> Path:
        """What is laid for an include: the pinned source of its name, wherever either is included."""
        layer = self._layer(target.path)
        pinned = None if layer is None else self.pinned.get(layer.name)
        if layer is None or pinned is None or pinned == target.path:
            return target.path
        taken = self.reader.shown(pinned)
        why = f"{taken} is taken, for {self.reader.shown(root)} includes it"
        message = f"two bundles are named '{layer.name}': {layer.file} and {taken}; {why}"
        self.faults.append(Fault(*target.place, "includes", message, "warning", "pinned-bundle"))
        return pinned

    def _check_name(self, layer: Layer, path: Path, chain: tuple[Path, ...]) -> None:
        """2. A bundle's identity is its canonical source. Two sources for one name are an error that shows both chains
        (composition). The source is canonical once its links are resolved.
        """
        shown = tuple(self.reader.shown(step) for step in chain)
        other = self.names.setdefault(layer.name, (path, shown))
        if other[0] == path:
            return
        both = f"two bundles are named '{layer.name}': {' -> '.join(other[1])} and {' -> '.join(shown)}"
        pin = f"write the one that you want, and only that one, in the includes of {shown[0]}, or "
        remedy = f"{pin if len(other[1]) > 1 else ''}rename one of them"
        self.faults.append(Fault(layer.file, 1, 1, "bundle.name", f"{both}; {remedy}"))

    # --- reading

    def _included(self, path: Path) -> list[_Target]:
        """What the bundle in `path` includes, in written order, each read.

        `name:path` comes after the others, since it may name a bundle that is written to the right of it.
        """
        layer = self._layer(path)
        if path not in self._targets and layer is not None:
            written = list(enumerate(texts_of(layer.header.entries.get("includes"))))
            found: dict[int, _Target] = {}
            for index, (text, place) in sorted(written, key=lambda item: is_named(item[1][0])):
                target = self.finder.include(text, path, place)
                if target is not None:
                    found[index] = _Target(text, place, target)
                    self._layer(target)
            self._targets[path] = [found[index] for index in sorted(found)]
        return self._targets.get(path, [])

    def _layer(self, path: Path) -> Layer | None:
        """The bundle in a file, read once; None where its text cannot be taken apart."""
        if path not in self._read:
            document = self._document(path)
            self._keep(path, None if document is None else read_layer(document))
        return self._read[path]

    def _keep(self, path: Path, layer: Layer | None) -> None:
        self._read[path] = layer
        if layer is not None:
            self.finder.homes.add(layer.name, path)

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

    def _agent_files(self, layer: Layer, path: Path) -> None:
        agents = layer.header.entries.get("agents")
        include = agents.entries.get("include") if isinstance(agents, Mapping) else None
        bundles = {str(laid) for laid in self.laid}
        names, faults, left = included_files(include, "agents.include", path, self.reader, suffixes=(".md",), without=bundles)
        self.faults += faults
        layer.lost |= {("agents",) if has_magic(name) else ("agents", Path(name).stem) for name in left}
        for name in names:
            self._agent(layer, name)
        self.faults += read_recipes(layer, path, self.reader, bundles)

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
