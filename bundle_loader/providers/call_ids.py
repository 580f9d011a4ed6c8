"""The ids of tool calls in a form that a vendor takes, the same for a call and its result."""

from __future__ import annotations

import hashlib
import re


class CallIds:
    """Ids for one request, given in the order of its messages.

    An id that already fits `pattern` stays. Another vendor's is replaced by nine hexadecimal digits of its hash, so that
    the next request gives the same. An id that an earlier turn used up is made new: some vendors count from 0 in
    every turn, others refuse an id that is there twice.
    """

    def __init__(self, pattern: str) -> None:
        self._fits = re.compile(pattern).fullmatch
        self._uses: dict[str, int] = {}

    def call(self, id: str) -> str:
        """The id to send for a tool call."""
        self._uses[id] = self._uses.get(id, 0) + 1
        return self._sent(id)

    def result(self, id: str) -> str:
        """The id to send for the result of the latest call with this id."""
        return self._sent(id)

    def _sent(self, id: str) -> str:
        uses = self._uses.get(id, 1)
        if uses == 1 and self._fits(id):
            return id
        return hashlib.sha256(f"{id}\n{uses}".encode()).hexdigest()[:9]
