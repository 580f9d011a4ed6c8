"""One process of a step with all that it starts: its environment, its time, its outputs, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bundle_loader.errors import StepFailed

MAX_OUTPUT: Final = 10_485_760
"""Bytes that are kept of each output."""
MAX_ONE: Final = 131_000
"""Bytes of one variable of the environment, its name included: the kernel takes no more."""
MAX_ALL: Final = 1_000_000
"""Bytes of the whole environment."""
GRACE: Final = 2.0
"""Seconds between asking a group of processes to end and ending it."""
INHERITED: Final = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "TMPDIR", "TZ", "LANG", "LANGUAGE")
"""What a step's processes see of the environment that this program runs in; `LC_*` too, and nothing else."""
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LINGER: Final = 1.0
"""Seconds that what a command has left behind may go on writing to its outputs."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended."""

    stdout: str
    stderr: str
    code: int | None
    """None where its time ran out; less than 0 for the signal that ended it."""
    timed_out: bool
    cut: tuple[str, ...]
    """What was left out of its outputs, in words."""


def environment(host: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """The allowed part of the host's environment with the step's own over it. Raises StepFailed for what no process takes."""
    made = {name: value for name, value in host.items() if name in INHERITED or name.startswith("LC_")}
    made.update(own)
    total = 0
    for name, value in own.items():
        if not _NAME.fullmatch(name):
            raise StepFailed(f"'{name[:60]}' is not a name of a variable of the environment")
        if "\0" in value:
            raise StepFailed(f"env.{name} holds a zero byte, which no process can take")
        size = len(name) + len(os.fsencode(value)) + 2
        total += size
        if size > MAX_ONE or total > MAX_ALL:
            most = MAX_ONE if size > MAX_ONE else MAX_ALL
            raise StepFailed(
                f"env.{name} has {size} bytes, and a process takes at most {most}" + ("" if size > MAX_ONE else " in all"),
                remedy="write {{name}} into the command itself, which takes long values",
            )
    return made


async def run(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float | None) -> Ended:
    """Runs a program in a process group of its own, with nothing to read, until it ends or `timeout` seconds are over.

    Then, and when it is cancelled, the whole group is asked to end and after GRACE seconds killed.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            cwd=cwd,
            env=dict(env),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise StepFailed(f"'{argv[0]}' cannot be started: {error}") from None
    kept = _Kept("stdout"), _Kept("stderr")
    pumps = asyncio.ensure_future(_both(kept, process))
    timed_out = False
    try:
        try:
            async with asyncio.timeout(timeout):
                await _exited(process, pumps)
        except TimeoutError:
            timed_out = True
            await _end(process)
        await asyncio.wait([pumps], timeout=_LINGER)
        if not pumps.done():
            # what it has left behind still holds its outputs
            await _end(process)
            await asyncio.wait([pumps], timeout=_LINGER)
    except asyncio.CancelledError:
        await _end(process)
        raise
    finally:
        if process.returncode is None:
            _signal(process.pid, signal.SIGKILL)
        pumps.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await pumps
        process._transport.close()  # type: ignore[attr-defined]
    code = None if timed_out else process.returncode
    cut = tuple(said for one in kept if (said := one.cut()))
    return Ended(kept[0].text(), kept[1].text(), code, timed_out, cut)


class _Kept:
    """What is kept of one output."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.size = 0
        self.parts: list[bytes] = []

    async def take(self, stream: asyncio.StreamReader | None) -> None:
        """Reads to the end; what is too much is read and dropped, so that the writer never waits."""
        while stream is not None and (part := await stream.read(65_536)):
            left = MAX_OUTPUT - self.size
            if left > 0:
                self.parts.append(part[:left])
            self.size += len(part)

    def text(self) -> str:
        return b"".join(self.parts).decode("utf-8", errors="replace")

    def cut(self) -> str:
        return f"{self.name} had {self.size} bytes, of which the first {MAX_OUTPUT} are kept" if self.size > MAX_OUTPUT else ""


async def _both(kept: tuple[_Kept, _Kept], process: asyncio.subprocess.Process) -> None:
    await asyncio.gather(kept[0].take(process.stdout), kept[1].take(process.stderr))


async def _exited(process: asyncio.subprocess.Process, pumps: asyncio.Future[None]) -> None:
    """Until the process itself has ended; what it has started may still hold its outputs."""
    waited: asyncio.Future[Any] = asyncio.ensure_future(process.wait())
    try:
        while process.returncode is None:
            # some versions of asyncio let `wait` go on until the outputs are closed as well
            await asyncio.wait([waited] if pumps.done() else [waited, pumps], timeout=0.05, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waited.cancel()


async def _end(process: asyncio.subprocess.Process) -> None:
    """Asks the group to end, and kills what is left of it."""
    _signal(process.pid, signal.SIGTERM)
    try:
        await _while(lambda: process.returncode is None or _signal(process.pid, 0))
    finally:
        _signal(process.pid, signal.SIGKILL)
    await _while(lambda: process.returncode is None)


async def _while(there: Callable[[], bool]) -> None:
    until = asyncio.get_running_loop().time() + GRACE
    while there() and asyncio.get_running_loop().time() < until:  # noqa: ASYNC110 - a group tells nobody that it is empty
        await asyncio.sleep(0.02)


def _signal(group: int, number: int) -> bool:
    """Whether there was still somebody in the group."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
