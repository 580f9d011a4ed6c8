"""Anthropic's format without a socket: requests into bodies, and events into turns."""

from __future__ import annotations

from typing import Any

import pytest

from bundle_loader.errors import FailureKind, ProviderFailure
from bundle_loader.messages import Turn, Usage
from bundle_loader.providers.anthropic_wire import Answer, messages, usage_of


def _folded(*events: dict[str, Any]) -> Turn:
    answer = Answer("anthropic", "m")
    for event in events:
        answer.take("", event)
    return answer.turn(())


_START: dict[str, Any] = {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 1}}}
_END: dict[str, Any] = {"type": "message_stop"}


def _stop(reason: str) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 2}}


@pytest.mark.parametrize(
    ("reason", "finish", "noted"),
    [
        ("end_turn", "stop", False),
        ("stop_sequence", "stop", False),
        ("max_tokens", "length", False),
        ("tool_use", "tools", False),
        ("pause_turn", "stop", True),
        ("something_new", "stop", True),
    ],
)
def test_stop_reasons(reason: str, finish: str, noted: bool) -> None:
    turn = _folded(_START, _stop(reason), _END)
    assert turn.finish == finish
    assert bool(turn.notes) is noted
    assert turn.usage == Usage(1, 2)


def test_an_answer_that_said_why_it_stopped_is_whole_without_the_last_mark() -> None:
    assert _folded(_START, _stop("end_turn")).finish == "stop"


@pytest.mark.parametrize(
    ("events", "kind"),
    [
        ((_START, _stop("refusal"), _END), FailureKind.CONTENT_REFUSED),
        ((_START, _stop("model_context_window_exceeded"), _END), FailureKind.TOO_LONG),
        ((_START, _END), FailureKind.BROKEN),
        ((_END,), FailureKind.BROKEN),
        (({"type": "content_block_delta", "index": 3, "delta": {"type": "text_delta", "text": "x"}},), FailureKind.BROKEN),
        (("text",), FailureKind.BROKEN),
        (({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},), FailureKind.BUSY),
        (({"error": {"code": 503, "message": "Loading model"}},), FailureKind.BUSY),
    ],
)
def test_streams_that_are_no_answer(events: tuple[Any, ...], kind: FailureKind) -> None:
    with pytest.raises(ProviderFailure) as caught:
        _folded(*events)
    assert caught.value.kind is kind


def test_malformed_arguments_of_a_tool_are_a_broken_answer() -> None:
    block = {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "tool_use", "id": "t", "name": "add", "input": {}},
    }
    piece = {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"a": 1'}}
    with pytest.raises(ProviderFailure, match="cut at max_tokens") as caught:
        _folded(_START, block, piece, _stop("max_tokens"), _END)
    assert caught.value.kind is FailureKind.BROKEN


def test_sealed_thinking_and_blocks_of_the_vendors_own_tools_go_back_as_they_came() -> None:
    sealed = {"type": "redacted_thinking", "data": "abc"}
    search = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    turn = _folded(
        _START,
        {"type": "content_block_start", "index": 0, "content_block": sealed},
        {"type": "content_block_start", "index": 1, "content_block": search},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"q": "x"}'}},
        _stop("pause_turn"),
        _END,
    )
    assert messages((turn.message,), ".*") == [{"role": "assistant", "content": [sealed, search | {"input": {"q": "x"}}]}]


def test_input_tokens_include_what_the_caches_did() -> None:
    told = {"input_tokens": 5, "cache_read_input_tokens": 7, "cache_creation_input_tokens": 11, "output_tokens": 3}
    assert usage_of(told) == Usage(23, 3, 7, 11, 0)
    assert usage_of({}) is None
