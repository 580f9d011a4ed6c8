"""What settings come to over a composed bundle: pins, mandates, the order of providers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from bundle_loader.declared.finish import Finisher
from bundle_loader.declared.pin import Pin
from bundle_loader.declared.settings import SettingsFile, WrittenPin
from bundle_loader.declared.tree import enclosing, position
from bundle_loader.errors import Fault, did_you_mean

_ANYWHERE = ("self",)
"""Agents that need no file."""


def in_force(settings: Sequence[SettingsFile], finisher: Finisher, agents: set[str]) -> dict[str, Any]:
    """The fields of a bundle that settings give; a later file overrides an earlier one. Faults go to the finisher.

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
            pin = _pin(file, finisher, name, written)
            if name not in agents and name not in _ANYWHERE:
                near = did_you_mean(name, sorted(agents))
                _fault(file, finisher, ("agents", name), f"pins an agent that this bundle does not have{near}", "warning")
            elif pin is not None and written.mandatory and file.origin == "organisation":
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
        elif file.written.default:
            near = did_you_mean(file.written.default, list(finisher.tiers))
            _fault(file, finisher, ("default",), f"no tier '{file.written.default}' in this bundle{near}", "warning")
    return {"pins": pins, "mandates": mandates, "provider_order": order, "settings_default": default}


def _pin(file: SettingsFile, finisher: Finisher, name: str, written: WrittenPin) -> Pin | None:
    setting = file.place("agents", name)
    if written.tier is not None:
        found = finisher.tiers.get(written.tier)
        if found is None:
            near = did_you_mean(written.tier, list(finisher.tiers))
            _fault(
                file,
                finisher,
                ("agents", name, "tier"),
                f"no tier '{written.tier}' in this bundle{near}; the pin is left out",
                "warning",
            )
            return None
        return Pin(preferences=found, label=f"tier {written.tier}", tier=written.tier, setting=setting)
    if written.model_role:
        role = next((role for role in written.model_role if role in finisher.roles), None)
        if role is None:
            said = " or ".join(written.model_role)
            _fault(
                file,
                finisher,
                ("agents", name, "model_role"),
                f"no table of this bundle has the role {said}; the pin is left out",
                "warning",
            )
            return None
        return Pin(preferences=finisher.roles[role], label=f"role {role}", setting=setting)
    path = ("agents", name, "provider_preferences")
    found = finisher.listed(written.provider_preferences or [], partial(enclosing, file.tree, path), ".".join(path))
    return Pin(preferences=found, label="its own list", setting=setting) if found else None


def _fault(file: SettingsFile, finisher: Finisher, path: tuple[str, ...], message: str, level: str) -> None:
    finisher.faults.append(Fault(*position(file.tree, path), ".".join(path), message, level, "settings"))
