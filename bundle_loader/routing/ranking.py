"""Rank the models of one list against a pattern: for each step of the order, how far each model is from the front."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from operator import neg

from bundle_loader.declared.model_order import OrderPolicy
from bundle_loader.routing.catalogue import ModelInfo
from bundle_loader.routing.id_words import KINDS, LINES, MAKES, NEUTRAL, STAGES, VARIANTS
from bundle_loader.routing.model_bases import Bases
from bundle_loader.routing.model_ids import NO_DATE, NO_VERSION, ModelId, is_plain_tag, parse, plain, read_versions
from bundle_loader.routing.stamps import SAME_RELEASE, believable_stamps

_UNDATED = (*NO_DATE, 0)
_UNNAMED_KIND = "other"
"""Something beside chat that the list does not name; the words of the id may."""
_CHAT_KINDS = frozenset({"chat", "completion", "language", "text", "multimodal", "responses"})


class Step(StrEnum):
    """What the order looks at, first things first."""

    KIND = "kind"
    """1. Kinds that the pattern does not name come after chat."""
    STAGE = "stage"
    """2. Previews come after released models, retired models last."""
    EDITION = "edition"
    """3. The fewest words of special editions that the pattern does not name."""
    POINTER = "pointer"
    """4. Pointers without a version come last."""
    CREATED = "created"
    """5. The newest release by the provider's stamps, where they are believable."""
    VERSION = "version"
    """6. The newest version, where a date is never a version."""
    BRAND = "brand"
    """7. Without versions the newest date, else the name whose other models are the newest."""
    SNAPSHOT = "snapshot"
    """8. The alias before its snapshots, the newer snapshot before the older."""
    MAKE = "make"
    """9. The later make of one version."""
    TAG = "tag"
    """10. The default tag."""
    SIZE = "size"
    """11. The larger size."""
    NAME = "name"
    """12. The shorter name, then the alphabet."""


STEPS = tuple(Step)


@dataclass(slots=True)
class Ranked:
    """One model against one pattern."""

    info: ModelInfo
    one: ModelId
    kinds: frozenset[str]
    """What it does beside chat that the pattern does not name."""
    stage: str
    """`preview` or `retired` where that counts against it."""
    editions: frozenset[str]
    """The words of special editions that the pattern does not name."""
    stamp: float = 0.0
    """Its release in seconds since the epoch, by stamps that are believed; else 0."""
    key: tuple[tuple[object, ...], ...] = ()
    """For each of `STEPS` how far from the front; equal for models that the step does not tell apart."""


class Ranking:
    """What a whole list says about each of its models. Made once for a list, asked for many patterns."""

    def __init__(self, listed: Sequence[ModelInfo]) -> None:
        """`listed` holds each id once."""
        self.listed = listed
        self.ids = {info.id: parse(info.id) for info in listed}
        self.versions = read_versions(self.ids.values())
        self.stamps = believable_stamps(listed, self.ids)
        # A letter or two before a number is a series, as in `r1`, and no brand.
        self._brands = frozenset(one.words[0] for one in self.ids.values() if one.words and len(one.words[0]) > 2)
        self._bases = Bases(self.ids.values(), self.versions)
        self._peers = _peers(listed, self.ids)
        self._cores = {model_id: one.core for model_id, one in self.ids.items()}
        self._snapshots: dict[Hashable, list[str]] = defaultdict(list)
        self._newest_of_brand: dict[Hashable, tuple[int, ...]] = defaultdict(lambda: NO_VERSION)
        series: dict[Hashable, list[tuple[tuple[int, ...], float]]] = defaultdict(list)
        for model_id, one in self.ids.items():
            if one.follows:
                self._snapshots[self._cores[model_id]].append(model_id)
            brand = one.vendor, one.words[:1]
            self._newest_of_brand[brand] = max(self._newest_of_brand[brand], self.versions[one.text])
            if model_id in self.stamps.at:
                series[_series(one)].append((self.versions[one.text], self.stamps.at[model_id]))
        self._series = {key: _rising(found) for key, found in series.items()}
        self._spoken: dict[str, tuple[tuple[int, ...], tuple[int, ...], float | None]] = {}

    def ranked(self, chosen: Sequence[ModelInfo], named: frozenset[str], policy: OrderPolicy) -> list[Ranked]:
        """The `chosen` models of the list, best first, against a pattern that names the words `named`."""
        ranked = [self._near(info, named, policy) for info in chosen]
        tiers: dict[tuple[object, ...], list[Ranked]] = defaultdict(list)
        for one in ranked:
            tiers[one.key].append(one)
        for tier in tiers.values():
            releases = _releases(tier) if self.stamps.believed else {}
            for one in tier:
                one.key += self._by_release(one, releases.get(one.info.id, 0), policy)
        ranked.sort(key=lambda one: one.key)
        return ranked

    def _near(self, info: ModelInfo, named: frozenset[str], policy: OrderPolicy) -> Ranked:
        """Steps 1 to 4: how far the model is from what the pattern asks for."""
        one = self.ids[info.id]
        kinds = {"embedding" if word.startswith("embed") else KINDS.get(word, "") for word in one.words} - {""}
        told = (info.kind or "").lower()
        if told and told not in _CHAT_KINDS and not (told == _UNNAMED_KIND and kinds):
            kinds.add(KINDS.get(told, told))
        kinds -= {KINDS[word] for word in named if word in KINDS}
        preview = not named & STAGES and bool(one.stages or (info.stage or "").lower() in STAGES)
        stage = "retired" if info.stage == "retired" else "preview" if preview and policy.ga_first else ""
        editions = self._editions(one) - named if policy.base_first else frozenset()
        _, snapshot, stamp = self._spoken_of(info)
        pointer = one.is_pointer and "latest" not in named and snapshot == _UNDATED
        ranked = Ranked(info, one, frozenset(kinds), stage, editions)
        if self.stamps.believed:
            ranked.stamp = self._older(one) if stamp is None else stamp
        stages = ("", "preview", "retired")
        ranked.key = (len(kinds),), (stages.index(stage),), (len(editions),), (int(pointer),)
        return ranked

    def _by_release(self, ranked: Ranked, release: int, policy: OrderPolicy) -> tuple[tuple[object, ...], ...]:
        """Steps 5 to 12: newest first, among models equally near to the pattern."""
        info, one = ranked.info, ranked.one
        version, newest, _ = self._spoken_of(info)
        brand: tuple[int, ...] = ()
        if version == NO_VERSION:
            year, *rest = newest
            brand = (*_falling((year, *rest) if year else _UNDATED), *_falling(self._newest_of_brand[one.vendor, one.words[:1]]))
        snapshot = _falling(newest)
        alias = (2 if one.dated else int(one.latest),)
        # Behind a foreign vendor's prefix the undated id is the oldest release, unless stamps say that both are one.
        same = alias + snapshot if self.stamps.believed else snapshot + alias
        size = parameters(info, one)
        return (
            (release,),
            _falling(version),
            brand,
            same,
            (int(not one.remade),),
            (int(one.tag != ""),),
            (-size if policy.larger_first else size,),
            (len(info.id), info.id),
        )

    def version(self, info: ModelInfo) -> tuple[int, ...]:
        """The version of the model, or of the newest that it stands for."""
        return self._spoken_of(info)[0]

    def snapshot(self, info: ModelInfo) -> tuple[int, ...]:
        """Year, month, day and revision of the model, or of the newest that it stands for; 0 where not said."""
        return self._spoken_of(info)[1]

    def _spoken_of(self, info: ModelInfo) -> tuple[tuple[int, ...], tuple[int, ...], float | None]:
        """Version, snapshot (date and revision) and stamp: the newest of all ids that are this model or that it stands for."""
        found = self._spoken.get(info.id)
        if found is None:
            stood_for = self._stood_for(info.id)
            ones = [self.ids[model_id] for model_id in stood_for]
            stamps = [self.stamps.at[model_id] for model_id in stood_for if model_id in self.stamps.at]
            version = max(self.versions[one.text] for one in ones)
            found = version, max((*one.date, one.revision) for one in ones), max(stamps, default=None)
            for model_id in stood_for if info.id in self._peers else (info.id,):
                self._spoken[model_id] = found
        return found

    def _stood_for(self, model_id: str) -> Collection[str]:
        """The id and its declared aliases; without any, an undated id and its snapshots."""
        peers = self._peers.get(model_id)
        if peers is not None:
            return peers
        return (model_id,) if self.ids[model_id].dated else self._snapshots[self._cores[model_id]]

    def _older(self, one: ModelId) -> float:
        """The newest stamp of its series that is no newer a version: where an id without a stamp stands."""
        found = self._series.get(_series(one), [])
        at = bisect_right(found, self.versions[one.text], key=lambda pair: pair[0])
        return found[at - 1][1] if at else 0.0

    def _editions(self, one: ModelId) -> frozenset[str]:
        """The words that make the model a special edition."""
        words = frozenset(one.words[1:]) - NEUTRAL
        found = {word for word in words if word in VARIANTS or word in self._brands}
        found |= self._bases.beyond(one) - MAKES
        if self.versions[one.text] == NO_VERSION:
            found |= words & LINES
        found |= self._bases.shown_beside(one, words & LINES)
        if not one.remade:
            found |= words & MAKES
        if one.vendor and not is_plain_tag(one.tag):
            found.add(one.tag)
        return frozenset(found - KINDS.keys())


def parameters(info: ModelInfo, one: ModelId) -> float:
    """Billions of parameters, by the id or the list; 0 where neither says."""
    told = info.extra.get("parameter_size")
    return one.size or (parse(f"x:{told}").size if isinstance(told, str) else 0.0)


def _releases(tier: Sequence[Ranked]) -> dict[str, int]:
    """The rank of each model's release by stamp, 0 the newest; stamps within days of a release's newest are one release."""
    ranks: dict[str, int] = {}
    rank, newest = -1, math.inf
    for one in sorted(tier, key=lambda one: -one.stamp):
        if newest - one.stamp > SAME_RELEASE:
            rank, newest = rank + 1, one.stamp
        ranks[one.info.id] = rank
    return ranks


def _rising(found: Sequence[tuple[tuple[int, ...], float]]) -> list[tuple[tuple[int, ...], float]]:
    """By version, each with the newest stamp up to there."""
    rising: dict[tuple[int, ...], float] = {}
    newest = 0.0
    for version, stamp in sorted(found):
        rising[version] = newest = max(newest, stamp)
    return list(rising.items())


def _falling(numbers: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(neg, numbers))


def _series(one: ModelId) -> Hashable:
    """Equal for all versions and sizes of one line of models."""
    return one.vendor, frozenset(one.words) - NEUTRAL


def _peers(listed: Sequence[ModelInfo], ids: Mapping[str, ModelId]) -> dict[str, list[str]]:
    """For each id that has any the ids that the provider declares to be the same model, itself among them."""
    by_text = {one.text: model_id for model_id, one in ids.items()}
    digests: dict[str, str] = {}
    leader: dict[str, str] = {}

    def led(model_id: str) -> str:
        while leader.setdefault(model_id, model_id) != model_id:
            leader[model_id] = model_id = leader[leader[model_id]]
        return model_id

    for info in listed:
        same = [by_text[plain(alias)] for alias in info.aliases if plain(alias) in by_text]
        if info.digest:
            same.append(digests.setdefault(info.digest, info.id))
        for other in same:
            leader[led(other)] = led(info.id)
    groups: dict[str, list[str]] = defaultdict(list)
    for model_id in list(leader):
        groups[led(model_id)].append(model_id)
    return {model_id: group for group in groups.values() if len(group) > 1 for model_id in group}
