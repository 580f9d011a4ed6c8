"""One chaos run: a seed's arrivals against a host (or a peer) under its weather, counted and checked against the ledger."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from statistics import quantiles
from typing import Any

import yaml

from benchmarks.chaos_books import checked
from benchmarks.fast_time import FastLoop, JumpLoop
from benchmarks.vendor import vendors
from benchmarks.weather import PERIOD, TEXT, VENDORS, Weather
from bundle_loader import BudgetRefused, DelegationResult, Host, NoAnswer, load_bundle
from bundle_loader.delegation.result import DoneEvent
from bundle_loader.events import FallbackEvent
from bundle_loader.messages import Delta, StreamPart, Turn, Usage, assistant
from bundle_loader.providers import faults
from bundle_loader.providers.base import ChatRequest
from bundle_loader.routing.catalogue import ModelInfo

TIERS: Mapping[str, tuple[str, ...]] = {
    "budget": ("alpha/small", "beta/small", "gamma/small", "delta/small"),
    "strong": ("beta/large", "alpha/large", "gamma/large"),
    "strong-code": ("gamma/coder", "beta/coder", "delta/coder"),
    "frontier": ("alpha/giant", "gamma/giant", "beta/giant"),
    "local": ("delta/tiny", "alpha/tiny", "beta/tiny"),
}
"""The model types, each with its candidates in order."""
NOON = datetime.fromisoformat("2026-03-10T12:00:00+00:00").timestamp()
DEADLINE = 90.0
CALL_DOLLARS = 0.00082
SPENT_ON_FRONTIER = 0.9
"""The part of what frontier's delegations would cost that its budget has: the last of them are refused."""
ASKED_OF_ALPHA = 0.6
"""The part of the requests for its small model that alpha's budget lets through: three others are allowed besides."""
EVERY_STREAMED = 10
START_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run: `ours`, `alone` (without fallback), `sockets`, or `litellm` (over sockets)."""

    seed: int
    way: str
    arrivals: int
    scale: float | None = None
    """How many times as fast time runs; None where it jumps, as it can only without sockets."""
    seconds: float = PERIOD

    def encoded(self) -> str:
        return json.dumps(asdict(self))


@dataclass(slots=True)
class Tally:
    """What came of it, in shares; times in seconds of the weather."""

    up: float = 0.0
    """Of the arrivals, those for which some candidate was up."""
    handled: float = 0.0
    completed: dict[str, float] = field(default_factory=dict)
    refused: int = 0
    garbage: int = 0
    degraded: int = 0
    p50: float = 0.0
    p99: float = 0.0
    lag: float = 0.0
    """The latest that a delegation began after its moment: where it is large, the machine was too slow for this scale."""
    seconds: float = 0.0
    """Real ones."""
    faults: list[str] = field(default_factory=list)
    """What of budgets and records did not hold."""
    failures: dict[str, int] = field(default_factory=dict)
    """What delegations failed with, and how many of their candidates were up when they arrived."""
    examples: list[str] = field(default_factory=list)
    """The last of their messages."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One delegation that is asked for."""

    number: int
    at: float
    tier: str

    @property
    def streamed(self) -> bool:
        return self.number % EVERY_STREAMED == 0


@dataclass(slots=True)
class Ended:
    """How it ended."""

    arrival: Arrival
    what: str
    """`answered`, `refused`, `garbage`, or the name of an error."""
    late: float
    took: float
    result: DelegationResult | None = None
    hops: int | None = None
    """FallbackEvents, where it was streamed."""
    said: str = ""
    """The error's message."""

    @property
    def first(self) -> str:
        """Whom its tier prefers."""
        return TIERS[self.arrival.tier][0]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What asking came to; as in `Ended`."""

    what: str
    result: DelegationResult | None = None
    hops: int | None = None
    said: str = ""


Ask = Callable[[Arrival], Awaitable[Outcome]]


def offered(vendor: str) -> list[str]:
    """The models of a vendor."""
    pairs = {pair for listed in TIERS.values() for pair in listed}
    return sorted(pair.split("/")[1] for pair in pairs if pair.split("/")[0] == vendor)


class Exposed:
    """A vendor in memory, out in the weather."""

    local = False

    def __init__(self, id: str, weather: Weather, start: float) -> None:
        self.id = id
        self._weather = weather
        self._start = start
        self._asked = 0

    async def list_models(self) -> Sequence[ModelInfo]:
        return [ModelInfo(name) for name in offered(self.id)]

    async def stream(self, request: ChatRequest) -> AsyncIterator[StreamPart]:
        self._asked += 1
        act = self._weather.act(self.id, asyncio.get_running_loop().time() - self._start, self._asked)
        if act.ending == "reset":
            raise faults.unreachable(self.id, request.model, "connection reset")
        await asyncio.sleep(act.delay)
        if act.status != 200:
            raise faults.failure(self.id, request.model, act.status, "bad weather", retry_after=act.retry_after)
        half = len(act.text) // 2
        yield Delta(act.text[:half])
        if act.ending == "cut":
            raise faults.broken(self.id, request.model, "the stream ended before the answer did")
        yield Delta(act.text[half:])
        yield Turn(assistant(act.text), Usage(20, 8), request.model, "stop")

    async def aclose(self) -> None:
        """Nothing to give back."""


def arrivals(plan: Plan) -> list[Arrival]:
    """When what is asked for."""
    chance = random.Random(f"arrivals {plan.seed}")
    moments = sorted(chance.uniform(0, plan.seconds) for _ in range(plan.arrivals))
    tiers = tuple(TIERS)
    return [Arrival(number, at, tiers[chance.randrange(len(tiers))]) for number, at in enumerate(moments)]


def written(plan: Plan, providers: Mapping[str, Any]) -> dict[str, Any]:
    """The bundle: an agent for each type, budgets of which two bind."""
    first = 1 if plan.way == "alone" else None
    small = plan.arrivals / len(TIERS) / plan.seconds * 60 * ASKED_OF_ALPHA
    frontier = round(plan.arrivals / len(TIERS) * CALL_DOLLARS * SPENT_ON_FRONTIER, 4)
    return {
        "bundle": {"name": "chaos"},
        "prices": {f"{vendor}/*": {"input": 1, "output": 100} for vendor in VENDORS},
        "providers": dict(providers),
        "tiers": {tier: list(pairs[:first]) for tier, pairs in TIERS.items()},
        "agents": {
            f"a-{tier}": {"description": "d", "tier": tier, "config": {"max_tokens": 8}, "on_broken_stream": "continue"}
            for tier in TIERS
        },
        "budgets": {
            "day": {"money": plan.arrivals * CALL_DOLLARS * 2, "per": "day", "least_tokens": 8},
            "frontier": {"money": frontier, "per": "day", "scope": {"tier": "frontier"}, "least_tokens": 8},
            "alpha": {"requests": round(small), "per": "minute", "scope": {"provider": "alpha", "model": "small"}},
        },
    }


def asking(host: Host) -> Ask:
    """How a host is asked."""

    async def ask(arrival: Arrival) -> Outcome:
        agent, hops = f"a-{arrival.tier}", 0
        try:
            if not arrival.streamed:
                result, seen = await host.delegate(agent, "Work.", timeout=DEADLINE), None
            else:
                async for event in host.stream(agent, "Work.", timeout=DEADLINE):
                    hops += isinstance(event, FallbackEvent)
                    if isinstance(event, DoneEvent):
                        result, seen = event.result, hops
        except BudgetRefused:
            return Outcome("refused")
        except NoAnswer as error:
            return Outcome(type(error).__name__, said=str(error))
        return Outcome("answered" if result.text == TEXT else "garbage", result, seen)

    return ask


def asking_litellm(base: str, scale: float) -> tuple[Ask, Any]:
    """How litellm's Router is asked: its own retries (2), a cooldown as long as a breaker's, each request a third of the time."""
    from benchmarks.peers import litellm_chains

    router = litellm_chains({tier: [f"{base}/{pair.split('/')[0]}/v1" for pair in pairs] for tier, pairs in TIERS.items()},
                            timeout=DEADLINE / 3, cooldown=5.0 / scale)  # fmt: skip

    async def ask(arrival: Arrival) -> Outcome:
        messages = [{"role": "user", "content": "Work."}]
        try:
            async with asyncio.timeout(DEADLINE):
                if not arrival.streamed:
                    answer = await router.acompletion(model=arrival.tier, messages=messages)
                    text = answer.choices[0].message.content
                else:
                    chunks = await router.acompletion(model=arrival.tier, messages=messages, stream=True)
                    text = "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])
        except Exception as error:  # noqa: BLE001 - whatever a peer raises is a result
            return Outcome(type(error).__name__, said=str(error)[:1000])
        return Outcome("answered" if text == TEXT else "garbage")

    return ask, router


async def arriving(plan: Plan, ask: Ask, start: float) -> list[Ended]:
    """All delegations, each at its moment of the loop's time after `start`."""
    loop = asyncio.get_running_loop()

    async def one(arrival: Arrival) -> Ended:
        await asyncio.sleep(start + arrival.at - loop.time())
        began = loop.time()
        came = await ask(arrival)
        late, took = began - start - arrival.at, loop.time() - began
        return Ended(arrival, came.what, late, took, came.result, came.hops, came.said)

    return list(await asyncio.gather(*(one(arrival) for arrival in arrivals(plan))))


def counted(ended: list[Ended], weather: Weather) -> Tally:
    """The shares."""
    tally = Tally()
    whole, answered, admitted = len(ended), Counter[str](), Counter[str]()
    up: dict[int, int] = {}
    for one in ended:
        tier, number = one.arrival.tier, one.arrival.number
        up[number] = sum(weather.spell(pair.split("/")[0], one.arrival.at) is None for pair in TIERS[tier])
        tally.up += (up[number] > 0) / whole
        tally.handled += (one.what in ("answered", "refused")) / whole
        tally.refused += one.what == "refused"
        tally.garbage += one.what == "garbage"
        admitted[tier] += one.what != "refused"
        answered[tier] += one.what == "answered"
        tally.degraded += one.result is not None and f"{one.result.provider}/{one.result.model}" != one.first
    tally.completed = {tier: answered[tier] / max(admitted[tier], 1) for tier in TIERS}
    tally.failures = dict(Counter(f"{one.what} ({up[one.arrival.number]} up)" for one in ended if one.said))
    tally.examples = [f"at {one.arrival.at:.1f} s, {one.arrival.tier}: {one.said}" for one in ended if one.said][-5:]
    times = quantiles([one.took for one in ended if one.what == "answered"] or [0.0, 0.0], n=100)
    tally.p50, tally.p99 = times[49], times[98]
    tally.lag = max(one.late for one in ended)
    return tally


async def run(plan: Plan, folder: Path) -> Tally:
    """One run in the plan's loop."""
    weather = Weather(plan.seed, plan.seconds)
    loop, real = asyncio.get_running_loop(), time.monotonic()
    start = loop.time() + START_SECONDS * (plan.scale or 1.0)
    async with AsyncExitStack() as stack:
        if plan.way in ("ours", "alone"):
            mounted = {vendor: Exposed(vendor, weather, start) for vendor in VENDORS}
            providers: dict[str, Any] = {}
        else:
            conduct = {"seed": plan.seed, "seconds": plan.seconds, "scale": plan.scale, "start": real + START_SECONDS}
            base = stack.enter_context(vendors("benchmarks.weather:scaled", conduct))
            providers = {
                vendor: {
                    "kind": "deepseek",
                    "base_url": f"{base}/{vendor}/v1",
                    "key_variable": "CHAOS_KEY",
                    "models": offered(vendor),
                }
                for vendor in VENDORS
            }
            mounted = None
        if plan.way == "litellm":
            ask, router = asking_litellm(base, plan.scale or 1.0)
            ended = await arriving(plan, ask, start)
            router.discard()
            tally = counted(ended, weather)
        else:
            path = folder / "chaos.yaml"
            path.write_text(yaml.safe_dump(written(plan, providers), sort_keys=False), "utf-8")
            bundle = load_bundle(path, settings=())
            variables = {"CHAOS_KEY": "none"}
            clock = partial(_clock, loop, start)
            kept = {"ledger": folder / "ledger.db", "sessions": None}
            host = Host(bundle, providers=mounted, **kept, environment=variables, clock=clock)
            await stack.enter_async_context(host)
            if isinstance(loop, JumpLoop):
                loop.heed(host)
            for tier in TIERS:
                await host.route(f"a-{tier}")  # lists are asked for in fair weather: they are not what is measured
            ended = await arriving(plan, asking(host), start)
            tally = counted(ended, weather)
            tally.faults = checked(host, ended)
    tally.seconds = time.monotonic() - real
    return tally


def _clock(loop: asyncio.AbstractEventLoop, start: float) -> float:
    """Epoch seconds: `NOON` at `start` of the loop's time."""
    return NOON + loop.time() - start


def in_its_own_time(plan: Plan, folder: Path) -> Tally:
    """`run` in a loop of its own."""
    scale = plan.scale
    with asyncio.Runner(loop_factory=JumpLoop if scale is None else lambda: FastLoop(scale)) as runner:
        return runner.run(run(plan, folder))


def main() -> int:
    logging.disable(logging.CRITICAL)
    plan = Plan(**json.loads(sys.argv[1]))
    if plan.way == "litellm" and importlib.util.find_spec("litellm") is None:
        sys.stdout.write("null\n")
        return 0
    with tempfile.TemporaryDirectory() as name:
        sys.stdout.write(json.dumps(asdict(in_its_own_time(plan, Path(name)))) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
