"""The loopback vendors in a process of their own, which answer with what was made before: their CPU is not the caller's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.figures import ROOT


@contextmanager
def instant_vendors(*options: str) -> Iterator[str]:
    """Their base URL; `options` are those of `python -m tests.support.vendors`."""
    command = [sys.executable, "-m", "tests.support.vendors", "--instant", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().split()[1]
        finally:
            server.terminate()
