"""Several instances of one kind under their own ids, and those of clouds, each through the vendor's own SDK."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bundle_loader import Host, load_bundle
from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.tables import ProviderSettings
from bundle_loader.errors import ProviderFailure
from bundle_loader.messages import Turn, user
from bundle_loader.providers.base import ChatRequest, Provider
from bundle_loader.providers.live import Missing, live_endpoints, live_kinds, live_providers
from bundle_loader.providers.snapshot import snapshot_models
from bundle_loader.routing.candidate import Route
from bundle_loader.routing.model_names import newest_models
from tests.support.command import command
from tests.support.declared import refused
from tests.support.vendor import Vendor
from tests.support.vendors import Fault, Reply, World
from tests.support.wire_anthropic import AnthropicWire
from tests.support.wire_clouds import AzureWire, VertexWire
from tests.support.wire_openai import OpenAIWire

Served = tuple[World, str]
HAIKU, MINI = "claude-haiku-4-5-20251001", "gpt-4o-mini"
KEY = "key-that-nobody-says-0001"


def bundle_of(folder: Path, preferences: list[Any], providers: Mapping[str, Mapping[str, Any]], **keys: Any) -> Bundle:
    header = {"format": 1, "name": "worker", "provider_preferences": preferences}
    (folder / "worker.md").write_text(f"---\n{yaml.safe_dump(header)}---\nWork.\n", encoding="utf-8")
    team = {"format": 1, "bundle": {"name": "team"}, "agents": {"include": ["*.md"]}, "providers": dict(providers), **keys}
    (folder / "team.yaml").write_text(yaml.safe_dump(team, sort_keys=False), encoding="utf-8")
    return load_bundle(folder / "team.yaml", strict=True, settings=())


def said(route: Route) -> tuple[list[str], list[str]]:
    candidates = [f"{one.provider}/{one.model}" for one in route.candidates]
    return candidates, [f"{one.preference.provider}: {one.reason}" for one in route.rejections]


# --- several of a kind


@asynccontextmanager
async def two_anthropics(
    vendors: Served, folder: Path, preferences: list[Any], *, own_key: bool = False, **more: Any
) -> AsyncIterator[Host]:
    """A host with two instances of Anthropic; `own_key` also gives the plain one its key."""
    world, base = vendors
    for name in ("us", "eu"):
        world.vendors[name] = Vendor(name, f"/{name}", AnthropicWire(), required_key=f"key-{name}")
        world.vendors[name].offer(HAIKU, "claude-sonnet-4-6")
    providers = {
        f"anthropic-{name}": {"kind": "anthropic", "base_url": f"{base}/{name}", "key_variable": f"{name.upper()}_KEY", **more}
        for name in ("us", "eu")
    }
    environment = {"US_KEY": "key-us", "EU_KEY": "key-eu", "BUNDLE_LOADER_HOME": str(folder / "home")}
    if own_key:
        environment |= {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": f"{base}/anthropic"}
    async with Host(bundle_of(folder, preferences, providers), environment=environment, ledger=folder / "l.db") as host:
        yield host


async def test_a_kind_means_each_of_its_instances_in_the_order_declared(vendors: Served, tmp_path: Path) -> None:
    async with two_anthropics(vendors, tmp_path, ["anthropic/claude-haiku-*"]) as host:
        route = await host.route("worker")
        filtered = await host.route("worker", provider="anthropic-eu")
        offers = await host.offers()
        answered = await host.delegate("worker", "Work.", provider="anthropic-eu")
        vendors[0].vendor("us").fault = Fault.status(503)
        moved = await host.delegate("worker", "Work.")
    assert said(route) == ([f"anthropic-us/{HAIKU}", f"anthropic-eu/{HAIKU}"], [])
    assert said(filtered)[0] == [f"anthropic-eu/{HAIKU}"]
    assert answered.provider == moved.provider == "anthropic-eu"
    assert {id: kind for id, kind in offers.kinds.items() if id.startswith("anthropic")} == dict.fromkeys(
        ["anthropic", "anthropic-us", "anthropic-eu"], "anthropic"
    )


async def test_the_id_itself_is_meant_alone_where_it_is_usable(vendors: Served, tmp_path: Path) -> None:
    async with two_anthropics(
        vendors, tmp_path, ["anthropic/claude-haiku-*", "anthropic-eu/claude-haiku-*"], own_key=True
    ) as host:
        route = await host.route("worker")
        one = await host.route("worker", model="anthropic-us/claude-haiku-*")
    assert said(route) == ([f"anthropic/{HAIKU}", f"anthropic-eu/{HAIKU}"], [])
    assert said(one)[0] == [f"anthropic-us/{HAIKU}"]


async def test_each_instance_has_a_rate_of_its_own(vendors: Served, tmp_path: Path) -> None:
    async with two_anthropics(vendors, tmp_path, ["anthropic/claude-haiku-*"], requests_per_minute=2) as host:
        answered = [(await host.delegate("worker", "Work.", timeout=5)).provider for _ in range(4)]
        accounts = {row["account"] for row in host.ledger.query("accounts", account=None)}
    assert answered == ["anthropic-us"] * 2 + ["anthropic-eu"] * 2
    assert accounts == {f"rate:anthropic-{name}|provider=anthropic-{name}|family=claude-haiku" for name in ("us", "eu")}


async def test_an_instance_without_its_key_is_rejected_with_its_reason(tmp_path: Path) -> None:
    providers = {"anthropic-eu": {"kind": "anthropic", "key_variable": "EU_KEY"}, "mine": {"kind": "antropic"}}
    bundle = bundle_of(tmp_path, ["anthropic/*", "anthropic-eu/*", "mine/*"], providers)
    environment = {"BUNDLE_LOADER_HOME": str(tmp_path / "home")}
    async with Host(bundle, environment=environment, ledger=tmp_path / "l.db") as host:
        candidates, rejected = said(await host.route("worker"))
    assert candidates == []
    assert rejected[:2] == ["anthropic: no key: set ANTHROPIC_API_KEY", "anthropic-eu: no key: set EU_KEY"]
    assert rejected[2].startswith("mine: its kind 'antropic' is not known; did you mean 'anthropic'?")
    mounted = live_providers({}, bundle.providers)
    kinds = {id: one.kind for id, one in mounted.items() if isinstance(one, Missing)}
    assert (kinds["anthropic"], kinds["anthropic-eu"], kinds["mine"]) == ("anthropic", "anthropic", None)
    assert "mine" not in live_kinds(bundle.providers)


async def test_declared_models_take_the_place_of_the_list_and_are_not_kept(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    providers = {"mine": {"kind": "openai", "base_url": f"{base}/openai/v1", "models": [MINI, "gpt-4o", MINI]}}
    environment = {"OPENAI_API_KEY": "k", "BUNDLE_LOADER_HOME": str(tmp_path / "home")}
    bundle = bundle_of(tmp_path, ["mine/gpt-4o*"], providers)
    async with Host(bundle, environment=environment, ledger=tmp_path / "l.db") as host:
        offer = (await host.offers(["mine"])).by_id["mine"]
        result = await host.delegate("worker", "Work.")
    assert offer.catalogue is not None
    assert [(model.id, model.declared) for model in offer.catalogue.models] == [(MINI, True), ("gpt-4o", True)]
    assert (result.provider, result.model) == ("mine", "gpt-4o")
    assert world.lists("openai") == []
    # a list that settings change at any time serves nobody from the disk
    assert "mine" not in live_endpoints(environment, bundle.providers)
    assert not list((tmp_path / "home").rglob("mine*.json"))


# --- clouds


async def spoken(provider: Provider, model: str, **more: Any) -> Turn:
    request = ChatRequest(model, (user("Hello."),), "Be brief.", (), 100, more, 20.0)
    turn = [part async for part in provider.stream(request)][-1]
    assert isinstance(turn, Turn)
    return turn


def mounted(environment: Mapping[str, str], **settings: Any) -> Provider:
    provider = live_providers(environment, {"mine": ProviderSettings(**settings)})["mine"]
    assert not isinstance(provider, Missing), provider
    return provider


async def test_azure_is_asked_at_its_deployment_with_version_and_key(vendors: Served) -> None:
    world, base = vendors
    azure = world.vendors["azure"] = Vendor("azure", "/azure", AzureWire(), required_key=KEY)
    azure.offer("team-mini", "gpt-4o")
    azure.replies = [Reply("From Azure.")]
    said = {"kind": "azure", "base_url": f"{base}/azure", "models": ("team-mini", "gpt-4o")}
    provider = mounted({"AZURE_OPENAI_API_KEY": KEY, "OPENAI_API_KEY": "other"}, **said)
    turn = await spoken(provider, "team-mini", temperature=0.5)
    newer = mounted({"AZURE_OPENAI_API_KEY": KEY}, **said, api_version="2025-04-01-preview")
    await spoken(newer, "gpt-4o")
    with pytest.raises(ProviderFailure, match="does not exist"):
        await spoken(newer, "gone")
    assert [model.id for model in await provider.list_models()] == ["team-mini", "gpt-4o"]
    for one in (provider, newer):
        await one.aclose()
    first, second, _ = world.chats("azure")
    assert turn.message.text == "From Azure."
    assert first.path == "/openai/deployments/team-mini/chat/completions"
    assert first.query == {"api-version": "2024-10-21"}
    assert first.headers["api-key"] == KEY
    assert "authorization" not in first.headers
    assert first.body_json["temperature"] == 0.5
    assert second.query == {"api-version": "2025-04-01-preview"}
    assert KEY not in repr(provider)
    wrong = mounted({"AZURE_OPENAI_API_KEY": "wrong-key-000000"}, **said)
    with pytest.raises(ProviderFailure) as caught:
        await spoken(wrong, "gpt-4o")
    await wrong.aclose()
    assert caught.value.status == 401
    assert "wrong-key-000000" not in f"{caught.value!r}{caught.value.__dict__}"


async def test_a_clouds_alias_means_its_instances(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    world.vendors["azure"] = Vendor("azure", "/azure", AzureWire())
    world.vendor("azure").offer("team-mini", "team-large")
    providers = {
        "north": {"kind": "azure", "base_url": f"{base}/azure", "models": ["team-mini"]},
        "south": {"kind": "azure-openai", "base_url": f"{base}/azure", "models": ["team-large"]},
    }
    environment = {"AZURE_OPENAI_API_KEY": KEY, "BUNDLE_LOADER_HOME": str(tmp_path / "home")}
    bundle = bundle_of(tmp_path, ["azure/team-*"], providers)
    async with Host(bundle, environment=environment, ledger=tmp_path / "l.db") as host:
        route = await host.route("worker")
        result = await host.delegate("worker", "Work.", provider="south")
    assert said(route) == (["north/team-mini", "south/team-large"], [])
    assert (result.provider, result.model) == ("south", "team-large")


async def test_bedrock_lists_its_region_and_speaks_each_models_protocol(vendors: Served) -> None:
    world, base = vendors
    openai = world.vendors["bedrock"] = Vendor("bedrock", "/bedrock/openai/v1", OpenAIWire(), required_key=KEY)
    claude = world.vendors["bedrock-claude"] = Vendor("bedrock-claude", "/bedrock/anthropic", AnthropicWire(), required_key=KEY)
    ids = ["anthropic.claude-haiku-4-5", "eu.anthropic.claude-opus-4-8", "openai.gpt-oss-120b"]
    openai.offer(*ids)
    claude.offer(*ids)
    provider = mounted({"AWS_BEARER_TOKEN_BEDROCK": KEY}, kind="bedrock", base_url=f"{base}/bedrock/", region="eu-west-1")
    assert [model.id for model in await provider.list_models()] == ids
    for id in ids:
        turn = await spoken(provider, id, temperature=0.5)
        assert any("temperature dropped" in note for note in turn.notes) == ("opus-4-8" in id)
    await provider.aclose()
    assert [request.model for request in world.chats("bedrock-claude")] == ids[:2]
    assert [request.model for request in world.chats("bedrock")] == ids[2:]
    assert {request.headers["authorization"] for request in world.requests} == {f"Bearer {KEY}"}
    assert [request.path for request in world.requests] == ["/models", "/v1/messages", "/v1/messages", "/chat/completions"]


@pytest.fixture
def vertex(vendors: Served) -> tuple[World, str, Vendor]:
    world, base = vendors
    vendor = world.vendors["vertex"] = Vendor("vertex", "/vertex", VertexWire(), page_size=2)
    vendor.offer("gemini-2.5-flash", "gemini-2.5-pro", "gemini-3-pro")
    return world, f"{base}/vertex", vendor


_VERTEX = {"kind": "vertex", "project": "my-project", "region": "europe-west1"}


async def test_vertex_lists_every_page_and_answers_by_access_token(vertex: tuple[World, str, Vendor]) -> None:
    world, url, vendor = vertex
    vendor.required_key = KEY
    environment = {"CLOUDSDK_AUTH_ACCESS_TOKEN": KEY, "GEMINI_API_KEY": "other", "GOOGLE_API_KEY": "other"}
    provider = mounted(environment, **_VERTEX, base_url=url)
    assert [model.id for model in await provider.list_models()] == vendor.ids
    await spoken(provider, "gemini-2.5-pro")
    await provider.aclose()
    assert len(world.lists("vertex")) == 2
    (chat,) = world.chats("vertex")
    assert chat.path == f"{VertexWire.place}gemini-2.5-pro:streamGenerateContent"
    assert chat.headers["authorization"] == f"Bearer {KEY}"
    assert "x-goog-api-key" not in chat.headers
    assert KEY not in repr(provider)


async def test_vertex_signs_in_with_a_service_accounts_file(vertex: tuple[World, str, Vendor], tmp_path: Path) -> None:
    world, url, vendor = vertex
    secret = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {
        "type": "service_account",
        "project_id": "my-project",
        "private_key_id": "1",
        "private_key": secret.decode(),
        "client_email": "worker@my-project.iam.gserviceaccount.com",
        "token_uri": f"{url}/token",
    }
    file = tmp_path / "service account.json"
    file.write_text(json.dumps(account), encoding="utf-8")
    provider = mounted({"GOOGLE_APPLICATION_CREDENTIALS": str(file)}, **_VERTEX, base_url=url)
    assert [model.id for model in await provider.list_models()] == vendor.ids
    await provider.aclose()
    assert world.lists("vertex")[0].headers["authorization"] == "Bearer token-of-the-account"
    missing = mounted({"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "gone.json")}, **_VERTEX, base_url=url)
    with pytest.raises(ProviderFailure):
        await missing.list_models()
    await missing.aclose()


_LACKING: list[tuple[str, dict[str, str], dict[str, Any], str]] = [
    (
        "azure-openai",
        {},
        {},
        "it lacks base_url and models; write 'providers: {mine: {kind: azure-openai, base_url: ..., models: [...]}}'",
    ),
    ("azure", {"AZURE_OPENAI_ENDPOINT": "http://x"}, {"models": ("a",)}, "no key: set AZURE_OPENAI_API_KEY"),
    (
        "azure",
        {"AZURE_OPENAI_AD_TOKEN": KEY},
        {"models": ("a",), "base_url": "http://x"},
        "no key: set AZURE_OPENAI_API_KEY; not supported: AZURE_OPENAI_AD_TOKEN or AZURE_CLIENT_SECRET",
    ),
    (
        "azure",
        {"AZURE_OPENAI_API_KEY": KEY},
        {"models": ("a",), "base_url": "https://x.openai.azure.com/openai/v1"},
        "not supported: base_url with a path of its own; write the resource's, https://NAME.openai.azure.com",
    ),
    (
        "bedrock",
        {"AWS_BEARER_TOKEN_BEDROCK": KEY},
        {},
        "it lacks region; write 'providers: {mine: {kind: bedrock, region: ...}}'",
    ),
    (
        "aws-bedrock",
        {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": KEY},
        {"region": "eu-west-1"},
        "no key: set AWS_BEARER_TOKEN_BEDROCK; not supported: AWS_ACCESS_KEY_ID or AWS_PROFILE",
    ),
    (
        "vertex-ai",
        {"GEMINI_API_KEY": KEY},
        {"region": "global"},
        "it lacks project; write 'providers: {mine: {kind: vertex, project: ..., region: ...}}'",
    ),
    (
        "vertex",
        {"GEMINI_API_KEY": KEY},
        {"region": "global", "project": "p"},
        "no key: set CLOUDSDK_AUTH_ACCESS_TOKEN or GOOGLE_APPLICATION_CREDENTIALS",
    ),
]


@pytest.mark.parametrize(("kind", "environment", "settings", "reason"), _LACKING)
def test_what_an_instance_lacks_or_cannot_do_is_its_reason(
    kind: str, environment: dict[str, str], settings: dict[str, Any], reason: str
) -> None:
    missing = live_providers(environment, {"mine": ProviderSettings(kind=kind, **settings)})["mine"]
    assert isinstance(missing, Missing)
    assert missing.reason == reason


@pytest.mark.parametrize("kind", ["azure-openai", "bedrock", "vertex"])
def test_a_cloud_is_no_provider_of_its_own_and_says_what_to_write(kind: str) -> None:
    missing = live_providers({"AZURE_OPENAI_API_KEY": KEY, "AWS_BEARER_TOKEN_BEDROCK": KEY})[kind]
    assert isinstance(missing, Missing)
    assert missing.reason.startswith(f"used only as an instance; write 'ID: {{kind: {kind}, ")


@pytest.mark.parametrize(
    ("region", "url"),
    [("europe-west1", "https://europe-west1-aiplatform.googleapis.com"), ("global", "https://aiplatform.googleapis.com")],
)
def test_addresses_of_regions(region: str, url: str) -> None:
    provider = mounted({"CLOUDSDK_AUTH_ACCESS_TOKEN": KEY}, kind="vertex", project="p", region=region)
    assert provider.base_url == url  # type: ignore[attr-defined]
    bedrock = mounted({"AWS_BEARER_TOKEN_BEDROCK": KEY}, kind="bedrock", region="eu-west-1")
    assert bedrock.base_url == "https://bedrock-mantle.eu-west-1.api.aws"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("region: evil.example/x", "providers.m.region: becomes part of an address; write one such as eu-west-1"),
        ("region: 'eu\\n'", "providers.m.region: becomes part of an address; write one such as eu-west-1"),
        ("project: ../x", "providers.m.project: becomes part of an address; write one such as my-project"),
        ("api_version: 'a&b'", "providers.m.api_version: becomes part of an address; write one such as 2024-10-21"),
        (
            "models: ['gpt-*']",
            "providers.m.models: 'gpt-*' is no id; write what the provider serves, such as the names of deployments",
        ),
        ("api_key: x", "providers.m.api_key: unknown key; keys come from the environment or a .env file, never from here"),
    ],
)
def test_settings_of_instances_are_checked_at_their_place(tmp_path: Path, line: str, fault: str) -> None:
    text = f"providers:\n  m:\n    kind: bedrock\n    {line}\n"
    (found,) = refused(tmp_path, "a.yaml", {"a.yaml": text})
    assert found.startswith("a.yaml:4:")
    assert fault in found


# --- without asking anybody

PLAYED: dict[str, dict[str, Any]] = {
    "work": {"kind": "anthropic"},
    "few": {"kind": "openai", "models": ["gpt-deployed-1", "gpt-deployed-2"]},
    "here": {"kind": "azure-openai", "base_url": "https://x.example", "models": ["gpt-deployed-3"]},
    "llama": {"kind": "ollama", "base_url": "http://127.0.0.1:1"},
    "away": {"kind": "ollama", "base_url": "https://ollama.example"},
}


async def test_instances_are_simulated_under_their_ids(tmp_path: Path) -> None:
    preferences = ["work/claude-haiku-*", "few/gpt-*", "azure-openai/gpt-*", "openai/gpt-deployed-*"]
    bundle = bundle_of(tmp_path, preferences, PLAYED)
    newest = newest_models("claude-haiku-*", snapshot_models("anthropic"))[0].id
    async with Host(bundle, simulate=True, faults={"work": "503"}, ledger=tmp_path / "l.db") as host:
        route = await host.route("worker")
        offers = await host.offers()
        answered = await host.delegate("worker", "Work.")
    found, rejected = said(route)
    assert found == [f"work/{newest}", "few/gpt-deployed-2", "here/gpt-deployed-3"]
    assert [line.split(":")[0] for line in rejected] == ["openai"], "the plain one lists what is shipped for it"
    assert (answered.provider, answered.model) == ("few", "gpt-deployed-2"), "a fault is for an instance, too"
    assert {id: offers.by_id[id].local for id in ("work", "llama", "away")} == {"work": False, "llama": True, "away": False}


def checked(folder: Path, *preferences: str, **environment: str) -> list[str]:
    bundle_of(folder, list(preferences), PLAYED)
    (folder / "home").mkdir(exist_ok=True)
    ran = command("check", "team.yaml", home=folder / "home", cwd=folder, environment=environment)
    return ran.out.splitlines()


def test_check_knows_what_instances_declare(tmp_path: Path) -> None:
    lines = checked(
        tmp_path, "few/gpt-deployed-*", "few/gpt-5*", "work/claude-haiku-*", "work/claude-nosuch-*", "azure-openai/gpt-*"
    )
    told = [line for line in lines if "matches none" in line]
    assert ["few: 'gpt-5*' matches none of 2 models" in line for line in told] == [True, False]
    assert "work: 'claude-nosuch-*' matches none" in told[1]
    assert "few: declared by its settings" in lines
    assert "here: declared by its settings" in lines, "the kind cannot be asked itself: it means its instance"


def test_check_holds_a_kind_against_its_instances_where_it_has_no_key_itself(tmp_path: Path) -> None:
    without = checked(tmp_path, "openai/gpt-deployed-*")
    assert not [line for line in without if "matches none" in line]
    own = checked(tmp_path, "openai/gpt-deployed-*", OPENAI_API_KEY="k")
    assert [line for line in own if "openai: 'gpt-deployed-*' matches none" in line], "as in a live host"


def test_tests_of_routes_take_instances_as_the_shipped_list_of_their_kind(tmp_path: Path) -> None:
    tests = [
        {"name": "work", "agent": "worker", "expect": {"provider": "work", "model": "claude-haiku-*"}},
        {"name": "few", "agent": "worker", "provider": "few", "expect": {"model": "gpt-deployed-2"}},
    ]
    bundle_of(tmp_path, ["work/claude-haiku-*", "few/gpt-*"], PLAYED, tests=tests)
    (tmp_path / "home").mkdir()
    ran = command("check", "team.yaml", "--routes", home=tmp_path / "home", cwd=tmp_path)
    assert "2 of 2 route tests hold" in ran.out, ran.out + ran.err
