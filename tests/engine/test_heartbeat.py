"""A session's heartbeat: when a ping comes, and what a missing pong means."""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing

from tests.engine.test_connection import CONFIG, Sessions, closed_at
from trio_sio import Config, EngineServer
from trio_sio.concurrency.gate import Gate
from trio_sio.concurrency.outbox import Outbox
from trio_sio.concurrency.timers import Timers
from trio_sio.engine.heartbeat import Heartbeat, Pace
from trio_sio.errors import ConnectionFault
from trio_sio.protocol.engineio import PING_PACKET
from trio_sio.protocol.frames import EncodedPacket
from trio_sio.testing import RawWebSocket, open_test_server


class Session:
    """What a heartbeat knows of one."""

    def __init__(self, outbox: Outbox[EncodedPacket]) -> None:
        self.outbox = outbox
        self.faults: list[ConnectionFault] = []

    def is_moving(self) -> bool:
        """Nothing is on its way."""
        return False

    def end(self, fault: ConnectionFault) -> None:
        """Note it."""
        self.faults.append(fault)


async def received_at(client: RawWebSocket) -> tuple[str | bytes, float]:
    return await client.receive(), trio.current_time()


async def test_a_ping_comes_ping_interval_after_the_last_pong(autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_server(EngineServer(Sessions(), config=CONFIG)) as server, await server.websocket() as client:
        await client.receive()
        start = trio.current_time()

        assert await received_at(client) == ("2", start + 25)
        await trio.sleep(5)
        await client.send("3")
        assert await received_at(client) == ("2", start + 55)


async def test_without_a_pong_within_ping_timeout_it_ends(autojump_clock: trio.testing.MockClock) -> None:
    sessions = Sessions()
    async with open_test_server(EngineServer(sessions, config=CONFIG)) as server, await server.websocket() as client:
        await client.receive()
        start = trio.current_time()
        assert await client.receive() == "2"

        assert await closed_at(client) == start + 45
        assert sessions.ends == [("ping timeout", start + 45)]


async def test_late_timers_of_an_idle_machine_do_not_add_up(mock_clock: trio.testing.MockClock) -> None:
    sessions = Sessions()
    async with open_test_server(EngineServer(sessions, config=CONFIG)) as server, await server.websocket() as client:
        await client.receive()
        await trio.testing.wait_all_tasks_blocked()
        start = trio.current_time()
        mock_clock.jump(25.001)
        assert await client.receive() == "2"
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(19.9995)
        await trio.testing.wait_all_tasks_blocked()

        ((reason, at),) = sessions.ends
        assert reason == "ping timeout"
        assert at == pytest.approx(start + 45.0005)


@pytest.mark.hostile("P24")
async def test_a_ping_that_a_busy_process_sends_late_leaves_as_much_time_for_the_pong(mock_clock: trio.testing.MockClock) -> None:
    sessions = Sessions()
    async with open_test_server(EngineServer(sessions, config=CONFIG)) as server, await server.websocket() as client:
        await client.receive()
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(30)
        assert await client.receive() == "2"
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(15.001)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(4.9)
        await trio.testing.wait_all_tasks_blocked()
        await client.send("3")
        await trio.testing.wait_all_tasks_blocked()

        assert sessions.ends == []
        mock_clock.jump(25)
        assert await client.receive() == "2"


async def test_a_pong_in_the_last_moment_counts(autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_server(EngineServer(Sessions(), config=CONFIG)) as server, await server.websocket() as client:
        await client.receive()
        start = trio.current_time()
        await client.receive()
        await trio.sleep(19.999)
        await client.send("3")

        ping, at = await received_at(client)
        assert ping == "2"
        assert at == pytest.approx(start + 25 + 19.999 + 25)


async def test_the_first_other_packet_postpones_the_time_out_once_per_ping(autojump_clock: trio.testing.MockClock) -> None:
    sessions = Sessions()
    async with open_test_server(EngineServer(sessions, config=CONFIG)) as server, await server.websocket() as client:
        await client.receive()
        start = trio.current_time()
        await client.send("4before the ping")  # it proves nothing about the time after the ping
        await client.receive()
        for message in ("4a", b"b"):
            await trio.sleep(10)
            await client.send(message)

        assert await closed_at(client) == start + 25 + 10 + 20
        assert sessions.messages == ["before the ping", "a", b"b"]


async def test_each_ping_can_be_postponed_anew(autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_server(EngineServer(Sessions(), config=CONFIG)) as server, await server.websocket() as client:
        await client.receive()
        for _ in range(2):
            assert await client.receive() == "2"
            await trio.sleep(15)
            await client.send("4x")
            await trio.sleep(15)
            await client.send("3")
        assert await client.receive() == "2"


async def test_pongs_that_nobody_asked_for_change_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_server(EngineServer(Sessions(), config=CONFIG)) as server, await server.websocket() as client:
        await client.receive()
        start = trio.current_time()
        await trio.sleep(20)
        await client.send("3")
        await client.send("3")
        assert await received_at(client) == ("2", start + 25)

        assert await closed_at(client) == start + 45


async def test_while_the_server_does_not_read_a_missing_pong_is_not_held_against_the_client(
    autojump_clock: trio.testing.MockClock,
) -> None:
    sessions = Sessions()
    async with open_test_server(EngineServer(sessions, config=CONFIG)) as server, await server.websocket() as client:
        await client.receive()
        start = trio.current_time()
        await client.receive()
        await trio.sleep(10)
        sessions.connection.accept(False)
        await trio.sleep(1_000)
        assert sessions.ends == []
        sessions.connection.accept(True)

        # The client may have been waiting for us, so it gets the whole time again.
        assert await closed_at(client) == start + 25 + 10 + 1_000 + 20


async def test_a_ping_that_leaves_while_the_server_does_not_read_has_no_time_out_either(autojump_clock: trio.testing.MockClock) -> None:
    sessions = Sessions()
    async with open_test_server(EngineServer(sessions, config=CONFIG)) as server, await server.websocket() as client:
        await client.receive()
        sessions.connection.accept(False)
        assert await client.receive() == "2"
        await trio.sleep(1_000)
        assert sessions.ends == []

        sessions.connection.accept(True)
        await client.send("3")
        assert await client.receive() == "2"


@pytest.mark.slow
async def test_an_infinite_interval_sends_no_pings(autojump_clock: trio.testing.MockClock) -> None:
    config = Config(path="/socket.io", ping_interval=math.inf)
    async with open_test_server(EngineServer(Sessions(), config=config)) as server, await server.websocket() as client:
        await client.receive()
        with trio.move_on_after(1_000_000) as scope:
            await client.receive()

    assert scope.cancelled_caught


async def test_a_pong_that_comes_when_its_time_is_over_but_nobody_has_seen_to_that_is_in_time(mock_clock: trio.testing.MockClock) -> None:
    timers = Timers()
    outbox: Outbox[EncodedPacket] = Outbox(10, 1_000)
    heartbeat = Heartbeat(Pace(CONFIG, timers), Gate())
    session = Session(outbox)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timers.run)
        nursery.start_soon(heartbeat.run, session)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(25)
        await trio.testing.wait_all_tasks_blocked()
        assert outbox.take(100) == [PING_PACKET]
        mock_clock.jump(20)
        heartbeat._pace.waiting.ring()
        heartbeat.ponged()
        await trio.testing.wait_all_tasks_blocked()

        assert (session.faults, len(outbox)) == ([], 0)
        mock_clock.jump(25)
        await trio.testing.wait_all_tasks_blocked()
        assert outbox.take(100) == [PING_PACKET]
        heartbeat.stop()
        nursery.cancel_scope.cancel()
    assert timers.alarms == 0
