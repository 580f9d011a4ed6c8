"""Why: origins through `extends` and `base`, the six who may decide, and the layers of a bundle."""

from __future__ import annotations

from functools import partial, reduce
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle_loader.cli.layers import flowchart, tree
from bundle_loader.declared.agent import IDENTITY_KEYS, SLOT_KEYS
from bundle_loader.declared.compose import compose
from bundle_loader.declared.fold import fold_agent
from bundle_loader.declared.frontmatter import read_document, read_yaml_document
from bundle_loader.declared.laid import overlaps
from bundle_loader.declared.layer import read_agent, read_layer
from bundle_loader.declared.tree import Mapping, Node, Sequence
from bundle_loader.errors import RequestError
from bundle_loader.routing.explain import origins, verdicts
from bundle_loader.routing.request import DecidedBy, make_request
from bundle_loader.routing.select import select
from bundle_loader.sources.load import load_bundle
from bundle_loader.sources.settings import find_settings
from tests.support.command import command
from tests.support.declared import load, refused, write

TIERS = "tiers: {t: [p/t], u: [p/u]}\n"


def rows(folder: Path, files: dict[str, str], agent: str = "x") -> list[str]:
    found = [str(origin) for origin in origins(load(folder, "a.yaml", files), agent)]
    return [row.replace(f"{folder.resolve()}/", "").replace(f"{folder}/", "") for row in found]


# --- origins


def test_fields_that_extends_brings_are_among_the_origins(tmp_path: Path) -> None:
    files = {
        "a.yaml": "includes: [./b.yaml]\nagents: {x: {config: {top_p: 1}}}\n",
        "b.yaml": TIERS + "agents: {include: ['*.md'], y: {tools: [two]}}",
        "x.md": "---\nname: x\nextends: y\nconfig: {temperature: 1}\n---\n{{ base }} and more\n",
        "y.md": "---\nname: y\nextends: z\ntools: [one]\nconfig: {temperature: 0, seed: 1}\naliases: [why]\n---\nwhy\n",
        "z.md": "---\ntier: t\ndescription: zed\n---\n",
    }
    assert rows(tmp_path, files) == [
        "tier = t  z.md:2 (bundle b, extending z)",
        "description = zed  z.md:3 (bundle b, extending z)",
        "tools = [two]  b.yaml:2 (bundle b, extending y)",
        "tools = [one]  y.md:4 (bundle b, extending y): lost to b.yaml:2 (bundle b)",
        "config.temperature = 1  x.md:4 (bundle b)",
        "config.temperature = 0  y.md:5 (bundle b, extending y): lost to x.md:4 (bundle b)",
        "config.seed = 1  y.md:5 (bundle b, extending y)",
        "config.top_p = 1  a.yaml:2 (bundle a)",
        "name = x  x.md:2 (bundle b)",
        "extends = y  x.md:3 (bundle b)",
        "instruction = {{ base }} and more  x.md:6 (bundle b)",
        "instruction = why  y.md:8 (bundle b, extending y)",
    ]


def test_a_file_that_extends_what_it_hides_inherits_and_replaces(tmp_path: Path) -> None:
    files = {
        "a.yaml": "includes: [./b.yaml]\nagents: {include: [mine/x.md]}\n",
        "b.yaml": "agents: {include: [x.md]}",
        "x.md": "---\ntools: [one]\nlimits: {max_turns: 3}\n---\ntheirs\n",
        "mine/x.md": "---\nextends: b:x\ntools: [two]\n---\nmine\n",
    }
    assert rows(tmp_path, files) == [
        "tools = [two]  mine/x.md:3 (bundle a)",
        "tools = [one]  x.md:2 (bundle b, extending b:x): lost to mine/x.md:3 (bundle a)",
        "limits.max_turns = 3  x.md:3 (bundle b, extending b:x)",
        "extends = b:x  mine/x.md:2 (bundle a)",
        "instruction = mine  mine/x.md:5 (bundle a)",
    ]
    assert rows(tmp_path, {}, "b:x") == [
        "tools = [one]  x.md:2 (bundle b)",
        "limits.max_turns = 3  x.md:3 (bundle b)",
        "instruction = theirs  x.md:5 (bundle b)",
    ]


def test_the_text_of_an_agent_that_was_replaced_is_lost(tmp_path: Path) -> None:
    files = {
        "a.yaml": "includes: [./b.yaml]\nagents: {include: [mine/x.md]}\n",
        "b.yaml": "agents: {include: [x.md]}",
        "x.md": "---\ntools: [one]\n---\ntheirs\n",
        "mine/x.md": "---\n---\nmine\n",
    }
    assert rows(tmp_path, files) == [
        "tools = [one]  x.md:2 (bundle b): lost to mine/x.md (bundle a)",
        "instruction = mine  mine/x.md:3 (bundle a)",
        "instruction = theirs  x.md:4 (bundle b): lost to mine/x.md (bundle a)",
    ]


def test_base_keeps_what_was_inherited(tmp_path: Path) -> None:
    files = {
        "a.yaml": "includes: [./b.yaml]\nagents:\n  x: {provider_preferences: [p/a, base], content_fallback: [base, p/f]}\n",
        "b.yaml": TIERS + "agents: {include: [x.md]}",
        "x.md": "---\nprovider_preferences: [p/x]\ntier: t\ncontent_fallback: [p/g]\n---\n",
    }
    assert rows(tmp_path, files) == [
        "provider_preferences = [p/a, base]  a.yaml:3 (bundle a)",
        "provider_preferences = [p/x]  x.md:2 (bundle b)",
        "tier = t  x.md:3 (bundle b): lost to a.yaml:3 (bundle a)",
        "content_fallback = [base, p/f]  a.yaml:3 (bundle a)",
        "content_fallback = [p/g]  x.md:4 (bundle b)",
    ]


@pytest.mark.parametrize("through", ["a patch", "extends"])
def test_base_stands_for_a_tier_that_was_redefined(tmp_path: Path, through: str) -> None:
    agents = "x: {provider_preferences: [p/a, base]}" if through == "a patch" else "include: [x.md]"
    files = {
        "a.yaml": f"includes: [./b.yaml]\ntiers: {{t: [p/new]}}\nagents:\n  {agents}\n",
        "b.yaml": TIERS + "agents: {include: [low/*.md]}",
        "low/y.md": "---\nprovider_preferences: [p/x]\ntier: t\n---\n",
        "x.md": "---\nextends: y\nprovider_preferences: [p/a, base]\n---\n",
    }
    if through == "a patch":
        files["low/x.md"] = files.pop("low/y.md")
        del files["x.md"]
    found = [row for row in rows(tmp_path, files) if row.startswith(("provider", "tier"))]
    assert "lost" not in found[0]
    assert found[1].endswith("lost to its tier t, which a.yaml:2 redefines")
    assert found[1].startswith("provider_preferences = [p/x]")
    assert found[2].startswith("tier = t  low/")
    assert "lost" not in found[2]


SLOTS = st.sampled_from(
    [
        "",
        "tier: t",
        "tier: ~",
        "provider_preferences: [p/m]",
        "provider_preferences: [p/m, base]",
        "provider_preferences: [base, p/m]\ntier: u",
        "provider_preferences: [p/m]\ntier: t",
        "provider_preferences: ~",
        "model_role: r",
    ]
)
CONFIGS = st.sampled_from(
    ["", "config: ~", "config: {a: 1}", "config: {a: ~, b: 2}", "config: {b: {c: 1}}", "config: {b: {d: [1]}}", "config: {b: 0}"]
)
WRITTEN = st.builds(lambda slot, config: "\n".join(text for text in (slot, config) if text), SLOTS, CONFIGS)


def files_in(node: Node) -> set[str]:
    if isinstance(node, Mapping):
        return {file for item in node.entries.values() for file in files_in(item)}
    if isinstance(node, Sequence):
        return {file for item in node.items for file in files_in(item)}
    return {node.file}


def leaves(node: Node, path: str) -> dict[str, set[str]]:
    if isinstance(node, Mapping) and node.entries:
        return {key: files for name, item in node.entries.items() for key, files in leaves(item, f"{path}.{name}").items()}
    return {path: files_in(node)}


@given(st.lists(WRITTEN, min_size=4, max_size=4))
def test_what_is_not_lost_is_exactly_what_composition_kept(written: list[str]) -> None:
    """An extended file, the file, and two patches: what stands comes from the same files as the folded values."""
    extended, own, *patches = written
    y = read_agent(read_document(f"---\n{extended}\n---\n", "y.md"))
    x = read_agent(read_document(f"---\nextends: y\n{own}\n---\n", "x.md"))
    layers = []
    for name, patch in (("b", patches[0]), ("a", patches[1])):
        inner = "\n".join(f"    {line}" for line in patch.splitlines())
        text = f"bundle: {{name: {name}}}\n" + (f"agents:\n  x:\n{inner}\n" if patch else "")
        layers.append(read_layer(read_yaml_document(TIERS + text, f"{name}.yaml")))
    layers[0].agent_files += [y, x]
    bundle = compose(layers)
    trees = [y.tree, x.tree, *(patch for layer in layers for patch in layer.patches.values() if isinstance(patch, Mapping))]
    fold = partial(fold_agent, follows_tier=bundle.follows_tier)
    folded = fold(trees[0], reduce(fold, trees[1:]))
    standing: dict[str, set[str]] = {}
    slot: set[str] = set()
    for origin in origins(bundle, "x"):
        if not origin.lost and origin.field.split(".")[0] not in IDENTITY_KEYS:
            if origin.field in SLOT_KEYS:
                slot.add(origin.file)
            else:
                standing.setdefault(origin.field, set()).add(origin.file)
    assert slot == {file for key in SLOT_KEYS if key in folded.entries for file in files_in(folded.entries[key])}
    assert standing == (leaves(folded.entries["config"], "config") if "config" in folded.entries else {})


# --- who decides

ORDER = """
bundle: {name: a}
tiers: {t: [p/t], u: [p/u]}
default: t
roles: {r: [p/r]}
profiles: {cost: {default: t}}
agents:
  lister: {description: x, provider_preferences: [p/l], tier: u}
  roled: {description: x, model_role: r, tier: u}
  unmet: {description: x, model_role: [q, s]}
  silent: {description: x}
"""


@pytest.mark.parametrize(
    ("agent", "asked", "expected"),
    [
        (
            "lister",
            {"parent": "p/m"},
            [
                "1 caller: said nothing: it gives no preferences, model, tier, role or profile",
                "2 step: said nothing: no recipe step asks",
                "3 pin: said nothing: no settings pin 'lister'",
                "4 agent: decides: lister, its own list, tier u (a.yaml:8)",
                "5 bundle: would say default tier t; agent (4) speaks first",
                "6 parent: would say inherits p/m; agent (4) speaks first",
            ],
        ),
        (
            "lister",
            {"tier": "t"},
            [
                "1 caller: decides: tier t",
                "2 step: said nothing: no recipe step asks",
                "3 pin: said nothing: no settings pin 'lister'",
                "4 agent: would say lister, its own list, tier u; caller (1) speaks first",
                "5 bundle: would say default tier t; caller (1) speaks first",
                "6 parent: said nothing: there is no parent to inherit from, and no settings give a default",
            ],
        ),
        ("roled", {}, ["4 agent: decides: roled, role r (a.yaml:9), which goes before its list and its tier"]),
        (
            "unmet",
            {"provider": "p", "stage": "planning"},
            [
                "1 caller: said nothing: it gives no preferences, model, tier, role or profile; "
                "a stage without a profile chooses nothing; its provider 'p' filters the list that wins",
                "4 agent: said nothing: it names only the role q or s, which no table in bundle 'a' has",
                "5 bundle: decides: default tier t",
            ],
        ),
        ("silent", {}, ["4 agent: said nothing: it has no model_role, provider_preferences or tier"]),
        (
            "self",
            {"parent": "p/m"},
            ["5 bundle: said nothing: the default tier t is not for 'self'", "6 parent: decides: inherits p/m"],
        ),
    ],
)
def test_each_of_the_six_says_why_it_does_or_does_not_decide(
    agent: str, asked: dict[str, Any], expected: list[str], tmp_path: Path
) -> None:
    bundle = load(tmp_path, "a.yaml", {"a.yaml": ORDER})
    request = make_request(bundle.agent(agent), **asked)
    found = verdicts(bundle, request)
    assert [verdict.number for verdict in found] == [1, 2, 3, 4, 5, 6]
    said = [str(verdict).replace(f"{tmp_path.resolve()}/", "") for verdict in found]
    assert [line for line in said if line in expected] == expected
    assert [verdict.by for verdict in found if verdict.decides] == [select(bundle, request).decided_by]


def test_nobody_may_decide_and_an_unknown_tier_is_an_error(tmp_path: Path) -> None:
    bundle = load(tmp_path, "a.yaml", {"a.yaml": "agents: {x: {description: x}}"})
    assert not any(verdict.decides for verdict in verdicts(bundle, make_request(bundle.agent("x"))))
    with pytest.raises(RequestError, match="no tier 'nope'"):
        verdicts(bundle, make_request(bundle.agent("x"), tier="nope"))


def test_why_an_agent_is_silent_or_follows_a_tier_names_the_place(tmp_path: Path) -> None:
    files = {
        "a.yaml": "includes: [./b.yaml]\ntiers:\n  t: [p/new]\nagents:\n  y:\n    tier: ~\n",
        "b.yaml": TIERS + "agents: {include: ['*.md']}",
        "x.md": "---\nprovider_preferences: [p/x]\ntier: t\n---\n",
        "y.md": "---\ntier: t\n---\n",
    }
    bundle = load(tmp_path, "a.yaml", files)
    reasons = []
    for name in ("x", "y"):
        [verdict] = [each for each in verdicts(bundle, make_request(bundle.agent(name))) if each.by is DecidedBy.AGENT]
        reasons.append(verdict.reason.replace(f"{tmp_path.resolve()}/", ""))
    assert reasons == [
        "x, tier t (x.md:3); its own list gives way, because a more derived bundle redefines the tier (a.yaml:3)",
        "said nothing: a.yaml:6 removes its tier",
    ]


# --- layers

DIAMOND = {
    "top.yaml": "includes: [./left.yaml, ./right.yaml, ./base.yaml]\nagents: {x: ~, z: {description: new}}\n",
    "left.yaml": "includes: [./base.yaml]\nagents: {x: {tools: [one]}}\n",
    "right.yaml": "includes: [./base.yaml]\ntiers: {t: [p/r]}\nagents: {x: {tools: [two]}}\n",
    "base.yaml": TIERS + "agents: {include: ['*.md']}",
    "x.md": "---\n---\n",
    "y.md": "---\n---\n",
}


def test_the_layers_of_a_diamond_as_a_tree(tmp_path: Path) -> None:
    bundle = load(tmp_path, "top.yaml", DIAMOND)
    assert [line.replace(f"{tmp_path.resolve()}/", "") for line in tree(bundle.laid)] == [
        "top  top.yaml  laid 4: 1 agent, 1 removal",
        "|-- left  left.yaml  laid 2: 1 patch",
        "|   `-- base  base.yaml  laid 1: 2 agents, 2 tiers",
        "|-- right  right.yaml  laid 3: 1 patch, 1 tier",
        "|   `-- base  (see above)",
        "`-- base  (see above)",
    ]
    assert [str(overlap) for overlap in overlaps(bundle.laid)] == [
        "agent x: top over right over left over base",
        "tier t: right over base",
    ]
    assert [layer.name for layer in bundle.laid] == list(bundle.layers)


def test_the_layers_as_a_flowchart(tmp_path: Path) -> None:
    chart = flowchart(load(tmp_path, "top.yaml", {**DIAMOND, "base.yaml": "bundle: {name: 'a \"b\" <c>'}\n"}).laid)
    assert chart.replace(f"{tmp_path.resolve()}/", "").splitlines() == [
        "flowchart TD",
        '  b4["top<br/>top.yaml<br/>laid 4: 1 agent, 1 removal"]',
        '  b3["right<br/>right.yaml<br/>laid 3: 1 patch, 1 tier"]',
        '  b2["left<br/>left.yaml<br/>laid 2: 1 agent"]',
        '  b1["a #34;b#34; #60;c#62;<br/>base.yaml<br/>laid 1: writes no agent and no tier"]',
        "  b4 -->|includes| b2",
        "  b4 -->|includes| b3",
        "  b4 -->|includes| b1",
        "  b3 -->|includes| b1",
        "  b2 -->|includes| b1",
    ]


def test_a_loop_is_still_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, "a.yaml", {"a.yaml": "includes: [./b.yaml]", "b.yaml": "includes: [./a.yaml]"})


# --- settings and context over the layers

SETTINGS = {
    "site/settings.yaml": "agents: {x: {tier: u, mandatory: true}, y: {model_role: [r, s]}}\ndefault: t\n",
    "home/settings.yaml": (
        "tiers: {t: [p/new, base], u: ~}\nprovider_order: [b, a]\nvars: {one: 1, two: ~}\n"
        "agents: {x: ~, y: {provider_preferences: [p/y]}}\n"
    ),
    "project/.bundle-loader/settings.yaml": "bundle: ../top.yaml\n",
}


def test_settings_are_layers_over_the_bundle(tmp_path: Path) -> None:
    write(tmp_path, {f"project/{name}": text for name, text in DIAMOND.items()}, mark=False)
    here = write(tmp_path, SETTINGS, mark=False) / "project"
    found = find_settings({"BUNDLE_LOADER_SITE": str(tmp_path / "site"), "BUNDLE_LOADER_HOME": str(tmp_path / "home")}, here)
    bundle = load_bundle(settings=found)
    assert [line.replace(f"{tmp_path.resolve()}/", "") for line in tree(bundle.laid)][:4] == [
        "user settings  home/settings.yaml  laid 7: tiers t, u removed; provider_order b, a; vars one, two removed; "
        "agents x without its pin, y to its own list",
        "project settings  .bundle-loader/settings.yaml  laid 6: bundle ../top.yaml",
        "organisation settings  site/settings.yaml  laid 5: agents x to tier u (mandatory), y to role r or s; default t",
        "top  project/top.yaml  laid 4: 1 agent, 1 removal",
    ]
    assert [layer.name for layer in bundle.laid[:4]] == list(bundle.layers)
    assert [str(overlap) for overlap in overlaps(bundle.laid)] == [
        "agent x: user settings over organisation settings over top over right over left over base",
        "agent y: user settings over organisation settings over base",
        "tier t: user settings over right over base",
        "tier u: user settings over base",
    ]
    chart = flowchart(bundle.laid).splitlines()
    assert chart[1].startswith('  b7[["user settings<br/>')
    assert chart[8:12] == [
        "  b7 -->|over| b6",
        "  b6 -->|over| b5",
        "  b5 -->|over| b4",
        "  b4 -->|includes| b2",
    ]


def test_the_command_shows_settings_and_context(tmp_path: Path) -> None:
    files = {
        "team.md": "---\nincludes: [./base.md]\ncontext: {include: [one.txt]}\n---\nOwn.\n@team:two.txt\n",
        "base.md": "---\ntiers: {t: [p/m]}\n---\nBase\n",
        "one.txt": "One",
        "two.txt": "x" * 1234,
        "data/settings.yaml": "provider_order: [b]\n",
    }
    write(tmp_path, files)
    ran = command("explain", "bundle", "./team.md", home=tmp_path, cwd=tmp_path)
    assert ran.out.splitlines() == [
        "user settings  data/settings.yaml  laid 3: provider_order b",
        "team  team.md  laid 2: writes no agent and no tier",
        "`-- base  base.md  laid 1: 1 tier",
        "laid in this order, each over those before: base, team, user settings",
        "context, 1,320 characters in front of the host's prompt:",
        "  text of base  base.md  4 characters",
        "  team:one.txt  one.txt  3 characters, named at team.md:3:21",
        "  text of team  team.md  18 characters",
        "  team:two.txt  two.txt  1,234 characters, named at team.md:6:1",
    ]
    told = command("explain", "bundle", "./team.md", "--json", "--mermaid", home=tmp_path, cwd=tmp_path).json
    assert told["layers"][2]["settings"] == "user"
    assert told["layers"][2]["sets"] == [{"key": "provider_order", "values": ["b"]}]
    assert told["context"]["characters"] == 1320
    assert [(part["name"], part["file"], part["characters"], part["named_at"]) for part in told["context"]["parts"]] == [
        ("", "base.md", 4, ""),
        ("team:one.txt", "one.txt", 3, "team.md:3:21"),
        ("", "team.md", 18, ""),
        ("team:two.txt", "two.txt", 1234, "team.md:6:1"),
    ]
    assert "  b3 -->|over| b2" in told["mermaid"].splitlines()
