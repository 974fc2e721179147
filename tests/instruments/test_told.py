"""What an instrument is told of sessions, sockets, rooms, events and questions: all of it, once, and in order."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.instruments.ledger import Ledger
from tests.namespaces.recovering import Peer
from trio_sio import (
    BadMessage,
    Config,
    ConnectionRefused,
    Context,
    Disconnected,
    Instrument,
    Next,
    NoAck,
    Recovery,
    Route,
    RoutingTable,
    Server,
    Socket,
    on_connection,
    on_disconnection,
    on_message,
)
from trio_sio.limits import Limits
from trio_sio.testing import InMemoryServer, RawWebSocket, open_test_server
from trio_sio.testing.strict import StrictSocket


class Controller:
    def __init__(self, socket: Socket) -> None:
        self.socket = socket

    @on_connection
    async def joined(self) -> None:
        await self.socket.join("lobby")

    @on_disconnection
    def left(self) -> None: ...

    @on_message("echo")
    async def echo(self, value: object) -> object:
        return value

    @on_message("sum")
    async def sum(self, a: int, b: int) -> int:
        return a + b

    @on_message("fail")
    async def fail(self) -> None:
        raise RuntimeError("no")

    @on_message("decline")
    async def decline(self) -> None:
        raise NoAck

    @on_message("last", "last beside", concurrent=False)
    async def last(self) -> None:
        await trio.sleep(2)

    @on_message("beside", concurrent=True)
    async def beside(self) -> str:
        await trio.sleep(1)
        return "done"

    @on_message("outlive", cancel_on_disconnect=False)
    async def outlive(self) -> None:
        await trio.sleep(1)

    @on_message("outlive beside", concurrent=True, cancel_on_disconnect=False)
    async def outlive_beside(self) -> None:
        await trio.sleep(1)


@asynccontextmanager
async def observed(
    controller: Any = Controller, config: Config | None = None, **keywords: Any
) -> AsyncIterator[tuple[Ledger, InMemoryServer]]:
    """Run a server with a ledger, which is balanced in the end."""
    ledger = Ledger()
    server = Server(RoutingTable(Route("/", controller, **keywords)), config=config, instruments=[ledger])
    async with open_test_server(server) as in_memory:
        yield ledger, in_memory
        ledger.lines.clear()
    ledger.require_balanced()


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


def the(server: InMemoryServer, client: StrictSocket) -> Socket:
    """Return the server's end of a client."""
    assert isinstance(server.server, Server)
    return server.server.of("/").sockets[client.id]


async def test_a_life_is_told_from_its_session_to_its_end(autojump_clock: trio.testing.MockClock) -> None:
    async with observed() as (ledger, server):
        async with server.strict_client() as client:
            assert await client.emit_with_ack("echo", "x") == "x"
            await settle()
        await settle()
        assert ledger.lines == [
            ("session_opened", "websocket"),
            ("connecting", "/"),
            ("socket_joined", "/"),
            ("room_joined", "lobby"),
            ("end of connecting", "/"),
            ("event_received", "echo", ["x"]),
            ("handling", "echo"),
            ("event_handled", "echo", "ok", None),
            ("end of handling", "echo"),
            ("room_left", "lobby"),
            ("socket_left", "/", "transport close"),
            ("session_ended", "transport close"),
            ("disconnecting", "/", "transport close"),
            ("end of disconnecting", "/", "transport close"),
        ]


@pytest.mark.parametrize(
    ("event", "args", "outcome", "error"),
    [
        ("sum", ("x", 1), "refused", "BadMessage"),
        ("fail", (), "failed", "RuntimeError"),
        ("nothing", (), "unknown", None),
    ],
)
async def test_what_came_of_an_event_is_told(event: str, args: tuple[Any, ...], outcome: str, error: str | None) -> None:
    async with observed() as (ledger, server), server.strict_client() as client:
        await client.emit_with_ack(event, *args)
        assert ledger.of("event_handled") == [(event, outcome, error)]


async def test_an_event_that_is_not_answered_is_told_as_refused() -> None:
    async with observed() as (ledger, server), server.strict_client() as client:
        await client.emit("decline")
        await client.emit_with_ack("echo", 1)
        assert ledger.of("event_handled") == [("decline", "refused", "NoAck"), ("echo", "ok", None)]


async def test_handlers_in_tasks_of_their_own_are_told_there(autojump_clock: trio.testing.MockClock) -> None:
    async with observed() as (ledger, server), server.strict_client() as client:
        await client.emit("beside")
        await client.emit("echo", 1)
        await settle()
        assert ledger.of("event_handled") == [("echo", "ok", None)]
        await trio.sleep(1.5)
        assert ledger.of("event_handled") == [("echo", "ok", None), ("beside", "ok", None)]


async def test_what_the_end_of_a_socket_cuts_off_is_told(autojump_clock: trio.testing.MockClock) -> None:
    async with observed() as (ledger, server), server.strict_client() as client:
        await client.emit("outlive")
        await client.emit("last")
        await client.emit("echo", 1)
        await trio.sleep(1.5)
        await the(server, client).disconnect()
        await settle()
        assert ledger.of("event_handled") == [("outlive", "ok", None), ("last", "cancelled", None)]
        assert ledger.of("event_refused") == [("echo", "server namespace disconnect")]


async def test_a_handler_that_outlives_its_socket_is_told_when_it_is_done(autojump_clock: trio.testing.MockClock) -> None:
    async with observed() as (ledger, server):
        async with server.strict_client() as client:
            await client.emit("outlive")
            await settle()
        await settle()
        assert ledger.names("socket_left", "event_handled") == ["socket_left"]
        await trio.sleep(1.5)
        assert ledger.of("event_handled") == [("outlive", "ok", None)]


@pytest.mark.parametrize("event", ["outlive", "outlive beside"])
async def test_an_event_that_comes_as_the_server_is_cancelled_is_told(event: str, caplog: pytest.LogCaptureFixture) -> None:
    ledger = Ledger()
    server = Server(RoutingTable(Route("/", Controller)), instruments=[ledger])
    async with open_test_server(server) as in_memory, await in_memory.websocket() as websocket:
        await websocket.receive()
        await websocket.send("40")
        await websocket.send('42["echo",1]')
        await settle()
        (connection,) = server.engine.connections
        connection.text(b'42["%s"]' % event.encode())
        # As the scope of the server does it, before the dispatcher has its turn.
        server.engine.sessions.cancel()
        server.engine.services.finishers.cancel()
        await settle()
        assert ledger.of("event_refused") == [(event, "server shutting down")]
    ledger.require_balanced()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_those_who_wait_for_a_slot_are_told_when_there_is_none_any_more(autojump_clock: trio.testing.MockClock) -> None:
    async with observed(config=Config(limits=Limits(concurrent_handlers=1))) as (ledger, server), server.strict_client() as client:
        for _ in range(3):
            await client.emit("beside")
        await settle()
        await the(server, client).disconnect()
        await settle()
        assert ledger.of("event_handled") == [("beside", "cancelled", None)]
        assert ledger.of("event_refused") == [("beside", "server namespace disconnect")] * 2


async def test_what_is_registered_on_a_socket_is_told_as_well() -> None:
    async def guard(event: list[Any], call_next: Callable[[], Awaitable[None]]) -> None:
        if event[-1] != "drop":
            await call_next()

    def bad(*args: object) -> None:
        raise BadMessage("no", "$")

    async with observed() as (ledger, server), server.strict_client() as client:
        socket = the(server, client)
        socket.on("own", lambda *args: "own")
        socket.on("bad", bad)
        assert await client.emit_with_ack("own") == "own"
        await client.emit_with_ack("bad")
        socket.use(guard)
        assert await client.emit_with_ack("echo", 2) == 2
        await client.emit_with_ack("nothing")
        await client.emit("echo", "drop")
        await client.emit_with_ack("fail")
        await client.emit_with_ack("beside")
        assert ledger.of("event_handled") == [
            ("own", "ok", None),
            ("bad", "refused", "BadMessage"),
            ("echo", "ok", None),
            ("nothing", "unknown", None),
            ("echo", "ok", None),
            ("fail", "failed", "RuntimeError"),
            ("beside", "ok", None),
        ]


@pytest.mark.parametrize(("event", "outcome"), [("echo", "ok"), ("beside", "ok"), ("outlive", "ok"), ("nothing", "unknown")])
async def test_an_event_that_middleware_has_renamed_is_told_as_it_came(
    event: str, outcome: str, autojump_clock: trio.testing.MockClock
) -> None:
    async def rename(changed: list[Any], call_next: Callable[[], Awaitable[None]]) -> None:
        changed[0] = event
        await call_next()

    async with observed() as (ledger, server), server.strict_client() as client:
        the(server, client).use(rename)
        await client.emit_with_ack("old name", 1)
        await settle()
        assert ledger.of("event_received") == [("old name", [1])]
        assert set(ledger.of("handling")) == {("old name",)}
        assert ledger.of("event_handled") == [("old name", outcome, None)]


async def test_an_event_that_middleware_has_renamed_is_refused_as_it_came(autojump_clock: trio.testing.MockClock) -> None:
    async def rename(changed: list[Any], call_next: Callable[[], Awaitable[None]]) -> None:
        changed[0] = "beside"
        await call_next()

    async with observed(config=Config(limits=Limits(concurrent_handlers=1))) as (ledger, server), server.strict_client() as client:
        socket = the(server, client)
        socket.use(rename)
        for _ in range(2):
            await client.emit("old name")
        await settle()
        await socket.disconnect()
        await settle()
        assert ledger.of("event_handled") == [("old name", "cancelled", None)]
        assert ledger.of("event_refused") == [("old name", "server namespace disconnect")]


async def test_an_event_that_only_a_task_waits_for_is_handled() -> None:
    async with observed() as (ledger, server), server.strict_client() as client, trio.open_nursery() as nursery:
        socket = the(server, client)
        nursery.start_soon(socket.once, "awaited")
        await settle()
        await client.emit_with_ack("awaited")
        assert ledger.of("event_handled") == [("awaited", "ok", None)]


async def test_an_event_whose_answer_is_one_too_many_is_told_all_the_same(autojump_clock: trio.testing.MockClock) -> None:
    ledger = Ledger()
    server = Server(RoutingTable(Route("/", Controller)), config=Config(limits=Limits(outbox_packets=1)), instruments=[ledger])
    async with open_test_server(server) as in_memory, trio.open_nursery() as nursery:
        stream = await in_memory.connect_lockstep_stream()
        websocket = await RawWebSocket.open(stream, "/socket.io/?EIO=4&transport=websocket")
        await websocket.receive()
        await websocket.send("40")
        await websocket.receive()
        await settle()
        (socket,) = server.of("/").sockets.values()
        for number in range(4):
            nursery.start_soon(wait_in_vain, socket, f"awaited {number}")
        await settle()
        # Whose answers this client does not take.
        for number in range(4):
            await websocket.send(f'42{number}["awaited {number}"]')
        await settle()
        assert len(ledger.of("event_handled")) == len(ledger.of("event_received")) >= 2
        assert ledger.of("session_ended") == [("slow consumer",)]
        await stream.aclose()
    ledger.require_balanced()


async def wait_in_vain(socket: Socket, event: str) -> None:
    with suppress(Disconnected):
        await socket.once(event)


# Who comes in.


async def test_who_is_refused_is_told_with_what_its_client_learns() -> None:
    async def refuse(ctx: Context, call_next: Next) -> object:
        raise ConnectionRefused("members only")

    async with observed(connection_middleware=[refuse]) as (ledger, server):
        for namespace in ("/", "/none"):
            with pytest.raises(ConnectionRefused):
                async with server.strict_client(namespace):
                    pass
        assert ledger.of("socket_refused") == [("/", "members only"), ("/none", "Invalid namespace")]
        assert "socket_joined" not in ledger.names()
        assert "socket_left" not in ledger.names()


async def test_who_goes_before_it_was_let_in_is_refused(autojump_clock: trio.testing.MockClock) -> None:
    async def wait(ctx: Context, call_next: Next) -> object:
        await trio.sleep_forever()

    async with observed(connection_middleware=[wait]) as (ledger, server):
        async with await server.websocket() as websocket:
            await websocket.receive()
            await websocket.send("40")
            await settle()
        await settle()
        assert ledger.of("socket_refused") == [("/", "transport close")]


async def test_a_request_that_is_refused_is_told() -> None:
    async with observed() as (ledger, server), await server.http() as http:
        await http.request("GET", "/socket.io/?EIO=3&transport=polling")
        await http.request("GET", "/socket.io/?EIO=4&transport=polling&sid=none")
        assert [status for _, status in ledger.of("session_refused")] == [400, 400]
        assert ledger.of("session_refused")[1][0] == "Session ID unknown"


async def test_a_move_to_a_websocket_is_told() -> None:
    async with observed() as (ledger, server), server.client() as client:
        await client.emit_with_ack("echo", 1)
        await settle()
        assert ledger.of("session_opened") == [("polling",)]
        assert ledger.of("session_moved") == [("websocket",)]


async def test_rooms_are_told_whoever_changes_them() -> None:
    async with observed() as (ledger, server), server.strict_client() as client:
        socket = the(server, client)
        await settle()
        await socket.join("lobby", "a")
        await socket.namespace.to("a").sockets_join("b")
        await socket.leave("a", "never")
        await socket.namespace.sockets_leave("lobby")
        assert [line for line in ledger.lines if line[0].startswith("room")] == [
            ("room_joined", "lobby"),
            ("room_joined", "a"),
            ("room_joined", "b"),
            ("room_left", "a"),
            ("room_left", "lobby"),
        ]


async def test_who_leaves_is_told_while_the_namespace_still_has_its_adapter() -> None:
    class Guest(Instrument):
        def socket_joined(self, socket: Socket) -> None:
            socket.namespace.adapter.on_join_room(heard)

        def socket_left(self, socket: Socket, reason: str) -> None:
            socket.namespace.adapter.on_join_room.remove(heard)
            namespaces.append(socket.namespace.is_awaited)

    def heard(room: str, sid: str) -> None: ...

    namespaces: list[bool] = []
    server = Server(RoutingTable(Route(re.compile(r"/table-\d"), Controller)), instruments=[Guest()])
    async with open_test_server(server) as in_memory:
        async with in_memory.strict_client("/table-1"):
            assert "/table-1" in {namespace.name for namespace in server.namespaces}
        await settle()
        assert namespaces == [False]
        assert "/table-1" not in {namespace.name for namespace in server.namespaces}


@pytest.mark.parametrize("hasty", [False, True])
async def test_who_comes_back_joins_and_leaves_once_more(hasty: bool, autojump_clock: trio.testing.MockClock) -> None:
    class Hasty(Instrument):
        def socket_joined(self, socket: Socket) -> None:
            if hasty and socket.recovered:
                socket.disconnect_nowait()

    ledger = Ledger()
    config = Config(connection_state_recovery=Recovery())
    server = Server(RoutingTable(Route("/", Controller)), config=config, instruments=[ledger, Hasty()])
    async with open_test_server(server) as in_memory:
        peer = Peer(in_memory)
        await peer.connect()
        await settle()
        await server.emit("news")
        await peer.event()
        await peer.cut()
        await settle()
        assert await peer.connect()
        await settle()
        await peer.cut()
        await settle()
        assert ledger.names("socket_joined", "room_joined", "room_left", "socket_left") == [
            *("socket_joined", "room_joined", "room_left", "socket_left"),
            *(("socket_joined", "socket_left") if hasty else ("socket_joined", "room_joined", "room_left", "socket_left")),
        ]
    ledger.require_balanced()


# What goes out.


async def test_what_is_emitted_is_told_with_its_size() -> None:
    async with observed() as (ledger, server), server.strict_client() as client, server.strict_client():
        socket = the(server, client)
        await socket.emit("one", b"abc")
        socket.emit_nowait("two", 1)
        await socket.namespace.emit("all", "x")
        await socket.broadcast.emit("others")
        await socket.namespace.to("nobody").emit("none")
        assert ledger.of("event_emitted") == [("one", [b"abc"], 44), ("two", [1], 11)]
        assert [(event, args, count) for _, event, args, count, _ in ledger.of("broadcast_emitted")] == [
            ("all", ["x"], 2),
            ("others", [], 1),
            ("none", [], 0),
        ]


async def test_what_is_dropped_is_told_with_the_reason() -> None:
    config = Config(limits=Limits(outbox_packets=2), slow_consumer="drop")
    ledger = Ledger()
    server = Server(RoutingTable(Route("/", Controller)), config=config, instruments=[ledger])
    async with open_test_server(server) as in_memory, in_memory.strict_client() as client:
        await settle()
        socket = server.of("/").sockets[client.id]
        # The outbox is flushed by a task, so whatever is said without a checkpoint waits in it.
        for number in range(3):
            socket.volatile("key").emit_nowait("volatile", number)
        assert ledger.of("packets_dropped") == [(1, "volatile")] * 2
        for number in range(3):
            server.emit_nowait("event", number)
        assert ledger.of("packets_dropped") == [(1, "volatile")] * 3 + [(1, "slow consumer")]
        assert server.statistics().dropped_packets == 4
        await client.connection.close()
        await settle()
        socket.emit_nowait("late")
        assert ledger.of("packets_dropped")[4:] == [(1, "gone")]
    ledger.require_balanced()


# Questions.


async def test_questions_are_told_with_what_came_of_them(autojump_clock: trio.testing.MockClock) -> None:
    async with observed() as (ledger, server), server.strict_client() as client, server.strict_client() as other:
        client.on("question", lambda: "answer")
        other.on("question", lambda: "answer")
        client.on("silence", partial(trio.sleep, 100))
        socket = the(server, client)
        assert await socket.emit_with_ack("question") == "answer"
        with pytest.raises(trio.TooSlowError):
            await socket.emit_with_ack("silence", timeout=1)
        with trio.move_on_after(1):
            await socket.emit_with_ack("silence")
        assert await socket.namespace.emit_with_ack("question") == ["answer", "answer"]
        with pytest.raises(trio.TooSlowError):
            await socket.namespace.emit_with_ack("silence", timeout=1)
        async with socket.namespace.acks("silence"):
            pass
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_in_vain, socket)
            await settle()
            await client.connection.close()
        assert ledger.of("ack_settled") == [
            ("question", "answered"),
            ("silence", "timeout"),
            ("silence", "cancelled"),
            ("question", "answered"),
            ("silence", "timeout"),
            ("silence", "cancelled"),
            ("silence", "disconnected"),
        ]
        assert [is_one for _, is_one in ledger.of("ack_asked")] == [True, True, True, False, False, False, True]


async def ask_in_vain(socket: Socket) -> None:
    with pytest.raises(Disconnected):
        await socket.emit_with_ack("silence")


async def test_slow_handlers_are_told(autojump_clock: trio.testing.MockClock) -> None:
    async with observed() as (ledger, server), server.strict_client() as client:
        await client.emit("last")
        await client.emit("echo", 1)
        await trio.sleep(3)
        ((event, seconds),) = ledger.of("handler_slow")
        assert event == "last"
        assert seconds == pytest.approx(1.0)


async def test_a_drain_is_told(autojump_clock: trio.testing.MockClock) -> None:
    ledger = Ledger()
    async with open_test_server(Server(RoutingTable(Route("/", Controller)), instruments=[ledger])) as server, server.strict_client():
        assert isinstance(server.server, Server)
        await settle()
        await server.server.drain()
        assert ledger.of("drain_began") == [(1,)]
        assert ledger.of("drain_ended") == [(0,)]
    assert ledger.names("drain_began", "drain_ended") == ["drain_began", "drain_ended"]
    ledger.require_balanced()
