"""Who wrote each field of an agent, and who lost."""

from __future__ import annotations

from dataclasses import dataclass

from bundle_loader.declared.agent import SLOT_KEYS
from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.tree import Mapping, Node, Scalar, is_null


@dataclass(frozen=True, slots=True)
class Origin:
    """One writing of a field; `lost` says to whom, and is empty for the winner."""

    field: str
    value: str
    bundle: str
    file: str
    line: int
    lost: str = ""

    def __str__(self) -> str:
        text = f"{self.field} = {self.value}  {self.file}:{self.line} (bundle {self.bundle})"
        return f"{text}: lost to {self.lost}" if self.lost else text


def origins(bundle: Bundle, agent: str) -> list[Origin]:
    """Every writing of every field of an agent: by field, the winner first.

    Mappings merge key by key, so that a later writing does not take the whole of an earlier one; an agent file takes all.
    """
    written = [(contribution, contribution.tree) for contribution in bundle.contributions(agent)]
    found: list[Origin] = []
    for field in dict.fromkeys(field for _, tree in written for field in tree.entries):
        # the three keys of the slot are one: writing any of them clears what was inherited
        rivals = SLOT_KEYS if field in SLOT_KEYS else (field,)
        later = replaced = cut = ""
        for contribution, tree in reversed(written):
            place = f"{contribution.file} (bundle {contribution.bundle})"
            node = tree.entries.get(field)
            if node is not None:
                lost = cut or (replaced if isinstance(node, Mapping) else later)
                found.append(Origin(field, shown(node), contribution.bundle, contribution.file, tree.keys[field][0], lost))
            if any(key in tree.entries for key in rivals):
                later = later or place
                if not isinstance(node, Mapping):
                    replaced = replaced or place
            if contribution.whole:
                cut = cut or place
    return found


def shown(node: Node) -> str:
    """A value in one line, as written."""
    if isinstance(node, Scalar):
        if is_null(node):
            return "null"
        text = " ".join(node.text.split())
        return text if len(text) <= 60 else text[:57] + "..."
    if isinstance(node, Mapping):
        return "{" + ", ".join(f"{key}: {shown(value)}" for key, value in node.entries.items()) + "}"
    return "[" + ", ".join(shown(item) for item in node.items) + "]"
