"""Moments as lists of models write them."""

from __future__ import annotations

from datetime import UTC, datetime


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
        return aware if aware.timestamp() > 0 else None
    if not isinstance(told, int | float) or isinstance(told, bool) or not 0 < told < 1e11:
        return None
    return datetime.fromtimestamp(told, UTC)
