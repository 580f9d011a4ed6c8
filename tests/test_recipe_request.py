"""What somebody writes to have a recipe run: requests in words, `--set`, the variables' types, and which recipe a name means."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle_loader.declared.recipe import Recipe
from bundle_loader.errors import DeclarationError, RecipeFailed, RequestError
from bundle_loader.recipes.given import given_variables
from bundle_loader.recipes.lookup import Recipes
from bundle_loader.recipes.request import is_request, parse_request, parse_sets, request_of
from bundle_loader.sources.load import load_bundle
from bundle_loader.sources.recipes import load_recipe
from tests.support.declared import load

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True).filter(lambda name: name.casefold() != "with")


def quoted(value: str, quote: str) -> str:
    return quote + value.replace("\\", "\\\\").replace(quote, f"\\{quote}") + quote


# --- requests in words


@pytest.mark.requirement("PRO-38")
def test_requests_in_words() -> None:
    cases: dict[str, tuple[str, dict[str, str]]] = {
        "execute task-loop.yaml with task_id='my-task' model_profile='balanced'": (
            "task-loop.yaml",
            {"task_id": "my-task", "model_profile": "balanced"},
        ),
        "execute task-loop.yaml with summary_profile='cost' task_id='my-task' model_profile='quality'": (
            "task-loop.yaml",
            {"summary_profile": "cost", "task_id": "my-task", "model_profile": "quality"},
        ),
        "execute start.yaml": ("start.yaml", {}),
        'run redrift.yaml with task_id="a b"': ("redrift.yaml", {"task_id": "a b"}),
        "EXECUTE x with a=1": ("x", {"a": "1"}),
        "execute x a=1 b=2": ("x", {"a": "1", "b": "2"}),
        "  execute\n x.yaml\twith\n  a='1'\n  b='2'\n": ("x.yaml", {"a": "1", "b": "2"}),
        "execute x with a='1', b='2' , c='3'": ("x", {"a": "1", "b": "2", "c": "3"}),
        "execute x with a = 'b' c= d": ("x", {"a": "b", "c": "d"}),
        "execute 'my recipes/x.yaml' with a=''": ("my recipes/x.yaml", {"a": ""}),
        r"execute x with a='it\'s' b=" + r'"say \"no\""' + r" c='C:\new\table' d='\\'": (
            "x",
            {"a": "it's", "b": 'say "no"', "c": r"C:\new\table", "d": "\\"},
        ),
        "execute x with a=\"it's\" b='\"'": ("x", {"a": "it's", "b": '"'}),
        "execute x with url=http://h/p?q=1&r=a,b path=./a-b_c.txt": ("x", {"url": "http://h/p?q=1&r=a,b", "path": "./a-b_c.txt"}),
        "execute x with a='{{b}} $(rm) `ls` ; — ü\n2'": ("x", {"a": "{{b}} $(rm) `ls` ; — ü\n2"}),
        "execute x with with=1": ("x", {"with": "1"}),
        "execute ./with.yaml with a='with b=1'": ("./with.yaml", {"a": "with b=1"}),
    }
    for text, (recipe, variables) in cases.items():
        found = parse_request(text)
        assert (found.recipe, found.variables) == (recipe, variables), text
        assert list(found.variables) == list(variables), "in the order in which they were written"


@pytest.mark.requirement("PRO-38")
@given(
    recipe=st.text(st.characters(exclude_characters=" \t\n\r\x0b\x0c'\"", categories=["L", "N", "P"]), min_size=1, max_size=12),
    pairs=st.dictionaries(NAMES, st.text(max_size=30), max_size=6),
    quote=st.sampled_from("'\""),
    verb=st.sampled_from(("execute", "run")),
)
def test_any_values_in_any_number_come_back_as_they_were(recipe: str, pairs: dict[str, str], quote: str, verb: str) -> None:
    text = f"{verb} {quoted(recipe, quote)}" + (" with" if pairs else "")
    text += "".join(f" {name}={quoted(value, quote)}" for name, value in pairs.items())
    if not recipe.strip():
        return
    found = parse_request(text)
    assert (found.recipe, found.variables) == (recipe, pairs)


@given(text=st.text(st.sampled_from("execute run with a=b'\" ,\\\n.ü"), max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    said = None
    try:
        parse_request(text)
    except RequestError as error:
        said = str(error)
    assert said is None or "column" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "column 1 at its end: expected 'execute' or 'run'; write execute task-loop.yaml with task_id='my-task'"),
        ("exceute x", "column 1 at 'exceute x': expected 'execute' or 'run'; did you mean 'execute'?"),
        ("execute", "column 8 at its end: names no recipe"),
        ("execute with a='b'", "column 9 at 'with a='b'': names no recipe before its variables"),
        ("execute a='b'", "column 9 at 'a='b'': names no recipe before its variables"),
        ("execute x y z", "column 11 at 'y z': expected 'with' and variables"),
        ("execute x with", "column 11 at 'with': no variables follow; leave 'with' out"),
        ("execute x with a=", "column 18 at its end: 'a' has no value; write a='value', or a='' for an empty one"),
        ("execute x with a= b='1'", "column 19 at 'b='1'': 'a' has no value"),
        ("execute x with a='b", "column 18 at ''b': the value of 'a' is not closed; write another ' at its end"),
        ("execute x with a='b\\'", r"the value of 'a' is not closed; write another ' at its end (\' in it stands for a '"),
        ("execute x with a='b'c", "column 21 at 'c': the value of 'a' ends before this; write a space after it"),
        ("execute x with a=b'c", "column 19 at ''c': a ' within the value of 'a', which stands in no quotes"),
        ("execute x with task id='x'", "column 16 at 'task id='x'': 'task' has no '=' after it; write task='value'"),
        ("execute x with model-profile='x'", "'model-profile' is no name of a variable: these are letters, digits and '_'; did"),
        ("execute x with model-profile='x'", "did you mean 'model_profile'?"),
        ("execute x with a='1' a='2'", "column 22 at 'a='2'': 'a' is given twice; leave one of them out"),
        ("execute x with a=‘q’", "column 18 at '‘q’': the value of 'a' begins with ‘, which is no plain quote; write '"),
        ("execute x with a==b", "column 18 at '=b': one '=' is enough; write a='value'"),
        ("execute x with a=1, b=2", "column 19 at ', b=2': the value of 'a' ends in a comma"),
        ("execute x\nwith a='1'\n b='u", "line 3, column 4 at ''u': the value of 'b' is not closed"),
        ("execute '' with a=1", "column 9 at ''' with a=1': the recipe's name is empty"),
        ("execute x with ='y'", "column 16 at '='y'': expected the name of a variable"),
    ],
)
def test_what_cannot_be_read_says_where_and_what_to_write(text: str, said: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_request(text)
    assert said in str(caught.value)
    assert str(caught.value).startswith("the request, ")


def test_a_key_in_a_request_is_not_repeated() -> None:
    with pytest.raises(RequestError) as caught:
        parse_request("execute x with a=sk-ant-REDACTED'x")
    assert "sk-ant" not in str(caught.value)


def test_which_texts_are_requests() -> None:
    assert [text for text in ("execute x", "run x with a=1", "Execute 'x'") if is_request(text)] == [
        "execute x", "run x with a=1", "Execute 'x'",
    ]  # fmt: skip
    for name in ("", "execute", "run", "task-loop", "execute.yaml", "my recipe.yaml", "./run/x.yaml", "foundation:task-loop"):
        assert not is_request(name)
        assert request_of(name, {"a": 1}) == (name, {"a": 1})
    assert request_of("execute x with a='1'", {"b": 2}) == ("x", {"a": "1", "b": 2})
    with pytest.raises(RequestError, match="'a' is given in the request and beside it"):
        request_of("execute x with a='1'", {"a": 2})


def test_set_takes_values_as_they_are() -> None:
    given = ["a=1", "b=x=y", "c=", "d='q'", "e= s ", "f={{g}}"]
    assert parse_sets(given) == {"a": "1", "b": "x=y", "c": "", "d": "'q'", "e": " s ", "f": "{{g}}"}
    for wrong, said in (
        (["a"], "--set a: holds no '='; write --set NAME=VALUE"),
        (["=1"], "'' is no name of a variable"),
        (["a-b=1"], "did you mean 'a_b'?"),
        (["a=1", "a=2"], "--set a: is given twice"),
    ):
        with pytest.raises(RequestError) as caught:
            parse_sets(wrong)
        assert said in str(caught.value)
    assert parse_sets(shlex.split("task_id='it is mine'")) == {"task_id": "it is mine"}


# --- variables and their types


RECIPE = """
name: typed
context:
  word: {type: text, required: true, description: "what to look for"}
  count: 3
  ratio: 0.5
  deep: false
  files: [a.md]
  extra: {type: mapping}
  size: {type: text, default: small, choices: [small, large]}
  free: ""
steps: [{id: only-step, bash: "echo {{word}}"}]
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    path = tmp_path / "typed.yaml"
    path.write_text(RECIPE)
    return load_recipe(path)


def test_texts_become_what_their_variables_are(recipe: Recipe) -> None:
    texts = {
        "word": "007", "count": "12", "ratio": "2", "deep": "Yes", "files": "a.md, b.md", "extra": '{"a": [1]}', "size": "large",
        "free": "x",
    }  # fmt: skip
    expected: dict[str, Any] = {
        "word": "007", "count": 12, "ratio": 2, "deep": True, "files": ["a.md", "b.md"], "extra": {"a": [1]}, "size": "large",
        "free": "x",
    }  # fmt: skip
    found = given_variables(recipe, texts)
    assert found == expected
    assert [type(value) for value in found.values()] == [type(value) for value in expected.values()]
    assert given_variables(recipe, expected) == expected, "values that are what they should be already"
    assert given_variables(recipe, {"word": "x", "files": '["a,b"]', "count": ""}) == {
        "word": "x",
        "files": ["a,b"],
        "count": None,
    }
    assert given_variables(recipe, {"word": "x", "free": ["any"]})["free"] == ["any"], "an empty default says no type"


def test_every_wrong_variable_is_told_at_once(recipe: Recipe) -> None:
    with pytest.raises(RecipeFailed) as caught:
        given_variables(
            recipe, {"wrod": "x", "count": "2.5", "ratio": "nan", "deep": "maybe", "files": "[1", "extra": "[]", "size": "smal"}
        )
    said = str(caught.value).splitlines()
    assert said[0] == "recipe 'typed' cannot be run with these variables:"
    assert [line.strip() for line in said[1:]] == [
        "wrod: the recipe has no such variable; did you mean 'word'? "
        "It declares word, count, ratio, deep, files, extra, size, free",
        "count: '2.5' is no integer; write one such as 3",
        "ratio: 'nan' is no number that JSON knows",
        "deep: 'maybe' is no boolean; write true or false",
        'files: \'[1\' is no list; write JSON such as ["a", "b"]',
        "extra: '[]' is no mapping; write JSON such as {\"a\": 1}",
        "size: 'smal' is not one of small, large; did you mean 'small'?",
        "word: is required and was not given (what to look for); write --set word=... or word='...'",
    ]
    for name, value in (("count", True), ("deep", 1), ("word", 3), ("files", {}), ("word", "")):
        with pytest.raises(RecipeFailed, match=f"{name}: "):
            given_variables(recipe, {"word": "x", name: value})


@pytest.mark.requirement("PRO-11")
def test_implementation_profile_is_only_for_recipes_that_declare_it() -> None:
    bundle = load_bundle("foundation", strict=True)
    profiles = {"model_profile": "cost", "summary_profile": "local"}
    for name, own in (("task-loop", {"task_id": "t"}), ("start", {}), ("redrift", {"task_id": "t"})):
        assert given_variables(bundle.recipe(name), {**own, **profiles}) == {**own, **profiles}
    assert "implementation_profile" in given_variables(
        bundle.recipe("task-loop"), {"task_id": "t", "implementation_profile": "cost"}
    )
    for name in ("start", "redrift"):
        with pytest.raises(RecipeFailed, match="implementation_profile: the recipe has no such variable"):
            given_variables(bundle.recipe(name), {"task_id": "t", "implementation_profile": "cost"})
    declaring = [name for name, recipe in bundle.recipes.items() if "implementation_profile" in recipe.variables]
    assert declaring == ["task-loop"]


# --- which recipe a name means

STEP = "steps: [{id: only-step, bash: 'true'}]\n"


def test_which_recipe_a_name_means(tmp_path: Path) -> None:
    files = {
        "team.yaml": "bundle: {name: team}\nincludes: [foundation]\nrecipes: {include: ['recipes/*.yaml']}\n",
        "recipes/review.yaml": f"name: review-all\n{STEP}",
        "recipes/parts/deep.yaml": STEP,
        "task-loop.yaml": f"name: mine\n{STEP}",
        "broken.yaml": "name: broken\n",
    }
    bundle = load(tmp_path, "team.yaml", files)
    recipes = Recipes(bundle, tmp_path)
    assert recipes.find("start") is bundle.recipe("start")
    assert recipes.find("start.yaml") is recipes.find("foundation:start") is recipes.find("foundation:start.yaml")
    assert recipes.find("review-all") is recipes.find("review.yaml") is recipes.find("recipes/review.yaml")
    assert recipes.find("team:review-all") is recipes.find("team:recipes/review.yaml") is bundle.recipe("review-all")
    assert recipes.find(str(tmp_path / "recipes" / "review.yaml")) is bundle.recipe("review-all")
    assert recipes.find("task-loop").name == "task-loop", "without a suffix it is no path"
    assert recipes.find("task-loop.yaml").name == "mine", "a file comes first"
    beside = str(tmp_path / "recipes" / "review.yaml")
    assert recipes.find("parts/deep.yaml", beside).name == recipes.find("./parts/deep.yaml", beside).name == "deep"
    assert recipes.find("start", beside).name == "start"
    with pytest.raises(RequestError, match=r"no recipe 'strat' in bundle 'team'; did you mean 'start'\?"):
        recipes.find("strat")
    with pytest.raises(RequestError, match=r"no file 'nowhere/x\.yaml' in .*; it has redrift, review-all, start, task-loop"):
        recipes.find("nowhere/x.yaml")
    with pytest.raises(RequestError, match="no recipe 'team:start'"):
        recipes.find("team:start")
    with pytest.raises(RequestError, match="no recipe is named"):
        recipes.find("  ")
    with pytest.raises(DeclarationError, match="neither 'steps' nor 'stages'"):
        recipes.find("broken.yaml")


def test_a_step_does_not_lead_out_of_its_recipes_root(tmp_path: Path) -> None:
    (tmp_path / "a" / "recipes").mkdir(parents=True)
    (tmp_path / "a" / "pyproject.toml").touch()
    (tmp_path / "b.yaml").write_text(STEP)
    (tmp_path / "a" / "c.yaml").write_text(STEP)
    asking = tmp_path / "a" / "recipes" / "asking.yaml"
    asking.write_text(STEP)
    recipes = Recipes(load_bundle("foundation"), tmp_path)
    assert recipes.find("../c.yaml", str(asking)).name == "c"
    for name in ("../../b.yaml", str(tmp_path / "b.yaml")):
        with pytest.raises(RequestError, match="leads out of"):
            recipes.find(name, str(asking))
