"""Selection, resolution and gates in one walk: every preference ends as a candidate or as a rejection."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.preference import Preference
from bundle_loader.routing.candidate import Candidate, Passed, Rejection, Route
from bundle_loader.routing.catalogue import Catalogue, ModelInfo
from bundle_loader.routing.gates import (
    FORBIDDEN,
    PriceOf,
    budget,
    ending,
    gates_of,
    health,
    local_is_free,
    reason_against,
    runs_here,
)
from bundle_loader.routing.offer import Offer, Offers
from bundle_loader.routing.request import Request
from bundle_loader.routing.resolve import Resolved, Resolver
from bundle_loader.routing.select import Selection, mandated, select
from bundle_loader.routing.standing import NOTHING, Bar, Down, Standing


def route(
    bundle: Bundle,
    request: Request,
    offers: Offers,
    resolver: Resolver,
    standing: Standing = NOTHING,
    price_of: PriceOf = local_is_free,
) -> Route:
    """The route for one request over what the providers offer now. Pure: the same values give the same route.

    `standing` is what the ledger knows; `price_of` gives the price of a candidate, or None where it is not known.
    """
    here = [id for id, offer in offers.by_id.items() if offer.local and offer.configured]
    selection = select(bundle, request, offers.aliases, offers.kinds, here)
    return route_selection(selection, mandated(bundle, request), offers, resolver, standing, price_of)


def route_selection(
    selection: Selection,
    request: Request,
    offers: Offers,
    resolver: Resolver,
    standing: Standing = NOTHING,
    price_of: PriceOf = local_is_free,
) -> Route:
    """As `route`, for a list that was already selected."""
    walk = _Walk(request, selection, standing, price_of)
    rejections = [Rejection(item.provider, item.model, reason, item) for item, reason in selection.refused]
    notes = list(selection.notes)
    for preference in selection.preferences:
        for offer, resolved in resolver.resolve(preference, offers):
            found = walk.admit(preference, offer, resolved)
            if isinstance(found, Candidate):
                walk.candidates.append(found)
            else:
                rejections.append(found)
            for note in (None if offer is None else offer.note, resolved.note):
                if note is not None and note not in notes:
                    notes.append(note)
    made = Route(
        request.agent.name,
        tuple(walk.candidates),
        tuple(rejections),
        selection.decided_by,
        selection.decision,
        selection.tier,
        tuple(notes + walk.notes),
        tuple(walk.barred),
        tuple(walk.waiting),
        tuple(walk.passed),
        selection.local_first,
    )
    leaving = made.leaving(made.chosen) if made.chosen is not None else None
    return made if leaving is None else replace(made, notes=(*made.notes, leaving))


def still_open(route: Route, request: Request, standing: Standing, price_of: PriceOf) -> bool:
    """Whether what the ledger knows now has nothing against any candidate of a route."""
    return all(
        health(candidate, standing) is None and budget(request, candidate, route.tier, standing, price_of) is None
        for candidate in route.candidates
    )


def readmitted(
    request: Request, candidate: Candidate, offer: Offer | None, tier: str | None, standing: Standing, price_of: PriceOf
) -> str | None:
    """What a gate has against a candidate that had passed them all before; None where it passes again.

    1. `offer` is the last that is known of its provider, however old; without one the candidate's own information holds.
    2. A model is judged as the newest list has it; one that is not on it any more is not asked.
    3. What is down, and what budgets hold back for a time, is left to the meter, which says when to ask again.
    """
    if offer is None:
        offer = Offer(candidate.provider, local=candidate.local, names=(candidate.preference.provider,))
    if not offer.configured:
        return offer.reason
    model = candidate.info or ModelInfo(candidate.model)
    if offer.catalogue is not None:
        listed = _listed_now(offer.catalogue, candidate.model)
        if listed is None:
            return f"{candidate.model} is not listed any more"
        model = listed
    reason = reason_against(request, offer, model, gates_of(request))
    if reason is not None or health(candidate, standing) is not None:
        return reason
    bar = budget(request, replace(candidate, info=model, local=runs_here(offer, model)), tier, standing, price_of)
    # an emergency tier takes over from the meter's refusal only
    return bar.reason if bar is not None and bar.renews is None and bar.emergency is None else None


def _listed_now(catalogue: Catalogue, id: str) -> ModelInfo | None:
    """The model of that id, else one that the list now gives another id, with this one as an alias."""
    by_id = next((model for model in catalogue.models if model.id == id), None)
    return by_id or next((model for model in catalogue.models if id in model.aliases), None)


class _Walk:
    """The candidates so far, and what budgets had against others."""

    def __init__(self, request: Request, selection: Selection, standing: Standing, price_of: PriceOf) -> None:
        self.candidates: list[Candidate] = []
        self.barred: list[Bar] = []
        self.notes: list[str] = []
        self._request = request
        self._gates = gates_of(request)
        self._tier = selection.tier
        self._local_first = bool(selection.local_first)
        self._standing = standing
        self._price_of = price_of
        self.waiting: list[tuple[Candidate, Down]] = []
        self._limited = bool(standing.accounts or standing.closed or standing.down)
        self._down: list[tuple[Candidate, Down]] = []
        """Models of the preference at hand that are down."""
        self.passed: list[Passed] = []
        self._passed: list[tuple[str, str]] = []
        """Models of the preference at hand that budgets kept from being its best."""

    def admit(self, preference: Preference, offer: Offer | None, resolved: Resolved) -> Candidate | Rejection:
        """A preference gives one candidate: the best model that passes the gates.

        A profile that is `local_first` takes what a local provider runs on this machine before what it has run elsewhere.
        """
        if offer is None or resolved.reason is not None:
            return _reject(preference, offer, resolved.reason or "")
        reasons: list[str] = []
        best: ModelInfo | None = None
        models: Iterable[ModelInfo] = resolved.models
        if self._local_first and offer.local:
            models = sorted(models, key=lambda model: not runs_here(offer, model))
        for model in models:
            reason = reason_against(self._request, offer, model, self._gates)
            if reason is None and self._limited:
                reason = self._over(preference, offer, model, resolved.stands_for, best)
            if reason is not None:
                reasons += [reason] if reason not in reasons else []
            elif best is None:
                best = model
            else:
                return self._candidate(preference, offer, best, model, resolved.stands_for)
        if best is not None:
            return self._candidate(preference, offer, best, None, resolved.stands_for)
        self._passed.clear()
        self.waiting += self._down[:1]
        self._down.clear()
        reasons.sort(key=lambda reason: not reason.startswith(FORBIDDEN))
        shown = "; ".join(reasons[:3])
        return _reject(preference, offer, shown if len(reasons) <= 3 else f"{shown}; and {len(reasons) - 3} more")

    def _over(
        self, preference: Preference, offer: Offer, model: ModelInfo, written: str | None, best: ModelInfo | None
    ) -> str | None:
        """What its health or a budget has against a model; where it would have been the best one, that is told."""
        candidate = self._made(preference, offer, model, None, written)
        down = health(candidate, self._standing)
        if down is not None:
            self._down.append((candidate, down))
            reason = down.told(self._standing.taken)
            if best is None:
                self._passed.append((model.id, reason))
            return reason
        bar = budget(self._request, candidate, self._tier, self._standing, self._price_of)
        if bar is None:
            return None
        if bar not in self.barred:
            self.barred.append(bar)
        if best is None:
            self._passed.append((model.id, bar.reason))
        return bar.reason

    def _made(
        self, preference: Preference, offer: Offer, model: ModelInfo, spare: ModelInfo | None, written: str | None
    ) -> Candidate:
        # Not deciders. Config: agent.config < preference.config < caller.
        config = {**self._request.agent.config, **preference.config, **self._request.config}
        simulated = offer.catalogue is not None and offer.catalogue.simulated
        return Candidate(offer.provider, model.id, preference, config, model, spare, written, runs_here(offer, model), simulated)

    def _candidate(
        self, preference: Preference, offer: Offer, model: ModelInfo, spare: ModelInfo | None, written: str | None
    ) -> Candidate | Rejection:
        self._down.clear()
        passed = [Passed(offer.provider, id, model.id, reason) for id, reason in self._passed]
        self.notes += (str(one) for one in passed if str(one) not in self.notes)
        self._passed.clear()
        made = self._made(preference, offer, model, spare, written)
        ends = ending(model)
        if ends is not None and (note := f"{made.provider}/{model.id} {ends}") not in self.notes:
            self.notes.append(note)
        for other in self.candidates:
            if (other.provider, other.model) == (made.provider, made.model) and other.config == made.config:
                return _reject(preference, offer, f"{model.id} is already a candidate, by {other.preference}")
        self.passed += passed
        return made


def _reject(preference: Preference, offer: Offer | None, reason: str) -> Rejection:
    """Where a kind was preferred, its instance is named."""
    named = preference.provider if offer is None or offer.kind in (None, offer.provider) else offer.provider
    return Rejection(named, preference.model, reason, preference)
