"""`bundle-loader init`."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Annotated, Final

import typer

from bundle_loader.cli.options import JsonOption
from bundle_loader.cli.output import as_json
from bundle_loader.declared.agent import NAME
from bundle_loader.declared.tree import NULLS
from bundle_loader.errors import RequestError
from bundle_loader.sources.files import SUFFIXES, shipped_folder
from bundle_loader.sources.load import DEFAULT_BUNDLE
from bundle_loader.sources.settings import NAME as SETTINGS

app = typer.Typer(rich_markup_mode=None, add_completion=False)

FALLBACK: Final = "my-team"
"""The bundle's name where its folder's cannot be one."""
AGENT: Final = "release-notes"
MARK: Final = ".bundle-loader"

BUNDLE_TEXT: Final = f"""---
format: 1
bundle:
  name: {{name}}
  version: 0.1.0
  description: The agents of {{name}}, on top of those of {DEFAULT_BUNDLE}.

# Everything that is not written here comes from what is included, and follows it when that changes.
includes: [{DEFAULT_BUNDLE}]

agents:
  include: ["../agents/*.md"]
  # A mapping under an inherited agent's name patches it, null removes it:
  #   explorer: {{{{tier: budget}}}}
  #   web-research: null

# Lists replace what was inherited, except for the element `base`, which stands for the inherited list:
#   tiers: {{{{budget: [{{{{provider: ollama, model: "qwen*"}}}}, base]}}}}
---
Delegate to {AGENT} when a release is prepared.
"""

AGENT_TEXT: Final = f"""---
format: 1
name: {AGENT}
description: Writes the notes of a release from what changed since the last one.
tier: budget
tools: [read_file, git]
config: {{temperature: 0.3}}
limits: {{max_turns: 10, timeout: 120s}}
---
You are {{{{ agent }}}}. You write release notes for the project at {{{{ workdir }}}}. Today is {{{{ date }}}}.

Read the history since the last tag. Say in one line each what a user of the project will notice, the breaking changes
first. Leave out what only its developers see. Where you cannot tell what a change does, name the commit and say so.
"""

MARK_TEXT: Final = """The folder that holds this one is the root of a project of agents and bundles. No path in their
files leads out of it.
"""

SETTINGS_TEXT: Final = """# What holds for whoever works in this folder. Commands that name no bundle take this one.
bundle: ../bundles/{name}.md
"""


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write; made where it is missing.")] = Path("."),
    name: Annotated[str | None, typer.Option("--name", help="The bundle's name; without it the folder's.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
    json: JsonOption = False,
) -> None:
    """Write a small bundle to start from: it includes foundation and adds one agent. The folder's settings name it, unless they
    are there already.

    No file is overwritten without --force; when one is in the way, nothing is written.
    """
    bundle = _name(name, folder)
    files = _files(folder, bundle)
    _refuse(folder, files, force)
    for path, text in files.items():
        _write(path, text, force)
    path = next(iter(files))
    taken_in = sorted(str(file) for file in (folder / "agents").glob("*.md") if file not in files)
    following = _next(path)
    settings = folder / MARK / SETTINGS
    named = settings in files
    if json:
        as_json(
            {
                "name": bundle,
                "bundle": str(path),
                "written": [str(file) for file in files],
                "taken_in": taken_in,
                "default": named,
                "next": following,
            }
        )
        return
    for file in files:
        typer.echo(f"wrote {file}")
    for other in taken_in:
        typer.echo(f"{path} takes in {other} too")
    if not named:
        typer.echo(f"{settings} was there; write 'bundle: ../bundles/{bundle}.md' in it where commands are to take this bundle")
    typer.echo("next:")
    for command in following:
        typer.echo(f"  {command}")


def _name(given: str | None, folder: Path) -> str:
    """The bundle's name. Raises RequestError for one that is no name, or that a shipped bundle has."""
    shipped = {path.stem for path in (shipped_folder() / "bundles").iterdir() if path.suffix in SUFFIXES}
    if given is None:
        own = re.sub(r"[^a-z0-9_.]+", "-", folder.resolve().name.lower()).strip("-.")
        return own if NAME.fullmatch(own) and own not in shipped and own not in NULLS else FALLBACK
    if not NAME.fullmatch(given) or given in NULLS:
        raise RequestError(f"--name {given!r} is not a name; use letters, digits, '-', '_' and '.'")
    if given in shipped:
        raise RequestError(f"--name {given}: a shipped bundle has that name; choose another")
    return given


def _files(folder: Path, name: str) -> dict[Path, str]:
    """What is to be written; the bundle comes first."""
    files = {
        folder / "bundles" / f"{name}.md": BUNDLE_TEXT.format(name=name),
        folder / "agents" / f"{AGENT}.md": AGENT_TEXT,
    }
    if not os.path.lexists(folder / MARK):
        files[folder / MARK / "README.md"] = MARK_TEXT
    settings = folder / MARK / SETTINGS
    if not os.path.lexists(settings):
        files[settings] = SETTINGS_TEXT.format(name=name)
    return files


def _refuse(folder: Path, files: dict[Path, str], force: bool) -> None:
    """Raise RequestError, naming all that is in the way, before anything is written."""
    for place in (folder, *dict.fromkeys(path.parent for path in files)):
        if os.path.lexists(place) and not place.is_dir():
            raise RequestError(f"{place} is not a folder; name another")
    there = [path for path in files if os.path.lexists(path)]
    folders = [str(path) for path in there if path.is_dir()]
    if folders:
        raise RequestError(f"{', '.join(folders)}: is a folder; move it away")
    if there and not force:
        raise RequestError(f"already there: {', '.join(map(str, there))}; nothing was written, --force overwrites")


def _write(path: Path, text: str, force: bool) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if force:
            # a link is replaced, never written through
            path.unlink(missing_ok=True)
        with open(path, "x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        raise RequestError(f"{path} cannot be written: {error.strerror}") from None


def _next(path: Path) -> list[str]:
    bundle = f"--bundle {shlex.quote(str(path))}"
    return [
        f"bundle-loader check --strict {bundle}",
        f"bundle-loader explain {AGENT} {bundle} --simulate",
        f'bundle-loader delegate {AGENT} "What is new since the last tag?" {bundle} --simulate',
    ]
