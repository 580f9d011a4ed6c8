"""A step that an agent does: one delegation, or the rest of one that was cut off."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final

from bundle_loader.declared.recipe import AgentStep, Step
from bundle_loader.delegation.result import DelegationResult, DoneEvent
from bundle_loader.delegation.run import Run
from bundle_loader.errors import DeclarationError, Forbidden, NoAnswer, NoCandidate, ProviderFailure, RequestError, SessionError
from bundle_loader.ledger.reports import costed
from bundle_loader.messages import Message
from bundle_loader.recipes.agents_there import stand_in
from bundle_loader.recipes.context import Context
from bundle_loader.recipes.done import Done, Facts
from bundle_loader.recipes.expected import expected
from bundle_loader.recipes.failures import Mistake, Unanswered
from bundle_loader.recipes.json_text import json_in
from bundle_loader.recipes.result import StepProgress, StepRecord
from bundle_loader.recipes.scope import Frame
from bundle_loader.recipes.stage_profiles import choice_of
from bundle_loader.recipes.texts import fill, render_prompt
from bundle_loader.recipes.values import Values

GO_ON: Final = "You were interrupted. Go on with the task where you left off, and end with the whole answer that was asked for."
"""What an agent is told whose work was cut off."""
JSON_ONLY: Final = (
    "Your answer holds no JSON that can be read. "
    "Answer again with the JSON value that was asked for, and nothing before or after it."
)
"""What an agent is told, once, whose answer was to be JSON and is not."""
_JSON: Final = {"type": ["object", "array"]}


async def run_agent(ctx: Context, step: Step, frame: Frame, id: str, values: Values, timeout: float | None, facts: Facts) -> Done:
    """The answer of the agent. Raises StepFailed."""
    action = step.action
    assert isinstance(action, AgentStep)
    asking = _Asking(ctx, step, frame, id, values, timeout, facts)
    try:
        result = await asking.first()
    except (NoAnswer, ProviderFailure) as error:
        raise Unanswered(str(error)) from error
    except (RequestError, DeclarationError) as error:
        raise Mistake(str(error)) from error
    return result


class _Asking:
    """The delegations of one try of a step."""

    def __init__(
        self, ctx: Context, step: Step, frame: Frame, id: str, values: Values, timeout: float | None, facts: Facts
    ) -> None:
        action = step.action
        assert isinstance(action, AgentStep)
        self.ctx, self.step, self.frame, self.id, self.facts = ctx, step, frame, id, facts
        recipe = frame.recipe

        def filled(text: str) -> str:
            return fill(text, values)

        self.agent, said = filled(action.agent), None
        if ctx.simulated:
            self.agent, said = stand_in(recipe, step.id, self.agent, ctx.bundle)
        ctx.warn(*([said] if said else []))
        prompt = render_prompt(action.prompt, values, recipe.text_place(step.id, "prompt"))
        mode = filled(action.mode).strip()
        # agents that know modes look for them on the first line
        self.prompt = f"MODE: {mode}\n\n{prompt}" if mode else prompt
        choice, warnings = choice_of(ctx.bundle, frame.profiles, action, frame.stage, step.id, filled)
        ctx.warn(*warnings)
        facts.profile, facts.purpose = choice.profile, choice.stage
        request = ctx.request
        self.choice: dict[str, Any] = {"step": choice, "provider": request.provider, "model": request.model}
        self.choice = {name: value for name, value in self.choice.items() if value is not None}
        if request.local_only:
            self.choice["local_only"] = True
        self.timeout = timeout
        self.given: dict[str, Any] = {"tags": (f"recipe:{frame.chain[0]}",)}
        if str(ctx.workdir) != os.getcwd():
            self.given["vars"] = {"workdir": str(ctx.workdir)}

    async def first(self) -> Done:
        """The answer, asked for again once where it was to be JSON and is none."""
        await self._paid_before()
        session = self._begun()
        done = await self._found(session) if session is not None else None
        if done is not None:
            return done
        result = await self._resumed(session) if session is not None else None
        if result is None:
            result = await self._asked(self.prompt, self.step.output_schema or self._made_up())
        if self.step.output_schema is not None:
            return Done(result.data, data=True)
        text = result.text.strip()
        if self.step.parse_json and not _has_json(text):
            messages = (*result.messages,)
            again = await self._ask(JSON_ONLY, schema=_JSON, messages=messages)
            return Done(again.data)
        return Done(text, text=True)

    def _made_up(self) -> dict[str, Any] | None:
        """The shape of a simulated answer that nobody has written."""
        ctx, recipe = self.ctx, self.frame.recipe
        key = (recipe.file, recipe.name, self.step.id)
        if ctx.made_up and key not in ctx.shapes:
            ctx.shapes[key] = expected(recipe, self.step, ctx.find_recipe)
        return ctx.shapes.get(key)

    # --- a delegation that was cut off

    def _begun(self) -> str | None:
        """The session of a delegation that was under way when a process died."""
        kept = self.ctx.checkpoints.begun(self.id)
        if kept is None or kept.record.status != "running" or self.ctx.sessions is None:
            return None
        session = kept.told.get("session")
        return session if isinstance(session, str) else None

    async def _found(self, session: str) -> Done | None:
        """The answer that was there already and only not yet kept: nothing is asked for it."""
        sessions = self.ctx.sessions
        assert sessions is not None
        try:
            found = (await asyncio.to_thread(sessions.read, session)).transcript
        except SessionError:
            return None
        if found is None or found.outcome != "answered" or not found.messages or self.step.output_schema is not None:
            return None
        text = found.messages[-1].text.strip()
        if not text or (self.step.parse_json and not _has_json(text)):
            return None
        self.facts.delegation = found.delegations[-1] if found.delegations else session
        self.facts.provider, _, self.facts.model = found.models[-1].partition("/") if found.models else ("", "", "")
        return Done(text, text=True)

    async def _paid_before(self) -> None:
        """Count what was paid for this step before the run was taken up: by tries that failed and by work that was cut off."""
        kept = self.ctx.checkpoints.begun(self.id) if self.facts.attempts == 1 else None
        if kept is None:
            return
        self.facts.spend(kept.record.cost)
        if kept.record.status == "running" and kept.record.delegation is not None:
            rows = await asyncio.to_thread(self.ctx.checkpoints.ledger.query, "calls of a tree", root=kept.record.delegation)
            for row in rows:
                self.facts.spend(costed(row)["cost"])

    async def _resumed(self, session: str) -> DelegationResult | None:
        """The rest of the session's work; None where none of its turns was finished, or it cannot be taken up."""
        sessions = self.ctx.sessions
        assert sessions is not None
        try:
            found = (await asyncio.to_thread(sessions.read, session)).transcript
            if found is None or not (found.turns or found.unknown_calls):
                return None
            return await self._ask(GO_ON, schema=self.step.output_schema, resume=session)
        except SessionError:
            return None

    # --- asking

    async def _asked(self, text: str, schema: dict[str, Any] | None) -> DelegationResult:
        """Ask; where nothing of the step's own list is to be had, its profile or its agent decides instead, and that is told.

        A run that was begun for one provider or model is held to it.
        """
        try:
            return await self._ask(text, schema=schema)
        except NoCandidate as error:
            own = self.choice["step"]
            bound = "provider" in self.choice or "model" in self.choice or isinstance(error, Forbidden)
            if bound or error.attempts or not own.preferences:
                raise
            why = next((str(rejection) for rejection in error.rejections), "it gives no model")
            said = "nothing in its own list can be met, so its profile or its agent decides"
            self.ctx.warn(f"step '{self.step.id}': {said} ({why})")
            self.choice["step"] = replace(own, preferences=())
        return await self._ask(text, schema=schema)

    async def _ask(
        self, text: str, *, schema: dict[str, Any] | None, messages: tuple[Message, ...] = (), resume: str | None = None
    ) -> DelegationResult:
        given = {**self.given, "timeout": self.timeout, "output_schema": schema, "messages": messages, "resume": resume}
        run = await self.ctx.prepare(self.agent, text, **given, **self.choice)
        await self._mark(run)
        try:
            async with aclosing(run.events(show=False)) as events:
                async for event in events:
                    if isinstance(event, DoneEvent):
                        return self._told(event.result)
                    self.ctx.emit(StepProgress(self.id, event))
        except NoAnswer as error:
            for attempt in error.attempts:
                self.facts.spend(attempt.cost)
            raise
        raise AssertionError("a run ends in a DoneEvent or raises")

    async def _mark(self, run: Run) -> None:
        """Note the delegation before it begins, so that its session is found again."""
        facts, session = self.facts, run.base.session
        record = StepRecord(
            self.id,
            self.step.id,
            self.frame.stage.name,
            "agent",
            "running",
            attempts=facts.attempts,
            profile=facts.profile,
            purpose=facts.purpose,
            cost=facts.cost,
            delegation=run.base.id,
        )
        await self.ctx.checkpoints.keep(record, final=False, session=session)

    def _told(self, result: DelegationResult) -> DelegationResult:
        facts = self.facts
        facts.provider, facts.model, facts.delegation = result.provider, result.model, result.id
        facts.spend(result.cost_with_children)
        leaving = {said for candidate in result.route.candidates if (said := result.route.leaving(candidate)) is not None}
        for note in leaving.intersection(result.notes):
            first = next((f"{one.provider}/{one.model}: {one.reason}" for one in result.attempts if one.reason), None)
            why = first or next((str(rejection) for rejection in result.rejections), "")
            self.ctx.warn(f"{note} ({why})" if why else note)
        return result


def _has_json(text: str) -> bool:
    try:
        json_in(text)
    except ValueError:
        return False
    return True
