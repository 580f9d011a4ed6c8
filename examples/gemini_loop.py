"""A loop of your own on Google's SDK, whose model delegates to the agents of a bundle.

`python examples/gemini_loop.py "Find out why the build is slow"`
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from google import genai
from google.genai import types

from bundle_loader import Host

MODEL = os.environ.get("MODEL", "gemini-2.5-pro")


def said(contents: list[types.Content]) -> list[dict[str, str]]:
    """What was said so far, as the host reads it."""
    roles = {"model": "assistant"}
    texts = ((one.role or "user", "".join(part.text or "" for part in one.parts or [])) for one in contents)
    return [{"role": roles.get(role, role), "content": text} for role, text in texts if text]


async def main(text: str) -> None:
    """Ask, delegate what the model wants delegated, and go on until it has its answer."""
    contents: list[Any] = [types.Content(role="user", parts=[types.Part(text=text)])]
    client = genai.Client().aio
    async with Host("foundation") as host:
        delegate = host.delegate_tool(parent=f"google/{MODEL}", messages=lambda: said(contents))
        config = types.GenerateContentConfig(
            tools=[types.Tool.model_validate(delegate.schema("gemini"))],
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        )
        while True:
            answer = await client.models.generate_content(model=MODEL, contents=contents, config=config)
            assert answer.candidates
            contents.append(answer.candidates[0].content)
            calls = answer.function_calls or []
            if not calls:
                break
            parts = []
            for call, one in zip(calls, await asyncio.gather(*(delegate.handle(call.args) for call in calls)), strict=True):
                given = {"error" if one.is_error else "output": one.text}
                parts.append(types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response=given)))
            contents.append(types.Content(role="user", parts=parts))
        sys.stdout.write(f"{answer.text}\n")
        for child in delegate.children:
            sys.stderr.write(f"delegated to {child.agent}: {child.outcome} on {child.provider}/{child.model}, ${child.cost}\n")
    await client.aclose()


if __name__ == "__main__":
    asyncio.run(main(" ".join(sys.argv[1:])))
