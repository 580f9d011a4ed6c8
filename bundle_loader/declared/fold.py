"""Laying one located tree over another: pure and associative; tombstones and unspliced `base` stay in the tree."""

from __future__ import annotations

from bundle_loader.declared.agent import SLOT_KEYS
from bundle_loader.declared.tree import Mapping, Node, Scalar, Sequence, is_null

_LIST_KEYS = ("id", "name", "module")
_SPLICED = frozenset({"tiers", "profiles", "roles", "provider_preferences", "content_fallback"})


def fold(lower: Node | None, upper: Node | None, key: str = "") -> Node | None:
    """`upper` laid over `lower`. Absent inherits, `null` removes, mappings merge, lists replace (rule 3 of composition)."""
    if upper is None:
        return lower
    if lower is None or is_null(upper):
        return upper
    if is_null(lower):
        return _sealed(upper)
    if isinstance(upper, Scalar) or upper.sealed:
        return upper
    if isinstance(upper, Mapping) and isinstance(lower, Mapping):
        return _mapping(lower, upper, key)
    if isinstance(upper, Sequence) and isinstance(lower, Sequence):
        return splice(lower, upper) if key in _SPLICED else _keyed(lower, upper)
    if isinstance(upper, Sequence) and isinstance(lower, Scalar) and key in _SPLICED:
        return splice(_of_tier(lower), upper)
    return _sealed(upper)


def fold_agent(lower: Mapping, upper: Mapping) -> Mapping:
    """An agent's patch over an agent. `model_role`, `provider_preferences` and `tier` are one slot; `tools` replace."""
    if upper.sealed:
        return upper
    entries = dict(lower.entries)
    keys = dict(lower.keys)
    if any(name in upper.entries for name in SLOT_KEYS):
        for name in SLOT_KEYS:
            entries.pop(name, None)
    for name, value in upper.entries.items():
        keys[name] = upper.keys[name]
        if name == "provider_preferences":
            entries[name] = _slot_list(lower, value)
        elif name == "tools" or name in SLOT_KEYS:
            entries[name] = value
        else:
            folded = fold(lower.entries.get(name), value, name)
            assert folded is not None
            entries[name] = folded
    return Mapping(entries, keys, upper.file, upper.line, upper.column, lower.sealed)


def _slot_list(lower: Mapping, value: Node) -> Node:
    """A list with `base` over whatever the slot held: the list itself, or the tier as a list of one."""
    if not isinstance(value, Sequence) or value.sealed:
        return value
    inherited = lower.entries.get("provider_preferences")
    if isinstance(inherited, Sequence):
        return splice(inherited, value)
    tier = lower.entries.get("tier")
    if isinstance(tier, Scalar) and not tier.is_null:
        return splice(_of_tier(tier), value)
    if any(name in lower.entries for name in SLOT_KEYS):
        return _sealed(value)
    return value


def _of_tier(tier: Scalar) -> Sequence:
    """The name of a tier as a list of one."""
    element = Mapping({"tier": tier}, {"tier": (tier.line, tier.column)}, tier.file, tier.line, tier.column)
    return Sequence([element], tier.file, tier.line, tier.column, True)


def splice(lower: Sequence, upper: Sequence) -> Sequence:
    """`upper` with each element `base` replaced by the elements of `lower`."""
    if not any(is_base(item) for item in upper.items):
        return Sequence(upper.items, upper.file, upper.line, upper.column, True)
    items: list[Node] = []
    for item in upper.items:
        items.extend(lower.items if is_base(item) else [item])
    return Sequence(items, upper.file, upper.line, upper.column, lower.sealed)


def is_base(node: Node) -> bool:
    """The unquoted word `base`."""
    return isinstance(node, Scalar) and not node.quoted and node.text == "base"


def _sealed(node: Node) -> Node:
    """As it is written, whatever is found to lie below it."""
    if isinstance(node, Mapping):
        return Mapping(node.entries, node.keys, node.file, node.line, node.column, True)
    if isinstance(node, Sequence):
        return Sequence(node.items, node.file, node.line, node.column, True)
    return node


def _mapping(lower: Mapping, upper: Mapping, key: str) -> Mapping:
    entries = dict(lower.entries)
    keys = dict(lower.keys)
    for name, value in upper.entries.items():
        keys[name] = upper.keys[name]
        folded = fold(lower.entries.get(name), value, key or name)
        assert folded is not None
        entries[name] = folded
    return Mapping(entries, keys, upper.file, upper.line, upper.column, lower.sealed)


def _identity(node: Node) -> str | None:
    if isinstance(node, Mapping):
        for name in _LIST_KEYS:
            value = node.entries.get(name)
            if isinstance(value, Scalar) and not value.is_null:
                return f"{name}={value.text}"
    return None


def _keyed(lower: Sequence, upper: Sequence) -> Node:
    """Lists of mappings that bear an id, name or module merge by it; `remove: true` removes. Others replace."""
    if not is_keyed(upper) or not is_keyed(lower):
        return _sealed(upper)
    merged: dict[str | None, Node] = {}
    for item in (*lower.items, *upper.items):
        identity = _identity(item)
        merged[identity] = _element(merged.get(identity), item)
    return Sequence(list(merged.values()), upper.file, upper.line, upper.column, lower.sealed)


def is_keyed(node: Sequence) -> bool:
    """True for a list whose elements all bear an id, name or module."""
    return bool(node.items) and all(_identity(item) is not None for item in node.items)


def _element(lower: Node | None, upper: Node) -> Node:
    """`remove: true` is to an element what `null` is to a key."""
    if lower is None or removed(upper):
        return upper
    folded = _sealed(upper) if removed(lower) else fold(lower, upper)
    assert folded is not None
    return folded


def removed(node: Node) -> bool:
    """True for an element of a keyed list that says `remove: true`."""
    if not isinstance(node, Mapping):
        return False
    value = node.entries.get("remove")
    return isinstance(value, Scalar) and value.text in ("true", "True", "TRUE")
