"""The shipped profiles: which model each stage comes to, what it costs, and where the work goes when something is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from fnmatch import fnmatchcase
from itertools import combinations
from pathlib import Path

import pytest

from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.preference import Preference
from bundle_loader.declared.recipe import Recipe, Variable
from bundle_loader.delegation.sale import sale_of
from bundle_loader.ledger.prices import PriceBook
from bundle_loader.providers.live import aliases
from bundle_loader.providers.snapshot import model_info, snapshot_models
from bundle_loader.recipes.stage_profiles import stage_profiles
from bundle_loader.routing.candidate import Candidate, Route
from bundle_loader.routing.catalogue import Catalogue, ModelInfo
from bundle_loader.routing.offer import Offer, Offers
from bundle_loader.routing.request import make_request
from bundle_loader.routing.resolve import Resolver
from bundle_loader.routing.route import route
from bundle_loader.routing.step import StepChoice
from bundle_loader.sources.load import load_bundle
from tests.support.declared import load

CLOUD = ("anthropic", "openai", "google", "github-copilot")
LOCAL = ("ollama", "llama.cpp", "lmstudio", "vllm")
HERE = (*LOCAL, "llamacpp", "of-our-own")
PROFILES = ("balanced", "quality", "cost", "local")
STAGES = ("planning", "synthesis", "review", "implementation", "verification", "summary", "analysis", None)
GEMINI = ("gemini-3.1-pro-preview-customtools*", "gemini-3.1-pro-preview*", "gemini-3-pro-preview*")
NOW = 1_794_000_000.0
# the lists of other days and of tests: small, old, with and without dates
OLD: Mapping[str, tuple[str, ...]] = {
    "anthropic": ("claude-haiku-4-5-20251001", "claude-sonnet-4-6", "claude-opus-4-6"),
    "openai": ("gpt-4o", "gpt-4o-mini", "gpt-5-mini", "gpt-5.2", "gpt-5.2-codex"),
    "google": ("gemini-2.5-flash", "gemini-2.5-flash-lite", "gemini-3.1-pro-preview", "gemini-3.1-pro-preview-customtools"),
    "ollama": ("qwen3:8b", "llama3.2:3b", "qwen2.5-coder:7b"),
}


@pytest.fixture(scope="module")
def foundation() -> Bundle:
    return load_bundle("foundation", strict=True, settings=())


@pytest.fixture(scope="module")
def resolver() -> Resolver:
    return Resolver()


def offers(
    ids: Iterable[str] = (*CLOUD, "ollama"), lists: Mapping[str, Iterable[str]] | None = None, down: Iterable[str] = ()
) -> Offers:
    """The shipped lists of these providers, or those that are given; a local one without a list has one model."""
    found = {}
    for number, id in enumerate(ids, 1):
        models: tuple[ModelInfo, ...] = tuple(map(model_info, lists[id])) if lists and id in lists else snapshot_models(id)
        models = models or (model_info("some-model"),)
        reason = "cannot be reached" if id in down else None
        found[id] = Offer(id, None if reason else Catalogue(id, models, version=number), reason, local=id in HERE)
    return Offers(found, aliases())


def routed(bundle: Bundle, offered: Offers, profile: str, stage: str | None, *, local_only: bool = False) -> Route:
    """As a recipe's step asks, without a resolver that knows other lists."""
    request = make_request(bundle.agent("self"), step=StepChoice(profile=profile, stage=stage), local_only=local_only, now=NOW)
    return route(bundle, request, offered, Resolver())


def chain(found: Route) -> list[str]:
    return [f"{candidate.provider}/{candidate.model}" for candidate in found.candidates]


def first(found: Route) -> Candidate:
    assert found.chosen is not None, str(found)
    return found.chosen


def price(candidate: Candidate) -> tuple[Decimal, Decimal]:
    """Dollars for a million tokens, in and out, of a short prompt: by the price book."""
    known = PriceBook(()).priced(sale_of(candidate, None, {}), NOW).price
    assert known is not None, str(candidate)
    return known.input[0][1], known.output[0][1]


def rank(bundle: Bundle, candidate: Candidate) -> int:
    """The lowest tier that has the model, counted from the cheapest."""
    places = [
        place
        for place, tier in enumerate(bundle.tier_order)
        for item in bundle.tiers[tier]
        if item.provider == candidate.provider and fnmatchcase(candidate.model, item.model)
    ]
    assert places, str(candidate)
    return min(places)


@pytest.mark.requirement("PRO-1")
def test_one_bundle_has_the_four_profiles_and_no_other(foundation: Bundle) -> None:
    assert tuple(foundation.profiles) == PROFILES
    assert foundation.layers == ("foundation",)
    offered = offers()
    for stage in ("planning", "implementation", "summary"):
        dear, cheap = (price(first(routed(foundation, offered, profile, stage))) for profile in ("quality", "cost"))
        assert dear > cheap, "quality and cost are changed within the one bundle"


@pytest.mark.requirement("PRO-2")
def test_the_route_goes_by_profile_and_by_stage(foundation: Bundle) -> None:
    offered = offers()
    chains = {(profile, stage): chain(routed(foundation, offered, profile, stage)) for profile in PROFILES for stage in STAGES}
    for profile in PROFILES:
        assert chains[profile, "planning"] != chains[profile, "summary"], profile
        assert chains[profile, "implementation"] != chains[profile, "planning"] or profile == "cost"
    for stage in STAGES:
        for one, other in combinations(PROFILES, 2):
            assert chains[one, stage] != chains[other, stage], (stage, one, other)


@pytest.mark.requirement("PRO-3")
def test_balanced_is_the_profile_of_a_run_that_is_given_none(foundation: Bundle) -> None:
    assert foundation.default_profile == "balanced"
    own = Recipe(name="feature-loop", variables={"model_profile": Variable(type="text", default="")})
    for loop in (foundation.recipe("task-loop"), own):
        found = stage_profiles(foundation, loop, {})
        assert found.root == "balanced"
        assert {found.profile_of(stage) for stage in STAGES if stage not in ("summary", "analysis")} == {"balanced"}


@pytest.mark.requirement("PRO-4")
@pytest.mark.parametrize("stage", ["planning", "synthesis"])
def test_quality_plans_on_a_higher_tier_than_balanced(foundation: Bundle, stage: str) -> None:
    for lists in (None, OLD):
        for ids in (CLOUD, ("anthropic",), ("github-copilot",)):
            offered = offers(ids, lists)
            quality, balanced = (first(routed(foundation, offered, profile, stage)) for profile in ("quality", "balanced"))
            assert rank(foundation, quality) > rank(foundation, balanced), f"{quality} and {balanced}"


@pytest.mark.requirement("PRO-5")
def test_cost_is_never_dearer_than_balanced(foundation: Bundle) -> None:
    """Whatever is mounted, and whichever models a list has: by the prices that calls are charged at."""
    looked_at = 0
    subsets = [ids for size in range(1, 4) for ids in combinations(("anthropic", "openai", "google"), size)]
    shorter = [OLD | {name: OLD[name][:-cut]} for name in ("anthropic", "openai", "google") for cut in (1, 2)]
    shorter += [OLD | {"google": ("gemini-2.5-flash", "gemini-3.1-pro-preview")}, {"openai": ("gpt-5-mini", "gpt-5.2")}]
    for lists in (None, OLD, *shorter):
        for ids in subsets:
            offered = offers(ids, lists)
            for stage in STAGES:
                cost, balanced = (routed(foundation, offered, profile, stage) for profile in ("cost", "balanced"))
                if cost.chosen is None or balanced.chosen is None:
                    continue
                looked_at += 1
                cheap, usual = price(cost.chosen), price(balanced.chosen)
                assert cheap[0] <= usual[0], (ids, stage, str(cost.chosen), str(balanced.chosen))
                assert cheap[1] <= usual[1], (ids, stage, str(cost.chosen), str(balanced.chosen))
    assert looked_at > 300
    for stage in ("verification", "summary"):
        only = offers(("openai",))
        assert price(first(routed(foundation, only, "cost", stage))) < price(first(routed(foundation, only, "balanced", stage)))


@pytest.mark.requirement("PRO-6")
def test_local_begins_on_a_local_provider_in_every_stage(foundation: Bundle) -> None:
    for own in HERE:
        offered = offers((*CLOUD, own))
        for stage in (*STAGES, "any-other-stage"):
            found = routed(foundation, offered, "local", stage)
            assert first(found).provider == own
            assert first(found).local, f"{stage}: {first(found)} does not run on this machine"
            assert "cloud" not in first(found).model, "Ollama passes these on"
            assert found.notes == ()


def test_local_providers_that_a_list_does_not_name_stand_behind_those_that_it_does(foundation: Bundle) -> None:
    found = routed(foundation, offers(("anthropic", "of-our-own", "ollama", "lmstudio")), "local", "summary")
    assert [candidate.provider for candidate in found.candidates] == ["ollama", "lmstudio", "of-our-own", "anthropic"]
    cost = routed(foundation, offers(("anthropic", "of-our-own")), "cost", "summary")
    assert [candidate.provider for candidate in cost.candidates] == ["anthropic"]


@pytest.mark.requirement("PRO-7")
def test_local_works_offline(foundation: Bundle) -> None:
    for own in HERE:
        offered = offers((*CLOUD, own), down=CLOUD)
        for stage in (*STAGES, "any-other-stage"):
            found = routed(foundation, offered, "local", stage)
            assert {candidate.provider for candidate in found.candidates} == {own}
            assert {rejection.provider for rejection in found.rejections} >= set(CLOUD)


def test_local_says_so_when_the_work_leaves_the_machine(foundation: Bundle) -> None:
    for offered in (offers(CLOUD), offers((*CLOUD, "ollama"), down=("ollama",))):
        for stage in STAGES:
            found = routed(foundation, offered, "local", stage)
            model = first(found)
            assert model.provider == "anthropic"
            assert found.notes == (f"profile local: anthropic/{model.model} is not on this machine, so the work leaves it",)
            kept = routed(foundation, offered, "local", stage, local_only=True)
            assert kept.candidates == (), "only local_only is a boundary, and it is one"


@pytest.mark.requirement("PRO-27", "PRO-28", "PRO-29")
def test_every_profile_and_stage_prefers_models_of_all_three_vendors(foundation: Bundle) -> None:
    for profile, cells in foundation.profiles.items():
        for stage, cell in cells.items():
            named = list(dict.fromkeys(item.provider for item in cell if item.provider not in LOCAL))
            assert named == list(CLOUD), (profile, stage)


@pytest.mark.requirement("PRO-30")
def test_the_order_of_gemini_is_walked_as_its_models_go(foundation: Bundle) -> None:
    models = ["gemini-3.1-pro-preview-customtools", "gemini-3.1-pro-preview", "gemini-3-pro-preview"]
    for profile in ("balanced", "quality", "local"):
        written = [item.model for item in foundation.profile(profile, "implementation") if item.provider == "google"]
        assert written == list(GEMINI)
        for gone in range(len(models) + 1):
            listed = ["gemini-2.5-flash", *models[gone:]]
            found = routed(foundation, offers(("google",), {"google": listed}), profile, "implementation")
            assert chain(found) == [f"google/{model}" for model in models[gone:]]
        dated = ["gemini-3.1-pro-preview-customtools-05-2026", "gemini-3.1-pro-preview-06-2026", "gemini-3-pro-preview-11-2025"]
        found = routed(foundation, offers(("google",), {"google": dated[::-1]}), profile, "implementation")
        assert chain(found) == [f"google/{model}" for model in dated]
    for profile, cells in foundation.profiles.items():
        for stage, cell in cells.items():
            pro = [item.model for item in cell if item.provider == "google" and "pro" in item.model]
            assert pro in ([], list(GEMINI), list(GEMINI[1:])), (profile, stage)


@pytest.mark.requirement("PRO-31")
def test_the_model_for_many_tools_is_asked_first_only_where_there_are_many(foundation: Bundle) -> None:
    listed = ("gemini-2.5-flash", "gemini-3.1-pro-preview-customtools", "gemini-3.1-pro-preview")
    for lists in (None, {"google": listed}, {"google": listed[::-1]}):
        offered = offers(("google",), lists)
        for profile in PROFILES:
            for stage in STAGES:
                model = first(routed(foundation, offered, profile, stage)).model
                tools = stage == "implementation" and profile != "cost"
                assert (model == "gemini-3.1-pro-preview-customtools") is tools, (profile, stage, model)
        started = {
            (profile, stage)
            for profile in PROFILES
            for stage in STAGES
            if first(routed(foundation, offered, profile, stage)).preference.model == GEMINI[1]
        }
        assert {(profile, "planning") for profile in ("balanced", "quality", "local")} <= started
        for profile, stage in started:
            assert first(routed(foundation, offered, profile, stage)).model == "gemini-3.1-pro-preview"


@pytest.mark.requirement("PRO-32")
def test_ollama_is_what_local_asks_first(foundation: Bundle) -> None:
    for stage, cell in foundation.profiles["local"].items():
        assert cell[0].provider == "ollama", stage
    coder = first(routed(foundation, offers(lists=OLD), "local", "implementation"))
    assert str(coder) == "ollama/qwen2.5-coder:7b"


@pytest.mark.requirement("PRO-20")
def test_implementation_uses_balanced_models_by_default(foundation: Bundle) -> None:
    profile = stage_profiles(foundation, foundation.recipe("task-loop"), {}).profile_of("implementation")
    assert profile == "balanced"
    offered = offers(lists=OLD)
    model = first(routed(foundation, offered, str(profile), "implementation"))
    assert str(model) == "anthropic/claude-sonnet-4-6"
    others = [first(routed(foundation, offered, name, "implementation")) for name in ("cost", "quality")]
    assert price(others[0]) < price(model) < price(others[1])


def test_stages_are_weighted_as_far_as_tiers_and_prices_decide(foundation: Bundle) -> None:
    """Planning and synthesis for quality, verification and summaries for cost, whatever the profile."""
    offered = offers(CLOUD, OLD)
    for profile in ("balanced", "quality"):
        ranks = {stage: rank(foundation, first(routed(foundation, offered, profile, stage))) for stage in STAGES}
        costs = {stage: price(first(routed(foundation, offered, profile, stage))) for stage in STAGES}
        for thinking in ("planning", "synthesis"):
            assert ranks[thinking] == max(ranks.values())
            for routine in ("verification", "summary", "analysis"):
                assert ranks[routine] < ranks[thinking]
                assert costs[routine] == min(costs.values())


def test_a_bundle_adds_profiles_and_stages_of_its_own(tmp_path: Path) -> None:
    text = """includes: [foundation]
default_profile: thrift
profiles:
  thrift: {default: budget, planning: strong, painting: [openai/gpt-4o], stage_profiles: {summary: local, painting: cost}}
  balanced: {painting: frontier, planning: [openai/gpt-5-mini, base], stage_profiles: {summary: null, review: quality}}
  local: {local_first: false}
  quality: null
"""
    bundle = load(tmp_path, "b.yaml", {"b.yaml": text}, strict=True)
    assert list(bundle.profiles) == ["balanced", "cost", "local", "thrift"]
    assert bundle.stage_profiles["balanced"] == {"analysis": "cost", "review": "quality"}
    assert bundle.stage_profiles["thrift"] == {"summary": "local", "painting": "cost"}
    assert (bundle.local_first, bundle.default_profile) == ((), "thrift")
    assert bundle.profiles["balanced"]["planning"][0] == Preference(provider="openai", model="gpt-5-mini")
    assert len(bundle.profiles["balanced"]["planning"]) == 6
    offered = offers(lists=OLD)
    assert str(first(routed(bundle, offered, "thrift", "painting"))) == "openai/gpt-4o"
    assert str(first(routed(bundle, offered, "balanced", "painting"))) == "anthropic/claude-opus-4-6"
    assert str(first(routed(bundle, offered, "thrift", "unheard-of"))) == "anthropic/claude-haiku-4-5-20251001"
    assert routed(bundle, offers(CLOUD), "local", None).notes == ()
    loop = Recipe(name="loop", variables={"model_profile": Variable()})
    found = stage_profiles(bundle, loop, {})
    assert [found.profile_of(stage) for stage in ("planning", "summary", "painting", None)] == [
        "thrift",
        "local",
        "cost",
        "thrift",
    ]
    lost = stage_profiles(bundle, loop, {"model_profile": "balanced"})
    assert lost.profile_of("review") == "balanced"
    assert lost.warnings == (
        "profiles.balanced.stage_profiles.review: 'quality' is no profile of the bundle and is left out;"
        " write one of balanced, cost, local, thrift",
    )
