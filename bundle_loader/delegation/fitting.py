"""A host's own spawner held to what the answer must be: what does not fit is no answer, whoever gave it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace

from bundle_loader.delegation.context import DelegationContext
from bundle_loader.delegation.spawner import Spawner
from bundle_loader.delegation.structured import NotFitting, expected, invalid_output
from bundle_loader.delegation.tools import ToolBox
from bundle_loader.events import Event, OutcomeEvent, TextEvent
from bundle_loader.ledger.meter import Meter


class Fitting:
    """A spawner whose answers are checked before anybody sees them."""

    def __init__(self, spawner: Spawner) -> None:
        self._spawner = spawner

    async def spawn(self, context: DelegationContext, meter: Meter, tools: ToolBox) -> AsyncIterator[Event]:
        """As the spawner's own. Under an `output_schema` its text comes once the answer fits; raises InvalidOutput where not.

        Whether to let the model try again is left to the spawner.
        """
        wanted = None if context.output_schema is None else await expected(context.output_schema)
        events = self._spawner.spawn(context, meter, tools)
        try:
            async for event in events:
                if wanted is None:
                    yield event
                elif isinstance(event, OutcomeEvent):
                    try:
                        data = event.data if event.data is not None else wanted.value(event.text, event.finish)
                        wanted.check(data)
                    except NotFitting as error:
                        raise invalid_output(context.agent, error.faults, event.text, told=False) from None
                    if event.text:
                        yield TextEvent(event.text)
                    yield replace(event, data=data)
                elif not isinstance(event, TextEvent):
                    yield event
        finally:
            if isinstance(events, AsyncGenerator):
                await events.aclose()
