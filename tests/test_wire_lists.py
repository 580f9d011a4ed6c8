"""Every adapter against lists of models that vendors really answered, served byte for byte, through the real SDK or client."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bundle_loader.providers import table
from bundle_loader.providers.anthropic import AnthropicProvider
from bundle_loader.providers.base import Provider
from bundle_loader.providers.compatible import CompatibleProvider
from bundle_loader.providers.copilot import CopilotProvider
from bundle_loader.providers.google import GoogleProvider
from bundle_loader.providers.ollama import OllamaProvider
from bundle_loader.providers.openai import OpenAIProvider
from bundle_loader.routing.catalogue import ModelInfo
from tests.support.copilot_cli import StandIn
from tests.support.pages import Page, serving_pages

WIRE = Path(__file__).parent / "data" / "wire"
Entry = Mapping[str, Any]
KEY = "sk-a-key-of-this-test"


def wire(name: str) -> bytes:
    return (WIRE / name).read_bytes()


def entries(name: str) -> list[Any]:
    body = json.loads(wire(name))
    found = body if isinstance(body, list) else body["data"] if "data" in body else body["models"]
    assert isinstance(found, list)
    return found


def whole(name: str) -> Page:
    return lambda query: wire(name)


def compatible(name: str, **changes: Any) -> Callable[[str], Provider]:
    row = replace(table.rows()[name], **changes)
    return lambda url: CompatibleProvider(row, api_key=KEY, base_url=url)


# --- how a page leads to the next


def anthropic_pages(query: dict[str, str]) -> bytes:
    first, second = wire("anthropic_v1_models_page1.json"), wire("anthropic_v1_models_page2.after_id.json")
    return second if query.get("after_id") == json.loads(first)["last_id"] else first


def gemini_pages(query: dict[str, str]) -> bytes:
    first, second = wire("gemini_v1beta_models_page1.json"), wire("gemini_v1beta_models_page2.pageToken.json")
    return second if query.get("pageToken") == json.loads(first)["nextPageToken"] else first


def openrouter_pages(query: dict[str, str]) -> bytes:
    """The capture cut into pages of three, as its own `links` say it is done."""
    body = json.loads(wire("openrouter_api_v1_models.json"))
    start = int(query.get("offset", 0))
    more = start + 3 < len(body["data"])
    link = f"/api/v1/models?offset={start + 3}" if more else None
    return json.dumps({**body, "data": body["data"][start : start + 3], "links": {"next": link}}).encode()


# --- what each vendor's fields mean


def epoch(entry: Entry) -> datetime:
    return datetime.fromtimestamp(entry["created"], UTC)


def rfc3339(key: str) -> Callable[[Entry], datetime | None]:
    return lambda entry: datetime.fromisoformat(entry[key]) if entry.get(key) else None


def having(*words: str) -> frozenset[str]:
    return frozenset({"streaming", *words})


def gemini_kind(entry: Entry) -> str:
    methods = entry["supportedGenerationMethods"]
    kinds = {
        "generateContent": "chat", "embedContent": "embedding", "bidiGenerateContent": "realtime",
        "predictLongRunning": "video", "generateAnswer": "answer",
    }  # fmt: skip
    [kind] = {kinds[method] for method in methods if method in kinds}
    return kind


def gemini_stage(entry: Entry) -> str | None:
    version, description = entry["version"].lower(), entry["description"]
    if any(word in ("preview", "exp") for word in version.replace(" ", "-").split("-")):
        return "preview"
    return "stable" if description.startswith("Stable") else None


def mistral_capabilities(entry: Entry) -> frozenset[str]:
    told = entry["capabilities"]
    return having(
        "structured", "reasoning", *(["tools"] if told["function_calling"] else []), *(["vision"] if told["vision"] else [])
    )


def openrouter_capabilities(entry: Entry) -> frozenset[str]:
    parameters = entry["supported_parameters"]
    found = {"tools", "reasoning"} & set(parameters)
    if {"structured_outputs", "response_format"} & set(parameters):
        found.add("structured")
    if "image" in entry["architecture"]["input_modalities"]:
        found.add("vision")
    return having(*found)


def openrouter_prices(entry: Entry) -> dict[str, str]:
    names = {
        "prompt": "input", "completion": "output", "input_cache_read": "cache_read", "input_cache_write": "cache_write",
        "input_cache_write_1h": "cache_write_1h", "web_search": "search",
    }  # fmt: skip
    assert set(entry["pricing"]) <= {*names, "overrides"}
    return {names[key]: text for key, text in entry["pricing"].items() if key in names}


@dataclass(frozen=True)
class Shape:
    """One provider: its pages, its entries, and for each field of `ModelInfo` what an entry says; what is left out is unsaid."""

    make: Callable[[str], Provider]
    below: str
    path: str
    page: Page
    files: Sequence[str]
    told: Mapping[str, Callable[[Entry], object]]
    requests: int = 1
    stripped: str = ""

    @property
    def entries(self) -> list[Any]:
        return [entry for name in self.files for entry in entries(name)]

    def id(self, entry: Entry) -> str:
        return str(entry.get("id") or entry.get("model") or entry["name"]).removeprefix(self.stripped)


OPENAI_FILES = ("openai_v1_models_2025-10-16.json", "openai_v1_models_2026-08-19.json")
SHAPES: dict[str, Shape] = {
    "anthropic": Shape(
        lambda url: AnthropicProvider(api_key=KEY, base_url=url), "", "/v1/models", anthropic_pages,
        ("anthropic_v1_models_page1.json", "anthropic_v1_models_page2.after_id.json"),
        {
            "created": rfc3339("created_at"),
            "window": lambda entry: entry["max_input_tokens"],
            "output_limit": lambda entry: entry["max_tokens"],
            "kind": lambda entry: "chat",
            "stage": lambda entry: {"active": "stable"}[entry["lifecycle"]],
        },
        requests=2,
    ),
    "google": Shape(
        lambda url: GoogleProvider(api_key=KEY, base_url=url), "", "/v1/models", gemini_pages,
        ("gemini_v1beta_models_page1.json", "gemini_v1beta_models_page2.pageToken.json"),
        {
            "window": lambda entry: entry["inputTokenLimit"],
            "output_limit": lambda entry: entry["outputTokenLimit"],
            "kind": gemini_kind,
            "stage": gemini_stage,
            "capabilities": lambda entry: having("reasoning", "tools", "structured", "vision") if entry.get("thinking") else None,
            "assumed": lambda entry: frozenset({"tools", "structured", "vision"} if entry.get("thinking") else ()),
        },
        requests=2,
        stripped="models/",
    ),
    **{
        f"openai {name}": Shape(
            lambda url: OpenAIProvider(api_key=KEY, base_url=url), "/v1", "/v1/models", whole(name), (name,), {"created": epoch}
        )
        for name in OPENAI_FILES
    },
    "ollama": Shape(
        lambda url: OllamaProvider(base_url=url), "", "/api/tags", whole("ollama_api_tags.json"), ("ollama_api_tags.json",),
        {"digest": lambda entry: entry["digest"]},
    ),
    "openrouter": Shape(
        compatible("openrouter"), "/api/v1", "/api/v1/models", openrouter_pages, ("openrouter_api_v1_models.json",),
        {
            "created": epoch,
            "window": lambda entry: min(entry["context_length"], entry["top_provider"]["context_length"]),
            "output_limit": lambda entry: entry["top_provider"]["max_completion_tokens"],
            "kind": lambda entry: "chat" if "text" in entry["architecture"]["output_modalities"] else None,
            "capabilities": openrouter_capabilities,
            "prices": openrouter_prices,
        },
        requests=2,
    ),
    "groq": Shape(
        compatible("groq"), "/openai/v1", "/openai/v1/models", whole("groq_openai_v1_models.json"),
        ("groq_openai_v1_models.json",),
        {
            "created": epoch,
            "window": lambda entry: entry["context_window"],
            "output_limit": lambda entry: entry["max_completion_tokens"],
        },
    ),
    "mistral": Shape(
        compatible("mistral"), "/v1", "/v1/models", whole("mistral_v1_models.json"), ("mistral_v1_models.json",),
        {
            "created": epoch,
            "window": lambda entry: entry["max_context_length"],
            "kind": lambda entry: "chat" if entry["capabilities"]["completion_chat"] else "other",
            "stage": lambda entry: "deprecated" if entry["deprecation"] else None,
            "retires": rfc3339("deprecation"),
            "aliases": lambda entry: tuple(entry["aliases"]),
            "capabilities": mistral_capabilities,
            "assumed": lambda entry: frozenset({"structured", "reasoning"}),
        },
    ),
    "moonshot": Shape(
        compatible("moonshot"), "/v1", "/v1/models", whole("moonshot_v1_models.json"), ("moonshot_v1_models.json",),
        {"created": epoch},
    ),
    "deepseek": Shape(
        compatible("deepseek"), "/v1", "/v1/models", whole("deepseek_models.json"), ("deepseek_models.json",), {}
    ),
    "xai": Shape(
        compatible("xai"), "/v1", "/v1/language-models", whole("xai_v1_language-models.json"), ("xai_v1_language-models.json",),
        {
            "created": epoch,
            "kind": lambda entry: "chat" if "text" in entry["output_modalities"] else None,
            "aliases": lambda entry: tuple(entry["aliases"]),
            "capabilities": lambda entry: having(
                "tools", "structured", "reasoning", *(["vision"] if "image" in entry["input_modalities"] else [])
            ),
            "assumed": lambda entry: frozenset({"tools", "structured", "reasoning"}),
            "prices": lambda entry: {
                kind: f"{entry[key] / 1e10:.9f}".rstrip("0")
                for kind, key in (
                    ("input", "prompt_text_token_price"),
                    ("output", "completion_text_token_price"),
                    ("cache_read", "cached_prompt_text_token_price"),
                )
            },
        },
    ),
    "xai, its plain list": Shape(
        compatible("xai", models_path="models"), "/v1", "/v1/models", whole("xai_v1_models.json"), ("xai_v1_models.json",),
        {"created": epoch},
    ),
    "a bare list": Shape(
        compatible("openrouter", id="catalog", models_path="catalog/models"), "", "/catalog/models",
        whole("github_models_catalog.json"), ("github_models_catalog.json",),
        {
            "window": lambda entry: entry["limits"]["max_input_tokens"],
            "output_limit": lambda entry: entry["limits"]["max_output_tokens"],
            "kind": lambda entry: "chat" if "text" in entry["supported_output_modalities"] else None,
            "capabilities": lambda entry: having(
                "structured", "reasoning",
                *(["tools"] if "tool-calling" in entry["capabilities"] else []),
                *(["vision"] if "image" in entry["supported_input_modalities"] else []),
            ),
            "assumed": lambda entry: frozenset({"structured", "reasoning"}),
        },
    ),
}  # fmt: skip


async def listed(
    make: Callable[[str], Provider], below: str, path: str, page: Page
) -> tuple[list[ModelInfo], list[dict[str, str]]]:
    """What the adapter makes of the pages at `path`, and the query of each request."""
    async with serving_pages({path: page}) as pages:
        provider = make(pages.base + below)
        try:
            models = list(await provider.list_models())
        finally:
            await provider.aclose()
    others = {"/api/show"} if isinstance(provider, OllamaProvider) else set()
    assert {asked for asked, _ in pages.asked} - others == {path}
    if not isinstance(provider, OllamaProvider):
        assert KEY in (*pages.headers.values(), pages.headers.get("authorization", "").removeprefix("Bearer "))
    return models, [query for asked, query in pages.asked if asked == path]


@pytest.mark.parametrize("name", SHAPES)
async def test_every_entry_says_what_the_vendor_said_and_no_more(name: str) -> None:
    shape = SHAPES[name]
    models, queries = await listed(shape.make, shape.below, shape.path, shape.page)
    assert len(queries) == shape.requests
    assert [model.id for model in models] == [shape.id(entry) for entry in shape.entries], "none lost, none twice, in order"
    for entry, model in zip(shape.entries, models, strict=True):
        for one in fields(ModelInfo):
            if one.name in ("id", "extra", "from_table"):
                continue
            if one.name in model.from_table:
                assert one.name not in shape.told, "the table speaks only where the list does not"
                continue
            unsaid = one.default if one.default_factory is MISSING else one.default_factory()
            expected = shape.told[one.name](entry) if one.name in shape.told else unsaid
            assert getattr(model, one.name) == expected, f"{model.id}: {one.name}"


async def of(name: str) -> dict[str, ModelInfo]:
    shape = SHAPES[name]
    return {model.id: model for model in (await listed(shape.make, shape.below, shape.path, shape.page))[0]}


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


async def test_entries_of_the_three_large_vendors() -> None:
    anthropic = await of("anthropic")
    opus = anthropic["claude-opus-4-5-20251101"]
    assert opus == ModelInfo("claude-opus-4-5-20251101", day("2025-11-24"), 200_000, 64_000, kind="chat", stage="stable")
    assert opus.extra["line"] == "opus"
    google = await of("google")
    assert google["gemini-2.5-flash"].capabilities == having("reasoning", "tools", "structured", "vision")
    assert (google["gemini-2.5-flash"].window, google["gemini-2.5-flash"].stage) == (1_048_576, "stable")
    assert google["gemini-3-flash-preview"].stage == google["deep-research-preview-04-2026"].stage == "preview"
    assert google["gemini-3.7-flash"].stage is None
    kinds = {
        id: google[id].kind for id in ("aqa", "gemini-embedding-2", "veo-3.1-generate-preview", "gemini-3.1-flash-live-preview")
    }
    assert list(kinds.values()) == ["answer", "embedding", "video", "realtime"]
    openai = await of(f"openai {OPENAI_FILES[1]}")
    assert openai["gpt-5.2-chat-latest"].created == datetime(2025, 12, 10, 5, 25, 52, tzinfo=UTC)
    assert openai["gpt-4-0613"].extra["owned_by"] == "openai"


async def test_entries_of_relays_and_hosts() -> None:
    sonnet = (await of("openrouter"))["anthropic/claude-sonnet-4"]
    assert (sonnet.window, sonnet.output_limit) == (200_000, 64_000), "what the chosen server takes, not what the model could"
    assert sonnet.prices == {
        "input": "0.000003", "output": "0.000015", "cache_read": "0.0000003", "cache_write": "0.00000375",
        "cache_write_1h": "0.000006", "search": "0.01",
    }  # fmt: skip
    assert sonnet.capabilities == having("tools", "vision", "reasoning"), "structured is known to be absent"
    grok = (await of("xai"))["grok-3"]
    assert grok.prices == {"input": "0.000003", "output": "0.000015", "cache_read": "0.00000075"}
    assert grok.aliases == ("grok-3-latest", "grok-3-beta")
    mistral = await of("mistral")
    old = mistral["codestral-2501"]
    assert (old.stage, old.retires) == ("deprecated", datetime(2026, 1, 31, 12, tzinfo=UTC))
    assert old.aliases == ("codestral-2412", "codestral-2411-rc5")
    assert (mistral["mistral-embed"].kind, mistral["mistral-large-latest"].aliases) == ("other", ("mistral-large-2512",))
    assert (await of("groq"))["qwen/qwen3-32b"].output_limit == 40_960
    assert (await of("ollama"))["gemma3:12b"].extra["parameter_size"] == "12B"


async def test_a_list_of_fifty_to_a_page_is_read_to_its_end() -> None:
    """Google gives fifty, however many are asked for."""
    [one, *_] = entries("gemini_v1beta_models_page1.json")
    names = [f"models/gemini-{number}" for number in range(120)]

    def page(query: dict[str, str]) -> bytes:
        start = int(query.get("pageToken") or 0)
        more = {"nextPageToken": str(start + 50)} if start + 50 < len(names) else {}
        return json.dumps({"models": [{**one, "name": name} for name in names[start : start + 50]], **more}).encode()

    shape = SHAPES["google"]
    models, queries = await listed(shape.make, shape.below, shape.path, page)
    assert [f"models/{model.id}" for model in models] == names
    assert [query.get("pageToken") for query in queries] == [None, "50", "100"]


# --- shapes of which there is no capture


STAMP = 1_790_000_000
STAMPED = datetime.fromtimestamp(STAMP, UTC)


def servers(*told: tuple[int, bool]) -> list[dict[str, object]]:
    """Servers behind Hugging Face's relay, each with its window and whether it takes tools."""
    return [{"context_length": size, "supports_tools": tools, "supports_structured_output": False} for size, tools in told]


def able(*told: str, assumed: Sequence[str] = ()) -> dict[str, frozenset[str]]:
    return {"capabilities": having(*told, *assumed), "assumed": frozenset(assumed)}


LOCAL: dict[str, tuple[str, dict[str, object], ModelInfo]] = {
    "vllm": (
        "vllm",
        {
            "id": "qwen3", "object": "model", "created": STAMP, "owned_by": "vllm", "root": "/models/q", "parent": None,
            "max_model_len": 40_960, "permission": [{"id": "p"}],
        },
        ModelInfo("qwen3", STAMPED, 40_960),
    ),
    "lmstudio, plain": (
        "lmstudio",
        {"id": "qwen2-vl", "object": "model", "owned_by": "organization_owner"},
        ModelInfo("qwen2-vl"),
    ),
    "lmstudio v0": (
        "lmstudio",
        {
            "id": "qwen2-vl", "object": "model", "type": "vlm", "arch": "qwen2_vl", "state": "loaded",
            "max_context_length": 32_768, "loaded_context_length": 4096, "capabilities": ["tool_use"],
        },
        ModelInfo("qwen2-vl", window=4096, kind="chat", **able("vision", "tools", assumed=("structured", "reasoning"))),
    ),
    "lmstudio v1": (
        "lmstudio",
        {
            "type": "llm", "key": "gpt-oss-20b", "architecture": "gpt-oss", "max_context_length": 131_072,
            "loaded_instances": [{"config": {"context_length": 8192}}, {"config": {"context_length": 16_384}}],
            "capabilities": {"vision": False, "trained_for_tool_use": True},
        },
        ModelInfo("gpt-oss-20b", window=16_384, kind="chat", **able("tools", assumed=("structured", "reasoning"))),
    ),
    "an embedding model of lmstudio": (
        "lmstudio",
        {"id": "nomic", "type": "embeddings", "max_context_length": 2048},
        ModelInfo("nomic", window=2048, kind="embedding"),
    ),
    "moonshot": (
        "moonshot",
        {
            "id": "kimi-k3", "created": STAMP, "context_length": 262_144, "supports_image_in": True, "supports_video_in": False,
            "supports_reasoning": False,
        },
        ModelInfo("kimi-k3", STAMPED, 262_144, **able("vision", assumed=("tools", "structured"))),
    ),
    "huggingface": (
        "huggingface",
        {
            "id": "Qwen/Qwen3", "created": STAMP, "providers": servers((32_768, False), (131_072, True)),
            "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
        },
        ModelInfo("Qwen/Qwen3", STAMPED, 131_072, kind="chat", **able("tools", assumed=("reasoning",))),
    ),
    "a relay whose price depends": (
        "openrouter",
        {"id": "openrouter/auto", "pricing": {"prompt": "-1", "completion": "-1"}, "expiration_date": "2027-03-01"},
        ModelInfo("openrouter/auto", stage="deprecated", retires=day("2027-03-01")),
    ),
    "groq, switched off": ("groq", {"id": "old", "active": False}, ModelInfo("old", stage="retired")),
    "mistral's reader of pages": (
        "mistral",
        {"id": "m", "capabilities": {"completion_chat": False, "ocr": True, "vision": True, "function_calling": False}},
        ModelInfo("m", kind="ocr", **able("vision", assumed=("structured", "reasoning"))),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LOCAL)
async def test_what_other_servers_write(name: str) -> None:
    row, entry, expected = LOCAL[name]
    path, body = f"/v1/{table.rows()[row].models_path}", {"models" if "key" in entry else "data": [entry]}
    models, _ = await listed(compatible(row), "/v1", path, lambda query: json.dumps(body).encode())
    assert models == [expected]


async def test_llama_cpp_lists_its_model_twice_and_what_it_serves_counts() -> None:
    entry = {
        "id": "tiny", "aliases": ["tiny", "small"], "object": "model", "created": STAMP, "owned_by": "llamacpp",
        "meta": {"n_ctx": 4096, "n_ctx_train": 32_768, "n_params": 1},
    }  # fmt: skip
    other = {"name": "tiny", "model": "tiny", "type": "model", "capabilities": ["completion"]}
    body = json.dumps({"models": [other], "object": "list", "data": [entry]}).encode()
    models, _ = await listed(compatible("llama.cpp"), "/v1", "/v1/models", lambda query: body)
    assert models == [ModelInfo("tiny", STAMPED, 4096, aliases=("small",))]


async def test_a_model_that_openai_and_anthropic_end() -> None:
    ends = {"id": "gpt-old", "object": "model", "created": 1_700_000_000, "owned_by": "system", "shutdown_date": "2027-02-03"}
    shape = SHAPES[f"openai {OPENAI_FILES[0]}"]
    [old], _ = await listed(
        shape.make, shape.below, shape.path, lambda query: json.dumps({"object": "list", "data": [ends]}).encode()
    )
    assert (old.stage, old.retires) == ("deprecated", day("2027-02-03"))
    [first, *_] = entries("anthropic_v1_models_page1.json")
    going = {**first, "lifecycle": "deprecated", "deprecated_at": "2026-10-01T00:00:00Z", "retires_at": "2027-01-05T00:00:00Z"}
    body = json.dumps({"data": [going], "has_more": False, "first_id": first["id"], "last_id": first["id"]}).encode()
    shape = SHAPES["anthropic"]
    [ending], _ = await listed(shape.make, shape.below, shape.path, lambda query: body)
    assert (ending.stage, ending.retires) == ("deprecated", day("2027-01-05"))


async def test_the_list_of_copilot_through_its_cli(tmp_path: Path) -> None:
    told = entries("copilot_models_2025-02.json")
    cli = StandIn(tmp_path)
    cli.plan(models=told)
    provider = CopilotProvider(api_key="ghp_aKeyOfThisTest", environment=cli.environment())
    try:
        models = await provider.list_models()
    finally:
        await provider.aclose()
    assert [model.id for model in models] == [entry["id"] for entry in told]
    for entry, model in zip(told, models, strict=True):
        able, limits = entry["capabilities"]["supports"], entry["capabilities"].get("limits") or {}
        assert model.window == limits.get("max_prompt_tokens"), "less than the context window, and what a prompt is held to"
        assert model.output_limit == limits.get("max_output_tokens")
        assert model.kind == {"chat": "chat", "embeddings": "embedding"}[entry["capabilities"]["type"]]
        assert model.stage == ("preview" if entry["preview"] else "stable")
        assert (model.barred is None, model.created, model.aliases, model.prices) == (True, None, (), {})
        if model.kind == "chat":
            assert model.capabilities == having("tools", "structured", *(["vision"] if "vision" in limits else []))
            assert able["tool_calls"]
            assert model.assumed == {"structured"}


@pytest.mark.parametrize(("family", "kind"), [("nomic-bert", "embedding"), ("bert", "embedding"), ("qwen3", None)])
async def test_an_architecture_of_ollama_that_only_embeds(family: str, kind: str | None) -> None:
    [one, *_] = entries("ollama_api_tags.json")
    entry = {**one, "details": {**one["details"], "family": family, "families": [family]}}
    shape = SHAPES["ollama"]
    [model], _ = await listed(shape.make, shape.below, shape.path, lambda query: json.dumps({"models": [entry]}).encode())
    assert model.kind == kind
