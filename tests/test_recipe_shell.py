"""Processes of steps: their environment, time, outputs and end, bubblewrap, and Python functions."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from bundle_loader.declared.recipe import PythonStep
from bundle_loader.errors import StepFailed
from bundle_loader.recipes.processes import MAX_OUTPUT
from bundle_loader.recipes.python_step import call_function
from bundle_loader.recipes.sandboxed import sandboxed
from bundle_loader.recipes.shell import LONG, ShellOutcome, run_shell
from bundle_loader.recipes.shell_text import PreparedCommand, prepare
from bundle_loader.recipes.values import Values

HOST = {
    "PATH": os.environ["PATH"], "HOME": "/home/of/nobody", "LANG": "C.UTF-8", "LC_TIME": "C", "TZ": "UTC", "TERM": "dumb",
    "ANTHROPIC_API_KEY": "sk-ant-secret", "OPENAI_API_KEY": "sk-secret", "BASH_ENV": "/tmp/evil", "LD_PRELOAD": "",
    "SSH_AUTH_SOCK": "x",
}  # fmt: skip


async def shell(command: str, folder: Path, **more: object) -> ShellOutcome:
    values = more.pop("values", {})
    given: dict[str, object] = {"host": HOST, "timeout": 60.0, **more}
    return await run_shell(prepare(command, Values(values)), cwd=folder, **given)  # type: ignore[arg-type]


def alive(group_file: Path) -> list[int]:
    """The processes that a command wrote down and that are still there."""
    found = []
    for pid in map(int, group_file.read_text().split()):
        state = Path(f"/proc/{pid}/stat")
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            continue
        if not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] != "Z":
            found.append(pid)
    return found


async def gone(group_file: Path) -> bool:
    for _ in range(200):
        if not alive(group_file):
            return True
        await asyncio.sleep(0.05)
    return False


async def test_a_command_has_its_folder_outputs_code_and_nothing_to_read(tmp_path: Path) -> None:
    done = await shell("pwd; echo told >&2; cat; exit 3", tmp_path)
    assert (done.stdout, done.stderr, done.code, done.timed_out, done.cut) == (f"{tmp_path}\n", "told\n", 3, False, ())
    assert (await shell("kill -9 $$", tmp_path)).code == -9
    assert (await shell("-x", tmp_path)).code == 127
    assert (await shell("echo $LINENO\nif [[ a == a ]]; then echo $LINENO; fi", tmp_path)).stdout == "1\n2\n"


async def test_of_the_environment_only_what_is_listed_is_seen(tmp_path: Path) -> None:
    done = await shell("env", tmp_path, env={"OWN": "a b", "TERM": "other"})
    seen = dict(line.split("=", 1) for line in done.stdout.splitlines())
    made_by_bash = {"PWD", "OLDPWD", "SHLVL", "_", "SHELL"}
    assert seen.keys() - made_by_bash == {"PATH", "HOME", "LANG", "LC_TIME", "TZ", "TERM", "OWN"}
    assert (seen["OWN"], seen["TERM"]) == ("a b", "other")


@pytest.mark.parametrize(("env", "said"), [
    ({"A": "x" * 140_000}, "at most 131000"), ({"A": "\0"}, "zero byte"), ({"A B": "x"}, "not a name"),
    ({"A=B": "x"}, "not a name"),
    ({f"A{n}": "x" * 120_000 for n in range(10)}, "in all"),
])  # fmt: skip
async def test_an_environment_that_no_process_takes_is_refused(env: dict[str, str], said: str, tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match=said):
        await shell("echo", tmp_path, env=env)


async def test_long_values_come_back_exactly(tmp_path: Path) -> None:
    long = "$(touch pwned)'\"é\n" * 300_000 + "\n\n"
    assert len(long.encode()) > 5_000_000
    values = {"long": long, "edge": "x" * (LONG + 1), **{f"v{n}": "y" * 16_000 for n in range(12)}}
    done = await shell("set -u; cat <<EOF\n{{long}}.\nEOF\nprintf '%s' {{edge}}; env | grep -c BL_", tmp_path, values=values)
    assert done.stdout == f"{long}.\n{values['edge']}0\n"
    many = "".join(f"printf '%s' '{{{{v{n}}}}}';" for n in range(12))
    assert (await shell(many, tmp_path, values=values)).stdout == "y" * 192_000
    assert os.listdir(tmp_path) == []
    done = await shell("/bin/echo {{long}}", tmp_path, values=values)
    assert done.code == 126
    assert "too long" in done.stderr


async def test_a_long_command_runs_too(tmp_path: Path) -> None:
    done = await shell(
        "echo start\n" + ": a long line that says nothing\n" * 5_000 + "printf '%s' {{x}}", tmp_path, values={"x": "a  b"}
    )
    assert done.stdout == "start\na  b"


async def test_when_the_time_is_over_the_whole_group_ends(tmp_path: Path) -> None:
    kind = "echo $BASHPID >> pids; trap 'echo told >> told; exit' TERM; while :; do sleep 0.1; done"
    done = await shell(f"({kind}) & {kind}", tmp_path, timeout=0.5)
    assert (done.timed_out, done.code) == (True, None)
    assert await gone(tmp_path / "pids")
    assert (tmp_path / "told").read_text() == "told\ntold\n"


async def test_who_ignores_being_asked_is_killed(tmp_path: Path) -> None:
    deaf = "trap '' TERM; echo $BASHPID >> pids; while :; do sleep 0.1; done"
    done = await shell(f"echo before; ( ({deaf}) & {deaf} ) & {deaf}", tmp_path, timeout=0.5)
    assert done.timed_out
    assert done.stdout == "before\n"
    assert await gone(tmp_path / "pids")


async def test_when_it_is_cancelled_the_whole_group_ends(tmp_path: Path) -> None:
    task = asyncio.ensure_future(
        shell(
            "(trap '' TERM; echo $BASHPID >> pids; sleep 600) & trap 'echo told > told; exit' TERM; echo $$ >> pids; wait",
            tmp_path,
        )
    )
    for _ in range(1000):
        if (tmp_path / "pids").exists() and len((tmp_path / "pids").read_text().split()) == 2:
            break
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await gone(tmp_path / "pids")
    assert (tmp_path / "told").exists()


async def test_what_a_command_leaves_behind_does_not_hold_the_step(tmp_path: Path) -> None:
    done = await shell("sleep 600 & echo $! > pids; echo started", tmp_path)
    assert (done.stdout, done.code, done.timed_out) == ("started\n", 0, False)
    assert await gone(tmp_path / "pids")


async def test_outputs_are_bounded_and_say_so(tmp_path: Path) -> None:
    done = await shell(
        "head -c 12000000 /dev/zero | tr '\\0' 'a'; head -c 11000000 /dev/zero | tr '\\0' 'b' >&2; printf '\\377' ", tmp_path
    )
    assert (len(done.stdout), len(done.stderr), done.code) == (MAX_OUTPUT, MAX_OUTPUT, 0)
    assert done.cut == (
        f"stdout had 12000001 bytes, of which the first {MAX_OUTPUT} are kept",
        f"stderr had 11000000 bytes, of which the first {MAX_OUTPUT} are kept",
    )
    assert (await shell("printf 'a\\377b'", tmp_path)).stdout == "a\ufffdb"


def only(folder: Path, **programs: str) -> str:
    """A PATH of these programs alone."""
    folder.mkdir()
    for name, program in programs.items():
        found = shutil.which(program)
        assert found is not None
        (folder / name).symlink_to(found)
    return str(folder)


async def test_without_bash_sh_does_what_it_can(tmp_path: Path) -> None:
    host = {**HOST, "PATH": only(tmp_path / "bin", sh="sh", cat="cat")}
    long = "$(touch pwned)'\"\n" * 9_000 + "\n\n"
    done = await shell("printf '%s' {{x}} \"$(printf '%s.' '{{x}}')\"", tmp_path, host=host, values={"x": long})
    assert done.stdout == f"{long}{long}."
    assert not (tmp_path / "pwned").exists()
    for command, said in [
        ("[[ a == a ]]", r"\[\[ \]\]"),
        ("cat <(echo)", r"<\( \)"),
        ("a=(1)", "arrays"),
        ("cat <<< a", "<<<"),
        ("'", "single"),
    ]:
        with pytest.raises(StepFailed, match=f"needs bash.*{said}"):
            await shell(command, tmp_path, host=host)
    with pytest.raises(StepFailed, match="no shell on PATH"):
        await shell("echo", tmp_path, host={**HOST, "PATH": only(tmp_path / "empty")})
    with pytest.raises(StepFailed, match="cannot be started"):
        await shell("echo", tmp_path / "nowhere")


async def test_isolation_that_is_not_there_is_refused_not_left_out(tmp_path: Path) -> None:
    host = {**HOST, "PATH": only(tmp_path / "bin", bash="bash", touch="touch")}
    with pytest.raises(StepFailed, match=r"bubblewrap .*not on PATH.*install it"):
        await shell("touch ran", tmp_path, isolate=True, host=host)
    assert not (tmp_path / "ran").exists()
    own = {"PATH": host["PATH"]}
    with pytest.raises(StepFailed, match="bubblewrap"):
        await shell("touch ran", tmp_path, isolate=True, host=host, env=own)


async def test_bubblewrap_gets_the_command_and_its_walls(tmp_path: Path) -> None:
    """A stand-in takes bubblewrap's place: what it is given is looked at, and the command behind `--` is run."""
    work, tools = tmp_path / "work", tmp_path / "tools"
    work.mkdir()
    tools.mkdir()
    bwrap = tools / "bwrap"
    bwrap.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$STAND_IN"\nwhile [ "$1" != -- ]; do shift; done\nshift\nexec "$@"\n')
    bwrap.chmod(0o755)
    host = {**HOST, "PATH": f"{tools}:{HOST['PATH']}", "HOME": str(tmp_path / "home")}
    (tmp_path / "home").mkdir()
    env = {"STAND_IN": str(tmp_path / "given")}
    done = await shell("pwd; printf '%s' {{x}}", work, isolate=True, host=host, env=env, values={"x": "a b" * 10_000})
    assert done.stdout == f"{work}\n" + "a b" * 10_000
    given = (tmp_path / "given").read_text().splitlines()
    walls = given[: given.index("--")]
    assert walls[:5] == ["--die-with-parent", "--unshare-all", "--ro-bind", "/", "/"]
    assert walls[-5:] == ["--bind", str(work), str(work), "--chdir", str(work)]
    pairs = list(pairwise(walls))
    assert ("--tmpfs", str(tmp_path / "home")) in pairs
    assert ("--tmpfs", "/tmp") in pairs
    assert [name for name in walls if name.startswith("--share")] == []
    assert any(first == "--ro-bind" and "BL_1" in second for first, second in pairs)
    assert walls.index("--bind") > max(at for at, name in enumerate(walls) if name == "--tmpfs")
    with pytest.raises(StepFailed, match="holds your home"):
        sandboxed(["true"], cwd=tmp_path, env=host)


MODULE = """
import asyncio, os, subprocess, sys
class Deep:
    @staticmethod
    def inner(): return "deep"
def add(a, b=2):
    print("printed")
    return {"sum": a + b, "cwd": os.getcwd(), "own": os.environ.get("OWN"), "keys": [k for k in os.environ if "KEY" in k]}
async def later(**given): await asyncio.sleep(0); return given
def raises(): raise ValueError("no such luck")
def strange(): return {1, 2}
def endless():
    child = subprocess.Popen(["sleep", "600"])
    open("pids", "w").write(f"{os.getpid()} {child.pid}")
    child.wait()
def leaves(): sys.stderr.write("the end"); sys.stderr.flush(); os._exit(4)
def quits(): sys.exit(5)
value = 3
"""


async def call(function: str, folder: Path, args: dict[str, object] | None = None, **more: object) -> object:
    (folder / "steps_here.py").write_text(MODULE)
    given: dict[str, object] = {"host": HOST, "timeout": 60.0, "trusted": True, **more}
    step = PythonStep(module="steps_here", function=function)
    return await call_function(step, args or {}, cwd=folder, **given)  # type: ignore[arg-type]


async def test_a_function_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    found = await call("add", tmp_path, {"a": 3}, env={"OWN": "x"})
    assert found == {"sum": 5, "cwd": str(tmp_path), "own": "x", "keys": []}
    hostile = {"a": "$(touch pwned)\n'\"{{a}}", "b": ["é\u2028", None, 1.5, {"c": True}]}
    assert await call("later", tmp_path, hostile) == hostile
    assert await call("Deep.inner", tmp_path) == "deep"
    big = "x" * 5_000_000
    assert await call("later", tmp_path, {"a": big}) == {"a": big}
    assert "steps_here" not in sys.modules


@pytest.mark.parametrize(("function", "args", "said"), [
    ("raises", {}, "raised ValueError: no such luck"), ("strange", {}, "no plain JSON value"),
    ("missing", {}, "has no 'missing'"), ("value", {}, "is no function"),
    ("add", {"z": 1}, "unexpected keyword argument 'z'"), ("leaves", {}, "exit code 4 .*the end"),
    ("quits", {}, "exit code 5"),
])  # fmt: skip
async def test_what_goes_wrong_in_a_function_is_said(function: str, args: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match=f"'steps_here:{function}' .*{said}"):
        await call(function, tmp_path, args)


async def test_a_function_is_bounded_by_trust_and_time(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="not trusted"):
        await call("endless", tmp_path, trusted=False)
    assert not (tmp_path / "pids").exists()
    with pytest.raises(StepFailed, match="still running after 3 s") as caught:
        await call("endless", tmp_path, timeout=3.0)
    assert caught.value.timed_out
    assert await gone(tmp_path / "pids")
    with pytest.raises(StepFailed, match="cannot be imported"):
        await call_function(PythonStep(module="nowhere_at_all", function="f"), {}, cwd=tmp_path, host=HOST, trusted=True)


async def test_a_prepared_command_can_be_run_as_it_is(tmp_path: Path) -> None:
    done = await run_shell(PreparedCommand('echo "$A"', {"A": "b"}), cwd=tmp_path)
    assert done.stdout == "b\n"
