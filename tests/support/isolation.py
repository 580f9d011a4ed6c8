"""Keeps this machine out of the tests: no keys, no home folder, no way out to the network."""

from __future__ import annotations

import ipaddress
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from bundle_loader.sources.home import catalogues_folder

_PREFIXES = (
    "ANTHROPIC_",
    "AZURE_OPENAI_",
    "BUNDLE_LOADER_",
    "COPILOT_",
    "DEEPSEEK_",
    "GEMINI_",
    "GOOGLE_",
    "GROQ_",
    "HF_",
    "HUGGINGFACE",
    "HUGGING_FACE_",
    "LLAMA_",
    "LM_API_",
    "MISTRAL_",
    "MOONSHOT",
    "OLLAMA_",
    "OPENAI_",
    "OPENROUTER_",
    "OTEL_",
    "VLLM_",
    "XAI_",
)
_NAMES = ("ALL_PROXY", "GH_TOKEN", "GITHUB_TOKEN", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")
_FOLDERS = {
    "HOME": "home",
    "USERPROFILE": "home",
    "XDG_CACHE_HOME": "cache",
    "XDG_CONFIG_HOME": "config",
    "XDG_DATA_HOME": "data",
    "XDG_STATE_HOME": "state",
    "ANTHROPIC_CONFIG_DIR": "anthropic",
    "BUNDLE_LOADER_HOME": "bundle-loader",
}

escapes: list[str] = []
"""What tried to leave this machine since it was last looked at; a swallowed error does not hide it."""


class LeavesThisMachine(RuntimeError):
    """A test opened a connection, or asked for an address, beyond this machine."""


def clear_environment() -> Path:
    """Take what providers read out of `os.environ` and move every home into an empty folder, which is returned."""
    for name in list(os.environ):
        if name.upper().startswith(_PREFIXES) or name.upper() in _NAMES:
            del os.environ[name]
    root = Path(tempfile.mkdtemp(prefix="bundle-loader-tests-"))
    for name, folder in _FOLDERS.items():
        (root / folder).mkdir(exist_ok=True)
        os.environ[name] = str(root / folder)
    return root


def remove(root: Path) -> None:
    """Give the folder back."""
    shutil.rmtree(root, ignore_errors=True)


def forget_catalogues() -> None:
    """Remove the saved lists of models: a later test may be served at the same address."""
    for environment in (os.environ, {}):
        shutil.rmtree(catalogues_folder(environment), ignore_errors=True)


def forbid_network() -> None:
    """From here on, and for as long as the process lives, only loopback addresses can be reached."""
    sys.addaudithook(_audit)


def is_here(host: object) -> bool:
    """True for a loopback address or name, and for none at all."""
    if host is None or host == "":
        return True
    text = host.decode(errors="replace") if isinstance(host, bytes) else str(host)
    if text.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(text.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        address = arguments[1]
        host: object = address[0] if isinstance(address, tuple) else None
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    if not is_here(host):
        escapes.append(f"{event} {host!r}")
        raise LeavesThisMachine(f"tests stay on this machine: {event} {host!r}")
