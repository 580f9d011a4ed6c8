"""The running thing: a bundle, its providers and its ledger, wired together."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Unpack

from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.tables import Timeouts
from bundle_loader.delegation.delegate_tool import MAX_CHILDREN, MAX_DEPTH
from bundle_loader.delegation.delegator import Delegator
from bundle_loader.delegation.equipment import Approval, Equipment
from bundle_loader.delegation.fitting import Fitting
from bundle_loader.delegation.hosted_tool import Conversation, HostedTool
from bundle_loader.delegation.mcp_servers import McpServers
from bundle_loader.delegation.result import ChildEvent, DelegationResult, StreamEvent
from bundle_loader.delegation.run import Run
from bundle_loader.delegation.sale import sale_of
from bundle_loader.delegation.session_place import sessions_of
from bundle_loader.delegation.spawner import ProviderSpawner, Spawner
from bundle_loader.delegation.tools import Tool
from bundle_loader.delegation.work import make_work, whole_number
from bundle_loader.errors import RequestError
from bundle_loader.events import CatalogueChanged, HostEvent, PatternMoved
from bundle_loader.ledger.breakers import Breakers
from bundle_loader.ledger.budgets import Budgets
from bundle_loader.ledger.fold import Fold
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.prices import PriceBook, Priced
from bundle_loader.ledger.slots import Slots
from bundle_loader.messages import Message
from bundle_loader.providers.base import Provider
from bundle_loader.providers.catalogues import STALE, Catalogues
from bundle_loader.providers.endpoint import Endpoint
from bundle_loader.providers.env_files import with_env_files
from bundle_loader.providers.guarded import close
from bundle_loader.providers.health_scopes import health_scopes
from bundle_loader.providers.instances import provider_id
from bundle_loader.providers.live import Missing, aliases, live_endpoints, live_keys, live_kinds, live_providers
from bundle_loader.providers.rates import most_calls, rate_limits, settings_of
from bundle_loader.providers.saved import SavedCatalogues, saved_as
from bundle_loader.providers.simulated import check_simulation, simulated_providers
from bundle_loader.recipes.hosting import RunsRecipes
from bundle_loader.routing.candidate import Candidate, Route
from bundle_loader.routing.catalogue import Catalogue
from bundle_loader.routing.named import named_preferences
from bundle_loader.routing.offer import Offers
from bundle_loader.routing.request import Choice, parents
from bundle_loader.routing.resolve import Resolver
from bundle_loader.routing.standing import Standing
from bundle_loader.sources.home import catalogues_folder, ledger_file
from bundle_loader.sources.load import load_bundle
from bundle_loader.sources.models_lock import models_lock_of
from bundle_loader.sources.settings import find_settings

logger = logging.getLogger("bundle_loader")


class Host(RunsRecipes):
    """Routes, delegates and runs recipes, as `async with Host(bundle) as host`; it belongs to the event loop it is entered in.

    `bundle` is a `Bundle`, or a name or path for `load_bundle`. `providers` maps ids to providers and is then all that is
    mounted; without it every provider of the environment is (`environment` defaults to `os.environ`; `.env` files stand
    behind it). `simulate` mounts the simulated provider under every id, `faults` maps ids to faults of it
    (`{"anthropic": "503"}`). `ledger` is a path, by default a file in the user's data folder, another one where all that is
    mounted is simulated. `spawner` replaces the one that drives the SDKs.

    Lists of models are saved in the folder `catalogues`: by default one in the user's data folder for the providers of the
    environment, and none for `providers`. `models_lock` is the file that holds patterns to models; True is the project's,
    for the providers of the environment and simulated ones, and False is none. `stale` is the age in seconds up to which an
    older list serves while it is renewed; with 0 every renewal is waited for. At most `max_calls` requests to providers are under
    way at a time, and `timeouts` are the limits of time that hold where a provider's own settings say none. `listener` is called
    with each `CatalogueChanged` and `PatternMoved`, in the host's loop.

    Transcripts of sessions are kept in the folder `sessions`: by default one in the user's data folder, unless settings say
    `sessions: off`; None keeps none. `approve` is asked with the agent's name and the call before each call of a tool: True, or a
    refusal (False, or words for the model). Agents delegate on `max_depth` levels deep at most, each `max_children` times.
    """

    def __init__(
        self,
        bundle: Bundle | str | os.PathLike[str],
        *,
        providers: Mapping[str, Provider] | None = None,
        ledger: str | Path | None = None,
        simulate: bool = False,
        faults: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        spawner: Spawner | None = None,
        catalogues: str | Path | None = None,
        models_lock: str | Path | bool = True,
        max_calls: int | None = None,
        timeouts: Timeouts | None = None,
        sessions: str | Path | bool | None = True,
        max_depth: int = MAX_DEPTH,
        max_children: int = MAX_CHILDREN,
        stale: float = STALE,
        listener: Callable[[HostEvent], None] | None = None,
        clock: Callable[[], float] = time.time,
        approve: Approval | None = None,
    ) -> None:
        environment = os.environ if environment is None else environment
        self._timeouts = timeouts or Timeouts()
        whole_number("max_calls", max_calls, 1)
        most = {"max_depth": max_depth, "max_children": max_children}
        self._most = {name: whole_number(name, value, 0) or 0 for name, value in most.items()}
        self.bundle = bundle if isinstance(bundle, Bundle) else load_bundle(bundle, settings=find_settings(environment))
        check_simulation(simulate, providers, faults)
        self._variables = environment if simulate or providers is not None else with_env_files(environment)
        """The environment, and behind it what .env files say."""
        self._own = providers
        self._mounted = self._mount(simulate, faults)
        self.keys = live_keys(self._variables, self.bundle.providers) if not simulate and providers is None else {}
        """Which provider's key is in which variable, and where that was read; never the key."""
        played = simulate or (bool(providers) and all(getattr(one, "simulated", False) for one in (providers or {}).values()))
        self._ledger_path = Path(ledger) if ledger is not None else ledger_file(environment, simulated=played)
        self.sessions = sessions_of(sessions, self.bundle, environment, simulated=played, clock=clock)
        """Where transcripts are kept; None where none are."""
        self._find_lists(catalogues, models_lock, environment, simulate=simulate, played=played)
        self._stale = stale
        self._listener = listener
        self.clock = clock
        self._spawner = Fitting(spawner) if spawner is not None else ProviderSpawner(self._provider)
        self._approve = approve
        self.prices = PriceBook(self.bundle.prices)
        """What models cost, and who says so."""
        self.budgets = Budgets(tuple(self.bundle.budgets.values()), rate_limits(self._mounted, self.bundle.providers))
        """What may be spent: the bundle's and the settings' budgets, and the providers' rate limits."""
        self.breakers = Breakers(
            health_scopes(self._mounted, self._variables, self._endpoints if providers is None else None), shared=not played
        )
        """Which providers and models are down; what is simulated is down in this host only."""
        self.slots = Slots(max_calls, most_calls(self._mounted, self.bundle.providers))
        """How many calls may be under way at a time."""
        self._simulate = played
        self._ledger: Ledger | None = None
        self._fold: Fold | None = None
        self._delegator: Delegator | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def _mount(self, simulate: bool, faults: Mapping[str, str] | None) -> Mapping[str, Provider | Missing]:
        if simulate:
            return simulated_providers(faults, settings=self.bundle.providers)
        return (
            dict(self._own)
            if self._own is not None
            else live_providers(self._variables, self.bundle.providers, timeouts=self._timeouts)
        )

    def _find_lists(
        self,
        catalogues: str | Path | None,
        models_lock: str | Path | bool,
        environment: Mapping[str, str],
        *,
        simulate: bool,
        played: bool,
    ) -> None:
        """Where lists of models are saved, whose they are, and what patterns are held to."""
        providers = self._own
        self._saved: SavedCatalogues | None = None
        self._endpoints: Mapping[str, Endpoint] = {}
        if not simulate and (catalogues is not None or providers is None):
            self._saved = SavedCatalogues(Path(catalogues) if catalogues is not None else catalogues_folder(environment))
            own = None if providers is None else {id: saved_as(one) for id, one in providers.items()}
            self._endpoints = live_endpoints(self._variables, self.bundle.providers) if own is None else own
        held = models_lock_of(models_lock, environment, simulated=played, found=providers is None)
        self.models_lock = held.canonical(lambda name: provider_id(name, self._mounted))
        """Which models patterns are held to."""

    # --- life

    async def __aenter__(self) -> Host:
        if self._delegator is not None:
            raise RequestError("this host is already open")
        self._ledger = await asyncio.to_thread(partial(Ledger, self._ledger_path, clock=self.clock))
        self._fold = Fold(self._ledger.peek, lambda: self.budgets.all, simulated=self._simulate, as_stated=self.budgets.as_stated)
        self._loop = asyncio.get_running_loop()
        catalogues = Catalogues(
            self._mounted,
            clock=self.clock,
            aliases=aliases(),
            kinds={id: kind for id, kind in live_kinds(self.bundle.providers).items() if id in self._mounted},
            stale=self._stale,
            saved=self._saved,
            endpoints=self._endpoints,
            changed=self._changed,
        )
        resolver = Resolver(self.models_lock, self.bundle.model_order)
        equipment = Equipment(McpServers(self.bundle.mcp_servers, self._variables), self._approve)
        self._delegator = Delegator(
            self.bundle, catalogues, self._spawner, self, resolver, self.sessions, equipment, **self._most
        )
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Give back connections and commit the ledger. Safe to call twice."""
        delegator, self._delegator = self._delegator, None
        if delegator is None:
            return
        await delegator.catalogues.aclose()
        await delegator.equipment.servers.aclose()
        await asyncio.gather(*(close(one) for one in self._mounted.values() if not isinstance(one, Missing)))
        if self.sessions is not None:
            await asyncio.to_thread(self.sessions.close)
        await asyncio.to_thread(self.ledger.close)

    @property
    def _open(self) -> Delegator:
        if self._delegator is None:
            raise RequestError("the host is not open; use 'async with Host(...) as host'")
        if asyncio.get_running_loop() is not self._loop:
            raise RequestError("this host belongs to another event loop; open one in each loop, or use SyncHost from any thread")
        return self._delegator

    @property
    def ledger(self) -> Ledger:
        """The ledger of this host; usable while it is open."""
        if self._ledger is None:
            raise RequestError("the host is not open; use 'async with Host(...) as host'")
        return self._ledger

    # --- what it is for

    async def route(self, agent: str, **choice: Unpack[Choice]) -> Route:
        """The candidates for an agent in order, every rejection with its reason, and who decided.

        A caller's choice is `preferences` (a list), or `model` ("provider/glob", or with `provider` beside it), or one of
        `tier`, `role` and `profile` (with `stage`); a bare `provider` filters whichever list won. `parent` is the
        "provider/model" of whoever delegates. An empty route is a value, not an error. Raises RequestError for what does
        not exist.
        """
        return await self._open.route(agent, **choice)

    async def delegate(
        self,
        agent: str,
        text: str,
        *,
        tools: Sequence[Callable[..., Any] | Tool] = (),
        messages: Sequence[Message | Mapping[str, Any]] = (),
        vars: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        max_turns: int | None = None,
        max_cost: Decimal | str | float | None = None,
        tags: Sequence[str] = (),
        output_schema: Mapping[str, Any] | None = None,
        resume: str | None = None,
        **choice: Unpack[Choice],
    ) -> DelegationResult:
        """Have an agent do the work, falling back over its route. The choice is that of `route`.

        `timeout` in seconds covers the whole chain; `max_turns` and `max_cost` (US dollars) replace the agent's own limits;
        `tags` are words that budgets can be kept by. With an `output_schema` (a JSON Schema, in place of the agent's own) the
        answer is one JSON value that fits it, which is the result's `data`; one that does not, also not when told why, raises
        InvalidOutput. `resume` is the id of a session (`result.session`), or its beginning: the agent goes on with its
        conversation and the choice that it was begun with. Raises SessionError, NoCandidate, BudgetRefused, AllFailed, Stopped,
        DeadlineExceeded or LimitReached (all but the first NoAnswer, with every reason), DeclarationError and RequestError.
        """
        work = make_work(text, tools, messages, vars, timeout, max_turns, max_cost, tags, resume, output_schema)
        return await self._open.delegate(agent, work, **choice)

    async def stream(
        self,
        agent: str,
        text: str,
        *,
        tools: Sequence[Callable[..., Any] | Tool] = (),
        messages: Sequence[Message | Mapping[str, Any]] = (),
        vars: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        max_turns: int | None = None,
        max_cost: Decimal | str | float | None = None,
        tags: Sequence[str] = (),
        output_schema: Mapping[str, Any] | None = None,
        resume: str | None = None,
        **choice: Unpack[Choice],
    ) -> AsyncGenerator[StreamEvent, None]:
        """As `delegate`, yielding events as they happen; the last is a `DoneEvent` with the result.

        Once text of a turn was yielded, its breaking raises BrokenAnswer with that text, unless the agent says
        `on_broken_stream: continue`.
        """
        work = make_work(text, tools, messages, vars, timeout, max_turns, max_cost, tags, resume, output_schema)
        async with aclosing(self._open.stream(agent, work, **choice)) as events:
            async for event in events:
                yield event

    async def prepare(self, agent: str, text: str, **given: Any) -> Run:
        """What `delegate` would do: the rendered prompt, tools and route. Nothing is sent."""
        names = ("tools", "messages", "vars", "timeout", "max_turns", "max_cost", "tags", "resume", "output_schema")
        work = make_work(text, *(given.pop(name, None) for name in names))
        return await self._open.prepare(agent, work, **given)

    def delegate_tool(
        self,
        *,
        caller: str | None = None,
        parent: Any = None,
        messages: Conversation = (),
        tools: Sequence[Callable[..., Any] | Tool] = (),
        vars: Mapping[str, Any] | None = None,
        tags: Sequence[str] = (),
        local_only: bool = False,
        listener: Callable[[ChildEvent], None] | None = None,
    ) -> HostedTool:
        """The tool by which the model of a host's own loop delegates: its schema for each vendor, and the handler of its calls.

        `caller` is the agent that the loop plays, which is not offered to itself; `parent` what it runs on ("provider/model", or
        pairs: the rest of its route after it), for agents that say nothing and for `self`. `messages` is its conversation, or a
        function that gives it, of which children are handed what they ask for; `tools` are offered to those that allow them.
        """
        agent = self.bundle.agent(caller).name if caller is not None else None
        tool = self._open.delegate_tool(agent)
        return HostedTool(
            tool,
            agent=agent,
            pairs=parents(parent),
            messages=messages,
            tools=tools,
            vars=vars,
            tags=tags,
            local_only=local_only,
            listener=listener,
        )

    async def offers(self, providers: Iterable[str] | None = None) -> Offers:
        """What the mounted providers list now; all of them are asked at the same time."""
        return await self._open.catalogues.offers(providers)

    async def refresh(self, providers: Iterable[str] | None = None) -> Offers:
        """As `offers`, but each of them (all that are mounted, where None) is asked now, however young its list is."""
        return await self._open.catalogues.offers(providers, refresh=True)

    def _changed(self, old: Catalogue, new: Catalogue) -> None:
        """Say which models came and went, then which patterns mean another one now."""
        before, after = (dict.fromkeys(model.id for model in one.models) for one in (old, new))
        added = tuple(id for id in after if id not in before)
        removed = tuple(id for id in before if id not in after)
        events: list[HostEvent] = [CatalogueChanged(new.provider, added, removed)] if added or removed else []
        if self._delegator is not None:
            # also of the patterns that nobody has asked for since this process began: the old list may be an earlier one's
            meant = self._delegator.catalogues.meant
            patterns = (item.model for item in named_preferences(self.bundle) if new.provider in meant(item.provider))
            events += [PatternMoved(new.provider, *move) for move in self._delegator.resolver.moved(old, new, patterns)]
        for event in events:
            logger.info("%s", event)
            if self._listener is not None:
                self._listener(event)

    # --- what the delegator asks of it

    @property
    def local(self) -> tuple[str, ...]:
        """The mounted providers that run on this machine or its private network."""
        return tuple(id for id, provider in self._mounted.items() if not isinstance(provider, Missing) and provider.local)

    def timeouts(self, provider: str) -> Timeouts:
        """The limits of time for a provider: what its settings say, else what the host was given."""
        own = settings_of(provider, self.bundle.providers)
        return own.timeouts.over(self._timeouts) if own is not None else self._timeouts

    def price(self, candidate: Candidate, answered: str | None) -> Priced:
        """The price of what answered, else of what was asked, and who says so."""
        return self.prices.priced(sale_of(candidate, answered, self.bundle.providers), self.clock())

    async def standing(self, *, whole: bool = False) -> Standing:
        """What the ledger knows now, a second old at most: budgets and what vendors have closed.

        With `whole` also spend, latency, success and feedback, which are folded from the ledger's calls when they are first
        asked for.
        """
        if self._fold is None:
            raise RequestError("the host is not open; use 'async with Host(...) as host'")
        standing = await self._fold.standing(self.clock(), whole=whole)
        for closed in standing.closed.values():
            self.budgets.close(closed.key, closed.until)
        now = self.clock()
        self.breakers.merge(self._fold.breakers, now)
        down = self.breakers.down(now)
        return replace(standing, down=down) if down else standing

    def _provider(self, id: str) -> Provider:
        provider = self._mounted[id]
        assert not isinstance(provider, Missing)
        return provider
