"""What a delegation asks of its host: the ledger, money, health, time and places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from bundle_loader.declared.tables import Timeouts
from bundle_loader.ledger.breakers import Breakers
from bundle_loader.ledger.budgets import Budgets
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.prices import Priced
from bundle_loader.ledger.slots import Slots
from bundle_loader.routing.candidate import Candidate
from bundle_loader.routing.standing import Standing


class Books(Protocol):
    """Where a run records, and what it asks of money and time."""

    @property
    def ledger(self) -> Ledger:
        """Where every call, attempt and delegation is kept."""
        ...

    @property
    def clock(self) -> Callable[[], float]:
        """Epoch seconds."""
        ...

    @property
    def budgets(self) -> Budgets:
        """What may be spent."""
        ...

    @property
    def breakers(self) -> Breakers:
        """What is down."""
        ...

    @property
    def slots(self) -> Slots:
        """How many calls may be under way at a time."""
        ...

    def timeouts(self, provider: str) -> Timeouts:
        """The limits of time that were set for a provider."""
        ...

    @property
    def local(self) -> tuple[str, ...]:
        """The mounted providers that run on this machine or its private network."""
        ...

    def price(self, candidate: Candidate, answered: str | None) -> Priced:
        """The price of a candidate, or of the model that answered, and who says so."""
        ...

    async def standing(self) -> Standing:
        """What the ledger knows of budgets now, a second old at most."""
        ...
