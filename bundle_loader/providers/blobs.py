"""Images and files of a conversation for a vendor that does not take all kinds of them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Final

from bundle_loader.errors import FailureKind, ProviderFailure
from bundle_loader.messages import Blob, Message, Part, Text, ToolResult
from bundle_loader.providers.table import ProviderRow

_WORDS: Final = (
    "text/*",
    "application/json",
    "application/*+json",
    "application/xml",
    "application/*+xml",
    "application/yaml",
    "application/x-yaml",
    "application/toml",
    "application/javascript",
    "application/x-sh",
    "image/svg+xml",
)
"""Kinds of files that are text."""
_OTHER_NAMES: Final = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"}
"""Common names that no vendor takes -> the right ones."""


def fitted(
    messages: tuple[Message, ...], row: ProviderRow, provider: str, model: str
) -> tuple[tuple[Message, ...], tuple[str, ...]]:
    """The conversation with nothing in it that the vendor does not take, and notes. Raises ProviderFailure (unsupported).

    1. What the vendor takes goes as it is.
    2. A file of text goes as text.
    3. Of the task (the last user's messages without an answer between them) nothing else is left out: the next provider is
       asked, since an answer without having seen it would be a guess.
    4. In the place of any other stands a text that names it. What is older was seen when it was answered, and what a tool
       gave back must not end the work that led to it; the model knows what it does not see.
    """
    if not _any(messages):
        return messages, ()
    first, last = _task(messages)
    notes: list[str] = []
    sent: list[Message] = []
    for index, message in enumerate(messages):
        parts: list[Part] = []
        for part in message.parts:
            if isinstance(part, Blob):
                kept = _fitted(part, row)
                if kept is None and first <= index <= last:
                    words = f"{row.id} does not support {_whole(part)} in a message"
                    raise ProviderFailure(FailureKind.UNSUPPORTED, provider, words, model=model, scope="provider")
                parts.append(kept or _left_out(part, row, notes))
            elif isinstance(part, ToolResult) and part.parts:
                parts.append(_result(part, row, notes))
            else:
                parts.append(part)
        sent.append(replace(message, parts=tuple(parts)) if message.blobs else message)
    return tuple(sent), tuple(dict.fromkeys(notes))


def _any(messages: Sequence[Message]) -> bool:
    for message in messages:
        for part in message.parts:
            if isinstance(part, Blob) or (isinstance(part, ToolResult) and part.parts):
                return True
    return False


def _task(messages: Sequence[Message]) -> tuple[int, int]:
    last = max((index for index, message in enumerate(messages) if message.role == "user"), default=-1)
    first = last
    while first > 0 and messages[first - 1].role == "user":
        first -= 1
    return first, last


def _result(result: ToolResult, row: ProviderRow, notes: list[str]) -> ToolResult:
    words = [result.text] if result.text else []
    kept: list[Blob] = []
    for blob in result.parts:
        part = _fitted(blob, row) or _left_out(blob, row, notes)
        if isinstance(part, Text):
            words.append(part.text)
        else:
            kept.append(part)
    return replace(result, text="\n".join(words), parts=tuple(kept))


def _fitted(blob: Blob, row: ProviderRow) -> Blob | Text | None:
    kind = _OTHER_NAMES.get(blob.media_type)
    blob = blob if kind is None else replace(blob, media_type=kind)
    patterns = row.takes if blob.data is not None else row.fetches if _scheme(blob) in row.addresses else ()
    # a file of no bytes is refused by every vendor
    if blob.data != b"" and any(fnmatchcase(blob.media_type, pattern) for pattern in patterns):
        return blob
    text = as_words(blob)
    return None if text is None else Text(f"[{described(blob)}]\n{text}")


def _scheme(blob: Blob) -> str:
    return (blob.url or "").partition("://")[0].lower()


def as_words(blob: Blob) -> str | None:
    """What stands in a file of text; None for any other."""
    kind = blob.media_type.partition(";")[0]
    if blob.data is None or not any(fnmatchcase(kind, pattern) for pattern in _WORDS):
        return None
    try:
        return blob.data.decode()
    except UnicodeDecodeError:
        return None


def _left_out(blob: Blob, row: ProviderRow, notes: list[str]) -> Text:
    notes.append(f"{_whole(blob)} of earlier was left out: {row.id} does not take it")
    return Text(f"[{described(blob)} stood here; it cannot be shown]")


def described(blob: Blob) -> str:
    """What it is, in a few words: `the image 'a.png' (image/png)`."""
    named = f" '{blob.name}'" if blob.name else ""
    return f"the {'image' if blob.is_image else 'file'}{named} ({blob.media_type})"


def _whole(blob: Blob) -> str:
    """The same, with what may be the reason for not taking it."""
    if blob.url is not None:
        return f"{described(blob)} at {blob.url.partition('?')[0][:100]}"
    return described(blob) if blob.data else f"{described(blob)} of no bytes"


def in_base64(blob: Blob) -> str:
    """The bytes as vendors take them."""
    return base64.b64encode(blob.data or b"").decode()


def address(blob: Blob) -> str:
    """Where it is, or a `data:` address that holds it."""
    return blob.url or f"data:{blob.media_type};base64,{in_base64(blob)}"


def file_name(blob: Blob) -> str:
    """Its name, or one that fits its kind."""
    return blob.name or f"file.{blob.media_type.partition('/')[2].partition(';')[0].rpartition('+')[2] or 'bin'}"
