"""Runs a prepared shell command: in bash, with an environment of its own, a time limit, and bubblewrap where it is asked for."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bundle_loader.errors import StepFailed
from bundle_loader.recipes.processes import Ended, environment, run
from bundle_loader.recipes.sandboxed import sandboxed
from bundle_loader.recipes.shell_text import PreparedCommand

MAX_COMMAND: Final = 100_000
"""Bytes of a command that is handed to the shell as an argument; a longer one goes by a file."""
LONG: Final = 16_384
"""Bytes of a value that goes by a file, not by the environment."""
MANY: Final = 131_072
"""Bytes of all values together from which they all go by files."""

ShellOutcome = Ended


async def run_shell(
    prepared: PreparedCommand,
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    isolate: bool = False,
    host: Mapping[str, str] | None = None,
) -> ShellOutcome:
    """Runs it to its end, or until `timeout` seconds are over. `env` is the step's own environment, filled in.

    Of the environment of this program (or `host`) only the names of `processes.INHERITED` are seen. Raises StepFailed where
    there is no shell that understands the command, no bubblewrap for `isolate`, or an environment that no process takes.
    """
    outer = os.environ if host is None else host
    made = environment(outer, env or {})
    shell, options = _shell(prepared, made)
    with tempfile.TemporaryDirectory(prefix="bundle-loader-") as folder:
        command, small, files = _handed_over(prepared, Path(folder), bash=bool(options))
        made.update(small)
        if len(os.fsencode(command)) > MAX_COMMAND:
            script = _written(Path(folder) / "command", command)
            files.append(script)
            argv = [shell, *options, str(script)]
        else:
            argv = [shell, *options, "-c", "--", command]
        if isolate:
            argv = sandboxed(argv, cwd=cwd, env={**made, "PATH": outer.get("PATH", os.defpath)}, readable=files)
        return await run(argv, cwd=cwd, env=made, timeout=timeout)


def _shell(prepared: PreparedCommand, env: Mapping[str, str]) -> tuple[str, list[str]]:
    path = env.get("PATH", os.defpath)
    found = shutil.which("bash", path=path)
    if found is not None:
        return found, ["--noprofile", "--norc"]
    found = shutil.which("sh", path=path)
    if found is None:
        raise StepFailed("there is no shell on PATH: neither 'bash' nor 'sh'")
    if prepared.bash_only:
        raise StepFailed(
            f"the command needs bash, which is not on PATH: 'sh' does not know {', '.join(prepared.bash_only)}",
            remedy="install bash, or write it for sh",
        )
    return found, []


def _handed_over(prepared: PreparedCommand, folder: Path, *, bash: bool) -> tuple[str, dict[str, str], list[Path]]:
    """The command, the variables of the environment, and the files of the values that are too long for one.

    A value from a file is read by the shell before the command begins, exactly, into a variable that is not handed on.
    """
    sizes = {name: len(os.fsencode(value)) for name, value in prepared.environment.items()}
    longest = LONG if sum(sizes.values()) <= MANY else 0
    small: dict[str, str] = {}
    files: list[Path] = []
    before = ""
    for name, value in prepared.environment.items():
        if sizes[name] <= longest:
            small[name] = value
            continue
        path = _written(folder / name, value)
        files.append(path)
        at = f"{name}_AT"
        small[at] = str(path)
        if bash:
            before += f"IFS= read -r -d '' {name} < \"${{{at}}}\" || :; unset {at}; "
        else:
            before += f'{name}=$(cat "${{{at}}}"; printf x); {name}=${{{name}%x}}; unset {at}; '
    return before + prepared.command, small, files


def _written(path: Path, text: str) -> Path:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(handle, "w", encoding="utf-8", newline="") as file:
        file.write(text)
    return path
