"""How a pattern came to its first model: who fell at each step of the order, and why. The order itself is `ranking`'s."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from bundle_loader.declared.model_order import DEFAULT, OrderPolicy
from bundle_loader.routing.model_ids import NO_VERSION
from bundle_loader.routing.model_names import ModelList
from bundle_loader.routing.ranking import STEPS, Ranked, Ranking, Step, parameters

TITLES: Final[Mapping[Step, str]] = {
    Step.KIND: "kind",
    Step.STAGE: "stage",
    Step.EDITION: "edition",
    Step.POINTER: "pointer",
    Step.CREATED: "release by created",
    Step.VERSION: "release by version",
    Step.BRAND: "release by name",
    Step.SNAPSHOT: "alias and snapshot",
    Step.MAKE: "make",
    Step.TAG: "tag",
    Step.SIZE: "size",
    Step.NAME: "name",
}
"""What each step is called for people."""


@dataclass(frozen=True, slots=True)
class Fell:
    """A model that stayed behind at a step."""

    model: str
    why: str


@dataclass(frozen=True, slots=True)
class Narrowed:
    """One step: who remained, and who fell. Nobody falls at a step that does not tell those who are left apart."""

    step: Step
    remained: tuple[str, ...]
    fell: tuple[Fell, ...]
    note: str = ""
    """What the step went by, where that is not the same for every list."""


@dataclass(frozen=True, slots=True)
class Narrowing:
    """A pattern over one list, step by step, down to one model."""

    pattern: str
    listed: int
    """How many models the list has."""
    matched: tuple[str, ...]
    """All that match, best first."""
    dated: str
    """Whether the list's dates of creation are believed, and why or why not."""
    steps: tuple[Narrowed, ...]
    """As many as it took."""

    @property
    def chosen(self) -> str | None:
        """The first of all that match; None where nothing does."""
        return self.matched[0] if self.matched else None


def narrowing(pattern: str, models: ModelList, policy: OrderPolicy = DEFAULT) -> Narrowing:
    """The steps by which `pattern` comes to its first model of a list. Pure; the first is that of `newest_models`."""
    order = models.ranked(pattern, policy)
    ranking = models.ranking
    stamps = ranking.stamps
    dated = f"{'believed' if stamps.believed else 'not believed'}: {stamps.why}"
    remained, steps = list(order), []
    for at, step in enumerate(STEPS):
        if len(remained) < 2:
            break
        best = remained[0]
        kept = [one for one in remained if one.key[at] == best.key[at]]
        fallen = [one for one in remained if one.key[at] != best.key[at]]
        why = _WHY[step]
        fell = tuple(Fell(one.info.id, why(one, best, ranking)) for one in fallen)
        steps.append(Narrowed(step, tuple(one.info.id for one in kept), fell, _note(step, policy, dated)))
        remained = kept
    return Narrowing(pattern, len(models.models), tuple(one.info.id for one in order), dated, tuple(steps))


def _note(step: Step, policy: OrderPolicy, dated: str) -> str:
    if step is Step.CREATED:
        return f"created is {dated}"
    off = {
        Step.STAGE: (policy.ga_first, "model_order.ga_first is false: previews are as good as released models"),
        Step.EDITION: (policy.base_first, "model_order.base_first is false: special editions are as good as plain models"),
        Step.SIZE: (policy.larger_first, "model_order.larger_first is false: the smaller leads"),
    }
    on, said = off.get(step, (True, ""))
    return "" if on else said


def _kind(one: Ranked, best: Ranked, _: Ranking) -> str:
    return f"is for {' and '.join(sorted(one.kinds))}, which the pattern does not name"


def _stage(one: Ranked, best: Ranked, _: Ranking) -> str:
    if one.stage == "retired":
        return "is retired"
    words = sorted(one.one.stages)
    return f"is a preview: '{words[0]}' in its name" if words else "is a preview, says its provider"


def _edition(one: Ranked, best: Ranked, _: Ranking) -> str:
    words = ", ".join(f"'{word}'" for word in sorted(one.editions))
    return f"{words} in its name, which the pattern does not say"


def _pointer(one: Ranked, best: Ranked, _: Ranking) -> str:
    return "points to some model and names no version"


def _created(one: Ranked, best: Ranked, _: Ranking) -> str:
    if not one.stamp:
        return f"nobody says when it came; {best.info.id} came {_day(best.stamp)}"
    return f"came {_day(one.stamp)}, {best.info.id} {_day(best.stamp)}"


def _version(one: Ranked, best: Ranked, ranking: Ranking) -> str:
    return f"{_version_text(ranking.version(one.info))} is before {_version_text(ranking.version(best.info))}"


def _brand(one: Ranked, best: Ranked, _: Ranking) -> str:
    return f"has no version; what {best.info.id} is called is newer by its date or by its other models"


def _snapshot(one: Ranked, best: Ranked, ranking: Ranking) -> str:
    mine, newest = ranking.snapshot(one.info), ranking.snapshot(best.info)
    if mine != newest:
        return f"{_snapshot_text(mine)} is before {_snapshot_text(newest)}"
    return f"is another name of the release that {best.info.id} is the alias of"


def _make(one: Ranked, best: Ranked, _: Ranking) -> str:
    return f"{best.info.id} is a later make of the same version"


def _tag(one: Ranked, best: Ranked, _: Ranking) -> str:
    return f"tag '{one.one.tag}' is not the default"


def _size(one: Ranked, best: Ranked, _: Ranking) -> str:
    sizes = [parameters(ranked.info, ranked.one) for ranked in (one, best)]
    mine, other = (f"{size:g}b" if size else "no size" for size in sizes)
    return f"{mine}, {best.info.id} {other}"


def _name(one: Ranked, best: Ranked, _: Ranking) -> str:
    return f"nothing tells it from {best.info.id} but the longer name or the alphabet"


_WHY: Final[Mapping[Step, Callable[[Ranked, Ranked, Ranking], str]]] = {
    Step.KIND: _kind,
    Step.STAGE: _stage,
    Step.EDITION: _edition,
    Step.POINTER: _pointer,
    Step.CREATED: _created,
    Step.VERSION: _version,
    Step.BRAND: _brand,
    Step.SNAPSHOT: _snapshot,
    Step.MAKE: _make,
    Step.TAG: _tag,
    Step.SIZE: _size,
    Step.NAME: _name,
}


def _day(stamp: float) -> str:
    return datetime.fromtimestamp(stamp, UTC).date().isoformat()


def _version_text(version: tuple[int, ...]) -> str:
    """`4.7` of the numbers that versions are compared by; each half is four numbers and a letter."""
    if version == NO_VERSION:
        return "no version"
    halves = []
    for half in (version[:5], version[5:]):
        numbers = list(half[:4])
        while len(numbers) > 1 and not numbers[-1]:
            numbers.pop()
        halves.append(".".join(map(str, numbers)) + (chr(half[4]) if half[4] else ""))
    return halves[0] if halves[1] == "0" else " ".join(halves)


def _snapshot_text(snapshot: tuple[int, ...]) -> str:
    year, month, day, revision = snapshot
    if revision and not month:
        return f"revision {revision:03}"
    said = "-".join(f"{part:02}" for part in (year, month, day) if part)
    return f"snapshot {said}" if said else "no snapshot"
