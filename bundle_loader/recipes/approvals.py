"""Somebody's yes or no: asked for here, given from another process, or waited for."""

from __future__ import annotations

from bundle_loader.declared.recipe import Approval
from bundle_loader.errors import RecipeFailed
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.run_records import AnswerRun
from bundle_loader.recipes.checkpoints import Answer, from_row
from bundle_loader.recipes.context import Context
from bundle_loader.recipes.failures import Waits
from bundle_loader.recipes.numbers import seconds
from bundle_loader.recipes.past import row_of
from bundle_loader.recipes.result import ApprovalWanted, StepRecord
from bundle_loader.recipes.values import Values


async def ask(ctx: Context, id: str, step: str, stage: str, kind: str, approval: Approval, prompt: str, values: Values) -> Answer:
    """The answer, by the first of

    1. what somebody has answered, in any process
    2. the approval's default, once its time is over since it was first asked for
    3. whoever runs the recipe
    Raises Waits where there is none yet.
    """
    found = ctx.checkpoints.answer(id)
    if found is not None:
        return found
    most, now = seconds("approval.timeout", approval.timeout, values), ctx.clock()
    begun = ctx.checkpoints.begun(id)
    asked = begun.told.get("asked", now) if begun is not None and begun.record.status == "waiting" else now
    if most and now >= asked + most:
        return Answer(approval.default == "approve", f"nobody answered within {most:g} s")
    record = StepRecord(id, step, stage, kind, "waiting", reason=prompt)
    await ctx.checkpoints.keep(record, final=False, asked=asked, prompt=prompt)
    ctx.emit(ApprovalWanted(id, prompt))
    if ctx.request.approve is not None:
        said = await ctx.request.approve(id, prompt)
        if said is not None:
            return Answer(said) if isinstance(said, bool) else Answer(*said)
    raise Waits(id, prompt)


async def approve(ledger: Ledger, run: str, yes: bool, note: str | None = None, step: str | None = None) -> str:
    """Answer what a run waits for, all of it or one step; the run's whole id. Somebody has to go on with the run then.

    `run` is an id or its beginning. Raises RecipeFailed where it does not wait, or was answered before.
    """
    row = row_of(ledger, run)
    id = row["id"]
    kept = [from_row(one).record for one in ledger.query("steps of a run", run=id)]
    answered = {one["id"] for one in ledger.query("answers of a run", run=id)}
    waiting = [one.id for one in kept if one.status == "waiting"]
    open_ = [one for one in waiting if one not in answered and step in (None, one)]
    if not open_:
        if step is not None and step not in waiting:
            names = f"; it waits for {', '.join(waiting)}" if waiting else ""
            raise RecipeFailed(f"run {id} does not wait for '{step}'{names}", run=id)
        why = "was answered already; 'run resume' goes on with it" if waiting else f"waits for nobody: it is {row['status']}"
        raise RecipeFailed(f"run {id} {why}", run=id)
    for one in open_:
        await ledger.change_run(AnswerRun(id, one, yes, note))
    return str(id)
