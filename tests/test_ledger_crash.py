"""Processes that are killed at random while they spend from one file: no ceiling is passed, and nothing is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.ledger_load import under_fire

SECONDS = float(os.environ.get("BUNDLE_LOADER_CRASH_SECONDS", "20"))


@pytest.mark.slow
@pytest.mark.requirement("RTR-67")
def test_no_ceiling_is_passed_and_nothing_lost_while_processes_are_killed(tmp_path: Path) -> None:
    """Eight processes of 200 tasks, or of 200 threads; some calls are cut in the middle."""
    outcome = under_fire(tmp_path, processes=8, tasks=200, seconds=SECONDS)
    assert outcome.faults == ()
    assert outcome.killed >= SECONDS / 3
    assert outcome.lost > 0, "nobody was killed while a call was under way"
    assert outcome.acknowledged > SECONDS * 50
    assert outcome.seen.samples > SECONDS
    assert {id for id, part in outcome.seen.fullest.items() if part > 0.95} >= {"half", "month", "talk"}, "limits were reached"


@pytest.mark.slow
def test_without_reserving_ceilings_are_passed_and_that_is_seen(tmp_path: Path) -> None:
    outcome = under_fire(tmp_path, processes=2, tasks=200, seconds=4, reserving=False, killing=False)
    assert outcome.seen.over
