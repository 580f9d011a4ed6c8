"""The HTTP client of all SDKs: aiohttp sessions, and httpx's transport on top of one, at half the CPU of httpx's own."""

from __future__ import annotations

import asyncio
import select
import ssl
from contextvars import ContextVar
from time import monotonic
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from bundle_loader.providers import table
from bundle_loader.providers.bounded import bounded_body
from bundle_loader.providers.link import Link, unreadable
from bundle_loader.providers.watched import current

if TYPE_CHECKING:
    import aiohttp

_IDLE: Final = 1.0
"""Seconds. No server closes a connection as idle that was used less long ago."""


def open_session(base_url: str, link: Link, *, bounded: bool = True, **more: Any) -> aiohttp.ClientSession:
    """A session for one server, which reports each response to the `Watched` request of its task.

    aiohttp's own use of the environment asks two threads at every request for the proxy and netrc; here the proxy is
    looked up once, and for a local server not at all. With `bounded`, what is fetched with GET is read at once, up to
    `bounded.MOST_BYTES`. No time limit but the link's own for connecting: `Watched` has it. Any number of connections:
    there are as many as calls at a time.
    """
    import aiohttp

    more.setdefault("connector", _connector(link.connect, trusted(link)))
    return aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        trust_env=False,
        proxy=_proxy(base_url, link),
        middlewares=(_watch, _bound, _sent) if bounded else (_watch, _sent),
        **more,
    )


async def _watch(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    response = await handler(request)
    watched = current()
    if watched is not None:
        watched.saw(response.status, response.headers, response.close)
    return response


async def _bound(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    response = await handler(request)
    try:
        await bounded_body(response)
    except BaseException:
        response.close()
        raise
    return response


class _Use:
    """What one request has to know of its connection."""

    __slots__ = ("fresh", "stale")

    def __init__(self) -> None:
        self.fresh = False
        """Only a new connection will do."""
        self.stale = False
        """It was idle for so long that its server may just have closed it."""


_USE: ContextVar[_Use | None] = ContextVar("bundle_loader_connection_use", default=None)


async def _sent(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Send once, and where the server closed the connection before it said anything to this request, since it had been idle
    for long, once more on a new one."""
    import aiohttp

    use = _Use()
    token = _USE.set(use)
    try:
        return await handler(request)
    except aiohttp.ClientConnectorCertificateError as error:
        said = getattr(error.certificate_error, "verify_message", "") or "not valid"
        raise aiohttp.ClientConnectionError(
            f"its certificate is not trusted: {said}; a CA of your own goes into 'ca_file'"
        ) from error
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
        begun = isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str)
        if begun or not use.stale:
            raise
        use.fresh = True
        return await handler(request)
    finally:
        _USE.reset(token)


def _connector(seconds: float, trusted: ssl.SSLContext | None) -> aiohttp.TCPConnector:
    """Connections, any number of them, that must each be made within `seconds`; those that their server has closed meanwhile
    are not used again."""
    import aiohttp

    class Connector(aiohttp.TCPConnector):
        async def connect(self, *args: Any, **kwargs: Any) -> aiohttp.connector.Connection:
            async with asyncio.timeout(seconds):
                return await super().connect(*args, **kwargs)

        async def _get(self, key: Any, traces: Any) -> aiohttp.connector.Connection | None:
            use = _USE.get()
            if use is not None and use.fresh:
                return None
            idle = self._conns.get(key)
            while idle and has_ended(idle[0][0].transport):
                idle.popleft()[0].close()
            if idle and use is not None:
                use.stale = monotonic() - idle[0][1] >= _IDLE
            return await super()._get(key, traces)

    return Connector(limit=0) if trusted is None else Connector(limit=0, ssl=trusted)


def has_ended(transport: asyncio.Transport | None) -> bool:
    """Whether an idle connection has something to read, which can only be its end; the loop has not looked yet."""
    socket = transport.get_extra_info("socket") if transport is not None else None
    if socket is None or socket.fileno() < 0 or not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(socket.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def trusted(link: Link, context: ssl.SSLContext | None = None) -> ssl.SSLContext | None:
    """The context with the link's own CA besides the system's; None where there is neither. Raises OSError."""
    if link.ca_file is None:
        return context
    context = context or ssl.create_default_context()
    wrong = unreadable(link.ca_file)
    if wrong is not None:
        raise OSError(wrong)
    context.load_verify_locations(link.ca_file)
    return context


def _proxy(base_url: str, link: Link) -> str | None:
    """The link's own proxy, else the environment's for this server, if any. Raises OSError for one of another kind."""
    if link.proxy is not None or link.local:
        return link.proxy
    from urllib.request import getproxies, proxy_bypass

    url = urlsplit(base_url)
    if not url.hostname or proxy_bypass(url.hostname):
        return None
    proxies = getproxies()
    found = proxies.get(url.scheme) or proxies.get("all")
    if found and urlsplit(found).scheme not in ("http", "https"):
        raise OSError(f"the environment's proxy {table.shown(found)} is neither http:// nor https://")
    return found


def httpx_client(http: ModuleType, base_url: str, link: Link, **options: Any) -> Any:
    """An `AsyncClient` of `http` (httpx or httpx2) for one server, on a session or on the caller's own client.

    Redirects are not followed: they could lead from a local server to a distant one. aiohttp's exceptions pass as they are.
    Raises TypeError for a client of another library, OSError for a file of certificates that cannot be read.
    """
    return http.AsyncClient(follow_redirects=False, trust_env=False, transport=httpx_transport(http, base_url, link), **options)


def httpx_transport(http: ModuleType, base_url: str, link: Link) -> Any:
    """The transport of `httpx_client`."""
    if link.client is not None:
        return _through(http, link.client)
    import aiohttp
    from yarl import URL

    secured = base_url.startswith("https:") or (link.proxy or "").startswith("https:")
    context = trusted(link, http.create_ssl_context()) if secured else None
    # httpx unpacks bodies itself, and hands them to its own hooks
    connector = _connector(link.connect, context)
    session = open_session(base_url, link, bounded=False, auto_decompress=False, connector=connector)

    class Body(http.AsyncByteStream):  # type: ignore[misc, name-defined]
        def __init__(self, response: aiohttp.ClientResponse) -> None:
            self._response = response

        async def __aiter__(self) -> Any:
            async for piece in self._response.content.iter_any():
                yield piece

        async def aclose(self) -> None:
            # does nothing to the connection of a body that was read to its end
            self._response.close()

    class Transport(http.AsyncBaseTransport):  # type: ignore[misc, name-defined]
        async def handle_async_request(self, request: Any) -> Any:
            silence = request.extensions.get("timeout", {}).get("read") if request.method == "GET" else None
            response = await session.request(
                request.method,
                URL(str(request.url), encoded=True),
                headers=request.headers.multi_items(),
                data=request.content or None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_read=silence),
            )
            return http.Response(response.status, headers=list(response.raw_headers), stream=Body(response), request=request)

        async def aclose(self) -> None:
            await session.close()

    return Transport()


def _through(http: ModuleType, client: Any) -> Any:
    """A transport that sends through the caller's own client, and leaves it open."""
    if not isinstance(client, http.AsyncClient):
        given = f"{type(client).__module__}.{type(client).__name__}"
        raise TypeError(f"http_client is to be an {http.__name__}.AsyncClient, not a {given}")

    class Through(http.AsyncBaseTransport):  # type: ignore[misc, name-defined]
        async def handle_async_request(self, request: Any) -> Any:
            response = await client.send(request, stream=True, follow_redirects=False)
            watched = current()
            if watched is not None:
                watched.saw(response.status_code, response.headers)
            return response

    return Through()
