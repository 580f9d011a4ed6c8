"""What a command answers when a run waits for somebody's yes."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Annotated, Final, TypeAlias

import typer

from bundle_loader.cli.output import say

Approve: TypeAlias = Callable[[str, str], Awaitable[bool | None]]
"""Gives the answer for a step and its prompt; None leaves it open."""
YesOption = Annotated[
    bool | None,
    typer.Option("--yes/--no", help="Answer every approval so; without it a terminal asks you, and elsewhere the run waits."),
]
_MOST: Final = 4096
"""Bytes of an answer."""


class Answer(Enum):
    """How approvals are answered."""

    YES = True
    NO = False
    ASK = None

    @classmethod
    def of(cls, said: bool | None) -> Answer:
        """From `--yes`, `--no` or neither."""
        return cls(said)


def answering(answer: Answer, *, json: bool, pause: Callable[[], None], go_on: Callable[[], None]) -> Approve | None:
    """How approvals are answered; None where nobody is there to ask. `pause` and `go_on` hold a live display meanwhile."""
    if answer is not Answer.ASK:
        return _always(bool(answer.value))
    if json or not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr)):
        return None
    turn = asyncio.Lock()

    async def ask(step: str, prompt: str) -> bool | None:
        async with turn:  # steps that run together may all ask
            pause()
            try:
                say(f"{step} waits for your yes:", err=True)
                for line in prompt.strip().splitlines():
                    say(f"  {line}", err=True)
                return await _asked()
            finally:
                go_on()

    return ask


def _always(answer: bool) -> Approve:
    async def give(step: str, prompt: str) -> bool | None:
        return answer

    return give


async def _asked() -> bool | None:
    """Yes, no, or later (also at the end of the input)."""
    while True:
        sys.stderr.write("approve? [yes/no/later] ")
        sys.stderr.flush()
        line = await _line()
        word = line.strip().casefold()
        if word and "yes".startswith(word):
            return True
        if word and "no".startswith(word):
            return False
        if not line or (word and "later".startswith(word)):
            return None


async def _line() -> str:
    """What is typed next. No thread waits for it, so that an interrupt ends it at once."""
    loop, handle = asyncio.get_running_loop(), sys.stdin.fileno()
    typed: asyncio.Future[bytes] = loop.create_future()

    def take() -> None:
        if not typed.done():
            typed.set_result(os.read(handle, _MOST))

    try:
        loop.add_reader(handle, take)
    except NotImplementedError:  # not on every system
        return await asyncio.to_thread(sys.stdin.readline)
    try:
        return (await typed).decode(errors="replace")
    finally:
        loop.remove_reader(handle)
