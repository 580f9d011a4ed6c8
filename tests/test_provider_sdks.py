"""What the adapters for the Anthropic and OpenAI SDKs share: events, and ids of calls."""

from __future__ import annotations

import pytest

from bundle_loader.providers.call_ids import CallIds
from bundle_loader.providers.sse import LARGEST, SseParser

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
