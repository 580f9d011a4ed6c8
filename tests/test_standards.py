"""What every file of the project keeps to: sizes, imports, purity, docs that are true."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

import bundle_loader
from bundle_loader.cli.main import COMMANDS
from bundle_loader.cli.reference import reference
from bundle_loader.declared.frontmatter import read_document
from bundle_loader.declared.schema import agent_schema, bundle_schema
from bundle_loader.declared.tree import core, plain
from bundle_loader.sources.load import load_bundle
from bundle_loader.sources.schemas import texts
from tests.support.workgraph import Workgraph

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "bundle_loader"
SOURCES = sorted(PACKAGE.rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_a_file_does_one_job_and_says_which(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "the first line of a module says its one job"
    assert text.count("\n") <= 400
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert (node.end_lineno or 0) - node.lineno < 60, f"{node.name} is longer than 60 lines"


def test_the_projects_own_modules_are_imported_at_the_top() -> None:
    """Lazily only where the public names and the commands are found."""
    found = []
    for path in SOURCES:
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
                for node in ast.walk(function):
                    if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("bundle_loader")):
                        found.append(f"{relative(path)}:{node.lineno}")
    assert found == []


def test_pure_packages_open_and_print_nothing() -> None:
    found = []
    for path in [*(PACKAGE / "declared").rglob("*.py"), *(PACKAGE / "routing").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("open", "print", "input", "exec", "eval")
            ):
                found.append(f"{relative(path)}:{node.lineno}")
    assert found == []


def test_broad_excepts_stand_only_at_boundaries() -> None:
    allowed = {
        "cli/main.py",
        "delegation/mcp_connection.py",
        "delegation/spawner.py",
        "delegation/tools.py",
        "ledger/ledger.py",
        "recipes/python_child.py",
        "testing/script.py",
    }
    found = set()
    for path in SOURCES:
        name = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler) and (node.type is None or getattr(node.type, "id", "") == "Exception"):
                found.add(name)
    assert {name for name in found if not name.startswith("providers/")} <= allowed


def test_public_names_are_sorted_importable_and_documented() -> None:
    assert bundle_loader.__all__ == sorted(bundle_loader.__all__)
    for name in bundle_loader.__all__:
        value = getattr(bundle_loader, name)
        assert value.__doc__, name
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = bundle_loader.nothing


def test_importing_the_package_loads_no_sdk_and_opens_nothing() -> None:
    code = """
import sys
opened = []
sys.addaudithook(lambda event, args: opened.append(event) if event.startswith("socket.") else None)
import bundle_loader
from bundle_loader.cli.main import run
assert run(["--help"]) == 0
heavy = {"anthropic", "openai", "google.genai", "ollama", "pydantic", "yaml", "jinja2", "httpx", "httpx2", "aiohttp", "rich"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
assert not opened, opened
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_docs_of_commands_are_current() -> None:
    assert (ROOT / "docs" / "commands.md").read_text(encoding="utf-8") == reference(), "run 'make docs'"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in readme for name in COMMANDS)


def test_schemas_are_current_and_fit_every_shipped_file() -> None:
    for path, text in texts().items():
        assert path.read_text(encoding="utf-8") == text, "run 'make schemas'"
    for folder, schema in (("agents", agent_schema()), ("bundles", bundle_schema())):
        Draft202012Validator.check_schema(schema)
        files = sorted((ROOT / folder).glob("*.md"))
        assert files
        for path in files:
            text = path.read_text(encoding="utf-8")
            assert f"$schema=../bundle_loader/declared/schemas/{folder[:-1]}.json" in text.splitlines()[1]
            values = core(plain(read_document(text, path.name).header))
            assert list(Draft202012Validator(schema).iter_errors(values)) == [], path.name
        wrong = Draft202012Validator(schema).iter_errors({"provider_preference": []})
        assert [error.validator for error in wrong] == ["additionalProperties"]


def test_every_dependency_has_a_lower_bound() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [requirement for extra in project["optional-dependencies"].values() for requirement in extra]
    for requirement in [*project["dependencies"], *extras]:
        assert re.search(r">=\d", requirement), requirement


def _readme_blocks(language: str) -> list[str]:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return [
        block
        for page in pages
        for block in re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    ]


@pytest.fixture
def readers_folder(tmp_path: Path) -> Path:
    """A folder in which a reader of the README has written its first agent, with the tools of a Workgraph project on PATH."""
    [agent, *_] = _readme_blocks("markdown")
    folder = Workgraph(tmp_path).project
    (folder / "commit.md").write_text(agent, encoding="utf-8")
    return folder


@pytest.mark.parametrize("block", _readme_blocks("console"))
def test_readme_commands_print_what_it_says(readers_folder: Path, block: str) -> None:
    said = re.match(r"\$ (.*)\n((?:.*\n)*)", block)
    assert said
    command = said[1].replace("bundle-loader", f"{sys.executable} -m bundle_loader", 1)
    command += "" if "2>" in command else " 2>&1"
    tools = f"{readers_folder.parent / 'workgraph' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, shell=True, cwd=readers_folder, env={**os.environ, "PATH": tools}, capture_output=True, text=True, check=False
    )
    assert _steady(done.stdout) == _steady(said[2])


def _steady(text: str) -> str:
    """What is printed, without what is another each time: ids and times, and what prompts cost that name a run's folder."""
    text, runs = re.subn(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "ID", text)
    return re.sub(r"\$\d\.\d+", "$", re.sub(r"for \d+\.\d s", "for s", text)) if runs else text


@pytest.mark.parametrize("block", _readme_blocks("python"))
def test_readme_python_runs(readers_folder: Path, block: str) -> None:
    run = ["-c", block]
    if "import pytest" in block:
        (readers_folder / "test_block.py").write_text(block, encoding="utf-8")
        run = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "test_block.py"]
    done = subprocess.run([sys.executable, *run], cwd=readers_folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("block", _readme_blocks("yaml")[1:])
def test_yaml_of_the_docs_is_part_of_a_bundle(tmp_path: Path, block: str) -> None:
    path = tmp_path / "part.yaml"
    path.write_text(f"includes: [foundation]\n{block}", encoding="utf-8")
    assert load_bundle(path, strict=True, settings=[]).name == "part"


def test_readme_yaml_is_a_bundle_that_checks(readers_folder: Path) -> None:
    block = _readme_blocks("yaml")[0]
    (readers_folder / "my-team.yaml").write_text(block, encoding="utf-8")
    (readers_folder / "agents").mkdir()
    (readers_folder / "commit.md").rename(readers_folder / "agents" / "commit.md")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "bundle_loader",
            "resolve",
            "explorer",
            "commit",
            "bug-hunter",
            "--bundle",
            "my-team.yaml",
            "--simulate",
        ],
        cwd=readers_folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "claude-haiku" in done.stdout.splitlines()[1]


def test_links_of_the_docs_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
