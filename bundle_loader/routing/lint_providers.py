"""Providers of a bundle's own that nothing could be made of, too slow ones, and an order of providers that nobody knows."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Final

from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.tree import Scalar, Sequence, position
from bundle_loader.errors import MISSPELT, Fault, did_you_mean


def unknown_kinds(bundle: Bundle, providers: Mapping[str, str]) -> list[Fault]:
    """An id of its own needs the kind of a provider that is known; `providers` maps every known name to its id."""
    found = []
    for name, settings in bundle.providers.items():
        if name in providers or (settings.kind is not None and settings.kind in providers):
            continue
        path: tuple[str, ...] = ("providers", name) if settings.kind is None else ("providers", name, "kind")
        place = position(bundle.header, path, key=True) if bundle.header is not None else ("", 0, 0)
        known = sorted(set(providers.values()))
        near = did_you_mean(settings.kind, known) if settings.kind else did_you_mean(name, list(providers), MISSPELT)
        said = f"'{settings.kind}' is no kind of provider" if settings.kind else "an id of its own needs a 'kind'"
        found.append(Fault(*place, ".".join(path), f"{said}{near or '; write one of ' + ', '.join(known)}", rule="unknown-kind"))
    return found


LEAST_A_MINUTE: Final = 10
"""The requests a minute below which a free tier is no use."""


def slow_free_tiers(bundle: Bundle, providers: Mapping[str, str], free: Container[str]) -> list[Fault]:
    """A free tier must allow at least ten requests a minute; `free` are the ids of the providers that have one."""
    found = []
    for name, settings in bundle.providers.items():
        kind = providers.get(name) or providers.get(settings.kind or "")
        if settings.requests_per_minute is None or settings.requests_per_minute >= LEAST_A_MINUTE or kind not in free:
            continue
        path = ("providers", name, "requests_per_minute")
        place = position(bundle.header, path) if bundle.header is not None else ("", 0, 0)
        message = (
            f"{settings.requests_per_minute} requests a minute are too few for the free tier of {kind}; "
            f"write {LEAST_A_MINUTE} or more, or leave it out to have what {kind} allows"
        )
        found.append(Fault(*place, ".".join(path), message, "warning", "slow-free-tier"))
    return found


def unknown_order(bundle: Bundle, known: Mapping[str, str]) -> list[Fault]:
    """A provider that settings order and nobody knows reaches nothing; `known` maps every known name to its id."""
    found = []
    for file in bundle.settings:
        node = file.tree.entries.get("provider_order")
        for item in node.items if isinstance(node, Sequence) else [node]:
            if isinstance(item, Scalar) and not item.is_null and item.text not in known:
                near = did_you_mean(item.text, sorted(known)) or f"; known are {', '.join(sorted(set(known.values())))}"
                message = f"no provider is called '{item.text}'{near}"
                found.append(Fault(item.file, item.line, item.column, "provider_order", message, "warning", "settings"))
    return found
