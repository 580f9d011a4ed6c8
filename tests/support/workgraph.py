"""Stand-ins for `wg` and `drifts`, the command line tools of a Workgraph project, as executables that record their calls.

project = Workgraph(tmp_path)                     # a project with the task my-task, and `project.bin` for PATH
project.environment()                             # PATH with the stand-ins in front
project.calls                                     # [("wg", "show", "my-task"), ("drifts", "check", "--task", ...), ...]
project.findings(False)                           # drift checks are clean (exit 0) instead of having findings (exit 3)
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from pathlib import Path

_PROGRAM = """#!/bin/sh
# A stand-in for {name}.
home={home}
printf '%s\\0' "$(($# + 1))" {name} "$@" >> "$home/calls"
refuse() {{ printf '%s\\n' "$1" >&2; exit 1; }}
known() {{ grep -qFxe "$1" "$home/tasks" || refuse "Error: no task '$1'"; }}
"""
_WG = """
case "$1" in
show) known "$2"; printf 'Task: %s\\nStatus: in-progress\\n' "$2" ;;
log | done) known "$2"; printf '%s %s\\n' "$1" "$2" ;;
ready) cat "$home/tasks" ;;
status) printf '%s tasks\\n' "$(grep -c '' "$home/tasks")" ;;
*) refuse "error: unrecognized subcommand '$1'" ;;
esac
"""
_DRIFTS = """
[ "$1" = check ] && [ "$2" = --task ] || refuse 'usage: drifts check --task ID [--lane-strategy WORD] [--write-log] ...'
known "$3"
[ ! -e "$home/broken" ] || refuse 'drifts: no contract can be read'
[ -e "$home/findings" ] || { printf 'coredrift: clean\\n'; exit 0; }
printf 'coredrift: 1 finding: scope_drift\\n'
exit 3
"""


class Workgraph:
    """A project in `folder/project`, with the stand-ins beside it."""

    def __init__(self, folder: Path, tasks: Iterable[str] = ("my-task",)) -> None:
        self.home = folder / "workgraph"
        self.bin = self.home / "bin"
        self.project = folder / "project"
        self.project.mkdir(parents=True, exist_ok=True)
        for name in ("wg", "drifts"):
            self.install(self.bin / name)
        self.tasks(*tasks)
        self.findings(True)

    def install(self, path: Path) -> None:
        """The stand-in of that name as an executable."""
        path.parent.mkdir(parents=True, exist_ok=True)
        head = _PROGRAM.format(name=path.name, home=shlex.quote(str(self.home)))
        path.write_text(head + (_WG if path.name == "wg" else _DRIFTS), encoding="utf-8")
        path.chmod(0o755)

    def tasks(self, *ids: str) -> None:
        """The ids of all tasks."""
        (self.home / "tasks").write_text("".join(f"{id}\n" for id in ids), encoding="utf-8")

    def findings(self, found: bool) -> None:
        """Whether drift checks find something."""
        self._flag("findings", found)

    def broken(self, broken: bool) -> None:
        """Whether drift checks cannot be made at all."""
        self._flag("broken", broken)

    def _flag(self, name: str, up: bool) -> None:
        path = self.home / name
        path.touch() if up else path.unlink(missing_ok=True)

    def environment(self) -> dict[str, str]:
        """PATH with the stand-ins before all else."""
        return {"PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}"}

    @property
    def calls(self) -> list[tuple[str, ...]]:
        """What was called, in order: the name and its arguments."""
        file = self.home / "calls"
        words = file.read_text(encoding="utf-8").split("\0")[:-1] if file.exists() else []
        found = []
        while words:
            end = 1 + int(words[0])
            found.append(tuple(words[1:end]))
            words = words[end:]
        return found
