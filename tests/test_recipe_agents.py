"""Recipes as they are on a host of one's own: agents that are not there or say nothing about models, and simulated answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bundle_loader import Host, RecipeFailed, RequestError
from bundle_loader.providers.simulated import SimulatedProvider
from bundle_loader.recipes.lookup import Recipes
from bundle_loader.recipes.past import runs
from bundle_loader.recipes.runner import RunRequest
from bundle_loader.sources.load import load_bundle
from tests.support.command import Ran, command
from tests.support.declared import write
from tests.support.recipe_runs import HEAD, Bench, ended

STEPS = """steps:
  - {id: first, agent: worker, prompt: Look at all of it.}
  - {id: foreign, agent: "recipes:author", prompt: Look at all of it.}
  - {id: same-name, agent: "elsewhere:worker", prompt: Look at all of it.}
  - id: both
    steps:
      - {id: slip, agent: wroker, prompt: Look at all of it.}
  - {id: below, recipe: below.yaml}
  - {id: never, agent: gone, prompt: Look at all of it., condition: "{{x}}"}
context: {x: ""}
"""
BELOW = """name: below
description: A recipe below.
version: 1.0.0
steps:
  - {id: deep, agent: other:deep, prompt: Look at all of it.}
"""


async def test_a_real_run_is_refused_before_its_first_step_with_every_agent_that_is_not_there(tmp_path: Path) -> None:
    async with Bench(tmp_path, simulated=False) as bench:
        bench.recipe(BELOW, "below.yaml")
        with pytest.raises(RecipeFailed) as caught:
            await ended(bench.runner().stream(RunRequest(bench.recipe(STEPS), workdir=tmp_path)))
        assert bench.answers.prompts == []
        assert runs(bench.host.ledger) == []
        made = bench.recipe('steps: [{id: a, agent: "{{who}}", prompt: Look at all of it., retry: 5}]\ncontext: {who: wroker}\n')
        result, _ = await ended(bench.runner().stream(RunRequest(made, workdir=tmp_path)))
        assert (result.status, bench.answers.prompts, bench.slept) == ("failed", [], [])
        assert "no agent 'wroker' in bundle 'worker'; did you mean 'worker'?" in str(result.reason)
    said = [fault.removeprefix(f"{tmp_path}/") for fault in caught.value.faults]
    assert [fault.split(": no agent")[0] for fault in said] == [
        "tried.yaml:6:27: step 'foreign'",
        "tried.yaml:7:29: step 'same-name'",
        "tried.yaml:10:27: step 'slip'",
        "tried.yaml:12:24: step 'never'",
        "below.yaml:5:23: step 'deep'",
    ]
    assert "'recipes:author' in bundle 'worker'" in said[0]
    assert "bundle 'recipes' is not part of it: write its path under 'includes', or run with a --bundle that" in said[0]
    assert "did you mean 'worker'?" in said[2]
    assert "include the bundle that has 'gone'" in said[3]


async def test_in_a_simulated_run_others_stand_in_and_that_is_told(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        bundle = load_bundle(
            write(
                tmp_path,
                {
                    "b.md": "---\nbundle: {name: b}\ntiers: {t: [anthropic/claude-haiku-*]}\nprofiles: {p: {default: t}}\n"
                    "default_profile: p\nagents: {include: [worker.md]}\n---\n"
                },
            )
            / "b.md",
            strict=True,
            settings=[],
        )
        bench.recipe(BELOW, "below.yaml")
        host = Host(bundle, providers={"anthropic": SimulatedProvider("anthropic", models=["claude-haiku-4-5"])},
                    ledger=tmp_path / "h.db", sessions=False, environment={})  # fmt: skip
        async with host:
            result = await host.run(bench.recipe(STEPS), workdir=tmp_path)
    assert result.status == "done", result.reason
    told = [warning.removeprefix(f"{tmp_path}/") for warning in result.warnings]
    places = ["tried.yaml:6:27", "tried.yaml:7:29", "tried.yaml:10:27", "tried.yaml:12:24", "below.yaml:5:23"]
    assert [warning.split(": step")[0] for warning in told] == places
    assert [next(name for name in ("self", "worker") if f"'{name}' stands in for it" in warning) for warning in told] == [
        "self", "worker", "self", "self", "self",
    ]  # fmt: skip
    assert all("a real run is refused" in warning for warning in told)


async def test_an_agent_that_says_nothing_goes_by_the_default_profile_of_the_bundle(tmp_path: Path) -> None:
    head = "---\nbundle: {name: b}\ntiers: {t: [anthropic/claude-haiku-*], u: [anthropic/claude-opus-*]}\n"
    tables = "profiles: {p: {default: t, planning: u}, q: {default: u}}\n"
    agents = "agents: {include: [quiet.md]}\n---\n"
    files = {"b.md": head + tables + "default_profile: p\n" + agents, "c.md": head + tables + agents}
    folder = write(tmp_path, {**files, "quiet.md": "---\ndescription: Says nothing.\n---\nDo it.\n"})
    steps = """steps:
  - {id: one, agent: self, prompt: Look at all of it.}
  - {id: two, agent: quiet, prompt: Look at all of it., stage: planning}
"""
    (folder / "r.yaml").write_text(HEAD + steps, encoding="utf-8")
    provider = SimulatedProvider("anthropic", models=["claude-haiku-4-5", "claude-opus-4-6"])
    seen = {}
    for name in ("b", "c"):
        bundle = load_bundle(folder / f"{name}.md", settings=[])
        host = Host(bundle, providers={"anthropic": provider}, ledger=tmp_path / "h.db", sessions=False, environment={})
        async with host:
            for profile in ("", "q"):
                given = {"model_profile": profile} if profile else {}
                result = await host.run(folder / "r.yaml", given, workdir=tmp_path)
                seen[name, profile] = [step.model for step in result.steps if step.model] or result.reason
    haiku, opus = "claude-haiku-4-5", "claude-opus-4-6"
    assert (seen["b", ""], seen["b", "q"], seen["c", "q"]) == ([haiku, opus], [opus, opus], [opus, opus])
    assert "give the step a tier or provider_preferences, or the run a model_profile" in str(seen["c", ""])


def test_the_command_says_so_once(tmp_path: Path) -> None:
    run: Callable[..., Ran] = lambda *arguments: command("run", *arguments, home=tmp_path, cwd=tmp_path)  # noqa: E731
    (tmp_path / "r.yaml").write_text(
        HEAD + "steps:\n  - {id: one, agent: 'recipes:author', prompt: Look at all of it.}\n", encoding="utf-8"
    )
    played, real = run("r.yaml", "--simulate"), run("r.yaml")
    assert (played.code, played.err.count("stands in for it")) == (0, 1)
    assert (real.code, "r.yaml:5:23" in real.err, "Traceback" in real.err) == (1, True, False)


async def test_simulated_answers_have_the_keys_that_a_recipe_reads_of_them(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        {
            "below.yaml": "name: below\ndescription: A recipe below.\nversion: 1.0.0\ncontext: {given: {}}\nsteps:\n"
            "  - {id: deep, bash: 'echo \"{{given.deep.er}}\"', output: told}\n",
            "r.yaml": HEAD
            + """steps:
  - {id: found, agent: self, prompt: Look at all of it., parse_json: true, output: found}
  - {id: dated, agent: self, prompt: Look at all of it., output: dated}
  - {id: whole, agent: self, prompt: Look at all of it., output: whole}
  - id: each
    foreach: "{{found.repos}}"
    as: repo
    steps:
      - {id: shown, bash: "echo {{repo.url}}", output: shown}
      - {id: rated, agent: self, prompt: "Rate {{repo.names[0]}} of {{dated.since}}", output: rated}
      - {id: used, bash: "echo {{rated.score}}", condition: "{{rated.known}} != ''"}
    collect: all
  - {id: led, recipe: below.yaml, context: {given: "{{found}}"}, output: led}
  - {id: prose, agent: self, prompt: "{% for x in found.list %}{{ x.k }}{% endfor %} {{whole}} {{all}}"}
""",
        },
    )
    bundle = load_bundle("foundation", settings=[])
    async with Host(
        bundle, simulate=True, ledger=tmp_path / "h.db", sessions=False, environment={"PATH": "/usr/bin:/bin"}
    ) as host:
        result = await host.run(folder / "r.yaml", workdir=tmp_path)
    assert result.status == "done", result.reason
    out, word = dict(result.outputs), "simulated"
    assert out["found"] == {
        "repos": [{"url": word, "names": [word]}],
        "deep": {"er": word},
        "list": [{"k": word}],
    }
    assert (out["dated"], out["rated"]) == ({"since": word}, {"score": word, "known": word})
    assert (out["all"], out["led"]) == ([word], {"told": word})
    assert str(out["whole"]).startswith("[simulated ")


def test_a_file_that_is_named_without_its_suffix_is_pointed_at(tmp_path: Path) -> None:
    (tmp_path / "review.yaml").write_text(HEAD + "steps: [{id: a, bash: ls}]\n", encoding="utf-8")
    found = Recipes(load_bundle("foundation", settings=[]), tmp_path)
    with pytest.raises(
        RequestError, match=r"no recipe 'review' in bundle 'foundation'; there is a file of that name: write review\.yaml"
    ):
        found.find("review")
