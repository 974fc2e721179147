"""Who waits for acknowledgements and events: everybody is served or told, and reading goes on meanwhile."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
import trio.testing

from trio_sio.concurrency.answers import Answer
from trio_sio.concurrency.waiters import Waiter, Waiters
from trio_sio.errors import Disconnected


class Reading:
    """What reads.

    Attributes:
      awaited: How many wait for it.
    """

    def __init__(self) -> None:
        self.awaited = 0

    def awaiting(self, change: int) -> None:
        self.awaited += change
        assert self.awaited >= 0


@pytest.fixture
def reading() -> Reading:
    return Reading()


@pytest.fixture
def waiters(reading: Reading) -> Waiters[Waiter, str]:
    return Waiters(reading)


async def test_an_acknowledgement_is_taken_once_and_forgotten(reading: Reading, waiters: Waiters[Waiter, str]) -> None:
    answer: Answer[Sequence[object]] = Answer()
    assert not waiters.answered(1, ["nobody has ever asked"])
    waiters.expect(1, answer)
    assert (list(waiters.unanswered), reading.awaited) == ([answer], 1)
    assert [waiters.answered(number, ["first"]) for number in (None, 2, 1, 1)] == [False, False, True, False]
    assert await answer.wait() == ["first"]
    waiters.forget(1)
    assert (list(waiters.unanswered), reading.awaited) == ([], 0)


async def test_all_who_wait_for_an_event_hear_it_but_who_gives_up(reading: Reading, waiters: Waiters[Waiter, str]) -> None:
    heard: list[str] = []
    scope = trio.CancelScope()

    async def wait(waits: trio.CancelScope) -> None:
        with waits:
            heard.append(await waiters.next("a"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, scope)
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        assert not waiters.hear("a", "nobody hears it")
        for _ in range(2):
            nursery.start_soon(wait, trio.CancelScope())
        await trio.testing.wait_all_tasks_blocked()
        assert reading.awaited == 2
        assert not waiters.hear("b", "another")
        assert waiters.hear("a", "first")
        assert not waiters.hear("a", "second")
    assert (heard, reading.awaited, waiters.once) == (["first", "first"], 0, {})


async def test_the_end_fails_everybody(reading: Reading, waiters: Waiters[Waiter, str]) -> None:
    cause = ValueError()
    answer: Answer[Sequence[object]] = Answer()

    async def wait() -> None:
        with pytest.raises(Disconnected, match=r"^it is over$") as raised:
            await waiters.next("a")
        assert raised.value.__cause__ is cause

    waiters.expect(1, answer)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        waiters.fail("it is over", cause)
    with pytest.raises(Disconnected):
        await answer.wait()
    waiters.forget(1)
    assert reading.awaited == 0
