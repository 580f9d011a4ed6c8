"""What is to be done, beside who should do it: a caller's words, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from bundle_loader.delegation.tools import Tool
from bundle_loader.errors import RequestError
from bundle_loader.messages import Message

MOST_OF_A_TAG: Final = 200
"""Characters of one tag."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done. `make_work` checks it."""

    text: str
    tools: tuple[Callable[..., Any] | Tool, ...] = ()
    messages: tuple[Message | Mapping[str, Any], ...] = ()
    vars: Mapping[str, Any] = field(default_factory=dict)
    timeout: float | None = None
    max_turns: int | None = None
    max_cost: Decimal | None = None
    """US dollars, for this delegation with all below it."""
    tags: tuple[str, ...] = ()
    resume: str | None = None
    """The id of a session, or as much of its beginning as is unique."""
    output_schema: Mapping[str, Any] | None = None
    """What the answer must be, in place of what the agent says."""


def make_work(
    text: str,
    tools: Sequence[Callable[..., Any] | Tool] | None = None,
    messages: Sequence[Message | Mapping[str, Any]] | None = None,
    vars: Mapping[str, Any] | None = None,
    timeout: float | None = None,
    max_turns: int | None = None,
    max_cost: Decimal | str | float | None = None,
    tags: Sequence[str] | None = None,
    resume: str | None = None,
    output_schema: Mapping[str, Any] | None = None,
) -> Work:
    """The work from a caller's words. Raises RequestError for what cannot be meant."""
    check_text(text)
    if isinstance(tags, str):
        raise RequestError(f"tags is a list of words; write tags=['{tags}']")
    if any(not isinstance(tag, str) or not tag.strip() for tag in tags or ()):
        raise RequestError(f"tags is a list of words, not {list(tags or ())!r}")
    if any(len(tag) > MOST_OF_A_TAG for tag in tags or ()):
        raise RequestError(f"a tag has at most {MOST_OF_A_TAG} characters")
    if max_turns is not None and (not isinstance(max_turns, int) or isinstance(max_turns, bool)):
        raise RequestError(f"max_turns is a whole number, not {max_turns!r}")
    if timeout is not None and timeout <= 0:
        raise RequestError("timeout must be more than 0 seconds")
    if max_turns is not None and max_turns < 1:
        raise RequestError("max_turns must be at least 1")
    if resume is not None and (not isinstance(resume, str) or not resume.strip()):
        raise RequestError(f"resume is the id of a session, or its beginning, not {resume!r}")
    if resume is not None and messages:
        raise RequestError(
            "a resumed session has a conversation of its own; leave out messages, or begin a new session with them"
        )
    if output_schema is not None and not isinstance(output_schema, Mapping):
        raise RequestError(f"output_schema is a JSON Schema as a mapping, not a {type(output_schema).__name__}")
    given = tuple(tools or ()), tuple(messages or ()), dict(vars or {}), timeout
    most = None if max_cost is None else _dollars(max_cost)
    return Work(text, *given, max_turns, most, tuple(tags or ()), resume, output_schema)


def check_text(text: object) -> None:
    """Raises RequestError for what is no text that can be sent."""
    if not isinstance(text, str):
        raise RequestError(f"the text to delegate is a {type(text).__name__}; give a str")
    if not text.strip():
        raise RequestError("the text to delegate is empty")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RequestError(f"the text to delegate cannot be sent: character {error.start} is half of a surrogate pair") from None


def _dollars(value: Decimal | str | float) -> Decimal:
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount < 0:
        raise RequestError(f"max_cost is an amount of US dollars such as 0.05, not {value!r}")
    return amount


def whole_number(name: str, value: Any, least: int) -> int | None:
    """A host's own limit. Raises RequestError for what is no whole number, or too small."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise RequestError(f"{name} is a whole number of at least {least}, not {value!r}")
    return value
