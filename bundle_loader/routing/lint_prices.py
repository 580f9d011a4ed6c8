"""Declared prices that are probably not meant: far from the public ones, or of nothing that anybody lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import TypeAlias

from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.prices import DeclaredPrice, is_glob
from bundle_loader.declared.tree import position
from bundle_loader.errors import Fault, did_you_mean
from bundle_loader.routing.catalogue import Catalogue
from bundle_loader.routing.model_ids import matches
from bundle_loader.routing.price import Price, flat, out_of_bounds
from bundle_loader.routing.resolve import order

PublicPrices: TypeAlias = Callable[[str, str], Price | None]
"""Provider and model -> the public price; None where nobody knows it."""


def lint_prices(
    bundle: Bundle, catalogues: Mapping[str, Catalogue], known: Mapping[str, str], public: PublicPrices | None
) -> list[Fault]:
    """Warnings about a bundle's `prices`. A pattern is held against the model that it would choose, not against all that it fits:
    among them there is always one for sound or pictures. `known` maps every name of a provider to its id.
    """
    found: list[Fault] = []
    for price in bundle.prices:
        pattern = f"{price.provider}/{price.model}"
        place = position(bundle.header, ("prices", pattern)) if bundle.header is not None else ("", 0, 0)
        providers = dict.fromkeys(id for name, id in known.items() if matches(price.provider, name))
        if not providers:
            near = did_you_mean(price.provider, list(known))
            message = f"no provider '{price.provider}'{near or '; the price is of nothing'}"
            found.append(Fault(*place, f"prices.{pattern}", message, "warning", "unknown-provider"))
            continue
        meant = [(id, price.model) for id in providers]
        if is_glob(price.model):
            listed = [id for id in providers if id in catalogues]
            orders = {id: order(catalogues[id], price.model, bundle.model_order).models for id in listed}
            meant = [(id, models[0].id) for id, models in orders.items() if models]
            if not meant and providers.keys() <= orders.keys():
                message = f"matches no model of {', '.join(providers)}; the price is of nothing"
                found.append(Fault(*place, f"prices.{pattern}", message, "warning", "glob-matches-nothing"))
        odd = _odd(price, meant, public) if public else None
        if odd:
            found.append(Fault(*place, f"prices.{pattern}", odd, "warning", "price-out-of-bounds"))
    return found


def _odd(price: DeclaredPrice, models: Sequence[tuple[str, str]], public: PublicPrices) -> str | None:
    said = Price(flat(price.rates.input or Decimal(0)), flat(price.rates.output or Decimal(0)))
    for provider, model in models:
        known = public(provider, model)
        odd = out_of_bounds(said, known) if known else None
        if odd:
            return f"is for {provider}/{model} {odd}; write US dollars per million tokens"
    return None
