"""Profiles and steps through a host: the override of one run, what falls back and what never does, children and sessions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bundle_loader import DecidedBy, Host, NoAnswer, NoCandidate, RequestError, SimulatedProvider
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.simulated import Reply
from bundle_loader.routing.step import StepChoice
from bundle_loader.testing import ScriptedHost, fails, scripted_host
from tests.support.command import command
from tests.support.team import team

CLOUD = ("anthropic", "openai", "google", "github-copilot")
COST = StepChoice(profile="cost", stage="summary", name="sum-up")
PLAN = StepChoice(profile="quality", stage="planning", name="plan")


def foundation(*ids: str, **options: Any) -> ScriptedHost:
    """The shipped bundle; every model says `done`."""
    return scripted_host("foundation", dict.fromkeys(ids or (*CLOUD, "ollama"), "done"), **options)


@pytest.mark.requirement("PRO-39")
async def test_a_provider_for_one_run_restricts_and_the_profile_still_picks() -> None:
    async with foundation() as host:
        for provider in ("openai", "gemini", "anthropic", "copilot"):
            models = {}
            for profile in ("cost", "balanced", "quality"):
                step = StepChoice(profile=profile, stage="verification", name="verify")
                result = await host.delegate("explorer", "Sum up.", step=step, provider=provider)
                ids = {"gemini": "google", "copilot": "github-copilot"}
                assert {candidate.provider for candidate in result.route.candidates} == {ids.get(provider, provider)}
                assert result.decided_by is DecidedBy.STEP
                models[profile] = result.model
            assert models["cost"] != models["quality"], models
            if provider == "openai":
                assert models == {"cost": "gpt-4o-mini", "balanced": "gpt-5-mini", "quality": "gpt-5.5"}
        assert {asked.provider for asked in host.asked} == set(CLOUD)


@pytest.mark.requirement("PRO-40")
async def test_an_exact_model_for_one_run_is_pinned_whatever_the_profile_says() -> None:
    async with foundation() as host:
        for step in (COST, PLAN, StepChoice(preferences=(), tier="frontier", name="own")):
            result = await host.delegate("explorer", "Work.", step=step, provider="gemini", model="gemini-2.5-flash-lite")
            assert (result.provider, result.model, result.decided_by) == ("google", "gemini-2.5-flash-lite", DecidedBy.CALLER)
            assert len(result.route.candidates) == 1, "nothing stands behind it"
        assert {(asked.provider, asked.model) for asked in host.asked} == {("google", "gemini-2.5-flash-lite")}
        rows = host.ledger.delegations()
        assert {(row["profile"], row["stage"], row["decided_by"]) for row in rows} == {
            ("cost", "summary", "caller"),
            ("quality", "planning", "caller"),
            (None, None, "caller"),
        }, "what the work is done under is on record all the same"


@pytest.mark.requirement("PRO-41")
async def test_what_was_said_for_one_run_does_not_hold_for_the_next() -> None:
    async with foundation() as host:
        before = await host.route("explorer", step=COST)
        await host.delegate("explorer", "Work.", step=COST, provider="openai")
        await host.delegate("explorer", "Work.", step=COST, provider="gemini", model="gemini-2.5-flash-lite")
        await host.delegate("explorer", "Work.", profile="quality", stage="planning")
        after = await host.delegate("explorer", "Work.", step=COST)
        plain = await host.delegate("explorer", "Work.")
        kept = {path.name for path in host.folder.rglob("*") if path.is_file()}
    assert [str(one) for one in after.route.candidates] == [str(one) for one in before.candidates]
    assert (after.provider, plain.decided_by) == ("anthropic", DecidedBy.AGENT)
    assert not [name for name in kept if "settings" in name or name.endswith((".yaml", ".lock"))], kept


@pytest.mark.requirement("PRO-42")
async def test_an_override_that_cannot_be_met_fails_clearly() -> None:
    async with foundation("anthropic", "openai") as host:
        with pytest.raises(RequestError, match="no provider 'gemini' is mounted; mounted are anthropic, openai"):
            await host.delegate("explorer", "Work.", step=COST, provider="gemini")
        with pytest.raises(NoCandidate, match=r"gpt-9-mini.*is not among its \d+ models; nearest are"):
            await host.delegate("explorer", "Work.", step=COST, provider="openai", model="gpt-9-mini")
        with pytest.raises(NoCandidate, match="no provider 'gemini' is mounted"):
            await host.delegate("explorer", "Work.", step=COST, provider="gemini", model="gemini-3.1-pro-preview")
        assert (await host.delegate("explorer", "Work.", step=COST, provider="openai")).model == "gpt-4o-mini"
    assert [asked.provider for asked in host.asked] == ["openai"], "nobody else was asked"
    async with foundation("anthropic", "ollama") as host:
        with pytest.raises(NoCandidate) as caught:
            await host.delegate("explorer", "Work.", step=COST, provider="ollama")
    assert "the caller asks for provider 'ollama' only" in str(caught.value)
    assert host.asked == ()


@pytest.mark.requirement("PRO-33")
async def test_ollama_down_leads_to_the_next_of_the_local_chain_and_is_on_record() -> None:
    local = StepChoice(profile="local", stage="summary", name="sum-up")
    plans = {"ollama": fails("503"), "lmstudio": "from here", "anthropic": "from afar"}
    models = {"ollama": ["qwen3:8b"], "lmstudio": ["qwen3-14b"], "anthropic": ["claude-haiku-4-5"]}
    async with scripted_host("foundation", plans, models=models) as host:
        result = await host.delegate("explorer", "Work.", step=local)
        (hop,) = host.ledger.query("hops", delegation=result.id)
        row = next(row for row in host.ledger.delegations() if row["id"] == result.id)
    assert (hop["from_provider"], hop["to_provider"]) == ("ollama", "lmstudio")
    assert "503" in hop["reason"] or "busy" in hop["reason"]
    assert (row["profile"], row["stage"], row["decided_by"]) == ("local", "summary", "step")
    assert (result.provider, result.text) == ("lmstudio", "from here")
    assert not [note for note in result.notes if "leaves it" in note]

    del plans["lmstudio"], models["lmstudio"]
    async with scripted_host("foundation", plans, models=models) as host:
        result = await host.delegate("explorer", "Work.", step=local)
        with pytest.raises(NoAnswer) as caught:
            await host.delegate("explorer", "Work.", step=local, local_only=True)
    assert (result.provider, result.text) == ("anthropic", "from afar")
    assert "profile local: anthropic/claude-haiku-4-5 is not on this machine, so the work leaves it" in result.notes
    assert "local_only: anthropic is not local" in str(caught.value)
    assert [asked.provider for asked in host.asked].count("anthropic") == 1, "never under local_only"


async def test_a_local_provider_of_ones_own_is_asked_before_the_machine_is_left() -> None:
    plans = {"of-our-own": "from here", "anthropic": "from afar"}
    models = {"of-our-own": ["our-model"], "anthropic": ["claude-haiku-4-5"]}
    async with scripted_host("foundation", plans, models=models, local=["of-our-own"]) as host:
        result = await host.delegate("explorer", "Work.", profile="local", stage="summary")
        filtered = await host.route("explorer", profile="local", stage="summary", provider="anthropic")
    assert (result.provider, result.text) == ("of-our-own", "from here")
    assert [candidate.provider for candidate in filtered.candidates] == ["anthropic"]
    assert filtered.notes == ("profile local: anthropic/claude-haiku-4-5 is not on this machine, so the work leaves it",)


MODELS = {"big": ["big-1"], "small": ["small-1"], "here": ["here-1"]}


def boss(request: ChatRequest) -> Reply:
    """Delegates once, by what the task says, and then is done."""
    task = request.messages[0].text
    if len(request.messages) > 1:
        return Reply("Done.")
    more = {"model": "small/small-*"} if "small" in task else {"tier": "dear"} if "dear" in task else {}
    return Reply("", [("delegate", {"agent": "helper", "instruction": "Help.", **more})])


async def test_those_to_whom_the_agent_of_a_step_delegates_keep_to_the_profile_and_to_the_override(tmp_path: Path) -> None:
    providers = {id: SimulatedProvider(id, models=models, local=id == "here", answer=boss) for id, models in MODELS.items()}
    helping = {id: [] for id in MODELS}  # type: dict[str, list[ChatRequest]]

    def answering(id: str) -> Any:
        def answer(request: ChatRequest) -> Reply:
            if "You are helper" in request.system:
                helping[id].append(request)
                return Reply("Helped.")
            return boss(request)

        return answer

    providers = {id: SimulatedProvider(id, models=models, answer=answering(id)) for id, models in MODELS.items()}
    bundle = team(
        tmp_path,
        {"boss": {"tools": ["delegate"], "tier": "dear"}, "helper": {"tier": "dear"}},
        tiers={"dear": ["big/*", "small/*"], "cheap": ["small/*", "big/*"]},
        profiles={"thrift": {"default": "dear", "summary": "cheap"}, "own": {"default": ["here/*", "big/*"]}},
    )
    step = StepChoice(profile="thrift", stage="summary", name="sum-up")

    async def used(task: str, **choice: Any) -> list[str]:
        for listed in helping.values():
            listed.clear()
        result = await host.delegate("boss", task, **choice)
        assert [child.outcome for child in result.children] == ["answered"], result.children
        return [f"{result.provider} {id}" for id, listed in helping.items() if listed]

    async with Host(bundle, providers=providers, ledger=tmp_path / "l.db", sessions=tmp_path / "s") as host:
        assert await used("Go.") == ["big big"]
        assert await used("Go.", step=step) == ["small small"]
        assert await used("Go.", step=StepChoice(tier="cheap", name="one")) == ["small big"], "no profile is in force"
        assert await used("Go.", step=StepChoice(profile="own")) == ["here here"]
        assert await used("Go dear.", step=step) == ["small big"], "a model may still ask for another tier"
        assert await used("Go.", step=step, provider="big") == ["big big"]
        assert await used("Go for small.", step=step, provider="small") == ["small small"]
        assert await used("Go dear.", step=step, provider="here", model="here-1") == ["here here"]
        rows = [row for row in host.ledger.delegations() if row["agent"] == "helper"]
        child = next(row for row in rows if row["model"] == "here-1")
    assert {(row["profile"], row["stage"]) for row in rows} == {("thrift", "summary"), (None, None), ("own", None)}
    assert child["parent"]


async def test_a_session_of_a_step_goes_on_as_its_step_chose(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    async with foundation(sessions=folder) as host:
        begun = await host.delegate("explorer", "One.", step=PLAN, provider="anthropic")
    async with foundation(sessions=folder) as host:
        again = await host.delegate("explorer", "Two.", resume=begun.session)
        row = host.ledger.delegations()[0]
        other = await host.delegate("explorer", "Three.", resume=begun.session, step=COST)
    assert begun.model.startswith("claude-opus")
    assert (again.model, again.decided_by, again.route.decision) == (begun.model, DecidedBy.STEP, begun.route.decision)
    assert (row["profile"], row["stage"]) == ("quality", "planning")
    assert other.model.startswith("claude-haiku")


def test_the_models_of_profiles_are_shown(tmp_path: Path) -> None:
    table = command("explain", "profile", "--simulate", home=tmp_path)
    assert table.code == 0
    lines = [line.split() for line in table.out.splitlines()]
    assert lines[0] == ["stage", "balanced", "(default)", "quality", "cost", "local"]
    (planning,) = [line for line in lines if line[0] == "planning"]
    assert [model.partition("/")[0] for model in planning[1:]] == ["anthropic", "anthropic", "anthropic", "ollama"]
    assert "a recipe run under quality uses balanced for summary, where nobody says" in table.out

    said = command(
        "explain", "profile", "cost", "--stage", "summary", "--provider", "openai", "--simulate", "--json", home=tmp_path
    )
    (cost,) = said.json["profiles"]
    (summary,) = cost["stages"]
    assert (summary["model"], summary["candidates"][1:]) == ("openai/gpt-4o-mini", ["openai/gpt-5-mini [simulated]"])
    assert any("the caller asks for provider 'openai' only" in line for line in summary["rejections"])

    wrong = command("explain", "profile", "qualty", home=tmp_path)
    assert (wrong.code, wrong.err.strip()) == (1, "error: no profile 'qualty' in bundle 'foundation'; did you mean 'quality'?")

    asked_for = ("--profile", "cost", "--stage", "summary", "--provider", "openai")
    done = command("delegate", "explorer", "Sum up.", *asked_for, "--simulate", "--json", home=tmp_path)
    assert (done.json["model"], done.json["decided_by"]) == ("gpt-4o-mini", "caller")
    asked = command("resolve", "explorer", "--profile", "local", "--stage", "implementation", "--simulate", home=tmp_path)
    assert "ollama/qwen3-coder:30b" in asked.out
    assert "profile local, stage implementation" in asked.out
