"""What is no ordinary text file, and files past a limit, in every place where a file is read: a clear error, at once."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bundle_loader.sources.files import MAX_FILE
from bundle_loader.sources.patterns import MAX_DEPTH, MAX_MATCHES
from tests.support.declared import refused, write
from tests.test_hostile import COSTLY, MAX_MEBIBYTES, MAX_SECONDS, ROOT

FINE = {
    "team.yaml": "agents: {include: ['agents/*.md']}\ncontext: {include: [c.txt]}\n",
    "c.txt": "c",
    "agents/y.md": "---\n---\ny",
}
PLACES = {"bundle": "team.yaml", "agent": "agents/x.md", "context": "c.txt", "settings": "home/settings.yaml"}


def loaded_apart(folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.support.hostile", str(folder / "team.yaml"), str(folder / "home")]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, timeout=60)
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["seconds"] < MAX_SECONDS
    assert found["mebibytes"] < MAX_MEBIBYTES
    return found


def faults_in(folder: Path) -> str:
    found = loaded_apart(folder)
    return "\n".join([*found["faults"], *(text for texts in found["broken"].values() for text in texts)])


# --- sizes


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("length", [50_000_000, MAX_FILE + 1])
def test_what_is_too_large_is_not_read(length: int, place: str, tmp_path: Path) -> None:
    write(tmp_path, FINE)
    head = "" if place == "context" else "---\nname: x\n---\n" if place == "agent" else "# "
    write(tmp_path, {PLACES[place]: head + "x" * (length - len(head))})
    assert f"{PLACES[place]}: is larger than 1024 KiB" in faults_in(tmp_path) or place == "context"
    if place == "context":
        assert "'c.txt': is larger than 1024 KiB" in faults_in(tmp_path)


def test_a_file_of_the_largest_size_is_read(tmp_path: Path) -> None:
    head = "---\nname: x\n---\n"
    write(tmp_path, {**FINE, "agents/x.md": head + "x" * (MAX_FILE - len(head))})
    assert loaded_apart(tmp_path)["broken"] == {}
    write(tmp_path, {"agents/x.md": f"---\ndescription: {'x' * 255_000}\n---\n"})
    assert loaded_apart(tmp_path)["broken"] == {}


@pytest.mark.parametrize("case", COSTLY)
def test_a_costly_settings_file_is_refused_at_once(case: str, tmp_path: Path) -> None:
    make, message = COSTLY[case]
    write(tmp_path, {**FINE, "home/settings.yaml": make()})
    assert message in faults_in(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["@team:c.txt\n" * 80_000, "[" * 1_000_000, "x\n" * 500_000, "@a:b " * 200_000],
    ids=["mentions", "brackets", "lines", "nobody"],
)
def test_a_costly_text_is_taken_or_refused_at_once(text: str, tmp_path: Path) -> None:
    write(tmp_path, {**FINE, "c.txt": text[:MAX_FILE]})
    loaded_apart(tmp_path)


def test_several_documents_in_one_header_are_refused(tmp_path: Path) -> None:
    write(tmp_path, {"team.yaml": "---\nvars: {a: 1}\n" + "---\nvars: {b: 2}\n" * 10_000})
    assert "not YAML" in faults_in(tmp_path)


@pytest.mark.parametrize("key", ["agents", "context"])
def test_a_pattern_of_too_many_files_is_refused(key: str, tmp_path: Path) -> None:
    write(tmp_path, {"team.yaml": f"vars: {{}}\n{key}: {{include: ['many/*.md']}}"})
    (tmp_path / "many").mkdir()
    for index in range(MAX_MATCHES + 1):
        os.close(os.open(tmp_path / "many" / f"{index}.md", os.O_CREAT))
    assert f"team.yaml:2:{20 + (key == 'context')}: {key}.include: 'many/*.md'" in faults_in(tmp_path)


@pytest.mark.parametrize("key", ["agents", "context"])
def test_folders_without_end_are_not_walked(key: str, tmp_path: Path) -> None:
    write(tmp_path, {"team.yaml": f"{key}: {{include: ['**/*.md']}}"})
    opened = os.open(tmp_path, os.O_RDONLY)
    for _ in range(MAX_DEPTH * 6):
        os.mkdir("deep", dir_fd=opened)
        below = os.open("deep", os.O_RDONLY, dir_fd=opened)
        os.close(opened)
        opened = below
    os.close(opened)
    assert f"more than {MAX_DEPTH} deep" in faults_in(tmp_path)


# --- what is no file


def pipe(path: Path) -> None:
    os.mkfifo(path)


def listening(path: Path) -> None:
    held = socket.socket(socket.AF_UNIX)
    before = Path.cwd()
    os.chdir(path.parent)  # a socket's name is short
    try:
        held.bind(path.name)
    finally:
        os.chdir(before)
        held.close()


ODD: dict[str, tuple[Callable[[Path], None], str]] = {
    "pipe": (pipe, "a device, pipe or socket"),
    "socket": (listening, "a device, pipe or socket"),
    "zeros": (lambda path: path.symlink_to("/dev/zero"), "a device, pipe or socket"),
    "folder": (lambda path: path.mkdir(), "is a directory"),
    "a link to nothing": (lambda path: path.symlink_to("nothing"), "no such file"),
    "a link to itself": (lambda path: path.symlink_to(path.name), ""),
}


@pytest.mark.parametrize("place", ["bundle", "agent", "context", "settings", "included"])
@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_file_is_an_error_and_never_waited_for(kind: str, place: str, tmp_path: Path) -> None:
    make, message = ODD[kind]
    team = "agents: {include: [agents/x.md, agents/y.md]}\ncontext: {include: [c.txt]}\n"
    write(tmp_path, {**FINE, "team.yaml": team + ("includes: [./inc.yaml]\n" if place == "included" else ""), "home/keep": ""})
    path = tmp_path / {**PLACES, "included": "inc.yaml"}[place]
    path.unlink(missing_ok=True)
    make(path)
    said = faults_in(tmp_path)
    assert said
    assert path.name in said or "/dev/zero" in said
    if place in ("bundle", "settings") and message:
        assert message in said


# --- encodings


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("description: caf\u00e9".encode("latin-1"), "x.md:2: byte 20 is not UTF-8; save the file as UTF-8"),
        ("---\nname: x\n---\n".encode("utf-16"), "x.md:1: byte 0 is not UTF-8; save the file as UTF-8"),
        ("---\nname: x\n---\n".encode("utf-16-le"), "x.md:1: byte 1 is NUL: this is UTF-16 or no text; save the file as UTF-8"),
        (b"description: a\0b", "x.md:2:15: a NUL byte: this is not a text file"),
    ],
)
def test_other_encodings_are_refused_with_the_byte(data: bytes, message: str, tmp_path: Path) -> None:
    write(tmp_path, FINE)
    whole = data if b"n\0a\0" in data else b"---\n" + data + b"\n---\nx"
    (tmp_path / "agents" / "x.md").write_bytes(whole)
    assert any(message in text for text in refused(tmp_path, "team.yaml", strict=True))
