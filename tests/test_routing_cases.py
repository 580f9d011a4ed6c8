"""Routing against case files: each holds a bundle, what providers offer, and questions with the whole route expected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from bundle_loader.declared.frontmatter import read_yaml_document
from bundle_loader.declared.settings import Origin, SettingsFile, read_settings
from bundle_loader.errors import RequestError
from bundle_loader.providers.live import aliases
from bundle_loader.providers.snapshot import model_info, snapshot_models
from bundle_loader.routing.catalogue import Catalogue
from bundle_loader.routing.offer import Offer, Offers
from bundle_loader.routing.request import make_request
from bundle_loader.routing.resolve import Resolver
from bundle_loader.routing.route import route
from bundle_loader.sources.load import load_bundle

FOLDER = Path(__file__).with_name("cases") / "routing"
KEYS = {"name", "agent", "ask", "candidates", "rejections", "decided_by", "decision", "tier", "notes", "config", "error"}
FILES = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.yaml"))}
CASES = [pytest.param(file, case, id=f"{stem}: {case['name']}") for stem, file in FILES.items() for case in file["cases"]]


def offers_of(written: dict[str, Any]) -> Offers:
    """A list of models; `snapshot`; or a mapping with `models`, `local` and `note`, or with the `reason` why there is none."""
    by_id = {}
    for id, entry in written.items():
        entry = entry if isinstance(entry, dict) else {"models": entry}
        models = entry.get("models")
        listed = snapshot_models(id) if models == "snapshot" else tuple(map(model_info, models or ()))
        catalogue = Catalogue(id, listed, version=1) if models is not None else None
        by_id[id] = Offer(id, catalogue, entry.get("reason"), entry.get("local", False), entry.get("note"))
    return Offers(by_id, aliases())


def settings_of(written: dict[Origin, str]) -> list[SettingsFile]:
    """Settings files as the organisation, the project and the user wrote them, least derived first."""
    return [read_settings(read_yaml_document(text, f"{origin}.yaml"), origin) for origin, text in written.items()]


@pytest.mark.parametrize(("file", "case"), CASES)
def test_case(file: dict[str, Any], case: dict[str, Any], tmp_path: Path) -> None:
    assert set(case) <= KEYS, "a misspelt key would check nothing"
    path = tmp_path / "bundle.yaml"
    path.write_text(file["bundle"], encoding="utf-8")
    for name, text in file.get("files", {}).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    bundle = load_bundle(path, strict=True, settings=settings_of(file.get("settings", {})))
    offers = offers_of(file["catalogues"])
    if "error" in case:
        with pytest.raises(RequestError) as caught:
            route(bundle, make_request(bundle.agent(case["agent"]), **case.get("ask", {})), offers, Resolver())
        assert str(caught.value) == case["error"]
        return
    found = route(bundle, make_request(bundle.agent(case["agent"]), **case.get("ask", {})), offers, Resolver())
    assert [str(candidate) for candidate in found.candidates] == case["candidates"]
    assert [str(rejection) for rejection in found.rejections] == case.get("rejections", [])
    assert found.decided_by == case["decided_by"]
    if "decision" in case:
        assert found.decision == case["decision"]
    if "tier" in case:
        assert found.tier == case["tier"]
    assert list(found.notes) == case.get("notes", [])
    if "config" in case:
        assert [dict(candidate.config) for candidate in found.candidates] == case["config"]


def test_there_are_cases() -> None:
    assert len(CASES) >= 50
