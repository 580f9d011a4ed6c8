"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

BundleOption = Annotated[str | None, typer.Option("--bundle", metavar="NAME|PATH", help="The bundle: a shipped name or a path.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SimulateOption = Annotated[bool, typer.Option("--simulate", help="Simulate every provider: no key, no network.")]
FaultOption = Annotated[
    list[str] | None,
    typer.Option(
        "--fault", metavar="PROVIDER=KIND", help="With --simulate: a fault, such as anthropic=503 or openai=down. Repeatable."
    ),
]
RefreshOption = Annotated[bool, typer.Option("--refresh", help="Ask the providers now, however young their lists are.")]
LedgerOption = Annotated[Path | None, typer.Option("--ledger", metavar="PATH", help="Another ledger file.")]
SinceOption = Annotated[
    str | None, typer.Option("--since", metavar="AGO|DATE", help="Only what began after: 2h, 7d, or 2026-11-01 (UTC).")
]
PreferOption = Annotated[
    list[str] | None,
    typer.Option("--prefer", metavar="PROVIDER/GLOB", help="Your own preference; overrides all others. Repeatable."),
]
ProviderOption = Annotated[str | None, typer.Option("--provider", help="Only this provider; with --model, where it is.")]
ModelOption = Annotated[str | None, typer.Option("--model", metavar="[PROVIDER/]GLOB", help="Exactly this model.")]
TierOption = Annotated[str | None, typer.Option("--tier", help="The list of this tier.")]
RoleOption = Annotated[str | None, typer.Option("--role", help="The list of this role.")]
ProfileOption = Annotated[str | None, typer.Option("--profile", help="The list of this profile, for --stage.")]
StageOption = Annotated[str | None, typer.Option("--stage", help="The stage of work that the profile is asked for.")]
ParentOption = Annotated[str | None, typer.Option("--parent", metavar="PROVIDER/MODEL", help="The model of whoever delegates.")]
NeedsOption = Annotated[
    list[str] | None,
    typer.Option("--needs", metavar="WORDS", help="What a model must do: tools, vision, structured, reasoning. Repeatable."),
]
