"""Newer models of the same series that a pattern with a class of digits leaves out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bundle_loader.routing.catalogue import Catalogue
from bundle_loader.routing.model_ids import ModelId, matches, parse, read_versions
from bundle_loader.routing.model_names import DEFAULT, ModelList, OrderPolicy

_CLASS = r"\[[\d-]*\d[\d-]*\]"
_DIGITS = re.compile(_CLASS)
_UNIT = rf"(?:{_CLASS}|\d+|[*?])+"
_RUN = re.compile(rf"(?<![\d.]){_UNIT}(?:[.-]{_UNIT})*")


@dataclass(frozen=True, slots=True)
class NewerSibling:
    """A model that the author of a pattern probably wants as well."""

    chosen: str
    """The best that the pattern matches now."""
    model: str
    """The newer one, which it does not match."""
    wider: str
    """A pattern that takes it in."""


def newer_sibling(pattern: str, catalogue: Catalogue, policy: OrderPolicy = DEFAULT) -> NewerSibling | None:
    """The newest model of the series that `pattern` stops short of; None where it matches nothing or names no class.

    Of the same series is what has the same vendor, words, sizes and tag; so a mini is none of the plain model's. A dated
    snapshot counts only where the pattern itself stands for snapshots, a preview only where it stands for previews.
    """
    if not _DIGITS.search(pattern):
        return None
    listed = ModelList(catalogue.models)
    chosen = listed.newest(pattern, policy)
    if not chosen:
        return None
    versions = read_versions(parse(model.id) for model in catalogue.models)
    best = parse(chosen[0].id)
    found: NewerSibling | None = None
    for wider in _wider(pattern):
        for model in listed.newest(wider, policy):
            other = parse(model.id)
            if matches(pattern, model.id) or not _same_series(best, other) or versions[other.text] <= versions[best.text]:
                continue
            if found is None or versions[other.text] > versions[parse(found.model).text]:
                found = NewerSibling(chosen[0].id, model.id, wider)
            break
    return found


def _wider(pattern: str) -> Iterator[str]:
    """Wider patterns, the narrowest first: each class as `*`, then the whole version as `*`."""
    for text in (_DIGITS.sub("*", pattern), _RUN.sub(lambda run: "*" if _DIGITS.search(run[0]) else run[0], pattern)):
        yield re.sub(r"\*+", "*", text)


def _same_series(one: ModelId, other: ModelId) -> bool:
    said = (one.vendor, set(one.words), one.sizes, one.tag, one.stages, one.latest)
    if said != (other.vendor, set(other.words), other.sizes, other.tag, other.stages, other.latest):
        return False
    return one.dated or not other.dated
