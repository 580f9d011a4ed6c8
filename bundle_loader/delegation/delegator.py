"""Route and delegate: from a caller's words to a run."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from bundle_loader.declared.agent import Agent
from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.preference import Preference
from bundle_loader.delegation.books import Books
from bundle_loader.delegation.context import DelegationContext, first_limits
from bundle_loader.delegation.conversation import has_images, least_bytes, opening
from bundle_loader.delegation.delegate_tool import MAX_CHILDREN, MAX_DEPTH, DelegateTool, caller_of
from bundle_loader.delegation.equipment import Equipment
from bundle_loader.delegation.inherited import DELEGATE
from bundle_loader.delegation.instruction import render, varies
from bundle_loader.delegation.lineage import Lineage, held
from bundle_loader.delegation.result import DelegationResult, DoneEvent, StreamEvent
from bundle_loader.delegation.resuming import Resumed, listed_again, opening_of, take_up
from bundle_loader.delegation.run import Run
from bundle_loader.delegation.sessions import Opening, Sessions
from bundle_loader.delegation.sound_text import sound
from bundle_loader.delegation.spawner import Spawner
from bundle_loader.delegation.structured import expected
from bundle_loader.delegation.tools import Tool, ToolBox
from bundle_loader.delegation.work import Work
from bundle_loader.errors import DeadlineExceeded, RequestError
from bundle_loader.ledger.budgets import Cap
from bundle_loader.messages import Message
from bundle_loader.providers.catalogues import Catalogues
from bundle_loader.routing.candidate import Candidate, Route
from bundle_loader.routing.offer import Offers
from bundle_loader.routing.price import Price
from bundle_loader.routing.request import DEADLINE, Begun, Request, make_request
from bundle_loader.routing.resolve import Resolver, not_mounted
from bundle_loader.routing.route import readmitted, route_selection, still_open
from bundle_loader.routing.select import Selection, decided, mandated, narrowed, select
from bundle_loader.routing.standing import Standing

SMALL_PROMPT: Final = 64 * 1024
"""Bytes up to which a prompt is taken to fit every window."""
MOST_BYTES_PER_TOKEN: Final = 16
IDLE: Final = 60.0
MAX_TURNS: Final = 50


@dataclass(frozen=True, slots=True)
class Spare:
    """Candidates beside the route."""

    content: tuple[Candidate, ...] = ()
    """For content that a safety system refuses."""
    emergency: Mapping[str, tuple[Candidate, ...]] = field(default_factory=dict)
    """Tier -> for work that a budget refuses: those of the tier, then what runs on this machine."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """A route, and what it was made from."""

    providers: frozenset[str]
    offers: Offers
    route: Route
    spare: Spare


class Delegator:
    """Routes and delegates over one bundle and its catalogues. Belongs to one event loop."""

    def __init__(
        self,
        bundle: Bundle,
        catalogues: Catalogues,
        spawner: Spawner,
        books: Books,
        resolver: Resolver,
        sessions: Sessions | None = None,
        equipment: Equipment | None = None,
        *,
        max_depth: int = MAX_DEPTH,
        max_children: int = MAX_CHILDREN,
    ) -> None:
        self.bundle = bundle
        self.catalogues = catalogues
        self.spawner = spawner
        self.books = books
        self.resolver = resolver
        self.sessions = sessions
        """Where transcripts are kept; None keeps none."""
        self.equipment = equipment or Equipment()
        self._most = {"max_depth": max_depth, "max_children": max_children}
        self._texts: dict[str, tuple[tuple[int, str], str]] = {}
        """Agent -> its rendered text, with the minute and the folder that it was rendered in."""
        self._routes: dict[tuple[str, bool], _Kept] = {}
        self._begun: dict[str, Begun] = {}
        """What sessions of an agent begin with where the caller chooses nothing."""
        """Agent and whether tools are needed -> the last route for a caller who chose nothing."""

    async def route(self, agent: str, **choice: Any) -> Route:
        """The route of an agent for a caller's choice (see `make_request`)."""
        request = make_request(self.bundle.agent(agent), now=self.books.clock(), **choice)
        return await self._routed(request, await self.books.standing())

    async def _routed(self, request: Request, standing: Standing) -> Route:
        if request.provider is not None and not self.catalogues.mounts(request.provider):
            raise RequestError(not_mounted(request.provider, self.catalogues.ids, self.catalogues.aliases))
        selection = select(self.bundle, request, self.catalogues.aliases, self.catalogues.kinds, self.books.local)
        return await self._resolved(selection, mandated(self.bundle, request), standing)

    async def _resolved(self, selection: Selection, request: Request, standing: Standing) -> Route:
        offers = await self.catalogues.offers(preference.provider for preference in selection.preferences)
        return route_selection(selection, request, offers, self.resolver, standing, self._price_of)

    def _price_of(self, candidate: Candidate) -> Price | None:
        return self.books.price(candidate, None).price

    async def delegate(self, agent: str, work: Work, **choice: Any) -> DelegationResult:
        """The answer. Raises NoAnswer's kinds with every reason, DeclarationError and RequestError."""
        run = await self.prepare(agent, work, **choice)
        async with aclosing(run.events(show=False)) as events:
            async for event in events:
                if isinstance(event, DoneEvent):
                    return event.result
        raise AssertionError("a run ends in a DoneEvent or raises")

    async def stream(self, agent: str, work: Work, **choice: Any) -> AsyncGenerator[StreamEvent, None]:
        """Events as they happen, last a `DoneEvent`."""
        run = await self.prepare(agent, work, **choice)
        async with aclosing(run.events(show=True)) as events:
            async for event in events:
                yield event

    def delegate_tool(self, agent: str | None) -> DelegateTool:
        """The tool by which that agent, or a host's own loop, delegates on. Raises RequestError for one that may use nobody."""
        tool = DelegateTool(self.bundle, self.prepare, agent, **self._most)
        if not tool.agents:
            raise RequestError(f"agent '{agent}' may delegate to nobody: its 'agents' names none of bundle '{self.bundle.name}'")
        return tool

    async def prepare(self, agent_name: str, work: Work, *, lineage: Lineage | None = None, **choice: Any) -> Run:
        """Everything up to the first request: the rendered prompt, the tools and the route. Nothing is sent.

        `lineage` says whose child it is. A session that is resumed is locked from here on.
        """
        agent = self.bundle.agent(agent_name)
        resumed: Resumed | None = None
        if work.resume is not None:
            resumed = await take_up(self.sessions, work.resume, agent, self.bundle, choice, work.vars)
            choice = resumed.choice
        try:
            return await self._prepared(agent_name, agent, work, lineage, resumed, choice)
        except BaseException:
            if resumed is not None:
                resumed.journal.drop()
            raise

    async def _prepared(
        self, name: str, agent: Agent, work: Work, above: Lineage | None, resumed: Resumed | None, choice: dict[str, Any]
    ) -> Run:
        began = asyncio.get_running_loop().time()
        delegating = self._delegating(agent, work)
        given = (*work.tools, *([delegating.tool] if delegating else ()))
        most, here = work.timeout or agent.limits.timeout or DEADLINE, bool(choice.get("local_only"))
        tools, lacking = await self.equipment.tools(agent, given, within=most, local_only=here)
        schema = agent.output_schema if work.output_schema is None else work.output_schema
        if schema is not None:
            await expected(schema)
        instruction = self._instruction(name, agent, resumed.vars if resumed else work.vars)
        before = resumed.transcript.messages if resumed else work.messages
        messages = opening(before, work.text)
        floor = _fewest_tokens(least_bytes(instruction, messages, tools.specs))
        request = self._asked(agent, work, tools, floor, choice)
        notes = [*lacking, *(resumed.notes if resumed else ())]
        if resumed is not None and resumed.begun is not None:
            request, note = listed_again(self.bundle, request, resumed.begun, self.catalogues.aliases, resumed.transcript.id)
            notes += [note] if note is not None else []
        if sees := has_images(messages):
            request = replace(request, needs=request.needs | {"vision"})
        own_needs = choice or floor or sees or work.output_schema is not None
        key = None if own_needs else (name, bool(tools.specs))
        route, spare = await self._routes_within(request.deadline, request, key)
        own = uuid.uuid4().hex
        begins = self._opening(own, agent, work, messages, request, choice, resumed)
        base = self._context(own, agent, work, above, request, route, begins)
        base = replace(base, instruction=instruction, messages=messages, tools=tools.specs, output_schema=schema)
        run = Run(
            base,
            route,
            self.spawner,
            tools,
            self.books,
            end=began + request.deadline,
            notes=[*route.notes, *notes],
            continue_broken=agent.on_broken_stream == "continue",
            content_fallback=lambda: spare.content,
            emergency=lambda tier: spare.emergency.get(tier, ()),
            gone=self.catalogues.renew,
            readmit=partial(self._against, request, route.tier, instruction, tools),
            opening=begins,
        )
        if delegating is not None:
            delegating.attach(caller_of(run, work, held(request)))
        return run

    def _opening(
        self,
        own: str,
        agent: Agent,
        work: Work,
        messages: tuple[Message, ...],
        request: Request,
        choice: Mapping[str, Any],
        resumed: Resumed | None,
    ) -> Opening | None:
        """How the transcript begins, or goes on; None where none is kept."""
        if self.sessions is None:
            return None
        begun = request.begun
        plain = begun is None and not choice
        if plain:
            begun = self._begun.get(agent.name)
        if begun is None:
            chosen = decided(self.bundle, request, self.catalogues.aliases)
            begun = Begun(chosen.preferences, chosen.decided_by, chosen.decision, chosen.tier, chosen.local_first)
            if plain:
                self._begun[agent.name] = begun
        return opening_of(
            self.sessions, own, agent, self.bundle, messages, request, begun, choice, work.vars, resumed, self.books.clock()
        )

    def _delegating(self, agent: Agent, work: Work) -> DelegateTool | None:
        """The tool to delegate on, for an agent whose `tools` name it; a host's own tool of that name stands in its place."""
        if DELEGATE not in (agent.tools or ()) or any(Tool.of(tool).name == DELEGATE for tool in work.tools):
            return None
        return self.delegate_tool(agent.name) if self.bundle.usable_by(agent.name) else None

    def _context(
        self, own: str, agent: Agent, work: Work, above: Lineage | None, request: Request, route: Route, begins: Opening | None
    ) -> DelegationContext:
        """The delegation, still without its words."""
        most = work.max_cost if work.max_cost is not None else agent.limits.max_cost
        caps = above.caps if above is not None else ()
        if most is not None:
            # what a session has cost before counts when it goes on
            caps = (*caps, Cap(begins.id if begins is not None else own, agent.name, most))
        return DelegationContext(
            id=own,
            parent=above.parent if above else None,
            root=above.root if above else own,
            depth=above.depth if above else 0,
            agent=agent.name,
            instruction="",
            task=work.text,
            messages=(),
            candidate=route.chosen,
            remaining=route.candidates[1:],
            decided_by=route.decided_by,
            limits=first_limits(request.deadline, IDLE, work.max_turns or agent.limits.max_turns or MAX_TURNS),
            bundle=self.bundle.name,
            bundle_hash=self.bundle.hash,
            tier=route.tier,
            profile=request.in_force[0],
            stage=request.in_force[1],
            role=request.role,
            local_only=request.local_only,
            tags=work.tags,
            caps=caps,
            session=begins.id if begins is not None else None,
        )

    async def _against(
        self,
        request: Request,
        tier: str | None,
        instruction: str,
        tools: ToolBox,
        candidate: Candidate,
        messages: tuple[Message, ...],
    ) -> str | None:
        """What a gate has against a candidate by now, for a conversation that has grown."""
        offer = self.catalogues.known(candidate.provider)
        floor = _fewest_tokens(least_bytes(instruction, messages, tools.specs))
        now = replace(mandated(self.bundle, request), input_floor=floor, now=self.books.clock())
        return readmitted(now, candidate, offer, tier, await self.books.standing(), self._price_of)

    def _asked(self, agent: Agent, work: Work, tools: ToolBox, floor: int | None, choice: Mapping[str, Any]) -> Request:
        return make_request(
            agent,
            tools=bool(tools.specs),
            structured=work.output_schema is not None,
            input_floor=floor,
            tags=work.tags,
            deadline=work.timeout,
            now=self.books.clock(),
            **choice,
        )

    async def _routes_within(self, timeout: float, request: Request, key: tuple[str, bool] | None) -> tuple[Route, Spare]:
        """The route, and the candidates beside it. Raises DeadlineExceeded.

        With a `key` the last route under it serves on, unless a list of models has changed or is due to be asked for, or a
        budget now stands against one of its candidates.
        """
        standing = await self.books.standing()
        kept = self._routes.get(key) if key is not None else None
        if (
            kept is not None
            and self.catalogues.current(kept.providers) is kept.offers
            and still_open(kept.route, request, standing, self._price_of)
        ):
            return kept.route, kept.spare
        try:
            async with asyncio.timeout(timeout):
                route, spare = await self._routed(request, standing), await self._spare(request, standing)
        except TimeoutError:
            message = f"agent '{request.agent.name}': no answer within {timeout:g} s; lists of models were still awaited"
            raise DeadlineExceeded(message) from None
        if key is not None and not (route.barred or route.waiting):
            providers = {candidate.provider for candidate in route.candidates}
            providers |= {rejection.provider for rejection in route.rejections}
            providers |= {preference.provider for preference in request.agent.content_fallback}
            providers |= {candidate.provider for listed in spare.emergency.values() for candidate in listed}
            offers = self.catalogues.current(providers)
            if offers is not None:
                self._routes[key] = _Kept(frozenset(providers), offers, route, spare)
        return route, spare

    async def _spare(self, request: Request, standing: Standing) -> Spare:
        agent = request.agent
        # nothing takes the place of the caller's own list in silence: that is refused with every reason
        own = request.preferences is not None
        tiers = {budget.emergency for budget in self.books.budgets.declared if budget.emergency and not own}
        if not agent.content_fallback and not tiers:
            return Spare()
        local = tuple(Preference(provider=id, model="*") for id in self.books.local)
        here = await self._listed(local, replace(request, local_only=True), "emergency", standing) if tiers else ()
        emergency = {tier: (*await self._listed(self.bundle.tier(tier), request, "emergency", standing), *here) for tier in tiers}
        return Spare(await self._listed(agent.content_fallback, request, "content_fallback", standing), emergency)

    async def _listed(
        self, preferences: tuple[Preference, ...], request: Request, why: str, standing: Standing
    ) -> tuple[Candidate, ...]:
        """The candidates of a list that is used beside the route; every gate holds for them too."""
        if request.provider is not None:
            asked = (narrowed(one, request.provider, self.catalogues.aliases, self.catalogues.kinds) for one in preferences)
            preferences = tuple(item for item in asked if item is not None)
        if not preferences:
            return ()
        selection = Selection(preferences, select(self.bundle, request).decided_by, why)
        return (await self._resolved(selection, mandated(self.bundle, request), standing)).candidates

    def _instruction(self, name: str, agent: Agent, given: Mapping[str, Any]) -> str:
        """The agent's text, rendered; kept for a minute where the caller adds no variables."""
        now = (int(self.books.clock() // 60), os.getcwd())
        at, text = self._texts.get(name, (None, ""))
        if given or at != now:
            text = sound(render(agent, self.variables(agent, given)))
            if not given and not varies(agent):
                self._texts[name] = (now, text)
        return text

    def variables(self, agent: Agent, given: Mapping[str, Any]) -> dict[str, Any]:
        """Template variables: those that are always there, the bundle's defaults, the caller's."""
        today = datetime.fromtimestamp(self.books.clock(), UTC).astimezone().date().isoformat()
        return {"workdir": os.getcwd(), "date": today, "agent": agent.name, **self.bundle.vars, **given}


def _fewest_tokens(size: int) -> int | None:
    """The tokens that a prompt of that many bytes has at least; None where it is small anyway."""
    return size // MOST_BYTES_PER_TOKEN if size > SMALL_PROMPT else None
