"""What is legal and probably not meant: preferences that match nothing, agents that prefer nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bundle_loader.declared.agent import Agent
from bundle_loader.declared.bundle import SELF, Bundle
from bundle_loader.declared.preference import Preference
from bundle_loader.declared.tree import Mapping as Tree
from bundle_loader.declared.tree import position
from bundle_loader.errors import Fault, did_you_mean
from bundle_loader.routing.catalogue import Catalogue
from bundle_loader.routing.resolve import order


def lint(bundle: Bundle, catalogues: Mapping[str, Catalogue], providers: Mapping[str, str]) -> list[Fault]:
    """Warnings and notes about a bundle, in file order.

    `catalogues` are the lists to match against, by provider id; `providers` maps every known name of a provider to its id.
    A preference marked `optional` that matches nothing is a note.
    """
    judge = _Judge(catalogues, {**providers, **{name: name for name in bundle.providers}})
    found: list[Fault] = []
    for name, preferences in bundle.tiers.items():
        found += _list(judge, preferences, bundle.header, ("tiers", name), f"tiers.{name}")
    for agent in bundle.agents.values():
        if agent.slot == "list":
            tree = _origin(bundle, agent)
            found += _list(judge, agent.preferences, tree, ("provider_preferences",), "provider_preferences", agent.file)
        elif agent.slot is None and agent.name != SELF:
            found.append(Fault(agent.file, 1, 1, "provider_preferences", _inherits(bundle, agent), "note"))
    return sorted(set(found))


def without_preferences(bundle: Bundle) -> list[str]:
    """The agents that leave their model to others, `self` included."""
    return sorted(agent.name for agent in bundle.agents.values() if agent.slot is None)


def _inherits(bundle: Bundle, agent: Agent) -> str:
    follows = f"follows the default tier {bundle.default}" if bundle.default else "inherits the model of whoever delegates"
    if agent.model_role:
        return f"no table has the role {' or '.join(agent.model_role)}, so agent '{agent.name}' {follows}"
    return f"agent '{agent.name}' has no preferences and {follows}"


class _Judge:
    """What is wrong with one preference, found out once."""

    def __init__(self, catalogues: Mapping[str, Catalogue], providers: Mapping[str, str]) -> None:
        self.catalogues = catalogues
        self.providers = providers
        self.known: dict[tuple[str, str], str | None] = {}

    def reason(self, preference: Preference) -> str | None:
        key = (preference.provider, preference.model)
        if key not in self.known:
            self.known[key] = self._reason(preference)
        return self.known[key]

    def _reason(self, preference: Preference) -> str | None:
        id = self.providers.get(preference.provider)
        if id is None:
            return f"no provider is called '{preference.provider}'{did_you_mean(preference.provider, list(self.providers))}"
        catalogue = self.catalogues.get(id)
        if catalogue is None:
            return None
        reason = order(catalogue, preference.model).reason
        return f"{id}: {reason}" if reason else None


def _list(
    judge: _Judge, preferences: Iterable[Preference], tree: Tree | None, path: tuple[str, ...], key: str, file: str = ""
) -> list[Fault]:
    found = []
    for index, preference in enumerate(preferences):
        reason = judge.reason(preference)
        if reason is not None:
            place = position(tree, (*path, index)) if tree is not None else (file, 1, 1)
            found.append(Fault(*place, f"{key}[{index}]", reason, "note" if preference.optional else "warning"))
    return found


def _origin(bundle: Bundle, agent: Agent) -> Tree | None:
    """The tree in which the agent's list was last written."""
    for contribution in reversed(bundle.contributions(agent.name)):
        if "provider_preferences" in contribution.tree.entries:
            return contribution.tree
    return None
