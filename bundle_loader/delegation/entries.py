"""What the ledger is told of a delegation: whose calls it makes, each attempt, and how it ended."""

from __future__ import annotations

from collections.abc import Iterable

from bundle_loader.delegation.context import DelegationContext
from bundle_loader.delegation.result import Attempt
from bundle_loader.ledger.estimate import CallScope
from bundle_loader.ledger.records import AttemptRecord, DelegationRecord, Outcome
from bundle_loader.routing.candidate import Rejection
from bundle_loader.routing.request import DecidedBy


def scope_of(base: DelegationContext, number: int) -> CallScope:
    """Whose calls the attempt of that number makes."""
    return CallScope(
        f"{base.id}-{number}", base.id, base.root, base.agent, base.tier,
        base.profile, base.stage, base.role, base.tags, base.caps,
    )  # fmt: skip


def attempt_record(delegation: str, attempt: Attempt, id: str, pattern: str, started: float) -> AttemptRecord:
    """An attempt that is over; `pattern` is what its preference asked for, `started` epoch seconds."""
    return AttemptRecord(
        id=id,
        delegation=delegation,
        number=attempt.number,
        provider=attempt.provider,
        model=attempt.model,
        pattern=pattern,
        started=started,
        latency=attempt.latency,
        outcome=attempt.outcome,
        kind=attempt.kind,
        reason=attempt.reason,
    )


def delegation_record(
    base: DelegationContext,
    decided_by: DecidedBy,
    outcome: Outcome,
    reason: str | None,
    answered: tuple[str | None, str | None],
    rejected: Iterable[Rejection],
    *,
    started: float,
    latency: float,
    simulated: bool,
) -> DelegationRecord:
    """A delegation that is over; `answered` are the provider and model of its answer."""
    provider, model = answered
    return DelegationRecord(
        id=base.id,
        parent=base.parent,
        root=base.root,
        depth=base.depth,
        agent=base.agent,
        tier=base.tier,
        profile=base.profile,
        stage=base.stage,
        role=base.role,
        decided_by=str(decided_by),
        bundle=base.bundle,
        bundle_hash=base.bundle_hash,
        started=started,
        latency=latency,
        outcome=outcome,
        provider=provider,
        model=model,
        reason=reason,
        simulated=simulated,
        rejected=tuple((item.provider, item.model, item.reason) for item in rejected),
    )
