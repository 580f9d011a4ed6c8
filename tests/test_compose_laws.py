"""The laws of laying bundles over one another: each once, after all that it includes, the same for every order and hash seed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle_loader.declared.bundle import Bundle
from bundle_loader.routing.explain import origins
from tests.support.declared import load, pairs, refused, write

COUNT = 6
GRAPHS = st.lists(
    st.lists(st.integers(min_value=1, max_value=COUNT - 1), max_size=3, unique=True), min_size=COUNT - 1, max_size=COUNT - 1
)
"""For each bundle but the last, which of those after it it includes: no loops, any number of diamonds."""


def graph_files(steps: list[list[int]]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Bundles n0 (the root) to n5 over a base that each of them reaches, and who includes whom."""
    edges: dict[str, list[str]] = {"base": []}
    files = {"base.yaml": "tiers: {t: [p/base]}\nvars: {last: base}\nagents: {x: {description: x, config: {base: 1}}}\n"}
    for index, forward in enumerate([*steps, []]):
        targets = [f"n{index + step}" for step in forward if index + step < COUNT]
        edges[f"n{index}"] = targets or ["base"]
        includes = ", ".join(f"./{name}.yaml" for name in edges[f"n{index}"])
        files[f"n{index}.yaml"] = (
            f"includes: [{includes}]\ntiers: {{t: [p/n{index}, base]}}\nvars: {{last: n{index}, n{index}: 1}}\n"
            f"agents: {{x: {{config: {{last: n{index}, n{index}: 1}}}}}}\n"
        )
    return files, edges


def below(edges: dict[str, list[str]], name: str) -> set[str]:
    return {name}.union(*(below(edges, target) for target in edges[name]))


@settings(max_examples=150)
@given(GRAPHS)
def test_each_bundle_is_laid_once_and_after_all_that_it_includes(steps: list[list[int]]) -> None:
    files, edges = graph_files(steps)
    with tempfile.TemporaryDirectory() as folder:
        bundle = load(Path(folder), "n0.yaml", files)
        laid = list(bundle.layers)
        assert sorted(laid) == sorted(below(edges, "n0")), "all that is reached, each once"
        for name in laid:
            assert all(laid.index(target) < laid.index(name) for target in edges[name])
        assert pairs(bundle.tiers["t"]) == [f"p/{name}" for name in reversed(laid)], "each spliced its list once"
        assert bundle.vars == {"last": "n0"} | {name: 1 for name in laid if name != "base"}
        assert bundle.agent("x").config == {"base": 1, "last": "n0"} | {name: 1 for name in laid if name != "base"}
        standing = {origin.field: origin.bundle for origin in origins(bundle, "x") if not origin.lost}
        assert standing == {"description": "base"} | {
            f"config.{key}": "n0" if key == "last" else key for key in bundle.agent("x").config
        }
        lost = [origin.bundle for origin in origins(bundle, "x") if origin.field == "config.last" and origin.lost]
        assert lost == [name for name in reversed(laid) if name not in ("n0", "base")], "each loser is kept"


def test_a_base_that_is_reached_along_every_way_undoes_nothing(tmp_path: Path) -> None:
    """The worst of graphs: everybody includes everybody after it, so the base is reached along 32 ways."""
    files, _ = graph_files([[1, 2, 3, 4, 5], [1, 2, 3, 4], [1, 2, 3], [1, 2], [1]])
    bundle = load(tmp_path, "n0.yaml", files)
    assert bundle.layers == ("base", "n5", "n4", "n3", "n2", "n1", "n0")


TABLES = {
    "tiers": {"t": "[p/t, base]", "u": "[p/u]", "v": "[{tier: u}, p/v]"},
    "roles": {"fast": "u", "slow": "[p/s]"},
    "profiles": {"cost": "{default: u, planning: t}", "local": "{default: [p/l]}"},
    "vars": {"a": "1", "b": "{c: 2, d: ~}", "e": "[{id: x, v: 1}]"},
    "agents": {
        "one": "{description: d, aliases: [same, first], tier: t}",
        "two": "{description: d, aliases: [same], extends: one}",
        "three": "{description: d, aliases: [two], extends: two, provider_preferences: [base, p/three]}",
        "low": "{tier: t, limits: {max_turns: 2}}",
        "gone": "~",
        "helper": "{tools: [x]}",
    },
}
BASE = "tiers: {t: [p/base]}\nagents: {low: {description: d}, gone: {description: g}}\nvars: {b: {d: 1}}\n"


def shuffled(seed: int) -> str:
    """One header, its keys in an order of their own at every level."""
    chosen = random.Random(seed)
    tables = [*TABLES, "default", "tier_order"]
    chosen.shuffle(tables)
    lines = ["includes: [./base.yaml]"]
    for table in tables:
        if table in TABLES:
            rows = list(TABLES[table].items())
            chosen.shuffle(rows)
            lines += [f"{table}:", *(f"  {key}: {value}" for key, value in rows)]
        else:
            lines.append("default: u" if table == "default" else "tier_order: [u, t, v]")
    return "\n".join(lines) + "\n"


def told(bundle: Bundle) -> tuple[object, ...]:
    """All that a bundle says, but for lines."""
    problems = sorted((fault.key, fault.message, fault.level) for fault in bundle.problems)
    reached = {name: bundle.agent(name).name for name in ("same", "first", "two", "three")}
    return bundle.hash, problems, reached


@given(st.integers(min_value=0, max_value=10**6))
def test_the_order_of_keys_changes_nothing(seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        plain = load(path, "a.yaml", {"base.yaml": BASE, "a.yaml": shuffled(0)})
        other = load(path, "a.yaml", {"a.yaml": shuffled(seed)})
        assert other == plain
        assert told(other) == told(plain)


def test_files_are_taken_in_the_order_of_their_names_whatever_order_the_disk_gives(tmp_path: Path) -> None:
    names = [f"{letter}{number}" for letter in "qazwsx" for number in range(9, 0, -1)]
    files = {f"agents/{name}.md": "---\naliases: [same]\n---\n" for name in names}
    files |= {f"agents/{name}/twin.md": "---\nname: twin\n---\n" for name in ("zz", "mm", "aa")}
    bundle = load(tmp_path, "a.yaml", {"a.yaml": "agents: {include: ['agents/**/*.md']}", **files})
    assert list(bundle.agents) == list(dict.fromkeys(Path(file).stem for file in sorted(files)))
    assert bundle.agent("twin").file.endswith("aa/twin.md")
    assert bundle.agent("same").name == "a1"


LOADING = """
import sys
from bundle_loader.declared.laid import overlaps
from bundle_loader.routing.explain import origins
from bundle_loader.sources.load import load_bundle
from bundle_loader.errors import DeclarationError
for name in sys.argv[1:]:
    try:
        bundle = load_bundle(name)
    except DeclarationError as error:
        print(error)
        continue
    print(bundle.hash, list(bundle.agents), list(bundle.tiers), bundle.laid, overlaps(bundle.laid))
    print(*bundle.problems, sep="\\n")
    for agent in [*bundle.agents, *bundle.hidden]:
        print(agent, *origins(bundle, agent), sep="\\n")
"""


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_hash_seed_changes_nothing(seed: int, tmp_path: Path) -> None:
    """Same files, other processes: values, faults with their hints, origins and their order."""
    files = {
        "good.yaml": shuffled(3) + "context: {include: ['docs/*.md']}\n",
        "base.yaml": BASE,
        "files.yaml": "includes: [./good.yaml, ./mine/base.yaml, ./more.yaml]\nagents: {include: ['agents/*.md'], lowe: ~}\n",
        "more.yaml": "tiers: {t: [p/more]}\nagents: {low: {tools: [a, b]}}\n",
        "mine/base.yaml": BASE,
        "bad.yaml": "includes: [./nope.yaml, 'no:x.yaml', fundation]\ntiers: {x: [{tier: y}], y: [{tier: x}]}\nteirs: 1\n",
        "twins.yaml": "includes: [./base.yaml, ./mine/base.yaml]\n",
    }
    files |= {f"agents/{name}.md": "---\naliases: [same]\nextends: low\n---\n{{ base }}" for name in ("low", "two", "q", "k")}
    files |= {f"docs/{name}.md": name for name in "zyxabc"}
    write(tmp_path, files)

    def run(value: int) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": str(value)}
        names = ["good.yaml", "files.yaml", "bad.yaml", "twins.yaml", "foundation", "dev"]
        return subprocess.run(
            [sys.executable, "-c", LOADING, *names], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        ).stdout

    first = run(0)
    assert "two bundles are named 'base'" in first
    assert "did you mean" in first
    assert run(seed) == first


@pytest.mark.parametrize("turned", [False, True])
def test_chains_without_end_are_refused_in_either_order(turned: bool, tmp_path: Path) -> None:
    """A thousand links, and some links more than the limit; who is finished first does not matter."""
    for count in (130, 1000):
        folder = tmp_path / str(count)
        folder.mkdir()
        name = [f"x{count - index if turned else index:04}" for index in range(count + 1)]
        tiers = [f"  {one}: [{{tier: {other}}}]" for one, other in pairwise(name)] + [f"  {name[-1]}: [p/m]"]
        text = "\n".join(["tiers:", *(reversed(tiers) if turned else tiers)])
        faults = refused(folder, "tiers.yaml", {"tiers.yaml": text})
        assert "tiers lead on more than 100 deep" in faults[0]
        agents = {f"{one}.md": f"---\nextends: {other}\n---\n" for one, other in pairwise(name)}
        bundle = load(folder, "a.yaml", {"a.yaml": "agents: {include: ['*.md']}", f"{name[-1]}.md": "---\n---\n", **agents})
        assert sorted(bundle.agents) == sorted(name[-101:])
        assert "leads on more than 100 agents deep" in str(bundle.problems[0])
        loop = {f"{name[-1]}.md": f"---\nextends: {name[0]}\n---\n"}
        assert not load(folder, "a.yaml", loop).agents
        chain = {f"{one}.yaml": f"includes: [./{other}.yaml]" for one, other in pairwise(name)}
        [fault] = refused(folder, f"{name[0]}.yaml", {**chain, f"{name[-1]}.yaml": ""})
        assert fault.endswith("bundles include more than 100 deep")
        assert len(load(folder, f"{name[-91]}.yaml").layers) == 91


def test_base_twice_in_many_layers_is_refused_in_no_time(tmp_path: Path) -> None:
    files = {f"n{index}.yaml": f"includes: [./n{index + 1}.yaml]\ntiers: {{t: [base, base]}}\n" for index in range(80)}
    [fault] = refused(tmp_path, "n0.yaml", {**files, "n80.yaml": "tiers: {t: [p/m]}"})
    assert "comes to more than 1000 preferences" in fault
