"""Latency that one can see: of clients, of what waits for them, and of the event loop."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.instruments.ledger import Ledger
from trio_sio import Config, Route, RoutingTable, Server, Socket, on_connection
from trio_sio.concurrency.observed_outbox import ObservedOutbox
from trio_sio.concurrency.outbox import Outbox
from trio_sio.protocol.frames import EncodedPacket
from trio_sio.testing import RawWebSocket, open_test_server

CONFIG = Config(ping_interval=10, ping_timeout=5)


class Hall:
    @on_connection
    def joined(self, socket: Socket) -> None:
        """Let everybody in."""


async def test_round_trips_are_told_and_summed_up(autojump_clock: trio.testing.MockClock) -> None:
    ledger = Ledger()
    server = Server(RoutingTable(Route("/", Hall)), config=CONFIG, instruments=[ledger])
    async with open_test_server(server) as in_memory:
        assert (server.statistics().round_trip_median, server.statistics().round_trip_max) == (0, 0)
        async with await in_memory.websocket() as quick, await in_memory.websocket() as slow, trio.open_nursery() as nursery:
            for websocket, delay in ((quick, 0.5), (slow, 2.0)):
                nursery.start_soon(answer_one_ping, websocket, delay)
        assert sorted(seconds for (seconds,) in ledger.of("pong")) == [pytest.approx(0.5), pytest.approx(2.0)]
        async with await in_memory.websocket() as websocket:
            await answer_one_ping(websocket, 1.0)
            await trio.testing.wait_all_tasks_blocked()
            assert server.statistics().round_trip_max == pytest.approx(1.0)
            assert server.statistics().round_trip_median == pytest.approx(1.0)
            # Nobody has asked for that one.
            await websocket.send("3")
            await trio.testing.wait_all_tasks_blocked()
            assert len(ledger.of("pong")) == 3
    ledger.require_balanced()


async def answer_one_ping(websocket: RawWebSocket, delay: float) -> None:
    while await websocket.receive() != "2":
        pass
    await trio.sleep(delay)
    await websocket.send("3")


async def test_time_in_the_outbox_is_sampled_by_pings(autojump_clock: trio.testing.MockClock) -> None:
    ledger = Ledger()
    server = Server(RoutingTable(Route("/", Hall)), config=CONFIG, instruments=[ledger])
    async with open_test_server(server) as in_memory:
        stream = await in_memory.connect_lockstep_stream()
        async with await RawWebSocket.open(stream, "/socket.io/?EIO=4&transport=websocket") as websocket:
            assert str(await websocket.receive()).startswith("0")
            await websocket.send("40")
            assert str(await websocket.receive()).startswith("40")
            await trio.testing.wait_all_tasks_blocked()
            await trio.sleep(9)
            await server.emit("news")  # which the client does not take for three seconds, so the ping waits for two behind it
            await trio.sleep(3)
            assert str(await websocket.receive()).startswith("42")
            assert await websocket.receive() == "2"
            await trio.testing.wait_all_tasks_blocked()
            assert ledger.of("outbox_waited") == [(pytest.approx(2.0),)]
            assert server.statistics().outbox_seconds_max == pytest.approx(2.0)
            assert server.statistics().outbox_seconds_median == pytest.approx(2.0)


async def test_a_sample_keeps_its_place_among_packets_that_are_dropped(mock_clock: trio.testing.MockClock) -> None:
    outbox: Outbox[EncodedPacket] = Outbox(10, 1_000)
    for number in range(5):
        outbox.offer_volatile(EncodedPacket(b"4%d" % number), "key")
    outbox.put(EncodedPacket(b"4last"))
    outbox.sample()
    outbox.sample()
    mock_clock.jump(3)
    for number in range(5):
        outbox.offer_volatile(EncodedPacket(b"4%d" % number), number)
    assert [packet.text for packet in outbox.take_measured(1)] == [b"44"]
    assert [outbox.waited] == [None]
    assert [packet.text for packet in outbox.take_measured(1)] == [b"4last"]
    assert outbox.waited == 3
    outbox.sample()
    mock_clock.jump(1)
    assert len(outbox.take(1_000)) == 5
    assert outbox.waited == 1
    outbox.sample()  # of nothing
    assert outbox.take(1_000) == []
    assert outbox.waited == 1


async def test_a_sample_ends_with_what_was_sampled_where_not_all_is_taken_at_once(mock_clock: trio.testing.MockClock) -> None:
    outbox: Outbox[EncodedPacket] = Outbox(10, 1_000)
    for _ in range(3):
        outbox.put(EncodedPacket(b"4" + bytes(100)))
    outbox.put(EncodedPacket(b"2"))
    outbox.sample()
    mock_clock.jump(1)
    assert len(outbox.take(150)) == 1
    mock_clock.jump(1)
    assert len(outbox.take(1_000)) == 3
    assert outbox.waited == 2


async def test_a_sample_ends_with_what_was_sampled_where_nobody_waits_for_room_any_more(mock_clock: trio.testing.MockClock) -> None:
    outbox: Outbox[EncodedPacket] = Outbox(1, 1_000)
    outbox.put(EncodedPacket(b"4first"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.send, EncodedPacket(b"4second"), "owner")
        await trio.testing.wait_all_tasks_blocked()
        outbox.put(EncodedPacket(b"2"))
        outbox.sample()
        outbox.dismiss("owner")
    mock_clock.jump(1)
    assert len(outbox.take(1_000)) == 2
    assert outbox.waited == 1


async def test_who_is_told_how_long_it_waited_may_emit_in_turn(mock_clock: trio.testing.MockClock) -> None:
    def told(seconds: float) -> None:
        outbox.offer_volatile(EncodedPacket(b"4new"), "key")
        assert outbox.offer(EncodedPacket(b"4" + bytes(92)))  # there is room again

    outbox: ObservedOutbox[EncodedPacket] = ObservedOutbox(10, 100, lambda count, reason: None, told)
    outbox.offer_volatile(EncodedPacket(b"4old"), "key")
    outbox.put(EncodedPacket(b"2"))
    outbox.sample()
    assert [packet.text for packet in outbox.take(100)] == [b"4old", b"2"]
    assert (len(outbox), outbox.bytes, outbox.dropped) == (2, 97, 0)
    assert [packet.text for packet in outbox.take(100)] == [b"4new", b"4" + bytes(92)]


async def test_the_lag_of_the_loop_is_told_once_in_a_second(mock_clock: trio.testing.MockClock) -> None:
    ledger = Ledger()
    server = Server(RoutingTable(Route("/", Hall)), instruments=[ledger])
    async with open_test_server(server):
        for seconds in (1.0, 1.5, 1.0):
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(seconds)
        await trio.testing.wait_all_tasks_blocked()
        assert [lag for (lag,) in ledger.of("loop_lag")] == [pytest.approx(0.0), pytest.approx(0.5), pytest.approx(0.0)]
        assert server.statistics().loop_lag == pytest.approx(0.0)
        assert server.statistics().loop_lag_max == pytest.approx(0.5)
