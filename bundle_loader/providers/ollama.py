"""Ollama's own API through the official `ollama` SDK."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from bundle_loader.errors import ProviderFailure
from bundle_loader.messages import Delta, StreamPart, ToolSpec
from bundle_loader.providers import config, faults, ollama_models, ollama_wire, table
from bundle_loader.providers.aiohttp_session import httpx_transport
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.bounded import bounded_response, whole
from bundle_loader.providers.echoes import without_secret
from bundle_loader.providers.endpoint import Endpoint, endpoint
from bundle_loader.providers.link import Link, Way, link
from bundle_loader.providers.ollama_faults import sort
from bundle_loader.providers.prepared import prepared
from bundle_loader.providers.sdk_client import SdkClients
from bundle_loader.providers.watched import Watched
from bundle_loader.routing.catalogue import ModelInfo

if TYPE_CHECKING:
    import httpx

_MODULES = ("ollama", "aiohttp", "yarl")
_LIST_SECONDS = 30.0
_STREAM_TYPES = ("", "application/x-ndjson", "application/json", "text/plain")
_CHAT_FIELDS = frozenset({"think", "format", "keep_alive", "logprobs", "top_logprobs"})
_ANY_NAME = re.compile(r".+", re.DOTALL)
_NO_THINKING = frozenset({"none", "off"})


class OllamaProvider:
    """The models of one Ollama server. What the SDK would read from its own environment variables is passed instead."""

    def __init__(
        self,
        *,
        id: str = "ollama",
        base_url: str | None = None,
        api_key: str | None = None,
        **way: Unpack[Way],
    ) -> None:
        """`base_url` None is this machine's server."""
        self._row = table.rows()["ollama"]
        self._id = id
        self._key = api_key
        self._base_url = base_url or self._row.base_url or ""
        self._local = _is_private(self._base_url)
        self._link = link(way, local=self._local)
        self._clients = SdkClients(self._build, *_MODULES)
        self._shown = ollama_models.Shown()
        self._tools: tuple[tuple[ToolSpec, ...], list[dict[str, Any]]] = ((), [])

    @property
    def base_url(self) -> str:
        """Where it listens."""
        return self._base_url

    @property
    def link(self) -> Link:
        """How it is reached."""
        return self._link

    @property
    def saved_as(self) -> Endpoint:
        """Whose list of models a saved one must be to serve here."""
        return endpoint(self._row.id, self._base_url, self._key)

    def __repr__(self) -> str:
        return f"OllamaProvider(id={self._id!r}, base_url={self._base_url!r})"

    @property
    def id(self) -> str:
        return self._id

    @property
    def local(self) -> bool:
        return self._local

    async def list_models(self) -> Sequence[ModelInfo]:
        """What the server has pulled, and what it shows of each. Raises `ProviderFailure`."""
        watched = Watched(_LIST_SECONDS)
        failed: ProviderFailure | None = None
        models: list[ModelInfo] = []
        try:
            client = await watched.step(self._clients.get())
            listed = ollama_models.entries(await watched.step(client.tags()))
            models = await self._shown.added([ollama_models.info(entry) for entry in listed], client.show)
        except Exception as error:  # noqa: BLE001 - the boundary: nothing of the SDK may pass
            failed = self._failure(error, None, watched)
        finally:
            watched.end()
        if failed is not None:
            raise failed
        return models

    async def stream(self, request: ChatRequest) -> AsyncIterator[StreamPart]:
        """One `/api/chat` request. Raises `ProviderFailure` and nothing else."""
        watched = Watched(request.timeout)
        answer = ollama_wire.Answer(self._id, request)
        failed: ProviderFailure | None = None
        chunks: Any = None
        try:
            fields, notes = self._fields(request)
            client = await watched.step(self._clients.get())
            chunks = await watched.step(client.chat(fields))
            while (chunk := await watched.step(anext(chunks, None))) is not None:
                text = answer.add(chunk)
                if text:
                    yield Delta(text)
            if watched.content_type not in _STREAM_TYPES:
                raise faults.broken(self._id, request.model, f"the answer is {watched.content_type}, not a stream")
            turn = answer.turn(notes)
        except Exception as error:  # noqa: BLE001 - the boundary: nothing of the SDK may pass
            failed = self._failure(error, request.model, watched)
        finally:
            if chunks is not None:
                await chunks.aclose()
            watched.drop()
        if failed is not None:
            raise failed
        yield turn

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        await self._clients.aclose()

    def _build(self) -> _Client:
        return _Client(self._base_url, self._key, self._link)

    def _fields(self, request: ChatRequest) -> tuple[dict[str, Any], tuple[str, ...]]:
        """The arguments of the SDK's `chat`. A config key that is none of its fields is one of the model's options."""
        request, changed = prepared(self._row, request, self._id, _ANY_NAME)
        parameters, notes = config.translate(self._row, request.model, request.config)
        options: dict[str, Any] = dict(parameters.pop("options", {}))
        fields: dict[str, Any] = {}
        for key, value in parameters.items():
            (fields if key in _CHAT_FIELDS else options)[key] = value
        if str(fields.get("think", "")).lower() in _NO_THINKING:
            fields["think"] = False
        if request.output_schema is not None:
            notes += config.overlay(fields, ("format",), dict(request.output_schema))
        fields["model"] = request.model
        fields["messages"] = ollama_wire.messages(request)
        fields["tools"] = self._told_of(request.tools)
        fields["options"] = {**options, "num_predict": request.max_tokens}
        return fields, (*changed, *notes)

    def _told_of(self, tools: tuple[ToolSpec, ...]) -> list[dict[str, Any]]:
        """The tools as the SDK takes them; those of the last request are at hand: a delegation's turns share them."""
        if self._tools[0] is not tools:
            self._tools = tools, [ollama_wire.tool(tool) for tool in tools]
        return self._tools[1]

    def _failure(self, error: Exception, model: str | None, watched: Watched) -> ProviderFailure:
        failed = sort(error, self._id, model, seconds=watched.seconds, status=watched.status, headers=watched.headers)
        return without_secret(failed, self._key)


class _Client:
    """The SDK's client on a transport of our own.

    Redirects are not followed: they could lead from a local server to a distant one. A local server is never reached
    through a proxy of the environment.
    """

    def __init__(self, base_url: str, key: str | None, link: Link) -> None:
        import httpx
        import ollama
        from ollama._types import ChatRequest

        async def without_key(request: httpx.Request) -> None:
            # the SDK puts the environment's OLLAMA_API_KEY there, whatever the server
            request.headers.pop("authorization", None)

        self._client: Any = ollama.AsyncClient(
            host=base_url,
            headers={"authorization": f"Bearer {key}"} if key else None,
            timeout=httpx.Timeout(None, connect=link.connect),
            follow_redirects=False,
            trust_env=False,
            transport=httpx_transport(httpx, base_url, link),
            event_hooks={"request": [] if key else [without_key], "response": [bounded_response, _bounded_show]},
        )
        self._request_type, self._chunk_type = ChatRequest, ollama.ChatResponse
        self._last: tuple[str, dict[str, Any]] = "", {}
        """A request without its messages, and how the SDK writes that."""

    async def chat(self, fields: Mapping[str, Any]) -> Any:
        """What the SDK's `chat` sends and gives, without its walk over the types of the whole history at every turn."""
        rest = {key: value for key, value in fields.items() if key != "messages"}
        said = repr(rest)
        if self._last[0] != said:
            # the turns of one delegation differ in their messages only
            self._last = said, self._request_type(**rest, messages=[], stream=True).model_dump(exclude_none=True)
        body = {**self._last[1], "messages": fields["messages"]}
        return await self._client._request(self._chunk_type, "POST", "/api/chat", json=body, stream=True)

    async def tags(self) -> Any:
        """The list as the server wrote it: the SDK's own leaves out where a model runs, and fails for one odd field."""
        return (await self._client._request_raw("GET", "/api/tags")).json()

    async def show(self, id: str) -> Any:
        """What a model is, as the server wrote it."""
        return (await self._client._request_raw("POST", "/api/show", json={"model": id})).json()

    async def close(self) -> None:
        await self._client.close()


def _is_private(url: str) -> bool:
    try:
        # the SDK reads `:11434` as a port of this machine
        return url.startswith(":") or table.is_private(url)
    except ValueError:
        return False


async def _bounded_show(response: httpx.Response) -> None:
    """What is shown of a model is asked for with POST, and may have licences in it."""
    if response.request.url.path.endswith("/api/show"):
        response._content = await whole(response.aiter_bytes())
