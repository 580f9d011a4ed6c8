"""A process that runs a recipe, or goes on with a run, and is killed at one of its checkpoints.

`python -m tests.support.recipe_process FOLDER KILL [RUN]`: KILL is `never`, `before` or `after` the first checkpoint of a step
that is over, or `begun`: after the run's own first row.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from bundle_loader import Host
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.run_records import BeginRun, KeepStep, RunHeld, RunOperation
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.simulated import SimulatedProvider
from bundle_loader.recipes.lookup import Recipes
from bundle_loader.recipes.result import RunDone, RunStarted
from bundle_loader.recipes.runner import Runner, RunRequest
from bundle_loader.sources.load import load_bundle
from bundle_loader.sources.recipes import load_recipe
from tests.support.recipe_runs import MODEL


class Killing(Ledger):
    """A ledger that ends its process, as `kill -9` does, right before or after it keeps a step that is over."""

    kill = "never"

    async def change_run(self, asked: RunOperation) -> RunHeld:
        """As a ledger's, but for that."""
        over = isinstance(asked, KeepStep) and asked.final
        if over and self.kill == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = await super().change_run(asked)
        if (over and self.kill == "after") or (isinstance(asked, BeginRun) and self.kill == "begun"):
            os.kill(os.getpid(), signal.SIGKILL)
        return answer


async def main(folder: Path, kill: str, run: str | None) -> None:
    """Prints the result as JSON where the run comes to its end."""
    bundle = load_bundle(folder / "worker.md", strict=True, settings=[])

    def answer(request: ChatRequest) -> str:
        with open(folder / "asked", "a", encoding="utf-8") as file:
            file.write("asked\n")
        return "looked"

    provider = SimulatedProvider("anthropic", models=[MODEL], answer=answer)
    host = Host(bundle, providers={"anthropic": provider}, ledger=folder / "l.db", sessions=folder / "sessions", environment={})
    async with host:
        ledger = Killing(folder / "l.db")
        ledger.kill = kill
        find = Recipes(bundle, folder).find
        environment = {"PATH": os.environ["PATH"]}
        runner = Runner(bundle, host.prepare, ledger, find_recipe=find, sessions=host.sessions, environment=environment)
        if run is None:
            events = runner.stream(RunRequest(load_recipe(folder / "tried.yaml"), {"given": "kept"}, workdir=folder))
        else:
            events = runner.resume(run)
        async for event in events:
            if isinstance(event, RunStarted):
                (folder / "run").write_text(event.id, encoding="utf-8")
            if isinstance(event, RunDone):
                result = event.result
                told = {"status": result.status, "outputs": dict(result.outputs), "reason": result.reason}
                sys.stdout.write(json.dumps({**told, "steps": [step.id for step in result.steps]}))
        ledger.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None))
