"""A bundle of agents that delegate, written to a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from bundle_loader.declared.bundle import Bundle
from bundle_loader.sources.load import load_bundle


def team(folder: Path, agents: Mapping[str, Mapping[str, Any]], **bundle: Any) -> Bundle:
    """The bundle `team` of these agents: name -> the rest of its header, `body` beside it."""
    (folder / "agents").mkdir(exist_ok=True)
    for name, keys in agents.items():
        header = {"name": name, "description": f"Does {name}.", **{key: value for key, value in keys.items() if key != "body"}}
        text = f"---\n{yaml.safe_dump(header)}---\n{keys.get('body', f'You are {name}.')}\n"
        (folder / "agents" / f"{name}.md").write_text(text, encoding="utf-8")
    path = folder / "team.yaml"
    path.write_text(
        yaml.safe_dump({"bundle": {"name": "team"}, "agents": {"include": ["agents/*.md"]}, **bundle}), encoding="utf-8"
    )
    return load_bundle(path, strict=True, settings=[])
