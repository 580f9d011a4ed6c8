"""What vendors' headers say of their limits: every vendor's form, and what a lying or broken server cannot bring about."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle_loader.errors import FailureKind
from bundle_loader.messages import VendorLimit
from bundle_loader.providers import faults, table
from bundle_loader.providers.limit_headers import LONGEST, MOST, exhausted_for, vendor_limits

NOW = 1_795_000_000.0
"""2026-11-18T11:06:40Z"""


def limit(unit: str, most: int | None, left: int | None, reset: float | None) -> VendorLimit:
    return VendorLimit(unit, most, left, None if reset is None else pytest.approx(reset))  # type: ignore[arg-type]


VENDORS: Mapping[str, tuple[Mapping[str, str], list[VendorLimit]]] = {
    "anthropic": (
        {
            "anthropic-ratelimit-requests-limit": "50",
            "anthropic-ratelimit-requests-remaining": "49",
            "anthropic-ratelimit-requests-reset": "2026-11-18T11:06:41Z",
            "anthropic-ratelimit-input-tokens-limit": "30000",
            "anthropic-ratelimit-input-tokens-remaining": "29000",
            "anthropic-ratelimit-input-tokens-reset": "2026-11-18T11:06:42Z",
            "anthropic-ratelimit-output-tokens-limit": "8000",
            "anthropic-ratelimit-output-tokens-remaining": "7000",
            "anthropic-ratelimit-output-tokens-reset": "2026-11-18T11:06:47Z",
            "anthropic-ratelimit-tokens-limit": "38000",
            "anthropic-ratelimit-tokens-remaining": "36000",
            "anthropic-ratelimit-tokens-reset": "2026-11-18T11:06:42Z",
        },
        [limit("requests", 50, 49, 1), limit("tokens", 38000, 36000, 7)],
    ),
    "anthropic, tokens as one": (
        {"anthropic-ratelimit-tokens-limit": "40000", "anthropic-ratelimit-tokens-remaining": "0"},
        [limit("tokens", 40000, 0, None)],
    ),
    "anthropic, no output left": (
        {
            "anthropic-ratelimit-input-tokens-limit": "30000",
            "anthropic-ratelimit-input-tokens-remaining": "29000",
            "anthropic-ratelimit-output-tokens-limit": "8000",
            "anthropic-ratelimit-output-tokens-remaining": "0",
            "anthropic-ratelimit-output-tokens-reset": "2026-11-18T12:07:10+01:00",
        },
        [limit("tokens", None, 0, 30), limit("tokens", 38000, 29000, 30)],
    ),
    "openai": (
        {
            "x-ratelimit-limit-requests": "3000",
            "x-ratelimit-remaining-requests": "2999",
            "x-ratelimit-reset-requests": "20ms",
            "x-ratelimit-limit-tokens": "250000",
            "x-ratelimit-remaining-tokens": "249989",
            "x-ratelimit-reset-tokens": "1m0s",
        },
        [limit("requests", 3000, 2999, 0.02), limit("tokens", 250000, 249989, 60)],
    ),
    "openai, a day's requests": (
        {"x-ratelimit-limit-requests": "200", "x-ratelimit-remaining-requests": "199", "x-ratelimit-reset-requests": "7m12s"},
        [],
    ),
    "groq": (
        {
            "x-ratelimit-limit-requests": "14400",
            "x-ratelimit-remaining-requests": "14399",
            "x-ratelimit-reset-requests": "6s",
            "x-ratelimit-limit-tokens": "18000",
            "x-ratelimit-remaining-tokens": "17500",
            "x-ratelimit-reset-tokens": "7.66s",
        },
        [limit("tokens", 18000, 17500, 7.66)],
    ),
    "groq, the day is used up": (
        {"x-ratelimit-limit-requests": "1000", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "2m59.56s"},
        [limit("requests", None, 0, 179.56)],
    ),
    "mistral": (
        {
            "x-ratelimit-limit-req-minute": "50",
            "x-ratelimit-remaining-req-minute": "49",
            "x-ratelimit-limit-tokens-minute": "50000",
            "x-ratelimit-remaining-tokens-minute": "47300",
            "x-ratelimit-limit-tokens-month": "1000000000",
            "x-ratelimit-tokens-query-cost": "1300",
        },
        [limit("requests", 50, 49, None), limit("tokens", 50000, 47300, None)],
    ),
    "cerebras": (
        {
            "x-ratelimit-limit-requests-minute": "30",
            "x-ratelimit-remaining-requests-minute": "29",
            "x-ratelimit-reset-requests-minute": "26.28409242630005",
            "x-ratelimit-limit-requests-day": "14400",
            "x-ratelimit-remaining-requests-day": "0",
            "x-ratelimit-reset-requests-day": "11726.2840924263",
        },
        [limit("requests", 30, 29, 26.28409242630005), limit("requests", None, 0, LONGEST)],
    ),
    "openrouter": (
        {"X-RateLimit-Limit": "20", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(NOW * 1000) + 30_000)},
        [limit("requests", 20, 0, 30)],
    ),
    "openrouter, the free models of a day": (
        {"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(NOW * 1000) + 46_400_000)},
        [limit("requests", None, 0, LONGEST)],
    ),
    "huggingface": (
        {"RateLimit": '"api";r=0;t=55', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'},
        [limit("requests", None, 0, 55)],
    ),
    "a minute of the working group's": (
        {"RateLimit": '"api";r=7;t=55', "RateLimit-Policy": '"fixed window";"api";q=10;w=60'},
        [limit("requests", 10, 7, 55)],
    ),
    "xai": (
        {"x-ratelimit-limit-requests": "480", "x-ratelimit-remaining-requests": "479"},
        [limit("requests", 480, 479, None)],
    ),
    "deepseek, moonshot, ollama": ({"content-type": "text/event-stream"}, []),
}


@pytest.mark.parametrize("name", VENDORS)
def test_the_headers_of_each_vendor(name: str) -> None:
    headers, expected = VENDORS[name]
    row = table.row(name.partition(",")[0])
    assert list(vendor_limits(headers, NOW, row.limit_windows if row else {})) == expected


def test_the_table_says_which_limits_are_a_days() -> None:
    assert {row.id: dict(row.limit_windows) for row in table.rows().values() if row.limit_windows} == {
        "groq": {"requests": "day"}
    }


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("6m0s", 360), ("1s", 1), ("12ms", 0.012), ("1h2m3.5s", 3600), ("59", 59), ("0.25", 0.25), ("1d", 3600),
        ("2026-11-18T11:06:50Z", 10), ("2026-11-18T11:06:50.500Z", 10.5), ("2026-11-18T13:06:50+02:00", 10),
        ("2026-11-18T10:00:00Z", 0), ("9999-12-31T23:59:59Z", 3600), (str(int(NOW) + 9), 9), (str(int(NOW * 1000) + 900), 0.9),
        ("", None), ("soon", None), ("-5", None), ("nan", None), ("inf", None), ("1e9", None), ("1s 2s", None), ("s", None),
        ("2026-13-45T99:99:99Z", None), ("5, 6", None), ("0x10", None), ("\u0665s", None), ("9" * 400, None),
    ],
)  # fmt: skip
def test_resets(written: str, seconds: float | None) -> None:
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": written}
    (found,) = vendor_limits(headers, NOW)
    assert (found.remaining, found.reset) == (0, None if seconds is None else pytest.approx(seconds))


def test_a_moment_is_compared_with_the_servers_own_clock() -> None:
    headers = {
        "date": "Wed, 18 Nov 2026 14:00:00 GMT",
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "9",
        "anthropic-ratelimit-requests-reset": "2026-11-18T14:00:20Z",
    }
    assert list(vendor_limits(headers, NOW)) == [limit("requests", 50, 9, 20)]
    assert list(vendor_limits({**headers, "date": "once upon a time"}, NOW)) == []


@pytest.mark.parametrize("written", ["", "-1", "0", "many", "1e3", "12.5", "50, 60", "0x20", "nan", str(MOST + 1), "9" * 50])
def test_a_limit_that_is_none_is_left_out(written: str) -> None:
    headers = {"x-ratelimit-limit-requests": written, "x-ratelimit-remaining-requests": "3"}
    assert list(vendor_limits(headers, NOW)) == [limit("requests", None, 3, None)]


def test_what_contradicts_itself_is_left_out() -> None:
    assert list(vendor_limits({"x-ratelimit-limit-requests": "5", "x-ratelimit-remaining-requests": "9"}, NOW)) == [
        limit("requests", 5, None, None)
    ]
    twice = {"X-RateLimit-Limit-Requests": "5", "x-ratelimit-limit-requests": "9", "x-ratelimit-remaining-requests": "2"}
    assert list(vendor_limits(twice, NOW)) == [limit("requests", None, 2, None)]


NAMES = [
    f"{start}{part}{unit}{window}"
    for start in ("x-ratelimit-", "X-RateLimit-", "ratelimit-")
    for part in ("limit", "remaining", "reset")
    for unit in ("", "-requests", "-req", "-tokens", "-input-tokens", "-output-tokens")
    for window in ("", "-minute", "-day", "-second", "-fortnight")
]
NAMES += [f"anthropic-ratelimit-{unit}-{part}" for unit in ("requests", "tokens", "input-tokens", "output-tokens")
          for part in ("limit", "remaining", "reset")] + ["ratelimit", "ratelimit-policy", "date"]  # fmt: skip
VALUES = st.one_of(
    st.text(max_size=40),
    st.integers(-(10**20), 10**20).map(str),
    st.floats().map(str),
    st.from_regex(r"\d{1,30}(d|h|m|s|ms)\d{0,9}(m|s|ms)?", fullmatch=True),
    st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
    st.from_regex(r'"[a-z]{0,5}";(r|q|t|w)=\d{1,30};(r|q|t|w)=\d{1,30}', fullmatch=True),
)


@given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=12), st.floats(0, 4e9))
def test_no_headers_break_it_or_close_for_long(headers: dict[str, str], now: float) -> None:
    for found in vendor_limits(headers, now, {"tokens": "day"}):
        assert found.limit is None or 1 <= found.limit <= 2 * MOST
        assert found.remaining is None or found.remaining >= 0
        assert found.reset is None or 0 <= found.reset <= LONGEST
        assert found.limit is not None or found.remaining is not None
    until = exhausted_for(headers, now)
    assert until is None or 0 < until <= LONGEST


def test_a_refusal_without_retry_after_takes_the_reset_of_what_is_used_up() -> None:
    spent = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "21s"}
    more = {**spent, "x-ratelimit-remaining-tokens": "900", "x-ratelimit-reset-tokens": "40s"}
    for headers, seconds in [
        (spent, 21),
        (more, 21),
        ({**more, "retry-after": "3"}, 3),
        ({"x-ratelimit-remaining-requests": "4", "x-ratelimit-reset-requests": "9s"}, None),
        ({}, None),
    ]:
        failed = faults.failure("openai", "gpt-4o", 429, "slow down", headers=headers, now=NOW)
        assert (failed.kind, failed.retry_after) == (FailureKind.LIMITED, seconds)
    busy = faults.failure("openai", "gpt-4o", 503, "busy", headers=spent, now=NOW)
    assert busy.retry_after is None
