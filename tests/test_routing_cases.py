"""Routing against case files: each holds a bundle, what providers offer, and questions with the whole route expected."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.frontmatter import read_yaml_document
from bundle_loader.declared.settings import Origin, SettingsFile, read_settings
from bundle_loader.errors import RequestError
from bundle_loader.providers.live import aliases
from bundle_loader.providers.snapshot import model_info, snapshot_models
from bundle_loader.routing.candidate import Candidate
from bundle_loader.routing.catalogue import Catalogue
from bundle_loader.routing.charged import PICO, unit_limit
from bundle_loader.routing.offer import Offer, Offers
from bundle_loader.routing.price import FREE, Price, flat
from bundle_loader.routing.request import make_request
from bundle_loader.routing.resolve import Resolver
from bundle_loader.routing.route import route
from bundle_loader.routing.standing import AccountStanding, Closed, Standing
from bundle_loader.sources.load import load_bundle

FOLDER = Path(__file__).with_name("cases") / "routing"
KEYS = {
    "name",
    "agent",
    "ask",
    "candidates",
    "rejections",
    "decided_by",
    "decision",
    "tier",
    "notes",
    "config",
    "error",
    "standing",
    "barred",
}
FILES = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.yaml"))}
CASES = [pytest.param(file, case, id=f"{stem}: {case['name']}") for stem, file in FILES.items() for case in file["cases"]]


def offers_of(written: dict[str, Any]) -> Offers:
    """A list of models; `snapshot`; or a mapping with `models`, `local`, `kind`, `note`, or the `reason` why there is none.

    With `configured: false` nobody could be asked at all.
    """
    by_id = {}
    for id, entry in written.items():
        entry = entry if isinstance(entry, dict) else {"models": entry}
        models = entry.get("models")
        listed = snapshot_models(id) if models == "snapshot" else tuple(map(model_info, models or ()))
        catalogue = Catalogue(id, listed, version=1) if models is not None else None
        known = {key: entry[key] for key in ("reason", "local", "note", "kind", "configured") if key in entry}
        by_id[id] = Offer(id, catalogue, **known)
    return Offers(by_id, aliases())


def settings_of(written: dict[Origin, str]) -> list[SettingsFile]:
    """Settings files as the organisation, the project and the user wrote them, least derived first."""
    return [read_settings(read_yaml_document(text, f"{origin}.yaml"), origin) for origin, text in written.items()]


NOW = 1_780_012_800.0


def standing_of(written: dict[str, Any], bundle: Bundle) -> Standing:
    """Accounts with what is settled and reserved in the budget's unit; times are seconds from now."""
    accounts = {}
    for key, entry in written.get("accounts", {}).items():
        budget = bundle.budgets[key.partition("|")[0]]
        unit = PICO if budget.unit == "money" else 1
        settled, reserved = (int(Decimal(str(entry.get(name, 0))) * unit) for name in ("settled", "reserved"))
        renews = NOW + entry["renews"] if "renews" in entry else None
        accounts[key] = AccountStanding(key, budget, unit_limit(budget), settled, reserved, renews)
    closed = {key: Closed(key, NOW + entry["until"], entry["reason"]) for key, entry in written.get("closed", {}).items()}
    return Standing(NOW, accounts, closed)


def prices_of(written: dict[str, Any]) -> Callable[[Candidate], Price | None]:
    """Dollars for a million tokens of output; what runs here is free, other prices are not known."""
    found = {name: Price(flat(Decimal(1)), flat(Decimal(str(amount)))) for name, amount in written.get("prices", {}).items()}
    return lambda candidate: FREE if candidate.local else found.get(f"{candidate.provider}/{candidate.model}")


@pytest.mark.parametrize(("file", "case"), CASES)
def test_case(file: dict[str, Any], case: dict[str, Any], tmp_path: Path) -> None:
    assert set(case) <= KEYS, "a misspelt key would check nothing"
    path = tmp_path / "bundle.yaml"
    path.write_text(file["bundle"], encoding="utf-8")
    for name, text in file.get("files", {}).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    bundle = load_bundle(path, strict=True, settings=settings_of(file.get("settings", {})))
    offers = offers_of(file["catalogues"])
    resolver = Resolver(policy=bundle.model_order)
    if "error" in case:
        with pytest.raises(RequestError) as caught:
            route(bundle, make_request(bundle.agent(case["agent"]), **case.get("ask", {})), offers, resolver)
        assert str(caught.value) == case["error"]
        return
    known = case.get("standing", {})
    request = make_request(bundle.agent(case["agent"]), now=NOW, **case.get("ask", {}))
    found = route(bundle, request, offers, resolver, standing_of(known, bundle), prices_of(known))
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
    if "barred" in case:
        assert [found.barred[0].budget, found.barred[0].emergency] == case["barred"]


def test_there_are_cases() -> None:
    assert len(CASES) >= 50
