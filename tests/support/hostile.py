"""Loads one bundle in a process of its own and says what it took: `python -m tests.support.hostile FILE [SETTINGS_FOLDER]`."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from bundle_loader.errors import DeclarationError
from bundle_loader.sources.load import load_bundle
from bundle_loader.sources.settings import find_settings

_STATUS = Path("/proc/self/status")
_PEAK_UNIT = 1 if sys.platform == "darwin" else 1024


def peak() -> int:
    """Bytes at the height of this process. What the parent had is not in it, which `ru_maxrss` alone cannot say on Linux."""
    if _STATUS.exists():
        lines = dict(line.split(":", 1) for line in _STATUS.read_text("ascii").splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _PEAK_UNIT


def main(file: str, home: str | None = None) -> None:
    load_bundle("foundation", settings=[])
    resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
    before, began = peak(), time.process_time()
    faults: list[str] = []
    broken: dict[str, list[str]] = {}
    try:
        found = find_settings({"BUNDLE_LOADER_HOME": home, "BUNDLE_LOADER_SITE": home + "/none"}) if home else ()
        bundle = load_bundle(file, settings=found)
        broken = {name: [str(fault) for fault in wrong] for name, wrong in bundle.broken.items()}
    except DeclarationError as error:
        faults = [str(fault) for fault in error.faults]
    spent = time.process_time() - began
    json.dump({"seconds": spent, "mebibytes": (peak() - before) / 2**20, "faults": faults, "broken": broken}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:3])
