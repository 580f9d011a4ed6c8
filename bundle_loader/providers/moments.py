"""Moments as lists of models write them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

_LATEST: Final = 1e11
"""Seconds since the epoch (in the year 5138): what is later is a mistake, or what an SDK makes of one."""


def moment(told: object) -> datetime | None:
    """An aware time from ISO 8601 text (UTC where it has no offset) or seconds since the epoch; None for what is neither.

    The epoch itself, which some vendors write for what they do not know, is None as well.
    """
    if isinstance(told, str):
        try:
            told = datetime.fromisoformat(told)
        except ValueError:
            return None
    if isinstance(told, datetime):
        aware = told if told.tzinfo else told.replace(tzinfo=UTC)
        return aware if 0 < aware.timestamp() < _LATEST else None
    if not isinstance(told, int | float) or isinstance(told, bool) or not 0 < told < _LATEST:
        return None
    return datetime.fromtimestamp(told, UTC)
