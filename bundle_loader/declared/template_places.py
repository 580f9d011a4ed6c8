"""Where in the text of a template something stands: Jinja2 tells the line, not the column."""

from __future__ import annotations

import re
from typing import Final

_TAGS: Final = re.compile(r"\{#.*?#\}|\{\{.*?(?:\}\}|\Z)|\{%.*?(?:%\}|\Z)", re.DOTALL)
_OPENS: Final = re.compile(r"\{\{|\{%|\{#")
_QUOTED: Final = r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'"


def column_of(text: str, line: int, pattern: str) -> int:
    """The column, from 1 on, at which `pattern` (a regular expression; its group `at` where it has one) first stands in a tag on
    a line of the text, be it in quotes if nowhere else; that of the line's first tag where it does not; 0 where the line has
    none.
    """
    lines = text.split("\n")
    if not 1 <= line <= len(lines):
        return 0
    start = sum(len(above) + 1 for above in lines[: line - 1])
    end = start + len(lines[line - 1])
    for sought in (re.compile(rf"(?:{_QUOTED})|(?P<found>{pattern})"), re.compile(rf"(?P<found>{pattern})")):
        for tag in _TAGS.finditer(text):
            if tag.start() > end or tag.end() < start or tag[0].startswith("{#"):
                continue
            for found in sought.finditer(text, tag.start(), tag.end()):
                at = found.start("at" if "at" in sought.groupindex else "found")
                if start <= at <= end and found["found"] is not None:
                    return at - start + 1
    opened = _OPENS.search(text, start, end)
    return opened.start() - start + 1 if opened else 0


def name_pattern(name: str) -> str:
    """A variable of that name: no attribute, no keyword of a call, no filter."""
    return rf"(?<![\w.|])(?P<at>{re.escape(name)})(?!\w)(?!\s*=(?!=))"
