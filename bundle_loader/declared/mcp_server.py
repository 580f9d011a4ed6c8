"""An MCP server as a bundle or settings declare it: a command to start, or an address to ask."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any
from typing import Final as Final_

from pydantic import Field, WithJsonSchema, field_validator

from bundle_loader.declared.tree import path_text
from bundle_loader.declared.written import Duration, Final, Texts, Written, WrongWithin
from bundle_loader.masking import masked

SERVER_NAME: Final_ = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
PREFIX: Final_ = "mcp:"
"""What stands before a server's name in an agent's `tools`."""
VARIABLE: Final_ = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
"""`${NAME}`, or `${NAME:-instead}`: a variable of the environment, and what stands for it where it is not set."""

_ADDRESS = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^https?://[^/@]*(/|$)"})]
_NOT_BLANK = WithJsonSchema({"type": ["string", "number", "boolean"], "pattern": r"\S"})
_VARIABLE_NAME: Final_ = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEADER_NAME: Final_ = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OF_COMMANDS: Final_ = ("args", "env", "cwd")


class WrittenMcpServer(Written):
    """What is written of one server; layers may each write a part."""

    command: Annotated[str, _NOT_BLANK] | None = None
    args: Texts | None = None
    env: dict[str, str | None] | None = None
    cwd: Annotated[str, _NOT_BLANK] | None = None
    url: _ADDRESS | None = None
    headers: dict[str, str | None] | None = None
    timeout: Annotated[Duration, Field(gt=0)] | None = None

    @field_validator("command", "cwd")
    @classmethod
    def _says_something(cls, value: str | None) -> str | None:
        if value is not None and (not value.strip() or "\0" in value):
            raise ValueError("is empty; write a program or a folder, or leave the key out")
        return value

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("write an address that begins with http:// or https://")
        if value is not None and "@" in value.partition("://")[2].partition("/")[0]:
            raise ValueError("an address holds no user name or password; write a header with '${NAME}'")
        return value

    @field_validator("env")
    @classmethod
    def _are_variables(cls, value: dict[str, str | None] | None) -> dict[str, str | None] | None:
        return _checked(value, _VARIABLE_NAME, "is no name of a variable; use letters, digits and '_'")

    @field_validator("headers")
    @classmethod
    def _are_headers(cls, value: dict[str, str | None] | None) -> dict[str, str | None] | None:
        return _checked(value, _HEADER_NAME, "is no name of a header")


def _checked(values: dict[str, str | None] | None, names: re.Pattern[str], wrong: str) -> dict[str, str | None] | None:
    """Names that are names, and values without keys. Raises WrongWithin with all that is wrong."""
    found: list[tuple[tuple[str | int, ...], str]] = []
    for name, value in (values or {}).items():
        if not names.fullmatch(name):
            found.append(((name,), wrong))
        elif value is not None and any(sign in value for sign in "\r\n\0"):
            found.append(((name,), "holds a line break; write one line"))
        elif value is not None and masked(value) != value:
            found.append(((name,), "looks like a key; write '${NAME}' and set that variable in the environment"))
    if found:
        raise WrongWithin([(path, f"'{path[0]}' {message}") for path, message in found])
    return values


class McpServer(Final):
    """One server; either `command` or `url` is set. `${NAME}` in `env` and `headers` is the environment's."""

    name: str
    command: str | None = None
    """A program to start; it speaks over its standard input and output."""
    args: tuple[str, ...] = ()
    env: dict[str, str] = Field(default_factory=dict)
    """Beside the few variables that every program needs, all that it is given."""
    cwd: str | None = None
    """None is the folder of the process."""
    url: str | None = None
    """Where a server listens that speaks streamable HTTP."""
    headers: dict[str, str] = Field(default_factory=dict)
    timeout: float | None = None
    """Seconds that one call of its tools may take; None is what holds for all tools."""


def misfits(name: str, written: WrittenMcpServer) -> list[tuple[tuple[str, ...], str]]:
    """What does not go together in a whole server: the path of the key below the server, and what is wrong."""
    found: list[tuple[tuple[str, ...], str]] = []
    if not SERVER_NAME.fullmatch(name):
        found.append(((), "is no name; use letters, digits, '-', '_' and '.'"))
    if written.command is None and written.url is None:
        found.append(((), "says neither a command to start nor a url; write one of them"))
    if written.command is not None and written.url is not None:
        found.append((("url",), "stands beside a command; keep one of them"))
    elif written.url is not None:
        found += [((key,), "is for a server that a command starts; remove it") for key in _OF_COMMANDS if _says(written, key)]
    elif written.command is not None and written.headers:
        found.append((("headers",), "are for a server with a url; remove them"))
    return found


def _says(written: WrittenMcpServer, key: str) -> bool:
    return bool(getattr(written, key))


class NotSet(ValueError):
    """A variable that a server needs is not in the environment."""


def filled(values: Mapping[str, str], environment: Mapping[str, str], key: str) -> dict[str, str]:
    """The values with each `${NAME}` filled in. Raises NotSet, naming every variable that is missing."""
    missing: list[str] = []

    def value(name: str, found: re.Match[str]) -> str:
        given = environment.get(found[1])
        if given is None and found[2] is None:
            missing.append(f"{path_text((key, name))} needs the variable {found[1]}, which is not set")
        return given if given is not None else found[2] or ""

    done: dict[str, Any] = {
        name: VARIABLE.sub(lambda found, name=name: value(name, found), text)  # type: ignore[misc]
        for name, text in values.items()
    }
    if missing:
        raise NotSet("; ".join(missing))
    return done


def server_of(name: str) -> str | None:
    """The server that an entry of an agent's `tools` names (`mcp:server`, `mcp:server/tool`); None where it names none."""
    return name.removeprefix(PREFIX).partition("/")[0] if name.startswith(PREFIX) else None
