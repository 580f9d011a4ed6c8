"""Records as rows of a ledger file."""

from __future__ import annotations

import json
import sqlite3
from typing import Any, Final

from bundle_loader.ledger.records import (
    AttemptRecord,
    CallRecord,
    DelegationRecord,
    FeedbackRecord,
    HealthRecord,
    Record,
    to_pico,
)


def _insert(table: str, width: int) -> str:
    return f"INSERT INTO {table} VALUES ({','.join('?' * width)})"


_DELEGATION: Final = _insert("delegations", 20)
_ATTEMPT: Final = _insert("attempts", 11)
_CALL: Final = _insert("calls", 29)
_HEALTH: Final = _insert("health", 6)
_FEEDBACK: Final = _insert("feedback", 5)


def insert(db: sqlite3.Connection, record: Record) -> None:
    """Write one record, inside whatever transaction is open."""
    match record:
        case CallRecord():
            db.execute(_CALL, _call(record))
        case AttemptRecord():
            db.execute(_ATTEMPT, _attempt(record))
        case DelegationRecord():
            db.execute(_DELEGATION, _delegation(record))
        case HealthRecord(at, provider, model, state, reason, until):
            db.execute(_HEALTH, (at, provider, model, state, reason, until))
        case FeedbackRecord(at, delegation, score, note, source):
            db.execute(_FEEDBACK, (at, delegation, score, note, source))


def _delegation(r: DelegationRecord) -> tuple[Any, ...]:
    rejected = json.dumps(r.rejected) if r.rejected else None
    return (
        r.id, r.parent, r.root, r.depth, r.agent, r.tier, r.profile, r.stage, r.role, r.decided_by, r.bundle, r.bundle_hash,
        r.started, r.latency, r.outcome, r.provider, r.model, r.reason, int(r.simulated), rejected,
    )  # fmt: skip


def _attempt(r: AttemptRecord) -> tuple[Any, ...]:
    return (r.id, r.delegation, r.number, r.provider, r.model, r.pattern, r.started, r.latency, r.outcome, r.kind, r.reason)


def _call(r: CallRecord) -> tuple[Any, ...]:
    usage = r.usage
    tokens = (
        (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cache_write_tokens, usage.reasoning_tokens)
        if usage
        else (None,) * 5
    )
    return (
        r.id, r.attempt, r.delegation, r.root, r.agent, r.tier, r.provider, r.pattern, r.asked, r.answered, r.started, r.latency,
        r.first_token, *tokens, int(bool(usage and usage.estimated)), to_pico(r.cost), r.outcome, r.reason, int(r.simulated),
        r.family, r.profile, r.stage, r.role, json.dumps(r.tags) if r.tags else None, r.cost_source,
    )  # fmt: skip
