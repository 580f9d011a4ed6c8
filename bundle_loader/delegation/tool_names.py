"""The names by which models call tools: valid for every vendor, none of them twice; and what entries of tool lists mean."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container, Iterable
from fnmatch import fnmatchcase
from typing import Final

from bundle_loader.declared.mcp_server import PREFIX, server_of

LONGEST: Final = 64
"""Characters that every vendor takes."""
_FITS: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_NOT_TAKEN: Final = re.compile(r"[^A-Za-z0-9_-]+")
_DIGITS: Final = 8


def server_tool(server: str, tool: str) -> str:
    """What agents call a tool of an MCP server in their lists: `mcp:server/tool`."""
    return f"{PREFIX}{server}/{tool}"


def wire_name(name: str, taken: Container[str] = ()) -> str:
    """The name that vendors are told: the name itself where it fits, else made to fit, with a hash of it.

    1. Letters of ASCII, digits, `_` and `-`, at most 64, a letter or `_` first: the least that any vendor takes.
    2. `mcp:server/tool` becomes `mcp__server__tool`.
    3. What had to be changed or cut, or is taken already, ends in the hash of the name: the same in every turn.
    """
    server, slash, tool = name.removeprefix(PREFIX).partition("/")
    said = f"mcp__{server}__{tool}" if slash and name.startswith(PREFIX) else name
    if _FITS.fullmatch(said) and said not in taken:
        return said
    plain = _NOT_TAKEN.sub("_", said)
    plain = plain if re.match(r"[A-Za-z_]", plain) else f"_{plain}"
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    return f"{plain[: LONGEST - _DIGITS - 1]}_{digest}"


def is_meant(name: str, patterns: Iterable[str]) -> bool:
    """Whether a list of an agent means this tool.

    An entry is a tool's name, `mcp:server` (all of the server's tools), `mcp:server/tool`, or any of them with `*` and `?`.
    A pattern that does not begin with `mcp:` means no tool of a server.
    """
    server = server_of(name)
    whole = None if server is None else f"{PREFIX}{server}"
    for pattern in patterns:
        if name == pattern or (whole is not None and pattern == whole):
            return True
        if _wild(pattern) and pattern.startswith(PREFIX) == (server is not None):
            either = (name,) if whole is None or "/" in pattern else (name, whole)
            if _matches(either, pattern):
                return True
    return False


def is_denied(name: str, patterns: Iterable[str]) -> bool:
    """Whether a list of what is denied means this tool: read more widely than `is_meant`, so that no spelling lets one through.

    1. Whatever `is_meant` says.
    2. `*` and `?` without `mcp:` before them hold for tools of servers too, for their own name and for the whole.
    3. The name by which models call the tool is taken as well: `mcp__server__tool`, and `mcp__server` for all of a server's.
    """
    listed = tuple(patterns)
    if is_meant(name, listed):
        return True
    server = server_of(name)
    if server is None:
        return wire_name(name) in listed
    spelt = {wire_name(name), f"mcp__{server}"}
    names = {*spelt, name, name.partition("/")[2] or name}
    plain = [pattern for pattern in listed if not pattern.startswith(PREFIX)]
    return any(pattern in spelt or (_wild(pattern) and _matches(names, pattern)) for pattern in plain)


def _wild(pattern: str) -> bool:
    return "*" in pattern or "?" in pattern


def _matches(names: Iterable[str], pattern: str) -> bool:
    return any(fnmatchcase(name, pattern) for name in names)
