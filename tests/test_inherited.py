"""What of a conversation is handed on: by depth and by scope, always in a form that any vendor takes."""

from __future__ import annotations

import pytest

from bundle_loader.declared.agent import ContextPolicy
from bundle_loader.delegation.inherited import inherited
from bundle_loader.messages import Message, Text, Thinking, ToolCall, ToolResult, assistant, user

DELEGATES = ToolCall("2", "delegate", {"agent": "a", "instruction": "Do."})
TALK = (
    user("One."),
    Message("assistant", (Thinking("hm", "anthropic"), Text("Look."), ToolCall("1", "read", {}), DELEGATES)),
    Message("tool", (ToolResult("1", "read", "a file"), ToolResult("2", "delegate", "done"))),
    assistant("First."),
    user("Two."),
    Message("assistant", (Text("Wait."), ToolCall("3", "delegate", {"agent": "b"}))),
)


@pytest.mark.parametrize(
    ("depth", "turns", "scope", "texts"),
    [
        ("none", 5, "full", []),
        ("all", 1, "conversation", ["One.", "Look.", "First.", "Two.", "Wait."]),
        ("recent", 1, "conversation", ["Two.", "Wait."]),
        ("recent", 2, "conversation", ["One.", "Look.", "First.", "Two.", "Wait."]),
        ("all", 1, "agents", ["One.", "Look.\n\nI delegated to a: Do.\nIt answered: done", "First.", "Two.", "Wait."]),
    ],
)
def test_depth_and_scope(depth: str, turns: int, scope: str, texts: list[str]) -> None:
    found = inherited(ContextPolicy.model_validate({"depth": depth, "turns": turns, "scope": scope}), TALK)
    assert [message.text for message in found] == texts
    assert all(isinstance(part, Text) for message in found for part in message.parts)


def test_the_full_scope_has_calls_with_their_results_and_no_thinking() -> None:
    found = inherited(ContextPolicy(depth="all", scope="full"), TALK)
    parts = [part for message in found for part in message.parts]
    assert [part.id for part in parts if isinstance(part, ToolCall)] == ["1", "2"], "the third has no result yet"
    assert [part.call_id for part in parts if isinstance(part, ToolResult)] == ["1", "2"]
    assert not [part for part in parts if isinstance(part, Thinking)]
    cut = inherited(ContextPolicy(depth="all", scope="full"), TALK[2:])
    assert [message.role for message in cut] == ["assistant", "user", "assistant"], "results without their calls go"
