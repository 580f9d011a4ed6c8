"""A chaos run: four vendors with outages, bursts of 429, slow first tokens and cut streams, and who gets answers all the same.

`python -m benchmarks.chaos [--seeds N] [--arrivals N] [--scale N]`. Each seed is ten minutes of weather (`benchmarks.weather`),
with some allowed candidate up for 99.5 % of arrivals. Delegations of five model types (tiers of three to four candidates) arrive
at random moments, every tenth as a stream. The host, the ledger on disk, its budgets and its breakers are the real ones; the
vendors are in memory, and the time of the event loop and of the host's clock jumps to the next timer whenever nothing runs
(`fast_time.JumpLoop`), so that a seed comes to the same on every machine, however busy. Beside it the same without fallback (the
first of each list alone).

Over loopback sockets, where time cannot jump, it runs `scale` times as fast: the first seed with fewer delegations, through the
real SDK to vendors in a process of their own, and `litellm.Router` over the same sockets where it is installed.

Handled: answered, or refused for a budget with a record. Completed: answered, of those that no budget refused. A text that is not
the whole answer counts as neither.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from statistics import mean

from benchmarks.chaos_run import TIERS, Plan, Tally
from benchmarks.figures import ROOT
from benchmarks.peers import INSTALL

HANDLED, COMPLETED, UP = 0.99, 0.98, 0.995
SOCKETS_SCALE = 4.0
SOCKETS_ARRIVALS = 3000
"""More of them, or faster, would only measure the machine; litellm's Router takes three times the CPU."""


def child(plan: Plan) -> Tally | None:
    """One run in a process of its own; None where the peer is not installed."""
    command = [sys.executable, "-m", "benchmarks.chaos_run", plan.encoded()]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode:
        raise RuntimeError(f"{plan} failed: {done.stderr}")
    found = json.loads(done.stdout.splitlines()[-1])
    return Tally(**found) if found is not None else None


def plans(seeds: Iterable[int], arrivals: int, scale: float) -> list[Plan]:
    """Every run, in the order of the table."""
    listed = []
    for seed in seeds:
        listed += [Plan(seed, way, arrivals) for way in ("ours", "alone")]
    listed += [Plan(1, way, min(arrivals, SOCKETS_ARRIVALS), scale) for way in ("sockets", "litellm")]
    return listed


def faults_of(plan: Plan, tally: Tally) -> list[str]:
    """What one run missed of what must hold; the peers need nothing."""
    where = f"seed {plan.seed}, {plan.way}"
    if tally.up < UP and plan.way in ("ours", "sockets"):
        return [f"{where}: a candidate was up for {tally.up:.2%} of arrivals only, so the run shows nothing"]
    missed = [f"{where}: {fault}" for fault in tally.faults]
    if plan.way in ("ours", "sockets"):
        if tally.handled < HANDLED:
            missed.append(f"{where}: handled {tally.handled:.2%}; {HANDLED:.0%} must be")
        missed += [
            f"{where}: {tier} completed {share:.2%}; more than {COMPLETED:.0%} must be"
            for tier, share in tally.completed.items()
            if share <= COMPLETED
        ]
    return missed


def line(plan: Plan, tally: Tally) -> str:
    shares = " | ".join(f"{tally.completed.get(tier, 0):.2%}" for tier in TIERS)
    return (
        f"| {plan.seed} | {plan.way} | {plan.arrivals} | {tally.up:.2%} | {tally.handled:.2%} | {shares} | {tally.refused} |"
        f" {tally.garbage} | {tally.degraded} | {tally.p50:.1f} / {tally.p99:.1f} s | {tally.lag:.1f} s | {tally.seconds:.0f} s |"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Delegate through bad weather.")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--arrivals", type=int, default=10_000)
    parser.add_argument("--scale", type=float, default=SOCKETS_SCALE, help="how many times as fast time runs over sockets")
    given = parser.parse_args()
    listed = plans(range(1, given.seeds + 1), given.arrivals, given.scale)
    with ThreadPoolExecutor(2) as pool:
        tallies = list(pool.map(child, listed))
    header = ["seed", "way", "arrivals", "up", "handled", *TIERS]
    header += ["refused", "garbage", "degraded", "p50 / p99", "most lag", "took"]
    lines = [
        f"Chaos; time jumps, over sockets it runs {given.scale:g} times as fast; shares of delegations, columns of tiers are what"
        " they completed",
        "",
    ]
    lines += [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    missed: list[str] = []
    failed: list[str] = []
    for plan, tally in zip(listed, tallies, strict=True):
        if tally is None:
            lines.append(f"| {plan.seed} | {plan.way}: not installed, {INSTALL} |{' |' * (len(header) - 2)}")
            continue
        lines.append(line(plan, tally))
        missed += faults_of(plan, tally)
        if plan.way in ("ours", "sockets"):
            counts = (f"{count} {what}" for what, count in sorted(tally.failures.items()))
            failed.append(f"neither answered nor refused, seed {plan.seed}, {plan.way}: {', '.join(counts) or 'none'}")
    ours = [tally for plan, tally in zip(listed, tallies, strict=True) if tally is not None and plan.way == "ours"]
    alone = [tally for plan, tally in zip(listed, tallies, strict=True) if tally is not None and plan.way == "alone"]
    handled, single = mean(one.handled for one in ours), mean(one.handled for one in alone)
    lines += ["", *failed, "", f"handled: {handled:.2%} with fallback, {single:.2%} without (ratio {handled / single:.2f})"]
    sys.stdout.write("\n".join([*lines, *(f"MISSED: {one}" for one in missed)]) + "\n")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
