"""Answers that must be one JSON value of a schema: asked for in each vendor's way, checked, repaired once or refused."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundle_loader import Host, InvalidOutput, LimitReached, NoCandidate, RequestError, TextEvent, TurnEvent, load_bundle
from bundle_loader.delegation.result import DoneEvent
from bundle_loader.delegation.structured import NotFitting, expected, parsed
from bundle_loader.events import OutcomeEvent
from bundle_loader.messages import Message, Text, Turn, Usage
from bundle_loader.testing import scripted_host, structured
from tests.support.hosting import MODELS, worker
from tests.support.tiny_llama import TinyServer
from tests.support.vendors import Fault, Reply, World

Served = tuple[World, str]

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "degrees": {"type": "integer", "minimum": -50, "maximum": 50},
        "sky": {"enum": ["clear", "overcast"]},
    },
    "required": ["city", "degrees", "sky"],
    "additionalProperties": False,
}
GOOD = {"city": "Oslo", "degrees": 7, "sky": "clear"}
BAD = {"city": "Oslo", "degrees": "warm", "sky": "clear"}


def sent_schema(vendor: str, body: dict[str, Any]) -> Any:
    """The schema as the vendor's own way has it in a request."""
    if vendor == "anthropic":
        return body["output_config"]["format"]["schema"]
    if vendor == "openai":
        return body["response_format"]["json_schema"]["schema"]
    if vendor == "google":
        return body["generationConfig"]["responseJsonSchema"]
    return body["format"]


async def gathered(events: AsyncIterator[Any], shown: list[Any]) -> None:
    """Everything that a stream shows, also where it ends in an error."""
    async for event in events:
        shown.append(event)


@pytest.mark.requirement("POL-128")
@pytest.mark.parametrize("vendor", MODELS)
async def test_what_does_not_fit_is_repaired_once_or_refused(vendors: Served, tmp_path: Path, vendor: str) -> None:
    world, base = vendors
    served = world.vendor(vendor)
    bundle = worker(tmp_path, f"{vendor}/{MODELS[vendor][1]}", output_schema=SCHEMA)
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        served.replies = [Reply(json.dumps(GOOD))]
        good = await host.delegate("worker", "How is Oslo?")
        served.replies = [Reply(json.dumps(BAD)), Reply(json.dumps(GOOD))]
        repaired = await host.delegate("worker", "How is Oslo?")
        served.replies = [Reply(json.dumps(BAD)), Reply("It is warm, really."), Reply(json.dumps(GOOD))]
        with pytest.raises(InvalidOutput, match="also after it was told why") as caught:
            await host.delegate("worker", "How is Oslo?")
        rows = host.ledger.delegations()
    assert (good.data, good.turns) == (GOOD, 1)
    assert (repaired.data, repaired.turns) == (GOOD, 2)
    assert caught.value.text == "It is warm, really."
    assert caught.value.faults == ("the answer is not one JSON value: Expecting value (line 1, column 1)",)
    assert len(caught.value.attempts) == 1
    assert sorted(row["outcome"] for row in rows) == ["answered", "answered", "failed"]
    first, second, third, *_ = world.chats(vendor)
    assert len(world.chats(vendor)) == 5, "an answer is repaired once"
    assert {request.status for request in world.chats(vendor)} == {200}
    for request in (first, second, third):
        assert set(sent_schema(vendor, request.body_json)["properties"]) == set(SCHEMA["properties"])
    told = json.dumps(third.body_json)
    assert "'warm' is not of type 'integer'" in told
    assert "warm" in told.replace("'warm' is not", "")


async def test_the_schema_of_a_caller_comes_before_the_agents(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    world.vendor("openai").replies = [Reply("[1, 2]"), Reply("[1]"), Reply("[1, 2, 3]")]
    bundle = worker(tmp_path, "openai/gpt-4o", output_schema=SCHEMA)
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        wanted = {"type": "array", "items": {"type": "integer"}, "minItems": 2}
        result = await host.delegate("worker", "Count.", output_schema=wanted)
        again = await host.delegate("worker", "Count.", output_schema=wanted)
        for wrong, words in (
            ({"type": "lisst"}, r"output_schema is no JSON Schema: \$\.type"),
            ({"$ref": "https://example.org/schema"}, "refers to 'https://example.org/schema', which is not in it"),
            ({"properties": {"a": {"$ref": "#/$defs/none"}}}, "refers to '#/\\$defs/none'"),
            ([1], "as a mapping, not a list"),
        ):
            with pytest.raises(RequestError, match=words):
                await host.delegate("worker", "Count.", output_schema=wrong)  # type: ignore[arg-type]
    assert (result.data, again.data) == ([1, 2], [1, 2, 3])
    assert len(world.chats()) == 3


@pytest.mark.parametrize("vendor", MODELS)
async def test_tools_and_a_schema_in_one_conversation(vendors: Served, tmp_path: Path, vendor: str) -> None:
    world, base = vendors
    world.vendor(vendor).replies = [
        Reply("Let me look.", tool_calls=[("weather", {"city": "Oslo"})]),
        Reply("It is 7 degrees."),
        Reply(tool_calls=[("weather", {"city": "Oslo"})]),
        Reply(json.dumps(GOOD)),
    ]
    asked: list[str] = []

    def weather(city: str) -> str:
        """The weather."""
        asked.append(city)
        return "7 degrees, clear"

    bundle = worker(tmp_path, f"{vendor}/{MODELS[vendor][1]}", output_schema=SCHEMA)
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        result = await host.delegate("worker", "How is Oslo?", tools=[weather])
    assert (result.data, result.turns, asked) == (GOOD, 4, ["Oslo", "Oslo"])
    assert {request.status for request in world.chats()} == {200}
    assert all("degrees" in json.dumps(request.body_json) for request in world.chats()), "the schema is told in every turn"


@pytest.mark.parametrize("failing", [1, 2])
async def test_another_model_goes_on_where_one_fails_before_or_in_the_repair(
    vendors: Served, tmp_path: Path, failing: int
) -> None:
    world, base = vendors
    world.vendor("anthropic").replies = [Reply(json.dumps(BAD)), Reply(json.dumps(GOOD))]
    world.vendor("anthropic").faults = [None] * (failing - 1) + [Fault.status(503)]
    world.vendor("openai").replies = [Reply(json.dumps(BAD)), Reply(json.dumps(GOOD))]
    bundle = worker(tmp_path, "anthropic/claude-sonnet-4-6", "openai/gpt-4o", output_schema=SCHEMA)
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        if failing == 1:
            result = await host.delegate("worker", "How is Oslo?")
            assert (result.data, result.provider, result.turns) == (GOOD, "openai", 2)
        else:  # the one repair was asked for by then
            with pytest.raises(InvalidOutput, match="told why"):
                await host.delegate("worker", "How is Oslo?")
            (heir,) = world.chats("openai")
            assert "does not fit" in json.dumps(heir.body_json)


async def test_a_model_that_is_known_to_give_none_is_no_candidate(tmp_path: Path) -> None:
    models: dict[str, Any] = {
        "p": [{"id": "old-1", "capabilities": ["tools"]}, {"id": "new-1", "capabilities": ["structured"]}, "vague-1"]
    }
    reason = "old-1 gives no structured output"
    bundle = worker(tmp_path, "p/old-*", "p/new-*", "p/vague-*")
    async with scripted_host(bundle, {"p": ["words", structured(GOOD), "more words"]}, models=models) as host:
        plain = await host.delegate("worker", "How is Oslo?")
        asked = await host.delegate("worker", "How is Oslo?", output_schema=SCHEMA)
        again = await host.delegate("worker", "How is Oslo?")
    assert [result.model for result in (plain, asked, again)] == ["old-1", "new-1", "old-1"]
    assert [candidate.model for candidate in asked.route.candidates] == ["new-1", "vague-1"], "unknown never rejects"
    assert [rejection.reason for rejection in asked.route.rejections] == [reason]
    bundle = worker(tmp_path, "p/old-*", output_schema=SCHEMA)
    async with scripted_host(bundle, {"p": []}, models=models) as host:
        assert [rejection.reason for rejection in (await host.route("worker")).rejections] == [reason]
        with pytest.raises(NoCandidate, match=reason):
            await host.delegate("worker", "How is Oslo?")


async def test_a_stream_shows_only_what_fits(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    served = world.vendor("openai")
    bundle = worker(tmp_path, "openai/gpt-4o", output_schema=SCHEMA)
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        served.replies = [Reply(json.dumps(BAD)), Reply(json.dumps(GOOD))]
        events = [event async for event in host.stream("worker", "How is Oslo?")]
        served.replies = [Reply(json.dumps(BAD)), Reply(json.dumps(BAD))]
        shown: list[Any] = []
        with pytest.raises(InvalidOutput):
            await gathered(host.stream("worker", "How is Oslo?"), shown)
    assert "".join(event.text for event in events if isinstance(event, TextEvent)) == json.dumps(GOOD)
    assert [event.rejected for event in events if isinstance(event, TurnEvent)] == [True, False]
    assert [event.data for event in events if isinstance(event, OutcomeEvent)] == [GOOD]
    assert isinstance(events[-1], DoneEvent)
    assert events[-1].result.data == GOOD
    assert not [event for event in shown if isinstance(event, (TextEvent, OutcomeEvent))]


async def test_a_broken_stream_under_a_schema_is_taken_over_since_nothing_was_shown(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    world.vendor("anthropic").replies = [Reply(json.dumps(GOOD))]
    world.vendor("anthropic").faults = [Fault.cut()]
    world.vendor("openai").replies = [Reply(json.dumps(GOOD))]
    bundle = worker(tmp_path, "anthropic/claude-sonnet-4-6", "openai/gpt-4o", output_schema=SCHEMA)
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        events = [event async for event in host.stream("worker", "How is Oslo?")]
    assert "".join(event.text for event in events if isinstance(event, TextEvent)) == json.dumps(GOOD)


async def test_an_answer_that_was_cut_says_so_and_is_repaired(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    world.vendor("openai").replies = [Reply('{"city": "Os', finish="length"), Reply('{"city": "Os', finish="length")]
    bundle = worker(tmp_path, "openai/gpt-4o", output_schema=SCHEMA)
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        with pytest.raises(InvalidOutput, match="the answer was cut at its most tokens"):
            await host.delegate("worker", "How is Oslo?")


# --- the limits hold


async def test_a_repair_is_a_turn_and_costs_what_it_costs(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    world.vendor("openai").answer = lambda _: Reply(json.dumps(BAD), usage=Usage(1000, 1000))
    bundle = worker(tmp_path, "openai/gpt-4o", output_schema=SCHEMA, config={"max_tokens": 1000})
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        with pytest.raises(InvalidOutput) as caught:
            await host.delegate("worker", "How is Oslo?", max_turns=1)
        assert "told why" not in str(caught.value)
        assert len(world.chats()) == 1
        with pytest.raises(LimitReached) as limited:
            await host.delegate("worker", "How is Oslo?", max_cost="0.015")
        with pytest.raises(InvalidOutput):
            await host.delegate("worker", "How is Oslo?")
        spent = [row["cost"] for row in host.ledger.delegations()]
    assert limited.value.limit == "max_cost"
    assert len(world.chats()) == 4, "the repair did not fit into the money"
    assert all(cost is not None and Decimal(str(cost)) > 0 for cost in spent), "what a refused answer cost is kept"


# --- what is taken as an answer


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ('\n  {"a": 1}\n', {"a": 1}),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ('```\n{"a": 1}\n```\n', {"a": 1}),
        ('~~~json\r\n{"a": 1}\r\n~~~', {"a": 1}),
        ('```json\n{"a": "```"}\n```', {"a": "```"}),
        ("null", None),
        ('"words"', "words"),
        ("-1.5e3", -1500.0),
        ('{"a": ["\\ud83d\\ude00 \\ud83d"]}', {"a": ["😀 \ufffd"]}),
    ],
)
def test_one_value_bare_or_in_one_fence(text: str, value: Any) -> None:
    assert parsed(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Here it is: {}",
        "{} Is that all?",
        "{}{}",
        "```json\n{}\n``` I hope that helps.",
        "Sure!\n```json\n{}\n```",
        "```json\n{}\n```\n```json\n{}\n```",
        "```python\n{}\n```",
        '{"a": 1, "a": 2}',
        "NaN",
        "[-Infinity]",
        "1e999",
        "{'a': 1}",
        "[" * 100_000,
        '{"a": 1,}',
    ],
)
def test_anything_else_is_no_answer(text: str) -> None:
    with pytest.raises(NotFitting):
        parsed(text)


@pytest.mark.parametrize(
    "text", ["```json" + " " * 300_000 + "x", "```\n" + " " * 300_000 + "x", "`" * 300_000, "```\n" + "`" * 300_000]
)
def test_an_odd_fence_is_judged_in_time(text: str) -> None:
    began = time.process_time()
    with pytest.raises(NotFitting):
        parsed(text)
    assert time.process_time() - began < 2


async def test_faults_are_named_by_place_and_not_without_end() -> None:
    wanted = await expected({"type": "array", "items": {"type": "object", "required": ["id"]}})
    with pytest.raises(NotFitting) as caught:
        wanted.check([{}, {"id": 1}, 3] + [{}] * 50)
    assert caught.value.faults[:2] == ("$[0]: 'id' is a required property", "$[2]: 3 is not of type 'object'")
    assert len(caught.value.faults) == 10
    with pytest.raises(NotFitting) as caught:
        wanted.check("x" * 10_000)
    assert len(caught.value.faults[0]) < 400
    local = await expected({"$ref": "#/$defs/a", "$defs": {"a": {"const": {"$ref": "no schema"}}}})
    local.check({"$ref": "no schema"})


# --- a host's own spawner, and a real model


class Own:
    """A spawner that gives the texts in turn, one for each delegation."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)
        self.data: Any = None

    async def spawn(self, context: Any, meter: Any, tools: Any) -> Any:
        text = self.texts.pop(0)
        yield TextEvent(text)
        message = Message("assistant", (Text(text),))
        yield TurnEvent(Turn(message, Usage(1, 1), "m", "stop"), (message,))
        yield OutcomeEvent(text, "m", "stop", self.data)


async def test_a_spawner_of_the_hosts_own_is_held_to_the_schema_too(tmp_path: Path) -> None:
    bundle = worker(tmp_path, "openai/gpt-4o", output_schema=SCHEMA)
    spawner = Own(json.dumps(GOOD), "no", "no")
    async with Host(bundle, ledger=tmp_path / "l.db", simulate=True, spawner=spawner) as host:
        assert (await host.delegate("worker", "Go.")).data == GOOD
        with pytest.raises(InvalidOutput) as caught:
            await host.delegate("worker", "Go.")
        shown: list[Any] = []
        with pytest.raises(InvalidOutput):
            await gathered(host.stream("worker", "Go."), shown)
        spawner.texts, spawner.data = ["mine", "mine"], BAD
        with pytest.raises(InvalidOutput, match="'warm' is not of type 'integer'"):
            await host.delegate("worker", "Go.")
        spawner.data = GOOD
        assert (await host.delegate("worker", "Go.")).data == GOOD
    assert caught.value.text == "no"
    assert not [event for event in shown if isinstance(event, TextEvent)]


@pytest.mark.parametrize("kind", ["llamacpp", "anthropic"])
async def test_a_real_model_gives_a_value_of_the_schema(llama: TinyServer, tmp_path: Path, kind: str) -> None:
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}, "kind": {"enum": ["a", "b"]}},
        "required": ["ok", "kind"],
        "additionalProperties": False,
    }
    url = llama.base_url if kind == "anthropic" else llama.openai_url
    written = {
        "format": 1,
        "bundle": {"name": "tiny"},
        "providers": {"tiny": {"kind": kind, "base_url": url, "key_variable": "TINY_KEY"}},
        "agents": {"worker": {"provider_preferences": ["tiny/tiny-*"], "config": {"max_tokens": 64}, "output_schema": schema}},
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
    bundle = load_bundle(tmp_path / "tiny.yaml", strict=True)
    async with Host(bundle, ledger=tmp_path / "l.db", environment={"TINY_KEY": "any"}) as host:
        if kind == "llamacpp":  # its grammar leaves these weights no other way
            result = await host.delegate("worker", "Answer.")
            assert set(result.data) == {"ok", "kind"}
            assert result.data == json.loads(result.text)
        else:  # asked over a protocol that it reads without the schema, these weights say what they always say
            with pytest.raises(InvalidOutput) as caught:
                await host.delegate("worker", "Answer.")
            assert caught.value.text.strip() == llama.reply
