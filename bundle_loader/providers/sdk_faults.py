"""The exceptions of the Anthropic and OpenAI SDKs and of their transport, sorted into failures."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from types import ModuleType
from typing import Any

from bundle_loader.errors import FailureKind, ProviderFailure
from bundle_loader.providers import fault_bodies, faults
from bundle_loader.providers.bounded import too_large
from bundle_loader.providers.echoes import without_secret
from bundle_loader.providers.fault_bodies import words

_BY_NAME = {
    "CredentialsError": (FailureKind.REFUSED, "provider"),
    "SubjectTokenProviderError": (FailureKind.REFUSED, "provider"),
    "WorkloadIdentityError": (FailureKind.REFUSED, "provider"),
    "ContentFilterFinishReasonError": (FailureKind.CONTENT_REFUSED, "model"),
    "RetryableError": (FailureKind.BUSY, "model"),
}


def sort(
    error: BaseException,
    sdk: ModuleType,
    *,
    provider: str,
    model: str | None,
    seconds: float | None = None,
    answering: bool = False,
    secret: str | None = None,
) -> ProviderFailure:
    """The failure that an exception of `sdk` (the `anthropic` or `openai` module) stands for.

    `answering` says that a success status had already arrived: a connection lost then is a cut answer. `secret` never
    appears in the result, whatever a server echoes.
    """
    failed = too_large(error, provider) or _sorted(error, sdk, provider, model, seconds, answering)
    return without_secret(failed, secret)


def client_failure(error: Exception, provider: str, model: str | None, secret: str | None) -> ProviderFailure:
    """The failure where the SDK is not installed, or its client cannot be built from what was declared."""
    return without_secret(faults.no_client(error, provider, model), secret)


def _sorted(
    error: BaseException, sdk: ModuleType, provider: str, model: str | None, seconds: float | None, answering: bool
) -> ProviderFailure:
    if isinstance(error, ProviderFailure):
        return error
    if isinstance(error, sdk.APIResponseValidationError):
        return faults.broken(provider, model, f"the answer has the wrong shape: {error}")
    if isinstance(error, sdk.APIStatusError):
        return _status_failure(error, provider, model)
    match _lost(error, sdk):
        case (_Lost.SLOW, _):
            return faults.too_slow(provider, model, seconds)
        case (how, why):
            if answering or how is _Lost.CUT:
                return faults.broken(provider, model, f"the answer was cut off ({why})")
            return faults.unreachable(provider, model, why)
    if isinstance(error, sdk.APIError):
        code, message = words(error.body)
        return faults.failure(provider, model, None, message or str(error), code=code)
    for base in type(error).__mro__:
        if base.__name__ in _BY_NAME:
            kind, scope = _BY_NAME[base.__name__]
            return ProviderFailure(kind, provider, str(error) or base.__name__, model=model, scope=scope)
    if isinstance(error, ValueError):
        return faults.broken(provider, model, f"the answer is malformed ({faults.short(error)})")
    return faults.broken(provider, model, f"the answer has the wrong shape ({type(error).__name__})")


class _Lost(StrEnum):
    SLOW = "slow"
    CUT = "cut"
    UNREACHABLE = "unreachable"


def _lost(error: BaseException, sdk: ModuleType) -> tuple[_Lost, str] | None:
    """How a connection was lost, and the transport's words for it; None when it was not.

    The exceptions beneath an SDK's decide: its transport takes some lost connections for timeouts.
    """
    import aiohttp
    import httpx2

    chain = [error]
    while (beneath := chain[-1].__cause__) is not None:
        chain.append(beneath)
    kinds = (
        (_Lost.UNREACHABLE, aiohttp.ConnectionTimeoutError | httpx2.ConnectTimeout),
        (_Lost.SLOW, TimeoutError),
        (_Lost.CUT, aiohttp.ClientPayloadError),
        (_Lost.UNREACHABLE, aiohttp.ClientError | OSError),
        (_Lost.SLOW, httpx2.TimeoutException | sdk.APITimeoutError),
        (_Lost.UNREACHABLE, httpx2.TransportError | httpx2.StreamError | sdk.APIConnectionError),
    )
    for lost, kind in kinds:
        found = next((link for link in chain if isinstance(link, kind)), None)
        if found is not None:
            return lost, faults.short(found) or type(found).__name__
    return None


def _status_failure(error: Any, provider: str, model: str | None) -> ProviderFailure:
    status = int(error.status_code)
    body = _whole(error)
    code, message = words(body)
    headers: Mapping[str, str] = error.response.headers
    return faults.failure(
        provider,
        model,
        status,
        message or f"status {status} without words",
        code=code,
        headers={**fault_bodies.headers(body), **headers},
        retry_after=fault_bodies.wait(body),
        request_id=request_id(headers),
        now=time.time(),
    )


def _whole(error: Any) -> object:
    """The body as it came: one of the SDKs keeps only what stands below `error`."""
    with suppress(Exception):
        body = json.loads(error.response.content)
        if isinstance(body, Mapping | list):
            return body
    return error.body


def request_id(headers: Mapping[str, str]) -> str | None:
    """The vendor's id of a request, from the headers of its answer."""
    id = headers.get("request-id") or headers.get("x-request-id")
    return id[: faults.REQUEST_ID_LIMIT] if id else None


def inside_stream(error: object, provider: str, model: str | None) -> ProviderFailure:
    """The failure that an error object inside a stream of status 200 stands for.

    A numeric code that is an HTTP status counts as one; else the words decide.
    """
    body = {"error": error}
    code, message = words(body)
    number = error.get("code") if isinstance(error, Mapping) else None
    status = number if isinstance(number, int) and not isinstance(number, bool) and 400 <= number < 600 else None
    return faults.failure(
        provider,
        model,
        status,
        message or code or "an error without words",
        code=code,
        headers=fault_bodies.headers(body),
        retry_after=fault_bodies.wait(body),
        now=time.time(),
    )
