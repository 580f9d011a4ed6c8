"""The state of one loopback vendor, and what the server needs of a wire format."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Protocol

from tests.support.limiter import Limiter
from tests.support.script import DEFAULT_TEXT, Fault, Reply, Request

JSON = "application/json"


def encode(value: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer."""

    body: bytes
    status: int = 200
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stream:
    """A streamed answer: each piece is one write. `shown` counts the pieces that stand before a fault in the middle."""

    pieces: tuple[bytes, ...]
    shown: int
    lead: int = 0
    """How many pieces stand before the first that has text."""


class Wire(Protocol):
    """One vendor's format, both ways."""

    stream_type: str

    def endpoint(self, request: Request) -> tuple[str, str]:
        """`chat`, `list` or another word for the endpoint, and the model that the request names."""
        ...

    def key(self, request: Request) -> str | None:
        """The key that came with the request."""
        ...

    def wrong_key(self, request: Request) -> Answer: ...

    def entry(self, model: str, created: str) -> dict[str, Any]:
        """A model as the list shows it; `created` is a date, `2026-01-31`."""
        ...

    def identity(self, entry: Mapping[str, Any]) -> str:
        """The id under which an entry of the list is asked for."""
        ...

    def listing(self, vendor: Vendor, request: Request) -> Answer:
        """One page of the list."""
        ...

    def other(self, vendor: Vendor, request: Request) -> Answer | None:
        """An endpoint besides chat and list; None for 404."""
        ...

    def objection(self, vendor: Vendor, request: Request) -> Answer | None:
        """What the vendor refuses in a chat request."""
        ...

    def whole(self, vendor: Vendor, request: Request, reply: Reply) -> Answer: ...

    def stream(self, vendor: Vendor, request: Request, reply: Reply) -> Stream: ...

    def error(self, status: int, word: str = "", message: str = "", retry_after: float | None = None) -> Answer:
        """An error in the vendor's shape; empty words mean the usual ones of the status."""
        ...

    def error_event(self, word: str, message: str) -> bytes:
        """The error as it stands inside a 200 stream."""
        ...

    def event(self, text: str) -> bytes:
        """Any text framed as an event that the SDK will try to read."""
        ...

    def too_long(self, model: str) -> Answer: ...

    def refused_prompt(self, vendor: Vendor, request: Request) -> Answer | Stream: ...


@dataclass(slots=True)
class Vendor:
    """One vendor. Tests set the fields at any time; each request reads them as they are then."""

    name: str
    prefix: str
    wire: Wire
    on: bool = True
    models: list[dict[str, Any]] = field(default_factory=list)
    page_size: int | None = None
    """The most entries on a page of the list; None for the vendor's own default."""
    required_key: str | None = None
    """None takes any key, or none."""
    answer: str | Callable[[Request], Reply | str] = DEFAULT_TEXT
    """What is answered once `replies` is used up."""
    replies: list[Reply] = field(default_factory=list)
    """One for each chat that gets a healthy answer."""
    fault: Fault | Sequence[Fault] | None = None
    """Stands until it is taken away; of several the first that hits."""
    faults: list[Fault | None] = field(default_factory=list)
    """One for each request, before `fault`; None lets one chat pass."""
    delay: float = 0.0
    """Seconds before each chat's answer begins."""
    pace: float = 0.0
    """Seconds between two pieces of a stream."""
    aliases: dict[str, str] = field(default_factory=dict)
    """Names that are not in the list but are served, with the model that then answers."""
    accepts_any_model: bool = False
    refuses_temperature: set[str] = field(default_factory=set)
    """Globs of models that refuse sampling parameters."""
    refuses_max_tokens: set[str] = field(default_factory=set)
    """Globs of models (OpenAI) that want `max_completion_tokens`."""
    refuses_tools: set[str] = field(default_factory=set)
    """Globs of models that take no tools."""
    responses_only: set[str] = field(default_factory=set)
    """Globs of models (OpenAI) that are served by the responses API only."""
    refuses_images: set[str] = field(default_factory=set)
    """Globs of models that take no images."""
    needs_signature: set[str] = field(default_factory=set)
    """Globs of models (Google) that want the signature of their own calls back."""
    limiter: Limiter | None = None
    """Counts the chats, refuses what is too many, and says in headers what is left."""
    in_flight: int = 0
    most_in_flight: int = 0
    _count: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def number(self) -> int:
        """A number that this vendor has not used before, for ids."""
        return next(self._count)

    def offer(self, *models: str | tuple[str, str]) -> None:
        """Replace the list: ids, or ids with the date of release (`("gpt-5.2", "2025-12-11")`)."""
        pairs = [(model, "2026-01-01") if isinstance(model, str) else model for model in models]
        self.models = [self.wire.entry(model, created) for model, created in pairs]

    def load(self, *pages: Path) -> None:
        """Replace the list by the entries of recorded pages (files of the vendor's own JSON)."""
        self.models = []
        for page in pages:
            recorded = json.loads(page.read_text(encoding="utf-8"))
            self.models += recorded if isinstance(recorded, list) else recorded.get("data") or recorded.get("models") or []

    @property
    def ids(self) -> list[str]:
        """The ids of the list, in its order."""
        return [self.wire.identity(entry) for entry in self.models]

    def find(self, model: str) -> dict[str, Any] | None:
        """The entry that serves this name; None when the vendor does not know it."""
        wanted = self.aliases.get(model, model)
        for entry in self.models:
            if self.wire.identity(entry) == wanted:
                return entry
        return {} if self.accepts_any_model else None

    def next_fault(self, endpoint: str, model: str) -> Fault | None:
        """Take the fault that this request meets."""
        for index, fault in enumerate(self.faults):
            if fault is None and endpoint != "chat":
                continue
            if fault is None or fault.hits(endpoint, model):
                return self.faults.pop(index)
        standing: Iterable[Fault] = ()
        if self.fault is not None:
            standing = (self.fault,) if isinstance(self.fault, Fault) else self.fault
        return next((fault for fault in standing if fault.hits(endpoint, model)), None)

    def peek_reply(self, request: Request) -> Reply:
        """The next reply; it stays the next."""
        if self.replies:
            return self.replies[0]
        answer = self.answer(request) if callable(self.answer) else self.answer
        return Reply(answer) if isinstance(answer, str) else answer

    def take_reply(self, request: Request) -> Reply:
        """The next reply, used up."""
        return self.replies.pop(0) if self.replies else self.peek_reply(request)


def matches(model: str, globs: Iterable[str]) -> bool:
    """True when any of the globs fits."""
    return any(fnmatchcase(model, glob) for glob in globs)


def is_base64(value: Any) -> bool:
    """True for text that is base64 of something."""
    try:
        return isinstance(value, str) and bool(base64.b64decode(value, validate=True))
    except ValueError:
        return False
