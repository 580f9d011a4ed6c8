"""Providers that a host passes in and that do not keep to the protocol: each costs a hop, never the delegation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bundle_loader import Host, NoCandidate, RequestError, SimulatedProvider, load_bundle
from bundle_loader.cli.check import provider_names
from bundle_loader.messages import Delta, Message, StreamPart, Text, Turn
from bundle_loader.providers.base import ChatRequest
from bundle_loader.routing.catalogue import ModelInfo
from bundle_loader.routing.lint_providers import unknown_kinds


class Foreign:
    """A provider of somebody else's: `listed` and `answer` are given back, or raised."""

    local = False

    def __init__(self, listed: Any = ("gpt-4o-mini",), answer: Any = ()) -> None:
        self.id = "openai"
        self.listed = listed
        self.answer = answer

    async def list_models(self) -> Sequence[ModelInfo]:
        if isinstance(self.listed, Exception):
            raise self.listed
        return self.listed  # type: ignore[no-any-return]

    async def stream(self, request: ChatRequest) -> AsyncIterator[StreamPart]:
        if isinstance(self.answer, Exception):
            raise self.answer
        for part in self.answer:
            yield part

    async def aclose(self) -> None:
        return


def said(text: str) -> Turn:
    return Turn(Message("assistant", (Text(text),)), None, None, "stop")


async def delegated(provider: Foreign, ledger: Path) -> Any:
    providers = {"openai": provider, "google": SimulatedProvider("google", answer="from the next")}
    async with Host("foundation", providers=providers, ledger=ledger) as host:
        return await host.delegate("git-ops", "Commit.")


@pytest.mark.parametrize(
    ("listed", "reason"),
    [
        (RuntimeError("boom"), "broken answer: the provider broke (RuntimeError: boom)"),
        (ConnectionError("gone"), "busy: no connection (ConnectionError: gone)"),
        (KeyError("data"), "broken answer: the provider broke (KeyError: 'data')"),
        (None, "broken answer: the provider broke (TypeError:"),
        ([42], "42 is no model"),
    ],
)
async def test_a_list_that_breaks_is_a_reason(tmp_path: Path, listed: Any, reason: str) -> None:
    result = await delegated(Foreign(listed), tmp_path / "ledger.db")
    assert result.text == "from the next"
    assert reason in next(item.reason for item in result.rejections if item.provider == "openai")


async def test_a_list_of_ids_or_mappings_is_as_good_as_one_of_models(tmp_path: Path) -> None:
    for number, listed in enumerate((["gpt-4o-mini"], [{"id": "gpt-4o-mini", "window": 9000}])):
        result = await delegated(Foreign(listed, [Delta("mine"), said("mine")]), tmp_path / f"{number}.db")
        assert (result.text, result.model) == ("mine", "gpt-4o-mini")


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (RuntimeError("boom"), "broken answer", "the provider broke (RuntimeError: boom)"),
        (ConnectionResetError("reset"), "busy", "no connection (ConnectionResetError: reset)"),
        (TimeoutError(), "busy", "timeout"),
        (["words"], "broken answer", "the provider gave a str, not a Delta or a Turn"),
        ([], "broken answer", "the stream ended without an answer"),
        ([said("")], "broken answer", "an empty answer"),
    ],
)
async def test_an_answer_that_breaks_falls_back(tmp_path: Path, answer: Any, kind: str, reason: str) -> None:
    result = await delegated(Foreign(answer=answer), tmp_path / "ledger.db")
    assert result.text == "from the next"
    assert (result.attempts[0].kind, reason in result.attempts[0].reason) == (kind, True)


async def test_an_unknown_kind_of_provider_is_a_reason_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(
        "providers: {mine: {kind: opnai, base_url: 'http://127.0.0.1:1'}, other: {base_url: 'http://127.0.0.1:1'}}\n"
        "tiers: {all: [mine/x, other/x]}\ndefault: all\nagents: {worker: {description: works}}\n"
    )
    async with Host(str(tmp_path / "b.yaml"), environment={}, ledger=tmp_path / "ledger.db") as host:
        with pytest.raises(NoCandidate) as caught:
            await host.delegate("worker", "Work.")
    first, second = (item.reason for item in caught.value.rejections)
    assert first.startswith("its kind 'opnai' is not known; did you mean 'openai'?")
    assert second.startswith("it has no 'kind'; write one of anthropic, openai")


def test_check_names_an_unknown_kind_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(
        "providers:\n  mine: {kind: opnai}\n  other: {base_url: 'http://127.0.0.1:1'}\n  openai: {}\n"
    )
    faults = unknown_kinds(load_bundle(tmp_path / "b.yaml", settings=()), provider_names())
    assert [(fault.line, fault.column, fault.key, fault.level) for fault in faults] == [
        (2, 10, "providers.mine.kind", "error"),
        (3, 3, "providers.other", "error"),
    ]
    assert "'opnai' is no kind of provider; did you mean 'openai'?" in faults[0].message
    assert "needs a 'kind'" in faults[1].message


async def test_tools_that_the_agent_does_not_allow_are_named(tmp_path: Path) -> None:
    def look() -> str:
        return "seen"

    def touch() -> str:
        return "touched"

    (tmp_path / "a.md").write_text("---\nname: a\ntools: [look, smell]\nprovider_preferences: [openai/gpt-4o-mini]\n---\nx\n")
    provider = SimulatedProvider("openai")
    async with Host(str(tmp_path / "a.md"), providers={"openai": provider}, ledger=tmp_path / "l.db") as host:
        result = await host.delegate("a", "Go.", tools=[look, touch])
    assert [tool.name for tool in provider.requests[0].tools] == ["look"]
    assert "agent 'a' allows only the tools look, smell; touch was not offered to it" in result.notes
    assert "the host does not offer the tools smell" in result.notes


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"text": None}, "the text to delegate is a NoneType; give a str"),
        ({"text": "a\udcff"}, "cannot be sent: character 1 is half of a surrogate pair"),
        ({"text": "x", "parent": 5}, "parent must be 'provider/model'"),
        ({"text": "x", "provider": "antropic"}, "no provider 'antropic' is mounted; did you mean 'anthropic'?"),
    ],
)
async def test_a_callers_mistakes_are_named(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    async with Host("foundation", simulate=True, ledger=tmp_path / "l.db") as host:
        with pytest.raises(RequestError) as caught:
            await host.delegate("git-ops", given.pop("text"), **given)
    assert message in str(caught.value)


async def test_a_candidate_can_be_the_parent(tmp_path: Path) -> None:
    async with Host("foundation", simulate=True, ledger=tmp_path / "l.db") as host:
        first = await host.delegate("zen-architect", "Think.")
        for parent in (first, (await host.route("zen-architect")).chosen):
            route = await host.route("self", parent=parent)  # type: ignore[arg-type]
            assert route.chosen is not None
            assert (route.chosen.provider, route.chosen.model) == (first.provider, first.model)
