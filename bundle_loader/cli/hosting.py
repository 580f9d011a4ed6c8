"""Opening a host for a command, from what its options said."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from bundle_loader.errors import RequestError
from bundle_loader.host import Host
from bundle_loader.sources.load import load_bundle

T = TypeVar("T")


def pairs(values: list[str] | None, option: str) -> dict[str, str]:
    """`k=v` texts as a mapping. Raises RequestError for one without `=`."""
    found: dict[str, str] = {}
    for value in values or ():
        key, equals, text = value.partition("=")
        if not equals or not key:
            raise RequestError(f"{option} {value}: write {option} {'PROVIDER=KIND' if option == '--fault' else 'NAME=VALUE'}")
        found[key] = text
    return found


def listed_words(values: list[str] | None) -> list[str] | None:
    """The words of a repeated option, of which each may hold several with commas between; None where it was not said."""
    return None if values is None else [word.strip() for value in values for word in value.split(",") if word.strip()]


def choice(**given: Any) -> dict[str, Any]:
    """The caller's choice without what was not said."""
    return {key: value for key, value in given.items() if value is not None}


def opened(bundle: str | None, simulate: bool, fault: list[str] | None, ledger: Path | None) -> Host:
    """A host for a command. It waits for lists that are due: it ends too soon to renew them beside its work."""
    return Host(load_bundle(bundle), simulate=simulate, faults=pairs(fault, "--fault"), ledger=ledger, stale=0)


def with_host(host: Host, work: Callable[[Host], Awaitable[T]]) -> T:
    """Open the host, do the work, close it."""

    async def run() -> T:
        async with host:
            return await work(host)

    return asyncio.run(run())
