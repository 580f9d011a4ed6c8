"""Instances at a cloud: Azure OpenAI, Amazon Bedrock and Vertex AI, through the vendors' SDKs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from bundle_loader.declared.tables import ProviderSettings
from bundle_loader.messages import StreamPart
from bundle_loader.providers import table
from bundle_loader.providers.anthropic import AnthropicProvider
from bundle_loader.providers.base import ChatRequest, Provider
from bundle_loader.providers.compatible import CompatibleProvider
from bundle_loader.providers.credentials import names_a_file
from bundle_loader.providers.endpoint import Endpoint, endpoint
from bundle_loader.providers.google import GoogleProvider
from bundle_loader.providers.link import Link, Way
from bundle_loader.providers.openai import ChatCalls
from bundle_loader.providers.table import ProviderRow
from bundle_loader.routing.catalogue import ModelInfo

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_GLOBAL = "https://aiplatform.googleapis.com"


@dataclass(frozen=True, slots=True)
class Place:
    """Where and how an instance is reached."""

    row: ProviderRow
    id: str
    url: str
    key: str = field(repr=False)
    settings: ProviderSettings
    way: Way = field(default_factory=Way)


class NotSupported(Exception):
    """An instance that cannot be made as it is declared; the message says why, and what to write."""


class AzureOpenAIProvider:
    """Deployments of OpenAI's models in one Azure resource. Their names are declared, since its key cannot list them."""

    local = False

    def __init__(self, at: Place) -> None:
        """Raises NotSupported for an address that is not the resource's own."""
        if "/openai" in f"{urlsplit(at.url).path}/":
            raise NotSupported(
                "not supported: base_url with a path of its own; write the resource's, https://NAME.openai.azure.com"
            )
        version = at.settings.api_version or at.row.api_version
        self._calls = ChatCalls(
            at.row,
            id=at.id,
            api_key=at.key,
            base_url=at.url,
            local=False,
            **at.way,
            make=lambda sdk, **given: sdk.AsyncAzureOpenAI(azure_endpoint=at.url, api_version=version, **given),
        )

    @property
    def id(self) -> str:
        """The name that preferences use."""
        return self._calls.id

    @property
    def base_url(self) -> str:
        """The resource's address."""
        return self._calls.base_url

    @property
    def link(self) -> Link:
        """How it is reached."""
        return self._calls.link

    @property
    def saved_as(self) -> Endpoint:
        """Whose list of models a saved one must be to serve here."""
        return self._calls.saved_as

    def __repr__(self) -> str:
        return f"AzureOpenAIProvider(id={self.id!r}, base_url={table.shown(self.base_url)!r})"

    async def list_models(self) -> Sequence[ModelInfo]:
        """None: what the data plane lists are models that could be deployed, not deployments."""
        return ()

    def stream(self, request: ChatRequest) -> AsyncIterator[StreamPart]:
        """Any number of `Delta`s, then one `Turn`. `request.model` is the name of a deployment."""
        return self._calls.stream(request)

    async def aclose(self) -> None:
        """Close the connections. Safe to call twice."""
        await self._calls.aclose()


class BedrockProvider:
    """The models of one region of Amazon Bedrock: Anthropic's in their own protocol, the others in OpenAI's."""

    local = False

    def __init__(self, at: Place) -> None:
        root = at.url.rstrip("/")
        self._at = at
        self._rest = CompatibleProvider(at.row, id=at.id, api_key=at.key, base_url=f"{root}/openai/v1", **at.way)
        self._claude = AnthropicProvider(
            id=at.id,
            api_key=at.key,
            base_url=f"{root}/anthropic",
            row=_named_as(table.rows()["anthropic"], "*anthropic."),
            make=lambda sdk, **given: sdk.AsyncAnthropicBedrockMantle(aws_region=at.settings.region, **given),
            **at.way,
        )

    @property
    def id(self) -> str:
        """The name that preferences use."""
        return self._at.id

    @property
    def base_url(self) -> str:
        """The region's address."""
        return self._at.url

    @property
    def link(self) -> Link:
        """How it is reached."""
        return self._rest.link

    @property
    def saved_as(self) -> Endpoint:
        """Whose list of models a saved one must be to serve here."""
        return endpoint(self._at.row.id, self._at.url, self._at.key)

    def __repr__(self) -> str:
        return f"BedrockProvider(id={self.id!r}, base_url={table.shown(self.base_url)!r})"

    async def list_models(self) -> Sequence[ModelInfo]:
        """What the region offers. Not every model speaks one of the two protocols; the others refuse when they are asked."""
        return await self._rest.list_models()

    def stream(self, request: ChatRequest) -> AsyncIterator[StreamPart]:
        """Any number of `Delta`s, then one `Turn`."""
        id = request.model.lower()
        claude = any(fnmatchcase(id, pattern) for pattern in self._at.row.messages_models)
        return self._claude.stream(request) if claude else self._rest.stream(request)

    async def aclose(self) -> None:
        """Close the connections. Safe to call twice."""
        await self._claude.aclose()
        await self._rest.aclose()


def vertex(at: Place) -> GoogleProvider:
    """Google's models in one project and region of Vertex AI, by access token or by a service account's file."""
    declared = at.settings.base_url is not None
    url = _GLOBAL if at.settings.region == "global" and not declared else at.url

    def access() -> Mapping[str, Any]:
        place = {"vertexai": True, "project": at.settings.project, "location": at.settings.region}
        return {**place, "credentials": _credentials(at.key)}

    return GoogleProvider(id=at.id, api_key=at.key, base_url=url, row=at.row, access=access, **at.way)


def _credentials(key: str) -> Any:
    """Of a service account's file, whose tokens the SDK renews, else of an access token."""
    if names_a_file(key):
        from google.oauth2 import service_account

        return service_account.Credentials.from_service_account_file(key, scopes=[_SCOPE])  # type: ignore[no-untyped-call]
    from google.oauth2.credentials import Credentials

    return Credentials(token=key)  # type: ignore[no-untyped-call]


def _named_as(row: ProviderRow, before: str) -> ProviderRow:
    """A row for models whose ids begin otherwise."""

    def renamed(pattern: str) -> str:
        return pattern if pattern == "*" else f"!{before}{pattern[1:]}" if pattern.startswith("!") else f"{before}{pattern}"

    refuses = {key: tuple(map(renamed, patterns)) for key, patterns in row.refuses.items()}
    return replace(row, refuses=MappingProxyType(refuses))


def cloud(at: Place) -> Provider:
    """The provider of a place. Raises NotSupported with the reason."""
    if at.row.adapter == "azure-openai":
        return AzureOpenAIProvider(at)
    return BedrockProvider(at) if at.row.adapter == "bedrock" else vertex(at)
