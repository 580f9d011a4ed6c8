"""What the headers of an answer say of a vendor's rate limits. Pure: the moment is an argument, and no header is trusted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final, Literal

from bundle_loader.messages import VendorLimit

LONGEST: Final = 3600.0
"""Seconds. A later reset is taken as one in an hour: no server can keep its models closed for longer at a time."""
MOST: Final = 1_000_000_000
"""Requests or tokens. A larger number is no limit."""
MINUTE: Final = 60.0
_LATE: Final = 5.0
"""Seconds that the reset of a minute may be late: clocks differ."""

_PLAIN = re.compile(r"(?:x-)?ratelimit-(limit|remaining|reset)(?:-(requests|req|tokens|input-tokens|output-tokens))?(?:-(\w+))?")
_ANTHROPIC = re.compile(r"anthropic-ratelimit-(requests|tokens|input-tokens|output-tokens)-(limit|remaining|reset)")
_SINGLE: Final = ("ratelimit", "ratelimit-policy")
_WINDOWS: Final = ("second", "minute", "hour", "day", "month")
_NUMBER = re.compile(r"[0-9]{1,14}(?:\.[0-9]{1,20})?")
_PART: Final = r"(?:([0-9]{1,9}(?:\.[0-9]{1,20})?)"
_DURATION = re.compile(rf"{_PART}d)?{_PART}h)?{_PART}m)?{_PART}s)?{_PART}ms)?")
_IN_SECONDS: Final = (86400.0, 3600.0, 60.0, 1.0, 0.001)
_STAMP = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_PARAMETER = re.compile(r";\s*([a-z]+)=([0-9]{1,12})")


@dataclass(slots=True)
class _Said:
    """The headers of one limit, still as text."""

    limit: str | None = None
    remaining: str | None = None
    reset: str | None = None


def vendor_limits(
    headers: Mapping[str, str], now: float, windows: Mapping[str, str] | None = None, age: float = 0.0
) -> tuple[VendorLimit, ...]:
    """The limits that an answer's headers state; what cannot be understood is left out.

    `now` is the moment (epoch seconds) at which they arrived, `age` the seconds since then. `windows` says of a unit whose
    headers name no length of time that it is not a minute's (`{"requests": "day"}`). Only limits of a minute are given with
    their numbers; of all others what counts is that nothing remains.
    """
    plain = _texts(headers)
    if not plain:
        return ()
    clock = _Clock(headers, now)
    found: list[VendorLimit] = []
    stated = {key: _limit(key, said, clock, age) for key, said in _grouped(plain, windows or {}).items()}
    parts = [limit for key in (("input-tokens", "minute"), ("output-tokens", "minute")) if (limit := stated.pop(key, None))]
    if parts:
        # a vendor that counts both apart also sends one of them, the tighter, as its limit of tokens
        both = _together(parts) if len(parts) == 2 else None
        found += [_spent(part) for part in parts if part.remaining == 0]
        if both is not None:
            stated[("tokens", "minute")] = both
    found += [limit for limit in stated.values() if limit is not None]
    return tuple(limit for limit in found if limit.limit is not None or limit.remaining is not None)


def exhausted_for(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds until a limit of which nothing remains is there again, the longest of several; None where none says so."""
    resets = [limit.reset for limit in vendor_limits(headers, now) if limit.remaining == 0 and limit.reset]
    return max(resets, default=None)


def _texts(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers about limits, by their names in lower case; one that is there twice and differs says nothing."""
    found: dict[str, str] = {}
    torn: set[str] = set()
    for name, value in headers.items():
        name = name.lower()
        if "ratelimit" in name:
            value = value.strip()
            if found.setdefault(name, value) != value:
                torn.add(name)
    return {name: value for name, value in found.items() if name not in torn}


def _grouped(texts: Mapping[str, str], windows: Mapping[str, str]) -> dict[tuple[str, str], _Said]:
    """Unit and window -> what is said of it."""
    found: dict[tuple[str, str], _Said] = {}
    for name, value in texts.items():
        if match := _ANTHROPIC.fullmatch(name):
            key, part = (match[1], "minute"), match[2]
        elif (match := _PLAIN.fullmatch(name)) and match[3] in (None, *_WINDOWS):
            unit = {None: "requests", "req": "requests"}.get(match[2], match[2])
            key, part = (unit, match[3] or windows.get(unit.rpartition("-")[2], "minute")), match[1]
        else:
            continue
        setattr(found.setdefault(key, _Said()), part, value)
    if "ratelimit" in texts:
        key, said = _structured(*(texts.get(name, "") for name in _SINGLE))
        found.setdefault(key, said)
    return found


def _structured(state: str, policy: str) -> tuple[tuple[str, str], _Said]:
    """The two headers of the HTTP working group: `"api";r=0;t=55` and `"fixed window";"api";q=500;w=300`."""
    now, rule = dict(_PARAMETER.findall(state)), dict(_PARAMETER.findall(policy))
    window = "minute" if rule.get("w") == "60" else "other"
    several = "," in state or "," in policy
    return ("requests", window), _Said() if several else _Said(rule.get("q"), now.get("r"), now.get("t"))


def _limit(key: tuple[str, str], said: _Said, clock: _Clock, age: float) -> VendorLimit | None:
    """One limit, or None where it is of no use."""
    unit: Literal["requests", "tokens"] = "requests" if key[0] == "requests" else "tokens"
    limit, remaining = _count(said.limit), _count(said.remaining)
    reset = clock.until(said.reset) if said.reset is not None else None
    minute = key[1] == "minute" and (reset is None or reset <= MINUTE + _LATE)
    bounded = None if reset is None else min(reset, LONGEST)
    if limit is not None and not 1 <= limit <= MOST:
        limit = None
    if limit is not None and remaining is not None and remaining > limit:
        remaining = None
    if not minute:
        return VendorLimit(unit, None, 0, bounded, age) if remaining == 0 and bounded else None
    return VendorLimit(unit, limit, remaining, bounded, age)


def _together(parts: list[VendorLimit]) -> VendorLimit:
    """Input and output as one: no more than both together can be used."""
    one, other = parts
    reset = max((part.reset for part in parts if part.reset is not None), default=None)
    limit = None if one.limit is None or other.limit is None else one.limit + other.limit
    remaining = None if one.remaining is None or other.remaining is None else one.remaining + other.remaining
    return VendorLimit("tokens", limit, remaining, reset, one.age)


def _spent(part: VendorLimit) -> VendorLimit:
    """Input or output of which nothing remains: no call can be made, whatever the other has."""
    return VendorLimit("tokens", None, 0, part.reset, part.age)


def _count(text: str | None) -> int | None:
    if text is None or not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    return int(number) if number == int(number) else None


class _Clock:
    """When a reset is. One that names a moment is compared with the server's own clock, where the answer shows it."""

    def __init__(self, headers: Mapping[str, str], now: float) -> None:
        self._headers = headers
        self._now = now

    def until(self, text: str) -> float | None:
        """Seconds, never negative: from a moment, a duration such as `6m0s` or `12ms`, or a number of seconds."""
        if _NUMBER.fullmatch(text):
            number = float(text)
            moment = number / 1000 if number >= 1e11 else number
            return number if number < 1e9 else max(moment - self._there(), 0.0)
        if _STAMP.fullmatch(text):
            return self._stamp(text)
        return _duration(text)

    def _stamp(self, text: str) -> float | None:
        try:
            return max(datetime.fromisoformat(text.upper()).timestamp() - self._there(), 0.0)
        except (ValueError, OverflowError):
            return None

    def _there(self) -> float:
        try:
            return parsedate_to_datetime(self._headers["date"]).timestamp()
        except (KeyError, ValueError, TypeError, OverflowError):
            return self._now


def _duration(text: str) -> float | None:
    match = _DURATION.fullmatch(text)
    if match is None or not any(match.groups()):
        return None
    return sum(float(part) * unit for part, unit in _products(match))


def _products(match: re.Match[str]) -> Iterator[tuple[str, float]]:
    for part, unit in zip(match.groups(), _IN_SECONDS, strict=True):
        if part is not None:
            yield part, unit
