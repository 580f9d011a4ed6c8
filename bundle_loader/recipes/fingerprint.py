"""What a recipe says, as a few short sums: whether it is still the same, and if not, what changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from bundle_loader.declared.recipe import Recipe

_HEAD = ""
_MOST_NAMED = 5


def prints(recipe: Recipe) -> dict[str, str]:
    """Step -> a sum of all that it says; under the empty name one of the recipe's head and its stages."""
    found: dict[str, str] = {}
    stages = []
    for stage in recipe.stages:
        stages.append({**stage.model_dump(mode="json", exclude={"steps"}), "steps": [step.id for step in stage.steps]})
        for step in stage.steps:
            found[step.id] = _sum(step.model_dump(mode="json"))
    variables = {name: variable.model_dump(mode="json") for name, variable in recipe.variables.items()}
    found[_HEAD] = _sum([recipe.name, variables, stages, recipe.recursion.model_dump(mode="json")])
    return found


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What is otherwise than it was, one line each."""
    lines = []
    for words, names in (
        ("changed", [name for name in now if name and name in before and now[name] != before[name]]),
        ("is new", [name for name in now if name not in before]),
        ("is gone", [name for name in before if name not in now]),
    ):
        lines += [f"step '{name}' {words}" for name in names[:_MOST_NAMED]]
        if len(names) > _MOST_NAMED:
            lines.append(f"and {len(names) - _MOST_NAMED} more steps: {words}")
    if before.get(_HEAD) != now.get(_HEAD):
        lines.append("its name, variables, stages, recursion or the order of its steps changed")
    return lines


def _sum(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]
