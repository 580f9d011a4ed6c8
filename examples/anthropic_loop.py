"""A loop of your own on Anthropic's SDK, whose model delegates to the agents of a bundle.

`python examples/anthropic_loop.py "Find out why the build is slow"`
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import anthropic

from bundle_loader import Host

MODEL = os.environ.get("MODEL", "claude-opus-4-6")


async def main(text: str) -> None:
    """Ask, delegate what the model wants delegated, and go on until it has its answer."""
    messages: list[Any] = [{"role": "user", "content": text}]
    async with Host("foundation") as host, anthropic.AsyncAnthropic(max_retries=0) as client:
        delegate = host.delegate_tool(parent=f"anthropic/{MODEL}", messages=lambda: messages)
        tools: list[Any] = [delegate.schema("anthropic")]
        while True:
            answer = await client.messages.create(model=MODEL, max_tokens=4096, messages=messages, tools=tools, timeout=300)
            messages.append({"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in answer.content]})
            calls = [block for block in answer.content if block.type == "tool_use"]
            if not calls:
                break
            done = await asyncio.gather(*(delegate.handle(dict(call.input), call.id) for call in calls))
            results = [
                {"type": "tool_result", "tool_use_id": one.call_id, "content": one.text, "is_error": one.is_error} for one in done
            ]
            messages.append({"role": "user", "content": results})
        sys.stdout.write("".join(block.text for block in answer.content if block.type == "text") + "\n")
        for child in delegate.children:
            sys.stderr.write(f"delegated to {child.agent}: {child.outcome} on {child.provider}/{child.model}, ${child.cost}\n")


if __name__ == "__main__":
    asyncio.run(main(" ".join(sys.argv[1:])))
