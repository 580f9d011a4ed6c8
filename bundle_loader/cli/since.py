"""Moments as they are written on the command line: `2h`, `7d`, `2026-11-01`."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import typer

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def moment(text: str | None, option: str) -> float | None:
    """Epoch seconds: so long ago, or a date or time, in UTC where it names no zone. A usage error for anything else."""
    if text is None:
        return None
    ago = _AGO.fullmatch(text.strip().lower())
    try:
        if ago is not None:
            at = time.time() - float(ago[1]) * _SECONDS[ago[2]]
            datetime.fromtimestamp(at, UTC)
            return at
        found = datetime.fromisoformat(text.strip())
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, OSError):
        raise typer.BadParameter(
            f"{text!r} is no time; write how long ago (90s, 30m, 2h, 7d, 4w), or a date such as 2026-11-01", param_hint=option
        ) from None
