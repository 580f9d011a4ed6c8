"""What a provider's error means: one pure table from status, code and wording to a kind of failure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from bundle_loader.errors import FailureKind, ProviderFailure
from bundle_loader.providers.limit_headers import exhausted_for

_BUSY = frozenset({408, 409, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
_MESSAGE_LIMIT = 500


def _words(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


_TOO_LONG = _words(
    r"context.{0,10}(length|window|size)",
    r"maximum context",
    r"prompt is too long",
    r"too many (input )?tokens",
    r"exceed\w* the (available )?context",
    r"(input|prompt)\b.{0,40}\b(too long|exceeds?)\b.{0,60}(token|limit|maximum)",
    r"request_too_large",
    r"token count.{0,40}exceeds",
)
_QUOTA = _words(
    r"insufficient_quota",
    r"exceeded your current quota",
    r"credit balance",
    r"billing",
    r"payment required",
    r"out of credits",
    r"insufficient (credits|balance)",
    r"spend limit",
)
_UNKNOWN_MODEL = _words(
    r"model_not_found",
    r"unknown[_ ]model",
    r"invalid model\b",
    r"no such model",
    r"model\b[^.]{0,80}(does not exist|not found|is not available|not supported for)",
    r"not a valid model",
    r"pull(ing)? it first",
)
_SAFETY = _words(
    r"content[_ ](filter|policy)",
    r"content_policy_violation",
    r"safety (system|policy|setting)",
    r"blocked by",
    r"prohibited[_ ]content",
    r"responsible ai",
    r"flagged as",
)
_BAD_KEY = _words(
    r"api[_ ]key (not valid|invalid)", r"invalid[_ ]api[_ ]key", r"api key expired", r"API_KEY_INVALID", r"unregistered callers"
)
_UNSUPPORTED = _words(
    r"unsupported[_ ](parameter|value|modality)",
    r"unknown parameter",
    r"unrecognized (request )?argument",
    r"extra inputs are not permitted",
    r"does(n't| not) support",
    r"do not support",
    r"is not supported",
    r"not supported (with|by|for)",
    r"deprecated for this model",
    r"cannot both be specified",
    r"invalid (tool|function)[\w ]{0,20}(schema|name|declaration)",
    r"invalid schema",
    r"tools?\[?\.?\d*\S{0,40}(schema|input_schema)",
    r"unknown name \"",
    r"function_declarations",
)
_OVERLOADED = _words(
    r"overload",
    r"server_error",
    r"internal_error",
    r"api_error",
    r"unavailable",
    r"temporarily",
    r"try again",
    r"engine is currently",
)
_RATE = _words(r"rate[_ ]?limit", r"too many requests", r"resource_exhausted", r"throttl")


def kind_of(status: int | None, words: str) -> tuple[FailureKind, str]:
    """The kind of failure and its scope (`provider` or `model`) for an HTTP status and the vendor's own words.

    `words` is the error's type, code and message together. A status of 200 or None is an error inside a stream,
    where only the words count.
    """
    if status in _BUSY:
        return FailureKind.BUSY, "model"
    if status == 429:
        if _QUOTA.search(words):
            return FailureKind.REFUSED, "provider"
        return FailureKind.LIMITED, "model"
    if status in (401, 402):
        return FailureKind.REFUSED, "provider"
    if status == 403 and _SAFETY.search(words):
        return FailureKind.CONTENT_REFUSED, "model"
    if status == 403:
        return FailureKind.REFUSED, "provider" if _BAD_KEY.search(words) else "model"
    if status == 404:
        return FailureKind.REFUSED, "model"
    if status == 413:
        return FailureKind.TOO_LONG, "model"
    if status is not None and 400 <= status < 500:
        return _kind_of_client_error(words)
    if status is not None and status >= 500:
        return FailureKind.BUSY, "model"
    return _kind_inside_stream(words)


def _kind_of_client_error(words: str) -> tuple[FailureKind, str]:
    if _BAD_KEY.search(words) or _QUOTA.search(words):
        return FailureKind.REFUSED, "provider"
    if _TOO_LONG.search(words):
        return FailureKind.TOO_LONG, "model"
    if _UNKNOWN_MODEL.search(words):
        return FailureKind.REFUSED, "model"
    if _SAFETY.search(words):
        return FailureKind.CONTENT_REFUSED, "model"
    if _UNSUPPORTED.search(words):
        return FailureKind.UNSUPPORTED, "provider"
    return FailureKind.WRONG_REQUEST, "model"


def _kind_inside_stream(words: str) -> tuple[FailureKind, str]:
    if _QUOTA.search(words) or _BAD_KEY.search(words):
        return FailureKind.REFUSED, "provider"
    if _RATE.search(words):
        return FailureKind.LIMITED, "model"
    if _TOO_LONG.search(words):
        return FailureKind.TOO_LONG, "model"
    if _SAFETY.search(words):
        return FailureKind.CONTENT_REFUSED, "model"
    if _OVERLOADED.search(words):
        return FailureKind.BUSY, "model"
    return FailureKind.BROKEN, "model"


def failure(
    provider: str,
    model: str | None,
    status: int | None,
    message: str,
    *,
    code: str = "",
    headers: Mapping[str, str] | None = None,
    retry_after: float | None = None,
    request_id: str | None = None,
    now: float | None = None,
) -> ProviderFailure:
    """Sort one vendor error. `code` is the vendor's own type or code; `retry_after` in seconds wins over the headers."""
    kind, scope = kind_of(status, f"{code} {message}")
    if retry_after is None and headers is not None:
        retry_after = retry_after_seconds(headers, now)
        if retry_after is None and kind is FailureKind.LIMITED and now is not None:
            retry_after = exhausted_for(headers, now)
    text = " ".join(message.split())[:_MESSAGE_LIMIT] or code or "no message"
    return ProviderFailure(
        kind, provider, text, model=model, status=status, retry_after=retry_after, request_id=request_id, scope=scope
    )


def unreachable(provider: str, model: str | None, why: str) -> ProviderFailure:
    """No connection: refused, reset, name not found."""
    return ProviderFailure(FailureKind.BUSY, provider, f"no connection ({why})", model=model, scope="provider")


def too_slow(provider: str, model: str | None, seconds: float | None = None) -> ProviderFailure:
    """No answer within the time allowed."""
    within = f" within {seconds:g} s" if seconds else ""
    return ProviderFailure(FailureKind.BUSY, provider, f"timeout: no answer{within}", model=model)


def broken(provider: str, model: str | None, what: str) -> ProviderFailure:
    """A success status whose body is not an answer: cut, empty, HTML, malformed, the wrong shape."""
    return ProviderFailure(FailureKind.BROKEN, provider, what, model=model)


def content_refused(provider: str, model: str | None, what: str) -> ProviderFailure:
    """The vendor's safety system refused the prompt or the answer."""
    return ProviderFailure(FailureKind.CONTENT_REFUSED, provider, what, model=model)


def foreign(error: Exception, provider: str, model: str | None) -> ProviderFailure:
    """What a provider of somebody else's raised that is no `ProviderFailure`: it costs a hop, not the delegation."""
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, TimeoutError):
        return too_slow(provider, model)
    if isinstance(error, OSError):
        return unreachable(provider, model, said)
    return broken(provider, model, f"the provider broke ({said})")


def no_key(provider: str, variables: tuple[str, ...]) -> ProviderFailure:
    """The provider needs a key and none is set."""
    names = " or ".join(variables)
    return ProviderFailure(FailureKind.REFUSED, provider, f"no key: set {names}", scope="provider")


def retry_after_seconds(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds to wait from `retry-after-ms` or `retry-after` (seconds, or an HTTP date when `now` is given)."""
    milliseconds = headers.get("retry-after-ms")
    if milliseconds is not None:
        try:
            return max(0.0, float(milliseconds) / 1000)
        except ValueError:
            pass
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    if now is None:
        return None
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (TypeError, ValueError):
        return None
