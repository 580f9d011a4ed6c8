"""What an Ollama server tells of its models: the entries of its list, and what it shows of each, as `ModelInfo`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias

from bundle_loader.routing.catalogue import ModelInfo
from bundle_loader.routing.model_entries import count, sound
from bundle_loader.routing.moments import moment

AT_ONCE: Final = 8
"""How many models are asked about at a time."""
SECONDS: Final = 2.0
"""How long all of that may take; what has not come by then is not known until the list is renewed."""
_WORDS: Final = {"tools": "tools", "vision": "vision", "reasoning": "thinking"}
"""A capability -> Ollama's word for it."""
_OF_ALL: Final = frozenset({"streaming", "structured"})
"""What the server itself does for every model that writes."""

Show: TypeAlias = Callable[[str], Awaitable[Any]]
"""Asks what a model is. Raises anything; an exception with a `status_code` below 500 is an answer that will not change."""


def entries(body: Any) -> list[Mapping[str, Any]]:
    """The models of a list's body. Raises ValueError for another shape."""
    listed = body.get("models") if isinstance(body, Mapping) else None
    if not isinstance(listed, list) or not all(isinstance(entry, Mapping) for entry in listed):
        raise ValueError("the list of models has the wrong shape")
    return [entry for entry in listed if _id(entry)]


def info(entry: Mapping[str, Any]) -> ModelInfo:
    """One entry as a value."""
    id, told = _id(entry), entry.get("details")
    details: Mapping[str, Any] = told if isinstance(told, Mapping) else {}
    told = details.get("families")
    families = [details.get("family"), *(told if isinstance(told, list) else ())]
    extra: dict[str, object] = {
        "modified_at": moment(entry.get("modified_at")),
        "size": count(entry.get("size")),
        **{key: details.get(key) for key in ("family", "parameter_size", "quantization_level")},
    }
    return sound(
        ModelInfo(
            id=id,
            kind="embedding" if _only_embeds(families) else None,
            digest=entry.get("digest"),
            local=False if runs_elsewhere(entry) else None,
            extra={key: value for key, value in extra.items() if value is not None},
        )
    )


def runs_elsewhere(entry: Mapping[str, Any]) -> bool:
    """Whether the server passes the model on to another one: by its name, or by what it says of it (also of a copy)."""
    return named_elsewhere(_id(entry)) or bool(entry.get("remote_host") or entry.get("remote_model"))


def named_elsewhere(id: str) -> bool:
    """Ollama passes on what has the tag `cloud`, or one that ends in `-cloud`, in any case. A name without a tag has `latest`."""
    _, colon, tag = id.rpartition(":")
    word = tag.strip().casefold()
    return bool(colon) and (word == "cloud" or (word.endswith("-cloud") and "/" not in word))


class Shown:
    """What the server showed of each model, asked once for each digest."""

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}

    async def added(self, models: Sequence[ModelInfo], show: Show) -> list[ModelInfo]:
        """The models, with what the server shows of those that run on it. Never raises for what it does not show.

        What runs elsewhere is not asked about: the server would ask there.
        """
        here = {_key(model): model.id for model in models if model.local is not False}
        self._known = {key: value for key, value in self._known.items() if key in here}
        new = [(key, id) for key, id in here.items() if key not in self._known]
        if new:
            await self._ask(new, show)
        return [_filled(model, self._known.get(_key(model))) if model.local is not False else model for model in models]

    async def _ask(self, new: Sequence[tuple[str, str]], show: Show) -> None:
        free = asyncio.Semaphore(AT_ONCE)

        async def ask(key: str, id: str) -> None:
            try:
                async with free:
                    self._known[key] = await show(id)
            except Exception as error:  # noqa: BLE001 - whatever goes wrong, the model is listed and no more is known of it
                status = getattr(error, "status_code", None)
                if isinstance(status, int) and 400 <= status < 500:
                    self._known[key] = None

        tasks = [asyncio.create_task(ask(key, id), name=f"show {id}") for key, id in new]
        try:
            await asyncio.wait(tasks, timeout=SECONDS)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _filled(model: ModelInfo, shown: Any) -> ModelInfo:
    """The window is the model's own length: the server may hold it with less, and never with more."""
    if not isinstance(shown, Mapping):
        return model
    able = shown.get("capabilities")
    words = {word for word in able if isinstance(word, str)} if isinstance(able, list) else set()
    length = _length(shown.get("model_info"))
    found = replace(model, window=length) if length is not None else model
    if not words:
        return found
    if "completion" not in words:
        kind = "embedding" if "embedding" in words else "image" if "image" in words else model.kind
        return replace(found, kind=kind)
    told = frozenset(word for word, theirs in _WORDS.items() if theirs in words)
    return replace(found, kind="chat", capabilities=told | _OF_ALL)


def _length(told: Any) -> int | None:
    if not isinstance(told, Mapping):
        return None
    return count(told.get(f"{told.get('general.architecture')}.context_length"))


def _key(model: ModelInfo) -> str:
    """What stays the same as long as the model does."""
    return model.digest or f"{model.id} {model.extra.get('modified_at')}"


def _id(entry: Mapping[str, Any]) -> str:
    """Older servers have only `name`."""
    return next((id for key in ("model", "name") if isinstance(id := entry.get(key), str) and id), "")


def _only_embeds(families: Sequence[Any]) -> bool:
    """The architectures after BERT read text and write none: bert, nomic-bert, jina-bert-v2, modern-bert, ..."""
    return any("bert" in family.lower() for family in families if isinstance(family, str))
