"""What a run keeps and shows: no key in a reason, no half of a character, and values as they are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bundle_loader.errors import DeclarationError
from bundle_loader.recipes.past import past_run
from tests.support.command import command
from tests.support.recipe_runs import HEAD, Bench

KEY = "sk-ant-api03-" + "aB3dE5gH7jK9" * 4


async def test_reasons_and_warnings_are_kept_without_keys(tmp_path: Path) -> None:
    steps = f"""
steps:
  - {{id: a, bash: "echo warned {KEY} >&2; exit 1", on_error: continue}}
  - {{id: b, bash: "echo failed {KEY} >&2; exit 1"}}
"""
    async with Bench(tmp_path) as bench:
        recipe = bench.recipe(steps)
        (tmp_path / "tried.yaml").unlink()
        done, _ = await bench.run(recipe)
        past = past_run(bench.host.ledger, done.id).result
        assert past.status == "failed"
        assert "failed [left out: it looks like a key]" in (past.reason or "")
        assert "warned [left out: it looks like a key]" in past.warnings[0]
    kept = (tmp_path / "l.db").read_bytes()
    assert b"warned [left out" in kept
    assert KEY.encode() not in kept


async def test_half_characters_that_json_names_do_not_stop_a_run(tmp_path: Path) -> None:
    steps = """
steps:
  - id: a
    bash: |
      printf '%s' '{"x\\udfff": "\\ud800 z", "y": "\\ud83d\\ude00"}'
    output: a
  - {id: b, bash: "printf '%s' {{a}} >&2; exit 1"}
"""
    async with Bench(tmp_path) as bench:
        done, _ = await bench.run(bench.recipe(steps))
        assert done.outputs["a"] == {"x\ufffd": "\ufffd z", "y": "\U0001f600"}
        assert "\ufffd z" in (done.reason or "")
        past = past_run(bench.host.ledger, done.id).result
        assert (past.outputs["a"], past.reason) == (done.outputs["a"], done.reason)
    for arguments in (("--json",), ("--output", "a")):
        shown = command("run", "show", done.id, "--ledger", str(tmp_path / "l.db"), *arguments, home=tmp_path)
        assert (shown.code, "\ufffd z" in shown.out) == (0, True), shown.err


async def test_no_value_says_where_modules_are_found(tmp_path: Path) -> None:
    steps = """
context: {x: "/tmp/a b"}
steps: [{id: p, python: "json:dumps", args: {obj: 1}, env: {PYTHONPATH: "{{x}}", NOTE: "{{x}}"}}]
"""
    async with Bench(tmp_path) as bench:
        done, _ = await bench.run(bench.recipe(steps))
        assert "in PYTHONPATH, by which programs are found or run" in (done.reason or "")
        fine, _ = await bench.run(bench.recipe(steps), {"x": "/tmp/a"})
        assert fine.status == "done"


@pytest.mark.parametrize("id", ["o[0]", "g/a", "one:approval"])
def test_no_step_is_called_as_a_run_calls_the_parts_of_another(id: str, tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=r":6:\d+: steps\[1\]\.id: '.' may not stand in the id of a step"):
        Bench(tmp_path).recipe(f'steps:\n  - {{id: o, foreach: [1], bash: "echo"}}\n  - {{id: "{id}", bash: "echo"}}\n')


def test_an_output_is_handed_on_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "tried.yaml").write_text(
        HEAD + "steps: [{id: a, bash: \"printf '\\\\033[31mred'\", output: a}]\n", encoding="utf-8"
    )
    ran = command("run", "tried.yaml", "--simulate", "--json", "--ledger", "l.db", home=tmp_path, cwd=tmp_path)
    assert ran.code == 0, ran.err
    shown = command("run", "show", ran.json["id"], "--output", "a", "--ledger", "l.db", home=tmp_path, cwd=tmp_path)
    assert shown.out == "\x1b[31mred\n"


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_whoever_ends_a_run_ends_what_its_steps_have_started(name: str, tmp_path: Path) -> None:
    text = 'steps: [{id: a, bash: "echo $$ > started; sleep 600"}]\n'
    (tmp_path / "tried.yaml").write_text(HEAD + text, encoding="utf-8")
    arguments = [sys.executable, "-m", "bundle_loader", "run", "tried.yaml", "--simulate", "--ledger", "l.db"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "BUNDLE_LOADER_HOME": str(tmp_path / "data")}
    process = subprocess.Popen(
        arguments, cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        until = time.monotonic() + 60
        while not (tmp_path / "started").exists() or not (tmp_path / "started").read_text().strip():
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
        process.send_signal(getattr(signal, name))
        told = process.communicate(timeout=60)[1].decode()
    finally:
        process.kill()
    assert (process.returncode, "go on with: bundle-loader run resume" in told) == (130, True), told
    with pytest.raises(ProcessLookupError):
        os.killpg(int((tmp_path / "started").read_text()), 0)
