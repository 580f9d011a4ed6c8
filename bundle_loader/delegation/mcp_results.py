"""What an MCP server's tool gives back, as a tool's own output: text, images and files, structured content."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

from bundle_loader.delegation.tool_output import ToolOutput
from bundle_loader.messages import Blob

_BYTES = "application/octet-stream"


def output_of(result: Any) -> ToolOutput:
    """The output of a `CallToolResult`.

    1. Texts stand in their order, one below the other; a link to a resource is a line that names it.
    2. Images, sound and files are blobs. What is no sound base64 is named in the text instead.
    3. Structured content is added as JSON, unless the texts say it already.
    """
    texts: list[str] = []
    blobs: list[Blob] = []
    for block in result.content:
        said = _block(block)
        if isinstance(said, Blob):
            blobs.append(said)
        else:
            texts.append(said)
    structured = getattr(result, "structured_content", None)
    if structured is not None and not _is_said(structured, texts):
        texts.append(json.dumps(structured, ensure_ascii=False, default=str))
    return ToolOutput("\n".join(texts), tuple(blobs), bool(result.is_error))


def _block(block: Any) -> str | Blob:
    """One block of the content: what is to be told, or a blob."""
    if block.type == "text":
        return str(block.text)
    if block.type in ("image", "audio"):
        return _blob(block.data, block.mime_type)
    if block.type == "resource":
        resource = block.resource
        text = getattr(resource, "text", None)
        if text is not None:
            return str(text)
        return _blob(resource.blob, resource.mime_type or _BYTES, str(resource.uri).rpartition("/")[2] or None)
    if block.type == "resource_link":
        about = f": {block.description}" if block.description else ""
        return f"[{block.name}]({block.uri}){about}"
    return f"[a block of the kind '{block.type}', which is not understood]"


def _blob(data: str, media_type: str, name: str | None = None) -> str | Blob:
    kind = media_type.partition(";")[0].strip().lower()
    try:
        return Blob(base64.b64decode(data, validate=True), kind if "/" in kind else _BYTES, None, name)
    except (binascii.Error, ValueError):
        return f"[{kind or 'a file'} that could not be read]"


def _is_said(structured: Any, texts: Sequence[str]) -> bool:
    """Whether the texts are the structured content already: the whole, or the one value that a server has wrapped in it."""
    values = [structured]
    if isinstance(structured, dict) and len(structured) == 1:
        values += structured.values()
    read = [_json(text) for text in texts]
    if any(value in values for value in read) or any(isinstance(value, str) and value in texts for value in values):
        return True
    return bool(texts) and any(isinstance(value, list) and value in (read, list(texts)) for value in values)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _NOTHING


_NOTHING = object()
"""Equal to nothing that a server can say."""
