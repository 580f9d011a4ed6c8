"""What each layer of a composition wrote, and which of them wrote about the same thing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bundle_loader.declared.layer import Layer
from bundle_loader.declared.tree import Mapping, Scalar


@dataclass(frozen=True, slots=True)
class Laid:
    """One bundle of a composition; names are in the order in which they are written."""

    name: str
    file: str
    order: int
    """1 is the least derived; what is laid later overrides."""
    includes: tuple[str, ...]
    """The files of the bundles that it includes, as written."""
    agents: tuple[str, ...]
    """Agents of its own: files first, then those that are written in the bundle itself."""
    patches: tuple[str, ...]
    """Agents that it changes."""
    removes: tuple[str, ...]
    """Agents that it takes out."""
    tiers: tuple[str, ...]
    """Tiers that it writes or takes out."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """An agent or a tier that several layers write; the last of `layers` is the most derived."""

    noun: str
    name: str
    layers: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.noun} {self.name}: {' over '.join(reversed(self.layers))}"


def laid(layers: Sequence[Layer]) -> tuple[Laid, ...]:
    """What each of `layers`, least derived first, wrote."""
    known: set[str] = set()
    found = []
    for order, layer in enumerate(layers, 1):
        files = dict.fromkeys(source.name for source in layer.agent_files)
        known |= files.keys()
        removes = {name: None for name, patch in layer.patches.items() if isinstance(patch, Scalar)}
        patches = [name for name in layer.patches if name not in removes and name in known]
        inline = [name for name in layer.patches if name not in removes and name not in known]
        known = known.union(inline).difference(removes)
        tiers = layer.header.entries.get("tiers")
        found.append(
            Laid(
                layer.name,
                layer.file,
                order,
                tuple(layer.includes),
                (*files, *inline),
                tuple(patches),
                tuple(removes),
                tuple(tiers.entries) if isinstance(tiers, Mapping) else (),
            )
        )
    return tuple(found)


def overlaps(layers: Sequence[Laid]) -> tuple[Overlap, ...]:
    """The agents and tiers that more than one layer writes, agents first, by name."""
    writers: dict[tuple[str, str], list[str]] = {}
    for layer in layers:
        for noun, names in (("agent", (*layer.agents, *layer.patches, *layer.removes)), ("tier", layer.tiers)):
            for name in dict.fromkeys(names):
                writers.setdefault((noun, name), []).append(layer.name)
    return tuple(Overlap(noun, name, tuple(by)) for (noun, name), by in sorted(writers.items()) if len(by) > 1)
