"""Composition against case files: each holds bundles and agents as text, and what they come to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from bundle_loader.declared.bundle import Bundle
from bundle_loader.errors import DeclarationError, RequestError
from tests.support.declared import load, pairs, refused, said, shown

FOLDER = Path(__file__).with_name("cases") / "compose"
TABLES = ("tiers", "roles", "profiles")
PLAIN = ("layers", "default", "tier_order", "vars", "context", "version")
KEYS = {"name", "files", "load", "error", "agents", "only", "hidden", "broken", "problems", *TABLES, *PLAIN}
CASES = [
    pytest.param(case, id=f"{path.stem}: {case['name']}")
    for path in sorted(FOLDER.glob("*.yaml"))
    for case in yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
]


@pytest.mark.parametrize("case", CASES)
def test_case(case: dict[str, Any], tmp_path: Path) -> None:
    assert set(case) <= KEYS, "a misspelt key would check nothing"
    if "error" in case:
        assert refused(tmp_path, case["load"], case["files"]) == case["error"]
        return
    bundle = load(tmp_path, case["load"], case["files"])
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
