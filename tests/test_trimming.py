"""A history that is too long for a window: what goes, what stays, and that it is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bundle_loader import Host
from bundle_loader.declared.preference import Preference
from bundle_loader.delegation.context import DelegationContext, first_limits
from bundle_loader.delegation.conversation import least_bytes, message_bytes, prompt_bound, prompt_bytes, within
from bundle_loader.delegation.spawner import _History
from bundle_loader.delegation.trimming import shortest, trimmed
from bundle_loader.errors import AllFailed
from bundle_loader.messages import Blob, Message, Text, ToolCall, ToolResult, ToolSpec, assistant, user
from bundle_loader.providers.history import sound
from bundle_loader.providers.output_format import in_words
from bundle_loader.routing.candidate import Candidate
from bundle_loader.routing.request import DecidedBy
from tests.support.conversations import sound_conversations
from tests.support.hosting import worker
from tests.support.vendors import Fault, Reply, World

Served = tuple[World, str]


def task_of(messages: tuple[Message, ...]) -> int:
    """Where the last user's messages begin."""
    place = max(index for index, message in enumerate(messages) if message.role == "user")
    while place and messages[place - 1].role == "user":
        place -= 1
    return place


@given(messages=sound_conversations(), share=st.floats(0, 1.5))
def test_what_is_left_fits_and_is_a_sound_conversation_still(messages: tuple[Message, ...], share: float) -> None:
    whole = sum(map(message_bytes, messages))
    most = int(whole * share)
    found = trimmed(messages, most, message_bytes)
    if whole <= most:
        assert found is None, "nothing goes while all fits"
        return
    assume(found is not None)
    assert found is not None
    assert sum(map(message_bytes, found.messages)) <= most
    assert sound(found.messages) == found.messages, "no call without its results, no result without its call"
    assert len(messages) - len(found.messages) == found.left_out
    assert f"{found.left_out} earlier message" in found.note or not found.left_out


@given(messages=sound_conversations())
def test_the_first_words_the_task_and_the_newest_turn_always_stay(messages: tuple[Message, ...]) -> None:
    left = shortest(messages, message_bytes)
    assert left[0].text.startswith(messages[0].text)
    newest = max((index for index, message in enumerate(messages) if message.role == "assistant"), default=0)
    assert left[-len(messages[newest:]) :] == messages[newest:] or newest == 0
    task = [message.text for message in messages[task_of(messages) :] if message.role == "user"]
    said = [message.text for message in left if message.role == "user"]
    assert all(any(text in one for one in said) for text in task)


def turn(number: int, size: int = 10) -> tuple[Message, Message]:
    call = ToolCall(f"c{number}", "read", {})
    return Message("assistant", (call,)), Message("tool", (ToolResult(call.id, "read", f"{number}:" + "x" * size),))


def size(message: Message) -> int:
    return message_bytes(message)


def test_large_results_are_shortened_first_the_oldest_first_and_never_the_newest() -> None:
    history = (user("Go."), *turn(1, 10_000), *turn(2, 10_000), *turn(3, 10_000))
    found = trimmed(history, 24_000, size)
    assert found is not None
    assert (found.left_out, found.shortened) == (0, 1)
    first = found.messages[2].parts[0]
    assert isinstance(first, ToolResult)
    assert "[8002 characters left out]" in first.text
    assert found.messages[3:] == history[3:]
    assert found.note == "the history was too long for the model's window: 1 earlier tool result shortened"


def test_then_whole_exchanges_go_and_the_model_is_told_where() -> None:
    talk = (user("First."), assistant("A" * 900), user("Second."), assistant("B" * 900), user("Task."), *turn(1, 900), *turn(2))
    found = trimmed(talk, 1300, size)
    assert found is not None
    assert found.left_out == 3, "the first answer, then a question with its answer"
    first = found.messages[0]
    assert [part.text for part in first.parts if isinstance(part, Text)] == [
        "First.",
        "[3 messages of this conversation left out here: all would not fit.]",
    ]
    assert found.messages[1:] == talk[4:]


def test_a_call_and_its_results_go_together_whatever_the_limit() -> None:
    talk = (user("First."), *turn(1, 200), assistant("One."), user("Task."), *turn(2, 200), *turn(3, 200), *turn(4, 200))
    lengths = set()
    for most in range(sum(map(size, talk))):
        found = trimmed(talk, most, size)
        if found is not None:
            assert sound(found.messages) == found.messages
            lengths.add(len(found.messages))
    assert lengths == {4, 6, 8}, "the newest turn, one more, two more"


def test_what_cannot_be_made_to_fit_is_left_alone() -> None:
    assert trimmed((user("x" * 900), *turn(1), *turn(2)), 100, size) is None
    assert trimmed((user("x" * 900),), 100, size) is None


LONG = [
    message
    for number in range(60)
    for message in (
        {"role": "user", "content": f"question {number}"},
        {"role": "assistant", "content": f"{number} " + "a" * 3000},
    )
]


def window(world: World, vendor: str, tokens: int) -> None:
    for entry in world.vendor(vendor).models:
        entry["max_input_tokens" if vendor == "anthropic" else "inputTokenLimit"] = tokens


async def test_a_delegation_with_too_long_a_history_goes_on_and_says_so(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    window(world, "anthropic", 20_000)
    bundle = worker(tmp_path, "anthropic/claude-haiku-*", config={"max_tokens": 1000})
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        result = await host.delegate("worker", "And now?", messages=LONG)
    (request,) = world.chats("anthropic")
    told = request.body_json["messages"]
    assert len(str(told)) < 80_000
    assert "question 0" in str(told[0])
    assert "messages of this conversation left out here" in str(told[0])
    assert "question 59" in str(told)
    assert "And now?" in str(told[-1])
    assert [note for note in result.notes if "too long for the model's window" in note]
    assert len(result.messages) == len(LONG) + 2, "the conversation itself loses nothing"


async def test_the_history_is_whole_where_it_fits_or_the_window_is_not_known(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    for chain in ("anthropic/claude-haiku-*", "openai/gpt-4o"):
        bundle = worker(tmp_path, chain, config={"max_tokens": 1000})
        async with Host(bundle, ledger=tmp_path / f"{chain[:4]}.db", environment=world.environment(base)) as host:
            result = await host.delegate("worker", "And now?", messages=LONG)
        assert not [note for note in result.notes if "window" in note]
        assert "question 1" in str(world.chats()[-1].body_json)


async def test_a_task_that_cannot_be_shortened_goes_whole_and_then_to_a_larger_window(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    window(world, "anthropic", 20_000)
    world.vendor("anthropic").fault = Fault.too_long()
    bundle = worker(tmp_path, "anthropic/claude-haiku-*", "google/gemini-2.5-flash", config={"max_tokens": 1000})
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        result = await host.delegate("worker", "x" * 100_000)
    assert result.provider == "google"
    assert result.attempts[0].kind == "too long"
    assert "x" * 100_000 in str(world.chats("anthropic")[0].body_json)


async def test_turns_of_the_delegation_itself_are_trimmed_too(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    window(world, "anthropic", 20_000)

    def read(page: int) -> str:
        """Read a page."""
        return f"page {page} " + "z" * 30_000

    world.vendor("anthropic").replies = [*(Reply("", [("read", {"page": page})]) for page in range(5)), Reply("Read.")]
    bundle = worker(tmp_path, "anthropic/claude-haiku-*", config={"max_tokens": 1000})
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        result = await host.delegate("worker", "Read all.", tools=[read])
    assert result.text == "Read."
    last = str(world.chats()[-1].body_json["messages"])
    assert "characters left out" in last
    assert "page 4 " + "z" * 30_000 in last, "the newest result is whole"
    assert [request.status for request in world.chats()] == [200] * 6


@pytest.mark.parametrize("known", [True, False])
async def test_what_the_vendor_finds_too_long_all_the_same_is_too_long(vendors: Served, tmp_path: Path, known: bool) -> None:
    world, base = vendors
    if known:
        window(world, "anthropic", 20_000)
    world.vendor("anthropic").fault = Fault.too_long()
    bundle = worker(tmp_path, "anthropic/claude-haiku-*", config={"max_tokens": 1000})
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        with pytest.raises(AllFailed, match="too long"):
            await host.delegate("worker", "And now?", messages=LONG)


def test_the_system_text_takes_its_part_of_the_window() -> None:
    talk = (
        user("First."),
        assistant("A" * 900),
        user("Second."),
        assistant("B" * 900),
        user("Task."),
        assistant("C"),
        user("Go."),
    )
    sent, bytes_sent, note = within(1000, 100, "s" * 2000, talk, ())
    assert bytes_sent <= 3600
    assert len(sent) < len(talk)
    assert note is not None
    assert within(1000, 100, "s", talk, ())[0] == talk
    assert least_bytes("s", talk) < 1100 < prompt_bytes("s", talk), "gates look at what is left at least"


def test_what_is_counted_turn_by_turn_is_the_bound_of_the_whole() -> None:
    limits, picture = first_limits(1.0, 1.0, 5), Blob(b"x" * 10, "image/png")
    candidate = Candidate("p", "m", Preference(provider="p", model="m"))
    schema = {"type": "object"}
    begun = DelegationContext(
        "a", None, "a", 0, "w", "Bé brief.", "Hi", (user("Hi", picture),), candidate, (), DecidedBy.AGENT, limits,
        config={"seed": 7}, tools=(ToolSpec("look", "Look.", schema),), output_schema=schema,
    )  # fmt: skip
    turn = (
        Message("assistant", (ToolCall("1", "look", {}),)),
        Message("tool", (ToolResult("1", "look", "é", parts=(picture,)),)),
    )
    history = _History(begun)
    for _ in range(3):
        history.add(turn)
    sent = history.within(candidate)
    config = {"seed": 7, "output_schema": in_words(schema)}
    assert sent.messages == (*begun.messages, *turn * 3)
    assert sent.bound == prompt_bound(begun.instruction, sent.messages, begun.tools, config)
