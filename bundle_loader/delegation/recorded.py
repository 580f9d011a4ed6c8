"""Tools whose results go into a transcript as they come: what is known of them outlives the process."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bundle_loader.delegation.sessions import Journal
from bundle_loader.delegation.tools import ToolBox
from bundle_loader.messages import ToolCall, ToolResult


class RecordedTools(ToolBox):
    """The tools of a box, run as the box runs them."""

    def __init__(self, box: ToolBox, journal: Journal) -> None:
        self.__dict__.update(vars(box))
        self._box = box
        self._journal = journal

    async def run(self, calls: Iterable[ToolCall], told: Callable[[ToolResult], None] | None = None) -> list[ToolResult]:
        """As `ToolBox.run`; that they are asked for is written before any of them runs."""
        wanted = tuple(calls)
        self._journal.asked(wanted)

        def kept(result: ToolResult) -> None:
            self._journal.result(result)
            if told is not None:
                told(result)

        return await self._box.run(wanted, kept)
