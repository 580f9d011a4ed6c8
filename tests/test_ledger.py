"""The ledger: what is recorded, what is not, and files that cannot be trusted."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bundle_loader import AllFailed, Host, LedgerError, NoCandidate, SimulatedProvider, load_bundle
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.migrations import MIGRATIONS
from bundle_loader.ledger.records import CallRecord, Outcome, from_pico, to_pico
from bundle_loader.messages import Usage
from tests.support.hosting import both, mounted, worker
from tests.support.records import CALL
from tests.support.vendors import Fault, Reply, World

Served = tuple[World, str]


def call_record(id: str, *, cost: Decimal | None = Decimal("0.1"), simulated: bool = False, **more: Any) -> CallRecord:
    return CallRecord(id=id, **{**CALL, "attempt": "a", "cost": cost, "simulated": simulated, **more})


class Ticking:
    """A clock that the test sets."""

    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


async def test_everything_about_an_answer_is_recorded(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    usage = Usage(1000, 500, cache_read_tokens=400, reasoning_tokens=100)
    world.vendor("anthropic").fault = Fault.status(503)
    world.vendor("openai").replies = [Reply("Done.", usage=usage, model="gpt-4o-2024-08-06")]
    bundle = load_bundle("foundation")
    providers = mounted(world, base)
    async with Host(bundle, providers=providers, ledger=tmp_path / "l.db", clock=Ticking()) as host:
        result = await host.delegate("git-ops", "Commit.", tier="budget")
        (delegation,) = host.ledger.delegations()
        attempts = host.ledger.attempts(result.id)
        failed, answered = host.ledger.calls(result.id)
    expected = {
        "id": result.id,
        "parent": None,
        "root": result.id,
        "depth": 0,
        "agent": "git-ops",
        "tier": "budget",
        "decided_by": "caller",
        "bundle": "foundation",
        "bundle_hash": bundle.hash,
        "started": Ticking.now,
        "outcome": "answered",
        "provider": "openai",
        "model": "gpt-4o-mini",
        "reason": None,
        "simulated": 0,
        "calls": 2,
        "input_tokens": 1000,
        "output_tokens": 500,
        "cost": result.cost,
    }
    assert {key: delegation[key] for key in expected} == expected
    assert delegation["latency"] >= sum(attempt["latency"] for attempt in attempts) > 0
    told = [(row["number"], row["provider"], row["model"], row["pattern"], row["outcome"], row["kind"]) for row in attempts]
    assert told == [
        (1, "anthropic", "claude-haiku-4-5-20251001", "claude-haiku-*", "failed", "busy"),
        (2, "openai", "gpt-4o-mini", "gpt-4o-mini", "answered", None),
    ]
    assert attempts[0]["reason"].startswith("busy 503")
    assert [row["id"] for row in attempts] == [failed["attempt"], answered["attempt"]]
    assert (failed["outcome"], failed["input_tokens"], failed["cost"], failed["answered"]) == ("failed", 0, Decimal(0), None)
    assert failed["reason"].startswith("busy 503")
    expected = {
        "agent": "git-ops",
        "tier": "budget",
        "provider": "openai",
        "pattern": "gpt-4o-mini",
        "asked": "gpt-4o-mini",
        "answered": "gpt-4o-2024-08-06",
        "input_tokens": 1000,
        "output_tokens": 500,
        "cache_read_tokens": 400,
        "cache_write_tokens": 0,
        "reasoning_tokens": 100,
        "estimated": 0,
        "outcome": "answered",
        "simulated": 0,
        "started": Ticking.now,
    }
    assert {key: answered[key] for key in expected} == expected
    assert 0 < answered["first_token"] <= answered["latency"]
    # the price is that of the model that answered: gpt-4o, 2.50 in, 1.25 cached, 10 out per million
    assert answered["cost"] == (Decimal("2.5") * 600 + Decimal("1.25") * 400 + Decimal(10) * 500) / 1_000_000
    assert isinstance(answered["cost"], Decimal)


async def test_what_failed_and_what_was_refused_is_recorded(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    world.vendor("openai").fault = Fault.status(503)
    async with Host(worker(tmp_path, "openai/gpt-4o"), ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        with pytest.raises(AllFailed):
            await host.delegate("worker", "Work.")
        with pytest.raises(NoCandidate):
            await host.delegate("worker", "Work.", preferences=["nobody/x"])
        refused, failed = sorted(host.ledger.delegations(), key=lambda row: row["calls"])
        assert host.ledger.attempts(refused["id"]) == []
    assert (failed["outcome"], failed["calls"], failed["reason"]) == ("failed", 1, "agent 'worker': every candidate failed")
    assert failed["provider"] is None
    assert refused["outcome"] == "refused"
    assert refused["reason"].startswith("agent 'worker': none of its preferences can be met")


async def test_an_answer_without_usage_is_estimated_and_marked(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    world.vendor("openai").replies = [Reply("x" * 40, usage=None)]
    async with Host(worker(tmp_path, "openai/gpt-4o"), ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        result = await host.delegate("worker", "y" * 400)
        (call,) = host.ledger.calls()
    assert result.usage.estimated
    assert call["estimated"] == 1
    assert call["output_tokens"] == 10
    assert 100 <= call["input_tokens"] <= 120


async def test_the_simulated_is_kept_apart(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    providers = mounted(world, base, {"github-copilot": SimulatedProvider("github-copilot", models=["gpt-4o"])})
    bundle = worker(tmp_path, "openai/gpt-4o", "github-copilot/gpt-4o")
    async with Host(bundle, providers=providers, ledger=tmp_path / "l.db") as host:
        await host.delegate("worker", "Work.")
        world.vendor("openai").fault = Fault.status(503)
        result = await host.delegate("worker", "Work.")
        real, simulated = host.ledger.totals("provider"), host.ledger.totals("provider", simulated=True)
        flags = [row["simulated"] for row in host.ledger.delegations()]
    assert result.simulated
    assert sorted(flags) == [0, 1]
    assert [(row["name"], row["calls"]) for row in real] == [("openai", 2)]
    assert [(row["name"], row["calls"]) for row in simulated] == [("github-copilot", 1)]
    home = {"BUNDLE_LOADER_HOME": str(tmp_path / "home")}
    async with Host("foundation", simulate=True, environment=home) as host:
        await host.delegate("git-ops", "Commit.")
    assert sorted(path.name for path in (tmp_path / "home").iterdir()) == ["ledger-simulated.db", "sessions-simulated"]


async def test_neither_keys_nor_prompts_nor_answers_are_kept(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    world.vendor("openai").required_key = "key-4711-openai"
    world.vendor("anthropic").faults = [Fault.status(400, message="this model does not support it; key test-key-anthropic")]
    world.vendor("openai").replies = [Reply(tool_calls=[("look", {"at": "argument-4711"})]), Reply("answer-4711")]

    def look(at: str) -> str:
        """A look."""
        return "result-4711"

    bundle = worker(tmp_path, "anthropic/claude-haiku-*", "openai/gpt-4o", body="instruction-4711")
    folder = tmp_path / "ledger"
    async with Host(bundle, ledger=folder / "l.db", environment=world.environment(base)) as host:
        result = await host.delegate("worker", "prompt-4711", tools=[look], messages=[{"role": "user", "content": "before-4711"}])
        host.ledger.flush()
        files = b"".join(path.read_bytes() for path in folder.iterdir())
    assert result.text == "answer-4711"
    assert b"worker" in files
    assert b"4711" not in files
    assert b"test-key-anthropic" not in files


async def test_the_hash_of_the_bundle_follows_its_content(tmp_path: Path) -> None:
    first = worker(tmp_path, "openai/gpt-4o")
    again = worker(tmp_path, "openai/gpt-4o")
    other = worker(tmp_path, "openai/gpt-4o-mini")
    text = worker(tmp_path, "openai/gpt-4o", body="Do it otherwise.")
    assert first.hash == again.hash
    assert len({first.hash, other.hash, text.hash}) == 3


# --- sums


def test_totals_add_exactly_and_say_when_a_part_is_unknown(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    for number in range(10):
        ledger.append(call_record(f"1-{number}"))
    ledger.append(call_record("2", cost=None, asked="mystery", agent="other"))
    ledger.append(call_record("3", cost=Decimal("0.000000000001"), asked="tiny", agent="other"))
    ledger.append(call_record("4", cost=Decimal(1000), simulated=True))
    by_agent = {row["name"]: row for row in ledger.totals("agent")}
    assert by_agent["worker"]["cost"] == Decimal(1)
    assert (by_agent["worker"]["calls"], by_agent["worker"]["input_tokens"]) == (10, 100)
    assert by_agent["other"]["cost"] is None
    assert by_agent["other"]["known_cost"] == Decimal("0.000000000001")
    assert ledger.totals("model")[0]["name"] == "gpt-4o", "dearest first"
    assert [row["cost"] for row in ledger.totals("tier", simulated=True)] == [Decimal(1000)]
    assert [row["name"] for row in ledger.totals("provider")] == ["openai"]
    ledger.close()


@pytest.mark.parametrize("cost", [Decimal(0), Decimal("0.000000000001"), Decimal("123456.789012345678"), None])
def test_money_survives_the_file(cost: Decimal | None) -> None:
    assert from_pico(to_pico(cost)) == cost


def test_closing_commits_and_can_be_done_twice(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "new" / "folder" / "l.db")
    for number in range(500):
        ledger.append(call_record(str(number)))
    ledger.close()
    ledger.close()
    with pytest.raises(LedgerError, match="closed"):
        ledger.append(call_record("late"))
    again = Ledger(ledger.path)
    assert len(again.calls()) == 500
    again.close()


async def test_reading_sees_what_was_just_appended(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    outcomes: list[Outcome] = ["answered", "failed", "cancelled", "refused"]
    for number, outcome in enumerate(outcomes):
        ledger.append(call_record(str(number), outcome=outcome, started=float(number)))
        seen = await asyncio.to_thread(ledger.calls)
        assert [row["outcome"] for row in seen] == outcomes[: number + 1]
    ledger.close()


def test_a_write_that_fails_is_told(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    ledger.append(call_record("same"))
    ledger.append(call_record("same"))
    with pytest.raises(LedgerError, match="could not be written"):
        ledger.flush()
    with pytest.raises(LedgerError, match="could not be written"):
        ledger.close()


# --- the file


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    ledger.append(call_record("1"))
    ledger.flush()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    ledger.close()
    assert modes.keys() >= {"l.db", "l.db-wal"}
    assert set(modes.values()) == {0o600}


def untouched(path: Path, match: str) -> None:
    """The file is refused with a remedy, and is as it was."""
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(LedgerError, match=match) as caught:
            Ledger(path)
        assert str(path) in str(caught.value)
        assert "ledger=" in str(caught.value)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("content", [b"no database " * 100, b"x", b"SQLite format 3\x00" + b"\xff" * 4000])
def test_a_file_that_is_no_ledger_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "l.db"
    path.write_bytes(content)
    untouched(path, "not a ledger that can be read")


def test_a_ledger_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE calls (id TEXT)")
        database.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    database.close()
    untouched(path, f"a newer version \\(schema {len(MIGRATIONS) + 1}\\); update")


def test_the_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE bookmarks (url TEXT)")
    database.close()
    untouched(path, "another program")


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="ledger="):
        Ledger(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(LedgerError, match="cannot be opened"):
        Ledger(tmp_path / "file" / "l.db")


WRITER = """
import sys
from bundle_loader.ledger.ledger import Ledger
from tests.test_ledger import call_record
sys.stdin.readline()
for round in range(10):
    ledger = Ledger(sys.argv[1])
    for number in range(30):
        ledger.append(call_record(f"{sys.argv[2]}-{round}-{number}"))
    ledger.close()
"""


@pytest.mark.slow
def test_several_processes_create_and_write_one_ledger_at_once(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    root = Path(__file__).parent.parent
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), name], cwd=root, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for name in "abc"
    ]
    said = [writer.communicate("go\n", timeout=60)[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0], said
    ledger = Ledger(path)
    assert len(ledger.calls()) == 900
    assert ledger.totals()[0]["cost"] == Decimal(90)
    ledger.close()


async def test_hosts_share_a_ledger(tmp_path: Path) -> None:
    providers = {"sim": SimulatedProvider("sim", models=["m-1"])}
    bundle = worker(tmp_path, *both("openai"), "sim/m-*")
    async with (
        Host(bundle, providers=providers, ledger=tmp_path / "l.db") as one,
        Host(bundle, providers=providers, ledger=tmp_path / "l.db") as other,
    ):
        await asyncio.gather(*(host.delegate("worker", "Work.") for host in (one, other) * 10))
        one.ledger.flush()
        assert len(other.ledger.delegations()) == 20
