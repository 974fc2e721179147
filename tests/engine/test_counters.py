"""What an engine counts, and whom it turns away while it drains."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.engine.exchange import FakeExchange
from trio_sio import Config, EngineServer, Session
from trio_sio.testing import UpgradeRefused, open_test_server

GET = "EIO=4&transport=polling"


async def handler(session: Session) -> None:
    async for _ in session:
        pass


async def test_each_thing_is_counted_once(autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_server(EngineServer(handler, config=Config(path="/socket.io"))) as server:
        engine = server.server.engine
        async with await server.websocket() as client:
            await client.receive()
            (connection,) = engine.connections
        await trio.testing.wait_all_tasks_blocked()
        connection.outbox.dropped += 2  # too late to be counted
        await engine.handle_http(FakeExchange("EIO=4&transport=pigeon"))
        await engine.handle_http(FakeExchange(f"{GET}&sid=nobody"))

        counters = engine.counters
        assert (counters.handshakes, counters.dropped_packets, counters.crossed_packets) == (1, 0, 0)
        assert dict(counters.closed) == {"transport close": 1}
        assert dict(counters.refusals) == {0: 1, 1: 1}
        assert dict(counters.turned_away) == {}


async def test_packets_that_nobody_got_are_counted_when_the_session_is_over(autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_server(EngineServer(handler, config=Config(path="/socket.io"))) as server:
        async with await server.websocket() as client:
            await client.receive()
            (connection,) = server.server.engine.connections
            connection.outbox.dropped += 2
        await trio.testing.wait_all_tasks_blocked()

        assert server.server.engine.counters.dropped_packets == 2


async def test_a_draining_engine_turns_newcomers_away_and_counts_them(autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_server(EngineServer(handler, config=Config(path="/socket.io"))) as server:
        engine = server.server.engine
        engine.draining.set()
        exchange = FakeExchange(GET)
        await engine.handle_http(exchange)
        assert exchange.status == 503
        with pytest.raises(UpgradeRefused):
            await server.websocket()

        assert dict(engine.counters.turned_away) == {503: 2}
        assert (engine.counters.handshakes, engine.clients_count) == (0, 0)
