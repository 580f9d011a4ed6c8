"""Amplifier's agent form: `meta:` (or `observer:`) with name and description, preferences beside or inside it."""

from __future__ import annotations

from typing import Any, Final

from bundle_loader.declared.tree import Mapping, Node, Scalar, Sequence, core, is_null, plain
from bundle_loader.errors import Fault

FORM: Final = "amplifier"
_HEADS = ("meta", "observer")
_OLD_FORM = (
    "an older form that names no provider; write 'provider:' and 'model:', such as {provider: anthropic, model: claude-sonnet-*}"
)
_PAIR = frozenset({"provider", "model", "config"})
_OURS = ("name", "description", "provider_preferences", "model_role")


def is_amplifier(values: dict[str, Any]) -> bool:
    """True for a header with Amplifier's signature key."""
    return "format" not in values and any(head in values for head in _HEADS)


def read_amplifier(header: Mapping) -> tuple[Mapping, dict[str, object], list[Fault]]:
    """The header in our own keys, everything else as `extra`, and faults and warnings."""
    faults: list[Fault] = []
    entries: dict[str, Node] = {}
    keys: dict[str, tuple[int, int]] = {}
    extra: dict[str, object] = {}
    head_name = next(head for head in _HEADS if head in header.entries)
    head = header.entries[head_name]
    if not isinstance(head, Mapping):
        if not is_null(head):
            message = "write 'name: ...' and 'description: ...' lines under it"
            faults.append(Fault(header.file, head.line, head.column, head_name, message))
        head = Mapping({}, {}, header.file, head.line, head.column)
    if head_name == "observer":
        line, column = header.keys[head_name]
        faults.append(
            Fault(header.file, line, column, "observer", "read as 'meta'; an observer is loaded as an agent", "warning")
        )
    # meta first, then the top level, which wins
    for source in (head, header):
        for key, value in source.entries.items():
            if source is header and key == head_name:
                continue
            if key == "provider_preferences" and isinstance(value, Sequence) and not value.items:
                continue  # an empty list inherits the caller's model, as if it were not there
            if key in _OURS and not is_null(value):
                entries[key] = value
                keys[key] = source.keys[key]
            elif key == "tools":
                _tools(value, source, entries, keys, extra)
            else:
                if key == "agents" and not _says_whom(value):
                    faults.append(Fault(header.file, value.line, value.column, "agents", "write all, none, or a list of agents"))
                elif key == "agents" and isinstance(value, (Scalar, Sequence)) and not is_null(value):
                    entries[key], keys[key] = value, source.keys[key]
                extra[key] = core(plain(value))
    if "name" in entries:
        _name(entries, keys)
    if "provider_preferences" in entries:
        entries["provider_preferences"], found = _preferences(entries["provider_preferences"], header.file)
        faults += found
    return Mapping(entries, keys, header.file, header.line, header.column), extra, faults


def _says_whom(value: Node) -> bool:
    """`agents` says to whom an agent may delegate: `all`, `none`, a list of names, or (in bundles) a roster."""
    return not isinstance(value, Scalar) or value.is_null or value.text in ("all", "none")


def _tools(
    value: Node, source: Mapping, entries: dict[str, Node], keys: dict[str, tuple[int, int]], extra: dict[str, object]
) -> None:
    """Plain names (or none at all) are tools of the host; modules with a source are kept aside, never fetched or run."""
    if isinstance(value, Sequence) and all(isinstance(item, Scalar) for item in value.items):
        entries["tools"] = value
        keys["tools"] = source.keys["tools"]
    else:
        extra["tools"] = core(plain(value))


def _name(entries: dict[str, Node], keys: dict[str, tuple[int, int]]) -> None:
    """A display name ("Code Quality Reviewer") becomes a slug; the agent is reached by it."""
    name = entries["name"]
    if isinstance(name, Scalar):
        slug = slugify(name.text)
        if slug and slug != name.text:
            entries["name"] = Scalar(slug, True, name.file, name.line, name.column)


def slugify(text: str) -> str:
    """A name from a display name: lower case, runs of anything else as '-'. Names that are fine stay as they are."""
    if all(char.isalnum() or char in "_.-" for char in text):
        return text
    words = "".join(char if char.isalnum() or char in "_." else " " for char in text.casefold())
    return "-".join(words.split())


def _preferences(node: Node, file: str) -> tuple[Node, list[Fault]]:
    """The list without keys that mean nothing here (a warning each), and faults of the older form.

    The older form's elements named a class of model in place of provider and model.
    """
    faults: list[Fault] = []
    if not isinstance(node, Sequence):
        return node, faults
    items: list[Node] = []
    for index, item in enumerate(node.items):
        if isinstance(item, Mapping) and "class" in item.entries and "provider" not in item.entries:
            faults.append(Fault(file, *item.keys["class"], f"provider_preferences[{index}].class", _OLD_FORM))
        elif isinstance(item, Mapping):
            for key in sorted(item.entries.keys() - _PAIR):
                name = f"provider_preferences[{index}].{key}"
                faults.append(Fault(file, *item.keys[key], name, "means nothing here and is left out", "warning"))
            kept = {key: value for key, value in item.entries.items() if key in _PAIR}
            item = Mapping(kept, item.keys, item.file, item.line, item.column)
        items.append(item)
    return Sequence(items, node.file, node.line, node.column), faults
