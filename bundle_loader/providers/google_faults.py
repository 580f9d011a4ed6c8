"""The exceptions of `google-genai` and of its transports, sorted into failures."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from bundle_loader.errors import FailureKind, ProviderFailure
from bundle_loader.providers import faults


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

    `status` and `headers` are those of the response, None where there was none yet: a connection lost before it is an
    unreachable server, and one lost after it a cut answer.
    """
    import aiohttp
    import httpx2
    from google.genai import errors

    if isinstance(error, ProviderFailure):
        return error
    if isinstance(error, errors.APIError):
        return _api_failure(error, provider, model, status)
    if isinstance(error, aiohttp.ConnectionTimeoutError | httpx2.ConnectTimeout):
        return faults.unreachable(provider, model, "no connection in time")
    if isinstance(error, TimeoutError | httpx2.TimeoutException):
        return faults.too_slow(provider, model, seconds)
    if status is not None and status != 200:
        # the SDK could not read the body of an error status
        return faults.failure(provider, model, status, f"status {status} without words", headers=headers, now=time.time())
    if isinstance(error, aiohttp.ClientError | httpx2.TransportError | OSError):
        if status is None and not isinstance(error, aiohttp.ClientPayloadError):
            return faults.unreachable(provider, model, _words(error))
        return faults.broken(provider, model, f"the answer was cut off ({_words(error)})")
    if isinstance(error, errors.UnknownApiResponseError):
        return faults.broken(provider, model, "the answer is not JSON")
    if status is None and isinstance(error, ValueError | TypeError):
        # nothing was sent: the SDK itself does not take the request
        return faults.failure(provider, model, 400, _words(error, 400))
    return faults.broken(provider, model, f"not an answer ({type(error).__name__}: {_words(error)})")


def _words(error: BaseException, limit: int = 200) -> str:
    return " ".join(str(error).split())[:limit] or type(error).__name__


def _api_failure(error: Any, provider: str, model: str | None, status: int | None) -> ProviderFailure:
    body = error.details if isinstance(error.details, Mapping) else {}
    inner = body.get("error", body)
    fields: Mapping[str, Any] = inner if isinstance(inner, Mapping) else {}
    message = error.message or (inner if isinstance(inner, str) else "") or f"status {error.code} without words"
    details = [detail for detail in fields.get("details") or () if isinstance(detail, Mapping)]
    reasons = [str(detail["reason"]) for detail in details if detail.get("reason")]
    headers = getattr(error.response, "headers", None) or {}
    number = error.code if isinstance(error.code, int) else status
    found = faults.failure(
        provider,
        model,
        number,
        str(message),
        code=" ".join([str(error.status or ""), *reasons]).strip(),
        headers=headers,
        retry_after=_retry_delay(details),
        request_id=headers.get("x-request-id"),
        now=time.time(),
    )
    if found.kind is FailureKind.REFUSED and found.status == 429 and _is_rate(details):
        # the words for a limit per minute or day are the same as for a spent account: "check your plan and billing"
        found.kind, found.scope = FailureKind.LIMITED, "model"
    return found


def _is_rate(details: list[Mapping[str, Any]]) -> bool:
    return any(str(detail.get("@type", "")).endswith(("RetryInfo", "QuotaFailure")) for detail in details)


def _retry_delay(details: list[Mapping[str, Any]]) -> float | None:
    """Seconds from `RetryInfo`, which says `7s` or `0.5s`."""
    for detail in details:
        delay = detail.get("retryDelay")
        if isinstance(delay, str):
            try:
                return max(0.0, float(delay.removesuffix("s")))
            except ValueError:
                continue
    return None
