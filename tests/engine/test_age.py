"""`Limits.outbox_age`: a client that does not take its packets is disconnected, whatever else it does."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trio.testing

from tests.engine.exchange import FakeExchange
from tests.engine.polling import open_polling
from trio_sio import Config, EngineServer, Limits, Session
from trio_sio.doors.native.http import NativeDoor, handle_connection
from trio_sio.doors.native.site import Site
from trio_sio.engine import engine as engine_module
from trio_sio.engine.connection import Connection
from trio_sio.engine.states import ConnectionState
from trio_sio.protocol.frames import EncodedPacket
from trio_sio.testing import RawWebSocket

AGE = 60
ACCURACY = AGE / 4


def config(age: float = AGE) -> Config:
    """Return one under which nothing but age ends a session that writes something every 30 seconds."""
    return Config(
        path="/socket.io", ping_interval=math.inf, connect_timeout=math.inf, write_stall_timeout=30, limits=Limits(outbox_age=age)
    )


async def ended_at(connection: Connection) -> float:
    if connection._goodbye is None:
        connection._goodbye = trio.Event()  # which a WebSocket needs only at its end
    await connection._goodbye.wait()
    return trio.current_time()


# Polling.


async def test_a_client_that_never_polls_is_a_slow_consumer(autojump_clock: trio.testing.MockClock) -> None:
    async with open_polling(config()) as polling:
        start = trio.current_time()
        await polling.session.send("waits")

        assert AGE <= await ended_at(polling.connection) - start <= AGE + ACCURACY
        assert polling.session.reason == "slow consumer"


@pytest.mark.parametrize("late", [0, 1, 7.5, 14, 29])
async def test_it_is_found_in_time_whenever_the_packet_came(autojump_clock: trio.testing.MockClock, late: float) -> None:
    async with open_polling(config()) as polling:
        await trio.sleep(late)
        start = trio.current_time()
        await polling.session.send("waits")

        assert AGE <= await ended_at(polling.connection) - start <= AGE + ACCURACY


async def test_a_poll_just_in_time_begins_anew(autojump_clock: trio.testing.MockClock) -> None:
    async with open_polling(config()) as polling:
        for _ in range(4):
            await polling.session.send("waits")
            await trio.sleep(AGE - 1)
            assert (await polling.start()).body == b"4waits"

        assert polling.connection.state is ConnectionState.OPEN


async def test_it_is_the_oldest_packet_that_counts(autojump_clock: trio.testing.MockClock) -> None:
    """One more packet every second, all of them taken after half a minute: there is always one, and none is old."""
    async with open_polling(config()) as polling:
        for second in range(1, 301):
            await polling.session.send("x")
            await trio.sleep(1)
            if second % 30 == 0:
                assert (await polling.start()).body == b"\x1e".join([b"4x"] * 30)

        assert polling.connection.state is ConnectionState.OPEN


async def test_an_empty_outbox_has_no_age(autojump_clock: trio.testing.MockClock) -> None:
    async with open_polling(config()) as polling:
        await trio.sleep(10 * AGE)
        await polling.session.send("new")
        await trio.sleep(AGE - 1)

        assert polling.connection.state is ConnectionState.OPEN


async def test_an_infinite_age_is_never_reached(autojump_clock: trio.testing.MockClock) -> None:
    async with open_polling(config(age=math.inf)) as polling:
        await polling.session.send("waits")
        await trio.sleep(1_000 * AGE)

        assert (await polling.start()).body == b"4waits"


async def test_the_time_in_which_the_process_was_busy_does_not_count(mock_clock: trio.testing.MockClock) -> None:
    async with open_polling(config()) as polling:
        await polling.session.send("waits")
        for _ in range(3):
            mock_clock.jump(10 * AGE)
            await trio.testing.wait_all_tasks_blocked()

        assert polling.connection.state is ConnectionState.OPEN
        mock_clock.autojump_threshold = 0  # leaving drains, which takes time


async def test_each_client_has_its_own_age(autojump_clock: trio.testing.MockClock) -> None:
    sessions = list[Session]()

    async def handler(session: Session) -> None:
        sessions.append(session)
        await trio.sleep_forever()

    async with EngineServer(handler, config=config()) as server:
        for _ in range(2):
            await server.engine.handle_http(FakeExchange("EIO=4&transport=polling"))
        await trio.testing.wait_all_tasks_blocked()
        await sessions[0].send("waits")
        await trio.sleep(2 * AGE)

        assert [session.reason for session in sessions] == ["slow consumer", None]


async def test_one_check_that_fails_is_logged_and_the_others_are_made(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engine_module, "CONNECTIONS_PER_TURN", 1)
    check = Connection.check_age
    failing = list[Connection]()

    def check_age(connection: Connection) -> None:
        if connection in failing:
            raise OSError("a bug")
        check(connection)

    monkeypatch.setattr(Connection, "check_age", check_age)
    async with open_polling(config()) as polling:
        failing.append(polling.connection)
        await polling.server.engine.handle_http(FakeExchange("EIO=4&transport=polling"))
        await trio.testing.wait_all_tasks_blocked()
        await polling.session.send("waits")  # that of the second
        await trio.sleep(2 * AGE)

        assert polling.session.reason == "slow consumer"
    assert "Checking the outbox of one connection failed; the others go on." in [
        record.getMessage() for record in caplog.records if record.levelno == logging.ERROR
    ]


# WebSocket.


@asynccontextmanager
async def open_slow_websocket(server: EngineServer, seconds: float) -> AsyncIterator[RawWebSocket]:
    """Open a WebSocket whose wire needs ``seconds`` for each piece that is written, once it is open."""
    ours, theirs = trio.testing.memory_stream_pair()
    deliver = theirs.send_stream.send_all_hook
    assert deliver is not None

    async def dawdle() -> None:
        await trio.sleep(seconds)
        await deliver()

    async with trio.open_nursery() as nursery:
        door = NativeDoor(server.engine, Site(None, None, server.config.path))
        nursery.start_soon(partial(handle_connection, door, theirs, None, address=None, secure=False))
        async with await RawWebSocket.open(ours, "/socket.io/?EIO=4&transport=websocket") as client:
            await client.receive()
            theirs.send_stream.send_all_hook = dawdle
            yield client
        nursery.cancel_scope.cancel()


async def test_a_wire_that_moves_without_getting_anywhere_is_a_slow_consumer(autojump_clock: trio.testing.MockClock) -> None:
    sessions = list[Session]()

    async def handler(session: Session) -> None:
        sessions.append(session)
        async for _ in session:
            pass

    # Each piece comes in time for write_stall_timeout, and the queue is far from full.
    async with (
        EngineServer(handler, config=config()) as server,
        open_slow_websocket(server, 29),
    ):
        connection = sessions[0]._connection
        connection.outbox.put(EncodedPacket(b"4" + bytes(2_000_000)))  # the writer's, and under way for hours
        await trio.testing.wait_all_tasks_blocked()
        start = trio.current_time()
        await sessions[0].send("waits behind it")

        assert AGE <= await ended_at(connection) - start <= AGE + ACCURACY
        assert sessions[0].reason == "slow consumer"
        await trio.sleep(server.config.close_timeout)
        await trio.testing.wait_all_tasks_blocked()
        assert not server.engine.sessions.running


async def test_packets_that_are_slow_but_come_through_are_fine(autojump_clock: trio.testing.MockClock) -> None:
    sessions = list[Session]()

    async def handler(session: Session) -> None:
        sessions.append(session)
        async for _ in session:
            pass

    async with EngineServer(handler, config=config()) as server, open_slow_websocket(server, 25) as client:
        for number in range(30):
            await sessions[0].send(str(number))
            await trio.sleep(20)
        for number in range(30):
            assert await client.receive() == f"4{number}"

        assert sessions[0].reason is None
