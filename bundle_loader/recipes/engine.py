"""A recipe from its first stage to its last."""

from __future__ import annotations

from dataclasses import replace

from bundle_loader.declared.recipe import Recipe, Stage, Step
from bundle_loader.errors import StepFailed
from bundle_loader.recipes.approvals import ask
from bundle_loader.recipes.conditions import holds
from bundle_loader.recipes.context import Context
from bundle_loader.recipes.doing import in_order
from bundle_loader.recipes.done import Ended
from bundle_loader.recipes.failures import Denied, EndsHere
from bundle_loader.recipes.result import StepEnded, StepRecord
from bundle_loader.recipes.scope import Frame
from bundle_loader.recipes.steps import Steps
from bundle_loader.recipes.texts import render_prompt
from bundle_loader.recipes.values import EMPTY, Lenient


class Engine(Steps):
    """Does recipes."""

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx, self)

    async def recipe(self, recipe: Recipe, frame: Frame) -> list[Ended]:
        """All stages in order. Raises StepFailed where it fails, Waits."""
        ended: list[Ended] = []
        goto: str | None = None
        try:
            for stage in recipe.stages:
                here = replace(frame, stage=stage)
                if goto is not None and all(step.id != goto for step in stage.steps):
                    ended += await self._skipped(stage, here, f"left out on the way to '{goto}'", blocked=True)
                    continue
                why = self._left_out_stage(stage, here)
                if why is not None:
                    ended += await self._skipped(stage, here, why)
                    goto = None
                    continue
                await self._approval(stage, here, "before")
                done, goto = await in_order(self, stage.steps, here, goto)
                ended += done
                await self._approval(stage, here, "after")
        except EndsHere:
            pass
        return ended

    async def _skipped(self, stage: Stage, frame: Frame, why: str, *, blocked: bool = False) -> list[Ended]:
        return [await self.skip(step, frame, frame.position(step), why, blocked=blocked) for step in stage.steps]

    def _left_out_stage(self, stage: Stage, frame: Frame) -> str | None:
        if stage.condition is None:
            return None
        values = Lenient(frame.values())
        try:
            met = holds(stage.condition, values, frame.recipe.text_place("", stage.name))
        except StepFailed as error:
            raise error.placed(stage.name, _place(stage, frame.recipe)) from None
        self.ctx.warn(*(f"stage '{stage.name}': {note}" for note in values.noted))
        return None if met else f"stage '{stage.name}': condition: {stage.condition}"

    async def _approval(self, stage: Stage, frame: Frame, when: str) -> None:
        """Wait for somebody's yes to a stage. Raises Denied, Waits."""
        approval = stage.approval
        if approval is None or approval.when != when:
            return
        id = f"{frame.prefix}{stage.name}:approval"
        kept = self.ctx.checkpoints.final(id)
        if kept is not None:
            frame.scope.take(kept.sets, {})
            self.ctx.emit(StepEnded(kept.record, kept=True))
            if kept.record.status == "failed":
                raise self._denied(stage, frame, kept.record.reason)
            return
        values = frame.values()
        place = frame.recipe.text_place("", stage.name)
        prompt = render_prompt(approval.prompt, values, place)
        answer = await ask(self.ctx, id, stage.name, stage.name, "stage", approval, prompt, values)
        said = answer.note or None
        record = StepRecord(id, stage.name, stage.name, "stage", "done" if answer.yes else "failed", 1, reason=said)
        sets = {"_approval_message": said if said is not None else EMPTY}
        await self.ctx.checkpoints.keep(record, sets)
        frame.scope.take(sets, {})
        self.ctx.emit(StepEnded(record))
        if not answer.yes:
            raise self._denied(stage, frame, said)

    def _denied(self, stage: Stage, frame: Frame, note: str | None) -> StepFailed:
        said = f"the approval of stage '{stage.name}' was denied{f': {note}' if note else ''}"
        return Denied(said).placed(stage.name, _place(stage, frame.recipe))


def _place(stage: Stage, recipe: Recipe) -> tuple[str, int, int]:
    first: Step | None = stage.steps[0] if stage.steps else None
    return recipe.place(first.id) if first is not None else (recipe.file, 0, 0)
