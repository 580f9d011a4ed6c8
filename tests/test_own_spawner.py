"""A host's own spawner that breaks its promises: each costs a hop, in time, with words; nothing of it is a crash."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from bundle_loader import DeadlineExceeded, DelegationContext, Host, RequestError, SimulatedProvider
from bundle_loader.delegation.fitting import Fitting
from bundle_loader.events import AnswerEvent, OutcomeEvent, StatusEvent, TextEvent, TurnEvent
from bundle_loader.messages import Message, Text, Turn, Usage, assistant
from tests.support.hosting import worker

SECRET = "sk-ant-api03-abcdefghijklmnopqrstuvwxyz"
DONE = OutcomeEvent("Done.", "m", "stop")


def turn(*added: Any) -> TurnEvent:
    return TurnEvent(Turn(assistant("Done."), Usage(1, 1), "m", "stop"), added or (assistant("Done."),))


def yields(*events: Any, last: BaseException | None = None) -> Callable[[], Any]:
    async def spawned() -> Any:
        for event in events:
            yield event
        if last is not None:
            raise last

    return spawned


def raises() -> Any:
    raise RuntimeError("at once")


async def coroutine() -> list[Any]:
    return [DONE]


BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "raises": (yields(last=ValueError(f"boom {SECRET}")), "the spawner broke (ValueError: boom [left out"),
    "raises at once": (raises, "the spawner broke (RuntimeError: at once)"),
    "exits": (yields(last=SystemExit(3)), "the spawner broke (SystemExit)"),
    "cancels itself": (yields(last=asyncio.CancelledError()), "the spawner broke (CancelledError)"),
    "no connection": (yields(last=ConnectionRefusedError("port 1")), "port 1"),
    "says nothing": (yields(), "ended without an outcome"),
    "no outcome": (yields(turn()), "ended without an outcome"),
    "a list": (lambda: [DONE], "the spawner gave a list"),
    "nothing": (lambda: None, "the spawner gave a NoneType"),
    "a coroutine": (coroutine, "the spawner gave a coroutine"),
    "rubbish": (yields("text", DONE), "what is no event of a spawner: 'text'"),
    "a host's event": (yields(StatusEvent("p", "m", 1, "a", None, "p/*", ())), "what is no event of a spawner: StatusEvent"),
    "no text": (yields(TextEvent(None)), "what is no event of a spawner: TextEvent"),  # type: ignore[arg-type]
    "no turn": (yields(TurnEvent(None, ())), "what is no event of a spawner: TurnEvent"),  # type: ignore[arg-type]
    "no message": (yields(turn("Done.")), "which is no Message"),
    "no part": (yields(turn(Message("assistant", ("Done.",)))), "no event of a spawner: Message"),  # type: ignore[arg-type]
    "a part of another type": (yields(turn(Message("assistant", (Text(5),)))), "'text' of a part Text is a int"),  # type: ignore[arg-type]
    "no answer": (yields(AnswerEvent(None)), "which is no Message"),  # type: ignore[arg-type]
    "an empty outcome": (yields(OutcomeEvent(None, None, None)), "no event of a spawner: OutcomeEvent"),  # type: ignore[arg-type]
    "another end": (yields(OutcomeEvent("Done.", "m", "done")), "no event of a spawner: OutcomeEvent"),  # type: ignore[arg-type]
}  # fmt: skip


class Own:
    """Does one thing the first time, and gives a good answer after that."""

    def __init__(self, first: Callable[[], Any]) -> None:
        self.first: Callable[[], Any] | None = first

    def spawn(self, context: DelegationContext, meter: Any, tools: Any) -> Any:
        first, self.first = self.first, None
        return first() if first is not None else yields(turn(), DONE)()


def host(folder: Path, spawner: Any) -> Host:
    providers = {id: SimulatedProvider(id, models=["m"]) for id in ("p", "q")}
    return Host(worker(folder, "p/m", "q/m"), providers=providers, spawner=spawner, ledger=folder / "l.db", sessions=folder / "s")


async def test_whatever_it_does_costs_a_hop(tmp_path: Path) -> None:
    spawner = Own(lambda: None)
    async with host(tmp_path, spawner) as open_host:
        for name, (first, words) in BAD.items():
            spawner.first = first
            result = await open_host.delegate("worker", "Work.")
            assert result.text == "Done.", name
            assert [(one.provider, one.outcome) for one in result.attempts] == [("p", "failed"), ("q", "answered")], name
            assert words in str(result.attempts[0]), name
            assert SECRET not in str(result), name
            spawner.first = first
            shown = [event async for event in open_host.stream("worker", "Work.")]
            assert shown[-1].result.text == "Done.", name  # type: ignore[union-attr]
        assert open_host.sessions is not None
        assert [session.fault for session in open_host.sessions.all() if session.fault] == []


@pytest.mark.parametrize("heeds", [True, False])
async def test_the_deadline_holds_whatever_it_does(tmp_path: Path, heeds: bool) -> None:
    ended = asyncio.Event()

    async def forever() -> Any:
        while not ended.is_set():
            try:
                await asyncio.sleep(0.02)
            except asyncio.CancelledError:
                if heeds:
                    raise
            yield TextEvent("x")

    began = perf_counter()
    async with host(tmp_path, Fitting(Own(forever), late=0.1, grace=0.1)) as open_host:
        with pytest.raises(DeadlineExceeded):
            await open_host.delegate("worker", "Work.", timeout=0.2)
        ended.set()
    assert perf_counter() - began < 20


async def test_an_outcome_stands_whatever_comes_after_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    after = {"a second": (turn(), OutcomeEvent("Other.", "m", "stop")), "text": (TextEvent("more"),)}
    spawner = Own(lambda: None)
    async with host(tmp_path, spawner) as open_host:
        for events in after.values():
            spawner.first = yields(turn(), DONE, *events)
            result = await open_host.delegate("worker", "Work.")
            assert (result.text, result.turns, len(result.attempts)) == ("Done.", 1, 1)
        spawner.first = yields(turn(), DONE, last=ValueError(SECRET))
        assert (await open_host.delegate("worker", "Work.")).text == "Done."
    assert "after its outcome" in caplog.text
    assert SECRET not in caplog.text


async def test_an_outcome_without_a_turn_is_in_the_history(tmp_path: Path) -> None:
    spawner = Own(yields(OutcomeEvent("Blue.", "m", "stop")))
    async with host(tmp_path, spawner) as open_host:
        result = await open_host.delegate("worker", "Which?")
        again = await open_host.delegate("worker", "Sure?", resume=result.session)
    assert [message.text for message in again.messages] == ["Which?", "Blue.", "Sure?", "Done."]


def test_what_cannot_spawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"spawn\(context, meter, tools\), not a dict"):
        host(tmp_path, {})
