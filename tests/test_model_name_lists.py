"""What globs mean over whole lists: expectations written by the rules of the order, one by one, beside the scored cases."""

from __future__ import annotations

import json
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundle_loader.routing.catalogue import ModelInfo
from bundle_loader.routing.model_names import model_info, newest_models

HERE = Path(__file__).parent
WRITTEN = yaml.safe_load((HERE / "cases" / "model_names" / "newest.yaml").read_text("utf-8"))


def real_lists() -> dict[str, list[ModelInfo]]:
    """What providers listed on a day, by provider."""
    lines = (HERE / "data" / "model_lists.jsonl").read_text("utf-8").splitlines()
    return {listed["provider"]: [model_info(model) for model in listed["models"]] for listed in map(json.loads, lines)}


def entry(model: str | dict[str, Any]) -> ModelInfo:
    """A day stands for its midnight."""
    if isinstance(model, str):
        return model_info(model)
    return model_info({**model, "created": datetime.combine(model["created"], time(), UTC)})


LISTS = real_lists()
CASES = [
    *((LISTS[name], name, pattern, answer) for name, answers in WRITTEN["real"].items() for pattern, answer in answers.items()),
    *(
        ([entry(model) for model in case["models"]], case["name"], pattern, answer)
        for case in WRITTEN["written"]
        for pattern, answer in case["answers"].items()
    ),
]


@pytest.mark.parametrize(
    ("models", "pattern", "answer"),
    [pytest.param(models, pattern, answer, id=f"{name}: {pattern}") for models, name, pattern, answer in CASES],
)
def test_what_a_glob_means(models: list[ModelInfo], pattern: str, answer: str | list[str] | None) -> None:
    found = newest_models(pattern, models)
    acceptable = answer if isinstance(answer, list) else [answer]
    assert (found[0].id if found else None) in acceptable, [info.id for info in found[:5]]


def test_every_provider_with_a_real_list_has_cases() -> None:
    assert set(WRITTEN["real"]) == set(LISTS)
    assert len(CASES) >= 200
