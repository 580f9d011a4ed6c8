"""Recipes run: what each form of a step does, what comes of it, and how a run ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from bundle_loader.recipes.result import StepRetried
from tests.support.recipe_runs import Answers, Bench, in_words

CASES = Path(__file__).parent / "cases" / "recipe_runs"


def differences(case: dict[str, Any], result: Any, bench: Bench, told: list[Any]) -> list[str]:
    """What is otherwise than the case says."""
    wrong = []

    def same(what: str, wanted: Any, found: Any) -> None:
        if wanted != found:
            wrong.append(f"{what}: {found!r}, not {wanted!r}")

    same("status", case.get("status", "done"), result.status)
    if "steps" in case:
        same("steps", case["steps"], in_words(result))
    outputs = dict(result.outputs)
    for name, value in case.get("outputs", {}).items():
        same(f"outputs.{name}", value, outputs.get(name, "(not set)"))
    if "only" in case:
        same("names", sorted(case["only"]), sorted(outputs))
    if "prompts" in case:
        same("prompts", case["prompts"], bench.answers.prompts)
    if "asked" in case:
        same("asked", sorted(case["asked"]), sorted(bench.answers.prompts))
    if "slept" in case:
        same("slept", case["slept"], bench.slept)
    if "retried" in case:
        same("retried", case["retried"], sum(isinstance(event, StepRetried) for event in told))
    for said in case.get("reason", []):
        if said not in (result.reason or ""):
            wrong.append(f"reason: {result.reason!r} does not say {said!r}")
    for said in case.get("warnings", []):
        if not any(said in warning for warning in result.warnings):
            wrong.append(f"warnings: {result.warnings!r} do not say {said!r}")
    if not case.get("warnings") and result.warnings:
        wrong.append(f"warnings: {result.warnings!r}")
    for step, said in case.get("reasons", {}).items():
        found = next((one.reason for one in result.steps if one.id == step), None)
        if said not in (found or ""):
            wrong.append(f"reason of {step}: {found!r} does not say {said!r}")
    return wrong


@pytest.mark.parametrize("file", sorted(path.name for path in CASES.glob("*.yaml")))
async def test_what_recipes_do(tmp_path: Path, file: str) -> None:
    problems = []
    async with Bench(tmp_path) as bench:
        for case in yaml.safe_load((CASES / file).read_text(encoding="utf-8")):
            bench.answers, bench.slept = Answers(case.get("answers", ())), []
            for name, text in case.get("files", {}).items():
                bench.recipe(text, name)
            said = dict(case.get("approve", {}))

            async def approve(step: str, prompt: str, said: dict[str, Any] = said) -> Any:
                answer = said.get(step)
                return tuple(answer) if isinstance(answer, list) else answer

            recipe = bench.recipe(case["recipe"])
            result, told = await bench.run(
                recipe, case.get("given"), approve=approve if said else None, **case.get("request", {})
            )
            problems += [f"{case['name']}: {wrong}" for wrong in differences(case, result, bench, told)]
    assert not problems, "\n".join(problems)
