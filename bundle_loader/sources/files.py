"""Reading declared files: roots, size and encoding limits, shipped data."""

from __future__ import annotations

import errno
import os
import stat
from functools import cache
from pathlib import Path
from typing import Final

from bundle_loader.errors import DeclarationError, Fault

MAX_FILE: Final = 1024 * 1024
SUFFIXES: Final = (".md", ".yaml", ".yml")
_NO_FILE: Final = "is a device, pipe or socket; name a text file"
_ROOT_MARKS = (".bundle-loader", ".git", "pyproject.toml")


@cache
def shipped_folder() -> Path:
    """The folder that holds the shipped `agents/` and `bundles/`: inside a wheel, else the source tree's own."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "shipped"
    return inside if (inside / "bundles").is_dir() else package.parent


def real(path: Path | str) -> Path:
    """The path with its links followed; a link that leads to itself stays as it is, to be refused when it is read."""
    return Path(os.path.realpath(path))


def root_of(path: Path) -> Path:
    """5. Relative paths are relative to the file that holds them and may not leave its root: the shipped data folder, else the
    nearest ancestor with `.bundle-loader/`, `.git` or `pyproject.toml`, else the file's own folder (symlinks resolved first)
    (composition). `path` is resolved.
    """
    shipped = shipped_folder()
    if str(path).startswith((f"{shipped}{os.sep}bundles{os.sep}", f"{shipped}{os.sep}agents{os.sep}")):
        return shipped
    for folder in path.parents:
        if any(os.path.exists(f"{folder}{os.sep}{mark}") for mark in _ROOT_MARKS):
            return folder
    return path.parent


class Reader:
    """Reads files and names them as the caller would: relative to where he stands, where that is shorter."""

    def __init__(self, here: Path | None = None) -> None:
        self.here = (here or Path.cwd()).resolve()
        self._prefix = str(self.here) + os.sep

    def shown(self, path: Path | str) -> str:
        """The name of a file in messages and origins."""
        return str(path).removeprefix(self._prefix)

    def read(self, path: Path | str) -> str:
        """The text of a file. Raises DeclarationError for what cannot be read, with the byte that is not UTF-8."""
        shown = self.shown(path)
        try:
            with open(path, "rb", opener=_open) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise _error(shown, _NO_FILE)
                data = file.read(MAX_FILE + 1)
        except FileNotFoundError:
            raise _error(shown, "no such file") from None
        except IsADirectoryError:
            raise _error(shown, "is a directory; name the bundle file in it") from None
        except OSError as error:
            if error.errno == errno.ENXIO:
                raise _error(shown, _NO_FILE) from None
            raise _error(shown, f"cannot be read: {error.strerror}") from None
        if len(data) > MAX_FILE:
            raise _error(shown, f"is larger than {MAX_FILE // 1024} KiB; a declared file is text to be read by people")
        if b"\0" in data[:2]:
            message = f"byte {data.index(0)} is NUL: this is UTF-16 or no text; save the file as UTF-8"
            raise DeclarationError([Fault(shown, 1, 0, "", message)])
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            message = f"byte {error.start} is not UTF-8; save the file as UTF-8"
            raise DeclarationError([Fault(shown, line, 0, "", message)]) from None


def _open(path: str, flags: int) -> int:
    """Opening a pipe must not wait for somebody to write into it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def _error(file: str, message: str) -> DeclarationError:
    return DeclarationError([Fault(file, 0, 0, "", message)])
