"""What a model may say when it delegates: the schema, and its words checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from bundle_loader.declared.agent import MOST_TURNS
from bundle_loader.errors import RequestError, did_you_mean

Depth = Literal["none", "recent", "all"]
Scope = Literal["conversation", "agents", "full"]
_MOST_QUOTED: Final = 80
"""Characters of a wrong word that are said again."""
_CHOICE: Final = ("preferences", "provider", "model", "tier")


@dataclass(frozen=True, slots=True)
class Asked:
    """A call of the tool that makes sense."""

    agent: str
    instruction: str
    depth: Depth | None = None
    turns: int | None = None
    scope: Scope | None = None
    session: str | None = None
    choice: Mapping[str, Any] = field(default_factory=dict)
    """Who should do it, where the call says so."""


def schema_of(agents: Sequence[str], tiers: Sequence[str]) -> dict[str, Any]:
    """The JSON Schema of the tool's arguments."""
    text = {"type": "string"}
    properties: dict[str, Any] = {
        "agent": {**text, "enum": list(agents), "description": "Which agent does it."},
        "instruction": {**text, "description": "What it should do, with all that it has to know."},
        "context_depth": {
            **text,
            "enum": list(get_args(Depth)),
            "description": "How much of this conversation it is given; left out: as the agent itself has it.",
        },
        "context_turns": {"type": "integer", "minimum": 1, "description": "How many turns, where context_depth is recent."},
        "context_scope": {
            **text,
            "enum": list(get_args(Scope)),
            "description": "What of those turns: conversation (what was said), agents (also what was delegated and what came of"
            " it), full (also all calls of tools).",
        },
        "session": {**text, "description": "Carry on earlier work of this agent: the id from its answer, or its beginning."},
        "preferences": {
            "type": "array",
            "items": dict(text),
            "description": "Models to do it instead of the agent's own, the best first: provider/glob.",
        },
        "model": {**text, "description": "Exactly one model instead: provider/glob."},
    }
    if tiers:
        properties["tier"] = {**text, "enum": list(tiers), "description": "The models of this tier instead."}
    return {"type": "object", "properties": properties, "required": ["agent", "instruction"], "additionalProperties": False}


def read_arguments(given: Mapping[str, Any], agents: Sequence[str]) -> Asked:
    """The call that is meant. Raises RequestError with everything that is wrong with it; null is as if it were left out."""
    said = {name: value for name, value in given.items() if value is not None and value != ""}
    known = schema_of(agents, ("",))["properties"]
    strange = [name for name in said if name not in known and name != "provider"]
    wrong = [f"{_short(name)}: unknown{did_you_mean(name, list(known))}" for name in strange]
    wrong += [f"{name}: is missing" for name in ("agent", "instruction") if name not in said]
    for name in ("agent", "instruction", "session", "model", "tier", "provider"):
        if name in said and not isinstance(said[name], str):
            wrong.append(f"{name}: write text, not {_short(repr(said[name]))}")
    if isinstance(said.get("agent"), str) and said["agent"] not in agents:
        near = did_you_mean(said["agent"], list(agents)) or f"; there are {', '.join(agents)}"
        wrong.append(f"agent: you may use no agent '{_short(said['agent'])}'{near}")
    for name, kinds in (("context_depth", get_args(Depth)), ("context_scope", get_args(Scope))):
        if name in said and said[name] not in kinds:
            wrong.append(f"{name}: write one of {', '.join(kinds)}, not {_short(repr(said[name]))}")
    turns = said.get("context_turns")
    if isinstance(turns, float) and turns.is_integer():
        turns = int(turns)
    if turns is not None and (isinstance(turns, bool) or not isinstance(turns, int) or not 1 <= turns <= MOST_TURNS):
        wrong.append(f"context_turns: write a whole number from 1 to {MOST_TURNS}, not {_short(repr(turns))}")
    if "preferences" in said and not isinstance(said["preferences"], list):
        wrong.append("preferences: write a list, such as ['anthropic/claude-haiku-*']")
    if "session" in said and (clash := [name for name in said if name.startswith("context_")]):
        wrong.append(f"{', '.join(clash)}: a session has a conversation of its own; leave it out, or leave out session")
    if wrong:
        raise RequestError("; ".join(wrong))
    choice: dict[str, Any] = {name: said[name] for name in _CHOICE if name in said and said[name] != []}
    return Asked(
        said["agent"],
        said["instruction"],
        said.get("context_depth"),
        turns,
        said.get("context_scope"),
        said.get("session"),
        choice,
    )


def _short(text: str) -> str:
    return text if len(text) <= _MOST_QUOTED else f"{text[:_MOST_QUOTED]}…"
