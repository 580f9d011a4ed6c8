"""What a lock of models says that does not hold any more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bundle_loader.declared.model_order import DEFAULT, OrderPolicy
from bundle_loader.declared.models_lock import ModelsLock
from bundle_loader.errors import Fault
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


def _ending(model: ModelInfo) -> str | None:
    if model.stage == "retired":
        return f"is held to {model.id}, which is retired; {MOVES}"
    ends = ending(model)
    return f"is held to {model.id}, which {ends}; {MOVES}" if ends else None
