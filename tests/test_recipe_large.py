"""An answer of 5 MB that wants to be run or filled in, through everything that a recipe does with an answer."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from bundle_loader import Host
from bundle_loader.declared.bundle import Bundle
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.simulated import SimulatedProvider
from bundle_loader.recipes.lookup import Recipes
from bundle_loader.recipes.past import past_run
from bundle_loader.recipes.runner import Runner, RunRequest
from bundle_loader.sources.recipes import load_recipe
from tests.support.hosting import worker
from tests.support.recipe_runs import HEAD, MODEL

HOSTILE = (
    "$(touch pwned) `touch pwned` '; touch pwned; ' \" && touch pwned\n{{secret}} {% for x in y %} {{7*7}} ${IFS} \\ \x00é\n"
)
SIZE = 5_000_000
RECIPE = """
context: {secret: hidden}
steps:
  - {id: ask, agent: worker, prompt: Look at all of it., output: said}
  - {id: again, agent: worker, prompt: "About:\\n{{said}}", output: echoed}
  - {id: tags, agent: worker, prompt: "{% if said %}About {{ said[:200] }}{% endif %}", output: cut}
  - {id: bare, bash: "printf %s {{said}} | wc -c", output: bare}
  - {id: double, bash: 'x="{{said}}"; printf %s "$x" | wc -c', output: double}
  - {id: by_env, bash: 'printf %s "$SECRET" | wc -c', env: {SECRET: "{{secret}}"}, output: by_env}
  - {id: data, agent: worker, prompt: Give it as JSON., parse_json: true, output: data}
  - {id: held, bash: "echo held", condition: "{{said}} == 'hidden' or {{data.text}} == 'hidden'"}
  - {id: each, foreach: "{{data.list}}", agent: worker, prompt: "One: {{item}}", collect: all}
  - {id: sub, recipe: sub.yaml, context: {what: "{{said}}"}, output: found}
  - {id: same, bash: "echo yes", condition: "{{found.kept}} == {{said}}", output: same}
"""
SUB = """
name: sub
description: What the recipe leads to.
version: 1.0.0
context: {what: none}
steps:
  - {id: keep, agent: worker, prompt: "Keep {{what}}", output: kept}
"""


def runner(host: Host, bundle: Bundle, folder: Path) -> Runner:
    environment = {"PATH": "/usr/bin:/bin"}
    return Runner(bundle, host.prepare, host.ledger, find_recipe=Recipes(bundle, folder).find, environment=environment)


async def test_a_hostile_answer_of_5_mb_stays_text_everywhere(tmp_path: Path) -> None:
    # what no text of a process may hold is left to the commands' own tests
    plain = HOSTILE.replace("\x00", "").strip()
    said = (plain + "\n") * (SIZE // len(plain)) + plain
    asked: list[str] = []

    def answer(request: ChatRequest) -> str:
        prompt = request.messages[-1].text
        asked.append(prompt)
        if prompt == "Give it as JSON.":
            return f"Here: ```json\n{json.dumps({'text': said, 'list': [plain, HOSTILE]})}\n``` {{{{ and more"
        return said if prompt.startswith(("Look", "Keep")) else "fine"

    limits: dict[str, Any] = {"id": MODEL, "output_limit": 9_000_000, "window": 100_000_000}
    provider = SimulatedProvider("anthropic", models=[limits], answer=answer)
    bundle = worker(tmp_path, f"anthropic/{MODEL}", config={"max_tokens": 9_000_000})
    (tmp_path / "tried.yaml").write_text(HEAD + RECIPE, encoding="utf-8")
    (tmp_path / "sub.yaml").write_text(SUB, encoding="utf-8")
    async with Host(bundle, providers={"anthropic": provider}, ledger=tmp_path / "l.db", sessions=None, environment={}) as host:
        began = time.process_time()
        result = await runner(host, bundle, tmp_path).run(RunRequest(load_recipe(tmp_path / "tried.yaml"), workdir=tmp_path))
        took = time.process_time() - began
        again = past_run(host.ledger, result.id).result
    size = str(len(said.encode()))
    assert result.status == "done", str(result.reason)[:500]
    wanted = {
        "echoed": "fine",
        "cut": "fine",
        "bare": size,
        "double": size,
        "by_env": "6",
        "all": ["fine", "fine"],
        "same": "yes",
    }
    assert {name: result.outputs[name] for name in wanted} == wanted
    assert result.outputs["said"] == said
    assert result.outputs["data"] == {"text": said, "list": [plain, HOSTILE]}
    assert result.outputs["found"] == {"kept": said}
    assert [step.id for step in result.steps if step.status == "skipped"] == ["held"]
    assert asked[1] == f"About:\n{said}"
    assert asked[2] == f"About {said[:200]}"
    assert asked[4:6] == [f"One: {plain}", f"One: {HOSTILE}"]
    assert again.outputs == result.outputs
    assert not [path for path in os.listdir(tmp_path) if path == "pwned"]
    assert took < 30
