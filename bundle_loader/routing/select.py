"""Who decides: the list of preferences that is routed, and the number of the rule that gave it."""

from __future__ import annotations

from dataclasses import dataclass

from bundle_loader.declared.agent import Agent
from bundle_loader.declared.bundle import SELF, Bundle
from bundle_loader.declared.preference import Preference
from bundle_loader.errors import RequestError
from bundle_loader.routing.request import DecidedBy, Request


@dataclass(frozen=True, slots=True)
class Selection:
    """A list, and who gave it."""

    preferences: tuple[Preference, ...]
    decided_by: DecidedBy
    decision: str
    tier: str | None = None
    notes: tuple[str, ...] = ()
    refused: tuple[tuple[Preference, str], ...] = ()
    """Preferences that the caller's bare provider filtered out, with the reason."""


def select(bundle: Bundle, request: Request, canonical: dict[str, str] | None = None) -> Selection:
    """The first that speaks wins. Raises RequestError for an unknown tier, role or profile, or when nobody speaks.

    `canonical` maps provider aliases to ids, for the caller's bare `provider`.
    """
    chosen = (
        _caller(bundle, request) or _agent(bundle, request.agent) or _bundle(bundle, request.agent) or _parent(bundle, request)
    )
    if chosen is None:
        raise RequestError(_nobody(bundle, request.agent))
    return _filtered(chosen, request.provider, canonical or {})


def _caller(bundle: Bundle, request: Request) -> Selection | None:
    """1. the caller: `preferences`, or `model`; else `tier`, `role` or `profile`."""
    by = DecidedBy.CALLER
    if request.preferences is not None:
        return Selection(request.preferences, by, "its own list")
    if request.tier is not None:
        return Selection(bundle.tier(request.tier), by, f"tier {request.tier}", request.tier)
    if request.role is not None:
        return Selection(bundle.role(request.role), by, f"role {request.role}")
    if request.profile is not None:
        stage = f", stage {request.stage}" if request.stage else ""
        return Selection(bundle.profile(request.profile, request.stage), by, f"profile {request.profile}{stage}")
    return None


def _agent(bundle: Bundle, agent: Agent) -> Selection | None:
    """4. the agent, as the most derived layer left it."""
    by = DecidedBy.AGENT
    if agent.slot == "role":
        role = next(role for role in agent.model_role if role in bundle.roles)
        return Selection(bundle.roles[role], by, f"{agent.name}, role {role}", agent.tier)
    if agent.slot == "list":
        label = f", tier {agent.tier}" if agent.tier else ""
        return Selection(agent.preferences, by, f"{agent.name}, its own list{label}", agent.tier)
    if agent.slot == "tier" and agent.tier is not None:
        return Selection(bundle.tier(agent.tier), by, f"{agent.name}, tier {agent.tier}", agent.tier)
    return None


def _bundle(bundle: Bundle, agent: Agent) -> Selection | None:
    """5. the bundle's `default` tier (not for `self`)."""
    if bundle.default is None or agent.name == SELF:
        return None
    return Selection(
        bundle.tier(bundle.default), DecidedBy.BUNDLE, f"default tier {bundle.default}", bundle.default, _unmet(bundle, agent)
    )


def _parent(bundle: Bundle, request: Request) -> Selection | None:
    """6. the parent: its candidate, then the rest of its route."""
    if not request.parent:
        return None
    preferences = tuple(Preference(provider=provider, model=model) for provider, model in request.parent)
    return Selection(preferences, DecidedBy.PARENT, f"inherits {preferences[0]}", notes=_unmet(bundle, request.agent))


def _unmet(bundle: Bundle, agent: Agent) -> tuple[str, ...]:
    if agent.model_role and agent.slot is None:
        return (f"no table in bundle '{bundle.name}' has the role {' or '.join(agent.model_role)}",)
    return ()


def _nobody(bundle: Bundle, agent: Agent) -> str:
    wants = "inherits its caller's model" if agent.name == SELF else "says nothing about models"
    if agent.model_role and agent.slot is None:
        wants = f"names only the role {' or '.join(agent.model_role)}, which no table in bundle '{bundle.name}' has"
    remedy = "" if agent.name == SELF else ", write 'default: <tier>' in the bundle, or a tier in the agent"
    give = f"give parent='provider/model' or preferences{remedy}"
    return f"agent '{agent.name}' {wants}, and there is no caller to inherit from; {give}"


def _filtered(selection: Selection, provider: str | None, canonical: dict[str, str]) -> Selection:
    """A bare `provider` is a filter on whichever list won, never a list of its own."""
    if provider is None:
        return selection
    wanted = canonical.get(provider, provider)
    kept = tuple(item for item in selection.preferences if wanted in (item.provider, canonical.get(item.provider)))
    refused = tuple(
        (item, f"the caller asks for provider '{provider}' only") for item in selection.preferences if item not in kept
    )
    return Selection(
        kept, selection.decided_by, f"{selection.decision}, provider {provider} only", selection.tier, selection.notes, refused
    )
