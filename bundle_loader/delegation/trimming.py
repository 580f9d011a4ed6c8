"""A history that is too long for a model's window, made shorter by a stated rule. Pure.

1. Nothing is left out while the whole fits, with four bytes taken for a token (`room`).
2. What always stays: the first user's messages, the task (the last user's messages), and everything from the newest answer on.
3. First the results of tools that stay behind that answer are shortened, oldest first: to their beginning and end, with the
   number of characters that are left out, and a word for each image or file.
4. Then whole exchanges go, oldest first: before the task a user's messages with all that was answered to them, after it one
   answer with the results of its tools. A call never stays without its results, nor a result without its call.
5. A text in the first user's message says how many messages are left out, and so do the notes of the result.
6. Where all of that is not enough nothing is done: the prompt is too long, and a model with a larger window is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from bundle_loader.messages import Message, Part, Text, ToolResult

BYTES_PER_TOKEN: Final = 4
"""What a token of ordinary text has at least in most languages; a prompt of denser text may still be too long."""
LARGEST: Final = 4000
"""Characters of an old tool result that is left as it is."""
_HEAD: Final = 1500
_TAIL: Final = 500
_NOTE: Final = 100
"""Bytes of the text that says what is left out, at most."""
_KEPT_FOR_ANSWER: Final = 2
"""At most this part of a window (a half) is kept free for the answer."""


@dataclass(frozen=True, slots=True)
class Trimmed:
    """A shortened history, and in words what is gone."""

    messages: tuple[Message, ...]
    left_out: int
    """Messages that are gone."""
    shortened: int
    """Results of tools that are shorter than they were."""

    @property
    def note(self) -> str:
        """For the result."""
        gone = [f"{_count(self.left_out, 'earlier message')} left out"] if self.left_out else []
        short = [f"{_count(self.shortened, 'earlier tool result')} shortened"] if self.shortened else []
        return f"the history was too long for the model's window: {' and '.join([*gone, *short])}"


def room(window: int | None, max_tokens: int) -> int | None:
    """Bytes of a prompt that a window of so many tokens has room for; None where the window is not known.

    The answer's tokens are kept free, a half of the window at most.
    """
    if window is None:
        return None
    return (window - min(max_tokens, window // _KEPT_FOR_ANSWER)) * BYTES_PER_TOKEN


def trimmed(history: Sequence[Message], most: int, size: Callable[[Message], int]) -> Trimmed | None:
    """The history in at most `most` bytes, `size` being a message's; None where it fits already, and where it cannot."""
    if sum(map(size, history)) <= most:
        return None
    found = _shortened(history, most, size)
    return found if sum(map(size, found.messages)) <= most else None


def shortest(history: Sequence[Message], size: Callable[[Message], int]) -> tuple[Message, ...]:
    """What is always left of a history: the least that can be sent of it."""
    smallest = _shortened(history, -1, size).messages
    return smallest if sum(map(size, smallest)) < sum(map(size, history)) else tuple(history)


def _shortened(history: Sequence[Message], most: int, size: Callable[[Message], int]) -> Trimmed:
    messages = list(history)
    sizes = list(map(size, messages))
    newest = max((index for index, message in enumerate(messages) if message.role == "assistant"), default=len(messages))
    total = sum(sizes)
    short = 0
    for index in range(newest):
        if total <= most:
            break
        smaller, number = _smaller(messages[index])
        # a note can be longer than what it stands for
        if number and (saved := sizes[index] - size(smaller)) > 0:
            total -= saved
            sizes[index] -= saved
            messages[index], short = smaller, short + number
    gone: set[int] = set()
    for exchange in _exchanges(messages, newest):
        if total <= most:
            break
        total += 0 if gone else _NOTE
        gone |= set(exchange)
        total -= sum(sizes[index] for index in exchange)
    return Trimmed(_without(messages, gone), len(gone), short)


def _without(messages: Sequence[Message], gone: set[int]) -> tuple[Message, ...]:
    left = [message for index, message in enumerate(messages) if index not in gone]
    if not gone:
        return tuple(left)
    said = Text(f"[{_count(len(gone), 'message')} of this conversation left out here: all would not fit.]")
    first = _run(messages, 0) - 1
    if first < 0:
        return (Message("user", (said,)), *left)
    # the user's first messages always stay; the gap is right behind them
    left[first] = replace(left[first], parts=(*left[first].parts, said))
    return tuple(left)


def _run(messages: Sequence[Message], start: int) -> int:
    """Where the user's messages from `start` on end."""
    while start < len(messages) and messages[start].role == "user":
        start += 1
    return start


def _exchanges(messages: Sequence[Message], newest: int) -> list[range]:
    """What may go, oldest first."""
    last = max((index for index, message in enumerate(messages) if message.role == "user"), default=-1)
    task = last
    while task > 0 and messages[task - 1].role == "user":
        task -= 1
    found: list[range] = []
    start = _run(messages, 0)
    while start < min(task, newest):
        # before the task: up to the user's next message
        end = _run(messages, start)
        while end < task and messages[end].role != "user":
            end += 1
        if newest < end:
            break
        found.append(range(start, end))
        start = end
    start = max(last + 1, 0)
    while start < newest:
        end = start + 1
        while end < len(messages) and messages[end].role != "assistant":
            end += 1
        found.append(range(start, end))
        start = end
    return found


def _smaller(message: Message) -> tuple[Message, int]:
    """The message with its large tool results shortened, and how many they are."""
    number = 0
    parts: list[Part] = []
    for part in message.parts:
        if isinstance(part, ToolResult) and (len(part.text) > LARGEST or part.parts):
            number += 1
            left = f"\n[{_count(len(part.parts), 'file')} of this result left out]" if part.parts else ""
            part = replace(part, text=_cut(part.text) + left, parts=())
        parts.append(part)
    return (replace(message, parts=tuple(parts)), number) if number else (message, 0)


def _cut(text: str) -> str:
    if len(text) <= LARGEST:
        return text
    return f"{text[:_HEAD]}\n[{len(text) - _HEAD - _TAIL} characters left out]\n{text[-_TAIL:]}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
