"""A loop of your own on Ollama's SDK, whose model delegates to the agents of a bundle.

`python examples/ollama_loop.py "Find out why the build is slow"`
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import ollama

from bundle_loader import Host

MODEL = os.environ.get("MODEL", "qwen3:8b")


async def main(text: str) -> None:
    """Ask, delegate what the model wants delegated, and go on until it has its answer."""
    messages: list[Any] = [{"role": "user", "content": text}]
    client = ollama.AsyncClient()
    async with Host("foundation") as host:
        delegate = host.delegate_tool(parent=f"ollama/{MODEL}", messages=lambda: said(messages))
        while True:
            answer = await client.chat(model=MODEL, messages=messages, tools=[delegate.schema("ollama")])
            messages.append(answer.message.model_dump(exclude_none=True))
            calls = answer.message.tool_calls or []
            if not calls:
                break
            for one in await asyncio.gather(*(delegate.handle(call.function.arguments) for call in calls)):
                messages.append({"role": "tool", "tool_name": one.name, "content": one.text})
        sys.stdout.write(f"{answer.message.content}\n")
        for child in delegate.children:
            sys.stderr.write(f"delegated to {child.agent}: {child.outcome} on {child.provider}/{child.model}, ${child.cost}\n")
    await client._client.aclose()


def said(messages: list[Any]) -> list[dict[str, str]]:
    """What was said so far, as the host reads it: Ollama's calls and results have no ids."""
    return [{"role": one["role"], "content": one["content"]} for one in messages if one["role"] != "tool" and one.get("content")]


if __name__ == "__main__":
    asyncio.run(main(" ".join(sys.argv[1:])))
