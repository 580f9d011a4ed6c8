"""A loop of your own on OpenAI's SDK, whose model delegates to the agents of a bundle.

`python examples/openai_loop.py "Find out why the build is slow"`
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import openai

from bundle_loader import Host

MODEL = os.environ.get("MODEL", "gpt-5.2")


async def main(text: str) -> None:
    """Ask, delegate what the model wants delegated, and go on until it has its answer."""
    messages: list[Any] = [{"role": "user", "content": text}]
    async with Host("foundation") as host, openai.AsyncOpenAI(max_retries=0) as client:
        delegate = host.delegate_tool(parent=f"openai/{MODEL}", messages=lambda: messages)
        tools: list[Any] = [delegate.schema("openai")]
        while True:
            answer = await client.chat.completions.create(model=MODEL, messages=messages, tools=tools)
            message: Any = answer.choices[0].message
            messages.append(message.model_dump(exclude_none=True))
            if not message.tool_calls:
                break
            handled = (delegate.handle(call.function.arguments, call.id) for call in message.tool_calls)
            for one in await asyncio.gather(*handled):
                messages.append({"role": "tool", "tool_call_id": one.call_id, "content": one.text})
        sys.stdout.write(f"{message.content}\n")
        for child in delegate.children:
            sys.stderr.write(f"delegated to {child.agent}: {child.outcome} on {child.provider}/{child.model}, ${child.cost}\n")


if __name__ == "__main__":
    asyncio.run(main(" ".join(sys.argv[1:])))
