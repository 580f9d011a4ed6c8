"""The files that a bundle's context includes and that its texts and agents mention: found, bounded, read once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path
from typing import Final

from bundle_loader.declared.context import ContextPart, Mention, file_name, included, mentions_in, split_name
from bundle_loader.declared.layer import AgentFile, Layer
from bundle_loader.declared.tree import Scalar
from bundle_loader.errors import DeclarationError, Fault
from bundle_loader.sources.files import Reader
from bundle_loader.sources.homes import MAX_PATH, Home, Homes, Wrong
from bundle_loader.sources.patterns import TooMany, matching

MAX_FILES: Final = 200
"""Files in one prompt: a bundle's context with all that it includes, or one agent."""
MAX_TEXT: Final = 1024 * 1024
"""Characters of files in one prompt."""
MAX_DEPTH: Final = 8
"""Files from a text to the last that it leads to."""
MAX_MENTIONS: Final = 10_000
MAX_READ: Final = 64 * 1024 * 1024
"""Characters of files that one load keeps."""
_MAX_FAULTS: Final = 100
_MAX_MATCHES: Final = 10_000
_KEY: Final = "context.include"

Place = tuple[str, int, int]


def read_context(layers: Sequence[Layer], reader: Reader, *, complete: bool = True) -> list[Fault]:
    """Give each layer and each agent file the texts that they include and mention; the faults of the bundles.

    What is wrong with an agent's mentions is added to that agent's own faults. Where `complete` is false some included
    bundle is missing, and mentions of bundles that are not there are passed over. Of a file nothing is run or rendered.
    """
    library = _Library(layers, reader, complete)
    walk = _Walk(library, {reader.here / layer.file for layer in layers})
    for layer, targets in zip(layers, included(layers), strict=True):
        for target in targets:
            walk.include(layer.name, target)
        layer.included = walk.taken(layer.name)
        walk.follow(mentions_in(layer.body), layer.file, layer.body_line, layer.name, 0)
        layer.mentioned = walk.taken(layer.name)
    for layer in layers:
        for source in layer.agent_files:
            if source.form == "own" and "@" in source.document.body:
                _read_agent(library, layer, source)
    return walk.faults


def _read_agent(library: _Library, layer: Layer, source: AgentFile) -> None:
    document = source.document
    found = mentions_in(document.body, template=True)
    if not found:
        return
    walk = _Walk(library, {library.reader.here / source.file})
    walk.follow(found, source.file, document.body_line, layer.name, 0)
    source.files = tuple(part.value for part in walk.taken(layer.name))
    source.faults += walk.faults
    source.good = source.good and not walk.faults


@dataclass(frozen=True, slots=True)
class _Text:
    """A file's text, once read."""

    text: str
    mentions: list[Mention]


class _Library:
    """The bundles of one composition and the files in them, each found and read once."""

    def __init__(self, layers: Sequence[Layer], reader: Reader, complete: bool) -> None:
        self.reader = reader
        self.complete = complete
        self.homes = Homes(reader)
        for layer in layers:
            self.homes.add(layer.name, reader.here / layer.file)
        self._found: dict[tuple[str, str, str], Path | Wrong] = {}
        self._texts: dict[Path, _Text | Wrong] = {}
        self._left = MAX_READ

    def home(self, bundle: str) -> Home:
        """Where a bundle of the composition lives."""
        home = self.homes.get(bundle)
        assert home is not None
        return home

    def find(self, bundle: str, path: str, asker: str) -> Path | Wrong:
        """The file that `bundle:path` names, links followed, or why `asker` cannot have it."""
        key = bundle, path, asker
        if key not in self._found:
            self._found[key] = self.homes.find(bundle, path, self.home(asker))
        return self._found[key]

    def read(self, path: Path) -> _Text | Wrong:
        """The text of a file, or why it is none."""
        if path not in self._texts:
            self._texts[path] = self._read(path)
        return self._texts[path]

    def _read(self, path: Path) -> _Text | Wrong:
        try:
            text = self.reader.read(path)
        except DeclarationError as error:
            return Wrong(error.faults[0].message)
        if "\0" in text:
            return Wrong("holds a NUL byte: this is not a text file")
        self._left -= len(text)
        if self._left < 0:
            return Wrong(f"the files of all prompts together are larger than {MAX_READ // 1024} KiB")
        text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
        return _Text(text, mentions_in(text))


class _Walk:
    """Collects the files of one prompt, each once, loops cut; what is wrong is collected in `faults`."""

    def __init__(self, library: _Library, seen: set[Path]) -> None:
        self.library = library
        self.faults: list[Fault] = []
        self._seen = seen
        self._parts: list[tuple[str, str, str, Place]] = []
        self._count = self._size = self._mentions = 0
        self._over = False

    def taken(self, bundle: str) -> list[ContextPart]:
        """What was collected since the last call."""
        parts, self._parts = self._parts, []
        return [ContextPart(bundle, file, name, text, ":".join(map(str, place))) for file, name, text, place in parts]

    def include(self, bundle: str, target: Scalar) -> None:
        """Take in what one line of `context.include` names: a path, `name:path`, or a pattern of either."""
        place = target.file, target.line, target.column
        owner, path = split_name(target.text) or (bundle, target.text)
        home = self.library.homes.get(owner)
        if home is None or not has_magic(path) or os.path.isfile(home.folder / path[:MAX_PATH].replace("\0", "")):
            self._take(owner, path, bundle, place, 1, _KEY, target.text)
            return
        wrong = self._pattern(owner, path, bundle)
        if wrong is not None:
            self._fault(place, _KEY, target.text, wrong)
            return
        try:
            named, outside, _ = matching(path, home.folder, home.root)
        except TooMany as error:
            self._fault(place, _KEY, target.text, f"{error}")
            return
        files = [os.path.relpath(name, home.folder) for name in named[:_MAX_MATCHES] + outside]
        if not files:
            self.faults.append(Fault(*place, _KEY, f"'{target.text}' matches no file", "warning", "include-matches-nothing"))
        for name in files:
            self._take(owner, name, bundle, place, 1, _KEY, name if owner == bundle else f"{owner}:{name}")

    def _pattern(self, owner: str, path: str, asker: str) -> Wrong | None:
        """Why a pattern may not be followed: it looks outside, so it would be followed before it could be judged."""
        steps = path.split("/")
        first = next(index for index, step in enumerate(steps) if has_magic(step))
        if ".." in steps[first:]:
            return Wrong("has '..' after a pattern; write the folders out")
        found = self.library.find(owner, "/".join(steps[:first]) or ("/" if path.startswith("/") else "."), asker)
        return found if isinstance(found, Wrong) and not found.startswith(("is a directory", "no such file")) else None

    def follow(self, mentions: Sequence[Mention], file: str, first_line: int, bundle: str, depth: int) -> None:
        """Take in what the text of `file` mentions; the text is the bundle's and begins on `first_line`."""
        for mention in mentions:
            if self._over:
                return
            place = file, first_line + mention.line - 1, mention.column
            self._mentions += 1
            if self._mentions > MAX_MENTIONS:
                self._stop(place, f"more than {MAX_MENTIONS} mentions in one prompt")
            elif self.library.complete or mention.bundle in self.library.homes:
                self._take(mention.bundle, mention.path, bundle, place, depth + 1, "", str(mention))

    def _take(self, bundle: str, path: str, asker: str, place: Place, depth: int, key: str, written: str) -> None:
        if self._over:
            return
        found = self.library.find(bundle, path, asker)
        if isinstance(found, Wrong):
            if self.library.complete or bundle in self.library.homes:
                self._fault(place, key, written, found)
            return
        if found in self._seen:
            return
        self._seen.add(found)
        if depth > MAX_DEPTH:
            self._fault(place, key, written, f"is more than {MAX_DEPTH} files deep; mention it higher up")
            return
        self._count += 1
        if self._count > MAX_FILES:
            self._stop(place, f"more than {MAX_FILES} files in one prompt")
            return
        content = self.library.read(found)
        if isinstance(content, Wrong):
            self._fault(place, key, written, content)
            return
        self._size += len(content.text)
        if self._size > MAX_TEXT:
            self._stop(place, f"the files of this prompt are larger than {MAX_TEXT // 1024} KiB")
            return
        shown = self.library.reader.shown(found)
        self._parts.append((shown, file_name(bundle, path), content.text, place))
        self.follow(content.mentions, shown, 1, bundle, depth)

    def _fault(self, place: Place, key: str, written: str, what: str) -> None:
        hint = "; write it in backticks if no file is meant" if not key and what.startswith("no bundle") else ""
        short = written if len(written) <= 120 else f"{written[:117]}..."
        self.faults.append(Fault(*place, key, f"'{short}': {what}{hint}"))
        self._over = self._over or len(self.faults) >= _MAX_FAULTS

    def _stop(self, place: Place, message: str) -> None:
        self.faults.append(Fault(*place, "", message))
        self._over = True
