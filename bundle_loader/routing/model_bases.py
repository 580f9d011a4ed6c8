"""What a name adds to the shortest listed name of the same release: `foo` of `gpt-7-foo` beside `gpt-7`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from itertools import combinations

from bundle_loader.routing.id_words import LINES, NEUTRAL
from bundle_loader.routing.model_ids import NO_DATE, NO_VERSION, ModelId

_NOTHING: frozenset[str] = frozenset()


class Bases:
    """The names of each release in one list."""

    def __init__(self, ids: Iterable[ModelId], versions: Mapping[str, tuple[int, ...]]) -> None:
        """`versions` is each id's version by its text."""
        ids = list(ids)
        self._versions = versions
        self._names: dict[Hashable, set[frozenset[str]]] = defaultdict(set)
        self._tokens: dict[str, frozenset[str]] = {}
        self._sorted: dict[Hashable, list[frozenset[str]]] = {}
        for one in ids:
            self._tokens[one.text] = tokens = _tokens(one)
            self._names[self._release_of(one)].add(tokens)
        self._editions = {
            (one.vendor, one.words[0], word)
            for one in ids
            for word in LINES & self._tokens[one.text]
            if one.words
            and versions[one.text] != NO_VERSION
            and self._tokens[one.text] - {word} in self._names[self._release_of(one)]
        }
        """Vendor, brand and word of a line, where the list itself shows the word to be an edition."""

    def beyond(self, one: ModelId) -> frozenset[str]:
        """What the name adds to its base; nothing where it has neither version nor date, or no base."""
        if not one.words or not (one.versions or one.dated):
            return _NOTHING
        tokens = self._tokens[one.text]
        names = self._names[self._release_of(one)]
        if len(names) == 1 or one.words[0] not in tokens:
            return _NOTHING
        rest = sorted(tokens - {one.words[0]})
        few = len(names) < 2 ** len(rest)
        for part in self._shortest_first(one) if few else _parts(one.words[0], rest):
            if part < tokens and one.words[0] in part and part in names:
                return tokens - part
        return _NOTHING

    def shown_beside(self, one: ModelId, words: frozenset[str]) -> frozenset[str]:
        """Those of the words that some release of this brand bears beside the same name without it: `pro` of `gpt-6-pro`, where
        `gpt-5-pro` stands beside `gpt-5`, although there is no `gpt-6`.
        """
        return frozenset(word for word in words if (one.vendor, one.words[0], word) in self._editions)

    def _shortest_first(self, one: ModelId) -> list[frozenset[str]]:
        release = self._release_of(one)
        if release not in self._sorted:
            self._sorted[release] = sorted(self._names[release], key=lambda item: (len(item), sorted(item)))
        return self._sorted[release]

    def _release_of(self, one: ModelId) -> Hashable:
        version = self._versions[one.text]
        return one.vendor, version, NO_DATE if version != NO_VERSION else one.date


def _parts(first: str, rest: list[str]) -> Iterator[frozenset[str]]:
    """Every name with the word `first` and some of the `rest`, the shortest first."""
    for count in range(len(rest)):
        for chosen in combinations(rest, count):
            yield frozenset((first, *chosen))


def _tokens(one: ModelId) -> frozenset[str]:
    """What tells models of one release apart. Beside a model without a size, `instruct` is another model."""
    words = set(one.words) - (NEUTRAL if one.sizes else NEUTRAL - {"instruct"})
    return frozenset(words | set(one.sizes))
