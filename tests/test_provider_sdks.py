"""What the adapters for the Anthropic and OpenAI SDKs share: events, ids of calls, and the sorting of every exception."""

from __future__ import annotations

import importlib
import inspect
import pickle
import typing
from types import SimpleNamespace
from typing import Any

import pytest

from bundle_loader.errors import FailureKind
from bundle_loader.providers import sdk_faults
from bundle_loader.providers.call_ids import CallIds
from bundle_loader.providers.sse import LARGEST, SseParser

KEY = "sk-very-secret-key"

_STREAM = (
    b"\xef\xbb\xbf: hello\r\ndata: one\r\n\r\nevent: named\ndata:two\ndata: three\n\nid: 4\nretry: 5\n\nevent: lost\n\n"
    + "data: ü€\r\rdata: [DONE]".encode()
)
_EVENTS = [("", "one"), ("named", "two\nthree"), ("", "ü€"), ("", "[DONE]")]


def test_events_are_the_same_wherever_the_network_cuts_them() -> None:
    for first in range(len(_STREAM)):
        for second in (first, (first + 1) % len(_STREAM), len(_STREAM) // 2):
            low, high = sorted((first, second))
            parser = SseParser()
            got = [event for piece in (_STREAM[:low], _STREAM[low:high], _STREAM[high:]) for event in parser.feed(piece)]
            assert got + parser.close() == _EVENTS
    parser = SseParser()
    assert [event for byte in _STREAM for event in parser.feed(bytes([byte]))] + parser.close() == _EVENTS


def test_an_event_without_end_is_refused() -> None:
    parser = SseParser()
    parser.feed(b"data: ")
    parser.feed(b"x" * (LARGEST - 6))
    with pytest.raises(ValueError, match="too large"):
        parser.feed(b"x")


def test_ids_of_calls_stay_where_they_fit_and_are_stable_where_they_do_not() -> None:
    ids = CallIds("[a-z0-9]{1,10}")
    assert ids.call("abc1") == ids.result("abc1") == "abc1"
    odd = ids.call("Not fit!")
    assert odd == ids.result("Not fit!") == CallIds("[a-z0-9]{1,10}").call("Not fit!")
    assert odd != "Not fit!"
    again = ids.call("abc1")
    assert again == ids.result("abc1") != "abc1"


_KINDS: dict[str, dict[tuple[FailureKind, str], tuple[str, ...]]] = {
    "anthropic": {
        (FailureKind.BUSY, "model"): (
            "APIStatusError",
            "APITimeoutError",
            "CMEKContextUnavailableError",
            "CMEKKeyUnreachableError",
            "ConflictError",
            "DeadlineExceededError",
            "GatewayTimeoutError",
            "HTTPNotImplementedError",
            "InternalServerError",
            "OverloadedError",
            "RequestTimeoutError",
            "RetryableError",
            "ServiceUnavailableError",
        ),
        (FailureKind.BUSY, "provider"): ("APIConnectionError",),
        (FailureKind.LIMITED, "model"): (
            "RampLimitExceededError",
            "RateLimitError",
        ),
        (FailureKind.REFUSED, "provider"): (
            "AuthenticationError",
            "CMEKKeyDisabledError",
            "CMEKKeyNetworkBlockedError",
            "ContractSpendLimitReachedError",
            "CredentialsError",
            "EnforcedSpendLimitReachedError",
            "IdentityTokenFileError",
            "LinkedOrganizationBillingUnavailableError",
            "LinkedOrganizationSpendLimitReachedError",
            "OrganizationOnHoldError",
            "PaymentRequiredError",
            "WorkloadIdentityError",
        ),
        (FailureKind.REFUSED, "model"): (
            "NotFoundError",
            "PermissionDeniedError",
            "SandboxEgressRestrictedError",
        ),
        (FailureKind.TOO_LONG, "model"): (
            "ContentTooLargeError",
            "RequestBodyTooLargeAfterDecodingError",
            "RequestTooLargeError",
        ),
        (FailureKind.WRONG_REQUEST, "model"): (
            "BadRequestError",
            "ClaudeCodeKeyCreatorNotMemberError",
            "ClaudeCodeVersionTooOldError",
            "ClientClosedRequestError",
            "OrganizationTypeNotSupportedError",
            "ParentOrganizationRequiredError",
            "PreconditionFailedError",
            "RequestBodyEncodingInvalidError",
            "RequestBodyEncodingUnsupportedError",
            "RequestHeaderFieldsTooLargeError",
            "UnprocessableEntityError",
        ),
        (FailureKind.BROKEN, "model"): (
            "APIError",
            "APIResponseValidationError",
            "APIWebhookValidationError",
            "AnthropicError",
        ),
    },
    "openai": {
        (FailureKind.BUSY, "model"): (
            "APIStatusError",
            "APITimeoutError",
            "ConflictError",
            "InternalServerError",
        ),
        (FailureKind.BUSY, "provider"): ("APIConnectionError",),
        (FailureKind.LIMITED, "model"): ("RateLimitError",),
        (FailureKind.REFUSED, "provider"): (
            "AuthenticationError",
            "OAuthError",
            "SubjectTokenProviderError",
        ),
        (FailureKind.REFUSED, "model"): (
            "NotFoundError",
            "PermissionDeniedError",
        ),
        (FailureKind.WRONG_REQUEST, "model"): (
            "BadRequestError",
            "UnprocessableEntityError",
        ),
        (FailureKind.CONTENT_REFUSED, "model"): ("ContentFilterFinishReasonError",),
        (FailureKind.BROKEN, "model"): (
            "APIError",
            "APIResponseValidationError",
            "InvalidWebhookSignatureError",
            "LengthFinishReasonError",
            "OpenAIError",
            "WebSocketConnectionClosedError",
            "WebSocketQueueFullError",
            "_AmbiguousModuleClientUsageError",
        ),
    },
}


def _made(cls: type[Exception]) -> Exception:
    """An exception as the SDK makes it, with the key wherever one could be."""
    import httpx2

    request = httpx2.Request("POST", "http://127.0.0.1/v1/x", headers={"authorization": f"Bearer {KEY}"})
    code = typing.get_args(inspect.get_annotations(cls).get("error_code"))
    body = {"error": {"type": "t", "message": f"words {KEY}", "details": {"error_code": code[0] if code else None}}}
    response = httpx2.Response(getattr(cls, "status_code", 500), request=request)
    ways: tuple[tuple[tuple[Any, ...], dict[str, Any]], ...] = (
        (("m",), {"response": response, "body": body}),
        ((), {"response": response, "body": body}),
        (("m", request), {"body": None}),
        ((), {"request": request}),
        ((), {"completion": SimpleNamespace(usage=None)}),
        (("m",), {"unsent_messages": []}),
        ((f"m {KEY}",), {}),
        ((), {}),
    )
    for arguments, named in ways:
        try:
            return cls(*arguments, **named)
        except TypeError:
            continue
    raise AssertionError(f"{cls.__name__} is made in a way that this test does not know")


@pytest.mark.parametrize("name", ["anthropic", "openai"])
def test_every_exception_that_the_sdk_exports_is_sorted(name: str) -> None:
    sdk = importlib.import_module(name)
    exported = {
        word: member
        for place in (sdk, sdk._exceptions)
        for word, member in list(vars(place).items())
        if inspect.isclass(member) and issubclass(member, Exception)
    }
    found: dict[tuple[FailureKind, str], set[str]] = {}
    for word, cls in exported.items():
        failure = sdk_faults.sort(_made(cls), sdk, provider="p", model="m", secret=KEY)
        found.setdefault((failure.kind, failure.scope), set()).add(word)
        assert KEY not in pickle.dumps(failure).decode("latin-1")
    assert found == {kind: set(words) for kind, words in _KINDS[name].items()}
