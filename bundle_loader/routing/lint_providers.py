"""Providers of a bundle's own that nothing could be made of."""

from __future__ import annotations

from collections.abc import Mapping

from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.tree import position
from bundle_loader.errors import Fault, did_you_mean


def unknown_kinds(bundle: Bundle, providers: Mapping[str, str]) -> list[Fault]:
    """An id of its own needs the kind of a provider that is known; `providers` maps every known name to its id."""
    found = []
    for name, settings in bundle.providers.items():
        if name in providers or (settings.kind is not None and settings.kind in providers):
            continue
        path: tuple[str, ...] = ("providers", name) if settings.kind is None else ("providers", name, "kind")
        place = position(bundle.header, path, key=True) if bundle.header is not None else ("", 0, 0)
        known = sorted(set(providers.values()))
        near = did_you_mean(settings.kind, known) if settings.kind else did_you_mean(name, list(providers))
        said = f"'{settings.kind}' is no kind of provider" if settings.kind else "an id of its own needs a 'kind'"
        found.append(Fault(*place, ".".join(path), f"{said}{near or '; write one of ' + ', '.join(known)}", rule="unknown-kind"))
    return found
