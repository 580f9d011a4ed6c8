"""How large one answer that is no stream may be: a list of models of any length would hold up everything else."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import Any, Final

from bundle_loader.errors import FailureKind, ProviderFailure

MOST_BYTES: Final = 8 * 1024 * 1024
"""Of one page, unpacked: ten times the longest list that any vendor has."""


class TooLarge(ProviderFailure):
    """More than `MOST_BYTES` came. The provider's id is filled in by whoever asked."""

    def __init__(self, provider: str = "") -> None:
        said = f"the list of models is larger than {MOST_BYTES // 1024 // 1024} MB"
        super().__init__(FailureKind.BROKEN, provider, said)


async def whole(pieces: AsyncIterable[bytes]) -> bytes:
    """All the pieces. Raises TooLarge."""
    found: list[bytes] = []
    size = 0
    async for piece in pieces:
        size += len(piece)
        if size > MOST_BYTES:
            raise TooLarge
        found.append(piece)
    return b"".join(found)


async def bounded_response(response: Any) -> None:
    """A hook for clients of httpx and httpx2: what was asked for with GET is read here, as `aread` would, but not for ever."""
    if response.request.method == "GET":
        response._content = await whole(response.aiter_bytes())


async def bounded_body(response: Any) -> None:
    """The same for a response of aiohttp."""
    if response.method == "GET":
        response._body = await whole(response.content.iter_any())


def too_large(error: BaseException, provider: str) -> TooLarge | None:
    """The failure where too much came, also where an SDK wrapped it."""
    seen: BaseException | None = error
    for _ in range(5):
        if isinstance(seen, TooLarge):
            return TooLarge(provider)
        seen = seen.__cause__ if seen is not None else None
    return None
