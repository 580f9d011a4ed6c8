"""`bundle-loader run RECIPE`: run a recipe, and show how it goes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bundle_loader.cli.hosting import opened
from bundle_loader.cli.options import BundleOption, FaultOption, JsonOption, LedgerOption, SimulateOption
from bundle_loader.cli.run_answers import Answer, YesOption
from bundle_loader.cli.run_watching import watched
from bundle_loader.recipes.request import parse_sets, request_of

app = typer.Typer(rich_markup_mode=None, add_completion=False)

SetOption = Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A variable of the recipe. Repeatable.")]
WorkdirOption = Annotated[
    Path | None, typer.Option("--workdir", metavar="FOLDER", help="Where its shell steps work; without it, here.")
]
ProviderOption = Annotated[
    str | None, typer.Option("--provider", help="Only this provider, for this run; the profile still says how good a model.")
]
ModelOption = Annotated[
    str | None, typer.Option("--model", metavar="[PROVIDER/]GLOB", help="Exactly this model, for this run and every stage of it.")
]
LocalOption = Annotated[bool, typer.Option("--local-only", help="Only providers on this machine or its private network.")]
IsolateOption = Annotated[
    bool,
    typer.Option(
        "--isolate", help="Run shell steps in bubblewrap: no network, no home, and nothing but the working directory is written."
    ),
]
TrustOption = Annotated[
    bool, typer.Option("--trust", help="Run commands also of a bundle that only this project's own settings chose.")
]


@app.command(context_settings={"allow_extra_args": True})
def start(
    context: typer.Context,
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="A path, the name of one of the bundle's recipes, or \"execute RECIPE with NAME='value' ...\" in quotes.",
        ),
    ],
    set_: SetOption = None,
    provider: ProviderOption = None,
    model: ModelOption = None,
    local_only: LocalOption = False,
    bundle: BundleOption = None,
    workdir: WorkdirOption = None,
    isolate: IsolateOption = False,
    trust: TrustOption = False,
    yes: YesOption = None,
    simulate: SimulateOption = False,
    fault: FaultOption = None,
    ledger: LedgerOption = None,
    json: JsonOption = False,
) -> None:
    """Run a recipe: how it goes, how it ended, and what to type next. How it goes is told on standard error.

    Every step is kept when it is done: a run that was stopped or killed goes on with 'run resume ID'. An approval is asked for
    on a terminal; elsewhere, and without --yes or --no, the run waits for 'run approve ID'. Beside the codes of all commands:
    1 also where an approval was denied, 4 also where the run waits for one.
    """
    name, variables = _request(recipe, context.args, set_)
    host = opened(bundle, simulate, fault, ledger)
    watched(
        host,
        lambda approve: host.stream_run(
            name,
            variables,
            provider=provider,
            model=model,
            local_only=local_only,
            workdir=workdir,
            approve=approve,
            isolate=isolate,
            trusted=True if trust else None,
        ),
        answer=Answer.of(yes),
        ledger=ledger,
        json=json,
    )


def _request(text: str, more: list[str], sets: list[str] | None) -> tuple[str, dict[str, Any]]:
    """What is to be run, with which variables. Raises RequestError."""
    if more:
        said = "put the whole request into quotes, such as \"execute task-loop.yaml with task_id='my-task'\"; or write --set"
        raise typer.BadParameter(f"unexpected '{more[0]}': {said}", param_hint="RECIPE")
    return request_of(text, parse_sets(sets or ()))
