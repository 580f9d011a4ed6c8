"""Images and files from a caller to a model, through the real SDKs; and models that cannot see."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from bundle_loader import Host, NoCandidate
from bundle_loader.messages import Blob, user
from tests.support.conversations import PNG
from tests.support.hosting import MODELS, worker
from tests.support.vendors import World

Served = tuple[World, str]

DATA = base64.b64encode(PNG).decode()
IMAGE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DATA}"}}]}


@pytest.mark.parametrize("vendor", MODELS)
@pytest.mark.parametrize("given", [IMAGE, user("See:", Blob(PNG, "image/png"))], ids=["mapping", "neutral"])
async def test_an_image_reaches_the_model(vendors: Served, tmp_path: Path, vendor: str, given: Any) -> None:
    world, base = vendors
    world.vendor("ollama").models[0]["details"]["families"].append("clip")
    bundle = worker(tmp_path, f"{vendor}/{MODELS[vendor][0]}")
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        result = await host.delegate("worker", "What is it?", messages=[given])
    (request,) = world.chats()
    assert request.status == 200
    assert DATA in str(request.body_json)
    assert not [note for note in result.notes if "left out" in note]


async def test_a_model_that_is_known_not_to_see_is_no_candidate(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    for entry in world.vendor("anthropic").models:
        seeing = "opus" in entry["id"]
        entry["capabilities"] = {"image_input": {"supported": seeing}, "structured_outputs": {"supported": True}}
    bundle = worker(tmp_path, "anthropic/claude-haiku-*", "anthropic/claude-opus-4-6")
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        blind = await host.delegate("worker", "Hi.")
        seen = await host.delegate("worker", "What is it?", messages=[IMAGE])
        again = await host.delegate("worker", "Hi.")
        with pytest.raises(NoCandidate, match="takes no images"):
            await host.delegate("worker", "What is it?", messages=[IMAGE], model="anthropic/claude-haiku-*")
    assert [blind.model, seen.model, again.model] == [
        "claude-haiku-4-5-20251001",
        "claude-opus-4-6",
        "claude-haiku-4-5-20251001",
    ]


@pytest.mark.parametrize("vendor", MODELS)
async def test_a_model_that_turns_out_not_to_see_hands_over(vendors: Served, tmp_path: Path, vendor: str) -> None:
    world, base = vendors
    world.vendor(vendor).refuses_images = {"*"}
    heir = "openai" if vendor != "openai" else "anthropic"
    bundle = worker(tmp_path, f"{vendor}/{MODELS[vendor][0]}", f"{heir}/{MODELS[heir][0]}")
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        result = await host.delegate("worker", "What is it?", messages=[IMAGE])
    assert result.provider == heir


async def test_a_file_that_the_first_vendor_does_not_take_is_shown_to_the_next(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    pdf = user("Read it.", Blob(b"%PDF-1.4 text", "application/pdf", name="a.pdf"))
    bundle = worker(tmp_path, "ollama/qwen3:8b", "google/gemini-2.5-flash")
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        result = await host.delegate("worker", "What is in it?", messages=[pdf])
        later = await host.delegate("worker", "And now?", messages=result.messages)
    assert (result.provider, later.provider) == ("google", "ollama")
    assert result.attempts[0].reason is not None
    assert "ollama does not support the file 'a.pdf' (application/pdf) in a message" in result.attempts[0].reason
    assert len(world.chats("ollama")) == 1, "nothing is sent that would be refused"
    assert "the file 'a.pdf' (application/pdf) of earlier was left out: ollama does not take it" in later.notes
