"""A run that is killed with kill -9 at each of its checkpoints, and between what a step does and its checkpoint."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.hosting import worker
from tests.support.recipe_runs import HEAD, MODEL

RECIPE = """
context: {given: "", n: "0", log: ""}
stages:
  - name: first
    steps:
      - {id: begin, bash: "echo begin >> effects; echo {{given}}", output: begun}
      - {id: look, agent: worker, prompt: "Look at {{begun}}.", output: seen}
      - {id: each, foreach: [x, y], bash: "echo each-{{item}} >> effects; echo {{item}}{{begun}}", collect: all, parallel: 2}
  - name: second
    steps:
      - id: count
        while: "{{n}} < 2"
        max_iterations: 5
        update_context: {n: "{{_loop_iteration}}", log: "{{log}}{{round}}"}
        bash: "echo count-{{_loop_index}} >> effects; echo r{{_loop_index}}"
        output: round
      - id: both
        parallel:
          - {id: p, bash: "echo p >> effects; echo {{seen}}p", output: p}
          - {id: q, bash: "echo q >> effects; exit 1", on_error: continue, output: q}
      - {id: sub, recipe: sub.yaml, context: {what: "{{all}}"}, output: found}
      - {id: never, bash: "echo never >> effects", depends_on: q, output: never}
      - {id: end, bash: "echo end >> effects; echo {{found.inner}} {{log}} [{{never}}]", output: final}
"""
SUB = """
name: sub
description: What the recipe leads to.
version: 1.0.0
context: {what: none}
steps:
  - {id: inner, bash: "echo inner >> effects; echo {{what}}", output: inner}
"""
EFFECTS = ["begin", "each-x", "each-y", "count-0", "count-1", "p", "q", "inner", "end"]
OUTPUTS = {
    "begun": "kept", "seen": "looked", "all": ["xkept", "ykept"], "n": 2, "log": "r0r1", "round": "r1", "p": "lookedp", "q": None,
    "found": {"inner": ["xkept", "ykept"]}, "never": None, "final": '["xkept","ykept"] r0r1 []',
}  # fmt: skip
TOGETHER = ("each-x", "each-y", "p", "q")
MOST = 60


def placed(folder: Path) -> Path:
    """A folder with the recipe and the agent."""
    folder.mkdir()
    worker(folder, f"anthropic/{MODEL}")
    (folder / "tried.yaml").write_text(HEAD + RECIPE, encoding="utf-8")
    (folder / "sub.yaml").write_text(SUB, encoding="utf-8")
    return folder


def started(folder: Path, kill: str, run: str | None = None) -> subprocess.CompletedProcess[bytes]:
    """One process to its end, or to where it is killed."""
    command = [sys.executable, "-m", "tests.support.recipe_process", str(folder), kill, *([run] if run else [])]
    return subprocess.run(command, capture_output=True, timeout=120, env=dict(os.environ), check=False)


def to_its_end(folder: Path, *kills: str) -> tuple[dict[str, Any], int]:
    """A run that is killed again and again in these ways by turns; its result, and how many processes it took."""
    run: str | None = None
    for number in range(MOST):
        done = started(folder, kills[number % len(kills)] if number < MOST - 1 else "never", run)
        if done.returncode == 0:
            return json.loads(done.stdout), number + 1
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        run = (folder / "run").read_text(encoding="utf-8")
    raise AssertionError("it never came to its end")


def noted(folder: Path, name: str) -> Counter[str]:
    """How often each word was written down."""
    return Counter((folder / name).read_text(encoding="utf-8").split())


def wrong(found: Counter[str], most: int) -> list[str]:
    """Effects that are missing, or that there are too many of; of those that run together another one may be under way."""
    most_of = {name: most * 2 if name in TOGETHER else most for name in EFFECTS}
    return [f"{name}: {found[name]}" for name in {*found, *EFFECTS} if not 1 <= found[name] <= most_of.get(name, 0)]


@pytest.mark.slow
def test_a_run_killed_at_every_checkpoint_comes_to_the_same_end(tmp_path: Path) -> None:
    whole, once = to_its_end(placed(tmp_path / "whole"), "never")
    assert (whole["status"], whole["outputs"], once) == ("done", OUTPUTS, 1), whole
    killed, processes = to_its_end(placed(tmp_path / "after"), "after")
    assert {**killed, "steps": set(killed["steps"])} == {**whole, "steps": set(whole["steps"])}
    assert len(whole["steps"]) - 2 <= processes - 1 <= len(whole["steps"]), "steps that run together may be kept together"
    assert noted(tmp_path / "whole", "effects") == Counter(EFFECTS)
    assert not wrong(noted(tmp_path / "after", "effects"), 1), "nothing is done twice once it is kept"
    assert noted(tmp_path / "after", "asked") == {"asked": 1}


@pytest.mark.slow
def test_what_was_done_and_not_yet_kept_is_done_once_more_and_nothing_else(tmp_path: Path) -> None:
    folder = placed(tmp_path / "both")
    killed, processes = to_its_end(folder, "before", "after")
    assert (killed["status"], killed["outputs"]) == ("done", OUTPUTS)
    assert processes > len(killed["steps"])
    assert not wrong(noted(folder, "effects"), 2)
    assert noted(folder, "asked") == {"asked": 1}, "an answer that was there is not asked for again"


@pytest.mark.slow
def test_a_process_killed_in_the_midst_of_a_command_does_that_command_again(tmp_path: Path) -> None:
    folder = placed(tmp_path / "midst")
    steps = """
steps:
  - {id: a, bash: "echo a >> effects; echo a", output: a}
  - id: b
    foreach: [1, 2]
    bash: 'echo b{{item}} >> effects; if [ -e once ]; then echo {{a}}{{item}}; else touch once; kill -9 $PPID; fi'
    collect: all
"""
    (folder / "tried.yaml").write_text(f"{HEAD}context: {{given: ''}}{steps}", encoding="utf-8")
    found, processes = to_its_end(folder, "never")
    assert (processes, found["status"], found["outputs"]) == (2, "done", {"a": "a", "all": ["a1", "a2"]})
    assert noted(folder, "effects") == Counter({"a": 1, "b1": 2, "b2": 1})
