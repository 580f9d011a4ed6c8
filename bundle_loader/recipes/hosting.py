"""What a host does with recipes: run them, follow them, go on with them, answer what they wait for."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.recipe import Recipe
from bundle_loader.delegation.run import Run
from bundle_loader.delegation.sessions import Sessions
from bundle_loader.errors import NoCandidate, RequestError
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.providers.base import Provider
from bundle_loader.recipes.approvals import approve
from bundle_loader.recipes.context import Approve, RunRequest
from bundle_loader.recipes.lookup import Recipes
from bundle_loader.recipes.origin import origin_of, trusted_recipe
from bundle_loader.recipes.past import PastRun, past_run
from bundle_loader.recipes.request import request_of
from bundle_loader.recipes.result import RunEvent, RunResult
from bundle_loader.recipes.runner import Runner, result_at_end
from bundle_loader.routing.candidate import Route


class RunsRecipes:
    """The part of a host that runs recipes; the host gives what it needs."""

    bundle: Bundle
    sessions: Sessions | None
    clock: Callable[[], float]
    prepare: Callable[..., Awaitable[Run]]
    route: Callable[..., Awaitable[Route]]
    _variables: Mapping[str, str]
    """Its environment, of which shell steps get what is harmless."""
    _simulate: bool
    _own: Mapping[str, Provider] | None

    @property
    def simulated(self) -> bool:
        """True where all that it asks is simulated."""
        return self._simulate

    @property
    def ledger(self) -> Ledger:
        """Where runs are kept."""
        raise NotImplementedError

    async def run(
        self, recipe: str | os.PathLike[str] | Recipe, variables: Mapping[str, Any] | None = None, **options: Any
    ) -> RunResult:
        """Run a recipe to its end, or until it waits for somebody's yes. The arguments are those of `stream_run`.

        How it ended is the result's `status`: `done`, `failed`, `waiting`, `stopped` (by a no). Raises RecipeFailed,
        DeclarationError and RequestError for what cannot be begun, and NoCandidate where `provider` or `model` cannot be met.
        """
        return await result_at_end(self.stream_run(recipe, variables, **options))

    async def stream_run(
        self,
        recipe: str | os.PathLike[str] | Recipe,
        variables: Mapping[str, Any] | None = None,
        *,
        provider: str | None = None,
        model: str | None = None,
        local_only: bool = False,
        workdir: str | os.PathLike[str] | None = None,
        approve: Approve | None = None,
        isolate: bool = False,
        trusted: bool | None = None,
    ) -> AsyncGenerator[RunEvent, None]:
        """As `run`, yielding events as they happen; the last is a `RunDone` with the result.

        `recipe` is one from `load_recipe`, a path, the name of one of the bundle's, or a request in words such as `execute
        task-loop.yaml with task_id='my-task'`. For this run alone, `provider` restricts every stage to one provider, while the
        profile still chooses how good a model, and `model` ("provider/glob", or with `provider` beside it) is asked in every
        stage whatever the profile says. `workdir` is where shell steps work. `approve` is asked with a step and its prompt:
        True, False, or None, which leaves the run waiting, as it does without `approve`. `isolate` runs shell steps in
        bubblewrap. `trusted` says whether the recipe may run commands; without it that is so unless only a stranger's project
        chose the bundle that brings it.
        """
        found, given, named = self._asked(recipe, variables or {})
        await self._check_override(provider, model, local_only)
        request = RunRequest(
            recipe=found,
            variables=given,
            provider=provider,
            model=model,
            local_only=local_only,
            workdir=_folder(workdir),
            approve=approve,
            trusted=named or trusted_recipe(self.bundle, found) if trusted is None else trusted,
            isolate=isolate,
            origin=origin_of(self.bundle),
        )
        async with aclosing(self._runner().stream(request)) as events:
            async for event in events:
                yield event

    async def resume_run(self, id: str, *, approve: Approve | None = None) -> RunResult:
        """Go on with a run that waits, was stopped or was killed, at its first unfinished step; nothing is done twice.

        `id` is the run's, or as much of its beginning as is unique. Raises RecipeFailed where its recipe has changed.
        """
        return await result_at_end(self.stream_resumed(id, approve=approve))

    async def stream_resumed(self, id: str, *, approve: Approve | None = None) -> AsyncGenerator[RunEvent, None]:
        """As `resume_run`, yielding events as they happen."""
        async with aclosing(self._runner().resume(id, approve=approve)) as events:
            async for event in events:
                yield event

    async def approve_run(self, id: str, yes: bool = True, note: str | None = None, *, step: str | None = None) -> str:
        """Answer what a run waits for, or one `step` of that; `resume_run` goes on with it. The whole id of the run.

        Raises RecipeFailed where it does not wait, or was answered before.
        """
        return await approve(self.ledger, id, yes, note, step)

    def past_run(self, id: str) -> PastRun:
        """What is kept of a run: its result so far, its variables and what it waits for."""
        return past_run(self.ledger, id)

    def _asked(
        self, recipe: str | os.PathLike[str] | Recipe, variables: Mapping[str, Any]
    ) -> tuple[Recipe, dict[str, Any], bool]:
        """The recipe, its variables, and whether it was named by the path of its file."""
        if isinstance(recipe, Recipe):
            return recipe, dict(variables), False
        name, given = request_of(os.fspath(recipe), variables)
        recipes = Recipes(self.bundle)
        return recipes.find(name), given, recipes.is_file(name)

    async def _check_override(self, provider: str | None, model: str | None, local_only: bool) -> None:
        """Raise before the first step where a provider or model of this run's own cannot be had."""
        if provider is None and model is None:
            return
        choice = {"provider": provider, "model": model} if model is not None else {"preferences": [f"{provider}/*"]}
        found = await self.route("self", local_only=local_only, **choice)
        if not found.candidates:
            what = f"--model {model}" if model is not None else f"--provider {provider}"
            raise NoCandidate(f"this run's own choice ({what}) cannot be met, so nothing was run", rejections=found.rejections)

    def _runner(self) -> Runner:
        return Runner(
            self.bundle,
            self.prepare,
            self.ledger,
            find_recipe=Recipes(self.bundle).find,
            clock=self.clock,
            sessions=self.sessions,
            environment=self._variables,
            simulated=self._simulate,
            made_up=self._simulate and self._own is None,
        )


def _folder(workdir: str | os.PathLike[str] | None) -> Path:
    """Where a run works, as a whole path. Raises RequestError for what is no folder."""
    folder = Path(workdir if workdir is not None else ".").resolve()
    if not folder.is_dir():
        raise RequestError(f"workdir: {folder} is no folder; make it first")
    return folder
