"""Loops of tool calls over the bare SDKs, as a program without bundle_loader would write them, and pydantic-ai's agent."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from importlib.util import find_spec
from typing import Any

import anthropic
import ollama
import openai
from google import genai
from google.genai import types

from benchmarks.bare import Chat

Tool = Callable[..., Awaitable[str]]


class BareLoop(ABC):
    """One SDK's client and the loop around it. `run` gives the last answer's text."""

    def __init__(self, environment: Mapping[str, str], tool: Tool, schema: Mapping[str, Any], description: str) -> None:
        self.tool = tool
        self.name = tool.__name__  # type: ignore[attr-defined]
        self.schema = dict(schema)
        self.description = description
        self.client: Any = self.made(environment)

    @abstractmethod
    def made(self, environment: Mapping[str, str]) -> Any: ...

    @abstractmethod
    async def run(self, chat: Chat) -> str: ...

    async def aclose(self) -> None:
        await self.client.close()


class AnthropicLoop(BareLoop):
    def made(self, environment: Mapping[str, str]) -> Any:
        return anthropic.AsyncAnthropic(api_key=environment["ANTHROPIC_API_KEY"], base_url=environment["ANTHROPIC_BASE_URL"])

    async def run(self, chat: Chat) -> str:
        messages: list[Any] = [{"role": "user", "content": chat.text}]
        tools = [{"name": self.name, "description": self.description, "input_schema": self.schema}]
        while True:
            text, blocks = "", dict[int, dict[str, str]]()
            stream = await self.client.messages.create(
                model=chat.model,
                max_tokens=chat.max_tokens,
                system=chat.system,
                messages=messages,
                tools=tools,
                extra_body={"temperature": chat.temperature},
                stream=True,
            )
            async for event in stream:
                if event.type == "content_block_start" and event.content_block.type == "tool_use":
                    blocks[event.index] = {"id": event.content_block.id, "json": ""}
                elif event.type == "content_block_delta":
                    if event.delta.type == "text_delta":
                        text += event.delta.text
                    elif event.delta.type == "input_json_delta":
                        blocks[event.index]["json"] += event.delta.partial_json
            if not blocks:
                return text
            calls = [(block["id"], json.loads(block["json"] or "{}")) for block in blocks.values()]
            said: list[Any] = [{"type": "text", "text": text}] if text else []
            said += [{"type": "tool_use", "id": id, "name": self.name, "input": given} for id, given in calls]
            results = [{"type": "tool_result", "tool_use_id": id, "content": await self.tool(**given)} for id, given in calls]
            messages += [{"role": "assistant", "content": said}, {"role": "user", "content": results}]


class OpenAILoop(BareLoop):
    def made(self, environment: Mapping[str, str]) -> Any:
        return openai.AsyncOpenAI(api_key=environment["OPENAI_API_KEY"], base_url=environment["OPENAI_BASE_URL"])

    async def run(self, chat: Chat) -> str:
        messages: list[Any] = [{"role": "system", "content": chat.system}, {"role": "user", "content": chat.text}]
        function = {"name": self.name, "description": self.description, "parameters": self.schema}
        while True:
            text, calls = "", dict[int, dict[str, str]]()
            stream = await self.client.chat.completions.create(
                model=chat.model,
                max_tokens=chat.max_tokens,
                messages=messages,
                tools=[{"type": "function", "function": function}],
                temperature=chat.temperature,
                stream=True,
                stream_options={"include_usage": True},
            )
            async for chunk in stream:
                if not chunk.choices:
                    continue
                delta = chunk.choices[0].delta
                text += delta.content or ""
                for piece in delta.tool_calls or ():
                    call = calls.setdefault(piece.index, {"id": "", "json": ""})
                    call["id"] = piece.id or call["id"]
                    call["json"] += (piece.function.arguments if piece.function else "") or ""
            if not calls:
                return text
            asked = [
                {"id": call["id"], "type": "function", "function": {"name": self.name, "arguments": call["json"]}}
                for call in calls.values()
            ]
            messages.append({"role": "assistant", "content": text or None, "tool_calls": asked})
            for call in calls.values():
                result = await self.tool(**json.loads(call["json"]))
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})


class GoogleLoop(BareLoop):
    def made(self, environment: Mapping[str, str]) -> Any:
        options = types.HttpOptions(base_url=environment["GOOGLE_GEMINI_BASE_URL"])
        return genai.Client(api_key=environment["GEMINI_API_KEY"], http_options=options)

    async def run(self, chat: Chat) -> str:
        contents: list[Any] = [types.Content(role="user", parts=[types.Part(text=chat.text)])]
        declared = types.FunctionDeclaration(name=self.name, description=self.description, parameters_json_schema=self.schema)
        config = types.GenerateContentConfig(
            system_instruction=chat.system,
            max_output_tokens=chat.max_tokens,
            temperature=chat.temperature,
            tools=[types.Tool(function_declarations=[declared])],
        )
        while True:
            parts: list[Any] = []
            stream = await self.client.aio.models.generate_content_stream(model=chat.model, contents=contents, config=config)
            async for chunk in stream:
                if chunk.candidates and chunk.candidates[0].content and chunk.candidates[0].content.parts:
                    parts += chunk.candidates[0].content.parts
            calls = [part.function_call for part in parts if part.function_call]
            if not calls:
                return "".join(part.text or "" for part in parts)
            results = [
                types.Part(
                    function_response=types.FunctionResponse(
                        id=call.id, name=call.name, response={"result": await self.tool(**call.args)}
                    )
                )
                for call in calls
            ]
            contents += [types.Content(role="model", parts=parts), types.Content(role="user", parts=results)]

    async def aclose(self) -> None:
        await self.client.aio.aclose()
        self.client.close()


class OllamaLoop(BareLoop):
    def made(self, environment: Mapping[str, str]) -> Any:
        return ollama.AsyncClient(host=environment["OLLAMA_HOST"])

    async def run(self, chat: Chat) -> str:
        messages: list[Any] = [{"role": "system", "content": chat.system}, {"role": "user", "content": chat.text}]
        function = {"name": self.name, "description": self.description, "parameters": self.schema}
        while True:
            text, calls = "", list[Any]()
            stream = await self.client.chat(
                model=chat.model,
                messages=messages,
                tools=[{"type": "function", "function": function}],
                options={"temperature": chat.temperature, "num_predict": chat.max_tokens},
                stream=True,
            )
            async for chunk in stream:
                text += chunk.message.content or ""
                calls += chunk.message.tool_calls or ()
            if not calls:
                return text
            messages.append({"role": "assistant", "content": text, "tool_calls": calls})
            for call in calls:
                result = await self.tool(**call.function.arguments)
                messages.append({"role": "tool", "tool_name": call.function.name, "content": result})


LOOPS: Mapping[str, type[BareLoop]] = {
    "anthropic": AnthropicLoop,
    "openai": OpenAILoop,
    "google": GoogleLoop,
    "ollama": OllamaLoop,
}


class PydanticAgent:
    """`pydantic_ai.Agent` with the same tool, streaming, on a client of the same SDK."""

    def __init__(self, vendor: str, environment: Mapping[str, str], tool: Tool, chat: Chat) -> None:
        from pydantic_ai import Agent, ModelSettings

        model: Any
        if vendor == "openai":
            from pydantic_ai.models.openai import OpenAIChatModel
            from pydantic_ai.providers.openai import OpenAIProvider

            self._client: Any = openai.AsyncOpenAI(api_key=environment["OPENAI_API_KEY"], base_url=environment["OPENAI_BASE_URL"])
            model = OpenAIChatModel(chat.model, provider=OpenAIProvider(openai_client=self._client))
        else:
            from pydantic_ai.models.anthropic import AnthropicModel
            from pydantic_ai.providers.anthropic import AnthropicProvider

            self._client = anthropic.AsyncAnthropic(
                api_key=environment["ANTHROPIC_API_KEY"], base_url=environment["ANTHROPIC_BASE_URL"]
            )
            model = AnthropicModel(chat.model, provider=AnthropicProvider(anthropic_client=self._client))
        self._agent = Agent(
            model,
            tools=[tool],
            instructions=chat.system,
            model_settings=ModelSettings(max_tokens=chat.max_tokens),
        )

    async def run(self, chat: Chat) -> str:
        async with self._agent.run_stream(chat.text) as answer:
            return str(await answer.get_output())

    async def aclose(self) -> None:
        await self._client.close()


def pydantic_agent_of(vendor: str) -> bool:
    """Whether pydantic-ai is there, and plays this vendor here."""
    return vendor in ("openai", "anthropic") and find_spec("pydantic_ai") is not None
