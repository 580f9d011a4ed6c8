"""Records as rows of a ledger file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from functools import cache
from itertools import chain
from typing import Any, Final

from bundle_loader.ledger.records import (
    AttemptRecord,
    CallRecord,
    DelegationRecord,
    FeedbackRecord,
    HealthRecord,
    HopRecord,
    Record,
    ResumeRecord,
    to_pico,
)

_WIDTHS: Final = {"delegations": 20, "attempts": 11, "calls": 29, "health": 6, "hops": 7, "resumed": 3, "feedback": 5}
_MOST: Final = 32
"""Rows of one statement: between two statements the interpreter may go to another thread, and has to be waited for."""


@cache
def _insert(table: str, count: int) -> str:
    row = f"({','.join('?' * _WIDTHS[table])})"
    return f"INSERT INTO {table} VALUES {','.join([row] * count)}"


def insert(db: sqlite3.Connection, record: Record) -> None:
    """Write one record, inside whatever transaction is open."""
    table, row = _row(record)
    db.execute(_insert(table, 1), row)


def insert_all(db: sqlite3.Connection, records: Iterable[Record]) -> None:
    """Write records in order, those of one kind together, inside whatever transaction is open."""
    rows: dict[str, list[tuple[Any, ...]]] = {}
    for record in records:
        table, row = _row(record)
        rows.setdefault(table, []).append(row)
    for table, found in rows.items():
        start, count = 0, _MOST
        while start < len(found):
            while count > len(found) - start:
                count //= 2  # few sizes, so that each statement is prepared once
            db.execute(_insert(table, count), tuple(chain.from_iterable(found[start : start + count])))
            start += count


def _row(record: Record) -> tuple[str, tuple[Any, ...]]:
    match record:
        case CallRecord():
            return "calls", _call(record)
        case AttemptRecord():
            return "attempts", _attempt(record)
        case DelegationRecord():
            return "delegations", _delegation(record)
        case HealthRecord(at, provider, model, state, reason, until):
            return "health", (at, provider, model, state, reason, until)
        case HopRecord(delegation, at, from_provider, from_model, to_provider, to_model, reason):
            return "hops", (delegation, at, from_provider, from_model, to_provider, to_model, reason)
        case ResumeRecord(delegation, session, at):
            return "resumed", (delegation, session, at)
        case FeedbackRecord(at, delegation, score, note, source):
            return "feedback", (at, delegation, score, note, source)


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
