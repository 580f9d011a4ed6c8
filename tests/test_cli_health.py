"""`bundle-loader health`: what is down, since when, why, when it is asked again, who finds out; and taking it for up again."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from bundle_loader import Host
from bundle_loader.ledger.breakers import FIRST, LEAST
from bundle_loader.ledger.leases import LONGEST
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.operations import Open, Reserve
from tests.support.command import command
from tests.support.hosting import MODELS, worker
from tests.support.vendors import Fault, World, served_in_thread

ILL, WELL = f"anthropic/{MODELS['anthropic'][0]}", f"openai/{MODELS['openai'][0]}"


def down(path: Path, *names: str, until: float, times: int = 1) -> None:
    """Somebody has found these down until then."""
    ledger = Ledger(path)
    for name in names:
        provider, _, model = name.partition("/")
        key = name.replace("/", "|")
        ledger.enter(Open(key, provider, model or None, until, times, "busy 503: gone away", time.time()))
    ledger.close()


def test_what_a_host_found_down_is_shown_and_stands_in_routes_until_it_is_reset(tmp_path: Path) -> None:
    world = World("anthropic", "openai")
    with served_in_thread(world) as base:
        world.vendor("anthropic").fault = Fault.status(503, message="gone away")
        environment = dict(world.environment(base))
        worker(tmp_path, ILL, WELL)
        ledger = "--ledger", str(tmp_path / "l.db")
        bundle = "--bundle", str(tmp_path / "worker.md")

        async def wear() -> None:
            async with Host(worker(tmp_path, ILL, WELL), ledger=tmp_path / "l.db", environment=environment) as host:
                for _ in range(LEAST):
                    await host.delegate("worker", "Work.")

        began = time.time()
        asyncio.run(wear())
        shown = command("health", *ledger, home=tmp_path, environment=environment)
        assert shown.code == 0
        head, line = shown.out.splitlines()
        assert head.split() == ["down", "since", "asked", "again", "times", "why"]
        assert line.startswith(f"{ILL}  20")
        assert "busy 503: gone away" in line
        (one,) = command("health", "--json", *ledger, home=tmp_path, environment=environment).json["down"]
        assert (one["provider"], one["model"], one["times"], one["probing"]) == ("anthropic", MODELS["anthropic"][0], 1, None)
        assert one["reason"] == "busy 503: gone away"
        ledger_of = Ledger(tmp_path / "l.db")
        (row,) = ledger_of.query("health")
        assert began <= row["since"] <= time.time()
        assert row["until"] - row["since"] == pytest.approx(FIRST, abs=0.1)
        ledger_of.close()
        down(tmp_path / "l.db", ILL, until=time.time() + 100)  # by another key: it says nothing of ours
        assert len(command("health", "--json", *ledger, home=tmp_path).json["down"]) == 2

        reset = command("health", ILL, "--reset", *ledger, home=tmp_path, environment=environment)
        assert (reset.code, len(reset.out.splitlines())) == (0, 2)
        assert command("health", *ledger, home=tmp_path).err == "nothing is down\n"
        found = command("resolve", "worker", *bundle, *ledger, "--json", home=tmp_path, environment=environment).json
        assert found["resolved"][0]["model"] == ILL


@pytest.mark.parametrize(
    "asked", [("resolve", "worker"), ("explain", "worker"), ("delegate", "worker", "Work.", "--dry-run"), ("models", "anthropic")]
)
def test_what_is_down_is_a_rejection_wherever_a_route_is_shown(tmp_path: Path, asked: tuple[str, ...]) -> None:
    world = World("anthropic", "openai")
    with served_in_thread(world) as base:
        environment = dict(world.environment(base))
        host = Host(worker(tmp_path, ILL, WELL), ledger=tmp_path / "l.db", environment=environment)
        pair = "anthropic", MODELS["anthropic"][0]
        ledger = Ledger(tmp_path / "l.db")
        ledger.enter(Open(host.breakers.key(pair), *pair, time.time() + LONGEST, 1, "busy 503: gone away", time.time()))
        ledger.close()
        ran = command(
            *asked, "--bundle", str(tmp_path / "worker.md"), "--ledger", str(tmp_path / "l.db"), home=tmp_path,
            environment=environment,
        )  # fmt: skip
    assert ran.code == 0
    assert f"{ILL} is down (busy 503: gone away)" in ran.out + ran.err
    assert world.chats() == []


def test_who_finds_out_is_told(tmp_path: Path) -> None:
    down(tmp_path / "l.db", "anthropic/m", "openai", until=time.time() - 1)
    ledger = Ledger(tmp_path / "l.db")
    what = '["d-1","d","d","worker",null,"anthropic","m","m","m",0]'
    asyncio.run(_reserve(ledger, Reserve("5eed5eed5eed5eed-1-1", (), 0, 0, what, probes=("anthropic|m",))))
    shown = command("health", "--ledger", str(tmp_path / "l.db"), home=tmp_path)
    first, second = shown.out.splitlines()[1:]
    assert "(5eed5eed) is finding out, for " in first or "delegation 5eed5eed is finding out, for " in first
    assert "with the next request" in second
    one, other = command("health", "--json", "--ledger", str(tmp_path / "l.db"), home=tmp_path).json["down"]
    assert one["probing"]["call"] == "5eed5eed5eed5eed-1-1"
    assert (one["due"], other["due"], other["model"]) == (False, True, None)
    ledger.close()


async def _reserve(ledger: Ledger, asked: Reserve) -> None:
    await ledger.reserve(asked)


def test_a_provider_is_reset_with_its_models_and_a_model_by_itself(tmp_path: Path) -> None:
    down(tmp_path / "l.db", "anthropic/m", "anthropic/n", "anthropic", "openai", until=time.time() + 50)
    ledger = "--ledger", str(tmp_path / "l.db")
    assert command("health", "anthropic/m", "--reset", *ledger, home=tmp_path).code == 0
    left = [(row["provider"], row["model"]) for row in command("health", "--json", *ledger, home=tmp_path).json["down"]]
    assert left == [("anthropic", None), ("anthropic", "n"), ("openai", None)]
    wrong = command("health", "anthropic/k", "--reset", *ledger, home=tmp_path)
    assert wrong.code == 1
    assert "'anthropic/k' is not down; did you mean 'anthropic/n'?; down are anthropic, anthropic/n, openai" in wrong.err
    gone = command("health", "anthropic", "--reset", "--json", *ledger, home=tmp_path).json["reset"]
    assert [(row["provider"], row["model"]) for row in gone] == [("anthropic", None), ("anthropic", "n")]
    assert command("health", "--reset", *ledger, home=tmp_path).out.startswith("openai is taken for up again")
    assert command("health", "--json", *ledger, home=tmp_path).json["down"] == []


def test_an_open_host_takes_a_reset_over(tmp_path: Path) -> None:
    world = World("anthropic", "openai")
    with served_in_thread(world) as base:
        environment = dict(world.environment(base))
        world.vendor("anthropic").fault = Fault.status(401)

        async def both() -> list[str]:
            async with Host(worker(tmp_path, ILL, WELL), ledger=tmp_path / "l.db", environment=environment) as host:
                before = await host.delegate("worker", "Work.")
                between = await host.delegate("worker", "Work.")
                world.vendor("anthropic").fault = None
                await asyncio.to_thread(
                    command, "health", "--reset", "--ledger", str(tmp_path / "l.db"), home=tmp_path, environment=environment
                )
                await asyncio.sleep(2.5)
                return [result.provider for result in (before, between, await host.delegate("worker", "Work."))]

        assert asyncio.run(both()) == ["openai", "openai", "anthropic"]
    assert LONGEST > 60, "without the reset it would have been out for minutes"


def test_no_ledger_at_all(tmp_path: Path) -> None:
    assert command("health", home=tmp_path).err == "nothing is down\n"
    missing = command("health", "--ledger", str(tmp_path / "none.db"), home=tmp_path)
    assert (missing.code, "there is no ledger" in missing.err) == (1, True)
