"""A spawner of one's own: the work is done by a command line coding agent in a process, within everything the caller set.

`python examples/command_line_agent.py "How many words are in README.md?"`

A `Spawner` is any object with `spawn(context, meter, tools)`. This one starts a program for every attempt and speaks lines of
JSON with it:

- to it, once: `{"context": ..., "allowed": {"seconds": ..., "output_tokens": ..., "cost": ...}}`. The context is the whole
  `DelegationContext`: task, messages, the candidate's model and config as the caller overrode them, limits, tools, local_only;
- from it: `{"text": ...}` as it goes, `{"call": {"id", "name", "arguments"}}` for a tool of the host, `{"turn": {"input_tokens",
  "output_tokens", "cost"}}` after each request of its own, and last `{"done": {"text", "model"}}` or `{"error": {"status",
  "message", "retry_after"}}`;
- to it, for each call: `{"result": {"id", "text", "is_error"}}`.

The program makes its own requests, so the run is reserved as a whole, once, and settled with what the program says that it used.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, suppress
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from bundle_loader import CallEstimate, Candidate, DelegationContext, Host, ModelInfo
from bundle_loader.delegation.context import output_bound
from bundle_loader.delegation.conversation import prompt_bound
from bundle_loader.delegation.tools import ToolBox
from bundle_loader.errors import DeadlineExceeded, LimitReached, NotAdmitted, ProviderFailure
from bundle_loader.events import AnswerEvent, Event, OutcomeEvent, TextEvent, ToolEvent, TurnEvent
from bundle_loader.ledger.meter import Call, Meter
from bundle_loader.messages import Message, StreamPart, ToolCall, Turn, Usage, assistant
from bundle_loader.providers import faults
from bundle_loader.providers.base import ChatRequest

LONGEST_LINE = 4 * 1024 * 1024
HERE = Path(__file__).parent


class ProgramModels:
    """What the program can run as, for routes. It is never asked through this: the spawner does the work."""

    def __init__(self, id: str, models: Sequence[str], *, local: bool = False) -> None:
        self.id = id
        self.local = local
        self._models = tuple(map(ModelInfo, models))

    async def list_models(self) -> Sequence[ModelInfo]:
        return self._models

    async def stream(self, request: ChatRequest) -> AsyncIterator[StreamPart]:
        raise faults.failure(self.id, request.model, 400, "this program is run by its spawner")
        yield  # an async generator, as every provider's stream is

    async def aclose(self) -> None:
        pass


class CommandLineAgent:
    """Runs `argv` in a session of its own, in `folder`, with nothing of this process's environment but `environment`.

    `local` says that the program sends nothing off this machine: only such a one serves under `local_only`. `turns` is how
    many of its own requests are reserved for, where the caller allows more. `grace` is how many seconds it has to tidy up
    once it is told to end, before it and all that it started is killed.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        folder: str | os.PathLike[str] = ".",
        environment: Mapping[str, str] | None = None,
        local: bool = False,
        turns: int = 10,
        grace: float = 2.0,
    ) -> None:
        self._argv = tuple(argv)
        self._folder = folder
        self._environment = dict(environment) if environment is not None else {"PATH": os.environ.get("PATH", "")}
        self._local = local
        self._turns = turns
        self._grace = grace

    async def spawn(self, context: DelegationContext, meter: Meter, tools: ToolBox) -> AsyncGenerator[Event, None]:
        """One run of the program as one turn. Raises ProviderFailure, which costs a hop, LimitReached and DeadlineExceeded."""
        candidate = context.candidate
        assert candidate is not None
        if context.local_only and not self._local:
            raise NotAdmitted(candidate.provider, f"local_only: {self._argv[0]} may open connections", model=candidate.model)
        end = asyncio.get_running_loop().time() + context.limits.timeout
        async with meter.call(self._estimate(candidate, context)) as call:
            run = _Run(context, candidate, call, end)
            try:
                process = await asyncio.create_subprocess_exec(
                    *self._argv,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                    cwd=self._folder,
                    env=self._environment,
                    start_new_session=True,
                    limit=LONGEST_LINE,
                )
            except OSError as error:
                raise faults.unreachable(candidate.provider, candidate.model, f"{self._argv[0]}: {error.strerror}") from None
            try:
                async with aclosing(run.events(process, tools)) as events:
                    async for event in events:
                        yield event
            finally:
                await _ended(process, self._grace)
            call.settle(run.used, run.answered, run.cost)
        turn = Turn(assistant(run.text), run.used, run.answered, "stop")
        yield TurnEvent(turn, (turn.message,))
        yield OutcomeEvent(run.text, run.answered, "stop")

    def _estimate(self, candidate: Candidate, context: DelegationContext) -> CallEstimate:
        """The most that the whole run may use: `max_cost` where the caller or the agent gave one, else so many whole turns."""
        turns = min(self._turns, context.limits.max_turns)
        prompt = prompt_bound(context.instruction, context.messages, context.tools, context.config)
        answers = output_bound(candidate) * turns
        most = min((cap.limit for cap in context.caps), default=None)
        return CallEstimate(candidate, prompt * turns + answers * turns, answers, most, prompt, context.limits.timeout)


class _Run:
    """One program at work."""

    def __init__(self, context: DelegationContext, candidate: Candidate, call: Call, end: float) -> None:
        self._context = context
        self._candidate = candidate
        self._call = call
        self._end = end
        self._most = min((cap.limit for cap in context.caps), default=None)
        self._turns = 0
        self.used: Usage | None = None
        self.cost: Decimal | None = None
        self.text = ""
        self.answered = candidate.model

    async def events(self, process: asyncio.subprocess.Process, tools: ToolBox) -> AsyncGenerator[Event, None]:
        """What the program does until it is done."""
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        complaints = asyncio.create_task(_last_words(process.stderr))
        try:
            await self._tell(process.stdin, {"context": json.loads(self._context.to_json()), "allowed": self._allowed()})
            patience = max(self._context.limits.first, self._context.limits.load)
            while True:
                line = await self._line(process, patience, complaints)
                patience = self._context.limits.idle
                if "text" in line:
                    self._call.streamed(len(str(line["text"]).encode()))
                    yield TextEvent(str(line["text"]))
                elif "call" in line:
                    wanted = ToolCall(str(line["call"]["id"]), str(line["call"]["name"]), line["call"].get("arguments") or {})
                    yield AnswerEvent(Message("assistant", (wanted,)))
                    yield await self._tool(process.stdin, tools, wanted)
                elif "turn" in line:
                    self._count(line["turn"])
                elif "error" in line:
                    said = line["error"]
                    after = said.get("retry_after")
                    raise faults.failure(*self._who, said.get("status"), str(said.get("message", "")), retry_after=after)
                elif "done" in line:
                    self.text = str(line["done"]["text"])
                    self.answered = str(line["done"].get("model") or self._candidate.model)
                    return
                else:
                    raise faults.broken(*self._who, f"the program said what nobody asked for: {', '.join(line)[:200]}")
        except (KeyError, TypeError, AttributeError) as error:
            raise faults.broken(*self._who, f"the program's line has another shape ({type(error).__name__}: {error})") from None
        finally:
            complaints.cancel()

    @property
    def _who(self) -> tuple[str, str]:
        return self._candidate.provider, self._candidate.model

    def _allowed(self) -> dict[str, Any]:
        left = self._end - asyncio.get_running_loop().time()
        most = None if self._most is None else str(self._most)
        return {"seconds": left, "output_tokens": self._call.output_bound, "cost": most}

    async def _line(self, process: asyncio.subprocess.Process, patience: float, complaints: asyncio.Task[str]) -> dict[str, Any]:
        """The program's next line. Raises ProviderFailure where it does not come in time, or is none."""
        assert process.stdout is not None
        now = asyncio.get_running_loop().time()
        until = min(now + patience, self._end)
        try:
            async with asyncio.timeout_at(until):
                raw = await process.stdout.readline()
                if not raw:
                    status, words = await process.wait(), await complaints
                    raise faults.broken(*self._who, f"the program ended with status {status} before it was done: {words}")
        except TimeoutError:
            raise faults.too_slow(*self._who, round(until - now, 3)) from None
        except ValueError:
            raise faults.broken(*self._who, f"the program wrote a line of more than {LONGEST_LINE} bytes") from None
        try:
            line = json.loads(raw)
        except ValueError:
            line = None
        if not isinstance(line, dict):
            raise faults.broken(*self._who, f"the program wrote a line that is no JSON object: {raw[:200]!r}")
        return line

    async def _tool(self, stdin: asyncio.StreamWriter, tools: ToolBox, wanted: ToolCall) -> ToolEvent:
        """A tool of the host, run here; the deadline holds for it too."""
        try:
            async with asyncio.timeout_at(self._end):
                [result] = await tools.run([wanted])
        except TimeoutError:
            raise DeadlineExceeded(f"agent '{self._context.agent}': the deadline passed while '{wanted.name}' ran") from None
        await self._tell(stdin, {"result": {"id": result.call_id, "text": result.text, "is_error": result.is_error}})
        return ToolEvent(wanted, result)

    async def _tell(self, stdin: asyncio.StreamWriter, line: Mapping[str, Any]) -> None:
        """One line to the program; one that reads no more is found out by what it says next."""
        stdin.write(json.dumps(line).encode() + b"\n")
        with suppress(ConnectionError):
            try:
                async with asyncio.timeout_at(self._end):
                    await stdin.drain()
            except TimeoutError:
                raise faults.too_slow(*self._who) from None

    def _count(self, turn: Mapping[str, Any]) -> None:
        """A request of the program's own is over. Raises LimitReached once it goes beyond what it was allowed."""
        self._turns += 1
        said = Usage(int(turn.get("input_tokens", 0)), int(turn.get("output_tokens", 0)))
        self.used = said if self.used is None else self.used + said
        if turn.get("cost") is not None:
            try:
                self.cost = (self.cost or Decimal(0)) + Decimal(str(turn["cost"]))
            except InvalidOperation:
                raise faults.broken(*self._who, f"the program's cost is no amount: {str(turn['cost'])[:40]!r}") from None
        self._call.used(self.used, self.cost)
        agent, limits = self._context.agent, self._context.limits
        if self._turns > limits.max_turns:
            raise LimitReached(f"agent '{agent}': the program used more than {limits.max_turns} turns (limits.max_turns)")
        if self._most is not None and self.cost is not None and self.cost > self._most:
            raise LimitReached(
                f"agent '{agent}': the program spent ${self.cost}, more than max_cost ${self._most}", limit="max_cost"
            )


async def _last_words(stderr: asyncio.StreamReader) -> str:
    """The end of what the program complained of, read all along so that it never waits for a reader."""
    kept = b""
    while piece := await stderr.read(65_536):
        kept = (kept + piece)[-2000:]
    return kept.decode(errors="replace").strip() or "(it said nothing)"


async def _ended(process: asyncio.subprocess.Process, grace: float) -> None:
    """The program and all that it started are gone when this returns: asked first, then killed."""
    try:
        if process.returncode is None:
            _signal(process.pid, signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await process.wait()
    finally:
        # also when it is gone already: what it started may not be
        _signal(process.pid, signal.SIGKILL)
        await process.wait()
        if process.stdin is not None:
            process.stdin.close()


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def read_file(path: str) -> str:
    """Read a text file of the working folder."""
    whole = (Path.cwd() / path).resolve()
    if not whole.is_relative_to(Path.cwd().resolve()):
        raise ValueError(f"{path} is outside of the working folder")
    return whole.read_text(encoding="utf-8")


async def main(task: str) -> None:
    spawner = CommandLineAgent([sys.executable, str(HERE / "stand_in_agent.py")], local=True)
    providers = {"coder": ProgramModels("coder", ["coder-1", "coder-2"], local=True)}
    async with Host(HERE / "coder.md", providers=providers, spawner=spawner) as host:
        async for event in host.stream("coder", task, tools=[read_file], config={"reasoning_effort": "high"}):
            if isinstance(event, TextEvent):
                print(event.text, end="", flush=True)


if __name__ == "__main__":
    try:
        asyncio.run(main(" ".join(sys.argv[1:]) or "How many words are in README.md?"))
    except ProviderFailure as error:
        sys.exit(str(error))
