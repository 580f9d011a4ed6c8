"""Recipes of others as they are: public ones where they are on this machine, and their forms in recipes of our own, all run."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundle_loader import Host, RunResult
from bundle_loader.declared.bundle import Bundle
from bundle_loader.errors import DeclarationError
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.simulated import SimulatedProvider
from bundle_loader.routing.lint_branches import Names, provider_branches
from bundle_loader.sources.load import load_bundle
from bundle_loader.sources.recipes import check_recipe, load_recipe
from tests.support.declared import write

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "recipes"
FORMS = Path(__file__).with_name("cases") / "recipes" / "forms"
MODELS = {
    "anthropic": ["claude-haiku-4-5", "claude-sonnet-4-6", "claude-opus-4-6"],
    "openai": ["gpt-4o-mini", "gpt-5.5"],
    "google": ["gemini-3.1-pro-preview", "gemini-3.5-flash"],
    "ollama": ["llama3.2:3b", "qwen2.5-coder:7b"],
}


def public(name: str) -> Path:
    """A public recipe; the test is left out where it is not on this machine."""
    path = FOLDER / "public" / name if name != "speedrift-forms.yaml" else FOLDER / name
    if not path.is_file():
        pytest.skip(f"the public recipes are not on this machine: {path}")
    return path


class Bench:
    """Runs recipes with agents whose answers are given by words of their prompts, the first that fits; else `ok`."""

    def __init__(self, bundle: Bundle, folder: Path) -> None:
        self.answers: Mapping[str, str] = {}
        self.prompts: list[str] = []
        self.models: list[str] = []
        self.requests: list[ChatRequest] = []
        self.folder = folder
        providers = {
            id: SimulatedProvider(id, models=names, answer=lambda request, id=id: self._answer(id, request))
            for id, names in MODELS.items()
        }
        environment = {"PATH": "/usr/bin:/bin", "BUNDLE_LOADER_HOME": str(folder / "home")}
        self.host = Host(bundle, providers=providers, ledger=folder / "l.db", environment=environment)

    def _answer(self, provider: str, request: ChatRequest) -> str:
        prompt = next(message.text for message in reversed(request.messages) if message.role == "user")
        self.prompts.append(prompt)
        self.models.append(f"{provider}/{request.model}")
        self.requests.append(request)
        return next((said for words, said in self.answers.items() if words in prompt), "ok")

    async def run(
        self, path: Path, variables: Mapping[str, Any] | None = None, answers: Mapping[str, str] | None = None, **options: Any
    ) -> RunResult:
        """A recipe's run to its end."""
        self.answers = answers or {}
        self.prompts.clear()
        self.models.clear()
        self.requests.clear()
        return await self.host.run(path, variables, workdir=self.folder, **options)

    def prompt(self, words: str) -> str:
        """The one prompt that holds some words."""
        [found] = [prompt for prompt in self.prompts if words in prompt]
        return found


Opened = Callable[[], Bench]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The shipped agents, and the one agent of the bundle `recipes` that a public recipe asks for."""
    folder = write(
        tmp_path_factory.mktemp("bundle"),
        {
            "recipes.md": "---\nbundle: {name: recipes}\nincludes: [foundation]\nagents: {include: [recipe-author.md]}\n---\n",
            "recipe-author.md": "---\ndescription: Writes recipes.\ntier: budget\n---\nYou write recipes.\n",
        },
    )
    return load_bundle(folder / "recipes.md", strict=True, settings=[])


@pytest.fixture
async def bench(bundle: Bundle, tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(bundle, tmp_path)
    async with made.host:
        yield made


def steps(result: RunResult) -> dict[str, str]:
    """What became of each step."""
    return {step.id: step.status for step in result.steps}


def done(result: RunResult) -> dict[str, Any]:
    """The outputs of a run that came to its end."""
    assert result.status == "done", result.reason
    return dict(result.outputs)


# --- public recipes


def test_the_broken_recipe_is_refused_with_every_fault() -> None:
    with pytest.raises(DeclarationError) as caught:
        load_recipe(public("broken-recipe.yaml"))
    assert [(fault.line, fault.key) for fault in caught.value.faults] == [
        (4, "naem"),
        (5, "description"),
        (6, "version"),
        (8, "stesp"),
        (10, "stesp[0].tyep"),
        (11, "stesp[0].comand"),
        (13, "stesp[1].id"),
        (16, "stesp[1].prompt"),
        (17, "stesp[1].depends_on[0]"),
    ]


async def test_the_recipe_with_warnings_runs(bench: Bench) -> None:
    found = check_recipe(public("warnings-recipe.yaml"))
    assert {fault.level for fault in found.faults} == {"warning", "note"}
    result = await bench.run(public("warnings-recipe.yaml"))
    assert steps(result) == dict.fromkeys(("step1", "step2", "step3", "step4"), "done")
    assert done(result) == {}


async def test_commands(bench: Bench) -> None:
    outputs = done(await bench.run(public("bash-step-example.yaml"), {"greeting": 'it\'s $(date) "here"'}))
    assert outputs["echo_result"] == 'it\'s $(date) "here"'
    assert outputs["env_result"] == "Project: TestProject, User: recipe-runner"
    assert (outputs["check_code"], outputs["success_message"]) == ("0", "Directory check passed!")
    assert 'Echo result: it\'s $(date) "here"\n' in outputs["final_summary"]
    assert outputs["final_summary"].endswith("Check code: 0\nSuccess: Directory check passed!")
    outputs = done(await bench.run(public("test-bash-feature.yaml")))
    assert outputs["json_result"] == {"status": "success", "feature": "bash-steps", "working": True}
    assert 'JSON result: {"status":"success","feature":"bash-steps","working":true}\n' in bench.prompt("Verify these bash")


@pytest.mark.parametrize("severity", ["none", "medium", "high"])
async def test_steps_that_depend_on_an_answer(bench: Bench, severity: str) -> None:
    result = await bench.run(public("code-review-recipe.yaml"), {"file_path": "a.py"}, {"EXACTLY ONE": f"{severity}\n"})
    done(result)
    ran = [step for step, status in steps(result).items() if status == "done"]
    assert (
        ran[3:]
        == {
            "none": ["quick-approval"],
            "medium": ["suggest-improvements"],
            "high": ["suggest-improvements", "validate-suggestions"],
        }[severity]
    )
    # no model is called claude-haiku: said, and the agent decides
    assert any("claude-haiku" in warning for warning in result.warnings)
    if severity == "high":
        assert "This is a high-severity review" in bench.prompt("Review these improvement")
        assert bench.models[-2:] == ["anthropic/claude-opus-4-6"] * 2


@pytest.mark.parametrize(("kind", "result_of"), [("simple", "Process this simple"), ("complex", "Synthesize the analysis")])
async def test_a_step_that_is_left_out_keeps_what_another_has_set(bench: Bench, kind: str, result_of: str) -> None:
    answers = {"exactly ONE category": kind, result_of: "THE RESULT"}
    result = await bench.run(public("conditional-workflow.yaml"), {"input_data": "x"}, answers)
    assert done(result)["processing_result"] == "THE RESULT"
    assert f"Classification: {kind}\nProcessing Result: THE RESULT\n" in bench.prompt("Generate a final report")
    assert list(steps(result).values()).count("skipped") == (2 if kind == "simple" else 1)


async def test_stages_that_wait_for_a_person(bench: Bench) -> None:
    path = public("dependency-upgrade-staged-recipe.yaml")
    asked: list[str] = []

    async def yes(step: str, prompt: str) -> bool:
        asked.append(prompt)
        return True

    answers = {"Audit Python": "THE AUDIT", "Create upgrade strategy": "THE PLAN", "Validate compatibility": "THE CHECK"}
    waiting = await bench.run(path, {"project_path": "."}, answers)
    assert (waiting.status, steps(waiting)) == (
        "waiting",
        {"audit-dependencies": "done", "plan-upgrade-strategy": "done", "validation:approval": "waiting"},
    )
    outputs = done(await bench.run(path, {"project_path": "."}, answers, approve=yes))
    assert len(asked) == 4
    assert "- Audit: THE AUDIT\n- Plan: THE PLAN\n" in asked[0]
    assert "Review: THE CHECK\n" in asked[1]
    assert outputs.keys() >= {"compatibility_check", "phase1_commands", "phase2_commands", "phase3_commands"}


async def test_lists_are_gone_through_in_order(bench: Bench) -> None:
    answers = {"Analyze a.py focusing": "of a", "Analyze b.py focusing": "of b", "Analyze c.py focusing": "of c"}
    outputs = done(await bench.run(public("multi-file-analysis.yaml"), {"files": ["a.py", "b.py", "c.py"]}, answers))
    assert outputs["file_analyses"] == ["of a", "of b", "of c"]
    assert '["of a","of b","of c"]\n' in bench.prompt("executive summary")
    outputs = done(
        await bench.run(public("parallel-analysis-recipe.yaml"), {"file_path": "x"}, {"a security perspective": "safe"})
    )
    assert outputs["analyses"] == ["safe", "ok", "ok", "ok"]
    outputs = done(await bench.run(public("test-foreach.yaml"), answers={"loader.py\n": "loads", "session.py\n": "keeps"}))
    assert (outputs["all_descriptions"], outputs["summary"]) == (["loads", "keeps"], "ok")


async def test_defaults_made_of_other_variables_and_steps_that_may_fail(bench: Bench) -> None:
    done(await bench.run(public("multi-step-recipe.yaml"), {"primary_input": "code.py", "target": "refactoring"}))
    assert "recommendations for refactoring_results.md." in bench.prompt("comprehensive report")
    done(await bench.run(public("error-handling-recipe.yaml"), {"input_data": "x"}, {"Enhance results": "BETTER"}))
    assert "Enhancement: BETTER  # May be empty" in bench.prompt("Process results")
    done(await bench.run(public("ultra-minimal-test.yaml")))
    assert bench.prompts == ["Task: Say hello. Just respond with a simple greeting."]


async def test_json_is_found_in_an_answer_where_it_is_asked_for(bench: Bench) -> None:
    prose, found = "**Fine**, see {nothing}.", {"input": "example", "length": 7}
    answers = {"brief analysis": prose, "Extract structured": f"Here it is:\n```json\n{json.dumps(found)}\n```\nDone."}
    outputs = done(await bench.run(public("test-parse-json.yaml"), answers=answers))
    assert (outputs["prose_output"], outputs["json_output"]) == (prose, found)


async def test_a_recipe_that_another_leads_to(bench: Bench, tmp_path: Path) -> None:
    path = Path(shutil.copy(public("verification-retry.yaml"), tmp_path))
    given = {"original_finding": "F", "source_file": "s.py", "verification_feedback": "V", "original_recipe": "R"}
    answers = {
        "Re-analyze this finding": '{"updated_finding": {"id": 7, "title": "It\'s {{wrong}}"}}',
        "Determine if this retry": '```json\n{"should_reverify": true}\n```',
    }
    alone = await bench.run(path, given, answers)
    assert alone.status == "failed"
    assert "claim-verification.yaml" in (alone.reason or "")
    sub = """name: claim-verification
description: Verifies one finding again.
version: 1.0.0
context: {finding: {}, source_file: "", verification_mode: ""}
steps:
  - id: verify-it
    agent: explorer
    prompt: "Verify {{finding.title}} in {{source_file}}, {{verification_mode}}."
    output: verdict
"""
    write(tmp_path, {"claim-verification.yaml": sub})
    outputs = done(await bench.run(path, given, {**answers, "Verify It's": "confirmed"}))
    assert bench.prompts[-1] == "Verify It's {{wrong}} in s.py, strict."
    assert outputs["reverification_result"] == {"verdict": "confirmed"}
    left = await bench.run(path, given, {**answers, "Determine if this retry": '{"should_reverify": false}'})
    assert steps(left)["trigger-reverification"] == "skipped"
    assert "RETRY COUNT: 0\nMAX RETRIES: 2" in bench.prompt("Format the final retry result")


@pytest.mark.parametrize(
    ("root", "summary", "expected", "model"),
    [
        ("balanced", "", "done T-1 cheap", "anthropic/claude-haiku-4-5"),
        ("quality", "", "done T-1 near", "ollama/qwen2.5-coder:7b"),
        ("cost", "", "done T-1 cheap", "anthropic/claude-haiku-4-5"),
        ("local", "", "done T-1 near", "ollama/qwen2.5-coder:7b"),
        ("quality", "cost", "done T-1 cheap", "anthropic/claude-haiku-4-5"),
    ],
)
async def test_the_forms_of_speedrift(bench: Bench, root: str, summary: str, expected: str, model: str) -> None:
    given = {"task_id": "T-1", "model_profile": root, "summary_profile": summary}
    answers = {"profile=": "cheap", "Summarise task T-1.": "near"}
    result = await bench.run(public("speedrift-forms.yaml"), given, answers)
    assert done(result)["final"] == expected
    assert bench.models == [model]
    assert list(steps(result).values()).count("skipped") == 1


# --- the same forms in recipes of our own


async def test_every_form_in_one_recipe(bench: Bench) -> None:
    verdict = {"level": "low", "findings": ["x", "y"]}
    result = await bench.run(FORMS / "vocabulary.yaml", {"topic": "it"}, {"Review it": f"So: {json.dumps(verdict)}"})
    outputs = done(result)
    name = 'it\'s "here"'
    assert outputs["payload"] == {"items": ["a", "b", "c"], "count": 3, "enabled": True, "name": name}
    assert outputs["restated"] == f'count=3 enabled=true name={name} items=["a","b","c"]'
    assert (outputs["gated"], outputs["absorbed_out"], outputs["absorbed_code"]) == ("ran", "to-stdout", "7")
    assert (outputs["fanned"], outputs["together"]) == ([f"item-{x}" for x in "abc"], [f"par-{x}" for x in "abc"])
    assert outputs["compounded"] == [f"second-first-{x}" for x in "abc"]
    assert outputs["ticks"] == ["tick-0-seen-0", "tick-1-seen-1", "tick-2-seen-2"]
    assert outputs["last_seen"] == "y"
    assert outputs["handed"] == {"echoed": outputs["payload"], "said": "full-mode own"}
    assert (outputs["read_back"], outputs["verdict"], outputs["deep"]) == ("3 full-mode own", verdict, 'deep ["x","y"]')
    assert outputs["final_output"] == "settled-low--ran"
    assert bench.prompts[0] == (
        "MODE: ANALYZE\n\nReview it (quick), 3 items of vocabulary 1.0.0:\n1=A 2=B 3=C \n"
        'Braces stay: {"a": {"b": 3}}, {{#if this}}that{{/if}} {{topic | default: "none"}}.\n'
    )
    assert (bench.prompts[1], bench.models[1].split("/")[0]) == ("Ask openai.", "openai")
    assert ["exit code 7" in warning for warning in result.warnings] == [True]
    assert bench.prompts[2] == 'Look at {{#if topic}}it{{/if}} and {"a": 3}.'
    assert "_loop_index" not in outputs


SAME = """name: same
description: Does the same whoever answers.
context: {topic: it, provider: ""}
stages:
  - name: look
    steps:
      - {id: count, bash: "printf '%s' {{topic}} | wc -c", output: size}
      - id: first
        agent: explorer
        mode: ANALYZE
        prompt: "Look at {% if size != '1' %}all of {% endif %}{{topic | upper}}."
        output: seen
      - {id: each, foreach: [1, 2], agent: bug-hunter, prompt: "Find {{item}} in {{seen}}.", collect: found}
  - name: tell
    approval: "Tell {{found}}?"
    steps: [{id: tell-it, bash: "echo {{found}} {{_approval_message}}", output: told}]
"""


@pytest.mark.requirement("PRO-26")
async def test_a_recipe_does_the_same_whoever_answers(bench: Bench) -> None:
    write(bench.folder, {"same.yaml": SAME})
    seen: dict[str, Any] = {}
    for provider in ("anthropic", "openai", "google"):
        gates: list[tuple[str, str]] = []

        async def note(step: str, prompt: str, gates: list[tuple[str, str]] = gates) -> tuple[bool, str]:
            gates.append((step, prompt))
            return True, "yes"

        result = await bench.run(bench.folder / "same.yaml", answers={"Look": "a wall"}, provider=provider, approve=note)
        assert {model.split("/")[0] for model in bench.models} == {provider}
        asked = [(request.system, request.messages, request.tools, request.config) for request in bench.requests]
        did = [replace(step, seconds=0, provider="", model="", cost=None, delegation="") for step in result.steps]
        seen[provider] = asked, did, done(result), gates
    assert [messages[-1].text for _, messages, _, _ in seen["anthropic"][0]] == [
        "MODE: ANALYZE\n\nLook at all of IT.",
        "Find 1 in a wall.",
        "Find 2 in a wall.",
    ]
    assert seen["anthropic"][2]["told"] == '["ok","ok"] yes'
    assert seen["anthropic"] == seen["openai"] == seen["google"]
    # and a recipe that asks who answers is refused by `check`
    names = Names({}, {"openai": "openai"})
    assert provider_branches(load_recipe(bench.folder / "same.yaml"), names) == []
    asks = SAME.replace("output: told", "condition: \"{{provider}} == 'openai'\"")
    write(bench.folder, {"asks.yaml": asks})
    [fault] = provider_branches(load_recipe(bench.folder / "asks.yaml"), names)
    assert (fault.level, fault.rule) == ("error", "provider-branch")


async def test_stages_wait_before_or_after_their_steps(bench: Bench) -> None:
    asked: list[tuple[str, str]] = []

    async def answer(step: str, prompt: str) -> tuple[bool, str | None]:
        asked.append((step, prompt))
        return "Tell" not in prompt, f"note {len(asked)}"

    result = await bench.run(FORMS / "gates.yaml", approve=answer)
    assert asked == [
        ("assess:approval", "Is assessed right?"),
        ("act:approval", "Act on assessed?"),
        ("tell:approval", "Tell about acted after note 2?"),
    ]
    assert (result.status, result.outputs["action"]) == ("stopped", "acted after note 2")
    assert "told" not in result.outputs
    assert [step.id for step in result.steps][:4] == ["assess-it", "assess:approval", "act:approval", "act-on-it"]


@pytest.mark.parametrize(("root", "which"), [("balanced", "cost"), ("quality", "balanced"), ("local", "local")])
async def test_of_several_summaries_one_runs(bench: Bench, root: str, which: str) -> None:
    given = {"model_profile": root, "task_id": "T-2", "repo": "../other"}
    result = await bench.run(FORMS / "gated-summaries.yaml", given, {"as ": "summed up"})
    outputs = done(result)
    assert (outputs["summary"], outputs["noted"]) == ("summed up", "summed up (true)")
    assert bench.prompts == [f'Sum up T-2 as {which}, {{"model_profile":"{root}","summary_profile":"{which}"}}.']
    hostile = await bench.run(FORMS / "gated-summaries.yaml", {**given, "task_id": 'T"; touch pwned; "'})
    assert hostile.status == "failed"
    assert "gated-summaries.yaml:31:" in (hostile.reason or ""), hostile.reason
    assert not list(bench.folder.glob("**/pwned"))
