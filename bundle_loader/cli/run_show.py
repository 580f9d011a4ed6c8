"""`bundle-loader run show ID`."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from bundle_loader.cli.options import JsonOption, LedgerOption
from bundle_loader.cli.output import as_json, say, table, utc
from bundle_loader.cli.run_ledgers import IdArgument, kept_run
from bundle_loader.cli.run_told import (
    STAGE_COLUMNS,
    STEP_COLUMNS,
    headline,
    next_commands,
    stage_rows,
    step_rows,
    told_json,
)
from bundle_loader.errors import RequestError, did_you_mean, one_line
from bundle_loader.recipes.past import PastRun
from bundle_loader.recipes.values import to_text

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def show(
    id: IdArgument,
    output: Annotated[
        str | None, typer.Option("--output", metavar="NAME", help="Only the value of this output, as it is.")
    ] = None,
    ledger: LedgerOption = None,
    json: JsonOption = False,
) -> None:
    """Show one run: which models did which stage, each step and its cost, and what it waits for."""
    kept = kept_run(id, ledger)
    run, result = kept.run, kept.run.result
    if output is not None:
        _print_output(run, output, json)
        return
    if json:
        as_json({**told_json(result, simulated=kept.simulated), **_about(run)})
        return
    say(headline(result, simulated=kept.simulated, alive=run.alive))
    say(f"  begun {utc(run.started)}, {run.file}")
    for name, value in run.variables.items():
        say(f"  {name} = {to_text(value)}")
    if run.provider or run.model:
        say(f"  only {'/'.join(part for part in (run.provider, run.model) if part)}, for this run")
    for warning in result.warnings:
        say(f"  warning: {warning}")
    if rows := stage_rows(result):
        typer.echo("")
        table(STAGE_COLUMNS, rows)
    if result.steps:
        typer.echo("")
        table(STEP_COLUMNS, step_rows(result.steps))
    if result.outputs:
        typer.echo("")
        say(f"outputs (bundle-loader run show {result.id} --output NAME): {', '.join(result.outputs)}")
    if result.reason:
        say(f"reason: {result.reason}")
    for step, prompt in run.waiting:
        say(f"{step} waits for your yes: {prompt}")
    if left := [line for line in next_commands(result, ledger) if " show " not in line]:
        typer.echo("next:")
        for line in left:
            typer.echo(f"  {line}")


def _print_output(run: PastRun, name: str, json: bool) -> None:
    outputs = run.result.outputs
    if name not in outputs:
        near = did_you_mean(name, list(outputs)) or (f"; it has {', '.join(outputs)}" if outputs else "; it has none")
        raise RequestError(f"run {run.result.id}: no output '{name}'{near}")
    if json:
        as_json({name: outputs[name]})
    else:
        text = to_text(outputs[name])
        if sys.stdout.isatty():
            for line in text.splitlines():
                typer.echo(one_line(line, "\N{REPLACEMENT CHARACTER}"))
        else:
            # typer would take colours out; what is handed on is handed on as it is
            sys.stdout.write(f"{text}\n")


def _about(run: PastRun) -> dict[str, Any]:
    """What is known of a run beside its result, for JSON."""
    return {
        "started": run.started,
        "file": run.file,
        "bundle": run.bundle,
        "updated": run.updated,
        "alive": run.alive,
        "variables": run.variables,
        "provider": run.provider,
        "model": run.model,
        "local_only": run.local_only,
        "workdir": run.workdir,
        "waiting": [{"step": step, "prompt": prompt} for step, prompt in run.waiting],
    }
