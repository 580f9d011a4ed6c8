"""Running the command line as a user does: a process of its own, with an environment of its own."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_CHECKED = {"PYTHONWARNINGS": "error", "PYTHONDEVMODE": "1"}
_AT_START = ("PYTHON", "LANG", "LC_")
_LOCK = threading.Lock()


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
        **_CHECKED,
        **(environment or {}),
    }
    where = Path(cwd or Path.cwd())
    data = given.encode() if isinstance(given, str) else given
    if any(name.startswith(_AT_START) for name in environment or {}) or not _LOCK.acquire(blocking=False):
        code, out, err = _apart(arguments, where, surroundings, data)
    else:
        try:
            code, out, err = _forked(arguments, where, surroundings, data)
        finally:
            _LOCK.release()
    assert "Traceback" not in err, err
    return Ran(code, out, err)


def _apart(arguments: Sequence[str], cwd: Path, environment: Mapping[str, str], given: bytes) -> tuple[int, str, str]:
    """In a new interpreter: for what an interpreter reads as it starts, and while the server is busy."""
    done = subprocess.run(
        [sys.executable, "-m", "bundle_loader", *arguments],
        cwd=cwd,
        env=dict(environment),
        input=given,
        capture_output=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@cache
def _server() -> subprocess.Popen[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **_CHECKED}
    code = [sys.executable, str(Path(__file__).with_name("command_server.py"))]
    server = subprocess.Popen(code, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    atexit.register(server.communicate)
    return server


def _forked(arguments: Sequence[str], cwd: Path, environment: Mapping[str, str], given: bytes) -> tuple[int, str, str]:
    """In a process that begins with everything imported."""
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryDirectory(prefix="bundle-loader-command-") as folder:
        files = {name: Path(folder, name) for name in ("given", "out", "err")}
        files["given"].write_bytes(given)
        wish = {"arguments": arguments, "cwd": str(cwd), "environment": environment, **{k: str(v) for k, v in files.items()}}
        server.stdin.write(json.dumps(wish) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        return code, files["out"].read_bytes().decode(), files["err"].read_bytes().decode()
