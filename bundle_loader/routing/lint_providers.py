"""Providers of a bundle's own that nothing could be made of, and an order of providers that nobody knows."""

from __future__ import annotations

from collections.abc import Mapping

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
