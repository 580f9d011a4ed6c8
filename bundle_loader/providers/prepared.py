"""A request as one vendor can take it, before it is put into that vendor's words."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from bundle_loader.providers import blobs, config, history, output_format
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.output_format import Dialect
from bundle_loader.providers.table import ProviderRow

_DIALECTS: Final[dict[str, Dialect]] = {
    "anthropic": "anthropic",
    "google": "google",
    "vertex": "google",
    "ollama": "plain",
}


def prepared(
    row: ProviderRow, request: ChatRequest, provider: str, names: re.Pattern[str] | None = history.NAMES
) -> tuple[ChatRequest, tuple[str, ...]]:
    """The request with its conversation in order, without files that the vendor does not take, and notes on what was changed.

    Its `output_schema` is what is to be sent beside the messages; None where there is none, or where the system text now
    says it. `names` are those of tools that the vendor takes; None where a conversation is told in words, in any order.
    Raises ProviderFailure (unsupported) for a task that the vendor cannot be shown.
    """
    messages = request.messages if names is None else history.sound(request.messages, names)
    messages, notes = blobs.fitted(messages, row, provider, request.model)
    request = replace(request, messages=messages)
    if request.output_schema is None:
        return request, notes
    request, told = _schema(row, request)
    return request, (*notes, *told)


def _schema(row: ProviderRow, request: ChatRequest) -> tuple[ChatRequest, tuple[str, ...]]:
    """1. Where the vendor takes the schema, it goes beside the messages.

    2. Where it takes only the wish for JSON, that goes, and the schema as words of the system text.
    3. Else (this model, this schema, or with tools) the schema goes as words alone.
    """
    schema = request.output_schema
    assert schema is not None
    words = output_format.in_words(schema)
    with_words = replace(request, system=f"{request.system.rstrip()}\n\n{words}" if request.system.strip() else words)
    why = _why_words(row, request)
    if why is None and row.output_schema == "json_object":
        if schema.get("type") == "object":
            return with_words, (f"output_schema went as words: {row.id} takes only the wish for JSON",)
        why = f"{row.id} takes no schema but for an object"
    if why is None:
        native = output_format.fitted(schema, _DIALECTS.get(row.adapter, "openai"))
        if native is not None:
            return replace(request, output_schema=native), ()
        why = f"{row.id} has no form for it"
    return replace(with_words, output_schema=None), (f"output_schema went as words: {why}",)


def _why_words(row: ProviderRow, request: ChatRequest) -> str | None:
    if row.output_schema == "words":
        return f"{row.id} takes no schema"
    if config.refused(row, request.model, "output_schema"):
        return f"{request.model} takes no schema"
    if request.tools and config.refused(row, request.model, "output_schema_with_tools"):
        return f"{request.model} takes no schema beside tools"
    return None
