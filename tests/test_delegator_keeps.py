"""What a delegation takes over from the one before it, and when it must not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from bundle_loader import DeadlineExceeded, Host, ModelInfo
from bundle_loader.messages import StreamPart, Turn, Usage, assistant
from bundle_loader.providers.base import ChatRequest

AGENT = """---
format: 1
name: {name}
provider_preferences: [a/m-*, b/m-*]
---
{body}
"""


class Lister:
    """A provider whose list and speed a test changes; it answers with the system text that it was given."""

    local = False

    def __init__(self, id: str, *models: str) -> None:
        self.id = id
        self.models = models
        self.gate = asyncio.Event()
        self.gate.set()

    async def list_models(self) -> Sequence[ModelInfo]:
        await self.gate.wait()
        return [ModelInfo(model) for model in self.models]

    async def stream(self, request: ChatRequest) -> AsyncIterator[StreamPart]:
        yield Turn(assistant(request.system), Usage(1, 1), request.model, "stop")

    async def aclose(self) -> None:
        return


class Clock:
    """Epoch seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1_780_000_000.0

    def __call__(self) -> float:
        return self.now


def bundle_with(folder: Path, body: str) -> Path:
    path = folder / "worker.md"
    path.write_text(AGENT.format(name="worker", body=body), encoding="utf-8")
    return path


async def test_the_text_follows_the_date_and_the_folder(tmp_path: Path) -> None:
    clock = Clock()
    path = bundle_with(tmp_path, "{{ date }} {{ workdir }}")
    providers = {"a": Lister("a", "m-1"), "b": Lister("b", "m-1")}
    async with Host(path, providers=providers, ledger=tmp_path / "l.db", clock=clock) as host:
        first = (await host.delegate("worker", "go")).text
        assert (await host.delegate("worker", "go")).text == first
        clock.now += 3 * 86_400
        second = (await host.delegate("worker", "go")).text
        assert first.split()[0] < second.split()[0]
        with contextlib.chdir(tmp_path):
            assert (await host.delegate("worker", "go")).text.split()[1] == str(tmp_path)


async def test_a_callers_variables_are_for_his_call_only(tmp_path: Path) -> None:
    path = bundle_with(tmp_path, "{{ mood | default('calm') }}")
    async with Host(path, providers={"a": Lister("a", "m-1")}, ledger=tmp_path / "l.db") as host:
        assert (await host.delegate("worker", "go")).text == "calm"
        assert (await host.delegate("worker", "go", vars={"mood": "bold"})).text == "bold"
        assert (await host.delegate("worker", "go")).text == "calm"


async def test_a_text_that_is_left_to_chance_is_rendered_each_time(tmp_path: Path) -> None:
    path = bundle_with(tmp_path, "{{ range(100000) | random }}")
    async with Host(path, providers={"a": Lister("a", "m-1")}, ledger=tmp_path / "l.db") as host:
        assert len({(await host.delegate("worker", "go")).text for _ in range(5)}) > 1


async def test_the_route_follows_the_list_of_models(tmp_path: Path) -> None:
    clock, lister = Clock(), Lister("a", "m-1")
    providers = {"a": lister, "b": Lister("b", "m-1")}
    async with Host(bundle_with(tmp_path, "x"), providers=providers, ledger=tmp_path / "l.db", clock=clock) as host:
        assert (await host.delegate("worker", "go")).model == "m-1"
        lister.models = ("m-1", "m-2")
        assert (await host.delegate("worker", "go")).model == "m-1"
        clock.now += 3_600
        assert (await host.delegate("worker", "go")).model == "m-1", "the old list serves while it is renewed"
        await asyncio.sleep(0.05)
        assert (await host.delegate("worker", "go")).model == "m-2"


async def test_a_callers_choice_is_for_his_call_only(tmp_path: Path) -> None:
    def tool() -> str:
        return ""

    providers = {"a": Lister("a", "m-1"), "b": Lister("b", "m-1")}
    async with Host(bundle_with(tmp_path, "x"), providers=providers, ledger=tmp_path / "l.db") as host:
        assert (await host.delegate("worker", "go")).provider == "a"
        assert (await host.delegate("worker", "go", provider="b")).provider == "b"
        assert (await host.delegate("worker", "go", tools=[tool])).provider == "a"
        assert (await host.delegate("worker", "go")).provider == "a"


async def test_a_list_that_came_after_its_asker_left_is_known(tmp_path: Path) -> None:
    slow = Lister("a", "m-1")
    slow.gate.clear()
    providers = {"a": slow, "b": Lister("b", "m-1")}
    async with Host(bundle_with(tmp_path, "x"), providers=providers, ledger=tmp_path / "l.db") as host:
        with pytest.raises(DeadlineExceeded):
            await host.delegate("worker", "go", timeout=0.02)
        assert (await host.delegate("worker", "go", preferences=["b/m-*"])).provider == "b"
        slow.gate.set()
        await asyncio.sleep(0.02)
        assert (await host.delegate("worker", "go")).provider == "a"
