"""Factories of providers as other packages write them, good ones and bad ones, for entry points to name."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from bundle_loader.declared.tables import ProviderSettings
from bundle_loader.messages import StreamPart
from bundle_loader.providers.base import ChatRequest
from bundle_loader.routing.catalogue import ModelInfo


class Spy:
    """A provider that keeps what its factory was given."""

    variables: Sequence[str] = ("ACME_API_KEY", "ACME_URL")
    local: bool = False

    def __init__(self, id: str, environment: Mapping[str, str], settings: ProviderSettings) -> None:
        self.id = id
        self.environment = environment
        self.settings = settings

    async def list_models(self) -> Sequence[ModelInfo]:
        return [ModelInfo("spy-1")]

    def stream(self, request: ChatRequest) -> AsyncIterator[StreamPart]:
        raise NotImplementedError

    async def aclose(self) -> None:
        pass


class FarButLocal(Spy):
    local = True
    base_url = "https://api.acme.example/v1"


class NearAndLocal(Spy):
    local = True
    base_url = "http://127.0.0.1:9/v1"


class NoList(Spy):
    variables = "ACME_API_KEY"


class BadMember(Spy):
    @property
    def base_url(self) -> str:
        raise RuntimeError(f"no address for {self.environment['ACME_API_KEY']}")


def without_variables(id: str, environment: Mapping[str, str], settings: ProviderSettings) -> Spy:
    return Spy(id, environment, settings)


def _factory(work: Callable[..., Any]) -> Any:
    work.variables = ("ACME_API_KEY",)  # type: ignore[attr-defined]
    return work


@_factory
def raising(id: str, environment: Mapping[str, str], settings: ProviderSettings) -> Spy:
    raise ValueError(f"key {environment['ACME_API_KEY']} is\nno key")


@_factory
def leaving(id: str, environment: Mapping[str, str], settings: ProviderSettings) -> Spy:
    sys.exit(3)


@_factory
def nothing(id: str, environment: Mapping[str, str], settings: ProviderSettings) -> None:
    return None


@_factory
def renamed(id: str, environment: Mapping[str, str], settings: ProviderSettings) -> Spy:
    return Spy("openai", environment, settings)


@_factory
def other_arguments(name: str) -> Spy:
    raise AssertionError(name)


class _Raising(type):
    @property
    def variables(cls) -> Sequence[str]:
        raise RuntimeError("no variables")


class BadVariables(metaclass=_Raising):
    pass


class _Endless(list[str]):
    def __iter__(self) -> Any:
        raise RuntimeError("not to be gone through")


class BadSequence(Spy):
    variables = _Endless(["ACME_API_KEY"])


class Wordless(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


class Odd(BaseException):
    pass


@_factory
def wordless(id: str, environment: Mapping[str, str], settings: ProviderSettings) -> Spy:
    raise Wordless


@_factory
def cancelling(id: str, environment: Mapping[str, str], settings: ProviderSettings) -> Spy:
    raise asyncio.CancelledError


@_factory
def odd(id: str, environment: Mapping[str, str], settings: ProviderSettings) -> Spy:
    raise Odd


number = 3
