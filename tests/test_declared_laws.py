"""Laws of loading: whatever stands in a file, a bundle or a DeclarationError comes out, in time, and nothing is widened."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bundle_loader.declared.bundle import Bundle
from bundle_loader.errors import DeclarationError
from bundle_loader.routing.explain import origins
from bundle_loader.sources.load import load_bundle
from tests.support.declared import write

ROOT = Path(__file__).parent.parent
MAX_SECONDS = 2.0
SECRET = "sk-ant-api03-AbCdEf-do-not-print-me"

AGENT_KEYS = (
    "name", "aliases", "description", "provider_preferences", "tier", "model_role", "extends", "tools", "inherit_context",
    "config", "limits", "output_schema", "on_broken_stream", "content_fallback", "format", "meta", "nonsense",
)  # fmt: skip
BUNDLE_KEYS = (
    "format", "bundle", "includes", "agents", "tiers", "tier_order", "default", "profiles", "roles", "providers", "vars",
    "context", "recipes", "tasks", "policy", "budgets", "mcp_servers", "tests",
)  # fmt: skip
WORDS = (
    "base", "x", "strong", "self", "include", "provider", "model", "config", "name", "id", "remove", "tier", "depth", "p/m",
    "*.md", "null", "~", "", "true", "1", "0x", "1e999", ".nan", "\0", "\ufeff", "@a:x.md", "{{ x }}", "ü\u2028", "..", "/",
)  # fmt: skip
SYNTAX = "---\n: -[]{}&*!|>'\"#%@`,?\t\r\0\ufeffax1~<"

_text = st.one_of(st.text(max_size=60), st.text(SYNTAX, max_size=80), st.sampled_from(WORDS))
_trees = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), _text),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(st.sampled_from(AGENT_KEYS + WORDS), _text), inner, max_size=4)
    ),
    max_leaves=12,
)
_agents = st.dictionaries(st.sampled_from(AGENT_KEYS), _trees, max_size=5)
_bundles = st.dictionaries(st.sampled_from(BUNDLE_KEYS), _trees, max_size=5)

law = settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def tried(name: str, files: dict[str, bytes]) -> Bundle | DeclarationError:
    """What loading files gives; anything but a bundle or a DeclarationError, or too long a time, fails the test."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write(root, {})
        for path, data in files.items():
            (root / path).write_bytes(data)
        began = time.process_time()
        try:
            found: Bundle | DeclarationError = load_bundle(root / name, settings=[])
        except DeclarationError as error:
            found = error
        else:
            for agent in found.agents:
                origins(found, agent)
        assert time.process_time() - began < MAX_SECONDS
        assert isinstance(found, Bundle) or found.faults
        return found


def dumped(tree: Any) -> str:
    return str(yaml.safe_dump(tree, allow_unicode=True))


@law
@given(st.one_of(st.binary(max_size=200), _text.map(lambda text: text.encode("utf-8", "surrogatepass"))))
def test_any_bytes_give_a_bundle_or_faults(data: bytes) -> None:
    including = b"agents: {include: [x.md]}"
    tried("x.md", {"x.md": data})
    tried("x.yaml", {"x.yaml": data})
    tried("a.yaml", {"a.yaml": including, "x.md": b"---\n" + data + b"\n---\n" + data})


@law
@given(_agents, _text)
def test_any_tree_as_an_agent_gives_a_bundle_or_faults(tree: dict[str, Any], body: str) -> None:
    text = f"---\n{dumped(tree)}---\n{body}".encode("utf-8", "replace")
    found = tried("a.yaml", {"a.yaml": b"agents: {include: [x.md]}\ntiers: {strong: [p/m]}", "x.md": text})
    if isinstance(found, Bundle):
        assert len(found.agents) + len(found.broken) == 1


@law
@given(_bundles, _agents)
def test_any_tree_as_a_bundle_gives_a_bundle_or_faults(tree: dict[str, Any], patch: dict[str, Any]) -> None:
    tried("a.yaml", {"a.yaml": dumped(tree).encode(), "x.md": b"---\n---\n"})
    base = b"tiers: {strong: [p/m]}\nagents: {x: {description: d, tier: strong, tools: [a]}}"
    patched = dumped({"includes": ["./b.yaml"], **tree, "agents": {"x": patch}}).encode()
    tried("a.yaml", {"a.yaml": patched, "b.yaml": base})


_tools = st.lists(st.sampled_from(["read", "write", "shell", "mcp:m"]), unique=True, max_size=3)
_harmless = st.fixed_dictionaries(
    {},
    optional={
        "description": st.sampled_from(["one", "two"]),
        "limits": st.just({"max_turns": 3}),
        "config": st.sampled_from([{"temperature": 1}, {"tools_choice": "any"}, {"extra": {"tools": ["shell"]}}]),
        "aliases": st.just(["other"]),
        "provider_preferences": st.just(["p/m", "base"]),
        "output_schema": st.just({"tools": ["shell"]}),
    },
)


@law
@given(_tools, st.lists(_harmless, min_size=1, max_size=3), st.booleans())
def test_a_layer_that_says_nothing_of_tools_gives_none(tools: list[str], layers: list[dict[str, Any]], extends: bool) -> None:
    own = {"description": "d", "provider_preferences": ["p/a"], "tools": tools}
    files = {"b0.yaml": dumped({"agents": {"x": own}}).encode()}
    for index, patch in enumerate(layers, 1):
        agents = {"y": {"extends": "x", **patch}} if extends and index == len(layers) else {"x": patch}
        files[f"b{index}.yaml"] = dumped({"includes": [f"./b{index - 1}.yaml"], "agents": agents}).encode()
    found = tried(f"b{len(layers)}.yaml", files)
    assert isinstance(found, Bundle)
    for agent in found.agents.values():
        assert agent.tools == tuple(tools)


_PROTECTED = ("api_key", "API-Key", "x.api_key", "Headers", "base_url", "auth token", "password", "openai_api_key")


@law
@given(st.sampled_from(_PROTECTED), st.lists(st.sampled_from(["extra", 0]), max_size=4), st.integers(0, 6), st.booleans())
def test_a_secret_under_a_protected_key_is_in_no_message(key: str, path: list[str | int], place: int, as_list: bool) -> None:
    config: Any = {key: [SECRET] if as_list else SECRET}
    for step in path:
        config = {step: config} if step else [config]
    if isinstance(config, list):
        config = {"extra": config}
    pair = {"provider": "p", "model": "m", "config": config}
    agent = ({"config": config}, {"provider_preferences": [pair]}, {"content_fallback": [pair]})[place % 3]
    bundle = (
        {"agents": {"x": {"description": "d", **agent}}},
        {"tiers": {"t": [pair]}},
        {"roles": {"r": [pair]}},
        {"providers": {"p": {key: SECRET}}},
        {"agents": {"x": {"description": "d", key: SECRET}}},
        {key: SECRET},
        {"tests": [{"agent": "x", "preferences": [pair], "expect": {"provider": "p"}}]},
    )[place]
    found = tried("a.yaml", {"a.yaml": dumped(bundle).encode()})
    if place == 3 and key == "base_url":
        return
    assert isinstance(found, DeclarationError)
    assert SECRET not in f"{found}{found!r}{found.faults!r}"
    header = f"---\n{dumped(agent)}---\n".encode()
    broken = tried("a.yaml", {"a.yaml": b"agents: {include: [x.md]}", "x.md": header})
    assert isinstance(broken, Bundle)
    assert broken.broken["x"]
    assert SECRET not in f"{broken.problems!r}{broken!r}"


_FIELDS = {
    "description": "d",
    "aliases": ["z"],
    "tools": ["read"],
    "config": {"temperature": 1},
    "limits": {"max_turns": 2},
    "output_schema": {"type": "object"},
    "on_broken_stream": "continue",
    "inherit_context": {"depth": "all"},
    "content_fallback": ["q/n"],
    "provider_preferences": ["p/m"],
    "tier": "strong",
}


@law
@given(st.lists(st.sets(st.sampled_from(sorted(_FIELDS))), min_size=1, max_size=3))
def test_every_field_that_an_agent_has_has_an_origin(layers: list[set[str]]) -> None:
    files = {}
    for index, keys in enumerate(layers):
        agent = {key: _FIELDS[key] for key in sorted(keys)} | ({"description": "d"} if index == 0 else {})
        tree = {"agents": {"x": agent}, "tiers": {"strong": ["p/s"]}}
        files[f"b{index}.yaml"] = dumped(tree | ({"includes": [f"./b{index - 1}.yaml"]} if index else {})).encode()
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), {name: data.decode() for name, data in files.items()})
        bundle = load_bundle(Path(folder) / f"b{len(layers) - 1}.yaml", settings=[])
        in_force = {origin.field.partition(".")[0].partition("[")[0] for origin in origins(bundle, "x") if not origin.lost}
    agent_has = bundle.agent("x").model_dump(exclude_defaults=True).keys() - {"name", "bundle", "slot", "file", "form"}
    renamed = {"preferences": "provider_preferences"}
    assert {renamed.get(key, key) for key in agent_has} <= in_force


FAMILY = {
    "base.yaml": "tiers: {budget: [p/a], strong: [p/b, {tier: budget}]}\nagents: {include: ['agents/*.md']}\n",
    "one.yaml": "includes: [./base.yaml]\ntiers: {budget: [q/c, base]}\nagents: {a: {tier: strong}, d: ~}\n",
    "two.yaml": "includes: [./base.yaml]\nagents: {b: {limits: {max_turns: 3}}, e: {description: new, extends: a}}\n",
    "top.yaml": "includes: [./one.yaml, ./two.yaml]\nroles: {fast: [p/a], judge: [p/b]}\nvars: {x: 1, y: 2}\n",
    **{f"agents/{name}.md": f"---\naliases: [{name}{name}, same]\ntier: budget\ntools: [z, y]\n---\n{name}" for name in "abcd"},
}
DUMP = """
import sys
from bundle_loader.sources.load import load_bundle
bundle = load_bundle(sys.argv[1], settings=[])
print(bundle.model_dump_json(), [str(fault) for fault in bundle.problems], bundle.hash)
"""


def test_neither_the_hash_seed_nor_the_order_of_files_changes_a_bundle(tmp_path: Path) -> None:
    """The files lie in each folder in an order of their own, and each process has another seed."""
    names = sorted(FAMILY)
    found = set()
    for seed in ("0", "1", "4242"):
        random.Random(seed).shuffle(names)
        folder = tmp_path / seed
        folder.mkdir()
        write(folder, {name: FAMILY[name] for name in names})
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", DUMP, "top.yaml"]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder, env=environment, timeout=60)
        found.add(done.stdout)
    [text] = found
    assert "alias" in text
