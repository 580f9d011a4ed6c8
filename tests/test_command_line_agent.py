"""A host's own spawner: the example that runs a command line coding agent as a process, within everything the caller set."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bundle_loader import (
    AllFailed,
    BudgetRefused,
    DeadlineExceeded,
    DelegationContext,
    DelegationResult,
    Host,
    LimitReached,
    NoAnswer,
    TextEvent,
    ToolEvent,
)
from bundle_loader.declared.tables import Timeouts
from bundle_loader.delegation.spawner import Spawner
from bundle_loader.testing import assert_attempts, assert_events, collected, event
from examples.command_line_agent import HERE, CommandLineAgent, ProgramModels
from tests.support.hosting import worker

PROGRAM = """
import json, os, signal, subprocess, sys, time
job = json.loads(sys.stdin.readline())
def say(**line):
    print(json.dumps(line), flush=True)
"""
"""What the programs of these tests begin with."""
HEARTBEAT = "import sys, time\nwhile True:\n    open(sys.argv[1], 'a').write('.'); time.sleep(0.01)\n"
DONE = "say(done={'text': 'Done.'})\n"


def agent(folder: Path, body: str, **options: Any) -> CommandLineAgent:
    """The example's spawner over a program of a few lines."""
    path = folder / "program.py"
    path.write_text(PROGRAM + body, encoding="utf-8")
    return CommandLineAgent([sys.executable, str(path)], folder=folder, **{"grace": 0.3, **options})


def host(folder: Path, spawner: Spawner, *, local: bool = False, **keys: Any) -> Host:
    preferences = ({"provider": "coder", "model": "coder-*", "config": {"effort": 1, "max_tokens": 50}}, "spare/coder-1")
    prices = keys.pop("prices", None)
    bundle = worker(folder, *preferences[: keys.pop("count", 1)], **keys)
    if prices:
        (folder / "team.yaml").write_text(
            "bundle: {name: team}\nagents: {include: [worker.md]}\nprices:\n  coder/coder-2: {input: 1.0, output: 1.0}\n"
        )
        bundle = folder / "team.yaml"  # type: ignore[assignment]
    providers = {id: ProgramModels(id, ["coder-1", "coder-2"], local=local) for id in ("coder", "spare")}
    return Host(bundle, providers=providers, spawner=spawner, ledger=folder / "ledger.db")


async def done(folder: Path, body: str, *, prices: bool = False, **given: Any) -> DelegationResult:
    async with host(folder, agent(folder, body), prices=prices) as open_host:
        return await open_host.delegate("worker", "Work", **given)


async def calls_of(open_host: Host) -> list[dict[str, Any]]:
    await asyncio.to_thread(open_host.ledger.flush)
    return [dict(row) for row in open_host.ledger.calls()]


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


async def still(path: Path) -> bool:
    """Whether nobody writes to the file any more."""
    before = size(path)
    await asyncio.sleep(0.15)
    return size(path) == before > 0


async def until(path: Path) -> None:
    """Wait until there is something in the file."""
    for _ in range(2000):
        if size(path):
            return
        await asyncio.sleep(0.01)
    pytest.fail("nothing was written")


def test_the_example_runs(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("three words here")
    (tmp_path / "b.md").write_text("one")
    command = [sys.executable, str(HERE / "command_line_agent.py"), "Count a.md, b.md and ../c.md"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    first, *rest = done.stdout.splitlines()
    assert first.startswith("coder-2, effort high, at most 10 turns and ")
    assert rest == ["a.md: 3 words", "b.md: 1 words", "../c.md: 0 words"]


async def test_the_callers_overrides_reach_the_program(tmp_path: Path) -> None:
    said = await done(
        tmp_path,
        "say(done={'text': json.dumps(job)})",
        model="coder/coder-1",
        config={"effort": 9, "max_tokens": 33},
        max_turns=4,
        timeout=20,
        max_cost="0.5",
        tags=["nightly"],
        prices=True,
    )
    job = json.loads(said.text)
    context = DelegationContext.from_json(json.dumps(job["context"]))
    assert context.candidate is not None
    assert (context.candidate.model, dict(context.config), context.limits.max_turns) == ("coder-1", {"effort": 9}, 4)
    assert (context.task, context.agent, context.tags) == ("Work", "worker", ("nightly",))
    assert context.instruction.strip() == "Do the work."
    assert 0 < job["allowed"]["seconds"] <= 20
    assert (job["allowed"]["output_tokens"], job["allowed"]["cost"]) == (33 * 4, "0.5")


async def test_nothing_of_the_hosts_environment_reaches_the_program(tmp_path: Path) -> None:
    said = await done(tmp_path, "say(done={'text': ' '.join(os.environ)})")
    assert set(os.environ) - {"PATH", "LC_CTYPE"}
    assert set(said.text.split()) <= {"PATH", "LC_CTYPE"}


async def test_local_only_starts_no_program_that_may_open_connections(tmp_path: Path) -> None:
    body = "open('ran', 'w'); " + DONE
    async with host(tmp_path, agent(tmp_path, body), local=True) as open_host:
        with pytest.raises(NoAnswer, match=r"local_only: .* may open connections"):
            await open_host.delegate("worker", "Work", local_only=True)
    assert not (tmp_path / "ran").exists()
    async with host(tmp_path, agent(tmp_path, body, local=True), local=True) as open_host:
        assert (await open_host.delegate("worker", "Work", local_only=True)).text == "Done."
    assert (tmp_path / "ran").exists()


async def test_text_comes_as_it_is_said_and_tools_run_in_the_host(tmp_path: Path) -> None:
    seen: list[str] = []

    def look(what: str) -> str:
        """Look."""
        seen.append(what)
        return f"{what} is there"

    body = """
say(text="First. ")
say(call={"id": "1", "name": "look", "arguments": {"what": "it"}})
say(text=json.loads(sys.stdin.readline())["result"]["text"])
say(call={"id": "2", "name": "nothing", "arguments": {}})
say(done={"text": str(json.loads(sys.stdin.readline())["result"]["is_error"])})
"""
    async with host(tmp_path, agent(tmp_path, body)) as open_host:
        events = await collected(open_host.stream("worker", "Work", tools=[look]))
    assert seen == ["it"]
    assert_events(
        events,
        event(TextEvent, text="First. "),
        event(ToolEvent, lambda it: it.result.text == "it is there" and not it.result.is_error),
        event(TextEvent, text="it is there"),
        event(ToolEvent, lambda it: it.call.name == "nothing" and it.result.is_error),
    )
    assert events[-1].result.text == "True"


async def test_one_reservation_and_one_record_for_the_whole_run(tmp_path: Path) -> None:
    body = """
say(turn={"input_tokens": 100, "output_tokens": 10, "cost": "0.01"})
say(turn={"input_tokens": 200, "output_tokens": 20, "cost": "0.02"})
say(done={"text": "Done.", "model": "coder-2-exactly"})
"""
    async with host(tmp_path, agent(tmp_path, body)) as open_host:
        result = await open_host.delegate("worker", "Work")
        [call] = await calls_of(open_host)
    assert (result.usage.input_tokens, result.usage.output_tokens, result.cost) == (300, 30, Decimal("0.03"))
    assert not result.usage.estimated
    assert result.answered_by == "coder-2-exactly"
    assert (call["outcome"], call["cost_source"]) == ("answered", "reported")


async def test_a_run_that_says_nothing_of_its_tokens_is_estimated(tmp_path: Path) -> None:
    result = await done(tmp_path, "say(text='Some words.')\n" + DONE)
    assert result.usage.estimated
    assert result.usage.output_tokens == 3


async def test_the_whole_run_is_reserved_at_once_under_every_budget(tmp_path: Path) -> None:
    """A ceiling below what the run may cost starts no program; one above it lets it run, and settles what it cost."""
    body = """
open("ran", "w").close()
say(turn={"input_tokens": 5, "output_tokens": 5, "cost": "0.02"})
say(done={"text": "Done."})
"""
    worker(tmp_path, "coder/coder-*")
    team = tmp_path / "team.yaml"
    team.write_text("bundle: {name: team}\nagents: {include: [worker.md]}\nbudgets: {day: {money: 0.10, per: day}}\n")
    providers = {"coder": ProgramModels("coder", ["coder-1"])}
    async with Host(team, providers=providers, spawner=agent(tmp_path, body), ledger=tmp_path / "ledger.db") as open_host:
        with pytest.raises(BudgetRefused, match="day"):
            await open_host.delegate("worker", "Work", max_cost="0.11")
        assert not (tmp_path / "ran").exists()
        assert (await open_host.delegate("worker", "Work", max_cost="0.10")).cost == Decimal("0.02")
        [account] = (await open_host.standing(whole=True)).accounts.values()
    assert (tmp_path / "ran").exists()
    assert account.reserved == 0


@pytest.mark.parametrize(
    ("turn", "limits", "said"),
    [
        ({"input_tokens": 9}, {"max_turns": 2}, "more than 2 turns"),
        ({"input_tokens": 9, "cost": "0.3"}, {"max_cost": "0.5"}, r"spent \$0.6, more than max_cost \$0.5"),
    ],
)
async def test_a_program_that_goes_beyond_its_limits_is_ended_and_paid_for(
    tmp_path: Path, turn: dict[str, Any], limits: dict[str, Any], said: str
) -> None:
    body = f"for _ in range(5): say(turn={turn!r}); time.sleep(0.02)\ntime.sleep(60)\n"
    began = time.perf_counter()
    async with host(tmp_path, agent(tmp_path, body)) as open_host:
        with pytest.raises(LimitReached, match=said):
            await open_host.delegate("worker", "Work", **limits)
        [call] = await calls_of(open_host)
    assert call["input_tokens"] in (18, 27)
    assert time.perf_counter() - began < 30


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (
            "sys.stderr.write('no such flag'); sys.exit(3)",
            "broken answer",
            "ended with status 3 before it was done: no such flag",
        ),
        ("os.kill(os.getpid(), signal.SIGKILL)", "broken answer", "ended with status -9"),
        ("print('hello', flush=True)", "broken answer", "a line that is no JSON object: b'hello"),
        ("say(noise=1)", "broken answer", "what nobody asked for: noise"),
        ("say(call={'id': 1})", "broken answer", "another shape"),
        ("say(turn={'cost': 'much'})", "broken answer", "no amount: 'much'"),
        ("print('x' * 5_000_000, flush=True)", "broken answer", "a line of more than"),
        ("say(error={'status': 429, 'message': 'slow down', 'retry_after': 7})", "limited", "slow down"),
        ("say(error={'status': 401, 'message': 'log in first'})", "refused", "log in first"),
        ("sys.stderr.write('x' * 300_000); sys.stderr.flush(); say(error={'status': 503})", "busy", ""),
    ],
)
async def test_a_program_that_fails_costs_a_hop(tmp_path: Path, body: str, kind: str, said: str) -> None:
    both = f"if job['context']['candidate']['provider'] == 'coder':\n    {body}\n    time.sleep(60)\n{DONE}"
    async with host(tmp_path, agent(tmp_path, both), count=2) as open_host:
        result = await open_host.delegate("worker", "Work")
    assert_attempts(result, f"coder/coder-2 failed {kind}", "spare/coder-1 answered")
    assert said in str(result.attempts[0].reason)


async def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    async with host(tmp_path, CommandLineAgent(["./no-such-program"], folder=tmp_path)) as open_host:
        with pytest.raises(AllFailed, match=r"no connection \(./no-such-program: No such file or directory\)"):
            await open_host.delegate("worker", "Work")


HANGS = {
    "asked to end": "pass",
    "deaf": "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
}


@pytest.mark.parametrize("hangs", HANGS.values(), ids=HANGS)
@pytest.mark.parametrize("how", ["deadline", "cancel", "leave"])
async def test_the_whole_group_is_gone_after_the_end(tmp_path: Path, hangs: str, how: str) -> None:
    """A grandchild that writes all the time stops, whether time is up, the task is cancelled or the stream is left."""
    beat = tmp_path / "beat"
    (tmp_path / "heartbeat.py").write_text(HEARTBEAT)
    body = f"""
{hangs}
subprocess.Popen([sys.executable, "heartbeat.py", "beat"])
say(turn={{"input_tokens": 40, "output_tokens": 4}})
say(text="Working")
time.sleep(600)
"""
    async with host(tmp_path, agent(tmp_path, body)) as open_host:
        began = time.perf_counter()
        if how == "deadline":
            with pytest.raises(DeadlineExceeded):
                await open_host.delegate("worker", "Work", timeout=1.5)
        elif how == "cancel":
            work = asyncio.create_task(open_host.delegate("worker", "Work"))
            await until(beat)
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work
        else:
            stream = open_host.stream("worker", "Work")
            async for one in stream:
                if isinstance(one, TextEvent):
                    await until(beat)
                    break
            await stream.aclose()
        assert time.perf_counter() - began < 30
        assert beat.exists()
        assert await still(beat)
        [call] = await calls_of(open_host)
    assert call["outcome"] == ("failed" if how == "deadline" else "cancelled")
    if how != "cancel":
        assert (call["input_tokens"], call["output_tokens"]) == (40, 4)


async def test_a_grandchild_does_not_outlive_a_program_that_is_done(tmp_path: Path) -> None:
    (tmp_path / "heartbeat.py").write_text(HEARTBEAT)
    body = (
        "subprocess.Popen([sys.executable, 'heartbeat.py', 'beat'])\nwhile not os.path.exists('beat'): time.sleep(0.01)\n" + DONE
    )
    assert (await done(tmp_path, body)).text == "Done."
    assert await still(tmp_path / "beat")


async def test_a_program_that_falls_silent_gives_way(tmp_path: Path) -> None:
    both = "if job['context']['candidate']['provider'] == 'coder':\n    time.sleep(600)\n" + DONE
    bundle = worker(tmp_path, "coder/coder-*", "spare/coder-1")
    providers = {id: ProgramModels(id, ["coder-1", "coder-2"]) for id in ("coder", "spare")}
    async with Host(
        bundle,
        providers=providers,
        spawner=agent(tmp_path, both),
        ledger=tmp_path / "ledger.db",
        timeouts=Timeouts(first_token=2.0),
    ) as open_host:
        result = await open_host.delegate("worker", "Work")
    assert_attempts(result, "coder/coder-2 failed busy: timeout: no answer within 2 s", "spare/coder-1 answered")


async def test_a_tool_that_takes_too_long_meets_the_deadline(tmp_path: Path) -> None:
    async def wait() -> str:
        """Wait."""
        await asyncio.sleep(60)
        return ""

    body = "say(call={'id': 1, 'name': 'wait', 'arguments': {}}); time.sleep(60)"
    async with host(tmp_path, agent(tmp_path, body)) as open_host:
        with pytest.raises(DeadlineExceeded, match="while 'wait' ran"):
            await open_host.delegate("worker", "Work", tools=[wait], timeout=1)
