"""`bundle-loader run` as a user has it: processes of their own, loopback vendors, stand-ins for `wg` and `drifts` on PATH."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Ran, command
from tests.support.vendors import Fault, World, served_in_thread
from tests.support.workgraph import Workgraph

Run = Callable[..., Ran]

CHECK = ("drifts", "check", "--task", "my-task", "--write-log", "--create-followups")
SONNET, OPUS = "anthropic/claude-sonnet-4-6", "anthropic/claude-opus-4-6"


@pytest.fixture
def served(world: World) -> Iterator[tuple[World, str]]:
    """The vendors, served for processes. Anthropic lists no Haiku: the cheap cells of profiles then differ in their models."""
    anthropic = world.vendor("anthropic")
    anthropic.offer("claude-sonnet-4-6", "claude-opus-4-6")
    with served_in_thread(world) as base:
        yield world, base


@pytest.fixture
def project(tmp_path: Path) -> Workgraph:
    return Workgraph(tmp_path)


@pytest.fixture
def run(tmp_path: Path, project: Workgraph, served: tuple[World, str]) -> Run:
    world, base = served
    (tmp_path / "home").mkdir()

    def go(*arguments: str, environment: dict[str, str] | None = None, **options: Any) -> Ran:
        around = {**world.environment(base), **project.environment(), **(environment or {})}
        return command("run", *arguments, home=tmp_path / "home", environment=around, **{"cwd": project.project, **options})

    return go


def by_stage(result: dict[str, Any]) -> dict[str, set[tuple[str, str]]]:
    """Stage -> the profiles and models of its steps, from the steps themselves."""
    found: dict[str, set[tuple[str, str]]] = {}
    for step in result["steps"]:
        if step["kind"] == "agent":
            found.setdefault(step["purpose"], set()).add((step["profile"], f"{step['provider']}/{step['model']}"))
    return found


# --- the four commands


@pytest.mark.parametrize(
    ("given", "root", "implementation", "summary", "models"),
    [
        pytest.param(
            "model_profile='balanced'", "balanced", "balanced", "cost",
            {"planning": SONNET, "implementation": SONNET, "verification": "openai/gpt-5-mini", "summary": "openai/gpt-4o-mini"},
            marks=pytest.mark.requirement("PRO-34"),
        ),
        pytest.param(
            "model_profile='quality'", "quality", "quality", "balanced",
            {"planning": OPUS, "implementation": OPUS, "verification": SONNET, "summary": "openai/gpt-5-mini"},
            marks=pytest.mark.requirement("PRO-35"),
        ),
        pytest.param(
            "model_profile='quality' summary_profile='cost'", "quality", "quality", "cost",
            {"planning": OPUS, "implementation": OPUS, "verification": SONNET, "summary": "openai/gpt-4o-mini"},
            marks=pytest.mark.requirement("PRO-36"),
        ),
        pytest.param(
            "model_profile='balanced' implementation_profile='quality' summary_profile='cost'", "balanced", "quality", "cost",
            {"planning": SONNET, "implementation": OPUS, "verification": "openai/gpt-5-mini", "summary": "openai/gpt-4o-mini"},
            marks=pytest.mark.requirement("PRO-37"),
        ),
    ],
)  # fmt: skip
@pytest.mark.requirement("PRO-8", "PRO-24")
def test_the_four_commands(
    run: Run, project: Workgraph, served: tuple[World, str], given: str, root: str, implementation: str, summary: str,
    models: dict[str, str],
) -> None:  # fmt: skip
    world, _ = served
    ran = run(f"execute task-loop.yaml with task_id='my-task' {given}", "--json")
    assert ran.code == 0, ran.err + ran.out
    result = ran.json
    assert (result["recipe"], result["status"], result["exit_code"]) == ("task-loop", "done", 0)
    # the record lists the stage -> model map, and it is what the vendors saw
    assert result["models"] == {stage: [model] for stage, model in models.items()}
    assert result["profiles"] == {
        "model_profile": root, "implementation_profile": implementation, "summary_profile": summary,
    }  # fmt: skip
    profiles = {"planning": root, "implementation": implementation, "verification": root, "summary": summary}
    assert by_stage(result) == {stage: {(profiles[stage], models[stage])} for stage in models}
    asked = [f"{request.vendor}/{request.model}" for request in world.chats()]
    rounds = [models["implementation"], models["verification"]] * 2
    assert asked == [models["planning"], *rounds, models["summary"]]
    # and what is kept of it says the same
    shown = run("show", result["id"][:8], "--json").json
    assert shown["models"] == result["models"]
    assert shown["variables"]["task_id"] == "my-task"
    log = ("wg", "log", "my-task", "task-loop: Hello from the loopback server.")
    assert project.calls == [("wg", "show", "my-task"), CHECK, CHECK, log]


# --- what goes wrong


def test_what_cannot_be_begun_is_told_before_anything_is_done(run: Run, project: Workgraph, served: tuple[World, str]) -> None:
    for words, code, said in (
        (
            ("task-loop", "--set", "task_id=x", "--provider", "mistral"),
            4,
            "(--provider mistral) cannot be met, so",
        ),
        (("task-loop", "--set", "task_di=x"), 1, "task_di: the recipe has no such variable; did you mean 'task_id'?"),
        (("execute start.yaml with implementation_profile='quality'",), 1, "implementation_profile: the recipe has no such"),
        (
            ("execute start.yaml with task_id=",),
            1,
            "the request, column 33 at its end: 'task_id' has no value; write",
        ),
        (("taks-loop",), 1, "did you mean 'task-loop'?"),
        (("task-loop", "with", "task_id=x"), 2, "put the whole request into quotes"),
        ((), 2, "Missing argument 'RECIPE'"),
    ):
        ran = run(*words)
        assert (ran.code, ran.out) == (code, ""), words
        assert said in " ".join(ran.err.split()), ran.err
    assert project.calls == served[0].chats() == []


def test_nobody_answers(run: Run, served: tuple[World, str]) -> None:
    world, _ = served
    for vendor in world.vendors.values():
        vendor.fault = Fault.status(401)
    ran = run("start", "--json")
    assert ran.code == 4
    assert (ran.json["status"], ran.json["exit_code"]) == ("failed", 4)
    assert "401" in ran.json["reason"]


# --- approvals, and a run from several processes

GATED = """
name: gated
context: {word: hello}
stages:
  - name: make
    steps: [{id: make-it, bash: "echo '{{word}}' >> made; cat made", output: made}]
  - name: send
    approval: {prompt: "Send {{made}}?", when: before_stage}
    steps: [{id: send-it, bash: "echo sent >> sent; echo {{word}}", output: sent}]
"""


@pytest.fixture
def gated(project: Workgraph) -> Path:
    path = project.project / "gated.yaml"
    path.write_text(GATED)
    return path


def effects(project: Workgraph) -> tuple[str, str]:
    return tuple(  # type: ignore[return-value]
        path.read_text() if (path := project.project / name).exists() else "" for name in ("made", "sent")
    )


def test_an_approval_from_another_process(run: Run, project: Workgraph, gated: Path, tmp_path: Path) -> None:
    """What is printed is what can be typed."""
    ran = run("gated.yaml")
    assert ran.code == 4
    assert effects(project) == ("hello\n", "")
    assert "Send hello?" in ran.err + ran.out
    typed = [line.strip().split()[2:] for line in ran.out.splitlines() if line.strip().startswith("bundle-loader run ")]
    assert [words[0] for words in typed] == ["approve", "approve", "resume", "show"]
    assert typed[1][2:] == ["--no"]
    waiting = run("list", "--waiting", "--json").json["runs"]
    assert [(entry["id"], entry["status"]) for entry in waiting] == [(typed[0][1], "waiting")]
    assert "Send hello?" in run(*typed[3]).out

    assert run(*typed[2]).code == 4, "still nobody has answered"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    approved = run(*typed[0], "--note", "go", cwd=elsewhere)
    assert approved.code == 0, approved.err
    [again] = [line.split()[2:] for line in approved.out.splitlines() if "run resume" in line]
    twice = run(*typed[0])
    assert twice.code == 1
    assert "answered already" in twice.err
    ran = run(*again, "--json", cwd=elsewhere)
    assert (ran.code, ran.json["status"], ran.json["outputs"]["sent"]) == (0, "done", "hello")
    assert effects(project) == ("hello\n", "sent\n"), "each once, in the folder where the run began"
    assert run("show", typed[0][1], "--output", "made").out == "hello\n"
    missing = run("show", typed[0][1], "--output", "mad")
    assert (missing.code, "did you mean 'made'?" in missing.err) == (1, True)
    none = run("show", "0000-no-such")
    assert (none.code, "no run has an id that begins with '0000-no-such'" in none.err) == (1, True)


def test_a_denied_run_is_over(run: Run, project: Workgraph, gated: Path) -> None:
    id = run("gated.yaml", "--json").json["id"]
    ran = run("approve", id[:8], "--no", "--resume", "--json")
    assert ran.code == 1
    assert ran.json["status"] in ("stopped", "failed")
    assert effects(project) == ("hello\n", "")
    assert run("gated.yaml", "--no").code == 1
    assert effects(project)[1] == ""
    assert run("gated.yaml", "--yes").code == 0
    assert effects(project)[1] == "sent\n"


def test_nobody_answers_a_question_that_he_has_not_seen(run: Run, project: Workgraph) -> None:
    gates = "{id: gate-one, approval: 'One?'}, {id: gate-two, approval: 'Two?'}"
    (project.project / "both.yaml").write_text(f"name: both\nsteps: [{{id: both-gates, parallel: [{gates}]}}]\n")
    id = run("both.yaml", "--json").json["id"]
    ran = run("approve", id)
    assert ran.code == 1
    assert "--step both-gates/gate-one   One?\n  --step both-gates/gate-two   Two?" in ran.err
    assert run("approve", id, "--step", "both-gates/gate-one").code == 0
    ran = run("approve", id, "--resume", "--json")
    assert (ran.code, ran.json["status"]) == (0, "done"), "one alone is meant"


def test_a_run_goes_on_with_its_own_bundle_and_recipe(run: Run, project: Workgraph, gated: Path, tmp_path: Path) -> None:
    """Also from another folder; where one of the two is another by now, it says so."""
    team = project.project / "team.yaml"
    team.write_text("bundle: {name: team}\nincludes: [foundation]\n")
    id = run("gated.yaml", "--bundle", "team.yaml", "--json").json["id"]
    gated.write_text(GATED.replace("echo sent", "echo other"))
    ran = run("resume", id, cwd=tmp_path)
    assert ran.code == 1
    assert "send-it" in ran.err
    team.unlink()
    ran = run("resume", id, cwd=tmp_path)
    assert ran.code == 1
    assert "team.yaml" in ran.err


# --- names


def test_a_recipe_that_is_called_as_a_command_is(run: Run, project: Workgraph) -> None:
    """The first word after `run` is a command where there is one of that name."""
    (project.project / "list.yaml").write_text("name: list\nsteps: [{id: only-step, bash: 'echo ran', output: said}]\n")
    ran = run("list")
    assert (ran.code, ran.out, "nothing was run yet" in ran.err) == (0, "", True)
    for words in (("list.yaml",), ("execute list.yaml",), ("--json", "./list.yaml")):
        assert run(*words).code == 0, words
    assert run("--json", "list").code == 1, "it is no command there, and no recipe of the bundle"


def test_how_it_goes_is_told_apart_from_how_it_ended_and_simulated_work_from_other(run: Run, served: tuple[World, str]) -> None:
    ran = run("start", "--simulate")
    assert ran.code == 0, ran.err
    assert re.match(r"run [0-9a-f-]{36} of start \[simulated\]\n  read-status: shell", ran.err)
    assert re.search(r"\n  plan-next: done, anthropic/claude-\S+, planning by profile balanced, [\d.]+ s, \$", ran.err)
    lines = ran.out.splitlines()
    assert re.fullmatch(r"run [0-9a-f-]{36} of start \[simulated\]: done, .*", lines[0])
    assert [line.split()[0] for line in lines[1:5]] == ["stage", "analysis", "planning", "summary"]
    assert "\x1b" not in ran.out + ran.err
    assert served[0].requests == []
    [entry] = run("list", "--json").json["runs"]
    assert (entry["recipe"], entry["simulated"]) == ("start", True)
    assert run("show", entry["id"][:10], "--json").json["simulated"] is True


# --- a terminal

STOP = b"\x03"


@pytest.mark.parametrize(
    ("typed", "code", "sent", "said"),
    [
        (b"maybe\nYes\n", 0, "sent\n", ": done"),
        (STOP, 130, "", "go on with: bundle-loader run resume "),
        (b"\x04", 4, "", ": waiting"),
    ],
)
def test_on_a_terminal_steps_under_way_are_live_and_approvals_are_asked_for(
    project: Workgraph, gated: Path, tmp_path: Path, typed: bytes, code: int, sent: str, said: str
) -> None:
    environment = {**project.environment(), "HOME": str(tmp_path), "BUNDLE_LOADER_HOME": str(tmp_path / "data"), "TERM": "xterm"}
    screen, status = on_a_terminal(["run", "gated.yaml", "--simulate"], typed, project.project, environment)
    assert status == code, screen
    assert "\x1b[?25l" in screen, "the cursor is hidden while something is under way"
    assert screen.count("\x1b[?25l") == screen.count("\x1b[?25h"), "and comes back"
    assert screen.count("Send hello?") >= 1
    assert screen.count("approve? [yes/no/later]") == typed.count(b"\n") or not typed.endswith(b"\n")
    assert said in screen
    assert effects(project)[1] == sent


def on_a_terminal(arguments: list[str], typed: bytes, cwd: Path, environment: dict[str, str]) -> tuple[str, int]:
    """Run the command line on a terminal of its own; `typed` is typed, line by line, when it asks, and `STOP` interrupts it."""
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "bundle_loader", *arguments],
        stdin=terminal, stdout=terminal, stderr=terminal, cwd=cwd, env=environment,
    )  # fmt: skip
    os.close(terminal)
    lines = typed.splitlines(keepends=True)
    seen = b""
    asked = 0
    try:
        while piece := read(main):
            seen += piece
            if seen.count(b"[yes/no/later] ") > asked and lines:
                asked += 1
                line = lines.pop(0)
                if line == STOP:
                    process.send_signal(signal.SIGINT)
                else:
                    os.write(main, line)
        return seen.decode(errors="replace"), process.wait(60)
    finally:
        process.kill()
        os.close(main)


def read(handle: int) -> bytes:
    """What comes next; nothing where it is closed, or for a minute."""
    if not select.select([handle], [], [], 60)[0]:
        return b""
    try:
        return os.read(handle, 65536)
    except OSError:
        return b""
