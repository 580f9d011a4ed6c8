"""The model lists of OpenAI-compatible servers, whose fields differ, as `ModelInfo`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from bundle_loader.routing.catalogue import ModelInfo
from bundle_loader.routing.model_entries import price_text, sound
from bundle_loader.routing.moments import moment

_WINDOWS = ("context_length", "context_window", "max_context_length", "max_model_len", "max_input_tokens")
_LOADED = ("loaded_context_length", "context_length")
_OUTPUTS = ("max_completion_tokens", "max_output_tokens", "max_output_length")
_ENDED = ("deprecation", "expiration_date", "shutdown_date")
_LEFT_OUT = frozenset({"description", "permission"})
_KINDS = {"llm": "chat", "vlm": "chat", "embeddings": "embedding", "embedding": "embedding"}
_TASKS = ("ocr", "moderation", "classification", "audio")
_WORDS = {
    "tools": ("tools", "tool-calling", "tool_calling", "tool_use", "function_calling", "function-calling"),
    "vision": ("vision", "image_input"),
    "structured": ("structured", "structured_outputs", "structured-outputs", "json_schema"),
    "reasoning": ("reasoning", "thinking"),
}
"""What a bare list of capabilities calls them."""
_CENTS_PER_100M = Decimal("1e-10")


@dataclass(frozen=True, slots=True)
class Page:
    """One page; what it says of the others is as it was written, None where it does not say."""

    entries: Sequence[Mapping[str, Any]]
    following: object = None
    """The link to the next."""
    more: object = None
    """Whether more follow."""
    total: object = None
    """How many models all pages have together, where the page does not say itself whether it is the last."""


def page(body: Any) -> Page:
    """What one body holds. Raises ValueError for one that is no list of models."""
    following = more = total = None
    entries = body
    if isinstance(body, Mapping):
        entries = body.get("data") if "data" in body else body.get("models")
        links = body.get("links")
        following = links.get("next") if isinstance(links, Mapping) else None
        more = body.get("has_more")
        # a list that says that no page follows is believed, whatever its total counts
        ended = more is False or (isinstance(links, Mapping) and "next" in links)
        total = None if ended else body.get("total_count")
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise ValueError("the wrong shape")
    return Page(entries, following, more, total)


def info(entry: Mapping[str, Any]) -> ModelInfo:
    """One entry as a value. Raises ValueError for one without an id."""
    id = entry.get("id") or entry.get("key") or entry.get("name")
    if not isinstance(id, str):
        raise ValueError("an entry without an id")
    extra = {key: value for key, value in entry.items() if key not in _LEFT_OUT}
    told = _told(entry)
    aliases = entry.get("aliases")
    model = ModelInfo(
        id=id,
        created=moment(entry.get("created")),
        window=_window(entry),
        output_limit=_first(_OUTPUTS, entry, _mapping(entry, "top_provider"), _mapping(entry, "limits")),
        capabilities=frozenset({"streaming"} | {word for word in _WORDS if told.get(word, True)}) if told else None,
        assumed=frozenset(_WORDS.keys() - told.keys()) if told else frozenset(),
        kind=_kind(entry),
        stage=_stage(entry),
        retires=_ends(entry),
        prices=_prices(entry),
        aliases=tuple(alias for alias in aliases if isinstance(alias, str) and alias != id) if isinstance(aliases, list) else (),
        extra=extra,
    )
    return sound(model)


def _window(entry: Mapping[str, Any]) -> int | None:
    """The largest window that is sure to be served: what a relay's chosen server takes may be less than the model's."""
    told = _first(_WINDOWS, entry, _mapping(entry, "limits"))
    if told is not None:
        served = _first(_WINDOWS, _mapping(entry, "top_provider")) or _loaded(entry)
        return min(told, served) if served else told
    meta = _first(("n_ctx", "n_ctx_train"), _mapping(entry, "meta"))
    behind = [_first(_WINDOWS, server) for server in _servers(entry)]
    return meta if meta is not None else max((size for size in behind if size), default=None)


def _loaded(entry: Mapping[str, Any]) -> int | None:
    """The window with which a local server holds the model now (LM Studio): the widest where it holds it several times."""
    held = entry.get("loaded_instances")
    instances = [one for one in held if isinstance(one, Mapping)] if isinstance(held, list) else []
    sizes = [_first(_LOADED[:1], entry), *(_first(_LOADED, _mapping(one, "config")) for one in instances)]
    return max((size for size in sizes if size), default=None)


def _told(entry: Mapping[str, Any]) -> dict[str, bool]:
    """Each capability that the entry speaks of, and whether it is there."""
    told: dict[str, bool] = {}
    inputs = _modalities(entry, "input_modalities")
    if inputs:
        told["vision"] = "image" in inputs
    parameters = entry.get("supported_parameters")
    if isinstance(parameters, list):
        told["tools"] = "tools" in parameters
        told["structured"] = "structured_outputs" in parameters or "response_format" in parameters
        told["reasoning"] = "reasoning" in parameters
    written = entry.get("capabilities")
    if isinstance(written, list):
        # such a list names what is worth naming: what is absent may still be there
        told |= {word: True for word, names in _WORDS.items() if any(name in written for name in names)}
    flags = (
        (_mapping(entry, "capabilities"), "function_calling", "tools"),
        (_mapping(entry, "capabilities"), "trained_for_tool_use", "tools"),
        (_mapping(entry, "capabilities"), "vision", "vision"),
        (entry, "supports_image_in", "vision"),
        (entry, "supports_reasoning", "reasoning"),
    )
    told |= {word: place[key] for place, key, word in flags if isinstance(place.get(key), bool)}
    for key, word in (("supports_tools", "tools"), ("supports_structured_output", "structured")):
        answers = [server[key] for server in _servers(entry) if isinstance(server.get(key), bool)]
        if answers:
            told[word] = any(answers)
    if entry.get("type") == "vlm":
        told["vision"] = True
    return told


def _modalities(entry: Mapping[str, Any], key: str) -> list[Any]:
    """What a model takes (`input_modalities`) or gives (`output_modalities`); empty where that is not told."""
    places = (_mapping(entry, "architecture").get(key), entry.get(key), entry.get(f"supported_{key}"))
    return next((found for found in places if isinstance(found, list) and found), [])


def _kind(entry: Mapping[str, Any]) -> str | None:
    outputs = _modalities(entry, "output_modalities")
    if outputs:
        first = outputs[0] if isinstance(outputs[0], str) else None
        return "chat" if "text" in outputs else _KINDS.get(first or "", first)
    written = _mapping(entry, "capabilities")
    if isinstance(written.get("completion_chat"), bool):
        task = next((task for task in _TASKS if written.get(task)), "other")
        return "chat" if written["completion_chat"] else task
    return _KINDS.get(str(entry.get("type")))


def _ends(entry: Mapping[str, Any]) -> datetime | None:
    """The day on which the provider ends it: an ISO 8601 text, or seconds since the epoch."""
    return next((moment(entry[key]) for key in _ENDED if entry.get(key)), None)


def _stage(entry: Mapping[str, Any]) -> str | None:
    if entry.get("active") is False:
        return "retired"
    # a date, or a word of it
    return "deprecated" if any(isinstance(told := entry.get(key), str | int | float) and told for key in _ENDED) else None


def _prices(entry: Mapping[str, Any]) -> dict[str, str]:
    """US dollars for one token, as decimal text; of `request` and `search` for one of them."""
    pricing = _mapping(entry, "pricing")
    names = {
        "input": "prompt",
        "output": "completion",
        "cache_read": "input_cache_read",
        "cache_write": "input_cache_write",
        "cache_write_1h": "input_cache_write_1h",
        "reasoning": "internal_reasoning",
        "request": "request",
        "search": "web_search",
    }
    # a relay writes -1 where the price depends on whom it picks
    found = {name: price_text(pricing.get(key)) for name, key in names.items()}
    cents = {
        "input": "prompt_text_token_price",
        "output": "completion_text_token_price",
        "cache_read": "cached_prompt_text_token_price",
    }
    found |= {name: price for name, key in cents.items() if (price := price_text(entry.get(key), _CENTS_PER_100M)) is not None}
    return {name: price for name, price in found.items() if price is not None}


def _first(keys: Iterable[str], *places: Mapping[str, Any]) -> int | None:
    """The first positive whole number under one of the keys."""
    for place in places:
        for key in keys:
            value = place.get(key)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None


def _mapping(entry: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = entry.get(key)
    return value if isinstance(value, Mapping) else {}


def _servers(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The servers behind a relay (Hugging Face)."""
    servers = entry.get("providers")
    return [server for server in servers if isinstance(server, Mapping)] if isinstance(servers, list) else []
