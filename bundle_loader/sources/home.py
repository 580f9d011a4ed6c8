"""The folder for what the program keeps of its own: ledgers, lists of models, sessions. `BUNDLE_LOADER_HOME` moves all of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from platformdirs import user_data_path


def home(environment: Mapping[str, str]) -> Path:
    """The data folder; it is not created here."""
    moved = environment.get("BUNDLE_LOADER_HOME")
    return Path(moved) if moved else user_data_path("bundle-loader", appauthor=False)


def catalogues_folder(environment: Mapping[str, str]) -> Path:
    """Where the lists of models are saved, one file per provider."""
    return home(environment) / "catalogues"


def ledger_file(environment: Mapping[str, str], *, simulated: bool) -> Path:
    """The default ledger. What the simulated provider does goes to a ledger of its own."""
    return home(environment) / ("ledger-simulated.db" if simulated else "ledger.db")


def sessions_folder(environment: Mapping[str, str], *, simulated: bool) -> Path:
    """Where the transcripts of sessions are kept, one file each; those of simulated work lie apart."""
    return home(environment) / ("sessions-simulated" if simulated else "sessions")
