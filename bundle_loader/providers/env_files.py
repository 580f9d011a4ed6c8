"""`.env` of the project and of the home folder: read as data, without any effect on the process's environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Final

from dotenv.parser import parse_stream

from bundle_loader.errors import DeclarationError
from bundle_loader.providers import table
from bundle_loader.providers.credentials import ENVIRONMENT, Layer, Variables, names_a_file
from bundle_loader.sources.files import Reader, real, root_of
from bundle_loader.sources.settings import trusts

NAME: Final = ".env"
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MOST_LINES_TOLD: Final = 3


def with_env_files(environment: Mapping[str, str], here: Path | None = None) -> Variables:
    """The environment, and behind it what the project's and the home folder's `.env` say. A missing file is nothing.

    The project's is the nearest above `here` (the current folder) up to the project's root. Unless the user's settings trust
    that folder, only the variables are taken from it in which the provider table looks for keys, and no names of files: a file of
    a service account says where the SDK sends. A blank value is none.
    """
    own = Layer(ENVIRONMENT, dict(environment))
    layers, notes = [own], list[str]()
    home = _home(environment)
    folder = _here() if here is None else real(here)
    path, root = _nearest(folder) if folder is not None else (None, None)
    of_home = Path(home, NAME) if home is not None else None
    if path is not None and folder is not None and root is not None and path != of_home:
        trusted = trusts(environment, root)
        shown = os.path.join(os.curdir, NAME) if path.parent == folder else os.path.relpath(path, folder)
        if trusted or real(path).is_relative_to(root):
            _add(layers, notes, path, shown, None if trusted else table.key_variables())
        else:
            notes.append(f"{shown} is not read: it is a link that leads out of the project")
    if of_home is not None and _is_there(of_home):
        _add(layers, notes, of_home, f"~/{NAME}", None)
    return Variables(layers, notes)


def _home(environment: Mapping[str, str]) -> Path | None:
    """The home folder as the environment names it; a name that is no whole path names none."""
    named = environment.get("USERPROFILE") if os.name == "nt" else environment.get("HOME")
    return real(named) if named and os.path.isabs(named) else None


def _here() -> Path | None:
    """The current folder; None where it is gone."""
    try:
        return real(os.getcwd())
    except OSError:
        return None


def _is_there(path: Path) -> bool:
    """A folder of that name is somebody's virtual environment."""
    return os.path.lexists(path) and not os.path.isdir(path)


def _nearest(folder: Path) -> tuple[Path | None, Path]:
    """The nearest `.env` between a folder and its project's root, and that root."""
    root = root_of(folder / NAME)
    for one in (folder, *folder.parents):
        if _is_there(path := one / NAME):
            return path, root
        if one == root:
            break
    return None, root


def _add(layers: list[Layer], notes: list[str], path: Path, shown: str, only: frozenset[str] | None) -> None:
    try:
        text = Reader(path.parent).read(path)
    except DeclarationError as error:
        notes.append(f"{shown} is not read: {error.faults[0].message}")
        return
    values: dict[str, str] = {}
    unread: list[int] = []
    for binding in parse_stream(StringIO(text)):
        line = binding.original.line + binding.original.string[: _leading(binding.original.string)].count("\n")
        if binding.error or (binding.key is not None and not _VARIABLE.fullmatch(binding.key)):
            unread.append(line)
        elif binding.key is None or not (binding.value or "").strip() or (only is not None and binding.key not in only):
            continue
        elif only is not None and (binding.key in table.key_files() or names_a_file(binding.value or "")):
            notes.append(f"{shown}: {binding.key} is not taken: it names a file, and the settings do not trust this project")
        else:
            values[binding.key] = binding.value or ""
    layers.append(Layer(shown, values))
    if unread:
        told = ", ".join(map(str, unread[:_MOST_LINES_TOLD])) + (", ..." if len(unread) > _MOST_LINES_TOLD else "")
        notes.append(f"{shown}: line{'s' if len(unread) > 1 else ''} {told} cannot be read; write NAME=value")


def _leading(text: str) -> int:
    """How much of a statement is white space before it."""
    return len(text) - len(text.lstrip())
