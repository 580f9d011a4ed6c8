"""`bundle-loader models`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Annotated

import typer

from bundle_loader.cli.ages import listed
from bundle_loader.cli.hosting import listed_words, opened, with_host
from bundle_loader.cli.main import NO_ANSWER
from bundle_loader.cli.model_rows import Shown, Wanted, columns
from bundle_loader.cli.options import (
    BundleOption,
    FaultOption,
    JsonOption,
    LedgerOption,
    NeedsOption,
    RefreshOption,
    SimulateOption,
)
from bundle_loader.cli.output import as_json, say, table
from bundle_loader.errors import RequestError, did_you_mean
from bundle_loader.host import Host
from bundle_loader.providers.credentials import ENVIRONMENT
from bundle_loader.routing.age import told
from bundle_loader.routing.described import CHAT, STAGES
from bundle_loader.routing.id_words import KINDS
from bundle_loader.routing.offer import Offer, Offers
from bundle_loader.routing.request import needed
from bundle_loader.routing.resolve import not_mounted
from bundle_loader.routing.standing import Standing

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def models(
    provider: Annotated[
        list[str] | None, typer.Argument(metavar="[PROVIDER]...", help="Only these; a kind means all of it.")
    ] = None,
    match: Annotated[
        list[str] | None, typer.Option("--match", metavar="GLOB", help="Ids or aliases that fit. Repeatable.")
    ] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="chat, embedding, image, audio, ...")] = None,
    stage: Annotated[
        str | None, typer.Option("--stage", help="stable (also where nothing is told), preview, deprecated or retired.")
    ] = None,
    needs: NeedsOption = None,
    local: Annotated[bool | None, typer.Option("--local/--cloud", help="What runs here, or what does not.")] = None,
    free: Annotated[bool, typer.Option("--free", help="Only what costs nothing.")] = False,
    min_window: Annotated[int | None, typer.Option("--min-window", metavar="TOKENS", min=0, help="The least window.")] = None,
    max_price: Annotated[
        str | None, typer.Option("--max-price", metavar="DOLLARS", help="For a million tokens, of input and of output.")
    ] = None,
    bundle: BundleOption = None,
    simulate: SimulateOption = False,
    fault: FaultOption = None,
    ledger: LedgerOption = None,
    refresh: RefreshOption = False,
    json: JsonOption = False,
) -> None:
    """List the models that providers offer now.

    A price or a window that is not known fits no bound; a capability that a list leaves open counts as there.
    """
    wanted = Wanted(
        match or (), kind, _stage(stage), needed(listed_words(needs)), local, free, min_window, _dollars(max_price)
    )  # fmt: skip
    host = opened(bundle, simulate, fault, ledger)

    async def ask(host: Host) -> tuple[Offers, Standing]:
        offers = await (host.refresh(provider or None) if refresh else host.offers(provider or None))
        return offers, await host.standing()

    offers, standing = with_host(host, ask)
    chosen, now = _chosen(offers, provider), host.clock()
    down = [one.told(now) for one in standing.down.values() if one.provider in {offer.provider for offer in chosen}]
    all_shown = [Shown(offer, model, now, host.price) for offer in chosen if offer.catalogue for model in offer.catalogue.models]
    _check_kind(kind, all_shown)
    shown, unknown = wanted.of(all_shown)
    if json:
        found = [_as_json(offer, now, [one for one in shown if one.offer is offer], host.keys) for offer in chosen]
        as_json({"providers": found, "left_out_as_unknown": unknown, "down": down, "prices": host.prices.edition(now)})
    else:
        if shown:
            table(*columns(shown))
        _tell(chosen, now, host.keys, down)
        for name, count in unknown.items():
            say(f"left out: {count} of which no {name} is known", err=True)
        if all_shown and not shown:
            say(f"none of {len(all_shown)} models fits", err=True)
        if shown:
            say(f"prices: {host.prices.edition(now)}", err=True)
    if not shown:
        raise typer.Exit(NO_ANSWER)


def _chosen(offers: Offers, providers: list[str] | None) -> list[Offer]:
    """The offers of these ids, aliases and kinds, each once; of all that are mounted where none is named."""
    if not providers:
        return list(offers.by_id.values())
    found: dict[str, Offer] = {}
    for name in providers:
        meant = offers.meant(name)
        if not meant:
            raise RequestError(not_mounted(name, offers.by_id, offers.aliases))
        found |= {offer.provider: offer for offer in meant}
    return list(found.values())


def _stage(word: str | None) -> str | None:
    if word is not None and word not in STAGES:
        raise RequestError(f"--stage: '{word}' is no stage{_near(word, STAGES)}")
    return word


def _check_kind(word: str | None, shown: list[Shown]) -> None:
    known = sorted({CHAT, *KINDS.values(), *(one.kind for one in shown)})
    if word is not None and word not in known:
        raise RequestError(f"--kind: '{word}' is no kind{_near(word, known)}")


def _near(word: str, known: Sequence[str]) -> str:
    return did_you_mean(word, known) or f"; write one of {', '.join(known)}"


def _dollars(text: str | None) -> Decimal | None:
    if text is None:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("nan")
    if not amount.is_finite() or amount < 0:
        raise RequestError(f"--max-price {text}: write US dollars for a million tokens, such as 2.50")
    return amount


def _as_json(offer: Offer, now: float, shown: list[Shown], keys: Mapping[str, str]) -> dict[str, object]:
    catalogue = offer.catalogue
    return {
        **listed(offer, now),
        "kind": offer.kind,
        "key": keys.get(offer.provider),
        "local": offer.local,
        "reason": offer.reason,
        "simulated": bool(catalogue and catalogue.simulated),
        "models": [one.as_json() for one in shown],
    }


def _tell(offers: list[Offer], now: float, keys: Mapping[str, str], down: Sequence[str]) -> None:
    """Where each list comes from and how old it is, and why others could not be asked; what is down; where a key was found."""
    for line in down:
        say(f"  x {line}", err=True)
    if any(offer.catalogue and offer.catalogue.simulated for offer in offers):
        say("simulated: these are the shipped, dated lists", err=True)
    for offer in offers:
        if offer.reason:
            say(f"{offer.provider}: {offer.reason}", err=True)
        elif offer.catalogue is not None:
            say(f"{offer.provider}: {listed(offer, now)['told'] if offer.catalogue.simulated else told(offer, now)}", err=True)
        key = keys.get(offer.provider)
        if key is not None and not key.endswith(f" in {ENVIRONMENT}"):
            say(f"{offer.provider}: its key is {key}", err=True)
