"""The outbox of a socket: its bounds, who waits for room in it, and what goes with a session or with a life of the socket."""

from __future__ import annotations

from functools import partial

import pytest
import trio
import trio.testing

from tests.client.connecting import Background, connected, gone, start
from trio_sio.client import sending
from trio_sio.client.core import SocketCore
from trio_sio.client.membership import Stage
from trio_sio.client.socket import ClientSocket
from trio_sio.errors import Disconnected

Clock = trio.testing.MockClock  # every time-out passes at once


def fill(socket: ClientSocket) -> list[str]:
    """Let no packet leave any more, and return the events that wait: as many as there may be."""
    for number in range(sending.PACKETS):
        socket.emit_nowait("a", number)
    return [f'2["a",{number}]' for number in range(sending.PACKETS)]


def core_of(socket: ClientSocket) -> SocketCore:
    return socket._core


async def test_an_empty_outbox_takes_a_packet_of_any_size(autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session):
        session.take_room(0)
        session.takes = 1_000_000_000
        socket.emit_nowait("large", b"x" * 2 * sending.BYTES)
        with pytest.raises(trio.WouldBlock):
            socket.emit_nowait("a")
        session.take_room(1)
        socket.emit_nowait("b")
        with pytest.raises(trio.WouldBlock):
            socket.emit_nowait("large", b"x" * 2 * sending.BYTES)
        with trio.move_on_after(1) as scope:
            await socket.emit("large", b"x" * 2 * sending.BYTES)
        assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            large = await start(nursery, partial(socket.emit, "large", b"x" * 2 * sending.BYTES))
            session.take_room(10)
            await large.done.wait()
        assert [message for message in session.sent if isinstance(message, str)] == [
            '51-["large",{"_placeholder":true,"num":0}]',
            '2["b"]',
            '51-["large",{"_placeholder":true,"num":0}]',
        ]


async def test_who_waits_for_room_keeps_his_turn_when_the_session_ends(autojump_clock: Clock) -> None:
    async with connected() as (socket, server, session), trio.open_nursery() as nursery:
        session.take_room(0)
        expected = fill(socket)
        emits = [await start(nursery, partial(socket.emit, "waits", number)) for number in range(3)]
        await gone(socket, server)
        # There is no room for anybody else either.
        with pytest.raises(trio.WouldBlock):
            socket.emit_nowait("overtakes")
        again = await server.wait_session(2)
        for emit in emits:
            await emit.done.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert [emit.error for emit in emits] == [None] * 3
        assert list(again.sent) == ["0", *expected, *(f'2["waits",{number}]' for number in range(3))]


async def test_who_waits_does_not_get_into_the_next_life_of_the_socket(autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session), trio.open_nursery() as nursery:
        session.take_room(0)
        fill(socket)
        emits = [await start(nursery, partial(socket.emit, "waits")) for _ in range(3)]

        core = core_of(socket)
        core._end("io server disconnect")
        core.membership.stage = Stage.JOINING  # it is connected again before any of them runs, so that nothing else forbids to send
        for emit in emits:
            await emit.done.wait()
            assert isinstance(emit.error, Disconnected)
            assert "was connected again" in str(emit.error)
        session.take_room(10)
        await socket.connect()
        assert list(session.sent) == ["0"]


async def test_who_waits_is_told_when_the_socket_is_being_disconnected_and_the_others_leave(autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session), trio.open_nursery() as nursery:
        session.take_room(0)
        expected = fill(socket)
        waits = await start(nursery, partial(socket.emit, "waits"))
        disconnect = await start(nursery, socket.disconnect)
        await waits.done.wait()
        assert isinstance(waits.error, Disconnected)
        assert "is being disconnected" in str(waits.error)
        session.take_room(10_000)
        await disconnect.done.wait()
        assert list(session.sent) == [*expected, "1"]


async def test_what_a_disconnected_socket_lets_in_while_it_leaves_is_no_error(autojump_clock: Clock) -> None:
    """It got its room in the moment in which the socket was disconnected, so it leaves, and its emit has not failed."""
    async with connected() as (socket, _, session), trio.open_nursery() as nursery:
        session.take_room(0)
        expected = fill(socket)
        waits = await start(nursery, partial(socket.emit, "waits"))
        disconnect = Background()
        nursery.start_soon(disconnect.run, socket.disconnect)
        session.take_room(1)
        await trio.testing.wait_all_tasks_blocked()
        session.take_room(10_000)
        await disconnect.done.wait()
        assert waits.error is None
        assert list(session.sent) == [*expected, '2["waits"]', "1"]


async def test_acknowledgements_are_counted_and_go_with_their_session(autojump_clock: Clock) -> None:
    async with connected() as (socket, server, session):
        sender = core_of(socket).sender
        session.take_room(0)
        await socket.emit("event")

        async def is_overrun_after(count: int) -> bool:
            session.deliver(*['21["b"]'] * count)
            for _ in range(count):
                await socket.receive()
            return sender.is_overrun

        overrun = [await is_overrun_after(count) for count in (sending.PACKETS, 1)]
        session.take_room(2)
        overrun += [await is_overrun_after(count) for count in (0, 1)]
        await gone(socket, server)
        overrun.append(sender.is_overrun)
        assert overrun == [False, True, False, True, False]
        assert len(sender.outbox) == 0
        assert list(session.sent) == ['2["event"]', "31[]"]


async def test_an_acknowledgement_that_waits_for_room_does_not_leave_through_the_next_session(autojump_clock: Clock) -> None:
    async with connected() as (socket, server, session):
        socket.on("b", lambda: "handled")
        session.take_room(0)
        expected = fill(socket)
        session.deliver('21["b"]')
        await session.wait_read()
        await gone(socket, server)
        again = await server.wait_session(2)
        await trio.testing.wait_all_tasks_blocked()
        assert list(again.sent) == ["0", *expected]


async def test_volatile_packets_that_did_not_leave_go_with_their_session(autojump_clock: Clock) -> None:
    async with connected() as (socket, server, session):
        session.take_room(1)
        for number in range(3):
            await socket.volatile().emit("a", number)
        assert socket.volatile_dropped == 0
        await gone(socket, server)
        assert socket.volatile_dropped == 2
        again = await server.wait_session(2)
        await socket.connect()
        await trio.testing.wait_all_tasks_blocked()
        assert (list(session.sent), list(again.sent)) == (['2["a",0]'], ["0"])


async def test_volatile_packets_do_not_wait_behind_many(autojump_clock: Clock) -> None:
    async with connected() as (socket, _, session):
        session.takes = 10_000_000
        session.take_room(0)
        for _ in range(sending.PACKETS_AT_ONCE - 1):
            await socket.emit("a")
        await socket.volatile().emit("the last for which there is room")
        assert socket.volatile_dropped == 0
        await socket.volatile().emit("dropped")
        assert socket.volatile_dropped == 1
        session.take_room(10_000)
        await socket.volatile().emit("a", "x" * sending.BYTES_AT_ONCE)
        assert socket.volatile_dropped == 2
        assert len(session.sent) == sending.PACKETS_AT_ONCE
