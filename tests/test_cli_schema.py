"""`schema` and `explain bundle`, run as a process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from bundle_loader.declared.schema import SCHEMAS
from bundle_loader.sources.schemas import FOLDER
from tests.support.command import Ran, command

Run = Callable[..., Ran]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return lambda *arguments: command(*arguments, home=tmp_path, cwd=tmp_path)


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_printed_as_it_is_shipped(run: Run, name: str) -> None:
    ran = run("schema", name)
    assert ran.code == 0
    assert ran.out == (FOLDER / f"{name}.json").read_text(encoding="utf-8")
    Draft202012Validator.check_schema(ran.json)
    assert run("schema", name, "--json").out == ran.out


def test_without_a_name_the_schemas_are_listed_with_their_files(run: Run) -> None:
    rows = run("schema", "--json").json["schemas"]
    assert [row["name"] for row in rows] == list(SCHEMAS)
    assert all(Path(row["file"]).is_file() for row in rows)
    listed = run("schema").out
    assert all(row["file"] in listed and row["describes"] in listed for row in rows)
    wrong = run("schema", "agnt")
    assert (wrong.code, "no schema 'agnt'; did you mean 'agent'?" in wrong.err) == (2, True)


def test_explain_bundle_shows_what_was_laid_over_what(run: Run) -> None:
    ran = run("explain", "bundle", "dev")
    assert ran.out == run("explain", "bundle", "--bundle", "dev").out
    lines = ran.out.splitlines()
    assert lines[0].startswith("dev  ")
    assert lines[1].startswith("`-- foundation  ")
    assert lines[1].endswith("laid 1: 17 agents, 4 tiers")
    assert "  agent explorer: dev over foundation" in lines
    assert "  tier strong-code: dev over foundation" in lines
    found = run("explain", "bundle", "dev", "--json").json
    assert [(layer["name"], layer["order"]) for layer in found["layers"]] == [("foundation", 1), ("dev", 2)]
    assert found["layers"][1]["includes"] == [found["layers"][0]["file"]]
    assert {"noun": "tier", "name": "strong-code", "layers": ["foundation", "dev"]} in found["overlaps"]
    assert "mermaid" not in found
    chart = run("explain", "bundle", "dev", "--mermaid").out
    assert chart.startswith("flowchart TD\n")
    assert run("explain", "bundle", "dev", "--mermaid", "--json").json["mermaid"] + "\n" == chart
    assert run("explain", "bundle", "dev", "--bundle", "dev").code == 2
    assert run("explain", "git-ops", "--mermaid").code == 2


def test_explain_shows_who_decides_and_why_the_others_do_not(run: Run) -> None:
    both = [run("explain", part, "git-ops", "--simulate", "--tier", "strong") for part in ("agent", "route")]
    for ran in both:
        assert "-> 1 caller: decides: tier strong" in ran.out
        assert "   4 agent: would say git-ops, its own list, tier budget; caller (1) speaks first" in ran.out
        assert "   5 bundle: said nothing: bundle 'foundation' has no default tier" in ran.out
    assert "  limits.timeout = 120s" in both[0].out
    assert "  limits.timeout" not in both[1].out
    found = run("explain", "git-ops", "--simulate", "--json").json["decides"]
    assert [row["number"] for row in found] == [1, 2, 3, 4, 5, 6]
    assert [row["by"] for row in found if row["decides"]] == ["agent"]
    silent = run("explain", "self", "--simulate")
    assert (silent.code, "->" in silent.out) == (0, False)
    assert "agent 'self' inherits its caller's model" in silent.out
