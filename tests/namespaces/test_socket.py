"""A socket's life: connecting, handling one event after the other, and sending. Its end is in test_disconnecting.py."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.namespaces.serving import Handler, Join, open_namespaces, settle
from trio_sio import Config, ConnectionRefused, Disconnected, EncodeError, Limits, Server
from trio_sio.namespaces.sending import HELD_PACKETS
from trio_sio.namespaces.socket import Socket
from trio_sio.protocol.socketio import Packet
from trio_sio.testing import Ended

Clock = trio.testing.MockClock  # every time-out passes at once


# Connecting.


async def test_a_socket_is_in_its_namespace_from_join_on(autojump_clock: Clock) -> None:
    seen = list[tuple[bool, int]]()

    async def connect(socket: Socket, join: Join) -> None:
        seen.append((socket.connected, len(socket.namespace.sockets)))
        join()
        seen.append((socket.connected, len(socket.namespace.sockets)))

    handler = Handler(connect=connect)
    async with (
        open_namespaces(handler) as server,
        server.strict_client(auth={"token": 1}, query={"a": "b"}, headers={"Cookie": "c=d; e=f"}) as client,
    ):
        socket = handler.socket
        assert client.id == socket.id
        assert socket.rooms == {socket.id}
        assert socket.handshake.auth == {"token": 1}
        assert socket.handshake.query["a"] == "b"
        assert socket.handshake.cookies == {"c": "d", "e": "f"}
        assert (socket.handshake.address, socket.handshake.secure, socket.data) == ("test", False, {})
        assert socket.server is server.server

    assert seen == [(False, 0), (True, 1)]


@pytest.mark.parametrize(
    ("error", "message", "data"),
    [
        (None, "Connection refused", None),
        (ConnectionRefused("members only", {"code": 1}), "members only", {"code": 1}),
        (LookupError("secret"), "Internal server error", None),
    ],
    ids=["did not join", "refused", "failed"],
)
async def test_who_is_not_let_in_was_never_there(error: Exception | None, message: str, data: object, autojump_clock: Clock) -> None:
    async def connect(socket: Socket, join: Join) -> None:
        if error is not None:
            raise error

    handler = Handler(connect=connect)
    async with open_namespaces(handler) as server:
        with pytest.raises(ConnectionRefused) as refused:
            async with server.strict_client():
                pass
        await settle()
        assert (refused.value.message, refused.value.data) == (message, data)
        assert not handler.socket.connected
        assert handler.socket.namespace.population == 0

    assert (handler.events, handler.reasons) == ([], [])


async def test_a_refused_client_may_try_again_on_the_same_connection(autojump_clock: Clock) -> None:
    async def connect(socket: Socket, join: Join) -> None:
        if socket.handshake.auth.get("token") != "right":
            raise ConnectionRefused("wrong token")
        join()

    async with open_namespaces({"/": Handler(), "/b": Handler(connect=connect)}) as server, server.strict_client() as client:
        with pytest.raises(ConnectionRefused):
            await client.connection.join("/b", {"token": "wrong"})
        assert (await client.connection.join("/b", {"token": "right"})).connected


async def test_what_is_emitted_before_connect_comes_after_it(autojump_clock: Clock) -> None:
    async def connect(socket: Socket, join: Join) -> None:
        await socket.emit("first")
        socket.emit_nowait("second")
        join()
        await socket.emit("third")

    async with open_namespaces(Handler(connect=connect)) as server, server.strict_client() as client:
        assert [(await client.receive()).name for _ in range(3)] == ["first", "second", "third"]


async def test_connect_is_the_first_packet() -> None:
    async def connect(socket: Socket, join: Join) -> None:
        await socket.emit("early")
        join()

    handler = Handler(connect=connect)
    async with open_namespaces(handler) as server, await server.websocket() as client:
        await client.receive()
        await client.send("40")

        assert await client.receive() == f'40{{"sid":"{handler.socket.id}"}}'
        assert await client.receive() == '42["early"]'


async def test_who_is_told_of_its_rooms_may_emit_to_them_and_that_comes_after_connect() -> None:
    async def connect(socket: Socket, join: Join) -> None:
        await socket.join("lobby")
        await socket.emit("early")
        join()

    handler = Handler(connect=connect)
    async with open_namespaces(handler) as server, await server.websocket() as client:
        assert isinstance(server.server, Server)
        namespace = server.server.of("/")
        namespace.adapter.on_create_room(lambda room: namespace.emit_nowait("created", room))
        namespace.adapter.on_join_room(lambda room, sid: namespace.to(room).emit_nowait("joined", sid == handler.socket.id))
        await client.receive()
        await client.send("40")

        messages = [str(await client.receive()) for _ in range(4)]
        assert messages == [f'40{{"sid":"{handler.socket.id}"}}', '42["early"]', '42["created","lobby"]', '42["joined",true]']


async def test_who_is_told_of_its_rooms_may_disconnect_it() -> None:
    steps: list[str] = []

    async def connect(socket: Socket, join: Join) -> None:
        await socket.join("lobby")
        with pytest.raises(Disconnected, match="while it joined its rooms"):
            join()
        steps.append(f"in {len(socket.namespace.sockets)} namespaces")

    handler = Handler(connect=connect)
    async with open_namespaces(handler) as server, await server.websocket() as client:
        assert isinstance(server.server, Server)
        adapter = server.server.of("/").adapter
        adapter.on_join_room(lambda room, sid: handler.socket.disconnect_nowait())
        await client.receive()
        await client.send("40")

        assert await client.receive() == f'40{{"sid":"{handler.socket.id}"}}'
        assert await client.receive() == "41"
        await trio.testing.wait_all_tasks_blocked()
        assert steps == ["in 0 namespaces"]
        assert not adapter.rooms_of(handler.socket)


async def test_what_is_emitted_to_somebody_who_is_then_refused_never_leaves(autojump_clock: Clock) -> None:
    async def connect(socket: Socket, join: Join) -> None:
        await socket.emit("secret")

    async with open_namespaces({"/": Handler(), "/b": Handler(connect=connect)}) as server, server.strict_client() as client:
        with pytest.raises(ConnectionRefused):
            await client.connection.join("/b")
        assert client.connection.sockets["/b"].pending == ()


async def test_only_so_many_packets_are_held_back(autojump_clock: Clock) -> None:
    async def connect(socket: Socket, join: Join) -> None:
        for _ in range(HELD_PACKETS):
            socket.emit_nowait("x")
        with pytest.raises(Disconnected, match=f"More than {HELD_PACKETS} packets before CONNECT: emit them in the connection hook"):
            await socket.emit("one more")
        join()

    async with open_namespaces(Handler(connect=connect)) as server, server.strict_client() as client:
        await settle()
        assert len(client.pending) == HELD_PACKETS


async def test_events_wait_until_the_connection_hook_is_over(autojump_clock: Clock) -> None:
    go = trio.Event()

    async def connect(socket: Socket, join: Join) -> None:
        join()
        await go.wait()

    handler = Handler(connect=connect)
    async with open_namespaces(handler) as server, server.strict_client() as client:
        await client.emit("x")
        await settle()
        assert handler.events == []
        go.set()
        await settle()
        assert handler.events == [["x"]]


async def test_a_client_that_goes_while_it_is_decided_about_was_never_there(autojump_clock: Clock) -> None:
    cancelled = list[bool]()

    async def connect(socket: Socket, join: Join) -> None:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.append(True)
            with pytest.raises(Disconnected):
                join()

    handler = Handler(connect=connect)
    async with open_namespaces(handler) as server, await server.websocket() as client:
        await client.receive()
        await client.send("40")
        await settle()
        await client.send("41")
        await settle()

        # An early DISCONNECT is a packet for a namespace that is not joined.
        assert cancelled == [True]
        assert handler.reasons == []
        assert handler.socket.namespace.population == 0


# Handling events.


async def test_events_are_handled_one_at_a_time_in_order(autojump_clock: Clock) -> None:
    log = list[str]()

    async def receive(socket: Socket, packet: Packet) -> None:
        number = packet.data[1]
        log.append(f"<{number}")
        for _ in range(5 - number % 5):
            await trio.lowlevel.checkpoint()
        log.append(f"{number}>")

    async with open_namespaces(Handler(receive)) as server, server.strict_client() as client:
        for number in range(100):
            await client.emit("x", number)
        await settle()

    assert log == [step for number in range(100) for step in (f"<{number}", f"{number}>")]


async def test_sockets_do_not_wait_for_each_others_handlers(autojump_clock: Clock) -> None:
    async def receive(socket: Socket, packet: Packet) -> None:
        if packet.data[0] == "block":
            await trio.sleep_forever()

    handler, other = Handler(receive), Handler()
    async with open_namespaces({"/": handler, "/other": other}) as server, server.strict_client() as client:
        second = await client.connection.join("/other")
        await client.emit("block")
        await client.emit("x")
        await second.emit("y")
        await settle()

        assert (handler.events, other.events) == ([["block"]], [["y"]])


async def test_the_inbox_stops_reading_at_its_limit_and_goes_on_at_half_of_it(autojump_clock: Clock) -> None:
    gates = [trio.Event() for _ in range(10)]

    async def receive(socket: Socket, packet: Packet) -> None:
        await gates[packet.data[1]].wait()

    handler = Handler(receive)
    async with open_namespaces(handler, Config(limits=Limits(inbox_events=4))) as server, server.strict_client() as client:
        connection = handler.socket.client.connection
        for number in range(4):  # one is being handled, three wait
            await client.emit("x", number)
        await settle()
        accepting = [connection.accepting]
        await client.emit("x", 4)
        await settle()
        accepting.append(connection.accepting)
        for gate in gates[:2]:
            gate.set()
            await settle()
            accepting.append(connection.accepting)

        assert accepting == [True, False, False, True]


async def test_somebody_who_waits_for_an_answer_keeps_the_server_reading(autojump_clock: Clock) -> None:
    answers = list[object]()

    async def receive(socket: Socket, packet: Packet) -> None:
        if packet.data[0] == "ask":
            answers.append(await socket.emit_with_ack("question"))

    handler = Handler(receive)
    async with open_namespaces(handler, Config(limits=Limits(inbox_events=3))) as server, server.strict_client() as client:
        gate = trio.Event()

        async def answer() -> str:
            await gate.wait()
            return "answer"

        client.on("question", answer)
        await client.emit("ask")
        for number in range(10):
            await client.emit("x", number)
        await settle()
        assert handler.socket.client.connection.accepting
        gate.set()
        await settle()

        assert answers == ["answer"]
        assert len(handler.events) == 11


async def test_waiting_for_an_event_makes_a_paused_connection_read_on(autojump_clock: Clock) -> None:
    go_on = trio.Event()

    async def receive(socket: Socket, packet: Packet) -> None:
        await go_on.wait()

    handler = Handler(receive)
    async with open_namespaces(handler, Config(limits=Limits(inbox_events=2))) as server, server.strict_client() as client:
        for _ in range(4):
            await client.emit("x")
            await settle()
        await client.emit("wanted", 1)
        await settle()
        assert not handler.socket.client.connection.accepting

        assert await handler.socket.once("wanted") == (1,)
        go_on.set()


# What a socket starts.


@pytest.mark.parametrize("orderly", [True, False])
async def test_what_a_socket_started_ends_with_it(orderly: bool, autojump_clock: Clock) -> None:
    ended = list[bool]()

    async def work() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(handler.socket.connected)

    handler = Handler()
    async with open_namespaces(handler) as server, server.strict_client() as client:
        handler.socket.start_soon(work)
        await settle()
        if orderly:
            await client.disconnect()
        else:
            await client.connection.abort()
        await settle()
        assert ended == [False]

        with pytest.raises(Disconnected, match="nothing can be started for it"):
            handler.socket.start_soon(work)


async def test_a_task_that_fails_disconnects_its_socket_and_nobody_else(caplog: pytest.LogCaptureFixture, autojump_clock: Clock) -> None:
    async def fail() -> None:
        raise LookupError("a bug")

    handler, other = Handler(), Handler()
    async with (
        open_namespaces({"/": handler, "/other": other}) as server,
        server.strict_client() as client,
        server.strict_client() as bystander,
    ):
        second = await client.connection.join("/other")
        handler.sockets[0].start_soon(fail)

        assert await client.closed() == Ended(disconnected=True, close_code=None)
        await settle()
        assert handler.reasons == ["server namespace disconnect"]
        assert second.connected
        assert bystander.connected
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [LookupError]


# Sending.


async def test_emitting_waits_for_room_and_emit_nowait_does_not(autojump_clock: Clock) -> None:
    handler = Handler()
    async with open_namespaces(handler, Config(limits=Limits(outbox_packets=2))) as server, server.strict_client() as client:
        socket = handler.socket
        # Packets leave when the next task runs, so fill the outbox in one go.
        socket.emit_nowait("a")
        socket.emit_nowait("b")
        with pytest.raises(trio.WouldBlock):
            socket.emit_nowait("c")
        await socket.emit("d")

        assert [(await client.receive()).name for _ in range(3)] == ["a", "b", "d"]


@pytest.mark.parametrize("event", ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"])
async def test_reserved_names_raise_where_they_are_used(event: str, autojump_clock: Clock) -> None:
    handler = Handler()
    async with open_namespaces(handler) as server, server.strict_client() as client:
        for attempt in (handler.socket.emit, handler.socket.broadcast.emit, handler.socket.namespace.emit):
            with pytest.raises(EncodeError):
                await attempt(event)
        await settle()
        assert client.pending == ()


async def test_emitting_to_somebody_who_has_left_is_dropped_and_counted(autojump_clock: Clock) -> None:
    handler = Handler()
    async with open_namespaces(handler) as server, server.strict_client() as client:
        await client.disconnect()
        await settle()
        await handler.socket.emit("x")
        handler.socket.emit_nowait("x")

        assert handler.socket.outbox.dropped == 2


async def test_send_emits_the_event_message() -> None:
    handler = Handler()
    async with open_namespaces(handler) as server, server.strict_client() as client:
        await handler.socket.send(1, "two")

        assert await client.once("message") == (1, "two")
