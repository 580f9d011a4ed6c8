"""The exceptions of the Anthropic and OpenAI SDKs and of their transport, sorted into failures."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from enum import StrEnum
from types import ModuleType
from typing import Any

from bundle_loader.errors import FailureKind, ProviderFailure
from bundle_loader.providers import faults

_BY_NAME = {
    "CredentialsError": (FailureKind.REFUSED, "provider"),
    "SubjectTokenProviderError": (FailureKind.REFUSED, "provider"),
    "WorkloadIdentityError": (FailureKind.REFUSED, "provider"),
    "ContentFilterFinishReasonError": (FailureKind.CONTENT_REFUSED, "model"),
    "RetryableError": (FailureKind.BUSY, "model"),
}
_ACCOUNT = frozenset({"organization_on_hold", "cmek_key_disabled", "cmek_key_network_blocked"})
"""Codes of status 400 that are about the account, not about the request."""
_SHORTEST_SECRET = 4
"""Characters. What is shorter is a word such as `any` for a server that needs no key."""
_TAGS = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)


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
    failed = _sorted(error, sdk, provider, model, seconds, answering)
    if secret and len(secret) >= _SHORTEST_SECRET:
        failed.message = _without(secret, failed.message)
        failed.args = (failed.message,)
    return failed


def _without(secret: str, text: str) -> str:
    """`text` without the secret, even where the end of the text cut it."""
    text = text.replace(secret, "[key]")
    for length in range(len(secret) - 1, _SHORTEST_SECRET - 1, -1):
        if text.endswith(secret[:length]):
            return text[:-length] + "[key]"
    return text


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
        return faults.broken(provider, model, f"the answer is malformed ({str(error)[:200]})")
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
        (_Lost.SLOW, TimeoutError),
        (_Lost.CUT, aiohttp.ClientPayloadError),
        (_Lost.UNREACHABLE, aiohttp.ClientError | OSError),
        (_Lost.SLOW, httpx2.TimeoutException | sdk.APITimeoutError),
        (_Lost.UNREACHABLE, httpx2.TransportError | httpx2.StreamError | sdk.APIConnectionError),
    )
    for lost, kind in kinds:
        found = next((link for link in chain if isinstance(link, kind)), None)
        if found is not None:
            return lost, " ".join(str(found).split())[:200] or type(found).__name__
    return None


def _status_failure(error: Any, provider: str, model: str | None) -> ProviderFailure:
    status = int(error.status_code)
    code, message = words(error.body)
    headers: Mapping[str, str] = error.response.headers
    message = message or f"status {status} without words"
    if not _ACCOUNT.isdisjoint(code.split()):
        id = request_id(headers)
        return ProviderFailure(
            FailureKind.REFUSED, provider, message, model=model, status=status, request_id=id, scope="provider"
        )
    return faults.failure(
        provider,
        model,
        status,
        message,
        # codes such as enforced_spend_limit_reached are read as words
        code=f"{code} {code.replace('_', ' ')}",
        headers=headers,
        request_id=request_id(headers),
        now=time.time(),
    )


def request_id(headers: Mapping[str, str]) -> str | None:
    """The vendor's id of a request, from the headers of its answer."""
    return headers.get("request-id") or headers.get("x-request-id")


def inside_stream(error: object, provider: str, model: str | None) -> ProviderFailure:
    """The failure that an error object inside a stream of status 200 stands for.

    A numeric code that is an HTTP status counts as one; else the words decide.
    """
    code, message = words({"error": error})
    number = error.get("code") if isinstance(error, Mapping) else None
    status = number if isinstance(number, int) and not isinstance(number, bool) and 400 <= number < 600 else None
    return faults.failure(provider, model, status, message or code, code=code)


def words(body: object) -> tuple[str, str]:
    """The type and code of an error body as one text, and its message, from any of the shapes that vendors use."""
    if isinstance(body, str):
        return "", " ".join(_TAGS.sub(" ", body).split())
    if not isinstance(body, Mapping):
        return "", "" if body is None else _plain(body)
    inner = body.get("error", body)
    if not isinstance(inner, Mapping):
        return str(body.get("code") or ""), _plain(inner)
    codes = [inner.get("type"), inner.get("code"), inner.get("status")]
    details = inner.get("details")
    if isinstance(details, Mapping):
        codes.append(details.get("error_code"))
    message = _plain(inner.get("message") or inner.get("detail") or inner.get("msg") or "")
    metadata = inner.get("metadata")
    raw = _plain(metadata.get("raw") or "") if isinstance(metadata, Mapping) else ""
    if raw and raw not in message:
        # what the server behind a relay said
        message += f": {raw}"
    if not message and inner:
        message = _plain(inner)
    return " ".join(str(code) for code in codes if code), message


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
