"""The Copilot CLI on this machine: whether it can be run, where it is, and what it is given of the environment."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final

from bundle_loader.providers import table

PATH_VARIABLE: Final = "COPILOT_CLI_PATH"
EXTRA: Final = "install bundle_loader[copilot]"
_OWN: Final[Mapping[str, str]] = {"COPILOT_GITHUB_TELEMETRY_DISABLED": "true", "COPILOT_SKIP_CLI_DOWNLOAD": "1"}
_REDIRECTS: Final = ("COPILOT_PROVIDER_", "COPILOT_OTEL_", "COPILOT_ALLOW_", "COPILOT_CUSTOM_INSTRUCTIONS")
"""What would send prompts elsewhere, or change what the CLI may do or tells the model."""


def sdk_missing(module: str = "copilot") -> str | None:
    """What to install when the SDK is not there; it is looked for, not imported."""
    return None if find_spec(module) is not None else EXTRA


def cli_path(environment: Mapping[str, str]) -> str | None:
    """The program: `COPILOT_CLI_PATH`, else `copilot` on `PATH`; None where neither leads to one.

    It is never downloaded. What the variable names and is not there is not replaced by another.
    """
    said = environment.get(PATH_VARIABLE)
    return shutil.which(said or "copilot", path=environment.get("PATH", ""))


def cli_missing(environment: Mapping[str, str]) -> str | None:
    """Why there is no CLI to run, and what to do; None where there is one."""
    if cli_path(environment) is not None:
        return None
    said = environment.get(PATH_VARIABLE)
    if not said:
        return f"no Copilot CLI: install it (npm install -g @github/copilot), or set {PATH_VARIABLE} to the program"
    found = "can not be run" if os.path.exists(said) else "is not there"
    return f"no Copilot CLI: what {PATH_VARIABLE} names {found}; set it to the program"


def cli_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What the CLI's process sees: the environment without any provider's key, and without what would redirect it."""
    keys = table.key_variables()
    kept = {name: value for name, value in environment.items() if name not in keys and not name.startswith(_REDIRECTS)}
    return {**kept, **_OWN}
