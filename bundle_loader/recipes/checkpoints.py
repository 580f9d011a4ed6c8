"""What is kept of a run in the ledger, step by step: written before the next step begins, read when a run goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.run_records import KeepStep
from bundle_loader.recipes.failures import Lost
from bundle_loader.recipes.result import StepRecord
from bundle_loader.recipes.values import plain

_TOLD: Final = ("attempts", "seconds", "provider", "model", "profile", "purpose", "delegation", "reason")


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of one step."""

    record: StepRecord
    final: bool
    """True where it is not to be done again."""
    sets: Mapping[str, Any] = field(default_factory=dict)
    """The variables that it has set."""
    told: Mapping[str, Any] = field(default_factory=dict)
    """`session` of a delegation that was begun, `outcomes` of the steps in it, `goto`, `ends`, `asked`, `prompt`, `prints`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Somebody's yes or no."""

    yes: bool
    note: str | None = None


class Checkpoints:
    """The rows of one run that this process holds."""

    def __init__(self, ledger: Ledger, run: str, holder: str, kept: Mapping[str, Kept] | None = None) -> None:
        self.ledger = ledger
        self.run = run
        self.holder = holder
        self._kept: dict[str, Kept] = dict(kept or {})

    def final(self, id: str) -> Kept | None:
        """What is kept of a step that is over."""
        kept = self._kept.get(id)
        return kept if kept is not None and kept.final else None

    def begun(self, id: str) -> Kept | None:
        """What is kept of a step that is not over: it was under way, failed or waits."""
        kept = self._kept.get(id)
        return kept if kept is not None and not kept.final else None

    async def keep(self, record: StepRecord, sets: Mapping[str, Any] | None = None, *, final: bool = True, **told: Any) -> None:
        """Keep what came of a step; it is committed when this returns. Raises Lost where another process holds the run."""
        row = as_row(self.run, self.holder, record, sets or {}, final, told)
        if not (await self.ledger.change_run(row)).held:
            raise Lost
        # also what is over: a group that is tried again does not do it again
        self._kept[record.id] = Kept(record, final, sets or {}, told)

    def answer(self, id: str) -> Answer | None:
        """What somebody has answered, here or in another process."""
        rows = self.ledger.query("answers of a run", run=self.run)
        return next((Answer(bool(row["yes"]), row["note"]) for row in rows if row["id"] == id), None)


def as_row(run: str, holder: str, record: StepRecord, sets: Mapping[str, Any], final: bool, told: Mapping[str, Any]) -> KeepStep:
    """A step as a row; its output is left out where one of the variables that it sets is the very same."""
    said: dict[str, Any] = {name: getattr(record, name) for name in _TOLD if getattr(record, name) is not None}
    said |= {name: value for name, value in told.items() if value}
    if record.cost is not None:
        said["cost"] = str(record.cost)
    output = record.output
    same = next((name for name, value in sets.items() if value is output), None) if output is not None else None
    if same is not None:
        said["output_of"] = same
    return KeepStep(
        run,
        holder,
        record.id,
        record.step,
        record.stage,
        record.kind,
        record.status,
        final,
        _json(said),
        _json(sets) if sets else None,
        None if same is not None or output is None else _json(output),
    )


def from_row(row: Mapping[str, Any]) -> Kept:
    """A step from its row."""
    told = json.loads(row["told"])
    sets = json.loads(row["sets"]) if row["sets"] else {}
    output = json.loads(row["output"]) if row["output"] else None
    if "output_of" in told:
        output = sets[told.pop("output_of")]
    said = {name: told.pop(name) for name in _TOLD if name in told}
    cost = Decimal(told.pop("cost")) if "cost" in told else None
    head = (row["id"], row["step"], row["stage"], row["kind"], row["status"])
    return Kept(StepRecord(*head, output=output, cost=cost, **said), bool(row["final"]), sets, told)


def _json(value: Any) -> str:
    return json.dumps(plain(value), separators=(",", ":"))
