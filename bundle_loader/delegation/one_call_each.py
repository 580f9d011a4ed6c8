"""The tool calls of one turn, each under an id of its own: a call that came twice is one call."""

from __future__ import annotations

import json
from dataclasses import replace

from bundle_loader.messages import Message, Part, ToolCall, Turn


def one_call_each(turn: Turn) -> Turn:
    """The turn as it is run and kept.

    1. A call with the id, the name and the arguments of one before it is that call said again: it is left out, so that nothing is
       done twice.
    2. Another call under an id that is taken, and one without an id, gets an id of its own: results are told apart by it.
    """
    calls = turn.message.tool_calls
    if len({call.id for call in calls}) == len(calls) and all(call.id for call in calls):
        return turn
    taken = {call.id for call in calls}
    seen: dict[str, set[str]] = {}
    parts: list[Part] = []
    for part in turn.message.parts:
        if not isinstance(part, ToolCall):
            parts.append(part)
            continue
        said = f"{part.name}\n{json.dumps(part.arguments, sort_keys=True, default=str)}"
        before = seen.setdefault(part.id, set())
        if part.id and said in before:
            continue
        parts.append(part if part.id and not before else replace(part, id=_another(part.id, taken)))
        before.add(said)
    return replace(turn, message=Message(turn.message.role, tuple(parts)))


def _another(id: str, taken: set[str]) -> str:
    number = 2
    while (made := f"{id or 'call'}_{number}") in taken:
        number += 1
    taken.add(made)
    return made
