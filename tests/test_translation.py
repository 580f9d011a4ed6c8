"""Laws of the translation: any conversation becomes a body that its vendor takes and that still says the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle_loader.errors import FailureKind, ProviderFailure
from bundle_loader.messages import Blob, Message, Part, Text, Thinking, ToolCall, ToolResult, user
from bundle_loader.providers import openai_wire
from bundle_loader.providers.history import sound
from tests.support.conversations import (
    MODELS,
    PNG,
    REASONER,
    body_of,
    meaning,
    odd_conversations,
    read_back,
    refusal,
    request_of,
    row_of,
    sound_conversations,
    strings,
)
from tests.support.wire_anthropic import THINKING_SIGNATURE

WIRES = st.sampled_from(sorted(MODELS))


@pytest.mark.parametrize("wire", MODELS)
@settings(max_examples=120)
@given(messages=sound_conversations())
def test_a_conversation_is_taken_and_says_the_same(wire: str, messages: tuple[Message, ...]) -> None:
    body = body_of(wire, request_of(wire, messages))
    assert refusal(wire, body) is None
    assert read_back(wire, body) == meaning(messages)


@pytest.mark.parametrize("wire", MODELS)
@settings(max_examples=120)
@given(messages=odd_conversations())
def test_a_history_in_any_order_is_taken_and_nothing_said_is_lost(wire: str, messages: tuple[Message, ...]) -> None:
    messages = (*messages, user("Then answer."))
    body = body_of(wire, request_of(wire, replace_last_blobs(messages)))
    assert refusal(wire, body) is None
    told = "\n".join(strings(body))
    for message in messages:
        for part in message.parts:
            if isinstance(part, Text | ToolResult) and part.text.strip():
                assert part.text in told
    said, _ = read_back(wire, body)
    asked = [list(call.arguments.items()) for message in messages for call in message.tool_calls]
    assert [list(one[3].items()) for one in said if one[0] == "call"] == asked
    assert [one[1] for one in said if one[0] == "result"] == list(range(len(asked))), "one result for each call, in their order"


def replace_last_blobs(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """An answer before the last user's message, so that no file belongs to the task."""
    return (*messages[:-1], Message("assistant", (Text("Noted."),)), messages[-1])


@given(messages=sound_conversations())
def test_a_sound_conversation_stays_as_it_is(messages: tuple[Message, ...]) -> None:
    assert sound(messages) == messages


@given(messages=odd_conversations())
def test_to_put_in_order_twice_changes_nothing_more(messages: tuple[Message, ...]) -> None:
    once = sound(messages)
    assert sound(once) == once


@given(messages=sound_conversations(), at=st.integers(0, 20), other=st.integers(0, 20), change=st.integers(0, 5))
def test_what_is_given_back_at_once_is_what_putting_in_order_gives(
    messages: tuple[Message, ...], at: int, other: int, change: int
) -> None:
    """An empty message is left out, and so has everything looked at in full."""
    odd = list(messages)
    at, other = at % len(odd), other % len(odd)
    odd[at], odd[other] = (odd[other], odd[at]) if change == 0 else (odd[at], odd[other])
    if change == 1:
        del odd[at]
    elif change == 2:
        odd.insert(other, odd[at])
    elif change == 3:
        odd[at] = replace(odd[at], parts=odd[at].parts[1:])
    elif change == 4:
        odd[at] = replace(odd[at], parts=tuple(_renamed(part) for part in odd[at].parts))
    elif change == 5:
        odd[at] = replace(odd[at], parts=(*odd[at].parts, *odd[at].parts, *odd[other].parts))
    assert sound(odd) == sound([*odd, user(" ")])


def _exchanged(calls: list[tuple[str, str]], results: list[tuple[str, str]]) -> tuple[Message, ...]:
    """A question, an answer with calls of those ids and names, and results of those ids and names."""
    answer = Message("assistant", tuple(ToolCall(id, name, {}) for id, name in calls))
    return (user("Hi"), answer, Message("tool", tuple(ToolResult(id, name, "1") for id, name in results)))


ODD = (
    _exchanged([("c", "add"), ("c", "add")], [("c", "add"), ("c", "add")]),
    _exchanged([("c", "9 lives")], [("c", "9 lives")]),
    _exchanged([("c", "add")], [("c", "other")]),
    _exchanged([("c", "add")], [("d", "add")]),
    _exchanged([("c", "add"), ("d", "add")], [("d", "add"), ("c", "add")]),
    _exchanged([("c", "add")], [("c", "add"), ("d", "add")]),
    _exchanged([("c", "add")], [])[:2],
    _exchanged([("c", "add")], [("c", "add")])[1:],
    _exchanged([("c", "add")], [("c", "add")])[2:],
    (user("Hi"), Message("assistant", (Text("Ho"),)), Message("assistant", (Text("Ha"),))),
    (user("Hi"), Message("assistant", (Text("Ho"),)), Message("tool", (ToolResult("c", "add", "1"),))),
    (user("Hi"), Message("user", (Text("So"), ToolResult("c", "add", "1")))),
    (user("Hi"), Message("assistant", (Thinking("hm", "anthropic"), Text(" ")))),
)


def test_each_disorder_is_seen() -> None:
    for messages in ODD:
        found = sound(messages)
        assert found != messages
        assert found == sound([*messages, user(" ")])
        assert sound(found) is found, "what is in order is looked at, and not made again"


def _renamed(part: object) -> Any:
    return replace(part, name="9 lives") if isinstance(part, ToolCall | ToolResult) else part


@given(messages=sound_conversations(), wire=WIRES)
def test_a_longer_conversation_begins_with_the_same_words(messages: tuple[Message, ...], wire: str) -> None:
    """What a vendor has read stays as it was, so that its cache and its signatures hold."""
    longer = (*messages, Message("assistant", (Text("Done."),)), user("Go on."))
    key = {"google": "contents", "responses": "input"}.get(wire, "messages")
    before, after = (body_of(wire, request_of(wire, one))[key] for one in (messages, longer))
    assert after[: len(before)] == before


SEALS: list[tuple[str | None, Part]] = [
    ("anthropic", Thinking("hm", "anthropic", {"type": "thinking", "thinking": "hm", "signature": "seal"})),
    (None, Thinking("hm", "anthropic:mine", {"type": "thinking", "thinking": "hm", "signature": "seal"})),
    ("google", Thinking("", "google", {"signature": "seal"})),
    ("google", ToolCall("1", "add", {}, "google", "seal")),
    (None, ToolCall("1", "add", {}, "mistral", "seal")),
    ("responses", Thinking("", f"openai/{REASONER}", {"type": "reasoning", "summary": [], "encrypted_content": "seal"})),
    (None, Thinking("", "openai/gpt-5.2-pro", {"type": "reasoning", "summary": [], "encrypted_content": "seal"})),
    ("ollama", Thinking("seal", "ollama")),
    (None, Thinking("seal", "deepseek")),
]
"""Whose seal it is, of the wires and the models that they ask, and the part that bears it."""


@pytest.mark.parametrize(("whose", "part"), SEALS)
def test_what_a_vendor_sealed_goes_back_to_it_and_to_no_other(whose: str | None, part: Part) -> None:
    results = (Message("tool", (ToolResult("1", "add", "2"),)),) if isinstance(part, ToolCall) else ()
    messages = (user("Hi"), Message("assistant", (part, Text("Ho"))), *results, user("So?"))
    sent = {wire for wire in MODELS if "seal" in strings(body_of(wire, request_of(wire, messages)))}
    assert sent == ({whose} if whose else set())


TURN = (
    user("Add."),
    Message("assistant", (ToolCall("call_1", "add", {"a": 1}, "openai"),)),
    Message("tool", (ToolResult("call_1", "add", "1"),)),
)


@pytest.mark.parametrize(("thinking", "kept"), [("enabled", False), ("adaptive", True)])
def test_anthropics_thinking_rests_in_a_loop_of_tools_that_another_vendor_began(thinking: str, kept: bool) -> None:
    config = {"thinking": {"type": thinking, **({"budget_tokens": 1024} if thinking == "enabled" else {})}}
    body = body_of("anthropic", request_of("anthropic", TURN, config=config))
    assert ("thinking" in body) is kept
    assert refusal("anthropic", body) is None


def test_anthropics_thinking_goes_on_in_a_loop_of_its_own() -> None:
    thought = Thinking("hm", "anthropic", {"type": "thinking", "thinking": "hm", "signature": THINKING_SIGNATURE})
    own = (TURN[0], replace(TURN[1], parts=(thought, *TURN[1].parts)), TURN[2])
    config = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    body = body_of("anthropic", request_of("anthropic", own, config=config))
    assert body["thinking"] == config["thinking"]
    assert refusal("anthropic", body) is None


ZIP = Blob(b"PK\x03\x04", "application/zip", name="a.zip")
PDF = Blob(b"%PDF-1.4", "application/pdf", name="a.pdf")
NOTE = Blob(b"Remember the milk.", "text/markdown", name="note.md")
FAR = Blob(None, "image/png", "https://example.org/a.png")
OPEN = Blob(None, "image/png", "http://example.org/a.png")
JPG = Blob(PNG, "image/jpg")
EMPTY = Blob(b"", "image/png")
TAKEN = {
    "anthropic": (True, False, True, True, False, True, False),
    "openai": (True, False, True, True, True, True, False),
    "responses": (True, False, True, True, True, True, False),
    "google": (True, False, True, True, True, True, False),
    "ollama": (False, False, True, False, False, True, False),
}
"""Wire -> whether it takes each of the files above, in their order."""


@pytest.mark.parametrize("wire", MODELS)
def test_a_kind_of_file_that_the_vendor_does_not_take_sends_the_task_to_the_next_provider(wire: str) -> None:
    for blob, taken in zip((PDF, ZIP, NOTE, FAR, OPEN, JPG, EMPTY), TAKEN[wire], strict=True):
        request = request_of(wire, (user("What is this?", blob), user("Look.")))
        if taken:
            assert refusal(wire, body_of(wire, request)) is None
            continue
        with pytest.raises(ProviderFailure, match=r"does not support the (file|image)") as caught:
            body_of(wire, request)
        assert (caught.value.kind, caught.value.scope) == (FailureKind.UNSUPPORTED, "provider")


@pytest.mark.parametrize("wire", MODELS)
def test_what_is_older_or_came_from_a_tool_is_named_in_its_place(wire: str) -> None:
    for place in ("older", "result"):
        first = user("Look.", ZIP) if place == "older" else user("Look.")
        parts = (ZIP,) if place == "result" else ()
        history = (
            first,
            Message("assistant", (ToolCall("c", "add", {}),)),
            Message("tool", (ToolResult("c", "add", "here", parts=parts),)),
            *((Message("assistant", (Text("Seen."),)), user("And now?")) if place == "older" else ()),
        )
        body = body_of(wire, request_of(wire, history))
        assert refusal(wire, body) is None
        assert "[the file 'a.zip' (application/zip) stood here; it cannot be shown]" in "\n".join(strings(body))


@pytest.mark.parametrize("wire", MODELS)
def test_a_file_of_text_reaches_every_model_as_text(wire: str) -> None:
    body = body_of(wire, request_of(wire, (user("What?", NOTE),)))
    assert any("Remember the milk." in text for text in strings(body))


@pytest.mark.parametrize("wire", MODELS)
def test_an_image_of_a_tool_is_shown(wire: str) -> None:
    history = (
        user("Look."),
        Message("assistant", (ToolCall("a", "shot", {}), ToolCall("b", "shot", {}))),
        Message("tool", (ToolResult("a", "shot", "one", parts=(Blob(PNG, "image/png"),)), ToolResult("b", "shot", "two"))),
    )
    body = body_of(wire, request_of(wire, history))
    assert refusal(wire, body) is None
    assert read_back(wire, body) == meaning(history)


def test_where_a_user_may_not_speak_after_tools_a_word_of_the_assistant_stands_between() -> None:
    shown = (*TURN[:2], Message("tool", (ToolResult("call_1", "add", "1", parts=(Blob(PNG, "image/png"),)),)))
    for history in (shown, (*TURN, user("Stop."))):
        for name, roles in (
            ("mistral", ["user", "assistant", "tool", "assistant", "user"]),
            ("xai", ["user", "assistant", "tool", "user"]),
        ):
            assert [message["role"] for message in openai_wire.messages(history, "", row_of(name))] == roles
