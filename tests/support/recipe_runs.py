"""Recipes that run in a test: one agent whose answers are given, a sleep that takes no time, and a run in a few words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bundle_loader import Host
from bundle_loader.declared.recipe import Recipe
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.simulated import Reply, SimulatedProvider
from bundle_loader.recipes.lookup import Recipes
from bundle_loader.recipes.result import RunDone, RunEvent, RunResult
from bundle_loader.recipes.runner import Runner, RunRequest
from bundle_loader.sources.recipes import load_recipe
from bundle_loader.testing import StillClock
from tests.support.hosting import worker

MODEL = "claude-haiku-4-5"
HEAD = "name: tried\ndescription: A recipe that a test runs.\nversion: 1.0.0\n"


class Answers:
    """What the agent answers: a list, one after the other, or words of the prompt -> the answer (or a list of them).

    An answer is text, a mapping (`fault`, `json`), and any question without one gets `ok`.
    """

    def __init__(self, given: Sequence[Any] | Mapping[str, Any] = ()) -> None:
        self.listed = list(given) if not isinstance(given, Mapping) else []
        self.by_words = (
            {words: list(said) if isinstance(said, list) else said for words, said in dict(given).items()}
            if isinstance(given, Mapping)
            else {}
        )
        self.prompts: list[str] = []

    async def __call__(self, request: ChatRequest) -> Reply:
        prompt = next(message.text for message in reversed(request.messages) if message.role == "user")
        self.prompts.append(prompt)
        said: Any = self.listed.pop(0) if self.listed else "ok"
        for words, found in self.by_words.items():
            if words in prompt:
                said = found.pop(0) if isinstance(found, list) else found
        if isinstance(said, Mapping):
            return Reply(json.dumps(said["json"]) if "json" in said else "", fault=said.get("fault"))
        return Reply(str(said))


class Bench:
    """A host with the agent `worker`, whose answers are `answers`, and a runner over it."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self.answers = Answers()
        self.slept: list[float] = []
        self.clock = StillClock()
        provider = SimulatedProvider("anthropic", models=[MODEL], answer=self._answer)
        bundle = worker(folder, f"anthropic/{MODEL}")
        self.host = Host(
            bundle,
            providers={"anthropic": provider},
            ledger=folder / "l.db",
            sessions=folder / "sessions",
            environment={},
            clock=self.clock,
        )
        self.options = options

    async def _answer(self, request: ChatRequest) -> Reply:
        return await self.answers(request)

    async def __aenter__(self) -> Bench:
        await self.host.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.host.aclose()

    async def sleep(self, seconds: float) -> None:
        """Takes no time."""
        self.slept.append(seconds)

    def runner(self, **options: Any) -> Runner:
        """A runner over the host."""
        given = {
            "find_recipe": Recipes(self.host.bundle, self.folder).find,
            "clock": self.clock,
            "sessions": self.host.sessions,
            "sleep": self.sleep,
            "environment": {"PATH": "/usr/bin:/bin"},
            "simulated": True,
            **self.options,
            **options,
        }
        return Runner(self.host.bundle, self.host.prepare, self.host.ledger, **given)

    def recipe(self, text: str, name: str = "tried.yaml") -> Recipe:
        """The recipe of a text, with a sound head where it has none, written into the folder."""
        path = self.folder / name
        path.write_text(text if "\nname:" in f"\n{text}" else HEAD + text, encoding="utf-8")
        return load_recipe(path)

    async def run(
        self, recipe: Recipe, variables: Mapping[str, Any] | None = None, **asked: Any
    ) -> tuple[RunResult, list[RunEvent]]:
        """A run to its end, and all that it told."""
        asked.setdefault("workdir", self.folder)
        return await ended(self.runner().stream(RunRequest(recipe, variables or {}, **asked)))

    async def resume(self, id: str, **asked: Any) -> tuple[RunResult, list[RunEvent]]:
        """A run that goes on, to its end."""
        return await ended(self.runner().resume(id, **asked))


async def ended(events: Any) -> tuple[RunResult, list[RunEvent]]:
    """The result with which events end, and all of them."""
    told = [event async for event in events]
    assert isinstance(told[-1], RunDone)
    return told[-1].result, told


def in_words(result: RunResult) -> list[str]:
    """Each step as `id kind status`."""
    return [f"{step.id} {step.kind} {step.status}" for step in result.steps]
