"""OpenAI, through its official SDK, and the calls that every server speaking its protocol shares."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeVar, Unpack

from bundle_loader.errors import ProviderFailure
from bundle_loader.messages import StreamPart
from bundle_loader.providers import config, faults, openai_responses_wire, openai_wire, sdk_client, sdk_faults, table
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.endpoint import Endpoint, endpoint
from bundle_loader.providers.link import Link, Way, link
from bundle_loader.providers.list_pages import Pages
from bundle_loader.providers.prepared import prepared
from bundle_loader.providers.table import ProviderRow
from bundle_loader.routing.catalogue import ModelInfo
from bundle_loader.routing.moments import moment

_T = TypeVar("_T")

# httpx is Ollama's: where it is half imported at the moment, each call of OpenAI's SDK trips over it
# the SDK looks whether httpx is there, and would find it half imported while another SDK's import is under way
_MODULES = ("openai", "openai.resources.models", "httpx", "httpx2", "httpcore2", "truststore", "aiohttp")
_OPTIONS: Mapping[str, Any] = {"security": {"bearer_auth": True}}
_OPTIONS_FOR_ONE: Mapping[str, Any] = {**_OPTIONS, "headers": {"connection": "close"}}


class ChatCalls:
    """The OpenAI SDK pointed at one server: streamed chats and whatever else its client can fetch."""

    def __init__(
        self,
        row: ProviderRow,
        *,
        id: str,
        api_key: str | None,
        base_url: str,
        local: bool,
        make: Callable[..., Any] | None = None,
        **way: Unpack[Way],
    ) -> None:
        """`make` builds another client of the SDK, from the module and the arguments that all its clients take."""
        self.row = row
        self._make = make or (lambda sdk, **given: sdk.AsyncOpenAI(base_url=base_url, **given))
        self.id = id
        self.base_url = base_url
        self._api_key = api_key
        self._link = link(way, local=local)
        self._responses = openai_responses_wire.as_responses(row)
        self._clients = sdk_client.SdkClients(self._client, *_MODULES)

    def _client(self) -> Any:
        import openai

        client = self._make(
            openai,
            # the SDK insists on a key; a server that needs none ignores it
            api_key=self._api_key or "none",
            admin_api_key="",
            webhook_secret="",
            max_retries=0,
            timeout=sdk_client.timeout(sdk_client.LIST_SECONDS, self._link.connect),
            http_client=sdk_client.http_client(self.base_url, self._link),
        )
        # taken from the environment when not given; another vendor must not learn them
        client.organization = client.project = None
        return sdk_client.without_ambient(client)

    @property
    def link(self) -> Link:
        """How it is reached."""
        return self._link

    @property
    def saved_as(self) -> Endpoint:
        """Whose list of models a saved one must be to serve here."""
        return endpoint(self.row.id, self.base_url, self._api_key)

    def need_key(self) -> None:
        """Raise ProviderFailure when the server needs a key and there is none."""
        if self.row.key_required and not self._api_key:
            raise faults.no_key(self.id, self.row.key_variables)

    async def fetch(self, ask: Callable[[Any], Awaitable[_T]]) -> _T:
        """What `ask` gets from the SDK's client. Raises ProviderFailure for every way to fail."""
        self.need_key()
        client = await sdk_client.got(self._clients, self.id, None, self._api_key)
        failed: ProviderFailure
        try:
            return await ask(client)
        except Exception as error:  # noqa: BLE001 - the adapter's boundary
            failed = sdk_faults.sort(
                error,
                self._clients.sdk,
                provider=self.id,
                model=None,
                seconds=sdk_client.LIST_SECONDS,
                secret=self._api_key,
            )
        # raised out here so that it has no context: an exception of the SDK holds the key
        raise failed

    def stream(self, request: ChatRequest) -> AsyncGenerator[StreamPart]:
        """Any number of `Delta`s, then one `Turn`."""
        self.need_key()
        if speaks_responses(self.row, request):
            row = self._responses
            request, changed = prepared(row, request, self.id)
            body, notes = openai_responses_wire.body(row, request, self.id)
            responses = openai_responses_wire.Answer(self.id, request.model, row)
            return self._call(request, "/responses", body).run(responses, (*changed, *notes))
        request, changed = prepared(self.row, request, self.id)
        body, notes = openai_wire.body(self.row, request)
        answer = openai_wire.Answer(self.id, request.model, self.row.id, self.row)
        return self._call(request, "/chat/completions", body).run(answer, (*changed, *notes))

    def _call(self, request: ChatRequest, path: str, body: Mapping[str, Any]) -> sdk_client.Call:
        return sdk_client.Call(
            clients=self._clients,
            provider=self.id,
            model=request.model,
            path=path,
            body=body,
            seconds=request.timeout,
            connect_timeout=self._link.connect,
            secret=self._api_key,
            options=_OPTIONS if self.row.keep_alive else _OPTIONS_FOR_ONE,
            limit_windows=self.row.limit_windows,
        )

    async def aclose(self) -> None:
        """Close the connections. Safe to call twice, and without any use before."""
        await self._clients.aclose()


def speaks_responses(row: ProviderRow, request: ChatRequest) -> bool:
    """Whether a request goes by the responses protocol. First that speaks: `api` of the config, the model's id, the row."""
    said = request.config.get("api")
    if said in ("chat", "responses") and row.adapter in config.TWO_APIS:
        return bool(said == "responses")
    id = request.model.lower()
    return row.api == "responses" or any(fnmatchcase(id, pattern) for pattern in row.responses_models)


class OpenAIProvider:
    """OpenAI's own models. Nothing is imported or opened before the first request."""

    local = False

    def __init__(self, *, id: str = "openai", api_key: str | None, base_url: str | None = None, **way: Unpack[Way]) -> None:
        row = table.rows()["openai"]
        url = base_url or row.base_url or ""
        self._calls = ChatCalls(row, id=id, api_key=api_key, base_url=url, local=False, **way)

    @property
    def id(self) -> str:
        """The name that preferences use."""
        return self._calls.id

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
        return f"OpenAIProvider(id={self.id!r}, base_url={table.shown(self._calls.base_url)!r})"

    async def list_models(self) -> Sequence[ModelInfo]:
        """Every model that the key may use; the list has one page."""
        return await self._calls.fetch(self._listed)

    async def _listed(self, client: Any) -> list[ModelInfo]:
        page = await client.models.list()
        entries = getattr(page, "data", None)
        if not isinstance(entries, list):
            raise faults.broken(self.id, None, "the list of models has the wrong shape")
        Pages(self.id).following(len(entries), None, getattr(page, "has_more", None))
        return [self._info(entry) for entry in entries]

    def _info(self, entry: Any) -> ModelInfo:
        if not isinstance(getattr(entry, "id", None), str):
            raise faults.broken(self.id, None, "an entry without an id in the list of models")
        ends = moment(entry.shutdown_date)
        stage = "deprecated" if ends else None
        return ModelInfo(entry.id, moment(entry.created), stage=stage, retires=ends, extra={"owned_by": entry.owned_by})

    def stream(self, request: ChatRequest) -> AsyncGenerator[StreamPart]:
        """Any number of `Delta`s, then one `Turn`."""
        return self._calls.stream(request)

    async def aclose(self) -> None:
        """Close the connections. Safe to call twice, and without any use before."""
        await self._calls.aclose()
