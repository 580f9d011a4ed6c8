"""Declared files from text, and what loading them says, with places relative to the folder they lie in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bundle_loader.declared.agent import Agent
from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.frontmatter import read_document
from bundle_loader.declared.layer import AgentFile, read_agent
from bundle_loader.declared.preference import Preference
from bundle_loader.errors import DeclarationError, Fault
from bundle_loader.sources.load import load_bundle


def write(folder: Path, files: Mapping[str, str], *, mark: bool = True) -> Path:
    """Files by relative path below `folder`, which is made a root of its own unless `mark` is false."""
    if mark:
        (folder / ".bundle-loader").mkdir(exist_ok=True)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return folder


def load(folder: Path, name: str, files: Mapping[str, str] | None = None, *, strict: bool = False) -> Bundle:
    """The bundle of a file below `folder`, after `files` were written there."""
    write(folder, files or {})
    return load_bundle(folder / name, strict=strict)


def refused(folder: Path, name: str, files: Mapping[str, str] | None = None, *, strict: bool = False) -> list[str]:
    """The faults with which loading is refused, in order."""
    with pytest.raises(DeclarationError) as caught:
        load(folder, name, files, strict=strict)
    assert str(caught.value).splitlines() == [str(fault) for fault in caught.value.faults]
    return said(folder, caught.value.faults, level=False)


def said(folder: Path, faults: Iterable[Fault], *, level: bool = True) -> list[str]:
    """Faults as text, `level` first, with the folder's name taken out."""
    texts = [f"{fault.level} {fault}" if level else str(fault) for fault in faults]
    return [text.replace(f"{folder.resolve()}/", "").replace(f"{folder}/", "") for text in texts]


def agent_file(header: str, body: str = "", file: str = "a.md") -> AgentFile:
    """An agent file from the lines of its header, which begin on line 2."""
    return read_agent(read_document(f"---\n{header}\n---\n{body}", file))


def faults_of(header: str) -> list[str]:
    """What is wrong with an agent's header, without the name of the file: `line:column: key: message`."""
    found = agent_file(header)
    assert (found.written is None) == any(fault.level == "error" for fault in found.faults)
    return sorted((str(fault).removeprefix("a.md:") for fault in found.faults), key=_place)


def _place(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(": ")[0].split(":") if number.isdigit())


def pairs(preferences: Iterable[Preference]) -> list[str]:
    """Preferences as `provider/glob`."""
    return [str(preference) for preference in preferences]


def shown(agent: Agent) -> dict[str, Any]:
    """The fields of an agent as a case file writes them; those of `limits` stand beside the others."""
    fields = agent.model_dump(mode="json", exclude={"parent_instruction"})
    fields.update(fields.pop("limits"))
    fields["preferences"] = pairs(agent.preferences)
    return fields
