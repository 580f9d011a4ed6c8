"""`init`: the bundle that it writes is right, and nothing that was there is lost."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command import Ran, command

Run = Callable[..., Ran]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "project").mkdir()
    return lambda *arguments: command(*arguments, home=home, cwd=tmp_path / "project")


def contents(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_what_init_writes_passes_a_strict_check_and_the_next_commands_run(run: Run, tmp_path: Path) -> None:
    ran = run("init")
    assert ran.code == 0, ran.err
    written = [".bundle-loader/README.md", ".bundle-loader/settings.yaml", "agents/release-notes.md", "bundles/project.md"]
    assert sorted(contents(tmp_path / "project")) == written
    assert ran.out.splitlines()[:5] == [
        "wrote bundles/project.md",
        "wrote agents/release-notes.md",
        "wrote .bundle-loader/README.md",
        "wrote .bundle-loader/settings.yaml",
        "next:",
    ]
    following = [shlex.split(line) for line in ran.out.splitlines()[5:]]
    assert [words[:2] for words in following] == [["bundle-loader", name] for name in ("check", "explain", "delegate")]
    for words in following:
        done = run(*words[1:])
        assert done.code == 0, done.out + done.err
        assert "(warning)" not in done.out
    unnamed = run("check", "--strict")
    assert (unnamed.code, "project: 18 agents" in unnamed.out) == (0, True)
    by_name = run("check", "--strict", "--bundle", "project")
    assert by_name.out.startswith("/") or "project: 18 agents" in by_name.out
    assert by_name.code == 0


def test_a_folder_with_blanks_is_made_and_named_as_json(run: Run) -> None:
    ran = run("init", "my team/bots", "--name", "bots-2", "--json")
    assert ran.code == 0
    assert ran.json["name"] == "bots-2"
    assert ran.json["bundle"] == "my team/bots/bundles/bots-2.md"
    assert ran.json["written"][0] == ran.json["bundle"]
    assert (ran.json["taken_in"], len(ran.json["written"])) == ([], 4)
    for line in ran.json["next"]:
        assert run(*shlex.split(line)[1:]).code == 0
    [agent] = run("resolve", "release-notes", "--bundle", ran.json["bundle"], "--simulate", "--json").json["resolved"]
    assert "haiku" in agent["model"]


def test_nothing_is_overwritten_without_force_and_nothing_is_half_written(run: Run, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "agents").mkdir()
    (project / "agents" / "release-notes.md").write_text("mine")
    before = contents(project)
    ran = run("init")
    assert ran.code == 1
    assert ran.err == "error: already there: agents/release-notes.md; nothing was written, --force overwrites\n"
    assert contents(project) == before
    assert run("init", "--force").code == 0
    assert contents(project)["agents/release-notes.md"].startswith("---\nformat: 1\nname: release-notes\n")
    again = contents(project)
    both = run("init")
    assert (both.code, "bundles/project.md, agents/release-notes.md" in both.err) == (1, True)
    assert contents(project) == again


def test_a_link_in_the_way_is_replaced_and_never_written_through(run: Run, tmp_path: Path) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere.md"
    elsewhere.write_text("mine")
    (project / "agents").mkdir()
    (project / "agents" / "release-notes.md").symlink_to(elsewhere)
    (project / "bundles").mkdir()
    (project / "bundles" / "project.md").symlink_to(tmp_path / "nowhere.md")
    assert run("init").code == 1
    assert run("init", "--force").code == 0
    assert elsewhere.read_text() == "mine"
    assert not (tmp_path / "nowhere.md").exists()
    assert not (project / "agents" / "release-notes.md").is_symlink()


def test_agents_that_are_there_are_taken_in_and_said_so(run: Run, tmp_path: Path) -> None:
    (tmp_path / "project" / "agents").mkdir()
    (tmp_path / "project" / "agents" / "mine.md").write_text("---\ntier: strong\n---\nMine.\n")
    ran = run("init")
    assert "bundles/project.md takes in agents/mine.md too" in ran.out
    assert "mine" in run("agents", "--bundle", "bundles/project.md").out


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a/b", "'a/b' is not a name; use letters"),
        ("../up", "'../up' is not a name; use letters"),
        ("", "'' is not a name; use letters"),
        ("null", "'null' is not a name; use letters"),
        ("foundation", "a shipped bundle has that name; choose another"),
    ],
)
def test_names_that_cannot_be(run: Run, tmp_path: Path, name: str, said: str) -> None:
    ran = run("init", "--name", name)
    assert (ran.code, said in ran.err) == (1, True), ran.err
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    ("folder", "name"), [("Über uns", "ber-uns"), ("foundation", "my-team"), ("...", "my-team"), ("Null", "my-team")]
)
def test_the_folder_gives_the_name_where_it_can(run: Run, folder: str, name: str) -> None:
    ran = run("init", folder, "--json")
    assert ran.json["name"] == name
    assert run("check", "--strict", "--bundle", ran.json["bundle"]).code == 0


def test_what_is_no_folder_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "project" / "file").write_text("x")
    assert "file is not a folder" in run("init", "file").err
    assert run("init", "file/below").code == 1
    (tmp_path / "project" / "agents").write_text("x")
    ran = run("init")
    assert (ran.code, ran.err) == (1, "error: agents is not a folder; name another\n")
    assert sorted(contents(tmp_path / "project")) == ["agents", "file"]


def test_settings_that_are_there_stay_and_what_to_write_in_them_is_said(run: Run, tmp_path: Path) -> None:
    settings = tmp_path / "project" / ".bundle-loader" / "settings.yaml"
    settings.parent.mkdir()
    settings.write_text("default: budget\n")
    ran = run("init", "--name", "bots")
    assert ran.code == 0
    assert settings.read_text() == "default: budget\n"
    assert ".bundle-loader/settings.yaml was there; write 'bundle: ../bundles/bots.md' in it" in ran.out
    assert run("init", "--name", "bots", "--force", "--json").json["default"] is False
