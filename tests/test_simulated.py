"""The simulated provider and the shipped lists that it plays."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pytest

from bundle_loader.errors import FailureKind, ProviderFailure, RequestError
from bundle_loader.messages import (
    Delta,
    Message,
    StreamPart,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    ToolSpec,
    Turn,
    Usage,
    assistant,
    user,
)
from bundle_loader.providers import faults as meanings
from bundle_loader.providers.base import ChatRequest, Provider
from bundle_loader.providers.simulated import (
    FAULT_WORDS,
    Reply,
    SimulatedProvider,
    parse_fault,
    simulated_providers,
)
from bundle_loader.providers.snapshot import (
    model_info,
    snapshot_date,
    snapshot_models,
    snapshot_providers,
    verify_catalogue,
)
from bundle_loader.routing.catalogue import ModelInfo

MODEL = "claude-opus-5"


def ask(text: str = "Commit the staged files", model: str = MODEL, **rest: Any) -> ChatRequest:
    return ChatRequest(model=model, messages=(user(text),), **rest)


async def collect(provider: SimulatedProvider, request: ChatRequest | None = None) -> list[StreamPart]:
    return [part async for part in provider.stream(request or ask())]


async def turn_of(provider: SimulatedProvider, request: ChatRequest | None = None) -> Turn:
    last = (await collect(provider, request))[-1]
    assert isinstance(last, Turn)
    return last


async def failure_of(provider: SimulatedProvider, request: ChatRequest | None = None) -> tuple[str, ProviderFailure]:
    """The text that was shown and the failure that followed."""
    shown = ""
    try:
        async for part in provider.stream(request or ask()):
            assert isinstance(part, Delta)
            shown += part.text
    except ProviderFailure as failure:
        return shown, failure
    raise AssertionError("no failure")


def facts(failure: ProviderFailure) -> tuple[object, ...]:
    return failure.kind, failure.provider, failure.model, failure.status, failure.retry_after, failure.scope


# The shipped lists


def test_every_shipped_list_is_dated_and_names_each_model_once() -> None:
    ids = snapshot_providers()
    expected = "anthropic openai google github-copilot ollama deepseek groq mistral moonshot openrouter xai"
    assert set(ids) == set(expected.split())
    for id in ids:
        names = [model.id for model in snapshot_models(id)]
        assert names
        assert len(names) == len(set(names))
        date = snapshot_date(id)
        assert date is not None
        assert datetime.fromisoformat(date).strftime("%Y-%m-%d") == date
        for model in snapshot_models(id):
            assert model.created is None or model.created.tzinfo is not None


def test_the_newest_lists_are_the_ones_that_ship() -> None:
    dates = {id: snapshot_date(id) for id in ("anthropic", "openai", "google", "github-copilot", "ollama")}
    assert dates == {
        "anthropic": "2026-10-10",
        "openai": "2026-08-19",
        "google": "2026-08-19",
        "github-copilot": "2026-08-17",
        "ollama": "2026-05-10",
    }
    assert len(snapshot_models("openrouter")) > 500


def test_a_listed_fact_keeps_its_field() -> None:
    by_id = {f"{id}/{model.id}": model for id in snapshot_providers() for model in snapshot_models(id)}
    opus = by_id["anthropic/claude-opus-5"]
    assert (opus.created, opus.window, opus.output_limit) == (datetime(2026, 7, 24, tzinfo=UTC), 1_000_000, 128_000)
    assert by_id["openrouter/openai/gpt-4o"].capabilities == frozenset({"streaming", "structured", "tools", "vision"})
    assert by_id["mistral/codestral-latest"].aliases == ("codestral-2508",)
    assert by_id["google/gemini-embedding-001"].kind == "embedding"
    oss = by_id["ollama/gpt-oss:20b"]
    assert oss.digest == "99edc2145b484c6235a3c863e2190861a9d46a4134495609cdad8d00c763203f"
    assert oss.extra["parameter_size"] == "20B"
    assert oss.created is None, "the day of a pull is not the day of a release"


def test_what_a_list_does_not_say_is_unknown() -> None:
    newest = snapshot_models("anthropic")[0]
    assert newest.id == "claude-haiku-5-5"
    assert (newest.window, newest.output_limit, newest.capabilities, newest.kind) == (None, None, None, None)


def test_a_limit_is_not_claimed_for_a_model_whose_list_entry_cannot_mean_it() -> None:
    by_id = {model.id: model for model in snapshot_models("google")}
    assert by_id["gemini-3.5-flash"].window == 1_048_576
    assert by_id["gemini-embedding-001"].window is None


def test_an_unknown_provider_has_no_shipped_list() -> None:
    assert snapshot_models("nobody") == ()
    assert snapshot_date("nobody") is None


def test_the_list_for_verify_is_the_one_of_its_day() -> None:
    listed = verify_catalogue()
    assert (listed.provider, listed.as_of, listed.session_model) == ("anthropic", "2026-02-20", "claude-opus-4-6")
    ids = [model.id for model in listed.models]
    assert len(ids) == 9
    assert listed.session_model in ids
    assert "claude-haiku-4-5-20251001" in ids
    day_after = datetime(2026, 2, 21, tzinfo=UTC)
    assert all(model.created is not None and model.created < day_after for model in listed.models)


def test_lists_are_read_once() -> None:
    assert snapshot_models("openai") is snapshot_models("openai")
    assert verify_catalogue() is verify_catalogue()


def test_nothing_is_read_and_no_sdk_loaded_at_import() -> None:
    script = """
import sys
read = []
sys.addaudithook(lambda event, args: read.append(str(args[0])) if event == "open" else None)
from bundle_loader.providers import simulated
print(sum(name.endswith((".json", ".yaml")) for name in read))
print(sorted({"anthropic", "openai", "google.genai", "ollama"} & set(sys.modules)))
simulated.SimulatedProvider("anthropic")
print(sum(name.endswith("snapshot.json") for name in read))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:3] == ["0", "[]", "1"]


# Models given by hand


def test_models_can_be_values_mappings_or_ids() -> None:
    value = ModelInfo("a", window=10)
    provider = SimulatedProvider(
        "mine", models=[value, {"id": "b", "created": 86400, "capabilities": ["tools"], "aliases": ["b-latest"]}, "c"]
    )
    assert provider.models == (
        value,
        ModelInfo("b", created=datetime(1970, 1, 2, tzinfo=UTC), capabilities=frozenset({"tools"}), aliases=("b-latest",)),
        ModelInfo("c"),
    )


@pytest.mark.parametrize(
    ("created", "expected"),
    [
        ("2026-10-07T00:00:00Z", datetime(2026, 10, 7, tzinfo=UTC)),
        ("2026-10-07", datetime(2026, 10, 7, tzinfo=UTC)),
        (datetime(2026, 10, 7), datetime(2026, 10, 7, tzinfo=UTC)),
        (1791331200, datetime(2026, 10, 7, tzinfo=UTC)),
    ],
)
def test_a_creation_date_is_always_aware(created: object, expected: datetime) -> None:
    assert model_info({"id": "x", "created": created}).created == expected


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"id": "x", "windw": 3}, "did you mean 'window'"),
        ({"window": 3}, "needs an id"),
        ({"id": "x", "created": "yesterday"}, "'yesterday' is not a date"),
        ({"id": "x", "created": [2026]}, "is not a date"),
    ],
)
def test_a_model_that_cannot_be_read_is_refused(written: Mapping[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        SimulatedProvider("mine", models=[written])


async def test_a_provider_without_a_shipped_list_offers_nothing() -> None:
    assert await SimulatedProvider("mine").list_models() == ()


# Answers


def test_it_is_a_provider_and_says_that_it_is_simulated() -> None:
    provider = SimulatedProvider("ollama", local=True)
    assert isinstance(provider, Provider)
    assert (provider.id, provider.local, provider.simulated) == ("ollama", True, True)
    assert SimulatedProvider("openai").local is False


async def test_the_list_is_the_shipped_one_and_calls_are_counted() -> None:
    provider = SimulatedProvider("anthropic")
    assert provider.list_calls == 0
    assert await provider.list_models() == snapshot_models("anthropic")
    await provider.list_models()
    assert provider.list_calls == 2


async def test_the_default_answer_says_what_it_is_and_quotes_the_question() -> None:
    turn = await turn_of(SimulatedProvider("anthropic"))
    assert turn.message.text == f"[simulated anthropic/{MODEL}] would answer: Commit the staged files"
    assert (turn.model, turn.finish) == (MODEL, "stop")


async def test_the_quoted_question_is_the_last_of_the_user_and_short() -> None:
    provider = SimulatedProvider("anthropic")
    history = (user("first"), assistant("hm"), user("second\n  question " + "x" * 200), Message("tool", ()))
    text = (await turn_of(provider, ChatRequest(MODEL, history))).message.text
    quoted = text.split("would answer: ")[1]
    assert quoted == "second question " + "x" * 64 + "…"
    text = (await turn_of(provider, ChatRequest(MODEL, ()))).message.text
    assert text.endswith("would answer: (nothing was asked)")


async def test_an_answer_comes_in_pieces_and_ends_in_one_turn() -> None:
    parts = await collect(SimulatedProvider("anthropic", answer="one two three four"))
    assert [type(part) for part in parts] == [Delta, Delta, Delta, Turn]
    turn = parts[-1]
    assert isinstance(turn, Turn)
    assert "".join(part.text for part in parts[:-1] if isinstance(part, Delta)) == turn.message.text == "one two three four"


async def test_a_function_answers_from_the_request() -> None:
    def answer(request: ChatRequest) -> str | Reply:
        return f"{request.model}: {request.max_tokens}" if request.system else Reply(tool_calls=[("look", {})])

    provider = SimulatedProvider("anthropic", answer=answer)
    assert (await turn_of(provider, ask(system="be brief", max_tokens=77))).message.text == f"{MODEL}: 77"
    assert [call.name for call in (await turn_of(provider)).message.tool_calls] == ["look"]


async def test_replies_are_taken_one_per_request_and_then_the_answer() -> None:
    provider = SimulatedProvider("anthropic", replies=["first", Reply("second")], answer="again")
    assert [(await turn_of(provider)).message.text for _ in range(4)] == ["first", "second", "again", "again"]


async def test_requests_are_kept_in_order() -> None:
    provider = SimulatedProvider("anthropic", faults=["503"])
    await failure_of(provider, ask("one"))
    await collect(provider, ask("two", system="s"))
    assert [(request.messages[0].text, request.system) for request in provider.requests] == [("one", ""), ("two", "s")]


async def test_scripted_tool_calls_have_ids_that_repeat_from_run_to_run() -> None:
    def scripted() -> SimulatedProvider:
        replies = [Reply("Let me see.", [("read", {"path": "a"}), ("list", {})]), Reply(tool_calls=[("read", {})])]
        return SimulatedProvider("llama.cpp", models=[MODEL], replies=replies)

    provider = scripted()
    first, second = await turn_of(provider), await turn_of(provider)
    assert first.message.parts == (
        Text("Let me see."),
        ToolCall("sim-llama-cpp-1-1", "read", {"path": "a"}),
        ToolCall("sim-llama-cpp-1-2", "list", {}),
    )
    assert second.message.parts == (ToolCall("sim-llama-cpp-2-1", "read", {}),)
    assert (first.finish, second.finish) == ("tools", "tools")
    assert await turn_of(scripted()) == first


async def test_usage_is_estimated_from_all_that_is_sent_and_answered() -> None:
    call = ToolCall("c1", "read", {"p": "ü"})  # 'read' + '{"p": "ü"}' = 4 + 11 bytes
    request = ChatRequest(
        MODEL,
        (
            user("äö"),  # 4
            Message("assistant", (Thinking("hmm", "x"), call)),  # 3 + 15
            Message("tool", (ToolResult("c1", "read", "ok"),)),  # 6
        ),
        system="abc",  # 3
        tools=(ToolSpec("t", "dd", MappingProxyType({"a": MappingProxyType({"b": ("c",)})})),),  # 1 + 2 + 19
    )
    turn = await turn_of(SimulatedProvider("anthropic", answer="12345"), request)
    assert turn.usage == Usage(input_tokens=-(-53 // 4), output_tokens=2, estimated=True)


async def test_a_reply_can_bring_its_own_usage() -> None:
    usage = Usage(1000, 50, cache_read_tokens=900)
    turn = await turn_of(SimulatedProvider("anthropic", replies=[Reply("x", usage=usage)]))
    assert turn.usage == usage


async def test_an_answer_stops_at_max_tokens() -> None:
    provider = SimulatedProvider("anthropic", answer=lambda request: Reply("abcdefgéhi", [("t", {})]))
    turn = await turn_of(provider, ask(max_tokens=2))
    assert (turn.message.parts, turn.finish) == ((Text("abcdefg"),), "length"), "a character is never cut in two"
    assert turn.usage is not None
    assert turn.usage.output_tokens == 2
    assert (await turn_of(provider, ask(max_tokens=3))).finish == "tools"


async def test_an_empty_reply_is_a_broken_answer() -> None:
    _, failure = await failure_of(SimulatedProvider("anthropic", replies=[""]))
    assert failure.kind is FailureKind.BROKEN


async def test_a_model_that_is_not_listed_is_a_404_and_an_alias_is_not() -> None:
    provider = SimulatedProvider("mine", models=[{"id": "a-1", "aliases": ["a-latest"]}])
    for model in ("a-*", "A-1", "gpt-9"):
        _, failure = await failure_of(provider, ask(model=model))
        assert facts(failure) == (FailureKind.REFUSED, "mine", model, 404, None, "model")
        assert model in failure.message
    assert (await turn_of(provider, ask(model="a-latest"))).model == "a-latest"


async def test_closing_is_remembered_and_may_be_repeated() -> None:
    provider = SimulatedProvider("anthropic")
    assert provider.closed is False
    await provider.aclose()
    await provider.aclose()
    assert provider.closed is True


# Latency


async def finished_first(*runs: tuple[str, SimulatedProvider, ChatRequest]) -> list[str]:
    order: list[str] = []

    async def run(name: str, provider: SimulatedProvider, request: ChatRequest) -> None:
        await collect(provider, request)
        order.append(name)

    await asyncio.gather(*(run(*each) for each in runs))
    return order


async def test_latency_is_waited_for_by_model_pattern() -> None:
    provider = SimulatedProvider("mine", models=["Opus-5", "haiku-5"], latency={"oPus-*": 0.004, "*": 0})
    order = await finished_first(("opus", provider, ask(model="Opus-5")), ("haiku", provider, ask(model="haiku-5")))
    assert order == ["haiku", "opus"]


async def test_latency_holds_for_every_model_and_a_reply_can_have_its_own() -> None:
    slow = SimulatedProvider("anthropic", latency=0.004, replies=[Reply("x"), Reply("y", latency=0)])
    assert await finished_first(("provider's", slow, ask()), ("own", slow, ask())) == ["own", "provider's"]


async def test_a_failure_waits_too() -> None:
    async def failing(latency: float, name: str) -> None:
        await failure_of(SimulatedProvider("anthropic", latency=latency, fault="503"))
        order.append(name)

    order: list[str] = []
    await asyncio.gather(failing(0.004, "slow"), failing(0, "fast"))
    assert order == ["fast", "slow"]


# Faults


@pytest.mark.parametrize(
    ("text", "kind", "status", "retry_after", "scope"),
    [
        ("400", FailureKind.WRONG_REQUEST, 400, None, "model"),
        ("401", FailureKind.REFUSED, 401, None, "provider"),
        ("402", FailureKind.REFUSED, 402, None, "provider"),
        ("403", FailureKind.REFUSED, 403, None, "model"),
        ("404", FailureKind.REFUSED, 404, None, "model"),
        ("413", FailureKind.TOO_LONG, 413, None, "model"),
        ("422", FailureKind.WRONG_REQUEST, 422, None, "model"),
        ("429", FailureKind.LIMITED, 429, None, "model"),
        ("429:7", FailureKind.LIMITED, 429, 7.0, "model"),
        ("429:0.25", FailureKind.LIMITED, 429, 0.25, "model"),
        ("500", FailureKind.BUSY, 500, None, "model"),
        (" 503 ", FailureKind.BUSY, 503, None, "model"),
        ("529", FailureKind.BUSY, 529, None, "model"),
        ("599", FailureKind.BUSY, 599, None, "model"),
        ("down", FailureKind.BUSY, None, None, "provider"),
        ("timeout", FailureKind.BUSY, None, None, "model"),
        ("empty", FailureKind.BROKEN, None, None, "model"),
        ("malformed", FailureKind.BROKEN, None, None, "model"),
        ("Too-Long", FailureKind.TOO_LONG, 400, None, "model"),
        ("refusal", FailureKind.CONTENT_REFUSED, None, None, "model"),
        ("unsupported", FailureKind.UNSUPPORTED, 400, None, "provider"),
        ("no-key", FailureKind.REFUSED, None, None, "provider"),
    ],
)
async def test_a_fault_is_the_failure_that_an_adapter_would_raise(
    text: str, kind: FailureKind, status: int | None, retry_after: float | None, scope: str
) -> None:
    shown, failure = await failure_of(SimulatedProvider("anthropic", fault=text))
    assert shown == ""
    assert facts(failure) == (kind, "anthropic", None if text == "no-key" else MODEL, status, retry_after, scope)


async def test_a_missing_key_names_the_variables_that_would_hold_it() -> None:
    _, failure = await failure_of(SimulatedProvider("google", fault="no-key"), ask(model="gemini-2.5-pro"))
    assert str(failure) == str(meanings.no_key("google", ("GEMINI_API_KEY", "GOOGLE_API_KEY")))
    _, failure = await failure_of(SimulatedProvider("my.own", fault="no-key"))
    assert "MY_OWN_API_KEY" in failure.message


async def test_a_cut_stream_shows_some_text_first() -> None:
    shown, failure = await failure_of(SimulatedProvider("anthropic", answer="one two three four", fault="cut"))
    assert failure.kind is FailureKind.BROKEN
    assert shown
    assert "one two three four".startswith(shown)
    assert shown != "one two three four"
    shown, _ = await failure_of(SimulatedProvider("anthropic", answer="x", fault="cut"))
    assert shown == "x"


@pytest.mark.parametrize("text", ["down", "no-key", "list", "list-503", "list-429:3"])
async def test_a_fault_of_the_list_fails_the_list(text: str) -> None:
    provider = SimulatedProvider("anthropic", fault=text)
    with pytest.raises(ProviderFailure) as caught:
        await provider.list_models()
    assert (caught.value.provider, caught.value.model) == ("anthropic", None)
    assert caught.value.retry_after == (3.0 if text == "list-429:3" else None)
    assert provider.list_calls == 1


@pytest.mark.parametrize("text", ["list", "list-401"])
async def test_a_fault_of_the_list_leaves_chats_alone(text: str) -> None:
    assert (await turn_of(SimulatedProvider("anthropic", fault=text))).finish == "stop"


@pytest.mark.parametrize("text", ["401", "503", "timeout", "cut", "empty", "refusal"])
async def test_a_fault_of_chats_leaves_the_list_alone(text: str) -> None:
    assert await SimulatedProvider("anthropic", fault=text).list_models() == snapshot_models("anthropic")


@pytest.mark.parametrize("text", ["503", "list-503", "list"])
async def test_a_list_fault_fails_only_the_list(text: str) -> None:
    provider = SimulatedProvider("anthropic", list_fault=text)
    with pytest.raises(ProviderFailure) as caught:
        await provider.list_models()
    assert caught.value.status == 503
    assert (await turn_of(provider)).finish == "stop"


async def test_queued_faults_are_taken_one_per_request() -> None:
    provider = SimulatedProvider("anthropic", faults=["503", None, "429:2"], replies=["1", "2", "3", "4"])
    assert (await failure_of(provider))[1].status == 503
    assert (await turn_of(provider)).message.text == "2"
    assert (await failure_of(provider))[1].retry_after == 2.0
    assert (await turn_of(provider)).message.text == "4"


async def test_the_nearest_fault_wins() -> None:
    provider = SimulatedProvider("anthropic", replies=[Reply("x", fault="401")], faults=["500", "502", None], fault="503")
    assert [(await failure_of(provider))[1].status for _ in range(4)] == [401, 502, 503, 503]


async def test_a_provider_can_go_down_and_come_back() -> None:
    provider = SimulatedProvider("anthropic")
    provider.set_fault("down")
    assert (await failure_of(provider))[1].scope == "provider"
    provider.set_fault(None)
    assert (await turn_of(provider)).finish == "stop"
    assert await provider.list_models()


@pytest.mark.parametrize(
    ("text", "nearest"),
    [("donw", "down"), ("time-out", "timeout"), ("toolong", "too-long"), ("nokey", "no-key"), ("5003", "503"), ("lst", "list")],
)
def test_an_unknown_fault_names_what_is_accepted_and_the_nearest(text: str, nearest: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_fault(text)
    words = str(caught.value)
    assert f"did you mean '{nearest}'?" in words
    assert "429:7" in words
    assert all(word in words for word in FAULT_WORDS)


@pytest.mark.parametrize(
    "text", ["", "200", "399", "600", "429:", "429:soon", "429:-1", "down:3", "list-down", "list-200", "٥٠٣"]
)
def test_what_is_no_fault_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="a fault is an HTTP status from 400 to 599"):
        parse_fault(text)


def test_every_fault_word_can_be_read() -> None:
    assert all(parse_fault(word) for word in FAULT_WORDS)


@pytest.mark.parametrize("given", [{"faults": ["list"]}, {"replies": [Reply("x", fault="list-503")]}])
def test_a_fault_of_the_list_cannot_be_scripted_for_one_chat(given: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="list_fault"):
        SimulatedProvider("anthropic", **given)


@pytest.mark.parametrize(
    "given", [{"fault": "dwon"}, {"faults": [None, "dwon"]}, {"list_fault": "dwon"}, {"replies": [Reply("x", fault="dwon")]}]
)
def test_a_fault_that_cannot_be_read_is_refused_before_anything_runs(given: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="did you mean 'down'"):
        SimulatedProvider("anthropic", **given)


# All providers at once


def test_there_is_one_provider_for_each_shipped_list_in_a_fixed_order() -> None:
    providers = simulated_providers()
    assert list(providers) == [
        *("anthropic", "openai", "google", "github-copilot", "ollama"),
        *("deepseek", "groq", "mistral", "moonshot", "openrouter", "xai"),
    ]
    assert [id for id, provider in providers.items() if provider.local] == ["ollama"]
    assert all(provider.id == id and provider.models == snapshot_models(id) for id, provider in providers.items())


async def test_faults_reach_the_provider_they_name_and_aliases_work() -> None:
    providers = simulated_providers({"gemini": "down", "moonshotai": "429", "Anthropic": "503"})
    assert (await failure_of(providers["anthropic"]))[1].status == 503
    assert (await failure_of(providers["moonshot"], ask(model="kimi-k2.6")))[1].kind is FailureKind.LIMITED
    with pytest.raises(ProviderFailure, match="connection refused"):
        await providers["google"].list_models()
    assert (await turn_of(providers["openai"], ask(model="gpt-5.5"))).finish == "stop"


def test_some_of_them_in_the_order_asked_for() -> None:
    assert list(simulated_providers(ids=["ollama", "gemini"])) == ["ollama", "google"]


@pytest.mark.parametrize(
    ("faults", "ids", "words"),
    [
        ({"antropic": "503"}, None, "'antropic'.*did you mean 'anthropic'"),
        ({"openai": "503"}, ["anthropic"], "'openai'.*there are anthropic"),
        ({}, ["opnai"], "'opnai'.*did you mean 'openai'"),
        ({"google": "503", "gemini": "down"}, None, "two faults for the provider google"),
        ({"openai": "dwon"}, None, "did you mean 'down'"),
    ],
)
def test_a_provider_or_fault_that_does_not_exist_is_refused(faults: Mapping[str, str], ids: list[str] | None, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        simulated_providers(faults, ids=ids)
