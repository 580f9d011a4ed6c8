"""Agent files that nobody here wrote, in Amplifier's form: loaded, routed over recorded lists, delegated to over sockets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bundle_loader import Agent, DeclarationError, Host, RequestError, SimulatedProvider, load_bundle
from tests.support.hosting import mounted
from tests.support.vendors import Fault, World

Served = tuple[World, str]

SHARED = Path(__file__).parents[2] / "shared"
FILES = SHARED / "agent-files"
LISTS = {
    "anthropic": ("anthropic_v1_models_page1.json", "anthropic_v1_models_page2.after_id.json"),
    "openai": ("openai_v1_models_2026-08-19.json",),
    "google": ("gemini_v1beta_models_page1.json", "gemini_v1beta_models_page2.pageToken.json"),
}
PARENT = "anthropic/claude-opus-4-6"


def expected() -> list[dict[str, Any]]:
    """What is to become of each of the files."""
    listed = FILES / "EXPECTED.jsonl"
    if not listed.is_file():
        return []
    entries = map(json.loads, listed.read_text(encoding="utf-8").splitlines())
    return [entry for entry in entries if entry["format"] == "amplifier" and (FILES / entry["file"]).is_file()]


EXPECTED = expected()
GOOD = [pytest.param(entry, id=entry["file"]) for entry in EXPECTED if entry["verdict"] != "error"]
BAD = [pytest.param(entry, id=entry["file"]) for entry in EXPECTED if entry["verdict"] == "error"]

pytestmark = pytest.mark.skipif(not EXPECTED, reason=f"no agent files in {FILES}")


@pytest.fixture
def recorded(vendors: Served) -> Served:
    """The vendors, offering what was recorded of the real ones."""
    world, base = vendors
    folder = SHARED / "model-names" / "wire"
    if not folder.is_dir():
        pytest.skip(f"no recorded lists in {folder}")
    for name, pages in LISTS.items():
        world.vendor(name).load(*(folder / page for page in pages))
    return world, base


def only_agent(entry: dict[str, Any]) -> tuple[Any, Agent]:
    bundle = load_bundle(FILES / entry["file"])
    (agent,) = bundle.agents.values()
    return bundle, agent


@pytest.mark.parametrize("entry", GOOD)
async def test_it_loads_routes_and_is_delegated_to(recorded: Served, tmp_path: Path, entry: dict[str, Any]) -> None:
    world, base = recorded
    bundle, agent = only_agent(entry)
    wanted = [(item["provider"], item["model"]) for item in entry.get("provider_preferences", [])]
    assert [(item.provider, item.model) for item in agent.preferences] == wanted
    providers = mounted(world, base, {"github-copilot": SimulatedProvider("github-copilot")})
    async with Host(bundle, providers=providers, ledger=tmp_path / "l.db") as host:
        route = await host.route(agent.name, parent=PARENT)
        ended = [(c.preference.provider, c.preference.model) for c in route.candidates]
        ended += [(rejection.provider, rejection.model) for rejection in route.rejections]
        assert sorted(ended) == sorted(wanted or [tuple(PARENT.split("/"))])
        assert all(rejection.reason for rejection in route.rejections)
        assert str(route.decided_by) == ("agent" if wanted else "parent")
        result = await host.delegate(agent.name, "Do it.", parent=PARENT)
        assert route.chosen is not None
        assert (result.provider, result.model) == (route.chosen.provider, route.chosen.model)
        if not wanted:
            with pytest.raises(RequestError, match="no caller to inherit from"):
                await host.route(agent.name)
    (chat,) = world.chats()
    assert (chat.vendor, chat.model, chat.status) == (result.provider, result.model, 200)
    first_line = next(line for line in agent.instruction.splitlines() if line.strip())
    assert first_line in json.dumps(chat.body_json, ensure_ascii=False), "its text is sent as written, not as a template"


@pytest.mark.parametrize("entry", BAD)
def test_an_old_schema_says_where_and_why_and_stops_no_other(tmp_path: Path, entry: dict[str, Any]) -> None:
    path = FILES / entry["file"]
    line = path.read_text(encoding="utf-8").splitlines().index("provider_preferences:") + 2
    with pytest.raises(DeclarationError, match=rf"bug-hunter\.md:{line}:\d+: provider_preferences\[0\].*older form"):
        load_bundle(path)
    others = [FILES / param.values[0]["file"] for param in GOOD if param.values[0]["name"] != "bug-hunter"]  # type: ignore[index]
    for source in (path, *others):
        (tmp_path / source.name).write_bytes(source.read_bytes())
    (tmp_path / "bundle.yaml").write_text('format: 1\nbundle: {name: all}\nagents: {include: ["*.md"]}\n', encoding="utf-8")
    bundle = load_bundle(tmp_path / "bundle.yaml")
    assert len(bundle.agents) == len(others) > 0
    assert list(bundle.broken) == ["bug-hunter"]
    with pytest.raises(DeclarationError, match="older form"):
        bundle.agent("bug-hunter")


async def test_a_real_agent_falls_back_over_its_whole_list(recorded: Served, tmp_path: Path) -> None:
    found = [entry for entry in EXPECTED if entry["name"] == "bug-hunter" and entry["verdict"] == "load"]
    if not found:
        pytest.skip("that agent is not among the files")
    world, base = recorded
    bundle, agent = only_agent(found[0])
    for name in LISTS:
        world.vendor(name).fault = Fault.status(503)
    providers = mounted(world, base, {"github-copilot": SimulatedProvider("github-copilot")})
    async with Host(bundle, providers=providers, ledger=tmp_path / "l.db") as host:
        route = await host.route(agent.name)
        result = await host.delegate(agent.name, "Find it.")
    order = [candidate.provider for candidate in route.candidates]
    assert order == sorted(order, key=["anthropic", "openai", "google", "github-copilot"].index)
    tried = [(attempt.provider, attempt.model) for attempt in result.attempts]
    assert tried == [(candidate.provider, candidate.model) for candidate in route.candidates][: len(tried)]
    assert result.provider == "github-copilot"
    assert result.simulated
    assert "openai" in order
