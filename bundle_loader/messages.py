"""Neutral messages, tool calls and usage: what every vendor's wire format is translated to and from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, TypeAlias


@dataclass(frozen=True, slots=True)
class Text:
    """Words of a message."""

    text: str


@dataclass(frozen=True, slots=True)
class Blob:
    """An image or a file: its bytes, or an address that the vendor fetches it from. Raises ValueError for neither or both."""

    data: bytes | None = field(repr=False)
    media_type: str
    """Such as `image/png` or `application/pdf`, in small letters."""
    url: str | None = None
    """`https://...`; never a `data:` address."""
    name: str | None = None
    """The file's own name, where it has one."""

    def __post_init__(self) -> None:
        if (self.data is None) == (self.url is None):
            raise ValueError("a Blob has either data or a url")
        kind, _, rest = self.media_type.partition("/")
        if not kind or not rest or self.media_type != self.media_type.strip().lower():
            raise ValueError(f"a Blob's media_type is like 'image/png', in small letters, not {self.media_type!r}")

    @property
    def is_image(self) -> bool:
        """Whether a model needs eyes for it."""
        return self.media_type.startswith("image/")


@dataclass(frozen=True, slots=True)
class Thinking:
    """A vendor's reasoning block. `data` is the vendor's own form; it goes back to that vendor and to no other."""

    text: str
    vendor: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model asks for a tool. `signature` is an opaque token that `vendor` wants back beside the call."""

    id: str
    name: str
    arguments: Mapping[str, Any]
    vendor: str = ""
    signature: str | None = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool gave back: text, and images or files beside it."""

    call_id: str
    name: str
    text: str
    is_error: bool = False
    parts: tuple[Blob, ...] = ()


Part: TypeAlias = Text | Blob | Thinking | ToolCall | ToolResult
Role: TypeAlias = Literal["user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Message:
    """One step of a conversation. Role `tool` holds only `ToolResult`s; system text is never a message.

    A `Blob` stands in a user's message, or in the result of a tool.
    """

    role: Role
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The words of the message, without thinking or tool traffic."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tools that this message asks for, in order."""
        return tuple(part for part in self.parts if isinstance(part, ToolCall))

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """Its images and files, those of tools' results too, in order."""
        found: list[Blob] = []
        for part in self.parts:
            if isinstance(part, Blob):
                found.append(part)
            elif isinstance(part, ToolResult):
                found += part.parts
        return tuple(found)


Media: TypeAlias = Literal["input_audio", "input_image", "input_video", "output_audio", "output_image", "output_video"]
"""Tokens that are not text, and which way they went."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one or more requests."""

    input_tokens: int = 0
    """All prompt tokens, those read from and written to a cache included."""
    output_tokens: int = 0
    """All generated tokens, reasoning included."""
    cache_read_tokens: int = 0
    """The part of `input_tokens` that a cache served."""
    cache_write_tokens: int = 0
    """The part of `input_tokens` that was written to a cache."""
    reasoning_tokens: int = 0
    """The part of `output_tokens` that was reasoning."""
    estimated: bool = False
    """True when any part was counted here because the provider did not say."""
    cache_write_1h_tokens: int = 0
    """The part of `cache_write_tokens` that is kept for an hour, which costs more."""
    media: tuple[tuple[Media, int], ...] = ()
    """The parts of `input_tokens` and `output_tokens` that were sound or pictures, where the provider says so."""
    searches: int = 0
    """Searches of the web that the provider made for the answer."""
    served: str | None = None
    """The way in which the provider says that it served: `standard`, `flex`, `priority`, ...; None where it does not say."""

    def __add__(self, other: Usage) -> Usage:
        media: dict[Media, int] = dict(self.media)
        for kind, tokens in other.media:
            media[kind] = media.get(kind, 0) + tokens
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.estimated or other.estimated,
            self.cache_write_1h_tokens + other.cache_write_1h_tokens,
            tuple(sorted(media.items())),
            self.searches + other.searches,
            self.served if self.served == other.served else None,
        )


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as a model sees it; `schema` is a JSON Schema of an object."""

    name: str
    description: str
    schema: Mapping[str, Any]


Finish: TypeAlias = Literal["stop", "length", "tools"]


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of answer text as it arrives."""

    text: str


@dataclass(frozen=True, slots=True)
class VendorLimit:
    """What a vendor says, beside an answer, of how much it still allows."""

    unit: Literal["requests", "tokens"]
    limit: int | None
    """For a minute; None where the vendor does not say, or means another length of time."""
    remaining: int | None
    reset: float | None
    """Seconds until all of it is there again, from when the vendor said so."""
    age: float = 0.0
    """Seconds since the vendor said so: its headers come before the answer, which may take minutes."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One finished answer of a model: the last thing a provider's stream gives."""

    message: Message
    usage: Usage | None
    """None when the provider did not say; never made up by an adapter."""
    model: str | None
    """The model that the provider says it answered with."""
    finish: Finish
    notes: tuple[str, ...] = ()
    """What the adapter changed or dropped on the way, in words."""
    cost: Decimal | None = None
    """US dollars, where the provider says what it charges."""
    limits: tuple[VendorLimit, ...] = ()
    """What the vendor says of its rate limits."""


StreamPart: TypeAlias = Delta | Turn


def user(text: str, *blobs: Blob) -> Message:
    """A user's message of plain text, with images or files after it."""
    return Message("user", (Text(text), *blobs))


def assistant(text: str) -> Message:
    """A model's message of plain text."""
    return Message("assistant", (Text(text),))
