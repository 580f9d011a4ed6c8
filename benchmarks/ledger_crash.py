"""Eight processes of 200 tasks each that spend from one ledger file while they are killed at random: a minute of it.

`python -m benchmarks.ledger_crash [seconds]`. An observer sums all accounts over all windows meanwhile; afterwards the file is
compared with what each process has noted. Exit code 1 when a ceiling was passed, a call lost, or a lease is left.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from tests.support.ledger_load import under_fire


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    with tempfile.TemporaryDirectory() as name:
        outcome = under_fire(Path(name), processes=8, tasks=200, seconds=seconds)
    fullest = ", ".join(f"{id} {part:.1%}" for id, part in sorted(outcome.seen.fullest.items()))
    lines = [
        f"{seconds:.0f} s, load average {os.getloadavg()[0]:.1f}: {outcome.killed} processes killed",
        f"{outcome.calls} calls recorded, {outcome.lost} of them lost with their process, {outcome.acknowledged} acknowledged",
        f"{outcome.seen.samples} looks at all accounts; the fullest that each was: {fullest}",
        *(f"MISSED: {fault}" for fault in outcome.faults),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return int(bool(outcome.faults))


if __name__ == "__main__":
    sys.exit(main())
