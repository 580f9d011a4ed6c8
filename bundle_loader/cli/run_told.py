"""How a run of a recipe is told: its stages and models, its steps and costs, what it waits for, and what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from bundle_loader.cli.main import FAULTS, FINE, NO_ANSWER, STOPPED
from bundle_loader.cli.output import jsonable, money
from bundle_loader.recipes.result import RunResult, StepRecord

_LONGEST: Final = 200
"""Characters of a reason in a table."""


def exit_code(result: RunResult) -> int:
    """0 for a run that is done; 1 for one that failed or was denied; 4 where a model, or a person, has not answered; 130."""
    if result.status == "done":
        return FINE
    if result.status == "cancelled":
        return STOPPED
    return NO_ANSWER if result.status == "waiting" or result.no_answer else FAULTS


def state(status: str, alive: bool) -> str:
    """The status of a run; one whose end was never written is under way or was cut off."""
    return status if status != "running" else "under way" if alive else "cut off"


def headline(result: RunResult, *, simulated: bool, alive: bool = False) -> str:
    """`run ID of RECIPE: done, $0.0123`, and that it is simulated."""
    seconds = sum(step.seconds for step in result.steps if step.kind == "agent")
    worked = f", models worked for {seconds:.1f} s" if seconds >= 0.05 else ""
    marked = " [simulated]" if simulated else ""
    return f"run {result.id} of {result.recipe}{marked}: {state(result.status, alive)}{worked}, {money(result.cost)}"


def stage_rows(result: RunResult) -> list[tuple[str, str, str, str]]:
    """Stage, profiles, models and cost: one row for each thing that steps are for."""
    rows = []
    for purpose, steps in _by_purpose(result.steps).items():
        profiles = dict.fromkeys(step.profile for step in steps if step.profile)
        models = result.models.get(purpose) or tuple(dict.fromkeys(_model(step) for step in steps if step.model))
        costs = [step.cost for step in steps]
        cost = None if any(cost is None for cost in costs) else sum(cost for cost in costs if cost is not None)
        rows.append((purpose or "-", ", ".join(profiles) or "-", ", ".join(models), money(cost) if cost != 0 else "$0"))
    return rows


def _by_purpose(steps: Iterable[StepRecord]) -> dict[str, list[StepRecord]]:
    found: dict[str, list[StepRecord]] = {}
    for step in steps:
        if step.kind == "agent" and step.model:
            found.setdefault(step.purpose or "", []).append(step)
    return found


def _model(step: StepRecord) -> str:
    return f"{step.provider}/{step.model}"


def step_rows(steps: Sequence[StepRecord]) -> list[tuple[str, ...]]:
    """Step, kind, stage, what came of it, model, seconds and cost, and why."""
    return [
        (
            step.id,
            step.kind,
            step.purpose or "",
            step.status if step.attempts < 2 else f"{step.status} ({step.attempts} tries)",
            _model(step) if step.model else "",
            f"{step.seconds:.2f}",
            money(step.cost) if step.kind == "agent" and step.status != "skipped" else "",
            cut(step.reason or ""),
        )
        for step in steps
    ]


STEP_COLUMNS: Final = ("step", "kind", "stage", "ended", "model", "seconds", "cost", "reason")
STAGE_COLUMNS: Final = ("stage", "profile", "models", "cost")


def cut(text: str) -> str:
    """Of a long text its beginning."""
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def next_commands(result: RunResult, ledger: Path | None) -> Iterator[str]:
    """What can be typed next, as it is."""
    more = f" --ledger {shlex.quote(str(ledger))}" if ledger is not None else ""
    if result.status == "waiting":
        yield f"bundle-loader run approve {result.id}{more}"
        yield f"bundle-loader run approve {result.id} --no{more}"
    if result.status not in ("done", "stopped"):
        yield f"bundle-loader run resume {result.id}{more}"
    yield f"bundle-loader run show {result.id}{more}"


def told_json(result: RunResult, *, simulated: bool) -> dict[str, Any]:
    """A run as one JSON value."""
    return {**jsonable(result), "simulated": simulated, "exit_code": exit_code(result)}
