"""How providers are reached, over real sockets: proxies, CAs of one's own, the caller's own client, connections used again."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
import trustme

from bundle_loader.declared.tables import ProviderSettings
from bundle_loader.errors import FailureKind
from bundle_loader.providers import table
from bundle_loader.providers.aiohttp_session import has_ended
from bundle_loader.providers.anthropic import AnthropicProvider
from bundle_loader.providers.base import Provider
from bundle_loader.providers.compatible import CompatibleProvider
from bundle_loader.providers.google import GoogleProvider
from bundle_loader.providers.live import Missing, live_providers
from bundle_loader.providers.ollama import OllamaProvider
from bundle_loader.providers.openai import OpenAIProvider
from tests.support.asking import asking, failed, heard
from tests.support.gateways import Relay, relay
from tests.support.hosting import MODELS
from tests.support.vendors import Fault, World

Served = tuple[World, str]
ALL = [*MODELS, "openrouter"]
CLOUD = [name for name in ALL if name != "ollama"]
MODEL = {**{vendor: models[0] for vendor, models in MODELS.items()}, "openrouter": "openai/gpt-4o-mini"}


def made(vendor: str, base_url: str, **way: Any) -> Provider:
    """The provider of a vendor, listening at `base_url`."""
    if vendor == "anthropic":
        return AnthropicProvider(api_key="k", base_url=base_url, **way)
    if vendor == "openai":
        return OpenAIProvider(api_key="k", base_url=base_url, **way)
    if vendor == "google":
        return GoogleProvider(api_key="k", base_url=base_url, **way)
    if vendor == "ollama":
        return OllamaProvider(base_url=base_url, **way)
    row = table.row(vendor)
    assert row is not None
    return CompatibleProvider(row, api_key="k", base_url=base_url, **way)


async def says(provider: Provider, vendor: str) -> str:
    """What it answers to a greeting."""
    pieces, _ = await heard(provider, asking(MODEL[vendor]))
    return "".join(pieces)


@pytest.fixture
async def counted(vendors: Served) -> AsyncIterator[tuple[World, Relay]]:
    """The vendors behind a relay."""
    world, base = vendors
    async with relay(base) as between:
        yield world, between


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A CA that no system trusts."""
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    """Its certificate."""
    authority.cert_pem.write_to_path(str(tmp_path / "corp.pem"))
    return tmp_path / "corp.pem"


@pytest.fixture
async def secured(vendors: Served, authority: trustme.CA) -> AsyncIterator[tuple[World, Relay]]:
    """The vendors behind TLS with a certificate of that CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with relay(vendors[1], tls=context) as between:
        yield vendors[0], between


# --- connections used again


def only_one_model(world: World, vendor: str) -> None:
    """Ollama is asked about each of its models, several at a time: of one there is nothing to ask side by side."""
    listed = world.vendor(vendor).models
    listed[:] = [one for one in listed if MODEL[vendor] in str(one)]


@pytest.mark.parametrize("vendor", ALL)
async def test_one_connection_serves_every_call_also_after_errors(counted: tuple[World, Relay], vendor: str) -> None:
    world, between = counted
    only_one_model(world, vendor)
    provider = made(vendor, between.url + world.vendor(vendor).prefix)
    await provider.list_models()
    for _ in range(5):
        assert await says(provider, vendor)
    for fault in (Fault.status(503), Fault.status(400), Fault.status(429)):
        world.vendor(vendor).faults = [fault]
        await failed(provider, asking(MODEL[vendor]))
        assert await says(provider, vendor)
    await provider.aclose()
    assert between.opened == 1


@pytest.mark.parametrize("vendor", ALL)
async def test_many_at_a_time_open_no_more_connections_than_there_are_calls(vendors: Served, vendor: str) -> None:
    world, base = vendors
    world.vendor(vendor).delay = 0.3
    calls = 64
    async with relay(base) as between:
        provider = made(vendor, between.url + world.vendor(vendor).prefix)
        for _ in range(2):
            await asyncio.gather(*(says(provider, vendor) for _ in range(calls)))
        await provider.aclose()
    assert len(world.chats()) == 2 * calls
    assert between.opened <= calls


@pytest.mark.slow
@pytest.mark.parametrize("vendor", ["openai", "google"])
async def test_256_at_a_time(vendors: Served, vendor: str) -> None:
    world, base = vendors
    world.vendor(vendor).delay = 1.0
    async with relay(base) as between:
        provider = made(vendor, between.url + world.vendor(vendor).prefix)
        for _ in range(2):
            await asyncio.gather(*(says(provider, vendor) for _ in range(256)))
        await provider.aclose()
    assert world.vendor(vendor).most_in_flight > 200
    assert between.opened <= 256


@pytest.mark.parametrize("vendor", ALL)
async def test_an_idle_connection_that_its_server_closed_fails_no_call(counted: tuple[World, Relay], vendor: str) -> None:
    world, between = counted
    between.idle_for = 0.5
    provider = made(vendor, between.url + world.vendor(vendor).prefix)
    assert await says(provider, vendor)
    await asyncio.sleep(0.8)
    assert await says(provider, vendor)
    await provider.aclose()
    assert (between.opened, len(world.chats())) == (2, 2)


@pytest.mark.parametrize("vendor", ALL)
async def test_one_closed_unseen_is_tried_once_more_on_a_new_connection(counted: tuple[World, Relay], vendor: str) -> None:
    world, between = counted
    between.cut_after = 1
    provider = made(vendor, between.url + world.vendor(vendor).prefix)
    assert await says(provider, vendor)
    await asyncio.sleep(1.1)
    assert await says(provider, vendor), "the server closed it while it was idle, as far as anybody can tell"
    assert between.opened == 2
    # a connection that was in use a moment ago was not closed for being idle: the request may have been acted upon
    failure = await failed(provider, asking(MODEL[vendor]))
    assert (failure.kind, between.opened) == (FailureKind.BUSY, 2)
    await provider.aclose()


async def test_the_second_try_is_on_a_connection_that_nobody_used_before(counted: tuple[World, Relay]) -> None:
    world, between = counted
    world.vendor("openai").delay = 0.2
    provider = made("openai", between.url + world.vendor("openai").prefix)
    await asyncio.gather(*(says(provider, "openai") for _ in range(3)))
    await asyncio.sleep(1.1)
    between.cut_after = 1
    assert await says(provider, "openai"), "all of the idle ones are closed when they are used"
    assert between.opened == 4
    await provider.aclose()


async def test_the_end_of_an_idle_connection_is_seen_before_the_loop_has_looked() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, *listening.getsockname())
        there, _ = listening.accept()
        assert not has_ended(transport)
        there.close()
        assert has_ended(transport), "no step of the loop in between"
        transport.close()


@pytest.mark.parametrize("vendor", ALL)
async def test_it_is_not_tried_a_third_time(counted: tuple[World, Relay], vendor: str) -> None:
    world, between = counted
    provider = made(vendor, between.url + world.vendor(vendor).prefix)
    assert await says(provider, vendor)
    await asyncio.sleep(1.1)
    world.vendor(vendor).fault = Fault.reset()
    failure = await failed(provider, asking(MODEL[vendor]))
    assert failure.kind is FailureKind.BUSY
    assert (between.opened, len(world.chats())) == (2, 3)
    await provider.aclose()


@pytest.mark.parametrize("vendor", ALL)
async def test_an_answer_that_has_begun_is_never_asked_for_again(counted: tuple[World, Relay], vendor: str) -> None:
    world, between = counted
    provider = made(vendor, between.url + world.vendor(vendor).prefix)
    assert await says(provider, vendor)
    await asyncio.sleep(1.1)
    world.vendor(vendor).fault = Fault.cut(abruptly=True)
    failure = await failed(provider, asking(MODEL[vendor]))
    assert failure.kind is FailureKind.BROKEN
    assert len(world.chats()) == 2
    await provider.aclose()


# --- a CA of one's own


@pytest.mark.parametrize("vendor", ALL)
async def test_a_private_ca_is_refused_unless_it_is_named(secured: tuple[World, Relay], ca_file: Path, vendor: str) -> None:
    world, between = secured
    url = between.url + world.vendor(vendor).prefix
    stranger = made(vendor, url)
    failure = await failed(stranger, asking(MODEL[vendor]))
    await stranger.aclose()
    assert (failure.kind, failure.scope) == (FailureKind.BUSY, "provider")
    assert "its certificate is not trusted: unable to get local issuer certificate" in failure.message
    assert "'ca_file'" in failure.message
    assert world.chats() == []
    trusting = made(vendor, url, ca_file=str(ca_file))
    assert await says(trusting, vendor)
    assert await trusting.list_models()
    await trusting.aclose()


@pytest.mark.parametrize("vendor", ALL)
async def test_a_ca_file_that_went_away_is_a_failure_with_its_name(
    secured: tuple[World, Relay], tmp_path: Path, vendor: str
) -> None:
    world, between = secured
    provider = made(vendor, between.url + world.vendor(vendor).prefix, ca_file=str(tmp_path / "gone.pem"))
    failure = await failed(provider, asking(MODEL[vendor]))
    await provider.aclose()
    assert "gone.pem: No such file or directory" in failure.message


def test_a_declared_ca_file_is_looked_at_when_providers_are_mounted(tmp_path: Path, ca_file: Path) -> None:
    (tmp_path / "empty.pem").write_text("no certificate", encoding="utf-8")
    said = {
        "a": ProviderSettings(kind="anthropic", ca_file=str(tmp_path / "gone.pem")),
        "b": ProviderSettings(kind="openai", ca_file=str(tmp_path / "empty.pem")),
        "c": ProviderSettings(kind="google", ca_file=str(ca_file)),
    }
    keys = {"ANTHROPIC_API_KEY": "k", "OPENAI_API_KEY": "k", "GEMINI_API_KEY": "k"}
    mounted = live_providers(keys, said)
    a, b = mounted["a"], mounted["b"]
    assert isinstance(a, Missing)
    assert a.reason == f"ca_file {tmp_path}/gone.pem: No such file or directory"
    assert isinstance(b, Missing)
    assert b.reason == f"ca_file {tmp_path}/empty.pem: it holds no certificate (PEM)"
    assert isinstance(mounted["c"], GoogleProvider)


# --- proxies


@pytest.fixture
async def proxied(vendors: Served) -> AsyncIterator[tuple[World, str, Relay]]:
    """The vendors, and a proxy."""
    async with relay(vendors[1], proxy=True) as between:
        yield *vendors, between


@pytest.mark.parametrize("vendor", ALL)
async def test_a_declared_proxy_is_used_for_every_request(proxied: tuple[World, str, Relay], vendor: str) -> None:
    world, base, proxy = proxied
    only_one_model(world, vendor)
    provider = made(vendor, world.url(base, vendor), proxy=proxy.url)
    await provider.list_models()
    assert await says(provider, vendor)
    assert await says(provider, vendor)
    await provider.aclose()
    assert len(world.chats()) == 2
    assert proxy.opened == 1
    assert proxy.requests[0].startswith(f"GET {world.url(base, vendor)}/")


@pytest.mark.parametrize("vendor", ALL)
async def test_tls_goes_through_a_proxy_as_a_tunnel(
    proxied: tuple[World, str, Relay], secured: tuple[World, Relay], ca_file: Path, vendor: str
) -> None:
    world, between = secured
    proxy = proxied[2]
    provider = made(vendor, between.url + world.vendor(vendor).prefix, proxy=proxy.url, ca_file=str(ca_file))
    assert await says(provider, vendor)
    assert await says(provider, vendor)
    await provider.aclose()
    assert proxy.requests == [f"CONNECT {between.url.removeprefix('https://')} HTTP/1.1"]
    assert between.opened == 1


@pytest.mark.parametrize("vendor", ALL)
async def test_a_proxy_that_is_not_there_is_no_way_around(vendors: Served, vendor: str) -> None:
    world, base = vendors
    async with relay(base) as gone:
        pass
    provider = made(vendor, world.url(base, vendor), proxy=gone.url)
    failure = await failed(provider, asking(MODEL[vendor]))
    await provider.aclose()
    assert (failure.kind, failure.scope) == (FailureKind.BUSY, "provider")
    assert world.chats() == []


@pytest.fixture
def ambient(proxied: tuple[World, str, Relay], monkeypatch: pytest.MonkeyPatch) -> Relay:
    """The proxy as the environment's, with a user and a password."""
    address = proxied[2].url.replace("http://", "http://ann:hidden@")
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, address)
    monkeypatch.delenv("no_proxy", raising=False)
    return proxied[2]


@pytest.mark.parametrize("vendor", CLOUD)
async def test_the_environments_proxy_is_for_the_cloud(proxied: tuple[World, str, Relay], ambient: Relay, vendor: str) -> None:
    world, base, _ = proxied
    provider = made(vendor, world.url(base, vendor))
    assert await says(provider, vendor)
    await provider.aclose()
    assert ambient.requests[0].startswith(f"POST {world.url(base, vendor)}/")
    assert ambient.requests[1] == "Proxy-Authorization: Basic YW5uOmhpZGRlbg=="
    assert all("proxy-authorization" not in request.headers for request in world.chats("never"))


async def test_the_environments_proxy_is_never_for_what_is_local(proxied: tuple[World, str, Relay], ambient: Relay) -> None:
    world, base, _ = proxied
    provider = made("ollama", world.url(base, "ollama"))
    assert await says(provider, "ollama")
    await provider.aclose()
    assert ambient.opened == 0


def test_what_is_local_has_no_proxy_elsewhere() -> None:
    with pytest.raises(ValueError, match=r"not reached through http://proxy\.example:3128, which is no private address"):
        OllamaProvider(proxy="http://proxy.example:3128")
    said = {"lab": ProviderSettings(kind="vllm", base_url="http://10.0.0.7:8000/v1", proxy="http://proxy.example:3128")}
    lab = live_providers({}, said)["lab"]
    assert isinstance(lab, Missing)
    assert "remove 'proxy'" in lab.reason


def test_the_copilot_cli_makes_its_own_connections() -> None:
    said = {"github-copilot": ProviderSettings(proxy="http://127.0.0.1:3128")}
    copilot = live_providers({"GH_TOKEN": "k"}, said)["github-copilot"]
    assert isinstance(copilot, Missing)
    assert "remove 'proxy' and 'ca_file'" in copilot.reason


# --- time to connect


@pytest.mark.parametrize("vendor", ALL)
async def test_a_connection_is_made_in_time_or_not_at_all(vendor: str) -> None:
    left = asyncio.Event()

    async def says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            pass
        writer.close()
        left.set()

    silent = await asyncio.start_server(says_nothing, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    provider = made(vendor, f"https://127.0.0.1:{port}", connect_timeout=0.2)
    began = asyncio.get_running_loop().time()
    failure = await failed(provider, asking(MODEL[vendor], timeout=20))
    assert asyncio.get_running_loop().time() - began < 10
    await asyncio.wait_for(left.wait(), 2)
    await provider.aclose()
    silent.close()
    assert (failure.kind, failure.scope) == (FailureKind.BUSY, "provider")


def test_the_time_to_connect_is_positive() -> None:
    with pytest.raises(ValueError, match="more than 0"):
        OpenAIProvider(api_key="k", connect_timeout=0)


# --- the caller's own client


@pytest.mark.parametrize("vendor", ALL)
async def test_the_callers_own_client_carries_every_request_and_stays_open(vendors: Served, vendor: str) -> None:
    world, base = vendors
    only_one_model(world, vendor)
    seen: list[str] = []

    async def note(request: Any) -> None:
        seen.append(request.method)

    library: Any = httpx if vendor == "ollama" else httpx2
    async with library.AsyncClient(event_hooks={"request": [note]}, trust_env=False) as client:
        provider = made(vendor, world.url(base, vendor), http_client=client)
        assert await provider.list_models()
        assert await says(provider, vendor)
        world.vendor(vendor).fault = Fault.status(503, retry_after=7)
        failure = await failed(provider, asking(MODEL[vendor]))
        await provider.aclose()
        assert (failure.status, failure.retry_after) == (503, 7.0)
        assert not client.is_closed
    shown = ["POST"] if vendor == "ollama" else []
    assert seen == ["GET", *shown, "POST", "POST"]


@pytest.mark.parametrize("vendor", ALL)
async def test_a_client_of_another_library_is_refused(vendors: Served, vendor: str) -> None:
    world, base = vendors
    library: Any = httpx2 if vendor == "ollama" else httpx
    async with library.AsyncClient(trust_env=False) as client:
        provider = made(vendor, world.url(base, vendor), http_client=client)
        failure = await failed(provider, asking(MODEL[vendor]))
        await provider.aclose()
    assert "http_client is to be an" in failure.message
    assert world.chats() == []
