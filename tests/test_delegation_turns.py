"""Turns and tools: a finished turn is never run again, its history goes to the next vendor, mistakes go back to the model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from bundle_loader import Host, LimitReached
from bundle_loader.delegation.message_json import to_json
from bundle_loader.delegation.result import DoneEvent
from bundle_loader.events import FallbackEvent, OutcomeEvent, StatusEvent, TextEvent, ToolEvent, TurnEvent
from bundle_loader.messages import Delta, Message, Part, StreamPart, Text, ToolCall, Turn, Usage
from bundle_loader.providers.base import ChatRequest
from bundle_loader.routing.catalogue import ModelInfo
from tests.support.hosting import MODELS, worker
from tests.support.vendors import Fault, Reply, World

Served = tuple[World, str]


class Weather:
    """A tool that counts its calls."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def weather(self, city: str, days: int = 1) -> dict[str, Any]:
        """The weather of a city."""
        self.asked.append(city)
        return {"city": city, "sky": "overcast-7731", "days": days}


CALL = Reply("Let me look.", tool_calls=[("weather", {"city": "Oslo"})], usage=Usage(100, 10))


@pytest.mark.parametrize("vendor", MODELS)
async def test_a_tool_turn(vendors: Served, tmp_path: Path, vendor: str) -> None:
    world, base = vendors
    world.vendor(vendor).replies = [CALL, Reply("It is overcast.", usage=Usage(200, 20))]
    tool = Weather()
    bundle = worker(tmp_path, f"{vendor}/{MODELS[vendor][0]}")
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        result = await host.delegate("worker", "How is Oslo?", tools=[tool.weather])
        calls = host.ledger.calls(result.id)
    assert result.text == "It is overcast."
    assert tool.asked == ["Oslo"]
    assert result.turns == 2
    assert result.usage == Usage(300, 30)
    assert [call["input_tokens"] for call in calls] == [100, 200]
    assert [message.role for message in result.messages] == ["user", "assistant", "tool", "assistant"]
    first, second = world.chats()
    assert "The weather of a city." in json.dumps(first.body_json), "the model is told what the tool does"
    assert "overcast-7731" in json.dumps(second.body_json)


@pytest.mark.parametrize(("dying", "heir"), [*permutations(MODELS, 2)])
async def test_a_provider_that_dies_in_the_second_turn_leaves_the_first_to_the_next(
    vendors: Served, tmp_path: Path, dying: str, heir: str
) -> None:
    world, base = vendors
    world.vendor(dying).replies = [CALL]
    world.vendor(dying).faults = [None, Fault.status(503)]
    world.vendor(heir).replies = [Reply("Then it is overcast.")]
    tool = Weather()
    bundle = worker(tmp_path, f"{dying}/{MODELS[dying][0]}", f"{heir}/{MODELS[heir][0]}")
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        result = await host.delegate("worker", "How is Oslo?", tools=[tool.weather])
        outcomes = [(call["provider"], call["outcome"]) for call in host.ledger.calls(result.id)]
    assert tool.asked == ["Oslo"], "no tool runs twice"
    assert (result.provider, result.text, result.turns) == (heir, "Then it is overcast.", 2)
    assert outcomes == [(dying, "answered"), (dying, "failed"), (heir, "answered")]
    assert result.usage == Usage(120, 18)
    (taken,) = world.chats(heir)
    assert taken.status == 200, "the heir is strict about the shape of a history"
    history = json.dumps(taken.body_json)
    assert "Let me look." in history
    assert "overcast-7731" in history
    assert "Oslo" in history


async def test_the_turns_of_a_dead_provider_count_for_the_limit(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    world.vendor("anthropic").replies = [CALL, CALL]
    world.vendor("anthropic").faults = [None, None, Fault.status(503)]
    world.vendor("openai").answer = lambda _: CALL
    tool = Weather()
    bundle = worker(tmp_path, "anthropic/claude-haiku-*", "openai/gpt-4o", limits={"max_turns": 3})
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        with pytest.raises(LimitReached, match="used all of its 3 turns") as caught:
            await host.delegate("worker", "How is Oslo?", tools=[tool.weather])
        (row,) = host.ledger.delegations()
    assert len(tool.asked) == 3
    assert [str(line)[:32] for line in caught.value.attempts] == [
        "1. anthropic/claude-haiku-4-5-20",
        "2. openai/gpt-4o failed: agent '",
    ]
    assert row["outcome"] == "failed"
    assert row["calls"] == 4
    assert "used all of its 3 turns" in row["reason"]


async def test_mistakes_go_back_to_the_model(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors

    async def fails(why: str) -> str:
        raise KeyError(why)

    def unprintable() -> object:
        return {(1, 2): "a key that JSON does not know"}

    tool = Weather()
    world.vendor("openai").replies = [
        Reply(
            tool_calls=[
                ("wether", {"city": "Oslo"}),
                ("weather", {"town": "Oslo"}),
                ("weather", {"city": "Oslo", "days": "many"}),
                ("fails", {"why": "no map"}),
                ("unprintable", {}),
                ("weather", {"city": "Bergen", "days": 2}),
            ]
        ),
        Reply("Done."),
    ]
    async with Host(worker(tmp_path, "openai/gpt-4o"), ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        result = await host.delegate("worker", "Go.", tools=[tool.weather, fails, unprintable])
    assert result.text == "Done."
    assert tool.asked == ["Bergen"]
    told = [message["content"] for message in world.chats()[1].body_json["messages"] if message["role"] == "tool"]
    assert told[0] == "there is no tool 'wether'; there are: weather, fails, unprintable"
    assert told[1] == "wrong arguments: city: Field required; town: Extra inputs are not permitted"
    assert told[2].startswith("wrong arguments: days: Input should be a valid integer")
    assert told[3] == "KeyError: 'no map'"
    assert told[4] == '{"1,2": "a key that JSON does not know"}', "what was done is no mistake"
    assert json.loads(told[5]) == {"city": "Bergen", "sky": "overcast-7731", "days": 2}
    results = [part for message in result.messages if message.role == "tool" for part in message.parts]
    assert [part.is_error for part in results] == [True] * 4 + [False] * 2  # type: ignore[union-attr]


async def test_calls_of_one_turn_run_side_by_side(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    together = asyncio.Barrier(3)

    async def meet(name: str) -> str:
        """Returns once three are here."""
        async with asyncio.timeout(5):
            await together.wait()
        return name

    world.vendor("google").replies = [Reply(tool_calls=[("meet", {"name": name}) for name in "abc"]), Reply("Met.")]
    bundle = worker(tmp_path, "google/gemini-2.5-flash")
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        result = await host.delegate("worker", "Go.", tools=[meet])
    (told,) = [message for message in result.messages if message.role == "tool"]
    assert [part.text for part in told.parts] == ["a", "b", "c"]  # type: ignore[union-attr]


async def test_an_agent_is_given_only_the_tools_that_it_names(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors

    def secret() -> str:
        """Never to be called."""
        raise AssertionError

    tool = Weather()
    world.vendor("openai").replies = [Reply(tool_calls=[("secret", {})]), Reply("I may not.")]
    bundle = worker(tmp_path, "openai/gpt-4o", tools=["weather", "read_file"])
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        result = await host.delegate("worker", "Go.", tools=[tool.weather, secret])
    assert [offered["function"]["name"] for offered in world.chats()[0].body_json["tools"]] == ["weather"]
    told = [message["content"] for message in world.chats()[1].body_json["messages"] if message["role"] == "tool"]
    assert told == ["there is no tool 'secret'; there are: weather"]
    assert "the host does not offer the tools read_file" in result.notes


async def test_a_model_that_is_known_to_take_no_tools_is_not_asked_with_any(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    bundle = worker(tmp_path, "ollama/gemma3:*", "openai/gpt-4o")
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        with_tools = await host.delegate("worker", "Go.", tools=[Weather().weather])
        without = await host.delegate("worker", "Go.")
    assert with_tools.model == "gpt-4o"
    assert [str(one) for one in with_tools.rejections] == ["ollama/gemma3:*: gemma3:4b takes no tools"], "its server says so"
    assert without.model == "gemma3:4b"


async def test_inherited_messages_come_first(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    before = [{"role": "user", "content": "Earlier."}, {"role": "assistant", "content": "Noted."}]
    async with Host(worker(tmp_path, "openai/gpt-4o"), ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        first = await host.delegate("worker", "And now?", messages=before)
        await host.delegate("worker", "Go on.", messages=first.messages)
    said = [message["content"] for message in world.chats()[1].body_json["messages"] if message["role"] != "system"]
    said = [text if isinstance(text, str) else text[0]["text"] for text in said if text != "Do the work."]
    assert said == ["Earlier.", "Noted.", "And now?", first.text, "Go on."]


async def test_the_events_of_a_stream_in_their_order(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    world.vendor("anthropic").replies = [CALL]
    world.vendor("anthropic").faults = [None, Fault.status(503)]
    world.vendor("openai").replies = [Reply("It is overcast.")]
    bundle = worker(tmp_path, "anthropic/claude-haiku-*", "openai/gpt-4o")
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        events = [event async for event in host.stream("worker", "How is Oslo?", tools=[Weather().weather])]
    kinds: list[type] = []
    for event in events:
        if not (isinstance(event, TextEvent) and kinds and kinds[-1] is TextEvent):
            kinds.append(type(event))
    assert kinds == [
        StatusEvent,
        TextEvent,
        ToolEvent,
        TurnEvent,
        FallbackEvent,
        StatusEvent,
        TextEvent,
        TurnEvent,
        OutcomeEvent,
        DoneEvent,
    ]
    text = "".join(event.text for event in events if isinstance(event, TextEvent))
    assert text == "Let me look.It is overcast."
    assert len([event for event in events if isinstance(event, TextEvent)]) > 2, "text comes in pieces"
    done = events[-1]
    assert isinstance(done, DoneEvent)
    assert done.result.text == "It is overcast."
    assert done.result.turns == 2


class Halves:
    """A provider that cuts characters in two, as servers do that escape their JSON piece by piece."""

    id = "halves"
    local = False

    def __init__(self) -> None:
        self.requests: list[ChatRequest] = []

    async def list_models(self) -> list[ModelInfo]:
        return [ModelInfo("m-1")]

    async def stream(self, request: ChatRequest) -> AsyncIterator[StreamPart]:
        self.requests.append(request)
        for piece in ("So \ud83d", "\ude00", " \ud83d"):
            yield Delta(piece)
        parts: list[Part] = [Text("So \ud83d\ude00 \ud83d")]
        if len(self.requests) == 1:
            parts.append(ToolCall("1", "read", {"path": "\udcff"}))
        yield Turn(Message("assistant", tuple(parts)), None, "m-1", "tools")

    async def aclose(self) -> None:
        """Nothing to give back."""


async def test_characters_that_came_in_halves_are_whole_and_can_be_sent(tmp_path: Path) -> None:
    asked: list[str] = []

    def read(path: str) -> str:
        """Read."""
        asked.append(path)
        return "caf\udce9"

    provider = Halves()
    async with Host(worker(tmp_path, "halves/*"), ledger=tmp_path / "l.db", providers={"halves": provider}) as host:
        events = [event async for event in host.stream("worker", "Go in {{ workdir }}.", tools=[read])]
    assert [event.text for event in events if isinstance(event, TextEvent)] == ["So ", "😀", " ", "\ufffd"] * 2
    done = events[-1]
    assert isinstance(done, DoneEvent)
    assert done.result.text == "So 😀 \ufffd"
    assert asked == ["\ufffd"]
    sent = json.dumps([to_json(message) for message in provider.requests[1].messages], ensure_ascii=False)
    assert "caf\ufffd" in sent.encode().decode()


@pytest.mark.parametrize("vendor", MODELS)
async def test_a_turn_that_ends_for_its_tools_and_calls_none_is_the_answer(vendors: Served, tmp_path: Path, vendor: str) -> None:
    world, base = vendors
    world.vendor(vendor).answer = lambda _: Reply("All done.", finish="tools")
    bundle = worker(tmp_path, f"{vendor}/{MODELS[vendor][1]}")
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        result = await host.delegate("worker", "Go.", tools=[named])
    assert (result.text, result.turns, len(world.chats())) == ("All done.", 1, 1)


def named() -> str:
    """A tool that is not called."""
    return "never"
