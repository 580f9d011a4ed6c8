"""Finding and reading settings: the organisation's, the project's, the user's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from platformdirs import site_config_path, user_config_path

from bundle_loader.declared.frontmatter import Document, read_yaml_document
from bundle_loader.declared.settings import Origin, SettingsFile, read_settings
from bundle_loader.errors import DeclarationError, Fault
from bundle_loader.sources.files import Reader, real

NAME: Final = "settings.yaml"
PROJECT_FOLDER: Final = ".bundle-loader"


@cache
def _platform_folders() -> tuple[str, str]:
    return (
        str(site_config_path("bundle-loader", appauthor=False)),
        str(user_config_path("bundle-loader", appauthor=False)),
    )


def settings_paths(environment: Mapping[str, str], here: Path) -> dict[Origin, str]:
    """Where each layer's file would lie; `BUNDLE_LOADER_HOME` moves the user's, `BUNDLE_LOADER_SITE` the organisation's."""
    site, user = environment.get("BUNDLE_LOADER_SITE"), environment.get("BUNDLE_LOADER_HOME")
    paths: dict[Origin, str] = {
        "organisation": os.path.join(site or _platform_folders()[0], NAME),
        "user": os.path.join(user or _platform_folders()[1], NAME),
    }
    folder = str(here)
    while True:
        if os.path.isdir(os.path.join(folder, PROJECT_FOLDER)):
            paths["project"] = os.path.join(folder, PROJECT_FOLDER, NAME)
            break
        above = os.path.dirname(folder)
        if above == folder:
            break
        folder = above
    return paths


def find_settings(environment: Mapping[str, str] | None = None, here: Path | None = None) -> tuple[SettingsFile, ...]:
    """The settings files that there are, least derived first. A missing file is nothing; faults are kept on each."""
    folder = real(here or os.getcwd())
    paths = settings_paths(os.environ if environment is None else environment, folder)
    there: dict[Origin, Path] = {origin: Path(path) for origin, path in paths.items() if os.path.lexists(path)}
    if not there:
        return ()
    reader = Reader(folder)
    user = _read(there["user"], "user", reader) if "user" in there else None
    trusted = _trusted(user)
    found = [_read(there["organisation"], "organisation", reader)] if "organisation" in there else []
    if "project" in there:
        root = there["project"].parent.parent
        if real(there["project"]).is_relative_to(root):
            found.append(_read(there["project"], "project", reader, trusted=root in trusted))
        else:
            found.append(_outside(reader.shown(there["project"])))
    return (*found, user) if user is not None else tuple(found)


def trusts(environment: Mapping[str, str], folder: Path) -> bool:
    """Whether the user's own settings trust a project's folder; `folder` is resolved."""
    path = Path(settings_paths(environment, folder)["user"])
    user = _read(path, "user", Reader(folder)) if os.path.lexists(path) else None
    return folder in _trusted(user)


def _outside(shown: str) -> SettingsFile:
    """Project settings behind a link are not the project's: a stranger's link would read any file of the user's."""
    document = Document(shown, "", 1)
    message = "is a link that leads out of the project; it is left out"
    document.faults.append(Fault(shown, 0, 0, "", message, "warning", "not-from-here"))
    return read_settings(document, "project", trusted=False)


def _trusted(user: SettingsFile | None) -> frozenset[Path]:
    """The folders that a user's settings trust."""
    trust = user.written.trust if user is not None else None
    named = (trust.folders or ()) if trust is not None else ()
    # a name that is no whole path here (another user's `~name`, another system's `C:`) would be trusted wherever one stands
    return frozenset(real(path) for name in named if os.path.isabs(path := os.path.expanduser(name)))


def _read(path: Path, origin: Origin, reader: Reader, *, trusted: bool = True) -> SettingsFile:
    shown = reader.shown(path)
    try:
        document = read_yaml_document(reader.read(path), shown)
    except DeclarationError as error:
        document = Document(shown, "", 1)
        document.faults += error.faults
    return read_settings(document, origin, trusted=trusted, folder=str(path.parent))
