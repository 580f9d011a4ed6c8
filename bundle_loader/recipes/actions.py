"""What the steps of one kind do, once: an agent, a command, a function, an approval."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bundle_loader.declared.recipe import AgentStep, ApprovalStep, PythonStep, ShellStep, Step
from bundle_loader.errors import StepFailed
from bundle_loader.recipes.agent_step import run_agent
from bundle_loader.recipes.approvals import ask
from bundle_loader.recipes.context import Context
from bundle_loader.recipes.done import Done, Facts
from bundle_loader.recipes.failures import Denied, Mistake
from bundle_loader.recipes.python_step import call_function
from bundle_loader.recipes.scope import Frame
from bundle_loader.recipes.shell import run_shell
from bundle_loader.recipes.shell_text import prepare
from bundle_loader.recipes.texts import fill, fill_value, render_prompt
from bundle_loader.recipes.values import EMPTY, Values

_SHOWN = 2000
"""Characters of what a command wrote that are told when it fails."""


class CommandFailed(StepFailed):
    """A command ended with another exit code than 0; what it wrote is its output all the same."""

    stdout = ""
    code: int | None = None


async def act(ctx: Context, step: Step, frame: Frame, id: str, values: Values, timeout: float | None, facts: Facts) -> Done:
    """Do what a step says; groups and recipes are done by their own. Raises StepFailed and Waits."""
    action = step.action
    match action:
        case AgentStep():
            return await run_agent(ctx, step, frame, id, values, timeout, facts)
        case ShellStep():
            return await _shell(ctx, step, action, frame, values, timeout)
        case PythonStep():
            return await _python(ctx, step, action, frame, values, timeout)
        case ApprovalStep(approval=approval):
            prompt = render_prompt(approval.prompt, values, frame.recipe.text_place(step.id, "approval"))
            answer = await ask(ctx, id, step.id, frame.stage.name, "approval", approval, prompt, values)
            if not answer.yes:
                raise Denied(f"was denied{f': {answer.note}' if answer.note else ''}")
            return Done(answer.note or "", {"_approval_message": answer.note or EMPTY})
    raise AssertionError(f"{action.kind} is done elsewhere")


async def _shell(ctx: Context, step: Step, action: ShellStep, frame: Frame, values: Values, timeout: float | None) -> Done:
    _trusted(ctx, "a shell command")
    prepared = prepare(action.command, values, frame.recipe.text_place(step.id, "command"), env=action.env)
    environment = {name: fill(text, values) for name, text in action.env.items()}
    found = await run_shell(
        prepared,
        cwd=_folder(ctx, action.cwd, values),
        env=environment,
        timeout=timeout,
        isolate=ctx.request.isolate,
        host=ctx.environment,
    )
    output = found.stdout.rstrip("\r\n")
    ctx.warn(*(f"step '{step.id}': {cut}" for cut in found.cut))
    if found.cut and found.code == 0 and (step.parse_json or step.output_schema is not None):
        raise StepFailed(f"the output is not whole, so its JSON cannot be read: {'; '.join(found.cut)}")
    if found.timed_out:
        error: CommandFailed = CommandFailed(f"the command was still running after {timeout:g} s and was ended")
        error.timed_out = True
    elif found.code != 0:
        said = (found.stderr.strip() or found.stdout.strip())[-_SHOWN:]
        error = CommandFailed(f"the command ended with exit code {found.code}" + (f": {said}" if said else ""))
    else:
        return Done(output, {action.exit_code: "0"} if action.exit_code else {}, text=True)
    error.stdout, error.code = output, found.code
    raise error


async def _python(ctx: Context, step: Step, action: PythonStep, frame: Frame, values: Values, timeout: float | None) -> Done:
    _trusted(ctx, "a Python function")
    # variables by which programs are found are guarded as in a command
    prepare(":", values, frame.recipe.place(step.id), env=action.env)
    given: dict[str, Any] = fill_value(action.args, values)
    environment = {name: fill(text, values) for name, text in action.env.items()}
    folder = _folder(ctx, action.cwd, values)
    trusted, host = ctx.request.trusted, ctx.environment
    found = await call_function(action, given, cwd=folder, env=environment, timeout=timeout, trusted=trusted, host=host)
    return Done(found, text=isinstance(found, str))


def _trusted(ctx: Context, what: str) -> None:
    if not ctx.request.trusted:
        raise Mistake(f"runs {what}, and this recipe comes from a source that is not trusted", remedy="trust it in your settings")


def _folder(ctx: Context, written: str | None, values: Values) -> Path:
    folder = ctx.workdir
    if written is not None:
        folder = folder / Path(fill(written, values)).expanduser()
    if not folder.is_dir():
        raise Mistake(f"cwd: there is no folder '{folder}'")
    return folder
