"""Where declared files come from: names, paths, roots, what may not be left, what cannot be read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bundle_loader.errors import DeclarationError
from bundle_loader.routing.explain import origins
from bundle_loader.sources.files import MAX_FILE, Reader, root_of, shipped_folder
from bundle_loader.sources.load import load_bundle
from tests.support.declared import load, refused, said, write

OUT = "; keep it inside, or put a .bundle-loader folder at the root of the project"


@pytest.mark.parametrize("mark", [".bundle-loader", ".git", "pyproject.toml"])
def test_a_root_is_the_nearest_folder_with_a_mark(mark: str, tmp_path: Path) -> None:
    inner = tmp_path / "outer" / "project" / "bundles"
    inner.mkdir(parents=True)
    (tmp_path / "outer" / mark).mkdir()
    assert root_of(inner / "a.md") == tmp_path / "outer"
    (tmp_path / "outer" / "project" / mark).write_text("")
    assert root_of(inner / "a.md") == tmp_path / "outer" / "project"


def test_shipped_files_have_the_shipped_folder_as_root() -> None:
    assert root_of(shipped_folder() / "bundles" / "foundation.md") == shipped_folder()
    assert root_of(shipped_folder() / "agents" / "git-ops.md") == shipped_folder()


def test_relative_paths_do_not_leave_the_root(tmp_path: Path) -> None:
    outside = write(tmp_path, {"secret.yaml": "tiers: {}", "secret.md": "---\n---\n"}, mark=False)
    project = outside / "project"
    project.mkdir()
    text = "includes: [../secret.yaml, sub/../../secret.yaml]\nagents: {include: [../*.md, ../secret.md]}\n"
    assert refused(project, "a.yaml", {"a.yaml": text}) == [
        f"a.yaml:1:12: includes: '../secret.yaml' leads out of {project}{OUT}",
        f"a.yaml:1:28: includes: 'sub/../../secret.yaml' leads out of {project}{OUT}",
        f"a.yaml:2:20: agents.include: '../*.md' leads out of {project}{OUT}",
        f"a.yaml:2:29: agents.include: '../secret.md' leads out of {project}{OUT}",
    ]


def test_absolute_paths_do_not_either(tmp_path: Path) -> None:
    write(tmp_path, {"secret.yaml": "tiers: {}", "secret.md": "---\n---\n"}, mark=False)
    (tmp_path / "project").mkdir()
    text = f"includes: ['{tmp_path}/secret.yaml']\nagents: {{include: ['{tmp_path}/*.md']}}\n"
    found = refused(tmp_path / "project", "a.yaml", {"a.yaml": text})
    assert len(found) == 2
    assert all("leads out of" in fault for fault in found)


def test_without_a_mark_the_root_is_the_files_own_folder(tmp_path: Path) -> None:
    write(
        tmp_path, {"sub/a.yaml": "includes: [../b.yaml]", "b.yaml": "tiers: {}", "sub/c.yaml": "includes: [./d.yaml]"}, mark=False
    )
    write(tmp_path, {"sub/d.yaml": "tiers: {}"}, mark=False)
    with pytest.raises(DeclarationError, match="leads out of"):
        load_bundle(tmp_path / "sub" / "a.yaml")
    assert load_bundle(tmp_path / "sub" / "c.yaml").layers == ("d", "c")


@pytest.mark.parametrize("include", ["./link.yaml", "link", "link.yaml", "folder/secret.yaml", "named"])
def test_symlinks_do_not_leave_the_root(include: str, tmp_path: Path) -> None:
    write(tmp_path, {"out/secret.yaml": "tiers: {}"}, mark=False)
    project = tmp_path / "project"
    project.mkdir()
    (project / "link.yaml").symlink_to(tmp_path / "out" / "secret.yaml")
    (project / "folder").symlink_to(tmp_path / "out")
    (project / "bundles").mkdir()
    (project / "bundles" / "named.yaml").symlink_to(tmp_path / "out" / "secret.yaml")
    [fault] = refused(project, "a.yaml", {"a.yaml": f"includes: [{include}]"})
    assert fault.startswith(f"a.yaml:1:12: includes: '{include}' leads out of ")


@pytest.mark.parametrize("include", ["link.md", "folder/x.md", "folder/*.md", "**/x.md", "l*.md"])
def test_symlinked_agents_do_not_leave_the_root(include: str, tmp_path: Path) -> None:
    write(tmp_path, {"out/x.md": "---\n---\nsecret"}, mark=False)
    (tmp_path / "project").mkdir()
    project = write(tmp_path / "project", {})
    (project / "link.md").symlink_to(tmp_path / "out" / "x.md")
    (project / "folder").symlink_to(tmp_path / "out")
    [fault] = refused(project, "a.yaml", {"a.yaml": f"agents: {{include: ['{include}']}}"})
    which = ": link.md" if include.startswith("l") else ""
    assert fault.startswith(f"a.yaml:1:20: agents.include: '{include}'{which} leads out of ")


def test_a_bundle_among_its_agents_is_not_one_of_them(tmp_path: Path) -> None:
    agent = "---\nprovider_preferences: [p/m]\n---\nx"
    files = {
        "a.md": agent,
        "b.md": "---\nbundle: {name: b}\nagents: {include: ['*.md']}\n---\n",
        "c.md": "---\nbundle: {name: c}\n---\n",
    }
    bundle = load(tmp_path, "b.md", files)
    assert list(bundle.agents) == ["a"]
    assert said(tmp_path, bundle.problems) == ["note c.md:1:1: bundle: is a bundle, not an agent; it is left out here"]


def test_symlinks_within_the_root_are_followed(tmp_path: Path) -> None:
    write(tmp_path, {"real/x.md": "---\n---\nhere", "real/b.yaml": "tiers: {t: [p/m]}", "a.yaml": ""})
    (tmp_path / "link.md").symlink_to(tmp_path / "real" / "x.md")
    (tmp_path / "link.yaml").symlink_to(tmp_path / "real" / "b.yaml")
    files = {"a.yaml": "includes: [./link.yaml, real/b.yaml]\nagents: {include: [link.md]}\n"}
    bundle = load(tmp_path, "a.yaml", files)
    assert bundle.layers == ("b", "a")
    assert bundle.agent("link").instruction == "here"


def test_a_pattern_takes_folders_and_leaves_hidden_files(tmp_path: Path) -> None:
    files = {
        "a.yaml": "agents: {include: ['agents/**/*.md']}",
        "agents/x.md": "---\n---\n",
        "agents/deep/y.md": "---\n---\n",
        "agents/.hidden.md": "---\n---\n",
        "agents/notes.txt": "no",
    }
    assert list(load(tmp_path, "a.yaml", files).agents) == ["y", "x"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    write(tmp_path, {"empty/.keep": "", "full/team.yaml": "tiers: {}", "plain.txt": "x"})
    (tmp_path / "latin.yaml").write_bytes(b"bundle:\n  name: caf\xe9\n")
    (tmp_path / "large.yaml").write_bytes(b"#" * (MAX_FILE + 1))
    (tmp_path / "utf16.md").write_bytes("---\nname: x\n---\n".encode("utf-16"))
    cases = {
        "gone.zip": "no such file",
        "nowhere/team.yaml": "no such file",
        "empty": "is a directory; name the bundle file in it",
        "full": f"is a directory; name the bundle file in it, such as {tmp_path}/full/team.yaml",
        "latin.yaml": "byte 19 is not UTF-8; save the file as UTF-8",
        "large.yaml": "is larger than 1024 KiB; a declared file is text to be read by people",
        "utf16.md": "byte 0 is not UTF-8; save the file as UTF-8",
    }
    for name, message in cases.items():
        with pytest.raises(DeclarationError) as caught:
            load_bundle(tmp_path / name)
        [fault] = caught.value.faults
        assert (fault.file, fault.message) == (str(tmp_path / name), message)
    with pytest.raises(DeclarationError, match=r"latin\.yaml:2: byte 19"):
        load_bundle(tmp_path / "latin.yaml")


def test_a_file_that_the_system_does_not_give(tmp_path: Path) -> None:
    """A link that leads to itself: the one refusal that holds for the superuser too."""
    (tmp_path / "a.yaml").symlink_to(tmp_path / "a.yaml")
    with pytest.raises(DeclarationError, match="Too many levels of symbolic links"):
        Reader(tmp_path).read(tmp_path / "a.yaml")


def test_a_near_path_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"my-team.yaml": "tiers: {}"})
    with pytest.raises(DeclarationError) as caught:
        load_bundle(tmp_path / "my-taem.yaml")
    assert str(caught.value).endswith(f"no such file; did you mean '{tmp_path}/my-team.yaml'?")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fundation", "fundation: no bundle of that name; did you mean 'foundation'?"),
        ("zzz", "zzz: no bundle of that name; shipped are dev, foundation; a path needs a '/' or a suffix such as .md"),
        ("", "the bundle has no name; give a name or a path"),
        ("~nobody-of-that-name/x.md", "cannot be found"),
    ],
)
def test_an_unknown_name(name: str, message: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        load_bundle(name)
    assert message in str(caught.value)


def test_the_shipped_bundles_by_name() -> None:
    assert load_bundle().name == "foundation"
    assert load_bundle("dev").layers == ("foundation", "dev")


def test_files_are_named_from_where_the_caller_stands(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    assert reader.shown(tmp_path.resolve() / "sub" / "a.md") == os.path.join("sub", "a.md")
    assert reader.shown("/elsewhere/a.md") == "/elsewhere/a.md"


def test_a_broken_header_of_a_bundle_stops_it(tmp_path: Path) -> None:
    assert refused(tmp_path, "a.md", {"a.md": "---\nbundle: {name: x}\nno end"}) == [
        "a.md:1:1: the header is not closed: write a line '---' after the last key"
    ]
    assert refused(tmp_path, "b.yaml", {"b.yaml": "bundle: team"}) == [
        "b.yaml:1:9: bundle: 'team' does not fit; write 'key: value' lines"
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("format: 2", "1:9: format: '2' is not read by this version, which reads format 1; write 1, or leave the key out"),
        ("bundle: {nmae: x}", "1:10: bundle.nmae: unknown key; did you mean 'name'?"),
        ("includes: {a: b}", "1:11: includes: a mapping does not fit; write a list"),
        ("includes: [{a: b}]", "1:12: includes[0]: a mapping does not fit; write text"),
        ("agents: [x.md]", "1:9: agents: a list does not fit; write 'key: value' lines"),
        ("agents: {include: {a: b}}", "1:19: agents.include: a mapping does not fit; write a list"),
        ("agents: {include: [[a]]}", "1:20: agents.include[0]: a list does not fit; write text"),
        ("tiers: [a]", "1:8: tiers: a list does not fit; write 'key: value' lines"),
        ("tiers: {t: {a: b}}", "1:12: tiers.t: a mapping does not fit; write a list"),
        ("tiers: {t: budget}", "1:12: tiers.t: 'budget' does not fit; write a list"),
        ("tiers: {t: [{provider: a, modle: b}]}", "1:27: tiers.t[0].modle: unknown key; did you mean 'model'?"),
        ("profiles: {p: [a]}", "1:15: profiles.p: a list does not fit; write 'key: value' lines"),
        ("profiles: {p: {s: [{teir: b}]}}", "1:21: profiles.p.s[0].teir: unknown key; did you mean 'tier'?"),
        ("roles: {r: [a]}", "1:13: roles.r[0]: 'a' is not 'provider/model-glob', such as anthropic/claude-haiku-*"),
        ("providers: {p: {base_ulr: x}}", "1:17: providers.p.base_ulr: unknown key; did you mean 'base_url'?"),
        (
            "providers: {p: {base_url: 'ftp://x'}}",
            "1:27: providers.p.base_url: write an address that begins with http:// or https://",
        ),
        ("vars: [a]", "1:7: vars: a list does not fit; write 'key: value' lines"),
        ("policy: [1]", "1:9: policy: write 'key: value' lines, or the name of a policy"),
        ("context: {inclde: [a]}", "1:11: context.inclde: unknown key; did you mean 'include'?"),
        ("default: [a]", "1:10: default: a list does not fit; write text"),
    ],
)
def test_wrong_keys_and_types_of_a_bundle(text: str, fault: str, tmp_path: Path) -> None:
    [found] = refused(tmp_path, "a.yaml", {"a.yaml": text if text.startswith("bundle") else text + "\nbundle: {name: a}\n"})
    assert found.startswith(f"a.yaml:{fault.removesuffix('...')}")
    assert fault.endswith("...") or found == f"a.yaml:{fault}"


def test_keys_that_nothing_acts_on_are_noted(tmp_path: Path) -> None:
    text = "tasks: {a: 1}\npolicy: {b: 1.10, c: " + "1" * 5000 + "}\n\n"
    bundle = load(tmp_path, "a.yaml", {"a.yaml": text})
    assert said(tmp_path, bundle.problems) == [
        f"note a.yaml:{line}:1: {key}: is read and kept, but nothing acts on it yet"
        for line, key in enumerate(["tasks", "policy"], 1)
    ]
    assert bundle.extra == {"tasks": {"a": 1}, "policy": {"b": 1.1, "c": "1" * 5000}}


def test_every_writing_of_a_field_is_kept_with_who_lost(tmp_path: Path) -> None:
    files = {
        "a.yaml": "includes: [./b.yaml]\nagents:\n  x:\n    tier: t\n    limits: ~\n    config: {b: 2}\n",
        "b.yaml": "includes: [./c.yaml]\nagents: {x: {description: patched, config: {a: 1}}}\n",
        "c.yaml": "tiers: {t: [p/m]}\nagents: {include: [x.md]}\n",
        "x.md": "---\ndescription: file\nprovider_preferences: [p/l]\nlimits: {max_turns: 3}\nconfig: {a: 0}\n---\n",
    }
    bundle = load(tmp_path, "a.yaml", files)
    found = [
        (origin.field, origin.value, origin.bundle, Path(origin.file).name, origin.line, origin.lost.replace(f"{tmp_path}/", ""))
        for origin in origins(bundle, "x")
    ]
    assert found == [
        ("description", "patched", "b", "b.yaml", 2, ""),
        ("description", "file", "c", "x.md", 2, "b.yaml:2 (bundle b)"),
        ("provider_preferences", "[p/l]", "c", "x.md", 3, "a.yaml:4 (bundle a)"),
        ("limits.max_turns", "3", "c", "x.md", 4, "a.yaml:5 (bundle a)"),
        ("limits", "null", "a", "a.yaml", 5, ""),
        ("config.a", "1", "b", "b.yaml", 2, ""),
        ("config.a", "0", "c", "x.md", 5, "b.yaml:2 (bundle b)"),
        ("config.b", "2", "a", "a.yaml", 6, ""),
        ("tier", "t", "a", "a.yaml", 4, ""),
    ]
    assert bundle.agent("x").config == {"a": 1, "b": 2}


def test_a_file_takes_all_from_what_it_replaces(tmp_path: Path) -> None:
    files = {
        "a.yaml": "includes: [./b.yaml]\nagents: {include: [mine/x.md]}\n",
        "b.yaml": "agents: {include: [x.md]}",
        "x.md": "---\ntools: [one]\nconfig: {a: 1}\n---\n",
        "mine/x.md": "---\nconfig: {b: 1}\n---\n",
    }
    lost = {
        (origin.field, origin.bundle): origin.lost.replace(f"{tmp_path}/", "")
        for origin in origins(load(tmp_path, "a.yaml", files), "x")
    }
    assert lost == {
        ("tools", "b"): "mine/x.md (bundle a)",
        ("config.a", "b"): "mine/x.md (bundle a)",
        ("config.b", "a"): "",
    }
