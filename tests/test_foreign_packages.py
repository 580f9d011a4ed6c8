"""Providers of other packages, by entry point: an installed example, and packages that are wrong in every way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from bundle_loader.declared.tables import ProviderSettings
from bundle_loader.providers.entry_points import GROUP, Packages
from bundle_loader.providers.live import Missing, live_endpoints, live_kinds, live_providers
from tests.support.command import Ran, command
from tests.support.foreign_factories import NearAndLocal, Spy

KEY = "acme-key-that-nobody-says-0001"
EXAMPLE = Path(__file__).parent / "data" / "example_provider"
BROKEN = "tests.support.foreign_factories"


def installed_example(folder: Path, name: str = "acme-provider", entry_points: dict[str, str] | None = None) -> Path:
    """The example package as pip would lay it into a folder; nothing is fetched."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    folder.mkdir(exist_ok=True)
    shutil.copy(EXAMPLE / "acme_provider.py", folder)
    info = folder / f"{name.replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {project['version']}\n", encoding="utf-8")
    lines = [f"{kind} = {value}" for kind, value in (entry_points or project["entry-points"][GROUP]).items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines, ""]), encoding="utf-8")
    return folder


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return installed_example(tmp_path / "site")


def run(site: Path, *arguments: str, **environment: str) -> Ran:
    home = site.parent / "home"
    home.mkdir(exist_ok=True)
    paths = os.pathsep.join([str(site), str(Path(__file__).parent.parent)])
    return command(*arguments, home=home, cwd=home, environment={"PYTHONPATH": paths, **environment})


# --- an installed package


def test_an_installed_package_is_listed_resolved_and_delegated_to(site: Path) -> None:
    models = run(site, "models", "acme", "--json", ACME_API_KEY=KEY)
    resolved = run(site, "resolve", "--provider", "acme", "--prefer", "acme/acme-echo-*", "self", "--json", ACME_API_KEY=KEY)
    answered = run(site, "delegate", "self", "Hello.", "--prefer", "acme/acme-echo-*", "--json", ACME_API_KEY=KEY)
    assert models.code == answered.code == 0, models.err + answered.err
    (listed,) = models.json["providers"]
    assert [model["id"] for model in listed["models"]] == ["acme-echo-1", "acme-echo-2", "acme-embed-9"]
    assert (listed["kind"], listed["local"]) == ("acme", False)
    assert "acme-echo-2" in resolved.out, resolved.err
    assert answered.json["text"].startswith("acme says: Hello.")
    assert (answered.json["provider"], answered.json["model"]) == ("acme", "acme-echo-2")
    assert KEY not in "".join(ran.out + ran.err for ran in (models, resolved, answered))


def test_without_its_key_it_is_skipped_with_its_own_reason(site: Path) -> None:
    ran = run(site, "models", "acme")
    assert ran.code == 4
    assert "acme: acme-provider 1.0: no key: set ACME_API_KEY" in ran.err


def test_instances_of_its_kind_have_their_own_ids_and_keys(site: Path) -> None:
    home = site.parent / "home"
    home.mkdir()
    team = "providers: {acme-eu: {kind: acme, key_variable: EU_KEY}, acme-us: {kind: acme, key_variable: US_KEY}}\n"
    (home / "team.yaml").write_text(f"format: 1\nbundle: {{name: team}}\nincludes: [foundation]\n{team}", encoding="utf-8")
    ask = ["delegate", "self", "Hello.", "--bundle", "team.yaml", "--json", "--prefer"]
    first = run(site, *ask, "acme/*echo*", EU_KEY=KEY, US_KEY=KEY)
    second = run(site, *ask, "acme-us/*echo*", EU_KEY=KEY, US_KEY=KEY)
    assert first.json["text"].startswith("acme-eu says:")
    assert second.json["text"].startswith("acme-us says:")
    checked = run(site, "check", "--bundle", "team.yaml", "--json")
    assert not [fault for fault in checked.json["faults"] if fault["rule"] in ("unknown-kind", "unknown-provider")]


def test_its_key_may_stand_in_the_home_folders_env_file(site: Path) -> None:
    (site.parent / "home").mkdir()
    (site.parent / "home" / ".env").write_text(f"ACME_API_KEY={KEY}\n", encoding="utf-8")
    assert run(site, "models", "acme").code == 0


_LOADED = """
import sys
sys.argv = ["bundle-loader", *{arguments!r}]
from bundle_loader.__main__ import main
try:
    main()
except SystemExit:
    pass
print("LOADED", "acme_provider" in sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("arguments", "loaded"),
    [
        (["--help"], False),
        (["agents"], False),
        (["check"], False),
        (["explain", "bundle"], False),
        (["models", "--simulate"], False),
        (["models", "acme"], True),
    ],
)
def test_a_package_is_imported_only_where_a_host_mounts_it(site: Path, arguments: list[str], loaded: bool) -> None:
    surroundings = {
        "PATH": os.environ["PATH"],
        "HOME": str(site.parent),
        "BUNDLE_LOADER_HOME": str(site.parent / "data"),
        "PYTHONPATH": os.pathsep.join([str(site), str(Path(__file__).parent.parent)]),
    }
    code = _LOADED.format(arguments=arguments)
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=site.parent, env=surroundings, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.stderr.splitlines()[-1] == f"LOADED {loaded}", ran.stderr


def test_a_package_may_not_replace_a_built_in_provider(tmp_path: Path) -> None:
    taken = {"openai": "acme_provider:AcmeProvider", "gemini": "acme_provider:AcmeProvider", "acme": "gone_module:Provider"}
    site = installed_example(tmp_path / "site", "thief", taken)
    (tmp_path / "home").mkdir()
    ran = run(site, "models", "openai", "acme", ACME_API_KEY=KEY)
    checked = run(site, "check", "--json")
    assert "openai: no key: set OPENAI_API_KEY" in ran.err
    assert "acme: thief 1.0: ModuleNotFoundError: No module named 'gone_module'" in ran.err
    told = [fault["message"] for fault in checked.json["faults"] if fault["rule"] == "provider-package"]
    assert sorted(told) == [
        "thief 1.0 may not replace the built-in provider 'gemini'; its entry point is left out",
        "thief 1.0 may not replace the built-in provider 'openai'; its entry point is left out",
    ]


def test_two_packages_of_one_name_are_both_left_out(site: Path) -> None:
    installed_example(site, "other-acme", {"acme": "acme_provider:AcmeProvider"})
    ran = run(site, "models", "acme", ACME_API_KEY=KEY)
    assert "acme: several packages give a provider 'acme': acme-provider 1.0, other-acme 1.0; remove all but one" in ran.err


# --- what a factory is given, and what it may do wrong


def packages(value: str, *more: str) -> Packages:
    return Packages([EntryPoint("acme", f"{BROKEN}:{one}", GROUP) for one in (value, *more)])


def mounted(value: str, settings: dict[str, ProviderSettings] | None = None, **environment: str) -> Any:
    known = {"ACME_API_KEY": KEY, "OPENAI_API_KEY": "other", "HOME": "/nowhere", **environment}
    return live_providers(known, settings, packages(value))


def test_a_factory_sees_its_own_variables_and_no_others() -> None:
    own = {
        "acme": ProviderSettings(requests_per_minute=9),
        "mine": ProviderSettings(kind="acme", key_variable="MINE", region="eu"),
    }
    found = mounted("Spy", own, MINE="m", ACME_URL="u")
    assert isinstance(found["acme"], Spy)
    assert dict(found["acme"].environment) == {"ACME_API_KEY": KEY, "ACME_URL": "u"}
    assert found["acme"].settings == own["acme"]
    assert dict(found["mine"].environment) == {"ACME_API_KEY": KEY, "ACME_URL": "u", "MINE": "m"}
    assert found["mine"].settings.region == "eu"
    kinds = live_kinds(own, packages("Spy"))
    assert (kinds["acme"], kinds["mine"]) == ("acme", "acme")
    assert not {"acme", "mine"} & set(live_endpoints({}, own, packages("Spy")))
    assert isinstance(mounted("NearAndLocal")["acme"], NearAndLocal)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("raising", "ValueError: key *** is no key"),
        ("leaving", "it ended the program"),
        ("nothing", "what its factory gives is no provider: it has no id, local, list_models, stream, aclose"),
        ("renamed", "its factory was asked for 'acme' and gave a provider of another id"),
        ("other_arguments", "TypeError: "),
        ("without_variables", "its entry point must load a function or class with the list 'variables'"),
        ("NoList", "its entry point must load a function or class with the list 'variables'"),
        ("number", "its entry point must load a function or class with the list 'variables'"),
        ("FarButLocal", "it calls itself local, but https://api.acme.example/v1 is no private address"),
        ("BadMember", "RuntimeError: no address for ***"),
        ("gone", "AttributeError: "),
        ("BadVariables", "RuntimeError: no variables"),
        ("BadSequence", "RuntimeError: not to be gone through"),
        ("wordless", "Wordless"),
        ("cancelling", "it raised CancelledError"),
        ("odd", "it raised Odd"),
    ],
)
def test_a_broken_package_is_a_reason_and_never_a_crash(value: str, words: str) -> None:
    found = mounted(value)
    missing = found["acme"]
    assert isinstance(missing, Missing)
    assert missing.reason.startswith(f"the package of {BROKEN}:{value}: {words}")
    assert missing.kind == "acme"
    assert KEY not in repr(missing)
    assert "\n" not in missing.reason
    assert not isinstance(found["openai"], Missing)


@pytest.mark.parametrize("names", [["OpenAI"], ["gemini"], ["azure"]])
def test_names_and_aliases_of_the_table_are_taken_in_any_case(names: Sequence[str]) -> None:
    found = Packages([EntryPoint(name, f"{BROKEN}:Spy", GROUP) for name in names])
    assert found.kinds == ()
    assert len(found.faults) == 1
    assert not any(isinstance(one, Spy) for one in live_providers({}, None, found).values())


def test_the_same_entry_point_found_twice_is_one() -> None:
    assert packages("Spy", "Spy").faults == ()
    assert isinstance(live_providers({"ACME_API_KEY": KEY}, None, packages("Spy", "Spy"))["acme"], Spy)
