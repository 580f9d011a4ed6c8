"""Whether what a list says of creation can be believed as releases, and why not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from bundle_loader.routing.catalogue import ModelInfo
from bundle_loader.routing.model_ids import Date, ModelId

_DAY = 86400.0
SAME_RELEASE = 3 * _DAY
"""Ids of one release are stamped up to days apart."""
_SLACK = 45 * _DAY
"""A stamp further than this from the date in the id is not the release."""


@dataclass(frozen=True, slots=True)
class Stamps:
    """When each model was released, by what its provider says of creation."""

    at: Mapping[str, float] = field(default_factory=dict)
    """Id -> seconds since the epoch; nothing at all where the stamps of the list are not believed."""
    why: str = ""
    """Why they are believed, or why not."""

    @property
    def believed(self) -> bool:
        """Whether they order this list."""
        return bool(self.at)


def believable_stamps(listed: Sequence[ModelInfo], ids: Mapping[str, ModelId]) -> Stamps:
    """The stamps of a list if they can be releases.

    Not believed: where they are the time of the download (only where models lie on a disk have they digests) or of the
    request (all nearly equal), where many models share one moment that is not midnight, where more than a tenth of the ids
    have none.
    """
    if any(info.digest for info in listed):
        return Stamps(why="its dates are those of the download")
    stamps = {info.id: _seconds(info.created) for info in listed if info.created}
    if not stamps:
        return Stamps(why="the list does not say when models were created")
    if max(stamps.values()) - min(stamps.values()) <= SAME_RELEASE:
        return Stamps(why="all were created at nearly one moment: that of the request, not the release")
    sharers: dict[float, set[Hashable]] = defaultdict(set)
    for model_id, stamp in stamps.items():
        sharers[stamp].add((ids[model_id].vendor, ids[model_id].words, ids[model_id].versions))
    real = {model_id: stamp for model_id, stamp in stamps.items() if len(sharers[stamp]) < 3 or stamp % _DAY == 0}
    stamped = {ids[model_id].core for model_id in real}
    needed = [one for one in ids.values() if not one.is_pointer]
    told = sum(one.core in stamped for one in needed)
    if told < 0.9 * len(needed):
        return Stamps(why=f"only {told} of {len(needed)} models have a date of their own")
    distinct = set(real.values())
    if 3 * len(distinct) < len(real) or max(distinct, default=0) - min(distinct, default=0) <= SAME_RELEASE:
        return Stamps(why=f"{len(real)} models share {len(distinct)} moments")
    checked = {model_id: _checked(stamp, ids[model_id].date) for model_id, stamp in real.items()}
    return Stamps(checked, f"{told} of {len(needed)} models have a date of their own")


def _checked(stamp: float, date: Date) -> float:
    """The stamp, unless the date in the id says that it was rewritten."""
    year, month, day = date
    if not year:
        return stamp
    said = datetime(year, month, 1, tzinfo=UTC) + timedelta(days=(day or 15) - 1)
    return stamp if abs(stamp - said.timestamp()) <= _SLACK else said.timestamp()


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
