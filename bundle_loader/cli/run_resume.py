"""`bundle-loader run resume ID`."""

from __future__ import annotations

import typer

from bundle_loader.cli.options import BundleOption, FaultOption, JsonOption, LedgerOption
from bundle_loader.cli.run_answers import Answer, YesOption
from bundle_loader.cli.run_ledgers import IdArgument, kept_run
from bundle_loader.cli.run_watching import resumed

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def resume(
    id: IdArgument,
    bundle: BundleOption = None,
    yes: YesOption = None,
    fault: FaultOption = None,
    ledger: LedgerOption = None,
    json: JsonOption = False,
) -> None:
    """Go on with a run that waits, was stopped or was killed, at its first unfinished step.

    Steps that are done are neither done nor paid for again. The recipe must be what it was when the run began; the bundle, the
    working directory and what was said by --provider, --model and --local-only are those of the beginning.
    """
    resumed(kept_run(id, ledger), bundle, fault, answer=Answer.of(yes), ledger=ledger, json=json)
