"""The variables of a recipe that say which profile a stage uses: what each speaks for, and what holds without it."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.preference import Preference
from bundle_loader.declared.recipe import AgentStep, Recipe, RoleChoice, Stage, TierChoice, Variable
from bundle_loader.recipes.stage_profiles import StageProfiles, choice_of, stage_profiles
from bundle_loader.routing.step import StepChoice, step_of, step_plain
from bundle_loader.sources.load import load_bundle

PROFILES = ("balanced", "quality", "cost", "local")
FLOWS = ("task-loop", "start", "redrift")
SUMMARY = {"balanced": "cost", "cost": "cost", "quality": "balanced", "local": "local"}
"""Root -> what summaries use where nobody says."""
STAGES = ("planning", "synthesis", "review", "implementation", "verification", "summary", "analysis", "any-other", None)
ALLOWED = "write one of balanced, quality, cost, local"


@pytest.fixture(scope="module")
def foundation() -> Bundle:
    return load_bundle("foundation", strict=True, settings=())


def given(**said: Any) -> dict[str, Any]:
    return {f"{name}_profile": value for name, value in said.items() if value is not None}


def used(found: StageProfiles, stages: tuple[str | None, ...] = STAGES) -> dict[str | None, str | None]:
    return {stage: found.profile_of(stage) for stage in stages}


@pytest.mark.requirement("PRO-17")
def test_all_hundred_combinations(foundation: Bundle) -> None:
    loop = foundation.recipe("task-loop")
    rows = list(product(PROFILES, (None, *PROFILES), (None, *PROFILES)))
    assert len(rows) == len(set(rows)) == 100
    for root, implementation, summary in rows:
        found = stage_profiles(foundation, loop, given(model=root, implementation=implementation, summary=summary))
        expected = (root, implementation or root, summary or SUMMARY[root])
        assert (found.root, found.implementation, found.summary) == expected, (root, implementation, summary)
        stages = tuple(found.profile_of(stage) for stage in ("planning", "implementation", "summary"))
        assert stages == expected, (root, implementation, summary)
        assert found.warnings == ()


@pytest.mark.requirement("PRO-9")
@pytest.mark.parametrize("flow", FLOWS)
def test_model_profile_is_the_profile_of_every_stage(foundation: Bundle, flow: str) -> None:
    for root in PROFILES:
        found = used(stage_profiles(foundation, foundation.recipe(flow), given(model=root)))
        assert {found.pop(stage) for stage in ("summary", "analysis")} == {SUMMARY[root]}
        assert set(found.values()) == {root}


@pytest.mark.requirement("PRO-10", "PRO-13")
def test_implementation_profile_is_for_the_implementation_alone(foundation: Bundle) -> None:
    loop = foundation.recipe("task-loop")
    for root in PROFILES:
        without = used(stage_profiles(foundation, loop, given(model=root)))
        assert without["implementation"] == root
        for other in PROFILES:
            found = used(stage_profiles(foundation, loop, given(model=root, implementation=other)))
            assert found == {**without, "implementation": other}


@pytest.mark.requirement("PRO-12")
@pytest.mark.parametrize("flow", FLOWS)
def test_summary_profile_is_for_summaries_and_analyses_alone(foundation: Bundle, flow: str) -> None:
    for root, other in product(PROFILES, PROFILES):
        without = used(stage_profiles(foundation, foundation.recipe(flow), given(model=root)))
        found = used(stage_profiles(foundation, foundation.recipe(flow), given(model=root, summary=other)))
        assert found == {**without, "summary": other, "analysis": other}


@pytest.mark.requirement("PRO-14", "PRO-15", "PRO-16")
@pytest.mark.parametrize("flow", FLOWS)
def test_what_summaries_use_where_nobody_says(foundation: Bundle, flow: str) -> None:
    recipe = foundation.recipe(flow)
    found = {root: stage_profiles(foundation, recipe, given(model=root)).profile_of("summary") for root in PROFILES}
    assert found == {"balanced": "cost", "cost": "cost", "quality": "balanced", "local": "local"}


def test_another_recipe_is_not_given_an_implementation_profile_in_silence(foundation: Bundle) -> None:
    for flow in ("start", "redrift"):
        found = stage_profiles(foundation, foundation.recipe(flow), given(model="cost", implementation="quality"))
        assert found.profile_of("implementation") == "cost"
        assert found.warnings == (f"recipe '{flow}' takes no implementation_profile; 'quality' is left out",)


@pytest.mark.requirement("PRO-18")
@pytest.mark.parametrize("wrong", ["qualty", "", "  ", "Balanced", 3, ["cost"]])
def test_a_profile_that_there_is_not_is_as_if_it_were_left_out_and_is_told(foundation: Bundle, wrong: Any) -> None:
    value = "''" if isinstance(wrong, str) and not wrong.strip() else f"'{wrong}'"
    for flow, root in (("task-loop", "balanced"), ("start", "balanced"), ("redrift", "quality")):
        found = stage_profiles(foundation, foundation.recipe(flow), given(model=wrong))
        assert (found.root, found.summary) == (root, SUMMARY[root])
        (warning,) = found.warnings
        assert "model_profile" in warning
        assert value in warning
        assert warning.endswith(ALLOWED)
    loop = foundation.recipe("task-loop")
    for root in PROFILES:
        found = stage_profiles(foundation, loop, given(model=root, implementation=wrong, summary=wrong))
        assert (found.root, found.implementation, found.summary) == (root, root, SUMMARY[root])
        assert [warning.partition("_")[0] for warning in found.warnings] == ["implementation", "summary"]
        assert all(value in warning and warning.endswith(ALLOWED) for warning in found.warnings)
    if wrong == "qualty":
        assert "did you mean 'quality'?" in found.warnings[0]


def test_rebuilding_takes_quality_where_nobody_says(foundation: Bundle) -> None:
    found = stage_profiles(foundation, foundation.recipe("redrift"), {})
    assert (found.root, found.summary, found.warnings) == ("quality", "balanced", ())
    assert stage_profiles(foundation, foundation.recipe("redrift"), given(model="cost")).root == "cost"


def test_a_recipe_below_takes_what_the_run_above_was_given(foundation: Bundle) -> None:
    above = stage_profiles(foundation, foundation.recipe("task-loop"), given(model="quality", implementation="cost"))
    assert above.variables == {"model_profile": "quality", "implementation_profile": "cost"}
    for below in (foundation.recipe("redrift"), foundation.recipe("start"), Recipe(name="plain")):
        found = stage_profiles(foundation, below, {}, above)
        assert used(found) == used(above)
        assert found.warnings == ()
    # what the step says for the recipe below comes first, and what was said above for a stage goes on to hold
    found = stage_profiles(foundation, foundation.recipe("start"), given(model="local"), above)
    assert (found.root, found.implementation, found.summary) == ("local", "cost", "local")
    found = stage_profiles(foundation, foundation.recipe("start"), given(summary="quality"), above)
    assert (found.root, found.implementation, found.summary) == ("quality", "cost", "quality")
    # its own default is for whoever begins with it
    found = stage_profiles(
        foundation, foundation.recipe("redrift"), {}, stage_profiles(foundation, foundation.recipe("start"), {})
    )
    assert found.root == "balanced"


def test_the_texts_of_a_recipe_see_what_is_in_force(foundation: Bundle) -> None:
    loop, start = foundation.recipe("task-loop"), foundation.recipe("start")
    said = {"task_id": "t-1", **given(model="qualty", implementation="local", summary="")}
    found = stage_profiles(foundation, loop, said)
    seen = found.seen(loop, said)
    assert seen == {"task_id": "t-1", "model_profile": "balanced", "implementation_profile": "local"}
    assert stage_profiles(foundation, start, {}, found).seen(start, {"x": 1}) == {"x": 1, "model_profile": "balanced"}
    plain = Recipe(name="plain")
    assert stage_profiles(foundation, plain, {}).seen(plain, {"x": 1}) == {"x": 1}


def test_a_recipe_that_takes_no_profile_leaves_its_agents_alone(foundation: Bundle) -> None:
    plain = Recipe(name="plain", variables={"topic": Variable()})
    found = stage_profiles(foundation, plain, {"topic": "x"})
    assert set(used(found).values()) == {None}
    assert (found.root, found.variables, found.warnings) == ("", {}, ())
    asked = stage_profiles(foundation, plain, given(model="cost"))
    assert set(used(asked).values()) == {"cost"}
    half = stage_profiles(foundation, plain, given(summary="cost"))
    assert half.profile_of("summary") == "cost"
    assert half.profile_of("planning") is None
    assert half.warnings == ("summary_profile is 'cost', but no model_profile is in force for the other stages",)
    empty = Bundle(name="empty")
    found = stage_profiles(empty, foundation.recipe("task-loop"), given(model="cost"))
    assert found.root == ""
    assert all("write one of none: it has no profiles" in warning for warning in found.warnings)


def test_what_a_step_says_of_itself(foundation: Bundle) -> None:
    profiles = stage_profiles(foundation, foundation.recipe("task-loop"), given(model="balanced"))
    plain = AgentStep(agent="explorer", prompt="p")
    work = Stage(name="work", stage="summary")

    def of(step: AgentStep, stage: Stage = work, **texts: str) -> StepChoice:
        choice, warnings = choice_of(foundation, profiles, step, stage, "one", lambda text: texts.get(text, text))
        assert warnings == ()
        return choice

    assert of(plain) == StepChoice(profile="cost", stage="summary", name="one")
    assert of(plain, Stage(name="work")) == StepChoice(profile="balanced", name="one")
    assert of(plain.model_copy(update={"stage": "planning"})) == StepChoice(profile="balanced", stage="planning", name="one")
    assert of(plain, work.model_copy(update={"profile": "local"})).profile == "local"
    said = plain.model_copy(update={"profile": "{{p}}", "stage": "{{s}}", "tier": "{{t}}", "model_role": ("{{r}}",)})
    filled = of(
        said, work.model_copy(update={"profile": "local"}), **{"{{p}}": "quality", "{{s}}": "x", "{{t}}": "strong", "{{r}}": "f"}
    )
    assert filled == StepChoice(tier="strong", role=("f",), profile="quality", stage="x", name="one")
    listed = (
        Preference(provider="{{p}}", model="{{m}}*", config={"top_p": 1}),
        TierChoice(tier="{{t}}"),
        RoleChoice(role="deep"),
    )
    filled = of(plain.model_copy(update={"preferences": listed}), **{"{{p}}": "openai", "{{m}}*": "gpt*", "{{t}}": "strong"})
    assert filled.preferences == (
        Preference(provider="openai", model="gpt*", config={"top_p": 1}), TierChoice(tier="strong"), RoleChoice(role="deep"),
    )  # fmt: skip
    assert step_of(step_plain(filled)) == filled
    assert step_of(step_plain(StepChoice())) == StepChoice()


def test_a_profile_of_a_step_that_there_is_not_gives_way_to_the_next(foundation: Bundle) -> None:
    profiles = stage_profiles(foundation, foundation.recipe("task-loop"), {})
    step = AgentStep(agent="explorer", prompt="p", profile="qualty", stage="planning")
    choice, warnings = choice_of(
        foundation, profiles, step, Stage(profile="{{x}}"), "one", lambda text: text.replace("{{x}}", "")
    )
    assert choice.profile == "balanced"
    assert warnings == (
        f"profile of step 'one': 'qualty' is no profile of the bundle and is left out; did you mean 'quality'? {ALLOWED}",
        f"profile of step 'one' is '', which is as if it were left out; {ALLOWED}",
    )
