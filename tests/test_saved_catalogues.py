"""Lists of models on disk: read at a cold start, served while they are renewed, never torn, never an error."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bundle_loader import CatalogueChanged, Host, PatternMoved, SimulatedProvider, SyncHost
from bundle_loader.providers.catalogues import KEEP, STALE
from bundle_loader.providers.endpoint import Endpoint, endpoint
from bundle_loader.providers.openai import OpenAIProvider
from bundle_loader.providers.saved import MOST_KEPT, Kept, SavedCatalogues
from bundle_loader.routing.age import ago
from bundle_loader.routing.catalogue import Catalogue, ModelInfo
from tests.support.command import command
from tests.support.hosting import worker
from tests.support.vendors import Fault, World, served_in_thread

Served = tuple[World, str]
HERE = endpoint("anthropic", "https://api.example")
START = 1_700_000_000.0
LIST = Catalogue(
    "anthropic",
    (
        ModelInfo(
            "claude-haiku-9",
            created=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
            window=200_000,
            output_limit=64_000,
            capabilities=frozenset({"tools", "vision"}),
            kind="chat",
            stage="preview",
            aliases=("claude-haiku-latest",),
            digest="sha256:1",
            extra={"display_name": "Haiku ✓", "line": None},
        ),
        ModelInfo("claude-opus-9"),
    ),
    START,
    source="saved",
)


class Clock:
    """Stands until it is moved."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Plain:
    """A host's own provider: not simulated, with a list that comes when it is let go."""

    def __init__(self, id: str, *models: str, base_url: str = "https://one.example") -> None:
        self.id, self.local, self.base_url = id, False, base_url
        self.models = [ModelInfo(model) for model in models]
        self.asked = 0
        self.down = False
        self.let_go = asyncio.Event()
        self.let_go.set()

    async def list_models(self) -> list[ModelInfo]:
        self.asked += 1
        await self.let_go.wait()
        if self.down:
            raise ConnectionError("nobody there")
        return list(self.models)

    async def stream(self, request: Any) -> Any:
        raise NotImplementedError
        yield

    async def aclose(self) -> None:
        return


def saved_file(folder: Path, provider: str) -> Path:
    """The one file that there is of a provider's lists."""
    [path] = folder.glob(f"{provider}~*.json")
    return path


def hosted(folder: Path, provider: Plain, clock: Clock, **more: Any) -> Host:
    return Host(
        worker(folder, f"{provider.id}/m-*"),
        providers={provider.id: provider},
        ledger=folder / "l.db",
        catalogues=folder / "lists",
        clock=clock,
        **more,
    )


async def chosen(host: Host) -> str | None:
    found = (await host.route("worker")).chosen
    return found.model if found else None


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.002)


# --- the file


def test_a_list_comes_back_whole(tmp_path: Path) -> None:
    saved = SavedCatalogues(tmp_path / "a" / "b")
    assert saved.read("anthropic", HERE, START).catalogue is None
    assert saved.write(LIST, HERE) is None
    kept = saved.read("anthropic", HERE, START + 1)
    assert (kept.catalogue, kept.note) == (LIST, None)
    assert kept.catalogue is not None
    assert kept.catalogue.models[0].extra == LIST.models[0].extra
    assert list(saved.folder.iterdir()) == [saved.path("anthropic", HERE)]
    told = json.loads(saved.path("anthropic", HERE).read_text())
    assert (told["format"], told["provider"], told["kind"], told["fetched"]) == (
        2,
        "anthropic",
        "anthropic",
        "2023-11-14T22:13:20Z",
    )


def _changed(**fields: Any) -> Callable[[dict[str, Any]], bytes]:
    return lambda written: json.dumps({**written, **fields}).encode()


DAMAGE: dict[str, tuple[Callable[[dict[str, Any]], bytes], str]] = {
    "empty": (lambda _: b"", "the file is damaged"),
    "cut": (lambda written: json.dumps(written).encode()[:-40], "the file is damaged"),
    "binary": (lambda _: bytes(range(256)), "the file is damaged"),
    "no mapping": (lambda _: b"[1]", "the file is damaged"),
    "deep": (lambda _: b"[" * 100_000, "the file is damaged"),
    "another format": (_changed(format=3, models="else"), "format 3 is not known"),
    "format as text": (_changed(format="2"), "the file is damaged"),
    "unknown key": (_changed(more=1), "the file is damaged"),
    "another provider": (_changed(provider="openai"), "the file is damaged"),
    "a model without an id": (_changed(models=[{"window": 5}]), "the file is damaged"),
    "an empty id": (_changed(models=[{"id": ""}]), "the file is damaged"),
    "a number as id": (_changed(models=[{"id": 5}]), "the file is damaged"),
    "a window in words": (_changed(models=[{"id": "a", "window": "much"}]), "the file is damaged"),
    "no zone": (_changed(fetched="2023-01-01T00:00:00"), "it has a time without a zone"),
    "a model without a zone": (_changed(models=[{"id": "a", "created": "2023-01-01T00:00:00"}]), "it has a time without a zone"),
    "no date": (_changed(fetched="yesterday"), "the file is damaged"),
    "the future": (_changed(fetched="2023-11-14T22:13:22Z"), "it is dated in the future"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_file_that_is_damaged_is_ignored_with_a_note_and_replaced(tmp_path: Path, name: str) -> None:
    damage, why = DAMAGE[name]
    saved = SavedCatalogues(tmp_path)
    saved.write(LIST, HERE)
    path = saved.path("anthropic", HERE)
    path.write_bytes(damage(json.loads(path.read_text())))
    kept = saved.read("anthropic", HERE, START + 1)
    assert (kept.catalogue, kept.note) == (None, f"its saved list is not used: {why}")
    assert saved.write(LIST, HERE) is None
    assert saved.read("anthropic", HERE, START + 1).catalogue == LIST


def test_what_is_no_plain_file_is_ignored_without_waiting(tmp_path: Path) -> None:
    saved = SavedCatalogues(tmp_path)
    os.mkfifo(saved.path("pipe", HERE))
    saved.path("folder", HERE).mkdir()
    saved.path("loop", HERE).symlink_to(saved.path("loop", HERE))
    for name in ("pipe", "folder", "loop"):
        kept = saved.read(name, HERE, START)
        assert kept.catalogue is None
        assert kept.note is not None
    blocked = SavedCatalogues(tmp_path / "file")
    (tmp_path / "file").write_text("")
    assert blocked.read("anthropic", HERE, START).catalogue is None
    assert "could not be saved" in (blocked.write(LIST, HERE) or "")
    assert "could not be saved" in (saved.write(Catalogue("folder", (), START), HERE) or "")
    assert [path.name for path in tmp_path.glob(".*")] == [], "nothing unfinished is left"


HOSTILE = [
    "../../etc/x",
    "/etc/x",
    "..",
    ".",
    "",
    "a/b",
    "a\\b",
    "a\0b",
    "x" * 5000,
    "é" * 300,
    "a\ud800",
    "CON",
    "a%2Fb",
    "*[?]",
]


def test_every_id_has_a_file_of_its_own_inside_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "lists"
    saved = SavedCatalogues(folder)
    for id in HOSTILE:
        assert saved.path(id, HERE).parent == folder
        reason = saved.write(Catalogue(id, (ModelInfo("m"),), START), HERE)
        assert (reason is None) == (saved.read(id, HERE, START).catalogue is not None)
        assert (reason is None) == ("\ud800" not in id), id
    assert len({saved.path(id, HERE) for id in HOSTILE}) == len(HOSTILE)
    assert {path.parent for path in tmp_path.rglob("*") if path.is_file()} == {folder}


def test_another_address_or_kind_is_another_list(tmp_path: Path) -> None:
    saved = SavedCatalogues(tmp_path)
    saved.write(LIST, HERE)
    for other in (
        endpoint("anthropic", "https://elsewhere.example"),
        endpoint("openai", "https://api.example"),
        Endpoint("", ""),
    ):
        assert saved.read("anthropic", other, START) == saved.read("none", other, START)
    assert endpoint("anthropic", "https://user:sk-secret@api.example/?key=sk-secret") == HERE
    assert endpoint("a", "https://api.example/v1") != endpoint("a", "https://api.example/v2")
    assert "api.example" not in saved.path("anthropic", HERE).read_text()


def test_each_key_of_an_endpoint_has_a_list_of_its_own(tmp_path: Path) -> None:
    saved = SavedCatalogues(tmp_path)
    keys = ("sk-one-0123456789abcdef", "sk-two-0123456789abcdef", None)
    at = {key: endpoint("anthropic", "https://api.example", key) for key in keys}
    assert len({one.credential for one in at.values()}) == 3
    for number, key in enumerate(keys):
        assert saved.write(replace(LIST, models=(ModelInfo(f"of-{number}"),), learnt=START + number), at[key]) is None
    for number, key in enumerate(keys):
        kept = saved.read("anthropic", at[key], START + 9).catalogue
        assert kept is not None
        assert [model.id for model in kept.models] == [f"of-{number}"]
    assert saved.read("anthropic", endpoint("anthropic", "https://api.example", "sk-three"), START + 9) == Kept()
    newest = saved.newest("anthropic", HERE, START + 9).catalogue
    assert newest is not None
    assert [model.id for model in newest.models] == ["of-2"], "whichever key it was fetched with"
    assert saved.newest("anthropic", endpoint("anthropic", "https://elsewhere.example"), START + 9) == Kept()
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o077 == 0, "the user's alone"
        for key in keys[:2]:
            assert key is not None
            plain = {hashlib.new(name, key.encode()).hexdigest()[:16] for name in ("sha256", "sha1", "md5", "blake2b")}
            assert not any(word in path.read_text() + path.name for word in (key, *plain)), "nor any plain hash of it"
    elsewhere = endpoint("anthropic", "https://elsewhere.example", keys[0]).credential
    assert elsewhere != at[keys[0]].credential, "marks of one key at two places cannot be compared"


def test_lists_of_keys_that_are_no_longer_used_go(tmp_path: Path) -> None:
    saved = SavedCatalogues(tmp_path)
    (tmp_path / "anthropic.json").write_text('{"format": 1}')
    other = endpoint("openai", None, "k")
    saved.write(replace(LIST, provider="anthropic-eu"), other)
    for number in range(MOST_KEPT + 3):
        at = endpoint("anthropic", None, f"sk-{number}")
        assert saved.write(LIST, at) is None
        os.utime(saved.path("anthropic", at), (number + 1.0, number + 1.0))
    assert saved.write(LIST, endpoint("anthropic", None, "sk-last")) is None
    left = {path.name for path in tmp_path.iterdir()} - {saved.path("anthropic-eu", other).name}
    newest = [f"sk-{number}" for number in range(4, MOST_KEPT + 3)] + ["sk-last"]
    assert left == {saved.path("anthropic", endpoint("anthropic", None, key)).name for key in newest}


def test_what_is_simulated_is_not_saved(tmp_path: Path) -> None:
    saved = SavedCatalogues(tmp_path)
    assert saved.write(Catalogue("anthropic", (), START, simulated=True), HERE) is not None
    assert list(tmp_path.iterdir()) == []


WRITER = """
import sys
from pathlib import Path
from bundle_loader.providers.endpoint import endpoint
from bundle_loader.providers.saved import SavedCatalogues
from bundle_loader.routing.catalogue import Catalogue, ModelInfo
saved, mark, times = SavedCatalogues(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
for turn in range(times):
    count = 200 + turn % 50
    models = tuple(ModelInfo(f"{mark}-{number}", extra={"of": count}) for number in range(count))
    assert saved.write(Catalogue("p", models, 1000.0 + turn), endpoint("k", None)) is None
"""


def writer(folder: Path, mark: str, times: int) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(folder), mark, str(times)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def whole(saved: SavedCatalogues) -> bool:
    """True for one writer's whole list, False before the first; a torn one is an error."""
    kept = saved.read("p", endpoint("k", None), 1e9)
    assert kept.note is None
    if kept.catalogue is None:
        return False
    models = kept.catalogue.models
    assert {model.id.partition("-")[0] for model in models} in ({"a"}, {"b"})
    assert {model.extra["of"] for model in models} == {len(models)}
    return True


def test_two_processes_that_write_at_once_never_leave_a_torn_file(tmp_path: Path) -> None:
    saved = SavedCatalogues(tmp_path)
    processes = [writer(tmp_path, mark, 300) for mark in "ab"]
    read = 0
    while any(process.poll() is None for process in processes):
        read += whole(saved)
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0, 0]
    assert read > 10
    assert whole(saved)
    assert list(tmp_path.iterdir()) == [saved.path("p", endpoint("k", None))]


def test_a_process_killed_while_it_writes_leaves_a_whole_list(tmp_path: Path) -> None:
    saved = SavedCatalogues(tmp_path)
    for turn in range(4):
        process = writer(tmp_path, "a", 1_000_000)
        while not whole(saved):
            pass
        time.sleep(0.02 + turn * 0.013)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert whole(saved)
    for left in tmp_path.glob(".*.tmp"):
        os.utime(left, (1.0, 1.0))
    file = saved.path("p", endpoint("k", None))
    older, young = (tmp_path / f".{file.name}.{name}.tmp" for name in ("older", "young"))
    older.write_text("{")
    os.utime(older, (1.0, 1.0))
    young.write_text("{")
    assert saved.write(Catalogue("p", (), 1.0), endpoint("k", None)) is None
    assert set(tmp_path.iterdir()) == {young, file}


# --- hosts


async def test_a_cold_start_within_the_time_asks_nobody(tmp_path: Path) -> None:
    clock = Clock()
    async with hosted(tmp_path, Plain("p", "m-1"), clock) as host:
        assert await chosen(host) == "m-1"
    clock.now += KEEP - 1
    again = Plain("p", "m-2")
    async with hosted(tmp_path, again, clock) as host:
        route = await host.route("worker")
        assert route.chosen is not None
        assert (route.chosen.model, route.notes, again.asked) == ("m-1", (), 0)
        (offer,) = (await host.offers()).by_id.values()
        assert offer.catalogue is not None
        assert (offer.catalogue.source, offer.catalogue.learnt, offer.stale) == ("saved", START, None)
        await host.refresh()
        assert (await chosen(host), again.asked) == ("m-2", 1)
    third = Plain("p", "m-3")
    async with hosted(tmp_path, third, clock) as host:
        assert (await chosen(host), third.asked) == ("m-2", 0), "what was asked for is saved, with its own time"


async def test_an_older_list_serves_at_a_cold_start_while_one_renewal_runs(tmp_path: Path) -> None:
    clock = Clock()
    async with hosted(tmp_path, Plain("p", "m-1"), clock) as host:
        await chosen(host)
    clock.now += KEEP
    later = Plain("p", "m-2")
    later.let_go.clear()
    async with hosted(tmp_path, later, clock) as host:
        routes = await asyncio.gather(*(host.route("worker") for _ in range(20)))
        assert {route.chosen.model for route in routes if route.chosen} == {"m-1"}
        assert {route.notes for route in routes} == {("p: its list of models is 15 min old and is being renewed",)}
        await until(lambda: later.asked == 1)
        later.let_go.set()
        async with asyncio.timeout(10):
            while await chosen(host) != "m-2":  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.002)
        assert (await host.route("worker")).notes == ()
    assert later.asked == 1


async def test_a_list_that_is_too_old_waits_and_serves_on_where_the_renewal_fails(tmp_path: Path) -> None:
    clock = Clock()
    async with hosted(tmp_path, Plain("p", "m-1"), clock) as host:
        await chosen(host)
    clock.now += STALE
    later = Plain("p", "m-2")
    async with hosted(tmp_path, later, clock) as host:
        assert (await chosen(host), later.asked) == ("m-2", 1)
    clock.now += STALE
    broken = Plain("p", "m-3")
    broken.down = True
    async with hosted(tmp_path, broken, clock) as host:
        route = await host.route("worker")
        assert route.chosen is not None
        assert (route.chosen.model, broken.asked) == ("m-2", 1)
        (note,) = route.notes
        assert note.startswith("p: its list of models is an old one, since the newest try failed (")
        (offer,) = (await host.offers()).by_id.values()
        assert offer.stale is not None
    assert SavedCatalogues(tmp_path / "lists").read("p", endpoint("Plain", broken.base_url), clock.now).catalogue is not None


async def test_with_no_staleness_every_renewal_is_waited_for(tmp_path: Path) -> None:
    clock = Clock()
    provider = Plain("p", "m-1")
    async with hosted(tmp_path, provider, clock, stale=0) as host:
        await chosen(host)
        provider.models.append(ModelInfo("m-2"))
        clock.now += KEEP
        assert await chosen(host) == "m-2"


async def test_a_model_that_appears_is_chosen_by_the_next_delegation_without_reload(tmp_path: Path) -> None:
    clock = Clock()
    provider = SimulatedProvider("p", models=["m-1"])
    async with Host(worker(tmp_path, "p/m-*"), providers={"p": provider}, ledger=tmp_path / "l.db", clock=clock) as host:
        assert (await host.delegate("worker", "Work.")).model == "m-1"
        provider.models = (*provider.models, ModelInfo("m-2"))
        await host.refresh()
        assert (await host.delegate("worker", "Work.")).model == "m-2", "at once where the host asks for it"
        provider.models = (*provider.models, ModelInfo("m-3"))
        clock.now += KEEP
        assert (await host.delegate("worker", "Work.")).model == "m-2", "the first after the time has it renewed"
        await until(lambda: provider.list_calls == 3)
        await asyncio.sleep(0.01)
        assert (await host.delegate("worker", "Work.")).model == "m-3"


async def test_closing_stops_a_renewal_and_loses_no_list_that_came(tmp_path: Path) -> None:
    clock = Clock()
    async with hosted(tmp_path, Plain("p", "m-1"), clock) as host:
        await host.offers()
    assert saved_file(tmp_path / "lists", "p").exists(), "saved though the host was closed at once"
    clock.now += KEEP
    slow = Plain("p", "m-2")
    slow.let_go.clear()
    before = asyncio.all_tasks()
    async with hosted(tmp_path, slow, clock) as host:
        await chosen(host)
        await until(lambda: slow.asked == 1)
        assert {task.get_name() for task in asyncio.all_tasks() - before} >= {"list-models p"}
    assert asyncio.all_tasks() == before


async def test_another_address_is_asked(tmp_path: Path) -> None:
    clock = Clock()
    async with hosted(tmp_path, Plain("p", "m-1"), clock) as host:
        await chosen(host)
    moved = Plain("p", "m-2", base_url="https://two.example")
    async with hosted(tmp_path, moved, clock) as host:
        assert (await chosen(host), moved.asked) == ("m-2", 1)


async def test_what_is_damaged_is_told_once_and_replaced(tmp_path: Path) -> None:
    clock = Clock()
    provider = Plain("p", "m-1")
    async with hosted(tmp_path, provider, clock) as host:
        await host.offers()
    saved_file(tmp_path / "lists", "p").write_text("{")
    async with hosted(tmp_path, provider, clock) as host:
        assert (await host.route("worker")).notes == ("p: its saved list is not used: the file is damaged",)
        await host.refresh()
        assert (await host.route("worker")).notes == ()
    again = Plain("p", "m-1")
    async with hosted(tmp_path, again, clock) as host:
        assert (await chosen(host), again.asked) == ("m-1", 0)


async def test_providers_passed_in_and_simulated_ones_are_not_saved(tmp_path: Path) -> None:
    clock = Clock()
    home = tmp_path / "home"
    environment = {"BUNDLE_LOADER_HOME": str(home)}
    bundle = worker(tmp_path, "p/m-*", "anthropic/claude-haiku-*")
    own: dict[str, Any] = {"p": Plain("p", "m-1")}
    async with Host(bundle, providers=own, ledger=tmp_path / "l.db", environment=environment, clock=clock) as host:
        await host.offers()
    async with Host(bundle, simulate=True, environment=environment, clock=clock, catalogues=tmp_path / "lists") as host:
        await host.offers()
    simulated = {"p": SimulatedProvider("p", models=["m-1"])}
    async with Host(bundle, providers=simulated, catalogues=tmp_path / "lists", ledger=tmp_path / "l.db", clock=clock) as host:
        await host.offers()
    assert not any((folder / "lists").exists() or (folder / "catalogues").exists() for folder in (tmp_path, home))
    saved = SavedCatalogues(tmp_path / "lists")
    saved.write(Catalogue("p", (ModelInfo("m-9"),), START), endpoint("SimulatedProvider", None))
    async with Host(bundle, providers=simulated, catalogues=tmp_path / "lists", ledger=tmp_path / "l.db", clock=clock) as host:
        assert await chosen(host) == "m-1"


async def test_events_say_what_came_and_went_and_which_pattern_moved(tmp_path: Path) -> None:
    clock = Clock()
    heard: list[object] = []
    provider = Plain("p", "m-1", "m-2", "x")
    async with hosted(tmp_path, provider, clock, listener=heard.append) as host:
        await host.route("worker", preferences=["p/m-*", "p/m-1", "p/x*", "p/m-3"])
        await host.refresh()
        assert heard == [], "the same list again changes nothing"
        provider.models = [ModelInfo("m-1"), ModelInfo("m-3"), ModelInfo("x")]
        await host.refresh()
    assert heard[0] == CatalogueChanged("p", ("m-3",), ("m-2",))
    assert set(heard[1:]) == {PatternMoved("p", "m-*", "m-2", "m-3"), PatternMoved("p", "m-3", None, "m-3")}
    heard.clear()
    clock.now += STALE
    async with hosted(tmp_path, Plain("p", "m-4"), clock, listener=heard.append) as host:
        await host.offers()
    assert heard == [CatalogueChanged("p", ("m-4",), ("m-1", "m-3", "x")), PatternMoved("p", "m-*", "m-3", "m-4")], (
        "also against what an earlier process saved, and for patterns that this one was not asked for"
    )


async def test_a_listener_that_fails_takes_nothing_with_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fail(event: object) -> None:
        raise ZeroDivisionError

    provider = Plain("p", "m-1")
    async with hosted(tmp_path, provider, Clock(), listener=fail) as host:
        await chosen(host)
        provider.models = [ModelInfo("m-2")]
        await host.refresh()
        assert await chosen(host) == "m-2"
    assert "a listener failed" in caplog.text


def test_the_synchronous_twin_saves_and_refreshes(tmp_path: Path) -> None:
    clock = Clock()
    for expected in ("m-1", "m-2"):
        provider = Plain("p", expected)
        with SyncHost(
            worker(tmp_path, "p/m-*"),
            providers={"p": provider},
            ledger=tmp_path / "l.db",
            catalogues=tmp_path / "lists",
            clock=clock,
        ) as host:
            if expected == "m-2":
                assert host.offers().by_id["p"].catalogue is not None
                assert provider.asked == 0
            catalogue = host.refresh(["p"]).by_id["p"].catalogue
            assert catalogue is not None
            assert [model.id for model in catalogue.models] == [expected]


async def test_the_providers_of_the_environment_are_saved_in_the_users_folder(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    environment = {**world.environment(base), "BUNDLE_LOADER_HOME": str(tmp_path / "home")}
    bundle = worker(tmp_path, "anthropic/claude-haiku-*", "openai/gpt-4o", "google/gemini-2.5-pro", "ollama/qwen3*")
    first = second = None
    clock = Clock()
    async with Host(bundle, environment=environment, clock=clock) as host:
        first = await host.route("worker")
    asked = len(world.requests)
    folder = tmp_path / "home" / "catalogues"
    assert sorted(path.stem.partition("~")[0] for path in folder.iterdir()) == ["anthropic", "google", "ollama", "openai"]
    for path in folder.iterdir():
        assert "test-key" not in path.read_text()
    for name in ("anthropic", "openai", "google", "ollama"):
        world.vendor(name).fault = Fault.list(Fault.status(503))
    async with Host(bundle, environment=environment, clock=clock) as host:
        second = await host.route("worker")
        assert (await host.delegate("worker", "Work.")).model == "claude-haiku-4-5-20251001"
    assert [(one.candidates, one.notes) for one in (first, second)] == [(first.candidates, ())] * 2
    assert len(world.requests) == asked + 1, "only the chat"
    without = {name: value for name, value in environment.items() if name != "OPENAI_API_KEY"}
    async with Host(bundle, environment=without) as host:
        assert (await host.offers(["openai"])).by_id["openai"].catalogue is None, "a saved list needs no key, its use does"


async def test_a_list_that_one_key_fetched_does_not_serve_another(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    bundle = worker(tmp_path, "openai/gpt-*", "openrouter/*")
    clock = Clock()
    one = {**world.environment(base), "BUNDLE_LOADER_HOME": str(tmp_path / "home")}
    other = {**one, "OPENAI_API_KEY": "another-key"}
    for environment, asked in ((one, 1), (other, 2), (one, 2), (other, 2)):
        async with Host(bundle, environment=environment, clock=clock) as host:
            assert (await host.offers(["openai"])).by_id["openai"].catalogue is not None
        assert len(world.lists("openai")) == asked
    passed_in = OpenAIProvider(api_key="another-key", base_url=other["OPENAI_BASE_URL"])
    lists = tmp_path / "home" / "catalogues"
    async with Host(bundle, providers={"openai": passed_in}, catalogues=lists, ledger=tmp_path / "l.db", clock=clock) as host:
        assert (await host.offers()).by_id["openai"].catalogue is not None
    assert len(world.lists("openai")) == 2, "a provider that is passed in is known by the same address and key"


# --- commands

SAVED = "---\nname: a\nprovider_preferences: [anthropic/claude-zeta-*, openai/gpt-0-*]\n---\nx\n"
WALL = """
import os, sys
def wall(event, _):
    if event.startswith("socket."):
        os.write(2, b"socket")
        os._exit(1)  # whatever a provider raises is a reason, even SystemExit
sys.addaudithook(wall)
"""


def run(folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> Any:
    (folder / "home").mkdir(exist_ok=True)
    (folder / "a.md").write_text(SAVED)
    return command(*arguments, "--bundle", "a.md", home=folder / "home", cwd=folder, environment=environment)


def lists_folder(folder: Path) -> Path:
    return folder / "home" / "data" / "catalogues"


def age(folder: Path, provider: str, seconds: float) -> None:
    """Make a saved list older."""
    path = saved_file(lists_folder(folder), provider)
    told = json.loads(path.read_text())
    moment = datetime.fromisoformat(told["fetched"]).timestamp() - seconds
    path.write_text(json.dumps({**told, "fetched": datetime.fromtimestamp(moment, UTC).isoformat()}))


def test_check_uses_what_refresh_saved_and_says_how_old_it_is(tmp_path: Path) -> None:
    world = World()
    world.vendor("anthropic").offer("claude-zeta-1")
    assert "anthropic: 'claude-zeta-*' matches none" in run(tmp_path, "check").out
    with served_in_thread(world) as base:
        environment = world.environment(base)
        asked = run(tmp_path, "check", "--refresh", environment=environment)
        assert "claude-zeta" not in asked.out
        assert "anthropic: asked now\n" in asked.out
        age(tmp_path, "anthropic", 3 * 3600 + 60)
        before = len(world.requests)
        ran = run(tmp_path, "check", environment=environment)
        assert len(world.requests) == before
        world.vendor("anthropic").fault = Fault.list(Fault.status(503))
        failed = run(tmp_path, "check", "--refresh", environment=environment)
    assert "claude-zeta" not in ran.out
    assert "\nanthropic: saved 3 h ago\n" in ran.out
    assert "lists of anthropic, openai saved up to 3 h ago" in ran.out.splitlines()[-1]
    [line] = [line for line in failed.out.splitlines() if line.startswith("anthropic: could not be asked")]
    assert "503" in line
    assert line.endswith("; its list saved 3 h ago is used")
    assert "test-key" not in ran.out + failed.out
    elsewhere = run(tmp_path, "check", environment={**environment, "ANTHROPIC_BASE_URL": "http://127.0.0.1:9"})
    assert "anthropic: 'claude-zeta-*' matches none" in elsewhere.out
    assert "\nanthropic: snapshot of 20" in elsewhere.out
    told = run(tmp_path, "check", "--json", environment=environment).json["lists"]
    [listing] = [listing for listing in told if listing["provider"] == "anthropic"]
    assert (listing["source"], listing["age_seconds"] // 3600, listing["asked"], listing["reason"]) == ("saved", 3, False, None)
    assert datetime.fromisoformat(listing["as_of"]).tzinfo is not None
    saved_file(lists_folder(tmp_path), "anthropic").write_text("{")
    damaged = run(tmp_path, "check", environment=environment)
    assert "; its saved list is not used: the file is damaged\n" in damaged.out


def test_check_opens_no_socket(tmp_path: Path) -> None:
    world = World()
    with served_in_thread(world) as base:
        environment = world.environment(base)
        run(tmp_path, "check", "--refresh", environment=environment)
        asked = len(world.requests)
        code = f"{WALL}from bundle_loader.cli.main import run\nsys.exit(run(sys.argv[1:]))"
        home = str(tmp_path / "home")
        surroundings = {**environment, "PATH": os.environ["PATH"], "HOME": home, "BUNDLE_LOADER_HOME": f"{home}/data"}
        for arguments in (["check"], ["check", "--refresh"]):
            done = subprocess.run(
                [sys.executable, "-c", code, *arguments, "--bundle", "a.md"],
                cwd=tmp_path,
                env=surroundings,
                capture_output=True,
                text=True,
                check=False,
            )
            assert ("socket" in done.stderr) == ("--refresh" in arguments), done.stderr
            assert (done.returncode == 0) == ("--refresh" not in arguments)
    assert len(world.requests) == asked


def test_a_command_uses_a_young_list_waits_for_an_old_one_and_says_which(tmp_path: Path) -> None:
    world = World()
    world.vendor("anthropic").offer("claude-zeta-1")
    with served_in_thread(world) as base:
        environment = world.environment(base)
        first = run(tmp_path, "resolve", "anthropic/claude-zeta-*", environment=environment)
        assert "anthropic/claude-zeta-1" in first.out
        assert "anthropic: live, asked 0 s ago" in first.out or "anthropic: live, asked 1 s ago" in first.out
        world.vendor("anthropic").offer("claude-zeta-1", "claude-zeta-2")
        second = run(tmp_path, "resolve", "anthropic/claude-zeta-*", environment=environment)
        assert "anthropic/claude-zeta-1" in second.out
        assert "  anthropic: saved " in second.out
        assert len(world.lists("anthropic")) == 1
        age(tmp_path, "anthropic", KEEP)
        third = run(tmp_path, "explain", "route", "a", "--json", environment=environment).json
        assert third["route"]["candidates"][0]["model"] == "claude-zeta-2"
        assert [(entry["provider"], entry["source"]) for entry in third["lists"]] == [("anthropic", "live"), ("openai", "live")]
        world.vendor("anthropic").offer("claude-zeta-3")
        assert "claude-zeta-3" in run(tmp_path, "models", "anthropic", "--refresh", environment=environment).out
        age(tmp_path, "anthropic", 2 * 3600)
        world.vendor("anthropic").fault = Fault.list(Fault.status(503))
        last = run(tmp_path, "explain", "route", "a", environment=environment)
        listed = run(tmp_path, "models", "anthropic", environment=environment)
    assert "-> anthropic/claude-zeta-3" in last.out
    assert "  anthropic: stale, saved 2 h ago: the newest try failed (busy 503" in last.out
    assert "anthropic: stale, saved 2 h ago" in listed.err


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-5, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (47.9 * 3600, "47 h"), (48 * 3600, "2 days")],
)
def test_ages_in_words(seconds: float, words: str) -> None:
    assert ago(seconds) == words
