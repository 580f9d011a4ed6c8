"""What a program that was started says on its standard error: to the log, and its last lines to who asks why it ended."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from io import TextIOWrapper
from typing import Final

logger = logging.getLogger("bundle_loader.mcp")

_KEPT: Final = 3
_LONGEST: Final = 400
_PATIENCE: Final = 0.05
"""Seconds in which what a dead program said is read to its end; one that it has started may hold the pipe open."""


class LastWords:
    """One end of a pipe for the program; a thread reads the other until the program is gone."""

    def __init__(self, name: str) -> None:
        read, write = os.pipe()
        self._name = name
        self._lines: deque[str] = deque(maxlen=_KEPT)
        self.file = TextIOWrapper(os.fdopen(write, "wb"), encoding="utf-8")
        """What the program writes to."""
        self._thread = threading.Thread(target=self._read, args=(read,), name=f"stderr of {name}", daemon=True)
        self._thread.start()

    def _read(self, read: int) -> None:
        with os.fdopen(read, "rb", buffering=0) as pipe:
            rest = b""
            while chunk := pipe.read(65536):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._keep(line)
                rest = rest[-_LONGEST:]
            self._keep(rest)

    def _keep(self, line: bytes) -> None:
        said = line.decode("utf-8", "replace").strip()[:_LONGEST]
        if said:
            self._lines.append(said)
            logger.debug("%s: %s", self._name, said)

    def close(self) -> None:
        """Let go of the program's end; the reader stops once the program has."""
        self.file.close()

    @property
    def last(self) -> str:
        """The last lines; empty where nothing was said."""
        self._thread.join(_PATIENCE)
        return " | ".join(self._lines)[-_LONGEST:]
