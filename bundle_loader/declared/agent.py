"""An agent: one markdown file that says who it is, what it prefers and what it is told."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator

from bundle_loader.declared.budget import MOST_DOLLARS
from bundle_loader.declared.context import ContextFile
from bundle_loader.declared.output_schema import check_output_schema
from bundle_loader.declared.preference import Preference, WrittenPreferences, check_config
from bundle_loader.declared.written import CoreMap, Duration, Final, Format, Words, Written, one_or_many

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
SLOT_KEYS = ("model_role", "provider_preferences", "tier")
MOST_TURNS = 10_000
IDENTITY_KEYS = ("format", "name", "aliases", "extends")

_NAME_READ = WithJsonSchema(
    {"anyOf": [{"type": "string", "pattern": rf"^{NAME.pattern}$"}, {"type": "boolean"}, {"type": "number", "minimum": 0}]}
)
_COST_READ = WithJsonSchema(
    {
        "anyOf": [
            {"type": "number", "exclusiveMinimum": 0},
            {"type": "string", "pattern": r"^\s*\+?(?=[^eE]*[1-9])(\d+(\.\d*)?|\.\d+)([eE][-+]?\d{1,2})?\s*$"},
        ]
    }
)


def check_name(value: str | None) -> str | None:
    """An agent's name: letters, digits, `_`, `.`, `-`."""
    if value is not None and not NAME.fullmatch(value):
        raise ValueError(f"{value!r} is not a name; use letters, digits, '-', '_' and '.'")
    return value


class WrittenContext(Written):
    """How much of the caller's conversation an agent is given."""

    depth: Literal["none", "recent", "all"] | None = None
    turns: Annotated[int, Field(ge=1, le=MOST_TURNS)] | None = None
    scope: Literal["conversation", "agents", "full"] | None = None


class WrittenLimits(Written):
    """Where an agent must stop."""

    max_turns: Annotated[int, Field(ge=1, le=MOST_TURNS)] | None = None
    timeout: Annotated[Duration, Field(gt=0)] | None = None
    max_cost: Annotated[Decimal, Field(gt=0, le=MOST_DOLLARS), _COST_READ] | None = None


class WrittenAgent(Written):
    """Every key that an agent file of our own form, or an inline patch in a bundle, may have."""

    format: Format | None = None
    name: Annotated[str, _NAME_READ] | None = None
    aliases: Annotated[list[Annotated[str, _NAME_READ]], BeforeValidator(one_or_many)] | None = None
    description: str | None = None
    provider_preferences: WrittenPreferences | None = None
    tier: str | None = None
    model_role: Words | None = None
    extends: Annotated[str, WithJsonSchema({"type": ["string", "number", "boolean"], "pattern": r"\S"})] | None = None
    tools: Words | None = None
    deny_tools: Words | None = None
    agents: Words | None = None
    inherit_context: WrittenContext | None = None
    config: CoreMap | None = None
    limits: WrittenLimits | None = None
    output_schema: CoreMap | None = None
    on_broken_stream: Literal["fail", "continue"] | None = None
    content_fallback: WrittenPreferences | None = None

    @field_validator("name")
    @classmethod
    def _name_is_a_name(cls, value: str | None) -> str | None:
        return check_name(value)

    @field_validator("extends")
    @classmethod
    def _names_an_agent(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise ValueError("names no agent; write the name of the agent to inherit from, or leave the key out")
        return value

    @field_validator("aliases")
    @classmethod
    def _aliases_are_names(cls, value: list[str] | None) -> list[str] | None:
        for alias in value or ():
            check_name(alias)
        return value

    @field_validator("config")
    @classmethod
    def _no_protected_key(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        return check_config(value)

    @field_validator("output_schema")
    @classmethod
    def _is_a_schema(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        return check_output_schema(value)

    @field_validator("provider_preferences")
    @classmethod
    def _not_empty(cls, value: WrittenPreferences | None) -> WrittenPreferences | None:
        if value is not None and not value:
            raise ValueError("an empty list prefers nothing; leave the key out, or write null to remove what was inherited")
        return value


class ContextPolicy(Final):
    """How much of the caller's conversation is inherited; none unless asked."""

    depth: Literal["none", "recent", "all"] = "none"
    turns: int = 5
    scope: Literal["conversation", "agents", "full"] = "conversation"


class Limits(Final):
    """`timeout` in seconds, `max_cost` in US dollars; None is no limit of the agent's own."""

    max_turns: int | None = None
    timeout: float | None = None
    max_cost: Decimal | None = None


class Agent(Final):
    """A finished agent, as the most derived layer left it.

    `preferences` is the agent's own list, spliced. `slot` says which of role, list and tier decides where no caller does
    (None: it says nothing and inherits).
    """

    name: str
    bundle: str = ""
    aliases: tuple[str, ...] = ()
    description: str = ""
    preferences: tuple[Preference, ...] = ()
    tier: str | None = None
    model_role: tuple[str, ...] = ()
    slot: Literal["role", "list", "tier"] | None = None
    tools: tuple[str, ...] | None = None
    """None: whatever the host offers; an empty tuple: none."""
    deny_tools: tuple[str, ...] = ()
    """Taken out of those."""
    agents: tuple[str, ...] | None = None
    """Whom it may delegate to: names, aliases, `bundle:name`, `*` and `?` in names. None: everybody; an empty tuple: nobody."""
    inherit_context: ContextPolicy = ContextPolicy()
    config: dict[str, Any] = Field(default_factory=dict)
    limits: Limits = Limits()
    output_schema: dict[str, Any] | None = None
    on_broken_stream: Literal["fail", "continue"] = "fail"
    content_fallback: tuple[Preference, ...] = ()
    instruction: str = ""
    """The body as written."""
    template: bool = True
    """False: the body is taken literally (other tools' files)."""
    files: tuple[ContextFile, ...] = ()
    """What the body mentions, and what those files mention, each once."""
    parent_instruction: Agent | None = Field(default=None, repr=False)
    """The agent whose text `{{ base }}` inserts."""
    form: str = "own"
    """Whose file form it was written in."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Keys of another tool's form that have no meaning here, as written."""
    file: str = ""
    body_line: int = 1
