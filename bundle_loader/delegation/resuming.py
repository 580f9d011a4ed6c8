"""Taking up a session again: the same agent and preferences, the conversation so far, and what the new words change."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from bundle_loader.declared.agent import Agent
from bundle_loader.declared.bundle import Bundle
from bundle_loader.delegation import transcript
from bundle_loader.delegation.sessions import Journal, Opening, Sessions, plain_choice
from bundle_loader.delegation.transcript import Transcript
from bundle_loader.errors import RequestError, SessionError
from bundle_loader.messages import Message
from bundle_loader.routing.request import Begun, Request
from bundle_loader.routing.select import decided
from bundle_loader.routing.step import step_of

_LISTS: Final = ("preferences", "model", "tier", "role", "profile")
"""Each of them says whose list is used; a new one takes the place of an old one."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """A session that is taken up: what its transcript says, with the file locked."""

    transcript: Transcript
    journal: Journal
    choice: dict[str, Any]
    """Who should do the work now."""
    vars: dict[str, Any]
    notes: tuple[str, ...] = field(default=())
    begun: Begun | None = None
    """The list that still holds: the caller names no other now."""


async def take_up(
    sessions: Sessions | None, prefix: str, agent: Agent, bundle: Bundle, choice: Mapping[str, Any], vars: Mapping[str, Any]
) -> Resumed:
    """The session of that id for that agent. Raises SessionError."""
    if sessions is None:
        raise SessionError("no session can be resumed: none are kept here (sessions are off)")
    found, journal = await asyncio.to_thread(sessions.resume, prefix)
    whose = None
    if found.bundle != bundle.name:
        whose = f"bundle '{found.bundle}', and this is bundle '{bundle.name}'"
    elif found.agent != agent.name:
        whose = f"agent '{found.agent}', not of '{agent.name}'"
    if whose is not None:
        journal.drop()
        raise SessionError(f"session '{found.id}' is one of {whose}")
    notes = []
    if found.bundle_hash != bundle.hash:
        notes.append(f"bundle '{bundle.name}' has changed since session '{found.id}' was begun")
    if found.unknown_calls:
        notes.append(
            f"{found.unknown_calls} calls of tools were cut off: what they did is not known, and they were not run again"
        )
    restaged = "profile" in found.choice and choice.get("stage") not in (None, found.choice.get("stage"))
    other_step = choice.get("step") is not None and step_of(choice["step"]) != step_of(found.choice.get("step"))
    begun = None if restaged or other_step or _anew(found, choice) else found.begun
    return Resumed(found, journal, chosen_again(found, choice), {**found.vars, **vars}, tuple(notes), begun)


def chosen_again(found: Transcript, choice: Mapping[str, Any]) -> dict[str, Any]:
    """Who should do the work of a session that goes on.

    1. What the caller says now; a list, or another step, takes the place of the session's list.
    2. What was said when the session was begun; whoever delegated then stays the parent that an agent inherits from.
    3. What was once to stay on local models stays there.
    """
    said = {name: value for name, value in choice.items() if value is not None}
    kept = dict(found.choice)
    if _anew(found, said):
        for name in (*_LISTS, "provider", "stage"):
            kept.pop(name, None)
    both = {**kept, **said}
    if "parent" in kept:
        both["parent"] = kept["parent"]
    if found.local_only or said.get("local_only"):
        both["local_only"] = True
    return both


def _anew(found: Transcript, choice: Mapping[str, Any]) -> bool:
    """Whether the caller's words of now choose a list."""
    if any(choice.get(name) is not None for name in _LISTS):
        return True
    return choice.get("provider") is not None and "model" in found.choice


def listed_again(
    bundle: Bundle, request: Request, begun: Begun, canonical: Mapping[str, str], id: str
) -> tuple[Request, str | None]:
    """The request with the list that its session was begun with, and a note where it would be another one now."""
    try:
        now = decided(bundle, request, canonical).preferences
    except RequestError:
        now = ()
    if now == begun.preferences:
        return request, None
    kept, instead = (", ".join(map(str, listed)) or "none" for listed in (begun.preferences, now))
    note = f"session '{id}' goes on with the models that it was begun with: {kept}; without it they would be {instead}"
    return replace(request, begun=begun), f"{note}; give preferences, model or tier to change that"


def opening_of(
    sessions: Sessions,
    id: str,
    agent: Agent,
    bundle: Bundle,
    messages: tuple[Message, ...],
    request: Request,
    begun: Begun,
    choice: Mapping[str, Any],
    vars: Mapping[str, Any],
    resumed: Resumed | None,
    now: float,
) -> Opening:
    """How the delegation's transcript begins, or goes on."""
    said = _said(request, choice)
    if resumed is not None:
        more: dict[str, Any] = {"choice": said} if said != resumed.transcript.choice else {}
        more |= {"begun": transcript.plain_list(begun)} if begun != resumed.transcript.begun else {}
        changed = plain_choice(vars)
        more |= {"vars": changed} if changed else {}
        return Opening(sessions, resumed.transcript.id, messages[-1:], said=more, journal=resumed.journal)
    who: dict[str, Any] = {"agent": agent.name, "bundle": bundle.name, "bundle_hash": bundle.hash, "at": now}
    listed = transcript.plain_list(begun)
    head = transcript.first_line(id, **who, choice=said, begun=listed, vars=plain_choice(vars))
    return Opening(sessions, id, messages, head)


def _said(request: Request, choice: Mapping[str, Any]) -> dict[str, Any]:
    said = plain_choice(choice)
    if request.preferences is not None:
        if "model" in said:
            del said["model"]
            said.pop("provider", None)
        said["preferences"] = plain_choice({"all": request.preferences})["all"]
    if request.parent:
        said["parent"] = [list(pair) for pair in request.parent]
    return said
