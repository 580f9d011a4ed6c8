"""`bundle-loader delegate`."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from bundle_loader.cli.hosting import choice, listed_words, opened, pairs, with_host
from bundle_loader.cli.main import NO_ANSWER
from bundle_loader.cli.options import (
    BundleOption,
    FaultOption,
    JsonOption,
    LedgerOption,
    ModelOption,
    NeedsOption,
    ParentOption,
    PreferOption,
    ProfileOption,
    ProviderOption,
    RoleOption,
    SimulateOption,
    StageOption,
    TierOption,
)
from bundle_loader.cli.output import as_json, jsonable, money
from bundle_loader.delegation.context import output_bound
from bundle_loader.delegation.conversation import prompt_bound
from bundle_loader.delegation.result import DelegationResult
from bundle_loader.delegation.run import Run
from bundle_loader.errors import RequestError
from bundle_loader.host import Host

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def delegate(
    agent: Annotated[str, typer.Argument(help="The agent.")],
    text: Annotated[str, typer.Argument(help="What to do; '-' reads it from standard input.")],
    bundle: BundleOption = None,
    prefer: PreferOption = None,
    provider: ProviderOption = None,
    model: ModelOption = None,
    tier: TierOption = None,
    role: RoleOption = None,
    profile: ProfileOption = None,
    stage: StageOption = None,
    parent: ParentOption = None,
    needs: NeedsOption = None,
    var: Annotated[list[str] | None, typer.Option("--var", metavar="NAME=VALUE", help="A template variable. Repeatable.")] = None,
    timeout: Annotated[float | None, typer.Option("--timeout", metavar="SECONDS", help="For the whole chain.")] = None,
    max_turns: Annotated[int | None, typer.Option("--max-turns", metavar="N", help="Requests to models, at most.")] = None,
    max_cost: Annotated[
        str | None, typer.Option("--max-cost", metavar="DOLLARS", help="For this work with all that it delegates.")
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="ID", help="Carry on a session: its id, or as much of its beginning as is unique."),
    ] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="A word that budgets can be kept by. Repeatable.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Route, rendered prompt and worst cost; nothing is sent.")] = False,
    simulate: SimulateOption = False,
    fault: FaultOption = None,
    ledger: LedgerOption = None,
    json: JsonOption = False,
) -> None:
    """Have an agent do some work. The answer goes to standard output, who gave it to standard error."""
    if text == "-":
        text = _standard_input()
    host = opened(bundle, simulate, fault, ledger)
    said = choice(
        preferences=prefer, provider=provider, model=model, tier=tier, role=role, profile=profile, stage=stage, parent=parent,
        needs=listed_words(needs),
    )  # fmt: skip
    given: dict[str, Any] = {
        "vars": pairs(var, "--var"), "timeout": timeout, "max_turns": max_turns, "max_cost": max_cost, "tags": tag or (),
        "resume": resume,
    }  # fmt: skip
    if dry_run:

        async def prepare(host: Host) -> Run:
            return await host.prepare(agent, text, **given, **said)

        _dry(host, with_host(host, prepare), json)
        return

    async def work(host: Host) -> DelegationResult:
        return await host.delegate(agent, text, **given, **said)

    result = with_host(host, work)
    if json:
        as_json(result)
    else:
        typer.echo(result.text)
        _tell(result)


def _standard_input() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(f"standard input: byte {error.start} is not UTF-8") from None


def _tell(result: DelegationResult) -> None:
    route, usage = result.route, result.usage
    simulated = " [simulated]" if result.simulated else ""
    typer.echo(f"\n{result.agent} -> {result.provider}/{result.model}{simulated}", err=True)
    typer.echo(f"  decided by {route.decided_by} ({route.decided_by.number}): {route.decision}", err=True)
    for rejection in result.rejections:
        typer.echo(f"  x {rejection}", err=True)
    for attempt in result.attempts:
        typer.echo(f"  {attempt}", err=True)
    estimated = ", estimated" if usage.estimated else ""
    typer.echo(f"  {usage.input_tokens} + {usage.output_tokens} tokens{estimated}, {money(result.cost)}", err=True)
    for child in result.children:
        typer.echo(f"  delegated to {child.agent}: {child.outcome}, {money(child.cost)}", err=True)
    if result.children:
        typer.echo(f"  {money(result.cost_with_children)} with what it delegated", err=True)
    for note in result.notes:
        typer.echo(f"  note: {note}", err=True)


def _dry(host: Host, run: Run, json: bool) -> None:
    """What would be sent, to whom, and the most that it could cost there."""
    base = run.base
    bound = prompt_bound(base.instruction, base.messages, base.tools)
    costs: list[dict[str, Any]] = []
    for candidate in run.route.candidates:
        price = host.price(candidate, None).reserved
        tokens = output_bound(candidate)
        costs.append(
            {"candidate": str(candidate), "max_tokens": tokens, "worst_cost": price.worst(bound, tokens) if price else None}
        )
    if json:
        as_json(
            {
                "route": jsonable(run.route),
                "instruction": base.instruction,
                "task": base.task,
                "worst": costs,
                "notes": run.state.notes,
            }
        )
    else:
        typer.echo(str(run.route))
        for entry in costs:
            worst = money(entry["worst_cost"])
            typer.echo(f"  worst cost of one call: {worst} on {entry['candidate']} (max_tokens {entry['max_tokens']})")
        typer.echo(f"\n--- system\n{base.instruction}\n--- user\n{base.task}")
    if not run.route.candidates:
        raise typer.Exit(NO_ANSWER)
