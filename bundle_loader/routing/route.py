"""Selection, resolution and gates in one walk: every preference ends as a candidate or as a rejection."""

from __future__ import annotations

from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.preference import Preference
from bundle_loader.routing.candidate import Candidate, Rejection, Route
from bundle_loader.routing.catalogue import ModelInfo
from bundle_loader.routing.gates import FORBIDDEN, reason_against
from bundle_loader.routing.offer import Offer, Offers
from bundle_loader.routing.request import Request
from bundle_loader.routing.resolve import Resolver
from bundle_loader.routing.select import Selection, mandated, select


def route(bundle: Bundle, request: Request, offers: Offers, resolver: Resolver) -> Route:
    """The route for one request over what the providers offer now. Pure: the same values give the same route."""
    return route_selection(select(bundle, request, dict(offers.aliases)), mandated(bundle, request), offers, resolver)


def route_selection(selection: Selection, request: Request, offers: Offers, resolver: Resolver) -> Route:
    """As `route`, for a list that was already selected."""
    candidates: list[Candidate] = []
    rejections = [Rejection(item.provider, item.model, reason, item) for item, reason in selection.refused]
    notes = list(selection.notes)
    for preference in selection.preferences:
        found = _admit(preference, request, offers, resolver, candidates)
        if isinstance(found, Candidate):
            candidates.append(found)
        else:
            rejections.append(found)
        offer = offers.find(preference.provider)
        if offer is not None and offer.note is not None and offer.note not in notes:
            notes.append(offer.note)
    return Route(
        request.agent.name,
        tuple(candidates),
        tuple(rejections),
        selection.decided_by,
        selection.decision,
        selection.tier,
        tuple(notes),
    )


def _admit(
    preference: Preference, request: Request, offers: Offers, resolver: Resolver, earlier: list[Candidate]
) -> Candidate | Rejection:
    """A preference gives one candidate: the best model that passes the gates."""
    offer, resolved = resolver.resolve(preference, offers)
    if offer is None or resolved.reason is not None:
        return _reject(preference, resolved.reason or "")
    reasons: list[str] = []
    best: ModelInfo | None = None
    for model in resolved.models:
        reason = reason_against(request, offer, model)
        if reason is not None:
            reasons += [reason] if reason not in reasons else []
        elif best is None:
            best = model
        else:
            return _candidate(preference, request, offer, best, model, resolved.stands_for, earlier)
    if best is not None:
        return _candidate(preference, request, offer, best, None, resolved.stands_for, earlier)
    reasons.sort(key=lambda reason: not reason.startswith(FORBIDDEN))
    shown = "; ".join(reasons[:3])
    return _reject(preference, shown if len(reasons) <= 3 else f"{shown}; and {len(reasons) - 3} more")


def _candidate(
    preference: Preference,
    request: Request,
    offer: Offer,
    model: ModelInfo,
    spare: ModelInfo | None,
    written: str | None,
    earlier: list[Candidate],
) -> Candidate | Rejection:
    # Not deciders. Config: agent.config < preference.config < caller.
    config = {**request.agent.config, **preference.config, **request.config}
    for other in earlier:
        if other.provider == offer.provider and other.model == model.id and other.config == config:
            return _reject(preference, f"{model.id} is already a candidate, by {other.preference}")
    simulated = offer.catalogue is not None and offer.catalogue.simulated
    return Candidate(offer.provider, model.id, preference, config, model, spare, written, offer.local, simulated)


def _reject(preference: Preference, reason: str) -> Rejection:
    return Rejection(preference.provider, preference.model, reason, preference)
