"""The conversation that a delegation starts from, in neutral messages."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from bundle_loader.errors import RequestError
from bundle_loader.messages import Message, Part, Text, Thinking, ToolCall, ToolSpec, user

FRAME: Final = 64
MESSAGE: Final = 16
PART: Final = 32
TOOLS: Final = 1024
"""What vendors tell a model of using tools, where it has any; 700 tokens were the most that one of them documents."""
TOOL: Final = 64


def opening(messages: Iterable[Message | Mapping[str, Any]], task: str) -> tuple[Message, ...]:
    """Inherited messages, then the task as the user's. Raises RequestError for what is not a message."""
    return (*(_message(value, index) for index, value in enumerate(messages)), user(task))


def _message(value: Message | Mapping[str, Any], index: int) -> Message:
    if isinstance(value, Message):
        return value
    role = value.get("role") if isinstance(value, Mapping) else None
    content = value.get("content") if isinstance(value, Mapping) else None
    if role not in ("user", "assistant") or not isinstance(content, str):
        raise RequestError(f"messages[{index}] is not a Message, nor {{'role': 'user' or 'assistant', 'content': text}}")
    return Message(role, (Text(content),))


def prompt_bytes(instruction: str, messages: Iterable[Message], specs: Iterable[ToolSpec] = ()) -> int:
    """Bytes of what is said and offered, without the words that a vendor puts around it."""
    parts = (part for message in messages for part in message.parts)
    return len(instruction.encode()) + sum(map(_part_bytes, parts)) + sum(map(_spec_bytes, specs))


def prompt_bound(
    instruction: str, messages: Sequence[Message], specs: Sequence[ToolSpec] = (), config: Mapping[str, Any] | None = None
) -> int:
    """The most tokens that a prompt can have, whatever the vendor.

    No text has more tokens than bytes. What vendors write around it is allowed for: FRAME tokens of a request, MESSAGE of each
    message, PART of each call and result of a tool, and with tools TOOLS more and TOOL of each. Settings are taken whole: an
    output schema goes into the prompt.
    """
    around = FRAME + MESSAGE * (1 + len(messages)) + PART * sum(len(message.parts) for message in messages)
    offered = TOOLS + TOOL * len(specs) if specs else 0
    return prompt_bytes(instruction, messages, specs) + around + offered + (_json_bytes(config) if config else 0)


def _part_bytes(part: Part) -> int:
    if isinstance(part, Text):
        return len(part.text.encode())
    if isinstance(part, Thinking):
        return len(part.text.encode()) + (_json_bytes(part.data) if part.data else 0)
    if isinstance(part, ToolCall):
        names = f"{part.id}{part.name}{part.vendor}{part.signature or ''}"
        return len(names.encode()) + _json_bytes(part.arguments)
    return len(f"{part.call_id}{part.name}{part.text}".encode())


def _spec_bytes(spec: ToolSpec) -> int:
    return len(f"{spec.name}{spec.description}".encode()) + _json_bytes(spec.schema)


def _json_bytes(value: Any) -> int:
    """As the SDKs write it, at the longest: characters beyond ASCII escaped."""
    return len(json.dumps(value, default=str))
