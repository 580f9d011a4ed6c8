"""A stand-in for the Copilot CLI: a real process that speaks its protocol over stdio and does what a plan says.

Run as a program it reads `plan.json` of the folder named by STAND_IN before each request, and appends what it is asked to
`log.jsonl`. In a test, `StandIn` writes the plan and reads the log.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

FOLDER = "STAND_IN"
GPT: dict[str, Any] = {
    "id": "gpt-5-mini",
    "name": "GPT-5 mini",
    "vendor": "OpenAI",
    "capabilities": {
        "type": "chat",
        "limits": {"max_context_window_tokens": 264000, "max_prompt_tokens": 128000, "max_output_tokens": 64000},
        "supports": {"vision": True, "reasoningEffort": True, "tool_calls": True},
    },
    "policy": {"state": "enabled", "terms": "..."},
    "billing": {"multiplier": 0.33},
    "supportedReasoningEfforts": ["low", "medium"],
}
OPUS: dict[str, Any] = {
    "id": "claude-opus-4.7",
    "name": "Claude Opus 4.7",
    "capabilities": {"limits": {"max_prompt_tokens": 200000}, "supports": {"vision": False, "reasoningEffort": False}},
    "policy": {"state": "disabled", "terms": "..."},
    "billing": {"multiplier": 10},
}
USAGE: dict[str, Any] = {"inputTokens": 11, "outputTokens": 3, "finishReason": "stop", "cost": 0.33}


class StandIn:
    """What a test says to the stand-in, and what it heard."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "copilot"
        self.path.write_text(f'#!/bin/sh\nexec {sys.executable} -I {Path(__file__)} "$@"\n', encoding="utf-8")
        self.path.chmod(self.path.stat().st_mode | stat.S_IXUSR)
        self.plan()

    def plan(self, *steps: list[Any], **more: Any) -> None:
        """What every prompt is answered with, and more of the plan: `login`, `models`, `hang`, `die`, `refuse`, ..."""
        said = {"answer": steps or [["say", "Hello"], ["say", " there"], ["usage", USAGE]], **more}
        fresh = self.folder / "plan.new"
        fresh.write_text(json.dumps(said), encoding="utf-8")
        fresh.replace(self.folder / "plan.json")

    def environment(self, **more: str) -> dict[str, str]:
        """An environment in which this is the CLI, with a token."""
        return {
            "PATH": os.environ["PATH"],
            "COPILOT_CLI_PATH": str(self.path),
            FOLDER: str(self.folder),
            "GH_TOKEN": "ghp_aVerySecretToken42",
            **more,
        }

    def heard(self, method: str | None = None) -> list[dict[str, Any]]:
        """The parameters of every request of that method, in order; of every start for `start`."""
        try:
            lines = (self.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        log = [json.loads(line) for line in lines]
        return [line["params"] for line in log if method is None or line["method"] == method]

    def alive(self) -> list[int]:
        """The ids of its processes that still run."""
        return [start["pid"] for start in self.heard("start") if _runs(start["pid"])]


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Cli:
    """The program itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.first = not (folder / "log.jsonl").exists()
        self.events = 0
        self.sessions: dict[str, Generator[None, None, None]] = {}
        self.models: dict[str, str] = {}
        self.waiting: dict[str, set[str]] = {}

    def note(self, method: str, params: Any) -> None:
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps({"method": method, "params": params}) + "\n")

    def plan(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "plan.json").read_text(encoding="utf-8"))
        return found

    def send(self, **message: Any) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        sys.stdout.buffer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        sys.stdout.buffer.flush()

    def event(self, session: str, kind: str, **data: Any) -> None:
        self.events += 1
        event = {
            "id": f"00000000-0000-4000-8000-{self.events:012}",
            "timestamp": "2026-01-01T00:00:00Z",
            "parentId": None,
            "type": kind,
            "data": data,
        }
        if "agentId" in data:
            event["agentId"] = data.pop("agentId")
        self.send(method="session.event", params={"sessionId": session, "event": event})

    def serve(self) -> None:
        while (request := self.read()) is not None:
            method, id, params = request.get("method"), request.get("id"), request.get("params") or {}
            if method is None or id is None:
                continue
            self.note(method, params)
            plan = self.plan()
            if method in plan.get("hang", ()):
                continue
            if method in plan.get("die", ()) or (self.first and method in plan.get("die_first", ())):
                os._exit(7)
            if method in plan.get("refuse", {}):
                self.send(id=id, error={"code": -32603, "message": plan["refuse"][method]})
                continue
            if not plan.get("login", True) and method in ("models.list", "session.create"):
                said = f"Request {method} failed with message: Not authenticated. Please authenticate first."
                self.send(id=id, error={"code": -32603, "message": said})
                continue
            self.send(id=id, result=self.result(method, params, plan))
            self.after(method, params, plan)

    def read(self) -> dict[str, Any] | None:
        length = 0
        while (line := sys.stdin.buffer.readline()) not in (b"", b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        if not length:
            return None
        found: dict[str, Any] = json.loads(sys.stdin.buffer.read(length))
        return found

    def result(self, method: str, params: dict[str, Any], plan: dict[str, Any]) -> Any:
        if method in ("connect", "ping"):
            return {"ok": True, "message": "", "timestamp": 0, "protocolVersion": 3, "version": "0.0.0-stand-in"}
        if method == "models.list":
            return plan["list"] if "list" in plan else {"models": plan.get("models", [GPT, OPUS])}
        if method == "session.create":
            self.models[params["sessionId"]] = params["model"]
            return {"sessionId": params["sessionId"], "workspacePath": None}
        if method == "session.send":
            return {"messageId": f"m{len(self.sessions)}"}
        if method == "session.tools.handlePendingToolCall":
            return {"success": not plan.get("forget", False)}
        return {"success": True}

    def after(self, method: str, params: dict[str, Any], plan: dict[str, Any]) -> None:
        session = str(params.get("sessionId"))
        if method == "session.send":
            steps = plan.get("answers", {}).get(self.models[session], plan["answer"])
            self.sessions[session] = self.answer(session, steps)
            next(self.sessions[session], None)
        elif method == "session.abort":
            self.sessions.pop(session, None)
            self.event(session, "session.idle", aborted=True)
        elif method == "session.tools.handlePendingToolCall":
            self.waiting[session].discard(params["requestId"])
            if not self.waiting[session]:
                next(self.sessions[session], None)

    def answer(self, session: str, steps: list[list[Any]]) -> Generator[None, None, None]:
        """Carry a plan's steps out. It stops where results of tools are awaited."""
        said, number = "", 1
        model = self.models[session]
        for kind, given in ((step[0], step[1] if len(step) > 1 else None) for step in steps):
            message = f"{session}-{number}"
            if kind == "say":
                said += given
                self.event(session, "assistant.message_delta", deltaContent=given, messageId=message)
            elif kind == "whole":
                self.event(session, "assistant.message", content=given, messageId=message, model=model)
            elif kind == "usage":
                self.event(session, "assistant.usage", **{"model": model, **given})
            elif kind == "tools":
                self.tools(session, message, said, given)
                yield
                said, number = "", number + 1
            elif kind == "error":
                self.event(session, "session.error", **given)
            elif kind == "failure":
                self.event(session, "model.call_failure", **{"source": "top_level", **given})
            elif kind == "event":
                self.event(session, given["type"], **given["data"])
            elif kind == "garbage":
                sys.stdout.buffer.write(b"<html>this is no protocol</html>\n" * 20)
                sys.stdout.buffer.flush()
            elif kind == "wait":
                time.sleep(given)
            elif kind == "die":
                os._exit(9)
            elif kind == "hang":
                time.sleep(3600)
            elif kind == "silence":
                return
        if said:
            self.event(session, "assistant.message", content=said, messageId=f"{session}-{number}", model=model)
        self.event(session, "session.idle")

    def tools(self, session: str, message: str, said: str, calls: list[dict[str, Any]]) -> None:
        asked = [{"toolCallId": call["id"], "name": call["name"], "arguments": call["arguments"]} for call in calls]
        self.event(session, "assistant.message", content=said, messageId=message, toolRequests=asked)
        ours = [call for call in calls if not call.get("unknown")]
        self.waiting[session] = {f"r-{call['id']}" for call in ours}
        for call in calls:
            if call.get("unknown"):
                self.event(session, "tool.execution_complete", success=False, toolCallId=call["id"])
        for call in ours:
            self.event(
                session,
                "external_tool.requested",
                requestId=f"r-{call['id']}",
                sessionId=session,
                toolCallId=call["id"],
                toolName=call["name"],
                arguments=call["arguments"],
            )


def main() -> None:
    cli = Cli(Path(os.environ[FOLDER]))
    plan = cli.plan()
    seen = {"pid": os.getpid(), "arguments": sys.argv[1:], "environment": dict(os.environ), "folder": os.getcwd()}
    cli.note("start", seen)
    if "stderr" in plan:
        print(plan["stderr"], file=sys.stderr, flush=True)
    if "exit" in plan:
        sys.exit(plan["exit"])
    cli.serve()


if __name__ == "__main__":
    main()
