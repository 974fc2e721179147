"""A task waits for one thing, which comes, or does not."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trio_sio.concurrency.answers import Answer
from trio_sio.errors import Disconnected


async def test_what_comes_first_counts() -> None:
    answer = Answer[int]()
    answer.arrive(1)
    answer.arrive(2)
    answer.fail("too late")

    assert await answer.wait() == 1


async def test_a_failure_says_why_or_what_its_kind_says() -> None:
    cause = ValueError()
    told, untold = Answer[int](), Answer[int]()
    told.fail("it is over", cause)
    told.arrive(1)
    untold.fail()

    with pytest.raises(Disconnected, match=r"^it is over$") as raised:
        await told.wait()
    assert raised.value.__cause__ is cause
    with pytest.raises(Disconnected, match="before it answered"):
        await untold.wait()


async def test_who_is_being_cancelled_waits_no_more() -> None:
    answer = Answer[int]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer.wait)
        await trio.testing.wait_all_tasks_blocked()
        before = answer.awaited
        nursery.cancel_scope.cancel()

        assert (before, answer.awaited) == (True, False)
