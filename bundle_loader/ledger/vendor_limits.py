"""What a vendor's word on its limits changes: a limit is learnt, an account corrected, a model family closed for a while.

1. A limit a minute that the vendor states wins over the provider table; over what the user wrote only where it is lower.
2. Of a limit of which nothing remains, the family is closed until the reset, an hour at most.
3. Where less remains than this ledger knows of, somebody else uses the key: the difference is entered until the reset.
   Every call of the ledger's own counts as known to the vendor, those under way and those made since it spoke as well, so
   that none is ever counted twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from bundle_loader.declared.budget import RATE
from bundle_loader.ledger.accounts import MINUTE, Hold, Window
from bundle_loader.ledger.budgets import Budgets
from bundle_loader.ledger.operations import Charge, Close, Correct
from bundle_loader.messages import VendorLimit
from bundle_loader.routing.charged import CallFacts, mark_of

LONGEST_CLOSED: Final = 3600.0
"""Seconds for which one word of a vendor closes a model family at most."""


def closed(facts: CallFacts, now: float, seconds: float, reason: str) -> Close | None:
    """The closing of the call's model family for that long; None where that is no time at all."""
    if not seconds > 0:
        return None
    return Close(mark_of(facts.provider, facts.family), now + min(seconds, LONGEST_CLOSED), reason)


def heard(budgets: Budgets, facts: CallFacts, limits: Sequence[VendorLimit], now: float) -> list[Close | Correct]:
    """What is to be entered in the ledger for the limits that came with a call's answer; `budgets` learns at once."""
    entered: list[Close | Correct] = []
    for said in limits:
        age = said.age if said.age > 0 else 0.0
        if said.limit is not None:
            budgets.learn(facts.provider, facts.family, said.unit, said.limit)
        if said.remaining == 0 and said.reset is not None:
            shut = closed(facts, now, said.reset - age, f"{facts.provider} has no {said.unit} left for {facts.family}")
            entered += [shut] if shut is not None else []
        elif said.remaining is not None and said.remaining >= 0 and age < MINUTE:
            holds = budgets.rate_holds(facts, now - age, said.unit)
            entered += [found for hold in holds if (found := _corrected(hold, said, now - age)) is not None]
    return entered


def _corrected(hold: Hold, said: VendorLimit, at: float) -> Correct | None:
    """The correction of one account by what was said at that moment, entered so that it is past when the reset is."""
    assert said.remaining is not None
    lasts = MINUTE if said.reset is None else min(said.reset, MINUTE)
    if not lasts > 0:
        return None
    bucket = max(int(at + lasts) - MINUTE, hold.window.since)
    window = Window(bucket, hold.window.since, hold.window.renews)
    return Correct(replace(hold, window=window), said.remaining)


def arrived(charges: Sequence[Charge], at: float) -> tuple[Charge, ...]:
    """The charges of a call that had reached its vendor at `at`, the latest moment that is possible.

    A vendor counts a request when it comes, which can be seconds after it was reserved: there it stands in the window too.
    """
    moved: list[Charge] = []
    for charge in charges:
        hold, bucket = charge.hold, int(at)
        if hold.budget.id.startswith(RATE) and hold.budget.unit == "requests" and bucket > hold.window.bucket:
            later = replace(hold, window=replace(hold.window, bucket=bucket))
            moved += [replace(charge, amount=0), Charge(later, 0, charge.amount)]
        else:
            moved.append(charge)
    return tuple(moved)
