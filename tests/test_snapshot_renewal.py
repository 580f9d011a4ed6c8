"""Renewing the shipped lists from live ones, as the command that does it: over sockets, into a file of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bundle_loader.cli.snapshot import FILE, entry_of, text_of
from bundle_loader.providers.snapshot import snapshot_models, snapshot_providers
from bundle_loader.routing.catalogue import ModelInfo
from bundle_loader.routing.model_entries import model_info
from tests.support.vendors import Fault, World, served_in_thread


def renew(
    folder: Path, environment: Mapping[str, str], *arguments: str, out: str = "new.json"
) -> subprocess.CompletedProcess[str]:
    home = folder / "home"
    home.mkdir(exist_ok=True)
    own = {"PATH": os.environ["PATH"], "HOME": str(home), "BUNDLE_LOADER_HOME": str(home), **environment}
    code = [sys.executable, "-m", "bundle_loader.cli.snapshot", *arguments, "--out", str(folder / out)]
    done = subprocess.run(code, cwd=folder, env=own, capture_output=True, text=True, check=False, timeout=120)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def written(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "new.json").read_text())
    return found


def test_only_those_that_answered_are_replaced_each_with_its_date(tmp_path: Path) -> None:
    world = World()
    world.vendor("openai").offer("gpt-9", "ft:gpt-4o:my-company::abc", "gpt-9-mini")
    world.vendor("openai").models.append({"id": "ours", "object": "model", "created": 1, "owned_by": "user-1234"})
    world.vendor("google").fault = Fault.list(Fault.status(503))
    shipped = json.loads(FILE.read_text())
    with served_in_thread(world) as base:
        environment = world.environment(base)
        today = {datetime.now(UTC).date().isoformat()}
        done = renew(tmp_path, environment, "anthropic", "openai", "gemini", "groq")
        today.add(datetime.now(UTC).date().isoformat())
        first = (tmp_path / "new.json").read_bytes()
        world.vendor("openai").models.reverse()
        renew(tmp_path, environment, "openai", "anthropic")
    assert done.returncode == 0
    found = written(tmp_path)
    assert (tmp_path / "new.json").read_bytes() == first, "the same lists give the same bytes, in whichever order they came"
    for name in ("anthropic", "openai"):
        assert found["providers"][name]["as_of"] in today
    assert [entry["id"] for entry in found["providers"]["openai"]["models"]] == ["gpt-9", "gpt-9-mini"]
    same = [name for name in shipped["providers"] if found["providers"][name] == shipped["providers"][name]]
    assert same == [name for name in shipped["providers"] if name not in ("anthropic", "openai")]
    assert found["date"] in today
    said = dict(line.split(": ", 1) for line in done.stderr.splitlines())
    assert said["openai"] == "2 models"
    assert "503" in said["google"]
    assert said["groq"].startswith("stays as it is: no key")
    text = first.decode()
    assert not any(word in text + done.stderr for word in ("test-key", "my-company", "user-1234", base))
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ["new.json"]


def test_nobody_who_answers_leaves_no_file(tmp_path: Path) -> None:
    done = renew(tmp_path, {})
    assert done.returncode == 4
    assert "ollama" not in done.stderr, "a local provider's list is its user's own, unless it is named"
    assert renew(tmp_path, {}, "antropic").returncode == 2
    assert not (tmp_path / "new.json").exists()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "is not JSON ("),
        ("[]", "it has no 'providers'"),
        ('{"providers": {"openai": []}}', "'openai' has no 'as_of'"),
        ('{"providers": {"openai": {"as_of": "2026-01-01", "models": [{}]}}}', "'openai' has no 'models' with ids"),
    ],
)
def test_a_file_that_holds_no_lists_is_left_alone(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "new.json").write_text(text)
    done = renew(tmp_path, {}, "openai")
    assert (done.returncode, (tmp_path / "new.json").read_text()) == (1, text)
    assert done.stderr.startswith(f"{tmp_path / 'new.json'} is n")
    assert why in done.stderr


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    done = renew(tmp_path, {}, "openai", out="nowhere/x.json")
    assert (done.returncode, "there is no folder" in done.stderr) == (1, True)
    (tmp_path / "new.json").mkdir()
    assert "new.json cannot be read: is a directory" in renew(tmp_path, {}, "openai").stderr


def test_what_is_of_the_account_or_the_settings_is_left_out() -> None:
    full = ModelInfo(
        "m",
        created=datetime(2026, 1, 2, tzinfo=UTC),
        window=5,
        capabilities=frozenset({"vision", "tools"}),
        kind="chat",
        barred="this account is too small",
        retires=datetime(2027, 1, 2, tzinfo=UTC),
        aliases=("m-latest",),
        prices={"output": "0.2", "input": "0.1"},
        from_table=frozenset({"kind"}),
        extra={"owned_by": "org-7", "version": "2", "account": "x"},
    )
    entry = entry_of(full)
    assert entry == {
        "id": "m",
        "created": "2026-01-02T00:00:00Z",
        "window": 5,
        "capabilities": ["tools", "vision"],
        "retires": "2027-01-02T00:00:00Z",
        "aliases": ["m-latest"],
        "prices": {"input": "0.1", "output": "0.2"},
        "extra": {"version": "2"},
    }
    again = model_info(entry)
    assert (again.created, again.capabilities, again.prices, again.retires) == (
        full.created,
        full.capabilities,
        full.prices,
        full.retires,
    )


def test_the_shipped_file_is_as_the_command_writes_it() -> None:
    shipped = json.loads(FILE.read_text())
    assert json.loads(text_of(shipped)) == shipped
    assert all(snapshot_models(id) for id in snapshot_providers())
