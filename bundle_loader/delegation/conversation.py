"""The conversation that a delegation starts from, in neutral messages."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from bundle_loader.delegation.given_messages import Given, messages_of
from bundle_loader.delegation.trimming import room, shortest, trimmed
from bundle_loader.messages import Blob, Message, Part, Text, Thinking, ToolCall, ToolSpec, user

FRAME: Final = 64
MESSAGE: Final = 16
PART: Final = 32
TOOLS: Final = 1024
"""What vendors tell a model of using tools, where it has any; 700 tokens were the most that one of them documents."""
TOOL: Final = 64
IMAGE: Final = 16_384
FETCHED: Final = 65_536
SEEN: Final = 1024
"""Bytes of text that an image or a file stands for at least."""


def opening(messages: Iterable[Given], task: str) -> tuple[Message, ...]:
    """Inherited messages, then the task as the user's. Raises RequestError for what is not a message."""
    return (*messages_of(messages), user(task))


def has_images(messages: Iterable[Message]) -> bool:
    """Whether a model must see to follow it."""
    return any(blob.is_image for message in messages for blob in message.blobs)


def prompt_bytes(instruction: str, messages: Iterable[Message], specs: Iterable[ToolSpec] = ()) -> int:
    """Bytes of what is said and offered, without the words that a vendor puts around it."""
    parts = (part for message in messages for part in message.parts)
    return len(instruction.encode()) + sum(map(_part_bytes, parts)) + sum(map(_spec_bytes, specs))


def message_bytes(message: Message) -> int:
    """Bytes of one message, as `prompt_bytes` counts them."""
    return sum(map(_part_bytes, message.parts))


def least_bytes(instruction: str, messages: Sequence[Message], specs: Sequence[ToolSpec] = ()) -> int:
    """As `prompt_bytes`, for what is left of the messages where they are shortened as far as they may be."""
    return prompt_bytes(instruction, shortest(messages, message_bytes), specs)


def within(
    window: int | None,
    max_tokens: int,
    instruction: str,
    history: Sequence[Message],
    specs: Sequence[ToolSpec],
    size: int | None = None,
) -> tuple[Sequence[Message], int, str | None]:
    """What is sent of a history to a model with that window, the prompt's bytes, and a note where something was left out.

    `size` is the `prompt_bytes` of all of it, where that is known.
    """
    size = prompt_bytes(instruction, history, specs) if size is None else size
    most = room(window, max_tokens)
    if most is None or size <= most:
        return history, size, None
    own = sum(map(message_bytes, history))
    found = trimmed(history, most - (size - own), message_bytes)
    if found is None:
        return history, size, None
    return found.messages, prompt_bytes(instruction, found.messages, specs), found.note


def prompt_bound(
    instruction: str,
    messages: Sequence[Message],
    specs: Sequence[ToolSpec] = (),
    config: Mapping[str, Any] | None = None,
    size: int | None = None,
) -> int:
    """The most tokens that a prompt can have, whatever the vendor; `size` is its `prompt_bytes`, where that is known.

    No text has more tokens than bytes. What vendors write around it is allowed for: FRAME tokens of a request, MESSAGE of each
    message, PART of each call and result of a tool, and with tools TOOLS more and TOOL of each. Settings are taken whole: an
    output schema goes into the prompt. An image is IMAGE at most, whatever its bytes; another file is IMAGE and four tokens for
    each of its bytes, or FETCHED where only its address is known.
    """
    offered = TOOLS + TOOL * len(specs) if specs else 0
    said = prompt_bytes(instruction, messages, specs) if size is None else size
    return said + FRAME + MESSAGE + around_bound(messages) + offered + (_json_bytes(config) if config else 0)


def around_bound(messages: Sequence[Message]) -> int:
    """The part of `prompt_bound` that messages bring beside their bytes; that of two lists is the sum of theirs."""
    files = sum(_blob_bound(blob) for message in messages for blob in message.blobs)
    return MESSAGE * len(messages) + PART * sum(len(message.parts) for message in messages) + files


def _blob_bound(blob: Blob) -> int:
    if blob.is_image:
        return IMAGE
    return FETCHED if blob.data is None else IMAGE + 4 * len(blob.data)


def _blob_bytes(blob: Blob) -> int:
    """A file of text counts as what it says, any other as little: its bytes are not the model's to read."""
    text = blob.data is not None and blob.media_type.startswith("text/")
    return len(blob.data) if text and blob.data is not None else SEEN


def _part_bytes(part: Part) -> int:
    if isinstance(part, Text):
        return len(part.text.encode())
    if isinstance(part, Blob):
        return _blob_bytes(part)
    if isinstance(part, Thinking):
        return len(part.text.encode()) + (_json_bytes(part.data) if part.data else 0)
    if isinstance(part, ToolCall):
        names = f"{part.id}{part.name}{part.vendor}{part.signature or ''}"
        return len(names.encode()) + _json_bytes(part.arguments)
    return len(f"{part.call_id}{part.name}{part.text}".encode()) + sum(map(_blob_bytes, part.parts))


def _spec_bytes(spec: ToolSpec) -> int:
    return len(f"{spec.name}{spec.description}".encode()) + _json_bytes(spec.schema)


def _json_bytes(value: Any) -> int:
    """As the SDKs write it, at the longest: characters beyond ASCII escaped."""
    return len(_ENCODED(value))


_ENCODED: Final = json.JSONEncoder(default=str).encode
