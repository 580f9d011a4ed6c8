"""What `check` says of recipes beyond their form: names, patterns, who the provider is, and the recipes that they lead to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundle_loader.declared.frontmatter import read_yaml_document
from bundle_loader.declared.recipe_finish import read_recipe
from bundle_loader.errors import Fault
from bundle_loader.recipes.following import follow
from bundle_loader.recipes.lookup import Recipes
from bundle_loader.routing.catalogue import Catalogue, ModelInfo
from bundle_loader.routing.lint_branches import Names, provider_branches
from bundle_loader.routing.lint_recipes import lint_recipe
from tests.support.command import Ran, command
from tests.support.declared import load, said, write

HEAD = "name: {name}\ndescription: A recipe that is all right.\nversion: 1.0.0\ntags: [x]\n"
MODELS = {
    "anthropic": ["claude-haiku-4-5", "claude-haiku-5", "claude-haiku-5-5", "claude-opus-4-8"],
    "openai": ["gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-5.5", "text-embedding-3-small", "text-embedding-3", "text-davinci"],
    "ollama": ["llama3:8b", "nomic-embed-text:v1.5"],
}
CATALOGUES = {id: Catalogue(id, tuple(ModelInfo(name) for name in names)) for id, names in MODELS.items()}
PROVIDERS = {"anthropic": "anthropic", "openai": "openai", "google": "google", "gemini": "google", "ollama": "ollama"}
NAMES = Names(CATALOGUES, PROVIDERS)
CASES = yaml.safe_load((Path(__file__).with_name("cases") / "recipe_branches.yaml").read_text(encoding="utf-8"))


def branches(text: str) -> list[Fault]:
    """What is said of a recipe with these lines below its head, whose last line is line 4."""
    found = read_recipe(read_yaml_document(HEAD.format(name="case") + text, "r.yaml"))
    assert found.recipe is not None, [str(fault) for fault in found.faults]
    return provider_branches(found.recipe, NAMES)


@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in CASES])
def test_a_recipe_that_asks_who_the_provider_is(case: dict[str, Any]) -> None:
    assert set(case) == {"name", "recipe", "says"}, "a misspelt key would check nothing"
    told = [f"{fault.line}:{fault.column}: {fault.key}: {fault.message.split(';')[0]}" for fault in branches(case["recipe"])]
    assert told == [line.replace("for ", "does something else for ", 1) for line in case["says"]]


def test_the_shipped_recipes_and_the_forms_of_speedrift_ask_nobody() -> None:
    root = Path(__file__).parent
    files = [*root.parent.glob("bundles/recipes/*.yaml"), root / "data" / "speedrift-forms.yaml"]
    assert files
    for path in files:
        found = read_recipe(read_yaml_document(path.read_text(encoding="utf-8"), path.name))
        assert found.recipe is not None
        assert provider_branches(found.recipe, NAMES) == []


# --- patterns and names


def test_patterns_roles_and_stages_of_steps_are_held_against_the_bundle(tmp_path: Path) -> None:
    files = {
        "a.yaml": """tiers: {low: [anthropic/claude-haiku-*]}
roles: {fast: [anthropic/claude-haiku-*]}
profiles: {cost: {default: low, summary: low}}
recipes: {include: [r.yaml]}
""",
        "r.yaml": HEAD.format(name="one")
        + """stages:
  - name: look
    profile: csot
    steps:
      - id: first
        agent: self
        stage: sumary
        prompt: Look at all of it.
        provider_preferences:
          - {provider: anthropic, model: claude-haiku-*}
          - {provider: antropic, model: claude-haiku-*}
          - {provider: openai, model: gpt-9*}
          - {role: fst}
          - class: fast
          - "{{who}}/x"
      - {id: second, agent: self, prompt: Look at all of it., provider: openai, model: gpt-4o-mni, profile: "{{p}}"}
      - {id: third, agent: self, prompt: Look at all of it., provider: openia, model_role: [slow, "{{r}}"]}
context: {p: cost, r: x, who: openai}
""",
    }
    bundle = load(tmp_path, "a.yaml", files)
    recipe = bundle.recipe("one")
    found = [*(fault for fault in bundle.problems if fault.file.endswith("r.yaml"))]
    found += lint_recipe(bundle, recipe, CATALOGUES, PROVIDERS)
    assert sorted(line.removeprefix("warning ") for line in said(tmp_path, sorted(set(found)))) == sorted(
        [
            "r.yaml:9:9: first.stage: no profile of bundle 'a' has the stage 'sumary'; did you mean 'summary'?",
            "r.yaml:9:9: stages.look.profile: no profile 'csot' in bundle 'a'; did you mean 'cost'?",
            "r.yaml:15:13: first.provider_preferences[1]: no provider is called 'antropic'; did you mean 'anthropic'?",
            "r.yaml:16:13: first.provider_preferences[2]: openai: 'gpt-9*' matches none of 7 models",
            "r.yaml:17:13: first.provider_preferences[3]: no table of bundle 'a' has the role fst, "
            "so this element is passed over",
            "r.yaml:20:88: second.model: openai: 'gpt-4o-mni' is not among its 7 models; "
            "nearest are gpt-4o-mini, gpt-4o, gpt-4.1",
            "r.yaml:21:72: third.provider: no provider is called 'openia'; did you mean 'openai'?",
        ]
    )


# --- recipes that lead to recipes


def test_recipes_that_a_recipe_leads_to_are_followed(tmp_path: Path) -> None:
    files = {
        "a.yaml": "recipes: {include: ['r/*.yaml']}\n",
        "r/top.yaml": HEAD.format(name="top")
        + """context: {x: ""}
steps:
  - {id: there, recipe: ./below.yaml, context: {file: "{{x}}", deep: 1, model_profile: cost}}
  - {id: gone, recipe: parts/gone.yaml, condition: "{{x}}"}
  - {id: named, recipe: "a:below", context: {fil: 1}}
  - {id: made, recipe: "{{x}}.yaml"}
  - {id: faulty, recipe: ../other/bad.yaml}
  - {id: circle, recipe: below.yaml, context: {file: 1}}
""",
        "r/below.yaml": HEAD.format(name="below")
        + """context: {file: {type: text, required: true}, depth: 1}
steps:
  - {id: again, recipe: below.yaml, context: {file: x}, condition: "{{depth}} < 3"}
  - {id: back, recipe: top.yaml, context: {x: y}}
""",
        "other/bad.yaml": HEAD.format(name="bad") + "steps: [{id: x, bsh: ls}]\n",
    }
    bundle = load(tmp_path, "a.yaml", files)
    found = follow(bundle.recipe("top"), Recipes(bundle, tmp_path).find)
    assert {fault.rule for fault in found} == {"sub-recipe"}
    told = said(tmp_path, found)
    assert told[:2] == [
        "warning r/top.yaml:7:25: there.context.deep: recipe 'below' declares no variable 'deep'; did you mean 'depth'?",
        "warning r/below.yaml:8:24: back.recipe: leads back to itself without a condition (top -> below -> top), "
        "so it only ends at recursion.max_depth",
    ]
    assert "warning r/top.yaml:8:24: gone.recipe: no file 'parts/gone.yaml'" in told[2]
    assert told[3:5] == [
        "warning r/top.yaml:9:26: named.context.fil: recipe 'below' declares no variable 'fil'; did you mean 'file'?",
        "warning r/top.yaml:9:26: named.context: recipe 'below' needs 'file'; write it under 'context'",
    ]
    assert "faulty.recipe: '../other/bad.yaml' has faults of its own: " in told[5]
    assert "did you mean 'bash'?" in told[5]
    assert len(told) == 6


# --- the command


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Ran]:
    return lambda *arguments: command(*arguments, home=tmp_path, cwd=tmp_path)


def test_check_holds_a_recipe_file_against_the_bundle_that_would_run_it(run: Callable[..., Ran], tmp_path: Path) -> None:
    steps = """steps:
  - {id: look-at-it, agent: foundation:explroer, prompt: Look at all of it., tier: strnog, provider: antropic}
  - {id: lead-on, recipe: gone.yaml}
  - {id: ask-who, bash: 'if [ "$P" = ollama ]; then ls; fi'}
"""
    mine = "bundle: {name: mine}\ntiers: {t: [x/y]}\n"
    write(tmp_path, {"r.yaml": HEAD.format(name="one") + steps, "b.yaml": mine})
    own = run("check", "r.yaml")
    rules = [line.split("[")[-1].rstrip("]") for line in own.out.splitlines()[:-1]]
    assert rules == ["unknown-agent", "unknown-tier", "unknown-provider", "sub-recipe", "provider-branch"]
    assert "did you mean 'explorer'?" in own.out
    assert (own.code, own.out.splitlines()[-1]) == (1, "recipe one: 3 steps: 2 errors, 3 warnings, 0 notes")
    other = run("check", "r.yaml", "--bundle", "./b.yaml", "--json")
    assert (other.code, other.json["counts"]) == (1, {"error": 2, "warning": 3, "note": 0})
    assert any("no agent 'foundation:explroer' in bundle 'mine'" in fault["message"] for fault in other.json["faults"])
    missing = run("check", "r.yaml", "--bundle", "./none.yaml")
    assert missing.code == 1
    assert "none.yaml" in missing.out + missing.err


def test_a_bundles_recipes_are_checked_with_it(run: Callable[..., Ran], tmp_path: Path) -> None:
    steps = "steps:\n  - {id: ask-who, bash: ls, condition: \"{{who}} == 'anthropic'\"}\n  - {id: lead-on, recipe: gone.yaml}\n"
    recipe = HEAD.format(name="one") + 'context: {who: ""}\n' + steps
    write(tmp_path, {"b.yaml": "recipes: {include: [r.yaml]}\n", "r.yaml": recipe})
    ran = run("check", "--bundle", "./b.yaml")
    assert ran.code == 1
    assert "r.yaml:7:53: ask-who.condition: does something else for provider 'anthropic'" in ran.out
    assert "lead-on.recipe: no file 'gone.yaml'" in ran.out


def test_what_is_only_looked_at_in_a_usable_recipe_is_said(run: Callable[..., Ran], tmp_path: Path) -> None:
    write(
        tmp_path, {"r.yaml": HEAD.format(name="one") + "steps: [{id: a, agent: explroer, prompt: Look at all of it.}, {id: b}]\n"}
    )
    ran = run("check", "r.yaml")
    said = "recipe one: not usable, so its agents and models, and branches on a provider, are not looked at yet: 1 error"
    assert (ran.code, ran.out.splitlines()[-1].startswith(said)) == (1, True)
