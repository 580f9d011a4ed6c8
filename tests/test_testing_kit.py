"""The public test kit: scripts in every form, what breaks them, the host around them, and the assertions."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bundle_loader import (
    AllFailed,
    DeclarationError,
    DoneEvent,
    FallbackEvent,
    RequestError,
    StatusEvent,
    Stopped,
    TextEvent,
    ToolEvent,
    TurnEvent,
    Usage,
)
from bundle_loader import testing as kit
from bundle_loader.messages import Thinking, ToolResult
from bundle_loader.providers.base import ChatRequest
from bundle_loader.testing import (
    Reply,
    ScriptError,
    assert_asked,
    assert_attempts,
    assert_events,
    assert_route,
    by_turn,
    calls,
    collected,
    event,
    expecting,
    fails,
    scripted_host,
    scripted_sync_host,
    structured,
)
from tests.support.hosting import worker

FIRST, SECOND = "anthropic/claude-haiku-*", "openai/gpt-5-mini"


def read_file(path: str) -> str:
    """Read a file."""
    return f"the text of {path}"


def bundle(folder: Path, **keys: object) -> Any:
    return worker(folder, FIRST, SECOND, **keys)


# --- scripts


async def test_a_list_answers_in_order_over_turns_and_delegations(tmp_path: Path) -> None:
    async with scripted_host(
        bundle(tmp_path), {"anthropic": [calls("read_file", path="a.md"), "It is short.", "Again."]}
    ) as host:
        first = await host.delegate("worker", "Read a.md", tools=[read_file])
        second = await host.delegate("worker", "And now?")
    assert (first.text, first.turns, second.text) == ("It is short.", 2, "Again.")
    assert [asked.said for asked in host.asked] == ["Read a.md", "the text of a.md", "And now?"]
    assert_asked(host, FIRST, FIRST, FIRST)


async def test_one_answer_serves_every_request(tmp_path: Path) -> None:
    async with scripted_host(bundle(tmp_path), {"anthropic": "Done."}) as host:
        for _ in range(3):
            assert (await host.delegate("worker", "Work")).text == "Done."
    assert len(host.asked_of("anthropic")) == 3


async def test_a_function_sees_the_request_and_may_wait(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def answer(request: ChatRequest) -> str:
        await go.wait()
        return f"{request.system} / {request.messages[-1].text}"

    async with scripted_host(bundle(tmp_path), {"anthropic": answer}) as host:
        work = asyncio.create_task(host.delegate("worker", "Now"))
        await asyncio.sleep(0.01)
        assert not work.done()
        go.set()
        assert (await work).text == "Do the work. / Now"


async def test_turns_are_counted_in_each_conversation(tmp_path: Path) -> None:
    script = by_turn(calls("read_file", path="x"), calls("read_file", path="y"), lambda request: request.messages[0].text)
    async with scripted_host(bundle(tmp_path), {"anthropic": script}) as host:
        tasks = [host.delegate("worker", f"Task {number}", tools=[read_file]) for number in range(5)]
        results = await asyncio.gather(*tasks)
    assert [(result.text, result.turns) for result in results] == [(f"Task {number}", 3) for number in range(5)]


async def test_models_of_a_provider_have_scripts_of_their_own(tmp_path: Path) -> None:
    one = worker(tmp_path, "anthropic/claude-haiku-*", "anthropic/claude-opus-*")
    scripts = {"anthropic": {"claude-haiku-*": [fails("503")], "CLAUDE-OPUS-*": ["From the larger one."]}}
    async with scripted_host(one, scripts) as host:
        result = await host.delegate("worker", "Work")
    assert result.text == "From the larger one."
    assert_attempts(result, "anthropic/claude-haiku-* failed busy", "anthropic/claude-opus-* answered")


async def test_usage_model_and_latency_are_what_the_script_says(tmp_path: Path) -> None:
    reply = Reply("Hi", usage=Usage(100, 7), model="claude-haiku-snapshot", latency=0.05, thinking="Hm.")
    async with scripted_host(bundle(tmp_path), {"anthropic": reply}) as host:
        result = await host.delegate("worker", "Work")
    assert (result.usage.input_tokens, result.usage.output_tokens) == (100, 7)
    assert not result.usage.estimated
    assert result.answered_by == "claude-haiku-snapshot"
    assert result.latency >= 0.05
    assert result.text == "Hi"
    assert result.messages[-1].parts[0] == Thinking("Hm.", "anthropic")


async def test_a_structured_answer_is_the_json_that_a_model_writes(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}, "why": {"type": "string"}}, "required": ["ok"]}
    async with scripted_host(
        bundle(tmp_path, output_schema=schema), {"anthropic": [structured({"ok": True, "why": "ünique"})]}
    ) as host:
        result = await host.delegate("worker", "Judge")
    assert json.loads(result.text) == {"ok": True, "why": "ünique"}


@pytest.mark.parametrize(
    "word", ["503", "429:7", "down", "timeout", "cut", "empty", "malformed", "no-key", "too-long", "unsupported"]
)
async def test_every_fault_moves_on_to_the_next(tmp_path: Path, word: str) -> None:
    async with scripted_host(bundle(tmp_path), {"anthropic": [fails(word, text="Half")], "openai": ["Whole"]}) as host:
        result = await host.delegate("worker", "Work")
    assert result.text == "Whole"
    assert_attempts(result, f"{FIRST} failed", f"{SECOND} answered")
    assert_asked(host, FIRST, SECOND)


# --- what breaks a script


async def failing(folder: Path, scripts: Any, times: int = 1, **options: Any) -> str:
    """The words of the ScriptError that the host is left with, however the test swallowed what came before."""

    async def swallowing() -> None:
        async with scripted_host(bundle(folder), scripts, **options) as host:
            for _ in range(times):
                with contextlib.suppress(Stopped):
                    await host.delegate("worker", "What is it?")

    with pytest.raises(ScriptError) as caught:
        await swallowing()
    return str(caught.value)


async def test_a_script_that_runs_out_says_what_was_asked_and_is_no_fallback(tmp_path: Path) -> None:
    said = await failing(tmp_path, {"anthropic": ["One"], "openai": "Never"}, times=2)
    assert re.search(
        r"anthropic: all of its 1 answers are given; request 2 was anthropic/claude-haiku-\S+, turn 1: 'What is it\?'", said
    )
    assert "openai" not in said


async def test_a_provider_that_is_not_to_be_asked(tmp_path: Path) -> None:
    said = await failing(tmp_path, {"anthropic": [fails("503")], "openai": []})
    assert "openai: it was not to be asked at all; request 2 was openai/gpt-5-mini" in said


async def test_answers_that_nobody_asked_for(tmp_path: Path) -> None:
    said = await failing(tmp_path, {"anthropic": ["One", "Two", "Three"], "openai": {"gpt-*": ["x"]}})
    assert said.splitlines() == [
        "the script of anthropic: 2 answers were never asked for",
        "the script of openai: 1 answer was never asked for by gpt-*",
    ]
    async with scripted_host(bundle(tmp_path), {"anthropic": ["One", "Two"]}, allow_unused=True) as host:
        assert (await host.delegate("worker", "Work")).text == "One"


async def test_a_model_that_the_script_does_not_name(tmp_path: Path) -> None:
    said = await failing(tmp_path, {"anthropic": {"claude-opus-*": "No"}})
    assert "anthropic: it is for the models claude-opus-*, not for claude-haiku" in said


async def test_a_turn_that_the_script_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match="it has no answer for turn 2, only for 1"):
        async with scripted_host(bundle(tmp_path), {"anthropic": by_turn(calls("read_file", path="a"))}) as host:
            await host.delegate("worker", "Work", tools=[read_file])


def _is_short(request: ChatRequest) -> bool:
    return len(request.messages[-1].text) < 3


def _asserts(request: ChatRequest) -> None:
    raise AssertionError("the tool's answer is missing")


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("Why", "it expected to be asked 'Why'"),
        (_is_short, "it expected another request (_is_short is False)"),
        (_asserts, "it expected another request (the tool's answer is missing)"),
    ],
)
async def test_an_answer_that_is_meant_for_another_request(tmp_path: Path, what: Any, said: str) -> None:
    assert said in await failing(tmp_path, {"anthropic": [expecting(what, "Yes")]})


async def test_an_answer_for_the_request_that_it_is_meant_for(tmp_path: Path) -> None:
    script = [
        expecting("Read", calls("read_file", path="a")),
        expecting("the text of a", expecting(lambda request: None, "Read.")),
    ]
    async with scripted_host(bundle(tmp_path), {"anthropic": script}) as host:
        assert (await host.delegate("worker", "Read it", tools=[read_file])).text == "Read."


async def test_a_function_of_the_test_that_breaks_is_not_taken_for_a_provider_that_does(tmp_path: Path) -> None:
    def broken(request: ChatRequest) -> str:
        return str({}["nothing"])

    said = await failing(tmp_path, {"anthropic": broken, "openai": "Never"})
    assert "anthropic: its function raised KeyError: 'nothing'" in said
    said = await failing(tmp_path, {"anthropic": lambda request: 5})
    assert "its function gave a int, not a text or a Reply" in said


async def test_a_script_is_left_with_the_tests_own_error_and_what_led_to_it(tmp_path: Path) -> None:
    async def test() -> None:
        async with scripted_host(bundle(tmp_path), {"anthropic": []}) as host:
            with contextlib.suppress(Stopped):
                await host.delegate("worker", "Work")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        await test()
    assert "it was not to be asked at all" in "".join(caught.value.__notes__)


async def test_an_error_that_the_test_expects_is_its_own(tmp_path: Path) -> None:
    async with scripted_host(bundle(tmp_path), {"anthropic": fails("503"), "openai": fails("401")}) as host:
        with pytest.raises(AllFailed) as caught:
            await host.delegate("worker", "Work")
    assert_attempts(caught.value, f"{FIRST} failed busy", f"{SECOND} failed refused 401")


@pytest.mark.parametrize("plan", [5, [None], {"claude-*": 3.5}, [expecting("x", 1)], by_turn(2)])  # type: ignore[arg-type]
def test_what_is_no_script_is_said_at_once(tmp_path: Path, plan: Any) -> None:
    with pytest.raises(TypeError, match=r"an answer is a text, a Reply, expecting\(...\) or a function of the request, not"):
        scripted_host(bundle(tmp_path), {"anthropic": plan})


# --- the host around them


def test_nothing_is_touched_but_a_folder_that_goes(tmp_path: Path) -> None:
    """No socket, no home folder, no settings of the machine, no wall clock: seen by the process's own audit hook."""
    bundle(tmp_path)
    (tmp_path / ".bundle-loader").mkdir()
    (tmp_path / ".bundle-loader" / "settings.yaml").write_text("agents: {worker: {provider_preferences: [openai/gpt-*]}}\n")
    code = """
import sys
touched = []
def hook(name, args):
    if name.startswith("socket.") or (name == "open" and isinstance(args[0], str)):
        touched.append((name, str(args[0] if name == "open" else args[1:])))
from bundle_loader.testing import scripted_sync_host
host = scripted_sync_host("worker.md", {"anthropic": ["Hi"], "openai": []})
folder = host._host.folder
sys.addaudithook(hook)
with host:
    result = host.delegate("worker", "Hello {{ date }}")
    assert result.simulated and "[simulated]" in str(result.route), result
    [row] = host.ledger.delegations()
    assert row["started"] == 1767225600.0 and row["simulated"], dict(row)
    assert folder.is_dir()
assert not folder.exists()
bad = [entry for entry in touched if entry[0] not in ("open", "socket.__new__") or "no-such-home" in entry[1]]
assert not bad, bad
"""
    home = tmp_path / "no-such-home"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"HOME": str(home), "PATH": os.environ["PATH"], "ANTHROPIC_API_KEY": "not-to-be-used"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not home.exists()


async def test_time_stands_still_until_it_is_told_to_move(tmp_path: Path) -> None:
    file = tmp_path / "worker.md"
    bundle(tmp_path)
    (tmp_path / "team.yaml").write_text(
        "bundle: {name: team}\nagents: {include: [worker.md]}\nbudgets: {few: {requests: 2, per: day}}\n"
    )
    assert file.exists()
    async with scripted_host(tmp_path / "team.yaml", {"anthropic": "Hi", "openai": "Hi"}) as host:
        before = host.clock()
        for _ in range(2):
            await host.delegate("worker", "Work")
        assert host.clock() == before
        with pytest.raises(Exception, match="few"):
            await host.delegate("worker", "Work", timeout=1)
        host.advance(86_400)
        assert (await host.delegate("worker", "Work")).text == "Hi"
        with pytest.raises(ValueError, match="a clock does not run back"):
            host.advance(-1)


async def test_a_folder_of_ones_own_ledger_stays(tmp_path: Path) -> None:
    ledger = tmp_path / "kept.db"
    async with scripted_host(bundle(tmp_path), {"anthropic": "Hi"}, ledger=ledger) as host:
        await host.delegate("worker", "Work")
    assert ledger.is_file()
    assert not host.folder.exists()


async def test_lists_faults_and_latency_of_providers(tmp_path: Path) -> None:
    one = worker(tmp_path, "acme/fast-*", "anthropic/claude-haiku-*", "acme/slow-1")
    async with scripted_host(
        one,
        {"acme": "Hi", "anthropic": []},
        models={"acme": ["fast-1", {"id": "fast-2", "window": 5}, "slow-1"]},
        list_faults={"anthropic": "503"},
        latency={"acme": {"fast-*": 0.05}},
        local=["acme"],
    ) as host:
        route = await host.route("worker", local_only=True)
        assert_route(route, "acme/fast-2", "acme/slow-1", rejected={FIRST: "503"}, decided_by="agent")
        assert (await host.delegate("worker", "Work")).latency >= 0.05


async def test_a_provider_without_a_list_has_the_models_of_its_script(tmp_path: Path) -> None:
    one = worker(tmp_path, "acme/m-*")
    async with scripted_host(one, {"acme": {"m-1": "One", "m-2": "Two", "n-*": "Other"}}) as host:
        assert (await host.delegate("worker", "Work")).text == "Two"
    with pytest.raises(RequestError, match=re.escape("no list of models is shipped for 'acme': give models={'acme'")):
        scripted_host(one, {"acme": "Hi"})


@pytest.mark.parametrize("name", ["models", "latency", "list_faults"])
def test_options_for_a_provider_without_a_script(tmp_path: Path, name: str) -> None:
    with pytest.raises(RequestError, match=f"{name} names 'opnai', for which there is no script; there are openai"):
        scripted_host(bundle(tmp_path), {"openai": "Hi"}, **{name: {"opnai": []}})
    with pytest.raises(RequestError, match="scripts names the provider 'google' twice"):
        scripted_host(bundle(tmp_path), {"google": "Hi", "gemini": "Ho"})


async def test_an_alias_is_its_provider(tmp_path: Path) -> None:
    async with scripted_host(worker(tmp_path, "gemini/gemini-*-flash"), {"gemini": ["Hi"]}) as host:
        await host.delegate("worker", "Work")
    assert [asked.provider for asked in host.asked_of("gemini")] == ["google"]


def test_faults_of_the_files_are_raised(tmp_path: Path) -> None:
    bundle(tmp_path)
    (tmp_path / "team.yaml").write_text("bundle: {name: team}\nagents: {include: [worker.md, bad.md]}\n")
    (tmp_path / "bad.md").write_text("---\nname: bad\nprovider_preferance: []\n---\nWork.\n")
    with pytest.raises(DeclarationError, match="provider_preferance"):
        scripted_host(tmp_path / "team.yaml", {"anthropic": "Hi"})


def test_the_synchronous_twin_keeps_to_its_script_too(tmp_path: Path) -> None:
    with scripted_sync_host(bundle(tmp_path), {"anthropic": by_turn(calls("read_file", path="a"), "Read.")}) as host:
        events = list(host.stream("worker", "Read", tools=[read_file]))
        assert_events(events, event(ToolEvent, lambda it: it.result.text == "the text of a"), DoneEvent)
        assert host.providers["anthropic"].simulated
    assert_asked(host, FIRST, FIRST)
    with (
        pytest.raises(ScriptError, match="1 answer was never asked for"),
        scripted_sync_host(bundle(tmp_path), {"openai": ["x"]}),
    ):
        pass


# --- assertions


async def test_events_in_their_order(tmp_path: Path) -> None:
    scripts = {"anthropic": [fails("503")], "openai": [calls("read_file", path="a"), "Read it."]}
    async with scripted_host(bundle(tmp_path), scripts) as host:
        events = await collected(host.stream("worker", "Read", tools=[read_file]))
    assert_events(
        events,
        event(StatusEvent, provider="anthropic", number=1),
        event(FallbackEvent, to_provider="openai", reason=re.compile("503")),
        event(ToolEvent, lambda it: isinstance(it.result, ToolResult)),
        event(TextEvent, text="Read it."),
        DoneEvent,
    )
    for wanted, said in [
        ((DoneEvent, StatusEvent), r"no StatusEvent\(\) after those before it, only earlier"),
        ((event(StatusEvent, provider="google"),), r"no StatusEvent\(provider='google'\)"),
        ((event(ToolEvent, lambda it: False),), r"no ToolEvent\(\.\.\.\)"),
    ]:
        with pytest.raises(AssertionError, match=said):
            assert_events(events, *wanted)
    with pytest.raises(AssertionError, match=r"\d+ events, not 1\nthere was:\nStatusEvent"):
        assert_events(events, DoneEvent, only=True)
    assert_events([one for one in events if isinstance(one, TurnEvent)], TurnEvent, TurnEvent, only=True)
    with pytest.raises(TypeError, match="a StatusEvent has no 'providr'; it has provider"):
        event(StatusEvent, providr="x")


async def test_routes_attempts_and_requests_that_are_not_as_asserted(tmp_path: Path) -> None:
    one = worker(tmp_path, FIRST, "openai/gpt-99-*", SECOND)
    async with scripted_host(one, {"anthropic": "Hi", "openai": []}) as host:
        result = await host.delegate("worker", "Work")
    assert_route(result, FIRST, SECOND, rejected={"openai/gpt-99-*": "matches none"}, decided_by="agent")
    wrong: list[tuple[Callable[[], None], str]] = [
        (lambda: assert_route(result, FIRST), "2 candidates, not 1"),
        (lambda: assert_route(result, SECOND, FIRST), "candidate 1 is anthropic/claude-haiku-.* not openai/gpt-5-mini"),
        (lambda: assert_route(result.route, FIRST, SECOND, rejected={"google/*": "x"}), r"google/\* was not rejected"),
        (lambda: assert_route(result, FIRST, SECOND, rejected={"openai/*": "no key"}), "rejected, but not for 'no key'"),
        (lambda: assert_route(result, FIRST, SECOND, decided_by="caller"), "decided_by is 'agent', not 'caller'"),
        (lambda: assert_route(result, FIRST, SECOND, tier="budget"), "tier is None, not 'budget'"),
        (lambda: assert_attempts(result), "1 attempts, not 0"),
        (lambda: assert_attempts(result, f"{SECOND} failed busy"), "is of anthropic.*\nattempt 1 answered, not failed\n.*'busy'"),
        (lambda: assert_asked(host), "1 requests, not 0"),
        (lambda: assert_asked(host, SECOND), "request 1 is anthropic/"),
    ]
    for assertion, said in wrong:
        with pytest.raises(AssertionError, match=f"(?s){said}.*there was:\n."):
            assertion()


def test_the_kit_needs_no_test_runner_and_its_names_are_documented() -> None:
    assert kit.__all__ == sorted(kit.__all__)
    assert all(getattr(kit, name).__doc__ for name in kit.__all__)
    code = """
import sys, bundle_loader.testing
print([name for name in ("pytest", "anthropic", "openai", "ollama", "google.genai", "mcp") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
