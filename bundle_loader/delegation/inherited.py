"""How much of a conversation is handed on to whoever is delegated to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from bundle_loader.declared.agent import ContextPolicy
from bundle_loader.messages import Message, Part, Text, Thinking, ToolCall, ToolResult

DELEGATE: Final = "delegate"
"""The name of the tool by which agents delegate."""


def inherited(policy: ContextPolicy, conversation: Sequence[Message]) -> tuple[Message, ...]:
    """The part of a conversation that a policy hands on; the conversation itself stays as it is.

    1. Depth `none` hands on nothing, `recent` the last `turns` turns, `all` everything. A turn begins with what a user says and
       ends before a user speaks again.
    2. Scope `conversation` is what was said, `agents` also what was delegated and what came of it, told as text, and `full`
       also calls and results of all tools.
    3. Calls without a result are left out, and so is thinking: it belongs to whoever thought.
    """
    if policy.depth == "none":
        return ()
    chosen = conversation if policy.depth == "all" else _recent(conversation, policy.turns)
    if policy.scope == "full":
        return tuple(_complete(chosen))
    return tuple(_said(chosen, agents=policy.scope == "agents"))


def _recent(conversation: Sequence[Message], turns: int) -> Sequence[Message]:
    begins = [index for index, message in enumerate(conversation) if _begins(conversation, index, message)]
    return conversation[begins[-turns] :] if len(begins) > turns else conversation


def _begins(conversation: Sequence[Message], index: int, message: Message) -> bool:
    """Two messages of a user in a row are one turn."""
    return message.role == "user" and (index == 0 or conversation[index - 1].role != "user")


def _complete(messages: Sequence[Message]) -> Iterable[Message]:
    called = {part.id for message in messages for part in message.parts if isinstance(part, ToolCall)}
    answered = {part.call_id for message in messages for part in message.parts if isinstance(part, ToolResult)}

    def stays(part: Part) -> bool:
        if isinstance(part, ToolCall):
            return part.id in answered
        if isinstance(part, ToolResult):
            return part.call_id in called
        return not isinstance(part, Thinking)

    return _kept(Message(message.role, tuple(part for part in message.parts if stays(part))) for message in messages)


def _said(messages: Sequence[Message], *, agents: bool) -> Iterable[Message]:
    """What was said; with `agents` a delegation is told where it was made."""
    results = {part.call_id: part for message in messages for part in message.parts if isinstance(part, ToolResult)}
    found = []
    for message in messages:
        if message.role == "tool":
            continue
        parts: list[Part] = []
        for part in message.parts:
            if isinstance(part, Text):
                parts.append(part)
            elif agents and isinstance(part, ToolCall) and part.name == DELEGATE and part.id in results:
                parts.append(Text(_told(part, results[part.id], first=not parts)))
        found.append(Message(message.role, tuple(parts)))
    return _kept(found)


def _told(call: ToolCall, result: ToolResult, *, first: bool) -> str:
    agent = call.arguments.get("agent", "an agent")
    came = "It failed" if result.is_error else "It answered"
    lead = "" if first else "\n\n"
    return f"{lead}I delegated to {agent}: {call.arguments.get('instruction', '')}\n{came}: {result.text}"


def _kept(messages: Iterable[Message]) -> Iterable[Message]:
    return (message for message in messages if message.parts)
