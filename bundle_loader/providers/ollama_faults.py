"""The exceptions of the `ollama` SDK and of its transport, sorted into failures."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

from bundle_loader.errors import ProviderFailure
from bundle_loader.providers import fault_bodies, faults
from bundle_loader.providers.bounded import too_large


def sort(
    error: BaseException,
    provider: str,
    model: str | None,
    *,
    seconds: float | None = None,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> ProviderFailure:
    """The failure that an exception stands for.

    `status` and `headers` are those of the response, None where there was none yet; the SDK's own exceptions carry no
    headers. A connection lost before a response is an unreachable server, and one lost after it a cut answer.
    """
    if isinstance(error, ImportError):
        return faults.no_client(error, provider, model)
    import aiohttp
    import httpx
    import ollama

    if isinstance(error, ProviderFailure):
        return too_large(error, provider) or error
    if isinstance(error, ollama.ResponseError):
        # an error inside a stream of status 200 has -1 for its status: only its words count
        number = error.status_code if error.status_code >= 300 else None
        return _failure(provider, model, number, error.error, headers)
    if isinstance(error, ollama.RequestError):
        return _failure(provider, model, 400, error.error, None)
    if isinstance(error, aiohttp.ConnectionTimeoutError | httpx.ConnectTimeout):
        return faults.unreachable(provider, model, "no connection in time")
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return faults.too_slow(provider, model, seconds)
    if status is not None and status != 200:
        # the SDK could not read the body of an error status
        return _failure(provider, model, status, "", headers)
    if isinstance(error, aiohttp.ClientError | httpx.TransportError | httpx.StreamError | OSError):
        if status is None and not isinstance(error, aiohttp.ClientPayloadError):
            return faults.unreachable(provider, model, _words(error))
        return faults.broken(provider, model, f"the answer was cut off ({_words(error)})")
    if status is None and isinstance(error, ValueError | TypeError | httpx.InvalidURL):
        # nothing was sent: the SDK itself does not take the request
        return faults.failure(provider, model, 400, _words(error, 400))
    if isinstance(error, json.JSONDecodeError):
        return faults.broken(provider, model, "the answer is not JSON")
    return faults.broken(provider, model, f"not an answer ({type(error).__name__}: {_words(error)})")


def _failure(
    provider: str, model: str | None, status: int | None, said: object, headers: Mapping[str, str] | None
) -> ProviderFailure:
    code, message = fault_bodies.words({"error": said})
    request_id = headers.get("x-request-id") if headers else None
    return faults.failure(
        provider,
        model,
        status,
        message if said else f"status {status} without words",
        code=code,
        headers=headers,
        request_id=request_id,
        now=time.time(),
    )


def _words(error: BaseException, limit: int = 200) -> str:
    return faults.short(error, limit) or type(error).__name__
