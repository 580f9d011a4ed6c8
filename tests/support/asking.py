"""Short ways to ask a provider in a test."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bundle_loader.errors import ProviderFailure
from bundle_loader.messages import Delta, Message, StreamPart, Turn, user
from bundle_loader.providers.base import ChatRequest, Provider
from tests.support.vendors import World


def asking(model: str, *history: Message, **more: Any) -> ChatRequest:
    """A request; with no history, of one greeting."""
    return ChatRequest(model=model, messages=history or (user("hello"),), **more)


async def heard(provider: Provider, request: ChatRequest) -> tuple[list[str], Turn]:
    """The pieces of text of one answer, and the turn that ended it."""
    parts: list[StreamPart] = [part async for part in provider.stream(request)]
    turn = parts.pop()
    assert isinstance(turn, Turn)
    assert all(isinstance(part, Delta) for part in parts)
    return [part.text for part in parts if isinstance(part, Delta)], turn


async def failed(provider: Provider, request: ChatRequest) -> ProviderFailure:
    """The failure that the request ends in."""
    with pytest.raises(ProviderFailure) as caught:
        await heard(provider, request)
    return caught.value


async def until_gone(world: World) -> None:
    """Wait until the server has noticed that the first chat's client left."""
    for _ in range(2000):
        if world.chats()[0].disconnected:
            return
        await asyncio.sleep(0.005)
    pytest.fail("the connection stayed open")
