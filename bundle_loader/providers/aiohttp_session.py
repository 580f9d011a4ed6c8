"""aiohttp sessions for the SDKs that let themselves be given one, and httpx's transport on top of one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bundle_loader.providers.watched import current

if TYPE_CHECKING:
    import aiohttp
    import httpx


def open_session(base_url: str, *, connect_timeout: float, local: bool, **more: Any) -> aiohttp.ClientSession:
    """A session for one server, which reports each response to the `Watched` request of its task.

    aiohttp's own use of the environment asks two threads at every request for the proxy and netrc; here the proxy is
    looked up once, and for a local server not at all. No time limit but `connect_timeout` (seconds): `Watched` has it.
    """
    import aiohttp

    return aiohttp.ClientSession(
        connector=_connector(connect_timeout),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        trust_env=False,
        proxy=None if local else _proxy(base_url),
        middlewares=(_watch,),
        **more,
    )


async def _watch(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    response = await handler(request)
    watched = current()
    if watched is not None:
        watched.saw(response.status, response.headers, response.close)
    return response


def _connector(seconds: float) -> aiohttp.TCPConnector:
    """Connections, any number of them, that must each be made within `seconds`."""
    import aiohttp

    class Connector(aiohttp.TCPConnector):
        async def connect(self, *args: Any, **kwargs: Any) -> aiohttp.connector.Connection:
            async with asyncio.timeout(seconds):
                return await super().connect(*args, **kwargs)

    return Connector(limit=0)


def _proxy(base_url: str) -> str | None:
    """The environment's proxy for this server, if any."""
    from urllib.request import getproxies, proxy_bypass

    url = urlsplit(base_url)
    if not url.hostname or proxy_bypass(url.hostname):
        return None
    return getproxies().get(url.scheme)


def httpx_transport(base_url: str, *, connect_timeout: float, local: bool) -> httpx.AsyncBaseTransport:
    """A transport for an `httpx.AsyncClient` at half the CPU of its own. aiohttp's exceptions pass as they are."""
    import httpx
    from yarl import URL

    # httpx unpacks bodies itself
    session = open_session(base_url, connect_timeout=connect_timeout, local=local, auto_decompress=False)
    secured: dict[str, Any] = {"ssl": httpx.create_ssl_context()} if base_url.startswith("https:") else {}

    class Body(httpx.AsyncByteStream):
        def __init__(self, response: aiohttp.ClientResponse) -> None:
            self._response = response

        async def __aiter__(self) -> Any:
            async for piece in self._response.content.iter_any():
                yield piece

        async def aclose(self) -> None:
            # does nothing to the connection of a body that was read to its end
            self._response.close()

    class Transport(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            response = await session.request(
                request.method,
                URL(str(request.url), encoded=True),
                headers=request.headers.multi_items(),
                data=request.content or None,
                allow_redirects=False,
                **secured,
            )
            return httpx.Response(response.status, headers=list(response.raw_headers), stream=Body(response), request=request)

        async def aclose(self) -> None:
            await session.close()

    return Transport()
