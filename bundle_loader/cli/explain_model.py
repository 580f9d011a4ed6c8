"""`bundle-loader explain model`: how a pattern comes to a model in each provider's list, step by step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from bundle_loader.cli.ages import listed
from bundle_loader.cli.hosting import with_host
from bundle_loader.cli.main import NO_ANSWER
from bundle_loader.cli.output import as_json, jsonable, say
from bundle_loader.declared.preference import Preference
from bundle_loader.errors import RequestError
from bundle_loader.host import Host
from bundle_loader.providers import table
from bundle_loader.providers.entry_points import installed
from bundle_loader.providers.live import aliases
from bundle_loader.routing.catalogue import Catalogue
from bundle_loader.routing.gates import ending, gates_of, reason_against
from bundle_loader.routing.model_names import ModelList, is_pattern, nearest_ids, snapshots_of
from bundle_loader.routing.narrowing import TITLES, Narrowing, narrowing
from bundle_loader.routing.offer import Offer, Offers
from bundle_loader.routing.request import make_request
from bundle_loader.routing.resolve import Resolved, Resolver, not_mounted

_SHOWN = 6
"""Models that a step names; --json names all."""


def explain_model(host: Host, written: str, provider: str | None, json: bool) -> None:
    """Print how `[PROVIDER/]PATTERN` is answered by that provider's list, or by every list that has a match."""
    provider, pattern = _split(host, written, provider)

    async def ask(host: Host) -> Offers:
        return await host.offers(None if provider is None else [provider])

    offers = with_host(host, ask)
    asked = list(offers.by_id.values()) if provider is None else list(offers.meant(provider))
    if not asked:
        raise RequestError(not_mounted(str(provider), offers.by_id, offers.aliases))
    found = [_answer(host, offers, offer, pattern) for offer in asked]
    if json:
        as_json({"asked": written, "provider": provider, "pattern": pattern, "answers": found})
    else:
        _print(found, pattern, alone=provider is not None)
    if not any(entry["matched"] for entry in found):
        raise typer.Exit(NO_ANSWER)


def _split(host: Host, written: str, provider: str | None) -> tuple[str | None, str]:
    """Provider and pattern: what stands before the first slash is a provider where one is called so, else part of the pattern."""
    head, slash, rest = written.partition("/")
    known = {*table.rows(), *aliases(), *installed().kinds, *host.bundle.providers}
    if provider is None and slash and head in known:
        provider, written = head, rest
    if not written:
        raise RequestError("write a pattern or an id behind the provider, such as anthropic/claude-opus-*")
    return provider, written


def _answer(host: Host, offers: Offers, offer: Offer, pattern: str) -> dict[str, Any]:
    """Everything that one provider's list says to a pattern; `matched` is empty where it says nothing."""
    whose = listed(offer, host.clock())
    entry: dict[str, Any] = {"provider": offer.provider, "list": whose, "matched": [], "reason": offer.reason}
    catalogue = offer.catalogue
    if catalogue is None:
        return entry
    resolver = Resolver(host.models_lock, host.bundle.model_order)
    answers = resolver.resolve(Preference(provider=offer.provider, model=pattern), offers)
    resolved = next((resolved for one, resolved in answers if one is offer), Resolved(reason=offer.reason))
    ids = [model.id for model in catalogue.models]
    entry |= {
        "models": len(ids),
        "matched": [model.id for model in resolved.models],
        "reason": resolved.reason,
        "stands_for": resolved.stands_for,
        "snapshots": [] if is_pattern(pattern) else snapshots_of(pattern, ids),
        "lock": resolved.note,
        "narrowing": None,
        "nearest": [] if resolved.models else nearest_ids(pattern.replace("*", ""), ids),
    }
    narrowed = _narrowing(host, catalogue, resolved, pattern)
    if narrowed is not None:
        entry["narrowing"] = jsonable(narrowed)
    return entry | _gated(host, offer, resolved)


def _narrowing(host: Host, catalogue: Catalogue, resolved: Resolved, pattern: str) -> Narrowing | None:
    """Of a glob over the whole list; of an id that several others stand behind, over these."""
    if is_pattern(pattern):
        return narrowing(pattern, ModelList(catalogue.models), host.bundle.model_order)
    if resolved.stands_for and len(resolved.models) > 1:
        return narrowing("*", ModelList(model.id for model in resolved.models), host.bundle.model_order)
    return None


def _gated(host: Host, offer: Offer, resolved: Resolved) -> dict[str, Any]:
    """The first model that a plain request may have, what the gates have against those before it, and whether it will end."""
    request = make_request(host.bundle.agent("self"), now=host.clock())
    against: list[dict[str, str]] = []
    for model in resolved.models:
        reason = reason_against(request, offer, model, gates_of(request))
        if reason is None:
            ends = ending(model)
            return {"chosen": model.id, "gates": against, "ending": f"{model.id} {ends}" if ends else None}
        against.append({"model": model.id, "reason": reason})
    return {"chosen": None, "gates": against, "ending": None}


def _print(found: list[dict[str, Any]], pattern: str, *, alone: bool) -> None:
    blocks = [list(_lines(entry, pattern)) for entry in found if entry["matched"]]
    for block in blocks:
        for line in (*block, *([""] if block is not blocks[-1] else ())):
            say(line)
    for entry in found:
        if not entry["matched"] and (alone or not blocks or entry["list"]["source"] is None):
            near = f"; nearest are {', '.join(entry['nearest'])}" if entry.get("nearest") else ""
            reason = entry["reason"] or "its list of models is not known"
            say(f"{entry['provider']}: {reason}{near if 'nearest are' not in reason else ''}", err=True)


def _lines(entry: dict[str, Any], pattern: str) -> Iterator[str]:
    matched, provider = entry["matched"], entry["provider"]
    yield f"{provider}, list: {entry['list']['told']}"
    if is_pattern(pattern):
        yield f"  {pattern} matches {len(matched)} of {entry['models']} models"
    elif entry["stands_for"]:
        yield f"  {pattern} is not listed itself; it stands for {', '.join(matched)}"
    else:
        also = f"; its listed snapshots are {', '.join(entry['snapshots'])}" if entry["snapshots"] else ""
        yield f"  {pattern} is listed{also}"
    for step in (entry["narrowing"] or {}).get("steps", ()):
        yield from _step(step)
    if entry["lock"]:
        yield f"  lock: {entry['lock']}"
    for gate in entry["gates"][:_SHOWN]:
        yield f"  gates: {gate['reason']}"
    if len(entry["gates"]) > _SHOWN:
        yield f"  gates: and {len(entry['gates']) - _SHOWN} more"
    if entry["ending"]:
        yield f"  note: {entry['ending']}"
    yield f"-> {provider}/{entry['chosen']}" if entry["chosen"] else "-> none of them may be used"


def _step(step: dict[str, Any]) -> Iterator[str]:
    fell = step["fell"]
    if not fell and not step["note"]:
        return
    left = len(step["remained"])
    yield f"  {TITLES[step['step']]}: {f'{len(fell)} fell, {left} left' if fell else 'tells none apart'}" + (
        f" ({step['note']})" if step["note"] else ""
    )
    for one in fell[:_SHOWN]:
        yield f"    x {one['model']}: {one['why']}"
    if len(fell) > _SHOWN:
        yield f"    x and {len(fell) - _SHOWN} more"
