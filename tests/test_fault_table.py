"""The failure table: every status, every wait, and what an error is once it is read; no vendor's wording of its own."""

from __future__ import annotations

import base64
import json
import os
import pickle
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle_loader.errors import FailureKind, ProviderFailure
from bundle_loader.providers import echoes, fault_bodies, faults, google_faults, sdk_faults, waits

K = FailureKind
NOW = 1_790_000_000.0
EVERY_STATUS = {
    **dict.fromkeys(range(100, 400), (K.BROKEN, "model")),
    **dict.fromkeys(range(400, 500), (K.WRONG_REQUEST, "model")),
    **dict.fromkeys(range(500, 600), (K.BUSY, "model")),
    **dict.fromkeys((408, 409, 425, 498, 499), (K.BUSY, "model")),
    **dict.fromkeys((401, 402, 405, 407, 451), (K.REFUSED, "provider")),
    **dict.fromkeys((403, 404, 410), (K.REFUSED, "model")),
    413: (K.TOO_LONG, "model"),
    429: (K.LIMITED, "model"),
}


@pytest.mark.parametrize("words", ["", "no", "<html><body>billing, context length, content policy, rate limit</body></html>"])
def test_every_status_has_its_row(words: str) -> None:
    assert {status: faults.kind_of(status, words) for status in range(100, 600)} == EVERY_STATUS
    for status, (kind, scope) in EVERY_STATUS.items():
        failed = faults.failure("p", "m", status, words)
        assert (failed.kind, failed.scope, failed.status) == (kind, scope, status)


@given(st.integers(min_value=-(10**6), max_value=10**6) | st.none(), st.text(max_size=300), st.text(max_size=40))
def test_no_status_and_no_words_break_the_table(status: int | None, message: str, code: str) -> None:
    failed = faults.failure("p", "m", status, message, code=code, headers={"retry-after": message, "date": code}, now=NOW)
    assert failed.retry_after is None or 0 <= failed.retry_after <= waits.LONGEST
    assert failed.message


def test_only_what_tells_of_the_provider_or_the_model_counts_against_health() -> None:
    counted = {kind for kind in K if ProviderFailure(kind, "p", "m").counts_against_health}
    assert counted == {K.BUSY, K.BROKEN}


def test_a_model_is_gone_by_404_and_not_by_a_ban_or_a_spent_day() -> None:
    gone = {status: faults.failure("p", "m", status, "per day" if status == 429 else "no").model_gone for status in EVERY_STATUS}
    assert {status for status, is_gone in gone.items() if is_gone} == {404, 410}
    assert faults.failure("p", "m", 400, "The model `x` does not exist").model_gone


IN_MINUTE = datetime.fromtimestamp(NOW, UTC) + timedelta(minutes=1)
HEADERS: list[tuple[dict[str, str], float | None]] = [
    ({"retry-after": "7"}, 7),
    ({"retry-after": " 7.5 "}, 7.5),
    ({"retry-after": "0"}, 0),
    ({"retry-after": "-3"}, 0),
    ({"retry-after-ms": "250"}, 0.25),
    ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
    ({"retry-after-ms": "soon", "retry-after": "9"}, 9),
    ({"retry-after-ms": "1e3", "retry-after": "9"}, 1),
    ({"retry-after": format_datetime(IN_MINUTE, usegmt=True)}, 60),
    ({"retry-after": format_datetime(IN_MINUTE.astimezone(timezone(timedelta(hours=5, minutes=30))))}, 60),
    ({"retry-after": IN_MINUTE.strftime("%a, %d %b %Y %H:%M:%S")}, 60),
    ({"retry-after": IN_MINUTE.strftime("%a, %d %b %Y %H:%M:%S -0000")}, 60),
    ({"retry-after": IN_MINUTE.isoformat()}, 60),
    ({"retry-after": format_datetime(IN_MINUTE, usegmt=True), "date": format_datetime(IN_MINUTE, usegmt=True)}, 0),
    ({"retry-after": "500ms"}, 0.5),
    ({"retry-after": "1.5s"}, 1.5),
    ({"retry-after": "2m"}, 120),
    ({"retry-after": " 1h 2m "}, 3720),
    ({"retry-after": "20 seconds"}, 20),
    ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
    ({"retry-after": "Wed, 21 Oct 9999 07:28:00 GMT"}, None),
    ({"retry-after": "Wed, 21 Oct 99999 07:28:00 GMT"}, None),
    ({"retry-after": "Wed, 99 Foo 2026 77:28:00 GMT"}, None),
    *[
        ({"retry-after": odd}, None)
        for odd in ("NaN", "inf", "-inf", "1e18", "9" * 15, "9" * 5000, "1_0", "٣", "", "soon", "5, 7", "5 tools", "400d")
    ],
    ({}, None),
]


@pytest.mark.parametrize(("headers", "seconds"), HEADERS, ids=lambda value: str(value)[:60])
def test_headers_ask_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert waits.from_headers(headers, NOW) == seconds
    assert faults.failure("p", "m", 503, "no", headers=headers, now=NOW).retry_after == seconds


def test_a_date_without_a_zone_is_utc_wherever_the_machine_stands() -> None:
    code = f"from bundle_loader.providers import waits; print(waits.from_headers({HEADERS[10][0]!r}, {NOW}))"
    environment = {**os.environ, "TZ": "Asia/Kolkata"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "60.0"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("17s", 17),
        ("0.5s", 0.5),
        ("17.123456789s", 17.123456789),
        ("-3s", 0),
        ({"seconds": "17", "nanos": 500_000_000}, 17.5),
        ({"seconds": 3}, 3),
        *[(odd, None) for odd in ("17", "s", "NaNs", "infs", "1e5s", "9" * 30 + "s", "", 17, None, [], {}, {"seconds": "x"})],
        ({"seconds": float("nan")}, None),
        ({"seconds": 10**30}, None),
    ],
    ids=str,
)
def test_durations_ask_to_wait(value: Any, seconds: float | None) -> None:
    assert waits.from_duration(value) == seconds


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("Please try again in 7m12.5s.", 432.5),
        ("Please try again in 644ms.", 0.644),
        ("please try again after 1 seconds", 1),
        ("Please retry in 17.5s.", 17.5),
        ("try again in 1h2m3s", 3723),
        ("Try again in 2 minutes and 5 seconds.", 125),
        ("Try your request again in 3 seconds", 3),
        ("slow down (retry_after: 5)", 5),
        ('{"retry_after": "2.5", "x": 1}', 2.5),
        ("retry-after=2m", 120),
        ("retry_after_ms: 250", 0.25),
        ("retry_after: 2026-12-01", None),
        ("retry_after: 1790000000", None),
        ("retry_after: none", None),
        ("Please try again later", None),
        ("try again with 5 tools", None),
        ("wait for 3 models", None),
        ("retry in 999999999 days", None),
    ],
)
def test_words_ask_to_wait(words: str, seconds: float | None) -> None:
    assert waits.from_words(words) == seconds
    assert faults.failure("p", "m", 429, words).retry_after == seconds
    assert faults.failure("p", "m", 400, words).retry_after is None


def test_a_relays_copy_of_headers_says_when_its_limit_ends() -> None:
    ends = {"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1741305600000"}
    body = {"error": {"message": "Rate limit exceeded: free-models-per-day", "code": 429, "metadata": {"headers": ends}}}
    assert fault_bodies.headers(body)["x-ratelimit-reset"] == "1741305600000"
    soon = {**ends, "X-RateLimit-Reset": str(int((NOW + 100) * 1000))}
    failed = faults.failure("p", "m", 429, "per day", headers={name.lower(): text for name, text in soon.items()}, now=NOW)
    assert (failed.kind, failed.retry_after) == (K.LIMITED, pytest.approx(100))
    assert faults.failure("p", "m", 429, "per day", now=NOW).kind is K.REFUSED


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "message", "code", "type", "details", "detail", "msg", "loc", "metadata", "raw", "headers"])
            | st.sampled_from(["violations", "retryDelay", "@type", "reason", "status", "quotaId", "estimated_time"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_no_shape_of_a_body_breaks_the_sorting(body: Any) -> None:
    from google.genai import errors

    code, message = fault_bodies.words(body)
    assert isinstance(code, str)
    assert isinstance(message, str)
    fault_bodies.wait(body)
    fault_bodies.headers(body)
    assert isinstance(sdk_faults.inside_stream(body, "p", "m"), ProviderFailure)
    nested = {"error": {"code": 429, "message": "m", "details": body}}
    for shape in (body, nested, [nested]):
        try:
            error = errors.APIError(429, shape)
        except (AttributeError, TypeError):
            continue
        assert isinstance(google_faults.sort(error, "p", "m"), ProviderFailure)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "m", "type": "t", "code": "c"}}, ("t c", "m")),
        ({"type": "error", "error": {"type": "t", "message": "m"}}, ("t", "m")),
        ({"error": "m", "code": "c"}, ("c", "m")),
        ({"message": {"detail": [{"loc": ["body", "x"], "msg": "m", "input": "secret"}]}}, ("", "body.x: m")),
        ([{"error": {"message": "m", "status": "S"}}], ("S", "m")),
        ({"error": {"message": json.dumps({"error": {"message": "m", "code": 429}}), "code": 400}}, ("400 429", "m")),
        ({"error": {"message": 'relay: {"error": {"message": "m"}} (end)'}}, ("", "relay: (end): m")),
        ("plain", ("", "plain")),
        (None, ("", "")),
    ],
)
def test_bodies_of_all_shapes_are_read(body: Any, words: tuple[str, str]) -> None:
    assert fault_bodies.words(body) == words


@given(st.text(st.characters(codec="ascii", min_codepoint=33), min_size=12, max_size=60), st.text(max_size=20), st.integers(0, 2))
def test_a_key_is_found_in_every_form(secret: str, before: str, shift: int) -> None:
    packed = base64.b64encode(b"u" * shift + secret.encode()).decode()
    text = f"{before} {secret} Basic {packed} {secret!r}"
    clean = echoes.without(secret, text)
    assert secret not in clean
    assert packed not in clean
    assert packed[4:-4] not in clean


KEYS = (
    "sk-ant-api03-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-abcdefgh",
    "Zx9Kq27LmPa04TrWc81VbNe63YhJd5Gs",
    "AIzaSyA1b2C3d4E5f6G7h8I9j0",
)


@pytest.mark.parametrize("key", KEYS)
def test_keys_of_others_stay_out_of_every_failure(key: str) -> None:
    said = f"error for url https://x.example/?key={key} Authorization: Bearer {key} end"
    failures = [
        faults.foreign(RuntimeError(said), "p", "m"),
        faults.foreign(OSError(said), "p", "m"),
        faults.no_client(ValueError(said), "p", "m"),
        faults.unreachable("p", "m", said),
        faults.broken("p", "m", said),
        faults.content_refused("p", "m", said),
        ProviderFailure(K.BUSY, "p", said),
        *(faults.failure("p", "m", status, said) for status in (None, 400, 401, 500)),
        *(faults.failure("p", "m", 401, "x " * blank + said) for blank in range(180, 250, 7)),
        faults.failure("p", "m", 401, "", code=key),
    ]
    for failed in failures:
        shown = repr((str(failed), failed.args, vars(failed)))
        assert not [shown for start in range(len(key) - 12) if key[start : start + 12] in shown], shown
        again = pickle.loads(pickle.dumps(failed))
        assert (str(again), vars(again)) == (str(failed), vars(failed))
    assert "error for url https://x.example/?" in failures[0].message


def test_strangers_are_cut_short_and_show_no_place_in_memory() -> None:
    assert len(faults.foreign(RuntimeError("no " * 10_000), "p", "m").message) < 300
    assert len(ProviderFailure(K.BUSY, "p", "no " * 10_000).message) == ProviderFailure.LONGEST
    failed = faults.unreachable("p", "m", "Cannot connect to host x:443 ssl:<ssl.SSLContext object at 0x7f12ab34cd56> [refused]")
    assert failed.message == "no connection (Cannot connect to host x:443 ssl:<ssl.SSLContext> [refused])"


def test_a_key_quoted_for_an_address_leaves_no_rest() -> None:
    key = "aB3dE5fG7hJ9kL2mN4pQ6rS8tU1vW3%2Brest%3Aof-it"
    assert (
        faults.failure("p", "m", 401, f"got first12%2F{key} and more").message == "got [left out: it looks like a key] and more"
    )
