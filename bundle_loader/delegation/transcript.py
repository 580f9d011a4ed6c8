"""The text of one session: JSON lines as they are written, and what they tell when they are read again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError
from pydantic_core import to_json as plain_json

from bundle_loader.declared.preference import Preference
from bundle_loader.delegation.message_json import from_json, to_json
from bundle_loader.errors import SessionError
from bundle_loader.messages import Message, Part, ToolResult
from bundle_loader.routing.request import Begun, DecidedBy

FORMAT: Final = 1
UNKNOWN: Final = (
    "the work was cut off while this call was under way, so its result is not known: it may have taken effect, or not. "
    "It was not run again; look before you repeat it"
)
"""What a model is told of a call whose result was never learnt."""


@dataclass(slots=True)
class Transcript:
    """What a transcript says. Lines: a `session`, then for each delegation a `begin`, its turns, and an `end`.

    `answer` is an answer whose tools are about to be run, `result` what one of them gave back, `turn` a turn that is finished,
    with what it `added`, unless that is the answer and the results that stand before it.
    """

    id: str
    agent: str
    bundle: str
    bundle_hash: str
    started: float
    """Epoch seconds."""
    choice: dict[str, Any] = field(default_factory=dict)
    """Who should do the work, as the caller chose it."""
    begun: Begun | None = None
    """The list of models that came of it; None in transcripts that do not say."""
    vars: dict[str, Any] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    """The conversation, with a result for every call."""
    delegations: list[str] = field(default_factory=list)
    """The delegations that carried it on, oldest first."""
    turns: int = 0
    models: list[str] = field(default_factory=list)
    """`provider/model` of each turn, each once."""
    outcome: str | None = None
    """Of the last delegation; None where it did not end: it is under way, or its process died."""
    reason: str | None = None
    last: float = 0.0
    """Epoch seconds of the last line."""
    whole: int = 0
    """Bytes up to the end of the last whole line."""
    cut: bool = False
    """True where the last line was not written to its end."""
    local_only: bool = False
    unknown_calls: int = 0
    """Calls whose result was never learnt."""
    _answer: Message | None = None
    _results: dict[str, Message] = field(default_factory=dict)


def line(kind: str, **values: Any) -> bytes:
    """One line of a transcript."""
    said = {"kind": kind, **values}
    try:
        return plain_json(said) + b"\n"
    except PydanticSerializationError:
        # halves of characters, what is nested deeper than it goes, and what is none of JSON's own types; four times the cost
        return _ENCODED(said).encode("ascii") + b"\n"


_ENCODED: Final = json.JSONEncoder(separators=(",", ":"), default=str).encode


def first_line(id: str, *, agent: str, bundle: str, bundle_hash: str, at: float, **said: Any) -> bytes:
    """The line that a transcript begins with; `said` are `choice`, `begun` and `vars`."""
    return line("session", format=FORMAT, id=id, agent=agent, bundle=bundle, bundle_hash=bundle_hash, at=at, **said)


@lru_cache(maxsize=256)
def plain_list(begun: Begun) -> dict[str, Any]:
    """A list of models as a line holds it."""
    listed = [one.model_dump(mode="json", exclude_defaults=True) for one in begun.preferences]
    said = {"preferences": listed, "decided_by": str(begun.decided_by), "decision": begun.decision, "tier": begun.tier}
    return {**said, "local_first": begun.local_first} if begun.local_first else said


def written(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Messages as a line holds them."""
    return [to_json(message) for message in messages]


def read(raw: bytes, file: Path) -> Transcript:
    """What a transcript says. Raises SessionError with file and line for what is damaged, or no transcript.

    A last line that was not written to its end is left out: its process was stopped while it wrote.
    """
    whole = raw.rfind(b"\n") + 1
    found: Transcript | None = None
    for number, text in enumerate(raw[:whole].split(b"\n")[:-1], 1):
        try:
            value = _object(text)
            if found is None:
                found = _begun(value)
            else:
                _take(found, value)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise SessionError(f"{file}:{number}: {_said(error)}{_remedy(number)}") from None
    if found is None:
        raise SessionError(f"{file}:1: is no transcript: it has no whole line; take the file away")
    _close(found)
    found.whole, found.cut = whole, whole != len(raw)
    return found


def _said(error: BaseException) -> str:
    return f"has no {error}" if isinstance(error, KeyError) else str(error)


def _remedy(number: int) -> str:
    return "; take the file away" if number == 1 else "; the transcript is damaged: begin a new session"


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"is not JSON: {error}") from None
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        raise ValueError("is no line of a transcript: it has no kind")
    return value


def _begun(value: Mapping[str, Any]) -> Transcript:
    if value["kind"] != "session":
        raise ValueError("is no transcript: it does not begin with a line of the kind 'session'")
    if value.get("format") != FORMAT:
        raise ValueError(f"is a transcript of format {value.get('format')!r}, and this version reads {FORMAT}")
    texts = {name: _typed(value, name, str) for name in ("id", "agent", "bundle", "bundle_hash")}
    choice, variables = _typed(value, "choice", dict), _typed(value, "vars", dict)
    at = _number(value, "at")
    found = Transcript(**texts, started=at, last=at, choice=choice, vars=variables, local_only=bool(choice.get("local_only")))
    found.begun = _list(value)
    return found


def _list(value: Mapping[str, Any]) -> Begun | None:
    if value.get("begun") is None:
        return None
    said = _typed(value, "begun", dict)
    tier = None if said.get("tier") is None else _typed(said, "tier", str)
    try:
        listed = tuple(Preference.parse(one) for one in _typed(said, "preferences", list))
    except ValidationError:
        raise ValueError("'preferences' holds what is no preference") from None
    profile = _typed(said, "local_first", str) if "local_first" in said else ""
    return Begun(listed, DecidedBy(_typed(said, "decided_by", str)), _typed(said, "decision", str), tier, profile)


def _take(found: Transcript, value: Mapping[str, Any]) -> None:
    kind = value["kind"]
    if kind == "begin":
        _close(found)
        found.delegations.append(_typed(value, "delegation", str))
        found.messages += _messages(value, "messages")
        if "choice" in value:
            found.choice = _typed(value, "choice", dict)
            found.local_only = found.local_only or bool(found.choice.get("local_only"))
        found.begun = _list(value) or found.begun
        found.vars = {**found.vars, **_typed({"vars": {}, **value}, "vars", dict)}
        found.outcome = found.reason = None
    elif kind == "answer":
        _close(found)
        found._answer = from_json(value["message"])
    elif kind == "result":
        message = from_json(value["message"])
        for part in message.parts:
            if isinstance(part, ToolResult):
                found._results[part.call_id] = message
    elif kind == "turn":
        if "added" in value or found._answer is None:
            found._answer, found._results = None, {}
            found.messages += _messages(value, "added")
        else:
            _close(found)
        found.turns += 1
        model = _typed(value, "model", str)
        found.models += [model] if model not in found.models else []
    elif kind == "end":
        found.outcome = _typed(value, "outcome", str)
        found.reason = None if value.get("reason") is None else _typed(value, "reason", str)
    else:
        raise ValueError(f"has the unknown kind {kind!r}")
    found.last = _number(value, "at")


def _close(found: Transcript) -> None:
    """A turn whose tools were never all done: what is known of them, and for the others that it is not."""
    answer, results = found._answer, found._results
    found._answer, found._results = None, {}
    if answer is None:
        return
    parts: list[Part] = []
    for call in answer.tool_calls:
        if call.id in results:
            parts += [part for part in results[call.id].parts if isinstance(part, ToolResult) and part.call_id == call.id]
        else:
            parts.append(ToolResult(call.id, call.name, UNKNOWN, True))
            found.unknown_calls += 1
    found.messages += [answer, Message("tool", tuple(parts))] if parts else [answer]


def _messages(value: Mapping[str, Any], name: str) -> Sequence[Message]:
    return [from_json(item) for item in _typed(value, name, list)]


def _typed(value: Mapping[str, Any], name: str, kind: type) -> Any:
    if name not in value:
        raise ValueError(f"has no '{name}'")
    if not isinstance(value[name], kind):
        raise ValueError(f"'{name}' is a {type(value[name]).__name__}, not a {kind.__name__}")
    return value[name]


def _number(value: Mapping[str, Any], name: str) -> float:
    said = value.get(name)
    if isinstance(said, bool) or not isinstance(said, (int, float)):
        raise ValueError(f"'{name}' is no time")
    return float(said)
