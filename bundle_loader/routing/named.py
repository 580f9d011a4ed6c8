"""Every preference that a bundle names, in whichever list."""

from __future__ import annotations

from collections.abc import Iterator

from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.preference import Preference


def named_preferences(bundle: Bundle) -> Iterator[Preference]:
    """Those of its tiers, roles, profiles and agents, in that order; some are named more than once."""
    for tier in bundle.tiers.values():
        yield from tier
    for role in bundle.roles.values():
        yield from role
    for cells in bundle.profiles.values():
        for cell in cells.values():
            yield from cell
    for agent in bundle.agents.values():
        yield from agent.preferences
        yield from agent.content_fallback
