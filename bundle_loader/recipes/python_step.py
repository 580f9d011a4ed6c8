"""Calls a Python function of a trusted recipe in a process of its own: plain JSON in, plain JSON back."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bundle_loader.declared.recipe import PythonStep
from bundle_loader.errors import StepFailed
from bundle_loader.recipes.processes import environment, run

MAX_RESULT: Final = 50_000_000
"""Bytes of a result as JSON."""
_SHOWN: Final = 2_000
_CHILD: Final = Path(__file__).with_name("python_child.py")


async def call_function(
    step: PythonStep,
    args: Mapping[str, Any],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    trusted: bool = False,
    host: Mapping[str, str] | None = None,
) -> Any:
    """What the function returns for `args`, as a plain JSON value; modules are looked for in `cwd` first.

    What it prints goes nowhere. Raises StepFailed where the recipe is not trusted, the function is not there, raises, returns
    something else or takes longer than `timeout` seconds (`timed_out`); then the whole process group is ended.
    """
    named = f"{step.module}:{step.function}"
    if not trusted:
        raise StepFailed(f"'{named}' is a Python function of a source that is not trusted", remedy="trust it in your settings")
    made = environment(os.environ if host is None else host, env or {})
    with tempfile.TemporaryDirectory(prefix="bundle-loader-") as folder:
        asked, answer = Path(folder) / "asked", Path(folder) / "answer"
        given = {"module": step.module, "function": step.function, "args": dict(args), "answer": str(answer)}
        asked.write_text(json.dumps(given, ensure_ascii=True), encoding="ascii")
        ended = await run([sys.executable, "-P", str(_CHILD), str(asked)], cwd=cwd, env=made, timeout=timeout)
        if ended.timed_out:
            error = StepFailed(f"'{named}' was still running after {timeout:g} s and was ended")
            error.timed_out = True
            raise error
        if not answer.exists():
            said = ended.stderr.strip()[-_SHOWN:]
            raise StepFailed(f"'{named}' ended with exit code {ended.code} and no result" + (f": {said}" if said else ""))
        if answer.stat().st_size > MAX_RESULT:
            raise StepFailed(f"'{named}' returned more than {MAX_RESULT} bytes")
        found = json.loads(answer.read_text(encoding="utf-8"))
    if "fault" in found:
        raise StepFailed(f"'{named}' {found['fault']}"[:_SHOWN])
    return found["value"]
