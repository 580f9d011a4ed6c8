"""Showing how a run goes: live on a terminal, line by line elsewhere."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import typer

from bundle_loader.cli.hosting import opened, with_host
from bundle_loader.cli.output import as_json, money, say, table
from bundle_loader.cli.run_answers import Answer, Approve, answering
from bundle_loader.cli.run_ledgers import Kept
from bundle_loader.cli.run_told import STAGE_COLUMNS, cut, exit_code, headline, next_commands, stage_rows, told_json
from bundle_loader.delegation.result import StreamEvent
from bundle_loader.errors import one_line
from bundle_loader.events import FallbackEvent, StatusEvent, TextEvent, ToolEvent
from bundle_loader.host import Host
from bundle_loader.masking import masked
from bundle_loader.recipes.origin import file_of
from bundle_loader.recipes.result import (
    ApprovalWanted,
    RunDone,
    RunEvent,
    RunResult,
    RunStarted,
    StepEnded,
    StepProgress,
    StepRecord,
    StepRetried,
    StepStarted,
)

_MOST_LIVE: Final = 12
"""Steps under way that are shown at once."""
_PER_SECOND: Final = 8


def watched(
    host: Host,
    begin: Callable[[Approve | None], AsyncGenerator[RunEvent, None]],
    *,
    answer: Answer,
    ledger: Path | None,
    json: bool,
) -> None:
    """Follow a run to its end, tell how it ended, and leave with its exit code."""
    shown = Watch(json=json, simulated=host.simulated)
    approve = answering(answer, json=json, pause=shown.pause, go_on=shown.go_on)
    shown.asks = answer is Answer.ASK and approve is not None

    async def work(_: Host) -> RunResult:
        _stopped_by_signals()
        async with aclosing(begin(approve)) as events:
            async for event in events:
                shown.take(event)
        assert shown.result is not None
        return shown.result

    try:
        result = with_host(host, work)
    except (KeyboardInterrupt, asyncio.CancelledError):
        shown.close()
        if shown.run is not None and not json:
            say(f"go on with: bundle-loader run resume {shown.run}", err=True)
        raise KeyboardInterrupt from None
    finally:
        shown.close()
    if json:
        as_json(told_json(result, simulated=host.simulated))
    else:
        _tell(result, ledger, simulated=host.simulated)
    if code := exit_code(result):
        raise typer.Exit(code)


def _stopped_by_signals() -> None:
    """Whoever ends or leaves this process ends what its steps have started, as Ctrl-C does."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # one that is ignored (nohup) stays so; not every system and thread has handlers
        with suppress(NotImplementedError, RuntimeError, ValueError):
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                loop.add_signal_handler(number, task.cancel)


def resumed(kept: Kept, bundle: str | None, fault: list[str] | None, *, answer: Answer, ledger: Path | None, json: bool) -> None:
    """Go on with a run that is kept, and follow it as `watched` does."""
    run = kept.run
    host = opened(bundle or file_of(run.origin), kept.simulated, fault, ledger)
    watched(host, lambda approve: host.stream_resumed(run.result.id, approve=approve), answer=answer, ledger=ledger, json=json)


def _tell(result: RunResult, ledger: Path | None, *, simulated: bool) -> None:
    """How it ended, on standard output."""
    say(headline(result, simulated=simulated))
    if rows := stage_rows(result):
        table(STAGE_COLUMNS, rows)
    if result.reason:
        for line in result.reason.splitlines():
            say(line)
    say("next:")
    for line in next_commands(result, ledger):
        typer.echo(f"  {line}")


@dataclass
class _Live:
    """A step that is under way."""

    what: str
    since: float
    doing: str = ""
    letters: int = 0
    spinner: Any = None


class Watch:
    """Takes the events of a run as they come. A finished step is a line; those under way are a live list on a terminal."""

    def __init__(self, *, json: bool = False, simulated: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self.quiet = json
        self._simulated = simulated
        self.run: str | None = None
        self.result: RunResult | None = None
        self._clock = clock
        self._steps: dict[str, _Live] = {}
        self._terminal = sys.stderr.isatty() and not json
        self._display: Any = None
        self._warned: set[str] = set()
        self._held: list[str] | None = None
        """Lines that wait while a question stands on the terminal."""
        self.asks = False
        """True where approvals are asked for here: the question says then what is wanted."""

    def take(self, event: RunEvent) -> None:
        """Show an event."""
        if isinstance(event, RunStarted):
            self.run = event.id
            marked = " [simulated]" if self._simulated else ""
            self._line(f"run {event.id} of {event.recipe}{marked}{' goes on' if event.resumed else ''}")
            self._warn(event.warnings)
        elif isinstance(event, StepStarted):
            self._steps[event.id] = _Live(event.kind, self._clock())
            if not self._terminal:
                again = f", try {event.attempt}" if event.attempt > 1 else ""
                self._line(f"  {event.id}: {event.kind}{again}{': ' + event.description if event.description else ''}")
        elif isinstance(event, StepProgress):
            self._progress(event.id, event.event)
        elif isinstance(event, StepRetried):
            self._line(f"  {event.id}: try {event.attempt} failed, once more in {event.delay:g} s: {cut(event.reason)}")
        elif isinstance(event, StepEnded):
            self._steps.pop(event.record.id, None)
            self._line(f"  {_ended(event.record)}{' (kept from before)' if event.kept else ''}")
        elif isinstance(event, ApprovalWanted) and not self.asks:
            self._line(f"  {event.id}: waits for a yes: {cut(event.prompt)}")
        elif isinstance(event, RunDone):
            self.result = event.result
            self.close()
            self._warn(event.result.warnings)
        self._draw()

    def pause(self) -> None:
        """Take the live list away, and hold what is to be told, until `go_on`."""
        self._stop()
        self._held = []

    def go_on(self) -> None:
        """Show it again."""
        held, self._held = self._held or [], None
        for line in held:
            self._line(line)
        self._draw()

    def close(self) -> None:
        """Take the live list away for good."""
        self._stop()
        self._terminal = False

    def _stop(self) -> None:
        if self._display is not None:
            self._display.stop()
            self._display = None

    def _warn(self, warnings: tuple[str, ...]) -> None:
        for warning in warnings:
            if warning not in self._warned:
                self._line(f"warning: {warning}")
        self._warned.update(warnings)

    def _progress(self, id: str, event: StreamEvent) -> None:
        live = self._steps.get(id)
        if isinstance(event, FallbackEvent):
            to = f"{event.to_provider}/{event.to_model}"
            self._line(f"  {id}: {event.from_provider}/{event.from_model} gives way to {to}: {cut(event.reason)}")
        if live is None:
            return
        if isinstance(event, StatusEvent):
            live.doing, live.letters = f"{event.provider}/{event.model}", 0
        elif isinstance(event, TextEvent):
            live.letters += len(event.text)
        elif isinstance(event, ToolEvent):
            live.doing = f"{live.doing.split(', ')[0]}, {event.call.name}"

    def _line(self, text: str) -> None:
        if self.quiet:
            return
        if self._held is not None:
            self._held.append(text)
        elif self._display is not None:
            self._display.console.print(one_line(masked(text)), markup=False, highlight=False)
        else:
            say(text, err=True)

    def _draw(self) -> None:
        """The live list as it is now."""
        if not self._terminal or self._held is not None or (not self._steps and self._display is None):
            return
        from rich.console import Console
        from rich.live import Live

        if self._display is None:
            console = Console(stderr=True)
            self._display = Live(console=console, transient=True, refresh_per_second=_PER_SECOND, get_renderable=self._now)
            self._display.start()

    def _now(self) -> Any:
        from rich.console import Group
        from rich.spinner import Spinner
        from rich.text import Text

        lines: list[Any] = []
        for id, live in list(self._steps.items())[:_MOST_LIVE]:
            parts = [id, live.doing or live.what, f"{self._clock() - live.since:.0f} s"]
            if live.letters:
                parts.append(f"{live.letters:,} characters")
            live.spinner = live.spinner or Spinner("dots")
            live.spinner.update(text=Text(one_line(masked("  ".join(parts)))))
            lines.append(live.spinner)
        if len(self._steps) > _MOST_LIVE:
            lines.append(Text(f"  and {len(self._steps) - _MOST_LIVE} more"))
        return Group(*lines)


def _ended(record: StepRecord) -> str:
    """One finished step in a line."""
    parts: list[str] = [record.status]
    if record.model:
        parts.append(f"{record.provider}/{record.model}")
    if record.purpose and record.kind == "agent":
        parts.append(f"{record.purpose}{f' by profile {record.profile}' if record.profile else ''}")
    if record.status != "skipped":
        parts.append(f"{record.seconds:.2f} s")
        if record.kind == "agent" and record.model:
            parts.append(money(record.cost))
    why = f": {cut(record.reason)}" if record.reason else ""
    return f"{record.id}: {', '.join(parts)}{why}"
