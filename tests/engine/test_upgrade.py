"""From polling to a WebSocket: either the old transport carries the session, or the new one, and nothing is lost."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from tests.engine.exchange import FakeExchange
from trio_sio import Config, EngineServer, Limits, Session
from trio_sio.engine.connection import LINGER, Connection
from trio_sio.engine.states import ConnectionState, TransportState
from trio_sio.engine.upgrade import Probe
from trio_sio.errors import TransportError
from trio_sio.protocol.engineio import text_message
from trio_sio.testing import InMemoryServer, RawWebSocket, WebSocketClosed, open_test_server

GET = "EIO=4&transport=polling"
CONFIG = Config(path="/socket.io")
BEHIND = [(0x81, b"5"), (0x81, b"4d"), (0x82, b"e")]


class Upgrading:
    """A server with one session that polls."""

    def __init__(self, server: InMemoryServer, nursery: trio.Nursery, sid: str) -> None:
        self.server = server
        self.nursery = nursery
        self.sid = sid
        self.connection: Connection = server.server.engine.sessions.by_id[sid]

    def transport(self) -> TransportState:
        return self.connection.transport_state

    async def request(self, method: str = "GET", body: bytes = b"") -> FakeExchange:
        exchange = FakeExchange(f"{GET}&sid={self.sid}", method, body)
        self.nursery.start_soon(self.server.server.engine.handle_http, exchange)
        await trio.testing.wait_all_tasks_blocked()
        return exchange

    async def probe(self) -> RawWebSocket:
        return await self.server.websocket(f"EIO=4&transport=websocket&sid={self.sid}")


@asynccontextmanager
async def open_upgrading(
    config: Config = CONFIG, *, reading: trio.Event | None = None
) -> AsyncIterator[tuple[Upgrading, Session, list[str | bytes]]]:
    sessions, messages = list[Session](), list[str | bytes]()

    async def handler(session: Session) -> None:
        sessions.append(session)
        if reading is not None:
            await reading.wait()
        async for message in session:
            messages.append(message)

    async with open_test_server(EngineServer(handler, config=config)) as server, trio.open_nursery() as nursery:
        opened = FakeExchange(GET)
        await server.server.engine.handle_http(opened)
        assert opened.body is not None
        await trio.testing.wait_all_tasks_blocked()
        yield Upgrading(server, nursery, json.loads(opened.body[1:])["sid"]), sessions[0], messages
        nursery.cancel_scope.cancel()


async def test_a_whole_upgrade() -> None:
    async with open_upgrading() as (upgrading, session, messages), await upgrading.probe() as client:
        poll = await upgrading.request()
        await client.send("2probe")
        assert await client.receive() == "3probe"
        await trio.testing.wait_all_tasks_blocked()
        assert poll.body == b"6"
        assert upgrading.transport() is TransportState.UPGRADING
        await client.send("5")
        await client.send("4to the server")
        await session.send("to the client")

        assert await client.receive() == "4to the client"
        assert messages == ["to the server"]
        assert upgrading.transport() is TransportState.WEBSOCKET


async def test_until_the_hand_over_polling_carries_the_session() -> None:
    async with open_upgrading() as (upgrading, session, messages), await upgrading.probe() as client:
        await client.send("2probe")
        await client.receive()
        await session.send("a")
        assert (await upgrading.request()).body == b"4a"
        assert (await upgrading.request("POST", b"4b")).body == b"ok"
        await session.send("c")  # nobody fetches it before the hand-over
        await client.send("5")

        assert await client.receive() == "4c"
        assert messages == ["b"]


async def test_the_polls_are_released_again_and_again(autojump_clock: trio.testing.MockClock) -> None:
    async with open_upgrading() as (upgrading, _, _), await upgrading.probe() as client:
        await client.send("2probe")
        await client.receive()
        for _ in range(3):
            poll = await upgrading.request()
            assert poll.response is None
            await trio.sleep(0.11)
            assert poll.body == b"6"


async def test_a_poll_that_waits_at_the_hand_over_is_released() -> None:
    async with open_upgrading() as (upgrading, _, _), await upgrading.probe() as client:
        poll = await upgrading.request()
        await client.send("5")
        await trio.testing.wait_all_tasks_blocked()

        assert poll.body == b"6"
        assert (await upgrading.request()).status == 400


async def test_what_a_post_brought_before_the_hand_over_comes_before_what_the_websocket_brings() -> None:
    reading = trio.Event()
    config = Config(path="/socket.io", limits=Limits(inbox_events=2))
    async with open_upgrading(config, reading=reading) as (upgrading, _, messages), await upgrading.probe() as client:
        post = await upgrading.request("POST", b"4a\x1e4b\x1e4c")  # stalls: the inbox is full
        assert post.response is None
        # All in one piece, so that what is behind the "5" is received with it.
        await client.send_bytes(b"".join(bytes([opcode, 0x80 | len(data)]) + bytes(4) + data for opcode, data in BEHIND))
        await trio.testing.wait_all_tasks_blocked()
        assert messages == []
        reading.set()
        await trio.testing.wait_all_tasks_blocked()

        assert messages == ["a", "b", "c", "d", b"e"]
        assert post.body == b"ok"
        assert upgrading.transport() is TransportState.WEBSOCKET


async def test_what_a_post_is_still_bringing_at_the_hand_over_comes_before_what_the_websocket_brings() -> None:
    arrived = trio.Event()

    class Slow(FakeExchange):
        async def read_body(self, limit: int) -> bytes:
            await arrived.wait()
            return await super().read_body(limit)

    async with open_upgrading() as (upgrading, _, messages), await upgrading.probe() as client:
        post = Slow(f"{GET}&sid={upgrading.sid}", "POST", b"4a\x1e4b")
        upgrading.nursery.start_soon(upgrading.server.server.engine.handle_http, post)
        await trio.testing.wait_all_tasks_blocked()
        await client.send_bytes(b"".join(bytes([opcode, 0x80 | len(data)]) + bytes(4) + data for opcode, data in BEHIND))
        await trio.testing.wait_all_tasks_blocked()
        assert messages == []
        arrived.set()
        await trio.testing.wait_all_tasks_blocked()

        assert messages == ["a", "b", "d", b"e"]
        assert post.body == b"ok"


async def test_a_post_that_waits_for_room_keeps_no_upgrade_waiting(autojump_clock: trio.testing.MockClock) -> None:
    reading = trio.Event()
    config = Config(path="/socket.io", upgrade_timeout=10, inbox_stall_timeout=10, limits=Limits(inbox_events=2))
    async with open_upgrading(config, reading=reading) as (upgrading, session, messages), await upgrading.probe() as client:
        post = await upgrading.request("POST", b"4a\x1e4b\x1e4c")
        await client.send_bytes(b"".join(bytes([opcode, 0x80 | len(data)]) + bytes(4) + data for opcode, data in BEHIND))
        await session.send("heard at once")
        await trio.sleep(100)
        # The POST was answered, and its rest still comes before what the WebSocket brings.
        assert await client.receive() == "4heard at once"
        assert (post.body, messages, upgrading.transport()) == (b"ok", [], TransportState.WEBSOCKET)
        reading.set()
        await trio.testing.wait_all_tasks_blocked()

        assert messages == ["a", "b", "c", "d", b"e"]
        assert upgrading.transport() is TransportState.WEBSOCKET


async def test_a_websocket_is_not_read_while_the_rest_of_a_post_is_taken_bit_by_bit(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived, take = list[bytes](), Probe.text

    def text(probe: Probe, payload: bytes) -> None:
        arrived.append(payload)
        take(probe, payload)

    monkeypatch.setattr(Probe, "text", text)
    config = Config(path="/socket.io", inbox_stall_timeout=1, ping_interval=1_000, limits=Limits(inbox_events=2))
    async with open_upgrading(config, reading=trio.Event()) as (upgrading, session, _), await upgrading.probe() as client:
        await upgrading.request("POST", b"\x1e".join([b"4posted"] * 12))
        await trio.sleep(2)
        await client.send("5")
        messages = list[str | bytes]()
        for _ in range(10):
            await client.send("4sent")
            messages.append(await anext(session))
            await trio.testing.wait_all_tasks_blocked()
        # One at the most, which was on its way before the wire was told.
        assert arrived.count(b"4sent") <= 1
        messages += [await anext(session) for _ in range(12)]

    assert messages == ["posted"] * 12 + ["sent"] * 10


@pytest.mark.parametrize("message", ["4too early", "2", "1", b"binary"])
async def test_a_probe_that_says_anything_else_is_closed_and_the_session_goes_on(
    message: str | bytes, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_upgrading() as (upgrading, session, messages):
        async with await upgrading.probe() as client:
            await client.send(message)
            with pytest.raises(WebSocketClosed):
                await client.receive()
        await trio.testing.wait_all_tasks_blocked()

        assert upgrading.transport() is TransportState.POLLING
        await session.send("still polling")
        assert (await upgrading.request()).body == b"4still polling"
        assert messages == []


async def test_after_a_bad_probe_the_session_may_be_probed_again_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async with open_upgrading() as (upgrading, _, _), await upgrading.probe() as silent:
        await silent.send("nonsense")  # whose close frame is never answered
        await trio.testing.wait_all_tasks_blocked()
        async with await upgrading.probe() as second:
            await second.send("2probe")
            with trio.fail_after(1):
                assert await second.receive() == "3probe"
            await second.send("5")
            await trio.testing.wait_all_tasks_blocked()

            assert upgrading.transport() is TransportState.WEBSOCKET
            assert upgrading.connection.failed_upgrades == 1


async def test_a_session_that_ends_while_it_is_probed_waits_for_no_probe(autojump_clock: trio.testing.MockClock) -> None:
    config = Config(path="/socket.io", upgrade_timeout=3, close_timeout=100)
    async with open_upgrading(config) as (upgrading, session, _), await upgrading.probe() as silent:
        await silent.send("2probe")  # and never answers the close frame
        await trio.testing.wait_all_tasks_blocked()
        session.close()
        assert (
            len(upgrading.server.server.engine.services.timers) == 2
        )  # for the poll that fetches the goodbye, and the answer to the close frame
        while (poll := await upgrading.request()).body != b"1":
            assert poll.body == b"6"
        over = upgrading.connection.transport
        await trio.sleep(5)

        assert len(upgrading.server.server.engine.services.timers) == 1  # the latter
        assert upgrading.connection.transport is over
        assert upgrading.connection.failed_upgrades == 0


async def test_a_probe_has_upgrade_timeout(autojump_clock: trio.testing.MockClock) -> None:
    config = Config(path="/socket.io", upgrade_timeout=3, ping_interval=100)
    async with open_upgrading(config) as (upgrading, _, _), await upgrading.probe() as client:
        start = trio.current_time()
        await client.send("2probe")
        await client.receive()
        with pytest.raises(WebSocketClosed):
            await client.receive()

        assert trio.current_time() == start + 3
        await trio.testing.wait_all_tasks_blocked()
        assert upgrading.transport() is TransportState.POLLING


async def test_upgrade_timeout_is_over_with_the_hand_over(autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture) -> None:
    config = Config(path="/socket.io", upgrade_timeout=3, ping_interval=100)
    async with open_upgrading(config) as (upgrading, session, _), await upgrading.probe() as client:
        await client.send("5")
        await trio.sleep(4)
        await session.send("still there")

        assert await client.receive() == "4still there"
        assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("answered", [True, False])
async def test_the_heartbeat_goes_on_with_a_ping_on_its_way(answered: bool, autojump_clock: trio.testing.MockClock) -> None:
    config = Config(path="/socket.io", ping_interval=10, ping_timeout=6, upgrade_timeout=30)
    async with open_upgrading(config) as (upgrading, session, _), await upgrading.probe() as client:
        poll = await upgrading.request()
        await trio.sleep(10)
        await trio.testing.wait_all_tasks_blocked()
        assert poll.body == b"2"
        asked = trio.current_time()
        await client.send("5")
        await trio.testing.wait_all_tasks_blocked()
        assert upgrading.transport() is TransportState.WEBSOCKET
        if answered:
            await client.send("3")
            assert await client.receive() == "2"
            assert trio.current_time() == asked + 10
            asked += 10
        with pytest.raises(WebSocketClosed):
            await client.receive()

        assert trio.current_time() == asked + 6
        assert session.reason == "ping timeout"


async def test_a_second_probe_is_let_in_and_closed() -> None:
    async with open_upgrading() as (upgrading, _, _), await upgrading.probe() as client:
        async with await upgrading.probe() as second:
            with pytest.raises(WebSocketClosed):
                await second.receive()
        await client.send("5")
        await trio.testing.wait_all_tasks_blocked()

        assert upgrading.transport() is TransportState.WEBSOCKET
        assert upgrading.connection.failed_upgrades == 0


@pytest.mark.parametrize(("failures", "reason"), [(2, None), (3, "forced close")])
async def test_the_last_allowed_failure_is_survived_and_the_next_is_not(
    failures: int, reason: str | None, autojump_clock: trio.testing.MockClock
) -> None:
    config = Config(path="/socket.io", limits=Limits(failed_upgrades=2))
    async with open_upgrading(config) as (upgrading, session, _):
        for _ in range(failures):
            async with await upgrading.probe():
                pass
            await trio.testing.wait_all_tasks_blocked()

        assert session.reason == reason


async def test_a_session_that_ends_takes_its_probe_along() -> None:
    async with open_upgrading() as (upgrading, session, _), await upgrading.probe() as client:
        await client.send("2probe")
        await client.receive()
        session.close()

        assert (await upgrading.request()).body == b"1"
        with pytest.raises(WebSocketClosed):
            await client.receive()


@pytest.mark.parametrize("drains", [False, True])
async def test_a_client_that_upgrades_while_its_session_is_closed_gets_what_is_queued(
    drains: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """It does not poll any more between the "3probe" and its "5"."""
    async with open_upgrading() as (upgrading, session, _), await upgrading.probe() as client:
        await client.send("2probe")
        await client.receive()
        await session.send("the last")
        start = trio.current_time()
        if drains:
            upgrading.nursery.start_soon(upgrading.server.server.engine.drain)
        else:
            session.close()
        await trio.sleep(2)
        await client.send("5")

        assert await client.receive() == "4the last"
        with pytest.raises(WebSocketClosed) as closed:
            await client.receive()
        assert closed.value.code == (1001 if drains else 1005)
        await trio.testing.wait_all_tasks_blocked()
        assert (trio.current_time() - start, upgrading.connection.state) == (2, ConnectionState.CLOSED)
        assert len(upgrading.server.server.engine.services.timers) == 0
        refused = (await upgrading.request()).response
        assert refused is not None
        assert refused.status == 400


async def test_a_poll_that_waits_when_the_session_is_closed_comes_before_the_upgrade(autojump_clock: trio.testing.MockClock) -> None:
    async with open_upgrading() as (upgrading, session, _), await upgrading.probe() as client:
        await client.send("2probe")
        await client.receive()
        poll = await upgrading.request()
        upgrading.connection.outbox.put(text_message("the last"))
        session.close()
        await client.send("5")
        with pytest.raises(WebSocketClosed):
            await client.receive()

        assert poll.body == b"4the last"
        assert upgrading.connection.state is ConnectionState.CLOSED


async def test_a_client_that_neither_polls_nor_upgrades_any_more_is_waited_for_in_vain(autojump_clock: trio.testing.MockClock) -> None:
    async with open_upgrading(Config(path="/socket.io", upgrade_timeout=100)) as (upgrading, session, _), await upgrading.probe() as client:
        await client.send("2probe")
        await client.receive()
        await session.send("the last")
        start = trio.current_time()
        session.close()
        with pytest.raises(WebSocketClosed):
            await client.receive()

        assert trio.current_time() - start == LINGER
        assert upgrading.connection.state is ConnectionState.CLOSED


async def test_what_the_client_sends_behind_its_upgrade_comes_too_late_for_a_session_that_is_closed() -> None:
    async with open_upgrading() as (upgrading, session, messages), await upgrading.probe() as client:
        await client.send("2probe")
        await client.receive()
        session.close()
        await client.send("5")
        await client.send("4late")
        with pytest.raises(WebSocketClosed):
            await client.receive()

        assert messages == []


async def test_a_session_that_its_client_has_broken_is_not_upgraded_any_more() -> None:
    async with open_upgrading() as (upgrading, _, _), await upgrading.probe() as client:
        await client.send("2probe")
        await client.receive()
        poll = await upgrading.request()
        upgrading.connection.end(TransportError("it broke the rules"))
        await client.send("5")
        with pytest.raises(WebSocketClosed):
            await client.receive()

        assert poll.body == b"1"
        assert upgrading.connection.state is ConnectionState.CLOSED


async def test_the_upgraded_session_ends_with_its_websocket() -> None:
    async with open_upgrading() as (upgrading, session, _):
        async with await upgrading.probe() as client:
            await client.send("5")
            await client.close()
        await trio.testing.wait_all_tasks_blocked()

        assert session.reason == "transport close"
        assert upgrading.server.server.engine.clients_count == 0


async def test_upgrades_can_be_switched_off(autojump_clock: trio.testing.MockClock) -> None:
    async with open_upgrading(Config(path="/socket.io", allow_upgrades=False)) as (upgrading, session, _):
        with pytest.raises(Exception, match="400"):
            await upgrading.probe()

        assert session.reason is None
