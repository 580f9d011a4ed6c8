"""Files of an enemy: what they may not reach, set, cost or run when a bundle is loaded and checked."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bundle_loader.cli.main import run as run_command
from bundle_loader.sources.load import load_bundle
from tests.support.declared import agent_file, load, refused, said, write

ROOT = Path(__file__).parent.parent
MAX_SECONDS = 1.0
MAX_MEBIBYTES = 100.0
SECRET = "sk-ant-api03-do-not-print-me"

# --- what one file may cost


def bomb(top: str) -> str:
    """Ten levels, each ten times the one before."""
    lines = [f"{top}:", "  a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"  a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 11)]
    return "\n".join(lines)


COSTLY: dict[str, tuple[Callable[[], str], str]] = {
    "bomb": (lambda: bomb("config"), "an alias used more than 100 times"),
    "doubling": (
        lambda: "config:\n  a0: &a0 [x, x]\n" + "\n".join(f"  a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60)),
        "alias",
    ),
    "50 MB header": (lambda: "description: " + "x" * 50_000_000, "is larger than 1024 KiB"),
    "10,000 nested lists": (lambda: "config: " + "[" * 10_000 + "]" * 10_000, "nested deeper than 64 levels"),
    "10,000 nested mappings": (lambda: "config: " + "{a: " * 10_000 + "1" + "}" * 10_000, "nested deeper than 64 levels"),
    "100,000 keys": (lambda: "\n".join(f"key_{index}: 1" for index in range(100_000)), "is larger than"),
    "20,000 short keys": (lambda: "\n".join(f"{index:x}: 1" for index in range(20_000)), "unknown key"),
    "a key of 200,000 letters": (lambda: "? " + "description" * 18_000 + "\n: 1", "unknown key"),
    "one key 20,000 times": (lambda: "name: x\n" * 20_000, "written twice"),
    "10,000 tags": (lambda: "config: [" + "!a b, " * 10_000 + "]", "the tag !a is not used here"),
}


def loaded_apart(file: Path) -> dict[str, Any]:
    """What loading a file took and said, in a process of its own."""
    command = [sys.executable, "-m", "tests.support.hostile", str(file)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, timeout=60)
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("place", ["agent", "bundle"])
@pytest.mark.parametrize("case", COSTLY)
def test_a_costly_file_is_refused_at_once(case: str, place: str, tmp_path: Path) -> None:
    make, message = COSTLY[case]
    header = make()
    agents = 'agents: {include: ["agents/*.md"]}\n'
    if place == "bundle":
        write(tmp_path, {"a.yaml": header})
    else:
        write(tmp_path, {"a.yaml": agents, "agents/x.md": f"---\n{header}\n---\n", "agents/y.md": "---\n---\nfine"})
    found = loaded_apart(tmp_path / "a.yaml")
    faults = found["faults"] if place == "bundle" else found["broken"]["x"]
    assert message in "\n".join(faults)
    assert found["seconds"] < MAX_SECONDS
    assert found["mebibytes"] < MAX_MEBIBYTES


MANY = {
    "tiers": "tiers: {"
    + ", ".join(f"tier_{index}: [p/m]" for index in range(3_000))
    + "}\nroles: {r: ["
    + ", ".join(f"{{tier: tear_{index}x}}" for index in range(3_000))
    + "]}",
    "agents": "agents:\n" + "\n".join(f"  agent_{index}: {{description: d, extends: agent_{index}x}}" for index in range(3_000)),
}


@pytest.mark.parametrize("case", MANY)
def test_thousands_of_wrong_names_are_not_each_compared_with_thousands(case: str, tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": MANY[case]})
    found = loaded_apart(tmp_path / "a.yaml")
    assert len(found["faults"]) == 3_000
    assert "did you mean" in found["faults"][0]
    assert found["seconds"] < 2 * MAX_SECONDS
    assert found["mebibytes"] < MAX_MEBIBYTES


# --- what a pattern may look at


@pytest.mark.parametrize("key", ["agents", "context"])
@pytest.mark.parametrize("pattern", ["/**/*.md", "../../../../../../../**/*.md", "all/**/*.md", "**/*.md"])
def test_a_pattern_does_not_walk_the_disk(pattern: str, key: str, tmp_path: Path) -> None:
    write(tmp_path, {})
    (tmp_path / "all").symlink_to("/")
    write(tmp_path, {"a.yaml": f"{key}: {{include: ['{pattern}']}}"})
    found = loaded_apart(tmp_path / "a.yaml")
    assert len(found["faults"]) == 1
    assert "leads out of" in found["faults"][0] or "is an absolute path" in found["faults"][0]
    assert found["seconds"] < MAX_SECONDS


@pytest.mark.parametrize("key", ["agents", "context"])
def test_links_in_a_circle_are_walked_once(key: str, tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": f"{key}: {{include: ['**/x.md']}}", "deep/x.md": "---\n---\nfine"})
    for name in "bcdef":
        (tmp_path / name).symlink_to(tmp_path)
        (tmp_path / "deep" / name).symlink_to(tmp_path)
    found = loaded_apart(tmp_path / "a.yaml")
    assert (found["faults"], found["broken"]) == ([], {})
    assert found["seconds"] < MAX_SECONDS


# --- what no file may set


SPELLINGS = ("API_KEY", "Headers", "api-key", "x.api_key", "Base-URL", "BASEURL")
NESTED = (
    "{{extra: {{{key}: {value}}}}}",
    "{{extra: {{more: {{{key}: {value}}}}}}}",
    "{{list: [{{a: 1}}, {{{key}: {value}}}]}}",
    "{{list: [[[{{{key}: {{deep: {value}}}}}]]]}}",
    "{{{key}: [{value}]}}",
    "{{'{key}': {value}}}",
    "{{extra: &anchor {{{key}: {value}}}, again: *anchor}}",
)
PLACES = (
    "agents: {{x: {{description: d, config: {config}}}}}",
    "agents: {{x: {{description: d, provider_preferences: [{{provider: p, model: m, config: {config}}}]}}}}",
    "agents: {{x: {{description: d, content_fallback: [{{provider: p, model: m, config: {config}}}]}}}}",
    "tiers: {{t: [{{provider: p, model: m, config: {config}}}]}}",
    "roles: {{r: [{{provider: p, model: m, config: {config}}}]}}",
    "profiles: {{f: {{default: [{{provider: p, model: m, config: {config}}}]}}}}",
    "tests: [{{agent: x, preferences: [{{provider: p, model: m, config: {config}}}], expect: {{provider: p}}}}]",
)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("nested", NESTED)
def test_no_config_anywhere_holds_a_key_or_an_address(nested: str, place: str, tmp_path: Path) -> None:
    for key in SPELLINGS:
        text = place.format(config=nested.format(key=key, value=SECRET))
        faults = refused(tmp_path, "a.yaml", {"a.yaml": text})
        assert any("may not be set in a config" in fault and key in fault for fault in faults)
        assert SECRET not in "\n".join(faults)


@pytest.mark.parametrize("nested", NESTED)
def test_a_protected_key_of_an_agent_file_is_named_without_its_value(nested: str) -> None:
    for key in SPELLINGS:
        written = nested.format(key=key, value=SECRET)
        for header in (f"config: {written}", f"provider_preferences: [{{provider: p, model: m, config: {written}}}]"):
            found = agent_file(header)
            assert found.written is None
            texts = [str(fault) for fault in found.faults]
            assert any("may not be set in a config" in text and key in text for text in texts)
            assert SECRET not in "\n".join(texts)


# --- a bundle that includes itself


def test_a_bundle_that_includes_itself_through_a_link_is_a_loop(tmp_path: Path) -> None:
    write(tmp_path, {})
    (tmp_path / "other.yaml").symlink_to(tmp_path / "a.yaml")
    assert refused(tmp_path, "a.yaml", {"a.yaml": "includes: [./other.yaml]"}) == [
        "a.yaml:1:12: includes: bundles include each other in a loop: a.yaml -> a.yaml"
    ]


def test_a_bundle_that_includes_itself_by_another_path_is_a_loop(tmp_path: Path) -> None:
    files = {"b.md": "---\nbundle: {name: b}\nincludes: [./x/../b.md]\n---\n", "x/keep": ""}
    assert refused(tmp_path, "b.md", files) == ["b.md:3:12: includes: bundles include each other in a loop: b.md -> b.md"]


def test_a_bundle_reached_by_two_names_is_laid_once(tmp_path: Path) -> None:
    write(tmp_path, {"b.yaml": "tiers: {t: [p/m]}", "x/keep": ""})
    (tmp_path / "c.yaml").symlink_to(tmp_path / "b.yaml")
    bundle = load(tmp_path, "a.yaml", {"a.yaml": "includes: [b, c, ./x/../b.yaml]"})
    assert bundle.layers == ("b", "a")


def test_two_files_of_one_name_are_two_sources_of_one_bundle(tmp_path: Path) -> None:
    files = {"b.yaml": "tiers: {t: [p/m]}", "b.md": "---\nbundle: {name: b}\n---\n", "a.yaml": "includes: [./b.yaml, ./b.md]"}
    [fault] = refused(tmp_path, "a.yaml", files)
    assert fault.startswith("b.md:1:1: bundle.name: two bundles are named 'b': a.yaml -> b.yaml and a.yaml -> b.md")


def test_two_files_of_one_bare_name_are_a_warning(tmp_path: Path) -> None:
    files = {"b.yaml": "tiers: {t: [p/m]}", "b.md": "---\nbundle: {name: b}\n---\n", "a.yaml": "includes: [b]"}
    bundle = load(tmp_path, "a.yaml", files)
    assert any("bundle 'b' shadows" in text for text in said(tmp_path, bundle.problems))


# --- what no file may run


def test_nothing_that_is_found_in_a_file_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    marker = tmp_path / "marker"
    run = f"touch {marker}"
    write(
        tmp_path,
        {
            "a.md": (
                "---\nbundle: {name: a}\nagents: {include: ['agents/*.md']}\n"
                f"mcp_servers: {{m: {{command: sh, args: ['-c', '{run}']}}}}\n"
                "recipes: {include: ['*.py']}\n"
                f"vars: {{x: \"{{{{ cycler.__init__.__globals__.os.system('{run}') }}}}\"}}\n---\n"
                f"{{{{ cycler.__init__.__globals__.os.system('{run}') }}}} $({run}) `{run}`"
            ),
            "agents/tag.md": f"---\ndescription: !!python/object/apply:os.system ['{run}']\n---\n",
            "agents/jinja.md": f"---\n---\n{{{{ lipsum.__globals__.os.system('{run}') }}}}",
            "agents/amplifier.md": (
                "---\nmeta: {name: amplifier, description: d}\n"
                f"tools: [{{module: evil, source: ./evil}}]\nhooks: [{{module: evil, config: {{run: '{run}'}}}}]\n---\n"
            ),
            "agents/import.md": "---\ntools: [evil, 'python:evil', 'mcp:m']\n---\n{% import 'evil.py' as e %}",
            "evil.py": f"open({str(marker)!r}, 'w')",
            "evil/__init__.py": f"open({str(marker)!r}, 'w')",
            "sitecustomize.py": f"open({str(marker)!r}, 'w')",
        },
    )
    bundle = load_bundle(tmp_path / "a.md", settings=[])
    assert "tag" in bundle.broken
    assert {"jinja", "amplifier"} <= set(bundle.agents)
    assert run_command(["check", "--bundle", str(tmp_path / "a.md")]) == 1
    assert "os.system" in capsys.readouterr().out
    assert not marker.exists()
    assert "evil" not in sys.modules
