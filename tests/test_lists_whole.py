"""Half a list, odd entries and odd ids: each list over a socket through its real SDK; what is not whole is a reason."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from bundle_loader.errors import FailureKind, ProviderFailure
from bundle_loader.providers import table
from bundle_loader.providers.anthropic import AnthropicProvider
from bundle_loader.providers.base import Provider
from bundle_loader.providers.catalogues import Catalogues
from bundle_loader.providers.compatible import CompatibleProvider
from bundle_loader.providers.google import GoogleProvider
from bundle_loader.providers.list_pages import MOST_PAGES
from bundle_loader.providers.ollama import OllamaProvider
from bundle_loader.providers.openai import OpenAIProvider
from bundle_loader.providers.taken_in import LONGEST_ID
from bundle_loader.routing.catalogue import ModelInfo
from tests.support.pages import Pages, serving_pages

KEY = "sk-a-key-of-this-test"
Query = dict[str, str]
Body = Callable[[Query], Any]

ADAPTERS: Mapping[str, tuple[str, Callable[[str], Provider]]] = {
    "anthropic": ("/v1/models", lambda base: AnthropicProvider(api_key=KEY, base_url=base)),
    "openai": ("/v1/models", lambda base: OpenAIProvider(api_key=KEY, base_url=f"{base}/v1")),
    "google": ("/v1/models", lambda base: GoogleProvider(api_key=KEY, base_url=base)),
    "ollama": ("/api/tags", lambda base: OllamaProvider(base_url=base)),
    "openrouter": (
        "/v1/models",
        lambda base: CompatibleProvider(table.rows()["openrouter"], api_key=KEY, base_url=f"{base}/v1"),
    ),
}


@dataclass
class Server:
    """What one vendor serves now."""

    body: Body = field(default=lambda query: {})

    def page(self, query: Query) -> bytes:
        return json.dumps(self.body(query)).encode()


async def listed(vendor: str, body: Body) -> tuple[list[ModelInfo] | ProviderFailure, Pages]:
    """What the adapter makes of a body: its models, or its failure."""
    path, make = ADAPTERS[vendor]
    async with serving_pages({path: Server(body).page}) as pages:
        provider = make(pages.base)
        try:
            found: list[ModelInfo] | ProviderFailure = list(await provider.list_models())
        except ProviderFailure as failure:
            found = failure
        finally:
            await provider.aclose()
    return found, pages


def claude(id: object = "claude-1", **more: Any) -> dict[str, Any]:
    return {"type": "model", "id": id, "display_name": "x", "created_at": "2026-01-01T00:00:00Z", **more}


def later(first: Any, then: Any, mark: str) -> Body:
    """One body for the first page, and another for each that is asked for by the mark."""
    return lambda query: then if mark in query else first


MORE = {"data": [claude()], "has_more": True, "last_id": "claude-1"}
NONE = {"data": [], "has_more": False, "last_id": None}
LINKED = {"data": [{"id": "m-1"}], "links": {"next": "?offset=1"}}
TOKEN = {"models": [{"name": "models/gemini-1"}], "nextPageToken": "t"}
ONE = {"id": "m-1"}


def counting(mark: str, page: Callable[[int], Any]) -> Body:
    """Pages without an end, each leading to another."""
    return lambda query: page(int(query.get(mark, "0")) + 1)


HALF: Mapping[str, tuple[str, Body, str, int]] = {
    "more, and not where": ("anthropic", lambda query: {**MORE, "last_id": None}, "says that more follow, and not where", 1),
    "more, and an empty id": ("anthropic", lambda query: {**MORE, "last_id": ""}, "says that more follow, and not where", 1),
    "more, and none": ("anthropic", later(MORE, {**NONE, "has_more": True}, "after_id"), "says that more follow", 2),
    "more, none and where": (
        "anthropic",
        later(MORE, {**NONE, "has_more": True, "last_id": "z"}, "after_id"),
        "has a later page that holds none",
        2,
    ),
    "an empty end": ("anthropic", later(MORE, NONE, "after_id"), "has a later page that holds none", 2),
    "more in a word": ("anthropic", lambda query: {**MORE, "has_more": [1]}, "does not say whether more follow", 1),
    "where in a number": ("anthropic", lambda query: {**MORE, "last_id": 5}, "does not say where it goes on", 1),
    "the same page": ("anthropic", lambda query: MORE, "leads back to an earlier page", 2),
    "endless": (
        "anthropic",
        counting("after_id", lambda n: {"data": [claude(f"c-{n}")], "has_more": True, "last_id": str(n)}),
        f"has no end after {MOST_PAGES} pages",
        MOST_PAGES,
    ),
    "more than one page": ("openai", lambda query: {"data": [ONE], "has_more": True}, "says that more follow, and not where", 1),
    "fewer than there are": ("openrouter", lambda query: {"data": [ONE], "total_count": 500}, "has 1 of the 500 models", 1),
    "a link in a number": ("openrouter", lambda query: {"data": [ONE], "links": {"next": 5}}, "does not say where it goes on", 1),
    "more without a link": ("openrouter", lambda query: {"data": [ONE], "has_more": True}, "and not where", 1),
    "an empty later page": ("openrouter", later(LINKED, {"data": []}, "offset"), "has a later page that holds none", 2),
    "an empty page with a link": ("openrouter", lambda query: {**LINKED, "data": []}, "says that more follow, and holds none", 1),
    "a link to itself": ("openrouter", lambda query: LINKED, "leads back to an earlier page", 2),
    "a ring": (
        "openrouter",
        lambda query: {"data": [ONE], "links": {"next": f"?offset={(int(query.get('offset', '0')) + 1) % 3}"}},
        "leads back to an earlier page",
        4,
    ),
    "endless links": (
        "openrouter",
        counting("offset", lambda n: {"data": [{"id": f"m-{n}"}], "links": {"next": f"?offset={n}"}}),
        f"has no end after {MOST_PAGES} pages",
        MOST_PAGES,
    ),
    "a token twice": ("google", lambda query: TOKEN, "leads back to an earlier page", 2),
    "an empty page of tokens": ("google", later(TOKEN, {"models": []}, "pageToken"), "has a later page that holds none", 2),
    "endless tokens": (
        "google",
        counting("pageToken", lambda n: {"models": [{"name": f"models/g-{n}"}], "nextPageToken": str(n)}),
        f"has no end after {MOST_PAGES} pages",
        MOST_PAGES,
    ),
}


@pytest.mark.parametrize("name", HALF)
async def test_half_a_list_is_none(name: str) -> None:
    vendor, body, said, requests = HALF[name]
    found, pages = await listed(vendor, body)
    assert isinstance(found, ProviderFailure), found
    assert (found.kind, found.message.startswith("the list of models ")) == (FailureKind.BROKEN, True)
    assert said in found.message
    assert len(pages.asked) == requests


WHOLE: Mapping[str, tuple[str, Body, list[str]]] = {
    "a last page with its id": ("anthropic", lambda query: {**MORE, "has_more": False}, ["claude-1"]),
    "no word of more": ("anthropic", lambda query: {"data": [claude()]}, ["claude-1"]),
    "two pages": (
        "anthropic",
        later(MORE, {"data": [claude("claude-2")], "has_more": False, "last_id": "claude-2"}, "after_id"),
        ["claude-1", "claude-2"],
    ),
    "none at all": ("openrouter", lambda query: {"data": [], "links": {"next": None}, "total_count": 0}, []),
    "as many as there are": ("openrouter", lambda query: {"data": [ONE], "total_count": 1}, ["m-1"]),
    "an end that it names": ("openrouter", lambda query: {"data": [ONE], "links": {"next": None}, "total_count": 500}, ["m-1"]),
    "no more": ("openai", lambda query: {"object": "list", "data": [ONE], "has_more": False}, ["m-1"]),
    "two tokens": ("google", later(TOKEN, {"models": [{"name": "models/g-2"}]}, "pageToken"), ["gemini-1", "g-2"]),
}


@pytest.mark.parametrize("name", WHOLE)
async def test_a_whole_list_is_taken(name: str) -> None:
    vendor, body, ids = WHOLE[name]
    found, _ = await listed(vendor, body)
    assert not isinstance(found, ProviderFailure), found
    assert [model.id for model in found] == ids


async def test_the_old_list_serves_on_where_half_a_one_comes() -> None:
    server = Server(lambda query: {"data": [claude("claude-1"), claude("claude-2")], "has_more": False})
    path, make = ADAPTERS["anthropic"]
    async with serving_pages({path: server.page}) as pages:
        provider = make(pages.base)
        catalogues = Catalogues({"anthropic": provider}, clock=lambda: 1_800_000_000.0)
        await catalogues.offers()
        server.body = lambda query: {**MORE, "last_id": None}
        offer = (await catalogues.offers(refresh=True)).by_id["anthropic"]
        await catalogues.aclose()
        await provider.aclose()
    assert offer.catalogue is not None
    assert [model.id for model in offer.catalogue.models] == ["claude-1", "claude-2"]
    assert "the list of models says that more follow, and not where" in str(offer.stale)


# --- odd fields

HUGE = "9" * 80
ODD_CLAUDE: Mapping[str, Any] = {
    "capabilities": {"thinking": True, "image_input": {"supported": False}, "structured_outputs": "perhaps"},
    "max_input_tokens": {"a": 1},
    "max_tokens": [],
    "lifecycle": {"a": 1},
    "retires_at": 1e300,
    "created_at": None,
    "line": [1],
}


async def test_an_odd_field_of_claude_is_not_known_and_the_entry_stays() -> None:
    bodies = [{"data": [claude(**{key: value}), claude("claude-2")]} for key, value in ODD_CLAUDE.items()]
    bodies += [{"data": [claude(capabilities=odd), claude("claude-2")]} for odd in ([1], "all", 5, {}, {"thinking": 5})]
    bodies += [{"data": [claude(max_input_tokens=odd), claude("claude-2")]} for odd in ("many", -1, 1.5, 10**40)]
    for body in bodies:
        found, _ = await listed("anthropic", lambda query, body=body: body)
        assert not isinstance(found, ProviderFailure), (body, found)
        assert [model.id for model in found] == ["claude-1", "claude-2"]
        assert (found[0].window, found[0].output_limit, found[0].retires) == (None, None, None)
    found, _ = await listed("anthropic", lambda query: {"data": [claude(**ODD_CLAUDE)]})
    assert not isinstance(found, ProviderFailure)
    assert found[0].capabilities == {"reasoning", "structured", "tools", "streaming"}
    assert found[0].assumed == {"structured"}


ODD_COMPATIBLE: Mapping[str, list[Any]] = {
    "aliases": [5, "abc", {"a": 1}, [5, None, ["x"]]],
    "pricing": [{"prompt": "1e9999999"}, {"prompt": f"1e{HUGE}"}, {"prompt": HUGE}, {"prompt": "NaN"}, {"prompt": True}, [1], 5],
    "context_length": ["8k", {"a": 1}, -5, 10**100, True],
    "created": ["soon", [1], 1e300, -5],
    "architecture": ["x", {"output_modalities": [{"a": 1}]}, {"input_modalities": 5}],
    "supported_parameters": ["tools", 5],
    "capabilities": ["x", [["tools"], {"a": 1}], {"completion_chat": "no"}],
    "deprecation": [[1], {"a": 1}],
    "type": [[1], {"a": 1}],
    "top_provider": [5, {"context_length": "x"}],
    "providers": [5, [5], [{"context_length": "x"}]],
    "prompt_text_token_price": ["1e9999999", [1]],
}


@pytest.mark.parametrize("key", ODD_COMPATIBLE)
async def test_an_odd_field_of_a_compatible_server_is_not_known_and_the_entry_stays(key: str) -> None:
    entries = [{"id": f"m-{number}", key: odd} for number, odd in enumerate(ODD_COMPATIBLE[key])]
    found, _ = await listed("openrouter", lambda query: {"data": [*entries, {"id": "good", "context_length": 5}]})
    assert not isinstance(found, ProviderFailure), found
    assert [model.id for model in found] == [*(entry["id"] for entry in entries), "good"]
    for model in found[:-1]:
        told = (model.created, model.window, model.kind, model.stage, model.retires, model.aliases, dict(model.prices))
        assert told == (None, None, None, None, None, (), {}), model
    assert found[-1].window == 5


async def test_an_odd_field_of_ollama_is_not_known_and_the_entry_stays() -> None:
    odd = [
        {"model": "a:1", "details": 5},
        {"model": "b:1", "size": "y", "modified_at": "x", "digest": [1]},
        {"name": "c:1", "details": {"family": 5, "families": 5}},
    ]
    found, _ = await listed("ollama", lambda query: {"models": odd})
    assert not isinstance(found, ProviderFailure), found
    assert [(model.id, model.digest, model.kind) for model in found] == [(id, None, None) for id in ("a:1", "b:1", "c:1")]


# --- odd ids

UNUSABLE = ["", "  ", "m\ud800", "m\nx", "m\x1b[31m", "m\x00", "m\u202e1", "m\u200b", "m" * (LONGEST_ID + 1)]


class Own:
    """A host's own provider."""

    local = False

    def __init__(self, models: Any) -> None:
        self.id, self.models = "own", models

    async def list_models(self) -> Any:
        return self.models

    async def stream(self, request: Any) -> Any:
        raise NotImplementedError
        yield

    async def aclose(self) -> None:
        return


async def test_ids_that_cannot_be_shown_or_sent_are_left_out_with_a_note() -> None:
    kept = ["m-1", "日本語-1", "m é", "m" * LONGEST_ID]
    models = [*(ModelInfo(id) for id in UNUSABLE), *(ModelInfo(id, aliases=("a\n", "b")) for id in kept)]
    offer = (await Catalogues({"own": Own(models)}, clock=lambda: 1e9).offers()).by_id["own"]
    assert offer.catalogue is not None
    assert [(model.id, model.aliases) for model in offer.catalogue.models] == [(id, ("b",)) for id in kept]
    assert offer.note == f"own: {len(UNUSABLE)} of its models are left out: no id that can be shown and sent"


async def test_they_are_left_out_of_a_list_over_a_socket() -> None:
    server = Server(lambda query: {"data": [*({"id": id, "object": "model"} for id in UNUSABLE if id), ONE]})
    path, make = ADAPTERS["openai"]
    async with serving_pages({path: server.page}) as pages:
        provider = make(pages.base)
        offer = (await Catalogues({"openai": provider}, clock=lambda: 1e9).offers()).by_id["openai"]
        await provider.aclose()
    assert offer.catalogue is not None, offer.reason
    assert [model.id for model in offer.catalogue.models] == ["m-1"]
    assert str(offer.note).startswith(f"openai: {len(UNUSABLE) - 1} of its models")
