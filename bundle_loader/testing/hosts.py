"""A host whose models go by a script: nothing mounted but simulated providers, a ledger in a folder that goes with it."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from bundle_loader.declared.bundle import Bundle
from bundle_loader.errors import RequestError
from bundle_loader.host import Host
from bundle_loader.providers.simulated import Latency, SimulatedProvider
from bundle_loader.providers.snapshot import model_info, snapshot_models
from bundle_loader.providers.table import canonical, row
from bundle_loader.routing.catalogue import ModelInfo
from bundle_loader.sources.load import load_bundle
from bundle_loader.sync import SyncHost
from bundle_loader.testing.clock import StillClock
from bundle_loader.testing.script import Asked, Book, Plan

Models = Mapping[str, Iterable[ModelInfo | Mapping[str, Any] | str]]


class ScriptedHost(Host):
    """A `Host` for tests; make one with `scripted_host`. Leaving it raises ScriptError for what did not go by the scripts."""

    def __init__(
        self,
        bundle: Bundle | str | os.PathLike[str],
        scripts: Mapping[str, Plan],
        *,
        models: Models | None = None,
        local: Iterable[str] | None = None,
        latency: Mapping[str, Latency] | None = None,
        list_faults: Mapping[str, str] | None = None,
        allow_unused: bool = False,
        environment: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        plans = _by_id(scripts, "scripts")
        self.book = Book(plans, allow_unused=allow_unused)
        """Every request, and what did not go by the scripts."""
        self.providers = _providers(
            plans,
            self.book,
            _by_id(models or {}, "models", plans),
            None if local is None else _known(local, "local", plans),
            _by_id(latency or {}, "latency", plans),
            _by_id(list_faults or {}, "list_faults", plans),
        )
        """The simulated providers, by id."""
        self.folder = Path(tempfile.gettempdir()) / f"bundle-loader-{uuid.uuid4().hex}"
        """Where everything is kept that a host keeps; removed when the host is left."""
        self.still = StillClock()
        settings = options.pop("settings", ())
        super().__init__(
            bundle if isinstance(bundle, Bundle) else load_bundle(bundle, strict=True, settings=settings),
            **{
                "ledger": self.folder / "ledger.db",
                "clock": self.still,
                "models_lock": False,
                **options,
                "providers": self.providers,
                "environment": {**(environment or {}), "BUNDLE_LOADER_HOME": str(self.folder)},
            },
        )

    @property
    def asked(self) -> tuple[Asked, ...]:
        """Every request that reached a provider, in order, those that failed included."""
        return tuple(self.book.asked)

    def asked_of(self, provider: str) -> tuple[Asked, ...]:
        """Those that reached one provider."""
        id = canonical(provider)
        return tuple(asked for asked in self.book.asked if asked.provider == id)

    def advance(self, seconds: float) -> None:
        """Move the host's clock, which stands still otherwise: for windows of budgets, breakers and ages of lists."""
        self.still.advance(seconds)

    async def __aenter__(self) -> ScriptedHost:
        self.folder.mkdir(mode=0o700)
        try:
            await super().__aenter__()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        return self

    async def aclose(self) -> None:
        """As `Host.aclose`; the folder goes too."""
        try:
            await super().aclose()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()
        self.book.close(error)


class ScriptedSyncHost(SyncHost):
    """The twin of `ScriptedHost` without `await`; make one with `scripted_sync_host`."""

    kind = ScriptedHost
    _host: ScriptedHost

    @property
    def asked(self) -> tuple[Asked, ...]:
        """See `ScriptedHost.asked`."""
        return self._host.asked

    def asked_of(self, provider: str) -> tuple[Asked, ...]:
        """See `ScriptedHost.asked_of`."""
        return self._host.asked_of(provider)

    def advance(self, seconds: float) -> None:
        """See `ScriptedHost.advance`."""
        self._host.advance(seconds)

    @property
    def providers(self) -> Mapping[str, SimulatedProvider]:
        """See `ScriptedHost.providers`."""
        return self._host.providers

    def __enter__(self) -> ScriptedSyncHost:
        super().__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        super().__exit__(kind, error, trace)
        self._host.book.close(error)


def scripted_host(bundle: Bundle | str | os.PathLike[str], scripts: Mapping[str, Plan], **options: Any) -> ScriptedHost:
    """A host whose providers answer by `scripts`, provider id -> what its models say; only these are mounted.

    A script is, for the provider or, as a mapping, for each model pattern of it:

    1. a list: each answer for one request, in order; an empty one for a provider that is not to be asked;
    2. `by_turn(...)`: by the number of the turn in its conversation;
    3. a function of the `ChatRequest`, which may be async;
    4. one answer: for every request.

    An answer is a text, a `Reply` (`calls`, `structured` and `fails` make them), or `expecting(words, answer)`. A request that a
    script does not foresee ends its delegation with `Stopped`, and leaving the host then raises ScriptError with what was asked;
    so does a list that is not used up, unless `allow_unused`.

    `bundle` is loaded strictly, with no settings but those of `settings`. `models` gives lists of models (ids, mappings or
    `ModelInfo`s) by provider, by default the shipped list. `local` names the providers that are local, by default those that
    the table of providers calls so. `latency` is seconds by provider, or by model pattern of it. `list_faults` fails lists of
    models (`{"openai": "503"}`). `environment` is the only one that is read. All other options are those of `Host`; its clock
    stands still until `advance`.
    """
    return ScriptedHost(bundle, scripts, **options)


def scripted_sync_host(bundle: Bundle | str | os.PathLike[str], scripts: Mapping[str, Plan], **options: Any) -> ScriptedSyncHost:
    """As `scripted_host`, for tests without an event loop."""
    return ScriptedSyncHost(bundle, scripts, **options)


def _providers(
    plans: Mapping[str, Plan],
    book: Book,
    models: Mapping[str, Iterable[Any]],
    local: Iterable[str] | None,
    latency: Mapping[str, Latency],
    list_faults: Mapping[str, str],
) -> dict[str, SimulatedProvider]:
    here = {id for id in plans if (found := row(id)) is not None and found.local} if local is None else set(local)
    return {
        id: SimulatedProvider(
            id,
            models=[model_info(model) for model in models[id]] if id in models else _listed(id, plan),
            local=id in here,
            answer=book.answer(id),
            latency=latency.get(id, 0.0),
            list_fault=list_faults.get(id),
        )
        for id, plan in plans.items()
    }


def _listed(id: str, plan: Plan) -> tuple[ModelInfo, ...]:
    """The shipped list; for a provider that has none, the models that its script names."""
    named = [pattern for pattern in plan if not set(pattern) & set("*?[")] if isinstance(plan, Mapping) else []
    found = snapshot_models(id) or tuple(map(model_info, named))
    if not found:
        raise RequestError(f"no list of models is shipped for '{id}': give models={{'{id}': ['its-model', ...]}}")
    return found


def _by_id(given: Mapping[str, Any], what: str, known: Mapping[str, Any] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in given.items():
        [id] = _known([name], what, known)
        if id in found:
            raise RequestError(f"{what} names the provider '{id}' twice")
        found[id] = value
    return found


def _known(names: Iterable[str], what: str, known: Mapping[str, Any] | None) -> list[str]:
    ids = [canonical(name) for name in names]
    for id in ids:
        if known is not None and id not in known:
            raise RequestError(f"{what} names '{id}', for which there is no script; there are {', '.join(known) or 'none'}")
    return ids
