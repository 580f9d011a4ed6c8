"""Gates: each takes a model that could serve and gives a reason why it may not, or nothing. Unknown never rejects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Final, TypeAlias

from bundle_loader.routing.candidate import Candidate
from bundle_loader.routing.catalogue import ModelInfo
from bundle_loader.routing.charged import CallFacts
from bundle_loader.routing.model_names import family, matches, snapshots_of
from bundle_loader.routing.offer import Offer
from bundle_loader.routing.price import FREE, Price
from bundle_loader.routing.request import Request
from bundle_loader.routing.standing import Bar, Down, Standing, Wish, bar_against

Gate: TypeAlias = Callable[[Request, Offer, ModelInfo], str | None]


def boundary(request: Request, offer: Offer, model: ModelInfo) -> str | None:
    """`local_only` forbids whatever leaves the machine or its private network."""
    if not request.local_only or runs_here(offer, model):
        return None
    return f"local_only: {f'{model.id} of {offer.provider}' if offer.local else offer.provider} is not local"


def runs_here(offer: Offer, model: ModelInfo) -> bool:
    """Whether nothing that is sent to the model leaves the machine or its private network."""
    return offer.local and model.local is not False


def kind(request: Request, offer: Offer, model: ModelInfo) -> str | None:
    """Only models that hold a conversation can be delegated to."""
    if model.kind is not None and model.kind != "chat":
        return f"{model.id} is {'' if model.kind == 'other' else f'for {model.kind}, '}not for chat"
    return None


def stage(request: Request, offer: Offer, model: ModelInfo) -> str | None:
    """A retired model answers nobody, nor does one whose last day has passed, nor one that the account may not use."""
    ends = model.retires
    if ends is not None and request.now is not None and ends.timestamp() <= request.now:
        return f"{model.id} is retired since {ends.date()}"
    if model.stage == "retired":
        return f"{model.id} is retired"
    return f"{model.id}: {model.barred}" if model.barred is not None else None


def ending(model: ModelInfo) -> str | None:
    """What there is to say of a model that its provider will end."""
    if model.retires is not None:
        return f"is deprecated and ends on {model.retires.date()}"
    return "is deprecated" if model.stage == "deprecated" else None


def capability(request: Request, offer: Offer, model: ModelInfo) -> str | None:
    """A model that is known to lack what the work needs is not asked."""
    if model.capabilities is None:
        return None
    lacking = [said for word, said in LACKING.items() if word in request.needs and word not in model.capabilities]
    return f"{model.id} {' and '.join(lacking)}" if lacking else None


LACKING: Final[Mapping[str, str]] = {
    "tools": "takes no tools",
    "vision": "takes no images",
    "structured": "gives no structured output",
    "reasoning": "does not reason",
}
"""A capability that work may need -> what is said of a model without it."""


def window(request: Request, offer: Offer, model: ModelInfo) -> str | None:
    """A prompt that is known not to fit is not sent."""
    if request.input_floor is not None and model.window is not None and request.input_floor > model.window:
        return f"{model.id} takes {model.window} tokens, the prompt has at least {request.input_floor}"
    return None


def mandate(request: Request, offer: Offer, model: ModelInfo) -> str | None:
    """What the organisation made mandatory for an agent is never replaced by anybody's choice."""
    if request.mandate is None:
        return None
    names = (offer.provider, *offer.names)
    allowed = request.mandate.preferences
    if any(item.provider in names and _means(item.model, model) for item in allowed):
        return None
    return f"{FORBIDDEN}{request.mandate.setting} allows only {', '.join(map(str, allowed))}"


def _means(written: str, model: ModelInfo) -> bool:
    """A glob that takes it, its id, its alias, or the undated name of a snapshot."""
    return any(matches(written, id) for id in (model.id, *model.aliases)) or bool(snapshots_of(written, [model.id]))


FORBIDDEN: Final = "forbidden: "
"""How the reason of a mandate begins."""

GATES: Final[tuple[Gate, ...]] = (boundary, kind, stage, capability, window, mandate)
"""In the order in which they are asked; `health` and then `budget` come after all of them."""

PriceOf: TypeAlias = Callable[[Candidate], Price | None]


def local_is_free(candidate: Candidate) -> Price | None:
    """What is known of a price without any book of prices."""
    return FREE if candidate.local else None


def health(candidate: Candidate, standing: Standing) -> Down | None:
    """A provider, or a model, that is known to be down."""
    if not standing.down:
        return None
    return standing.down.get((candidate.provider, None)) or standing.down.get((candidate.provider, candidate.model))


def budget(request: Request, candidate: Candidate, tier: str | None, standing: Standing, price_of: PriceOf) -> Bar | None:
    """A budget that is used up, or a model family that its vendor has closed, until after the deadline.

    Advisory, by what is settled: the meter takes what must be exact.
    """
    if not standing.accounts and not standing.closed:
        return None
    # a budget for each delegation tree begins anew with this one, so no account of any other tree is meant
    profile, stage = request.in_force
    facts = CallFacts(
        candidate.provider, candidate.model, family(candidate.model), request.agent.name, "",
        profile, stage, request.role, tier, request.tags,
    )  # fmt: skip
    said = candidate.config.get("max_tokens")
    listed = candidate.info.output_limit if candidate.info is not None else None
    most = said if isinstance(said, int) else listed
    return bar_against(standing, Wish(facts, price_of(candidate), request.input_floor or 0, most, request.deadline))


def gates_of(request: Request) -> tuple[Gate, ...]:
    """The gates that can have anything against a model for this request, in their order."""
    return _asked(request.local_only, bool(request.needs), request.input_floor is not None, request.mandate is not None)


@cache
def _asked(local_only: bool, needy: bool, large: bool, mandated: bool) -> tuple[Gate, ...]:
    idle: dict[Gate, bool] = {boundary: not local_only, capability: not needy, window: not large, mandate: not mandated}
    return tuple(gate for gate in GATES if not idle.get(gate))


def reason_against(request: Request, offer: Offer, model: ModelInfo, gates: tuple[Gate, ...] = GATES) -> str | None:
    """The first gate's reason, or None when the model may be tried."""
    for gate in gates:
        reason = gate(request, offer, model)
        if reason is not None:
            return reason
    return None
