"""Runs that stop and go on: approvals from another process, what is stored with a run, who holds it, and what is kept of it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from contextlib import aclosing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bundle_loader import Host
from bundle_loader.errors import RecipeFailed
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.run_records import AnswerRun, TakeRun
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.simulated import Reply, SimulatedProvider
from bundle_loader.recipes.agent_step import GO_ON
from bundle_loader.recipes.approvals import approve
from bundle_loader.recipes.leasing import is_gone, new_holder
from bundle_loader.recipes.lookup import Recipes
from bundle_loader.recipes.past import past_run, runs
from bundle_loader.recipes.result import RunResult, RunStarted, StepEnded, StepStarted
from bundle_loader.recipes.runner import Runner, RunRequest
from bundle_loader.sources.load import load_bundle
from bundle_loader.sources.recipes import load_recipe
from tests.support.command import command
from tests.support.recipe_runs import HEAD, MODEL, Answers, Bench, ended, in_words

GATED = """
context: {what: {type: text, default: this}, more: [1]}
stages:
  - {name: look, steps: [{id: a, agent: worker, prompt: "Look at {{what}} {{more}}.", output: a}]}
  - name: send
    approval: "Send {{a}}?"
    steps:
      - {id: b, bash: "echo x >> effects; echo {{what}} {{_approval_message}}", output: b}
      - {id: again, approval: {prompt: "Really {{b}}?", timeout: 60s, default: approve}}
      - {id: c, bash: "cat effects", output: c}
"""


async def test_approvals_given_from_elsewhere_let_a_run_go_on(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        bench.answers = Answers(["seen"])
        recipe = bench.recipe(GATED)
        first, _ = await bench.run(recipe, {"what": "it"}, provider="anthropic", local_only=False, isolate=False, origin="here")
        assert (first.status, first.waits_for, first.outputs) == ("waiting", "send:approval", {"a": "seen"})
        still, told = await bench.resume(first.id)
        assert (still.status, still.steps) == ("waiting", first.steps)
        assert [event.kept for event in told if isinstance(event, StepEnded)] == [True]
        past = past_run(bench.host.ledger, first.id[:6])
        assert past.waiting == (("send:approval", "Send seen?"),)
        assert (dict(past.variables), past.provider, past.workdir, past.origin) == (
            {"what": "it"},
            "anthropic",
            str(tmp_path),
            "here",
        )
        with pytest.raises(RecipeFailed, match="does not wait for 'again'; it waits for send:approval"):
            await approve(bench.host.ledger, first.id, True, step="again")
        # another process has a connection of its own
        other = Ledger(tmp_path / "l.db")
        assert await approve(other, first.id[:8], True, "gladly") == first.id
        with pytest.raises(RecipeFailed, match="was answered already"):
            await approve(other, first.id, False)
        second, _ = await bench.resume(first.id)
        assert (second.status, second.waits_for, second.outputs["b"]) == ("waiting", "again", "it gladly")
        with pytest.raises(RecipeFailed, match="does not wait for 'send:approval'; it waits for again"):
            await approve(other, first.id, True, step="send:approval")
        bench.clock.advance(61)
        third, _ = await bench.resume(first.id[:8])
        other.close()
        assert (third.status, third.outputs["c"]) == ("done", "x"), third.reason
        assert in_words(third) == [
            "a agent done",
            "send:approval stage done",
            "b shell done",
            "again approval done",
            "c shell done",
        ]
        assert len(bench.answers.prompts) == 1
        with pytest.raises(RecipeFailed, match=r"is over \(done\)"):
            await bench.resume(first.id)
        with pytest.raises(RecipeFailed, match="no run has an id"):
            await bench.resume("ffffffff")


async def test_a_failed_run_goes_on_at_the_step_that_failed(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        recipe = bench.recipe("""
context: {list: [1, 2, 3]}
steps:
  - {id: a, bash: "echo a >> effects; date +%N", output: a}
  - id: each
    foreach: "{{list}}"
    bash: "echo {{item}} >> effects; test {{item}} = 1 -o -e ready && echo {{item}}{{a}}"
    collect: all
  - {id: b, agent: worker, prompt: "{{all}}", output: b}
""")
        bench.answers = Answers({"1": [{"fault": "503"}, "fine"]})
        first, _ = await bench.run(recipe)
        assert (first.status, in_words(first)[-3:]) == (
            "failed",
            ["each[0] shell done", "each[1] shell failed", "each foreach failed"],
        )
        (tmp_path / "ready").touch()
        second, _ = await bench.resume(first.id)
        assert (second.status, second.no_answer) == ("failed", True), second.reason
        third, told = await bench.resume(first.id)
        assert third.status == "done", third.reason
        a = third.outputs["a"]
        assert third.outputs == {"a": a, "all": [f"{n}{a}" for n in (1, 2, 3)], "b": "fine"}
        assert (tmp_path / "effects").read_text().split() == ["a", "1", "2", "2", "3"]
        assert [event.id for event in told if isinstance(event, StepStarted)] == ["b"]
        assert [row["id"] for row in runs(bench.host.ledger)] == [first.id]


async def test_another_recipe_is_not_gone_on_with(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        first, _ = await bench.run(bench.recipe(GATED))
        bench.recipe(GATED.replace("echo x", "echo y").replace("default: this", "default: that").replace("id: c", "id: d"))
        with pytest.raises(RecipeFailed) as caught:
            await bench.resume(first.id)
        assert caught.value.faults == (
            "step 'b' changed",
            "step 'd' is new",
            "step 'c' is gone",
            "its name, variables, stages, recursion or the order of its steps changed",
        )
        assert "tried.yaml" in str(caught.value)
        bench.recipe(GATED.replace("id: again", "id: x").replace("id: c,", "id: again,").replace("id: x", "id: c"))
        with pytest.raises(RecipeFailed, match="is not what it was"):
            await bench.resume(first.id)
        swapped = "context: {what: {type: text, default: this}, more: [1]}\nstages: [{name: look, steps: [%s]}]"
        steps = ["{id: a, approval: One?}", "{id: b, approval: Two?}"]
        second, _ = await bench.run(bench.recipe(swapped % ", ".join(steps)))
        bench.recipe(swapped % ", ".join(reversed(steps)))
        with pytest.raises(RecipeFailed, match="the order of its steps changed"):
            await bench.resume(second.id)
        bench.recipe(f"# a remark changes nothing\n{GATED}")
        assert (await bench.resume(first.id))[0].status == "waiting"


async def test_a_recipe_within_it_that_changed_is_not_gone_on_with(tmp_path: Path) -> None:
    sub = HEAD.replace("tried", "sub") + "steps: [{id: x, bash: echo 1}, {id: y, approval: Go on?}]\n"
    async with Bench(tmp_path) as bench:
        bench.recipe(sub, "sub.yaml")
        first, _ = await bench.run(bench.recipe("steps: [{id: run, recipe: sub.yaml}]"))
        assert (first.status, first.waits_for) == ("waiting", "run/y")
        bench.recipe(sub.replace("echo 1", "echo 2"), "sub.yaml")
        second, _ = await bench.resume(first.id)
        assert second.status == "failed"
        assert "'sub' is not what it was when it was begun: step 'x' changed" in str(second.reason)


async def test_how_steps_ended_is_known_after_a_run_went_on(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        recipe = bench.recipe("""
steps:
  - {id: both, parallel: [{id: p, bash: exit 1, on_error: continue}, {id: q, bash: echo q}]}
  - {id: wanting, bash: echo never, depends_on: p}
  - {id: gate, approval: Go on?}
  - {id: by_p, bash: echo never, depends_on: p}
  - {id: by_wanting, bash: echo never, depends_on: wanting}
  - {id: by_q, bash: echo q, depends_on: q}
""")
        first, _ = await bench.run(recipe)
        await approve(bench.host.ledger, first.id, True)
        again = AnswerRun(first.id, "gate", False, "too late")
        assert not (await bench.host.ledger.change_run(again)).held, "the first answer holds"
        done, _ = await bench.resume(first.id)
        assert in_words(done)[-3:] == ["by_p shell skipped", "by_wanting shell skipped", "by_q shell done"]


async def test_what_cannot_be_begun(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        needs = "context: {a: {required: true}, n: {type: integer, default: 1}}\nsteps: [{id: x, bash: 'echo {{a}} {{n}}'}]"
        with pytest.raises(RecipeFailed) as caught:
            await bench.run(bench.recipe(needs), {"n": "many", "m": 1})
        assert [fault.partition(":")[0] for fault in caught.value.faults] == ["n", "m", "a"]
        bench.recipe(HEAD.replace("tried", "sub") + "steps: [{id: f, python: 'os:getcwd'}]", "sub.yaml")
        leads = bench.recipe("steps: [{id: s, recipe: sub.yaml}, {id: g, steps: [{id: t, bash: echo}]}]")
        with pytest.raises(RecipeFailed, match="is not trusted") as refused:
            await bench.run(leads, trusted=False)
        assert [fault.rpartition(": ")[2] for fault in refused.value.faults] == [
            "step 't' runs a shell command",
            "step 'f' runs the function os:getcwd",
        ]
        with pytest.raises(RecipeFailed, match="there is no folder"):
            await bench.run(leads, workdir=tmp_path / "absent")
        assert runs(bench.host.ledger) == []
        hidden = bench.recipe("context: {name: sub.yaml}\nsteps: [{id: s, recipe: '{{name}}'}]")
        late, _ = await bench.run(hidden, trusted=False)
        assert late.status == "failed"
        assert "not trusted" in str(late.reason)


async def test_provider_and_model_of_a_run_are_kept(tmp_path: Path) -> None:
    recipe = "steps: [{id: go, approval: Go on?}, {id: a, agent: worker, prompt: Look at all of it., output: a}]"
    async with Bench(tmp_path) as bench:
        first, _ = await bench.run(bench.recipe(recipe), provider="openai")
        assert first.status == "waiting"
        await approve(bench.host.ledger, first.id, True)
        second, _ = await bench.resume(first.id)
        assert second.status == "failed"
        assert "openai" in str(second.reason), "the provider that was asked for still holds"


async def test_one_process_at_a_time(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        recipe = bench.recipe("steps: [{id: a, bash: 'sleep 30'}, {id: b, bash: echo b}]")
        async with aclosing(bench.runner().stream(RunRequest(recipe, workdir=tmp_path))) as events:
            async for event in events:
                if isinstance(event, RunStarted):
                    id = event.id
                if isinstance(event, StepStarted):
                    break
            assert past_run(bench.host.ledger, id).alive
            with pytest.raises(RecipeFailed, match=f"under way: process {os.getpid()} on"):
                await bench.resume(id)
        past = past_run(bench.host.ledger, id)
        assert (past.result.status, past.alive) == ("cancelled", False)
        # somebody who lives, elsewhere, and then says nothing any more
        ledger = bench.host.ledger
        assert (await ledger.change_run(TakeRun(id, "elsewhere|1||x", bench.clock() + 30))).held
        with pytest.raises(RecipeFailed, match="process 1 on elsewhere"):
            await bench.resume(id)
        bench.clock.advance(31)
        taken = bench.runner().resume(id)
        assert isinstance(await anext(taken), RunStarted)
        # whoever comes back after its lease was taken over keeps nothing any more
        assert not (await ledger.change_run(TakeRun(id, "elsewhere|1||x", bench.clock() + 30))).held
        await taken.aclose()
        assert past_run(ledger, id).result.status == "cancelled", "whoever leaves at once holds nothing"


async def test_who_lost_a_run_stops_and_writes_nothing(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        recipe = bench.recipe("steps: [{id: a, bash: 'sleep 0.3; echo a', output: a}, {id: b, bash: echo b >> effects}]")
        found: list[RunResult] = []

        async def running() -> None:
            found.append((await ended(bench.runner().stream(RunRequest(recipe, workdir=tmp_path))))[0])

        task = asyncio.create_task(running())
        async with asyncio.timeout(30):
            while not runs(bench.host.ledger):  # noqa: ASYNC110 - the row is written by the task
                await asyncio.sleep(0.01)
        id = runs(bench.host.ledger)[0]["id"]
        mine = bench.host.ledger.query("runs that begin with", prefix=id, limit=1)[0]["holder"]
        assert (await bench.host.ledger.change_run(TakeRun(id, "other|2||y", bench.clock() + 30, dead=mine))).held
        with pytest.raises(RecipeFailed, match="another process goes on"):
            await task
        assert not (tmp_path / "effects").exists()
        assert past_run(bench.host.ledger, id).result.steps == ()


def test_a_process_that_died_is_known_to_be_gone() -> None:
    says = "from bundle_loader.recipes.leasing import new_holder; print(new_holder(), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", says], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        holder = process.stdout.readline().decode().strip()
        assert not is_gone(holder)
        process.kill()
        # before anybody has waited for it, too
        until = time.monotonic() + 30
        while not is_gone(holder) and time.monotonic() < until:
            time.sleep(0.01)
        assert is_gone(holder)
    assert is_gone(holder)
    assert not is_gone(new_holder())
    machine, _, _, rest = new_holder().split("|")
    assert is_gone(f"{machine}|{os.getpid()}|1|{rest}"), "another process has its number by now"
    assert not is_gone(f"other{machine}|{process.pid}|1|{rest}")


async def test_work_that_had_only_begun_is_done_anew(tmp_path: Path) -> None:
    """A delegation of which no turn was finished."""
    async with Bench(tmp_path) as bench:
        recipe = bench.recipe("steps: [{id: a, agent: worker, prompt: Look at all of it., output: a}]")
        begun = asyncio.Event()

        async def hanging(request: Any) -> str:
            begun.set()
            await asyncio.sleep(30)
            return "never"

        bench.answers = hanging  # type: ignore[assignment]
        task = asyncio.create_task(bench.run(recipe))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (row,) = runs(bench.host.ledger)
        past = past_run(bench.host.ledger, row["id"])
        assert [(step.id, step.status) for step in past.result.steps] == [("a", "running")]
        bench.answers = Answers(["all of it"])
        done, _ = await bench.resume(row["id"])
        assert (done.status, done.outputs["a"]) == ("done", "all of it")
        assert bench.answers.prompts == ["Look at all of it."], "no turn was finished, so it is asked anew"


async def test_what_is_kept_of_runs(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        # the first try answers twice with what does not fit, and that has its price
        bench.answers = Answers(["no", "no", {"json": {"n": "unheard"}}])
        step = "{id: a, agent: worker, stage: summary, prompt: Look at all of it., output_schema: {type: object}, retry: 2}"
        recipe = bench.recipe(f"steps: [{step}]")
        done, _ = await bench.run(recipe)
        waiting, _ = await bench.run(bench.recipe("steps: [{id: a, approval: Go on?}]", "other.yaml"))
        ledger = bench.host.ledger
        past = past_run(ledger, done.id).result
        assert past.steps[0].output == {"n": "unheard"}
        assert past == replace(done, warnings=past.warnings)
        assert done.models == {"summary": ("anthropic/claude-haiku-4-5",)}
        assert done.cost is not None
        assert done.cost > Decimal(0)
        assert done.cost == sum(call["cost"] for call in ledger.calls())
        delegations = ledger.delegations()
        assert [row["outcome"] for row in delegations].count("answered") == 1
        assert done.steps[0].delegation in [row["id"] for row in delegations]
        exported = await asyncio.to_thread(command, "ledger", "export", "--ledger", str(tmp_path / "l.db"), home=tmp_path)
        assert (exported.code, "claude-haiku-4-5" in exported.out, "unheard" in exported.out) == (0, True, False)
        bench.clock.advance(90 * 86_400)
        counted = await ledger.prune(bench.clock(), only_count=True)
        assert (counted.runs, len(runs(ledger))) == (1, 2)
        pruned = await ledger.prune(bench.clock())
        assert (pruned.runs, pruned.delegations) == (1, 2)
        assert [row["id"] for row in runs(ledger)] == [waiting.id], "one that waits may still go on"
        assert not ledger.query("steps of a run", run=done.id)


TEAM = """
format: 1
bundle: {name: team, version: 1.0.0}
agents:
  lead: {description: Leads., provider_preferences: [anthropic/claude-haiku-4-5], tools: [delegate]}
  helper: {description: Helps., provider_preferences: [anthropic/claude-haiku-4-5]}
"""


async def test_work_that_was_cut_off_goes_on_in_its_session(tmp_path: Path) -> None:
    """An agent had delegated a part of its work, and that had been answered: it is not asked for again."""
    path = tmp_path / "team.yaml"
    path.write_text(TEAM, encoding="utf-8")
    bundle = load_bundle(path, strict=True, settings=[])
    asked: list[str] = []
    hanging = asyncio.Event()

    async def answer(request: ChatRequest) -> Reply:
        last = request.messages[-1]
        asked.append(last.text if last.role == "user" else "(result)")
        if last.role == "tool" and not hanging.is_set():
            hanging.set()
            await asyncio.sleep(60)
        if last.text == "Do it all.":
            return Reply("", [("delegate", {"agent": "helper", "instruction": "Do a part."})])
        return Reply("a part" if last.text == "Do a part." else "all of it")

    provider = SimulatedProvider("anthropic", models=[MODEL], answer=answer)
    host = Host(bundle, providers={"anthropic": provider}, ledger=tmp_path / "l.db", sessions=tmp_path / "s", environment={})
    async with host:
        recipe_file = tmp_path / "tried.yaml"
        recipe_file.write_text(HEAD + "steps: [{id: a, agent: lead, prompt: Do it all., output: a}]", encoding="utf-8")
        recipe = load_recipe(recipe_file)
        find = Recipes(bundle, tmp_path).find
        runner = Runner(bundle, host.prepare, host.ledger, find_recipe=find, sessions=host.sessions, environment={})
        task = asyncio.create_task(runner.run(RunRequest(recipe, workdir=tmp_path)))
        await hanging.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (row,) = runs(host.ledger)
        done, _ = await ended(runner.resume(row["id"]))
        paid = sum(call["cost"] for call in host.ledger.calls())
    assert (done.status, done.outputs) == ("done", {"a": "all of it"}), done.reason
    assert done.cost == paid, "what was paid before it was cut off counts too, once"
    assert asked == ["Do it all.", "Do a part.", "(result)", GO_ON]
