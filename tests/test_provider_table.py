"""The table of providers, what it does to a config, and the lists of models that its rows' servers give."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, fields
from datetime import UTC, datetime
from typing import Any

import pytest

from bundle_loader.providers import compatible_models, table
from bundle_loader.providers.compatible import CompatibleProvider
from bundle_loader.providers.config import NEUTRAL, OF_SCHEMAS, translate
from bundle_loader.providers.table import ProviderRow
from bundle_loader.routing.catalogue import ModelInfo

NATIVE = ["anthropic", "openai", "google", "ollama", "github-copilot"]
SHARED = ["openrouter", "groq", "mistral", "huggingface", "deepseek", "moonshot", "xai", "vllm", "llama.cpp", "lmstudio"]
CLOUDS = ["azure-openai", "bedrock", "vertex"]
IDS = [*NATIVE, *SHARED, *CLOUDS]


def row(name: str) -> ProviderRow:
    found = table.row(name)
    assert found is not None
    return found


def test_every_provider_has_a_row() -> None:
    assert list(table.rows()) == IDS
    assert {id: row(id).adapter for id in NATIVE} == {
        "anthropic": "anthropic",
        "openai": "openai",
        "google": "google",
        "ollama": "ollama",
        "github-copilot": "copilot",
    }
    assert {row(id).adapter for id in SHARED} == {"compatible"}
    assert [row(id).adapter for id in CLOUDS] == CLOUDS
    assert {row.id for row in table.rows().values() if row.instances_only} == set(CLOUDS)


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("gemini", "google"),
        ("moonshotai", "moonshot"),
        ("llamacpp", "llama.cpp"),
        ("llama-cpp", "llama.cpp"),
        ("OpenAI", "openai"),
        (" groq ", "groq"),
        ("my-own", "my-own"),
    ],
)
def test_names_and_aliases(name: str, id: str) -> None:
    assert table.canonical(name) == id
    found = table.row(name)
    assert (found.id if found else None) == (id if id in IDS else None)


def test_names_are_given_once() -> None:
    names = [name for found in table.rows().values() for name in (found.id, *found.aliases)]
    assert len(names) == len(set(names))


def test_keys_are_looked_for_in_order() -> None:
    assert row("google").key_variables == ("GEMINI_API_KEY", "GOOGLE_API_KEY")
    for found in table.rows().values():
        assert found.key_variables
        assert found.key_required == (found.id not in ("ollama", "vllm", "llama.cpp", "lmstudio"))


def test_addresses() -> None:
    variables = {
        "anthropic": "ANTHROPIC_BASE_URL",
        "openai": "OPENAI_BASE_URL",
        "google": "GOOGLE_GEMINI_BASE_URL",
        "ollama": "OLLAMA_HOST",
    }
    for found in table.rows().values():
        if found.adapter == "copilot" or found.instances_only:
            continue
        assert found.base_url is not None
        assert found.base_url.startswith("http://127.0.0.1:" if found.local else "https://")
        assert found.local == table.is_private(found.base_url)
        expected = variables.get(found.id, f"{found.id.upper().replace('.', '')}_BASE_URL")
        assert found.base_url_variable == expected


def test_free_tiers_have_the_lower_end_of_their_limits() -> None:
    limits = {id: row(id).requests_per_minute for id in IDS if row(id).requests_per_minute is not None}
    assert limits == {"google": 60, "groq": 30, "huggingface": 30, "mistral": 20, "openrouter": 10}
    assert {row(id).cost for id in limits} == {"free"}
    assert row("anthropic").cost == row("openai").cost == "paid"
    assert row("openrouter").free_models == ("*:free",)


def test_prices_are_named_as_the_price_list_names_them() -> None:
    from genai_prices.data import providers

    known = {provider.id for provider in providers}
    assert {row(id).prices for id in IDS} - {None} <= known
    assert row("xai").prices == "x-ai"


def test_what_the_table_fills_is_what_a_list_can_say_and_is_filled_where_it_is_written() -> None:
    known = {field.name for field in fields(ModelInfo)}
    for found in table.rows().values():
        assert not found.models or found.adapter == "compatible", found.id
        for pattern, told in found.models.items():
            assert pattern == pattern.lower()
            assert set(told) <= known - {"id", "extra", "created", "aliases"}, (found.id, pattern)


def test_rows_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        row("openai").local = True  # type: ignore[misc]
    with pytest.raises(TypeError):
        row("openai").refuses["temperature"] = ()  # type: ignore[index]


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("http://localhost:8080/v1", True),
        ("http://LOCALHOST", True),
        ("127.0.0.1:11434", True),
        ("http://[::1]:1", True),
        ("http://192.168.1.7:8000/v1", True),
        ("http://10.0.0.1", True),
        ("https://api.groq.com/openai/v1", False),
        ("http://8.8.8.8", False),
        ("http://localhost.example.org", False),
        ("http://gpu-box:8000", False),
        ("http://user:localhost@example.org", False),
    ],
)
def test_private_addresses(url: str, private: bool) -> None:
    assert table.is_private(url) is private


@pytest.mark.parametrize(
    ("name", "model", "config", "expected"),
    [
        (
            "anthropic",
            "claude-opus-4-5",
            {"stop": "x", "reasoning_effort": "low"},
            {"stop_sequences": ["x"], "output_config": {"effort": "low"}},
        ),
        (
            "anthropic",
            "claude-haiku-4-5",
            {"output_config": {"a": 1}, "temperature": 0},
            {"output_config": {"a": 1}, "temperature": 0},
        ),
        (
            "anthropic",
            "claude-opus-4-6",
            {"output_config": {"a": 1}, "reasoning_effort": "low"},
            {"output_config": {"a": 1, "effort": "low"}},
        ),
        ("openai", "o3-mini", {"reasoning_effort": "high", "seed": 1}, {"reasoning_effort": "high", "seed": 1}),
        (
            "google",
            "gemini-3-pro",
            {"stop": ["a"], "reasoning_effort": "low"},
            {"stop_sequences": ["a"], "thinking_config": {"thinking_level": "low"}},
        ),
        ("ollama", "qwen3", {"temperature": 0.1, "options": {"num_ctx": 9}}, {"options": {"temperature": 0.1, "num_ctx": 9}}),
        (
            "ollama",
            "qwen3",
            {"options": {"num_ctx": 9}, "top_k": 5, "stop": ("a",)},
            {"options": {"num_ctx": 9, "top_k": 5, "stop": ["a"]}},
        ),
        ("mistral", "mistral-large-latest", {"seed": 3}, {"random_seed": 3}),
        ("openrouter", "x/y", {"reasoning_effort": "low", "top_k": 3}, {"reasoning": {"effort": "low"}, "top_k": 3}),
        ("vllm", "x", {"guided_choice": ["a"], "min_p": 0.1}, {"guided_choice": ["a"], "min_p": 0.1}),
        ("groq", "openai/gpt-oss-120b", {"reasoning_effort": "low", "max_tokens": 5}, {"reasoning_effort": "low"}),
        ("openai", "gpt-4o", {"temperature": None, "custom": None}, {"custom": None}),
    ],
)
def test_config_goes_where_the_vendor_wants_it(name: str, model: str, config: dict[str, Any], expected: dict[str, Any]) -> None:
    before = json.dumps(config)
    assert translate(row(name), model, config) == (expected, ())
    assert json.dumps(config) == before


@pytest.mark.parametrize(
    ("name", "key", "taken", "refused"),
    [
        (
            "anthropic",
            "temperature",
            "claude-haiku-4-5 claude-sonnet-4-5-20250929 claude-3-5-sonnet-20241022 claude-3-7-sonnet-latest"
            " claude-opus-4-1-20250805 claude-opus-4-20250514 claude-opus-4-6 claude-sonnet-4-6",
            "claude-opus-4-7 claude-opus-4-8 claude-opus-4-10 claude-opus-5 claude-sonnet-5 claude-fable-5"
            " claude-sonnet-5-20270101 claude-opus-5-5 Claude-Opus-4-8",
        ),
        (
            "anthropic",
            "reasoning_effort",
            "claude-opus-4-5 claude-opus-4-6 claude-sonnet-4-6 claude-sonnet-5 claude-opus-4-10",
            "claude-3-7-sonnet-latest claude-haiku-4-5 claude-sonnet-4-5 claude-opus-4-1 claude-sonnet-4-20250514",
        ),
        ("anthropic", "seed", "", "claude-haiku-4-5"),
        ("openai", "temperature", "gpt-4o gpt-4.1-mini gpt-5-chat-latest", "o1 o3-mini gpt-5 gpt-5.2-codex"),
        ("openai", "reasoning_effort", "o3-mini gpt-5.2", "gpt-4o gpt-3.5-turbo gpt-5-chat-latest"),
        ("openai", "top_k", "", "gpt-4o"),
        ("google", "reasoning_effort", "gemini-3-pro-preview", "gemini-2.5-flash gemma-3-27b-it"),
        ("xai", "reasoning_effort", "grok-3-mini", "grok-3 grok-4 grok-2-1212"),
    ],
)
def test_what_a_model_does_not_take_is_dropped_with_a_note(name: str, key: str, taken: str, refused: str) -> None:
    for model in taken.split():
        parameters, notes = translate(row(name), model, {key: 1})
        assert (bool(parameters), notes) == (True, ()), model
    for model in refused.split():
        assert translate(row(name), model, {key: 1}) == ({}, (f"{key} dropped: {model} does not take it",)), model


def test_a_value_beyond_the_vendors_range_is_lowered_with_a_note() -> None:
    assert translate(row("anthropic"), "claude-haiku-4-5", {"temperature": 1.4}) == (
        {"temperature": 1.0},
        ("temperature lowered from 1.4 to 1: anthropic takes no more",),
    )


@pytest.mark.parametrize("key", ["model", "messages", "system", "tools", "stream", "contents", "max_completion_tokens"])
def test_config_cannot_set_what_a_request_itself_decides(key: str) -> None:
    parameters, notes = translate(row("openai"), "gpt-4o", {key: "x"})
    assert parameters == {}
    assert notes == (f"{key} dropped: a request's own field cannot be set by config",)


def test_the_table_speaks_only_of_neutral_keys() -> None:
    for found in table.rows().values():
        assert set(found.config) | set(found.refuses) - OF_SCHEMAS | set(found.at_most) <= NEUTRAL


_LISTS: list[tuple[Any, dict[str, Any]]] = [
    ({"data": [{"id": "a", "created": 1_700_000_000}]}, {"created": datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)}),
    ([{"id": "a"}], {"created": None, "window": None, "capabilities": None, "kind": None, "stage": None}),
    ({"models": [{"id": "a", "aliases": ["b", "a", 3]}]}, {"aliases": ("b",)}),
    ({"models": [{"key": "a", "max_context_length": 7, "type": "embeddings"}]}, {"window": 7, "kind": "embedding"}),
    ({"data": [{"id": "a", "meta": {"n_ctx": 5, "n_ctx_train": 9}}], "models": [{"name": "x"}]}, {"window": 5}),
    ({"data": [{"id": "a", "max_model_len": 11}]}, {"window": 11}),
    (
        {"data": [{"id": "a", "context_window": 12, "max_completion_tokens": 6, "active": False}]},
        {"window": 12, "output_limit": 6, "stage": "retired"},
    ),
    ({"data": [{"id": "a", "context_length": 1000, "top_provider": {"context_length": 200}}]}, {"window": 200}),
    (
        {
            "data": [
                {
                    "id": "a",
                    "capabilities": {"completion_chat": False, "moderation": True, "function_calling": False, "vision": False},
                }
            ]
        },
        {"kind": "moderation", "capabilities": frozenset({"structured", "reasoning", "streaming"})},
    ),
    (
        {"data": [{"id": "a", "capabilities": {"completion_chat": True}, "deprecation": "2026-01-31"}]},
        {"kind": "chat", "stage": "deprecated"},
    ),
    (
        {"data": [{"id": "a", "supports_image_in": False, "supports_reasoning": False}]},
        {"capabilities": frozenset({"tools", "structured", "streaming"})},
    ),
    (
        {
            "data": [
                {
                    "id": "a",
                    "providers": [{"context_length": 5, "supports_tools": False}, {"context_length": 9, "supports_tools": True}],
                }
            ]
        },
        {"window": 9, "capabilities": frozenset({"tools", "vision", "structured", "reasoning", "streaming"})},
    ),
    (
        {
            "data": [
                {
                    "id": "a",
                    "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["image"]},
                    "supported_parameters": [],
                }
            ]
        },
        {"kind": "image", "capabilities": frozenset({"vision", "streaming"})},
    ),
]


@pytest.mark.parametrize(("body", "expected"), _LISTS)
def test_lists_of_all_shapes_are_understood(body: Any, expected: dict[str, Any]) -> None:
    page = compatible_models.page(body)
    (model,) = [compatible_models.info(entry) for entry in page.entries]
    assert model.id == "a"
    assert page.following is None
    assert {key: getattr(model, key) for key in expected} == expected
    json.dumps(dict(model.extra))


def test_prices_are_dollars_for_one_token() -> None:
    relay = {"id": "a", "pricing": {"prompt": "0.000003", "completion": "1.5e-5", "input_cache_read": "0", "image": "7"}}
    assert compatible_models.info(relay).prices == {
        "input": "0.000003",
        "output": "0.000015",
        "cache_read": "0",
    }
    cents = {"id": "a", "prompt_text_token_price": 30000, "completion_text_token_price": 150000}
    assert compatible_models.info(cents).prices == {"input": "0.000003", "output": "0.000015"}
    varying = {"id": "a", "pricing": {"prompt": "-1", "completion": "x"}}
    assert compatible_models.info(varying).prices == {}


@pytest.mark.parametrize("body", [None, "page", {}, {"data": {}}, {"data": ["a"]}, {"models": None}, 3])
def test_what_is_no_list_is_refused(body: Any) -> None:
    with pytest.raises(ValueError, match="wrong shape"):
        compatible_models.page(body)


def test_every_compatible_row_makes_a_provider() -> None:
    for found in table.rows().values():
        if found.adapter == "compatible" and not found.instances_only:
            provider = CompatibleProvider(found, api_key="key-that-is-secret")
            assert (provider.id, provider.local) == (found.id, found.local)
            assert "secret" not in repr(provider)
    with pytest.raises(ValueError, match="no base_url"):
        CompatibleProvider(row("github-copilot"))
