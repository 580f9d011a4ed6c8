"""Moments as lists of models write them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

_LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC).timestamp()
"""What lies behind it is no moment of a model, and cannot be shown in every time zone."""
_MILLISECONDS: Final = 1e11
"""Larger numbers count milliseconds: as seconds they would lie after the year 5000."""


def moment(told: object) -> datetime | None:
    """An aware time from ISO 8601 text (UTC where it has no offset), a datetime, or seconds (or milliseconds) since the epoch.

    None for anything else. The epoch itself, which some vendors write for what they do not know, is None as well.
    """
    try:
        if isinstance(told, str):
            told = datetime.fromisoformat(told)
        if isinstance(told, datetime):
            aware = told if told.tzinfo else told.replace(tzinfo=UTC)
            return aware if 0 < aware.timestamp() < _LATEST else None
        if not isinstance(told, int | float) or isinstance(told, bool) or not told > 0:
            return None
        seconds = told / 1000 if told > _MILLISECONDS else told
        return datetime.fromtimestamp(seconds, UTC) if seconds < _LATEST else None
    except (ValueError, OverflowError):
        return None
