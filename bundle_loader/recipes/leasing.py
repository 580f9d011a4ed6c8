"""Who holds a run: a process with its machine, so that another one can tell whether it still lives."""

from __future__ import annotations

import os
import platform
import sys
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Final

LEASE: Final = 30.0
"""Seconds after which a process that has not said that it is alive has lost its runs, wherever it ran."""


def new_holder() -> str:
    """A name for this process as the holder of one run."""
    return f"{_machine()}|{os.getpid()}|{_began(os.getpid())}|{uuid.uuid4()}"


def is_gone(holder: str) -> bool:
    """True where the process surely lives no more: it ran on this machine, and is not there. False where that is not known."""
    machine, pid, began, *_ = [*holder.split("|"), "", "", ""]
    if machine != _machine() or not pid.isdecimal() or sys.platform == "win32":
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    # another process may have the number by now; one that was killed and not yet waited for runs no more
    now = _began(int(pid))
    return now == "dead" or (bool(began) and bool(now) and now != began)


def told(holder: str) -> str:
    """The holder, for people."""
    machine, pid, *_ = [*holder.split("|"), ""]
    return f"process {pid} on {machine.split('/')[0]}"


def _machine() -> str:
    """This machine, and on it the space in which numbers of processes count."""
    space = ""
    with suppress(OSError):
        space = str(os.stat("/proc/self/ns/pid").st_ino)
    return f"{platform.node().replace('|', ' ')}/{space}"


def _began(pid: int) -> str:
    """When a process began, in the system's own count; empty where that cannot be told, `dead` for one that runs no more."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    if len(fields) < 20:
        return ""
    return "dead" if fields[0] in "ZX" else fields[19]
