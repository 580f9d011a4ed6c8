"""Match and order model ids: every match of a pattern, best and newest first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields

from bundle_loader.declared.model_order import DEFAULT, OrderPolicy
from bundle_loader.routing.catalogue import ModelInfo
from bundle_loader.routing.model_entries import model_info
from bundle_loader.routing.model_ids import (
    family,
    is_pattern,
    matches,
    named_words,
    nearest_ids,
    parse,
    same_model,
    stands_for,
)
from bundle_loader.routing.ranking import Ranked, Ranking

__all__ = [
    "DEFAULT",
    "ModelList",
    "OrderPolicy",
    "family",
    "is_pattern",
    "matches",
    "model_info",
    "nearest_ids",
    "newest_models",
    "same_model",
    "snapshots_of",
]


_MAY_BE_UNSAID = tuple(one.name for one in fields(ModelInfo) if one.default is None and one.name != "capabilities")


class ModelList:
    """A provider's whole list, made ready to be asked for many patterns.

    What else it holds tells which names are special editions, and whether its stamps can be believed. Raises ValueError for
    what is no model: see `model_info`.
    """

    def __init__(self, models: Iterable[ModelInfo | Mapping[str, object] | str]) -> None:
        self.models = _unique(models)
        """Each id once, in the order of ids."""
        self._ranking: Ranking | None = None

    @property
    def ranking(self) -> Ranking:
        """What the list says about each of its models; made when it is first asked for."""
        if self._ranking is None:
            self._ranking = Ranking(self.models)
        return self._ranking

    def newest(self, pattern: str, policy: OrderPolicy = DEFAULT) -> list[ModelInfo]:
        """All models that match, best first; see `newest_models`."""
        chosen = [info for info in self.models if matches(pattern, info.id)]
        return chosen if len(chosen) < 2 else [one.info for one in self._ranked(chosen, pattern, policy)]

    def ranked(self, pattern: str, policy: OrderPolicy = DEFAULT) -> list[Ranked]:
        """As `newest`, each with how far it is from the front at each step."""
        return self._ranked([info for info in self.models if matches(pattern, info.id)], pattern, policy)

    def _ranked(self, chosen: list[ModelInfo], pattern: str, policy: OrderPolicy) -> list[Ranked]:
        return self.ranking.ranked(chosen, named_words(pattern), policy)


def newest_models(
    pattern: str,
    models: Iterable[ModelInfo | Mapping[str, object] | str],
    *,
    provider: str = "",
    policy: OrderPolicy = DEFAULT,
) -> list[ModelInfo]:
    """All models that match, each id once, best first. The order does not depend on the order given.

    `models` is the provider's whole list. First stand the models that the pattern asks for; behind them, in this order, what
    it does not name: 1. non-chat kinds, 2. previews (and last, retired models), 3. special editions, by how many such words
    they have, 4. pointers without a version. Within each of these the newest release leads: 5. by `created` where the
    provider's stamps are believable, 6. else by version, where a date is never a version; then alias before snapshot, newer
    snapshot before older, larger before smaller.

    Raises ValueError for what is no model (see `model_info`), naming the `provider` where it is given.
    """
    try:
        return ModelList(models).newest(pattern, policy)
    except ValueError as error:
        raise ValueError(f"in the list of {provider}: {error}" if provider else str(error)) from None


def snapshots_of(alias_id: str, ids: Iterable[str]) -> list[str]:
    """The listed ids that an undated id or an `x-latest` stands for, newest first; none for a dated id.

    An undated id stands for its dated snapshots, an `x-latest` without a version for every version of x.
    """
    alias = parse(alias_id)
    if alias.dated:
        return []
    return [info.id for info in newest_models("*", [model_id for model_id in ids if stands_for(alias, parse(model_id))])]


def _unique(models: Iterable[ModelInfo | Mapping[str, object] | str]) -> list[ModelInfo]:
    """Each id once, in the order of ids; of a repeated id the entry that says most."""
    found: dict[str, ModelInfo] = {}
    for entry in models:
        info = model_info(entry)
        name = info.id.removeprefix("models/")
        if name not in found or _telling(info) > _telling(found[name]):
            found[name] = info
    return [found[name] for name in sorted(found)]


def _telling(info: ModelInfo) -> tuple[object, ...]:
    said = tuple(getattr(info, name) for name in _MAY_BE_UNSAID)
    extra = sorted((key, repr(value)) for key, value in (*info.extra.items(), *info.prices.items()))
    rest = (sorted(info.capabilities or ()), info.aliases, extra, info.id)
    return sum(fact is not None for fact in said) + bool(info.aliases), repr(said), repr(rest)
