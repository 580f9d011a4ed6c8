"""`bundle-loader run approve ID`: an answer from another process than the one that asked."""

from __future__ import annotations

import asyncio
import shlex
from typing import Annotated

import typer

from bundle_loader.cli.options import JsonOption, LedgerOption
from bundle_loader.cli.output import as_json, say
from bundle_loader.cli.run_answers import Answer
from bundle_loader.cli.run_ledgers import IdArgument, kept_run, opened_ledger
from bundle_loader.cli.run_told import cut, next_commands
from bundle_loader.cli.run_watching import resumed
from bundle_loader.errors import RequestError
from bundle_loader.recipes.approvals import approve as give

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def approve(
    id: IdArgument,
    no: Annotated[bool, typer.Option("--no", help="Deny it.")] = False,
    note: Annotated[str | None, typer.Option("--note", metavar="TEXT", help="Kept with the answer; recipes can read it.")] = None,
    step: Annotated[str | None, typer.Option("--step", metavar="STEP", help="Only this one, where several wait.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run at once.")] = False,
    ledger: LedgerOption = None,
    json: JsonOption = False,
) -> None:
    """Give a run the yes or the no that it waits for. The answer is kept; 'run resume ID' goes on with it."""
    kept = kept_run(id, ledger)
    run, asked = kept.run.result, [one for one in kept.run.waiting if step in (None, one[0])]
    if len(asked) > 1:
        # nobody answers a question that he has not seen
        lines = "\n".join(f"  --step {shlex.quote(one)}   {cut(prompt)}" for one, prompt in asked)
        raise RequestError(f"run {run.id} waits for {len(asked)} answers; say which one this is:\n{lines}")
    with opened_ledger(kept.ledger) as opened:
        asyncio.run(give(opened, run.id, not no, note, step))
    if resume:
        resumed(kept, None, None, answer=Answer.ASK, ledger=ledger, json=json)
    elif json:
        as_json({"id": run.id, "steps": [one for one, _ in asked], "approved": not no, "note": note})
    else:
        for one, prompt in asked:
            say(f"{'denied' if no else 'approved'}: {one}: {cut(prompt)}")
        typer.echo("next:")
        typer.echo(f"  {next(line for line in next_commands(run, ledger) if ' resume ' in line)}")
