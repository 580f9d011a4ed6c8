"""Any neutral conversation as one that every vendor takes: each call answered right behind it, the roles in order."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from bundle_loader.messages import Message, Part, Text, ToolCall, ToolResult, user

NAMES: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_-]{0,63}")
"""Names of tools that every vendor takes."""
_LONGEST_NAME: Final = 64
_UNANSWERED: Final = "there is no result: the call was never answered"
_BEGINS: Final = "[The conversation begins with an answer of the assistant.]"


def sound(messages: Sequence[Message], names: re.Pattern[str] = NAMES) -> tuple[Message, ...]:
    """The same conversation in an order that vendors take. One that has it already is given back part for part.

    1. A message without words, files, calls and results is left out: reasoning alone is no answer.
    2. Answers that follow each other are one.
    3. The results of an answer's calls are one message right behind it, in the order of the calls, and bear their names. What
       else stood between comes after them.
    4. A call without a result gets one that says so. A result without its call is a user's text.
    5. The ids of one answer's calls differ; names that do not fit `names` are spelt so that they do.
    6. The first message is a user's.
    """
    if _is_sound(messages, names):
        return tuple(messages)
    kept = [message for message in messages if _says(message)]
    ordered: list[Message] = []
    index = 0
    while index < len(kept):
        message = kept[index]
        index += 1
        if message.role != "assistant":
            ordered += _others([message], set())
            continue
        while index < len(kept) and kept[index].role == "assistant":
            message = Message("assistant", (*message.parts, *kept[index].parts))
            index += 1
        start = index
        while index < len(kept) and kept[index].role != "assistant":
            index += 1
        ordered += _exchange(message, kept[start:index], names)
    if ordered and ordered[0].role != "user":
        ordered.insert(0, user(_BEGINS))
    return tuple(ordered)


def _is_sound(messages: Sequence[Message], names: re.Pattern[str]) -> bool:
    """Whether nothing is to be changed, as in most conversations of our own: one look at each part."""
    before = ""
    asked: list[ToolCall] = []
    called: set[str] = set()
    for message in messages:
        if message.role == "tool":
            if not asked or not _answers(message.parts, asked):
                return False
            asked = []
        elif asked or not _says(message):
            return False
        elif message.role == "user":
            for part in message.parts:
                if isinstance(part, ToolResult):
                    return False
        elif before in ("", "assistant"):
            return False
        else:
            asked = [part for part in message.parts if isinstance(part, ToolCall)]
            if len({call.id for call in asked}) != len(asked):
                return False
            called.update([call.name for call in asked])
        before = message.role
    return not asked and all(map(names.fullmatch, called))


def _answers(parts: Sequence[Part], calls: Sequence[ToolCall]) -> bool:
    """Whether these are the results of the calls, one each, in their order."""
    if len(parts) != len(calls):
        return False
    for part, call in zip(parts, calls, strict=True):
        if not isinstance(part, ToolResult) or part.call_id != call.id or part.name != call.name:
            return False
    return True


def _says(message: Message) -> bool:
    answers = message.role == "assistant"
    for part in message.parts:
        if part.text.strip() if isinstance(part, Text) else not answers or isinstance(part, ToolCall):
            return True
    return False


def _exchange(answer: Message, after: Sequence[Message], names: re.Pattern[str]) -> Iterator[Message]:
    """An answer, the results of its calls, and what else stood between it and the next answer."""
    calls = answer.tool_calls
    if not calls:
        yield answer
        yield from _others(after, set())
        return
    given: dict[str, deque[ToolResult]] = {}
    for message in after:
        for part in message.parts:
            if isinstance(part, ToolResult):
                given.setdefault(part.call_id, deque()).append(part)
    used: set[int] = set()
    parts: list[Part] = []
    results: list[ToolResult] = []
    ids: set[str] = set()
    for part in answer.parts:
        if not isinstance(part, ToolCall):
            parts.append(part)
            continue
        found = given[part.id].popleft() if given.get(part.id) else None
        if found is not None:
            used.add(id(found))
        call = _call(part, ids, names)
        ids.add(call.id)
        parts.append(call)
        results.append(_result(found, call))
    yield answer if parts == list(answer.parts) else Message("assistant", tuple(parts))
    yield Message("tool", tuple(results))
    yield from _others(after, used)


def _call(call: ToolCall, ids: set[str], names: re.Pattern[str]) -> ToolCall:
    other, number = call.id, 1
    while other in ids:
        number += 1
        other = f"{call.id}~{number}"
    name = call.name if names.fullmatch(call.name) else _spelt(call.name)
    return call if (other, name) == (call.id, call.name) else replace(call, id=other, name=name)


def _spelt(name: str) -> str:
    plain = re.sub(r"[^a-zA-Z0-9_-]", "_", name) or "tool"
    return (plain if plain[0].isalpha() or plain[0] == "_" else f"_{plain}")[:_LONGEST_NAME]


def _result(found: ToolResult | None, call: ToolCall) -> ToolResult:
    if found is None:
        return ToolResult(call.id, call.name, _UNANSWERED, is_error=True)
    return found if (found.call_id, found.name) == (call.id, call.name) else replace(found, call_id=call.id, name=call.name)


def _others(messages: Sequence[Message], used: set[int]) -> Iterator[Message]:
    """What of these is no result of a call, as a user's; results that belong to none are told in words."""
    for message in messages:
        if message.role == "user" and not any(isinstance(part, ToolResult) for part in message.parts):
            yield message
            continue
        parts: list[Part] = []
        for part in message.parts:
            if not isinstance(part, ToolResult):
                parts.append(part)
            elif id(part) not in used:
                said = "error of" if part.is_error else "result of"
                parts += [Text(f"[{said} the tool '{part.name}'] {part.text}"), *part.parts]
        if parts:
            yield Message("user", tuple(parts))
