"""Every fault of the loopback vendors, seen through the four official SDKs."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest
from google.genai import errors as google_errors
from ollama import ResponseError
from pydantic import ValidationError

from tests.support.sdks import HEAR, Heard, hear, models_of
from tests.support.vendors import DEFAULT_TEXT, Fault, World

Vendors = tuple[World, str]
SDKS = tuple(HEAR)
HTML = "text/html; charset=utf-8"
PATIENCE = 0.3
"""Seconds that an SDK waits in the tests where the vendor says nothing."""

HALF = {
    "anthropic": "Hello from the loopba",
    "openai": "Hello from the",
    "google": "Hello from the loopba",
    "ollama": "Hello from the loopba",
}
BROKEN_JSON = dict.fromkeys(SDKS, json.JSONDecodeError) | {"google": google_errors.UnknownApiResponseError}
DROPPED = {
    "anthropic": httpx2.RemoteProtocolError,
    "openai": openai.APIConnectionError,
    "google": httpx2.RemoteProtocolError,
    "ollama": httpx.RemoteProtocolError,
}
IN_STREAM = {
    "anthropic": anthropic.APIStatusError,
    "openai": openai.APIError,
    "google": google_errors.ServerError,
    "ollama": ResponseError,
}


@pytest.mark.parametrize("name", SDKS)
@pytest.mark.parametrize(
    ("fault", "errors"),
    [
        (Fault.cut(), None),
        (Fault.cut(abruptly=True), DROPPED),
        (Fault.malformed(), BROKEN_JSON),
        (Fault.error_in_stream(), IN_STREAM),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else "",
)
async def test_a_stream_breaks_after_some_text(
    vendors: Vendors, name: str, fault: Fault, errors: dict[str, type[Exception]] | None
) -> None:
    world, base = vendors
    world.vendor(name).faults = [fault]
    heard = Heard()
    if errors is None:
        await HEAR[name](world.url(base, name), heard)
    else:
        with pytest.raises(errors[name]):
            await HEAR[name](world.url(base, name), heard)
    assert (heard.text, heard.finish) == (HALF[name], None)
    assert (await hear(vendors, name)).text == DEFAULT_TEXT


async def test_an_error_in_the_stream_bears_the_word_it_was_given(vendors: Vendors) -> None:
    world, _ = vendors
    world.vendor("anthropic").faults = [Fault.error_in_stream("rate_limit_error")]
    with pytest.raises(anthropic.APIStatusError, match="rate_limit_error"):
        await hear(vendors, "anthropic")
    world.vendor("google").faults = [Fault.error_in_stream("RESOURCE_EXHAUSTED")]
    with pytest.raises(google_errors.ClientError, match="429 RESOURCE_EXHAUSTED"):
        await hear(vendors, "google")
    world.vendor("openai").faults = [Fault.error_in_stream("insufficient_quota")]
    with pytest.raises(openai.APIError, match="exceeded your current quota") as caught:
        await hear(vendors, "openai")
    assert caught.value.code == "insufficient_quota"


LIMITED = {"anthropic": "rate_limit_error", "openai": "rate_limit_exceeded", "google": "RESOURCE_EXHAUSTED", "ollama": "an error"}


@pytest.mark.parametrize("name", SDKS)
async def test_a_status_is_in_the_vendors_words_and_says_when_to_come_back(vendors: Vendors, name: str) -> None:
    world, _ = vendors
    world.vendor(name).faults = [Fault.status(429, retry_after=7, headers={"x-more": "1"}), Fault.status(503)]
    with pytest.raises(Exception) as caught:  # noqa: PT011
        await hear(vendors, name)
    error: Any = caught.value
    assert LIMITED[name] in (f"{error.body['code']}" if name == "openai" else str(error))
    if name == "google":
        assert error.details["error"]["details"][0]["retryDelay"] == "7s"
        assert "retry-after" not in error.response.headers
    elif name != "ollama":
        assert (error.response.headers["retry-after"], error.response.headers["x-more"]) == ("7", "1")
    with pytest.raises(Exception):  # noqa: B017, PT011
        await hear(vendors, name)
    assert [request.status for request in world.chats(name)] == [429, 503]


async def test_a_status_can_have_any_word_message_and_body(vendors: Vendors) -> None:
    world, _ = vendors
    world.vendor("openai").faults = [
        Fault.status(429, word="insufficient_quota"),
        Fault.status(400, message="Own words."),
        Fault.status(502, body="<html>bad gateway</html>"),
    ]
    with pytest.raises(openai.RateLimitError, match="exceeded your current quota") as caught:
        await hear(vendors, "openai")
    assert caught.value.code == "insufficient_quota"
    with pytest.raises(openai.BadRequestError, match="Own words"):
        await hear(vendors, "openai")
    with pytest.raises(openai.InternalServerError) as page:
        await hear(vendors, "openai")
    assert (page.value.response.text, page.value.response.headers["content-type"]) == ("<html>bad gateway</html>", HTML)


async def test_faults_hit_only_what_they_are_for(vendors: Vendors) -> None:
    world, _ = vendors
    vendor = world.vendor("anthropic")
    vendor.fault = [Fault.status(429).on("claude-haiku-*"), Fault.list(Fault.status(500))]
    with pytest.raises(anthropic.RateLimitError):
        await hear(vendors, "anthropic")
    assert (await hear(vendors, "anthropic", model="claude-opus-4-6")).text == DEFAULT_TEXT
    with pytest.raises(anthropic.InternalServerError):
        await models_of(vendors, "anthropic")
    vendor.fault = Fault.everywhere(Fault.status(529))
    with pytest.raises(anthropic.OverloadedError):
        await models_of(vendors, "anthropic")
    with pytest.raises(anthropic.OverloadedError):
        await hear(vendors, "anthropic")
    vendor.fault, vendor.faults = None, [Fault.status(500), None, Fault.status(503)]
    statuses = []
    for _ in range(4):
        try:
            statuses.append((await hear(vendors, "anthropic")).finish)
        except anthropic.APIStatusError as error:
            statuses.append(str(error.status_code))
    assert statuses == ["500", "end_turn", "503", "end_turn"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.empty(), json.JSONDecodeError),
        (Fault.malformed(), json.JSONDecodeError),
        (Fault.cut(), openai.APIConnectionError),
        (Fault.hang_up(), openai.APIConnectionError),
        (Fault.html(), AttributeError),
        (Fault.wrong_shape(), None),
        (Fault.error_in_stream(), None),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else "",
)
async def test_a_list_breaks_too(vendors: Vendors, fault: Fault, error: type[Exception] | None) -> None:
    vendors[0].vendor("openai").faults = [Fault.list(fault)]
    if error is None:
        assert await models_of(vendors, "openai") == []
    else:
        with pytest.raises(error):
            await models_of(vendors, "openai")
    assert await models_of(vendors, "openai") == vendors[0].vendor("openai").ids


TOO_LONG = {
    "anthropic": "prompt is too long",
    "openai": "maximum context length",
    "google": "exceeds the maximum number of tokens",
    "ollama": "exceeds the context length",
}


@pytest.mark.parametrize("name", SDKS)
async def test_a_prompt_that_is_too_long_is_a_400_in_the_vendors_words(vendors: Vendors, name: str) -> None:
    vendors[0].vendor(name).fault = Fault.too_long()
    with pytest.raises(Exception, match=TOO_LONG[name]):
        await hear(vendors, name)
    assert vendors[0].requests[-1].status == 400


@pytest.mark.parametrize(
    ("name", "finish"), [("anthropic", "refusal"), ("openai", "content_filter"), ("google", "SAFETY"), ("ollama", "stop")]
)
async def test_an_answer_is_refused_in_the_vendors_way(vendors: Vendors, name: str, finish: str) -> None:
    vendors[0].vendor(name).fault = Fault.refusal()
    heard = await hear(vendors, name)
    assert (heard.finish, heard.text == DEFAULT_TEXT) == (finish, False)


async def test_a_prompt_is_refused_in_the_vendors_way(vendors: Vendors) -> None:
    for name in SDKS:
        vendors[0].vendor(name).fault = Fault.refusal(prompt=True)
    with pytest.raises(anthropic.BadRequestError, match="content filtering"):
        await hear(vendors, "anthropic")
    with pytest.raises(openai.BadRequestError, match="safety system"):
        await hear(vendors, "openai")
    blocked = await hear(vendors, "google")
    assert (blocked.text, blocked.finish) == ("", "prompt PROHIBITED_CONTENT")
    assert "can't help" in (await hear(vendors, "ollama")).text


NO_ANSWER: dict[str, dict[str, type[Exception]]] = {
    "empty": {"anthropic": AssertionError},
    "html": {
        "anthropic": AssertionError,
        "google": google_errors.UnknownApiResponseError,
        "ollama": json.JSONDecodeError,
    },
    "wrong_shape": {"anthropic": AssertionError, "ollama": ValidationError},
}
"""What the SDKs make of it; where nothing stands here, the SDK notices nothing."""


@pytest.mark.parametrize("name", SDKS)
@pytest.mark.parametrize("fault", [Fault.empty(), Fault.html(), Fault.wrong_shape()], ids=lambda fault: fault.kind)
async def test_a_200_that_is_no_answer(vendors: Vendors, name: str, fault: Fault) -> None:
    world, base = vendors
    world.vendor(name).faults = [fault]
    heard = Heard()
    error = NO_ANSWER[fault.kind].get(name)
    with contextlib.nullcontext() if error is None else pytest.raises(error):
        await HEAR[name](world.url(base, name), heard)
    assert (heard.text, heard.calls, heard.finish) == ("", [], None)
    assert world.requests[-1].status == 200


RESET = {
    "anthropic": anthropic.APIConnectionError,
    "openai": openai.APIConnectionError,
    "google": httpx2.TransportError,
    "ollama": httpx.TransportError,
}
TIMED_OUT = {
    "anthropic": (anthropic.APITimeoutError, httpx2.ReadTimeout),
    "openai": (openai.APITimeoutError,),
    "google": (httpx2.ReadTimeout,),
    "ollama": (httpx.ReadTimeout,),
}


@pytest.mark.parametrize("name", SDKS)
@pytest.mark.parametrize("fault", [Fault.reset(), Fault.hang_up()], ids=lambda fault: fault.kind)
async def test_a_connection_ends_without_an_answer(vendors: Vendors, name: str, fault: Fault) -> None:
    vendors[0].vendor(name).faults = [fault]
    with pytest.raises(RESET[name]):
        await hear(vendors, name)
    assert vendors[0].requests[-1].status is None


@pytest.mark.parametrize("name", SDKS)
@pytest.mark.parametrize(
    ("fault", "shown", "status"), [(Fault.stall(), False, None), (Fault.stall_midway(), True, 200)], ids=["stall", "midway"]
)
async def test_silence_lasts_until_the_client_gives_up(
    vendors: Vendors, name: str, fault: Fault, shown: bool, status: int | None
) -> None:
    world, base = vendors
    world.vendor(name).faults = [fault]
    heard = Heard()
    with pytest.raises(TIMED_OUT[name]):
        await HEAR[name](world.url(base, name), heard, patience=PATIENCE)
    assert heard.text == (HALF[name] if shown else "")
    await world.until(lambda: world.requests[-1].disconnected)
    assert world.requests[-1].status == status
    assert world.vendor(name).in_flight == 0


async def test_silence_that_ends_in_time_is_followed_by_the_answer(vendors: Vendors) -> None:
    for fault in (Fault.stall(0.05), Fault.stall_midway(0.05)):
        vendors[0].vendor("ollama").faults = [fault]
        assert (await hear(vendors, "ollama")).text == DEFAULT_TEXT


async def test_a_cancelled_client_is_seen_to_go(vendors: Vendors) -> None:
    world, _ = vendors
    world.vendor("openai").pace = 0.2
    task = asyncio.create_task(hear(vendors, "openai"))
    await world.until(lambda: world.requests)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await world.until(lambda: world.requests[-1].disconnected)
