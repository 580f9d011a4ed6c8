"""Which folder a host keeps its transcripts in, if any."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from bundle_loader.declared.bundle import Bundle
from bundle_loader.delegation.sessions import Sessions
from bundle_loader.sources.home import sessions_folder


def sessions_of(
    said: str | Path | bool | None, bundle: Bundle, environment: Mapping[str, str], *, simulated: bool, clock: Callable[[], float]
) -> Sessions | None:
    """1. What the host's own code says: a folder, or None for no transcripts.
    2. Settings: where any of them says `sessions: off`, none are kept.
    3. The folder in the user's data.
    """
    if said is None or said is False:
        return None
    if said is not True:
        return Sessions(Path(said), clock)
    if any(file.written.sessions == "off" for file in bundle.settings):
        return None
    return Sessions(sessions_folder(environment, simulated=simulated), clock)
