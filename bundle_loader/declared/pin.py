"""A pin: an agent's list as settings have it."""

from __future__ import annotations

from bundle_loader.declared.preference import Preference
from bundle_loader.declared.written import Final


class Pin(Final):
    """Which list an agent follows, whatever its file says. `setting` names it, with file and line."""

    preferences: tuple[Preference, ...]
    label: str
    """`tier strong`, `role coding` or `its own list`."""
    tier: str | None = None
    setting: str = ""
