"""The body of an error, in any of the shapes that vendors use: its codes, its message, its wait. Pure, and never an exception."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from bundle_loader.providers import fault_words, waits

_DEEPEST: Final = 5
"""Errors within errors that are opened: relays write what the server behind them said as text."""
_LARGEST: Final = 100_000
"""Characters of a text that are tried as JSON."""
_CODES: Final = ("type", "code", "status", "error_type", "limit_source", "reason")
_MESSAGES: Final = ("message", "detail", "msg", "error", "error_message", "description")


def words(body: object) -> tuple[str, str]:
    """The types and codes of an error body as one text, and its message."""
    codes, said = _read(body, 0)
    seen = dict.fromkeys(code for code in codes if code)
    message = ": ".join(dict.fromkeys(part for part in said if part))
    if not message and isinstance(body, Mapping) and body:
        message = json.dumps(body.get("error", body), default=str, ensure_ascii=False)
    return " ".join(seen), message


def _read(value: object, depth: int) -> tuple[list[str], list[str]]:
    """Codes and messages, the outer ones first."""
    if isinstance(value, str):
        return _read_text(value, depth)
    if isinstance(value, Sequence) and depth < _DEEPEST:
        return _read_list(value, depth)
    if not isinstance(value, Mapping) or depth >= _DEEPEST:
        return [], []
    codes = [str(value[key]) for key in _CODES if isinstance(value.get(key), str | int) and value[key]]
    details = value.get("details")
    if isinstance(details, Mapping) and details.get("error_code"):
        codes.append(str(details["error_code"]))
    said: list[str] = []
    inner = value.get("error")
    if isinstance(inner, Mapping):
        # what stands around the error is only `type: error` and the like
        codes, said = [], []
    for key in ("error", *_MESSAGES) if inner else _MESSAGES:
        more, spoken = _read(value.get(key), depth + 1)
        codes += more
        said += spoken
        if spoken:
            break
    metadata = value.get("metadata")
    if isinstance(metadata, Mapping):
        codes += [str(metadata[key]) for key in ("limit_source", "error_type") if metadata.get(key)]
        more, spoken = _read(metadata.get("raw"), depth + 1)
        codes += more
        said += [text for text in spoken if not any(text in earlier for earlier in said)]
    return codes, said


def _read_text(text: str, depth: int) -> tuple[list[str], list[str]]:
    """A text, and the error that it carries as JSON."""
    start = text.find("{")
    if start < 0 or depth >= _DEEPEST or len(text) > _LARGEST or fault_words.is_page(text):
        return [], [text]
    try:
        inner, length = json.JSONDecoder().raw_decode(text[start:])
    except (ValueError, RecursionError):
        return [], [text]
    if not isinstance(inner, Mapping) or not any(key in inner for key in ("error", *_MESSAGES)):
        return [], [text]
    codes, said = _read(inner, depth + 1)
    around = (text[:start].strip(" -:\n["), text[start + length :].strip(" -:\n]"))
    return (codes, [*(part for part in around if part), *said]) if said else ([], [text])


def _read_list(items: Sequence[Any], depth: int) -> tuple[list[str], list[str]]:
    """A list of errors; of those that check a request field by field, the place and what is wrong, not what was sent."""
    codes: list[str] = []
    said: list[str] = []
    for item in items[:10]:
        if isinstance(item, Mapping) and isinstance(item.get("msg"), str):
            place = item.get("loc")
            where = ".".join(str(part) for part in place) if isinstance(place, list | tuple) else ""
            said.append(f"{where}: {item['msg']}" if where else item["msg"])
            codes += [str(item["type"])] if isinstance(item.get("type"), str) else []
            continue
        more, spoken = _read(item, depth + 1)
        codes += more
        said += spoken
    return codes, said


def wait(body: object) -> float | None:
    """Seconds that a body itself asks to wait: for a model that is loading, or in a relay's copy of headers."""
    for part in _parts(body):
        found = waits.from_estimate(part.get("estimated_time")) or waits.from_estimate(part.get("retry_after"))
        if found is None and isinstance(part.get("metadata"), Mapping):
            found = waits.from_estimate(part["metadata"].get("retry_after_seconds"))
        if found is not None:
            return found
    return None


def headers(body: object) -> dict[str, str]:
    """The headers that a relay repeats in its body, by names in small letters."""
    for part in _parts(body):
        metadata = part.get("metadata")
        told = metadata.get("headers") if isinstance(metadata, Mapping) else None
        if isinstance(told, Mapping):
            return {str(name).lower(): str(value) for name, value in told.items()}
    return {}


def _parts(body: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(body, list) and body:
        body = body[0]
    if isinstance(body, Mapping):
        yield body
        if isinstance(body.get("error"), Mapping):
            yield body["error"]
