"""What asks no model opens no socket and loads no SDK, whatever keys there are: each command in a process that may open none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bundle_loader.cli.main import COMMANDS
from bundle_loader.providers import table

_GUARDED = """
import json, sys
tried = []
REFUSED = ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")

def of_a_loop():
    # it wakes itself through a pair of sockets that leads nowhere
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "_make_self_pipe" and "asyncio" in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False

def refuse(event, arguments):
    if event == "socket.__new__" and not of_a_loop() or event in REFUSED:
        tried.append(f"{event} {arguments[1:]}")
        raise PermissionError(f"no socket may be opened here: {event}")

sys.addaudithook(refuse)
import bundle_loader
from bundle_loader.cli.main import run

code = run(sys.argv[2:]) if sys.argv[2:] else 0
with open(sys.argv[1], "w") as report:
    json.dump({"code": code, "tried": tried, "modules": sorted(sys.modules)}, report)
"""

SDKS = {
    "anthropic", "openai", "google.genai", "ollama", "copilot", "boto3", "botocore", "google.auth", "aiohttp", "httpx", "httpx2",
    "requests", "uvicorn",
}  # fmt: skip
OF_PRICES = {"httpx2"}
"""What the package of public prices loads; `check` asks for prices where a bundle has a budget of money."""
PRICED = {"check", "models", "delegate", "verify"}
SECRET = "sk-secret-of-this-test-0123456789abcdef"


def guarded(folder: Path, *arguments: str) -> tuple[int, list[str], set[str], str]:
    """Exit code, sockets that were tried, SDKs that were loaded, and all that was printed."""
    home, project = folder / "home", folder / "project"
    for made in (home, project):
        made.mkdir(exist_ok=True)
    keys = {name: SECRET for row in table.rows().values() for name in row.key_variables}
    addresses = {row.base_url_variable: "http://192.0.2.1" for row in table.rows().values() if row.base_url_variable}
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "BUNDLE_LOADER_HOME": str(home / "data"), **keys, **addresses}
    report = folder / "report.json"
    done = subprocess.run(
        [sys.executable, "-c", _GUARDED, str(report), *arguments],
        cwd=project, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert report.exists(), said
    found = json.loads(report.read_text())
    assert "Traceback" not in said
    assert SECRET not in said
    return found["code"], found["tried"], SDKS & set(found["modules"]), said


AGENT = "---\nname: mine\nprovider_preferences: [anthropic/claude-haiku-*, mine/x-*]\n---\nWork.\n"
BUNDLE = (
    "includes: [foundation]\nproviders:\n  mine: {kind: ollama, base_url: 'http://192.0.2.1'}\n"
    "agents: {include: [a.md]}\nbudgets: {day: {money: 5, per: day}}\n"
)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--help"],
        ["--version"],
        *([name, "--help"] for name in COMMANDS),
        ["check"],
        ["check", "--bundle", "mine.yaml"],
        ["agents", "--bundle", "mine.yaml"],
        ["explain", "bundle"],
        ["explain", "bundle", "mine.yaml", "--mermaid"],
        ["schema", "agent"],
        ["ledger"],
        ["ledger", "show", "nothing"],
        ["budget"],
        ["init"],
        ["verify"],
        ["models", "--simulate"],
        ["resolve", "--simulate"],
        ["explain", "git-ops", "--simulate"],
        ["delegate", "git-ops", "Hi.", "--simulate"],
    ],
    ids=lambda arguments: " ".join(arguments) or "import",
)
def test_no_socket_is_opened_and_no_sdk_loaded(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "a.md").write_text(AGENT, encoding="utf-8")
    (tmp_path / "project" / "mine.yaml").write_text(BUNDLE, encoding="utf-8")
    code, tried, loaded, said = guarded(tmp_path, *arguments)
    assert (tried, loaded - OF_PRICES) == ([], set())
    assert not loaded or arguments[0] in PRICED
    assert code == (1 if "show" in arguments else 0), said


@pytest.mark.parametrize("made", ["socket.socket()", "socket.socketpair()"])
def test_the_guard_sees_a_socket_that_is_only_made(tmp_path: Path, made: str) -> None:
    code = _GUARDED.replace("import bundle_loader\n", f"import socket\ntry:\n    {made}\nexcept PermissionError:\n    pass\n")
    report = tmp_path / "report.json"
    subprocess.run([sys.executable, "-c", code.replace("run(sys.argv[2:])", "0"), str(report)], check=True, timeout=60)
    assert json.loads(report.read_text())["tried"]


def test_the_guard_sees_what_asks(tmp_path: Path) -> None:
    code, tried, loaded, said = guarded(tmp_path, "models", "ollama")
    assert code == 4
    assert any(entry.startswith("socket.") for entry in tried)
    assert "ollama" in loaded
    assert "could not be fetched" in said
