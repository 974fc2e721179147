"""Connection state recovery: how much is kept for somebody who is away, and what is not sent after all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import trio
import trio.testing

from tests.namespaces.recovering import CONFIG, Peer, Stage, open_stage
from trio_sio import Limits, Socket
from trio_sio.namespaces.session import SocketSession
from trio_sio.protocol.socketio import encode_event

# How much.


async def miss(stage: Stage, peer: Peer, count: int) -> None:
    """Let the peer be away while ``count`` events happen, and come back."""
    await peer.connect()
    await peer.cut()
    for number in range(count):
        await stage.server.emit("all", number)
    await peer.connect()


@pytest.mark.parametrize(("limit", "size"), [("packets", 5), ("bytes", 5 * len('42["all",0,"123456.1"]'))])
@pytest.mark.parametrize("excess", [0, 1])
async def test_the_newest_events_are_kept(limit: str, size: int, excess: int) -> None:
    bounds: Any = {limit: size}
    async with open_stage(**bounds) as stage:
        expired: list[SocketSession] = []
        stage.server.of("/").on_session_expired(expired.append)
        peer = stage.peer()
        await miss(stage, peer, 5 + excess)
        # All or nothing.
        assert peer.recovered == (not excess)
        assert await peer.heard() == ([] if excess else [["all", number] for number in range(5)])
        assert len(stage.store().log) == 5
        assert stage.store().log.evicted == excess
        assert len(expired) == excess


@pytest.mark.parametrize(("limit", "size"), [("outbox_packets", 5), ("outbox_bytes", 5 * len('42["all",0,"123456.1"]'))])
@pytest.mark.parametrize("excess", [0, 1])
async def test_who_has_missed_more_than_an_outbox_is_a_stranger(limit: str, size: int, excess: int) -> None:
    async with open_stage(replace(CONFIG, limits=Limits(**{limit: size}))) as stage:
        peer = stage.peer()
        await miss(stage, peer, 5 + excess)
        assert peer.recovered == (not excess)


@pytest.mark.parametrize("excess", [0, 1])
async def test_those_who_left_first_are_given_up(excess: int) -> None:
    async with open_stage(sessions=2) as stage:
        peers = [stage.peer() for _ in range(2 + excess)]
        for peer in peers:
            await peer.connect()
            await peer.cut()
        assert len(stage.store()) == 2
        for peer in peers:
            await peer.connect()
        assert [peer.recovered for peer in peers] == [*[False] * excess, True, True]


async def test_a_packet_larger_than_the_log_is_sent_all_the_same() -> None:
    async with open_stage(bytes=10) as stage:
        peer = stage.peer()
        await peer.connect()
        await stage.server.emit("all", "a long text")
        assert await peer.heard() == [["all", "a long text"]]
        assert (len(stage.store().log), stage.store().log.bytes) == (0, 0)
        await peer.cut()
        await peer.connect()
        assert peer.recovered  # its offset says that it has it


async def test_events_that_nobody_can_miss_are_not_kept() -> None:
    async with open_stage() as stage:
        await stage.server.emit("all", 1)
        assert len(stage.store().log) == 0
        peer = stage.peer()
        await peer.connect()
        await stage.server.emit("all", 2)
        assert len(stage.store().log) == 1
        await peer.leave()
        assert len(stage.store().log) == 0


async def test_after_a_dropped_packet_one_is_a_stranger() -> None:
    config = replace(CONFIG, slow_consumer="drop", limits=Limits(outbox_packets=2))
    async with open_stage(config) as stage:
        dropping, whole = stage.peer(), stage.peer()
        await dropping.connect()
        await whole.connect()
        await stage.sockets[0].join("a")
        stage.sockets[0].outbox.notify = lambda: None
        for number in range(3):
            await stage.server.to("a").emit("room", number)
        await dropping.cut()
        await whole.cut()
        assert len(stage.store()) == 1
        await dropping.connect()
        await whole.connect()
        assert [dropping.recovered, whole.recovered] == [False, True]


async def test_a_slow_consumer_gets_later_what_it_had_no_room_for() -> None:
    async with open_stage(replace(CONFIG, limits=Limits(outbox_packets=3))) as stage:
        peer = stage.peer()
        await peer.connect()
        stage.socket.outbox.notify = lambda: None
        stage.socket.outbox.put(encode_event("/", ("not recorded", 0), 7))
        for number in range(3):
            await stage.server.emit("all", number)
        await trio.testing.wait_all_tasks_blocked()
        assert stage.steps == ["came", "slow consumer"]
        await peer.cut()
        assert await peer.connect()
        assert await peer.heard() == [["all", number] for number in range(3)]


# Sending, and what is not sent after all.


async def test_an_emit_that_was_cancelled_is_not_recovered() -> None:
    async with open_stage(replace(CONFIG, limits=Limits(outbox_packets=1))) as stage:
        peer = stage.peer()
        await peer.connect()
        socket = stage.socket
        await peer.heard()
        socket.outbox.notify = lambda: None
        socket.emit_nowait("direct", 1)
        with pytest.raises(trio.WouldBlock):
            socket.emit_nowait("direct", 2)
        with trio.CancelScope() as scope:
            scope.cancel()
            await socket.emit("direct", 3)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(socket.emit, "direct", 4)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert stage.store().log.bytes == len('42["direct",1,"123456.1"]')
        await peer.cut()
        assert await peer.connect()
        assert await peer.heard() == [["direct", 1]]


async def test_who_waits_for_room_when_the_connection_ends_is_heard_later() -> None:
    async with open_stage(replace(CONFIG, limits=Limits(outbox_packets=2))) as stage:
        peer = stage.peer()
        await peer.connect()
        socket = stage.socket
        await peer.heard()
        socket.outbox.notify = lambda: None
        socket.outbox.put(encode_event("/", ("not recorded", 0), 7))
        socket.emit_nowait("direct", 1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(socket.emit, "direct", 2)
            await trio.testing.wait_all_tasks_blocked()
            await peer.cut()
        await peer.connect()
        assert await peer.heard() == [["direct", 1], ["direct", 2]]


async def test_what_middleware_emits_comes_after_connect_and_in_order() -> None:
    async def greet(socket: Socket) -> None:
        await socket.emit("early", socket.recovered)
        socket.emit_nowait("early", 2)
        await socket.join("early")

    async with open_stage() as stage:
        stage.guard = greet
        peer = stage.peer()
        await peer.connect()
        assert await peer.heard() == [["early", False], ["early", 2]]
        assert stage.socket.rooms == {peer.id, "early"}
        await peer.cut()
        await stage.server.emit("all", 3)
        assert await peer.connect()
        assert await peer.heard() == [["all", 3], ["early", True], ["early", 2]]


async def test_rooms_count_from_connect_on() -> None:
    """A decision that is not made yet lets nobody hear anything, nor do old rooms."""

    async def wait(socket: Socket) -> None:
        await socket.join("new")
        await socket.leave("old")
        reached.set()
        await go_on.wait()

    async with open_stage() as stage:
        peer = stage.peer()
        await peer.connect()
        await stage.socket.join("old", "older")
        await peer.cut()
        stage.guard, reached, go_on = wait, trio.Event(), trio.Event()
        await stage.server.to("old").emit("heard", 1)
        await peer.open()
        await peer.ask()
        await reached.wait()
        await stage.server.to("new").emit("not heard", 2)
        await stage.server.to("old").emit("not heard", 3)
        await stage.server.to("older").emit("heard", 4)
        assert stage.server.of("/").sockets == {}
        go_on.set()
        await peer.joined()
        await stage.server.to("new").emit("heard", 5)
        assert await peer.heard() == [["heard", 1], ["heard", 4], ["heard", 5]]
        assert stage.socket.rooms == {peer.id, "new", "older"}
