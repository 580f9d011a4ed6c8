"""What a lock of models says that does not hold any more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bundle_loader.declared.model_order import DEFAULT, OrderPolicy
from bundle_loader.declared.models_lock import ModelsLock
from bundle_loader.errors import Fault
from bundle_loader.routing.catalogue import Catalogue
from bundle_loader.routing.resolve import Resolver

RULE = "models-lock"


def lint_lock(lock: ModelsLock, catalogues: Mapping[str, Catalogue], policy: OrderPolicy = DEFAULT) -> Iterator[Fault]:
    """A warning at each pattern that is held to a model that it does not mean. Lists that are not there say nothing."""
    resolver = Resolver(lock, policy)
    for provider, held in lock.pins.items():
        catalogue = catalogues.get(provider)
        if catalogue is None or catalogue.simulated != lock.simulated:
            continue
        for pattern, pin in held.items():
            reason = resolver.over(catalogue, pattern).reason
            if reason is not None:
                yield Fault(pin.file, pin.line, pin.column, f"models.{provider}.{pattern}", reason, "warning", RULE)
