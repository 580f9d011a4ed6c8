"""What is legal and probably not meant, in a whole bundle: every rule asked, in file order."""

from __future__ import annotations

from collections.abc import Container, Mapping

from bundle_loader.declared.agent import Agent
from bundle_loader.declared.bundle import SELF, Bundle
from bundle_loader.declared.tree import Scalar, position
from bundle_loader.errors import Fault
from bundle_loader.routing.catalogue import Catalogue
from bundle_loader.routing.lint_agents import agents_to_use
from bundle_loader.routing.lint_budgets import IsPriced, lint_budgets
from bundle_loader.routing.lint_mcp import unknown_servers
from bundle_loader.routing.lint_preferences import lint_preferences
from bundle_loader.routing.lint_prices import PublicPrices, lint_prices
from bundle_loader.routing.lint_profiles import lint_profiles
from bundle_loader.routing.lint_providers import slow_free_tiers, unknown_kinds, unknown_order
from bundle_loader.routing.lint_recipes import lint_recipes
from bundle_loader.routing.lint_tiers import empty_lists, misspelt_tiers, unused_tiers
from bundle_loader.routing.lint_tools import widened_tools


def lint(
    bundle: Bundle,
    catalogues: Mapping[str, Catalogue],
    providers: Mapping[str, str],
    public: PublicPrices | None = None,
    priced: IsPriced | None = None,
    free: Container[str] = (),
) -> list[Fault]:
    """Warnings and notes about a bundle, in file order.

    `catalogues` are the lists to match against, by provider id; `providers` maps every known name of a provider to its id.
    `public` gives the prices that declared ones are held against; nothing is said of them without it.
    `priced` says whether a listed model has a price, be it 0; budgets are not held against prices without it.
    `free` are the ids of the providers with a free tier.
    A preference marked `optional` that matches nothing is a note. What a template needs is not looked at here.
    """
    known = {**providers, **{name: providers.get(name, name) for name in bundle.providers}}
    found = lint_preferences(bundle, catalogues, known)
    found += unknown_kinds(bundle, providers)
    found += slow_free_tiers(bundle, providers, free)
    found += unknown_order(bundle, known)
    found += lint_prices(bundle, catalogues, known, public)
    found += lint_budgets(bundle, catalogues, known, priced)
    found += unused_tiers(bundle)
    found += empty_lists(bundle)
    found += misspelt_tiers(bundle)
    found += lint_profiles(bundle)
    found += lint_recipes(bundle, catalogues, known)
    found += unknown_servers(bundle)
    found += agents_to_use(bundle)
    for agent in bundle.agents.values():
        found += widened_tools(bundle, agent)
        if agent.slot is None and agent.name != SELF and agent.name not in bundle.broken:
            key = "model_role" if agent.model_role else "provider_preferences"
            place = _role_place(bundle, agent) if agent.model_role else _place(bundle, agent)
            found.append(Fault(*place, key, _inherits(bundle, agent), "note", "agent-without-preferences"))
    return _once_each(found)


def _once_each(found: list[Fault]) -> list[Fault]:
    """In file order; what is written once and used in several places, by an alias of YAML's, is told once."""
    kept: dict[tuple[str, int, int, str, str], Fault] = {}
    for fault in sorted(set(found)):
        kept.setdefault((fault.file, fault.line, fault.column, fault.message, fault.rule), fault)
    return list(kept.values())


def without_preferences(bundle: Bundle) -> list[str]:
    """The agents that leave their model to others, `self` included."""
    return sorted(agent.name for agent in bundle.agents.values() if agent.slot is None)


def _place(bundle: Bundle, agent: Agent) -> tuple[str, int, int]:
    """Its own file, else where a bundle writes it."""
    written = bundle.contributions(agent.name)
    whole = next((one for one in reversed(written) if one.whole), None)
    if whole is not None:
        return whole.file, 1, 1
    tree = written[0].tree if written else None
    return (tree.file, tree.line, tree.column) if tree is not None else (agent.file, 1, 1)


def _role_place(bundle: Bundle, agent: Agent) -> tuple[str, int, int]:
    """Where its role is written, be it in an agent that it extends."""
    name, seen = agent.name, set[str]()
    while name not in seen:
        seen.add(name)
        for one in reversed(bundle.contributions(name)):
            tree = one.tree
            if "model_role" in tree.entries:
                return position(tree, ("model_role",), key=True)
            extends = tree.entries.get("extends")
            name = extends.text if isinstance(extends, Scalar) and not extends.is_null else name
            if one.whole:
                break
    return _place(bundle, agent)


def _inherits(bundle: Bundle, agent: Agent) -> str:
    follows = f"follows the default tier {bundle.default}" if bundle.default else "inherits the model of whoever delegates"
    if agent.model_role:
        return f"no table has the role {' or '.join(agent.model_role)}, so agent '{agent.name}' {follows}"
    return f"agent '{agent.name}' has no preferences and {follows}"
