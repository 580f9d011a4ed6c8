"""The agents and bundles that are shipped: whole, without faults, on the tiers that they promise."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from bundle_loader.cli.check import provider_names, shipped_catalogues
from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.frontmatter import read_document
from bundle_loader.declared.layer import read_agent
from bundle_loader.declared.preference import Preference
from bundle_loader.declared.schema import recipe_schema
from bundle_loader.delegation.instruction import ALWAYS, render, variables_of
from bundle_loader.delegation.template_faults import template_faults
from bundle_loader.providers.live import aliases
from bundle_loader.providers.snapshot import snapshot_models, verify_catalogue
from bundle_loader.routing.candidate import Route
from bundle_loader.routing.catalogue import Catalogue
from bundle_loader.routing.lint import lint, without_preferences
from bundle_loader.routing.model_names import newest_models
from bundle_loader.routing.offer import Offer, Offers
from bundle_loader.routing.request import make_request
from bundle_loader.routing.resolve import Resolver
from bundle_loader.routing.route import route
from bundle_loader.sources.files import shipped_folder
from bundle_loader.sources.load import load_bundle
from bundle_loader.sources.recipes import check_recipe
from tests.support.declared import load, pairs

ROOT = Path(__file__).resolve().parent.parent
TIERS = {
    "budget": ["git-ops", "file-ops", "smoke-test", "post-task-cleanup"],
    "strong": [
        "explorer", "ecosystem-expert", "foundation-expert", "session-analyst", "web-research", "integration-specialist",
        "test-coverage", "security-guardian",
    ],
    "strong-code": ["bug-hunter", "modular-builder"],
    "frontier": ["zen-architect"],
}  # fmt: skip
CHAIN = ["anthropic", "openai", "google", "github-copilot"]


@pytest.fixture(scope="module")
def foundation() -> Bundle:
    return load_bundle("foundation", strict=True)


@pytest.fixture(scope="module")
def resolver() -> Resolver:
    return Resolver()


def offers(*without: str) -> Offers:
    """The shipped lists of the four providers; github-copilot's is played from Anthropic's where none is shipped."""
    found = {}
    for id in CHAIN:
        models = snapshot_models(id)
        assert models, id
        reason = "down" if id in without else None
        found[id] = Offer(id, None if reason else Catalogue(id, models, version=1), reason)
    return Offers(found, aliases())


def routed(bundle: Bundle, name: str, resolver: Resolver, *, parent: str = "anthropic/claude-opus-4-6") -> Route:
    return route(bundle, make_request(bundle.agent(name), parent=parent), offers(), resolver)


@pytest.mark.requirement("AGT-6")
def test_there_are_four_tiers_and_every_agent_is_on_one(foundation: Bundle) -> None:
    assert foundation.tier_order == ("budget", "strong", "strong-code", "frontier")
    assert set(foundation.tiers) == set(foundation.tier_order)
    for agent in foundation.agents.values():
        if agent.name == "self":
            assert (agent.slot, agent.tier) == (None, None)
        else:
            assert agent.tier in foundation.tiers
            # the list that a file holds is its tier's, so that the label is true wherever the file goes
            assert agent.preferences == foundation.tiers[agent.tier]


@pytest.mark.parametrize(
    ("tier", "chain"),
    [
        pytest.param("budget", ["claude-haiku-*", "gpt-4o-mini"], marks=pytest.mark.requirement("AGT-7")),
        pytest.param("strong", ["claude-sonnet-*", "gpt-5.[0-9]"], marks=pytest.mark.requirement("AGT-8")),
        pytest.param("frontier", ["claude-opus-*", "gpt-5-opus-*"], marks=pytest.mark.requirement("AGT-10")),
    ],
)
def test_the_agents_and_the_chain_of_a_tier(foundation: Bundle, tier: str, chain: list[str]) -> None:
    check_tier(foundation, tier, chain)


def check_tier(foundation: Bundle, tier: str, chain: list[str]) -> None:
    for name in TIERS[tier]:
        agent = foundation.agent(name)
        assert agent.tier == tier
        assert patterns(agent.preferences, chain) == chain
    assert patterns(foundation.tiers[tier], chain) == chain
    others = {agent.name for agent in foundation.agents.values() if agent.tier == tier} - set(TIERS[tier])
    assert others <= {"shell-exec"}


def patterns(preferences: Sequence[Preference], chain: list[str]) -> list[str]:
    """Those of the chain's patterns that a list has, each once, in the list's order."""
    return [model for model in dict.fromkeys(item.model for item in preferences) if model in chain]


@pytest.mark.requirement("AGT-9")
def test_strong_code_is_configured_apart_from_strong(foundation: Bundle, tmp_path: Path) -> None:
    check_tier(foundation, "strong-code", ["claude-sonnet-*", "gpt-5.[0-9]"])
    text = "includes: [foundation]\ntiers: {strong-code: [anthropic/claude-opus-*]}\n"
    derived = load(tmp_path, "mine.yaml", {"mine.yaml": text}, strict=True)
    assert derived.tiers["strong"] == foundation.tiers["strong"]
    assert pairs(derived.tiers["strong-code"]) == ["anthropic/claude-opus-*"]
    for name in TIERS["strong-code"]:
        found = route(derived, make_request(derived.agent(name)), offers(), Resolver())
        assert [candidate.model for candidate in found.candidates] == [newest("anthropic", "claude-opus-*")]
    for name in TIERS["strong"]:
        before = route(foundation, make_request(foundation.agent(name)), offers(), Resolver())
        after = route(derived, make_request(derived.agent(name)), offers(), Resolver())
        assert [str(candidate) for candidate in after.candidates] == [str(candidate) for candidate in before.candidates]


def newest(provider: str, pattern: str) -> str:
    return newest_models(pattern, snapshot_models(provider), provider=provider)[0].id


@pytest.mark.requirement("AGT-15", "AGT-35")
def test_every_file_holds_its_list_and_a_lint_names_those_without(foundation: Bundle, tmp_path: Path) -> None:
    files = sorted((shipped_folder() / "agents").glob("*.md"))
    with_list = []
    for path in files:
        found = read_agent(read_document(path.read_text(encoding="utf-8"), path.name))
        assert found.faults == []
        assert found.written is not None
        written = found.written.provider_preferences
        if written is not None:
            with_list.append(found.name)
            assert all(item.provider and item.model for item in written)
            assert found.written.tier is not None
            assert tuple((i.provider, i.model) for i in written) == tuple(
                (i.provider, i.model) for i in foundation.tiers[found.written.tier]
            )
    assert len(with_list) >= 16
    assert {path.stem for path in files} - set(with_list) == {"self"}
    assert {name for names in TIERS.values() for name in names} <= set(with_list)
    assert without_preferences(foundation) == ["self"]
    text = {"t.yaml": "includes: [foundation]\nagents: {include: [quiet.md]}\n", "quiet.md": "---\nname: quiet\n---\n"}
    bundle = load(tmp_path, "t.yaml", text)
    assert without_preferences(bundle) == ["quiet", "self"]
    notes = [str(fault) for fault in lint(bundle, shipped_catalogues(), provider_names()) if "quiet" in fault.message]
    assert notes == [
        f"{bundle.agent('quiet').file}:1:1: provider_preferences: agent 'quiet' has no preferences and inherits the model of"
        " whoever delegates"
    ]


@pytest.mark.requirement("AGT-26")
def test_every_tier_has_the_whole_chain_in_order(foundation: Bundle, resolver: Resolver) -> None:
    for tier, preferences in foundation.tiers.items():
        assert list(dict.fromkeys(item.provider for item in preferences)) == CHAIN
        positions = [CHAIN.index(item.provider) for item in preferences]
        assert positions == sorted(positions)
        found = route(foundation, make_request(foundation.agent("explorer"), tier=tier), offers(), resolver)
        assert list(dict.fromkeys(candidate.provider for candidate in found.candidates)) == CHAIN


@pytest.mark.requirement("AGT-3")
def test_simple_work_never_starts_on_a_frontier_model(foundation: Bundle, resolver: Resolver) -> None:
    dear = {item.model for name in ("frontier", "strong", "strong-code") for item in foundation.tiers[name]}
    frontier = {candidate.model for candidate in routed(foundation, "zen-architect", resolver).candidates}
    for name in ("git-ops", "file-ops", "shell-exec"):
        for parent in ("anthropic/claude-opus-4-6", "openai/gpt-5.2-pro", "google/gemini-3-pro-preview"):
            found = routed(foundation, name, resolver, parent=parent)
            assert found.candidates
            assert [candidate.provider for candidate in found.candidates] == CHAIN
            for candidate in found.candidates:
                assert candidate.model not in frontier
                assert "opus" not in candidate.model
        assert not dear & {item.model for item in foundation.agent(name).preferences}


@pytest.mark.requirement("AGT-11")
def test_a_pattern_that_matches_nothing_is_skipped_with_a_reason_and_reported(
    foundation: Bundle, resolver: Resolver, tmp_path: Path
) -> None:
    found = routed(foundation, "zen-architect", resolver)
    [rejection] = [item for item in found.rejections if item.model == "gpt-5-opus-*"]
    assert rejection.reason == f"'gpt-5-opus-*' matches none of {len(snapshot_models('openai'))} models"
    assert [candidate.provider for candidate in found.candidates] == CHAIN
    reported = {
        (Path(fault.file).name, fault.line, fault.key, fault.level)
        for fault in lint(foundation, shipped_catalogues(), provider_names())
        if "'gpt-5-opus-*'" in fault.message
    }
    agent = (shipped_folder() / "agents" / "zen-architect.md").read_text(encoding="utf-8").splitlines()
    tier = (shipped_folder() / "bundles" / "foundation.md").read_text(encoding="utf-8").splitlines()
    assert reported == {
        ("zen-architect.md", line_of(agent, "gpt-5-opus-*"), "provider_preferences[1]", "note"),
        ("foundation.md", line_of(tier, "gpt-5-opus-*"), "tiers.frontier[1]", "note"),
    }
    text = "agents: {include: [x.md]}"
    agent_text = "---\nprovider_preferences:\n  - {provider: openai, model: gpt-5-opus-*}\n  - openai/gpt-4o-mini\n---\n"
    bundle = load(tmp_path, "t.yaml", {"t.yaml": text, "x.md": agent_text}, strict=True)
    [warning] = lint(bundle, shipped_catalogues(), provider_names())
    assert (warning.line, warning.column, warning.key, warning.level) == (3, 5, "provider_preferences[0]", "warning")
    assert "'gpt-5-opus-*' matches none" in warning.message
    assert [str(candidate) for candidate in routed(bundle, "x", resolver).candidates] == ["openai/gpt-4o-mini"]


def line_of(lines: list[str], text: str) -> int:
    [number] = [number for number, line in enumerate(lines, 1) if text in line]
    return number


@pytest.mark.parametrize("name", sorted(path.name for path in (shipped_folder() / "bundles").glob("*.md")))
def test_a_shipped_bundle_has_no_fault_and_no_warning(name: str) -> None:
    bundle = load_bundle(shipped_folder() / "bundles" / name, strict=True)
    assert bundle.problems == ()
    assert bundle.broken == {}
    worth = [fault for fault in lint(bundle, shipped_catalogues(), provider_names()) if fault.level != "note"]
    assert worth == []
    assert bundle.context
    assert bundle.version
    assert bundle.description


@pytest.mark.parametrize("path", sorted((shipped_folder() / "bundles" / "recipes").iterdir()), ids=lambda path: path.stem)
def test_a_shipped_recipe_is_whole(path: Path, foundation: Bundle) -> None:
    assert path.read_text(encoding="utf-8").startswith(
        "# yaml-language-server: $schema=../../bundle_loader/declared/schemas/recipe.json\n"
    )
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert list(Draft202012Validator(recipe_schema()).iter_errors(values)) == []
    recipe = foundation.recipe(path.stem)
    assert Path(recipe.file).resolve() == path
    assert [fault for fault in check_recipe(path).faults if fault.level != "note"] == []
    assert recipe.description
    assert recipe.version
    assert all(step.description for step in recipe.walk())
    assert all(variable.description for variable in recipe.variables.values())
    assert "provider" not in path.read_text(encoding="utf-8"), "PRO-26: nothing hangs on who answers"


@pytest.mark.parametrize("path", sorted((shipped_folder() / "agents").glob("*.md")), ids=lambda path: path.stem)
def test_a_shipped_agent_is_whole_and_renders(path: Path) -> None:
    [agent] = load_bundle(path, strict=True).agents.values()
    assert agent.name == path.stem
    assert agent.description
    assert len(agent.description) < 400
    assert len(agent.instruction) > 500, "an agent is told what to do"
    assert agent.limits.max_turns is not None
    assert template_faults(agent) == []
    assert variables_of(agent) <= set(ALWAYS)
    text = render(agent, {"workdir": "/w", "date": "2026-01-01", "agent": agent.name})
    assert "{{" not in text
    assert agent.name in text


def test_every_agent_is_in_the_table_that_the_host_shows(foundation: Bundle) -> None:
    for name in foundation.agents:
        assert f"| {name} |" in foundation.context


def test_the_agents_of_the_recorded_day_are_there(foundation: Bundle) -> None:
    for expected in verify_catalogue().expected:
        agent = foundation.agent(expected.agent)
        assert (agent.tier or "").casefold() == (expected.tier or "").casefold()
    assert foundation.agent("amplifier-smoke-test").name == "smoke-test"


def models(found: Route) -> list[str]:
    return [str(candidate) for candidate in found.candidates]


def test_dev_changes_what_it_says_and_nothing_else(foundation: Bundle, resolver: Resolver) -> None:
    dev = load_bundle("dev", strict=True)
    assert dev.agent("explorer").slot == "tier"
    assert models(routed(dev, "explorer", resolver)) == models(routed(foundation, "git-ops", resolver))
    assert models(routed(dev, "explorer", resolver)) != models(routed(foundation, "explorer", resolver))
    assert pairs(dev.tiers["strong-code"]) == ["anthropic/claude-opus-*", *pairs(foundation.tiers["strong-code"])]
    assert [dev.agent(name).slot for name in TIERS["strong-code"]] == ["tier", "tier"]
    changed = {name for name in foundation.agents if dev.agent(name) != foundation.agent(name)}
    assert changed == {"explorer", "web-research", *TIERS["strong-code"]}
    assert dev.agent("web-research").limits.timeout == foundation.agent("web-research").limits.timeout
    assert dev.context.startswith(foundation.context)


def test_a_bundle_is_plain_data(foundation: Bundle) -> None:
    dumped = json.loads(json.dumps(foundation.model_dump(mode="json")))
    assert Bundle.model_validate(dumped) == foundation
    assert set(dumped["agents"]) == set(foundation.agents)
    assert dumped["agents"]["git-ops"]["preferences"][0] == {
        "provider": "anthropic",
        "model": "claude-haiku-*",
        "config": {},
        "optional": False,
    }
    assert "_problems" not in dumped
    assert foundation.hash == load_bundle("foundation").hash != load_bundle("dev").hash


def test_the_source_tree_is_the_shipped_folder() -> None:
    folder = shipped_folder()
    assert (folder / "bundles" / "foundation.md").is_file()
    assert (folder / "agents" / "git-ops.md").is_file()
    if (ROOT / "pyproject.toml").is_file() and not (ROOT / "bundle_loader" / "shipped").exists():
        assert folder == ROOT


def test_a_wheel_carries_the_shipped_folder_inside_the_package(tmp_path: Path) -> None:
    package = tmp_path / "site" / "bundle_loader"
    shutil.copytree(ROOT / "bundle_loader", package, ignore=shutil.ignore_patterns("__pycache__", "shipped"))
    for part in ("agents", "bundles"):
        shutil.copytree(shipped_folder() / part, package / "shipped" / part)
    program = (
        "import bundle_loader, sys; from bundle_loader.sources.files import shipped_folder; b = bundle_loader.load_bundle('dev');"
        "print(bundle_loader.__file__, shipped_folder(), len(b.agents), b.problems, sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [str(package / "__init__.py"), str(package / "shipped"), "17", "()"]


@pytest.mark.requirement("AGT-32", "AGT-33")
def test_a_derived_bundle_inherits_all_agents_and_their_preferences(foundation: Bundle, tmp_path: Path) -> None:
    files = {
        "one.md": "---\nincludes: [foundation]\n---\n",
        "two.yaml": "includes: [./one.md]\nagents: {include: [own.md], git-ops: {description: ours}}\n",
        "own.md": "---\nprovider_preferences: [p/m]\n---\n",
    }
    one = load(tmp_path, "one.md", files, strict=True)
    assert one.agents == foundation.agents
    assert one.tiers == foundation.tiers
    two = load(tmp_path, "two.yaml", strict=True)
    assert two.layers == ("foundation", "one", "two")
    assert set(two.agents) == {*foundation.agents, "own"}
    for name, agent in foundation.agents.items():
        assert (two.agent(name).preferences, two.agent(name).slot) == (agent.preferences, agent.slot)
    assert two.agent("git-ops").description == "ours"
    assert sorted(path.name for path in tmp_path.rglob("*.md")) == ["one.md", "own.md"], "nothing was copied"
