"""MCP servers that bundles and settings declare: started when needed, asked once for each call, stopped with the host."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundle_loader import Bundle, DeclarationError, Host, LimitReached, SyncHost, load_bundle
from bundle_loader.declared.mcp_server import McpServer
from bundle_loader.delegation.mcp_servers import McpServers
from bundle_loader.delegation.tools import ToolBox
from bundle_loader.messages import Blob, ToolCall, ToolResult
from bundle_loader.routing.lint import lint
from bundle_loader.sources.settings import find_settings
from tests.support import mcp_odd_program, mcp_program
from tests.support.hosting import MODELS
from tests.support.vendors import Reply, World

Served = tuple[World, str]
PROGRAM = mcp_program.__file__


def declared(folder: Path, *args: str, **more: Any) -> dict[str, Any]:
    """The server as a bundle declares it; what it does is noted in `folder`."""
    return {"command": sys.executable, "args": [PROGRAM, *args], "env": {"EFFECTS": str(folder)}, **more}


def bundle_of(folder: Path, servers: dict[str, Any], *models: str, **agent: Any) -> Bundle:
    """A bundle whose agent `worker` has the tools of the servers."""
    header = {"description": "Works.", "provider_preferences": list(models), "tools": ["mcp:fx"], **agent}
    written = {"format": 1, "bundle": {"name": "b"}, "mcp_servers": servers, "agents": {"worker": header}}
    path = folder / "b.yaml"
    path.write_text(yaml.safe_dump(written, sort_keys=False), encoding="utf-8")
    return load_bundle(path, settings=[])


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split() if path.exists() else []


def is_running(pid: str) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False


async def until(condition: Callable[[], object], seconds: float = 10) -> None:
    """Wait for what a server does."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.01)


async def gone(pid: str) -> None:
    await until(lambda: not is_running(pid))


@contextmanager
def listening(folder: Path, port: int) -> Iterator[None]:
    """The same server over HTTP, in a process of its own."""
    variables = {**os.environ, "EFFECTS": str(folder)}
    process = subprocess.Popen([sys.executable, PROGRAM, "--http", str(port)], env=variables, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def boxed(servers: McpServers, *entries: str, denied: tuple[str, ...] = ()) -> tuple[ToolBox, tuple[str, ...]]:
    tools, notes = await servers.tools(entries, denied)
    return ToolBox(tools), notes


async def call(box: ToolBox, tool: str, /, **arguments: Any) -> ToolResult:
    (result,) = await box.run([ToolCall("1", tool, arguments)])
    return result


def only(folder: Path, *args: str, environment: dict[str, str] | None = None, **more: Any) -> McpServers:
    server = declared(folder, *args, **more)
    given = {"PATH": os.environ["PATH"], **(environment or {})}
    return McpServers({"fx": McpServer(name="fx", **{**server, "args": tuple(server["args"])})}, given)


# --- in a delegation


@pytest.mark.parametrize("vendor", MODELS)
async def test_an_agent_works_with_the_tools_of_a_server(vendors: Served, tmp_path: Path, vendor: str) -> None:
    world, base = vendors
    world.vendor(vendor).replies = [
        Reply(tool_calls=[("mcp__fx__add", {"a": 2, "b": 40}), ("mcp__fx__weather", {"city": "Oslo"})]),
        Reply(tool_calls=[("mcp__fx__fails", {"why": "no such place"}), ("mcp__fx__picture", {})]),
        Reply("Done."),
    ]
    bundle = bundle_of(tmp_path, {"fx": declared(tmp_path)}, f"{vendor}/{MODELS[vendor][1]}")
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        assert not lines(tmp_path / "starts"), "nothing is started before it is needed"
        result = await host.delegate("worker", "Go.")
        pid, *more = lines(tmp_path / "starts")
        assert not more
        assert is_running(pid)
    await gone(pid)
    assert result.text == "Done."
    assert {request.status for request in world.chats()} == {200}
    told = [part for message in result.messages if message.role == "tool" for part in message.parts]
    assert all(isinstance(part, ToolResult) for part in told)
    texts = [part.text for part in told if isinstance(part, ToolResult)]
    assert texts[0] == "42"
    assert json.loads(texts[1]) == {"city": "Oslo", "sky": "overcast-7731"}
    assert texts[2:] == ["Error executing tool fails: no such place", "One pixel."]
    assert [part.is_error for part in told if isinstance(part, ToolResult)] == [False, False, True, False]
    assert told[3].parts == (Blob(mcp_program.PIXEL, "image/png"),)  # type: ignore[union-attr]
    assert "Add two numbers." in json.dumps(world.chats()[0].body_json)


async def test_one_connection_serves_a_host_and_only_what_is_named_is_offered(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    servers = {"fx": declared(tmp_path), "unused": declared(tmp_path / "unused")}
    bundle = bundle_of(
        tmp_path,
        servers,
        "openai/gpt-4o",
        tools=["mcp:fx/add", "mcp:fx/pay*", "mcp:fx/nothing"],
        deny_tools=["mcp:fx/pay_and_die"],
    )
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        results = await asyncio.gather(*(host.delegate("worker", "Go.") for _ in range(5)))
    assert len(lines(tmp_path / "starts")) == 1
    assert not (tmp_path / "unused").exists()
    offered = {tuple(tool["function"]["name"] for tool in request.body_json["tools"]) for request in world.chats()}
    assert offered == {("mcp__fx__add", "mcp__fx__pay")}
    assert "the MCP server 'fx' has no tool 'nothing'" in results[0].notes


async def test_an_agent_without_a_list_starts_no_server(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    bundle = bundle_of(tmp_path, {"fx": declared(tmp_path)}, "openai/gpt-4o", tools=None)
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        await host.delegate("worker", "Go.")
    assert not lines(tmp_path / "starts")


async def test_what_cannot_be_started_is_said_and_the_work_goes_on(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    servers = {
        "none": {"command": "/no/such/program"},
        "ends": {"command": "sh", "args": ["-c", "echo the disk is full >&2; exit 3"]},
        "chats": {"command": "echo", "args": ["hello"]},
        "unset": {"command": "sh", "env": {"TOKEN": "${NOT_THERE}", "OTHER": "${NOR_THIS}"}},
        "far": {"url": f"http://127.0.0.1:{free_port()}/mcp"},
        "fx": declared(tmp_path),
    }
    named = ["mcp:none", "mcp:ends", "mcp:chats", "mcp:unset", "mcp:far", "mcp:fxx", "mcp:fx/add"]
    bundle = bundle_of(tmp_path, servers, "openai/gpt-4o", tools=named)
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        result = await host.delegate("worker", "Go.")
    said = "\n".join(result.notes)
    assert "the MCP server 'none' could not be used: there is no '/no/such/program'" in said
    assert "the MCP server 'ends' could not be used: 'sh' ended (its last words: the disk is full)" in said
    assert "the MCP server 'chats' could not be used: 'echo' ended" in said
    assert "'unset' could not be used: env.TOKEN needs the variable NOT_THERE, which is not set; env.OTHER needs" in said
    assert "the MCP server 'far' could not be used: http://127.0.0.1:" in said
    assert "no MCP server 'fxx' is declared (tools: mcp:fxx); did you mean 'fx'?" in said
    assert [tool["function"]["name"] for tool in world.chats()[0].body_json["tools"]] == ["mcp__fx__add"]


async def test_a_server_that_says_nothing_is_not_waited_for_without_end(tmp_path: Path) -> None:
    servers = only(tmp_path, "--mute")
    began = time.monotonic()
    _, notes = await servers.tools(["mcp:fx"], within=1.5)
    await servers.aclose()
    assert notes == ("the MCP server 'fx' could not be used: it gave no answer within 1.5 s",)
    assert time.monotonic() - began < 9
    await gone(lines(tmp_path / "starts")[0])


# --- life and death


async def test_a_server_that_dies_is_started_once_more_and_no_call_is_repeated(tmp_path: Path) -> None:
    servers = only(tmp_path)
    box, _ = await boxed(servers, "mcp:fx")
    lost = await call(box, "mcp__fx__pay_and_die", what="tea")
    assert lost.is_error
    assert lost.text == "the MCP server 'fx' was lost while 'pay_and_die' ran; whether it was done is not known"
    assert (await call(box, "mcp__fx__add", a=1, b=2)).text == "3", "it is started again for the next call"
    await call(box, "mcp__fx__pay_and_die", what="milk")
    await call(box, "mcp__fx__pay_and_die", what="bread")
    down = await call(box, "mcp__fx__pay", what="cake")
    assert down.is_error
    assert "died again after it was started a second time; nothing was called" in down.text
    assert lines(tmp_path / "payments") == ["tea", "milk", "bread"]
    assert len(lines(tmp_path / "starts")) == 3
    _, notes = await boxed(servers, "mcp:fx")
    assert "died again" in notes[0]
    await servers.aclose()


async def test_a_server_killed_from_outside_in_mid_call_has_done_it_once(tmp_path: Path) -> None:
    servers = only(tmp_path)
    box, _ = await boxed(servers, "mcp:fx")
    under_way = asyncio.create_task(call(box, "mcp__fx__slow", seconds=30))
    await until(lambda: lines(tmp_path / "slow"))
    os.kill(int(lines(tmp_path / "starts")[0]), signal.SIGKILL)
    result = await asyncio.wait_for(under_way, 5)
    assert result.is_error
    assert "was lost while 'slow' ran" in result.text
    assert (await call(box, "mcp__fx__add", a=1, b=2)).text == "3"
    assert lines(tmp_path / "slow") == ["begun"]
    await servers.aclose()


async def test_one_that_died_while_nobody_asked_is_found_dead_and_started_before_the_call(tmp_path: Path) -> None:
    servers = only(tmp_path)
    box, _ = await boxed(servers, "mcp:fx")
    pid = lines(tmp_path / "starts")[0]
    os.kill(int(pid), signal.SIGKILL)
    await gone(pid)
    await asyncio.sleep(0.1)
    paid = await call(box, "mcp__fx__pay", what="tea")
    assert (paid.text, paid.is_error) == ("paid for tea", False)
    await servers.aclose()


async def test_who_is_cancelled_cancels_the_call(tmp_path: Path) -> None:
    servers = only(tmp_path)
    box, _ = await boxed(servers, "mcp:fx")
    task = asyncio.create_task(call(box, "mcp__fx__slow", seconds=30))
    await until(lambda: lines(tmp_path / "slow"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: "cancelled" in lines(tmp_path / "slow"))
    assert (await call(box, "mcp__fx__add", a=1, b=2)).text == "3", "the connection is as good as before"
    await servers.aclose()


async def test_a_call_has_its_servers_time(tmp_path: Path) -> None:
    servers = only(tmp_path, timeout=0.3)
    box, _ = await boxed(servers, "mcp:fx")
    late = await call(box, "mcp__fx__slow", seconds=30)
    assert late.text == "'mcp__fx__slow' was not done within 0.3 s; it was stopped, and may have had effects"
    await servers.aclose()


def test_a_synchronous_host_stops_its_servers_too(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, {"fx": declared(tmp_path)}, "openai/gpt-4o")
    with SyncHost(bundle, ledger=tmp_path / "l.db", simulate=True) as host:
        host.delegate("worker", "Go.")
        (pid,) = lines(tmp_path / "starts")
        assert is_running(pid)
    end = time.monotonic() + 5
    while is_running(pid) and time.monotonic() < end:
        time.sleep(0.01)
    assert not is_running(pid)


async def test_the_limits_hold_with_tools_of_servers(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    world.vendor("openai").answer = lambda _: Reply(tool_calls=[("mcp__fx__pay", {"what": "tea"})])
    bundle = bundle_of(tmp_path, {"fx": declared(tmp_path)}, "openai/gpt-4o")
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        with pytest.raises(LimitReached, match="all of its 2 turns"):
            await host.delegate("worker", "Go.", max_turns=2)
        assert len(lines(tmp_path / "payments")) == 2
        with pytest.raises(LimitReached) as caught:
            await host.delegate("worker", "Go.", max_cost="0.0000001")
        assert caught.value.limit == "max_cost"
    assert len(lines(tmp_path / "payments")) == 2


async def test_a_server_that_speaks_badly_is_used_as_far_as_it_can_be() -> None:
    server = McpServer(name="odd", command=sys.executable, args=(mcp_odd_program.__file__,), timeout=5.0)
    servers = McpServers({"odd": server}, {"PATH": os.environ["PATH"]})
    box, notes = await boxed(servers, "mcp:odd")
    assert [spec.name for spec in box.specs] == ["mcp__odd__echo", "mcp__odd__wrong"]
    assert notes == ("the MCP server 'odd' has several tools 'echo'; the first is used",)
    assert (await call(box, "mcp__odd__echo")).text == "echo"
    wrong = await call(box, "mcp__odd__wrong")
    assert wrong.is_error
    said = "the MCP server 'odd' answered the call of 'wrong' with what is no result (content: Input should be a valid list); "
    assert wrong.text == f"{said}it may have done it"
    await servers.aclose()


# --- over HTTP


async def test_a_server_over_http(tmp_path: Path) -> None:
    port = free_port()
    servers = McpServers({"fx": McpServer(name="fx", url=f"http://127.0.0.1:{port}/mcp", headers={"X-A": "${A}"})}, {"A": "b"})
    with listening(tmp_path, port):
        box, notes = await boxed(servers, "mcp:fx/pay", "mcp:fx/slow")
        assert not notes
        assert (await call(box, "mcp__fx__pay", what="tea")).text == "paid for tea"
        under_way = asyncio.create_task(call(box, "mcp__fx__slow", seconds=30))
        await until(lambda: lines(tmp_path / "slow"))
    lost = await asyncio.wait_for(under_way, 10)
    assert lost.is_error
    assert "was lost while 'slow' ran" in lost.text
    with listening(tmp_path, port):
        assert (await call(box, "mcp__fx__pay", what="milk")).text == "paid for milk", "it is reached again"
    assert lines(tmp_path / "payments") == ["tea", "milk"]
    assert lines(tmp_path / "slow") == ["begun"]
    await servers.aclose()


async def test_local_only_asks_no_server_elsewhere(tmp_path: Path) -> None:
    servers = McpServers({"far": McpServer(name="far", url="https://user.example.org/mcp?key=1")}, {})
    tools, notes = await servers.tools(["mcp:far"], local_only=True)
    assert not tools
    assert notes == ("local_only: the MCP server 'far' at https://user.example.org/mcp is not local",)


# --- what a program is given


async def test_a_program_gets_a_few_variables_and_what_is_declared_for_it(tmp_path: Path) -> None:
    environment = {"OPENAI_API_KEY": "not-for-you", "MY_TOKEN": "declared-7731", "HOME": str(tmp_path), "SECRET": "x"}
    servers = only(
        tmp_path, environment=environment, env={"EFFECTS": str(tmp_path), "TOKEN": "${MY_TOKEN}", "MODE": "${MODE:-quiet}"}
    )
    box, _ = await boxed(servers, "mcp:fx")
    names = set((await call(box, "mcp__fx__variables")).text.split())
    assert {"HOME", "PATH", "TOKEN", "MODE", "EFFECTS"} <= names
    assert not names & {"OPENAI_API_KEY", "MY_TOKEN", "SECRET"}
    assert (await call(box, "mcp__fx__variable", name="TOKEN")).text == "declared-7731"
    assert (await call(box, "mcp__fx__variable", name="MODE")).text == "quiet"
    await servers.aclose()


async def test_what_a_program_was_given_in_trust_is_in_no_note(tmp_path: Path) -> None:
    server = McpServer(name="fx", command="sh", args=("-c", "echo $TOKEN is wrong >&2"), env={"TOKEN": "${MY_TOKEN}"})
    servers = McpServers({"fx": server}, {"PATH": os.environ["PATH"], "MY_TOKEN": "not-to-be-told"})
    _, notes = await servers.tools(["mcp:fx"])
    assert notes == ("the MCP server 'fx' could not be used: 'sh' ended (its last words: [key] is wrong)",)


# --- declared


@pytest.mark.parametrize(
    ("server", "fault"),
    [
        ("{}", "mcp_servers.fx: says neither a command to start nor a url; write one of them"),
        ("{command: c, url: 'http://x/'}", "mcp_servers.fx.url: stands beside a command; keep one of them"),
        ("{url: 'http://x/', env: {A: b}}", "mcp_servers.fx.env: is for a server that a command starts; remove it"),
        ("{command: c, headers: {A: b}}", "mcp_servers.fx.headers: are for a server with a url; remove them"),
        ("{url: 'ftp://x'}", "mcp_servers.fx.url: write an address that begins with http:// or https://"),
        ("{url: 'http://me:secret@x/'}", "mcp_servers.fx.url: an address holds no user name or password; write a..."),
        ("{comand: c}", "mcp_servers.fx.comand: unknown key; did you mean 'command'?"),
        ("{command: ' '}", "mcp_servers.fx.command: is empty; write a program or a folder, or leave the key out"),
        ("{command: c, env: {'A B': c}}", "mcp_servers.fx.env: 'A B' is no name of a variable; use letters, digi..."),
        ("{command: c, env: {T: ghp_0123456789abcdefghij}}", "mcp_servers.fx.env: 'T' looks like a key; write '${NA..."),
        ("{command: c, timeout: soon}", "mcp_servers.fx.timeout: write a length of time such as 120s, 2m or 500ms"),
    ],
)
def test_a_wrong_server_is_a_fault_at_its_place(server: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(f"bundle: {{name: b}}\nmcp_servers:\n  fx: {server}\n", encoding="utf-8")
    with pytest.raises(DeclarationError) as caught:
        load_bundle(tmp_path / "b.yaml", settings=[], strict=True)
    (one,) = caught.value.faults
    found = f"{one.key}: {one.message}"
    assert one.line == 3
    assert found.startswith(fault.removesuffix("..."))
    assert "secret" not in found
    assert "ghp_" not in found


def test_servers_are_laid_key_by_key_and_paths_begin_at_their_file(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(
        "bundle: {name: b}\nmcp_servers:\n  fx: {command: ./run, args: [1], cwd: there, env: {A: x, B: y}}\n"
        "  gx: {command: python}\n",
        encoding="utf-8",
    )
    user = tmp_path / "user"
    user.mkdir()
    (user / "settings.yaml").write_text("mcp_servers: {fx: {env: {A: z, B: null}, timeout: 2m}, gx: null}\n", encoding="utf-8")
    settings = find_settings({"BUNDLE_LOADER_HOME": str(user)}, here=tmp_path)
    bundle = load_bundle(tmp_path / "b.yaml", settings=settings)
    assert list(bundle.mcp_servers) == ["fx"]
    fx = bundle.mcp_servers["fx"]
    assert (fx.command, fx.cwd, fx.args) == (str(tmp_path / "run"), str(tmp_path / "there"), ("1",))
    assert (fx.env, fx.timeout) == ({"A": "z"}, 120.0)


def test_neither_an_included_bundle_nor_a_strangers_project_may_have_a_program_started(tmp_path: Path) -> None:
    (tmp_path / "inner.yaml").write_text("bundle: {name: inner}\nmcp_servers: {fx: {command: evil}}\n", encoding="utf-8")
    (tmp_path / "b.yaml").write_text("bundle: {name: b}\nincludes: [./inner.yaml]\n", encoding="utf-8")
    bundle = load_bundle(tmp_path / "b.yaml", settings=[])
    assert bundle.mcp_servers == {}
    assert [(fault.rule, fault.key) for fault in bundle.problems] == [("not-from-here", "mcp_servers")]

    project, user = tmp_path / "project", tmp_path / "user"
    for folder in (project / ".bundle-loader", user):
        folder.mkdir(parents=True)
    (project / ".bundle-loader" / "settings.yaml").write_text("mcp_servers: {fx: {command: evil}}\n", encoding="utf-8")
    (project / "b.yaml").write_text("bundle: {name: b}\n", encoding="utf-8")
    environment = {"BUNDLE_LOADER_HOME": str(user)}
    stranger = load_bundle(project / "b.yaml", settings=find_settings(environment, here=project))
    assert stranger.mcp_servers == {}
    assert any("may not say which MCP servers are started" in fault.message for fault in stranger.problems)
    (user / "settings.yaml").write_text(f"trust: {{folders: ['{project}']}}\n", encoding="utf-8")
    trusted = load_bundle(project / "b.yaml", settings=find_settings(environment, here=project))
    assert list(trusted.mcp_servers) == ["fx"]


def test_check_names_a_server_that_nobody_declares(tmp_path: Path) -> None:
    written = (
        "bundle: {name: b}\nmcp_servers: {github: {command: gh}}\nagents:\n  worker:\n    description: d\n"
        "    tools: [read, 'mcp:gihub/issue', 'mcp:github', 'mcp:git*']\n    deny_tools: ['mcp:other']\n"
    )
    (tmp_path / "b.yaml").write_text(written, encoding="utf-8")
    found = [fault for fault in lint(load_bundle(tmp_path / "b.yaml", settings=[]), {}, {}) if fault.rule == "unknown-server"]
    assert [str(fault).replace(f"{tmp_path}/", "") for fault in found] == [
        "b.yaml:6:19: tools: no MCP server 'gihub' is declared; did you mean 'github'?",
        "b.yaml:7:18: deny_tools: no MCP server 'other' is declared",
    ]
