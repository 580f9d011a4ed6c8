"""The Copilot CLI's errors, sorted into failures. The SDK's own exceptions say little: its events and codes decide."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from copy import copy
from typing import Any, Final

from bundle_loader.errors import FailureKind, ProviderFailure
from bundle_loader.providers import echoes, fault_bodies, faults

_STATUS_OF: Final = {
    "authentication": 401,
    "authorization": 403,
    "quota": 402,
    "rate_limit": 429,
    "context_limit": 413,
}
"""A session error's type -> the status that it stands for where none is given."""
_NO_LOGIN: Final = re.compile(
    r"not authenticated|not logged in|bad credentials|authentication (failed|required)|unauthori[sz]ed", re.I
)
_ENVELOPE: Final = re.compile(r"^JSON-RPC Error -?\d+: (Request \S+ failed with message: )?")
_QUOTA: Final = re.compile(r"quota|premium requests", re.I)


class Lost(Exception):
    """The CLI has ended, closed its output, or does not answer any more."""


class Forgotten(Exception):
    """The CLI does not know the calls of tools any more whose results it was given."""


def is_lost(error: Exception) -> bool:
    """Whether the CLI is gone."""
    # the SDK is not imported here, and has no public name for its error
    return isinstance(error, Lost) or type(error).__name__ == "ProcessExitedError"


def session_error(data: Any, provider: str, model: str | None, secret: str) -> ProviderFailure:
    """The failure that a `session.error` event stands for."""
    kind = str(data.error_type or "")
    status = data.status_code if data.status_code is not None else _STATUS_OF.get(kind)
    codes = [kind, data.error_code, getattr(data, "provider_error_type", None)]
    request_id = data.service_request_id or data.provider_call_id
    return _sorted(provider, model, status, hidden(_words(data.message), secret), codes, request_id)


def call_failure(data: Any, provider: str, model: str | None, secret: str) -> ProviderFailure:
    """The failure that a `model.call_failure` event stands for: the CLI may still try again on its own."""
    codes = [data.error_type, data.error_code]
    request_id = data.service_request_id or data.provider_call_id
    return _sorted(provider, model, data.status_code, hidden(_words(data.error_message), secret), codes, request_id)


def is_settled(data: Any) -> bool:
    """Whether a failed call will not mend itself within a moment.

    The CLI renews its own short-lived token after a 401, and falls back to a plainer transport or encoding.
    """
    if data.status_code is None or data.status_code == 401:
        return False
    if data.failure_kind is not None and data.failure_kind.value == "transport":
        return False
    return data.request_body_compression_rejected_status is None


def sort(
    error: Exception, provider: str, model: str | None, *, sent: bool, seconds: float | None, secret: str
) -> ProviderFailure:
    """The failure that an exception of the SDK, or of this adapter, stands for.

    `sent` says that the prompt was on its way: a CLI that is lost then cut its answer.
    """
    if isinstance(error, ProviderFailure):
        # those who waited for one start raise one each
        failed = copy(error)
        failed.model = failed.model or model
        return failed
    words = hidden(_ENVELOPE.sub("", _words(str(error))), secret)
    if isinstance(error, TimeoutError):
        return faults.too_slow(provider, model, seconds)
    if is_lost(error):
        if sent:
            return faults.broken(provider, model, f"the answer was cut off (the Copilot CLI: {words[:200]})")
        return faults.unreachable(provider, model, f"the Copilot CLI: {words[:200]}")
    if type(error).__name__ == "JsonRpcError":
        return _refusal(words, provider, model)
    return faults.broken(provider, model, f"the Copilot CLI's answer has the wrong shape ({type(error).__name__})")


def not_started(error: Exception, provider: str, secret: str) -> ProviderFailure:
    """The CLI was found and did not come up."""
    why = "no answer in time" if isinstance(error, TimeoutError) else hidden(_words(str(error)), secret) or type(error).__name__
    if _NO_LOGIN.search(why):
        return _refusal(why, provider, None)
    return faults.unreachable(provider, None, f"the Copilot CLI did not start: {why[:200]}")


def hidden(text: str, secret: str) -> str:
    """`text` without the secret."""
    return echoes.without(secret, text) if len(secret) > 3 else text


def _refusal(words: str, provider: str, model: str | None) -> ProviderFailure:
    """An error answer to a request of ours, which has no status: only its words count."""
    if _NO_LOGIN.search(words):
        return faults.failure(provider, model, 401, words)
    kind, scope = faults.kind_of(400, words)
    if kind is not FailureKind.WRONG_REQUEST:
        return ProviderFailure(kind, provider, words[:500], model=model, scope=scope)
    return faults.failure(provider, model, None, words)


def _sorted(
    provider: str, model: str | None, status: int | None, message: str, codes: list[str | None], request_id: str | None
) -> ProviderFailure:
    code = " ".join(code for code in codes if code)
    if status in (403, 429) and _QUOTA.search(code):
        status = 402
    if status is None:
        failed = _refusal(f"{code} {message}".strip(), provider, model)
        failed.request_id = request_id
        return failed
    return faults.failure(provider, model, status, message, code=code, request_id=request_id)


def _words(said: str | None) -> str:
    """A message, taken out of the JSON that a vendor's error body may be."""
    text = said or ""
    if text.lstrip().startswith("{"):
        with suppress(ValueError):
            text = fault_bodies.words(json.loads(text))[1] or text
    return " ".join(text.split())
