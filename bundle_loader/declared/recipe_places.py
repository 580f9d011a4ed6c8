"""Where the texts of a recipe's steps begin in its file, for whoever has something to say of a text later on."""

from __future__ import annotations

from typing import Final

from bundle_loader.declared.recipe_text import Lines
from bundle_loader.declared.tree import Mapping, Node, Scalar, Sequence

SPELLINGS: Final = {
    "command": ("bash", "command", "shell"),
    "prompt": ("prompt", "instruction", "message"),
    "condition": ("condition", "when"),
    "while": ("while", "while_condition"),
}
"""What a text is called -> the keys that it may stand under."""


class TextPlaces:
    """The texts of a recipe file, found by step and key."""

    __slots__ = ("_lines", "_nodes")

    def __init__(self, lines: Lines | None = None) -> None:
        self._lines = lines
        self._nodes: dict[tuple[str, str], Node] = {}

    def keep(self, step: str, tree: Mapping) -> None:
        """Every text that is written directly in a step, the prompt of its approval, and the elements of its preferences."""
        for key, node in tree.entries.items():
            if isinstance(node, Scalar):
                self._nodes.setdefault((step, key), node)
            elif key == "approval" and isinstance(node, Mapping):
                self.keep_text(step, "approval", node)
            elif key == "env" and isinstance(node, Mapping):
                for name, value in node.entries.items():
                    self._nodes.setdefault((step, f"env.{name}"), value)
            elif key == "provider_preferences" and isinstance(node, Sequence):
                for index, value in enumerate(node.items):
                    self._nodes.setdefault((step, f"{key}[{index}]"), value)

    def keep_text(self, step: str, key: str, node: Mapping | Scalar) -> None:
        """A text, or the one of an approval, under a key of its own."""
        said = node if isinstance(node, Scalar) else node.entries.get("prompt", node.entries.get("message"))
        if isinstance(said, Scalar):
            self._nodes.setdefault((step, key), said)

    def place(self, step: str, key: str, offset: int) -> tuple[str, int, int] | None:
        """File, line and column of a character of a text; None for a text that is not written there."""
        if self._lines is None:
            return None
        for spelling in SPELLINGS.get(key, (key,)):
            node = self._nodes.get((step, spelling))
            if isinstance(node, Scalar):
                shown = node.text[offset : offset + 40].split("\n", 1)[0]
                return self._lines.place(node, offset, shown)
            if node is not None:
                return node.file, node.line, node.column
        return None
