"""How a provider is reached: the time to connect, a proxy, a CA of one's own, or an HTTP client of the caller's."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field
from typing import Any, Final, TypedDict
from urllib.parse import urlsplit

from bundle_loader.providers import table

CONNECT_SECONDS: Final = 10.0
"""The longest that a connection may take to be made, where nothing else is said."""


class Way(TypedDict, total=False):
    """What every adapter's constructor takes besides its key and address."""

    connect_timeout: float
    """Seconds; `CONNECT_SECONDS` by default."""
    proxy: str | None
    """`http://...` or `https://...`; by default the environment's, and none for a provider on this machine."""
    ca_file: str | None
    """A file of certificates (PEM) that are trusted besides the system's."""
    http_client: Any
    """The caller's own `AsyncClient`, of httpx for Ollama and of httpx2 for the others, in place of all of this. It is left
    open, and belongs to the event loop that it is used in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """How one provider is reached."""

    connect: float = CONNECT_SECONDS
    proxy: str | None = None
    ca_file: str | None = None
    client: Any = field(default=None, repr=False)
    local: bool = False
    """Reached directly, whatever the environment says of proxies."""


def link(way: Way, *, local: bool) -> Link:
    """The way as an adapter keeps it. Raises ValueError for one that cannot be."""
    proxy = way.get("proxy")
    if proxy is not None and urlsplit(proxy).scheme not in ("http", "https"):
        raise ValueError("a proxy's address begins with http:// or https://")
    if local and proxy is not None and not table.is_private(proxy):
        raise ValueError(
            f"what is local is not reached through {table.shown(proxy)}, which is no private address; remove 'proxy'"
        )
    seconds = way.get("connect_timeout", CONNECT_SECONDS)
    if seconds <= 0:
        raise ValueError("connect_timeout must be more than 0 seconds")
    return Link(connect=seconds, proxy=proxy, ca_file=way.get("ca_file"), client=way.get("http_client"), local=local)


def unreadable(ca_file: str) -> str | None:
    """Why a file of certificates cannot be used; None where it can."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca_file)
    except OSError as error:
        # of OpenSSL's errors only the words for people
        why = "it holds no certificate (PEM)" if isinstance(error, ssl.SSLError) else (error.strerror or type(error).__name__)
        return f"ca_file {ca_file}: {why}"
    return None


def found_file(ca_file: str) -> str:
    """The whole path of a written `ca_file`."""
    return os.path.abspath(os.path.expanduser(ca_file))
