"""`bundle-loader sessions`: what was said in earlier work, and which of it can be carried on."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from bundle_loader.cli.options import JsonOption
from bundle_loader.cli.output import as_json, table, utc
from bundle_loader.cli.since import moment
from bundle_loader.delegation.message_json import to_json
from bundle_loader.delegation.sessions import KEPT, Session, Sessions
from bundle_loader.messages import Blob, Message, Text, ToolCall, ToolResult
from bundle_loader.sources.home import sessions_folder

app = typer.Typer(rich_markup_mode=None, add_completion=False)

FolderOption = Annotated[Path | None, typer.Option("--folder", metavar="PATH", help="Another folder of transcripts.")]
SimulatedOption = Annotated[bool, typer.Option("--simulated", help="The sessions of simulated work.")]
_SHOWN = 12
"""Characters of an id in the list."""
_MOST_OF_A_RESULT = 400


@app.callback(invoke_without_command=True)
def sessions(
    context: typer.Context, simulated: SimulatedOption = False, folder: FolderOption = None, json: JsonOption = False
) -> None:
    """Show earlier work: its sessions, which 'delegate --resume ID' carries on. Without a command: list.

    A transcript is kept for 30 days after its last line. 'sessions: off' in settings keeps none.
    """
    if context.invoked_subcommand is None:
        _list(_opened(simulated, folder), json)


@app.command("list")
def listed(simulated: SimulatedOption = False, folder: FolderOption = None, json: JsonOption = False) -> None:
    """List the sessions, the last written first; one that cannot be read says why."""
    _list(_opened(simulated, folder), json)


@app.command()
def show(
    id: Annotated[str, typer.Argument(metavar="ID", help="The session's id, or as much of its beginning as is unique.")],
    simulated: SimulatedOption = False,
    folder: FolderOption = None,
    json: JsonOption = False,
) -> None:
    """Show one session: whose it is, how it ended, and its conversation."""
    session = _opened(simulated, folder).read(id)
    found = session.transcript
    assert found is not None
    if json:
        as_json(
            {**_row(session), "choice": found.choice, "vars": found.vars, "messages": [to_json(one) for one in found.messages]}
        )
        return
    typer.echo(f"{found.id}  {found.agent} ({found.bundle}): {_state(session)}{': ' + found.reason if found.reason else ''}")
    typer.echo(
        f"  begun {utc(found.started)}, last {utc(found.last)}, {found.turns} turns by {', '.join(found.models) or 'nobody yet'}"
    )
    typer.echo(f"  delegations {', '.join(found.delegations)}")
    if found.unknown_calls:
        typer.echo(f"  {found.unknown_calls} calls of tools were cut off: what they did is not known")
    if found.cut:
        typer.echo("  its last line was not written to its end, and is left out")
    for line in _conversation(found.messages):
        typer.echo(line)


@app.command()
def prune(
    before: Annotated[
        str | None,
        typer.Option(
            "--before", metavar="AGO|DATE", help="What was last written before: 7d, or 2026-11-01 (UTC); else 30 days ago."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this it only says what would go.")] = False,
    simulated: SimulatedOption = False,
    folder: FolderOption = None,
    json: JsonOption = False,
) -> None:
    """Take away old transcripts, but none that is in use. What they cost stays in the ledger."""
    until = moment(before, "--before")
    gone = _opened(simulated, folder).prune(time.time() - KEPT if until is None else until, only_count=not yes)
    if json:
        as_json({"sessions": [path.stem for path in gone], "done": yes})
        return
    for path in gone:
        typer.echo(path.stem)
    typer.echo(f"{len(gone)} sessions {'went' if yes else 'would go'}{'' if yes or not gone else '; --yes does it'}")


def _opened(simulated: bool, folder: Path | None) -> Sessions:
    return Sessions(folder or sessions_folder(os.environ, simulated=simulated))


def _list(kept: Sessions, json: bool) -> None:
    found = kept.all()
    if json:
        as_json({"folder": str(kept.folder), "sessions": [_row(session) for session in found]})
        return
    if not found:
        typer.echo(f"no sessions in {kept.folder}")
        return
    rows = []
    for session in found:
        said = session.transcript
        about = (said.agent, said.bundle, str(said.turns), ", ".join(said.models)) if said else ("", "", "", "")
        rows.append((_short(session.id, found), *about, utc(session.last), _state(session)))
    table(("session", "agent", "bundle", "turns", "models", "last", "ended"), rows)
    for session in found:
        if session.fault is not None:
            typer.echo(session.fault)


def _short(id: str, among: Iterable[Session]) -> str:
    """As much of the id as is unique among them."""
    size = _SHOWN
    while size < len(id) and any(other.id != id and other.id.startswith(id[:size]) for other in among):
        size += 1
    return id[:size]


def _state(session: Session) -> str:
    if session.transcript is None:
        return "damaged"
    if session.running:
        return "under way"
    return session.transcript.outcome or "interrupted"


def _row(session: Session) -> dict[str, Any]:
    """One session for JSON."""
    found = session.transcript
    row: dict[str, Any] = {
        "id": session.id, "file": str(session.path), "last": session.last, "bytes": session.size, "state": _state(session),
        "fault": session.fault,
    }  # fmt: skip
    if found is not None:
        for name in ("agent", "bundle", "started", "turns", "models", "delegations", "reason", "unknown_calls", "cut"):
            row[name] = getattr(found, name)
    return row


def _conversation(messages: Iterable[Message]) -> Iterable[str]:
    for message in messages:
        yield f"\n--- {message.role}"
        for part in message.parts:
            if isinstance(part, Text):
                yield part.text
            elif isinstance(part, ToolCall):
                yield f"[calls {part.name} {dict(part.arguments)}]"
            elif isinstance(part, ToolResult):
                text = part.text if len(part.text) <= _MOST_OF_A_RESULT else part.text[:_MOST_OF_A_RESULT] + "…"
                yield f"[{part.name} {'failed: ' if part.is_error else 'gave '}{text}]"
            elif isinstance(part, Blob):
                yield f"[{part.media_type} {part.name or ''}]".replace(" ]", "]")
