"""Google's Gemini API through the official `google-genai` SDK."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bundle_loader.errors import ProviderFailure
from bundle_loader.messages import Delta, StreamPart
from bundle_loader.providers import config, faults, google_wire, limit_headers, table
from bundle_loader.providers.aiohttp_session import open_session
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.google_faults import sort
from bundle_loader.providers.sdk_client import SdkClients
from bundle_loader.providers.watched import Watched, without_secret
from bundle_loader.routing.catalogue import ModelInfo

_PAGE_SIZE = 1000
_LIST_SECONDS = 60.0
_CLIENT_SECONDS = 600.0
# the API answers 400 to a deadline header below ten seconds
_LEAST_SERVER_SECONDS = 10.0
_STREAM_TYPES = ("", "text/event-stream", "application/json")
# The list only says whether a model thinks. Those that do have all the rest as well; of the others nothing is known.
_OF_THINKING_MODELS = frozenset({"reasoning", "tools", "structured", "vision", "streaming"})
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


class GoogleProvider:
    """Gemini models by API key. What the SDK would read from its own environment variables is passed instead."""

    def __init__(
        self, *, id: str = "google", api_key: str | None, base_url: str | None = None, connect_timeout: float = 10.0
    ) -> None:
        """`base_url` is without the API version; None is the vendor's own. `connect_timeout` is in seconds."""
        self._row = table.rows()["google"]
        self._id = id
        self._key = api_key
        self._base_url = base_url or self._row.base_url or ""
        self._connect_timeout = connect_timeout
        self._clients = SdkClients(self._build)

    @property
    def base_url(self) -> str:
        """Where it listens."""
        return self._base_url

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
        return _Client(self._key or "", self._base_url, self._connect_timeout)

    async def _listed(self) -> list[Any]:
        pager = await self._clients.get().models.list(config={"page_size": _PAGE_SIZE})
        found = list(pager.page)
        tokens: set[str] = set()
        while token := pager.config.get("page_token"):
            if token in tokens:
                raise faults.broken(self._id, None, "the list of models leads back to an earlier page")
            tokens.add(token)
            found += await pager.next_page()
        return found

    async def _opened(self, request: ChatRequest) -> tuple[Any, tuple[str, ...]]:
        """The SDK's stream, which sends the request when it is first read, and the notes on the config."""
        client = self._clients.get()
        parameters, notes = config.translate(self._row, request.model, request.config)
        taken, rest, dropped = _split(parameters, client.config_fields)
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
        return chunks, (*notes, *dropped)

    def _failure(self, error: Exception, model: str | None, watched: Watched) -> ProviderFailure:
        failed = sort(error, self._id, model, seconds=watched.seconds, status=watched.status, headers=watched.headers)
        return without_secret(failed, self._key)


class _Client:
    """The SDK's client on a session of our own. Redirects are not followed: they would take the key to another server."""

    def __init__(self, key: str, base_url: str, connect_timeout: float) -> None:
        from google import genai
        from google.genai import types

        self._session = open_session(base_url, connect_timeout=connect_timeout, local=False)
        self._types = types
        self._client = genai.Client(
            api_key=key,
            vertexai=False,
            http_options=types.HttpOptions(
                base_url=base_url,
                api_version="v1",
                timeout=_milliseconds(_CLIENT_SECONDS),
                retry_options=types.HttpRetryOptions(attempts=1),
                aiohttp_client=self._session,
                async_client_args={"allow_redirects": False},
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
        await self._session.close()


def _milliseconds(seconds: float) -> int:
    return math.ceil(seconds * 1000)


def _split(parameters: Mapping[str, Any], fields: frozenset[str]) -> tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]:
    """Parameters that the SDK knows, those that go to `generationConfig` as they are, and notes on those dropped."""
    known = {field.replace("_", ""): field for field in fields}
    taken: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    notes: list[str] = []
    for key, value in parameters.items():
        plain = key.replace("_", "").lower()
        if plain in _NOT_FROM_CONFIG:
            notes.append(f"{key} dropped: a request's own field cannot be set by config")
        elif plain in known:
            taken[known[plain]] = value
        else:
            rest[key] = value
    return taken, rest, tuple(notes)


def _info(model: Any) -> ModelInfo:
    extra = {"version": model.version, "description": model.description, "display_name": model.display_name}
    kind = _kind(model.supported_actions)
    return ModelInfo(
        id=model.name.removeprefix("models/"),
        window=model.input_token_limit,
        output_limit=model.output_token_limit,
        capabilities=_OF_THINKING_MODELS if model.thinking and kind == "chat" else None,
        kind=kind,
        extra={key: value for key, value in extra.items() if value is not None},
    )


def _kind(actions: Sequence[str] | None) -> str | None:
    if not actions:
        return None
    for action, kind in _KINDS:
        if any(given.startswith(action) for given in actions):
            return kind
    return "other"
