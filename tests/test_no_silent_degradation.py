"""No silent degradation: whatever fails, each time that another model takes over there is one line with from, to and reason."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import event, given, settings
from hypothesis import strategies as st

from bundle_loader import Host, SimulatedProvider
from bundle_loader.delegation.result import DoneEvent, StreamEvent
from bundle_loader.errors import FailureKind, NoAnswer, ProviderFailure
from bundle_loader.events import FallbackEvent, StatusEvent
from bundle_loader.ledger.breakers import LEAST
from bundle_loader.messages import Usage
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.simulated import Reply
from bundle_loader.routing.catalogue import ModelInfo
from bundle_loader.sources.load import load_bundle

K = FailureKind
Place = tuple[str, str]

MEANS = {
    "503": K.BUSY, "529": K.BUSY, "down": K.BUSY, "timeout": K.BUSY, "429": K.LIMITED, "429:0.01": K.LIMITED, "503:0.01": K.BUSY,
    "401": K.REFUSED, "402": K.REFUSED, "403": K.REFUSED, "404": K.REFUSED, "413": K.TOO_LONG, "too-long": K.TOO_LONG,
    "refusal": K.CONTENT_REFUSED, "unsupported": K.UNSUPPORTED, "400": K.WRONG_REQUEST, "cut": K.BROKEN, "empty": K.BROKEN,
    "malformed": K.BROKEN,
}  # fmt: skip
"""What is scripted -> the kind of failure that it is, as the design has it."""
NOT_SENT = (K.OVER_BUDGET, K.DOWN)
WORDS = {403: "refused 403", 503: "busy 503"}
PROVIDERS, MODELS = ("p", "q", "r"), ("one", "two")


@dataclass(frozen=True)
class Story:
    """What is to happen: the chain, and what each model does at each of its requests."""

    chain: tuple[Place, ...]
    content: tuple[Place, ...]
    scripts: dict[Place, list[str]]
    windows: dict[Place, int | None]
    shown: bool
    resume: bool
    """`on_broken_stream: continue`."""
    cents: int | None
    """A budget for the first provider, of which a call of it needs one and a half."""
    ill: dict[Place, int]
    """Models that are down before it begins, with the status that they answered with: refused, or busy until after the end."""


@dataclass
class Lived:
    """What did happen."""

    events: list[StreamEvent] = field(default_factory=list)
    error: NoAnswer | None = None
    asked: list[tuple[Place, str]] = field(default_factory=list)
    """Every request in order, with what was scripted for it."""
    hops: list[tuple[str, ...]] = field(default_factory=list)
    """As the ledger has them."""
    attempts: list[dict[str, Any]] = field(default_factory=list)
    row: dict[str, Any] = field(default_factory=dict)
    better: list[tuple[Place, Place]] = field(default_factory=list)
    """What is passed over, and the candidate that stands in for it."""


places = st.tuples(st.sampled_from(PROVIDERS), st.sampled_from(MODELS))
wanted = st.tuples(st.sampled_from(PROVIDERS), st.sampled_from([*MODELS, "*"]))
doings = st.sampled_from(["answer", "tool", *MEANS])


@st.composite
def stories(draw: st.DrawFn) -> Story:
    every = [(provider, model) for provider in PROVIDERS for model in MODELS]
    return Story(
        chain=tuple(draw(st.lists(wanted, min_size=1, max_size=6, unique=True))),
        content=tuple(draw(st.lists(places, max_size=2, unique=True))),
        scripts={place: draw(st.lists(doings, max_size=4)) for place in every},
        windows={place: draw(st.sampled_from([None, 1000, 2000])) for place in every},
        shown=draw(st.booleans()),
        resume=draw(st.booleans()),
        cents=draw(st.sampled_from([None, None, 1, 2, 4])),
        ill=draw(st.dictionaries(places, st.sampled_from([403, 503]), max_size=3)),
    )


def provider(id: str, story: Story, lived: Lived) -> SimulatedProvider:
    """One that does what the story says, and then answers."""

    def answer(request: ChatRequest) -> Reply:
        place = id, request.model
        script = story.scripts[place]
        turn = sum(1 for asked, _ in lived.asked if asked == place)
        doing = script[turn] if turn < len(script) else "answer"
        lived.asked.append((place, doing))
        if doing == "tool":
            return Reply("Let me see.", [("look", {})], Usage(0, 100))
        return Reply("This is the answer.", usage=Usage(0, 100), fault=None if doing == "answer" else doing)

    models = [ModelInfo(model, window=story.windows[id, model]) for model in MODELS]
    return SimulatedProvider(id, models=models, answer=answer)


def bundle(story: Story, folder: Path) -> Path:
    agent: dict[str, Any] = {
        "description": "d", "provider_preferences": ["/".join(place) for place in story.chain], "config": {"max_tokens": 150},
        "content_fallback": ["/".join(place) for place in story.content],
    }  # fmt: skip
    if story.resume:
        agent["on_broken_stream"] = "continue"
    written: dict[str, Any] = {
        "bundle": {"name": "b"}, "agents": {"x": agent},
        "prices": {f"{id}/*": {"input": 0, "output": 100} for id in PROVIDERS},
    }  # fmt: skip
    if story.cents is not None:
        written["budgets"] = {"few": {"money": story.cents / 100, "per": "day", "scope": {"provider": "p"}}}
    (folder / "b.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
    return folder / "b.yaml"


async def live(story: Story, folder: Path) -> Lived:
    lived = Lived()
    providers = {id: provider(id, story, lived) for id in PROVIDERS}

    def look() -> str:
        """Look."""
        return "nothing"

    loaded = load_bundle(bundle(story, folder), settings=())
    async with Host(loaded, providers=providers, ledger=folder / "l.db", environment={}) as host:
        # each preference by itself: in the whole route a model that two of them mean is a candidate of the first only
        alone = {"/".join(place): (await host.route("x", preferences=["/".join(place)])).chosen for place in story.chain}
        healthy = {written: (one.provider, one.model) for written, one in alone.items() if one is not None}
        for (provider_id, model), status in story.ill.items():
            kind = K.REFUSED if status == 403 else K.BUSY
            failure = ProviderFailure(kind, provider_id, "out", model=model, status=status, retry_after=200.0)
            for number in range(1 if status == 403 else LEAST):
                host.breakers.failed(provider_id, model, failure, f"before-{number}", host.clock())
        for one in (await host.route("x")).candidates:
            best, instead = healthy.get(str(one.preference)), (one.provider, one.model)
            if best in story.ill and best != instead:
                lived.better.append((best, instead))
        run = await host.prepare("x", "Work.", tools=[look], timeout=30)
        try:
            async for happened in run.events(show=story.shown):
                lived.events.append(happened)
        except NoAnswer as error:
            lived.error = error
        (lived.row,) = host.ledger.delegations()
        lived.attempts = host.ledger.attempts(lived.row["id"])
        hops = host.ledger.query("hops", delegation=lived.row["id"])
        names = ("from_provider", "from_model", "to_provider", "to_model", "reason")
        lived.hops = [tuple(hop[name] for name in names) for hop in hops]
    return lived


def left(hop: FallbackEvent) -> Place:
    return hop.from_provider, hop.from_model


def right(hop: FallbackEvent) -> Place:
    return hop.to_provider, hop.to_model


def sorted_hops(events: Sequence[StreamEvent]) -> tuple[list[FallbackEvent], list[FallbackEvent]]:
    """Those from one that was tried to the next, and those from one that was passed over; each before what it leads to."""
    between: list[FallbackEvent] = []
    passed: list[FallbackEvent] = []
    waiting: list[FallbackEvent] = []
    tried: Place | None = None
    for happened in events:
        if isinstance(happened, FallbackEvent):
            waiting.append(happened)
        elif isinstance(happened, StatusEvent):
            assert all(right(hop) == (happened.provider, happened.model) for hop in waiting)
            first = 0 if tried is None else 1
            between += waiting[:first]
            passed += waiting[first:]
            waiting, tried = [], (happened.provider, happened.model)
    assert not waiting, "a hop leads to somebody"
    return between, passed


def collapsed(asked: Sequence[Place]) -> list[Place]:
    """Without repetition of the same model: turns, and a model that was waited for."""
    return [place for index, place in enumerate(asked) if index == 0 or asked[index - 1] != place]


@pytest.mark.requirement("POL-121")
@settings(max_examples=80)
@given(stories())
def test_each_time_that_another_model_takes_over_there_is_one_line(story: Story) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lived = asyncio.run(live(story, Path(folder)))
    hops = [happened for happened in lived.events if isinstance(happened, FallbackEvent)]
    statuses = [happened for happened in lived.events if isinstance(happened, StatusEvent)]
    event(f"{len(hops)} hops")
    # the record: as many, the same, in the same order
    assert lived.hops == [(hop.from_provider, hop.from_model, hop.to_provider, hop.to_model, hop.reason) for hop in hops]
    # between the one that was tried and the next there is exactly one event, which names both
    tried = [(status.provider, status.model) for status in statuses]
    hops, passed = sorted_hops(lived.events)
    assert [(left(hop), right(hop)) for hop in hops] == list(pairwise(tried))
    # what was passed over for its health is told before that which stands in for it is tried, once
    assert Counter((left(hop), right(hop)) for hop in passed) == Counter(pair for pair in lived.better if pair[1] in tried)
    assert all(f"is down ({WORDS[story.ill[left(hop)]]}: out)" in hop.reason for hop in passed)
    # what gave no candidate is in the record once, and in what every event says of before
    rejected = [(provider, pattern) for provider, pattern, _ in json.loads(lived.row["rejected"] or "[]")]
    shut = [place for place in story.chain if place[1] != "*" and place in story.ill]
    assert [place for place in rejected if place in shut and place not in tried] == shut
    for status in statuses:
        assert all(sum(said.startswith(f"{'/'.join(place)}: ") for said in status.before) == 1 for place in shut)
    # what the providers saw is what was told: nobody was asked, or left, without a word
    begun = [((row["provider"], row["model"]), row["reason"]) for row in lived.attempts]
    unsent = {index for index, hop in enumerate(hops) if hop.reason.startswith(NOT_SENT) and (left(hop), hop.reason) not in begun}
    if (
        lived.error is not None
        and tried
        and (len(lived.asked) == 0 or collapsed([place for place, _ in lived.asked])[-1] != tried[-1])
    ):
        unsent.add(len(tried) - 1)
    told = collapsed([place for index, place in enumerate(tried) if index not in unsent])
    assert collapsed([place for place, _ in lived.asked]) == told
    # the reason is that of the failure, as the provider failed
    failures: dict[Place, list[str]] = {}
    for place, doing in lived.asked:
        if doing in MEANS:
            failures.setdefault(place, []).append(MEANS[doing])
    for hop in hops:
        kind = next((kind for kind in (*MEANS.values(), *NOT_SENT) if hop.reason.startswith(f"{kind}")), None)
        assert kind is not None, hop
        assert kind in NOT_SENT or kind in failures[hop.from_provider, hop.from_model], hop
        assert len(hop.reason) > len(kind) + 2, "the reason says more than its kind"
    # who answered is who was told of last, and the ledger agrees
    if lived.error is None:
        done = lived.events[-1]
        assert isinstance(done, DoneEvent)
        assert (done.result.provider, done.result.model) == tried[-1] == (lived.row["provider"], lived.row["model"])
    failed = [(row["provider"], row["model"], row["reason"]) for row in lived.attempts if row["outcome"] == "failed"]
    assert all(reason for *_, reason in failed)
