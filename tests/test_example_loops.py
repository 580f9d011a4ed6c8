"""The examples of a host's own loop, run as they are: official SDKs, processes, loopback vendors, no key of anybody's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.script import Request
from tests.support.vendors import Reply, World, served_in_thread

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
CALLS = [("delegate", {"agent": agent, "instruction": f"Part of {agent}."}) for agent in ("git-ops", "self")]
LOOPS = {
    "anthropic": ("anthropic", "claude-opus-4-6", "claude-haiku-4-5-20251001"),
    "openai": ("openai", "gpt-5.2", "gpt-4o-mini-2024-07-18"),
    "gemini": ("google", "gemini-2.5-pro", "gemini-2.5-flash"),
    "ollama": ("ollama", "qwen3:8b", None),
}


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_of_ones_own_delegates(name: str, tmp_path: Path) -> None:
    """Two calls in one turn: an agent with preferences of its own, and one that runs on the loop's model."""
    vendor, model, child = LOOPS[name]
    world = World(vendor)

    def answer(request: Request) -> Reply:
        body: Any = request.body_json
        if not body.get("tools"):
            return Reply(f"Done by {request.model}.")
        seen = str(body)
        return Reply("Both are done.") if "Done by" in seen else Reply("Let me delegate.", tool_calls=CALLS)

    world.vendor(vendor).answer = answer
    with served_in_thread(world) as base:
        environment = {**os.environ, **world.environment(base), "BUNDLE_LOADER_HOME": str(tmp_path), "MODEL": model}
        command = [sys.executable, str(EXAMPLES / f"{name}_loop.py"), "Do", "both."]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Both are done.\n"
    lines = sorted(line for line in done.stderr.splitlines() if line.startswith("delegated to "))
    assert f"delegated to self: answered on {vendor}/{model}, $" in lines[-1]
    chats = [request for request in world.chats() if request.status == 200]
    last = str(chats[-1].body_json)
    assert f"Done by {model}." in last
    if child is not None:
        assert "delegated to git-ops: answered on " in lines[0]
        assert {request.model for request in chats} == {model, lines[0].partition(" on ")[2].partition(",")[0].partition("/")[2]}
    else:
        assert "git-ops gave no answer" in last, "its vendors are off: the model is told"
