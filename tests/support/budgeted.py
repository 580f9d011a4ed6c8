"""Hosts under budgets: bundles from a few lines, providers in memory with round prices, a clock that a test moves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from bundle_loader.declared.bundle import Bundle
from bundle_loader.host import Host
from bundle_loader.messages import Usage
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.simulated import Reply, SimulatedProvider
from bundle_loader.sources.load import load_bundle

PRICES = {"dear/*": {"input": 10, "output": 100}, "cheap/*": {"input": 1, "output": 10}}
"""US dollars per million tokens: an answer of a thousand tokens is 10 cents of dear's, 1 cent of cheap's."""
NOON = datetime.fromisoformat("2026-03-10T12:00:00+00:00").timestamp()


class Clock:
    """Epoch seconds that stand still until they are moved."""

    def __init__(self, now: float | str = NOON) -> None:
        self.now = now if isinstance(now, float) else datetime.fromisoformat(now).timestamp()

    def __call__(self) -> float:
        return self.now

    def to(self, moment: str) -> None:
        """Move to a moment, written with its offset."""
        self.now = datetime.fromisoformat(moment).timestamp()


def spending(tokens: int, text: str = "Done.") -> Callable[[ChatRequest], Reply]:
    """Answers for which their provider counts so many tokens, or as many as it may give, and none of the prompt."""
    return lambda request: Reply(text, usage=Usage(0, min(tokens, request.max_tokens)))


def provider(id: str, *, tokens: int = 1000, local: bool = False, **more: Any) -> SimulatedProvider:
    """A provider of the one model `m`, whose every answer is of so many tokens."""
    more.setdefault("answer", spending(tokens))
    return SimulatedProvider(id, models=["m"], local=local, **more)


def bundled(folder: Path, budgets: Mapping[str, Any], *, agents: Mapping[str, Any] | None = None, **more: Any) -> Bundle:
    """A bundle of the agent `x`, which prefers dear and then cheap, under `budgets`."""
    written = {
        "bundle": {"name": "team"},
        "prices": PRICES,
        "tiers": {"top": ["dear/m", "cheap/m"], "low": ["cheap/m"], "here": ["local/m"]},
        "agents": agents or {"x": {"description": "d", "tier": "top", "config": {"max_tokens": 1000}}},
        "budgets": dict(budgets),
        **more,
    }
    path = folder / "team.yaml"
    path.write_text(yaml.safe_dump(written, sort_keys=False), encoding="utf-8")
    return load_bundle(path, settings=())


def host_of(
    folder: Path,
    budgets: Mapping[str, Any] | Bundle,
    providers: Iterable[SimulatedProvider] | None = None,
    *,
    clock: Clock | None = None,
    ledger: str = "ledger.db",
    **more: Any,
) -> Host:
    """A host over `providers`, by default dear and cheap."""
    bundle = budgets if isinstance(budgets, Bundle) else bundled(folder, budgets, **more)
    mounted = {one.id: one for one in (providers or (provider("dear"), provider("cheap")))}
    return Host(bundle, providers=mounted, ledger=folder / ledger, clock=clock or Clock(), environment={})


def settled(host: Host) -> dict[str, Decimal]:
    """What is settled of each account, all windows together, in dollars."""
    found: dict[str, Decimal] = {}
    for row in host.ledger.query("accounts", account=None):
        found[row["account"]] = found.get(row["account"], Decimal(0)) + Decimal(row["settled"]) / 10**12
    return found


def reserved(host: Host) -> int:
    """What is still held, over all accounts."""
    return sum(row["reserved"] for row in host.ledger.query("accounts", account=None))
