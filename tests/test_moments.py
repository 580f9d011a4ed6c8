"""Moments of lists: every way in which they are written, and what is none."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bundle_loader.providers.snapshot import model_info
from bundle_loader.routing.moments import moment

THEN = datetime(2026, 9, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "told", [THEN.timestamp(), THEN.timestamp() * 1000, "2026-09-01T12:00:00", "2026-09-01T14:00:00+02:00", THEN]
)
def test_a_moment_is_read_however_it_is_written(told: object) -> None:
    assert moment(told) == THEN
    assert model_info({"id": "m", "created": told}).created == THEN


@pytest.mark.parametrize(
    "told", [None, 0, -1, True, float("nan"), float("inf"), 1e300, "", "soon", "1970-01-01", "0001-01-01", "9999-12-31", [], {}]
)
def test_what_is_no_moment(told: object) -> None:
    assert moment(told) is None
