"""How long a vendor asks to wait, from headers, details and words. Pure, and never an exception: nonsense is no wait."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

LONGEST: Final = 366 * 86400.0
"""Seconds. Nobody means more than a year: a longer wait is not believed."""

_SECONDS = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]{0,20})?(?:e[+-]?[0-9]{1,2})?", re.ASCII)
_DURATION = re.compile(r"-?[0-9]{1,12}(?:\.[0-9]{1,9})?s", re.ASCII)
_UNITS: Final = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_LONG_UNITS = r"(?:ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hours?|d|days?)"
_AGAIN = re.compile(
    r"\b(?:try(?: (?:your|the|this) request)? again|retry|come back|wait)\b(?: your request)?[^.;\d]{0,20}\b(?:in|after|for)?\s*"
    rf"((?:\d{{1,9}}(?:\.\d{{1,20}})?\s?{_LONG_UNITS}\b[\s,]*(?:and )?|\d{{1,9}}(?:\.\d{{1,20}})?(?:d|h|ms|m|s))+)",
    re.IGNORECASE | re.ASCII,
)
_NAMED = re.compile(
    r"\bretry[_-]after(?:[_-](?:(?P<thousandth>ms|milliseconds?)|s|secs?|seconds?))?[\"']?\s?[:=]\s?[\"']?(?P<number>\d{1,9}(?:\.\d{1,20})?)"
    rf"(?:\s?(?P<unit>{_LONG_UNITS})\b)?(?![\w:/-]|\.\d)",
    re.IGNORECASE | re.ASCII,
)
_WRITTEN = re.compile(r"\s*(?:\d{1,9}(?:\.\d{1,20})?\s?" + _LONG_UNITS + r"(?![a-z])\s*)+", re.IGNORECASE | re.ASCII)
_PIECE = re.compile(r"(\d{1,9}(?:\.\d{1,20})?)\s?([a-z]+)", re.IGNORECASE | re.ASCII)


def believable(seconds: float) -> float | None:
    """The same number of seconds, at least 0; None for what is no number, endless or longer than a year."""
    return max(seconds, 0.0) if math.isfinite(seconds) and seconds <= LONGEST else None


def from_headers(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds to wait, from `retry-after-ms` or else `retry-after`: seconds, a duration such as
    `1.5s` or `2m`, or a date where `now` (epoch seconds) is given.

    A date is compared with the server's own clock where the answer shows it, and one that names no zone is UTC.
    """
    milliseconds = headers.get("retry-after-ms")
    if milliseconds is not None and _SECONDS.fullmatch(milliseconds.strip()):
        found = believable(float(milliseconds) / 1000)
        if found is not None:
            return found
    value = headers.get("retry-after")
    if value is None:
        return None
    if _SECONDS.fullmatch(value.strip()):
        return believable(float(value))
    if _WRITTEN.fullmatch(value):
        return believable(_sum(value))
    moment = _moment(value)
    if moment is None or now is None:
        return None
    there = _moment(headers.get("date"))
    return believable(moment - (now if there is None else there))


def _moment(text: str | None) -> float | None:
    """Epoch seconds of an HTTP date or a timestamp."""
    if not text:
        return None
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            found = read(text.strip())
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
    return None


def from_duration(value: Any) -> float | None:
    """Seconds of a protobuf duration: `17s`, `0.5s`, or `{"seconds": "17", "nanos": 500000000}`."""
    if isinstance(value, str):
        return believable(float(value[:-1])) if _DURATION.fullmatch(value) else None
    if isinstance(value, Mapping):
        whole, rest = value.get("seconds", 0), value.get("nanos", 0)
        parts = [_number(whole), _number(rest)]
        return None if None in parts or not value else believable((parts[0] or 0.0) + (parts[1] or 0.0) / 1e9)
    return None


def from_estimate(value: Any) -> float | None:
    """Seconds that a server which loads a model says it will take; None for what is no number of them."""
    number = _number(value)
    return None if number is None or number <= 0 else believable(number)


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if abs(value) < 1e18 else None
    return float(value) if isinstance(value, str) and _SECONDS.fullmatch(value) else None


def from_words(words: str) -> float | None:
    """Seconds from words such as `try again in 7m12.5s`, `try again after 1 seconds` or `retry_after: 5`."""
    match = _AGAIN.search(words)
    if match is not None:
        return believable(_sum(match[1]))
    named = _NAMED.search(words)
    if named is None:
        return None
    return believable(_sum(f"{named['number']}{named['unit'] or ('ms' if named['thousandth'] else 's')}"))


def _sum(written: str) -> float:
    """Seconds of a duration of numbers and units."""
    total = 0.0
    for number, unit in _PIECE.findall(written):
        unit = unit.lower()
        key = "ms" if unit.startswith(("ms", "milli")) else unit[0]
        total += float(number) * _UNITS[key]
    return total
