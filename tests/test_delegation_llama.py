"""Delegation to a real model server: llama.cpp over OpenAI's protocol and over Anthropic's, with a tool turn and an outage."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from bundle_loader import AllFailed, Bundle, Host, NoCandidate, load_bundle
from bundle_loader.delegation.result import DoneEvent
from bundle_loader.events import TextEvent
from tests.support.tiny_llama import TinyServer, tiny_llama

ENVIRONMENT = {"TINY_KEY": "any"}


def bundle_for(folder: Path, *servers: tuple[str, str, str]) -> Bundle:
    """A bundle whose agent prefers each server in turn; a server is its id, its kind and its address."""
    path = folder / "tiny.yaml"
    written = {
        "format": 1,
        "bundle": {"name": "tiny"},
        "providers": {id: {"kind": kind, "base_url": url, "key_variable": "TINY_KEY"} for id, kind, url in servers},
        "agents": {"worker": {"provider_preferences": [f"{id}/tiny-*" for id, _, _ in servers], "config": {"max_tokens": 64}}},
    }
    path.write_text(yaml.safe_dump(written), encoding="utf-8")
    return load_bundle(path, strict=True)


def server_as(llama: TinyServer, kind: str) -> tuple[str, str, str]:
    return ("tiny", kind, llama.base_url if kind == "anthropic" else llama.openai_url)


@pytest.mark.parametrize("kind", ["llamacpp", "anthropic"])
async def test_a_real_model_answers(llama: TinyServer, tmp_path: Path, kind: str) -> None:
    bundle = bundle_for(tmp_path, server_as(llama, kind))
    async with Host(bundle, ledger=tmp_path / "l.db", environment=ENVIRONMENT) as host:
        result = await host.delegate("worker", "Say hello.")
        streamed = [event async for event in host.stream("worker", "Say hello.")]
        calls = host.ledger.calls()
    assert result.text.strip() == llama.reply
    assert (result.provider, result.model, result.finish) == ("tiny", llama.alias, "stop")
    assert result.usage.input_tokens > 0
    assert result.usage.output_tokens > 0
    assert not result.usage.estimated
    assert [(call["outcome"], call["asked"], call["pattern"]) for call in calls] == [("answered", llama.alias, "tiny-*")] * 2
    pieces = [event.text for event in streamed if isinstance(event, TextEvent)]
    assert len(pieces) > 1
    assert "".join(pieces) == result.text
    assert isinstance(streamed[-1], DoneEvent)


@pytest.mark.parametrize("kind", ["llamacpp", "anthropic"])
async def test_a_real_model_asks_for_a_tool(llama: TinyServer, tmp_path: Path, kind: str) -> None:
    asked: list[str] = []

    def delegate(agent: str) -> str:
        """Hand work to an agent."""
        asked.append(agent)
        return "Committed."

    bundle = bundle_for(tmp_path, server_as(llama, kind))
    async with Host(bundle, ledger=tmp_path / "l.db", environment=ENVIRONMENT) as host:
        result = await host.delegate("worker", "Commit this.", tools=[delegate])
    assert asked == ["git-ops"]
    assert result.text.strip() == llama.reply
    assert result.turns == 2
    assert [message.role for message in result.messages] == ["user", "assistant", "tool", "assistant"]


async def test_when_a_real_server_dies_the_next_one_answers(llama: TinyServer, tmp_path: Path) -> None:
    with tiny_llama(tmp_path, reply="I was first.") as first:
        bundle = bundle_for(tmp_path, ("first", "llamacpp", first.openai_url), ("second", "anthropic", llama.base_url))
        async with Host(bundle, ledger=tmp_path / "l.db", environment=ENVIRONMENT) as host:
            assert (await host.delegate("worker", "Hello.")).text.strip() == "I was first."
            first.process.kill()
            first.process.wait()
            result = await host.delegate("worker", "Hello.")
    assert (result.provider, result.text.strip()) == ("second", llama.reply)
    assert result.attempts[0].kind == "busy"


async def test_a_real_refusal_of_a_key(tmp_path: Path) -> None:
    with tiny_llama(tmp_path, api_key="the-right-one") as server:
        bundle = bundle_for(tmp_path, ("tiny", "llamacpp", server.openai_url))
        async with Host(bundle, ledger=tmp_path / "l.db", environment={"TINY_KEY": "the-right-one"}) as host:
            assert (await host.delegate("worker", "Hello.")).text.strip() == server.reply
        async with Host(bundle, ledger=tmp_path / "l.db", environment={"TINY_KEY": "a-wrong-one"}) as host:
            with pytest.raises(NoCandidate, match="refused 401") as caught:  # a list that another key was shown is not used
                await host.delegate("worker", "Hello.")
        assert "a-wrong-one" not in str(caught.value)


async def test_a_real_prompt_that_does_not_fit(llama: TinyServer, tmp_path: Path) -> None:
    bundle = bundle_for(tmp_path, server_as(llama, "llamacpp"))
    async with Host(bundle, ledger=tmp_path / "l.db", environment=ENVIRONMENT) as host:
        with pytest.raises(AllFailed, match="too long 400"):
            await host.delegate("worker", "many words " * 3000)
