"""Runs recipes: begins a run, goes on with one, and tells its events; every run is held by one process at a time."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.recipe import Recipe, Stage
from bundle_loader.delegation.run import Run
from bundle_loader.delegation.sessions import Sessions
from bundle_loader.errors import LedgerError, RecipeFailed, StepFailed
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.run_records import BeginRun, EndRun, HoldRun, TakeRun
from bundle_loader.recipes.agents_there import agents_missing, agents_stood_in_for
from bundle_loader.recipes.approvals import approve
from bundle_loader.recipes.checkpoints import Checkpoints, Kept, from_row
from bundle_loader.recipes.context import Approve as Approve
from bundle_loader.recipes.context import Context, FindRecipe
from bundle_loader.recipes.context import RunRequest as RunRequest
from bundle_loader.recipes.engine import Engine
from bundle_loader.recipes.failures import Denied, Lost, Unanswered, Waits
from bundle_loader.recipes.fingerprint import differences, prints
from bundle_loader.recipes.given import given_variables
from bundle_loader.recipes.groups import MAX_DEPTH, MAX_STEPS, about, limits, root_scope
from bundle_loader.recipes.leasing import LEASE, is_gone, new_holder, told
from bundle_loader.recipes.past import result_of, row_of
from bundle_loader.recipes.result import RunDone, RunEvent, RunResult, RunStarted, RunStatus
from bundle_loader.recipes.scope import Frame, Limits, numbered
from bundle_loader.recipes.stage_profiles import stage_profiles
from bundle_loader.recipes.trust import untrusted_steps
from bundle_loader.recipes.values import EMPTY, plain, writable


class Runner:
    """Runs recipes of one bundle. `prepare` makes a delegation that is about to run, as `Host.prepare` does.

    `environment` is what commands may see of, `sleep` waits between tries, `lease` is the number of seconds after which
    another process may go on with a run of one that says nothing any more. `made_up` says that nobody wrote what its simulated
    models answer.
    """

    def __init__(
        self,
        bundle: Bundle,
        prepare: Callable[..., Awaitable[Run]],
        ledger: Ledger,
        *,
        find_recipe: FindRecipe,
        clock: Callable[[], float] = time.time,
        sessions: Sessions | None = None,
        environment: Mapping[str, str] | None = None,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
        simulated: bool = False,
        made_up: bool = False,
        lease: float = LEASE,
    ) -> None:
        self.bundle = bundle
        self.prepare = prepare
        self.ledger = ledger
        self.find_recipe = find_recipe
        self.clock = clock
        self.sessions = sessions
        self.environment = os.environ if environment is None else environment
        self.sleep = sleep
        self.simulated = simulated
        self.made_up = made_up
        self.lease = lease

    async def run(self, request: RunRequest) -> RunResult:
        """As `stream`, for the result alone."""
        return await result_at_end(self.stream(request))

    async def stream(self, request: RunRequest) -> AsyncGenerator[RunEvent, None]:
        """Run a recipe; events as they happen, last a `RunDone`. Raises RecipeFailed for one that cannot be begun.

        A recipe that fails ends in a `RunDone` as well. Whoever stops listening cancels the run, which can be resumed.
        """
        recipe = request.recipe
        given: dict[str, Any] = plain(given_variables(recipe, request.variables))
        request = replace(request, variables=given, workdir=str(_folder(request.workdir)))
        if not request.trusted:
            self._refuse_untrusted(recipe)
        self._refuse_unmanned(recipe)
        id, holder, now = str(uuid.uuid4()), new_holder(), self.clock()
        begun = BeginRun(
            id,
            recipe.name,
            recipe.bundle,
            _file(recipe),
            now,
            self.simulated,
            _asked(request),
            json.dumps(prints(recipe)),
            holder,
            now + self.lease,
        )
        if not (await self.ledger.change_run(begun)).held:
            raise RecipeFailed(f"the run {id} could not be begun: there is one of that id already")
        under_way = _UnderWay(self, request, id, holder, now)
        async with aclosing(under_way.events({}, resumed=False)) as events:
            async for event in events:
                yield event

    async def resume(
        self, run: str, *, approve: Approve | None = None, recipe: Recipe | None = None
    ) -> AsyncGenerator[RunEvent, None]:
        """Go on with a run at its first unfinished step, with the variables, provider and model that it was begun with.

        `run` is an id or its beginning. Raises RecipeFailed where there is none, where it is over, where its recipe has
        changed since, and where a process that lives is at it.
        """
        row = await asyncio.to_thread(row_of, self.ledger, run)
        id = row["id"]
        if row["status"] in ("done", "stopped"):
            why = f": {row['reason']}" if row["reason"] else ""
            raise RecipeFailed(f"run {id} is over ({row['status']}{why}); begin a new one", run=id)
        recipe = recipe or self._recipe_of(row)
        changed = differences(json.loads(row["prints"]), prints(recipe))
        if changed:
            said = f"run {id}: recipe '{row['recipe']}' ({row['file']}) is not what it was when the run was begun"
            raise RecipeFailed(f"{said}; begin a new run, or take the changes back:", faults=changed, run=id)
        request = _asked_again(row["asked"], recipe, approve)
        holder = new_holder()
        await self._take(id, holder)
        rows = await asyncio.to_thread(self.ledger.query, "steps of a run", run=id)
        kept = {row["id"]: from_row(row) for row in rows}
        under_way = _UnderWay(self, request, id, holder, row["started"])
        async with aclosing(under_way.events(kept, resumed=True)) as events:
            async for event in events:
                yield event

    async def approve(self, run: str, yes: bool, note: str | None = None, step: str | None = None) -> str:
        """Answer what a run waits for; `resume` goes on with it. The run's whole id. Raises RecipeFailed."""
        return await approve(self.ledger, run, yes, note, step)

    def _recipe_of(self, row: Mapping[str, Any]) -> Recipe:
        own = self.bundle.recipes.get(row["recipe"])
        if own is not None and _file(own) == row["file"]:
            return own
        return self.find_recipe(row["file"] or row["recipe"])

    def _refuse_untrusted(self, recipe: Recipe) -> None:
        faults = untrusted_steps(recipe, self.find_recipe)
        if faults:
            said = f"recipe '{recipe.name}' comes from a source that is not trusted, and may not run commands or functions"
            raise RecipeFailed(f"{said}; trust it in your settings, or remove these steps:", faults=faults)

    def _refuse_unmanned(self, recipe: Recipe) -> None:
        faults = [] if self.simulated else agents_missing(recipe, self.find_recipe, self.bundle)
        if faults:
            raise RecipeFailed(f"recipe '{recipe.name}' names agents that are not there, so nothing was run:", faults=faults)

    async def _take(self, id: str, holder: str) -> None:
        """Hold a run from here on. Raises RecipeFailed."""
        dead: str | None = None
        for _ in range(3):
            answer = await self.ledger.change_run(TakeRun(id, holder, self.clock() + self.lease, dead))
            if answer.held:
                return
            if answer.holder is None or not is_gone(answer.holder):
                break
            dead = answer.holder
        who = told(answer.holder) if answer.holder is not None else "another process"
        raise RecipeFailed(f"run {id} is under way: {who} is at it; wait for its end, or end that process", run=id)


class _UnderWay:
    """One run while this process holds it."""

    def __init__(self, runner: Runner, request: RunRequest, id: str, holder: str, started: float) -> None:
        self.runner = runner
        self.request = request
        self.id = id
        self.holder = holder
        self.queue: asyncio.Queue[RunEvent | None] = asyncio.Queue()
        self.profiles = stage_profiles(runner.bundle, request.recipe, request.variables)
        stood_in = agents_stood_in_for(request.recipe, runner.find_recipe, runner.bundle) if runner.simulated else ()
        self.warnings = (*self.profiles.warnings, *stood_in)
        self.frame: Frame | None = None
        self.lost = False
        """True once another process goes on with the run."""
        day = datetime.fromtimestamp(started, UTC)
        workdir = Path(str(request.workdir))
        self.ctx = Context(
            bundle=runner.bundle,
            prepare=runner.prepare,
            find_recipe=runner.find_recipe,
            checkpoints=Checkpoints(runner.ledger, id, holder),
            request=request,
            workdir=workdir,
            emit=self.queue.put_nowait,
            clock=runner.clock,
            environment=runner.environment,
            always={
                "session": {"id": id, "started": day.isoformat(timespec="seconds"), "project": workdir.name},
                "workdir": str(workdir),
                "date": day.astimezone().date().isoformat(),
                "stage": "",
                "step": {"id": "", "index": 0},
                "_approval_message": EMPTY,
            },
            sleep=runner.sleep,
            sessions=runner.sessions,
            simulated=runner.simulated,
            made_up=runner.made_up,
        )

    async def events(self, kept: dict[str, Kept], *, resumed: bool) -> AsyncGenerator[RunEvent, None]:
        """The events of the run to its end."""
        self.ctx.checkpoints = Checkpoints(self.runner.ledger, self.id, self.holder, kept)
        tasks: list[asyncio.Future[Any]] = []
        try:
            yield RunStarted(self.id, self.request.recipe.name, resumed, self.warnings)
            work = asyncio.ensure_future(self._work())
            work.add_done_callback(lambda _: self.queue.put_nowait(None))
            tasks += [work, asyncio.ensure_future(self._hold(work))]
            while (event := await self.queue.get()) is not None:
                yield event
            yield RunDone(await work)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if not tasks:  # whoever listened left at once
                await self._left(asyncio.CancelledError())

    async def _hold(self, work: asyncio.Future[RunResult]) -> None:
        """Say that this process is at it, as long as it is."""
        while True:
            await asyncio.sleep(self.runner.lease / 3)
            with suppress(LedgerError):
                answer = await self.runner.ledger.change_run(
                    HoldRun(self.id, self.holder, self.runner.clock() + self.runner.lease)
                )
                if not answer.held:
                    self.lost = True
                    work.cancel()

    async def _work(self) -> RunResult:
        status: RunStatus | None = None
        said: dict[str, Any] = {}
        try:
            self._begin()
            assert self.frame is not None
            await Engine(self.ctx).recipe(self.request.recipe, self.frame)
            status = "done"
        except Waits as wait:
            status, said = "waiting", {"reason": f"waits for an answer to '{wait.id}': {wait.prompt}", "waits_for": wait.id}
        except Denied as error:
            status, said = "stopped", {"reason": str(error)}
        except StepFailed as error:
            status, said = "failed", {"reason": str(error), "no_answer": isinstance(error, Unanswered)}
        except Lost:
            raise self._gone() from None
        except asyncio.CancelledError:
            if self.lost:
                raise self._gone() from None
            raise
        finally:
            if status is None and not self.lost:
                await self._left(sys.exc_info()[1])
        return await self._end(status, said)

    async def _left(self, error: BaseException | None) -> None:
        """Keep that the run was cancelled, or that something went wrong that is no step's failure; it can go on."""
        cancelled = isinstance(error, asyncio.CancelledError)
        reason = "it was cancelled" if cancelled else f"{type(error).__name__}: {error}"[:500]
        with suppress(LedgerError, RecipeFailed):
            await self._end("cancelled" if cancelled else "failed", {"reason": f"{reason}; 'run resume' goes on with it"})

    def _gone(self) -> RecipeFailed:
        self.lost = True
        return RecipeFailed(f"another process goes on with run {self.id}; 'run show' tells how it goes", run=self.id)

    def _begin(self) -> None:
        """The first frame: the recipe's variables, and the profiles in force."""
        request, recipe = self.request, self.request.recipe
        given = dict(request.variables)
        self.ctx.warn(*self.warnings)
        given = self.profiles.seen(recipe, given)
        self.frame = Frame(
            recipe,
            root_scope(recipe, given, {**self.ctx.always, "recipe": about(recipe)}),
            Stage(),
            self.profiles,
            limits(recipe.recursion, Limits(MAX_DEPTH, MAX_STEPS)),
            (recipe.name,),
            numbered(recipe),
        )

    async def _end(self, status: RunStatus, said: dict[str, Any]) -> RunResult:
        """Keep how the run ended, and what is to be told of it."""
        outputs = {name: plain(value) for name, value in self.frame.scope.names.items()} if self.frame is not None else {}
        known = {"outputs": outputs} if self.frame is not None else {}
        chosen = {"model_profile": self.profiles.root, "implementation_profile": self.profiles.implementation}
        chosen["summary_profile"] = self.profiles.summary
        profiles = {name: profile for name, profile in chosen.items() if profile}
        warnings = tuple(self.ctx.warnings)
        rest = {name: value for name, value in said.items() if name not in ("reason", "waits_for")}
        kept_told = json.dumps({**known, "profiles": profiles, "warnings": warnings, **rest})
        reason = writable(said["reason"]) if said.get("reason") else None
        ended = EndRun(self.id, self.holder, status, reason, kept_told)
        held = (await self.runner.ledger.change_run(ended)).held
        if not held:
            raise self._gone()
        rows = await asyncio.to_thread(self.runner.ledger.query, "steps of a run", run=self.id)
        kept = [from_row(row) for row in rows]
        name = self.request.recipe.name
        return result_of(self.id, name, status, kept, outputs=outputs, profiles=profiles, warnings=warnings, **said)


async def result_at_end(events: AsyncGenerator[RunEvent, None]) -> RunResult:
    """The result with which a run's events end."""
    async with aclosing(events) as found:
        async for event in found:
            if isinstance(event, RunDone):
                return event.result
    raise AssertionError("a run ends in a RunDone or raises")


def _folder(said: str | Path | None) -> Path:
    folder = Path(said).expanduser().absolute() if said is not None else Path.cwd()
    if not folder.is_dir():
        raise RecipeFailed(f"there is no folder '{folder}' to run in")
    return folder


def _file(recipe: Recipe) -> str:
    return os.path.abspath(recipe.file) if recipe.file else ""


_KEPT = ("provider", "model", "local_only", "trusted", "isolate", "origin")


def _asked(request: RunRequest) -> str:
    said = {name: getattr(request, name) for name in _KEPT}
    try:
        return json.dumps({"variables": plain(dict(request.variables)), "workdir": str(request.workdir), **said})
    except (TypeError, ValueError) as error:
        raise RecipeFailed(f"a variable is no plain JSON value: {error}") from None


def _asked_again(asked: str, recipe: Recipe, approve: Approve | None) -> RunRequest:
    said = json.loads(asked)
    workdir = _folder(said["workdir"])
    return RunRequest(recipe, said["variables"], workdir=str(workdir), approve=approve, **{name: said[name] for name in _KEPT})
