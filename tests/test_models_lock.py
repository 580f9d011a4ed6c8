"""`models.lock`: what it holds patterns to, what moves it, and what a file that is wrong is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bundle_loader import CatalogueChanged, DeclarationError, Host, PatternMoved, SimulatedProvider
from bundle_loader.declared.frontmatter import read_yaml_document
from bundle_loader.declared.models_lock import ModelsLock, Pin, read_models_lock
from bundle_loader.routing.catalogue import Catalogue, ModelInfo
from bundle_loader.routing.lint_lock import lint_lock
from bundle_loader.routing.resolve import Resolver
from bundle_loader.sources.models_lock import find_models_lock, read_lock_file, write_lock_file
from tests.support.command import Ran, command
from tests.support.hosting import worker
from tests.support.vendor import Vendor
from tests.support.vendors import World, served_in_thread
from tests.support.wire_anthropic import AnthropicWire


def catalogue(*ids: str, version: int = 1, simulated: bool = False) -> Catalogue:
    return Catalogue("p", tuple(ModelInfo(id) for id in ids), version=version, simulated=simulated)


def lock(**pins: str) -> ModelsLock:
    """A lock of the provider `p`; `m` stands for the pattern `m-*`."""
    return ModelsLock({"p": {f"{name}-*": Pin(model, "models.lock", 4, 5) for name, model in pins.items()}})


# --- what it does


def test_what_is_locked_is_meant_although_a_newer_one_is_listed() -> None:
    found = Resolver(lock(m="m-2")).over(catalogue("m-1", "m-2", "m-3", "m-4"), "m-*")
    assert [model.id for model in found.models] == ["m-2"], "and no other: what a gate has against it is against the pattern"
    assert found.note == "p/m-* is held to m-2 by models.lock:4; the newest would be m-4"
    assert Resolver(lock(m="m-4")).over(catalogue("m-3", "m-4"), "m-*").note is None
    assert Resolver(lock(m="M-3")).over(catalogue("m-3", "m-4"), "M-*").models[0].id == "m-3", "in any case"
    other = Resolver(lock(m="m-2")).over(catalogue("m-1", "m-2", "m-3"), "m-[13]")
    assert [model.id for model in other.models] == ["m-3", "m-1"], "another pattern is not held"


def test_a_locked_model_that_ends_is_told() -> None:
    listed = Catalogue("p", (ModelInfo("m-3"), ModelInfo("m-2", stage="retired")), version=1)
    found = Resolver(lock(m="m-2")).over(listed, "m-*")
    assert found.note == "p/m-* is held to m-2 by models.lock:4; the newest would be m-3"
    [fault] = lint_lock(lock(m="m-2"), {"p": listed})
    assert "is held to m-2, which is retired; 'bundle-loader lock --update' moves it" in str(fault)


def test_an_id_with_a_bracket_can_be_locked_and_asked_for() -> None:
    listed = catalogue("m-5", "m-5[1m]")
    assert Resolver(lock(m="m-5[1m]")).over(listed, "m-*").models[0].id == "m-5[1m]"
    assert Resolver().over(listed, "m-5[1m]").models == (ModelInfo("m-5[1m]"),)


def test_an_alias_is_the_model_that_bears_it() -> None:
    listed = Catalogue("p", (ModelInfo("m-3"), ModelInfo("m-2-0102", aliases=("m-2",))), version=1)
    assert Resolver(lock(m="m-2")).over(listed, "m-*").models[0].id == "m-2-0102"


@pytest.mark.parametrize(
    ("pinned", "why"),
    [("m-9", "which is not listed any more"), ("x-1", "which it does not match")],
)
def test_what_is_locked_and_is_not_meant_any_more_is_no_answer(pinned: str, why: str) -> None:
    listed = catalogue("m-1", "m-2", "x-1")
    found = Resolver(lock(m=pinned)).over(listed, "m-*")
    assert found.models == ()
    moves = "'bundle-loader lock --update p/m-*' moves it"
    assert found.reason == f"'m-*' is held to {pinned} by models.lock:4, {why}; {moves}"
    [fault] = lint_lock(lock(m=pinned, x="x-1"), {"p": listed})
    assert (fault.level, fault.line, fault.key) == ("warning", 4, "models.p.m-*")
    assert moves in str(fault)


def test_live_and_simulated_answers_are_locked_apart() -> None:
    played = catalogue("m-1", "m-2", simulated=True)
    assert Resolver(lock(m="m-1")).over(played, "m-*").models[0].id == "m-2"
    held = ModelsLock(lock(m="m-1").pins, simulated=True)
    assert Resolver(held).over(played, "m-*").models[0].id == "m-1"
    assert Resolver(held).over(catalogue("m-1", "m-2"), "m-*").models[0].id == "m-2"
    assert list(lint_lock(lock(m="gone"), {"p": played})) == []


async def test_a_host_holds_to_it_and_says_so(tmp_path: Path) -> None:
    file = tmp_path / "the.lock"
    write_lock_file(file, ModelsLock({"a": {"m-*": Pin("m-1")}, "b": {"m-*": Pin("m-0")}}, simulated=True))
    providers = {"a": SimulatedProvider("a", models=["m-1", "m-2"]), "b": SimulatedProvider("b", models=["m-1"])}
    heard: list[object] = []
    bundle = worker(tmp_path, "a/m-*", "b/m-*")
    async with Host(bundle, providers=providers, ledger=tmp_path / "l.db", models_lock=file, listener=heard.append) as host:
        found = await host.route("worker")
        assert [one.model for one in found.candidates] == ["m-1"]
        assert found.notes == (f"a/m-* is held to m-1 by {file}:5; the newest would be m-2",)
        assert "bundle-loader lock --update b/m-*" in found.rejections[0].reason
        assert (await host.delegate("worker", "Work.")).model == "m-1"
        providers["a"].models = (ModelInfo("m-1"), ModelInfo("m-3"))
        await host.refresh()
        assert heard == [CatalogueChanged("a", ("m-3",), ("m-2",))], "what is locked has not moved"
        providers["a"].models = (ModelInfo("m-3"),)
        await host.refresh()
        assert heard[2:] == [PatternMoved("a", "m-*", "m-1", None)]
    async with Host(bundle, providers=providers, ledger=tmp_path / "l.db") as host:
        assert [one.model for one in (await host.route("worker")).candidates] == ["m-3", "m-1"], "none is found for these"


async def test_two_instances_of_a_kind_move_each_for_itself(tmp_path: Path) -> None:
    file = tmp_path / "the.lock"
    write_lock_file(file, ModelsLock({"a": {"m-*": Pin("m-1")}}, simulated=True))
    providers = {id: SimulatedProvider(id, models=["m-1"]) for id in "ab"}
    heard: list[object] = []
    bundle = worker(tmp_path, "a/m-*", "b/m-*")
    async with Host(bundle, providers=providers, ledger=tmp_path / "l.db", models_lock=file, listener=heard.append) as host:
        await host.route("worker")
        for provider in providers.values():
            provider.models = (ModelInfo("m-1"), ModelInfo("m-2"))
        await host.refresh()
    assert [event for event in heard if isinstance(event, PatternMoved)] == [PatternMoved("b", "m-*", "m-1", "m-2")]


# --- the file

WRONG = {
    "format: 2\n": ["1:9: format: '2' is not read by this version"],
    "models: {}\n": ["format:"],
    "format: 1\nmodles: {}\n": ["2:1: modles: unknown key; did you mean 'models'?"],
    "format: 1\nmodels:\n  p: [m-1]\n": ["3:6: models.p: a list does not fit"],
    "format: 1\nmodels:\n  p:\n    m-*: m-?\n    M-*: m-2\n": [
        "4:5: models.p.m-*: 'm-?' is a pattern; write the id of one model",
        "5:5: models.p.M-*: is the same pattern as 'm-*', which stands above",
    ],
    "format: 1\nmodels:\n  p:\n    m-*: m-1\n    m-*: m-2\n": ["5:5: m-*: written twice"],
    "format: 1\nmodels: {p: {'m-*': ''}}\n": ["2:21: models.p.m-*: is empty"],
    "- 1\n": ["1:1"],
    "format: 1\nmodels: {p: {'m-*': [\n": ["3:"],
}


@pytest.mark.parametrize("text", WRONG)
def test_a_file_that_is_wrong_says_where_and_holds_nothing(tmp_path: Path, text: str) -> None:
    read, faults = read_models_lock(read_yaml_document(text, "models.lock"))
    assert read.pins == {}
    for said in WRONG[text]:
        assert any(said in str(fault) for fault in faults), [*map(str, faults)]
    (tmp_path / "models.lock").write_text(text)
    with pytest.raises(DeclarationError) as raised:
        read_lock_file(tmp_path / "models.lock")
    assert len(raised.value.faults) == len(faults) >= len(WRONG[text])


NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="*?[\ufeff\u2028\u2029\x85"), min_size=1, max_size=12
)
PINS = st.dictionaries(
    NAMES.filter(str.strip),
    st.dictionaries(NAMES.map(lambda name: f"{name.casefold()}*"), NAMES.filter(str.strip), max_size=4),
    max_size=4,
)


@given(PINS)
def test_what_is_written_is_read_again_and_the_same_pins_are_the_same_bytes(pins: dict[str, dict[str, str]]) -> None:
    held = {id: {pattern: Pin(model) for pattern, model in globs.items()} for id, globs in pins.items()}
    backwards = {id: dict(reversed(globs.items())) for id, globs in reversed(held.items())}
    text = ModelsLock(held).text()
    assert ModelsLock(backwards).text() == text
    read, faults = read_models_lock(read_yaml_document(text, "models.lock"))
    if len({pattern.casefold() for globs in pins.values() for pattern in globs}) < sum(map(len, pins.values())):
        return
    assert faults == ()
    found = {id: {pattern: pin.model for pattern, pin in globs.items()} for id, globs in read.pins.items()}
    assert found == {id: globs for id, globs in pins.items() if globs}


def test_it_is_found_in_the_projects_folder_and_not_through_a_link_out_of_it(tmp_path: Path) -> None:
    project = tmp_path / "project"
    below = project / "a" / "b"
    below.mkdir(parents=True)
    assert find_models_lock({}, here=below).pins == {}
    file = project / ".bundle-loader" / "models.lock"
    write_lock_file(file, lock(m="m-1"))
    assert find_models_lock({}, here=below).pins["p"]["m-*"].model == "m-1"
    assert find_models_lock({}, here=below, simulated=True).pins == {}
    outside = tmp_path / "outside.lock"
    outside.write_bytes(file.read_bytes())
    file.unlink()
    file.symlink_to(outside)
    with pytest.raises(DeclarationError, match="leads out of the project"):
        find_models_lock({}, here=below)


# --- the command

AGENTS = "---\nname: a\nprovider_preferences: [anthropic/claude-zeta-*, openai/gpt-0-*, openai/gpt-4o]\n---\nx\n"


def run(folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> Ran:
    (folder / "home").mkdir(exist_ok=True)
    (folder / "project").mkdir(exist_ok=True)
    (folder / "project" / "a.md").write_text(AGENTS)
    return command(*arguments, "--bundle", "a.md", home=folder / "home", cwd=folder / "project", environment=environment)


def held(folder: Path, name: str = "models.lock") -> Any:
    return yaml.safe_load((folder / "project" / ".bundle-loader" / name).read_text())["models"]


def test_only_the_command_moves_a_lock(tmp_path: Path) -> None:
    world = World()
    world.vendor("anthropic").offer("claude-zeta-1")
    with served_in_thread(world) as base:
        environment = world.environment(base)
        first = run(tmp_path, "lock", environment=environment)
        assert first.out.splitlines()[:2] == [
            "anthropic/claude-zeta-*: - -> claude-zeta-1",
            "openai/gpt-0-*: not locked: 'gpt-0-*' matches none of 9 models",
        ]
        assert (first.code, held(tmp_path)) == (0, {"anthropic": {"claude-zeta-*": "claude-zeta-1"}}), "an exact id cannot move"
        world.vendor("anthropic").offer("claude-zeta-1", "claude-zeta-2")
        routed = run(tmp_path, "resolve", "a", "anthropic/claude-zeta-*", "--refresh", environment=environment)
        assert "claude-zeta-2" not in "".join(line.split("the newest would be")[0] for line in routed.out.splitlines())
        again = run(tmp_path, "lock", "--refresh", environment=environment)
        assert "anthropic/claude-zeta-*: stays claude-zeta-1 (the newest would be claude-zeta-2)" in again.out
        before = (tmp_path / "project" / ".bundle-loader" / "models.lock").read_bytes()
        tried = run(tmp_path, "lock", "--update", "--dry-run", "--json", environment=environment).json
        assert tried["written"] is False
        assert [(one["old"], one["new"]) for one in tried["patterns"] if one["what"] == "moved"] == [
            ("claude-zeta-1", "claude-zeta-2")
        ]
        assert (tmp_path / "project" / ".bundle-loader" / "models.lock").read_bytes() == before
        moved = run(tmp_path, "lock", "--update", environment=environment)
        assert "anthropic/claude-zeta-*: claude-zeta-1 -> claude-zeta-2" in moved.out
        world.vendor("anthropic").offer("claude-zeta-3")
        gone = run(tmp_path, "resolve", "anthropic/claude-zeta-*", "--refresh", environment=environment)
        assert gone.code == 4
        assert "bundle-loader lock --update anthropic/claude-zeta-*" in gone.out
        checked = run(tmp_path, "check", environment=environment)
        assert ".bundle-loader/models.lock:5:5: " in checked.out
        run(tmp_path, "lock", "--update", "anthropic/claude-zeta-*", environment=environment)
        assert held(tmp_path)["anthropic"] == {"claude-zeta-*": "claude-zeta-3"}
        simulated = run(tmp_path, "lock", "--simulate", "anthropic/claude-haiku-*")
        assert simulated.code == 0
        assert held(tmp_path)["anthropic"] == {"claude-zeta-*": "claude-zeta-3"}, "what is simulated goes to a file of its own"
        assert list(held(tmp_path, "models.simulated.lock")) == ["anthropic"]
        removed = run(tmp_path, "lock", "--remove", "anthropic/claude-zeta-*")
    assert "anthropic/claude-zeta-*: claude-zeta-3 -> -" in removed.out
    assert held(tmp_path) == {}
    folder = tmp_path / "project" / ".bundle-loader"
    assert sorted(path.name for path in folder.iterdir()) == ["models.lock", "models.simulated.lock"]


def test_what_cannot_be_locked_is_told(tmp_path: Path) -> None:
    assert run(tmp_path, "lock", "--simulate", "anthropic/nothing-*").code == 4
    assert "no PROVIDER/GLOB" in run(tmp_path, "lock", "--simulate", "claude-*").err
    assert run(tmp_path, "lock", "--simulate", "--update", "--remove").code == 2
    exact = run(tmp_path, "lock", "--simulate", "openai/gpt-4o-mini")
    assert "it is the id of one model" in exact.out
    assert not (tmp_path / "project" / ".bundle-loader").exists()
    folder = tmp_path / "project" / ".bundle-loader"
    folder.mkdir()
    (folder / "models.simulated.lock").write_text("format: 1\nmodels: {p: {x: 'y*', z: 'w?'}}\n")
    for arguments in (("lock", "--simulate"), ("resolve", "--simulate", "a"), ("explain", "route", "a", "--simulate")):
        ran = run(tmp_path, *arguments)
        assert ran.code == 1
        assert len([line for line in ran.err.splitlines() if ".bundle-loader/models.simulated.lock:2:" in line]) == 2
    (folder / "models.lock").write_text("format: 1\nmodels: {p: {x: 'y*'}}\n")
    assert run(tmp_path, "check").code == 1


def written(folder: Path, text: str, name: str = "models.lock") -> None:
    (folder / "project" / ".bundle-loader").mkdir(parents=True, exist_ok=True)
    (folder / "project" / ".bundle-loader" / name).write_text(f"format: 1\nmodels:\n{text}")


@pytest.mark.parametrize("name", ["google", "gemini", "Gemini", "GOOGLE"])
def test_a_name_of_a_provider_holds_however_it_is_written(tmp_path: Path, name: str) -> None:
    run(tmp_path, "check")
    written(tmp_path, f"  {name}: {{'gemini-*-flash*': gemini-2.5-flash}}\n", "models.simulated.lock")
    found = run(tmp_path, "resolve", "gemini/gemini-*-flash*", "--simulate", "--json").json["resolved"][0]
    assert found["model"] == "google/gemini-2.5-flash"
    moved = run(tmp_path, "lock", "--simulate", "--update", "--json").json["patterns"]
    assert [(row["provider"], row["old"]) for row in moved if row["what"] == "moved"] == [("google", "gemini-2.5-flash")]
    assert set(held(tmp_path, "models.simulated.lock")) == {"google"}
    removed = run(tmp_path, "lock", "--simulate", "--remove", "gemini/gemini-*-flash*")
    assert "google/gemini-*-flash*: " in removed.out
    assert held(tmp_path, "models.simulated.lock") == {}


def test_a_pin_that_can_never_hold_is_told(tmp_path: Path) -> None:
    run(tmp_path, "check")
    written(
        tmp_path,
        "  antropic: {'claude-*': claude-opus-4-1}\n  gemini: {'gemini-9-*': gemini-9-a}\n  google: {'gemini-9-*': gemini-9-b}\n",
    )
    said = [line for line in run(tmp_path, "check").out.splitlines() if "models.lock" in line]
    [unknown] = [line for line in said if "antropic" in line]
    assert ".bundle-loader/models.lock:3:14: " in unknown
    assert "no provider is called 'antropic'; did you mean 'anthropic'?" in unknown
    [twice] = [line for line in said if "keep one of them" in line]
    assert "models.lock:4:" in twice
    assert "'gemini' is google, whose pattern is held by .bundle-loader/models.lock:5" in twice
    world = World()
    world.vendor("anthropic").offer("claude-zeta-1")
    written(tmp_path, "  Anthropic: {'claude-zeta-*': claude-zeta-0}\n")
    with served_in_thread(world) as base:
        asked = run(tmp_path, "check", "--refresh", environment=world.environment(base))
    assert "held to claude-zeta-0 by .bundle-loader/models.lock:3, which is not listed any more" in asked.out


TWO = """format: 1
bundle: {name: two}
agents: {a: {description: x, provider_preferences: ['anthropic/claude-zeta-*']}}
providers:
  work: {kind: anthropic, key_variable: WORK_KEY, base_url: '%s/work'}
  home: {kind: anthropic, key_variable: HOME_KEY, base_url: '%s/home'}
"""


def test_what_is_locked_for_every_instance_of_a_kind_is_removed_from_each(tmp_path: Path) -> None:
    world = World()
    for name in ("work", "home"):
        world.vendors[name] = Vendor(name, f"/{name}", AnthropicWire(), required_key=f"key-{name}")
        world.vendors[name].offer("claude-zeta-1")
    (tmp_path / "home").mkdir()
    with served_in_thread(world) as base:
        (tmp_path / "two.yaml").write_text(TWO % (base, base))
        keys = {"WORK_KEY": "key-work", "HOME_KEY": "key-home"}

        def ran(*arguments: str, **more: str) -> Ran:
            asked = (*arguments, "--bundle", "two.yaml")
            return command(*asked, home=tmp_path / "home", cwd=tmp_path, environment={**keys, **more})

        both = ["home/claude-zeta-*: - -> claude-zeta-1", "work/claude-zeta-*: - -> claude-zeta-1"]
        gone = [line.replace("- -> claude-zeta-1", "claude-zeta-1 -> -") for line in both]
        assert sorted(ran("lock").out.splitlines()[:2]) == both
        assert sorted(ran("lock", "--remove", "anthropic/claude-zeta-*").out.splitlines()[:2]) == gone
        ran("lock")
        keys = {}
        assert sorted(ran("lock", "--remove", "Anthropic/CLAUDE-zeta-*").out.splitlines()[:2]) == gone, "without their keys too"
        missed = ran("lock", "--remove", "anthropic/claude-zeta-*")
        assert "the lock does not hold it" in missed.out


def test_an_update_moves_what_the_bundle_no_longer_names(tmp_path: Path) -> None:
    run(tmp_path, "check")
    written(tmp_path, "  openai: {'gpt-4o-mini*': gpt-nothing}\n", "models.simulated.lock")
    rows = run(tmp_path, "lock", "--simulate", "--update", "--json").json["patterns"]
    assert {"openai/gpt-4o-mini*": "moved"}.items() <= {
        f"{row['provider']}/{row['pattern']}": row["what"] for row in rows
    }.items()


def test_a_folder_in_place_of_the_lock_is_told(tmp_path: Path) -> None:
    run(tmp_path, "check")
    (tmp_path / "project" / ".bundle-loader" / "models.lock").mkdir(parents=True)
    checked = run(tmp_path, "check")
    assert (checked.code, ".bundle-loader/models.lock: is a folder" in checked.out) == (1, True)
    locked = run(tmp_path, "lock", "openai/gpt-*", "--remove")
    assert (locked.code, ".bundle-loader/models.lock: is a folder" in locked.err) == (1, True)
