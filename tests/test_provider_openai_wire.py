"""The chat completions format without a socket: requests into bodies, and chunks into turns."""

from __future__ import annotations

from typing import Any

import pytest

from bundle_loader.errors import FailureKind, ProviderFailure
from bundle_loader.messages import Message, Text, Thinking, ToolCall, Turn, Usage
from bundle_loader.providers import table
from bundle_loader.providers.openai_wire import Answer, messages, usage_of
from bundle_loader.providers.table import ProviderRow


def row(name: str) -> ProviderRow:
    found = table.row(name)
    assert found is not None
    return found


def test_reasoning_goes_back_to_the_vendor_that_wants_it_and_to_no_other() -> None:
    own = Message("assistant", (Thinking("I think.", "deepseek"), ToolCall("a", "add", {})))
    foreign = Message("assistant", (Thinking("I think.", "moonshot"), ToolCall("b", "add", {})))
    assert messages((own,), "", row("deepseek"))[0]["reasoning_content"] == "I think."
    assert "reasoning_content" not in messages((foreign,), "", row("deepseek"))[0]
    assert "reasoning_content" not in messages((own,), "", row("openai"))[0]


def _folded(*chunks: Any, ended: bool = True) -> Turn:
    answer = Answer("p", "m", "vendor")
    for chunk in chunks:
        answer.take("", chunk)
    answer.ended = ended
    return answer.turn(())


def _chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


@pytest.mark.parametrize(
    ("reason", "finish", "noted"),
    [("stop", "stop", False), ("length", "length", False), ("tool_calls", "tools", False), ("new_word", "stop", True)],
)
def test_finish_reasons(reason: str, finish: str, noted: bool) -> None:
    turn = _folded(_chunk(content="hi"), _chunk(reason))
    assert turn.finish == finish
    assert bool(turn.notes) is noted


def test_an_answer_that_said_why_it_stopped_is_whole_without_the_last_mark() -> None:
    assert _folded(_chunk("stop", content="hi"), ended=False).message.text == "hi"


@pytest.mark.parametrize(
    ("chunks", "ended", "kind"),
    [
        ((_chunk("content_filter"),), True, FailureKind.CONTENT_REFUSED),
        ((_chunk("stop", refusal="I cannot."),), True, FailureKind.CONTENT_REFUSED),
        ((_chunk("insufficient_system_resource"),), True, FailureKind.BUSY),
        ((_chunk("error"),), True, FailureKind.BROKEN),
        ((_chunk(content="hi"),), True, FailureKind.BROKEN),
        ((), True, FailureKind.BROKEN),
        (("text",), True, FailureKind.BROKEN),
        (({"error": {"code": 503, "message": "Loading model"}},), True, FailureKind.BUSY),
        (({"error": "overloaded"},), True, FailureKind.BUSY),
    ],
)
def test_streams_that_are_no_answer(chunks: tuple[Any, ...], ended: bool, kind: FailureKind) -> None:
    with pytest.raises(ProviderFailure) as caught:
        _folded(*chunks, ended=ended)
    assert caught.value.kind is kind


def _called(index: int | None, id: str | None, name: str | None, arguments: Any) -> dict[str, Any]:
    return {"index": index, "id": id, "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    "pieces",
    [
        [_called(0, "a", "add", ""), _called(0, None, None, '{"a"'), _called(0, None, None, ": 1}"), _called(1, "b", "sub", "")],
        [_called(0, "a", "add", '{"a": 1}'), _called(0, "b", "sub", "{}")],
        [_called(None, "a", "add", '{"a"'), _called(None, None, None, ": 1}"), _called(None, "b", "sub", "")],
        [_called(0, "a", "add", {"a": 1}), _called(1, "b", "sub", None)],
    ],
    ids=["by index", "all at index 0", "without index", "arguments as objects"],
)
def test_tool_calls_are_put_together_however_a_server_cuts_them(pieces: list[dict[str, Any]]) -> None:
    turn = _folded(*(_chunk(tool_calls=[piece]) for piece in pieces), _chunk("stop"))
    assert turn.finish == "tools"
    assert turn.message.tool_calls == (ToolCall("a", "add", {"a": 1}, "vendor"), ToolCall("b", "sub", {}, "vendor"))


@pytest.mark.parametrize("written", ['{"a": 1', "[1]", '"x"'])
def test_malformed_arguments_of_a_tool_are_a_broken_answer(written: str) -> None:
    with pytest.raises(ProviderFailure, match="malformed arguments") as caught:
        _folded(_chunk(tool_calls=[_called(0, "a", "add", written)]), _chunk("tool_calls"))
    assert caught.value.kind is FailureKind.BROKEN


def test_content_in_pieces_is_text_and_thinking() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    turn = _folded(_chunk(content=[thinking, {"type": "text", "text": "hi"}]), _chunk("stop"))
    assert turn.message.parts == (Thinking("hm", "vendor"), Text("hi"))


def test_usage_is_counted_in_one_way() -> None:
    told = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}
    details = {"completion_tokens_details": {"reasoning_tokens": 3}}
    assert usage_of(None) is None
    assert usage_of(told | details) == Usage(10, 4, 0, 0, 3)
    assert usage_of(told | details | {"total_tokens": 17}) == Usage(10, 7, 0, 0, 3)
    assert usage_of(told | {"prompt_cache_hit_tokens": 6}) == Usage(10, 4, 6)
