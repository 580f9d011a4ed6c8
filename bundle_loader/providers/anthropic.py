"""Anthropic, through its official SDK."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Unpack

from bundle_loader.errors import ProviderFailure
from bundle_loader.messages import StreamPart
from bundle_loader.providers import anthropic_wire, faults, sdk_client, sdk_faults, table
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.endpoint import Endpoint, endpoint
from bundle_loader.providers.link import Link, Way, link
from bundle_loader.providers.list_pages import Pages
from bundle_loader.providers.prepared import prepared
from bundle_loader.providers.table import ProviderRow
from bundle_loader.routing.catalogue import ModelInfo
from bundle_loader.routing.model_entries import sound
from bundle_loader.routing.moments import moment

_MODULES = ("anthropic", "anthropic.resources.models", "httpx2", "httpcore2", "truststore", "aiohttp")
_PAGE = 1000
_STAGES = {"active": "stable", "deprecated": "deprecated", "retired": "retired"}
_CAPABILITIES = {"image_input": "vision", "structured_outputs": "structured", "thinking": "reasoning"}


class AnthropicProvider:
    """Claude models. Nothing is imported or opened before the first request."""

    local = False

    def __init__(
        self,
        *,
        id: str = "anthropic",
        api_key: str | None,
        base_url: str | None = None,
        row: ProviderRow | None = None,
        make: Callable[..., Any] | None = None,
        **way: Unpack[Way],
    ) -> None:
        """`make` builds another client of the SDK, from the module and the arguments that all its clients take."""
        self._id = id
        self._row = row or table.rows()["anthropic"]
        self._make = make or (lambda sdk, **given: sdk.AsyncAnthropic(**given))
        self._api_key = api_key
        self._base_url = base_url or self._row.base_url
        self._link = link(way, local=False)
        self._imitation = id != self._row.id and table.is_private(self._base_url or "")
        self._clients = sdk_client.SdkClients(self._client, *_MODULES)

    @property
    def id(self) -> str:
        """The name that preferences use."""
        return self._id

    @property
    def base_url(self) -> str:
        """Where it listens."""
        return self._base_url or ""

    @property
    def link(self) -> Link:
        """How it is reached."""
        return self._link

    @property
    def saved_as(self) -> Endpoint:
        """Whose list of models a saved one must be to serve here."""
        return endpoint(self._row.id, self._base_url, self._api_key)

    def __repr__(self) -> str:
        return f"AnthropicProvider(id={self._id!r}, base_url={table.shown(self._base_url)!r})"

    def _client(self) -> Any:
        import anthropic

        client = self._make(
            anthropic,
            api_key=self._api_key,
            base_url=self._base_url,
            max_retries=0,
            timeout=sdk_client.timeout(sdk_client.LIST_SECONDS, self._link.connect),
            open_telemetry=False,
            http_client=sdk_client.http_client(self.base_url, self._link),
        )
        return sdk_client.without_ambient(client)

    def _need_key(self) -> None:
        if not self._api_key:
            raise faults.no_key(self._id, self._row.key_variables)

    async def list_models(self) -> Sequence[ModelInfo]:
        """Every model that is not retired, over all pages."""
        self._need_key()
        client = await sdk_client.got(self._clients, self._id, None, self._api_key)
        failed: ProviderFailure | None = None
        models: list[ModelInfo] = []
        try:
            page = await client.models.list(limit=_PAGE)
            pages = Pages(self._id)
            while True:
                entries = self._entries(page)
                models += [self._info(entry) for entry in entries]
                more, last = getattr(page, "has_more", None), getattr(page, "last_id", None)
                if pages.following(len(entries), last, more) is None:
                    return models
                page = await page.get_next_page()
        except Exception as error:  # noqa: BLE001 - the adapter's boundary
            failed = sdk_faults.sort(
                error,
                self._clients.sdk,
                provider=self._id,
                model=None,
                seconds=sdk_client.LIST_SECONDS,
                secret=self._api_key,
            )
        # raised out here so that it has no context: an exception of the SDK holds the key
        raise failed

    def _entries(self, page: Any) -> list[Any]:
        entries = getattr(page, "data", None)
        if not isinstance(entries, list):
            raise faults.broken(self._id, None, "the list of models has the wrong shape")
        return entries

    def _info(self, entry: Any) -> ModelInfo:
        if not isinstance(getattr(entry, "id", None), str):
            raise faults.broken(self._id, None, "an entry without an id in the list of models")
        told: dict[str, Any] = entry.model_dump(mode="json", warnings=False)
        listed = told.get("capabilities")
        able = listed if isinstance(listed, Mapping) and listed else None
        model = ModelInfo(
            id=entry.id,
            created=moment(entry.created_at),
            window=entry.max_input_tokens,
            output_limit=entry.max_tokens,
            capabilities=None if able is None else _capabilities(able),
            assumed=frozenset() if able is None else _unclear(able),
            kind="chat",
            stage=_STAGES.get(str(told.get("lifecycle"))),
            retires=moment(told.get("retires_at")),
            extra={key: told.get(key) for key in ("display_name", "line", "deprecated_at")},
        )
        return sound(model)

    def stream(self, request: ChatRequest) -> AsyncGenerator[StreamPart]:
        """Any number of `Delta`s, then one `Turn`."""
        self._need_key()
        request, changed = prepared(self._row, request, self._id)
        own = f"{anthropic_wire.VENDOR}:{self._id}" if self._imitation else anthropic_wire.VENDOR
        body, notes = anthropic_wire.body(self._row, request, own)
        call = sdk_client.Call(
            clients=self._clients,
            provider=self._id,
            model=request.model,
            path="/v1/messages",
            body=body,
            seconds=request.timeout,
            connect_timeout=self._link.connect,
            secret=self._api_key,
            # an imitation on this machine: llama.cpp closes the connection after every streamed answer without saying so
            options={"headers": {"connection": "close"}} if self._imitation else {},
        )
        return call.run(anthropic_wire.Answer(self._id, request.model, own), (*changed, *notes))

    async def aclose(self) -> None:
        """Close the connections. Safe to call twice, and without any use before."""
        await self._clients.aclose()


def _capabilities(told: Mapping[str, Any]) -> frozenset[str]:
    """What the list says; tools and streaming are not listed because every model has them."""
    lacking = {word for key, word in _CAPABILITIES.items() if _supported(told.get(key)) is False}
    return frozenset({*_CAPABILITIES.values(), "tools", "streaming"} - lacking)


def _unclear(told: Mapping[str, Any]) -> frozenset[str]:
    """The capabilities of which it says something that cannot be read."""
    return frozenset(word for key, word in _CAPABILITIES.items() if told.get(key) and _supported(told[key]) is None)


def _supported(told: object) -> bool | None:
    """Of one capability; None where that is not said."""
    said = told.get("supported", True) if isinstance(told, Mapping) else told
    return said if isinstance(said, bool) else None
