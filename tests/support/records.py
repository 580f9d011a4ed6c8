"""Records for ledgers that tests fill themselves."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from bundle_loader.ledger.records import AttemptRecord, CallRecord, DelegationRecord
from bundle_loader.messages import Usage

CALL: dict[str, Any] = {
    "attempt": "d-1",
    "delegation": "d",
    "root": "d",
    "agent": "worker",
    "tier": "budget",
    "provider": "openai",
    "pattern": "gpt-*",
    "asked": "gpt-4o",
    "answered": "gpt-4o",
    "started": 1.0,
    "latency": 0.5,
    "first_token": 0.1,
    "usage": Usage(10, 5),
    "cost": Decimal("0.1"),
    "outcome": "answered",
    "reason": None,
    "simulated": False,
}
DELEGATION: dict[str, Any] = {
    "parent": None,
    "depth": 0,
    "agent": "worker",
    "tier": "budget",
    "profile": None,
    "stage": None,
    "role": None,
    "decided_by": "agent",
    "bundle": "b",
    "bundle_hash": "hash",
    "started": 1.0,
    "latency": 0.5,
    "outcome": "answered",
    "provider": "openai",
    "model": "gpt-4o",
    "reason": None,
    "simulated": False,
}
ATTEMPT: dict[str, Any] = {
    "delegation": "d",
    "number": 1,
    "provider": "openai",
    "model": "gpt-4o",
    "pattern": "gpt-*",
    "started": 1.0,
    "latency": 0.5,
    "outcome": "answered",
    "kind": None,
    "reason": None,
}


def call_record(id: str, **given: Any) -> CallRecord:
    """A call with everything that is not given made up."""
    return CallRecord(id=id, **{**CALL, **given})


def delegation_record(id: str, **given: Any) -> DelegationRecord:
    """A delegation; it is the root of its tree unless `root` says otherwise."""
    return DelegationRecord(id=id, **{**DELEGATION, "root": id, **given})


def attempt_record(id: str, **given: Any) -> AttemptRecord:
    """An attempt."""
    return AttemptRecord(id=id, **{**ATTEMPT, **given})
