"""What a lock of models says that does not hold any more."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from bundle_loader.declared.model_order import DEFAULT, OrderPolicy
from bundle_loader.declared.models_lock import ModelsLock
from bundle_loader.errors import Fault, did_you_mean
from bundle_loader.routing.catalogue import Catalogue, ModelInfo
from bundle_loader.routing.gates import ending
from bundle_loader.routing.resolve import Resolver

RULE = "models-lock"
MOVES = "'bundle-loader lock --update' moves it"


def lint_lock(lock: ModelsLock, catalogues: Mapping[str, Catalogue], policy: OrderPolicy = DEFAULT) -> Iterator[Fault]:
    """A warning at each pattern whose model it does not mean, or that ends. A list that is not there says nothing."""
    resolver = Resolver(lock, policy)
    for provider, held in lock.pins.items():
        catalogue = catalogues.get(provider)
        if catalogue is None or catalogue.simulated != lock.simulated:
            continue
        for pattern, pin in held.items():
            resolved = resolver.over(catalogue, pattern)
            reason = resolved.reason or next(map(_ending, resolved.models), None)
            if reason is not None:
                yield Fault(pin.file, pin.line, pin.column, f"models.{provider}.{pattern}", reason, "warning", RULE)


def unknown_names(lock: ModelsLock, known: Mapping[str, str | None], names: Collection[str]) -> list[Fault]:
    """A warning at each pin that can never hold, as written: nobody answers to the name of its provider, or another pin that
    is written under the provider's id holds the pattern.

    `known` maps each name that is written to the id that it means, None where it means none; `names` are all that are known.
    """
    found = []
    canonical = lock.canonical(known.get)
    for name, held in lock.pins.items():
        for pattern, pin in held.items():
            other = canonical.pin(known[name] or name, pattern)
            said = None
            if known[name] is None:
                said = f"no provider is called '{name}'{did_you_mean(name, sorted(names))}; it holds nothing"
            elif other is not None and other != pin:
                said = f"'{name}' is {known[name]}, whose pattern is held by {other.place}; keep one of them"
            if said is not None:
                found.append(Fault(pin.file, pin.line, pin.column, f"models.{name}.{pattern}", said, "warning", RULE))
    return found


def _ending(model: ModelInfo) -> str | None:
    if model.stage == "retired":
        return f"is held to {model.id}, which is retired; {MOVES}"
    ends = ending(model)
    return f"is held to {model.id}, which {ends}; {MOVES}" if ends else None
