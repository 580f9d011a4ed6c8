"""Runs that the ledger keeps: listed, found again by the beginning of an id, and shown as they are now."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from bundle_loader.errors import RecipeFailed
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.recipes.checkpoints import Kept, from_row
from bundle_loader.recipes.leasing import is_gone
from bundle_loader.recipes.result import RunResult, StepRecord

_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class PastRun:
    """A run as the ledger has it: over, waiting, under way, or cut off."""

    result: RunResult
    started: float
    """Epoch seconds."""
    updated: float
    """Epoch seconds at which it was begun, taken up or ended."""
    bundle: str
    file: str
    """The recipe's file."""
    variables: Mapping[str, Any] = field(default_factory=dict)
    """Those that were given."""
    provider: str | None = None
    model: str | None = None
    local_only: bool = False
    isolate: bool = False
    trusted: bool = True
    workdir: str = ""
    origin: str = ""
    waiting: tuple[tuple[str, str], ...] = ()
    """Step and what is to be approved, for each that nobody has answered."""
    simulated: bool = False
    alive: bool = False
    """True where a process is at it, as far as can be told from here."""


def runs(ledger: Ledger, limit: int = 50, *, since: float | None = None) -> list[dict[str, Any]]:
    """The newest runs, newest first: `id`, `recipe`, `bundle`, `file`, `started`, `updated`, `status`, `reason`, `simulated`."""
    rows = ledger.query("runs", limit=limit, since=since)
    for row in rows:
        row["simulated"] = bool(row["simulated"])
        row.pop("told")
        holder, until = row.pop("holder"), row.pop("until")
        row["alive"] = _alive(holder, until, ledger.clock())
    return rows


def past_run(ledger: Ledger, run: str) -> PastRun:
    """One run, by its id or the beginning of it. Raises RecipeFailed for none and for several."""
    row = row_of(ledger, run)
    asked, told = json.loads(row["asked"]), json.loads(row["told"] or "{}")
    kept = [from_row(one) for one in ledger.query("steps of a run", run=row["id"])]
    answered = {one["id"] for one in ledger.query("answers of a run", run=row["id"])}
    waits = [one for one in kept if one.record.status == "waiting"]
    waiting = tuple((one.record.id, str(one.told.get("prompt", ""))) for one in waits if one.record.id not in answered)
    result = result_of(
        row["id"],
        row["recipe"],
        row["status"],
        kept,
        outputs=told.get("outputs") if "outputs" in told else _outputs(kept),
        profiles=told.get("profiles", {}),
        warnings=told.get("warnings", ()),
        reason=row["reason"],
        waits_for=waits[0].record.id if waits and row["status"] == "waiting" else None,
        no_answer=bool(told.get("no_answer")),
    )
    return PastRun(
        result,
        row["started"],
        row["updated"],
        row["bundle"],
        row["file"],
        asked["variables"],
        asked["provider"],
        asked["model"],
        asked["local_only"],
        asked["isolate"],
        asked["trusted"],
        asked["workdir"],
        asked["origin"],
        waiting,
        bool(row["simulated"]),
        _alive(row["holder"], row["until"], ledger.clock()),
    )


def row_of(ledger: Ledger, run: str) -> dict[str, Any]:
    """The row of a run, by its id or the beginning of it. Raises RecipeFailed."""
    said = run.strip().lower()
    rows = ledger.query("runs that begin with", prefix=said, limit=_MOST_NAMED + 1) if said else []
    exact = [row for row in rows if row["id"] == said] or rows
    if len(exact) == 1:
        return exact[0]
    if not exact:
        raise RecipeFailed(f"no run has an id that begins with '{run[:60]}'; 'bundle-loader run list' shows them")
    names = ", ".join(row["id"] for row in exact[:_MOST_NAMED]) + (", ..." if len(exact) > _MOST_NAMED else "")
    raise RecipeFailed(f"several runs begin with '{said}': {names}; write more of it")


def result_of(id: str, recipe: str, status: Any, kept: Iterable[Kept], **said: Any) -> RunResult:
    """A run from what is kept of its steps."""
    records = tuple(one.record for one in kept)
    models: dict[str, dict[str, None]] = {}
    for record in records:
        if record.kind == "agent" and record.model is not None:
            models.setdefault(record.purpose or record.step, {})[f"{record.provider}/{record.model}"] = None
    said["warnings"] = tuple(said.get("warnings", ()))
    return RunResult(
        id,
        recipe,
        status,
        steps=records,
        models={name: tuple(found) for name, found in models.items()},
        cost=cost_of(records),
        **said,
    )


def cost_of(records: Iterable[StepRecord]) -> Decimal | None:
    """What the agents' steps cost; None where that is not known of one."""
    costs = [record.cost for record in records if record.kind == "agent" and record.status in ("done", "failed")]
    return sum((cost for cost in costs if cost is not None), Decimal(0)) if None not in costs else None


def _outputs(kept: Iterable[Kept]) -> dict[str, Any]:
    """The variables of a run that never ended: what the steps outside of loops, groups and recipes have set."""
    made: dict[str, Any] = {}
    for one in kept:
        if one.final and "/" not in one.record.id and "[" not in one.record.id:
            made.update(one.sets)
    return made


def _alive(holder: str | None, until: float | None, now: float) -> bool:
    return holder is not None and until is not None and now < until and not is_gone(holder)
