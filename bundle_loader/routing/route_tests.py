"""A bundle's own `tests`: each routed over what the providers offer, and what came held against what was expected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.models_lock import ModelsLock
from bundle_loader.declared.tables import Expectation, RouteTest
from bundle_loader.declared.tree import path_text, position, written_path
from bundle_loader.errors import DeclarationError, Fault, RequestError
from bundle_loader.routing.candidate import Candidate, Rejection, Route
from bundle_loader.routing.model_names import is_pattern, matches
from bundle_loader.routing.offer import Offers
from bundle_loader.routing.request import Request, make_request
from bundle_loader.routing.resolve import UNLOCKED, Resolver
from bundle_loader.routing.route import route

RULE = "route-test"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One test: what came of it, and the fault where that is not what was expected."""

    test: RouteTest
    route: Route | None = None
    """None where it could not be routed at all."""
    fault: Fault | None = None


def run_tests(bundle: Bundle, offers: Offers, lock: ModelsLock = UNLOCKED) -> list[Outcome]:
    """The outcome of every test of a bundle, in order. Pure: the same values give the same outcomes."""
    resolver = Resolver(lock, bundle.model_order)
    return [_outcome(bundle, index, test, offers, resolver) for index, test in enumerate(bundle.tests)]


def _outcome(bundle: Bundle, index: int, test: RouteTest, offers: Offers, resolver: Resolver) -> Outcome:
    try:
        found = route(bundle, _request(bundle, test), offers, resolver)
    except (RequestError, DeclarationError) as error:
        return Outcome(test, None, _fault(bundle, index, test, f"cannot be routed: {error}"))
    wrong = list(_differences(test.expect, found, offers.aliases))
    if not wrong:
        return Outcome(test, found)
    rejections = "; ".join(map(str, found.rejections)) or "nothing"
    by = f"decided by {found.decided_by} ({found.decided_by.number}): {found.decision}"
    return Outcome(test, found, _fault(bundle, index, test, f"{'; '.join(wrong)}. It was {by}. Rejected: {rejections}"))


def _request(bundle: Bundle, test: RouteTest) -> Request:
    return make_request(
        bundle.agent(test.agent),
        preferences=test.preferences,
        provider=test.provider,
        model=test.model,
        tier=test.tier,
        role=test.role,
        profile=test.profile,
        stage=test.stage,
        parent=test.parent,
    )


def _fault(bundle: Bundle, index: int, test: RouteTest, message: str) -> Fault:
    header = bundle.header
    path: tuple[str | int, ...] = ("tests", index)
    place = position(header, path) if header is not None else ("", 0, 0)
    key = path_text(path if header is None else written_path(header, path))
    called = f"'{test.name}', " if test.name else ""
    return Fault(*place, key, f"{called}agent {test.agent}: {message}", rule=RULE)


def _differences(expect: Expectation, found: Route, aliases: Mapping[str, str]) -> Iterator[str]:
    """Each thing that did not come as expected, in words."""
    chosen = found.chosen
    came = f"{chosen.provider}/{chosen.model}" if chosen else "no candidate"
    provider = None if expect.provider is None else aliases.get(expect.provider, expect.provider)
    right_provider = provider is None or (chosen is not None and chosen.provider in (provider, expect.provider))
    right_model = expect.model is None or (chosen is not None and _is_model(expect.model, chosen))
    if not right_provider or not right_model:
        yield f"expected {_wanted(expect)}, got {came}"
    if expect.tier is not None and found.tier != expect.tier:
        yield f"expected tier {expect.tier}, got {found.tier or 'none'}"
    if expect.decided_by is not None and found.decided_by.value != expect.decided_by:
        yield f"expected it decided by {expect.decided_by}, got {found.decided_by}"
    for wanted in expect.rejected:
        if not any(_is_rejected(wanted, rejection, aliases) for rejection in found.rejections):
            yield f"expected {wanted} rejected, which it is not"


def _wanted(expect: Expectation) -> str:
    if expect.provider is None:
        return f"model {expect.model}"
    return f"{expect.provider}/{expect.model}" if expect.model is not None else f"provider {expect.provider}"


def _is_model(written: str, chosen: Candidate) -> bool:
    if is_pattern(written):
        return matches(written, chosen.model)
    return written.casefold() in (chosen.model.casefold(), (chosen.stands_for or "").casefold())


def _is_rejected(wanted: str, rejection: Rejection, aliases: Mapping[str, str]) -> bool:
    """`provider/model` as the preference has it, or a provider alone."""
    provider, slash, model = wanted.partition("/")
    same = aliases.get(provider, provider) == aliases.get(rejection.provider, rejection.provider)
    return same and (not slash or model == rejection.model)
