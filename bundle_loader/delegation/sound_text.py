"""Text that can be sent: halves of surrogate pairs, which no encoding takes, are made whole or replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from bundle_loader.messages import Blob, Message, Part, Text, Thinking, ToolCall, ToolResult, Turn

_FIRST_HALVES: Final = ("\ud800", "\udbff")


def is_sound(text: str) -> bool:
    """Whether it can be sent as it is."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def sound(text: str) -> str:
    """The same text; two halves that stand side by side become the character that they are, any other half U+FFFD.

    Names of files that are no UTF-8 hold such halves, and so do answers of servers that cut a character in two.
    """
    return text if is_sound(text) else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def sound_value(value: Any) -> Any:
    """The same for every text in a JSON value; what is sound already is given back itself."""
    if isinstance(value, str):
        return sound(value)
    if isinstance(value, Mapping):
        pairs = [(sound_value(key), sound_value(item)) for key, item in value.items()]
        same = all(key is own and item is its for (key, item), (own, its) in zip(pairs, value.items(), strict=True))
        return value if same else dict(pairs)
    if isinstance(value, (list, tuple)):
        items = [sound_value(item) for item in value]
        return value if all(one is other for one, other in zip(value, items, strict=True)) else items
    return value


def sound_result(result: ToolResult) -> ToolResult:
    """What a tool gave back, as it can be sent."""
    if is_sound(result.text) and all(is_sound(blob.name or "") for blob in result.parts):
        return result
    return replace(result, text=sound(result.text), parts=tuple(map(_blob, result.parts)))


def sound_turn(turn: Turn) -> Turn:
    """A model's answer, as it can be sent again."""
    parts = tuple(map(sound_part, turn.message.parts))
    if all(one is other for one, other in zip(parts, turn.message.parts, strict=True)):
        return turn
    return replace(turn, message=Message(turn.message.role, parts))


def sound_part(part: Part) -> Part:
    """A part of a message; the part itself where nothing is wrong with it."""
    if isinstance(part, Text):
        return part if is_sound(part.text) else Text(sound(part.text))
    if isinstance(part, Blob):
        return _blob(part)
    if isinstance(part, ToolResult):
        return sound_result(part)
    if isinstance(part, Thinking):
        text, data = sound(part.text), sound_value(part.data)
        return part if text is part.text and data is part.data else replace(part, text=text, data=data)
    said = (part.id, part.name, part.arguments)
    made = (sound(part.id), sound(part.name), sound_value(part.arguments))
    return part if all(one is other for one, other in zip(said, made, strict=True)) else _call(part, *made)


def _call(call: ToolCall, id: str, name: str, arguments: Mapping[str, Any]) -> ToolCall:
    return replace(call, id=id, name=name, arguments=arguments)


def _blob(blob: Blob) -> Blob:
    return blob if is_sound(blob.name or "") else replace(blob, name=sound(blob.name or ""))


class Pieces:
    """Pieces of a text as they arrive; none that is given on ends in the middle of a character."""

    def __init__(self) -> None:
        self._half = ""

    def take(self, piece: str) -> str:
        """What of the text can be shown by now, often the piece itself."""
        if not self._half and piece.isascii():
            return piece
        text = self._half + piece
        self._half = text[-1:] if _FIRST_HALVES[0] <= text[-1:] <= _FIRST_HALVES[1] else ""
        return sound(text[: len(text) - len(self._half)])

    def rest(self) -> str:
        """What was kept back, once there is no more to come."""
        half, self._half = self._half, ""
        return sound(half)
