"""The conversation that a delegation starts from, in neutral messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bundle_loader.errors import RequestError
from bundle_loader.messages import Message, Text, user


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


def prompt_bytes(instruction: str, messages: Iterable[Message], specs: Iterable[Any]) -> int:
    """Bytes of everything that is sent: no prompt has more tokens than bytes."""
    size = len(instruction.encode())
    for message in messages:
        for part in message.parts:
            size += len(part.text.encode()) if hasattr(part, "text") else len(str(getattr(part, "arguments", "")).encode())
    return size + sum(len(spec.name) + len(spec.description.encode()) + len(str(spec.schema)) for spec in specs)
