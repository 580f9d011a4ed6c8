"""What a provider's error means: one pure table from status, code and wording to a kind of failure.

The numbered rules are read from top to bottom; the first that fits decides. `model` and `provider` say what is out.

1. A page of HTML is a gateway's: only the status counts.
2. 408, 409, 425, 498, 499 and all from 500 on: busy. A 500 or 501 in a vendor's exact words for a request that is too long
   or not taken is that: some servers know no other status.
3. 429: the vendor is paid no more, or the account is closed -> refused, provider; words that say so of every quota do not
   count where a wait is told. A limit of a day or a month whose end is told -> limited until then; one without an end that
   can be believed -> refused, for the model, since such limits are counted for each model. All else -> limited. Before that,
   and before rules 4 to 8: money that is there and too little for the length of this one request -> unsupported, since it
   closes the provider for no other request.
4. 401, 402, 407 and 451: refused, provider.
5. 403: in words for content that is refused -> that; about the account, its key or its money -> refused, provider; else
   refused, model: what one model forbids another may allow.
6. 404 and 410: a feature that no server of the model takes -> unsupported; else refused, model. 405: refused, provider, as
   no other path of that server answers better.
7. 413: a rate limit that the request alone is beyond -> limited; else too long.
8. Any other 4xx, by its words: key, money, account or place; a cap of the answer that the model does not take; too long; an
   unknown model; refused content; what this vendor does not take; a model that is loading; else a wrong request.
9. 3xx: a redirect is not followed, the answer is broken. An error within a success is what its own code or type would be as
   a status; where it names none, what its words say; else the answer is broken.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from bundle_loader.errors import FailureKind, ProviderFailure
from bundle_loader.masking import repeatable
from bundle_loader.providers import fault_words, waits
from bundle_loader.providers.limit_headers import exhausted_for

_MESSAGE_LIMIT = 500
REQUEST_ID_LIMIT = 200
Verdict = tuple[FailureKind, str]

BUSY: Final = (FailureKind.BUSY, "model")
LIMITED: Final = (FailureKind.LIMITED, "model")
OUT: Final = (FailureKind.REFUSED, "provider")
GONE: Final = (FailureKind.REFUSED, "model")
TOO_LONG: Final = (FailureKind.TOO_LONG, "model")
CONTENT: Final = (FailureKind.CONTENT_REFUSED, "model")
UNSUPPORTED: Final = (FailureKind.UNSUPPORTED, "provider")
WRONG: Final = (FailureKind.WRONG_REQUEST, "model")
BROKEN: Final = (FailureKind.BROKEN, "model")

BY_STATUS: Final[Mapping[int, Verdict]] = MappingProxyType(
    dict.fromkeys((408, 409, 425, 498, 499), BUSY)
    | dict.fromkeys((401, 402, 405, 407, 451), OUT)
    | dict.fromkeys((403, 404, 410), GONE)
    | {413: TOO_LONG, 429: LIMITED}
)
"""What a status means without words, where it is not what its hundred means."""
_BY_HUNDRED: Final = {1: BROKEN, 2: BROKEN, 3: BROKEN, 4: WRONG}

_AS_STATUS: Final[Mapping[str, int]] = MappingProxyType(
    dict.fromkeys(("invalid_request_error", "invalid_argument", "failed_precondition", "badrequesterror", "out_of_range"), 400)
    | dict.fromkeys(("exceed_context_size_error", "context_length_exceeded", "bad_request", "invalid_request"), 400)
    | dict.fromkeys(("authentication_error", "unauthenticated", "invalid_api_key"), 401)
    | dict.fromkeys(("billing_error", "payment_required"), 402)
    | dict.fromkeys(("permission_error", "permission_denied"), 403)
    | dict.fromkeys(("not_found_error", "not_found", "model_not_found", "notfounderror"), 404)
    | {"request_too_large": 413, "aborted": 409, "overloaded_error": 529, "deadline_exceeded": 504, "timeout_error": 504}
    | dict.fromkeys(("rate_limit_error", "rate_limit_exceeded", "resource_exhausted", "insufficient_quota"), 429)
    | dict.fromkeys(("api_error", "server_error", "internal", "internal_server_error", "internalservererror"), 500)
    | dict.fromkeys(("unavailable", "unavailable_error", "service_unavailable"), 503)
)
"""The status that a vendor gives together with a type or a code; in small letters."""


def kind_of(status: int | None, words: str) -> Verdict:
    """The kind of failure and its scope (`provider` or `model`) for an HTTP status and the vendor's own words.

    `words` is the error's type, code and message together. A status of 200 or None is an error inside a stream,
    where only the words count.
    """
    return _judged(status, "", words, ends=False)


def _judged(status: int | None, code: str, message: str, *, ends: bool) -> Verdict:
    """As `kind_of`; `ends` says that the vendor told when a limit comes back."""
    if fault_words.is_page(message):
        return _by_status(status)
    words = f"{code} {code.replace('_', ' ')} {fault_words.plain(message)}"
    if status is None or status < 300:
        status = _status_within(code)
        if status is None:
            return _within(words)
    if status >= 500 or status in (408, 409, 425, 498, 499):
        return _of_a_server(status, words)
    if fault_words.PART_OF_BALANCE.search(words):
        return UNSUPPORTED
    if status == 429:
        return _of_a_limit(words, ends)
    if status == 403:
        return _of_a_ban(words)
    if status in (404, 410) and "no endpoints found that support" in words.lower():
        return UNSUPPORTED
    if status == 413 and fault_words.RATE.search(words):
        return LIMITED
    verdict = _by_status(status)
    return _of_a_client(words) if verdict is WRONG else verdict


def _by_status(status: int | None) -> Verdict:
    if status is None:
        return BROKEN
    return BY_STATUS.get(status) or _BY_HUNDRED.get(status // 100, BUSY)


def _status_within(code: str) -> int | None:
    """The status that an error inside a stream would have had."""
    for word in code.lower().split():
        if word.isdecimal() and 400 <= int(word[:4]) < 600:
            return int(word)
        if word in _AS_STATUS:
            return _AS_STATUS[word]
    return None


def _of_a_server(status: int, words: str) -> Verdict:
    if status in (500, 501):
        if fault_words.TOO_LONG.search(words):
            return TOO_LONG
        if fault_words.UNSUPPORTED.search(words):
            return UNSUPPORTED
    return BUSY


def _of_a_limit(words: str, ends: bool) -> Verdict:
    if ends:
        words = fault_words.ANY_QUOTA.sub("", words)
    if fault_words.QUOTA.search(words) or fault_words.ACCOUNT.search(words):
        return OUT
    spent = fault_words.PER_DAY.search(words) and not fault_words.PER_MINUTE.search(words)
    return GONE if spent and not ends else LIMITED


def _of_a_ban(words: str) -> Verdict:
    if fault_words.SAFETY.search(words):
        return CONTENT
    out = (fault_words.BAD_KEY, fault_words.QUOTA, fault_words.ACCOUNT)
    return OUT if any(pattern.search(words) for pattern in out) else GONE


_OF_A_CLIENT: Final = (
    (fault_words.BAD_KEY, OUT),
    (fault_words.QUOTA, OUT),
    (fault_words.ACCOUNT, OUT),
    (fault_words.PLACE, OUT),
    (fault_words.CAP_OF_ANSWER, UNSUPPORTED),
    (fault_words.TOO_LONG, TOO_LONG),
    (fault_words.UNKNOWN_MODEL, GONE),
    (fault_words.SAFETY, CONTENT),
    (fault_words.UNSUPPORTED, UNSUPPORTED),
    (fault_words.LOADING, BUSY),
)


def _of_a_client(words: str) -> Verdict:
    return next((verdict for pattern, verdict in _OF_A_CLIENT if pattern.search(words)), WRONG)


_WITHIN: Final = (
    (fault_words.QUOTA, OUT),
    (fault_words.BAD_KEY, OUT),
    (fault_words.RATE, LIMITED),
    (fault_words.TOO_LONG, TOO_LONG),
    (fault_words.SAFETY, CONTENT),
    (fault_words.OVERLOADED, BUSY),
)


def _within(words: str) -> Verdict:
    return next((verdict for pattern, verdict in _WITHIN if pattern.search(words)), BROKEN)


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
    """Sort one vendor error.

    `code` is the vendor's own type or code. A wait that can be believed is taken from `retry_after` (seconds), else from the
    headers, else from the words; of a limit also from what the headers say of its reset.
    """
    wait = None if retry_after is None else waits.believable(retry_after)
    if wait is None and headers is not None:
        wait = waits.from_headers(headers, now)
        if wait is None and status == 429 and now is not None:
            wait = exhausted_for(headers, now)
    if wait is None and not fault_words.is_page(message):
        wait = waits.from_words(message[:2000])
    kind, scope = _judged(status, code, message, ends=wait is not None)
    if kind not in (FailureKind.BUSY, FailureKind.LIMITED):
        wait = None
    text = fault_words.without_tags(message) if fault_words.is_page(message) else " ".join(message.split())
    # masked before it is cut, since a piece of a key does not look like one
    text = repeatable(text[: 8 * _MESSAGE_LIMIT])[:_MESSAGE_LIMIT] or code[:_MESSAGE_LIMIT] or "no message"
    id = request_id[:REQUEST_ID_LIMIT] if request_id else None
    return ProviderFailure(kind, provider, text, model=model, status=status, retry_after=wait, request_id=id, scope=scope)


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


def no_client(error: Exception, provider: str, model: str | None) -> ProviderFailure:
    """The SDK is not installed, or its client cannot be built from what was declared."""
    why = short(error) or type(error).__name__
    what = "the SDK is not installed" if isinstance(error, ImportError) else "the SDK's client cannot be built"
    return ProviderFailure(FailureKind.REFUSED, provider, f"{what} ({why})", model=model, scope="provider")


def foreign(error: Exception, provider: str, model: str | None, what: str = "provider") -> ProviderFailure:
    """What a provider (or spawner) of somebody else's raised that is no `ProviderFailure`: it costs a hop, not the delegation."""
    words = short(error)
    said = f"{type(error).__name__}: {words}" if words else type(error).__name__
    if isinstance(error, TimeoutError):
        return too_slow(provider, model)
    if isinstance(error, OSError):
        return unreachable(provider, model, said)
    return broken(provider, model, f"the {what} broke ({said})")


def short(error: BaseException, limit: int = 200) -> str:
    """What somebody else's exception says, on one line of at most `limit` characters, without what looks like a key."""
    return repeatable(" ".join(words_of(error)[: 8 * _MESSAGE_LIMIT].split()))[:limit]


def words_of(error: BaseException) -> str:
    """What an exception says; nothing where that itself fails, as it may with another package's."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - another package's method may raise anything
        return ""


def no_key(provider: str, variables: tuple[str, ...]) -> ProviderFailure:
    """The provider needs a key and none is set."""
    names = " or ".join(variables)
    return ProviderFailure(FailureKind.REFUSED, provider, f"no key: set {names}", scope="provider")
