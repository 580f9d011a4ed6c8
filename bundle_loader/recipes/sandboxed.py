"""A command within bubblewrap: it reads the system, writes its working directory only, and has no network and no home."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from bundle_loader.errors import StepFailed


def sandboxed(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], readable: Sequence[Path] = ()) -> list[str]:
    """The arguments that run `argv` within bubblewrap; `readable` are further files that it may read.

    Raises StepFailed where bubblewrap is not there: asked for and not possible is never done without.
    """
    program = shutil.which("bwrap", path=env.get("PATH"))
    if program is None:
        raise StepFailed(
            "isolation is asked for, and bubblewrap ('bwrap') is not on PATH", remedy="install it, or run without isolation"
        )
    folder = str(cwd.resolve())
    home = env.get("HOME", "")
    hidden = [str(Path(place).resolve()) for place in (home, "/tmp", "/var/tmp", "/run/user") if place and Path(place).is_dir()]
    if any(place == folder or place.startswith(folder.rstrip("/") + "/") for place in hidden):
        raise StepFailed(
            f"isolation would not hide what it must: the working directory '{folder}' holds your home or the temporary files",
            remedy="run it in a folder of the project",
        )
    made = [program, "--die-with-parent", "--unshare-all", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    for place in hidden:
        made += ["--tmpfs", place]
    for path in readable:
        made += ["--ro-bind", str(path), str(path)]
    return [*made, "--bind", folder, folder, "--chdir", folder, "--", *argv]
