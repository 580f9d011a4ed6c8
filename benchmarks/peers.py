"""The peers that also fall back, set up for it as their documentation has it: litellm's Router, pydantic-ai's FallbackModel."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TextIO

import openai

from benchmarks.vendor import MODEL

INSTALL = 'pip install -e ".[bench]"'


class Peer(Protocol):
    """One that is asked for an answer from the first of a chain, which it may take from the second."""

    name: str

    async def plain(self, first: str) -> str:
        """The text."""
        ...

    async def stream(self, first: str) -> str: ...

    async def aclose(self) -> None: ...


Make = Callable[[Mapping[str, str], str, float], Peer]
"""The first vendors' base URLs by name, the second's, the seconds that one may take."""


class LitellmRouter:
    """`litellm.Router` with fallbacks, also for a context that is too long; no retries."""

    name = "litellm.Router"

    def __init__(self, firsts: Mapping[str, str], second: str, patience: float) -> None:
        chains = [{name: ["second"]} for name in firsts]
        self._router = _router(
            model_list=[_deployment(name, url) for name, url in {**firsts, "second": second}.items()],
            fallbacks=chains,
            context_window_fallbacks=chains,
            num_retries=0,
            timeout=patience,
        )

    async def plain(self, first: str) -> str:
        answer = await self._router.acompletion(model=first, messages=_MESSAGES)
        return answer.choices[0].message.content or ""

    async def stream(self, first: str) -> str:
        text: list[str] = []
        async for chunk in await self._router.acompletion(model=first, messages=_MESSAGES, stream=True):
            if chunk.choices and chunk.choices[0].delta.content:
                text.append(chunk.choices[0].delta.content)
        return "".join(text)

    async def aclose(self) -> None:
        self._router.discard()


class PydanticFallback:
    """`pydantic_ai.models.fallback.FallbackModel` in an agent; clients without retries."""

    name = "pydantic-ai FallbackModel"

    def __init__(self, firsts: Mapping[str, str], second: str, patience: float) -> None:
        from pydantic_ai import Agent
        from pydantic_ai.models.fallback import FallbackModel
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        self._clients: list[openai.AsyncOpenAI] = []

        def model(url: str) -> Any:
            client = openai.AsyncOpenAI(api_key="none", base_url=url, max_retries=0, timeout=patience)
            self._clients.append(client)
            return OpenAIChatModel(MODEL, provider=OpenAIProvider(openai_client=client))

        after = model(second)
        self._agents = {name: Agent(FallbackModel(model(url), after)) for name, url in firsts.items()}

    async def plain(self, first: str) -> str:
        return (await self._agents[first].run("Work.")).output

    async def stream(self, first: str) -> str:
        async with self._agents[first].run_stream("Work.") as result:
            return "".join([piece async for piece in result.stream_text(delta=True)])

    async def aclose(self) -> None:
        for client in self._clients:
            await client.close()


def _router(**given: Any) -> Any:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else importing it asks the network
    import litellm

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    return litellm.Router(**given)


def litellm_chains(chains: Mapping[str, Sequence[str]], *, timeout: float, cooldown: float) -> Any:
    """A `litellm.Router` with a group for each name, which falls back to groups of their own for the URLs after the first.

    Retries are left at its default.
    """
    return _router(
        model_list=[
            _deployment(name if place == 0 else f"{name}-{place}", url)
            for name, urls in chains.items()
            for place, url in enumerate(urls)
        ],
        fallbacks=[{name: [f"{name}-{place}" for place in range(1, len(urls))]} for name, urls in chains.items()],
        timeout=timeout,
        cooldown_time=cooldown,
    )


_MESSAGES = [{"role": "user", "content": "Work."}]


def _deployment(name: str, url: str) -> dict[str, Any]:
    return {"model_name": name, "litellm_params": {"model": f"openai/{MODEL}", "api_base": url, "api_key": "none"}}


_PEERS: Mapping[str, Make] = {"litellm": LitellmRouter, "pydantic_ai": PydanticFallback}


def installed_peers(missing: TextIO) -> list[Make]:
    """Those that can be imported; who cannot is said, with what to install."""
    found = []
    for module, make in _PEERS.items():
        if importlib.util.find_spec(module) is None:
            missing.write(f"{module} is not installed and is left out: {INSTALL}\n")
        else:
            found.append(make)
    return found
