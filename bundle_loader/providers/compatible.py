"""Servers that speak OpenAI's protocol, each from a row of the table."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Unpack
from urllib.parse import urlsplit

from bundle_loader.messages import StreamPart
from bundle_loader.providers import compatible_models, faults, table
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.endpoint import Endpoint
from bundle_loader.providers.link import Link, Way
from bundle_loader.providers.list_pages import Pages
from bundle_loader.providers.openai import ChatCalls
from bundle_loader.providers.table import ProviderRow
from bundle_loader.providers.unlisted import filled
from bundle_loader.routing.catalogue import ModelInfo


class CompatibleProvider:
    """A server that speaks OpenAI's chat completions, as its row describes it."""

    def __init__(
        self,
        row: ProviderRow,
        *,
        id: str | None = None,
        api_key: str | None = None,
        base_url: str | None = None,
        **way: Unpack[Way],
    ) -> None:
        url = base_url or row.base_url
        if url is None:
            raise ValueError(f"{row.id} has no base_url")
        self._local = row.local and table.is_private(url)
        self._calls = ChatCalls(row, id=id or row.id, api_key=api_key, base_url=url, local=self._local, **way)

    @property
    def id(self) -> str:
        """The name that preferences use."""
        return self._calls.id

    @property
    def local(self) -> bool:
        """True when the row says so and the address is this machine's or a private one."""
        return self._local

    @property
    def base_url(self) -> str:
        """Where it listens."""
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
        return f"CompatibleProvider({self._calls.row.id!r}, id={self.id!r}, base_url={table.shown(self._calls.base_url)!r})"

    async def list_models(self) -> Sequence[ModelInfo]:
        """Every model of every page. The SDK's own listing follows no links and knows one shape only."""
        return await self._calls.fetch(self._listed)

    async def _listed(self, client: Any) -> list[ModelInfo]:
        import httpx2

        models: list[ModelInfo] = []
        pages = Pages(self.id)
        address = first = f"{self._calls.base_url.rstrip('/')}/{self._calls.row.models_path}"
        while True:
            response = await client.get(address, cast_to=httpx2.Response)
            try:
                page = compatible_models.page(response.json())
                models += [compatible_models.info(entry) for entry in page.entries]
            except ValueError as wrong:
                raise faults.broken(self.id, None, f"the list of models: {wrong}") from None
            following = pages.following(len(page.entries), page.following, page.more)
            if following is None:
                pages.end(page.total)
                return filled(models, self._calls.row)
            # only the query is taken: the key goes to no other server, and a gateway's own path stays
            address = f"{first}?{urlsplit(following).query}"

    def stream(self, request: ChatRequest) -> AsyncGenerator[StreamPart]:
        """Any number of `Delta`s, then one `Turn`."""
        return self._calls.stream(request)

    async def aclose(self) -> None:
        """Close the connections. Safe to call twice, and without any use before."""
        await self._calls.aclose()
