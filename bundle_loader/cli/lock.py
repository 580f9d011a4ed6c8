"""`bundle-loader lock`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import typer

from bundle_loader.cli.hosting import opened, with_host
from bundle_loader.cli.main import NO_ANSWER
from bundle_loader.cli.options import BundleOption, FaultOption, JsonOption, LedgerOption, RefreshOption, SimulateOption
from bundle_loader.cli.output import as_json, jsonable, say
from bundle_loader.declared.model_order import OrderPolicy
from bundle_loader.declared.models_lock import ModelsLock, Pin
from bundle_loader.declared.preference import Preference
from bundle_loader.errors import RequestError
from bundle_loader.host import Host
from bundle_loader.providers.instances import Settings, provider_id, row_of
from bundle_loader.routing.named import named_preferences
from bundle_loader.routing.offer import Offers
from bundle_loader.routing.request import make_request
from bundle_loader.routing.resolve import Resolver
from bundle_loader.sources.models_lock import models_lock_path, write_lock_file

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@dataclass(frozen=True, slots=True)
class Row:
    """What becomes of one pattern."""

    provider: str
    pattern: str
    old: str | None
    new: str | None
    what: Literal["locked", "moved", "kept", "removed", "not locked"]
    why: str | None = None

    def __str__(self) -> str:
        named = f"{self.provider}/{self.pattern}"
        if self.what == "not locked":
            return f"{named}: not locked: {self.why}"
        if self.what == "kept":
            return f"{named}: stays {self.old}{f' ({self.why})' if self.why else ''}"
        return f"{named}: {self.old or '-'} -> {self.new or '-'}"


@app.command()
def lock(
    patterns: Annotated[
        list[str] | None, typer.Argument(metavar="[PROVIDER/GLOB]...", help="Patterns; else all that the bundle names.")
    ] = None,
    update: Annotated[bool, typer.Option("--update", help="Move what is locked to what is newest now.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take patterns out of the lock; without any, all.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    bundle: BundleOption = None,
    simulate: SimulateOption = False,
    fault: FaultOption = None,
    ledger: LedgerOption = None,
    refresh: RefreshOption = False,
    json: JsonOption = False,
) -> None:
    """Hold patterns to the models that they mean now, until you move them.

    They stand in the project's .bundle-loader/models.lock. What is locked stays until --update moves it. With --simulate it
    is models.simulated.lock, which holds for simulated providers only.
    """
    if update and remove:
        raise typer.BadParameter("write --update or --remove, not both", param_hint="--remove")
    host = opened(bundle, simulate, fault, ledger)
    held = host.models_lock
    asked = _asked(host, patterns)

    async def ask(host: Host) -> Offers:
        wanted = [preference.provider for preference in asked]
        return await (host.refresh(wanted) if refresh else host.offers(wanted))

    if remove:
        nobody_asked = with_host(host, lambda host: host.offers([]))
        rows = _removed(held, asked if patterns else None, nobody_asked, host.bundle.providers)
    else:
        if update and not patterns:
            asked = _once([*asked, *(Preference(provider=id, model=glob) for id, globs in held.pins.items() for glob in globs)])
        rows = _resolved(with_host(host, ask), asked, held, host.bundle.model_order, update, named=bool(patterns))
    changes = [row for row in rows if row.old != row.new and row.what != "not locked"]
    path = models_lock_path(os.environ, simulated=simulate)
    written = bool(changes) and not dry_run
    said = f"{len(changes)} changed in {path}" if written else f"{'nothing to change' if not changes else 'not written'}: {path}"
    if not json:
        for row in rows:
            say(str(row))
    if written:
        write_lock_file(path, _with(held, changes))
    if json:
        as_json({"file": str(path), "simulated": simulate, "written": written, "patterns": [jsonable(row) for row in rows]})
    else:
        say(said)
    if any(row.what == "not locked" for row in rows) and (patterns or all(row.what == "not locked" for row in rows)):
        raise typer.Exit(NO_ANSWER)


def _asked(host: Host, patterns: list[str] | None) -> list[Preference]:
    """The preferences that the words are, else all that the bundle names."""
    if not patterns:
        return _once(named_preferences(host.bundle))
    found: list[Preference] = []
    for text in patterns:
        if "/" not in text:
            raise RequestError(f"'{text}' is no PROVIDER/GLOB; write for instance 'anthropic/{text}'")
        found += make_request(host.bundle.agent("self"), preferences=[text]).preferences or ()
    return _once(found)


def _once(preferences: Iterable[Preference]) -> list[Preference]:
    """Each provider and pattern once, in order."""
    return list({(item.provider, item.model): item for item in preferences}.values())


def _resolved(
    offers: Offers, asked: list[Preference], held: ModelsLock, policy: OrderPolicy, update: bool, *, named: bool
) -> list[Row]:
    """What becomes of each pattern: of an exact id nothing, since it cannot move."""
    resolver = Resolver(ModelsLock(simulated=held.simulated), policy)
    rows: dict[tuple[str, str], Row] = {}
    for preference in asked:
        pattern = preference.model
        for offer, resolved in resolver.resolve(preference, offers):
            id = offer.provider if offer is not None else provider_id(preference.provider, offers.by_id) or preference.provider
            pin = held.pin(id, pattern)
            old = pin.model if pin is not None else None
            best = resolved.models[0].id if resolved.models else None
            row: Row | None
            if best is None:
                row = Row(id, pattern, old, old, "kept" if old else "not locked", resolved.reason)
            elif best.casefold() == pattern.casefold():
                row = Row(id, pattern, old, old, "not locked", "it is the id of one model") if named else None
            elif old is None:
                row = Row(id, pattern, None, best, "locked")
            elif update and old != best:
                row = Row(id, pattern, old, best, "moved")
            else:
                row = Row(id, pattern, old, old, "kept", None if old == best else f"the newest would be {best}")
            if row is not None:
                rows.setdefault((id, pattern.casefold()), row)
    return list(rows.values())


def _removed(held: ModelsLock, asked: list[Preference] | None, offers: Offers, settings: Settings) -> list[Row]:
    """The rows of the patterns that go; None is all of them.

    1. They go out of whatever the provider means, as locking puts them in. 2. Where these do not hold it, out of every
    instance of that kind.
    """
    there = [(id, glob, pin.model) for id, globs in held.pins.items() for glob, pin in globs.items()]
    if asked is None:
        return [Row(id, glob, model, None, "removed") for id, glob, model in there]
    rows = []
    for item in asked:
        id = provider_id(item.provider, [*held.pins, *offers.by_id]) or item.provider
        meant = {id, *(offer.provider for offer in offers.meant(id))}
        of_kind = {one for one in held.pins if (row := row_of(one, settings)) is not None and row.id == id}
        bearing = [one for one in there if one[1].casefold() == item.model.casefold()]
        same = [one for one in bearing if one[0] in meant] or [one for one in bearing if one[0] in of_kind]
        rows += [Row(id, glob, model, None, "removed") for id, glob, model in same]
        if not same:
            rows.append(Row(item.provider, item.model, None, None, "not locked", "the lock does not hold it"))
    return rows


def _with(held: ModelsLock, changes: list[Row]) -> ModelsLock:
    """The lock after the changes."""
    pins: dict[str, dict[str, Any]] = {id: dict(globs) for id, globs in held.pins.items()}
    for row in changes:
        of = pins.setdefault(row.provider, {})
        # as the file writes it already, where that differs in case
        key = next((glob for glob in of if glob.casefold() == row.pattern.casefold()), row.pattern)
        if row.new is None:
            of.pop(key, None)
        else:
            of[key] = Pin(row.new)
    return replace(held, pins=pins)
