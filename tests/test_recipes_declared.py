"""Recipes as declared: case files of forms and faults, the forms of others, bundles that bring recipes, and laws."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from bundle_loader.declared.frontmatter import read_yaml_document
from bundle_loader.declared.recipe import Recipe
from bundle_loader.declared.recipe_condition import Comparison, Text, Variable, parse_condition
from bundle_loader.declared.recipe_finish import RecipeFile, read_recipe
from bundle_loader.declared.recipe_written import WrittenRecipe, WrittenStage, WrittenStep, keys_of
from bundle_loader.declared.schema import recipe_schema
from bundle_loader.errors import DeclarationError, RequestError
from bundle_loader.sources.load import load_bundle
from bundle_loader.sources.recipes import load_recipe
from tests.support.command import Ran, command
from tests.support.declared import load, refused, said, write

FOLDER = Path(__file__).with_name("cases") / "recipes"
OURS = Path(__file__).with_name("data") / "speedrift-forms.yaml"
PUBLIC = Path(__file__).resolve().parents[2] / "shared" / "recipes" / "public"
HEAD = "name: case\ndescription: A recipe of a case file.\nversion: 1.0.0\ntags: [case]\n"
KEYS = {"name", "recipe", "says", "steps", "order", "variables", "extra", "recursion", "stages"}
CASES = [
    pytest.param(case, id=f"{path.stem}: {case['name']}")
    for path in sorted(FOLDER.glob("*.yaml"))
    for case in yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
]
SOUND = "name: {name}\ndescription: A recipe that is all right.\nversion: 1.0.0\ntags: [x]\nsteps:\n"


def read(text: str, file: str = "r.yaml") -> RecipeFile:
    return read_recipe(read_yaml_document(text, file))


def told(found: RecipeFile) -> list[str]:
    """Faults as the case files write them: `line:column: [level ]key: message`."""
    lines = []
    for fault in found.faults:
        level = "" if fault.level == "error" else f"{fault.level} "
        what = f"{fault.key}: {fault.message}" if fault.key else fault.message
        lines.append(f"{fault.line}:{fault.column}: {level}{what}")
    return lines


def within(found: Any, wanted: Any) -> Any:
    """As much of a value as is asked after."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return {key: within(found[key], value) for key, value in wanted.items()}
    if isinstance(wanted, list) and isinstance(found, (list, tuple)) and len(wanted) == len(found):
        return [within(one, value) for one, value in zip(found, wanted, strict=True)]
    return found


@pytest.mark.parametrize("case", CASES)
def test_case(case: dict[str, Any]) -> None:
    assert set(case) <= KEYS, "a misspelt key would check nothing"
    found = read(HEAD + case["recipe"])
    assert told(found) == case.get("says", [])
    broken = any(fault.level == "error" for fault in found.faults)
    assert (found.recipe is None) == broken
    if found.recipe is None:
        return
    assert not list(Draft202012Validator(recipe_schema()).iter_errors(yaml.safe_load(HEAD + case["recipe"])))
    dumped = {step.id: step.model_dump(mode="json") for step in found.recipe.walk()}
    for name, wanted in case.get("steps", {}).items():
        assert within(dumped[name], wanted) == wanted
    assert list(dumped) == case.get("order", list(dumped))
    variables = {name: variable.model_dump(mode="json") for name, variable in found.recipe.variables.items()}
    assert within(variables, case.get("variables", {})) == case.get("variables", {})
    wanted = {key: case[key] for key in ("extra", "recursion", "stages") if key in case}
    assert within(found.recipe.model_dump(), wanted) == wanted


def test_there_are_cases() -> None:
    assert len(CASES) >= 20


# --- whole files


def test_the_forms_of_speedrift_load_and_fit_the_schema() -> None:
    recipe = load_recipe(OURS)
    assert [(stage.name, [step.id for step in stage.steps]) for stage in recipe.stages] == [
        ("select", ["pick", "route"]),
        ("work", ["gates", "summary-cost", "summary-local", "finish"]),
    ]
    cost = next(step for step in recipe.steps if step.id == "summary-cost")
    assert cost.action.kind == "agent"
    assert [str(preference) for preference in cost.action.preferences] == [
        "anthropic/claude-haiku-*",
        "gemini/gemini-3.1-pro-preview-customtools*",
        "openai/gpt-4o-mini",
    ]
    assert parse_condition(cost.condition or "") == Comparison("==", Variable(("gates", "run_cost")), Text("true", True))
    assert recipe.place("finish")[1] == 62
    written = yaml.safe_load(OURS.read_text(encoding="utf-8"))
    assert not list(Draft202012Validator(recipe_schema()).iter_errors(written))


def public(name: str) -> Path:
    path = PUBLIC / name
    if not path.is_file():
        pytest.skip(f"the public recipes are not on this machine: {path}")
    return path


def test_public_recipes_load_and_fit_the_schema() -> None:
    public("test-foreach.yaml")
    loaded = []
    for path in sorted(PUBLIC.glob("*.yaml")):
        if path.name == "broken-recipe.yaml":
            continue
        assert load_recipe(path).steps
        written = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert not list(Draft202012Validator(recipe_schema()).iter_errors(written)), path.name
        loaded.append(path.name)
    assert len(loaded) == 14


def test_the_broken_public_recipe_is_refused_with_every_fault() -> None:
    found = read(public("broken-recipe.yaml").read_text(encoding="utf-8"))
    assert found.recipe is None
    keys = {(fault.line, fault.key, fault.level) for fault in found.faults}
    assert keys >= {
        (4, "naem", "error"),
        (5, "description", "error"),
        (6, "version", "error"),
        (8, "stesp", "error"),
        (10, "stesp[0].tyep", "error"),
        (11, "stesp[0].comand", "error"),
        (13, "stesp[1].id", "error"),
        (15, "stesp[1].agent", "note"),
        (16, "stesp[1].prompt", "error"),
        (17, "stesp[1].depends_on[0]", "error"),
        (22, "steps[0].agent", "note"),
    }


def test_the_public_recipe_with_poor_style_loads_with_warnings() -> None:
    found = read(public("warnings-recipe.yaml").read_text(encoding="utf-8"))
    assert found.recipe is not None
    warned = {fault.key for fault in found.faults if fault.level == "warning"}
    assert warned >= {"name", "description", "version", "context.InputData"}
    assert warned >= {f"steps[{index}].{key}" for index in range(4) for key in ("id", "prompt")}
    assert {fault.key for fault in found.faults if fault.level == "note"} == {"tags", "steps[3].on_error"}


def test_the_recipe_in_the_docs_is_one() -> None:
    page = (Path(__file__).parent.parent / "docs" / "files.md").read_text(encoding="utf-8")
    text = page.split("## A recipe\n", 1)[1].split("```\n")[1]
    found = read(text)
    assert {fault.rule for fault in found.faults} == {"bare-agent"}
    assert [step.id for step in found.recipe.walk()] == ["read", "send"] if found.recipe else False


# --- bundles


def test_a_bundle_brings_its_recipes(tmp_path: Path) -> None:
    files = {
        "a.yaml": "includes: [./b.yaml]\nrecipes: {include: ['mine/*.yaml', mine/one.yaml]}\nagents: {include: ['*.md']}\n",
        "b.yaml": "recipes: {include: ['theirs/*.yml', 'theirs/*.yml']}\n",
        "helper.md": "---\ndescription: helps\naliases: [h]\nprovider_preferences: [p/m]\n---\n",
        "mine/one.yaml": SOUND.format(name="one") + "  - {id: x, agent: helper, prompt: Look at all of it.}\n",
        "mine/bad.yaml": SOUND.format(name="bad") + "  - {id: x, bsh: ls}\n",
        "theirs/one.yml": SOUND.format(name="one") + "  - {id: y, bash: ls}\n",
        "theirs/two.yml": SOUND.format(name="two")
        + "  - {id: y, agent: 'a:helpr', prompt: Look at all of it.}\n  - {id: z, agent: h, prompt: Look at all of it.}\n",
    }
    bundle = load(tmp_path, "a.yaml", files)
    assert {name: (recipe.bundle, recipe.steps[0].id) for name, recipe in bundle.recipes.items()} == {
        "one": ("a", "x"),
        "two": ("b", "y"),
    }
    assert bundle.recipe("a:one") == bundle.recipe("one")
    assert bundle.recipe("one").file.endswith("mine/one.yaml")
    assert [text for text in said(tmp_path, bundle.problems) if not text.startswith("note")] == [
        "error mine/bad.yaml:6:13: steps[0].bsh: unknown key; did you mean 'bash'?",
        "warning mine/one.yaml:1:1: name: recipe 'one' replaces the one of bundle 'b'",
        "warning theirs/two.yml:6:5: y.agent: no agent 'a:helpr' in bundle 'a'; did you mean 'helper'?",
    ]
    assert "bare-agent" not in {fault.rule for fault in bundle.problems}, "within a bundle a bare name is looked up"
    assert "not-in-force" not in {fault.rule for fault in bundle.problems}
    with pytest.raises(DeclarationError, match="did you mean 'bash'"):
        bundle.recipe("bad")
    with pytest.raises(RequestError, match="no recipe 'oen' in bundle 'a'; did you mean 'one'"):
        bundle.recipe("oen")
    assert any("bsh: unknown key" in text for text in refused(tmp_path, "a.yaml", strict=True))


def test_a_recipe_with_faults_does_not_let_the_one_that_it_replaces_run(tmp_path: Path) -> None:
    files = {
        "a.yaml": "includes: [./b.yaml]\nrecipes: {include: [mine.yaml]}\ntiers: {strong: [p/m]}\n",
        "b.yaml": "recipes: {include: [theirs.yaml]}\n",
        "theirs.yaml": SOUND.format(name="one") + "  - {id: y, bash: ls}\n",
        "mine.yaml": SOUND.format(name="one") + "  - {id: x, agent: self, prompt: Look at all of it., tier: stron}\n",
    }
    bundle = load(tmp_path, "a.yaml", files)
    assert bundle.recipes == {}
    with pytest.raises(DeclarationError, match=r"mine\.yaml:6:5: x\.tier: no tier 'stron'; did you mean 'strong'"):
        bundle.recipe("one")
    removed = load(tmp_path, "a.yaml", {"a.yaml": "includes: [./b.yaml]\nrecipes: ~\n"})
    assert removed.recipes == {}
    with pytest.raises(RequestError):
        removed.recipe("one")


def test_two_recipes_of_one_name_in_a_bundle_are_an_error(tmp_path: Path) -> None:
    one = SOUND.format(name="one") + "  - {id: x, bash: ls}\n"
    bundle = load(tmp_path, "a.yaml", {"a.yaml": "recipes: {include: ['r/*']}", "r/1.yaml": one, "r/2.yaml": one})
    assert bundle.recipe("one").file.endswith("1.yaml")
    assert "error r/2.yaml:1:1: name: recipe 'one' is also written in r/1.yaml; rename one of them" in said(
        tmp_path, bundle.problems
    )


def test_included_recipes_stay_inside_of_the_root(tmp_path: Path) -> None:
    sound = SOUND.format(name="one") + "  - {id: x, bash: ls}\n"
    inside = tmp_path / "inside"
    inside.mkdir()
    write(tmp_path, {"out.yaml": sound}, mark=False)
    write(inside, {"a.yaml": "recipes: {include: [../out.yaml]}", "b.yaml": "recipes: {include: ['*.yaml']}"})
    (inside / "link.yaml").symlink_to(tmp_path / "out.yaml")
    for name in ("a.yaml", "b.yaml"):
        [fault] = refused(inside, name)
        assert "recipes.include: " in fault
        assert "leads out of" in fault
    [missing] = refused(inside, "c.yaml", {"c.yaml": "recipes: {include: [none.yaml]}"})
    assert "'none.yaml' matches no file" in missing


def test_recipes_are_part_of_what_a_bundle_is(tmp_path: Path) -> None:
    sound = SOUND.format(name="one") + "  - {id: x, bash: ls}\n"
    first, second = tmp_path / "1", tmp_path / "2"
    for folder in (first, second):
        folder.mkdir()
        write(folder, {"a.yaml": "recipes: {include: [r.yaml]}", "r.yaml": sound})
    same = load_bundle(first / "a.yaml").hash
    assert same == load_bundle(second / "a.yaml").hash
    write(second, {"r.yaml": sound.replace("ls", "pwd")})
    assert same != load_bundle(second / "a.yaml").hash


# --- the command


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Ran]:
    return lambda *arguments: command(*arguments, home=tmp_path, cwd=tmp_path)


def test_check_takes_a_recipe_file(run: Callable[..., Ran], tmp_path: Path) -> None:
    write(
        tmp_path,
        {"good.yaml": SOUND.format(name="one") + "  - {id: step1, bash: ls}\n", "bad.yaml": "steps: [{id: a, bsh: ls}]\n"},
    )
    good = run("check", "good.yaml")
    assert (good.code, good.out.splitlines()) == (
        0,
        [
            "good.yaml:6:10: steps[0].id: 'step1' says nothing; name what the step does (warning) [recipe-style]",
            "recipe one: 1 step: 0 errors, 1 warning, 0 notes",
        ],
    )
    assert run("check", "good.yaml", "--strict").code == 1
    bad = run("check", "bad.yaml", "--json")
    assert (bad.code, bad.json["ok"], bad.json["recipe"]) == (1, False, "bad")
    assert "unknown key; did you mean 'bash'?" in [fault["message"] for fault in bad.json["faults"]]
    assert run("check", "none.yaml").out.splitlines()[0] == "none.yaml: no such file"
    assert run("check", "x.md").out.splitlines()[0] == "./x.md: no such file"
    write(tmp_path, {"good.md": "---\ndescription: An agent.\n---\n"})
    for wrong in (["good.md", "--bundle", "dev"], ["good.yaml", "--routes"]):
        assert run("check", *wrong).code == 2


# --- laws

_KEYS = sorted({*keys_of(WrittenRecipe), *keys_of(WrittenStage), *keys_of(WrittenStep), "prompt", "required", "goto", "stesp"})
_words = st.sampled_from(
    ["a", "b", "{{a}}", "{{ a.b }}", "{{", "}}", "{{{a}}}", "goto: a", "{{a}} == 'x'", "(((", "not not", "true", "3", "-1",
     "1e999", "nan", "inf", "", "\0", "ü", "agent", "continue", "[1]", "{", "x:y", "120s", "exponential", "'", "{{ '"]
)  # fmt: skip
_leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), _words, st.text(max_size=20))
_trees = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(st.sampled_from(_KEYS), st.text(max_size=5)), inner, max_size=6)
    ),
    max_leaves=20,
)
_steps = st.dictionaries(st.sampled_from(keys_of(WrittenStep)), _trees, max_size=7)
_recipes = st.one_of(
    st.dictionaries(st.sampled_from(_KEYS), _trees, max_size=6),
    st.fixed_dictionaries({"steps": st.lists(_steps, max_size=4)}, optional={"context": _trees, "recursion": _trees}),
    st.fixed_dictionaries({"stages": st.lists(st.fixed_dictionaries({"name": _words, "steps": st.lists(_steps)}), max_size=3)}),
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(_recipes)
def test_any_tree_gives_a_recipe_or_faults(tree: dict[str, Any]) -> None:
    found = read(yaml.safe_dump(tree, allow_unicode=True))
    errors = [fault for fault in found.faults if fault.level == "error"]
    assert isinstance(found.recipe, Recipe) != bool(errors)
    for fault in found.faults:
        assert fault.file == "r.yaml"
        assert fault.line >= 1
