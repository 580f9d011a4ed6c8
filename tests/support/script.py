"""What a test tells a loopback vendor to do, and what the vendor noted: replies, faults and requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Literal

from bundle_loader.messages import Usage

DEFAULT_TEXT = "Hello from the loopback server."
DEFAULT_USAGE = Usage(input_tokens=20, output_tokens=8)
PIECES = 5

Where = Literal["chat", "list", "all"]


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of a model."""

    text: str = ""
    tool_calls: Sequence[tuple[str, Mapping[str, Any]]] = ()
    """Name and arguments of each call; the vendor makes the ids."""
    finish: str | None = None
    """`stop`, `tools`, `length`, `refused` (the answer was blocked), or the vendor's own word. None: as the calls have it."""
    usage: Usage | None = DEFAULT_USAGE
    """In neutral counting (totals include their parts); each vendor splits it in its own way. None: the vendor says nothing."""
    thinking: str = ""
    model: str | None = None
    """The model that the answer names; None for the one that was asked."""
    also_counted: Mapping[str, Any] = field(default_factory=dict)
    """More fields of the vendor's own usage object, over those that `usage` comes to."""
    also_said: Mapping[str, Any] = field(default_factory=dict)
    """More fields at the top of the answer (of each chunk), for OpenAI's protocol."""
    parts: int = PIECES
    """The most pieces of text in a stream."""

    @property
    def reason(self) -> str:
        """The finish word, with the default filled in."""
        if self.finish is not None:
            return self.finish
        return "tools" if self.tool_calls else "stop"

    def pieces(self) -> list[str]:
        """The text as a stream brings it: up to `parts` pieces, by default five, at least two when it has two characters."""
        return split(self.text, self.parts)


def split(text: str, pieces: int) -> list[str]:
    """`text` in at most `pieces` parts of about equal length, none of them empty."""
    size = max(1, -(-len(text) // pieces))
    return [text[start : start + size] for start in range(0, len(text), size)]


@dataclass(frozen=True, slots=True)
class Fault:
    """One way in which a vendor fails. Make them with the functions below; they hit chats unless said otherwise."""

    kind: str
    code: int = 0
    seconds: float = 0.0
    word: str = ""
    """The vendor's own type or code for an error; empty for the usual one of the status."""
    message: str = ""
    retry_after: float | None = None
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    where: Where = "chat"
    model: str = "*"
    at: int | None = None
    """Pieces of text before a fault in mid-stream; None for about half of the stream."""

    @classmethod
    def status(
        cls,
        status: int,
        *,
        retry_after: float | None = None,
        word: str = "",
        message: str = "",
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Fault:
        """An HTTP error in the vendor's shape. `body` replaces it: text or bytes as they are, anything else as JSON."""
        return cls("status", status, word=word, message=message, retry_after=retry_after, body=body, headers=headers or {})

    @classmethod
    def too_long(cls) -> Fault:
        """The vendor's own error for a prompt that does not fit."""
        return cls("too_long")

    @classmethod
    def refusal(cls, *, prompt: bool = False) -> Fault:
        """A safety block in the vendor's way: of the answer, or of the prompt. Ollama, which has none, says it in words."""
        return cls("refused_prompt" if prompt else "refused")

    @classmethod
    def cut(cls, *, abruptly: bool = False, at: int | None = None) -> Fault:
        """Some text, then the end of the body without the vendor's last words; abruptly: the connection drops in mid-body."""
        return cls("drop" if abruptly else "cut", at=at)

    @classmethod
    def malformed(cls) -> Fault:
        """Some text, then an event whose JSON is broken."""
        return cls("malformed")

    @classmethod
    def error_in_stream(cls, word: str = "", message: str = "") -> Fault:
        """Some text, then the vendor's error event inside the 200 stream; `word` is its type (Google: its status word)."""
        return cls("error_in_stream", word=word, message=message)

    @classmethod
    def stall_midway(cls, seconds: float = 30.0, *, at: int | None = None) -> Fault:
        """Some text (with `at=0` none, but the status and what stands before the text), silence, then the rest."""
        return cls("stall_midway", seconds=seconds, at=at)

    @classmethod
    def stall(cls, seconds: float = 30.0) -> Fault:
        """The request is taken and nothing is sent, not even a status; then the ordinary answer."""
        return cls("stall", seconds=seconds)

    @classmethod
    def reset(cls) -> Fault:
        """The connection is reset without an answer."""
        return cls("reset")

    @classmethod
    def hang_up(cls) -> Fault:
        """The connection is closed in good order without an answer."""
        return cls("hang_up")

    @classmethod
    def empty(cls) -> Fault:
        """200 with a body of no bytes."""
        return cls("empty")

    @classmethod
    def html(cls, status: int = 200) -> Fault:
        """An HTML page where JSON or a stream belongs."""
        return cls("html", status)

    @classmethod
    def wrong_shape(cls) -> Fault:
        """Sound JSON (in a sound event, if streamed) that is no answer of this vendor."""
        return cls("wrong_shape")

    @classmethod
    def list(cls, fault: Fault) -> Fault:
        """The same fault on the list of models, and only there."""
        return replace(fault, where="list")

    @classmethod
    def everywhere(cls, fault: Fault) -> Fault:
        """The same fault on chats and on the list of models: the vendor is down."""
        return replace(fault, where="all")

    def on(self, model: str) -> Fault:
        """The same fault, only for models that match this glob."""
        return replace(self, model=model)

    def hits(self, endpoint: str, model: str) -> bool:
        """True when a request to this endpoint (`chat` or `list`) for this model meets the fault."""
        return self.where in (endpoint, "all") and (endpoint == "list" or fnmatchcase(model, self.model))


@dataclass(slots=True)
class Request:
    """What arrived, and how it ended."""

    vendor: str
    method: str
    path: str
    """Below the vendor's prefix, such as `/v1/messages`."""
    query: dict[str, str]
    headers: dict[str, str]
    """Names in lower case."""
    body_json: Any
    """None without a body; the text itself when it is not JSON."""
    endpoint: str = "other"
    """`chat`, `list`, or `other`."""
    model: str = ""
    status: int | None = None
    """What was answered; None while nothing was."""
    disconnected: bool = False
    """True once the client went away before the answer was complete."""

    @property
    def streamed(self) -> bool:
        """True when the body asks for a stream (Ollama streams unless told not to)."""
        if self.vendor == "google":
            return self.path.endswith(":streamGenerateContent")
        body = self.body_json if isinstance(self.body_json, dict) else {}
        return bool(body.get("stream", self.vendor == "ollama"))
