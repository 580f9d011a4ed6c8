"""A conversation of ten turns with tools that goes to another vendor after every turn, each as strict as the real one."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from bundle_loader import Host, load_bundle
from bundle_loader.messages import Usage
from tests.support.conversations import meaning, read_back
from tests.support.hosting import worker
from tests.support.vendor import Vendor
from tests.support.vendors import Fault, Reply, World
from tests.support.wire_anthropic import AnthropicWire

Served = tuple[World, str]

MODELS = {
    "anthropic": ("claude-haiku-4-5-20251001", "claude-sonnet-4-5-20250929", "claude-opus-4-6"),
    "openai": ("gpt-4o-mini", "gpt-5.2-codex", "gpt-4o"),
    "google": ("gemini-3-pro-preview", "gemini-2.5-flash", "gemini-3-flash-preview"),
    "ollama": ("qwen3:8b", "llama3.2:3b", "gemma3:4b"),
}
TURNS = 10


def wire_of(vendor: str, model: str) -> str:
    return "responses" if "codex" in model else vendor


class Notebook:
    """A tool whose every call is seen."""

    def __init__(self) -> None:
        self.written: list[str] = []

    def note(self, line: str) -> str:
        """Write a line down."""
        self.written.append(line)
        return f"kept as number {len(self.written)}: {line}"


@pytest.mark.parametrize("turned", range(4))
async def test_ten_turns_on_ten_models_of_four_vendors(vendors: Served, tmp_path: Path, turned: int) -> None:
    world, base = vendors
    world.vendor("ollama").refuses_tools = set()
    names = [*list(MODELS)[turned:], *list(MODELS)[:turned]]
    chain = [(names[turn % 4], MODELS[names[turn % 4]][turn // 4]) for turn in range(TURNS)]
    for number, (vendor, _) in enumerate(chain):
        at = world.vendor(vendor)
        calls = [("note", {"line": f"turn {number}, line {line}"}) for line in range(1 + number % 3)]
        last = number == TURNS - 1
        said = "" if number % 4 == 2 and not last else f"Turn {number} speaks."
        at.replies.append(Reply(said, () if last else calls, thinking=f"thought-{number}", usage=Usage(100, 10)))
        at.faults += [None] if last else [None, Fault.status(503)]
    book = Notebook()
    bundle = worker(tmp_path, *(f"{vendor}/{model}" for vendor, model in chain))
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        result = await host.delegate("worker", "Take notes.", tools=[book.note])
    assert (result.text, result.turns) == (f"Turn {TURNS - 1} speaks.", TURNS)
    assert [request.status for request in world.chats()] == [200, *[503, 200] * (TURNS - 1)], "nobody objects to any history"
    answered = [(request.vendor, request.model) for request in world.chats() if request.status == 200]
    assert answered == chain
    lines = [f"turn {number}, line {line}" for number in range(TURNS - 1) for line in range(1 + number % 3)]
    assert sorted(book.written) == sorted(lines), "no tool runs twice"
    before = 1
    for request in (request for request in world.chats() if request.status == 200):
        told = read_back(wire_of(request.vendor, request.model), request.body_json)
        assert told == meaning(result.messages[:before])
        before += 2
    assert result.usage == Usage(100 * TURNS, 10 * TURNS)


async def test_a_vendor_that_comes_back_finds_its_own_thinking(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    call = Reply("", [("note", {"line": "x"})], thinking="my own thought")
    world.vendor("anthropic").replies = [call, Reply("Done.")]
    world.vendor("anthropic").faults = [None, Fault.status(429, retry_after=600), None]
    world.vendor("google").replies = [call]
    world.vendor("google").faults = [None, Fault.status(429, retry_after=600)]
    book = Notebook()
    chain = ("anthropic/claude-haiku-4-5-20251001", "google/gemini-3-pro-preview", "anthropic/claude-opus-4-6")
    bundle = worker(tmp_path, *chain)
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        result = await host.delegate("worker", "Take notes.", tools=[book.note])
    assert result.text == "Done."
    first, second = (message for message in world.chats("anthropic")[-1].body_json["messages"] if message["role"] == "assistant")
    assert [block["type"] for block in first["content"]] == ["thinking", "tool_use"]
    assert [block["type"] for block in second["content"]] == ["tool_use"]


async def test_the_thinking_of_an_imitation_of_anthropic_stays_with_it(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    world.vendors["mine"] = Vendor("mine", "/mine", AnthropicWire())
    world.vendors["mine"].offer("claude-haiku-4-5-20251001")
    call = Reply("", [("note", {"line": "x"})], thinking="a thought with a seal of its own")
    world.vendor("mine").replies = [call, call]
    world.vendor("mine").faults = [None, None, Fault.status(503)]
    world.vendor("anthropic").replies = [Reply("Done.")]
    written = {
        "format": 1,
        "bundle": {"name": "b"},
        "providers": {"mine": {"kind": "anthropic", "base_url": f"{base}/mine", "key_variable": "MY_KEY"}},
        "agents": {"worker": {"description": "d", "provider_preferences": ["mine/claude-haiku-*", "anthropic/claude-opus-4-6"]}},
    }
    (tmp_path / "b.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
    bundle = load_bundle(tmp_path / "b.yaml", strict=True, settings=[])
    environment = {**world.environment(base), "MY_KEY": "test-key-mine"}
    async with Host(bundle, ledger=tmp_path / "l.db", environment=environment) as host:
        result = await host.delegate("worker", "Take notes.", tools=[Notebook().note])
    assert (result.text, result.provider) == ("Done.", "anthropic")
    again, there = (
        [
            block["type"]
            for message in request.body_json["messages"]
            for block in message["content"]
            if message["role"] == "assistant"
        ]
        for request in (world.chats("mine")[1], world.chats("anthropic")[0])
    )
    assert again == ["thinking", "tool_use"]
    assert there == ["tool_use", "tool_use"]
