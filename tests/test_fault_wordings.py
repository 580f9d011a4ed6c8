"""What vendors write when they refuse, over real sockets and through the real adapters: kind, scope and wait of every case."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundle_loader.errors import FailureKind
from bundle_loader.providers import table
from bundle_loader.providers.anthropic import AnthropicProvider
from bundle_loader.providers.base import Provider
from bundle_loader.providers.compatible import CompatibleProvider
from bundle_loader.providers.google import GoogleProvider
from bundle_loader.providers.ollama import OllamaProvider
from bundle_loader.providers.openai import OpenAIProvider
from tests.support.asking import asking, failed
from tests.support.sdks import MODELS
from tests.support.vendors import Fault, World

KEY = "sk-very-secret-key"
ROWS = {"llamacpp": "llama.cpp"}
CASES: list[dict[str, Any]] = yaml.safe_load(
    Path(__file__).with_name("cases").joinpath("faults", "wordings.yaml").read_text(encoding="utf-8")
)["cases"]


def adapter(vendor: str, world: World, base: str) -> tuple[str, Provider]:
    """The double that plays a vendor, and the vendor's own adapter pointed at it."""
    if vendor == "anthropic":
        return vendor, AnthropicProvider(api_key=KEY, base_url=world.url(base, vendor))
    if vendor == "google":
        return vendor, GoogleProvider(api_key=KEY, base_url=world.url(base, vendor))
    if vendor == "ollama":
        return vendor, OllamaProvider(base_url=world.url(base, vendor))
    if vendor == "openai":
        return vendor, OpenAIProvider(api_key=KEY, base_url=world.url(base, vendor))
    row = table.row(ROWS.get(vendor, vendor))
    assert row is not None, vendor
    return "openai", CompatibleProvider(row, api_key=KEY, base_url=world.url(base, "openai"))


def fault(case: dict[str, Any]) -> Fault:
    """What the double answers."""
    if "within" in case:
        text = json.dumps(case["within"])
        event = {"anthropic": "event: error\n", "ollama": ""}.get(case["vendor"], "")
        body = f"{text}\n" if case["vendor"] == "ollama" else f"{event}data: {text}\n\n"
        kind = "application/x-ndjson" if case["vendor"] == "ollama" else "text/event-stream"
        return Fault.status(200, body=body, headers={"content-type": kind})
    return Fault.status(case["status"], body=case["body"], headers=case.get("headers"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['vendor']}-{case.get('status', 200)}-{case['kind']}")
async def test_a_vendors_words_are_understood(vendors: tuple[World, str], case: dict[str, Any]) -> None:
    world, base = vendors
    double, provider = adapter(case["vendor"], world, base)
    world.vendor(double).fault = fault(case)
    failure = await failed(provider, asking(MODELS[double]))
    await provider.aclose()
    assert (failure.kind, failure.scope) == (FailureKind(case["kind"]), case.get("scope", "model")), failure
    assert failure.retry_after == case.get("retry_after")
    assert len(world.chats()) == 1
