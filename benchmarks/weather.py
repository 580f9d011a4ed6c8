"""The weather that four vendors have in a chaos run: outages of fixed lengths, bursts of 429, and each request's own luck."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.vendor import Act, Conduct

VENDORS: Final = ("alpha", "beta", "gamma", "delta")
OUTAGES: Final = (10.0, 20.0, 40.0, 60.0)
"""Seconds that each vendor is out, each once in ten minutes."""
BURSTS: Final = (8.0, 8.0, 8.0)
"""Seconds for which it then says 429 to everything."""
BLACKOUT: Final = 2.0
"""Seconds in which all of them are out, once in ten minutes: for so many arrivals nobody is up."""
PERIOD: Final = 600.0
MOST_OUT: Final = 2
"""How many vendors are out or bursting at any other moment, at most."""
HANG: Final = 3600.0
RETRY_AFTER: Final = 3.0
TEXT: Final = "The work is done, and this is all of it, from its first word to its very last."
WAYS: Final = ("503", "reset", "hang", "500")


@dataclass(frozen=True, slots=True)
class Spell:
    """What all of a vendor's requests meet for a while."""

    vendor: str
    start: float
    end: float
    way: str
    """`503`, `500`, `reset`, `hang` or `429`."""

    def covers(self, at: float) -> bool:
        return self.start <= at < self.end


class Weather:
    """All that will happen in so many seconds, decided by the seed. Times are seconds from the start."""

    def __init__(self, seed: int, seconds: float) -> None:
        self.seed = seed
        self.seconds = seconds
        chance = random.Random(f"weather {seed}")
        black = chance.uniform(0.3, 0.7) * seconds
        share = seconds / PERIOD
        self.spells: list[Spell] = [
            Spell(vendor, black, black + BLACKOUT * share, chance.choice(("503", "reset"))) for vendor in VENDORS
        ]
        lengths = [(length * share, "out") for length in OUTAGES] + [(length * share, "429") for length in BURSTS]
        wanted = sorted(((length, vendor, kind) for vendor in VENDORS for length, kind in lengths), reverse=True)
        for length, vendor, kind in wanted:
            way = kind if kind == "429" else chance.choice(WAYS)
            self.spells.append(self._placed(chance, vendor, length, way))

    def _placed(self, chance: random.Random, vendor: str, length: float, way: str) -> Spell:
        for _ in range(10_000):
            start = chance.uniform(0.02, 0.98) * (self.seconds - length)
            near = [spell for spell in self.spells if spell.start < start + length and start < spell.end]
            moments = [start, *(spell.start for spell in near if spell.start > start)]
            out = [{spell.vendor for spell in near if spell.covers(moment)} for moment in moments]
            if all(vendor not in names and len(names) < MOST_OUT for names in out):
                return Spell(vendor, start, start + length, way)
        raise RuntimeError(f"seed {self.seed}: no room for {length:g} s of {way}")

    def spell(self, vendor: str, at: float) -> Spell | None:
        """What stands over a vendor at a moment."""
        return next((spell for spell in self.spells if spell.vendor == vendor and spell.covers(at)), None)

    def act(self, vendor: str, at: float, number: int) -> Act:
        """What a vendor does with its request of that number."""
        chance = random.Random(f"{self.seed} {vendor} {number}")
        delay = chance.uniform(0.4, 1.6)
        spell = self.spell(vendor, at)
        if spell is not None:
            if spell.way == "429":
                return Act(429, delay / 10, RETRY_AFTER)
            if spell.way == "reset":
                return Act(ending="reset")
            return Act(delay=HANG) if spell.way == "hang" else Act(int(spell.way), delay / 10)
        luck = chance.random()
        if luck < 0.005:
            return Act(503, delay)
        if luck < 0.008:
            return Act(delay=HANG)
        if luck < 0.023:
            return Act(delay=delay, text=TEXT, ending="cut")
        slow = chance.uniform(6, 12) if luck < 0.053 else 0.0
        return Act(delay=delay + slow, text=TEXT)


def scaled(plan: Mapping[str, Any]) -> Conduct:
    """Vendors over sockets under this weather, `scale` times as fast, from the moment `start` of the monotonic clock."""
    weather = Weather(plan["seed"], plan["seconds"])
    scale, start = plan["scale"], plan["start"]
    numbers = dict.fromkeys(VENDORS, 0)

    def act(vendor: str, model: str) -> Act:
        numbers[vendor] += 1
        found = weather.act(vendor, (time.monotonic() - start) * scale, numbers[vendor])
        return Act(found.status, found.delay / scale, found.retry_after, found.text, found.ending)

    return act
