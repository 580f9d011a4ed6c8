"""The layers of a bundle on paper: as a tree, and as a flowchart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from bundle_loader.declared.context import ContextPart
from bundle_loader.declared.laid import Laid


def tree(layers: Sequence[Laid]) -> Iterator[str]:
    """Lines: each bundle above what it includes, the most derived first, settings before all bundles; one that comes again
    is only named.
    """
    by_file = {layer.file: layer for layer in layers}
    included = {file for layer in layers for file in layer.includes}
    seen: set[str] = set()
    for layer in reversed(layers):
        if layer.file not in included:
            yield from _branch(layer, by_file, seen, "", "")


def _branch(layer: Laid, by_file: Mapping[str, Laid], seen: set[str], first: str, rest: str) -> Iterator[str]:
    if layer.file in seen:
        yield f"{first}{layer.name}  (see above)"
        return
    seen.add(layer.file)
    yield f"{first}{layer.name}  {layer.file}  {summary(layer)}"
    below = [by_file[file] for file in dict.fromkeys(layer.includes)]
    for index, child in enumerate(below):
        last = index == len(below) - 1
        yield from _branch(child, by_file, seen, rest + ("`-- " if last else "|-- "), rest + ("    " if last else "|   "))


def summary(layer: Laid) -> str:
    """When it was laid, and how much it writes; of settings, what each key says."""
    if layer.settings:
        return f"laid {layer.order}: {'; '.join(map(str, layer.sets)) or 'says nothing'}"
    counts = [
        (len(layer.agents), "agent", "agents"),
        (len(layer.patches), "patch", "patches"),
        (len(layer.removes), "removal", "removals"),
        (len(layer.tiers), "tier", "tiers"),
    ]
    written = ", ".join(f"{number} {one if number == 1 else many}" for number, one, many in counts if number)
    return f"laid {layer.order}: {written or 'writes no agent and no tier'}"


def context(parts: Sequence[ContextPart]) -> Iterator[str]:
    """Lines: each piece of the text for the front of the host's prompt, in its order, with its size."""
    for part in parts:
        what = f"{part.name}  {part.file}" if part.name else f"text of {part.bundle}  {part.file}"
        via = f", named at {part.named_at}" if part.named_at else ""
        yield f"{what}  {size(len(part.text))}{via}"


def size(characters: int) -> str:
    """`1 character`, `1,234 characters`."""
    return f"{characters:,} character{'' if characters == 1 else 's'}"


def flowchart(layers: Sequence[Laid]) -> str:
    """A Mermaid flowchart: an arrow from each bundle to what it includes, from settings to what they are laid over."""
    ids = {layer.file: f"b{layer.order}" for layer in layers}
    lines = ["flowchart TD"]
    for layer in reversed(layers):
        label = "<br/>".join(_escaped(text) for text in (layer.name, layer.file, summary(layer)))
        left, right = ("[[", "]]") if layer.settings else ("[", "]")
        lines.append(f'  {ids[layer.file]}{left}"{label}"{right}')
    for below, layer in reversed(list(pairwise(layers))):
        if layer.settings:
            lines.append(f"  {ids[layer.file]} -->|over| {ids[below.file]}")
    for layer in reversed(layers):
        lines += [f"  {ids[layer.file]} -->|includes| {ids[file]}" for file in dict.fromkeys(layer.includes)]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """Text for a quoted label: Mermaid writes characters of its own as `#code;`."""
    return "".join(f"#{ord(letter)};" if letter in '"#&<>`' else letter for letter in " ".join(text.split()))
