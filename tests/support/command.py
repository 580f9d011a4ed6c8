"""Running the command line as a user does: a process of its own, with an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


def command(
    *arguments: str, home: Path, cwd: Path | None = None, environment: Mapping[str, str] | None = None, given: str | bytes = ""
) -> Ran:
    """Run `bundle-loader` with `arguments`; `home` is an empty folder for everything it keeps."""
    surroundings = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "BUNDLE_LOADER_HOME": str(home / "data"),
        "PYTHONWARNINGS": "error",
        "PYTHONDEVMODE": "1",
        **(environment or {}),
    }
    done = subprocess.run(
        [sys.executable, "-m", "bundle_loader", *arguments],
        cwd=cwd,
        env=surroundings,
        input=given.encode() if isinstance(given, str) else given,
        capture_output=True,
        timeout=120,
        check=False,
    )
    out, err = done.stdout.decode(), done.stderr.decode()
    assert "Traceback" not in err, err
    return Ran(done.returncode, out, err)
