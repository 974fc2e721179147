"""The bounded buffer of what has not left yet."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trio_sio.client import outgoing
from trio_sio.client.outgoing import Outgoing, SendBuffer
from trio_sio.errors import Disconnected
from trio_sio.protocol.frames import EncodedPacket


def item(size: int = 1) -> Outgoing:
    return Outgoing(EncodedPacket(bytes(size)))


def full() -> tuple[SendBuffer, list[Outgoing]]:
    buffer = SendBuffer(lambda: None)
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
    buffer = SendBuffer(lambda: None)
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

    buffer = SendBuffer(require_open)
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
