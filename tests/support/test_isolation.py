"""The walls around the tests: no ambient keys or homes, no way off this machine, and no hiding that one was tried."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import isolation

ROOT = Path(__file__).resolve().parents[2]


def test_homes_are_empty_folders_of_this_session() -> None:
    for name in ("HOME", "XDG_CONFIG_HOME", "ANTHROPIC_CONFIG_DIR", "BUNDLE_LOADER_HOME"):
        assert "bundle-loader-tests-" in os.environ[name]
    assert Path.home() == Path(os.environ["HOME"])
    assert list(Path(os.environ["ANTHROPIC_CONFIG_DIR"]).iterdir()) == []


@pytest.mark.parametrize("address", ["192.0.2.1", "example.org", "::ffff:192.0.2.1", b"10.0.0.1"])
def test_other_machines_are_not_here(address: str | bytes) -> None:
    assert not isolation.is_here(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "::1", None, ""])
def test_this_machine_is_here(address: str | None) -> None:
    assert isolation.is_here(address)


def test_a_connection_off_this_machine_is_refused_and_noted() -> None:
    with socket.socket() as plain, pytest.raises(isolation.LeavesThisMachine, match=r"192\.0\.2\.1"):
        plain.connect(("192.0.2.1", 80))
    with pytest.raises(isolation.LeavesThisMachine, match=r"example\.org"):
        socket.getaddrinfo("example.org", 443)
    noted, isolation.escapes[:] = list(isolation.escapes), []
    assert noted == ["socket.connect '192.0.2.1'", "socket.getaddrinfo 'example.org'"]


CULPRIT = """
import contextlib, os, socket
def test_swallows_it():
    assert not {"OPENAI_API_KEY", "HF_TOKEN", "HTTPS_PROXY"} & set(os.environ)
    with contextlib.suppress(Exception):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
"""


@pytest.mark.slow
def test_ambient_keys_are_gone_and_a_swallowed_escape_fails_the_test(tmp_path: Path) -> None:
    (tmp_path / "test_culprit.py").write_text(CULPRIT)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "tests.conftest",
        str(tmp_path / "test_culprit.py"),
    ]
    environment = os.environ | {
        "OPENAI_API_KEY": "x",
        "HF_TOKEN": "x",
        "HTTPS_PROXY": "http://192.0.2.9:1",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "1 passed, 1 error" in done.stdout
    assert "tried to leave this machine: socket.getaddrinfo '192.0.2.1'" in done.stdout
