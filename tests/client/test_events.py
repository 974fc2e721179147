"""What happens to an event from its arrival until somebody takes it."""

from __future__ import annotations

import gc
import logging
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from trio_sio.client import events
from trio_sio.client.events import Event, Inbox, Received
from trio_sio.concurrency.waiters import Waiters
from trio_sio.errors import Disconnected


class Reading:
    """Counts those who wait.

    Attributes:
      awaited: How many there are.
    """

    def __init__(self) -> None:
        self.awaited = 0

    def awaiting(self, change: int) -> None:
        self.awaited += change


class Owner:
    """What an inbox belongs to."""

    def __init__(self) -> None:
        self.handled: set[str] = set()
        self.acknowledged: list[int | None] = []
        self.reading = Reading()
        self.waiters: Waiters[Any, Received] = Waiters(self.reading)
        self.inbox = Inbox(self.handled.__contains__, self.waiters, lambda received: self.acknowledged.append(received.id), lambda: None)

    def arrive(self, name: str, *args: object, id: int | None = None, size: int = 1) -> None:
        self.inbox.arrive(Received(Event(name, args), id, 1, size))

    async def once(self, name: str) -> Event:
        return self.inbox.take_kept(name) or (await self.waiters.next(name)).event

    async def next(self) -> Event | None:
        return self.inbox.take_kept() or await self.inbox.wait_for_any()


@pytest.fixture
async def owner() -> Owner:
    return Owner()


async def test_what_came_before_anybody_asked_is_found(owner: Owner) -> None:
    owner.arrive("a", 1)
    owner.arrive("b", 2)
    owner.arrive("a", 3)

    assert list(owner.inbox.pending) == [Event("a", (1,)), Event("b", (2,)), Event("a", (3,))]
    assert await owner.once("b") == Event("b", (2,))
    assert await owner.next() == Event("a", (1,))
    assert list(owner.inbox.pending) == [Event("a", (3,))]


@pytest.mark.hostile("R52")
async def test_waiters_and_handlers_hear_everything_and_readers_the_rest(owner: Owner) -> None:
    owner.handled.add("a")
    taken: list[tuple[str, Event | None]] = []

    async def wait(who: str) -> None:
        taken.append((who, await (owner.once("a") if who == "once" else owner.next())))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, "reader")
        for _ in range(2):
            nursery.start_soon(wait, "once")
        await trio.testing.wait_all_tasks_blocked()
        for number in (1, 2):
            owner.arrive("a", number, id=number)
        owner.arrive("other")

    assert sorted(taken) == [("once", Event("a", (1,))), ("once", Event("a", (1,))), ("reader", Event("other", ()))]
    assert [(await owner.inbox.next_queued()).event for _ in range(2)] == [Event("a", (1,)), Event("a", (2,))]
    assert owner.acknowledged == [None]


async def test_what_only_waiters_hear_is_neither_read_nor_kept(owner: Owner) -> None:
    taken: list[tuple[int, Event]] = []

    async def wait(number: int) -> None:
        taken.append((number, await owner.once("a")))

    async with trio.open_nursery() as nursery:
        for number in (1, 2):
            nursery.start_soon(wait, number)
        nursery.start_soon(owner.next)
        await trio.testing.wait_all_tasks_blocked()
        owner.arrive("a", "first", id=1)
        assert owner.acknowledged == [1]
        owner.arrive("a", "second")
        owner.arrive("a", "third")

    assert sorted(taken) == [(1, Event("a", ("first",))), (2, Event("a", ("first",)))]
    assert owner.inbox.pending == (Event("a", ("third",)),)


async def test_what_lost_its_handlers_is_kept_unless_somebody_has_heard_it(owner: Owner) -> None:
    owner.handled.add("a")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(owner.once, "a")
        await trio.testing.wait_all_tasks_blocked()
        owner.arrive("a", 1, id=1)
        owner.arrive("a", 2, id=2)
    for _ in range(2):
        owner.inbox.keep(await owner.inbox.next_queued())

    assert owner.acknowledged == [1]
    assert owner.inbox.pending == (Event("a", (2,)),)


async def test_only_what_is_taken_without_a_handler_is_acknowledged_at_once(owner: Owner) -> None:
    owner.handled.add("handled")
    owner.arrive("handled", id=1)
    owner.arrive("kept", id=2)
    assert owner.acknowledged == []

    await owner.once("kept")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(owner.once, "awaited")
        nursery.start_soon(owner.next)
        await trio.testing.wait_all_tasks_blocked()
        owner.arrive("awaited", id=3)
        owner.arrive("read", id=4)

    assert owner.acknowledged == [2, 3, 4]


async def test_one_that_waits_again_at_once_is_not_forgotten(owner: Owner) -> None:
    taken: list[Event] = []

    async def wait() -> None:
        taken.append(await owner.once("a"))
        taken.append(await owner.once("a"))

    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(wait)
        for number in (1, 2):
            await trio.testing.wait_all_tasks_blocked()
            owner.arrive("a", number)

    assert sorted(event.args for event in taken) == [(1,), (1,), (2,), (2,)]
    assert not owner.waiters.once


async def test_a_cancelled_waiter_takes_nothing(owner: Owner) -> None:
    with trio.move_on_after(0):
        await owner.waiters.next("a")
    with trio.move_on_after(0):
        await owner.inbox.wait_for_any()
    owner.arrive("a")

    assert owner.inbox.pending == (Event("a", ()),)
    assert not owner.waiters.once


@pytest.mark.parametrize("name", ["a", None], ids=["once", "receive"])
async def test_nor_does_one_that_is_being_cancelled(owner: Owner, name: str | None) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(owner.inbox.wait_for_any if name is None else partial(owner.waiters.next, name))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        owner.arrive("a")  # before the task runs again

    assert owner.inbox.pending == (Event("a", ()),)


async def test_a_new_handler_gets_what_came_before_it_in_order(owner: Owner) -> None:
    for number, name in enumerate("abab"):
        owner.arrive(name, number)
    owner.handled.add("a")
    owner.inbox.handle("a")
    owner.arrive("a", 4)

    assert [(await owner.inbox.next_queued()).event.args for _ in range(3)] == [(0,), (2,), (4,)]
    assert owner.inbox.pending == (Event("b", (1,)), Event("b", (3,)))


async def test_a_new_handler_for_everything_gets_all(owner: Owner) -> None:
    for name in "abab":
        owner.arrive(name)
    owner.inbox.handle(None)

    assert [(await owner.inbox.next_queued()).event.name for _ in range(4)] == list("abab")


async def test_what_nobody_takes_is_dropped_oldest_first_with_one_warning(owner: Owner, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(events.EVENTS + 3):
        owner.arrive("a", number)

    assert owner.inbox.dropped == 3
    assert [event.args[0] for event in owner.inbox.pending] == list(range(3, events.EVENTS + 3))
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert not owner.inbox.is_full(awaiting=False)


async def test_large_events_are_dropped_sooner_but_the_newest_never(owner: Owner) -> None:
    for number in range(3):
        owner.arrive("a", number, size=events.BYTES)

    assert owner.inbox.pending == (Event("a", (2,)),)
    owner.arrive("small", size=1)
    assert owner.inbox.pending == (Event("small", ()),)


async def test_what_waits_for_a_handler_is_never_dropped_but_full(owner: Owner) -> None:
    owner.handled.add("a")
    for number in range(events.EVENTS):
        assert not owner.inbox.is_full(awaiting=False)
        owner.arrive("a", number)

    assert owner.inbox.is_full(awaiting=False)
    assert not owner.inbox.is_full(awaiting=True)
    for number in range(events.EVENTS, events.EVENTS_WHILE_AWAITING):
        owner.arrive("a", number)
    assert owner.inbox.is_full(awaiting=True)
    assert owner.inbox.dropped == 0
    assert [(await owner.inbox.next_queued()).event.args[0] for _ in range(events.EVENTS_WHILE_AWAITING)] == list(
        range(events.EVENTS_WHILE_AWAITING)
    )


async def test_bytes_count_too(owner: Owner) -> None:
    owner.handled.add("a")
    owner.arrive("a", size=events.BYTES)
    assert owner.inbox.is_full(awaiting=False)
    assert not owner.inbox.is_full(awaiting=True)
    owner.arrive("a", size=events.BYTES_WHILE_AWAITING - events.BYTES)
    assert owner.inbox.is_full(awaiting=True)

    await owner.inbox.next_queued()
    await owner.inbox.next_queued()
    assert not owner.inbox.is_full(awaiting=False)


async def test_an_iteration_drops_nothing_while_it_lasts(owner: Owner) -> None:
    seen = 0
    owner.arrive("a", 0)
    async for _ in owner.inbox.stream(owner.next):
        for number in range(events.EVENTS + 5):
            owner.arrive("a", number)
        assert owner.inbox.is_full(awaiting=False)
        assert owner.inbox.dropped == 0
        seen += 1
        break

    gc.collect()
    assert not owner.inbox.is_full(awaiting=False)
    owner.arrive("last")
    assert len(owner.inbox.pending) == events.EVENTS
    assert owner.inbox.dropped == 6


async def test_an_iteration_that_another_thread_drops_is_told_of_here(owner: Owner) -> None:
    told: list[trio.lowlevel.Task] = []
    heard = trio.Event()

    def has_room() -> None:
        told.append(trio.lowlevel.current_task())
        heard.set()

    inbox = Inbox(owner.handled.__contains__, owner.waiters, lambda _: None, has_room)
    held = [inbox.stream(owner.next)]
    await trio.to_thread.run_sync(held.clear)
    with trio.fail_after(5):
        await heard.wait()
    assert len(told) == 1


async def test_nobody_waits_for_an_inbox_that_failed(owner: Owner) -> None:
    cause = ValueError()

    async def wait(name: str | None) -> None:
        with pytest.raises(Disconnected, match=r"^it is over$") as raised:
            await (owner.inbox.wait_for_any() if name is None else owner.waiters.next(name))
        assert raised.value.__cause__ is cause

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, "a")
        nursery.start_soon(wait, None)
        await trio.testing.wait_all_tasks_blocked()
        owner.inbox.fail("it is over", cause)
        owner.waiters.fail("it is over", cause)
