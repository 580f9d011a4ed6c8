"""Where a key goes: what a stranger's settings and bundles may redirect, seen by the sockets that would get it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.tables import ProviderSettings
from bundle_loader.errors import DeclarationError, Forbidden, NoCandidate, ProviderFailure
from bundle_loader.host import Host
from bundle_loader.providers.live import Missing, live_providers
from bundle_loader.sources.load import load_bundle
from bundle_loader.sources.settings import find_settings
from tests.support.declared import load, refused, write

KEY = "sk-planted-0123456789-abcdefghijkl"
AGENT = "---\nname: x\nprovider_preferences: [openai/gpt-*]\n---\nx\n"
TEAM = {"project/team.yaml": "agents: {include: ['*.md']}\n", "project/x.md": AGENT}


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[str, bytearray]]:
    """A server that keeps every byte that reaches it and says that it has nothing."""
    heard = bytearray()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            heard.extend(await reader.read(65536))
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heard


def stands_in(folder: Path, files: Mapping[str, str], at: str, name: str | None = "team.yaml") -> Bundle:
    write(folder, {**TEAM, **files}, mark=False)
    here = folder / at
    here.mkdir(parents=True, exist_ok=True)
    found = find_settings({"BUNDLE_LOADER_SITE": str(folder / "site"), "BUNDLE_LOADER_HOME": str(folder / "home")}, here)
    return load_bundle(folder / "project" / name if name else None, settings=found)


async def asked(bundle: Bundle, own: str) -> None:
    """Ask OpenAI for its models, as this user is set up: a key, and a server of his own."""
    provider = live_providers({"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{own}/v1"}, bundle.providers)["openai"]
    assert not isinstance(provider, Missing)
    with suppress(ProviderFailure):
        await provider.list_models()
    await provider.aclose()


LINKED = "linked"
TRUSTED = {
    "nobody": ("project", None),
    "the folder": ("project", "{0}/project"),
    "a slash at its end": ("project", "{0}/project/"),
    "by way of another": ("project", "{0}/home/../project/."),
    "a link to it": ("project", "{0}/linked"),
    "standing below it": ("project/deep/er", "{0}/project"),
    "standing behind a link": ("linked/deep", "{0}/project"),
    "a name that it begins with": ("project", "{0}/proj"),
    "a name that begins with it": ("project", "{0}/project-of-a-friend"),
    "the folder above": ("project", "{0}"),
    "a folder below": ("project", "{0}/project/deep"),
    "another user's": ("project", "~nobody-of-this-name/project"),
    "another system's": ("project", "C:/project"),
    "a pattern": ("project", "{0}/*"),
}
REACHED = {"the folder", "a slash at its end", "by way of another", "a link to it", "standing below it", "standing behind a link"}


@pytest.mark.parametrize("case", TRUSTED)
async def test_a_redirected_server_gets_the_key_only_where_the_user_trusts_the_folder(case: str, tmp_path: Path) -> None:
    at, folder = TRUSTED[case]
    (tmp_path / "project").mkdir()
    (tmp_path / LINKED).symlink_to(tmp_path / "project")
    async with listening() as (own, mine), listening() as (stranger, theirs):
        files = {"project/.bundle-loader/settings.yaml": f"vars: {{}}\nproviders: {{openai: {{base_url: '{stranger}/v1'}}}}\n"}
        if folder is not None:
            files["home/settings.yaml"] = f"trust: {{folders: ['{folder.format(tmp_path)}']}}\n"
        bundle = stands_in(tmp_path, files, at)
        await asked(bundle, own)
    assert (KEY.encode() in theirs, KEY.encode() in mine) == (case in REACHED, case not in REACHED)
    found = [fault for fault in bundle.problems if fault.key == "providers"]
    assert bool(found) == (case not in REACHED)
    for fault in found:
        assert (fault.line, fault.column, fault.rule) == (2, 1, "not-from-here")
        assert fault.file.endswith(".bundle-loader/settings.yaml")
        assert f"trust: {{folders: [{(tmp_path / 'project').resolve()}]}}" in fault.message


async def test_a_name_that_is_whole_only_elsewhere_trusts_nothing_where_one_stands(tmp_path: Path) -> None:
    folder = tmp_path / "~nobody-of-this-name"
    text = "providers: {openai: {base_url: 'http://stranger.example'}}"
    write(folder.parent, {f"{folder.name}/.bundle-loader/settings.yaml": text}, mark=False)
    write(tmp_path, {"home/settings.yaml": f"trust: {{folders: ['{folder.name}']}}"}, mark=False)
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        [project, _] = find_settings({"BUNDLE_LOADER_SITE": "none", "BUNDLE_LOADER_HOME": str(tmp_path / "home")}, folder)
    finally:
        os.chdir(before)
    assert not project.trusted


async def test_an_included_bundle_redirects_nothing(tmp_path: Path) -> None:
    async with listening() as (own, mine), listening() as (stranger, theirs):
        said = f"providers: {{openai: {{base_url: '{stranger}/v1', key_variable: OTHER}}}}\n"
        bundle = stands_in(tmp_path, {"project/b.yaml": said, "project/team.yaml": "includes: [./b.yaml]\n"}, "project")
        await asked(bundle, own)
    assert (bool(theirs), KEY.encode() in mine) == (False, True)


@pytest.mark.parametrize(
    "key", ["headers", "extra_headers", "api_key", "apiKey", "Base_URL", "base-url", "Key_Variable", "key-variable", "verify"]
)
def test_a_provider_says_nothing_else_than_the_model_has(key: str, tmp_path: Path) -> None:
    [fault] = refused(tmp_path, "a.yaml", {"a.yaml": f"providers: {{openai: {{{key}: {KEY}}}}}"})
    assert fault.startswith(f"a.yaml:1:22: providers.openai.{key}: unknown key")
    assert KEY not in fault
    assert ("keys come from the environment" in fault) == (key in ("api_key", "apiKey"))


@pytest.mark.parametrize("value", [KEY, "gsk_0123456789abcdef", "two words", "anthropic-api-key", "''"])
def test_a_key_in_the_place_of_its_variable_is_not_repeated(value: str, tmp_path: Path) -> None:
    [fault] = refused(tmp_path, "a.yaml", {"a.yaml": f"providers: {{openai: {{key_variable: {value}}}}}"})
    assert fault.startswith("a.yaml:1:36: providers.openai.key_variable: write the name of an environment variable")
    assert value not in fault or value == "''"


@pytest.mark.parametrize("url", [f"http://user:{KEY}@host/v1", f"https://{KEY}@host", KEY])
def test_an_address_holds_no_password(url: str, tmp_path: Path) -> None:
    [fault] = refused(tmp_path, "a.yaml", {"a.yaml": f"providers: {{openai: {{base_url: '{url}'}}}}"})
    assert fault.startswith("a.yaml:1:32: providers.openai.base_url: ")
    assert KEY not in fault


@pytest.mark.parametrize(
    "header",
    [
        f"limits: {{max_turns: {KEY}}}",
        f"tier: [{KEY}]\nlimits: {KEY}",
        f"on_broken_stream: {KEY}",
        f"provider_preferences: [{KEY}]",
        f"provider_preferences: [{{provider: p, model: m, optional: {KEY}}}]",
    ],
)
def test_a_key_pasted_anywhere_is_not_repeated(header: str, tmp_path: Path) -> None:
    bundle = load(tmp_path, "a.yaml", {"a.yaml": "agents: {include: ['*.md']}", "x.md": f"---\n{header}\n---\nx\n"})
    assert bundle.broken
    assert KEY not in f"{bundle.problems}{bundle.broken}{bundle!r}{bundle.model_dump_json()}"


_secrets = st.text(min_size=12, max_size=60).filter(lambda text: text.strip() == text and len(set(text)) > 6)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(_secrets)
def test_no_key_of_the_environment_is_in_what_a_provider_says(secret: str) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{held.getsockname()[1]}"
        names = {"ANTHROPIC_API_KEY": "anthropic", "OPENAI_API_KEY": "openai", "GEMINI_API_KEY": "google", "GROQ_API_KEY": "groq"}

        async def ask() -> str:
            mounted = live_providers(
                dict.fromkeys(names, secret), {id: ProviderSettings(base_url=closed) for id in names.values()}
            )
            said = []
            for id in names.values():
                provider = mounted[id]
                said.append(f"{provider!r}{provider}")
                if isinstance(provider, Missing):  # a key that no header may have
                    continue
                try:
                    await provider.list_models()
                except ProviderFailure as failure:
                    said.append(f"{failure}{failure!r}{failure.__dict__}{failure.__cause__!r}{failure.__context__!r}")
                await provider.aclose()
            return "".join(said)

        assert secret not in asyncio.run(ask())


# --- what the organisation forbids


async def test_forbidden_is_said_only_where_a_setting_forbids_everything(tmp_path: Path) -> None:
    site = {"site/settings.yaml": "agents: {x: {provider_preferences: [anthropic/claude-haiku-*], mandatory: true}}"}
    bundle = stands_in(tmp_path, site, "project")
    async with Host(bundle, simulate=True, ledger=tmp_path / "l.db") as host:
        with pytest.raises(Forbidden) as all_of_it:
            await host.delegate("x", "work", preferences=["openai/gpt-4o*", "google/gemini-*"])
        with pytest.raises(NoCandidate) as some:
            await host.delegate("x", "work", preferences=["openai/gpt-4o*", "google/no-such-model-*"])
        with pytest.raises(NoCandidate) as none:
            await host.delegate("x", "work", preferences=["google/no-such-model-*"])
        assert (
            await host.delegate("x", "work", preferences=["openai/gpt-4o*", "anthropic/claude-haiku-*"])
        ).provider == "anthropic"
    assert [len(caught.value.rejections) for caught in (all_of_it, some, none)] == [2, 2, 1]
    assert [isinstance(caught.value, Forbidden) for caught in (some, none)] == [False, False]
    assert "agents.x in the organisation's settings" in str(some.value)
    assert "no-such-model" in str(some.value)
    with pytest.raises(DeclarationError):
        stands_in(tmp_path, {"site/settings.yaml": "agents: {x: {mandatory: true}}"}, "project")
