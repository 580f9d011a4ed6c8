"""Steps within a step: a group in order or together, and a recipe within a recipe."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Final

from bundle_loader.declared.recipe import GroupStep, Recipe, RecipeStep, Recursion, Step
from bundle_loader.errors import DeclarationError, RecipeFailed, RequestError
from bundle_loader.recipes.doing import Doer, in_order, merged, together
from bundle_loader.recipes.done import Done, Ended
from bundle_loader.recipes.failures import Mistake
from bundle_loader.recipes.fingerprint import differences, prints
from bundle_loader.recipes.given import given_variables
from bundle_loader.recipes.numbers import whole
from bundle_loader.recipes.result import StepRecord
from bundle_loader.recipes.scope import Frame, Limits, Scope, first_values, numbered
from bundle_loader.recipes.stage_profiles import stage_profiles
from bundle_loader.recipes.texts import fill, fill_value
from bundle_loader.recipes.values import EMPTY, Values, plain

MAX_DEPTH: Final = 5
"""Recipes below one another where nothing else is said."""
MAX_STEPS: Final = 100_000
"""Steps of a whole run where nothing else is said."""


async def group(doer: Doer, step: Step, action: GroupStep, frame: Frame, id: str) -> tuple[Done, list[Ended]]:
    """The steps of a group. In order, its output is its last step's; together, a mapping of its steps to theirs."""
    scope = Scope(frame.scope)
    inner = frame.inner(scope, f"{id}/")
    if not action.together:
        ended, _ = await in_order(doer, action.steps, inner)
        ran = [one for one in ended if one.record.status != "skipped"]
        output: Any = ran[-1].record.output if ran else EMPTY
        return Done(output, dict(scope.names), dict(scope.outcomes)), ended
    limit = whole("parallel", action.limit, frame.values(step)) if action.limit is not None else None
    scopes = [Scope(scope) for _ in action.steps]
    work = [partial(doer.do, child, inner.inner(one)) for child, one in zip(action.steps, scopes, strict=True)]
    ended = await together(work, limit)
    merged(inner, scopes)
    return Done({one.record.step: one.record.output for one in ended}, dict(scope.names), dict(scope.outcomes)), ended


async def sub_recipe(
    doer: Doer, step: Step, action: RecipeStep, frame: Frame, id: str, values: Values
) -> tuple[Done, list[Ended]]:
    """A recipe within the run. It sees what its `context` gives it, and gives back the variables that its steps set."""
    ctx = doer.ctx
    name = fill(action.recipe, values)
    try:
        recipe = ctx.find_recipe(name, frame.recipe.file)
        inner = below(doer, recipe, action, frame, id, values)
    except (DeclarationError, RequestError, RecipeFailed) as error:
        raise Mistake(str(error)) from error
    await _same(doer, step, frame, id, recipe)
    ended = await doer.recipe(recipe, inner)
    return Done({name: plain(value) for name, value in inner.scope.names.items()}), ended


def below(doer: Doer, recipe: Recipe, action: RecipeStep, frame: Frame, id: str, values: Values) -> Frame:
    """Where a recipe within a recipe runs. Raises Mistake, RecipeFailed."""
    ctx = doer.ctx
    chain = (*frame.chain, recipe.name)
    own = limits(action.recursion or Recursion(), frame.limits)
    if len(chain) - 1 > own.depth:
        raise Mistake(f"recipes lead deeper than {own.depth}: {' -> '.join(chain)}", remedy="raise recursion.max_depth")
    given = fill_value(action.context, values)
    for name in [name for name in given if name not in recipe.variables and name not in ("model_profile", "summary_profile")]:
        ctx.warn(f"step '{id}' gives '{name}' to recipe '{recipe.name}', which does not declare it")
        del given[name]
    # a variable whose default is text may be given a mapping or a list: whoever wrote the default did not rule that out
    kept = {name: given.pop(name) for name in list(given) if _keeps(recipe, name, given[name])}
    given = {**given_variables(recipe, {**given, **dict.fromkeys(kept, "")}), **kept}
    profiles = stage_profiles(ctx.bundle, recipe, given, frame.profiles)
    ctx.warn(*profiles.warnings)
    given = profiles.seen(recipe, given)
    return replace(
        frame,
        recipe=recipe,
        scope=root_scope(recipe, given, {**ctx.always, "recipe": about(recipe)}),
        profiles=profiles,
        limits=limits(recipe.recursion, own),
        chain=chain,
        numbers=numbered(recipe),
        prefix=f"{id}/",
    )


def _keeps(recipe: Recipe, name: str, value: Any) -> bool:
    variable = recipe.variables.get(name)
    return value is None or (
        variable is not None and variable.type == "text" and not isinstance(value, str) and not variable.choices
    )


def root_scope(recipe: Recipe, given: dict[str, Any], always: dict[str, Any]) -> Scope:
    """The variables that a recipe begins with, and over them an empty scope for what its steps set."""
    return Scope(Scope(None, first_values(recipe, given, always)))


def about(recipe: Recipe) -> dict[str, Any]:
    """What `{{recipe.name}}` and its like say."""
    return {
        "name": recipe.name,
        "version": recipe.version,
        "description": recipe.description,
        "author": recipe.author,
        "tags": list(recipe.tags),
        "bundle": recipe.bundle,
        "file": recipe.file,
    }


def limits(said: Recursion, above: Limits) -> Limits:
    """The limits from here on: what is said, else those from above."""
    depth = said.max_depth if said.max_depth is not None else above.depth
    steps = said.max_total_steps if said.max_total_steps is not None else above.steps
    return Limits(depth, steps)


async def _same(doer: Doer, step: Step, frame: Frame, id: str, recipe: Recipe) -> None:
    """Keep what the recipe says when it is begun, and refuse to go on with another one."""
    now = prints(recipe)
    begun = doer.ctx.checkpoints.begun(id)
    before = begun.told.get("prints") if begun is not None else None
    if before and before != now:
        raise Mistake(f"recipe '{recipe.name}' is not what it was when it was begun: {'; '.join(differences(before, now))}")
    record = StepRecord(id, step.id, frame.stage.name, "recipe", "running")
    await doer.ctx.checkpoints.keep(record, final=False, prints=now)
