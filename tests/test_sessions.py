"""Sessions: kept as the work goes on, carried on later, also after `kill -9`, refused clearly, listed and pruned."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bundle_loader import AllFailed, Host, LimitReached, RequestError, SessionError, Sessions, SimulatedProvider, SyncHost
from bundle_loader.delegation import transcript
from bundle_loader.delegation.disk_sync import DiskSync
from bundle_loader.delegation.message_json import from_json, to_json
from bundle_loader.delegation.transcript import UNKNOWN
from bundle_loader.events import TurnEvent
from bundle_loader.messages import Blob, Message, Text, Thinking, ToolCall, ToolResult, Turn, Usage
from bundle_loader.providers.simulated import Reply
from tests.support.command import Ran, command
from tests.support.team import team
from tests.support.vendors import Reply as Said
from tests.support.vendors import World, served_in_thread


def run_command(*words: str) -> Ran:
    """`bundle-loader` with these words."""
    folder = Path(words[words.index("--folder") + 1])
    return command(*words, home=folder.parent)


BOSS: dict[str, Any] = {"provider_preferences": ["p/boss-*"]}


def host_of(folder: Path, provider: SimulatedProvider, agents: dict[str, Any] | None = None, **more: Any) -> Host:
    bundle = team(folder, agents or {"boss": BOSS})
    return Host(bundle, **{"providers": {"p": provider}, "ledger": folder / "l.db", "sessions": folder / "s"} | more)


def played(*replies: str | Reply, **more: Any) -> SimulatedProvider:
    return SimulatedProvider("p", models=["boss-1", "cheap-1"], replies=replies, **more)


def said(provider: SimulatedProvider, number: int = -1) -> list[str]:
    return [message.text for message in provider.requests[number].messages]


async def test_a_session_goes_on_in_another_host_with_all_that_was_said(tmp_path: Path) -> None:
    first, second = played("One, noted."), played("It was one.")
    async with host_of(tmp_path, first) as host:
        begun = await host.delegate("boss", "Remember one.")
    assert begun.session == begun.id
    async with host_of(tmp_path, second) as host:
        assert begun.session is not None
        gone_on = await host.delegate("boss", "What was it?", resume=begun.session[:8])
        totals = {row["name"]: row["calls"] for row in host.ledger.totals("session", simulated=True)}
    assert said(second) == ["Remember one.", "One, noted.", "What was it?"]
    assert gone_on.session == begun.session
    assert gone_on.id != begun.id
    assert totals == {begun.session: 2}, "the sums of a session hold all of its delegations"
    assert [message.text for message in gone_on.messages] == ["Remember one.", "One, noted.", "What was it?", "It was one."]


async def test_the_file_is_the_users_own_and_nothing_of_it_is_in_the_ledger(tmp_path: Path) -> None:
    async with host_of(tmp_path, played("The answer 7731.", "Yes.")) as host:
        result = await host.delegate("boss", "The secret 4242.")
        (path,) = (tmp_path / "s").iterdir()
        await host.delegate("boss", "One more, in a folder that is there.")
        assert {one.stat().st_mode & 0o777 for one in (tmp_path / "s").iterdir()} == {0o600}
    assert path.name == f"{result.session}.jsonl"
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o700
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["session", "begin", "turn", "end"]
    ledger = b"".join((tmp_path / f"l.db{part}").read_bytes() for part in ("", "-wal") if (tmp_path / f"l.db{part}").exists())
    assert b"4242" not in ledger
    assert b"7731" not in ledger


async def test_it_goes_on_with_the_choice_that_it_was_begun_with(tmp_path: Path) -> None:
    provider = played(answer="Ok.")
    async with host_of(tmp_path, provider, {"boss": BOSS | {"body": "You like {{ colour }}."}}) as host:
        begun = await host.delegate("boss", "A.", preferences=["p/cheap-*"], config={"temperature": 0.3}, vars={"colour": "red"})
        again = await host.delegate("boss", "B.", resume=begun.session)
        other = await host.delegate("boss", "C.", resume=begun.session, model="p/boss-1")
        after = await host.delegate("boss", "D.", resume=begun.session)
    assert [request.model for request in provider.requests] == ["cheap-1", "cheap-1", "boss-1", "boss-1"]
    assert [request.system for request in provider.requests] == ["You like red."] * 4
    assert provider.requests[1].config["temperature"] == 0.3
    assert [str(result.decided_by) for result in (begun, again, other, after)] == ["caller"] * 4


async def test_whoever_delegated_at_its_beginning_stays_the_parent(tmp_path: Path) -> None:
    provider = played(answer="Ok.")
    async with host_of(tmp_path, provider, {"plain": {}}) as host:
        begun = await host.delegate("plain", "A.", parent="p/boss-1")
        again = await host.delegate("plain", "B.", resume=begun.session, parent="p/cheap-1")
    assert [request.model for request in provider.requests] == ["boss-1", "boss-1"]
    assert again.notes == ()


CHANGES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (
        {"provider_preferences": [{"provider": "p", "model": "cheap-*", "config": {"top_p": 0.5}}]},
        {},
        "p/boss-*; without it they",
    ),
    ({"tier": "low"}, {"tiers": {"low": ["p/cheap-*"]}}, "p/boss-*; without it they would be p/cheap-*; give preferences"),
    ({"tools": []}, {"default": "low", "tiers": {"low": ["p/cheap-*"]}}, "p/boss-*; without it they would be p/cheap-*"),
]


async def test_it_goes_on_with_the_models_of_its_beginning_though_the_bundle_has_changed(tmp_path: Path) -> None:
    """The agent's list, its tier, and the default of the bundle; who decided then is told, and a note says what is kept."""
    kept = {"provider_preferences": [{"provider": "p", "model": "boss-*", "config": {"temperature": 0.2}}], "body": "Old."}
    provider = played(answer="Ok.")
    async with host_of(tmp_path, provider, {"boss": kept}) as host:
        begun = await host.delegate("boss", "A.")
        same = await host.delegate("boss", "B.", resume=begun.session)
    assert same.notes == ()
    for agent, more, words in CHANGES:
        bundle = team(tmp_path, {"boss": agent | {"body": "New."}}, **more)
        async with Host(bundle, providers={"p": provider}, ledger=tmp_path / "l.db", sessions=tmp_path / "s") as host:
            result = await host.delegate("boss", "C.", resume=begun.session)
            assert (result.model, str(result.decided_by)) == ("boss-1", "agent")
            assert result.route.decision == "boss, its own list, as its session was begun"
            assert (provider.requests[-1].system, provider.requests[-1].config) == ("New.", {"temperature": 0.2})
            first, second = result.notes
            assert first == f"bundle 'team' has changed since session '{begun.session}' was begun"
            assert f"goes on with the models that it was begun with: {words}" in second
    async with Host(bundle, providers={"p": provider}, ledger=tmp_path / "l.db", sessions=tmp_path / "s") as host:
        for choice in ({"tier": "low"}, {}):
            assert (await host.delegate("boss", "D.", resume=begun.session, **choice)).model == "cheap-1"  # type: ignore[arg-type]


async def test_what_was_local_stays_local(tmp_path: Path) -> None:
    here = played(answer="Ok.", local=True)
    away = SimulatedProvider("q", models=["big-1"], answer="Sent away.")
    async with host_of(tmp_path, here, providers={"p": here, "q": away}) as host:
        begun = await host.delegate("boss", "A secret.", local_only=True)
        with pytest.raises(Exception, match="local"):
            await host.delegate("boss", "Go on.", resume=begun.session, model="q/big-1", local_only=False)
    assert away.requests == []


async def test_failed_and_cancelled_work_is_carried_on_and_its_cost_kept(tmp_path: Path) -> None:
    provider = played(Reply("", [("look", {})]), faults=[None, "503"], answer="Seen.")

    def look() -> str:
        return "a tree"

    async with host_of(tmp_path, provider) as host:
        with pytest.raises(AllFailed):
            await host.delegate("boss", "Look.", tools=[look])
        (session,) = host.sessions.all()  # type: ignore[union-attr]
        assert session.transcript is not None
        assert (session.transcript.outcome, session.transcript.turns) == ("failed", 1)
        result = await host.delegate("boss", "Go on.", tools=[look], resume=session.id)
        (row,) = host.ledger.totals("session", simulated=True)
    assert result.text == "Seen."
    assert [message.role for message in result.messages] == ["user", "assistant", "tool", "user", "assistant"]
    assert (row["name"], row["calls"]) == (session.id, 3)


async def test_what_a_turn_did_is_written_once_and_read_whole(tmp_path: Path) -> None:
    calls = [("look", {"at": "a-7731"}), ("look", {"at": "b-7732"})]
    provider = played(Reply("I look.", calls), Reply("Again.", calls[:1]), "Seen.", "Still so.")

    async def look(at: str) -> str:
        await asyncio.sleep(0.01 if at.startswith("a") else 0)
        return f"a tree: {at}"

    async with host_of(tmp_path, provider) as host:
        begun = await host.delegate("boss", "Look.", tools=[look])
        (path,) = (tmp_path / "s").iterdir()
        raw = path.read_text()
        again = await host.delegate("boss", "Go on.", resume=begun.session)
        (session,) = host.sessions.all()  # type: ignore[union-attr]
    assert (raw.count("a tree: a-7731"), raw.count("a tree: b-7732"), raw.count("I look.")) == (2, 1, 1)
    assert again.messages[: len(begun.messages)] == begun.messages
    assert session.transcript is not None
    assert (session.transcript.turns, session.transcript.unknown_calls) == (4, 0)


def test_an_answer_that_was_written_is_no_turn_that_adds_something_else(tmp_path: Path) -> None:
    kept = Sessions(tmp_path / "s")
    call, result = ToolCall("1", "look", {}), ToolResult("1", "look", "seen")
    answer, tool = Message("assistant", (call,)), Message("tool", (result,))
    added = {
        "a1": (answer, tool),
        "a2": (answer, Message("tool", (ToolResult("1", "look", "other"),))),
        "a3": (answer,),
        "a4": (answer, tool, Message("user", (Text("more"),))),
        "a5": (Message("assistant", (Text("told"), call)), tool),
    }
    for id, messages in added.items():
        journal = kept.new(id)
        head = transcript.first_line(id, agent="a", bundle="b", bundle_hash="", at=1.0, choice={}, vars={})
        journal.begin("x", [], head=head)
        journal.answer(answer)
        journal.result(result)
        journal.turn(TurnEvent(Turn(messages[0], None, "m", "tools"), messages), "p/m")
        journal.end("answered", None)
    kept.close()
    for id, messages in added.items():
        found = kept.read(id).transcript
        assert found is not None
        assert tuple(found.messages) == messages
        assert found.turns == 1


def test_files_are_put_on_the_disk_and_closed(tmp_path: Path) -> None:
    disk = DiskSync()
    fds = [os.open(tmp_path / str(number), os.O_CREAT | os.O_WRONLY) for number in range(100)]
    for fd in fds:
        os.write(fd, b"x")
        disk.soon(fd)
        disk.settle(fd)
    disk.close()
    disk.close()
    for fd in fds:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


async def test_max_cost_counts_over_the_whole_session(tmp_path: Path) -> None:
    limited = BOSS | {"limits": {"max_cost": 0.003}, "config": {"max_tokens": 100}}
    bundle = team(tmp_path, {"boss": limited}, prices={"p/*": {"input": 1, "output": 10}})
    provider = played(Reply("One.", usage=Usage(1000, 100)), answer="Two.")
    async with Host(bundle, providers={"p": provider}, ledger=tmp_path / "l.db", sessions=tmp_path / "s") as host:
        begun = await host.delegate("boss", "A.")
        assert begun.cost == Decimal("0.002")
        with pytest.raises(LimitReached, match=r"max_cost of boss .*\$0\.0010 left"):
            await host.delegate("boss", "B.", resume=begun.session)
        assert (await host.delegate("boss", "B.")).text == "Two.", "a session of its own"


@pytest.mark.parametrize(
    ("resume", "agent", "words"),
    [
        ("zz", "boss", "'zz' is no id of a session"),
        ("ffff", "boss", "no session in .* has an id that begins with 'ffff'; 'bundle-loader sessions' lists them"),
        ("", "boss", "resume is the id of a session"),
        ("a", "boss", "2 sessions begin with 'a': a1.*, a2.*; write more of it"),
        ("b1", "other", "session 'b1' is one of agent 'boss', not of 'other'"),
        ("c1", "boss", "session 'c1' is one of bundle 'theirs', and this is bundle 'team'"),
    ],
)
async def test_what_cannot_be_resumed_says_why(tmp_path: Path, resume: str, agent: str, words: str) -> None:
    (tmp_path / "s").mkdir()
    for id, bundle in (("a1", "team"), ("a2", "team"), ("b1", "team"), ("c1", "theirs")):
        head = {"kind": "session", "format": 1, "id": id, "agent": "boss", "bundle": bundle, "bundle_hash": "", "at": 1.0}
        (tmp_path / "s" / f"{id}.jsonl").write_text(json.dumps(head | {"choice": {}, "vars": {}}) + "\n")
    provider = played(answer="Ok.")
    async with host_of(tmp_path, provider, {"boss": BOSS, "other": BOSS}) as host:
        with pytest.raises(RequestError, match=words):
            await host.delegate(agent, "Go on.", resume=resume)
        with pytest.raises(RequestError, match="a conversation of its own"):
            await host.delegate("boss", "Go on.", resume="b1", messages=[{"role": "user", "content": "x"}])
        assert (await host.delegate("boss", "Go on.", resume="b1")).text == "Ok.", "a refusal keeps nothing locked"


async def test_two_at_once_are_refused_and_neither_waits(tmp_path: Path) -> None:
    provider = played(answer="Ok.", latency=0.3)
    async with host_of(tmp_path, provider) as host:
        begun = await host.delegate("boss", "A.")
        both = await asyncio.gather(
            *(host.delegate("boss", "B.", resume=begun.session) for _ in range(2)), return_exceptions=True
        )
    refused = [one for one in both if isinstance(one, SessionError)]
    assert len(refused) == 1
    assert f"session '{begun.session}' is in use" in str(refused[0])


BEGIN = b'HEAD{"kind": "begin", "at": 1, "delegation": "x", "messages": [{"role": "user", "parts": [%s]}]}\n'
BEGUN = (
    b'{"kind": "session", "format": 1, "id": "d1", "agent": "boss", "bundle": "team", "bundle_hash": "", "at": 1,'
    b' "choice": {}, "vars": {}, "begun": %s}\n'
)
DAMAGE = [
    (b"", ":1: is no transcript: it has no whole line"),
    (b"\x7fELF\x00\xff\n", ":1: is not JSON"),
    (b'{"kind": "other"}\n', ":1: is no transcript: it does not begin with a line of the kind 'session'"),
    (b'[1]\n', ":1: is no line of a transcript: it has no kind"),
    (b'{"kind": "session", "format": 9}\n', ":1: is a transcript of format 9, and this version reads 1"),
    (b'{"kind": "session", "format": 1, "id": 3}\n', ":1: 'id' is a int, not a str"),
    (b'HEAD{"kind": "turn", "at": 1, "model": "m"}\n', ":2: has no 'added'"),
    (b'HEAD{"kind": "turn", "at": 1, "model": "m", "added": [{"role": "god", "parts": []}]}\n', ":2: is no message"),
    (BEGIN % b'{"kind": "Evil"}', "kind 'Evil'"),
    (BEGIN % b'{"kind": "Text", "text": 5}', ":2: is no message: 'text' of a part Text is a int"),
    (b'HEAD{"kind": "end", "at": "now", "outcome": "answered"}\n', ":2: 'at' is no time"),
    (BEGUN % b'{"preferences": [5], "decided_by": "agent", "decision": "x"}', ":1: 'preferences' holds what is no preference"),
    (BEGUN % b'{"preferences": [], "decided_by": "nobody", "decision": "x"}', ":1: 'nobody' is not a valid DecidedBy"),
    (BEGUN % b'5', ":1: 'begun' is a int, not a dict"),
    (b'HEAD{"kind": "dance", "at": 1}\n', ":2: has the unknown kind 'dance'"),
    (b"HEAD" + b"[" * 100_000 + b"\n", ":2: "),
]  # fmt: skip


@pytest.mark.parametrize(("data", "words"), DAMAGE, ids=[str(number) for number in range(len(DAMAGE))])
async def test_a_damaged_or_foreign_transcript_is_named_with_its_line(tmp_path: Path, data: bytes, words: str) -> None:
    head = {"kind": "session", "format": 1, "id": "d1", "agent": "boss", "bundle": "team", "bundle_hash": "", "at": 1.0}
    path = tmp_path / "s" / "d1.jsonl"
    path.parent.mkdir()
    data = data.replace(b"HEAD", json.dumps(head | {"choice": {}, "vars": {}}).encode() + b"\n")
    path.write_bytes(data)
    async with host_of(tmp_path, played(answer="Ok.")) as host:
        with pytest.raises(SessionError) as caught:
            await host.delegate("boss", "Go on.", resume="d1")
    assert str(path) in str(caught.value)
    assert words in str(caught.value)
    assert path.read_bytes() == data, "it is never written over"
    listed = run_command("sessions", "--folder", str(tmp_path / "s"))
    assert (listed.code, "d1.jsonl:" in listed.out) == (0, True)
    shown = run_command("sessions", "show", "d1", "--folder", str(tmp_path / "s"))
    assert shown.code == 1
    assert words in shown.err


async def test_a_last_line_that_was_cut_is_left_out(tmp_path: Path) -> None:
    provider = played("One.", "Two.")
    async with host_of(tmp_path, provider) as host:
        begun = await host.delegate("boss", "A.")
    (path,) = (tmp_path / "s").iterdir()
    path.write_bytes(path.read_bytes() + b'{"kind": "begin", "delega')
    async with host_of(tmp_path, provider) as host:
        result = await host.delegate("boss", "B.", resume=begun.session)
    assert said(provider) == ["A.", "One.", "B."]
    assert result.session == begun.session
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_messages_survive_being_written() -> None:
    parts = (
        Text("words \ud800 \u20ac"),
        Blob(b"\x00\xff", "image/png", None, "a.png"),
        Thinking("hm", "anthropic", {"signature": "abc", "raw": b"\x01", "list": [1, {"kind": "x"}]}),
        ToolCall("1", "look", {"at": {"kind": "Text", "text": 1}, "n": [None, 2.5]}, "google", "sig"),
    )
    tool = Message("tool", (ToolResult("1", "look", "seen", True, (Blob(None, "image/jpeg", "https://x/y"),)),))
    likened = [
        {"base64": "aGVsbG8="},
        {"base64": "no base64!"},
        {"$": "tuple", "of": [1]},
        {"kind": "Text", "text": "x"},
        {"a": (1, {2}), "b": 1e400, "c": Decimal("0.10"), 4: "key"},
    ]
    calls = Message("assistant", tuple(ToolCall(str(index), "f", value) for index, value in enumerate(likened)))
    for message in (Message("assistant", parts), tool, calls):
        assert from_json(json.loads(json.dumps(to_json(message)))) == message
    (odd,) = from_json(json.loads(json.dumps(to_json(Message("assistant", (ToolCall("1", "f", {"p": object}),)))))).tool_calls
    assert odd.arguments == {"p": str(object)}, "what no model can have said is kept in words"


@pytest.mark.parametrize("sessions", [None, False])
async def test_none_are_kept_where_the_host_says_so(tmp_path: Path, sessions: Any) -> None:
    home = {"BUNDLE_LOADER_HOME": str(tmp_path / "home")}
    async with host_of(tmp_path, played(answer="Ok."), sessions=sessions, environment=home) as host:
        result = await host.delegate("boss", "A.")
        with pytest.raises(SessionError, match="sessions are off"):
            await host.delegate("boss", "B.", resume="ab")
    assert result.session is None
    assert not (tmp_path / "home").exists()


def test_settings_can_turn_them_off(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    environment = {"BUNDLE_LOADER_HOME": str(home), "BUNDLE_LOADER_SITE": str(tmp_path / "site")}
    for written, kept in (("sessions: off", False), ("sessions: on", True)):
        (home / "settings.yaml").write_text(written)
        with SyncHost("foundation", simulate=True, environment=environment) as host:
            assert (host.delegate("git-ops", "Commit.").session is not None) is kept
            assert (host.sessions is not None) is kept


async def test_a_folder_that_cannot_be_written_is_no_reason_not_to_work(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("a file")
    async with host_of(tmp_path, played(answer="Ok.")) as host:
        result = await host.delegate("boss", "A.")
    assert (result.text, result.session) == ("Ok.", None)
    assert any(note.startswith("no transcript is kept, so this session cannot be resumed: ") for note in result.notes)


def test_old_ones_go_but_none_in_use(tmp_path: Path) -> None:
    now = time.time()
    kept = Sessions(tmp_path / "s", lambda: now)
    kept.new("a0").drop()
    kept.close()  # what it tidies up by itself is over
    for id, age in (("a1", 40), ("a2", 31), ("a3", 29)):
        journal = kept.new(id)
        journal.begin("x", [])
        if id != "a2":
            journal.end("answered", None)
        os.utime(tmp_path / "s" / f"{id}.jsonl", (now - age * 86_400,) * 2)
        if id == "a2":
            held = journal
    folder = ("--folder", str(tmp_path / "s"))
    told = run_command("sessions", "prune", *folder)
    assert (told.code, told.out) == (0, "a1\n1 sessions would go; --yes does it\n")
    assert run_command("sessions", "prune", "--yes", *folder).out == "a1\n1 sessions went\n"
    held.end("answered", None)
    kept.close()
    os.utime(tmp_path / "s" / "a2.jsonl", (now - 31 * 86_400,) * 2)
    again = Sessions(tmp_path / "s", lambda: now)
    again.new("a4").begin("y", [])
    deadline = time.monotonic() + 5
    while (tmp_path / "s" / "a2.jsonl").exists():
        assert time.monotonic() < deadline, "what is older than 30 days goes by itself"
        time.sleep(0.01)
    assert (tmp_path / "s" / "a3.jsonl").exists()


def test_the_command_lists_and_shows_them(tmp_path: Path) -> None:
    home = {"BUNDLE_LOADER_HOME": str(tmp_path / "home")}
    with SyncHost("foundation", simulate=True, environment=home) as host:
        result = host.delegate("git-ops", "Commit the files.")
    folder = ("--folder", str(tmp_path / "home" / "sessions-simulated"))
    assert result.session is not None
    (row,) = json.loads(run_command("sessions", "--json", *folder).out)["sessions"]
    assert (row["id"], row["agent"], row["turns"], row["state"]) == (result.session, "git-ops", 1, "answered")
    assert result.session[:12] in run_command("sessions", "list", *folder).out
    shown = run_command("sessions", "show", result.session[:6], *folder).out
    assert "--- user\nCommit the files.\n" in shown
    assert f"delegations {result.id}" in shown
    assert json.loads(run_command("sessions", "show", result.session, "--json", *folder).out)["messages"][0]["role"] == "user"


# --- processes that are killed


def started(folder: Path, environment: dict[str, str], *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.support.session_process", str(folder), json.dumps(environment), "boss", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(path: Path) -> None:
    end = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


def test_a_killed_process_loses_no_turn_and_no_tool_runs_twice(tmp_path: Path, world: World) -> None:
    """Three calls of one turn: one is done and one under way when the process dies; both had taken effect."""
    team(tmp_path, {"boss": {"provider_preferences": ["anthropic/claude-haiku-4-5-20251001"]}})
    world.vendor("anthropic").replies = [
        Said("First.", tool_calls=[("note", {"word": "one"})]),
        Said("Then.", tool_calls=[("note", {"word": "two"}), ("hang", {"word": "three"})]),
        Said("I shall look first."),
    ]
    with served_in_thread(world) as base:
        environment = world.environment(base) | {"BUNDLE_LOADER_HOME": str(tmp_path / "home")}
        process = started(tmp_path, environment, "Do all three.")
        until(tmp_path / "hanging")
        time.sleep(0.1)
        refused = started(tmp_path, environment, "Go on.", _only(tmp_path)[:4])
        _, why = refused.communicate(timeout=20)
        assert f"session '{_only(tmp_path)}' is in use" in why
        process.send_signal(signal.SIGKILL)
        process.communicate()
        listed = run_command("sessions", "--folder", str(tmp_path / "home" / "sessions")).out
        assert "interrupted" in listed
        resumed = started(tmp_path, environment, "Go on.", _only(tmp_path)[:4])
        out, _ = resumed.communicate(timeout=30)
    result = json.loads(out)
    assert result["text"] == "I shall look first."
    assert sorted((tmp_path / "effects").read_text().split()) == ["one", "three", "two"]
    last = world.chats()[-1]
    assert last.status == 200, "the vendor is strict about the shape of a history"
    history = json.dumps(last.body_json)
    assert "noted one" in history
    assert "noted two" in history
    assert history.count(UNKNOWN) == 1
    assert any("1 calls of tools were cut off" in note for note in result["notes"])


def _only(folder: Path) -> str:
    (path,) = (folder / "home" / "sessions").glob("*.jsonl")
    return path.stem
