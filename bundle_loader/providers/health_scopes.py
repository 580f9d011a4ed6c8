"""Whose health a provider's is: all who share a ledger, and reach the same address with the same key in the same way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bundle_loader.providers.endpoint import Endpoint, short_hash
from bundle_loader.providers.link import CONNECT_SECONDS, Link

_PROXIES: Final = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


def health_scopes(
    mounted: Mapping[str, Any], environment: Mapping[str, str], known: Mapping[str, Endpoint] | None = None
) -> dict[str, str]:
    """Each provider that says where it listens and with which key -> what tells it from others of its id.

    `known` are the endpoints of those that do not say it themselves.

    1. Address and key, the proxy, the CA and a time to connect that is shorter than the default are told apart.
    2. A provider that says nothing of its key, or sends with a client of the caller's own, is left out: its health is its
       host's alone.
    """
    found = {id: _scope(provider, environment, (known or {}).get(id)) for id, provider in mounted.items()}
    return {id: scope for id, scope in found.items() if scope is not None}


def _scope(provider: Any, environment: Mapping[str, str], known: Endpoint | None) -> str | None:
    asked = getattr(provider, "asks", provider)  # a declared list's answers are another's
    at, link = getattr(asked, "saved_as", known), getattr(asked, "link", None)
    if not isinstance(at, Endpoint):
        return None
    if not isinstance(link, Link):
        return short_hash(at.fingerprint, at.credential)
    if link.client is not None:
        return None
    way: list[str] = []
    if link.proxy is not None:
        way.append(f"proxy {_plain(link.proxy)}")
    elif not link.local:
        way += [f"{name} {_plain(environment[name])}" for name in _PROXIES if environment.get(name)]
    if link.ca_file is not None:
        way.append(f"ca {link.ca_file}")
    if link.connect < CONNECT_SECONDS:
        way.append(f"connect {link.connect:g}")
    return short_hash(at.fingerprint, at.credential, *way)


def _plain(address: str) -> str:
    """Without the user and password."""
    return address.rpartition("@")[2]
