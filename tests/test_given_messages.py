"""Messages as callers have them: OpenAI's and Anthropic's content lists, and what is wrong with them, by place."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from anthropic.types import TextBlock, ThinkingBlock
from openai.types.chat import ChatCompletionMessage, ChatCompletionMessageToolCall
from openai.types.chat.chat_completion_message_tool_call import Function

from bundle_loader.delegation.given_messages import messages_of
from bundle_loader.errors import RequestError
from bundle_loader.messages import Blob, Message, Text, ToolCall, ToolResult, assistant, user
from tests.support.conversations import PNG

DATA = base64.b64encode(PNG).decode()
IMAGE = Blob(PNG, "image/png")
PDF = Blob(b"%PDF", "application/pdf", name="a.pdf")
IN_PDF = base64.b64encode(b"%PDF").decode()

BLOCKS: list[tuple[dict[str, Any], Text | Blob]] = [
    ({"type": "text", "text": "Hi"}, Text("Hi")),
    ({"type": "input_text", "text": "Hi"}, Text("Hi")),
    ({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DATA}"}}, IMAGE),
    ({"type": "image_url", "image_url": {"url": "https://e.org/a.gif?x=1"}}, Blob(None, "image/gif", "https://e.org/a.gif?x=1")),
    ({"type": "input_image", "image_url": "https://e.org/a"}, Blob(None, "image/jpeg", "https://e.org/a")),
    ({"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{IN_PDF}"}}, PDF),
    ({"type": "input_file", "filename": "a.pdf", "file_data": IN_PDF}, PDF),
    ({"type": "input_file", "file_url": "https://e.org/a.pdf"}, Blob(None, "application/pdf", "https://e.org/a.pdf")),
    ({"type": "input_audio", "input_audio": {"data": DATA, "format": "wav"}}, Blob(PNG, "audio/wav")),
    ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}}, IMAGE),
    ({"type": "image", "source": {"type": "url", "url": "https://e.org/a.png"}}, Blob(None, "image/png", "https://e.org/a.png")),
    (
        {"type": "document", "title": "a.pdf", "source": {"type": "base64", "media_type": "application/pdf", "data": IN_PDF}},
        PDF,
    ),
    ({"type": "document", "source": {"type": "text", "data": "Words"}}, Blob(b"Words", "text/plain")),
]


@pytest.mark.parametrize(("block", "part"), BLOCKS, ids=range(len(BLOCKS)))
def test_blocks_of_openai_and_anthropic(block: dict[str, Any], part: Text | Blob) -> None:
    assert messages_of([{"role": "user", "content": [block, "and words"]}]) == (Message("user", (part, Text("and words"))),)


def test_text_alone_and_neutral_messages() -> None:
    given = [
        {"role": "user", "content": "Hi"},
        assistant("Ho"),
        {"role": "assistant", "content": [{"type": "text", "text": "So"}]},
    ]
    assert messages_of(given) == (user("Hi"), assistant("Ho"), assistant("So"))


def test_a_loop_of_tools_in_openais_form() -> None:
    function = {"name": "add", "arguments": '{"a": 1}'}
    given = [
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": "c1", "content": "2"},
    ]
    call = Message("assistant", (ToolCall("c1", "add", {"a": 1}),))
    assert messages_of(given) == (call, Message("tool", (ToolResult("c1", "add", "2"),)))


def test_a_loop_of_tools_in_anthropics_form() -> None:
    given = [
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "text", "text": "I add."},
                {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 1}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "t1",
                    "is_error": True,
                    "content": [{"type": "text", "text": "no"}, BLOCKS[9][0]],
                }
            ],
        },
    ]
    said = Message("assistant", (Text("I add."), ToolCall("t1", "add", {"a": 1})))
    assert messages_of(given) == (said, Message("tool", (ToolResult("t1", "add", "no", True, (IMAGE,)),)))


def test_what_sdks_give_is_taken_as_it_is() -> None:
    function = Function(name="add", arguments='{"a": 1}')
    given = [
        {"role": "user", "content": "Hi"},
        ChatCompletionMessage(
            role="assistant", tool_calls=[ChatCompletionMessageToolCall(id="c1", type="function", function=function)]
        ),
        {"role": "tool", "tool_call_id": "c1", "content": "2"},
        {
            "role": "assistant",
            "content": [TextBlock(type="text", text="Two."), ThinkingBlock(type="thinking", thinking="", signature="")],
        },
        ChatCompletionMessage(role="assistant", refusal="I may not."),
        ChatCompletionMessage(role="assistant"),
    ]
    assert messages_of(given) == (  # type: ignore[arg-type]
        user("Hi"),
        Message("assistant", (ToolCall("c1", "add", {"a": 1}),)),
        Message("tool", (ToolResult("c1", "add", "2"),)),
        assistant("Two."),
        assistant("I may not."),
    )


def test_the_system_text_of_a_hosts_own_loop_is_left_out() -> None:
    given = [
        {"role": "system", "content": "Mine."},
        {"role": "developer", "content": "Mine too."},
        {"role": "user", "content": "Hi"},
    ]
    assert messages_of(given, loops=True) == (user("Hi"),)
    with pytest.raises(RequestError, match="'developer' is not taken"):
        messages_of(given)


def test_halves_of_characters_in_neutral_messages_are_made_whole_or_replaced() -> None:
    given = Message("assistant", (Text("a\ud83d\ude00\ud800"), ToolCall("1", "f", {"\udc80": ["\udc80"]})))
    assert messages_of([given]) == (Message("assistant", (Text("a😀\ufffd"), ToolCall("1", "f", {"\ufffd": ["\ufffd"]}))),)


WRONG: list[tuple[Any, str]] = [
    ("Hi", "messages[0] is of type str; give a Message, or {'role': ..., 'content': ...}"),
    ({"content": "Hi"}, "messages[0].role: it is missing; write one of user, assistant, tool"),
    ({"role": "usr", "content": "Hi"}, "messages[0].role: 'usr' is not known; did you mean 'user'?"),
    (
        {"role": "system", "content": "Hi"},
        "messages[0].role: 'system' is not taken; what the system says is the agent's own text",
    ),
    ({"role": "user"}, "messages[0].content is missing; write text, or a list of blocks"),
    ({"role": "user", "content": 3}, "messages[0].content is of type int; write text"),
    ({"role": "user", "content": [7]}, "messages[0].content[0] is of type int; write {'type': 'text', 'text': ...}"),
    ({"role": "user", "content": [{"text": "Hi"}]}, "messages[0].content[0].type: it is missing"),
    (
        {"role": "user", "content": ["a", {"type": "imag"}]},
        "messages[0].content[1].type: 'imag' is not known; did you mean 'image'?",
    ),
    ({"role": "user", "content": [{"type": "text"}]}, "messages[0].content[0].text is missing; write text"),
    (
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a.png"}}]},
        "messages[0].content[0].image_url.url: 'a.png' is no address; write https://..., or 'data:image/png;base64,...'",
    ),
    (
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,@@"}}]},
        "messages[0].content[0].image_url.url is no base64",
    ),
    (
        {"role": "user", "content": [{"type": "image", "source": {"type": "base64", "media_type": "png", "data": DATA}}]},
        "messages[0].content[0].source.media_type: 'png' is no media type; write one such as 'image/png'",
    ),
    ({"role": "user", "content": [{"type": "image"}]}, "messages[0].content[0].source is missing"),
    ({"role": "tool", "content": "2"}, "messages[0].tool_call_id: it is missing"),
    (
        {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "add", "arguments": "{"}}]},
        "messages[0].tool_calls[0].function.arguments: no JSON",
    ),
    (
        {"role": "assistant", "content": [BLOCKS[9][0]]},
        "messages[0].content[0]: an assistant's message holds text and calls only",
    ),
    (Message("system", (Text("Hi"),)), "messages[0].role: 'system' is not taken"),  # type: ignore[arg-type]
    (Message("user", "Hi"), "messages[0].parts: write a tuple of Text, Blob,"),  # type: ignore[arg-type]
    (Message("user", (Text(3),)), "messages[0]: 'text' of a part Text is a int"),  # type: ignore[arg-type]
    (
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}]},
        "messages[0].content[0].image_url.url is empty; every vendor refuses a file of no bytes",
    ),
    (
        {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {"a": "\ud800"}}]},
        "messages[0].content[0].input: the arguments are no JSON that can be sent",
    ),
    ({"role": "user", "content": "\ud800"}, "messages[0].content cannot be sent: character 0 is half of a surrogate pair"),
]


@pytest.mark.parametrize(("message", "words"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_said_with_its_place(message: Any, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        messages_of([message])
    assert str(caught.value).startswith(words)


def test_all_faults_are_said_at_once() -> None:
    with pytest.raises(RequestError) as caught:
        messages_of([{"role": "x"}, {"role": "user", "content": "fine"}, {"role": "user", "content": [{}, {"type": "text"}]}])
    assert [said.split(":")[0].split(" is")[0] for said in str(caught.value).split("; messages")] == [
        "messages[0].role",
        "[2].content[0].type",
        "[2].content[1].text",
    ]
