"""All the loopback vendors together: what they offer, what they are told to do, and what reached them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.script import Request
from tests.support.vendor import Vendor
from tests.support.wire_anthropic import AnthropicWire
from tests.support.wire_google import GoogleWire
from tests.support.wire_ollama import OllamaWire
from tests.support.wire_openai import LlamaCppWire, OpenAIWire, OpenRouterWire

NO_FOLDER = Path(__file__).with_name("a-folder-that-is-not-there")


class World:
    """The vendors by name, and every request in the order of arrival. Vendors that are off reset their connections."""

    def __init__(self, *on: str) -> None:
        """`on` names the vendors that are switched on; none named means all of them."""
        self.vendors = {vendor.name: vendor for vendor in _vendors()}
        self.requests: list[Request] = []
        self.connections: set[Any] = set()
        """Open connections of clients, while this is served."""
        unknown = set(on) - set(self.vendors)
        if unknown:
            raise ValueError(f"no such vendor: {', '.join(sorted(unknown))}")
        for vendor in self.vendors.values():
            vendor.on = not on or vendor.name in on

    def vendor(self, name: str) -> Vendor:
        """One vendor: anthropic, openai, google, ollama, openrouter, llamacpp, or one made by `add_compatible`."""
        return self.vendors[name]

    def add_compatible(self, name: str, prefix: str, *models: str) -> Vendor:
        """One more server that speaks OpenAI's protocol, at `base + prefix`."""
        vendor = Vendor(name, prefix, OpenAIWire())
        vendor.offer(*models)
        self.vendors[name] = vendor
        return vendor

    def serving(self, path: str) -> Vendor | None:
        """The vendor whose prefix this path has."""
        for vendor in self.vendors.values():
            if path == vendor.prefix or path.startswith(vendor.prefix + "/"):
                return vendor
        return None

    def chats(self, name: str | None = None) -> list[Request]:
        """The chat requests, of one vendor or of all, the refused ones included."""
        return self._seen("chat", name)

    def lists(self, name: str | None = None) -> list[Request]:
        """The requests for lists of models, one for each page."""
        return self._seen("list", name)

    def _seen(self, endpoint: str, name: str | None) -> list[Request]:
        return [request for request in self.requests if request.endpoint == endpoint and name in (None, request.vendor)]

    async def until(self, condition: Callable[[], object], seconds: float = 2.0) -> None:
        """Wait for something that a request brings about; TimeoutError when it does not come."""
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - the server may run in another thread
                await asyncio.sleep(0.005)

    def url(self, base: str, name: str) -> str:
        """The base URL to give to the SDK of this vendor."""
        return base + self.vendors[name].prefix

    def key(self, name: str) -> str:
        """A key that this vendor takes."""
        return self.vendors[name].required_key or f"test-key-{name}"

    def environment(self, base: str) -> dict[str, str]:
        """The variables that lead the four SDKs to their vendors here, for those that are on, and to no settings on disk."""
        variables = {"ANTHROPIC_CONFIG_DIR": str(NO_FOLDER)}
        if self.vendors["anthropic"].on:
            variables["ANTHROPIC_BASE_URL"] = self.url(base, "anthropic")
            variables["ANTHROPIC_API_KEY"] = self.key("anthropic")
        if self.vendors["openai"].on:
            variables["OPENAI_BASE_URL"] = self.url(base, "openai")
            variables["OPENAI_API_KEY"] = self.key("openai")
        if self.vendors["google"].on:
            variables["GOOGLE_GEMINI_BASE_URL"] = self.url(base, "google")
            variables["GEMINI_API_KEY"] = self.key("google")
        if self.vendors["ollama"].on:
            variables["OLLAMA_HOST"] = self.url(base, "ollama")
            if self.vendors["ollama"].required_key is not None:
                variables["OLLAMA_API_KEY"] = self.key("ollama")
        return variables


def _vendors() -> list[Vendor]:
    anthropic = Vendor("anthropic", "/anthropic", AnthropicWire())
    anthropic.offer(
        ("claude-sonnet-4-6", "2026-02-17"),
        ("claude-opus-4-6", "2026-02-04"),
        ("claude-opus-4-5-20251101", "2025-11-24"),
        ("claude-haiku-4-5-20251001", "2025-10-15"),
        ("claude-sonnet-4-5-20250929", "2025-09-29"),
    )
    anthropic.aliases = {
        "claude-haiku-4-5": "claude-haiku-4-5-20251001",
        "claude-sonnet-4-5": "claude-sonnet-4-5-20250929",
        "claude-opus-4-5": "claude-opus-4-5-20251101",
    }
    openai = Vendor("openai", "/openai/v1", OpenAIWire())
    openai.offer(
        ("gpt-4o", "2024-05-10"),
        ("gpt-4o-mini", "2024-07-16"),
        ("gpt-4o-mini-2024-07-18", "2024-07-16"),
        ("text-embedding-3-small", "2024-01-22"),
        ("gpt-5-mini", "2025-08-05"),
        ("gpt-5.2", "2025-12-09"),
        ("gpt-5.2-2025-12-11", "2025-12-09"),
        ("gpt-5.2-codex", "2025-12-19"),
        ("gpt-5.2-pro", "2025-12-09"),
    )
    openai.refuses_temperature = openai.refuses_max_tokens = {"gpt-5*", "o1*", "o3*", "o4*"}
    openai.responses_only = {"*codex*", "*-pro"}
    google = Vendor("google", "/google", GoogleWire())
    google.offer("gemini-2.5-flash", "gemini-2.5-flash-lite", "gemini-2.5-pro", "gemini-3-pro-preview", "gemini-3-flash-preview")
    google.models.append(
        google.wire.entry("gemini-embedding-001", "2025-07-14") | {"supportedGenerationMethods": ["embedContent"]}
    )
    google.needs_signature = {"gemini-3*"}
    ollama = Vendor("ollama", "/ollama", OllamaWire())
    ollama.offer(("qwen3:8b", "2026-03-02"), ("llama3.2:3b", "2026-01-11"), ("gemma3:4b", "2025-12-24"))
    ollama.refuses_tools = {"gemma3:*"}
    openrouter = Vendor("openrouter", "/openrouter/api/v1", OpenRouterWire())
    openrouter.offer(
        ("anthropic/claude-haiku-4.5", "2025-10-15"),
        ("openai/gpt-4o-mini", "2024-07-18"),
        ("qwen/qwen3-coder:free", "2025-07-23"),
        ("meta-llama/llama-3.3-70b-instruct:free", "2024-12-06"),
    )
    llamacpp = Vendor("llamacpp", "/llamacpp/v1", LlamaCppWire(), accepts_any_model=True)
    llamacpp.offer("tiny-llama")
    return [anthropic, openai, google, ollama, openrouter, llamacpp]
