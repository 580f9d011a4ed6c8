"""Renewing the shipped lists of models from live ones: `python -m bundle_loader.cli.snapshot [PROVIDER...] [--out FILE]`."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

from bundle_loader.cli.hosting import with_host
from bundle_loader.cli.main import FINE, NO_ANSWER, USAGE, code_of
from bundle_loader.errors import BundleLoaderError, RequestError, did_you_mean
from bundle_loader.host import Host
from bundle_loader.providers import table
from bundle_loader.routing.catalogue import ModelInfo
from bundle_loader.routing.offer import Offers

FILE: Final = Path(table.__file__).parent / "data" / "snapshot.json"
_OF_AN_ACCOUNT: Final = ("ft:", "ft-", "projects/", "accounts/")
"""How the ids of models begin that one account has trained or deployed."""
_OTHERWISE: Final = "name another file, or remove that one"
_LEFT_OUT: Final = frozenset({"barred", "declared", "from_table", "extra"})
"""Fields that say something of this account, its settings or the table, not of the vendor's list."""
_KEPT_EXTRA: Final = ("version", "modified_at", "parameter_size")
"""What of `extra` is the vendor's own word on the model and acts."""


def renewed(before: Mapping[str, Any], offers: Offers, wanted: Sequence[str], day: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The snapshot with the lists of those of `wanted` that answered, dated `day`, and what is said of each of `wanted`.

    All other lists stay as they are, with their own dates.
    """
    providers = dict(before.get("providers", {}))
    said = {}
    for id in wanted:
        offer = offers.find(id)
        if offer is None or offer.catalogue is None or offer.stale is not None or offer.catalogue.source != "live":
            reason = "no such provider" if offer is None else offer.stale or offer.reason or "it was not asked"
            said[id] = f"stays as it is: {reason}"
            continue
        entries = [entry_of(model) for model in sorted(offer.catalogue.models, key=lambda model: model.id) if _is_public(model)]
        if not entries:
            said[id] = "stays as it is: it lists no model that is not of one account"
            continue
        providers[id] = {"as_of": day, "models": entries}
        said[id] = f"{len(entries)} models"
    newest = max((str(entry["as_of"]) for entry in providers.values()), default=day)
    return {"date": newest, "providers": providers}, said


def _is_public(model: ModelInfo) -> bool:
    owner = str(model.extra.get("owned_by") or "")
    return not (model.declared or model.id.lower().startswith(_OF_AN_ACCOUNT) or owner.startswith(("user-", "org-")))


def entry_of(model: ModelInfo) -> dict[str, Any]:
    """A model as the file has it: what its list says, in the order of the fields."""
    entry: dict[str, Any] = {}
    for one in fields(ModelInfo):
        value = getattr(model, one.name)
        if one.name in _LEFT_OUT or one.name in model.from_table or value is None or value == () or value == {}:
            continue
        if isinstance(value, datetime):
            value = value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        elif isinstance(value, frozenset):
            value = sorted(value)
        elif isinstance(value, Mapping):
            value = dict(sorted(value.items()))
        if value != []:
            entry[one.name] = list(value) if isinstance(value, tuple) else value
    extra = {key: str(model.extra[key]) for key in _KEPT_EXTRA if model.extra.get(key) is not None}
    return {**entry, "extra": extra} if extra else entry


def text_of(snapshot: Mapping[str, Any]) -> str:
    """The file, one model to a line."""
    parts = []
    for id, entry in snapshot["providers"].items():
        models = ",\n".join(f"    {json.dumps(model, ensure_ascii=False)}" for model in entry["models"])
        parts.append(f'  {json.dumps(id)}: {{"as_of": {json.dumps(entry["as_of"])}, "models": [\n{models}\n  ]}}')
    return f'{{"date": {json.dumps(snapshot["date"])}, "providers": {{\n' + ",\n".join(parts) + "\n}}\n"


def main(arguments: Sequence[str]) -> int:
    """Ask, and write the file where anybody answered. Gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bundle_loader.cli.snapshot", description=__doc__)
    parser.add_argument(
        "providers", nargs="*", metavar="PROVIDER", help="Else all that are not local; a local one must be named."
    )
    parser.add_argument("--out", type=Path, default=FILE, help="Another file, which is read first where it is there.")
    given = parser.parse_args(arguments)
    rows = table.rows()
    wanted = list(dict.fromkeys(map(table.canonical, given.providers))) or [id for id, row in rows.items() if not row.local]
    unknown = [id for id in wanted if id not in rows]
    if unknown:
        sys.stderr.write(f"no provider '{unknown[0]}'{did_you_mean(unknown[0], list(rows))}\n")
        return USAGE
    try:
        return _renew(wanted, given.out)
    except BundleLoaderError as error:
        sys.stderr.write(f"{error}\n")
        return code_of(error)


def _renew(wanted: list[str], out: Path) -> int:
    before = _before(out)
    with tempfile.TemporaryDirectory() as folder:
        host = Host("foundation", ledger=Path(folder) / "ledger.db", catalogues=Path(folder) / "lists", models_lock=False)

        async def ask(host: Host) -> Offers:
            return await host.refresh(wanted)

        offers = with_host(host, ask)
    after, said = renewed(before, offers, wanted, datetime.fromtimestamp(time.time(), UTC).date().isoformat())
    for id, what in said.items():
        sys.stderr.write(f"{id}: {what}\n")
    if not any(what.endswith(" models") for what in said.values()):
        return NO_ANSWER
    unfinished = out.with_name(f".{out.name}.tmp")
    try:
        unfinished.write_text(text_of(after), encoding="utf-8")
        os.replace(unfinished, out)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise RequestError(f"{out} cannot be written: {(error.strerror or str(error)).lower()}") from None
    return FINE


def _before(out: Path) -> Mapping[str, Any]:
    """The lists that stay. Raises RequestError, before anybody is asked, for a file that could not be replaced either."""
    if not out.parent.is_dir():
        raise RequestError(f"{out} cannot be written: there is no folder {out.parent}")
    file = out if out.exists() else FILE
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise RequestError(f"{file} cannot be read: {(error.strerror or str(error)).lower()}") from None
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{file} is not JSON ({error}); {_OTHERWISE}") from None
    if wrong := _wrong(found):
        raise RequestError(f"{file} is no file of lists: {wrong}; {_OTHERWISE}")
    return cast(Mapping[str, Any], found)


def _wrong(found: object) -> str | None:
    """What is missing of `{"providers": {ID: {"as_of": DAY, "models": [{"id": ...}]}}}`."""
    providers = found.get("providers") if isinstance(found, dict) else None
    if not isinstance(providers, dict):
        return "it has no 'providers'"
    for id, entry in providers.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("as_of"), str):
            return f"'{id}' has no 'as_of'"
        models = entry.get("models")
        if not isinstance(models, list) or not all(isinstance(one, dict) and isinstance(one.get("id"), str) for one in models):
            return f"'{id}' has no 'models' with ids"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
