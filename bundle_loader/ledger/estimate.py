"""What is known of a request before it is made: the most that it can use, and whose it is."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from bundle_loader.ledger.budgets import Cap
from bundle_loader.routing.candidate import Candidate

BYTES_PER_TOKEN = 4
"""The stated rule by which tokens are estimated where a provider does not count them."""


@dataclass(frozen=True, slots=True)
class CallEstimate:
    """The most that one request can use, or the whole run of a program that makes its requests itself."""

    candidate: Candidate
    input_bound: int
    """Tokens of the prompt: no prompt has more tokens than bytes."""
    output_bound: int
    cost_bound: Decimal | None
    """US dollars. None leaves it to the candidate's price, as does what that price comes to for both bounds; any other amount
    is reserved as it is, and the answer is not lowered to fit.
    """
    prompt: int | None = None
    """Bytes of the prompt itself, by which a missing usage is estimated; None for `input_bound`."""
    within: float | None = None
    """Seconds that are left of the deadline: for a ledger that another process keeps locked, and for a call's turn; None is as
    long as it takes.
    """
    patience: float | None = None
    """Seconds for which the call's turn is waited for, where only so many may be under way; None is the deadline."""


@dataclass(frozen=True, slots=True)
class CallScope:
    """Whose call it is, for budgets and for the record."""

    attempt: str
    delegation: str
    root: str
    agent: str
    tier: str | None
    profile: str | None = None
    stage: str | None = None
    role: str | None = None
    tags: tuple[str, ...] = ()
    caps: tuple[Cap, ...] = ()
    """The most that this delegation, and each above it, may cost."""


def estimate_tokens(size: int) -> int:
    """Tokens for that many bytes, rounded up."""
    return -(-size // BYTES_PER_TOKEN)
