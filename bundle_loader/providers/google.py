"""Google's Gemini API through the official `google-genai` SDK."""

from __future__ import annotations

import math
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Unpack

from bundle_loader.errors import ProviderFailure
from bundle_loader.messages import Delta, StreamPart
from bundle_loader.providers import config, faults, google_wire, limit_headers, table
from bundle_loader.providers.aiohttp_session import httpx_client, open_session, trusted
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.bounded import bounded_response
from bundle_loader.providers.echoes import without_secret
from bundle_loader.providers.endpoint import Endpoint, endpoint
from bundle_loader.providers.google_faults import sort
from bundle_loader.providers.link import Link, Way, link
from bundle_loader.providers.list_pages import Pages
from bundle_loader.providers.prepared import prepared
from bundle_loader.providers.sdk_client import SdkClients
from bundle_loader.providers.table import ProviderRow
from bundle_loader.providers.watched import Watched
from bundle_loader.routing.catalogue import ModelInfo

_MODULES = ("google.genai", "google.genai.types", "google.auth.aio.credentials", "httpcore2", "truststore", "aiohttp")
_VERSION = "v1"
_PAGE_SIZE = 1000
_LIST_SECONDS = 60.0
_CLIENT_SECONDS = 600.0
# the API answers 400 to a deadline header below ten seconds
_LEAST_SERVER_SECONDS = 10.0
_STREAM_TYPES = ("", "text/event-stream", "application/json")
# The list only says whether a model thinks. Those that do have all the rest as well; of the others nothing is known.
_OF_THINKING_MODELS = frozenset({"reasoning", "tools", "structured", "vision", "streaming"})
_TOLD_OF_THINKING = frozenset({"reasoning", "streaming"})
_PREVIEWS = frozenset({"preview", "experimental", "exp"})
_KINDS = (
    ("generateContent", "chat"),
    ("embed", "embedding"),
    ("bidiGenerateContent", "realtime"),
    ("predictLongRunning", "video"),
    ("predict", "image"),
    ("generateAnswer", "answer"),
)
_NOT_FROM_CONFIG = frozenset(
    {"httpoptions", "automaticfunctioncalling", "automaticcontinuation", "continuationtoken"}
    | {"shouldreturnhttpresponse", "includeallfields", "systeminstruction", "tools"}
)
_OF_A_SCHEMA = frozenset({"responseschema", "responsejsonschema", "responsemimetype", "responseformat"})


class GoogleProvider:
    """Gemini models by API key. What the SDK would read from its own environment variables is passed instead."""

    def __init__(
        self,
        *,
        id: str = "google",
        api_key: str | None,
        base_url: str | None = None,
        row: ProviderRow | None = None,
        access: Callable[[], Mapping[str, Any]] | None = None,
        **way: Unpack[Way],
    ) -> None:
        """`base_url` is without the API version; None is the vendor's own.

        `access` gives the arguments of the SDK's client that stand in place of the key (Vertex).
        """
        self._row = row or table.rows()["google"]
        self._access = access or (lambda: {"api_key": api_key or "", "vertexai": False})
        self._id = id
        self._key = api_key
        self._base_url = base_url or self._row.base_url or ""
        self._link = link(way, local=False)
        self._clients = SdkClients(self._build, *_MODULES)

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
        return f"GoogleProvider(id={self._id!r}, base_url={self._base_url!r})"

    @property
    def id(self) -> str:
        return self._id

    @property
    def local(self) -> bool:
        return False

    async def list_models(self) -> Sequence[ModelInfo]:
        """Every page of the list, in the vendor's order. Raises `ProviderFailure`, also for a list without a model."""
        self._need_key()
        watched = Watched(_LIST_SECONDS)
        failed: ProviderFailure | None = None
        models: list[ModelInfo] = []
        try:
            models = [_info(model) for model in await watched.step(self._listed()) if model.name]
        except Exception as error:  # noqa: BLE001 - the boundary: nothing of the SDK may pass, it holds the key
            failed = self._failure(error, None, watched)
        finally:
            watched.end()
        if failed is not None:
            raise failed
        if not models:
            raise faults.broken(self._id, None, "the list of models holds none")
        return models

    async def stream(self, request: ChatRequest) -> AsyncIterator[StreamPart]:
        """One `streamGenerateContent` request. Raises `ProviderFailure` and nothing else."""
        self._need_key()
        watched = Watched(request.timeout)
        answer = google_wire.Answer(self._id, request)
        failed: ProviderFailure | None = None
        chunks: Any = None
        try:
            chunks, notes = await watched.step(self._opened(request))
            while (chunk := await watched.step(anext(chunks, None))) is not None:
                if watched.content_type not in _STREAM_TYPES:
                    raise faults.broken(self._id, request.model, f"the answer is {watched.content_type}, not a stream")
                text = answer.add(chunk)
                if text:
                    yield Delta(text)
            turn = answer.turn(notes)
            limits = limit_headers.vendor_limits(watched.headers, time.time() - watched.age, self._row.limit_windows, watched.age)
            turn = replace(turn, limits=limits) if limits else turn
        except Exception as error:  # noqa: BLE001 - the boundary: nothing of the SDK may pass, it holds the key
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

    def _need_key(self) -> None:
        if not self._key:
            raise faults.no_key(self._id, self._row.key_variables)

    def _build(self) -> _Client:
        return _Client(self._access(), self._base_url, self._row.api_version or _VERSION, self._link)

    async def _listed(self) -> list[Any]:
        client = await self._clients.get()
        pager = await client.models.list(config={"page_size": _PAGE_SIZE})
        found = list(pager.page)
        pages = Pages(self._id)
        page = found
        while pages.following(len(page), pager.config.get("page_token")) is not None:
            # a body of another shape is no error to the SDK, and gives none
            page = await pager.next_page() or []
            found += page
        return found

    async def _opened(self, request: ChatRequest) -> tuple[Any, tuple[str, ...]]:
        """The SDK's stream, which sends the request when it is first read, and the notes on the config."""
        client = await self._clients.get()
        request, changed = prepared(self._row, request, self._id, google_wire.NAMES)
        parameters, notes = config.translate(self._row, request.model, request.config)
        own = _NOT_FROM_CONFIG | (_OF_A_SCHEMA if request.output_schema is not None else frozenset())
        taken, rest, dropped = _split(parameters, client.config_fields, own)
        body = google_wire.body(request, self._row.call_ids, rest)
        # The body is given whole as `extra_body`: the SDK walks over every part of typed contents several times, which
        # costs more than the rest of a call. The one word of `contents` is only there because it may not be empty.
        options = {
            **taken,
            "automatic_function_calling": client.no_function_calling,
            "automatic_continuation": False,
            "http_options": client.options(max(request.timeout, _LEAST_SERVER_SECONDS), body),
        }
        chunks = await client.models.generate_content_stream(model=request.model, contents="-", config=options)
        return chunks, (*changed, *notes, *dropped)

    def _failure(self, error: Exception, model: str | None, watched: Watched) -> ProviderFailure:
        failed = sort(error, self._id, model, seconds=watched.seconds, status=watched.status, headers=watched.headers)
        return without_secret(failed, self._key)


class _Client:
    """The SDK's client on a session of our own. Redirects are not followed: they would take the key to another server."""

    def __init__(self, access: Mapping[str, Any], base_url: str, version: str, link: Link) -> None:
        from google import genai
        from google.genai import types

        if link.client is None:
            self._session: Any = open_session(base_url, link)
            # the SDK brings certificates of its own to each request, unless it is given others
            context = {"ssl": trusted(link)} if link.ca_file is not None else {}
            sender: dict[str, Any] = {
                "aiohttp_client": self._session,
                "async_client_args": {"allow_redirects": False, **context},
            }
            self._close = self._session.close
        else:
            self._session = _through(base_url, link)
            sender = {"httpx_async_client": self._session}
            self._close = self._session.aclose
        self._types = types
        self._client = genai.Client(
            **access,
            http_options=types.HttpOptions(
                base_url=base_url,
                api_version=version,
                timeout=_milliseconds(_CLIENT_SECONDS),
                retry_options=types.HttpRetryOptions(attempts=1),
                **sender,
            ),
        )
        self.models: Any = self._client.aio.models
        self.no_function_calling = types.AutomaticFunctionCallingConfig(disable=True)
        self.config_fields = frozenset(types.GenerateContentConfig.model_fields)

    def options(self, seconds: float, body: dict[str, Any]) -> Any:
        """The SDK's options for one request."""
        return self._types.HttpOptions(timeout=_milliseconds(seconds), extra_body=body)

    async def close(self) -> None:
        await self._client.aio.aclose()
        self._client.close()
        await self._close()


def _through(base_url: str, link: Link) -> Any:
    """The caller's own client."""
    import httpx2

    limit = httpx2.Timeout(None, connect=link.connect)
    return httpx_client(httpx2, base_url, link, timeout=limit, event_hooks={"response": [bounded_response]})


def _milliseconds(seconds: float) -> int:
    return math.ceil(seconds * 1000)


def _split(
    parameters: Mapping[str, Any], fields: frozenset[str], own: frozenset[str]
) -> tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]:
    """Parameters that the SDK knows, those that go to `generationConfig` as they are, and notes on those dropped."""
    known = {field.replace("_", ""): field for field in fields}
    taken: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    notes: list[str] = []
    for key, value in parameters.items():
        plain = key.replace("_", "").lower()
        if plain in _OF_A_SCHEMA & own:
            notes.append(f"{key} dropped: output_schema stands in its place")
        elif plain in own:
            notes.append(f"{key} dropped: a request's own field cannot be set by config")
        elif plain in known:
            taken[known[plain]] = value
        else:
            rest[key] = value
    return taken, rest, tuple(notes)


def _info(model: Any) -> ModelInfo:
    extra = {"version": model.version, "description": model.description, "display_name": model.display_name}
    kind = _kind(model.supported_actions)
    thinks = bool(model.thinking) and kind == "chat"
    return ModelInfo(
        # models/NAME, on Vertex publishers/google/models/NAME
        id=model.name.rpartition("/")[2],
        window=model.input_token_limit,
        output_limit=model.output_token_limit,
        capabilities=_OF_THINKING_MODELS if thinks else None,
        assumed=_OF_THINKING_MODELS - _TOLD_OF_THINKING if thinks else frozenset(),
        kind=kind,
        stage=_stage(model.version or "", model.description or ""),
        extra={key: value for key, value in extra.items() if value is not None},
    )


def _kind(actions: Sequence[str] | None) -> str | None:
    if not actions:
        return None
    for action, kind in _KINDS:
        if any(given.startswith(action) for given in actions):
            return kind
    return "other"


def _stage(version: str, description: str) -> str | None:
    """`preview` or `stable` where the version's text, or the first word of the description, says so."""
    said = set(re.split(r"[^a-z]+", version.lower()))
    first = re.match(r"\W*([a-z]*)", description.lower())
    word = first[1] if first else ""
    if said & _PREVIEWS or word in _PREVIEWS:
        return "preview"
    return "stable" if word == "stable" else None
