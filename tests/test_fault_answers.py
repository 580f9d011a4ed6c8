"""Answers that are none, byte for byte over real sockets: a failure of the right kind from every adapter, and nothing of the
SDK or the key in it."""

from __future__ import annotations

import base64
import gzip
import json
import pickle
import traceback
from collections.abc import AsyncIterator, Callable

import pytest

from bundle_loader.errors import FailureKind, ProviderFailure
from bundle_loader.messages import Turn
from bundle_loader.providers import table
from bundle_loader.providers.anthropic import AnthropicProvider
from bundle_loader.providers.base import Provider
from bundle_loader.providers.compatible import CompatibleProvider
from bundle_loader.providers.google import GoogleProvider
from bundle_loader.providers.ollama import OllamaProvider
from bundle_loader.providers.openai import OpenAIProvider
from tests.support.asking import asking, heard
from tests.support.raw_server import RawServer, chunked, http, raw_server

KEY = "sk-Very5ecretKey+of/some-Length"
SSE, LINES = "text/event-stream", "application/x-ndjson"
K = FailureKind


def groq(url: str) -> Provider:
    row = table.row("groq")
    assert row is not None
    return CompatibleProvider(row, api_key=KEY, base_url=f"{url}/v1")


ADAPTERS: dict[str, Callable[[str], Provider]] = {
    "anthropic": lambda url: AnthropicProvider(api_key=KEY, base_url=url),
    "openai": lambda url: OpenAIProvider(api_key=KEY, base_url=f"{url}/v1"),
    "groq": groq,
    "google": lambda url: GoogleProvider(api_key=KEY, base_url=url),
    "ollama": lambda url: OllamaProvider(api_key=KEY, base_url=url),
}


def _sse(*events: object) -> bytes:
    return b"".join(f"data: {json.dumps(event)}\n\n".encode() for event in events)


def _openai(finish: str | None) -> dict[str, object]:
    return {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": "hi ü"}, "finish_reason": finish}]}


_CLAUDE = (
    {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 1, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "hi ü"}},
    {"type": "content_block_stop", "index": 0},
)
_CLAUDE_END = (
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
)
_GEMINI = {"candidates": [{"content": {"role": "model", "parts": [{"text": "hi ü"}]}}]}
_GEMINI_END = {"candidates": [{"content": {"parts": [{"text": "."}]}, "finishReason": "STOP"}]}
_OLLAMA = {"model": "m", "message": {"role": "assistant", "content": "hi ü"}, "done": False}
_OLLAMA_END = {"model": "m", "message": {"role": "assistant", "content": "."}, "done": True, "done_reason": "stop"}

BEGUN = {
    "anthropic": _sse(*_CLAUDE),
    "openai": _sse(_openai(None)),
    "groq": _sse(_openai(None)),
    "google": _sse(_GEMINI),
    "ollama": json.dumps(_OLLAMA).encode() + b"\n",
}
ENDED = {
    "anthropic": _sse(*_CLAUDE_END),
    "openai": _sse(_openai("stop")) + b"data: [DONE]\n\n",
    "groq": _sse(_openai("stop")) + b"data: [DONE]\n\n",
    "google": _sse(_GEMINI_END),
    "ollama": json.dumps(_OLLAMA_END).encode() + b"\n",
}


def _event(adapter: str, text: bytes) -> bytes:
    return text + b"\n" if adapter == "ollama" else b"data: " + text + b"\n\n"


def _kind(adapter: str) -> str:
    return LINES if adapter == "ollama" else SSE


# what is wrong -> the bytes of an answer, and the kinds of failure that it may be
BROKEN: dict[str, tuple[Callable[[str], bytes], set[FailureKind]]] = {
    "an error object": (
        lambda a: http(json.dumps({"error": {"message": "Overloaded"}}).encode(), "application/json"),
        {K.BUSY, K.BROKEN},
    ),
    "an error text": (lambda a: http(b'{"error": "no"}', "application/json"), {K.BROKEN}),
    "a page": (lambda a: http(b"<!DOCTYPE html><html><body>Sign in</body></html>", "text/html"), {K.BROKEN}),
    "a page that says it is a stream": (lambda a: http(b"<html><body>Sign in</body></html>", _kind(a)), {K.BROKEN}),
    "nothing": (lambda a: http(b"", _kind(a)), {K.BROKEN}),
    "no content": (lambda a: http(b"", _kind(a), status="204 No Content"), {K.BROKEN}),
    "a cut stream": (lambda a: http(BEGUN[a], _kind(a)), {K.BROKEN}),
    "fewer bytes than promised": (lambda a: http(BEGUN[a], _kind(a), length=9999), {K.BROKEN}),
    "chunks without an end": (lambda a: chunked(_kind(a), BEGUN[a], ended=False), {K.BROKEN}),
    "a chunk of no size": (lambda a: chunked(_kind(a), BEGUN[a], ended=False) + b"zz\r\n", {K.BROKEN, K.BUSY}),
    "gzip that is none": (lambda a: http(BEGUN[a] + ENDED[a], _kind(a), "content-encoding: gzip"), {K.BROKEN}),
    "gzip that is cut": (
        lambda a: http(gzip.compress(BEGUN[a] + ENDED[a])[:-40], _kind(a), "content-encoding: gzip"),
        {K.BROKEN},
    ),
    "a letter cut in two": (lambda a: http(_event(a, '{"a": "ü"}'.encode()[:-3]), _kind(a)), {K.BROKEN}),
    "bytes that are no text": (lambda a: http(_event(a, b'{"a": "\xff\xfe\x00"}'), _kind(a)), {K.BROKEN}),
    "two objects in one event": (lambda a: http(_event(a, b'{"a": 1} {"b": 2}'), _kind(a)), {K.BROKEN}),
    "not a number": (lambda a: http(_event(a, b'{"choices": NaN, "usage": Infinity, "type": NaN}'), _kind(a)), {K.BROKEN}),
    "a list": (lambda a: http(_event(a, b"[1, 2]"), _kind(a)), {K.BROKEN}),
    "null": (lambda a: http(_event(a, b"null"), _kind(a)), {K.BROKEN}),
    "a number": (lambda a: http(_event(a, b"7"), _kind(a)), {K.BROKEN}),
    "endless brackets": (lambda a: http(_event(a, b"[" * 100_000), _kind(a)), {K.BROKEN}),
    "the wrong shape": (
        lambda a: http(_event(a, b'{"choices": [7], "candidates": [7], "message": 7, "type": 7}'), _kind(a)),
        {K.BROKEN},
    ),
    "a picture": (lambda a: http(b"\x89PNG\r\n\x1a\n", "image/png"), {K.BROKEN}),
    "no status": (lambda a: b"hello\r\n\r\n", {K.BUSY, K.BROKEN}),
    "a status of words": (lambda a: b"HTTP/1.1 fine\r\n\r\n", {K.BUSY, K.BROKEN}),
    "a header without end": (lambda a: b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000, {K.BUSY, K.BROKEN}),
    "a hang-up": (lambda a: b"", {K.BUSY}),
    "an error of bytes": (lambda a: http(b"\xff\xfe\x00", "application/json", status="503 No"), {K.BUSY}),
    "an error in bad gzip": (
        lambda a: http(b"\xff\xfe\x00", "application/json", "content-encoding: gzip", status="503 No"),
        {K.BUSY, K.BROKEN},
    ),
    "an error that is cut": (
        lambda a: http(b'{"error": {"mess', "application/json", status="429 No", length=99),
        {K.LIMITED, K.BUSY, K.BROKEN},
    ),
    "an error of odd types": (
        lambda a: http(b'{"error": {"message": 7, "code": [], "details": 5}}', "application/json", status="500 No"),
        {K.BUSY},
    ),
    "an error that is a list": (
        lambda a: http(b'[{"error": {"code": 400, "message": "odd"}}]', "application/json", status="400 No"),
        {K.WRONG_REQUEST},
    ),
    "a status of its own": (lambda a: http(b"{}", "application/json", status="599 Odd"), {K.BUSY}),
}
ECHOES = [
    KEY,
    f"Authorization: Bearer {KEY}",
    f"Basic {base64.b64encode(f'user:{KEY}'.encode()).decode()}",
    base64.urlsafe_b64encode(f"Bearer {KEY}".encode()).decode(),
    KEY.replace("+", "%2B").replace("/", "%2F"),
]
FORMS = [KEY, KEY[:12], *(base64.b64encode(b"x" * n + KEY.encode()).decode()[4:-4] for n in range(3)), "ecretKey%2Bof"]


@pytest.fixture
async def server() -> AsyncIterator[RawServer]:
    async with raw_server() as serving:
        yield serving


async def outcome(provider: Provider, *, listing: bool) -> ProviderFailure | Turn | int:
    """What comes out of a public method: a failure, or what it gives. Everything else escapes."""
    try:
        if listing:
            return len(await provider.list_models())
        return (await heard(provider, asking("m", timeout=5.0)))[1]
    except ProviderFailure as failed:
        return failed


def is_clean(failed: ProviderFailure) -> None:
    """Nothing of an SDK hangs on a failure, and it crosses a process boundary."""
    assert failed.__cause__ is None
    link = failed.__context__
    while link is not None:
        assert type(link).__module__.split(".")[0] in ("builtins", "bundle_loader"), type(link)
        link = link.__context__
    again = pickle.loads(pickle.dumps(failed))
    assert (type(again), str(again), vars(again)) == (type(failed), str(failed), vars(failed))


@pytest.mark.parametrize("wrong", BROKEN)
@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_an_answer_that_is_none_is_a_failure_of_its_kind(server: RawServer, adapter: str, wrong: str) -> None:
    answer, kinds = BROKEN[wrong]
    server.answer = answer(adapter)
    provider = ADAPTERS[adapter](server.url)
    failed = await outcome(provider, listing=False)
    assert isinstance(failed, ProviderFailure), failed
    assert failed.kind in kinds, failed
    is_clean(failed)
    assert server.requests == 1, "no SDK tries again behind our back"
    listed = await outcome(provider, listing=True)
    if isinstance(listed, ProviderFailure):
        is_clean(listed)
    else:
        assert listed == 0
    await provider.aclose()


@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_a_whole_answer_is_one_and_what_stands_after_its_end_changes_nothing(server: RawServer, adapter: str) -> None:
    provider = ADAPTERS[adapter](server.url)
    server.answer = http(BEGUN[adapter] + ENDED[adapter], _kind(adapter))
    plain = await outcome(provider, listing=False)
    assert isinstance(plain, Turn), plain
    if adapter in ("anthropic", "openai", "groq"):  # the others have no end mark: whatever still comes is read
        server.answer = http(BEGUN[adapter] + ENDED[adapter] + BEGUN[adapter] + b"data: {broken\n\n", _kind(adapter))
        assert await outcome(provider, listing=False) == plain
    server.answer = chunked(_kind(adapter), *(bytes([byte]) for byte in BEGUN[adapter] + ENDED[adapter]))
    assert await outcome(provider, listing=False) == plain
    await provider.aclose()


@pytest.mark.parametrize("where", ["status", "within", "header", "page"])
@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_no_failure_holds_the_key_however_it_is_echoed(server: RawServer, adapter: str, where: str) -> None:
    provider = ADAPTERS[adapter](server.url)
    for echo in ECHOES:
        for filling in (0, 478, 490):
            said = "x" * filling + f" you sent {echo} here"
            body = json.dumps({"error": {"message": said, "type": echo, "code": echo, "details": [{"reason": echo}]}}).encode()
            headers = (f"x-request-id: {echo}", f"request-id: {echo}", f"retry-after: {echo}")
            server.answer = {
                "status": http(body, "application/json", *headers, status="401 No"),
                "within": http(BEGUN[adapter] + _event(adapter, body), _kind(adapter), *headers),
                "header": http(b"", "application/json", *headers, status="503 No"),
                "page": http(f"<html><body>{said}</body></html>".encode(), "text/html", *headers, status="403 No"),
            }[where]
            for listing in (False, True):
                failed = await outcome(provider, listing=listing)
                assert isinstance(failed, ProviderFailure)
                is_clean(failed)
                shown = [str(failed), repr(failed), repr(failed.args), repr(vars(failed)), pickle.dumps(failed).decode("latin-1")]
                shown.append("".join(traceback.format_exception(failed)))
                assert not [form for form in FORMS for text in shown if form in text], (echo, filling, str(failed))
    await provider.aclose()


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://[::1", "ftp://127.0.0.1"])
async def test_an_address_that_leads_nowhere_is_a_failure(adapter: str, url: str) -> None:
    try:
        provider = ADAPTERS[adapter](url)
    except ValueError:  # of the adapter itself, before anything is loaded
        return
    for listing in (False, True):
        failed = await outcome(provider, listing=listing)
        assert isinstance(failed, ProviderFailure), failed
        is_clean(failed)
    await provider.aclose()
