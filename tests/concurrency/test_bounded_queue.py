"""The queues of a session: order, bounds, cancellation and the end."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trio_sio.concurrency.bounded_queue import BoundedQueue


async def test_items_come_out_in_order() -> None:
    queue = BoundedQueue[int](3, 100)
    for number in range(3):
        await queue.put(number, 1)
    assert len(queue) == 3
    assert [await queue.get() for _ in range(3)] == [0, 1, 2]


@pytest.mark.parametrize(("items", "size", "fits"), [(2, 1, True), (3, 1, False), (1, 91, False), (1, 90, True), (0, 1_000, True)])
async def test_bounds(items: int, size: int, fits: bool) -> None:
    queue = BoundedQueue[str](3, 100)
    for _ in range(items):
        queue.put_nowait("x", 10)
    assert queue.has_room(size) == fits
    if fits:
        queue.put_nowait("y", size)
    else:
        with pytest.raises(trio.WouldBlock):
            queue.put_nowait("y", size)


async def test_those_who_wait_for_room_get_it_in_order(autojump_clock: trio.testing.MockClock) -> None:
    queue = BoundedQueue[int](10, 100)
    queue.put_nowait(0, 60)
    async with trio.open_nursery() as nursery:
        for number, size in ((1, 90), (2, 10), (3, 10)):
            nursery.start_soon(queue.put, number, size)
            await trio.testing.wait_all_tasks_blocked()
        # A small one does not overtake the large one that waits before it.
        with pytest.raises(trio.WouldBlock):
            queue.put_nowait(4, 10)
        assert [await queue.get() for _ in range(4)] == [0, 1, 2, 3]


async def test_a_cancelled_put_leaves_nothing_behind(autojump_clock: trio.testing.MockClock) -> None:
    queue = BoundedQueue[int](1, 100)
    queue.put_nowait(0, 1)
    with trio.move_on_after(1) as scope:
        await queue.put(1, 1)
    assert scope.cancelled_caught
    with trio.CancelScope() as scope:
        scope.cancel()
        await queue.put(2, 1)
    assert queue.take(1_000) == [0]
    with trio.CancelScope() as scope:
        scope.cancel()
        await queue.get()
    assert scope.cancelled_caught
    await queue.put(3, 1)
    assert await queue.get() == 3


def test_batches() -> None:
    queue = BoundedQueue[str](100, 1_000)
    assert queue.take(10) == []
    for item in ("aaaa", "bbbb", "cccc", "d" * 50, "e"):
        queue.put_nowait(item, len(item))
    assert queue.take(8) == ["aaaa", "bbbb"]
    assert queue.take(7) == ["cccc"]
    assert queue.take(7) == ["d" * 50]
    assert queue.take(7) == ["e"]
    assert len(queue) == 0


async def test_closing_wakes_everybody(autojump_clock: trio.testing.MockClock) -> None:
    full, empty = BoundedQueue[int](1, 100), BoundedQueue[int](1, 100)
    full.put_nowait(0, 1)

    async def put() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await full.put(1, 1)

    async def get() -> None:
        with pytest.raises(trio.EndOfChannel):
            await empty.get()

    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(put)
            nursery.start_soon(get)
        await trio.testing.wait_all_tasks_blocked()
        full.close()
        empty.close()
    with pytest.raises(trio.ClosedResourceError):
        full.put_nowait(1, 1)
    assert await full.get() == 0
    with pytest.raises(trio.EndOfChannel):
        await full.get()
