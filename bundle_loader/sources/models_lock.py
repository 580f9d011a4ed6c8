"""Finding, reading and writing `models.lock`, which lies in the project's `.bundle-loader/` folder."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bundle_loader.declared.frontmatter import read_yaml_document
from bundle_loader.declared.models_lock import ModelsLock, read_models_lock
from bundle_loader.errors import DeclarationError, Fault, RequestError
from bundle_loader.sources.files import Reader, real
from bundle_loader.sources.settings import PROJECT_FOLDER, settings_paths

LIVE: Final = "models.lock"
SIMULATED: Final = "models.simulated.lock"


def models_lock_path(environment: Mapping[str, str], *, here: Path | None = None, simulated: bool = False) -> Path:
    """Where the project's lock file lies, or would: in its `.bundle-loader/`, else in one that would be made `here`."""
    folder = real(here or os.getcwd())
    project = settings_paths(environment, folder).get("project")
    found = Path(project).parent if project is not None else folder / PROJECT_FOLDER
    return found / (SIMULATED if simulated else LIVE)


def find_models_lock(environment: Mapping[str, str], *, here: Path | None = None, simulated: bool = False) -> ModelsLock:
    """The project's lock file, an empty one where there is none. Raises DeclarationError with every fault in it."""
    path = models_lock_path(environment, here=here, simulated=simulated)
    return read_lock_file(path, here=here, simulated=simulated) if os.path.lexists(path) else ModelsLock(simulated=simulated)


def models_lock_of(said: str | Path | bool, environment: Mapping[str, str], *, simulated: bool, found: bool) -> ModelsLock:
    """What a host is told to use: a file, True for the project's (looked for only where `found`), False for none."""
    if isinstance(said, bool):
        return find_models_lock(environment, simulated=simulated) if said and found else ModelsLock(simulated=simulated)
    return read_lock_file(Path(said), simulated=simulated)


def read_lock_file(path: Path, *, here: Path | None = None, simulated: bool = False) -> ModelsLock:
    """The lock file at that path. Raises DeclarationError with every fault in it, also where it cannot be read."""
    reader = Reader(real(here or os.getcwd()))
    shown = reader.shown(path)
    project = path.parent.parent
    if path.parent.name == PROJECT_FOLDER and os.path.lexists(path) and not real(path).is_relative_to(real(project)):
        raise DeclarationError([Fault(shown, 0, 0, "", "is a link that leads out of the project; write the file itself there")])
    if path.is_dir():
        raise DeclarationError([Fault(shown, 0, 0, "", "is a folder; remove it, since 'bundle-loader lock' writes this file")])
    lock, faults = read_models_lock(read_yaml_document(reader.read(path), shown), simulated=simulated)
    if faults:
        raise DeclarationError(sorted(faults))
    return lock


def write_lock_file(path: Path, lock: ModelsLock) -> None:
    """Put the lock in place of the file: whoever reads meanwhile sees one of the two, whole. Raises RequestError."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        with open(handle, "w", encoding="utf-8") as file:
            file.write(lock.text())
        # it is part of the project, which others read
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise RequestError(f"{path} cannot be written: {(error.strerror or str(error)).lower()}") from None
