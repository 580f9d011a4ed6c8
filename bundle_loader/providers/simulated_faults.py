"""The ways in which a simulated provider fails: read from a word, and made into what an adapter would raise."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal

from bundle_loader.errors import ProviderFailure, RequestError, did_you_mean
from bundle_loader.providers import faults as meanings
from bundle_loader.providers.table import row

FAULT_WORDS: Mapping[str, str] = {
    "down": "the connection is refused, for chats and for the list of models",
    "timeout": "no answer in time (raised at once; give `latency` to wait)",
    "cut": "the stream ends after some text",
    "empty": "a success without an answer",
    "malformed": "a success whose body is not JSON",
    "too-long": "the prompt does not fit the context window",
    "refusal": "the safety system refuses the prompt",
    "unsupported": "the model does not take a part of the request",
    "no-key": "the provider has no key, for chats and for the list of models",
    "list": "the list of models fails with 503, chats would work (list-<status> for another status)",
}
"""The words that `parse_fault` takes beside an HTTP status, and what each does."""

_FAULT = re.compile(r"(?P<list>list-)?(?P<status>[0-9]{3})(?::(?P<after>[0-9]+(?:\.[0-9]+)?))?")
_STATUS_WORDS = {
    400: "invalid_request_error: the request cannot be read",
    401: "authentication_error: the key is not accepted",
    402: "payment required",
    403: "permission_error: this key may not use this model",
    404: "not_found_error: no such model",
    413: "request_too_large: the request is larger than allowed",
    429: "rate_limit_error: too many requests",
    503: "service unavailable",
    529: "overloaded_error: overloaded",
}


@dataclass(frozen=True, slots=True)
class SimulatedFault:
    """A way to fail, as `parse_fault` reads it."""

    word: str
    """`status`, or one of `FAULT_WORDS` but `list`."""
    status: int | None = None
    """The HTTP status where the word is `status`."""
    retry_after: float | None = None
    """Seconds that the provider asks to wait."""
    on: Literal["chat", "list", "both"] = "chat"
    """Which requests fail when the fault belongs to the provider."""

    def failure(self, provider: str, model: str | None) -> ProviderFailure:
        """What an adapter would raise; `model` is None for the list of models."""
        if self.word == "down":
            return meanings.unreachable(provider, model, "connection refused, simulated")
        if self.word == "timeout":
            return meanings.too_slow(provider, model)
        if self.word == "cut":
            return meanings.broken(provider, model, "simulated: the stream ended before the answer did")
        if self.word == "empty":
            return meanings.broken(provider, model, "simulated: an empty answer")
        if self.word == "malformed":
            return meanings.broken(provider, model, "simulated: malformed JSON")
        if self.word == "too-long":
            return meanings.failure(provider, model, 400, "simulated: prompt is too long for the context window")
        if self.word == "refusal":
            return meanings.content_refused(provider, model, "simulated: refused by the safety system")
        if self.word == "unsupported":
            return meanings.failure(provider, model, 400, "simulated: this model does not support a part of the request")
        if self.word == "no-key":
            return meanings.no_key(provider, _key_variables(provider))
        return meanings.failure(
            provider, model, self.status, f"simulated: {_status_words(self.status)}", retry_after=self.retry_after
        )


def parse_fault(text: str) -> SimulatedFault:
    """Read a fault: an HTTP status (`503`), a status with the seconds to wait (`429:7`), or one of `FAULT_WORDS`.

    `list` and `list-<status>` fail the list of models only. Raises `RequestError` that names what is accepted and what
    comes nearest.
    """
    word = text.strip().lower()
    found = _FAULT.fullmatch(word)
    if found and 400 <= int(found["status"]) <= 599:
        after = found["after"]
        return SimulatedFault(
            "status",
            status=int(found["status"]),
            retry_after=float(after) if after else None,
            on="list" if found["list"] else "chat",
        )
    if word == "list":
        return SimulatedFault("status", status=503, on="list")
    if word in FAULT_WORDS:
        return SimulatedFault(word, on="both" if word in ("down", "no-key") else "chat")
    known = [*FAULT_WORDS, *(str(status) for status in _STATUS_WORDS), "list-503"]
    raise RequestError(
        f"unknown fault {text!r}{did_you_mean(word, known)}; a fault is an HTTP status from 400 to 599 (503, 429:7 with"
        f" the seconds to wait, list-503 for the list of models) or one of: {', '.join(FAULT_WORDS)}"
    )


def _key_variables(id: str) -> tuple[str, ...]:
    found = row(id)
    usual = re.sub(r"[^A-Z0-9]", "_", id.upper()) + "_API_KEY"
    return found.key_variables if found and found.key_variables else (usual,)


def _status_words(status: int | None) -> str:
    if status in _STATUS_WORDS:
        return _STATUS_WORDS[status]
    return HTTPStatus(status).phrase.lower() if status in set(HTTPStatus) else "an error"
