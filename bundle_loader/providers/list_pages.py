"""The pages of one list of models: each brings something, each leads to another one, and together they are all of it."""

from __future__ import annotations

from typing import Final

from bundle_loader.errors import ProviderFailure
from bundle_loader.providers.faults import broken

MOST_PAGES: Final = 100


class Pages:
    """One list while it is read. Half a list is no list; what fails it:

    1. Whether more follow is told by something else than true or false, or where they follow by something else than a text.
    2. It says that more follow, and not where.
    3. A page holds none although it is a later one, or although more follow.
    4. It leads to a page that was led to before, or has no end after `MOST_PAGES`.
    5. At its end, which it does not call one, it holds fewer models than it says that there are.
    """

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._led_to: set[str] = set()
        self._models = 0

    def following(self, models: int, mark: object, more: object = None) -> str | None:
        """What leads to the page after one with so many models, None after the last. Raises ProviderFailure.

        `mark` is what the page says leads on, and `more` whether more follow; None where it does not say.
        """
        self._models += models
        if more is not None and not isinstance(more, bool):
            raise self._broken("does not say whether more follow")
        leads = more is not False and mark is not None and mark != ""
        if leads and not isinstance(mark, str):
            raise self._broken("does not say where it goes on")
        if more and not leads:
            raise self._broken("says that more follow, and not where")
        if not models and self._led_to:
            raise self._broken("has a later page that holds none")
        if not leads or not isinstance(mark, str):
            return None
        if not models:
            raise self._broken("says that more follow, and holds none")
        if mark in self._led_to:
            raise self._broken("leads back to an earlier page")
        self._led_to.add(mark)
        if len(self._led_to) >= MOST_PAGES:
            raise self._broken(f"has no end after {MOST_PAGES} pages")
        return mark

    def end(self, total: object) -> None:
        """All pages are read, and the list says that it has so many models. Raises ProviderFailure."""
        if isinstance(total, int) and not isinstance(total, bool) and self._models < total:
            raise self._broken(f"has {self._models} of the {total} models that it says there are")

    def _broken(self, what: str) -> ProviderFailure:
        return broken(self._provider, None, f"the list of models {what}")
