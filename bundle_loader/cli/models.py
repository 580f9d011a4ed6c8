"""`bundle-loader models`."""

from __future__ import annotations

from typing import Annotated

import typer

from bundle_loader.cli.ages import listed
from bundle_loader.cli.hosting import opened, with_host
from bundle_loader.cli.main import NO_ANSWER
from bundle_loader.cli.options import BundleOption, FaultOption, JsonOption, LedgerOption, RefreshOption, SimulateOption
from bundle_loader.cli.output import as_json, jsonable, table
from bundle_loader.errors import RequestError, did_you_mean
from bundle_loader.host import Host
from bundle_loader.routing.age import told
from bundle_loader.routing.catalogue import ModelInfo
from bundle_loader.routing.offer import Offer, Offers

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def models(
    provider: Annotated[str | None, typer.Argument(help="Only this provider.")] = None,
    bundle: BundleOption = None,
    simulate: SimulateOption = False,
    fault: FaultOption = None,
    ledger: LedgerOption = None,
    refresh: RefreshOption = False,
    json: JsonOption = False,
) -> None:
    """List the models that providers offer now."""

    async def ask(host: Host) -> Offers:
        wanted = None if provider is None else [provider]
        return await (host.refresh(wanted) if refresh else host.offers(wanted))

    host = opened(bundle, simulate, fault, ledger)
    offers = with_host(host, ask)
    chosen = _chosen(offers, provider)
    if json:
        as_json({"providers": [_as_json(offer, host.clock()) for offer in chosen], "prices": host.prices.edition(host.clock())})
    else:
        _print(chosen, host.clock())
        if any(offer.catalogue for offer in chosen):
            typer.echo(f"prices: {host.prices.edition(host.clock())}", err=True)
    if not any(offer.catalogue for offer in chosen):
        raise typer.Exit(NO_ANSWER)


def _chosen(offers: Offers, provider: str | None) -> list[Offer]:
    if provider is None:
        return list(offers.by_id.values())
    offer = offers.find(provider)
    if offer is None:
        raise RequestError(f"no provider '{provider}'{did_you_mean(provider, [*offers.by_id, *offers.aliases])}")
    return [offer]


def _as_json(offer: Offer, now: float) -> dict[str, object]:
    catalogue = offer.catalogue
    return {
        **listed(offer, now),
        "local": offer.local,
        "reason": offer.reason,
        "simulated": bool(catalogue and catalogue.simulated),
        "models": [jsonable(model) for model in catalogue.models] if catalogue else [],
    }


def _print(offers: list[Offer], now: float) -> None:
    rows = [
        (offer.provider, model.id, model.created.date() if model.created else None, model.window, _capabilities(model))
        for offer in offers
        if offer.catalogue
        for model in offer.catalogue.models
    ]
    if rows:
        table(("provider", "model", "created", "window", "capabilities"), rows)
    if any(offer.catalogue and offer.catalogue.simulated for offer in offers):
        typer.echo("simulated: these are the shipped, dated lists", err=True)
    for offer in offers:
        if offer.reason:
            typer.echo(f"{offer.provider}: {offer.reason}", err=True)
        elif offer.catalogue is not None and not offer.catalogue.simulated:
            typer.echo(f"{offer.provider}: {told(offer, now)}", err=True)


def _capabilities(model: ModelInfo) -> str:
    return ", ".join(sorted(model.capabilities)) if model.capabilities else ""
