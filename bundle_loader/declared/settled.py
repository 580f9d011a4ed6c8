"""What settings come to over a composed bundle: pins, mandates, the order of providers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from bundle_loader.declared.agent import Agent
from bundle_loader.declared.finish import Finisher
from bundle_loader.declared.pin import Pin
from bundle_loader.declared.preference import Preference
from bundle_loader.declared.settings import SettingsFile, WrittenPin
from bundle_loader.declared.settled_tiers import LEFT_OUT, RULE
from bundle_loader.declared.tree import enclosing, position
from bundle_loader.errors import Fault, did_you_mean

_ANYWHERE = ("self",)
"""Agents that need no file."""


def in_force(
    settings: Sequence[SettingsFile], finisher: Finisher, finished: Mapping[str, Agent], agents: set[str]
) -> dict[str, Any]:
    """The fields of a bundle that settings give; a later file overrides an earlier one. Faults go to the finisher.

    `agents` are the names of all agents, be they `finished` or not.

    One slot. Writing any of `model_role`, `provider_preferences` and `tier` in a more derived layer (... < organisation < user)
    clears what was inherited: a pin of the user's takes the place of the organisation's whole.
    """
    pins: dict[str, Pin] = {}
    mandates: dict[str, Pin] = {}
    order: tuple[str, ...] = ()
    default: str | None = None
    for file in settings:
        for name, written in (file.written.agents or {}).items():
            if written is None:
                pins.pop(name, None)
                continue
            if finisher.names.is_lost("agents", name):
                continue
            if name not in agents and name not in _ANYWHERE:
                owner = next((agent.name for _, agent in sorted(finished.items()) if name in agent.aliases), None)
                absent = f"pins an agent that this bundle does not have{did_you_mean(name, sorted(agents))}"
                said = f"'{name}' is an alias of '{owner}'; pin '{owner}'" if owner else absent
                _fault(file, finisher, ("agents", name), said, "warning")
                continue
            below = pins[name].preferences if name in pins else _followed(finisher, finished.get(name))
            cut = name not in finished and name not in pins and name not in _ANYWHERE
            pin = _pin(file, finisher, name, written, below, cut=cut)
            if pin is not None and written.mandatory and file.origin == "organisation":
                mandates[name] = pins[name] = pin
            elif pin is not None:
                pins[name] = pin
            if written.mandatory and file.origin != "organisation":
                _fault(
                    file,
                    finisher,
                    ("agents", name, "mandatory"),
                    "only the organisation's settings can be mandatory; it is a pin",
                    "warning",
                )
        order = tuple(file.written.provider_order or order)
        if file.written.default in finisher.tiers:
            default = file.written.default
        elif file.written.default and not finisher.names.is_lost("tiers", file.written.default):
            near = _no_tier(finisher, file.written.default)
            _fault(file, finisher, ("default",), f"no tier '{file.written.default}' in this bundle{near}", "warning")
    return {"pins": pins, "mandates": mandates, "provider_order": order, "settings_default": default}


def _no_tier(finisher: Finisher, name: str) -> str:
    return finisher.names.gone("tiers", name) or did_you_mean(name, list(finisher.tiers))


def _followed(finisher: Finisher, agent: Agent | None) -> tuple[Preference, ...]:
    """The list that an agent follows by itself."""
    if agent is None:
        return ()
    if agent.slot == "list":
        return agent.preferences
    if agent.slot == "role":
        return next(finisher.roles[role] for role in agent.model_role if role in finisher.roles)
    tier = agent.tier if agent.slot == "tier" else finisher.written.default if agent.name not in _ANYWHERE else None
    return finisher.tiers.get(tier or "", ())


def _pin(
    file: SettingsFile, finisher: Finisher, name: str, written: WrittenPin, below: tuple[Preference, ...], *, cut: bool
) -> Pin | None:
    """The pin of an agent, None where nothing is left of it.

    3. `base` in a preferences list splices the inherited list in (composition): here it is `below`, what the agent would follow
    without the pin; `cut` says that nobody knows it.
    """
    setting = file.place("agents", name)
    if written.tier is not None:
        found = finisher.tiers.get(written.tier)
        if found is None:
            if not finisher.names.is_lost("tiers", written.tier):
                message = f"no tier '{written.tier}' in this bundle{_no_tier(finisher, written.tier)}; the pin is left out"
                _fault(file, finisher, ("agents", name, "tier"), message, "warning")
            return None
        return Pin(preferences=found, label=f"tier {written.tier}", tier=written.tier, setting=setting)
    if written.model_role:
        role = next((role for role in written.model_role if role in finisher.roles), None)
        if role is None:
            message = f"no table of this bundle has the role {' or '.join(written.model_role)}; the pin is left out"
            _fault(file, finisher, ("agents", name, "model_role"), message, "warning")
            return None
        return Pin(preferences=finisher.roles[role], label=f"role {role}", setting=setting)
    path = ("agents", name, "provider_preferences")
    wrong: list[Fault] = []
    said = written.provider_preferences or []
    locate = partial(enclosing, file.tree, path)
    found = finisher.listed(said, locate, ".".join(path), wrong, cut=cut, inherited=below)
    what = LEFT_OUT if found else "; the pin is left out"
    finisher.faults += [replace(fault, message=f"{fault.message}{what}", level="warning", rule=RULE) for fault in wrong]
    return Pin(preferences=found, label="its own list", setting=setting) if found else None


def _fault(file: SettingsFile, finisher: Finisher, path: tuple[str, ...], message: str, level: str) -> None:
    finisher.faults.append(Fault(*position(file.tree, path), ".".join(path), message, level, RULE))
