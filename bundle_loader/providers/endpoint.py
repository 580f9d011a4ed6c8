"""Whose list of models a saved one is: a provider of a kind, at an address, for whoever has a key."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from bundle_loader.providers.table import shown


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Whose list a saved one is: it serves only where all three agree, since two keys may be offered different models."""

    kind: str
    """The adapter's row in the table, or a host's own class."""
    fingerprint: str
    """A hash of the address without its user, password and query."""
    credential: str = ""
    """What the key is told apart by (`mark_of`); empty without a key."""


def endpoint(kind: str, address: str | None, key: str | None = None) -> Endpoint:
    """The endpoint of a provider of that kind at that address, for whoever has that key."""
    plain = shown(address).rstrip("/") if address else ""
    return Endpoint(kind, short_hash("address", plain), mark_of(key, kind, plain))


def mark_of(key: str | None, kind: str, address: str) -> str:
    """What tells one key of an endpoint from another; the key cannot be had from it.

    64 bits of SHA-256 over a purpose of its own, the endpoint and the key: a vendor's key has more than 128 random bits,
    so none can be found by trying; another endpoint has another mark for the same key, so that marks cannot be compared
    across vendors; and no other use of a hash of the key gives the same one. The files are the user's alone (mode 0600).
    """
    return short_hash("bundle-loader: whose list of models", kind, address, key) if key else ""


def short_hash(*parts: str) -> str:
    """16 hexadecimal digits; where one part ends counts."""
    whole = b"".join(len(data).to_bytes(8, "big") + data for data in (part.encode(errors="surrogatepass") for part in parts))
    return hashlib.sha256(whole).hexdigest()[:16]
