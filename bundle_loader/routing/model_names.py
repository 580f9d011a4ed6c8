"""Match and order model ids: every match of a pattern, best and newest first."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bundle_loader.routing.catalogue import ModelInfo
from bundle_loader.routing.model_ids import (
    KINDS,
    LINES,
    MAKES,
    MOVING_VENDORS,
    NEUTRAL,
    NO_DATE,
    NO_VERSION,
    STAGES,
    VARIANTS,
    Date,
    ModelId,
    family,
    is_pattern,
    is_plain_tag,
    matches,
    named_words,
    nearest_ids,
    parse,
    plain,
    read_versions,
    same_model,
    stands_for,
)

__all__ = [
    "DEFAULT",
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

DAY = 86400.0
_SAME_RELEASE = 3 * DAY
"""Ids of one release are stamped up to days apart."""
_STAMP_SLACK = 45 * DAY
"""A stamp this much later than the date in the id is not the release."""
_UNDATED = (*NO_DATE, 0)
_CHAT_KINDS = frozenset({"chat", "completion", "language", "text", "multimodal", "responses"})


@dataclass(frozen=True, slots=True)
class OrderPolicy:
    """What comes first where the newest date alone does not decide."""

    ga_first: bool = True
    """Previews come after released models."""
    base_first: bool = True
    """Special editions (mini, pro, -fast, :free) come after the plain model."""
    larger_first: bool = True
    """Of sizes released together the larger comes first, else the smaller."""


DEFAULT = OrderPolicy()


def newest_models(
    pattern: str,
    models: Iterable[ModelInfo | Mapping[str, object] | str],
    *,
    provider: str = "",
    policy: OrderPolicy = DEFAULT,
) -> list[ModelInfo]:
    """All models that match, each id once, best first. The order does not depend on the order given.

    `models` is the provider's whole list: what else it holds tells which names are special editions and whether its
    stamps can be believed. First stand the models that the pattern asks for; behind them, in this order, what it does not
    name: 1. non-chat kinds, 2. previews (and last, retired models), 3. special editions, by how many such words they have,
    4. pointers without a version. Within each of these the newest release leads: 5. by `created` where the provider's
    stamps are believable, 6. else by version, where a date is never a version; then alias before snapshot, newer snapshot
    before older, larger before smaller.

    Raises ValueError for what is no model: see `model_info`.
    """
    listed = _unique(models)
    chosen = [info for info in listed if matches(pattern, info.id)]
    if len(chosen) < 2:
        return chosen
    scene = _Scene(listed, provider)
    named = named_words(pattern)
    tiers: dict[tuple[int, ...], list[ModelInfo]] = defaultdict(list)
    for info in chosen:
        tiers[scene.tier(info, named, policy)].append(info)
    return [info for tier in sorted(tiers) for info in scene.by_release(tiers[tier], policy)]


def model_info(entry: ModelInfo | Mapping[str, object] | str) -> ModelInfo:
    """A model as a mapping tells it: `id`, and optionally the other fields of `ModelInfo`; what cannot be read is absent.

    A text is an id. Raises ValueError for anything else, and without a text `id`.
    """
    if isinstance(entry, ModelInfo):
        return entry
    if isinstance(entry, str):
        entry = {"id": entry}
    if not isinstance(entry, Mapping):
        raise ValueError(f"{entry!r} is no model: give a ModelInfo, a mapping with an id, or an id")
    model_id = entry.get("id")
    if not isinstance(model_id, str) or not model_id:
        raise ValueError("a model needs an id")
    known = {"id", "created", "window", "output_limit", "capabilities", "kind", "stage", "aliases", "digest"}
    capabilities = _texts(entry.get("capabilities"))
    return ModelInfo(
        id=model_id,
        created=_moment(entry.get("created")),
        window=_count(entry.get("window")),
        output_limit=_count(entry.get("output_limit")),
        capabilities=None if capabilities is None else frozenset(capabilities),
        kind=_text(entry.get("kind")) or _kind_of_methods(_texts(entry.get("methods"))),
        stage=_text(entry.get("stage")),
        aliases=_texts(entry.get("aliases")) or (),
        digest=_text(entry.get("digest")),
        extra={key: value for key, value in entry.items() if key not in known},
    )


def snapshots_of(alias_id: str, ids: Iterable[str]) -> list[str]:
    """The listed ids that an undated id or an `x-latest` stands for, newest first; none for a dated id.

    An undated id stands for its dated snapshots, an `x-latest` without a version for every version of x.
    """
    alias = parse(alias_id)
    if alias.dated:
        return []
    found = [model_id for model_id in ids if stands_for(alias, parse(model_id))]
    return [info.id for info in newest_models("*", [ModelInfo(model_id) for model_id in found], provider="")]


class _Scene:
    """What the whole list says about each of its ids."""

    def __init__(self, listed: Sequence[ModelInfo], provider: str) -> None:
        self.ids = {info.id: parse(info.id) for info in listed}
        self.versions = read_versions(self.ids.values())
        self.brands = frozenset(one.words[0] for one in self.ids.values() if one.words)
        self.bases = self._bases()
        self.peers = _peers(listed, self.ids)
        self.stamps = _believable_stamps(listed, self.ids, provider)
        self.by_series: dict[Hashable, list[str]] = defaultdict(list)
        self.newest_of_brand: dict[Hashable, tuple[int, ...]] = defaultdict(lambda: NO_VERSION)
        for model_id, one in self.ids.items():
            self.by_series[_series(one)].append(model_id)
            brand = one.vendor, one.words[:1]
            self.newest_of_brand[brand] = max(self.newest_of_brand[brand], self.versions[one.text])

    def tier(self, info: ModelInfo, named: frozenset[str], policy: OrderPolicy) -> tuple[int, ...]:
        """Rules 1 to 4: how far the model is from what the pattern asks for."""
        one = self.ids[info.id]
        kinds = {"embedding" if word.startswith("embed") else KINDS.get(word, "") for word in one.words} - {""}
        if info.kind and info.kind.lower() not in _CHAT_KINDS:
            kinds.add(KINDS.get(info.kind.lower(), info.kind.lower()))
        kinds -= {KINDS[word] for word in named if word in KINDS}
        preview = not named & STAGES and bool(one.stages or (info.stage or "").lower() in STAGES)
        stage = 2 if info.stage == "retired" else int(preview and policy.ga_first)
        editions = self._editions(one) - named if policy.base_first else ()
        pointer = _is_pointer(one) and "latest" not in named and self._snapshot(info) == _UNDATED
        return len(kinds), stage, len(editions), int(pointer)

    def by_release(self, tier: Sequence[ModelInfo], policy: OrderPolicy) -> list[ModelInfo]:
        """Rules 5 and 6: newest first, among models equally near to the pattern."""
        releases = self._releases(tier) if self.stamps else {}

        def key(info: ModelInfo) -> tuple[object, ...]:
            one = self.ids[info.id]
            version = max(self.versions[self.ids[peer].text] for peer in self.peers[info.id])
            brand = self.newest_of_brand[one.vendor, one.words[:1]] if version == NO_VERSION else NO_VERSION
            snapshot = _falling(self._snapshot(info))
            alias = 2 if one.dated else int(one.latest)
            # Behind a foreign vendor's prefix the undated id is the oldest release, unless stamps say that both are one.
            same = (alias, snapshot) if self.stamps else (snapshot, alias)
            size = _parameters(info, one)
            default_tag = int(one.tag != "")
            size_rank = -size if policy.larger_first else size
            return (
                releases.get(info.id, 0),
                _falling(version),
                _falling(brand),
                *same,
                default_tag,
                size_rank,
                len(info.id),
                info.id,
            )

        return sorted(tier, key=key)

    def _releases(self, tier: Sequence[ModelInfo]) -> dict[str, int]:
        """The rank of each model's release by stamp, 0 the newest; stamps within days of a release's newest are one release."""
        stamps = {info.id: self._stamp(info) for info in tier}
        ranks: dict[str, int] = {}
        rank, newest = -1, math.inf
        for model_id, stamp in sorted(stamps.items(), key=lambda item: -item[1]):
            if newest - stamp > _SAME_RELEASE:
                rank, newest = rank + 1, stamp
            ranks[model_id] = rank
        return ranks

    def _stamp(self, info: ModelInfo) -> float:
        """When the model, or the snapshot that it stands for, was released: seconds since the epoch."""
        found = [self.stamps[model_id] for model_id in self._stood_for(info) if model_id in self.stamps]
        if found:
            return max(found)
        one = self.ids[info.id]
        older = (
            self.stamps.get(model_id, 0.0)
            for model_id in self.by_series[_series(one)]
            if self.versions[self.ids[model_id].text] <= self.versions[one.text]
        )
        return max(older, default=0.0)

    def _snapshot(self, info: ModelInfo) -> tuple[int, ...]:
        """Date and revision of the model, or of the newest snapshot that it stands for."""
        return max((*one.date, one.revision) for one in (self.ids[model_id] for model_id in self._stood_for(info)))

    def _stood_for(self, info: ModelInfo) -> Iterable[str]:
        """The id and its declared aliases; without any, an undated id and its snapshots."""
        one = self.ids[info.id]
        peers = self.peers[info.id]
        if len(peers) > 1 or one.dated or one.vendor not in MOVING_VENDORS:
            return peers
        return {model_id for model_id in self.by_series[_series(one)] if self.ids[model_id].core == one.core}

    def _editions(self, one: ModelId) -> frozenset[str]:
        """The words that make the model a special edition."""
        words = frozenset(one.words[1:]) - NEUTRAL
        found = {word for word in words if word in VARIANTS or word in self.brands}
        found |= self._beyond_base(one) - MAKES
        if self.versions[one.text] == NO_VERSION:
            found |= words & (LINES | MAKES)
        if one.vendor and not is_plain_tag(one.tag):
            found.add(one.tag)
        return frozenset(found - KINDS.keys())

    def _bases(self) -> dict[Hashable, list[frozenset[str]]]:
        bases: dict[Hashable, set[frozenset[str]]] = defaultdict(set)
        for one in self.ids.values():
            bases[self._release_of(one)].add(_tokens(one))
        return {release: sorted(tokens, key=lambda item: (len(item), sorted(item))) for release, tokens in bases.items()}

    def _beyond_base(self, one: ModelId) -> frozenset[str]:
        """What the name adds to the shortest listed name of the same release: `foo` of `gpt-7-foo` beside `gpt-7`."""
        if not one.versions and not one.dated:
            return frozenset()
        tokens = _tokens(one)
        for base in self.bases[self._release_of(one)]:
            if base < tokens and one.words and one.words[0] in base:
                return tokens - base
        return frozenset()

    def _release_of(self, one: ModelId) -> Hashable:
        version = self.versions[one.text]
        return one.vendor, version, NO_DATE if version != NO_VERSION else one.date


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
    said = (info.created, info.kind, info.stage, info.digest, info.window, info.output_limit)
    extra = sorted((key, repr(value)) for key, value in info.extra.items())
    rest = (sorted(info.capabilities or ()), info.aliases, extra, info.id)
    return sum(field is not None for field in said) + bool(info.aliases), repr(said), repr(rest)


def _falling(numbers: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(-number for number in numbers)


def _tokens(one: ModelId) -> frozenset[str]:
    """What tells models of one release apart. Beside a model without a size, `instruct` is another model."""
    words = set(one.words) - (NEUTRAL if one.sizes else NEUTRAL - {"instruct"})
    return frozenset(words | set(one.sizes))


def _series(one: ModelId) -> Hashable:
    """Equal for all versions and sizes of one line of models."""
    return one.vendor, frozenset(one.words) - NEUTRAL


def _is_pointer(one: ModelId) -> bool:
    return one.latest and not one.versions


def _peers(listed: Sequence[ModelInfo], ids: Mapping[str, ModelId]) -> dict[str, frozenset[str]]:
    """For each id the ids that the provider declares to be the same model, itself among them."""
    by_text = {one.text: model_id for model_id, one in ids.items()}
    digests: dict[str, str] = {}
    groups: dict[str, set[str]] = {model_id: {model_id} for model_id in ids}
    for info in listed:
        same = [by_text[plain(alias)] for alias in info.aliases if plain(alias) in by_text]
        if info.digest:
            same.append(digests.setdefault(info.digest, info.id))
        for other in same:
            joined = groups[info.id] | groups[other]
            for member in joined:
                groups[member] = joined
    return {model_id: frozenset(group) for model_id, group in groups.items()}


def _believable_stamps(listed: Sequence[ModelInfo], ids: Mapping[str, ModelId], provider: str) -> dict[str, float]:
    """Stamps as seconds since the epoch if they can be releases, else none.

    Not believed: where they are the time of the download (Ollama; only it tells digests) or of the request (all nearly
    equal), where many models share one moment that is not midnight, where more than a tenth of the ids have none.
    """
    if provider == "ollama" or any(info.digest for info in listed):
        return {}
    stamps = {info.id: _aware(info.created).timestamp() for info in listed if info.created}
    sharers: dict[float, set[Hashable]] = defaultdict(set)
    for model_id, stamp in stamps.items():
        sharers[stamp].add((ids[model_id].vendor, ids[model_id].words, ids[model_id].versions))
    stamps = {model_id: stamp for model_id, stamp in stamps.items() if len(sharers[stamp]) < 3 or stamp % DAY == 0}
    stamped = {ids[model_id].core for model_id in stamps}
    needed = [one for one in ids.values() if not _is_pointer(one)]
    if not stamps or sum(one.core in stamped for one in needed) < 0.9 * len(needed):
        return {}
    distinct = set(stamps.values())
    if max(distinct) - min(distinct) <= _SAME_RELEASE or 3 * len(distinct) < len(stamps):
        return {}
    return {model_id: _checked(stamp, ids[model_id].date) for model_id, stamp in stamps.items()}


def _checked(stamp: float, date: Date) -> float:
    """The stamp, unless the date in the id says that it was rewritten."""
    year, month, day = date
    if not year:
        return stamp
    said = datetime(year, month, 1, tzinfo=UTC) + timedelta(days=(day or 15) - 1)
    return stamp if abs(stamp - said.timestamp()) <= _STAMP_SLACK else said.timestamp()


def _parameters(info: ModelInfo, one: ModelId) -> float:
    told = info.extra.get("parameter_size")
    return one.size or (parse(f"x:{told}").size if isinstance(told, str) else 0.0)


def _moment(value: object) -> datetime | None:
    """RFC 3339 text, seconds (or milliseconds) since the epoch, or a datetime; None for anything else."""
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return _aware(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
            return datetime.fromtimestamp(value / 1000 if value > 1e11 else value, tz=UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return None


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _texts(value: object) -> tuple[str, ...] | None:
    if isinstance(value, str) or not isinstance(value, Iterable):
        return None
    return tuple(item for item in value if isinstance(item, str))


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _kind_of_methods(methods: Sequence[str] | None) -> str | None:
    """Gemini lists what a model can do; without `generateContent` it does not chat."""
    if not methods or "generateContent" in methods:
        return None
    return "embedding" if any(method.startswith("embed") for method in methods) else "other"
