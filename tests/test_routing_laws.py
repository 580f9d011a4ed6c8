"""What holds for every route, whatever is asked and offered."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bundle_loader.declared.agent import Agent
from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.preference import Preference
from bundle_loader.routing.candidate import Route
from bundle_loader.routing.catalogue import Catalogue, ModelInfo
from bundle_loader.routing.model_names import is_pattern
from bundle_loader.routing.offer import Offer, Offers
from bundle_loader.routing.request import Request, make_request
from bundle_loader.routing.resolve import Resolver
from bundle_loader.routing.route import route

PROVIDERS = ("anthropic", "openai", "google", "ollama")
IDS = ("a-1", "a-2", "a-2-20250101", "a-2-preview", "a-mini-3", "b-1.5", "b-1.10", "b-latest", "c[x]", "embed-1")
PATTERNS = ("*", "*", "a-*", "a-*", "a-?", "b-1.[0-9]", "b-*", "c[[]x]", "z-*", "[!a]*", *IDS, "a-latest", "alias", "nothing")

models = st.builds(
    ModelInfo,
    id=st.sampled_from(IDS),
    window=st.none() | st.integers(1, 100),
    capabilities=st.none() | st.frozensets(st.sampled_from(("tools", "vision"))),
    kind=st.sampled_from((None, None, None, "chat", "embedding")),
    stage=st.sampled_from((None, None, None, "stable", "retired")),
    aliases=st.sampled_from(((), ("alias",), ("a-1",))),
)
lists = st.lists(models, min_size=4, max_size=8, unique_by=lambda model: model.id)


@st.composite
def offers(draw: st.DrawFn) -> Offers:
    """Some of the providers, with a list or with the reason why there is none."""
    found = {}
    for number, id in enumerate(draw(st.permutations(PROVIDERS))[draw(st.integers(0, 2)) :]):
        listed = draw(st.sampled_from((None, ())) if draw(st.integers(0, 4)) == 0 else lists)
        catalogue = Catalogue(id, tuple(listed), version=number) if listed is not None else None
        reason = None if catalogue is not None else draw(st.sampled_from((None, "no key: set X")))
        found[id] = Offer(id, catalogue, reason, draw(st.booleans()), draw(st.none() | st.just(f"{id}: an old list")))
    return Offers(found, {"gemini": "google"})


preferences = st.lists(
    st.builds(
        Preference,
        provider=st.sampled_from((*PROVIDERS, "gemini", "nobody")),
        model=st.sampled_from(PATTERNS),
        config=st.sampled_from(({}, {"temperature": 0.5})),
    ),
    min_size=1,
    max_size=8,
)
asks = st.just({}) | st.fixed_dictionaries(
    {},
    optional={
        "provider": st.sampled_from((*PROVIDERS, "gemini", "nobody")),
        "tools": st.booleans(),
        "local_only": st.booleans(),
        "input_floor": st.integers(1, 100),
    },
)


def asked(wanted: list[Preference], ask: dict[str, Any], *, by_caller: bool) -> tuple[Bundle, Request]:
    agent = Agent(name="worker", preferences=tuple(wanted), slot="list")
    bundle = Bundle(name="laws", agents={"worker": agent})
    return bundle, make_request(agent, preferences=wanted if by_caller else None, **ask)


def routed(wanted: list[Preference], ask: dict[str, Any], offered: Offers, *, by_caller: bool = True) -> Route:
    bundle, request = asked(wanted, ask, by_caller=by_caller)
    return route(bundle, request, offered, Resolver())


@given(preferences, asks, offers(), st.booleans())
def test_every_preference_ends_exactly_once_with_a_model_or_a_reason(
    wanted: list[Preference], ask: dict[str, Any], offered: Offers, by_caller: bool
) -> None:
    found = routed(wanted, ask, offered, by_caller=by_caller)
    ended = [candidate.preference for candidate in found.candidates]
    ended += [rejection.preference for rejection in found.rejections]
    key = lambda item: (item.provider, item.model, str(item.config))  # noqa: E731
    assert Counter(map(key, ended)) == Counter(map(key, wanted))
    assert all(rejection.reason.strip() for rejection in found.rejections)
    assert all(rejection.model == rejection.preference.model for rejection in found.rejections)


@given(preferences, asks, offers())
def test_a_candidate_is_a_listed_model_and_never_a_glob(wanted: list[Preference], ask: dict[str, Any], offered: Offers) -> None:
    for candidate in routed(wanted, ask, offered).candidates:
        catalogue = offered.by_id[candidate.provider].catalogue
        assert catalogue is not None
        listed = [model.id for model in catalogue.models]
        assert candidate.model in listed
        assert candidate.spare is None or (candidate.spare.id in listed and candidate.spare.id != candidate.model)
        assert not is_pattern(candidate.model) or candidate.model == "c[x]"  # an id that looks like a glob


@given(preferences, asks, offers())
def test_candidates_come_in_the_order_of_the_preferences(wanted: list[Preference], ask: dict[str, Any], offered: Offers) -> None:
    places = [wanted.index(candidate.preference) for candidate in routed(wanted, ask, offered).candidates]
    assert places == sorted(places)


@given(preferences, asks, offers())
def test_no_two_candidates_are_the_same(wanted: list[Preference], ask: dict[str, Any], offered: Offers) -> None:
    found = [
        (candidate.provider, candidate.model, str(candidate.config)) for candidate in routed(wanted, ask, offered).candidates
    ]
    assert len(found) == len(set(found))


@given(preferences, asks, offers(), st.randoms(use_true_random=False))
def test_the_same_question_has_the_same_answer_in_whatever_order_things_are_listed(
    wanted: list[Preference], ask: dict[str, Any], offered: Offers, random: Any
) -> None:
    bundle, request = asked(wanted, ask, by_caller=True)
    resolver = Resolver()
    first = route(bundle, request, offered, resolver)
    assert route(bundle, request, offered, resolver) == first, "a warm resolver answers as a cold one"
    ids = list(offered.by_id)
    random.shuffle(ids)
    shuffled = {}
    for id in ids:
        offer = offered.by_id[id]
        if offer.catalogue is not None:
            listed = list(offer.catalogue.models)
            random.shuffle(listed)
            offer = replace(offer, catalogue=replace(offer.catalogue, models=tuple(listed)))
        shuffled[id] = offer
    again = route(bundle, request, Offers(shuffled, offered.aliases), Resolver())
    assert [(c.provider, c.model) for c in again.candidates] == [(c.provider, c.model) for c in first.candidates]
    assert [r.preference for r in again.rejections] == [r.preference for r in first.rejections]


@given(preferences, asks, offers())
def test_local_only_admits_nothing_that_leaves_the_machine(
    wanted: list[Preference], ask: dict[str, Any], offered: Offers
) -> None:
    found = routed(wanted, {**ask, "local_only": True}, offered)
    assert all(offered.by_id[candidate.provider].local for candidate in found.candidates)


@given(preferences, asks, offers())
def test_what_is_not_told_rejects_nobody(wanted: list[Preference], ask: dict[str, Any], offered: Offers) -> None:
    """A list that says less about its models admits at least as many preferences."""
    told = routed(wanted, ask, offered)
    bare = {
        id: replace(
            offer,
            catalogue=offer.catalogue
            and replace(
                offer.catalogue,
                models=tuple(
                    replace(model, window=None, capabilities=None, kind=None, stage=None) for model in offer.catalogue.models
                ),
            ),
        )
        for id, offer in offered.by_id.items()
    }
    untold = routed(wanted, ask, Offers(bare, offered.aliases))
    gates = ("is for", "is retired", "takes no tools", "the prompt has at least")
    assert not any(words in rejection.reason for rejection in untold.rejections for words in gates)
    assert bool(untold.candidates) >= bool(told.candidates)
