"""Catalogues on disk, one file per provider, address and key: a cold start needs no network. Never an error, never torn."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import stat
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import PydanticSerializationError

from bundle_loader.providers.base import Provider
from bundle_loader.providers.endpoint import Endpoint, endpoint, short_hash
from bundle_loader.routing.catalogue import Catalogue, ModelInfo

FORMAT: Final = 2
MOST_BYTES: Final = 32 * 1024 * 1024
"""A larger file is not read."""
LONGEST_NAME: Final = 120
"""Characters of a file name; the name of a longer id ends in its hash."""
MOST_KEPT: Final = 8
"""Lists of one provider, for as many addresses and keys; the oldest beyond them go."""
LEFT_BEHIND: Final = 3600.0
"""Seconds after which the unfinished file of a process that was killed is taken away."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What was found on disk. A file that is missing or of another endpoint gives neither."""

    catalogue: Catalogue | None = None
    note: str | None = None
    """Why a file that is there is not used."""


class _Written(BaseModel):
    """The file."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    format: int
    provider: str
    kind: str
    endpoint: str
    credential: str
    fetched: datetime
    models: tuple[ModelInfo, ...]


class _Format(BaseModel):
    """What is read first, of a file of any format."""

    model_config = ConfigDict(strict=True, extra="ignore")

    format: int


class SavedCatalogues:
    """The lists in one folder. The folder is made when the first list is saved."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, provider: str, at: Endpoint) -> Path:
        """The file of a provider's list: always directly in the folder, whatever characters the id has."""
        return self.folder / f"{_name(provider)}~{short_hash(at.kind, at.fingerprint, at.credential)}.json"

    def read(self, provider: str, at: Endpoint, now: float) -> Kept:
        """The saved list of a provider at that endpoint with that key; `now` is seconds since the epoch. Raises nothing."""
        return _read(self.path(provider, at), provider, at, now)

    def newest(self, provider: str, at: Endpoint, now: float) -> Kept:
        """The newest saved list of a provider at that endpoint, whatever key it was fetched with. Raises nothing.

        It is for showing and checking, not for a host that has a key of its own.
        """
        found = [_read(path, provider, at, now, any_key=True) for path in self._paths(provider)]
        usable = [kept for kept in found if kept.catalogue is not None]
        if usable:
            return max(usable, key=lambda kept: kept.catalogue.learnt if kept.catalogue else 0.0)
        return next((kept for kept in found if kept.note is not None), Kept())

    def _paths(self, provider: str) -> list[Path]:
        """The files of one provider, in any order."""
        return list(self.folder.glob(f"{glob.escape(_name(provider))}~{'[0-9a-f]' * 16}.json"))

    def write(self, catalogue: Catalogue, at: Endpoint) -> str | None:
        """Save a list in place of the one before: whoever reads meanwhile sees one of the two, whole.

        Gives the reason where it could not be saved. What is simulated is not.
        """
        if catalogue.simulated:
            return "what is simulated is not saved"
        try:
            written = _Written(
                format=FORMAT,
                provider=catalogue.provider,
                kind=at.kind,
                endpoint=at.fingerprint,
                credential=at.credential,
                fetched=datetime.fromtimestamp(catalogue.learnt, UTC),
                models=catalogue.models,
            )
            data = written.model_dump_json(fallback=str, indent=1).encode()
            self.folder.mkdir(parents=True, exist_ok=True)
            _replace(self.path(catalogue.provider, at), data)
            self._prune(catalogue.provider)
        except ValidationError:
            return "it could not be saved: a model has a value of a wrong type"
        except (OSError, ValueError, OverflowError, PydanticSerializationError) as error:
            return f"it could not be saved: {_why(error)}"
        return None

    def _prune(self, provider: str) -> None:
        """Only the newest lists of a provider stay, and none of the format that had one file for all keys."""
        with contextlib.suppress(OSError):
            (self.folder / f"{_name(provider)}.json").unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            for path in sorted(self._paths(provider), key=lambda path: path.lstat().st_mtime, reverse=True)[MOST_KEPT:]:
                path.unlink(missing_ok=True)


def _read(path: Path, provider: str, at: Endpoint, now: float, *, any_key: bool = False) -> Kept:
    try:
        data = _content(path)
        if data is None:
            return Kept()
        found = _Format.model_validate_json(data).format
        if found != FORMAT:
            return Kept(note=f"its saved list is not used: format {found} is not known")
        written = _Written.model_validate_json(data)
        learnt = written.fetched.timestamp() if written.fetched.tzinfo else None
    except ValidationError:
        return Kept(note="its saved list is not used: the file is damaged")
    except (OSError, ValueError, OverflowError) as error:
        return Kept(note=f"its saved list is not used: {_why(error)}")
    told = [moment for model in written.models for moment in (model.created, model.retires) if moment is not None]
    if learnt is None or any(moment.tzinfo is None for moment in told):
        return Kept(note="its saved list is not used: it has a time without a zone")
    if written.provider != provider or not all(model.id for model in written.models):
        return Kept(note="its saved list is not used: the file is damaged")
    if (written.kind, written.endpoint) != (at.kind, at.fingerprint):
        return Kept()
    if not any_key and written.credential != at.credential:
        return Kept()
    if learnt > now:
        return Kept(note="its saved list is not used: it is dated in the future")
    return Kept(Catalogue(provider, written.models, learnt, source="saved"))


def _name(provider: str) -> str:
    """How the files of a provider begin."""
    name = quote(provider, safe="", errors="surrogatepass")
    if len(name) > LONGEST_NAME:
        name = f"{name[:LONGEST_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return name


def _content(path: Path) -> bytes | None:
    """The bytes of a plain file, None where there is none. Never waits, as a pipe would make it."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        return None
    with open(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("it is no plain file")
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES // 1024 // 1024} MB")
    return data


def _replace(path: Path, data: bytes) -> None:
    """A whole file moved into place; one that was left unfinished long ago goes."""
    begun = f".{path.name}."
    handle, name = tempfile.mkstemp(prefix=begun, suffix=".tmp", dir=path.parent)
    try:
        with open(handle, "wb") as file:
            file.write(data)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    with contextlib.suppress(OSError):
        newest = path.stat().st_mtime
        for other in path.parent.glob(f"{glob.escape(begun)}*.tmp"):
            if newest - other.stat().st_mtime > LEFT_BEHIND:
                other.unlink()


def _why(error: Exception) -> str:
    """In words, without the path."""
    return (error.strerror or type(error).__name__).lower() if isinstance(error, OSError) else str(error)


def saved_as(provider: Provider) -> Endpoint:
    """What a host's own provider says of itself, else its class and address."""
    told = getattr(provider, "saved_as", None)
    return told if isinstance(told, Endpoint) else endpoint(type(provider).__qualname__, getattr(provider, "base_url", None))
