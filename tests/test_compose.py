"""Composition against case files: each holds bundles and agents as text, what they come to, and where each value came from.

`origins` are all writings of an agent's fields, as `explain` prints them; `places` say where a value of the composed header
stands (`tiers.t[0]: b.yaml:1`); `links` are symbolic links, by what they lead to.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.tree import position
from bundle_loader.errors import DeclarationError, RequestError
from bundle_loader.routing.explain import origins
from tests.support.declared import load, pairs, refused, said, shown, write

FOLDER = Path(__file__).with_name("cases") / "compose"
TABLES = ("tiers", "roles", "profiles")
PLAIN = ("layers", "default", "tier_order", "vars", "context", "version")
KEYS = {"name", "files", "links", "load", "error", "origins", "places", "agents"} | {
    "only",
    "hidden",
    "broken",
    "problems",
    *TABLES,
    *PLAIN,
}
CASES = [
    pytest.param(case, id=f"{path.stem}: {case['name']}")
    for path in sorted(FOLDER.glob("*.yaml"))
    for case in yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
]


@pytest.mark.parametrize("case", CASES)
def test_case(case: dict[str, Any], tmp_path: Path) -> None:
    assert set(case) <= KEYS, "a misspelt key would check nothing"
    write(tmp_path, case["files"])
    for name, target in case.get("links", {}).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(target)
    if "error" in case:
        faults = refused(tmp_path, case["load"])
        assert [cut(found, wanted) for found, wanted in zip(faults, case["error"], strict=False)] == case["error"]
        assert len(faults) == len(case["error"]), faults
        return
    bundle = load(tmp_path, case["load"])
    problems = said(tmp_path, bundle.problems)
    expected = case.get("problems", [])
    assert [cut(found, wanted) for found, wanted in zip(problems, expected, strict=False)] == expected
    assert len(problems) == len(expected), problems
    for name, fields in case.get("agents", {}).items():
        found = shown(bundle.agent(name))
        assert {key: found[key] for key in fields} == fields, name
    check_names(bundle, case)
    for key in TABLES:
        if key in case:
            assert tables(getattr(bundle, key)) == case[key]
    for key in PLAIN:
        if key in case:
            found = getattr(bundle, key)
            assert (list(found) if isinstance(found, tuple) else found) == case[key]

    check_places(tmp_path, bundle, case)


def check_places(folder: Path, bundle: Bundle, case: dict[str, Any]) -> None:
    for name, expected in case.get("origins", {}).items():
        rows = [str(origin) for origin in origins(bundle, name)]
        assert [row.replace(f"{folder.resolve()}/", "") for row in rows] == expected, name
    for path, expected in case.get("places", {}).items():
        assert bundle.header is not None
        steps = tuple(int(word) if word.isdigit() else word for word in re.findall(r"[^.\[\]]+", path))
        file, line, _ = position(bundle.header, steps)
        assert f"{file}:{line}".replace(f"{folder.resolve()}/", "") == expected, path


def check_names(bundle: Bundle, case: dict[str, Any]) -> None:
    if "only" in case:
        assert sorted(bundle.agents) == case["only"]
    if "hidden" in case:
        assert sorted(bundle.hidden) == case["hidden"]
    assert sorted(bundle.broken) == case.get("broken", [])
    for name in bundle.broken:
        with pytest.raises(DeclarationError):
            bundle.agent(name)


def cut(found: str, wanted: str) -> str:
    """Where a case ends in '...', only the beginning counts."""
    return found[: len(wanted) - 3] + "..." if wanted.endswith("...") else found


def tables(written: Any) -> Any:
    return {key: tables(value) if isinstance(value, dict) else pairs(value) for key, value in written.items()}


def test_there_are_cases() -> None:
    assert len(CASES) >= 70


def test_unknown_tiers_roles_and_profiles_give_the_nearest(tmp_path: Path) -> None:
    files = {"a.yaml": "tiers: {budget: [p/m]}\nroles: {fast: [p/m]}\nprofiles: {cost: {planning: [p/m]}}\n"}
    bundle = load(tmp_path, "a.yaml", files)
    with pytest.raises(RequestError, match=r"no tier 'bugdet' in bundle 'a'; did you mean 'budget'\?"):
        bundle.tier("bugdet")
    with pytest.raises(RequestError, match=r"no role 'xyz' in bundle 'a'; it has fast"):
        bundle.role("xyz")
    with pytest.raises(RequestError, match=r"no profile 'csot' in bundle 'a'; did you mean 'cost'\?"):
        bundle.profile("csot")
    with pytest.raises(RequestError, match="has no cell for stage 'review' and no 'default'; it has planning"):
        bundle.profile("cost", "review")
    assert pairs(bundle.profile("cost", "planning")) == ["p/m"]


def test_the_hash_is_of_the_content(tmp_path: Path) -> None:
    files = {
        "a.yaml": "agents: {include: ['*.md']}",
        "x.md": "---\nextends: y\n---\n{{ base }}",
        "y.md": "---\n---\none",
    }
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = load(tmp_path / "one", "a.yaml", files)
    two = load(tmp_path / "two", "a.yaml", files)
    assert one.agent("x").file != two.agent("x").file
    assert one.hash == two.hash
    changed = load(tmp_path / "two", "a.yaml", {**files, "y.md": "---\n---\ntwo"})
    assert changed.hash != one.hash
