"""Figures as ratios against peers: alternating runs, CPU of children, and one table with what must hold."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Figure:
    """One ratio; `must` and `goal` are the most that it may be, None where it is only reported."""

    name: str
    ours: str
    peer: str
    ratio: float
    must: float | None = None
    goal: float | None = None
    unclear: bool = False
    """The noise is as large as what was to be shown: neither met nor missed, and so not shown."""

    @property
    def missed(self) -> bool:
        """True when the must is missed, or not shown to be met; a missed goal is only shown."""
        return self.must is not None and (self.unclear or self.ratio > self.must)

    @property
    def verdict(self) -> str:
        """The last column of the table."""
        if self.missed:
            return "UNCLEAR" if self.unclear else "MISSED"
        if self.goal is not None:
            return "goal met" if self.ratio <= self.goal else "must met"
        return "met" if self.must is not None else ""


def report(title: str, figures: Sequence[Figure], *, faults: Iterable[str] = ()) -> int:
    """Print the table; the exit code is 1 when a must is missed or there is a fault."""
    found = list(faults)
    lines = [title, "", "| figure | ours | peer | ratio | must | goal | |", "|---|---|---|---|---|---|---|"]
    lines += [
        f"| {f.name} | {f.ours} | {f.peer} | {f.ratio:.2f} | {_bound(f.must)} | {_bound(f.goal)} | {f.verdict} |" for f in figures
    ]
    lines += ["", *(f"MISSED: {fault}" for fault in found)] if found else []
    sys.stdout.write("\n".join(lines) + "\n")
    return int(bool(found) or any(figure.missed for figure in figures))


def _bound(value: float | None) -> str:
    return f"<= {value:g}" if value is not None else ""


def alternate(repeats: int, *ways: Callable[[], float]) -> list[list[float]]:
    """What each way costs, `repeats` times each, in the order A B A B; one round before that is not counted."""
    for way in ways:
        way()
    costs: list[list[float]] = [[] for _ in ways]
    for _ in range(repeats):
        for way, found in zip(ways, costs, strict=True):
            found.append(way())
    return costs


def paired(ours: Sequence[float], peer: Sequence[float]) -> float:
    """The median ratio of runs that were next to each other, so that a slow spell of the machine hits both."""
    return median(mine / other for mine, other in zip(ours, peer, strict=True))


def child_cpu(*command: str) -> float:
    """Seconds of user and system CPU that a child process took. Raises RuntimeError when it fails."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=ROOT)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    with child:
        said = child.stderr.read() if child.stderr else b""
    if child.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {said.decode(errors='replace')}")
    return used.ru_utime + used.ru_stime
