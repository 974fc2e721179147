"""A session: its states, what it takes, and how it ends."""

from __future__ import annotations

import json
import logging

import pytest
import trio
import trio.testing

from trio_sio import Config, EngineServer, Limits, Server, Session, Socket
from trio_sio.engine.connection import Connection
from trio_sio.engine.states import STATES, TRANSPORTS, ConnectionState, TransportState
from trio_sio.errors import ConnectionFault, ForcedClose, outcome_of
from trio_sio.testing import RawWebSocket, WebSocketClosed, open_test_server, seeded

CONFIG = Config(path="/socket.io", ping_interval=25, ping_timeout=20)


class Sessions:
    """An Engine.IO handler that keeps its sessions, what they receive, and when and how they end."""

    def __init__(self) -> None:
        self.sessions: list[Session] = []
        self.messages: list[str | bytes] = []
        self.ends: list[tuple[str, float]] = []

    async def __call__(self, session: Session) -> None:
        self.sessions.append(session)
        async for message in session:
            self.messages.append(message)
        assert session.reason is not None
        self.ends.append((str(session.reason), trio.current_time()))

    @property
    def connection(self) -> Connection:
        return self.sessions[-1]._connection


async def closed_at(client: RawWebSocket) -> float:
    with pytest.raises(WebSocketClosed):
        await client.receive()
    return trio.current_time()


async def test_its_task_ends_with_it() -> None:
    async with open_test_server(EngineServer(Sessions(), config=CONFIG)) as server:
        async with await server.websocket() as client:
            await client.receive()
        await trio.testing.wait_all_tasks_blocked()

        assert not server.server.engine.sessions.running


# How it ends.


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        ("1", "transport close"),
        ("2", "transport error"),
        ("2probe", "transport error"),
        ("7", "parse error"),
        ("", "parse error"),
        ("é", "parse error"),
    ],
)
async def test_packets_that_end_a_session(packet: str, reason: str) -> None:
    sessions = Sessions()
    async with open_test_server(EngineServer(sessions, config=CONFIG)) as server, await server.websocket() as client:
        await client.receive()
        await client.send("4before")
        await client.send(packet)
        await client.send("4after")
        await closed_at(client)

    assert [end[0] for end in sessions.ends] == [reason]
    assert sessions.messages == ["before"]


@pytest.mark.parametrize("packet", ["0", "5", "6", "3"])
async def test_packets_that_mean_nothing_at_this_point_are_passed_over(packet: str) -> None:
    sessions = Sessions()
    async with open_test_server(EngineServer(sessions, config=CONFIG)) as server, await server.websocket() as client:
        await client.receive()
        await client.send(packet)
        await client.send("4after")
        await trio.testing.wait_all_tasks_blocked()

        assert (sessions.messages, sessions.ends) == (["after"], [])


async def test_a_session_ends_once_with_the_first_fault(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "trio_sio.engine")
    sessions = Sessions()
    async with open_test_server(EngineServer(sessions, config=CONFIG)) as server, await server.websocket() as client:
        await client.receive()
        connection = sessions.connection
        first = ForcedClose("first")
        connection.end(first)
        connection.end(ForcedClose("second"))

        assert connection.fault is first
        assert connection.state is ConnectionState.CLOSED
        assert server.server.engine.clients_count == 0
        await closed_at(client)
    assert [record.getMessage() for record in caplog.records if "ended" in record.getMessage()] == [
        f"Connection {connection.sid[:6]}… ended: forced close (first)"
    ]


async def test_what_was_sent_before_the_end_still_leaves() -> None:
    async def handler(session: Session) -> None:
        for number in range(100):
            await session.send(str(number))
        session.close()
        await session.send("too late")

    async with open_test_server(EngineServer(handler, config=CONFIG)) as server, await server.websocket() as client:
        await client.receive()
        messages = [await client.receive() for _ in range(100)]
        await closed_at(client)

    assert messages == [f"4{number}" for number in range(100)]


async def test_a_client_that_joins_nothing_is_let_go(autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_server(Server(config=Config(connect_timeout=10))) as server, await server.websocket() as client:
        await client.receive()
        start = trio.current_time()
        assert server.server.engine.unconnected_count == 1

        assert await closed_at(client) == start + 10
        assert server.server.engine.unconnected_count == 0


async def test_a_receiver_that_fails_when_told_of_the_end_delays_nobody(caplog: pytest.LogCaptureFixture) -> None:
    sessions = Sessions()
    async with open_test_server(EngineServer(sessions, config=CONFIG)) as server, await server.websocket() as client:
        await client.receive()

        class Broken:
            def __getattr__(self, name: str) -> object:
                raise LookupError(name)

        receiver, sessions.connection.receiver = sessions.connection.receiver, Broken()  # type: ignore[assignment]
        await client.send("1")
        await closed_at(client)
        receiver.ended(ForcedClose("so that its handler ends"))

    assert "about its end failed" in caplog.text


async def test_a_task_of_one_connection_that_fails_ends_only_that_connection(caplog: pytest.LogCaptureFixture) -> None:
    sessions = Sessions()

    async def fail() -> None:
        raise LookupError

    async with (
        open_test_server(EngineServer(sessions, config=CONFIG)) as server,
        await server.websocket() as first,
        await server.websocket() as second,
    ):
        await first.receive()
        await second.receive()
        sessions.sessions[0]._connection.start_soon(fail)
        await closed_at(first)
        await second.send("4still here")
        await trio.testing.wait_all_tasks_blocked()

        assert sessions.messages == ["still here"]
        assert server.server.engine.clients_count == 1
    assert "the others go on" in caplog.text


@pytest.mark.parametrize("message", ["4x", b"x"])
async def test_what_a_client_sends_may_fail_and_ends_only_its_connection(message: str | bytes, caplog: pytest.LogCaptureFixture) -> None:
    class Faulty:
        def text(self, payload: bytes) -> None:
            raise LookupError

        binary = text

        def withdraw(self) -> None:
            raise LookupError

        def ended(self, fault: ConnectionFault) -> None:
            reasons.append(str(outcome_of(fault).reason))

    sessions, reasons = Sessions(), list[str]()
    async with (
        open_test_server(EngineServer(sessions, config=CONFIG)) as server,
        await server.websocket() as first,
        await server.websocket() as second,
    ):
        await first.receive()
        await second.receive()
        connection = sessions.sessions[0]._connection
        whole, connection.receiver = connection.receiver, Faulty()
        await first.send(message)
        await closed_at(first)
        await second.send("4still here")
        await trio.testing.wait_all_tasks_blocked()

        assert reasons == ["forced close"]
        assert sessions.messages == ["still here"]
        whole.ended(ForcedClose())  # so that its handler does not wait for ever
    assert "failed on what its client sent" in caplog.text


def test_every_transition_leads_on_and_no_other_exists() -> None:
    assert {state for state, _ in STATES} | set(STATES.values()) == set(ConnectionState)
    assert {state for state, _ in TRANSPORTS} | set(TRANSPORTS.values()) == set(TransportState)
    assert ConnectionState.CLOSED not in {state for state, _ in STATES}


async def test_the_inbox_of_a_plain_session_stops_reading_and_goes_on(autojump_clock: trio.testing.MockClock) -> None:
    go, received = trio.Event(), list[str | bytes]()

    async def handler(session: Session) -> None:
        await go.wait()
        async for message in session:
            received.append(message)

    config = Config(path="/socket.io", limits=Limits(inbox_events=4))
    async with open_test_server(EngineServer(handler, config=config)) as server, await server.websocket() as client:
        await client.receive()
        (connection,) = server.server.engine.sessions.running
        for number in range(3):
            await client.send(f"4{number}")
        await trio.testing.wait_all_tasks_blocked()
        accepting = [connection.accepting]
        for number in range(3, 10):
            await client.send(f"4{number}")
            await trio.testing.wait_all_tasks_blocked()
        accepting.append(connection.accepting)
        go.set()
        await trio.testing.wait_all_tasks_blocked()

        accepting.append(connection.accepting)
        assert accepting == [True, False, True]
        assert received == [str(number) for number in range(10)]


@pytest.mark.parametrize("seed", range(10))
def test_what_arrives_while_everything_is_cancelled_fails_nothing(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    async def joined(socket: Socket) -> None:
        pass

    async def serve() -> None:
        application = Server()
        application.on_connection(joined)
        async with open_test_server(application) as server:
            posts = []
            for _ in range(10):
                async with await server.http() as poll:
                    sid = json.loads((await poll.request("GET", "/socket.io/?EIO=4&transport=polling")).body[1:])["sid"]
                posts.append((await server.http(), sid))
            await trio.testing.wait_all_tasks_blocked()
            # Whoever joins now starts a task of a connection that ends in the same turn.
            for post, sid in posts:
                await post.send("POST", f"/socket.io/?EIO=4&transport=polling&sid={sid}", body="40")
            server.cancel()
            await trio.sleep_forever()

    with seeded(seed):
        trio.run(serve, clock=trio.testing.MockClock(autojump_threshold=0))
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
