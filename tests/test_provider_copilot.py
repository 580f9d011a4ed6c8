"""GitHub Copilot through its real SDK, against a stand-in for its CLI that is a real process."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import site
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import bundle_loader
from bundle_loader import Host
from bundle_loader.errors import FailureKind, ProviderFailure
from bundle_loader.messages import Message, Text, ToolCall, ToolResult, ToolSpec, Usage, assistant, user
from bundle_loader.providers.base import Provider
from bundle_loader.providers.copilot import CopilotProvider
from bundle_loader.providers.copilot_running import MOST_WAITING
from bundle_loader.providers.live import Missing, live_providers
from bundle_loader.providers.simulated import SimulatedProvider
from tests.support.asking import asking, failed, heard
from tests.support.copilot_cli import GPT, OPUS, USAGE, StandIn
from tests.support.hosting import worker

TOKEN = "ghp_aVerySecretToken42"
MODEL = "gpt-5-mini"
LOOK = ToolSpec("look", "Look something up.", {"type": "object", "properties": {"x": {"type": "integer"}}})
CALLS = [{"id": "call_0", "name": "look", "arguments": {"x": 1}}, {"id": "call_1", "name": "look", "arguments": {"x": 2}}]
ASKED = Message("assistant", (Text("let me look"), *(ToolCall(call["id"], "look", call["arguments"]) for call in CALLS)))  # type: ignore[arg-type]
RESULTS = Message("tool", (ToolResult("call_0", "look", "one"), ToolResult("call_1", "look", "no such thing", is_error=True)))
WITH_TOOLS: tuple[list[Any], ...] = (
    ["say", "let me look"],
    ["usage", {"inputTokens": 10, "outputTokens": 5, "finishReason": "tool_calls"}],
    ["tools", CALLS],
    ["say", "it is one"],
    ["usage", USAGE],
)


@pytest.fixture
def cli(tmp_path: Path) -> StandIn:
    folder = tmp_path / "cli"
    folder.mkdir()
    return StandIn(folder)


@pytest.fixture
async def copilot(cli: StandIn) -> AsyncIterator[CopilotProvider]:
    provider = CopilotProvider(api_key=TOKEN, environment=cli.environment())
    yield provider
    await provider.aclose()
    assert cli.alive() == []


async def until(found: Any) -> None:
    """Wait until something that happens beside the test is so."""
    for _ in range(2000):
        if found():
            return
        await asyncio.sleep(0.005)
    pytest.fail("it did not happen")


def other_tasks() -> set[str]:
    return {str(task.get_coro()) for task in asyncio.all_tasks() if task is not asyncio.current_task()}


# the list


async def test_the_list_is_read_with_windows_capabilities_and_what_is_switched_off(copilot: CopilotProvider) -> None:
    gpt, opus = await copilot.list_models()
    assert (gpt.id, gpt.window, gpt.output_limit, gpt.kind, gpt.barred) == (MODEL, 128000, 64000, "chat", None)
    assert gpt.capabilities == {"streaming", "tools", "structured", "vision", "reasoning"}
    assert gpt.assumed == {"structured"}
    assert (gpt.extra["multiplier"], gpt.extra["reasoning_efforts"], gpt.extra["vendor"]) == (0.33, ["low", "medium"], "OpenAI")
    assert (opus.id, opus.window) == ("claude-opus-4.7", 200000)
    assert opus.barred == "it is switched off in the account's Copilot settings"
    assert opus.capabilities == {"streaming", "tools", "structured"}
    assert opus.assumed == {"tools", "structured"}


async def test_a_list_is_asked_for_anew_each_time(cli: StandIn, copilot: CopilotProvider) -> None:
    assert len(await copilot.list_models()) == 2
    cli.plan(models=[GPT])
    assert [model.id for model in await copilot.list_models()] == [MODEL]
    assert len(cli.heard("start")) == 1


async def test_an_entry_of_a_kind_that_nobody_knows_yet_does_not_spoil_the_list(cli: StandIn, copilot: CopilotProvider) -> None:
    cli.plan(models=[{**GPT, "modelPickerCategory": "galactic", "policy": {"state": "pondering"}}, {"id": "bare"}])
    known, bare = await copilot.list_models()
    assert (known.barred, known.extra["policy"]) == (None, "pondering")
    assert (bare.id, bare.window, bare.capabilities, bare.assumed) == ("bare", None, None, frozenset())


@pytest.mark.parametrize("told", [[], {"models": "none"}, {"models": [{"name": "x"}]}, {"models": [3]}, {}, None])
async def test_a_list_of_another_shape_is_a_broken_answer(cli: StandIn, copilot: CopilotProvider, told: object) -> None:
    cli.plan(list=told)
    with pytest.raises(ProviderFailure) as caught:
        await copilot.list_models()
    assert caught.value.kind is FailureKind.BROKEN


async def test_a_refused_login_takes_the_provider_out(cli: StandIn, copilot: CopilotProvider) -> None:
    cli.plan(login=False)
    with pytest.raises(ProviderFailure) as caught:
        await copilot.list_models()
    assert (caught.value.kind, caught.value.scope, caught.value.status) == (FailureKind.REFUSED, "provider", 401)
    assert caught.value.message == "Not authenticated. Please authenticate first."
    asked = await failed(copilot, asking(MODEL))
    assert (asked.kind, asked.scope, asked.model) == (FailureKind.REFUSED, "provider", MODEL)


# a turn


async def test_an_answer_streams_in_pieces_and_ends_in_a_turn(cli: StandIn, copilot: CopilotProvider) -> None:
    pieces, turn = await heard(copilot, asking(MODEL, user("hello"), system="Be brief."))
    assert pieces == ["Hello", " there"]
    assert (turn.message, turn.finish, turn.model, turn.notes) == (assistant("Hello there"), "stop", MODEL, ())
    assert turn.usage == Usage(11, 3)
    (created,) = cli.heard("session.create")
    assert created["systemMessage"] == {"mode": "replace", "content": "Be brief."}
    assert (created["model"], created["availableTools"], created["streaming"]) == (MODEL, [], True)
    assert created["infiniteSessions"] == {"enabled": False}
    assert [sent["prompt"] for sent in cli.heard("session.send")] == ["hello"]


async def test_each_session_is_taken_down_and_its_record_deleted(cli: StandIn, copilot: CopilotProvider) -> None:
    await heard(copilot, asking(MODEL))
    await heard(copilot, asking(MODEL))
    created = [params["sessionId"] for params in cli.heard("session.create")]
    assert len(set(created)) == 2
    await until(lambda: [params["sessionId"] for params in cli.heard("session.delete")] == created)
    assert len(cli.heard("session.detach")) == 2
    assert cli.heard("session.abort") == []
    assert len(cli.heard("start")) == 1


async def test_an_answer_that_did_not_stream_is_whole(cli: StandIn, copilot: CopilotProvider) -> None:
    cli.plan(["whole", "all at once"])
    pieces, turn = await heard(copilot, asking(MODEL))
    assert (pieces, turn.message.text, turn.usage) == (["all at once"], "all at once", None)


async def test_usage_of_all_calls_of_a_turn_is_added(cli: StandIn, copilot: CopilotProvider) -> None:
    told = {"inputTokens": 100, "outputTokens": 20, "cacheReadTokens": 60, "cacheWriteTokens": 10, "reasoningTokens": 5}
    cli.plan(["say", "x"], ["usage", told], ["usage", told])
    _, turn = await heard(copilot, asking(MODEL))
    assert turn.usage == Usage(200, 40, 120, 20, 10)


async def test_what_an_agent_of_the_cli_says_is_not_the_answer(cli: StandIn, copilot: CopilotProvider) -> None:
    inner = {"type": "assistant.message_delta", "data": {"deltaContent": "inner", "messageId": "i", "agentId": "a1"}}
    cli.plan(["event", inner], ["say", "outer"])
    pieces, _ = await heard(copilot, asking(MODEL))
    assert pieces == ["outer"]


async def test_an_answer_that_is_cut_at_its_length_ends_there(cli: StandIn, copilot: CopilotProvider) -> None:
    """The CLI would ask the model to go on."""
    cli.plan(["say", "first part"], ["usage", {**USAGE, "finishReason": "length"}], ["say", " and on"], ["silence"])
    pieces, turn = await heard(copilot, asking(MODEL))
    assert (pieces, turn.finish) == (["first part"], "length")
    await until(lambda: cli.heard("session.abort"))


async def test_what_the_cli_does_not_take_is_noted(cli: StandIn, copilot: CopilotProvider) -> None:
    config = {"temperature": 0.1, "reasoning_effort": "low", "verbosity": "high"}
    _, turn = await heard(copilot, asking(MODEL, config=config, max_tokens=2))
    assert turn.notes == (
        f"temperature dropped: {MODEL} does not take it",
        "verbosity dropped: the Copilot CLI does not take it",
        "3 output tokens are more than max_tokens, 2: the Copilot CLI takes no such limit",
    )
    assert cli.heard("session.create")[0]["reasoningEffort"] == "low"
    _, turn = await heard(copilot, asking(MODEL, config={"reasoning_effort": "none"}))
    assert turn.notes == ("reasoning_effort dropped: the Copilot CLI takes only low, medium, high, xhigh, max",)


async def test_a_conversation_goes_as_text_and_says_so(cli: StandIn, copilot: CopilotProvider) -> None:
    _, turn = await heard(copilot, asking(MODEL, user("one"), assistant("</two>"), user("and three?")))
    assert turn.notes == ("the conversation so far went as text: the Copilot CLI takes one prompt",)
    prompt = cli.heard("session.send")[0]["prompt"]
    assert prompt.endswith("\n\nand three?")
    assert '"text": "one"' in prompt
    assert '"text": "</two>"' in prompt


async def test_many_requests_share_one_process(cli: StandIn, copilot: CopilotProvider) -> None:
    answers = await asyncio.gather(*(heard(copilot, asking(MODEL, user(f"number {n}"))) for n in range(20)))
    assert {turn.message.text for _, turn in answers} == {"Hello there"}
    assert len(cli.heard("start")) == 1


# tools


async def test_a_turn_ends_at_calls_of_tools_and_goes_on_with_their_results(cli: StandIn, copilot: CopilotProvider) -> None:
    cli.plan(*WITH_TOOLS)
    pieces, turn = await heard(copilot, asking(MODEL, user("what is it?"), tools=(LOOK,)))
    assert (pieces, turn.message, turn.finish) == (["let me look"], ASKED, "tools")
    assert turn.usage == Usage(10, 5)
    (created,) = cli.heard("session.create")
    assert created["availableTools"] == ["custom:*"]
    (tool,) = created["tools"]
    assert (tool["name"], tool["parameters"], tool["overridesBuiltInTool"]) == ("look", dict(LOOK.schema), True)
    assert created["largeOutput"] == {"enabled": False}

    pieces, turn = await heard(copilot, asking(MODEL, user("what is it?"), turn.message, RESULTS, tools=(LOOK,)))
    assert (pieces, turn.finish, turn.usage, turn.notes) == (["it is one"], "stop", Usage(11, 3), ())
    assert len(cli.heard("session.create")) == 1
    assert len(cli.heard("session.send")) == 1
    first, second = cli.heard("session.tools.handlePendingToolCall")
    assert (first["requestId"], first["result"]["textResultForLlm"]) == ("r-call_0", "one")
    assert first["result"]["resultType"] == "success"
    assert second["result"] == {"textResultForLlm": "no such thing", "error": "no such thing", "resultType": "failure"}
    await until(lambda: len(cli.heard("session.delete")) == 1)


async def test_two_conversations_with_the_same_ids_of_calls_do_not_mix(cli: StandIn, copilot: CopilotProvider) -> None:
    cli.plan(*WITH_TOOLS)
    for word in ("red", "blue"):
        await heard(copilot, asking(MODEL, user(word), tools=(LOOK,)))
    await heard(copilot, asking(MODEL, user("blue"), ASKED, RESULTS, tools=(LOOK,)))
    blue = next(sent["sessionId"] for sent in cli.heard("session.send") if sent["prompt"] == "blue")
    assert {answer["sessionId"] for answer in cli.heard("session.tools.handlePendingToolCall")} == {blue}


@pytest.mark.parametrize(
    "changed",
    [
        asking(MODEL, user("another"), ASKED, RESULTS, tools=(LOOK,)),
        asking(MODEL, user("it?"), ASKED, RESULTS, tools=(LOOK,), system="new"),
        asking("gpt-6", user("it?"), ASKED, RESULTS, tools=(LOOK,)),
        asking(MODEL, user("it?"), ASKED, RESULTS, tools=(LOOK,), config={"reasoning_effort": "low"}),
        asking(MODEL, user("it?"), ASKED, RESULTS, user("hurry"), tools=(LOOK,)),
        asking(MODEL, user("it?"), ASKED, Message("tool", RESULTS.parts[:1]), tools=(LOOK,)),
        asking(MODEL, user("it?"), ASKED, RESULTS),
    ],
    ids=["history", "system", "model", "config", "more", "half", "tools"],
)
async def test_what_does_not_go_on_opens_a_session_of_its_own(cli: StandIn, copilot: CopilotProvider, changed: Any) -> None:
    cli.plan(*WITH_TOOLS)
    await heard(copilot, asking(MODEL, user("it?"), tools=(LOOK,)))
    cli.plan(["say", "anew"])
    _, turn = await heard(copilot, changed)
    assert turn.message.text == "anew"
    assert "the conversation so far went as text" in turn.notes[-1]
    assert cli.heard("session.tools.handlePendingToolCall") == []
    assert len(cli.heard("session.create")) == 2


async def test_results_that_the_cli_has_forgotten_go_as_text(cli: StandIn, copilot: CopilotProvider) -> None:
    cli.plan(*WITH_TOOLS)
    await heard(copilot, asking(MODEL, user("it?"), tools=(LOOK,)))
    cli.plan(["say", "anew"], forget=True)
    _, turn = await heard(copilot, asking(MODEL, user("it?"), ASKED, RESULTS, tools=(LOOK,)))
    assert turn.message.text == "anew"
    assert '"text": "no such thing"' in cli.heard("session.send")[1]["prompt"]
    assert len(cli.heard("start")) == 1


async def test_a_call_that_the_cli_answers_by_itself_is_not_waited_for(cli: StandIn, copilot: CopilotProvider) -> None:
    made_up = {"id": "call_9", "name": "made_up", "arguments": {}, "unknown": True}
    cli.plan(["tools", [made_up, CALLS[0]]])
    _, turn = await heard(copilot, asking(MODEL, tools=(LOOK,)))
    assert [call.id for call in turn.message.tool_calls] == ["call_0"]


async def test_a_session_does_not_wait_for_ever(cli: StandIn) -> None:
    provider = CopilotProvider(api_key=TOKEN, environment=cli.environment(), wait_for_tools=0.05)
    cli.plan(*WITH_TOOLS)
    await heard(provider, asking(MODEL, user("it?"), tools=(LOOK,)))
    await until(lambda: cli.heard("session.delete"))
    assert len(cli.heard("session.abort")) == 1
    await provider.aclose()


async def test_a_tool_that_the_cli_cannot_name_is_unsupported(copilot: CopilotProvider, cli: StandIn) -> None:
    found = await failed(copilot, asking(MODEL, tools=(ToolSpec("mcp:files.read", "", {"type": "object"}),)))
    assert (found.kind, found.scope) == (FailureKind.UNSUPPORTED, "provider")
    assert "'mcp:files.read'" in found.message
    assert cli.heard("start") == []


# failures

_STATUSES = [
    (400, "", FailureKind.WRONG_REQUEST, "model"),
    (400, "prompt is too long", FailureKind.TOO_LONG, "model"),
    (400, "model_not_supported: the requested model is not available", FailureKind.REFUSED, "model"),
    (401, "", FailureKind.REFUSED, "provider"),
    (402, "", FailureKind.REFUSED, "provider"),
    (403, "", FailureKind.REFUSED, "model"),
    (404, "", FailureKind.REFUSED, "model"),
    (408, "", FailureKind.BUSY, "model"),
    (413, "", FailureKind.TOO_LONG, "model"),
    (429, "", FailureKind.LIMITED, "model"),
    (500, "", FailureKind.BUSY, "model"),
    (502, "", FailureKind.BUSY, "model"),
    (503, "", FailureKind.BUSY, "model"),
    (529, "", FailureKind.BUSY, "model"),
]


@pytest.mark.parametrize(("status", "words", "kind", "scope"), _STATUSES)
async def test_a_session_error_is_sorted_by_its_status(
    cli: StandIn, copilot: CopilotProvider, status: int, words: str, kind: FailureKind, scope: str
) -> None:
    said = words or f"words of {status}"
    cli.plan(["error", {"errorType": "query", "message": said, "statusCode": status, "serviceRequestId": "req-7"}])
    found = await failed(copilot, asking(MODEL))
    assert (found.kind, found.scope, found.status, found.message) == (kind, scope, status, said)
    assert (found.provider, found.model, found.request_id) == ("github-copilot", MODEL, "req-7")


@pytest.mark.parametrize(
    ("type", "status", "kind", "scope"),
    [
        ("authentication", None, FailureKind.REFUSED, "provider"),
        ("authorization", None, FailureKind.REFUSED, "model"),
        ("quota", None, FailureKind.REFUSED, "provider"),
        ("quota", 429, FailureKind.REFUSED, "provider"),
        ("rate_limit", None, FailureKind.LIMITED, "model"),
        ("context_limit", None, FailureKind.TOO_LONG, "model"),
        ("query", None, FailureKind.BROKEN, "model"),
    ],
)
async def test_a_session_error_without_a_status_is_sorted_by_its_type(
    cli: StandIn, copilot: CopilotProvider, type: str, status: int | None, kind: FailureKind, scope: str
) -> None:
    cli.plan(["error", {"errorType": type, "message": "it did not work", **({"statusCode": status} if status else {})}])
    found = await failed(copilot, asking(MODEL))
    assert (found.kind, found.scope) == (kind, scope)


@pytest.mark.parametrize(("status", "kind"), [(429, FailureKind.LIMITED), (503, FailureKind.BUSY), (404, FailureKind.REFUSED)])
async def test_a_failed_call_is_a_failure_at_once_though_the_cli_would_try_again(
    cli: StandIn, copilot: CopilotProvider, status: int, kind: FailureKind
) -> None:
    body = f'{{"message": "words of {status}", "code": "c"}}'
    cli.plan(["failure", {"statusCode": status, "errorMessage": body, "failureKind": "api"}], ["silence"])
    await copilot.list_models()
    async with asyncio.timeout(4):
        found = await failed(copilot, asking(MODEL))
    assert (found.kind, found.status, found.message) == (kind, status, f"words of {status}")
    await until(lambda: cli.heard("session.abort"))


@pytest.mark.parametrize(
    "mended",
    [{"statusCode": 401, "failureKind": "api"}, {"failureKind": "transport"}, {"statusCode": 400, "failureKind": "transport"}],
)
async def test_what_the_cli_mends_by_itself_is_no_failure(cli: StandIn, copilot: CopilotProvider, mended: dict[str, Any]) -> None:
    cli.plan(["failure", mended], ["wait", 0.1], ["say", "mended"], ["usage", USAGE])
    pieces, _ = await heard(copilot, asking(MODEL))
    assert pieces == ["mended"]


@pytest.mark.slow
async def test_what_the_cli_does_not_mend_is_the_first_failure(cli: StandIn, copilot: CopilotProvider) -> None:
    cli.plan(["failure", {"statusCode": 401, "errorMessage": "bad token", "failureKind": "api"}], ["silence"])
    found = await failed(copilot, asking(MODEL, timeout=60))
    assert (found.kind, found.status, found.message) == (FailureKind.REFUSED, 401, "bad token")


async def test_a_deadline_tells_the_failure_that_was_being_mended(cli: StandIn, copilot: CopilotProvider) -> None:
    await heard(copilot, asking(MODEL))
    cli.plan(["failure", {"statusCode": 401, "errorMessage": "bad token", "failureKind": "api"}], ["silence"])
    found = await failed(copilot, asking(MODEL, timeout=0.7))
    assert (found.kind, found.status) == (FailureKind.REFUSED, 401)


async def test_a_failure_after_text_is_a_broken_answer(cli: StandIn, copilot: CopilotProvider) -> None:
    cli.plan(["say", "half"], ["failure", {"statusCode": 503, "errorMessage": "gone", "failureKind": "api"}], ["silence"])
    found = await failed(copilot, asking(MODEL))
    assert (found.kind, found.message) == (FailureKind.BROKEN, "the answer was cut off (gone)")
    cli.plan(["say", "half"], ["error", {"errorType": "query", "message": "no", "statusCode": 500}])
    assert (await failed(copilot, asking(MODEL))).kind is FailureKind.BROKEN
    retry = {"type": "assistant.turn_retry", "data": {"turnId": "0"}}
    cli.plan(["say", "half"], ["event", retry], ["say", "half again"])
    assert (await failed(copilot, asking(MODEL))).kind is FailureKind.BROKEN


async def test_an_empty_or_stopped_answer_is_broken(cli: StandIn, copilot: CopilotProvider) -> None:
    cli.plan(["usage", USAGE])
    assert (await failed(copilot, asking(MODEL))).message == "the answer is empty"
    cli.plan(["say", "half"], ["event", {"type": "session.idle", "data": {"aborted": True}}])
    assert (await failed(copilot, asking(MODEL))).kind is FailureKind.BROKEN


@pytest.mark.parametrize("told", [{"contentFilterTriggered": True}, {"finishReason": "content_filter"}])
async def test_filtered_content_is_refused_content(cli: StandIn, copilot: CopilotProvider, told: dict[str, Any]) -> None:
    cli.plan(["usage", {**USAGE, **told}])
    assert (await failed(copilot, asking(MODEL))).kind is FailureKind.CONTENT_REFUSED


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("model gpt-9 is not available", FailureKind.REFUSED),
        ("session construction failed: GenericFailure, invalid tool schema", FailureKind.UNSUPPORTED),
        ("the moon is in the way", FailureKind.BROKEN),
    ],
)
async def test_a_session_that_is_refused_is_sorted_by_its_words(
    cli: StandIn, copilot: CopilotProvider, said: str, kind: FailureKind
) -> None:
    cli.plan(refuse={"session.create": f"Request session.create failed with message: {said}"})
    found = await failed(copilot, asking(MODEL))
    assert (found.kind, found.message) == (kind, said)


async def test_a_silent_model_is_a_timeout_and_its_session_is_stopped(cli: StandIn, copilot: CopilotProvider) -> None:
    cli.plan(["say", "half"], ["silence"])
    found = await failed(copilot, asking(MODEL, timeout=2))
    assert (found.kind, found.message) == (FailureKind.BUSY, "timeout: no answer within 2 s")
    await until(lambda: cli.heard("session.delete"))
    cli.plan()
    assert (await heard(copilot, asking(MODEL)))[0] == ["Hello", " there"]
    assert len(cli.heard("start")) == 1


@pytest.mark.parametrize("method", ["connect", "session.create", "session.send"])
async def test_a_cli_that_hangs_is_a_timeout_then_replaced(cli: StandIn, copilot: CopilotProvider, method: str) -> None:
    cli.plan(hang=[method, "session.delete", "session.abort", "session.detach", "ping"])
    found = await failed(copilot, asking(MODEL, timeout=1))
    assert found.kind is FailureKind.BUSY
    if method != "connect":
        await until(lambda: cli.alive() == [])
        cli.plan()
        assert (await heard(copilot, asking(MODEL)))[0] == ["Hello", " there"]


async def test_a_cli_that_dies_in_an_answer_cuts_it(cli: StandIn, copilot: CopilotProvider) -> None:
    cli.plan(["say", "half"], ["die"])
    found = await failed(copilot, asking(MODEL))
    assert (found.kind, found.message) == (FailureKind.BROKEN, "the answer was cut off (the Copilot CLI: it ended with code 9)")


async def test_a_cli_that_talks_garbage_cuts_the_answer_and_is_replaced(cli: StandIn, copilot: CopilotProvider) -> None:
    cli.plan(["say", "half"], ["garbage"], ["hang"])
    found = await failed(copilot, asking(MODEL))
    assert (found.kind, "cut off" in found.message) == (FailureKind.BROKEN, True)
    await until(lambda: cli.alive() == [])
    cli.plan()
    assert (await heard(copilot, asking(MODEL)))[0] == ["Hello", " there"]


async def test_the_next_request_after_a_kill_starts_a_new_cli(cli: StandIn, copilot: CopilotProvider) -> None:
    await heard(copilot, asking(MODEL))
    (pid,) = cli.alive()
    os.kill(pid, signal.SIGKILL)
    assert (await heard(copilot, asking(MODEL)))[0] == ["Hello", " there"]
    os.kill(cli.alive()[-1], signal.SIGKILL)
    assert len(await copilot.list_models()) == 2
    assert len(cli.heard("start")) == 3


async def test_a_cli_that_dies_before_anything_was_sent_is_replaced_at_once(cli: StandIn, copilot: CopilotProvider) -> None:
    cli.plan(die_first=["session.create"])
    assert (await heard(copilot, asking(MODEL)))[0] == ["Hello", " there"]
    assert (len(cli.heard("start")), len(cli.alive())) == (2, 1)


async def test_results_after_a_kill_go_to_the_new_cli_as_text(cli: StandIn, copilot: CopilotProvider) -> None:
    cli.plan(*WITH_TOOLS)
    await heard(copilot, asking(MODEL, user("it?"), tools=(LOOK,)))
    os.kill(cli.alive()[0], signal.SIGKILL)
    cli.plan(["say", "anew"])
    _, turn = await heard(copilot, asking(MODEL, user("it?"), ASKED, RESULTS, tools=(LOOK,)))
    assert turn.message.text == "anew"


@pytest.mark.parametrize("plan", [{"exit": 3, "stderr": f"no luck with {TOKEN}"}, {"die": ["connect"]}])
async def test_a_cli_that_does_not_come_up_says_why_without_the_token(
    cli: StandIn, copilot: CopilotProvider, plan: dict[str, Any]
) -> None:
    cli.plan(**plan)
    found = await failed(copilot, asking(MODEL))
    assert (found.kind, found.scope) == (FailureKind.BUSY, "provider")
    assert "the Copilot CLI did not start" in found.message
    assert TOKEN not in found.message
    cli.plan()
    assert len(await copilot.list_models()) == 2


# cancelling and closing


async def test_who_stops_listening_stops_the_model(cli: StandIn, copilot: CopilotProvider) -> None:
    cli.plan(["say", "half"], ["silence"])
    before = other_tasks()
    listening = asyncio.create_task(heard(copilot, asking(MODEL)))
    await until(lambda: cli.heard("session.send"))
    await asyncio.sleep(0.05)
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening
    await until(lambda: cli.heard("session.delete") and other_tasks() == before)
    assert len(cli.heard("session.abort")) == 1
    parts = copilot.stream(asking(MODEL))
    assert (await anext(parts)).text == "half"  # type: ignore[union-attr]
    await parts.aclose()
    await until(lambda: len(cli.heard("session.delete")) == 2 and other_tasks() == before)


@pytest.mark.parametrize("method", ["connect", "session.create", "session.send"])
async def test_a_cancelled_request_leaves_nothing_at_any_step(cli: StandIn, method: str) -> None:
    provider = CopilotProvider(api_key=TOKEN, environment=cli.environment())
    before = other_tasks()
    cli.plan(hang=[method])
    asked = asyncio.create_task(heard(provider, asking(MODEL)))
    await until(lambda: cli.heard(method))
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    async with asyncio.timeout(10):
        await provider.aclose()
        await provider.aclose()
    assert cli.alive() == []
    await until(lambda: other_tasks() == before)


async def test_closing_stops_the_process_and_removes_its_files(cli: StandIn) -> None:
    provider = CopilotProvider(api_key=TOKEN, environment=cli.environment())
    cli.plan(*WITH_TOOLS)
    await heard(provider, asking(MODEL, tools=(LOOK,)))
    (start,) = cli.heard("start")
    home = start["environment"]["COPILOT_HOME"]
    assert os.stat(home).st_mode & 0o777 == 0o700
    assert start["folder"] == home
    await provider.aclose()
    assert (cli.alive(), os.access(home, os.F_OK)) == ([], False)
    await provider.aclose()
    await CopilotProvider(api_key=TOKEN, environment=cli.environment()).aclose()


def test_each_loop_has_a_cli_of_its_own(cli: StandIn) -> None:
    provider = CopilotProvider(api_key=TOKEN, environment=cli.environment())

    async def once() -> str:
        try:
            return (await heard(provider, asking(MODEL)))[1].message.text
        finally:
            await provider.aclose()

    assert [asyncio.run(once()), asyncio.run(once())] == ["Hello there", "Hello there"]
    assert (len(cli.heard("start")), cli.alive()) == (2, [])


# the token and the environment


async def test_the_cli_gets_the_token_and_no_other_key(cli: StandIn) -> None:
    others = {"OPENAI_API_KEY": "sk-1", "GITHUB_TOKEN": "ghp_2", "COPILOT_PROVIDER_BASE_URL": "http://elsewhere", "LANG": "C"}
    provider = CopilotProvider(api_key=TOKEN, environment=cli.environment(**others))
    await provider.list_models()
    await provider.aclose()
    (start,) = cli.heard("start")
    given = start["environment"]
    assert [name for name, value in given.items() if value == TOKEN] == ["COPILOT_SDK_AUTH_TOKEN"]
    assert not given.keys() & {"OPENAI_API_KEY", "GITHUB_TOKEN", "GH_TOKEN", "COPILOT_PROVIDER_BASE_URL"}
    assert (given["LANG"], given["COPILOT_GITHUB_TELEMETRY_DISABLED"], given["COPILOT_SKIP_CLI_DOWNLOAD"]) == ("C", "true", "1")
    assert {"--no-auto-update", "--no-auto-login", "--stdio"} <= set(start["arguments"])
    assert TOKEN not in str(start["arguments"])


async def test_no_token_leaves_in_a_failure_a_log_or_a_repr(
    cli: StandIn, copilot: CopilotProvider, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    long = "x" * 490 + TOKEN
    echoes: list[dict[str, Any]] = [
        {"answer": [["error", {"errorType": "query", "message": long, "statusCode": 400}]]},
        {"answer": [["failure", {"statusCode": 500, "errorMessage": long, "failureKind": "api"}], ["silence"]]},
        {"refuse": {"session.create": long}},
        {"stderr": f"token {TOKEN}", "answer": [["say", "x"], ["die"]]},
    ]
    for echo in echoes:
        cli.plan(**echo)
        found = await failed(copilot, asking(MODEL))
        for text in (str(found), repr(found), repr(vars(found)), str(pickle.dumps(found))):
            assert TOKEN not in text
            assert TOKEN[:5] not in text
        assert str(pickle.loads(pickle.dumps(found))) == str(found)
        assert (found.__cause__, found.__context__) == (None, None)
    assert TOKEN not in repr(copilot)
    with pytest.raises(TypeError, match="does not leave its own process"):
        pickle.dumps(copilot)
    assert TOKEN not in caplog.text
    assert "Traceback" not in caplog.text + capfd.readouterr().err


# what is missing


def made(environment: dict[str, str]) -> Provider | Missing:
    return live_providers(environment)["github-copilot"]


def test_what_is_missing_is_said_with_what_to_do(cli: StandIn, tmp_path: Path) -> None:
    whole = cli.environment()
    found = made(whole)
    assert isinstance(found, CopilotProvider)
    assert isinstance(found, Provider)
    assert (found.id, found.local) == ("github-copilot", False)

    no_key = made({name: value for name, value in whole.items() if name != "GH_TOKEN"})
    assert no_key == Missing("github-copilot", "no key: set COPILOT_GITHUB_TOKEN or GH_TOKEN or GITHUB_TOKEN", "github-copilot")
    empty = {"GITHUB_TOKEN": TOKEN, "PATH": str(tmp_path)}
    reasons = {
        "nothing": made(empty),
        "not there": made({**empty, "COPILOT_CLI_PATH": str(tmp_path / "nowhere")}),
        "no program": made({**empty, "COPILOT_CLI_PATH": str(Path(__file__))}),
    }
    assert {name: one.reason for name, one in reasons.items() if isinstance(one, Missing)} == {
        "nothing": "no Copilot CLI: install it (npm install -g @github/copilot), or set COPILOT_CLI_PATH to the program",
        "not there": "no Copilot CLI: what COPILOT_CLI_PATH names is not there; set it to the program",
        "no program": "no Copilot CLI: what COPILOT_CLI_PATH names can not be run; set it to the program",
    }
    assert isinstance(made({"GITHUB_TOKEN": TOKEN, "PATH": str(cli.folder)}), CopilotProvider)


def test_the_tokens_are_looked_for_in_their_order(cli: StandIn) -> None:
    names = ["COPILOT_GITHUB_TOKEN", "GH_TOKEN", "GITHUB_TOKEN"]

    async def given(provider: Provider | Missing) -> str:
        assert isinstance(provider, CopilotProvider)
        await provider.list_models()
        await provider.aclose()
        return str(cli.heard("start")[-1]["environment"]["COPILOT_SDK_AUTH_TOKEN"])

    for start in range(3):
        environment = {**cli.environment(GH_TOKEN=""), **{name: f"token-{name}" for name in names[start:]}}
        assert asyncio.run(given(made(environment))) == f"token-{names[start]}"


def test_without_the_extra_the_reason_is_what_to_install(cli: StandIn, tmp_path: Path) -> None:
    """All that is installed but the SDK, in a Python of its own."""
    packages = tmp_path / "packages"
    packages.mkdir()
    for entry in Path(site.getsitepackages()[0]).iterdir():
        if not entry.name.startswith("copilot"):
            (packages / entry.name).symlink_to(entry)
    script = """
import sys
from bundle_loader.providers.copilot_running import MOST_WAITING
from bundle_loader.providers.live import live_providers
print(live_providers(eval(sys.argv[1]))["github-copilot"].reason)
"""
    folders = [str(packages), str(Path(bundle_loader.__file__).parents[1])]
    ran = subprocess.run(
        [sys.executable, "-S", "-c", script, repr(cli.environment())],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "install bundle_loader[copilot]\n", "")


def test_the_sdk_is_not_loaded_before_it_is_used(cli: StandIn) -> None:
    script = """
import sys
from bundle_loader.providers.copilot_running import MOST_WAITING
from bundle_loader.providers.live import live_providers
live_providers(eval(sys.argv[1]))["github-copilot"].id
print([name for name in sys.modules if name.partition(".")[0] == "copilot"])
"""
    ran = subprocess.run(
        [sys.executable, "-c", script, repr(cli.environment())], capture_output=True, text=True, check=False, env={**os.environ}
    )
    assert (ran.stdout, ran.stderr) == ("[]\n", "")


async def test_only_so_many_sessions_wait_for_results(cli: StandIn, copilot: CopilotProvider) -> None:
    cli.plan(*WITH_TOOLS)
    for number in range(MOST_WAITING + 2):
        await heard(copilot, asking(MODEL, user(str(number)), tools=(LOOK,)))
    await until(lambda: len(cli.heard("session.delete")) == 2)
    oldest = [created["sessionId"] for created in cli.heard("session.create")[:2]]
    assert sorted(gone["sessionId"] for gone in cli.heard("session.delete")) == sorted(oldest)


async def test_no_key_and_no_cli_are_failures_of_the_provider(cli: StandIn, tmp_path: Path) -> None:
    keyless = await failed(CopilotProvider(api_key=None, environment=cli.environment()), asking(MODEL))
    assert (keyless.kind, keyless.scope) == (FailureKind.REFUSED, "provider")
    bare = await failed(CopilotProvider(api_key=TOKEN, environment={"PATH": str(tmp_path)}), asking(MODEL))
    assert (bare.kind, bare.scope, "npm install" in bare.message) == (FailureKind.BUSY, "provider", True)


# through the host


def both(copilot: CopilotProvider) -> dict[str, Provider]:
    return {"github-copilot": copilot, "anthropic": SimulatedProvider("anthropic", models=["claude-haiku-4-5"])}


async def test_a_delegation_falls_back_from_copilot(cli: StandIn, copilot: CopilotProvider, tmp_path: Path) -> None:
    cli.plan(["error", {"errorType": "rate_limit", "message": "slow down", "statusCode": 429}])
    bundle = worker(tmp_path, "copilot/gpt-5-*", "anthropic/claude-haiku-*")
    async with Host(bundle, providers=both(copilot), ledger=str(tmp_path / "ledger.db")) as host:
        result = await host.delegate("worker", "do it")
        assert (result.provider, result.model) == ("anthropic", "claude-haiku-4-5")
        first = result.attempts[0]
        assert (first.provider, first.model, first.kind) == ("github-copilot", MODEL, "limited")
        assert "slow down" in str(first.reason)
    assert cli.alive() == []


async def test_a_delegation_with_tools_is_one_session(cli: StandIn, copilot: CopilotProvider, tmp_path: Path) -> None:
    cli.plan(["say", "let me look"], ["usage", USAGE], ["tools", CALLS], ["say", "it is three"], ["usage", USAGE])
    asked: list[int] = []

    def look(x: int) -> str:
        """Look something up."""
        asked.append(x)
        return str(x)

    bundle = worker(tmp_path, "github-copilot/gpt-5-*", tools=["look"])
    async with Host(bundle, providers=both(copilot), ledger=str(tmp_path / "ledger.db")) as host:
        result = await host.delegate("worker", "do it", tools=[look])
        assert (result.text, result.provider, sorted(asked)) == ("it is three", "github-copilot", [1, 2])
        assert result.usage.input_tokens == 22
    assert len(cli.heard("session.create")) == 1
    assert [answer["result"]["textResultForLlm"] for answer in cli.heard("session.tools.handlePendingToolCall")] == ["1", "2"]


async def test_a_model_that_is_switched_off_is_skipped_with_the_reason(
    cli: StandIn, copilot: CopilotProvider, tmp_path: Path
) -> None:
    cli.plan(models=[GPT, OPUS])
    bundle = worker(tmp_path, "github-copilot/claude-opus-*", "github-copilot/gpt-5-*")
    async with Host(bundle, providers=both(copilot), ledger=str(tmp_path / "ledger.db")) as host:
        route = await host.route("worker")
        assert [candidate.model for candidate in route.candidates] == [MODEL]
        assert "claude-opus-4.7: it is switched off in the account's Copilot settings" in str(route.rejections[0])


async def test_local_only_keeps_copilot_out(cli: StandIn, copilot: CopilotProvider, tmp_path: Path) -> None:
    bundle = worker(tmp_path, "github-copilot/gpt-5-*")
    async with Host(bundle, providers=both(copilot), ledger=str(tmp_path / "ledger.db")) as host:
        route = await host.route("worker", local_only=True)
        assert route.candidates == ()
        assert "local_only: github-copilot is not local" in str(route.rejections[0])
    assert cli.heard("session.create") == []
