"""What a model is for and how far it is: what its provider says, else what the words of its id say."""

from __future__ import annotations

from typing import Final

from bundle_loader.routing.catalogue import ModelInfo
from bundle_loader.routing.id_words import KINDS
from bundle_loader.routing.model_ids import parse

CHAT: Final = "chat"
STAGES: Final = ("stable", "preview", "deprecated", "retired")


def kind_of(model: ModelInfo) -> str:
    """`chat`, `embedding`, `image`, ... A list that says chat also means models that answer a chat with an image."""
    if model.kind not in (None, CHAT):
        return str(model.kind)
    return next((KINDS[word] for word in parse(model.id).words if word in KINDS), CHAT)


def stage_of(model: ModelInfo, now: float) -> str | None:
    """One of `STAGES`, None where neither the provider nor the id says; `now` is seconds since the epoch."""
    if model.stage == "retired" or (model.retires is not None and model.retires.timestamp() <= now):
        return "retired"
    if model.retires is not None or model.stage == "deprecated":
        return "deprecated"
    return "preview" if parse(model.id).stages else model.stage
