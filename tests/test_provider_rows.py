"""What the rows of the provider table bring about: keys, rates, lists with gaps, addresses."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme
import yaml

from bundle_loader import Host, NoCandidate, load_bundle
from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.tables import ProviderSettings
from bundle_loader.providers import table
from bundle_loader.providers.credentials import address_of
from bundle_loader.providers.live import Missing, live_providers
from bundle_loader.providers.unlisted import filled
from bundle_loader.routing.catalogue import ModelInfo
from bundle_loader.routing.gates import boundary
from bundle_loader.routing.model_names import family
from tests.support.command import command
from tests.support.vendors import World, served_in_thread

Served = tuple[World, str]
MINI = "gpt-4o-mini"


class Still:
    """A clock that stands."""

    def __call__(self) -> float:
        return 1_795_000_000.25


def bundle_of(folder: Path, agents: Mapping[str, list[Any]], **keys: Any) -> Bundle:
    for name, preferences in agents.items():
        header = {"format": 1, "name": name, "provider_preferences": preferences}
        (folder / f"{name}.md").write_text(f"---\n{yaml.safe_dump(header)}---\nWork.\n", encoding="utf-8")
    header = {"format": 1, "bundle": {"name": "team"}, "agents": {"include": ["*.md"]}, **keys}
    (folder / "team.yaml").write_text(yaml.safe_dump(header), encoding="utf-8")
    return load_bundle(folder / "team.yaml", strict=True, settings=())


def environment(folder: Path, world: World, base: str, **more: str) -> dict[str, str]:
    return {**world.environment(base), "BUNDLE_LOADER_HOME": str(folder / "home"), **more}


# --- keys


@pytest.mark.requirement("TSK-19")
@pytest.mark.parametrize(
    ("variable", "id", "prefix"),
    [
        ("GEMINI_API_KEY", "google", "/google"),
        ("OPENROUTER_API_KEY", "openrouter", "/openrouter/api/v1"),
        ("GROQ_API_KEY", "groq", "/groq/openai/v1"),
    ],
)
async def test_each_key_is_recognised_and_an_endpoint_without_its_key_is_skipped_with_that_reason(
    vendors: Served, tmp_path: Path, variable: str, id: str, prefix: str
) -> None:
    world, base = vendors
    world.add_compatible("groq", "/groq/openai/v1", "llama-3.3-70b-versatile")
    for name in ("google", "openrouter", "groq"):
        world.vendor(name).required_key = f"right-{name}"
    row = table.rows()[id]
    addresses = {str(row.base_url_variable): base + prefix, "OPENAI_BASE_URL": base + "/openai/v1", "OPENAI_API_KEY": "k"}
    others = {
        name: "wrong" for name in ("GEMINI_API_KEY", "OPENROUTER_API_KEY", "GROQ_API_KEY", "MISTRAL_API_KEY") if name != variable
    }
    own = {**addresses, **others, "BUNDLE_LOADER_HOME": str(tmp_path / "home")}
    bundle = bundle_of(tmp_path, {"worker": [f"{id}/*", f"openai/{MINI}"]})
    async with Host(bundle, environment=own, ledger=tmp_path / "without.db") as host:
        route = await host.route("worker")
        result = await host.delegate("worker", "Work.")
    assert [(rejection.preference.provider, rejection.reason) for rejection in route.rejections] == [
        (id, f"no key: set {' or '.join(row.key_variables)}")
    ]
    assert result.provider == "openai"
    assert not [request for request in world.requests if request.vendor == id]
    async with Host(bundle, environment={**own, variable: f"right-{id}"}, ledger=tmp_path / "with.db") as host:
        result = await host.delegate("worker", "Work.")
    assert result.provider == id
    assert {request.status for request in world.requests if request.vendor == id} == {200}


def test_the_docs_have_every_row() -> None:
    page = (Path(__file__).parent.parent / "docs" / "providers.md").read_text(encoding="utf-8")
    told = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| `")]
    expected = []
    for row in table.rows().values():
        names = [f"`{name}`" for name in row.key_variables]
        keys = " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
        free = row.cost if row.cost == "paid" or row.free_models == ("*",) else f"free for `{row.free_models[0]}`"
        expected.append(
            [
                f"`{row.id}`",
                ", ".join(f"`{alias}`" for alias in row.aliases),
                keys if row.key_required else f"{keys} (optional)",
                "local" if row.local else "cloud",
                free,
                str(row.requests_per_minute or ""),
            ]
        )
    assert told == expected


def test_the_docs_examples_load(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "providers.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 3
    trustme.CA().cert_pem.write_to_path(tmp_path / "corp.pem")
    for block in blocks:
        (tmp_path / "team.yaml").write_text(f"format: 1\nbundle: {{name: team}}\n{block}", encoding="utf-8")
        bundle = load_bundle(tmp_path / "team.yaml", strict=True, settings=())
        keys = {"EU_KEY": "k", "US_KEY": "k", **dict.fromkeys(table.key_variables(), "k")}
        mounted = live_providers(keys, bundle.providers)
        assert not [one for id, one in mounted.items() if id in bundle.providers and isinstance(one, Missing)]


# --- requests a minute

_FREE = {
    "google": (
        60,
        ["gemini-1.5-flash", "gemini-1.5-pro", "gemini-2.5-flash", "gemini-2.5-pro"],
        {"gemini-1.5-pro*": "gemini-1.5-pro", "gemini-2.5-flash*": "gemini-2.5-flash"},
    ),
    "groq": (
        30,
        ["llama3-70b-8192", "mixtral-8x22b-32768", "gemma2-9b-it"],
        {"llama3-70b*": "llama3-70b-8192", "mixtral-8x22b*": "mixtral-8x22b-32768"},
    ),
    "huggingface": (
        30,
        ["meta-llama/Llama-3.3-70B-Instruct", "Qwen/Qwen3-32B"],
        {"meta-llama/*70b*": "meta-llama/Llama-3.3-70B-Instruct", "qwen/*": "Qwen/Qwen3-32B"},
    ),
    "mistral": (
        20,
        ["mistral-large-2512", "mistral-small-2603", "codestral-2508"],
        {"mistral-large-*": "mistral-large-2512", "mistral-small-*": "mistral-small-2603"},
    ),
    "openrouter": (
        10,
        ["openai/gpt-4o", "anthropic/claude-3-opus", "meta-llama/llama-3.3-70b-instruct:free"],
        {"openai/gpt-4o": "openai/gpt-4o", "anthropic/claude-3-opus*": "anthropic/claude-3-opus"},
    ),
}


@pytest.mark.parametrize(
    "id",
    [
        pytest.param("google", marks=pytest.mark.requirement("TSK-32")),
        pytest.param("groq", marks=pytest.mark.requirement("TSK-33")),
        pytest.param("huggingface", marks=pytest.mark.requirement("TSK-34")),
        pytest.param("mistral", marks=pytest.mark.requirement("TSK-35")),
        pytest.param("openrouter", marks=pytest.mark.requirement("TSK-36")),
    ],
)
async def test_a_free_tier_holds_its_rate_and_its_models_are_reached_by_globs(vendors: Served, tmp_path: Path, id: str) -> None:
    world, base = vendors
    rate, models, globs = _FREE[id]
    row = table.rows()[id]
    if id in ("google", "openrouter"):
        world.vendor(id).offer(*models)
        url = world.url(base, id)
    else:
        world.add_compatible(id, f"/{id}/v1", *models)
        url = f"{base}/{id}/v1"
    own = environment(tmp_path, world, base, **{str(row.base_url_variable): url, row.key_variables[0]: "k"})
    # the models of the free tier: all of them, of a relay those that it marks
    limited = next(model for model in models if model.endswith(":free") or row.free_models == ("*",))
    agents = {"worker": [f"{id}/{limited}", f"openai/{MINI}"], **{f"a{n}": [f"{id}/{glob}"] for n, glob in enumerate(globs)}}
    bundle = bundle_of(tmp_path, agents)
    async with Host(bundle, environment=own, ledger=tmp_path / "l.db", clock=Still()) as host:
        reached = [(await host.delegate(f"a{n}", "Work.")).model for n in range(len(globs))]
        answered = Counter([(await host.delegate("worker", "Work.", timeout=5)).provider for _ in range(rate + 2)])
    assert reached == list(globs.values())
    before = [family(model) for model in reached].count(family(limited))
    assert answered == {id: rate - before, "openai": 2 + before}
    assert Counter(family(request.model) for request in world.chats(id))[family(limited)] == rate


_CONFIG = """format: 1
bundle: {name: team}
providers:
  groq: {requests_per_minute: 9}
  gemini: {requests_per_minute: 1}
  mine:
    kind: mistral
    requests_per_minute: 5
  enough: {kind: mistral, requests_per_minute: 10}
  openai: {requests_per_minute: 3}
  ollama: {requests_per_minute: 1}
  anthropic-eu: {kind: anthropic, requests_per_minute: 2}
"""


@pytest.mark.requirement("TSK-31")
def test_a_free_tier_with_less_than_ten_requests_a_minute_is_flagged_at_its_place(tmp_path: Path) -> None:
    (tmp_path / "team.yaml").write_text(_CONFIG, encoding="utf-8")
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True)
    (home / "data" / "settings.yaml").write_text("providers:\n  hf: {requests_per_minute: 4}\n", encoding="utf-8")
    ran = command("check", "--bundle", "team.yaml", "--json", home=home, cwd=tmp_path)
    told = [fault for fault in ran.json["faults"] if fault["rule"] == "slow-free-tier"]
    places = {(Path(fault["file"]).name, fault["line"], fault["column"], fault["key"]) for fault in told}
    assert places == {
        ("team.yaml", 4, 31, "providers.groq.requests_per_minute"),
        ("team.yaml", 5, 33, "providers.gemini.requests_per_minute"),
        ("team.yaml", 8, 26, "providers.mine.requests_per_minute"),
        ("settings.yaml", 2, 29, "providers.hf.requests_per_minute"),
    }
    assert all("write 10 or more" in fault["message"] and fault["level"] == "warning" for fault in told)
    assert command("check", "--bundle", "team.yaml", "--strict", home=home, cwd=tmp_path).code == 1
    for row in table.rows().values():
        if row.cost == "free" and not row.local:
            assert (row.requests_per_minute or 0) >= 10, row.id


# --- what a list leaves out


def deepseek_host(world: World, base: str, folder: Path, bundle: Bundle) -> Host:
    world.add_compatible("deepseek", "/deepseek")
    world.vendor("deepseek").models = [
        {"id": id, "object": "model", "owned_by": "deepseek"} for id in ("deepseek-chat", "deepseek-reasoner", "deepseek-new")
    ]
    own = environment(folder, world, base, DEEPSEEK_API_KEY="k", DEEPSEEK_BASE_URL=base + "/deepseek")
    return Host(bundle, environment=own, ledger=folder / "l.db")


@pytest.mark.parametrize(
    "model",
    [
        pytest.param("deepseek-chat", marks=pytest.mark.requirement("POL-104")),
        pytest.param("deepseek-reasoner", marks=pytest.mark.requirement("POL-105")),
    ],
)
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_deepseeks_window_is_in_the_catalogue_and_larger_prompts_are_excluded(
    vendors: Served, tmp_path: Path, model: str
) -> None:
    world, base = vendors
    bundle = bundle_of(tmp_path, {"worker": [f"deepseek/{model}", f"openai/{MINI}"], "alone": [f"deepseek/{model}"]})
    async with deepseek_host(world, base, tmp_path, bundle) as host:
        offer = (await host.offers(["deepseek"])).by_id["deepseek"]
        assert offer.catalogue is not None
        listed = {one.id: one for one in offer.catalogue.models}
        fits = await host.delegate("worker", "x" * 400_000)
        large = "x" * (16 * 128_000 + 40_000)
        beyond = await host.delegate("worker", large)
        with pytest.raises(NoCandidate, match=f"{model} takes 128000 tokens, the prompt has at least"):
            await host.delegate("alone", large)
    assert listed[model].window == 128_000
    assert ("reasoning" in (listed[model].capabilities or ())) == (model == "deepseek-reasoner")
    assert listed[model].from_table == {"window", "output_limit", "kind", "capabilities"}
    assert (listed["deepseek-new"].window, listed["deepseek-new"].from_table) == (None, frozenset())
    assert (fits.provider, fits.model) == ("deepseek", model)
    assert beyond.provider == "openai"
    assert [request.model for request in world.chats("deepseek")] == [model]


def test_the_list_always_wins_over_the_table() -> None:
    row = table.rows()["deepseek"]
    told = ModelInfo("deepseek-chat", window=64_000, capabilities=frozenset())
    (found,) = filled([told], row)
    assert (found.window, found.capabilities, found.output_limit) == (64_000, frozenset(), 8192)
    assert found.from_table == {"kind", "output_limit"}
    assert filled([told], None) == [told]


@pytest.mark.requirement("POL-107")
async def test_deepseek_is_in_the_cloud_only_and_spoken_to_through_openais_sdk(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    row = table.rows()["deepseek"]
    assert address_of(row, {}) == "https://api.deepseek.com"
    provider = live_providers({"DEEPSEEK_API_KEY": "k"})["deepseek"]
    assert not isinstance(provider, Missing)
    assert (provider.base_url, provider.local) == ("https://api.deepseek.com", False)  # type: ignore[attr-defined]
    # nobody makes it local by its address
    near = live_providers({"DEEPSEEK_API_KEY": "k"}, {"deepseek": ProviderSettings(base_url="http://127.0.0.1:1")})["deepseek"]
    assert not isinstance(near, Missing)
    assert not near.local
    bundle = bundle_of(tmp_path, {"worker": ["deepseek/deepseek-chat"]})
    async with deepseek_host(world, base, tmp_path, bundle) as host:
        offer = (await host.offers(["deepseek"])).by_id["deepseek"]
        await host.delegate("worker", "Work.")
    asked: Any = SimpleNamespace(local_only=True)
    assert boundary(asked, offer, ModelInfo("deepseek-chat")) == "local_only: deepseek is not local"
    listed, chat = world.lists("deepseek")[0], world.chats("deepseek")[0]
    assert (listed.path, chat.path) == ("/models", "/chat/completions")
    assert chat.headers["user-agent"].startswith("AsyncOpenAI/Python")
    assert chat.headers["authorization"] == "Bearer k"


def test_models_says_what_the_table_filled(world: World, tmp_path: Path) -> None:
    world.add_compatible("deepseek", "/deepseek")
    world.vendor("deepseek").models = [{"id": "deepseek-chat", "object": "model", "owned_by": "deepseek"}]
    with served_in_thread(world) as base:
        own = {"DEEPSEEK_API_KEY": "k", "DEEPSEEK_BASE_URL": base + "/deepseek"}
        ran = command("models", "deepseek", "--json", home=tmp_path, cwd=tmp_path, environment=own)
    ((model,),) = [provider["models"] for provider in ran.json["providers"]]
    assert model["window"] == 128_000
    assert model["from_table"] == ["capabilities", "kind", "output_limit", "window"]
