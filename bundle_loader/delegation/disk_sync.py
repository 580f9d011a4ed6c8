"""Written files put on the disk beside the work: nobody waits for it, and many lines go at once."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import Final

_MOST_BEHIND: Final = 64
"""Files that wait to be put on the disk; what ends beyond them is left to the system, which does it within seconds."""
_GATHER: Final = 0.02
"""Seconds for which lines gather before they are put on the disk: what a power cut can take beside the disk's own time."""


class DiskSync:
    """One thread for all files of a folder, begun with the first of them. What is written outlives its process without it."""

    def __init__(self) -> None:
        self._files: dict[int, bool] = {}
        """File descriptors to be put on the disk -> whether they are closed afterwards."""
        self._gate = threading.Lock()
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False

    def soon(self, fd: int) -> None:
        """Have what was written to a file put on the disk."""
        # a file that still waits here is put on the disk after this moment
        if fd in self._files:
            return
        with self._gate:
            self._files.setdefault(fd, False)
        self._woken()

    def settle(self, fd: int) -> None:
        """Put a finished file on the disk and close it; where many wait already, only close it."""
        with self._gate:
            waits = len(self._files) < _MOST_BEHIND and not self._closed
            if waits:
                self._files[fd] = True
            else:
                self._files.pop(fd, None)
        if waits:
            self._woken()
        else:
            os.close(fd)

    def _woken(self) -> None:
        if self._thread is None:
            with self._gate:
                if self._thread is None and not self._closed:
                    self._thread = threading.Thread(target=self._run, name="bundle-loader-sessions", daemon=True)
                    self._thread.start()
        if not self._wake.is_set():
            self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._hurry.wait(_GATHER)
            self._wake.clear()
            with self._gate:
                taken, self._files = self._files, {}
                closed = self._closed
            for fd, over in taken.items():
                with suppress(OSError):
                    os.fsync(fd)
                if over:
                    with suppress(OSError):
                        os.close(fd)
            if closed and not self._files:
                return

    def close(self) -> None:
        """Put what was written on the disk. Safe to call twice."""
        with self._gate:
            self._closed = True
            thread = self._thread
        self._hurry.set()
        self._wake.set()
        if thread is not None:
            thread.join()
