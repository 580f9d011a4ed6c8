"""What each layer of a composition wrote, and which of them wrote about the same thing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bundle_loader.declared.layer import Layer
from bundle_loader.declared.settings import SettingsFile
from bundle_loader.declared.tree import Mapping, Node, Scalar, is_null, says_true
from bundle_loader.declared.tree import Sequence as List


@dataclass(frozen=True, slots=True)
class Setting:
    """A key that a settings file writes, and in short what it writes there."""

    key: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.key} {', '.join(self.values)}" if self.values else f"{self.key} of nothing"


@dataclass(frozen=True, slots=True)
class Laid:
    """One bundle or settings file of a composition; names are in the order in which they are written."""

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
    settings: str = ""
    """`organisation`, `project` or `user` for a settings file; empty for a bundle."""
    pins: tuple[str, ...] = ()
    """Agents that a settings file pins, or whose pin it takes away."""
    sets: tuple[Setting, ...] = ()
    """Everything that a settings file writes, key by key."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """An agent or a tier that several layers write or pin; the last of `layers` is the most derived."""

    noun: str
    name: str
    layers: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.noun} {self.name}: {' over '.join(reversed(self.layers))}"


def laid(layers: Sequence[Layer], settings: Sequence[SettingsFile] = ()) -> tuple[Laid, ...]:
    """What each of `layers`, and of the `settings` that are laid over them, wrote; least derived first."""
    known: set[str] = set()
    found = []
    for order, layer in enumerate(layers, 1):
        files = dict.fromkeys(source.name for source in layer.agent_files)
        all_gone = dict.fromkeys(sorted(known)) if is_null(layer.header.entries.get("agents")) else {}
        known |= files.keys()
        removes = all_gone | {name: None for name, patch in layer.patches.items() if isinstance(patch, Scalar)}
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
    found += [_settings(file, order) for order, file in enumerate(settings, len(found) + 1)]
    return tuple(found)


def _settings(file: SettingsFile, order: int) -> Laid:
    entries = {key: node for key, node in file.tree.entries.items() if key != "format"}
    tiers, agents = entries.get("tiers"), entries.get("agents")
    return Laid(
        file.layer.name,
        file.file,
        order,
        (),
        (),
        (),
        (),
        tuple(tiers.entries) if isinstance(tiers, Mapping) else (),
        file.origin,
        tuple(agents.entries) if isinstance(agents, Mapping) else (),
        tuple(Setting(key, _values(key, node, file.origin == "organisation")) for key, node in entries.items()),
    )


def _values(key: str, node: Node, organisation: bool = False) -> tuple[str, ...]:
    """The value of a setting in short: pins as what they come to, of other mappings the keys."""
    if isinstance(node, Scalar):
        return ("null" if node.is_null else node.text,)
    if isinstance(node, List):
        return tuple(item.text for item in node.items if isinstance(item, Scalar))
    if key == "agents":
        return tuple(f"{name} {_pin(pin, organisation)}" for name, pin in node.entries.items())
    if key == "model_order":
        return tuple(f"{name} {' '.join(_values(name, value))}" for name, value in node.entries.items())
    if key == "trust":
        return tuple(text for name, value in node.entries.items() for text in _values(name, value))
    return tuple(f"{name} removed" if is_null(value) else name for name, value in node.entries.items())


def _pin(node: Node, organisation: bool) -> str:
    if not isinstance(node, Mapping):
        return "without its pin"
    said = {name: value for name, value in node.entries.items() if not is_null(value)}
    to = "to its own list" if "provider_preferences" in said else ""
    for key, noun in (("tier", "tier"), ("model_role", "role")):
        if key in said:
            to = f"to {noun} {' or '.join(_values(key, said[key]))}"
    return f"{to} (mandatory)" if says_true(said.get("mandatory")) and organisation else to


def overlaps(layers: Sequence[Laid]) -> tuple[Overlap, ...]:
    """The agents and tiers that more than one layer writes or pins, agents first, by name."""
    writers: dict[tuple[str, str], list[str]] = {}
    for layer in layers:
        for noun, names in (
            ("agent", (*layer.agents, *layer.patches, *layer.removes, *layer.pins)),
            ("tier", layer.tiers),
        ):
            for name in dict.fromkeys(names):
                writers.setdefault((noun, name), []).append(layer.name)
    return tuple(Overlap(noun, name, tuple(by)) for (noun, name), by in sorted(writers.items()) if len(by) > 1)
