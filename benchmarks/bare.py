"""The bare SDKs as a program without bundle_loader would call them: a streamed chat on each one's default transport."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import anthropic
import ollama
import openai
from google import genai
from google.genai import types


@dataclass(frozen=True, slots=True)
class Chat:
    """One question, the same for every way to ask it."""

    model: str
    system: str
    text: str
    max_tokens: int
    temperature: float


class Bare(ABC):
    """One SDK's client. `ask` gives the answer's text and the tokens that it took."""

    @abstractmethod
    async def ask(self, chat: Chat) -> tuple[str, int]: ...

    @abstractmethod
    async def aclose(self) -> None: ...


class BareAnthropic(Bare):
    def __init__(self, environment: Mapping[str, str]) -> None:
        self.client = anthropic.AsyncAnthropic(
            api_key=environment["ANTHROPIC_API_KEY"], base_url=environment["ANTHROPIC_BASE_URL"]
        )

    async def ask(self, chat: Chat) -> tuple[str, int]:
        text: list[str] = []
        tokens = 0
        stream = await self.client.messages.create(
            model=chat.model,
            max_tokens=chat.max_tokens,
            system=chat.system,
            messages=[{"role": "user", "content": chat.text}],
            extra_body={"temperature": chat.temperature},
            stream=True,
        )
        async for event in stream:
            if event.type == "content_block_delta" and event.delta.type == "text_delta":
                text.append(event.delta.text)
            elif event.type == "message_delta":
                tokens = event.usage.output_tokens
        return "".join(text), tokens

    async def aclose(self) -> None:
        await self.client.close()


class BareOpenAI(Bare):
    def __init__(self, environment: Mapping[str, str]) -> None:
        self.client = openai.AsyncOpenAI(api_key=environment["OPENAI_API_KEY"], base_url=environment["OPENAI_BASE_URL"])

    async def ask(self, chat: Chat) -> tuple[str, int]:
        text: list[str] = []
        tokens = 0
        stream = await self.client.chat.completions.create(
            model=chat.model,
            max_tokens=chat.max_tokens,
            messages=[{"role": "system", "content": chat.system}, {"role": "user", "content": chat.text}],
            temperature=chat.temperature,
            stream=True,
            stream_options={"include_usage": True},
        )
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                text.append(chunk.choices[0].delta.content)
            if chunk.usage:
                tokens = chunk.usage.completion_tokens
        return "".join(text), tokens

    async def aclose(self) -> None:
        await self.client.close()


class BareGoogle(Bare):
    def __init__(self, environment: Mapping[str, str]) -> None:
        options = types.HttpOptions(base_url=environment["GOOGLE_GEMINI_BASE_URL"])
        self.client = genai.Client(api_key=environment["GEMINI_API_KEY"], http_options=options)

    async def ask(self, chat: Chat) -> tuple[str, int]:
        text: list[str] = []
        tokens = 0
        config = types.GenerateContentConfig(
            system_instruction=chat.system, max_output_tokens=chat.max_tokens, temperature=chat.temperature
        )
        stream = await self.client.aio.models.generate_content_stream(model=chat.model, contents=chat.text, config=config)
        async for chunk in stream:
            if chunk.text:
                text.append(chunk.text)
            if chunk.usage_metadata and chunk.usage_metadata.candidates_token_count:
                tokens = chunk.usage_metadata.candidates_token_count
        return "".join(text), tokens

    async def aclose(self) -> None:
        await self.client.aio.aclose()
        self.client.close()


class BareOllama(Bare):
    def __init__(self, environment: Mapping[str, str]) -> None:
        self.client: Any = ollama.AsyncClient(host=environment["OLLAMA_HOST"])

    async def ask(self, chat: Chat) -> tuple[str, int]:
        text: list[str] = []
        tokens = 0
        stream = await self.client.chat(
            model=chat.model,
            messages=[{"role": "system", "content": chat.system}, {"role": "user", "content": chat.text}],
            options={"temperature": chat.temperature, "num_predict": chat.max_tokens},
            stream=True,
        )
        async for chunk in stream:
            text.append(chunk.message.content or "")
            if chunk.done:
                tokens = chunk.eval_count or 0
        return "".join(text), tokens

    async def aclose(self) -> None:
        await self.client.close()


SDKS: Mapping[str, type[Bare]] = {
    "anthropic": BareAnthropic,
    "openai": BareOpenAI,
    "google": BareGoogle,
    "ollama": BareOllama,
}
