"""A clock that stands still until it is told to move."""

from __future__ import annotations

from typing import Final

START: Final = 1_767_225_600.0
"""2026-01-01T00:00:00Z."""


class StillClock:
    """Epoch seconds for a host's `clock`: the same at every call, so that windows of budgets, dates and records are too."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let that much time pass at once; it never runs back."""
        if seconds < 0:
            raise ValueError(f"a clock does not run back: {seconds:g} s")
        self.now += seconds
