"""Time limits on the steps of a stream."""

from __future__ import annotations

import asyncio

import pytest

from bundle_loader.providers.patience import Patience


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_a_step_that_does_not_end_in_time_is_a_timeout_and_the_task_goes_on() -> None:
    patience = Patience()
    with pytest.raises(TimeoutError):
        await patience.step(asyncio.sleep(60), now() + 0.02)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert await patience.step(asyncio.sleep(0.01, "later"), now() + 1) == "later"
    patience.close()


async def test_each_step_has_its_own_limit_whatever_the_timer_was_set_to() -> None:
    patience = Patience()
    await patience.step(asyncio.sleep(0), now() + 0.02)
    assert await patience.step(asyncio.sleep(0.06, "longer than the first"), now() + 5) == "longer than the first"
    begun = now()
    with pytest.raises(TimeoutError):
        await patience.step(asyncio.sleep(60), now() + 0.02)
    assert now() - begun < 30
    patience.close()


async def test_nothing_runs_out_between_steps() -> None:
    patience = Patience()
    await patience.step(asyncio.sleep(0), now() + 0.01)
    await asyncio.sleep(0.03)
    assert await patience.step(asyncio.sleep(0, "still here"), now() + 1) == "still here"
    patience.close()


async def test_a_limit_that_has_passed_holds_for_whatever_has_to_wait() -> None:
    patience = Patience()
    with pytest.raises(TimeoutError):
        await patience.step(asyncio.sleep(5), now() - 1)
    patience.close()


async def test_the_cancellation_of_others_is_not_a_timeout() -> None:
    patience = Patience()
    task = asyncio.create_task(patience.step(asyncio.sleep(5), now() + 5))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    patience.close()


async def test_a_cancellation_at_the_moment_of_the_timeout_wins() -> None:
    patience = Patience()

    async def cancelled_by_itself() -> None:
        this = asyncio.current_task()
        assert this is not None
        asyncio.get_running_loop().call_at(until, this.cancel)
        await patience.step(asyncio.sleep(5), until)

    until = now() + 0.02
    task = asyncio.create_task(cancelled_by_itself())
    with pytest.raises(asyncio.CancelledError):
        await task
    patience.close()


async def test_the_steps_may_run_in_different_tasks() -> None:
    patience = Patience()
    first = asyncio.create_task(patience.step(asyncio.sleep(0, 1), now() + 0.02))
    assert await first == 1
    second = asyncio.create_task(patience.step(asyncio.sleep(5), now() + 0.04))
    with pytest.raises(TimeoutError):
        await second
    patience.close()


async def test_an_error_of_the_step_passes() -> None:
    async def failing() -> None:
        raise ValueError("its own")

    patience = Patience()
    with pytest.raises(ValueError, match="its own"):
        await patience.step(failing(), now() + 1)
    patience.close()
