"""The exceptions of `google-genai` and of its transports, sorted into failures."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from bundle_loader.errors import FailureKind, ProviderFailure
from bundle_loader.providers import fault_bodies, faults, waits
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

    `status` and `headers` are those of the response, None where there was none yet: a connection lost before it is an
    unreachable server, and one lost after it a cut answer.
    """
    if isinstance(error, ImportError):
        return faults.no_client(error, provider, model)
    import aiohttp
    import httpx2
    from google.genai import errors

    if isinstance(error, ProviderFailure):
        return too_large(error, provider) or error
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
    return faults.short(error, limit) or type(error).__name__


def _api_failure(error: Any, provider: str, model: str | None, status: int | None) -> ProviderFailure:
    body = error.details
    fields = _fields(body)
    details = [detail for detail in _list(fields.get("details")) if isinstance(detail, Mapping)]
    reasons = [str(detail["reason"]) for detail in details if detail.get("reason")]
    headers = getattr(error.response, "headers", None) or {}
    number = error.code if isinstance(error.code, int) and not isinstance(error.code, bool) else status
    code, message = fault_bodies.words(body)
    if not message and isinstance(error.message, str):
        message = error.message
    found = faults.failure(
        provider,
        model,
        number,
        message or f"status {error.code} without words",
        code=" ".join([code, *reasons]).strip(),
        headers=headers,
        retry_after=_retry_delay(details),
        request_id=headers.get("x-request-id"),
        now=time.time(),
    )
    quotas = [quota for detail in details for quota in _list(detail.get("violations")) if isinstance(quota, Mapping)]
    if found.status == 429 and not _NO_LIMIT.intersection(reasons):
        _sort_quota(found, quotas, any(_is(detail, "RetryInfo") for detail in details), _retry_delay(details))
    return found


_NO_LIMIT = frozenset({"BILLING_DISABLED", "CONSUMER_SUSPENDED", "SERVICE_DISABLED"})
_A_WHILE = 3600.0
"""Seconds. A shorter wait beside a quota of a day is that of the minute, which is told along with it."""


def _sort_quota(failed: ProviderFailure, quotas: list[Mapping[str, Any]], told: bool, delay: float | None) -> None:
    """Tell the quota of a day from that of a minute; the message is the same for both and for a spent account.

    1. A quota of a day whose end is told (an hour or more): limited until then. 2. Else it is gone: refused, for the model
    where the quota is counted for each model, as those without payment are, else for the provider. 3. Any other quota, or a
    wait: limited. 4. Without either, the words decide.
    """
    daily = [quota for quota in quotas if "perday" in str(quota.get("quotaId", "")).lower() or _per_day(quota)]
    if daily and (delay is None or delay < _A_WHILE):
        each = all("permodel" in str(quota.get("quotaId", "")).lower() or _of_model(quota) for quota in daily)
        failed.kind, failed.scope, failed.retry_after = FailureKind.REFUSED, "model" if each else "provider", None
    elif quotas or told:
        failed.kind, failed.scope = FailureKind.LIMITED, "model"
        failed.retry_after = delay if delay is not None else failed.retry_after


def _per_day(quota: Mapping[str, Any]) -> bool:
    return str(quota.get("quotaMetric", "")).lower().endswith("per_day")


def _of_model(quota: Mapping[str, Any]) -> bool:
    dimensions = quota.get("quotaDimensions")
    return isinstance(dimensions, Mapping) and bool(dimensions.get("model"))


def _fields(body: object) -> Mapping[str, Any]:
    """The error's own object."""
    if isinstance(body, list) and body:
        body = body[0]
    inner = body.get("error", body) if isinstance(body, Mapping) else None
    return inner if isinstance(inner, Mapping) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _is(detail: Mapping[str, Any], name: str) -> bool:
    return str(detail.get("@type", "")).endswith(name)


def _retry_delay(details: list[Mapping[str, Any]]) -> float | None:
    """Seconds from `RetryInfo`."""
    found = (waits.from_duration(detail.get("retryDelay")) for detail in details)
    return next((delay for delay in found if delay is not None), None)
