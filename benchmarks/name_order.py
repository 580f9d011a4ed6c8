"""How often the newest model leads, and how long the ordering takes, against the usual ways to sort ids.

`python -m benchmarks.name_order` prints one row per way over the scored cases of `tests/data/model_names.jsonl`.
"""

from __future__ import annotations

import fnmatch
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bundle_loader.routing.catalogue import ModelInfo
from bundle_loader.routing.model_names import model_info, newest_models

CASES = Path(__file__).parent.parent / "tests" / "data" / "model_names.jsonl"
ROUNDS = 5
_DATE = re.compile(r"[-@]?(20\d\d-\d\d-\d\d|20\d{6}|\d\d-20\d\d|(?<!\d)\d{4}(?!\d))")

Pick = Callable[[str, Sequence[ModelInfo], str], str | None]


def ours(pattern: str, models: Sequence[ModelInfo], provider: str) -> str | None:
    found = newest_models(pattern, models, provider=provider)
    return found[0].id if found else None


def reverse_text(pattern: str, models: Sequence[ModelInfo], _: str) -> str | None:
    return max((model.id for model in _matching(pattern, models)), default=None)


def version_sort(pattern: str, models: Sequence[ModelInfo], _: str) -> str | None:
    def key(model_id: str) -> tuple[list[tuple[int, int, str]], str]:
        parts = re.findall(r"\d+|\D+", _DATE.sub("", model_id))
        return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts], model_id

    return max((model.id for model in _matching(pattern, models)), key=key, default=None)


def created_sort(pattern: str, models: Sequence[ModelInfo], _: str) -> str | None:
    found = _matching(pattern, models)
    newest = max(found, key=lambda model: (model.created.timestamp() if model.created else 0.0, model.id), default=None)
    return newest.id if newest else None


def _matching(pattern: str, models: Sequence[ModelInfo]) -> list[ModelInfo]:
    wanted = pattern.lower()
    return [model for model in models if fnmatch.fnmatchcase(model.id.lower().removeprefix("models/"), wanted)]


WAYS: dict[str, Pick] = {
    "bundle_loader": ours,
    "reverse text sort": reverse_text,
    "version sort, dates stripped": version_sort,
    "`created`, else reverse text": created_sort,
}


def load() -> list[tuple[dict[str, Any], list[ModelInfo]]]:
    """The scored cases, each with its catalogue."""
    cases = [json.loads(line) for line in CASES.read_text("utf-8").splitlines()]
    return [(case, [model_info(model) for model in case["models"]]) for case in cases if not case["ambiguous"]]


def accuracy(pick: Pick, cases: Sequence[tuple[dict[str, Any], list[ModelInfo]]]) -> float:
    """The share of cases in which the picked id is the expected model."""
    right = 0
    for case, models in cases:
        picked = pick(case["pattern"], models, case["provider"])
        right += picked is None if case["expected"] is None else picked in case["acceptable"]
    return right / len(cases)


def microseconds(pick: Pick, cases: Sequence[tuple[dict[str, Any], list[ModelInfo]]]) -> float:
    """Mean time of one call, the best of some rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for case, models in cases:
            pick(case["pattern"], models, case["provider"])
        best = min(best, time.perf_counter() - start)
    return best / len(cases) * 1e6


def main() -> None:
    cases = load()
    mean = sum(len(models) for _, models in cases) / len(cases)
    write = sys.stdout.write
    write(f"{len(cases)} cases, {mean:.0f} models in the mean list\n\n")
    write("| way | right | ratio | us per call | ratio |\n|---|---|---|---|---|\n")
    rows = [(name, accuracy(pick, cases), microseconds(pick, cases)) for name, pick in WAYS.items()]
    _, our_share, our_time = rows[0]
    for name, share, spent in rows:
        write(f"| {name} | {share:.1%} | {share / our_share:.2f} | {spent:.0f} | {spent / our_time:.2f} |\n")


if __name__ == "__main__":
    main()
