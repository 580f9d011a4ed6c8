"""Who decides: the list of preferences that is routed, and the number of the rule that gave it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from bundle_loader.declared.agent import Agent
from bundle_loader.declared.bundle import SELF, Bundle
from bundle_loader.declared.preference import Preference
from bundle_loader.declared.recipe import RoleChoice, TierChoice
from bundle_loader.errors import RequestError
from bundle_loader.routing.request import DecidedBy, Request
from bundle_loader.routing.step import Listed, StepChoice


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
    local_first: str = ""
    """The profile that gave the list, where that is to warn when the work leaves this machine."""


def select(
    bundle: Bundle,
    request: Request,
    canonical: Mapping[str, str] | None = None,
    kinds: Mapping[str, str] | None = None,
    local: Iterable[str] = (),
) -> Selection:
    """The first that speaks wins. Raises RequestError for an unknown tier, role or profile, or when nobody speaks.

    A session that goes on keeps the list that it was begun with, whatever has become of bundle and settings since.
    `canonical` maps provider aliases to ids and `kinds` ids to what they are instances of, for the caller's bare `provider`;
    `local` are the mounted providers that run here, for profiles that are `local_first`.
    """
    begun = request.begun
    if begun is None:
        chosen = decided(bundle, request, canonical)
    else:
        said = f"{begun.decision}, as its session was begun"
        chosen = Selection(begun.preferences, begun.decided_by, said, begun.tier, local_first=begun.local_first)
    if chosen.local_first:
        chosen = _with_local(chosen, tuple(local), canonical or {}, kinds or {})
    return _filtered(chosen, request.provider, canonical or {}, kinds or {})


def decided(bundle: Bundle, request: Request, canonical: Mapping[str, str] | None = None) -> Selection:
    """As `select`, but as written: without what runs here and the caller's bare `provider`, and as if no session went on."""
    chosen = next((said for decide in DECIDERS.values() if (said := decide(bundle, request)) is not None), None)
    if chosen is None:
        raise RequestError(_nobody(bundle, request.agent, step=request.step is not None))
    spoken = chosen.decided_by is DecidedBy.CALLER
    if request.step is not None and not spoken and (lacking := roles_lacking(bundle, request.step)):
        chosen = replace(chosen, notes=(*chosen.notes, lacking))
    inherited = chosen.decided_by is DecidedBy.PARENT and request.parent
    if request.preferences is None and not inherited and not chosen.local_first and bundle.provider_order:
        chosen = _reordered(chosen, bundle.provider_order, canonical or {})
    return chosen


def mandated(bundle: Bundle, request: Request) -> Request:
    """The request with what the organisation made mandatory for its agent.

    Not deciders. A setting marked `mandatory: true` by the organisation never replaces the caller's list: it is a gate, and a
    choice that it forbids is a typed error that names the setting.
    """
    mandate = bundle.mandates.get(request.agent.name)
    return request if mandate is None else replace(request, mandate=mandate)


def _reordered(selection: Selection, order: tuple[str, ...], canonical: Mapping[str, str]) -> Selection:
    """Not deciders. Reordering of providers in settings is a stable sort, never applied to the caller's own list.

    Nor to what the parent runs on, nor to the cells of a profile that is `local_first`.
    """
    wanted = [canonical.get(name, name) for name in order]

    def place(item: Preference) -> int:
        provider = canonical.get(item.provider, item.provider)
        return wanted.index(provider) if provider in wanted else len(wanted)

    return replace(selection, preferences=tuple(sorted(selection.preferences, key=place)))


def _caller(bundle: Bundle, request: Request) -> Selection | None:
    """1. The caller: `preferences`, or `model` as "provider/glob" or with `provider` beside it (a list of one); else `tier`,
    `role` or `profile`.

    Not deciders. No profile is in force unless the caller, a recipe or a setting gives one.
    """
    by = DecidedBy.CALLER
    if request.preferences is not None:
        return Selection(request.preferences, by, "its own list")
    if request.tier is not None:
        return Selection(bundle.tier(request.tier), by, f"tier {request.tier}", request.tier)
    if request.role is not None:
        return Selection(bundle.role(request.role), by, f"role {request.role}")
    if request.profile is not None:
        return _cell(bundle, request.profile, request.in_force[1], by)
    return None


def _cell(bundle: Bundle, profile: str, stage: str | None, by: DecidedBy, who: str = "") -> Selection:
    cell = bundle.cell(profile, stage)
    decision = f"{who}profile {profile}{f', stage {stage}' if stage else ''}"
    tier = bundle.profile_tiers.get(profile, {}).get(cell)
    first = profile if profile in bundle.local_first else ""
    return Selection(bundle.profiles[profile][cell], by, decision, tier, local_first=first)


def _step(bundle: Bundle, request: Request) -> Selection | None:
    """2. The recipe step: its own preferences, tier or role, else the stage's cell of the profile in force."""
    step, by = request.step, DecidedBy.STEP
    if step is None:
        return None
    who = f"step {step.name}, " if step.name else "the step, "
    listed = _spliced(bundle, step.preferences)
    if listed:
        return Selection(listed, by, f"{who}its own list")
    if step.tier is not None:
        return Selection(bundle.tier(step.tier), by, f"{who}tier {step.tier}", step.tier)
    role = next((role for role in step.role if role in bundle.roles), None)
    if role is not None:
        return Selection(bundle.roles[role], by, f"{who}role {role}")
    profile, stage = request.in_force
    return None if profile is None else _cell(bundle, profile, stage, by, who)


def _spliced(bundle: Bundle, listed: tuple[Listed, ...]) -> tuple[Preference, ...]:
    found: list[Preference] = []
    for item in listed:
        if isinstance(item, TierChoice):
            found += bundle.tier(item.tier)
        elif isinstance(item, RoleChoice):
            found += bundle.roles.get(item.role, ())
        else:
            found.append(item)
    return tuple(found)


def _with_local(
    selection: Selection, local: tuple[str, ...], canonical: Mapping[str, str], kinds: Mapping[str, str]
) -> Selection:
    """A list that is local first, with the local providers that it does not name behind those that it does."""
    named = [canonical.get(item.provider, item.provider) for item in selection.preferences]
    more = tuple(Preference(provider=id, model="*") for id in local if id not in named and kinds.get(id) not in named)
    here = {*local, *(kinds[id] for id in local if id in kinds)}
    place = max((number for number, provider in enumerate(named, 1) if provider in here), default=0)
    return replace(selection, preferences=(*selection.preferences[:place], *more, *selection.preferences[place:]))


def roles_lacking(bundle: Bundle, step: StepChoice) -> str:
    """The roles by which a step would go and that no table has, or nothing."""
    lacking = [item.role for item in step.preferences if isinstance(item, RoleChoice) and item.role not in bundle.roles]
    if not step.preferences and step.tier is None and not any(role in bundle.roles for role in step.role):
        lacking += step.role
    if not lacking:
        return ""
    who = f"step {step.name}" if step.name else "the step"
    return f"{who}: no table in bundle '{bundle.name}' has the role {' or '.join(lacking)}"


def _pin(bundle: Bundle, request: Request) -> Selection | None:
    """3. A pin in settings, user before organisation (`agents: {git-ops: {tier: strong}}`)."""
    pin = bundle.pins.get(request.agent.name)
    if pin is None:
        return None
    return Selection(pin.preferences, DecidedBy.PIN, f"{pin.setting}, {pin.label}", pin.tier)


def _agent(bundle: Bundle, request: Request) -> Selection | None:
    """4. The agent, as the most derived layer left it."""
    by, agent = DecidedBy.AGENT, request.agent
    if agent.slot == "role":
        role = next(role for role in agent.model_role if role in bundle.roles)
        return Selection(bundle.roles[role], by, f"{agent.name}, role {role}", agent.tier)
    if agent.slot == "list":
        label = f", tier {agent.tier}" if agent.tier else ""
        return Selection(agent.preferences, by, f"{agent.name}, its own list{label}", agent.tier)
    if agent.slot == "tier" and agent.tier is not None:
        return Selection(bundle.tier(agent.tier), by, f"{agent.name}, tier {agent.tier}", agent.tier)
    return None


def _bundle(bundle: Bundle, request: Request) -> Selection | None:
    """5. The bundle's `default` tier (not for `self`; foundation sets none)."""
    agent = request.agent
    if bundle.default is None or agent.name == SELF:
        return None
    return Selection(
        bundle.tier(bundle.default), DecidedBy.BUNDLE, f"default tier {bundle.default}", bundle.default, _unmet(bundle, agent)
    )


def _parent(bundle: Bundle, request: Request) -> Selection | None:
    """6. The parent: an agent that says nothing, and `self`, run on the candidate of whoever delegates, then on the rest of the
    parent's route; with no parent the settings' default, else an error that says what to set.

    A step of a recipe has no parent: where the settings have no default either, the bundle's `default_profile` says it.
    """
    notes = _unmet(bundle, request.agent)
    if request.parent:
        preferences = tuple(Preference(provider=provider, model=model) for provider, model in request.parent)
        return Selection(preferences, DecidedBy.PARENT, f"inherits {preferences[0]}", notes=notes)
    if bundle.settings_default is not None:
        tier = bundle.settings_default
        return Selection(bundle.tier(tier), DecidedBy.PARENT, f"no parent, settings' default tier {tier}", tier, notes)
    if request.step is not None and bundle.default_profile in bundle.profiles:
        cell = _cell(bundle, bundle.default_profile, request.in_force[1], DecidedBy.PARENT, "no parent, the bundle's default ")
        return replace(cell, notes=notes)
    return None


DECIDERS: Final[dict[DecidedBy, Callable[[Bundle, Request], Selection | None]]] = {
    DecidedBy.CALLER: _caller,
    DecidedBy.STEP: _step,
    DecidedBy.PIN: _pin,
    DecidedBy.AGENT: _agent,
    DecidedBy.BUNDLE: _bundle,
    DecidedBy.PARENT: _parent,
}
"""Who decides (first that speaks wins): what each says, or None."""


def _unmet(bundle: Bundle, agent: Agent) -> tuple[str, ...]:
    if agent.model_role and agent.slot is None:
        return (f"no table in bundle '{bundle.name}' has the role {' or '.join(agent.model_role)}",)
    return ()


def _nobody(bundle: Bundle, agent: Agent, *, step: bool) -> str:
    wants = "inherits its caller's model" if agent.name == SELF else "says nothing about models"
    if agent.model_role and agent.slot is None:
        wants = f"names only the role {' or '.join(agent.model_role)}, which no table in bundle '{bundle.name}' has"
    remedy = "" if agent.name == SELF else ", write 'default: <tier>' in the bundle, or a tier in the agent"
    give = f"give parent='provider/model' or preferences{remedy}"
    if step:
        give = f"give the step a tier or provider_preferences, or the run a model_profile{remedy}"
    return f"agent '{agent.name}' {wants}, and there is no caller to inherit from; {give}"


def _filtered(selection: Selection, provider: str | None, canonical: Mapping[str, str], kinds: Mapping[str, str]) -> Selection:
    """Not deciders. A bare `provider` from the caller is a filter on whichever list won."""
    if provider is None:
        return selection
    kept, refused = [], []
    for item in selection.preferences:
        named = narrowed(item, provider, canonical, kinds)
        if named is not None:
            kept.append(named)
        else:
            refused.append((item, f"the caller asks for provider '{provider}' only"))
    decision = f"{selection.decision}, provider {provider} only"
    return replace(selection, preferences=tuple(kept), decision=decision, refused=tuple(refused))


def narrowed(item: Preference, provider: str, canonical: Mapping[str, str], kinds: Mapping[str, str]) -> Preference | None:
    """The preference as far as it means that provider, or None: a kind is narrowed to its instance."""
    wanted, said = canonical.get(provider, provider), canonical.get(item.provider, item.provider)
    if said == wanted or kinds.get(said) == wanted:
        return item
    return item.model_copy(update={"provider": wanted}) if kinds.get(wanted) == said else None
