"""The names that look most like a word: what a slip of the pen was meant to be."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

_MAX_WORD = 100
MISSPELT = 0.75
"""How alike, of 1, two names are where one is a slip of the other; less is enough where names are few and alike anyway."""


def nearest(word: str, known: Sequence[str] | set[str] | frozenset[str], count: int = 3, alike: float = 0.55) -> list[str]:
    """The names in `known` that look most like `word`, best first; case does not matter. Nothing looks like a very long word."""
    if len(word) > _MAX_WORD or not known:
        return []
    by_fold: dict[str, str] = {}
    for name in sorted(known):
        by_fold.setdefault(name.casefold(), name)
    found = get_close_matches(word.casefold(), by_fold, n=count, cutoff=alike)
    return [by_fold[name] for name in found]


def did_you_mean(word: str, known: Sequence[str] | set[str] | frozenset[str], alike: float = 0.55) -> str:
    """`; did you mean 'x'?` for the nearest known name, or nothing."""
    close = nearest(word, known, 1, alike)
    return f"; did you mean '{close[0]}'?" if close else ""


class Hints:
    """`did_you_mean` for any number of words with bounded work: after so many comparisons there are no hints any more."""

    def __init__(self, comparisons: int = 50_000) -> None:
        self._left = comparisons

    def near(self, word: str, known: Sequence[str]) -> str:
        """As `did_you_mean`."""
        self._left -= len(known)
        return did_you_mean(word, known) if self._left >= 0 else ""
