"""The package's errors as values: each crosses into another process and back with its type, its words and all that it carries."""

from __future__ import annotations

import copy
import importlib
import inspect
import multiprocessing
import pickle
import pkgutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import bundle_loader
from bundle_loader import AllFailed, Host, errors
from bundle_loader.errors import BundleLoaderError, DeclarationError, FailureKind, Fault, OverBudget, ProviderFailure
from tests.support.hosting import both, worker
from tests.support.vendors import Fault as VendorFault
from tests.support.vendors import World

WORDS = "what went wrong: 'ü'\nline two"


def every_error() -> list[type[BundleLoaderError]]:
    """The root of the package's errors and all that come from it, in any of its modules."""
    for module in pkgutil.walk_packages(bundle_loader.__path__, "bundle_loader."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found = [BundleLoaderError]
    for kind in found:
        found += [
            other for other in kind.__subclasses__() if other not in found and other.__module__.startswith("bundle_loader.")
        ]
    return found


def made(kind: type[BundleLoaderError]) -> BundleLoaderError:
    """One of a kind with a value for every argument, as its own constructor makes it."""
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for owner in (kind, *kind.__mro__[1:]):
        parameters = inspect.signature(owner.__init__).parameters if "__init__" in vars(owner) else {}
        for parameter in list(parameters.values())[1:]:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or parameter.name in named:
                continue
            if parameter.kind is parameter.KEYWORD_ONLY:
                named[parameter.name] = value(parameter.name, str(parameter.annotation))
            elif owner is first_with_init(kind):
                positional.append(value(parameter.name, str(parameter.annotation)))
        if parameters and not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
    return kind(*positional or [WORDS], **named)


def first_with_init(kind: type[BundleLoaderError]) -> type:
    return next(owner for owner in kind.__mro__ if "__init__" in vars(owner))


def value(name: str, annotation: str) -> Any:
    if name == "kind":
        return FailureKind.LIMITED
    if name == "faults":
        return (Fault("a.md", 1, 2, "k", "m"), Fault("b.md", 0, 0, "", "n", "warning"))
    if "bool" in annotation:
        return True
    if "float" in annotation:
        return 2.5
    if "int" in annotation:
        return 7
    if "Sequence" in annotation or "tuple" in annotation:
        return ("one", "two")
    return f"{name}: {WORDS}"


def back(error: BundleLoaderError) -> BundleLoaderError:
    """Runs in the other process: what came is looked at there, and sent back."""
    assert str(error)
    return error


def raised(error: BundleLoaderError) -> None:
    """Runs in the other process."""
    raise error


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as found:
        yield found


def same(one: BundleLoaderError, other: BundleLoaderError) -> None:
    assert type(one) is type(other)
    assert (str(one), repr(one), one.args) == (str(other), repr(other), other.args)
    assert vars(one) == vars(other)


def test_every_error_crosses_into_another_process_and_back(pool: ProcessPoolExecutor) -> None:
    kinds = every_error()
    assert {kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, BundleLoaderError)} <= set(kinds)
    for kind in kinds:
        error = made(kind)
        error.add_note("a note")
        same(pool.submit(back, error).result(), error)
        with pytest.raises(kind) as caught:
            pool.submit(raised, error).result()
        same(caught.value, error)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_error_is_the_same_after_every_protocol_and_copy(protocol: int) -> None:
    for kind in every_error():
        error = made(kind)
        same(pickle.loads(pickle.dumps(error, protocol)), error)
        same(copy.copy(error), error)
        same(copy.deepcopy(error), error)


def test_what_an_error_carries_is_really_there() -> None:
    budget = made(OverBudget)
    assert isinstance(budget, OverBudget)
    assert (budget.kind, budget.retry_after, budget.own_limit, budget.held) == (FailureKind.OVER_BUDGET, 2.5, True, True)
    failed = made(ProviderFailure)
    assert isinstance(failed, ProviderFailure)
    assert (failed.kind, failed.status, failed.request_id) == (FailureKind.LIMITED, 7, f"request_id: {WORDS}")
    declared = made(DeclarationError)
    assert isinstance(declared, DeclarationError)
    assert [fault.line for fault in declared.faults] == [1, 0]


async def test_a_real_defeat_crosses_with_its_attempts_and_rejections(
    vendors: tuple[World, str], tmp_path: Path, pool: ProcessPoolExecutor
) -> None:
    world, base = vendors
    world.vendor("anthropic").fault = VendorFault.status(503, retry_after=900)
    bundle = worker(tmp_path, *both("anthropic"), "openai/gpt-9", "mistral/m-*")
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        with pytest.raises(AllFailed) as caught:
            await host.delegate("worker", "Work.")
    again = pool.submit(back, caught.value).result()
    same(again, caught.value)
    assert isinstance(again, AllFailed)
    assert (len(again.attempts), len(again.rejections)) == (2, 2)
