"""What is asked of routing: an agent, what the caller insists on, and who delegates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeAlias, TypedDict

from pydantic import ValidationError

from bundle_loader.declared.agent import Agent
from bundle_loader.declared.pin import Pin
from bundle_loader.declared.preference import Preference, check_config, split_pair
from bundle_loader.errors import RequestError, did_you_mean
from bundle_loader.routing.step import StepChoice as StepChoice
from bundle_loader.routing.step import step_of

Pair: TypeAlias = tuple[str, str]
"""A provider and a concrete model."""


NEEDS: Final = ("tools", "vision", "structured", "reasoning")
"""The capabilities that work may need of a model."""
DEADLINE: Final = 300.0
"""Seconds that work may take where neither the caller nor the agent says."""


class DecidedBy(StrEnum):
    """Who gave the list that was routed; `number` is the place in the order of precedence."""

    CALLER = "caller"
    STEP = "step"
    PIN = "pin"
    AGENT = "agent"
    BUNDLE = "bundle"
    PARENT = "parent"

    @property
    def number(self) -> int:
        """1 (the caller, who always wins) to 6 (the parent)."""
        return list(DecidedBy).index(self) + 1


class Choice(TypedDict, total=False):
    """What a caller may say about who does the work; the arguments of `make_request`."""

    preferences: Sequence[Preference | str | Pair | dict[str, Any]] | None
    provider: str | None
    model: str | None
    tier: str | None
    role: str | None
    profile: str | None
    stage: str | None
    step: StepChoice | None
    parent: str | Pair | Sequence[Pair] | None
    config: Mapping[str, Any] | None
    local_only: bool
    needs: Sequence[str] | None


@dataclass(frozen=True, slots=True)
class Begun:
    """The list that a session was begun with, and who gave it."""

    preferences: tuple[Preference, ...]
    decided_by: DecidedBy
    decision: str
    tier: str | None = None
    local_first: str = ""
    """The profile that gave the list, where that puts first what runs here."""


@dataclass(frozen=True, slots=True)
class Request:
    """One question to routing. Make it with `make_request`, which checks that the caller does not contradict itself."""

    agent: Agent
    preferences: tuple[Preference, ...] | None = None
    """The caller's own list."""
    provider: str | None = None
    """A filter on whichever list wins."""
    tier: str | None = None
    role: str | None = None
    profile: str | None = None
    stage: str | None = None
    parent: tuple[Pair, ...] = ()
    """The candidate of whoever delegates, then the rest of its route."""
    config: Mapping[str, Any] = field(default_factory=dict)
    needs: frozenset[str] = frozenset()
    """What a model must be able to do: of `NEEDS`."""
    input_floor: int | None = None
    """The fewest tokens that the first prompt can have."""
    local_only: bool = False
    mandate: Pin | None = None
    """The list outside of which the organisation lets nobody choose for this agent."""
    tags: tuple[str, ...] = ()
    deadline: float = DEADLINE
    """Seconds that the whole work may take."""
    now: float | None = None
    """Seconds since the epoch; without it no model is too old."""
    begun: Begun | None = None
    """What a session that goes on was begun with; it holds in place of whatever would be decided now."""
    step: StepChoice | None = None
    """The step of a recipe whose work it is."""

    @property
    def in_force(self) -> tuple[str | None, str | None]:
        """The profile and the stage that the work is done under: the caller's, else the step's."""
        step = self.step or _NO_STEP
        return self.profile or step.profile, self.stage or step.stage


_NO_STEP: Final = StepChoice()


def make_request(
    agent: Agent,
    *,
    preferences: Sequence[Preference | str | Pair | dict[str, Any]] | None = None,
    provider: str | None = None,
    model: str | None = None,
    tier: str | None = None,
    role: str | None = None,
    profile: str | None = None,
    stage: str | None = None,
    step: StepChoice | Mapping[str, Any] | None = None,
    parent: str | Pair | Sequence[Pair] | None = None,
    config: Mapping[str, Any] | None = None,
    tools: bool = False,
    structured: bool = False,
    input_floor: int | None = None,
    local_only: bool = False,
    needs: Sequence[str] | None = None,
    tags: Sequence[str] = (),
    deadline: float | None = None,
    now: float | None = None,
) -> Request:
    """A request from a caller's words. Raises RequestError where they contradict each other or make no list.

    An answer of a schema, the caller's (`structured`) or the agent's own, needs a model that gives structured output.
    """
    if preferences is not None and model is not None:
        raise RequestError("give either preferences or model, not both: a model is a list of one")
    given = [name for name, value in (("tier", tier), ("role", role), ("profile", profile)) if value is not None]
    listed = "preferences" if preferences is not None else "model" if model is not None else None
    if listed and given:
        raise RequestError(f"give either {listed} or {given[0]}, not both")
    if len(given) > 1:
        raise RequestError(f"give one of {', '.join(given)}: each of them chooses a list")
    own: tuple[Preference, ...] | None = None
    if model is not None:
        own = (_pinned(provider, model),)
        provider = None
    elif preferences is not None:
        own = tuple(_preference(item) for item in _several(preferences))
        if not own:
            raise RequestError("preferences is empty, so nothing could answer; leave it out to let the agent decide")
    return Request(
        agent, own, provider, tier, role, profile, stage, parents(parent), _config(config),
        needed(needs, tools, structured or agent.output_schema is not None),
        input_floor, local_only, tags=tuple(tags), deadline=deadline or agent.limits.timeout or DEADLINE, now=now,
        step=step_of(step),
    )  # fmt: skip


def needed(said: Sequence[str] | None, tools: bool = False, structured: bool = False) -> frozenset[str]:
    """The capabilities that the words name. Raises RequestError for a word that is none of `NEEDS`."""
    words = (said,) if isinstance(said, str) else tuple(said or ())
    for word in words:
        if word not in NEEDS:
            near = did_you_mean(str(word), NEEDS) or f"; write of {', '.join(NEEDS)}"
            raise RequestError(f"needs: '{word}' is no capability{near}")
    known = {"tools": tools, "structured": structured}
    return frozenset(words) | {word for word, so in known.items() if so}


def _config(config: Mapping[str, Any] | None) -> dict[str, Any]:
    if not config:
        return {}
    said = dict(config)
    try:
        check_config(said)
    except ValueError as error:
        raise RequestError(f"config: {error}") from None
    return said


def _several(preferences: Any) -> Sequence[Any]:
    if isinstance(preferences, (str, Preference, dict)):
        raise RequestError("preferences must be a list, such as ['anthropic/claude-haiku-*']")
    return list(preferences)


def _preference(value: Any) -> Preference:
    try:
        return Preference.parse(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        said = str(first.get("ctx", {}).get("error", first["msg"]))
        raise RequestError(
            f"not a preference: {where + ': ' if where else ''}{said}; write 'provider/glob' or Preference(...)"
        ) from None


def _pinned(provider: str | None, model: str) -> Preference:
    """`model` with a provider beside it is taken whole; alone it must be `provider/glob`."""
    if provider is not None:
        return _preference({"provider": provider, "model": model})
    try:
        return _preference(split_pair(model))
    except ValueError:
        raise RequestError(f"model '{model}' names no provider; write 'provider/{model}', or give provider= beside it") from None


def parents(value: Any) -> tuple[Pair, ...]:
    """The parent's candidates from `provider/model`, a pair, a list of either, or anything with a provider and a model."""
    if value is None:
        return ()
    if isinstance(value, str):
        try:
            return (split_pair(value),)
        except ValueError as error:
            raise RequestError(f"parent: {error}") from None
    if hasattr(value, "provider") and hasattr(value, "model"):
        return ((str(value.provider), str(value.model)),)
    if isinstance(value, (tuple, list)):
        # no provider's id has a slash, and models' may
        if len(value) == 2 and all(isinstance(item, str) for item in value) and "/" not in value[0]:
            return ((value[0], value[1]),)
        if value and all(isinstance(item, str) for item in value):
            return tuple(pair for item in value for pair in parents(item))
        if value and all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in value):
            return tuple((str(pair[0]), str(pair[1])) for pair in value)
    raise RequestError("parent must be 'provider/model', a pair, a candidate, or a list of such texts or pairs")
