"""One step with all that is said of it: whether, how often, how long, how many tries, and what follows a failure."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from time import perf_counter
from typing import Any, Final

from bundle_loader.declared.recipe import ForEach, GroupStep, PythonStep, RecipeStep, Retry, ShellStep, Step, While
from bundle_loader.errors import StepFailed
from bundle_loader.recipes.actions import CommandFailed, act
from bundle_loader.recipes.checkpoints import Kept
from bundle_loader.recipes.conditions import holds
from bundle_loader.recipes.context import Context
from bundle_loader.recipes.doing import Doer
from bundle_loader.recipes.done import Done, Ended, Facts
from bundle_loader.recipes.failures import LASTING, EndsHere, Mistake, Unanswered
from bundle_loader.recipes.groups import group, sub_recipe
from bundle_loader.recipes.loops import foreach, repeat
from bundle_loader.recipes.numbers import seconds, whole
from bundle_loader.recipes.outputs import output_of
from bundle_loader.recipes.result import StepEnded, StepRecord, StepRetried, StepStarted, StepStatus
from bundle_loader.recipes.scope import Frame
from bundle_loader.recipes.values import EMPTY, Lenient, plain

_NEEDS: Final = "it needs"
_SHOWN: Final = 1000
"""Characters of a reason that are kept."""


class Steps:
    """Does steps; what came of each is kept before the next begins."""

    def __init__(self, ctx: Context, doer: Doer) -> None:
        self.ctx = ctx
        self.doer = doer

    async def do(self, step: Step, frame: Frame) -> Ended:
        """A step with its condition and its loop. Raises StepFailed where the run is to end, Waits, EndsHere."""
        id = frame.position(step)
        kept = self.ctx.checkpoints.final(id)
        if kept is not None:
            return self._again(step, frame, kept)
        try:
            why = self._left_out(step, frame)
        except StepFailed as error:
            return await self._failed(step, frame, id, step.action.kind, error, Facts(), 0.0, alone=True)
        if why is not None:
            return await self.skip(step, frame, id, why, blocked=why.startswith(_NEEDS))
        if step.loop is None:
            return await self.element(step, frame, id, alone=True)
        return await self._loop(step, step.loop, frame, id)

    def _left_out(self, step: Step, frame: Frame) -> str | None:
        """Why a step is left out; None where it is done.

        1. A step that it needs failed, or was itself left out for want of another, or was jumped over.
        2. Its condition does not hold. (One that it needs and that was left out so has an empty output, and does not hinder it.)
        """
        for needed in step.depends_on:
            outcome = frame.scope.outcome(needed)
            if outcome in ("failed", "blocked"):
                return f"{_NEEDS} '{needed}', which {'failed' if outcome == 'failed' else 'was left out'}"
        if step.condition is None:
            return None
        values = Lenient(frame.values(step))
        met = holds(step.condition, values, frame.recipe.text_place(step.id, "condition"))
        self.ctx.warn(*(f"step '{step.id}': {note}" for note in values.noted))
        return None if met else f"condition: {step.condition}"

    async def skip(self, step: Step, frame: Frame, id: str, why: str, *, blocked: bool = False) -> Ended:
        """Leave a step out: variables that only it would set are empty; `blocked` where those that need it are left out too."""
        kept = self.ctx.checkpoints.final(id)
        if kept is not None:
            return self._again(step, frame, kept)
        values = frame.scope.values
        sets = {name: EMPTY for name in names_set(step) if name not in values}
        record = StepRecord(id, step.id, frame.stage.name, _kind(step), "skipped", reason=why[:_SHOWN])
        outcome = "blocked" if blocked else "skipped"
        return await self._end(step, frame, record, sets, dict.fromkeys((step.id, *_steps_in(step)), outcome))

    def _again(self, step: Step, frame: Frame, kept: Kept) -> Ended:
        """What a step gave before the run was taken up."""
        frame.scope.take(kept.sets, {step.id: kept.record.status, **kept.told.get("outcomes", {})})
        self.ctx.emit(StepEnded(kept.record, kept=True))
        if kept.told.get("ends"):
            raise EndsHere
        return Ended(kept.record, kept.sets, kept.told.get("goto"))

    async def _end(
        self, step: Step, frame: Frame, record: StepRecord, sets: dict[str, Any], outcomes: dict[str, str], **told: Any
    ) -> Ended:
        """Keep what came of a step, then let others see it."""
        output = plain(record.output)
        sets = {name: output if value is record.output else plain(value) for name, value in sets.items()}
        record = replace(record, output=output)
        await self.ctx.checkpoints.keep(record, sets, outcomes=outcomes, **told)
        frame.scope.take(sets, {step.id: record.status, **outcomes})
        self.ctx.emit(StepEnded(record))
        if told.get("ends"):
            raise EndsHere
        return Ended(record, sets, told.get("goto"))

    # --- loops

    async def _loop(self, step: Step, loop: ForEach | While, frame: Frame, id: str) -> Ended:
        began = perf_counter()
        self.ctx.emit(StepStarted(id, step.id, frame.stage.name, loop.kind, description=step.description))
        try:
            if isinstance(loop, ForEach):
                done, ended = await foreach(self.doer, step, loop, frame, id)
            else:
                done, ended = await repeat(self.doer, step, loop, frame, id)
        except StepFailed as error:
            return await self._failed(step, frame, id, loop.kind, error, Facts(), perf_counter() - began, alone=True)
        facts = Facts(cost=_sum(ended))
        status: StepStatus = "done" if ended else "skipped"
        if not ended:
            values = frame.scope.values
            done.sets.update({name: EMPTY for name in names_set(step) if name not in values and name not in done.sets})
        reason = None if ended else "there was nothing to do it with" if isinstance(loop, ForEach) else f"while: {loop.condition}"
        record = _record(step, frame, id, loop.kind, status, facts, perf_counter() - began, done.output, reason)
        return await self._end(step, frame, record, done.sets, done.outcomes)

    # --- once

    async def element(self, step: Step, frame: Frame, id: str, *, alone: bool) -> Ended:
        """What a step does, with all its tries. Raises StepFailed where that ends the run, or the loop."""
        kept = self.ctx.checkpoints.final(id)
        if kept is not None:
            return self._again(step, frame, kept)
        self._count(frame)
        facts, began = Facts(), perf_counter()
        try:
            done = await self._tried(step, frame, id, facts)
        except StepFailed as error:
            return await self._failed(step, frame, id, step.action.kind, error, facts, perf_counter() - began, alone=alone)
        sets = dict(done.sets)
        if step.output is not None:
            sets[step.output] = done.output
        reason = "; ".join(facts.notes)[:_SHOWN] or None
        record = _record(step, frame, id, step.action.kind, "done", facts, perf_counter() - began, done.output, reason)
        return await self._end(step, frame, record, sets, done.outcomes)

    def _count(self, frame: Frame) -> None:
        self.ctx.steps += 1
        if self.ctx.steps > frame.limits.steps:
            raise Mistake(
                f"the run has more than {frame.limits.steps} steps: {' -> '.join(frame.chain)}",
                remedy="raise recursion.max_total_steps",
            )

    async def _tried(self, step: Step, frame: Frame, id: str, facts: Facts) -> Done:
        values = frame.values(step)
        most = whole("retry.max_attempts", step.retry.max_attempts, values)
        while True:
            facts.attempts += 1
            started = StepStarted(id, step.id, frame.stage.name, step.action.kind, facts.attempts, step.description)
            self.ctx.emit(started)
            try:
                return await self._once(step, frame, id, facts)
            except StepFailed as error:
                if facts.attempts >= most or isinstance(error, LASTING):
                    raise
                wait = delay(step.retry, facts.attempts, frame)
                self.ctx.emit(StepRetried(id, facts.attempts, wait, str(error)[:_SHOWN]))
                await self.ctx.sleep(wait)

    async def _once(self, step: Step, frame: Frame, id: str, facts: Facts) -> Done:
        """One try, within the step's time."""
        limit = seconds("timeout", step.timeout, frame.values(step)) if step.timeout is not None else None
        limit = limit or None
        own = isinstance(step.action, (ShellStep, PythonStep))
        try:
            # an agent's own deadline comes first and says more; commands and functions are ended by what runs them
            async with asyncio.timeout(None if own or limit is None else limit * 1.05 + 0.1) as clock:
                done = await self._act(step, frame, id, limit, facts)
                done.output = await output_of(step, done)
                return done
        except TimeoutError as error:
            if limit is None or not clock.expired():
                raise StepFailed(f"a time ran out: {error}" if str(error) else "a time ran out") from error
            failed = StepFailed(f"was not done within {limit:g} s", remedy="raise its timeout, or split it")
            failed.timed_out = True
            raise failed from None
        except OSError as error:
            raise StepFailed(f"the system refused it: {error.strerror or error}") from error

    async def _act(self, step: Step, frame: Frame, id: str, limit: float | None, facts: Facts) -> Done:
        action, values = step.action, frame.values(step)
        if isinstance(action, GroupStep):
            done, ended = await group(self.doer, step, action, frame, id)
        elif isinstance(action, RecipeStep):
            done, ended = await sub_recipe(self.doer, step, action, frame, id, values)
        else:
            return await act(self.ctx, step, frame, id, values, limit, facts)
        facts.cost = _sum(ended)
        return done

    # --- failures

    async def _failed(
        self,
        step: Step,
        frame: Frame,
        id: str,
        kind: str,
        error: StepFailed,
        facts: Facts,
        took: float,
        *,
        alone: bool,
    ) -> Ended:
        """What follows a failure: the step's `on_error`. In a round of a loop only `continue` is for the round."""
        error.placed(step.id, frame.recipe.place(step.id))
        action = step.on_error.action
        known = frame.scope.values
        sets: dict[str, Any] = {name: EMPTY for name in names_set(step) if name not in known}
        output: Any = EMPTY
        if isinstance(error, CommandFailed):
            output = error.stdout or EMPTY
            exit_code = getattr(step.action, "exit_code", None)
            if exit_code and error.code is not None:
                sets[exit_code] = str(error.code)
        if step.output is not None:
            sets[step.output] = output
        record = _record(step, frame, id, kind, "failed", facts, took, output, str(error)[:_SHOWN])
        if action == "stop" or (not alone and action != "continue"):
            await self.ctx.checkpoints.keep(record, final=False, no_answer=isinstance(error, Unanswered))
            self.ctx.emit(StepEnded(record))
            raise error
        goto = step.on_error.step if action == "goto" else None
        self.ctx.warn(f"step '{id}' failed, and the run went on: {str(error).partition(chr(10))[0][:_SHOWN]}")
        return await self._end(step, frame, record, sets, {}, goto=goto, ends=action == "skip_remaining")


def delay(retry: Retry, attempt: int, frame: Frame) -> float:
    """Seconds to wait after the try of that number, from 1."""
    values = frame.values()
    first, most = seconds("retry.initial_delay", retry.initial_delay, values), seconds("retry.max_delay", retry.max_delay, values)
    factor = {"exponential": 2.0 ** min(attempt - 1, 60), "linear": float(attempt), "constant": 1.0}[retry.backoff]
    return min(first * factor, most)


def names_set(step: Step) -> list[str]:
    """The variables that a step sets, those of the steps in it included."""
    names = [step.output, getattr(step.action, "exit_code", None)]
    if step.loop is not None:
        names += [step.loop.collect, *step.loop.update]
    if isinstance(step.action, GroupStep):
        for child in step.action.steps:
            names += names_set(child)
    return [name for name in names if name]


def _steps_in(step: Step) -> list[str]:
    if not isinstance(step.action, GroupStep):
        return []
    return [id for child in step.action.steps for id in (child.id, *_steps_in(child))]


def _kind(step: Step) -> str:
    return step.loop.kind if step.loop is not None else step.action.kind


def _sum(ended: list[Ended]) -> Decimal | None:
    costs = [one.record.cost for one in ended if one.record.status != "skipped"]
    return None if None in costs else sum((cost for cost in costs if cost is not None), Decimal(0))


def _record(
    step: Step, frame: Frame, id: str, kind: str, status: StepStatus, facts: Facts, took: float, output: Any, reason: str | None
) -> StepRecord:
    return StepRecord(
        id,
        step.id,
        frame.stage.name,
        kind,
        status,
        facts.attempts,
        took,
        None if output is EMPTY else output,
        facts.provider,
        facts.model,
        facts.profile,
        facts.purpose,
        facts.cost,
        facts.delegation,
        reason,
    )
