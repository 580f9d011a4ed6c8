"""Preferences that match nothing, or that leave a newer model out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.model_order import OrderPolicy
from bundle_loader.declared.preference import Preference
from bundle_loader.declared.tree import position
from bundle_loader.errors import Fault, did_you_mean
from bundle_loader.routing.catalogue import Catalogue
from bundle_loader.routing.lint_places import Element, agent_lists, elements, tables
from bundle_loader.routing.model_names import is_pattern
from bundle_loader.routing.newer_siblings import newer_sibling
from bundle_loader.routing.resolve import order

NOTHING = ("glob-matches-nothing", "model-not-listed", "unknown-provider")
"""The rules that `optional: true` turns into notes."""


def lint_preferences(bundle: Bundle, catalogues: Mapping[str, Catalogue], providers: Mapping[str, str]) -> list[Fault]:
    """What is wrong with the elements of every list, at the place of each."""
    judge = Judge(catalogues, providers, bundle.model_order)
    found = list(chain.from_iterable(judge.faults(elements(key, node)) for key, node in tables(bundle)))
    for agent in bundle.agents.values():
        lists = (*(agent.preferences if agent.slot == "list" else ()), *agent.content_fallback)
        if not any(judge.findings(item) for item in lists):
            continue
        for key, node in agent_lists(bundle, agent.name):
            if agent.slot == "list" or not key.endswith("provider_preferences"):
                found += judge.faults(elements(key, node))
    return found + list(_unplaced(bundle, judge))


def _unplaced(bundle: Bundle, judge: Judge) -> Iterator[Fault]:
    """What comes from a list that nobody reaches any more but by extending it: said at whoever extends it."""
    for agent in bundle.agents.values():
        for item in agent.preferences if agent.slot == "list" else ():
            if (item.provider, item.model) not in judge.placed:
                for rule, message in judge.findings(item):
                    written = bundle.contributions(agent.name)
                    place = position(written[-1].tree, ("extends",), key=True) if written else (agent.file, 1, 1)
                    yield Fault(*place, "provider_preferences", f"{item}: {message}", level_of(rule, item.optional), rule)


def level_of(rule: str, optional: bool | None) -> str:
    """How much a rule matters for a preference."""
    return "note" if optional and rule in NOTHING else "warning"


class Judge:
    """What is wrong with one preference, found out once."""

    def __init__(self, catalogues: Mapping[str, Catalogue], providers: Mapping[str, str], policy: OrderPolicy) -> None:
        self.catalogues = catalogues
        self.providers = providers
        self.policy = policy
        self.known: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {}
        self.placed: set[tuple[str, str]] = set()
        """Preferences whose findings were given a place."""

    def faults(self, written: Iterable[Element]) -> Iterator[Fault]:
        """Every finding about the elements that are pairs."""
        for element in written:
            provider, model = element.written.provider, element.written.model
            if provider is None or model is None:
                continue
            self.placed.add((provider, model))
            for rule, message in self._findings(provider, model):
                yield Fault(*element.place, element.key, message, level_of(rule, element.written.optional), rule)

    def findings(self, preference: Preference) -> tuple[tuple[str, str], ...]:
        """Rule and message of each thing that is wrong with a preference."""
        return self._findings(preference.provider, preference.model)

    def _findings(self, provider: str, model: str) -> tuple[tuple[str, str], ...]:
        key = (provider, model)
        if key not in self.known:
            self.known[key] = tuple(self._look(provider, model))
        return self.known[key]

    def _look(self, provider: str, model: str) -> Iterator[tuple[str, str]]:
        id = self.providers.get(provider)
        if id is None:
            yield "unknown-provider", f"no provider is called '{provider}'{did_you_mean(provider, list(self.providers))}"
            return
        catalogue = self.catalogues.get(id)
        if catalogue is None:
            return
        reason = order(catalogue, model).reason
        if reason is not None:
            yield ("glob-matches-nothing" if is_pattern(model) else "model-not-listed"), f"{id}: {reason}"
            return
        newer = newer_sibling(model, catalogue, self.policy)
        if newer is not None:
            outside = f"'{newer.model}' is newer than '{newer.chosen}' and lies outside '{model}'"
            yield "newer-sibling", f"{id}: {outside}; '{newer.wider}' takes it in"
