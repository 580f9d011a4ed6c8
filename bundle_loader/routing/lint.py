"""What is legal and probably not meant, in a whole bundle: every rule asked, in file order."""

from __future__ import annotations

from collections.abc import Mapping

from bundle_loader.declared.agent import Agent
from bundle_loader.declared.bundle import SELF, Bundle
from bundle_loader.errors import Fault
from bundle_loader.routing.catalogue import Catalogue
from bundle_loader.routing.lint_preferences import lint_preferences
from bundle_loader.routing.lint_providers import unknown_kinds
from bundle_loader.routing.lint_tiers import empty_lists, unused_tiers
from bundle_loader.routing.lint_tools import widened_tools


def lint(bundle: Bundle, catalogues: Mapping[str, Catalogue], providers: Mapping[str, str]) -> list[Fault]:
    """Warnings and notes about a bundle, in file order.

    `catalogues` are the lists to match against, by provider id; `providers` maps every known name of a provider to its id.
    A preference marked `optional` that matches nothing is a note. What a template needs is not looked at here.
    """
    known = {**providers, **{name: providers.get(name, name) for name in bundle.providers}}
    found = lint_preferences(bundle, catalogues, known)
    found += unknown_kinds(bundle, providers)
    found += unused_tiers(bundle)
    found += empty_lists(bundle)
    for agent in bundle.agents.values():
        found += widened_tools(bundle, agent)
        if agent.slot is None and agent.name != SELF:
            message = _inherits(bundle, agent)
            found.append(Fault(*_place(bundle, agent), "provider_preferences", message, "note", "agent-without-preferences"))
    return sorted(set(found))


def without_preferences(bundle: Bundle) -> list[str]:
    """The agents that leave their model to others, `self` included."""
    return sorted(agent.name for agent in bundle.agents.values() if agent.slot is None)


def _place(bundle: Bundle, agent: Agent) -> tuple[str, int, int]:
    """Its file, else where a bundle writes it."""
    if agent.file:
        return agent.file, 1, 1
    written = bundle.contributions(agent.name)
    tree = written[0].tree if written else None
    return (tree.file, tree.line, tree.column) if tree is not None else ("", 0, 0)


def _inherits(bundle: Bundle, agent: Agent) -> str:
    follows = f"follows the default tier {bundle.default}" if bundle.default else "inherits the model of whoever delegates"
    if agent.model_role:
        return f"no table has the role {' or '.join(agent.model_role)}, so agent '{agent.name}' {follows}"
    return f"agent '{agent.name}' has no preferences and {follows}"
