"""Laying one located tree over another.

6. Merging is a pure function and associative; property tests prove it (composition). Tombstones and unspliced `base` stay in
the tree until the end, or it would not be.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from collections.abc import Mapping as MappingOf
from typing import Any, Final

from bundle_loader.declared.agent import SLOT_KEYS
from bundle_loader.declared.tree import Mapping, Node, Scalar, Sequence, is_null, says_true

MAX_SPLICED: Final = 10_000
"""Elements that a list keeps: `base` twice in each of many layers would double it each time."""
_LIST_KEYS = ("id", "name", "module")
_SPLICED = frozenset({"tiers", "profiles", "roles", "provider_preferences", "content_fallback"})


def fold(lower: Node | None, upper: Node | None, key: str = "") -> Node | None:
    """`upper` laid over `lower`: an absent key inherits, `null` removes.

    3. Mappings merge key by key. Lists replace, except lists of mappings that bear an `id`, `name` or `module` (composition).
    """
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


def _never(_: Mapping) -> bool:
    return False


def fold_agent(lower: Mapping, upper: Mapping, follows_tier: Callable[[Mapping], bool] = _never) -> Mapping:
    """An agent's patch over an agent, or an agent over the one that it extends.

    `follows_tier` says of what lies below whether its tier stands for the list beside it: what `base` splices in then.

    3. An agent's `tools` always replace: merging would widen them (composition).
    One slot. `model_role`, `provider_preferences` and `tier` of an agent are one slot: writing any of them in a more derived
    layer (extended agent < agent file < patch of a base bundle < patch of a derived bundle) clears what was inherited.
    """
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
            entries[name] = _slot_list(lower, value, follows_tier)
        elif name == "tools" or name in SLOT_KEYS:
            entries[name] = value
        else:
            folded = fold(lower.entries.get(name), value, name)
            assert folded is not None
            entries[name] = folded
    return Mapping(entries, keys, upper.file, upper.line, upper.column, lower.sealed)


def _slot_list(lower: Mapping, value: Node, follows_tier: Callable[[Mapping], bool]) -> Node:
    """A list with `base` over whatever the slot held: the list itself, or the tier as a list of one."""
    if not isinstance(value, Sequence) or value.sealed:
        return value
    inherited = lower.entries.get("provider_preferences")
    if isinstance(inherited, Sequence) and not (any(map(is_base, value.items)) and follows_tier(lower)):
        return splice(inherited, value)
    tier = lower.entries.get("tier")
    if isinstance(tier, Scalar) and not tier.is_null:
        return splice(_of_tier(tier), value)
    if any(name in lower.entries for name in SLOT_KEYS):
        return _sealed(value)
    return value


def tier_is_redefined(tree: Mapping, tiers: Container[str], rank: MappingOf[str, int], tier_rank: MappingOf[str, int]) -> bool:
    """Whether the tier that an agent's tree names was written by a later layer than what the tree says of its slot.

    `rank` is the place of each file's layer, `tier_rank` that of the last layer that writes a tier.

    One slot. A tier redefined by a strictly more derived bundle than the agent file's also replaces that file's list when the
    file names the tier.
    """
    tier = tree.entries.get("tier")
    if not isinstance(tier, Scalar) or tier.text not in tiers:
        return False
    return tier_rank.get(tier.text, -1) > rank.get(slot_file(tree), -1)


def slot_file(tree: Mapping) -> str:
    """The file that wrote an agent's slot."""
    return next((tree.entries[key].file for key in SLOT_KEYS if key in tree.entries), tree.file)


def _of_tier(tier: Scalar) -> Sequence:
    """The name of a tier as a list of one."""
    element = Mapping({"tier": tier}, {"tier": (tier.line, tier.column)}, tier.file, tier.line, tier.column)
    return Sequence([element], tier.file, tier.line, tier.column, True)


def splice(lower: Sequence, upper: Sequence) -> Sequence:
    """`upper` with each element `base` replaced by the elements of `lower`.

    3. `base` in a preferences list splices the inherited list in (composition).
    """
    if not any(is_base(item) for item in upper.items):
        return Sequence(upper.items, upper.file, upper.line, upper.column, True, upper.numbers)
    items: list[Node] = []
    numbers: list[int] = []
    for index, item in enumerate(upper.items):
        items.extend(lower.items if is_base(item) else [item])
        numbers.extend(map(lower.number, range(len(lower.items))) if is_base(item) else [upper.number(index)])
        del items[MAX_SPLICED:], numbers[MAX_SPLICED:]
    return Sequence(items, upper.file, upper.line, upper.column, lower.sealed, tuple(numbers))


def is_base(node: Node) -> bool:
    """The unquoted word `base`."""
    return isinstance(node, Scalar) and not node.quoted and node.text == "base"


def _sealed(node: Node) -> Node:
    """As it is written, whatever is found to lie below it."""
    if isinstance(node, Mapping):
        return Mapping(node.entries, node.keys, node.file, node.line, node.column, True)
    if isinstance(node, Sequence):
        return Sequence(node.items, node.file, node.line, node.column, True, node.numbers)
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
    """3. Lists of mappings that bear an `id`, `name` or `module` merge by it (`remove: true` removes) (composition)."""
    if not is_keyed(upper) or not is_keyed(lower):
        return _sealed(upper)
    merged: dict[str | None, Node] = {}
    numbers: dict[str | None, int] = {}
    for of in (lower, upper):
        for index, item in enumerate(of.items):
            identity = _identity(item)
            merged[identity] = _element(merged.get(identity), item)
            numbers[identity] = of.number(index)
    return Sequence(list(merged.values()), upper.file, upper.line, upper.column, lower.sealed, tuple(numbers.values()))


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
    """True for an element of a keyed list that says `remove: true`, in any of the words that a field of yes or no takes."""
    if not isinstance(node, Mapping):
        return False
    value = node.entries.get("remove")
    return says_true(value) and _identity(node) is not None


# --- the end of composition


def has_tombstones(node: Node) -> bool:
    """True where something is removed somewhere in the tree."""
    left = [node]
    while left:
        node = left.pop()
        if isinstance(node, Mapping):
            if "remove" in node.entries and removed(node):
                return True
            left += node.entries.values()
        elif isinstance(node, Sequence):
            left += node.items
        elif node.is_null:
            return True
    return False


def pruned(tree: Mapping) -> Mapping:
    """The tree without tombstones and removed elements."""
    entries = {key: _pruned_node(value) for key, value in tree.entries.items() if not is_null(value)}
    return Mapping(entries, tree.keys, tree.file, tree.line, tree.column)


def _pruned_node(node: Node) -> Node:
    if isinstance(node, Mapping):
        return pruned(node)
    if isinstance(node, Sequence):
        kept = [index for index, item in enumerate(node.items) if not removed(item)]
        items = [_pruned_node(node.items[index]) for index in kept]
        return Sequence(items, node.file, node.line, node.column, numbers=tuple(map(node.number, kept)))
    return node


def settled(value: Any) -> Any:
    """As `pruned`, for plain values: what a file says that was laid over nothing."""
    if isinstance(value, dict):
        return {key: settled(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [settled(item) for item in value if not _is_removed(item)]
    return value


def _is_removed(value: Any) -> bool:
    if not isinstance(value, dict) or not says_true(str(value.get("remove"))):
        return False
    return any(isinstance(value.get(key), (str, int, float)) for key in _LIST_KEYS)
