"""The tool by which an agent, or a host's own loop, has other agents do work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from math import inf
from typing import Any, Final, TypeAlias

from bundle_loader.declared.agent import ContextPolicy
from bundle_loader.declared.bundle import SELF, Bundle
from bundle_loader.delegation.delegate_arguments import Asked, read_arguments, schema_of
from bundle_loader.delegation.inherited import DELEGATE, inherited
from bundle_loader.delegation.lineage import Caller, Lineage
from bundle_loader.delegation.result import Child, ChildEvent, DelegationResult, DoneEvent
from bundle_loader.delegation.run import Run
from bundle_loader.delegation.tools import Tool, ToolFailed
from bundle_loader.delegation.work import Work, make_work
from bundle_loader.errors import BundleLoaderError, RequestError
from bundle_loader.messages import ToolSpec
from bundle_loader.routing.request import DEADLINE

MAX_DEPTH: Final = 3
"""Levels of delegations below the first one."""
MAX_CHILDREN: Final = 16
"""Delegations that one delegation may make, in all."""
ENOUGH: Final = 12
"""Characters of a session's id that a model is told: no two begin with the same."""
_MOST_OF_A_LINE: Final = 300
"""Characters of an agent's description that a model is told."""


Prepare: TypeAlias = Callable[..., Awaitable[Run]]
"""`Delegator.prepare`."""


class DelegateTool:
    """The tool for one caller. `attach` says who that is, before it is called."""

    def __init__(
        self, bundle: Bundle, prepare: Prepare, agent: str | None, *, max_depth: int = MAX_DEPTH, max_children: int = MAX_CHILDREN
    ) -> None:
        self._bundle = bundle
        self._prepare = prepare
        self._max_depth = max_depth
        self._max_children = max_children
        self._caller: Caller | None = None
        self.agents = bundle.usable_by(agent)
        """The agents that the caller may use."""
        self.spec = ToolSpec(DELEGATE, self._description(), schema_of(self.agents, tuple(bundle.tiers)))

    @property
    def tool(self) -> Tool:
        """As a delegation's tool; its time is the deadline of whoever delegates."""
        return Tool(self.spec, self.call, timeout=inf)

    def attach(self, caller: Caller) -> None:
        """Say who delegates."""
        self._caller = caller

    def _description(self) -> str:
        lines = [
            "Have another agent do a piece of work, and get its answer. It works by itself: what you do not write into the"
            " instruction, and do not hand on by context_depth, it does not know. Calls in one turn run side by side."
            " Each agent runs on the model that fits it; leave out preferences, model and tier unless you have a reason.",
            "Agents:",
        ]
        for name in self.agents:
            agent = self._bundle.agents.get(name)
            said = " ".join(agent.description.split()) if agent is not None else ""
            if name == SELF and not said:
                said = "you, once more, with a conversation of its own"
            short = said if len(said) <= _MOST_OF_A_LINE else said[: _MOST_OF_A_LINE - 1].rstrip() + "…"
            lines.append(f"- {name}: {short}" if short else f"- {name}")
        return "\n".join(lines)

    async def call(self, /, **arguments: Any) -> str:
        """The answer of the agent, with the session by which its work can be carried on. Raises ToolFailed with the reasons."""
        caller = self._caller
        assert caller is not None, "a delegate tool is attached before it is called"
        try:
            asked = read_arguments(arguments, self.agents)
            self._within_limits(caller)
            caller.begun += 1
            run = await self._begun(caller, asked)
        except BundleLoaderError as error:
            raise ToolFailed(f"nothing was delegated: {error}") from None
        return await self._answer(caller, run)

    def _within_limits(self, caller: Caller) -> None:
        if caller.lineage.depth > self._max_depth:
            raise RequestError(
                f"you are {caller.lineage.depth - 1} levels deep, and no more than {self._max_depth} are allowed (max_depth);"
                " do the work yourself"
            )
        if caller.begun >= self._max_children:
            raise RequestError(
                f"{caller.begun} delegations were made already, and no more are allowed (max_children); do the rest yourself"
            )

    async def _begun(self, caller: Caller, asked: Asked) -> Run:
        """The child, prepared. It gets copies: whatever it does, its parent stays as it is."""
        agent = self._bundle.agent(asked.agent)
        policy = ContextPolicy(
            depth=asked.depth
            or ("recent" if asked.turns and agent.inherit_context.depth == "none" else agent.inherit_context.depth),
            turns=asked.turns or agent.inherit_context.turns,
            scope=asked.scope or agent.inherit_context.scope,
        )
        messages = () if asked.session or policy.depth == "none" else inherited(policy, tuple(caller.history()))
        limit = agent.limits.timeout or DEADLINE
        if caller.end is not None:
            limit = min(limit, max(caller.end - asyncio.get_running_loop().time(), 0.001))
        work: Work = make_work(
            asked.instruction,
            caller.tools,
            messages,
            dict(caller.vars),
            limit,
            tags=caller.lineage.tags,
            resume=asked.session,
        )
        choice = caller.lineage.choice(asked.choice)
        pairs = tuple(caller.pairs())
        if pairs:
            choice["parent"] = pairs
        if caller.lineage.local_only:
            choice["local_only"] = True
        return await self._prepare(agent.name, work, lineage=caller.lineage, **choice)

    async def _answer(self, caller: Caller, run: Run) -> str:
        result: DelegationResult | None = None
        hear = caller.hear if caller.watched() else None
        try:
            async with aclosing(run.events(show=False, children=hear is not None)) as events:
                async for event in events:
                    if hear is not None:
                        hear(event if isinstance(event, ChildEvent) else _of(run, event))
                    if isinstance(event, DoneEvent):
                        result = event.result
        except BundleLoaderError as error:
            caller.children.append(_child(run, "failed", str(error).partition("\n")[0]))
            raise ToolFailed(f"{run.base.agent} gave no answer: {error}{_resumable(run.session)}") from None
        except BaseException as error:
            left = isinstance(error, (asyncio.CancelledError, GeneratorExit))
            caller.children.append(_child(run, "cancelled" if left else "failed", type(error).__name__))
            raise
        assert result is not None, "a run ends in a DoneEvent or raises"
        caller.children.append(_child(run, "answered", None, result))
        cut = "\n[the answer was cut: it reached its most tokens]" if result.finish == "length" else ""
        return f"{result.text}{cut}{_resumable(result.session)}"


def caller_of(run: Run, work: Work, held: Mapping[str, Any]) -> Caller:
    """Who delegates on from a run; children are given copies of its variables and tools, and `held` holds for them."""
    base = run.base
    lineage = Lineage(base.id, base.root, base.depth + 1, base.caps, base.tags, base.local_only, held)
    return Caller(
        base.agent,
        lineage,
        lambda: [(one.provider, one.model) for one in run.now],
        lambda: run.state.history,
        work.vars,
        work.tools,
        run.end,
        lambda event: run.inbox.put(event) if run.inbox is not None else None,
        lambda: run.inbox is not None,
        run.state.children,
    )


def _of(run: Run, event: Any) -> ChildEvent:
    base = run.base
    return ChildEvent(base.id, base.parent or "", base.agent, base.depth, event)


def _resumable(session: str | None) -> str:
    return f"\n[session {session[:ENOUGH]}]" if session is not None else ""


def _child(run: Run, outcome: Any, reason: str | None, result: DelegationResult | None = None) -> Child:
    provider, model = (result.provider, result.model) if result is not None else (None, None)
    return Child(run.base.id, run.base.agent, outcome, run.state.whole_cost, run.session, provider, model, reason)
