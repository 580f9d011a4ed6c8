"""Context files and mentions against hostile input, and what becomes of them in prompts."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import pytest

from bundle_loader.declared.context import mentions_in
from bundle_loader.delegation.instruction import render
from bundle_loader.errors import DeclarationError
from bundle_loader.sources.load import load_bundle
from bundle_loader.sources.mentions import MAX_DEPTH, MAX_FILES
from tests.support.declared import load, refused, said, write


def wrong(folder: Path, path: str) -> str:
    """What is said of a path; the same for an include, a mention in a bundle and a mention in an agent."""
    files = {
        "team/inc.yaml": f"context: {{include: ['{path}']}}",
        "team/men.md": f"---\ntiers: {{}}\n---\n@men:{path}",
        "team/age.yaml": "agents: {include: [x.md]}",
        "team/x.md": f"---\n---\n@age:{path}",
    }
    write(folder, files)
    [include] = refused(folder, "team/inc.yaml")
    [mention] = refused(folder, "team/men.md")
    bundle = load(folder, "team/age.yaml")
    [agent] = said(folder, bundle.problems, level=False)
    assert list(bundle.broken) == ["x"]
    assert refused(folder, "team/age.yaml", strict=True) == [agent]
    said_of = include.removeprefix(f"team/inc.yaml:1:21: context.include: '{path}': ")
    assert mention == f"team/men.md:4:1: '@men:{path}': {said_of}".replace("inc:", "men:")
    assert agent == f"team/x.md:3:1: '@age:{path}': {said_of}".replace("inc:", "age:")
    return said_of


@pytest.mark.parametrize("path", ["../../../etc/passwd", "../../secret.md", "docs/../../../secret.md"])
def test_a_path_out_of_the_root(path: str, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    write(tmp_path, {"secret.md": "s3cret"}, mark=False)
    assert wrong(tmp_path / "root", path) == f"leads out of {tmp_path / 'root'}; keep it inside"


def test_an_absolute_path(tmp_path: Path) -> None:
    assert wrong(tmp_path, "/etc/passwd") == "is an absolute path; write it relative to the bundle's file"


@pytest.mark.parametrize("link", ["secret.md", "."])
def test_a_link_out_of_the_root(link: str, tmp_path: Path) -> None:
    write(tmp_path, {"root/team/x": "", "out/secret.md": "s3cret"}, mark=False)
    (tmp_path / "root/team/link").symlink_to(tmp_path / "out" / link)
    path = "link" if link != "." else "link/secret.md"
    assert wrong(tmp_path / "root", path) == f"leads out of {tmp_path / 'root'}; keep it inside"


def test_a_link_within_the_root_is_the_file_it_leads_to(tmp_path: Path) -> None:
    write(tmp_path, {"one.md": "One", "a.yaml": "context: {include: [one.md, two.md]}"})
    (tmp_path / "two.md").symlink_to("one.md")
    assert load(tmp_path, "a.yaml").context == '<file name="a:one.md">\nOne\n</file>'


def test_a_link_to_itself_and_a_pipe_are_no_files(tmp_path: Path) -> None:
    write(tmp_path, {"team/x": ""})
    (tmp_path / "team/loop").symlink_to("loop")
    os.mkfifo(tmp_path / "team/pipe")
    assert wrong(tmp_path, "loop") == "is not a file"
    assert wrong(tmp_path, "pipe") == "is not a file"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"ab\xff", "byte 2 is not UTF-8; save the file as UTF-8"),
        (b"ab\0c", "holds a NUL byte: this is not a text file"),
        (b"x" * 5_000_000, "is larger than 1024 KiB; a declared file is text to be read by people"),
    ],
)
def test_a_file_that_is_no_text(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "team").mkdir()
    (tmp_path / "team/x.bin").write_bytes(data)
    assert wrong(tmp_path, "x.bin") == message


def test_a_path_that_is_no_path(tmp_path: Path) -> None:
    assert refused(tmp_path, "a.yaml", {"a.yaml": 'context: {include: ["a\\0b"]}'}) == [
        "a.yaml:1:21: context.include: 'a\0b': is no path: it holds a NUL character"
    ]
    [fault] = refused(tmp_path, "b.md", {"b.md": "---\ntiers: {}\n---\n@b:" + "a/" * 100_000})
    assert fault == f"b.md:4:1: '@b:{'a/' * 57}...': is no path: longer than 1024 characters"


@pytest.mark.parametrize("pattern", ["../../*.md", "../../*/secret.md", "/etc/*"])
def test_a_pattern_out_of_the_root(pattern: str, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    write(tmp_path, {"secret.md": "s3cret"}, mark=False)
    [fault] = refused(tmp_path / "root", "team/a.yaml", {"team/a.yaml": f"context: {{include: ['{pattern}']}}"})
    assert "leads out of" in fault or "is an absolute path" in fault


def test_a_pattern_that_climbs_out_again(tmp_path: Path) -> None:
    [fault] = refused(tmp_path, "a.yaml", {"a.yaml": "context: {include: ['*/../../x.md']}", "d/x": ""})
    assert fault == "a.yaml:1:21: context.include: '*/../../x.md': has '..' after a pattern; write the folders out"


def test_a_link_that_a_pattern_finds(tmp_path: Path) -> None:
    (tmp_path / "root/docs").mkdir(parents=True)
    write(tmp_path, {"secret.md": "s3cret"}, mark=False)
    (tmp_path / "root/docs/x.md").symlink_to(tmp_path / "secret.md")
    [fault] = refused(tmp_path / "root", "a.yaml", {"a.yaml": "context: {include: ['docs/*']}"})
    assert fault == f"a.yaml:1:21: context.include: 'docs/x.md': leads out of {tmp_path / 'root'}; keep it inside"


def test_too_many_files(tmp_path: Path) -> None:
    files = {f"d/{number:03}.md": "x" for number in range(MAX_FILES + 1)}
    [fault] = refused(tmp_path, "a.yaml", {"a.yaml": "context: {include: ['d/*']}", **files})
    assert fault == "a.yaml:1:21: more than 200 files in one prompt"
    (tmp_path / "d/000.md").unlink()
    assert load(tmp_path, "a.yaml").context.count("<file ") == MAX_FILES


def test_too_much_text(tmp_path: Path) -> None:
    files = {"one.md": "x" * 600_000, "two.md": "y" * 600_000}
    [fault] = refused(tmp_path, "a.yaml", {"a.yaml": "context: {include: [one.md, two.md]}", **files})
    assert fault == "a.yaml:1:29: the files of this prompt are larger than 1024 KiB"


def test_too_deep(tmp_path: Path) -> None:
    files = {f"{number}.md": f"{number}\n@a:{number + 1}.md" for number in range(1, MAX_DEPTH + 1)}
    [fault] = refused(tmp_path, "a.yaml", {"a.yaml": "context: {include: [1.md]}", "9.md": "end", **files})
    assert fault == "8.md:2:1: '@a:9.md': is more than 8 files deep; mention it higher up"
    assert load(tmp_path, "a.yaml", {"8.md": "end"}).context.count("<file ") == MAX_DEPTH


@pytest.mark.parametrize(
    "text",
    [
        "@b:x.md " * 100_000,
        "@no:x.md " * 100_000,
        "@" * 900_000,
        "@a" * 450_000,
        "@" + "a" * 900_000,
        "`" * 900_000 + "@a:x",
        "".join("`" * number + " " for number in range(1, 1300)) + "@a:x",
        "`@a:x`` " * 100_000,
        "{# @a:x " * 100_000,
        "\n".join(["> ~~~ @a:x"] * 50_000),
        "    @a:x\n\n" * 50_000,
    ],
    ids=["repeated", "unknown", "ats", "words", "long", "ticks", "runs", "pairs", "comments", "fences", "indented"],
)
def test_hostile_text_is_judged_in_time(text: str, tmp_path: Path) -> None:
    write(
        tmp_path, {"b.yaml": "agents: {include: [y.md]}\ncontext: {include: [x.md]}", "x.md": text, "y.md": f"---\n---\n{text}"}
    )
    began = time.process_time()
    mentions_in(text, template=True)
    with suppress(DeclarationError):
        load_bundle(tmp_path / "b.yaml")
    assert time.process_time() - began < 6


def test_faults_without_end_are_cut(tmp_path: Path) -> None:
    text = " ".join(f"@no{number}:x.md" for number in range(1000))
    assert len(refused(tmp_path, "a.md", {"a.md": f"---\ntiers: {{}}\n---\n{text}"})) == 100
    text = "@a:a.md " * 10_001
    [fault] = refused(tmp_path, "a.md", {"a.md": f"---\ntiers: {{}}\n---\n{text}"})
    assert fault == "a.md:4:80001: more than 10000 mentions in one prompt"


def test_a_bundle_of_another_root_reaches_only_what_lies_open_beside_a_bundle(tmp_path: Path) -> None:
    """The shipped folder is a root of its own."""
    body = "@foundation:../README.md @foundation:.hidden @foundation:foundation.md"
    files = {"a.md": f"---\nincludes: [foundation]\n---\n{body}\n"}
    found = refused(tmp_path, "a.md", files)
    assert len(found) == 2
    assert found[0].startswith("a.md:4:1: '@foundation:../README.md': leads out of ")
    assert found[1] == "a.md:4:26: '@foundation:.hidden': is hidden from bundles of another root"


def test_where_each_part_came_from_is_no_part_of_the_value(tmp_path: Path) -> None:
    files = {
        "a.md": "---\nincludes: [./b.yaml]\n---\nA\n@a:two.md\n",
        "b.yaml": "context: {include: [one.md]}",
        "one.md": "One @b:three.md",
        "two.md": "Two",
        "three.md": "Three",
    }
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    first = load(tmp_path / "first", "a.md", files)
    second = load(tmp_path / "second", "a.md", files)
    prefix = f"{tmp_path / 'first'}/"
    assert [
        (part.bundle, part.file.removeprefix(prefix), part.name, part.text, part.named_at.removeprefix(prefix))
        for part in first.context_parts
    ] == [
        ("b", "one.md", "b:one.md", "One @b:three.md", "b.yaml:1:21"),
        ("b", "three.md", "b:three.md", "Three", "one.md:1:5"),
        ("a", "a.md", "", "A\n@a:two.md", ""),
        ("a", "two.md", "a:two.md", "Two", "a.md:5:1"),
    ]
    assert first == second
    assert first.hash == second.hash
    assert str(tmp_path) not in str(first.model_dump())
    (tmp_path / "second/three.md").write_text("3")
    assert load(tmp_path / "second", "a.md").hash != first.hash


def test_a_prompt_holds_the_files_as_they_are_each_once(tmp_path: Path) -> None:
    files = {
        "a.yaml": "vars: {who: you}\nagents: {include: ['agents/*.md']}",
        "agents/x.md": "---\nextends: y\n---\nFor {{ who }}:\n@a:one.md\nsee @a:two.md\n{{ base }}",
        "agents/y.md": "---\n---\nBase\n@a:./one.md\nend",
        "one.md": "\ufeffOne {{ who }} {% if %}\r\nMore\r\n",
        "two.md": "Two",
    }
    agent = load(tmp_path, "a.yaml", files).agent("x")
    one = '<file name="a:one.md">\nOne {{ who }} {% if %}\nMore\n</file>'
    two = '<file name="a:two.md">\nTwo\n</file>'
    assert render(agent, {"who": "me"}) == f"For me:\n@a:one.md\nsee @a:two.md\nBase\n{one}\nend\n\n{two}"


def test_a_value_brings_no_file_that_the_author_did_not_mention(tmp_path: Path) -> None:
    files = {"a.yaml": "agents: {include: [x.md]}", "x.md": "---\n---\n{{ who }}", "one.md": "One"}
    agent = load(tmp_path, "a.yaml", files).agent("x")
    assert render(agent, {"who": "@a:one.md"}) == "@a:one.md"


def test_a_fault_in_a_template_keeps_its_line(tmp_path: Path) -> None:
    files = {"a.yaml": "agents: {include: [x.md]}", "x.md": "---\n---\n@a:one.md\n\n{{ nobody }}", "one.md": "1\n2\n3"}
    agent = load(tmp_path, "a.yaml", files).agent("x")
    with pytest.raises(DeclarationError, match=r"x\.md:5:4: unknown variable 'nobody'"):
        render(agent, {})
