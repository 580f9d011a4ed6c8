"""JSON in the text of an answer or of a command: the whole of it, in a fence, or somewhere within."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, Final, NoReturn

_FENCE: Final = re.compile(r"(`{3,}|~{3,})[ \t]*([\w+-]*)")
_OPENS: Final = re.compile(r"[\[{]")
_MOST_TRIES: Final = 10_000
"""Brackets of one text from which JSON may begin."""
_TOO_DEEP: Final = 100_000
"""Characters that a try counts for where it went too deep."""


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


def _number(word: str) -> float:
    found = float(word)
    return found if math.isfinite(found) else _no_number(word)


_READER: Final = json.JSONDecoder(parse_constant=_no_number, parse_float=_number)


def clean_json(text: str) -> dict[str, Any] | list[Any] | None:
    """The object or list that a text is as a whole; None for anything else."""
    said = text.strip()
    if not said or said[0] not in "[{" or said[-1] not in "]}":
        return None
    found = _read(said)
    return found if isinstance(found, (dict, list)) else None


def whole_json(text: str) -> dict[str, Any] | list[Any] | None:
    """As `clean_json`, also where it stands alone in one fence."""
    said = text.strip()
    first, _, rest = said.partition("\n")
    opened = _FENCE.fullmatch(first.strip())
    if opened is not None:
        return clean_json(rest[: -len(opened[1])]) if rest.endswith(opened[1]) else None
    return clean_json(said)


def _fenced(text: str) -> Iterator[tuple[str, str]]:
    """The fenced blocks of a text: the word behind the fence, and what it encloses."""
    mark = word = ""
    inside: list[str] = []
    for line in text.splitlines(keepends=True):
        if not mark:
            opened = _FENCE.match(line)
            if opened is not None:
                mark, word, inside = opened[1], opened[2].lower(), []
        elif line.strip() == mark:
            yield word, "".join(inside)
            mark = ""
        else:
            inside.append(line)


def json_in(text: str) -> Any:
    """The JSON that a text brings. Raises ValueError where there is none.

    1. The whole text.
    2. The first fenced block that is JSON; those that say so come first.
    3. The first object or list within the text. One of nothing, or of mere numbers, only where there is no other.
    """
    said = text.strip()
    found = _read(said)
    if found is not None or said == "null":
        return found
    for _, inside in sorted(_fenced(text), key=lambda block: block[0] != "json"):
        found = clean_json(inside)
        if found is not None:
            return found
    best: tuple[int, Any] | None = None
    for value in _within(text):
        worth = _worth(value)
        if best is None or worth > best[0]:
            best = worth, value
        if worth == _REAL:
            break
    if best is None:
        raise ValueError("holds no JSON object or list" if said else "is empty, and no JSON")
    return best[1]


_REAL: Final = 2


def _worth(value: Any) -> int:
    if not value:
        return 0
    return 1 if isinstance(value, list) and all(isinstance(item, (int, float)) for item in value) else _REAL


def _within(text: str) -> Iterator[Any]:
    """The objects and lists in a text, in order; the work is bounded by a few times its length."""
    at, tries, left = 0, _MOST_TRIES, 4 * len(text) + 1_000_000
    while tries > 0 and left > 0:
        opened = _OPENS.search(text, at)
        if opened is None:
            return
        at = opened.start()
        tries -= 1
        try:
            value, end = _READER.raw_decode(text, at)
        except json.JSONDecodeError as error:
            left -= error.pos - at + 1
            at += 1
        except (RecursionError, ValueError):
            left -= _TOO_DEEP
            at += 1
        else:
            yield value
            at = end


def _read(text: str) -> Any:
    """The JSON value that a text is; None where it is none."""
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_number)
    except (ValueError, RecursionError):
        return None
