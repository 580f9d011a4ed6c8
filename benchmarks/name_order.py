"""How often the newest model leads, and what ordering costs, against the usual ways to sort ids.

`python -m benchmarks.name_order` goes over the scored cases of `tests/data/model_names.jsonl`: in all, for each provider and
for each trap. Then it orders lists of 100 to 10,000 models that nobody has read before. Exit code 1 when fewer than 97 % are
right, or when the cost of a model grows with the list.
"""

from __future__ import annotations

import fnmatch
import json
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundle_loader.routing.catalogue import ModelInfo
from bundle_loader.routing.model_ids import parse
from bundle_loader.routing.model_names import ModelList, model_info, newest_models

DATA = Path(__file__).parent.parent / "tests" / "data"
ROUNDS = 5
MUST = 0.97
SIZES = (100, 400, 1000, 10_000)
MOST_GROWTH = 3.0
"""How much dearer a model may be in the longest list than in the shortest."""
_DATE = re.compile(r"[-@]?(20\d\d-\d\d-\d\d|20\d{6}|\d\d-20\d\d|(?<!\d)\d{4}(?!\d))")

Pick = Callable[[str, Sequence[ModelInfo]], str | None]


def ours(pattern: str, models: Sequence[ModelInfo]) -> str | None:
    found = newest_models(pattern, models)
    return found[0].id if found else None


def reverse_text(pattern: str, models: Sequence[ModelInfo]) -> str | None:
    return max((model.id for model in _matching(pattern, models)), default=None)


def version_sort(pattern: str, models: Sequence[ModelInfo]) -> str | None:
    def key(model_id: str) -> tuple[list[tuple[int, int, str]], str]:
        parts = re.findall(r"\d+|\D+", _DATE.sub("", model_id))
        return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts], model_id

    return max((model.id for model in _matching(pattern, models)), key=key, default=None)


def created_sort(pattern: str, models: Sequence[ModelInfo]) -> str | None:
    found = _matching(pattern, models)
    newest = max(found, key=lambda model: (model.created.timestamp() if model.created else 0.0, model.id), default=None)
    return newest.id if newest else None


def _matching(pattern: str, models: Sequence[ModelInfo]) -> list[ModelInfo]:
    wanted = pattern.lower()
    return [model for model in models if fnmatch.fnmatchcase(model.id.lower().removeprefix("models/"), wanted)]


WAYS: dict[str, Pick] = {
    "bundle_loader": ours,
    "reverse text": reverse_text,
    "version, dates stripped": version_sort,
    "`created`, else text": created_sort,
}


@dataclass(frozen=True, slots=True)
class Case:
    """A scored case, and whether each way is right; the ways as in `WAYS`."""

    told: dict[str, Any]
    models: tuple[ModelInfo, ...]
    right: tuple[bool, ...]


def load() -> list[Case]:
    """The scored cases, each asked of every way."""
    told = [json.loads(line) for line in (DATA / "model_names.jsonl").read_text("utf-8").splitlines()]
    return [_asked(case, tuple(model_info(model) for model in case["models"])) for case in told if not case["ambiguous"]]


def _asked(case: dict[str, Any], models: tuple[ModelInfo, ...]) -> Case:
    picked = [pick(case["pattern"], models) for pick in WAYS.values()]
    acceptable = case["acceptable"] if case["expected"] is not None else [None]
    return Case(case, models, tuple(one in acceptable for one in picked))


def microseconds(pick: Pick, cases: Sequence[Case]) -> float:
    """Mean time of one call, the best of some rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for case in cases:
            pick(case.told["pattern"], case.models)
        best = min(best, time.perf_counter() - start)
    return best / len(cases) * 1e6


def table(title: str, rows: Iterable[tuple[str, Sequence[Case]]]) -> str:
    """One row per group of cases, the share that each way has right."""
    lines = [f"| {title} | cases | {' | '.join(WAYS)} |", f"|---|---|{'---|' * len(WAYS)}"]
    for name, cases in rows:
        shares = (sum(case.right[at] for case in cases) / len(cases) for at in range(len(WAYS)))
        lines.append(f"| {name} | {len(cases)} | {' | '.join(f'{share:.1%}' for share in shares)} |")
    return "\n".join(lines)


def groups(cases: Sequence[Case], of: Callable[[Case], Iterable[str]]) -> list[tuple[str, list[Case]]]:
    """The cases by name, the largest group first."""
    found: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        for name in of(case):
            found[name].append(case)
    return sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))


def made_list(count: int) -> list[ModelInfo]:
    """A list as long as is wanted: the real ones, and again under other vendors' names."""
    lines = (DATA / "model_lists.jsonl").read_text("utf-8").splitlines()
    real = [model_info(model) for line in lines for model in json.loads(line)["models"]]
    return [
        ModelInfo(f"v{at // len(real)}/{real[at % len(real)].id}", created=real[at % len(real)].created) for at in range(count)
    ]


def milliseconds(count: int, rounds: int = ROUNDS) -> tuple[float, float]:
    """CPU of ordering a list of `count` ids that were never read before, and of asking the same list for another pattern."""
    models, cold, again = made_list(count), float("inf"), float("inf")
    for _ in range(rounds):
        parse.cache_clear()
        start = time.process_time()
        listed = ModelList(models)
        listed.newest("*")
        middle = time.process_time()
        listed.newest("*claude-*")
        cold, again = min(cold, middle - start), min(again, time.process_time() - middle)
    return cold * 1e3, again * 1e3


def main() -> int:
    """Print the tables; the exit code says whether the bounds hold."""
    cases = load()
    mean = sum(len(case.models) for case in cases) / len(cases)
    write = sys.stdout.write
    write(f"{len(cases)} cases, {mean:.0f} models in the mean list\n\n{table('all', [('all', cases)])}\n\n")
    write(f"{table('provider', groups(cases, lambda case: [case.told['provider']]))}\n\n")
    write(f"{table('trap', groups(cases, lambda case: case.told['traps']))}\n\n")
    spent = [microseconds(pick, cases) for pick in WAYS.values()]
    write(f"| us per call, list unread | {' | '.join(WAYS)} |\n|---|{'---|' * len(WAYS)}\n")
    write(f"| a call | {' | '.join(f'{one:.0f}' for one in spent)} |\n\n")
    write("| models in the list | cold, ms | us per model | the same list, another pattern, ms |\n|---|---|---|---|\n")
    costs = {count: milliseconds(count) for count in SIZES}
    for count, (cold, again) in costs.items():
        write(f"| {count:,} | {cold:.1f} | {cold / count * 1e3:.0f} | {again:.2f} |\n")
    share = sum(case.right[0] for case in cases) / len(cases)
    growth = (costs[SIZES[-1]][0] / SIZES[-1]) / (costs[SIZES[0]][0] / SIZES[0])
    missed = [f"{share:.1%} are right, fewer than {MUST:.0%}"] if share < MUST else []
    missed += [f"a model costs {growth:.1f} times as much in the longest list"] if growth > MOST_GROWTH else []
    for case in cases:
        if not case.right[0]:
            write(f"\nwrong: {case.told['provider']} {case.told['pattern']}: not {case.told['expected']}\n")
    for fault in missed:
        write(f"\nMISSED: {fault}\n")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
