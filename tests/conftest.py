"""Fixtures that all tests share, and the walls around them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import settings

from tests.support import isolation
from tests.support.tiny_llama import TinyServer, tiny_llama
from tests.support.vendors import World, serving

# a busy machine is no counter-example; in CI the examples are the same at every run
settings.register_profile("project", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("project")

_HOMES = isolation.clear_environment()
isolation.forbid_network()


def pytest_unconfigure() -> None:
    """Leave nothing behind."""
    isolation.remove(_HOMES)


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """A way out that was tried fails the test even when its error was swallowed. Saved lists are no test's but its own."""
    isolation.forget_catalogues()
    tried, isolation.escapes[:] = list(isolation.escapes), []
    if tried:
        pytest.fail(f"{item.nodeid} tried to leave this machine: {', '.join(tried)}", pytrace=False)


@pytest.fixture
def world() -> World:
    """The loopback vendors, all on, before anything has reached them."""
    return World()


@pytest.fixture
async def vendors(world: World) -> AsyncIterator[tuple[World, str]]:
    """The world while it is served in the test's own loop, and its base URL."""
    async with serving(world) as base_url:
        yield world, base_url


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyServer]:
    """A real llama.cpp server with a tiny model."""
    with tiny_llama(tmp_path_factory.mktemp("llama")) as server:
        yield server
