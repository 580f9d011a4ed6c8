"""A tree of agents: three levels below the first, children side by side, tools of an MCP server; killed, and carried on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

from bundle_loader import Host
from bundle_loader.delegation.transcript import UNKNOWN
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.trees import DelegationTree, delegation_tree
from bundle_loader.messages import Usage
from tests.support import mcp_program
from tests.support.command import command
from tests.support.script import Request
from tests.support.team import team
from tests.support.vendors import Reply, World, served_in_thread, serving

MODEL = {"provider_preferences": ["anthropic/claude-haiku-4-5-20251001"]}
BELOW = {"boss": "lead", "lead": "foreman", "foreman": "worker"}
"""Each has two of those below it do half of its work."""


def bundle_in(folder: Path) -> Any:
    agents: dict[str, dict[str, Any]] = {name: MODEL | {"tools": ["delegate"]} for name in BELOW}
    agents["worker"] = MODEL | {"tools": ["mcp:fx"]}
    server = {"command": sys.executable, "args": [mcp_program.__file__], "env": {"EFFECTS": str(folder)}}
    return team(folder, agents, mcp_servers={"fx": server})


def results_of(body: Any) -> list[str]:
    """The results of tools in the history, in order."""
    found = []
    for message in body["messages"]:
        for block in message["content"] if isinstance(message["content"], list) else ():
            if block.get("type") == "tool_result":
                content = block["content"]
                found.append(content if isinstance(content, str) else "".join(part.get("text", "") for part in content))
    return found


def first_words(body: Any) -> str:
    content = body["messages"][0]["content"]
    return content if isinstance(content, str) else str(content[0]["text"])


class Company:
    """What the models say: managers halve the work, workers pay for their part, and one of them is slow."""

    def __init__(self, slow: str = "") -> None:
        self.slow = slow

    def __call__(self, request: Request) -> Reply:
        body = request.body_json
        role = next(name for name in ("boss", "lead", "foreman", "worker") if f"You are {name}." in str(body["system"]))
        part, results = first_words(body), results_of(body)
        tools = {tool["name"].rpartition("_")[2]: tool["name"] for tool in body["tools"]}
        usage = Usage(100, 10)
        if role in BELOW:
            if results:
                return Reply(" ".join(sorted(text.partition("\n[session")[0] for text in results)), usage=usage)
            halves = [("delegate", {"agent": BELOW[role], "instruction": f"{part}{letter}"}) for letter in "ab"]
            return Reply(tool_calls=halves, usage=usage)
        if not results:
            return Reply(tool_calls=[(tools["pay"], {"what": part})], usage=usage)
        if part == self.slow and len(results) == 1:
            return Reply(tool_calls=[(tools["slow"], {"seconds": 60})], usage=usage)
        return Reply(f"paid:{part}" if UNKNOWN not in results[-1] else f"unsure:{part}", usage=usage)


LEAVES = [f"x{one}{two}{three}" for one in "ab" for two in "ab" for three in "ab"]


def agents_below(tree: DelegationTree) -> dict[str, int]:
    counts: dict[str, int] = {tree.row["agent"]: 1}
    for child in tree.children:
        for name, count in agents_below(child).items():
            counts[name] = counts.get(name, 0) + count
    return counts


async def test_a_tree_three_deep_with_an_mcp_server(tmp_path: Path, world: World) -> None:
    world.vendor("anthropic").answer = Company()
    async with serving(world) as base:
        environment = world.environment(base) | {"BUNDLE_LOADER_HOME": str(tmp_path / "home")}
        async with Host(bundle_in(tmp_path), ledger=tmp_path / "l.db", environment=environment) as host:
            result = await host.delegate("boss", "x")
            tree = delegation_tree(host.ledger.query, result.id, result.id)
            (total,) = [row for row in host.ledger.totals("agent") if row["name"] == "boss"]
    assert result.text == " ".join(f"paid:{leaf}" for leaf in LEAVES)
    assert sorted((tmp_path / "payments").read_text().split()) == LEAVES
    assert agents_below(tree) == {"boss": 1, "lead": 2, "foreman": 4, "worker": 8}
    assert [tree.children[0].children[0].children[0].row["depth"]] == [3]
    assert tree.inclusive["cost"] == result.cost_with_children == total["with_sub_agents"]["cost"]
    assert result.cost is not None
    assert result.cost_with_children == Decimal(15) * result.cost, "each of the fifteen makes two calls of the same size"
    assert len(list((tmp_path / "home" / "sessions").iterdir())) == 15


def started(folder: Path, environment: dict[str, str], *words: str) -> subprocess.Popen[str]:
    program = [sys.executable, "-m", "tests.support.session_process", str(folder), json.dumps(environment), *words]
    return subprocess.Popen(program, stdout=subprocess.PIPE, text=True)


def test_a_killed_tree_is_carried_on_from_any_of_its_sessions(tmp_path: Path, world: World) -> None:
    slow = "xaba"
    world.vendor("anthropic").answer = Company(slow)
    bundle_in(tmp_path)
    with served_in_thread(world) as base:
        environment = world.environment(base) | {"BUNDLE_LOADER_HOME": str(tmp_path / "home")}
        process = started(tmp_path, environment, "boss", "x")
        end = time.monotonic() + 30
        while not (tmp_path / "slow").exists() or len((tmp_path / "payments").read_text().split()) < 8:
            assert time.monotonic() < end, "the tree did not come so far"
            time.sleep(0.02)
        time.sleep(0.3)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        listed = command("sessions", "--json", "--folder", str(tmp_path / "home" / "sessions"), home=tmp_path).json["sessions"]
        open_ones = {row["agent"]: row for row in listed if row["state"] == "interrupted"}
        assert {row["agent"] for row in listed} == {"boss", "lead", "foreman", "worker"}
        child = open_ones["worker"]
        assert (child["turns"], child["unknown_calls"]) == (1, 1)
        resumed = started(tmp_path, environment, "worker", "Go on.", child["id"][:10])
        text = json.loads(resumed.communicate(timeout=30)[0])["text"]
    assert text == f"unsure:{slow}"
    assert sorted((tmp_path / "payments").read_text().split()) == LEAVES, "nothing was paid twice"
    assert (tmp_path / "slow").read_text().split().count("begun") == 1
    ledger = Ledger(tmp_path / "l.db")
    try:
        rows = {row["name"]: row for row in ledger.totals("session")}
    finally:
        ledger.close()
    assert rows[child["id"]]["calls"] == 3, "what the killed one cost is kept with what it cost to go on"
