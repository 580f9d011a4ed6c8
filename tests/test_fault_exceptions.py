"""Every exception that an installed SDK or its transport exports has a row in the table, and is sorted as the row says."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.version import Version

from bundle_loader.errors import FailureKind, ProviderFailure
from bundle_loader.providers import echoes, google_faults, ollama_faults, sdk_faults
from tests.support.exported import KEY, exported, made

FILE = Path(__file__).with_name("cases").joinpath("faults", "exceptions.yaml")
PACKAGES: list[dict[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["packages"]
SDKS = ("anthropic", "openai", "google.genai", "ollama")
"""Of these every public module counts, of the transports what the package itself names."""
SORTED_BY = [(number, adapter) for number, table in enumerate(PACKAGES) for adapter in table["sorted_by"]]


def sort(adapter: str, error: BaseException, *, within: bool) -> ProviderFailure:
    """What an adapter makes of an exception that came before a response, or within one of status 200."""
    if adapter in ("anthropic", "openai"):
        sdk = importlib.import_module(adapter)
        return sdk_faults.sort(error, sdk, provider="p", model="m", answering=within, secret=KEY)
    faults = google_faults if adapter == "google" else ollama_faults
    return echoes.without_secret(faults.sort(error, "p", "m", status=200 if within else None), KEY)


def holds(row: dict[str, Any], package: str) -> bool:
    """Whether a row is one of what is installed here."""
    if "since" in row and Version(importlib.metadata.version(package)) < Version(row["since"]):
        return False
    return "with" not in row or importlib.util.find_spec(row["with"]) is not None


@pytest.mark.parametrize(("number", "adapter"), SORTED_BY, ids=lambda value: str(value))
def test_every_exported_exception_has_its_row(number: int, adapter: str) -> None:
    table = PACKAGES[number]
    classes = exported(table["package"], deep=table["package"] in SDKS)
    rows = {name: row for row in table["rows"] if holds(row, table["package"]) for name in row["names"]}
    assert sorted(classes) == sorted(rows), f"{FILE.name} has no row for it, or one for a class that is gone"
    for name, cls in classes.items():
        for within in (False, True):
            expected = rows[name].get("within", rows[name]["before"]) if within else rows[name]["before"]
            failed = sort(adapter, made(cls), within=within)
            told = (failed.kind, failed.scope)
            assert told == (FailureKind(expected["kind"]), expected.get("scope", "model")), (name, within)
            assert KEY not in pickle.dumps(failed).decode("latin-1"), name


def test_every_sdk_and_transport_is_in_the_table() -> None:
    assert {(table["package"], adapter) for table in PACKAGES for adapter in table["sorted_by"]} == {
        *(
            ("google.genai" if adapter == "google" else adapter, adapter)
            for adapter in ("anthropic", "openai", "google", "ollama")
        ),
        *(("httpx2", adapter) for adapter in ("anthropic", "openai", "google")),
        ("httpx", "ollama"),
        *(("aiohttp", adapter) for adapter in ("anthropic", "openai", "google", "ollama")),
    }


@pytest.mark.parametrize("adapter", ["anthropic", "openai"])
def test_an_error_of_a_status_is_sorted_by_the_status_whatever_its_class(adapter: str) -> None:
    sdk = importlib.import_module(adapter)
    for status, kind in ((401, "refused"), (429, "limited"), (413, "too long"), (500, "busy"), (418, "wrong request")):
        failed = sort(adapter, made(sdk.APIStatusError, status), within=False)
        assert (failed.kind, failed.status) == (FailureKind(kind), status)
