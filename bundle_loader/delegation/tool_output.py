"""What a tool gave back as a model is told it: text, and images or files beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from bundle_loader.messages import Blob

MAX_RESULT: Final = 100_000
"""Characters of one tool result that a model is told; what is cut is said."""


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """What a tool may give back where text alone does not say it."""

    text: str
    parts: tuple[Blob, ...] = ()
    """Images and files."""
    is_error: bool = False


def output_of(value: Any) -> ToolOutput:
    """Whatever a tool gave back. What JSON cannot say is no failure: the work is done, and who hears of one does it again."""
    if isinstance(value, ToolOutput):
        return value
    if isinstance(value, Blob):
        return ToolOutput("", (value,))
    if isinstance(value, (list, tuple)) and any(isinstance(item, Blob) for item in value):
        blobs = tuple(item for item in value if isinstance(item, Blob))
        return ToolOutput("\n".join(_text(item) for item in value if not isinstance(item, Blob)), blobs)
    return ToolOutput(_text(value))


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return value.model_dump_json() if isinstance(value, BaseModel) else json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return _told(value)


def _told(value: Any) -> str:
    """Of what JSON does not know: dataclasses and models within, sets, times, bytes; what nothing knows as its own words."""
    try:
        return json.dumps(to_jsonable_python(value, fallback=str, serialize_unknown=True), ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return str(value)


def cut(text: str) -> str:
    """The text, or its beginning and how much is missing."""
    return f"{text[:MAX_RESULT]}\n[cut: {len(text) - MAX_RESULT} more characters]" if len(text) > MAX_RESULT else text
