"""Limits of time for each provider, who is blamed when they pass, and leaving early in every phase of a call."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from time import perf_counter

import pytest

from bundle_loader import Host, Timeouts, load_bundle
from bundle_loader.delegation.context import SpawnLimits, first_limits, limits_of
from bundle_loader.errors import DeclarationError, NoAnswer
from tests.support.hosting import MODELS, mounted, worker
from tests.support.vendors import Fault, Reply, World
from tests.test_delegation_time import spawned

Served = tuple[World, str]
WHOLE = first_limits(300.0, 60.0, 5)


@pytest.mark.parametrize(
    ("said", "left", "others", "local", "expected"),
    [
        (Timeouts(), 300.0, 2, False, SpawnLimits(300.0, 100.0, 60.0, 5)),
        (Timeouts(first_token=30), 300.0, 2, False, SpawnLimits(300.0, 30.0, 60.0, 5, 0.0, 30.0)),
        (Timeouts(first_token=90), 60.0, 2, False, SpawnLimits(60.0, 20.0, 60.0, 5, 0.0, 90.0)),
        (Timeouts(idle=9), 10.0, 0, False, SpawnLimits(10.0, 10.0, 9.0, 5)),
        (Timeouts(), 300.0, 2, True, SpawnLimits(300.0, 100.0, 60.0, 5, 120.0)),
        (Timeouts(load=180, first_token=5), 300.0, 2, True, SpawnLimits(300.0, 5.0, 60.0, 5, 180.0, 15.0)),
        (Timeouts(load=180), 300.0, 2, False, SpawnLimits(300.0, 100.0, 60.0, 5)),
    ],
)
def test_the_limits_of_a_candidate(said: Timeouts, left: float, others: int, local: bool, expected: SpawnLimits) -> None:
    assert limits_of(WHOLE, said, left, others, local=local) == expected


def test_they_are_declared_for_a_provider_and_laid_over_the_hosts(tmp_path: Path) -> None:
    path = tmp_path / "b.yaml"
    path.write_text(
        "bundle: {name: b}\nproviders:\n"
        "  google: {timeouts: {connect: 500ms, first_token: 2m}}\n"
        "  mine: {kind: ollama, timeouts: {load: 180s}}\n",
        encoding="utf-8",
    )
    host = Host(load_bundle(path, strict=True), environment={}, timeouts=Timeouts(idle=20, connect=3), ledger=tmp_path / "l.db")
    assert host.timeouts("google") == Timeouts(connect=0.5, first_token=120, idle=20)
    assert host.timeouts("mine") == Timeouts(connect=3, idle=20, load=180)
    assert host.timeouts("openai") == Timeouts(connect=3, idle=20)


def test_every_wrong_one_is_named_at_its_place(tmp_path: Path) -> None:
    path = tmp_path / "b.yaml"
    path.write_text(
        "bundle: {name: b}\nproviders:\n"
        "  openai: {timeouts: {conect: 5s, idle: soon, load: 0s}, max_calls: 0, proxy: 'socks5://x', ca_file: ''}\n"
        "  google: {timeouts: 5s, proxy: 'http://ann:pw@x'}\n",
        encoding="utf-8",
    )
    with pytest.raises(DeclarationError) as caught:
        load_bundle(path, strict=True)
    said = str(caught.value)
    for words in (
        "providers.openai.timeouts.conect: unknown key; did you mean 'connect'?",
        "providers.openai.timeouts.idle: write a length of time such as 120s",
        "providers.openai.timeouts.load:",
        "providers.openai.max_calls:",
        "providers.openai.proxy: write an address that begins with http:// or https://",
        "providers.openai.ca_file: write the path of a file",
        "providers.google.timeouts: '5s' does not fit; write 'key: value' lines",
        "providers.google.proxy: an address holds no user name or password",
    ):
        assert words in said
    assert "pw" not in said
    assert ":3:" in said
    assert ":4:" in said


def test_a_ca_file_begins_at_the_file_that_names_it_and_is_not_an_included_bundles_to_name(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b.yaml").write_text(
        "bundle: {name: b}\nincludes: [./other.yaml]\nproviders: {openai: {ca_file: ./corp.pem}}\n", encoding="utf-8"
    )
    (tmp_path / "deep" / "other.yaml").write_text(
        "bundle: {name: other}\nproviders: {google: {ca_file: /etc/x.pem, proxy: 'http://evil.example'}}\n", encoding="utf-8"
    )
    bundle = load_bundle(tmp_path / "deep" / "b.yaml")
    assert bundle.providers["openai"].ca_file == str(tmp_path / "deep" / "corp.pem")
    assert "google" not in bundle.providers


@pytest.mark.parametrize("vendor", MODELS)
async def test_a_short_first_token_limit_ends_it_and_counts_against_nobody(vendors: Served, vendor: str) -> None:
    world, base = vendors
    world.vendor(vendor).fault = Fault.stall()
    limits = limits_of(first_limits(30, 60, 5), Timeouts(first_token=0.3), 30.0, 0, local=False)
    began = perf_counter()
    _, failure = await spawned(world, base, vendor, limits)
    assert perf_counter() - began < 12
    assert failure is not None
    assert failure.hurried, "others have 15 s"
    _, failure = await spawned(world, base, vendor, replace(limits, due=0.3))
    assert failure is not None
    assert failure.counts_against_health
    limits = limits_of(first_limits(0.5, 60, 5), Timeouts(first_token=0.8), 0.5, 0, local=False)
    _, failure = await spawned(world, base, vendor, limits)
    assert failure is not None
    assert failure.hurried, "only the caller's deadline was near"


async def test_the_end_of_the_whole_deadline_says_nothing_and_the_end_of_a_share_does(vendors: Served) -> None:
    world, base = vendors
    world.vendor("openai").fault = Fault.stall()
    whole = SpawnLimits(timeout=0.5, first=0.5, idle=60, max_turns=5, due=0.2)
    _, failure = await spawned(world, base, "openai", whole)
    assert failure is not None
    assert failure.hurried, "with another deadline it might have answered"
    _, failure = await spawned(world, base, "openai", replace(whole, timeout=30))
    assert failure is not None
    assert failure.counts_against_health


async def test_a_local_model_has_time_to_load_before_its_first_answer_only(vendors: Served) -> None:
    world, base = vendors
    ollama = world.vendor("ollama")
    ollama.delay = 0.8
    limits = SpawnLimits(timeout=30, first=0.3, idle=10, max_turns=5, load=5, due=0.3)
    _, failure = await spawned(world, base, "ollama", limits)
    assert failure is None
    ollama.replies = [Reply(tool_calls=[("again", {})])]
    _, failure = await spawned(world, base, "ollama", limits)
    assert failure is not None, "it is loaded by its second turn"
    assert "within 0.3 s" in failure.message
    assert failure.counts_against_health


async def test_a_load_that_the_deadline_cut_short_counts_against_nobody(vendors: Served) -> None:
    world, base = vendors
    world.vendor("ollama").fault = Fault.stall()
    _, failure = await spawned(world, base, "ollama", limits_of(first_limits(0.4, 60, 5), Timeouts(), 0.4, 0, local=True))
    assert failure is not None
    assert failure.hurried
    _, failure = await spawned(
        world, base, "ollama", limits_of(first_limits(30, 60, 5), Timeouts(load=0.3, first_token=0.2), 30, 0, local=True)
    )
    assert failure is not None
    assert failure.hurried, "it was told to have less than others give it"
    _, failure = await spawned(world, base, "ollama", SpawnLimits(timeout=0.5, first=0.2, idle=9, max_turns=5, load=0.9, due=0.2))
    assert failure is not None
    assert failure.hurried, "it had its first-token limit, but not the time to load"


# --- leaving early


async def at_rest(host: Host, ledger: Path, before: set[asyncio.Task[object]]) -> None:
    """Nothing is left of what was cancelled: no task, no place, no reservation."""
    for _ in range(100):
        mine = {task for task in asyncio.all_tasks() - before if "uvicorn" not in repr(task) and "Loopback" not in repr(task)}
        if not mine:
            break
        await asyncio.sleep(0.005)
    assert mine == set()
    assert (host.slots.busy, host.slots.waiting()) == (0, 0)
    held = [1]
    for _ in range(100):
        with contextlib.closing(sqlite3.connect(ledger)) as reading:
            held = reading.execute("SELECT id FROM reservations").fetchall()
        if not held:
            break
        await asyncio.sleep(0.02)
    assert held == []


@pytest.mark.parametrize("vendor", MODELS)
@pytest.mark.parametrize("phase", ["headers", "stream", "place", "retry", "tool"])
async def test_cancelling_ends_everything_at_once(vendors: Served, tmp_path: Path, vendor: str, phase: str) -> None:
    world, base = vendors
    its = world.vendor(vendor)
    model = f"{vendor}/{MODELS[vendor][0]}"
    in_tool = asyncio.Event()

    async def sleeps() -> str:
        """Takes its time."""
        in_tool.set()
        await asyncio.sleep(30)
        return "rested"

    async with Host(worker(tmp_path, model), ledger=tmp_path / "l.db", providers=mounted(world, base), max_calls=2) as host:
        await host.delegate("worker", "Work.", max_cost=1)
        before = asyncio.all_tasks()
        chats = len(world.chats())
        its.fault = {"headers": Fault.stall(), "stream": Fault.stall_midway(), "place": Fault.stall()}.get(phase)
        if phase == "retry":
            its.fault = Fault.status(503, retry_after=20)
        if phase == "tool":
            its.replies = [Reply(tool_calls=[("sleeps", {})])]
        tasks = [
            asyncio.create_task(host.delegate("worker", "Work.", tools=[sleeps], max_cost=1))
            for _ in range(3 if phase == "place" else 1)
        ]
        await world.until(lambda: len(world.chats()) == chats + min(len(tasks), 2))
        if phase == "tool":
            await asyncio.wait_for(in_tool.wait(), 5)
        await world.until(lambda: phase != "place" or host.slots.waiting() == 1)
        await asyncio.sleep(0.05)
        began = perf_counter()
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in ended)
        if phase in ("headers", "stream", "place"):
            await world.until(lambda: all(chat.disconnected for chat in world.chats()[chats:]))
        assert perf_counter() - began < 5
        await at_rest(host, tmp_path / "l.db", before)
        its.fault = None
        assert (await host.delegate("worker", "Work.", timeout=10)).text


async def test_cancelling_while_another_process_keeps_the_ledger_locked(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    model = f"openai/{MODELS['openai'][0]}"
    async with Host(worker(tmp_path, model), ledger=tmp_path / "l.db", providers=mounted(world, base), max_calls=1) as host:
        await host.delegate("worker", "Work.", max_cost=1)
        before = asyncio.all_tasks()
        other = sqlite3.connect(tmp_path / "l.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        task = asyncio.create_task(host.delegate("worker", "Work.", max_cost=1))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)
        assert host.slots.busy == 0
        other.execute("ROLLBACK")
        other.close()
        assert len(world.chats()) == 1
        assert (await host.delegate("worker", "Work.", max_cost=1, timeout=10)).text
        await at_rest(host, tmp_path / "l.db", before)


@pytest.mark.parametrize(("header", "value"), [("retry-after", "1"), ("retry-after-ms", "300"), ("retry-after", "date")])
async def test_retry_after_is_waited_for_inside_the_deadline_only(
    vendors: Served, tmp_path: Path, header: str, value: str
) -> None:
    world, base = vendors
    openai = world.vendor("openai")
    model = f"openai/{MODELS['openai'][0]}"
    async with Host(worker(tmp_path, model), ledger=tmp_path / "l.db", providers=mounted(world, base)) as host:
        await host.route("worker")
        if value == "date":
            value = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
        openai.faults = [Fault.status(503, headers={header: value})]
        began = perf_counter()
        assert (await host.delegate("worker", "Work.", timeout=30)).text
        assert perf_counter() - began > 0.2
        openai.faults = [Fault.status(503, headers={header: "3600"})] if header == "retry-after" else []
        if openai.faults:
            with pytest.raises(NoAnswer):
                await host.delegate("worker", "Work.", timeout=20)
            assert perf_counter() - began < 15
