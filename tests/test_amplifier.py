"""Agent files of Amplifier's form: real ones where they are at hand, and made-up ones with one fault each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bundle_loader.declared.formats.amplifier import slugify
from bundle_loader.declared.frontmatter import read_document
from bundle_loader.declared.layer import AgentFile, read_agent
from bundle_loader.delegation.instruction import render
from bundle_loader.errors import DeclarationError
from bundle_loader.sources.load import load_bundle
from tests.support.declared import faults_of, load, pairs, refused, said

REAL = Path(__file__).resolve().parents[2] / "shared" / "agent-files"
AT_HAND = (REAL / "EXPECTED.jsonl").is_file()
needs_files = pytest.mark.skipif(not AT_HAND, reason="the collection of real agent files is not beside this checkout")
EXPECTED: list[dict[str, Any]] = (
    [json.loads(line) for line in (REAL / "EXPECTED.jsonl").read_text(encoding="utf-8").splitlines()] if AT_HAND else []
)
AGENTS = [entry for entry in EXPECTED if entry["format"] == "amplifier"]
OLD = (
    "an older form that names no provider; write 'provider:' and 'model:', such as {provider: anthropic, model: claude-sonnet-*}"
)


def ids(entry: dict[str, Any]) -> str:
    return str(entry["file"]).removeprefix("amplifier/")


def read(text: str) -> AgentFile:
    return read_agent(read_document(text, "a.md"))


@needs_files
def test_the_collection_holds_every_verdict() -> None:
    assert sorted(entry["verdict"] for entry in AGENTS) == ["error", *["load"] * 6, "load-with-warning"]


@needs_files
@pytest.mark.parametrize("entry", [entry for entry in AGENTS if entry["verdict"] == "load"], ids=ids)
def test_a_real_file_loads_with_all_that_it_says(entry: dict[str, Any]) -> None:
    path = REAL / entry["file"]
    bundle = load_bundle(path, strict=True)
    assert [problem for problem in bundle.problems if problem.level != "note"] == []
    [agent] = bundle.agents.values()
    assert (agent.name, agent.form) == (entry["name"], "amplifier")
    assert len(agent.description) == entry["description_chars"]
    wanted = [(item["provider"], item["model"], item.get("config", {})) for item in entry.get("provider_preferences", [])]
    assert [(item.provider, item.model, item.config) for item in agent.preferences] == wanted
    roles = entry.get("model_role", list(agent.model_role))
    assert list(agent.model_role) == ([roles] if isinstance(roles, str) else roles)
    modules = [tool["module"] for tool in agent.extra.get("tools", [])]
    assert modules == entry["tools"]
    assert agent.tools == (() if entry["tools"] == [] else None), "module tools are kept aside, never offered as host tools"
    body = path.read_text(encoding="utf-8").split("\n---", 1)[1].partition("\n")[2].strip()
    assert agent.instruction == body
    assert abs(len(body) - entry["body_chars"]) <= 2
    assert render(agent, {}) == body


@needs_files
@pytest.mark.parametrize("entry", [entry for entry in AGENTS if entry["verdict"] == "error"], ids=ids)
def test_the_old_schema_says_where_and_what_to_write(entry: dict[str, Any]) -> None:
    path = REAL / entry["file"]
    line = path.read_text(encoding="utf-8").splitlines().index("  - class: standard") + 1
    with pytest.raises(DeclarationError) as caught:
        load_bundle(path)
    assert said(path.parent, caught.value.faults) == [f"error bug-hunter.md:{line}:5: provider_preferences[0].class: {OLD}"]


@needs_files
@pytest.mark.parametrize("entry", [entry for entry in AGENTS if entry["verdict"] == "load-with-warning"], ids=ids)
def test_an_observer_loads_with_a_warning(entry: dict[str, Any]) -> None:
    bundle = load_bundle(REAL / entry["file"], strict=True)
    [agent] = bundle.agents.values()
    assert agent.name == slugify(entry["name"]) == "code-quality-reviewer"
    assert list(agent.tools or ()) == entry["tools"]
    assert agent.extra == {"model": "claude-3-5-haiku-latest", "timeout": 30}
    assert said((REAL / entry["file"]).parent, bundle.problems) == [
        "warning code-quality.md:2:1: observer: read as 'meta'; an observer is loaded as an agent"
    ]


@needs_files
def test_all_real_files_at_once_as_one_bundle(tmp_path: Path) -> None:
    for number, entry in enumerate(AGENTS):
        (tmp_path / f"{number}.md").write_bytes((REAL / entry["file"]).read_bytes())
    bundle = load(tmp_path, "all.yaml", {"all.yaml": "agents: {include: ['*.md']}"})
    loads = {slugify(entry["name"]) for entry in AGENTS if entry["verdict"] != "error"}
    assert set(bundle.agents) == loads
    assert [fault.message for fault in bundle.problems if fault.level == "error" and "also written in" not in fault.message] == [
        OLD
    ]


FULL = """\
---
meta:
  name: sample
  description: does things
  model_role: [coding, general]
  custom: {a: 1.10}
provider_preferences:
  - {provider: anthropic, model: claude-haiku-*}
  - provider: openai
    model: gpt-5.[0-9]-codex
    config: {reasoning_effort: high}
tools:
  - module: tool-bash
    source: git+https://example.invalid/tool-bash@main
    config: {allowed: [no]}
agents: none
session: {debug: true}
---
Body @sample:context/a.md with {{ braces }}
"""


def test_every_key_finds_its_place(tmp_path: Path) -> None:
    files = {"t.yaml": "roles: {general: [p/m]}\nagents: {include: [x.md]}\n", "x.md": FULL}
    bundle = load(tmp_path, "t.yaml", files, strict=True)
    agent = bundle.agent("sample")
    assert bundle.problems == ()
    assert (agent.description, agent.model_role, agent.slot) == ("does things", ("coding", "general"), "role")
    assert pairs(agent.preferences) == ["anthropic/claude-haiku-*", "openai/gpt-5.[0-9]-codex"]
    assert agent.preferences[1].config == {"reasoning_effort": "high"}
    assert agent.tools is None
    assert agent.extra == {
        "custom": {"a": 1.1},
        "tools": [{"module": "tool-bash", "source": "git+https://example.invalid/tool-bash@main", "config": {"allowed": ["no"]}}],
        "agents": "none",
        "session": {"debug": True},
    }
    assert (agent.form, agent.template) == ("amplifier", False)


def test_the_top_level_wins_over_meta() -> None:
    found = read(
        "---\nname: outer\nmeta:\n  name: inner\n  description: kept\n  model_role: inner\n"
        "  provider_preferences: [{provider: p, model: inner}]\nmodel_role: outer\n"
        "provider_preferences: [{provider: p, model: outer}]\n---\n"
    )
    assert found.faults == []
    assert found.written is not None
    assert (found.name, found.written.description, found.written.model_role) == ("outer", "kept", ["outer"])
    assert [item.model for item in found.written.provider_preferences or ()] == ["outer"]


def test_a_null_at_the_top_level_says_nothing() -> None:
    found = read("---\nmeta: {name: x, model_role: fast}\nmodel_role: ~\nprovider_preferences:\n---\n")
    assert found.faults == []
    assert found.written is not None
    assert (found.written.model_role, found.written.provider_preferences) == (["fast"], None)


def test_flat_names_are_tools_of_the_host() -> None:
    flat = read("---\nmeta: {name: x}\ntools: [grep, read_file]\n---\n")
    none = read("---\nmeta: {name: x}\ntools: []\n---\n")
    mixed = read("---\nmeta: {name: x}\ntools: [grep, {module: tool-bash}]\n---\n")
    assert flat.written is not None
    assert none.written is not None
    assert mixed.written is not None
    assert (flat.written.tools, none.written.tools) == (["grep", "read_file"], [])
    assert (mixed.written.tools, mixed.extra) == (None, {"tools": ["grep", {"module": "tool-bash"}]})


@pytest.mark.parametrize(
    ("header", "faults"),
    [
        (
            "meta: {name: x}\nprovider_preferences:\n  - {provider: anthropic}",
            ["4:5: provider_preferences[0]: model missing; write {provider: anthropic, model: claude-haiku-*}"],
        ),
        (
            "meta:\n  name: x\n  provider_preferences:\n    - {model: claude-*}",
            ["5:7: provider_preferences[0]: provider missing; write {provider: anthropic, model: claude-haiku-*}"],
        ),
        (
            "meta: {name: x}\nprovider_preferences: {provider: anthropic, model: claude-*}",
            ["3:23: provider_preferences: a mapping does not fit; write a list"],
        ),
        (
            "meta: {name: x}\nprovider_preferences: [{class: fast}, {class: standard}, {provider: p}]",
            [
                f"3:25: provider_preferences[0].class: {OLD}",
                f"3:40: provider_preferences[1].class: {OLD}",
                "3:58: provider_preferences[2]: model missing; write {provider: anthropic, model: claude-haiku-*}",
            ],
        ),
        (
            "meta: {name: x}\nprovider_preferences: ["
            + "{provider: p, model: m}, "
            + "{class: c}, "
            + "p/m, " * 8
            + "{provider: p}]",
            [
                f"3:50: provider_preferences[1].class: {OLD}",
                "3:101: provider_preferences[10]: model missing; write {provider: anthropic, model: claude-haiku-*}",
            ],
        ),
        ("meta: sample", ["2:7: meta: write 'name: ...' and 'description: ...' lines under it"]),
        ("meta: [a]", ["2:7: meta: write 'name: ...' and 'description: ...' lines under it"]),
        ("meta: {name: [a]}", ["2:14: name: a list does not fit; write text"]),
        ("meta: {name: x, description: {a: b}}", ["2:30: description: a mapping does not fit; write text"]),
        ("meta: {name: x}\nmodel_role: {a: b}", ["3:13: model_role: a mapping does not fit; write a list"]),
        (
            "meta:\n  name: x\n  description: Use when: tests fail",
            ["4:24: not YAML: mapping values are not allowed in this context; put text that holds ': ' in quotes"],
        ),
        (
            "meta: {name: x}\nmeta: {name: y}",
            ["3:1: meta: written twice; the first is on line 2"],
        ),
        (
            "meta: {name: x}\nprovider_preferences: [{provider: p, model: m, config: {base_url: 'http://x'}}]",
            [
                "3:57: provider_preferences[0].config: 'base_url' may not be set in a config: models, messages, keys and"
                " addresses are not a bundle's to set"
            ],
        ),
    ],
)
def test_faults_say_where_and_what(header: str, faults: list[str]) -> None:
    assert faults_of(header) == faults


def test_keys_of_a_preference_without_meaning_here_are_warnings() -> None:
    assert faults_of("meta: {name: x}\nprovider_preferences: [{provider: p, model: m, weight: 2, tier: z}]") == [
        "3:48: provider_preferences[0].weight: means nothing here and is left out",
        "3:59: provider_preferences[0].tier: means nothing here and is left out",
    ]


def test_without_meta_or_with_our_mark_it_is_our_own_form() -> None:
    assert read("---\nname: x\ndescription: y\n---\n").form == "own"
    assert faults_of("format: 1\nmeta: {name: x}") == ["3:1: meta: unknown key"]


def test_a_meta_with_nothing_in_it_takes_the_files_name() -> None:
    found = read("---\nmeta:\n---\nbody")
    assert (found.name, found.form, found.faults) == ("a", "amplifier", [])


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("bug-hunter", "bug-hunter"),
        ("Bug_Hunter.2", "Bug_Hunter.2"),
        ("Code Quality Reviewer", "code-quality-reviewer"),
        ("superpowers:brainstormer", "superpowers-brainstormer"),
        ("  A / B  ", "a-b"),
    ],
)
def test_display_names_become_slugs(text: str, slug: str) -> None:
    assert slugify(text) == slug


def test_patches_change_agents_of_this_form_too(tmp_path: Path) -> None:
    files = {
        "a.yaml": "includes: [./b.yaml]\nagents: {sample: {tier: t}}\n",
        "b.yaml": "tiers: {t: [p/m]}\nagents: {include: [x.md]}\n",
        "x.md": FULL,
    }
    agent = load(tmp_path, "a.yaml", files, strict=True).agent("sample")
    assert (agent.slot, agent.preferences, agent.model_role) == ("tier", (), ())
    assert (agent.description, agent.form, agent.extra["agents"]) == ("does things", "amplifier", "none")


def test_strict_loading_refuses_what_has_faults(tmp_path: Path) -> None:
    files = {"a.yaml": "agents: {include: ['*.md']}", "x.md": "---\nmeta: {name: x}\nprovider_preferences: [{class: a}]\n---\n"}
    assert refused(tmp_path, "a.yaml", files, strict=True) == [f"x.md:3:25: provider_preferences[0].class: {OLD}"]
