"""The bounded buffer of what has not left yet."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, cast

import pytest
import trio
import trio.testing

from tests.client.fake_session import FakeSession
from trio_sio.client import outgoing
from trio_sio.client.outgoing import Outgoing, SendBuffer
from trio_sio.errors import Disconnected
from trio_sio.protocol.frames import EncodedPacket

if TYPE_CHECKING:
    from trio_sio.client.session import Session


def item(size: int = 1) -> Outgoing:
    return Outgoing(EncodedPacket(bytes(size)))


def full() -> tuple[SendBuffer, list[Outgoing]]:
    buffer = SendBuffer(lambda: None, lambda: None)
    items = [item() for _ in range(outgoing.PACKETS)]
    for one in items:
        buffer.put_nowait(one)
    return buffer, items


def drain(buffer: SendBuffer) -> list[Outgoing]:
    items = []
    while (first := buffer.first) is not None:
        buffer.remove(first)
        items.append(first)
    return items


def test_it_is_bounded_in_packets() -> None:
    buffer, items = full()
    with pytest.raises(trio.WouldBlock):
        buffer.put_nowait(item())
    buffer.remove(items[0])
    last = item()
    buffer.put_nowait(last)

    assert drain(buffer) == [*items[1:], last]
    assert buffer.idle


def test_it_is_bounded_in_bytes_but_an_empty_one_takes_anything() -> None:
    buffer = SendBuffer(lambda: None, lambda: None)
    buffer.put_nowait(item(outgoing.BYTES * 2))
    with pytest.raises(trio.WouldBlock):
        buffer.put_nowait(item())
    drain(buffer)
    buffer.put_nowait(item(outgoing.BYTES - 1))
    buffer.put_nowait(item())
    with pytest.raises(trio.WouldBlock):
        buffer.put_nowait(item())


async def test_putting_waits_first_come_first_served() -> None:
    buffer, items = full()
    waiting = [item(), item()]
    async with trio.open_nursery() as nursery:
        for one in waiting:
            nursery.start_soon(buffer.put, one)
            await trio.testing.wait_all_tasks_blocked()
        buffer.remove(items[0])
        # There is room, but somebody else is first.
        with pytest.raises(trio.WouldBlock):
            buffer.put_nowait(item())
        await trio.testing.wait_all_tasks_blocked()
        buffer.remove(items[1])

    assert drain(buffer) == [*items[2:], *waiting]


async def test_cancelled_means_not_appended() -> None:
    buffer, items = full()
    with trio.move_on_after(0) as scope:
        await buffer.put(item())

    assert scope.cancelled_caught
    assert drain(buffer) == items
    assert buffer.idle


async def test_who_waited_for_a_socket_that_ended_is_told() -> None:
    ended = False

    def require_open() -> None:
        if ended:
            raise Disconnected

    buffer = SendBuffer(require_open, lambda: None)
    buffer.put_nowait(item(outgoing.BYTES))

    async def put() -> None:
        with pytest.raises(Disconnected):
            await buffer.put(item())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(put)
        nursery.start_soon(put)
        await trio.testing.wait_all_tasks_blocked()
        ended = True
        buffer.clear()

    assert buffer.first is None
    assert buffer.idle


def test_acknowledgements_are_counted_and_go_with_their_session() -> None:
    looked = 0

    def look() -> None:
        nonlocal looked
        looked += 1

    buffer = SendBuffer(lambda: None, look)
    session = cast("Session", FakeSession(1))
    event = item()
    buffer.put_nowait(event)
    acks = [Outgoing(EncodedPacket(b"3"), session) for _ in range(outgoing.PACKETS + 1)]

    def overrun_after(*changes: Callable[[], None]) -> list[bool]:
        return [buffer.is_overrun for change in changes if change() is None]

    def overrun() -> None:
        for ack in acks[1:]:
            buffer.force(ack)

    assert overrun_after(overrun, partial(buffer.force, acks[0]), partial(buffer.remove, acks[1])) == [False, True, False]
    assert looked == 1
    other = cast("Session", FakeSession(2))
    assert overrun_after(
        partial(buffer.force, acks[1]), partial(buffer.forget, other), partial(buffer.forget, session), overrun, buffer.clear
    ) == [True, True, False, False, False]
    buffer.put_nowait(event)
    assert overrun_after(overrun, partial(buffer.forget, session)) == [False, False]
    assert drain(buffer) == [event]


async def test_who_waits_does_not_get_into_the_next_life_of_its_socket() -> None:
    buffer, _ = full()
    refused = list[str]()

    async def put() -> None:
        with pytest.raises(Disconnected, match="was connected again") as error:
            await buffer.put(item())
        refused.append(str(error.value))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(put)
            await trio.testing.wait_all_tasks_blocked()
        buffer.clear()  # and before any of them runs, the socket is connected again: nothing forbids to append

    assert len(refused) == 3
    assert buffer.idle


async def test_the_end_of_a_session_is_not_that_of_a_life() -> None:
    buffer, items = full()
    session = cast("Session", FakeSession(1))
    for one in items:
        one.session = session
    one_more = item()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(buffer.put, one_more)
        await trio.testing.wait_all_tasks_blocked()
        buffer.forget(session)

    assert drain(buffer) == [one_more]
