"""The real llama.cpp server with its tiny model, through the SDKs of OpenAI and Anthropic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from tests.support.sdks import Heard, anthropic_client, hear_anthropic, hear_openai, openai_client
from tests.support.tiny_gguf import write_tiny_model
from tests.support.tiny_llama import TinyServer, tiny_llama

TOOL = {
    "name": "delegate",
    "description": "Hand work on.",
    "parameters": {"type": "object", "properties": {"agent": {"type": "string"}}},
}
QUESTION: list[dict[str, Any]] = [{"role": "user", "content": "Hello?"}]


async def test_openai_lists_streams_and_counts(llama: TinyServer) -> None:
    async with openai_client(llama.openai_url) as client:
        assert [model.id async for model in client.models.list()] == [llama.alias]
    heard = Heard()
    await hear_openai(llama.openai_url, heard, model=llama.alias)
    assert (heard.text, heard.finish) == (llama.reply, "stop")
    assert len(heard.pieces) > 1
    assert heard.usage.prompt_tokens > 0
    assert heard.usage.completion_tokens >= len(llama.reply.split())


async def test_openai_calls_a_tool_once_and_then_answers(llama: TinyServer) -> None:
    tools = [{"type": "function", "function": TOOL}]
    asking, answering = Heard(), Heard()
    await hear_openai(llama.openai_url, asking, model=llama.alias, messages=QUESTION, tools=tools)
    assert (asking.calls, asking.finish) == ([("delegate", {"agent": "git-ops"})], "tool_calls")
    call = {"id": "call_1", "type": "function", "function": {"name": "delegate", "arguments": '{"agent": "git-ops"}'}}
    history = [
        *QUESTION,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "done"},
    ]
    await hear_openai(llama.openai_url, answering, model=llama.alias, messages=history, tools=tools)
    assert (answering.text, answering.calls, answering.finish) == (llama.reply, [], "stop")


async def test_anthropic_streams_and_calls_a_tool(llama: TinyServer) -> None:
    speaking, asking = Heard(), Heard()
    await hear_anthropic(llama.base_url, speaking, model=llama.alias)
    assert (speaking.text, speaking.finish) == (llama.reply, "end_turn")
    assert speaking.usage.output_tokens >= len(llama.reply.split())
    tools = [{"name": TOOL["name"], "description": TOOL["description"], "input_schema": TOOL["parameters"]}]
    await hear_anthropic(llama.base_url, asking, model=llama.alias, tools=tools)
    assert (asking.calls, asking.finish) == ([("delegate", {"agent": "git-ops"})], "tool_use")


async def test_a_prompt_beyond_the_context_is_a_400(llama: TinyServer) -> None:
    with pytest.raises(openai.BadRequestError, match="exceeds the available context size"):
        await hear_openai(llama.openai_url, Heard(), model=llama.alias, messages=[{"role": "user", "content": "x " * 3000}])


async def test_a_key_another_sentence_and_an_outage(tmp_path: Path) -> None:
    with tiny_llama(tmp_path, reply="Seven it is.", alias="other", tool_call=("add", {"a": 3}), api_key="right") as server:
        async with anthropic_client(server.base_url, "wrong") as client:
            with pytest.raises(anthropic.AuthenticationError):
                await client.messages.create(model="other", max_tokens=9, messages=[{"role": "user", "content": "Hello?"}])
        async with openai_client(server.openai_url, "right") as gpt:
            said = await gpt.chat.completions.create(model="other", messages=[{"role": "user", "content": "Hello?"}])
            assert said.choices[0].message.content == "Seven it is."
        server.process.kill()
        server.process.wait()
        with pytest.raises(openai.APIConnectionError):
            await hear_openai(server.openai_url, Heard(), model="other")


def test_the_process_ends_with_its_block(tmp_path: Path) -> None:
    with tiny_llama(tmp_path) as server:
        assert server.process.poll() is None
    assert server.process.poll() is not None


def test_a_reply_that_says_a_word_twice_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="different"):
        write_tiny_model(tmp_path / "x.gguf", reply="to be or not to be", tool_call=("x", {}))
