"""A socket's life: connecting, handling one event after the other, and the end."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from tests.namespaces.serving import Handler, Join, open_namespaces
from trio_sio import Config, ConnectionRefused, Disconnected, EncodeError, Limits, Server
from trio_sio.namespaces.core import HELD_PACKETS
from trio_sio.namespaces.socket import Socket
from trio_sio.protocol.socketio import Packet
from trio_sio.testing import Ended

Clock = trio.testing.MockClock  # every time-out passes at once


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


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


# once


@pytest.mark.hostile("R52")
async def test_once_waits_for_the_next_event_of_that_name_and_the_handler_hears_it_too(autojump_clock: Clock) -> None:
    handler, found = Handler(), list[object]()

    async def wait(name: str) -> None:
        found.append((name, await handler.socket.once(name)))

    async with open_namespaces(handler) as server, server.strict_client() as client, trio.open_nursery() as nursery:
        nursery.start_soon(wait, "x")
        await settle()
        await client.emit("y", 0)
        await client.emit("x", 1, b"2")
        await client.emit("x", 3)
        await settle()

        assert found == [("x", (1, b"2"))]
        assert handler.events == [["y", 0], ["x", 1, b"2"], ["x", 3]]
        assert not handler.socket._core.waiters.once


async def test_once_hears_one_of_two_events_that_come_together() -> None:
    handler, found = Handler(), list[object]()

    async def wait() -> None:
        found.append(await handler.socket.once("x"))

    async with open_namespaces(handler) as server, await server.websocket() as client, trio.open_nursery() as nursery:
        await client.receive()
        await client.send("40")
        await client.receive()
        nursery.start_soon(wait)
        await settle()
        events = [b'42["x",1]', b'42["x",2]']
        await client.send_bytes(b"".join(bytes([0x81, 0x80 | len(event)]) + bytes(4) + event for event in events))
        await settle()

        assert found == [(1,)]
        assert handler.events == [["x", 1], ["x", 2]]


@pytest.mark.hostile("R52")
async def test_all_who_wait_hear_it_and_a_cancelled_one_takes_nothing(autojump_clock: Clock) -> None:
    handler, found = Handler(), list[tuple[str, object]]()

    async def wait(name: str, scope: trio.CancelScope) -> None:
        with scope:
            found.append((name, await handler.socket.once("x")))

    async with open_namespaces(handler) as server, server.strict_client(), trio.open_nursery() as nursery:
        scopes = [trio.CancelScope() for _ in range(4)]
        for name, scope in zip("abcd", scopes, strict=True):
            nursery.start_soon(wait, name, scope)
            await settle()
        connection = handler.socket.client.connection
        scopes[0].cancel()
        await settle()
        # Before the task that waits has run again, as when both are due in one turn of the loop.
        scopes[1].cancel()
        for number in range(2):
            connection.text(b'42["x",%d]' % number)
        await settle()

        assert sorted(found) == [("c", (0,)), ("d", (0,))]
        assert handler.events == [["x", 0], ["x", 1]]
        assert not handler.socket._core.waiters.once
        assert handler.socket.client.inbox._awaited == 0


async def test_who_waits_again_at_once_is_not_forgotten_with_those_who_were_served(autojump_clock: Clock) -> None:
    handler, found = Handler(), list[object]()

    async def wait() -> None:
        for _ in range(2):
            found.extend(await handler.socket.once("x"))

    async with open_namespaces(handler) as server, server.strict_client(), trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(wait)
        for number in (1, 2):
            await settle()
            handler.socket.client.connection.text(b'42["x",%d]' % number)
        await settle()

        assert sorted(map(str, found)) == ["1", "1", "2", "2"]
        assert not handler.socket._core.waiters.once
        nursery.cancel_scope.cancel()


@pytest.mark.hostile("R52")
async def test_the_handler_answers_what_once_heard(autojump_clock: Clock) -> None:
    async def receive(socket: Socket, packet: Packet) -> None:
        assert packet.id is not None
        await socket._core.answer(packet.id, ("the handler's",))

    handler = Handler(receive)
    async with open_namespaces(handler) as server, server.strict_client() as client, trio.open_nursery() as nursery:
        nursery.start_soon(handler.socket.once, "x")
        await settle()

        assert await client.emit_with_ack("x") == "the handler's"


@pytest.mark.hostile("R52")
async def test_without_a_handler_the_answer_is_that_of_an_unknown_event(autojump_clock: Clock) -> None:
    """At once, and whoever waits for one after the other while a handler runs fills no inbox."""
    heard = list[object]()

    async def receive(socket: Socket, packet: Packet) -> None:
        for _ in range(100):
            heard.append(await socket.once("x"))

    handler = Handler(receive)
    handler.unhandled.add("x")
    async with open_namespaces(handler, Config(limits=Limits(inbox_events=4))) as server, server.strict_client() as client:
        await client.emit("begin")
        await settle()
        for number in range(100):
            if number % 2:
                await client.emit("x", number)
                await settle()
            else:
                assert await client.emit_with_ack("x", number) == {"status": "error", "message": "Unknown event"}
        assert heard == [(number,) for number in range(100)]
        assert handler.events == [["begin"]]


async def test_without_error_acks_there_is_none(autojump_clock: Clock) -> None:
    handler = Handler()
    handler.unhandled.add("x")
    async with (
        open_namespaces(handler, Config(error_acks=False)) as server,
        server.strict_client() as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(handler.socket.once, "x")
        await settle()
        with pytest.raises(trio.TooSlowError):
            await client.emit_with_ack("x", timeout=1)
        assert handler.events == []


@pytest.mark.parametrize("which", ["function", "middleware"])
async def test_what_only_this_socket_has_a_function_for_waits_for_its_turn(which: str, autojump_clock: Clock) -> None:
    handler, heard = Handler(), list[object]()
    handler.unhandled.add("x")

    async def middleware(event: list[object], call_next: Callable[[], Awaitable[None]]) -> None:
        heard.append(event[1])

    async with open_namespaces(handler) as server, server.strict_client() as client, trio.open_nursery() as nursery:
        if which == "function":
            handler.socket.on("x", heard.append)
        else:
            handler.socket.use(middleware)
        nursery.start_soon(handler.socket.once, "x")
        await settle()
        await client.emit("x", 1)
        await settle()
        assert heard == [1]


async def test_once_ends_with_the_socket(autojump_clock: Clock) -> None:
    handler = Handler()
    async with open_namespaces(handler) as server, server.strict_client() as client:
        with pytest.RaisesGroup(pytest.RaisesExc(Disconnected, match="before the client answered")):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(handler.socket.once, "x")
                await settle()
                await client.disconnect()
        assert not handler.socket._core.waiters.once
        with pytest.raises(Disconnected, match="no event can come"):
            await handler.socket.once("x")


async def test_a_handler_may_wait_for_an_event(autojump_clock: Clock) -> None:
    async def receive(socket: Socket, packet: Packet) -> None:
        assert packet.id is not None
        await socket._core.answer(packet.id, await socket.once("more"))

    handler = Handler(receive)
    handler.unhandled.add("more")
    async with open_namespaces(handler) as server, server.strict_client() as client, trio.open_nursery() as nursery:

        async def more() -> None:
            await settle()
            await client.emit("more", 5)

        nursery.start_soon(more)
        assert await client.emit_with_ack("begin") == 5


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


# The end.


async def test_an_orderly_end_loses_no_event_that_came_before_it(autojump_clock: Clock) -> None:
    async def receive(socket: Socket, packet: Packet) -> None:
        await trio.lowlevel.checkpoint()

    handler = Handler(receive)
    async with open_namespaces(handler) as server, server.strict_client() as client:
        for number in range(5):
            await client.emit("x", number)
        await client.disconnect()
        await settle()

    assert handler.events == [["x", number] for number in range(5)]
    assert handler.reasons == ["client namespace disconnect"]


async def test_an_orderly_end_during_the_connection_hook_loses_no_event_either(autojump_clock: Clock) -> None:
    go = trio.Event()

    async def connect(socket: Socket, join: Join) -> None:
        join()
        await go.wait()

    handler = Handler(connect=connect)
    async with open_namespaces(handler) as server, server.strict_client() as client:
        await client.emit("x")
        await client.disconnect()
        await settle()
        go.set()
        await settle()

    assert handler.events == [["x"]]
    assert handler.reasons == ["client namespace disconnect"]


@pytest.mark.parametrize("frame", ["close packet", "close frame", "end of stream", "a bad packet"])
async def test_what_came_before_the_end_of_the_connection_is_handled(frame: str, autojump_clock: Clock) -> None:
    async def receive(socket: Socket, packet: Packet) -> None:
        await trio.lowlevel.checkpoint()

    handler = Handler(receive)
    async with open_namespaces(handler) as server, await server.websocket() as client:
        await client.receive()
        await client.send("40")
        await client.receive()
        for number in range(5):
            await client.send(f'42["x",{number}]')
        if frame == "close packet":
            await client.send("1")
        elif frame == "close frame":
            await client.start_close()
        elif frame == "end of stream":
            assert isinstance(client.stream, trio.abc.HalfCloseableStream)
            await client.stream.send_eof()
        else:
            await client.send("4nonsense")
        await settle()

        assert handler.events == [["x", number] for number in range(5)]
        assert handler.reasons == ["forced close" if frame == "a bad packet" else "transport close"]


async def test_events_that_are_never_handled_leave_the_inbox_with_their_socket(autojump_clock: Clock) -> None:
    async def receive(socket: Socket, packet: Packet) -> None:
        await trio.sleep_forever()

    handler = Handler(receive)
    async with open_namespaces({"/": handler, "/b": Handler()}) as server, server.strict_client() as client:
        await client.connection.join("/b")
        for number in range(3):
            await client.emit("x", number)
        await settle()
        inbox = handler.socket.client.inbox
        assert inbox.events == 2
        await handler.socket.disconnect()
        await settle()

        assert (inbox.events, inbox.bytes) == (0, 0)


async def test_earlier_events_get_cleanup_timeout(autojump_clock: Clock) -> None:
    ended = list[float]()

    async def receive(socket: Socket, packet: Packet) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    handler = Handler(receive)
    async with open_namespaces(handler, Config(cleanup_timeout=4)) as server, server.strict_client() as client:
        await client.emit("x")
        await client.emit("never reached")
        await client.disconnect()
        await settle()
        start = trio.current_time()
        assert (handler.socket.connected, ended) == (False, [])
        await trio.sleep(10)

        assert ended == [start + 4]
        assert (handler.events, handler.reasons) == ([["x"]], ["client namespace disconnect"])


@pytest.mark.parametrize("how", ["reset", "the server disconnects"])
async def test_an_abrupt_end_cancels_at_once(how: str, autojump_clock: Clock) -> None:
    ended = list[float]()

    async def receive(socket: Socket, packet: Packet) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    handler = Handler(receive)
    async with open_namespaces(handler) as server, server.strict_client() as client:
        await client.emit("x")
        await client.emit("never reached")
        await settle()
        start = trio.current_time()
        if how == "reset":
            # In memory nothing resets, so let the wire say that it was.
            handler.socket.client.connection.cancel()
        else:
            await handler.socket.disconnect()
        await settle()

        assert ended == [start]
        assert handler.events == [["x"]]
        assert len(handler.reasons) == 1


async def test_a_ping_time_out_cancels_handlers(autojump_clock: Clock) -> None:
    ended = list[str]()

    async def receive(socket: Socket, packet: Packet) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(str(socket._core._reason))

    handler = Handler(receive)
    async with open_namespaces(handler) as server, server.strict_client(answer_pings=False) as client:
        await client.emit("x")
        await client.connection.closed()

    assert ended == handler.reasons == ["ping timeout"]


async def test_a_handler_that_disconnects_its_own_socket_goes_no_further_than_its_next_checkpoint(autojump_clock: Clock) -> None:
    steps = list[str]()

    async def receive(socket: Socket, packet: Packet) -> None:
        await socket.disconnect()
        steps.append("returned")
        await trio.lowlevel.checkpoint()
        steps.append("went on")

    handler = Handler(receive)
    async with open_namespaces(handler) as server, server.strict_client() as client:
        await client.emit("x")
        assert await client.closed() == Ended(disconnected=True, close_code=None)
        await settle()

    assert steps == ["returned"]
    assert handler.reasons == ["server namespace disconnect"]


async def test_disconnecting_with_close_ends_every_socket_and_the_connection(autojump_clock: Clock) -> None:
    handler, other = Handler(), Handler()
    async with open_namespaces({"/": handler, "/other": other}) as server, server.strict_client() as client:
        second = await client.connection.join("/other")
        await handler.socket.disconnect(close=True)

        assert (await client.closed()).disconnected
        assert (await second.closed()).disconnected
        assert await client.connection.closed() == 1005
        assert handler.reasons == other.reasons == ["server namespace disconnect"]


class TestAReasonForTheLog:
    """`disconnect(reason=...)`: in the log, and nowhere else."""

    @pytest.mark.parametrize("how", ["socket", "namespace"])
    async def test_it_is_in_the_line_of_the_end(self, how: str, caplog: pytest.LogCaptureFixture, autojump_clock: Clock) -> None:
        handler = Handler()
        async with open_namespaces({"/x": handler}) as server, server.strict_client("/x") as client:
            socket = handler.socket
            with caplog.at_level(logging.DEBUG, "trio_sio.namespaces"):
                if how == "socket":
                    await socket.disconnect(reason="banned")
                else:
                    await socket.namespace.in_(socket.id).disconnect_sockets(reason="banned")
            assert await client.closed() == Ended(disconnected=True, close_code=None)
            await settle()

        assert handler.reasons == ["server namespace disconnect"]
        line = f"Socket {socket.id} in namespace '/x' ended: server namespace disconnect ('banned')"
        assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("INFO", line)]

    async def test_the_client_sees_no_difference(self, autojump_clock: Clock) -> None:
        handler = Handler()
        async with open_namespaces(handler) as server, await server.websocket() as websocket:
            await websocket.receive()
            await websocket.send("40")
            await websocket.receive()
            await handler.socket.disconnect(reason="banned")
            assert await websocket.receive() == "41"

    async def test_with_close_it_is_in_the_lines_of_all_sockets_and_of_the_connection(
        self, caplog: pytest.LogCaptureFixture, autojump_clock: Clock
    ) -> None:
        handler, other = Handler(), Handler()
        async with open_namespaces({"/": handler, "/other": other}) as server, server.strict_client() as client:
            await client.connection.join("/other")
            sid = handler.socket.client.connection.sid
            with caplog.at_level(logging.DEBUG, "trio_sio"):
                await handler.socket.disconnect(close=True, reason="banned")
            assert await client.connection.closed() == 1005

        ended = [(record.levelname, record.getMessage()) for record in caplog.records if " ended: " in record.getMessage()]
        assert ended == [
            ("INFO", f"Socket {handler.socket.id} in namespace '/' ended: server namespace disconnect ('banned')"),
            ("INFO", f"Socket {other.socket.id} in namespace '/other' ended: server namespace disconnect ('banned')"),
            ("DEBUG", f"Connection {sid[:6]}… ended: forced close (closed by the server: 'banned')"),
        ]

    async def test_text_of_a_client_in_it_is_escaped_and_cut(self, caplog: pytest.LogCaptureFixture, autojump_clock: Clock) -> None:
        handler = Handler()
        async with open_namespaces(handler) as server, server.strict_client():
            with caplog.at_level(logging.DEBUG, "trio_sio"):
                await handler.socket.disconnect(close=True, reason="said\nERROR forged \x1b[2J" + "x" * 10_000)

        socket_line, connection_line = [message for message in caplog.messages if " ended: " in message]
        for line in (socket_line, connection_line):
            assert r"'said\nERROR forged \x1b[2Jxxx" in line
            assert len(line) < 300

    async def test_who_is_not_connected_yet_is_refused_and_it_is_logged(
        self, caplog: pytest.LogCaptureFixture, autojump_clock: Clock
    ) -> None:
        async def connect(socket: Socket, join: Join) -> None:
            await socket.disconnect(reason="not today")

        handler = Handler(connect=connect)
        with caplog.at_level(logging.INFO, "trio_sio.namespaces"):
            async with open_namespaces(handler) as server:
                with pytest.raises(ConnectionRefused, match="Connection refused"):
                    async with server.strict_client():
                        pass
        assert caplog.messages == [f"Socket {handler.socket.id} in namespace '/' ended: server namespace disconnect ('not today')"]

    async def test_without_one_the_line_is_for_debugging(self, caplog: pytest.LogCaptureFixture, autojump_clock: Clock) -> None:
        handler = Handler()
        with caplog.at_level(logging.DEBUG, "trio_sio.namespaces"):
            async with open_namespaces(handler) as server, server.strict_client() as client:
                await client.disconnect()
                await settle()
        line = f"Socket {handler.socket.id} in namespace '/' ended: client namespace disconnect"
        assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("DEBUG", line)]


async def test_the_hook_sees_a_socket_that_has_left_and_what_rooms_it_was_in(autojump_clock: Clock) -> None:
    seen = list[object]()

    async def disconnect(socket: Socket) -> None:
        seen.extend((socket.connected, socket.rooms, len(socket.namespace.sockets)))
        await socket.emit("to nobody")
        await socket.join("too late")
        seen.append(socket.rooms)

    handler = Handler(disconnect=disconnect)
    async with open_namespaces(handler) as server, server.strict_client() as client:
        await handler.socket.join("a", "b")
        await client.disconnect()
        await settle()

        rooms = {handler.socket.id, "a", "b"}
        assert seen == [False, rooms, 0, rooms]


async def test_the_hook_is_shielded_and_bounded(autojump_clock: Clock) -> None:
    ended = list[float]()

    async def disconnect(socket: Socket) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    handler = Handler(disconnect=disconnect)
    async with open_namespaces(handler, Config(cleanup_timeout=4)) as server, server.strict_client():
        start = trio.current_time()
        handler.socket.client.connection.cancel()
        await trio.sleep(10)

    assert ended == [start + 4]


async def test_a_hook_that_fails_is_logged(caplog: pytest.LogCaptureFixture, autojump_clock: Clock) -> None:
    async def disconnect(socket: Socket) -> None:
        raise LookupError("a bug")

    async with open_namespaces(Handler(disconnect=disconnect)) as server, server.strict_client() as client:
        await client.disconnect()
        await settle()

    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [LookupError]


async def test_leaving_a_namespace_lets_the_others_be_and_it_can_be_joined_again(autojump_clock: Clock) -> None:
    handler, other = Handler(), Handler()
    async with open_namespaces({"/": handler, "/other": other}) as server, server.strict_client() as client:
        second = await client.connection.join("/other")
        await client.disconnect()
        await settle()
        assert second.connected
        again = await client.connection.join("/")

        assert again.id == handler.socket.id
        assert len({socket.id for socket in (*handler.sockets, *other.sockets)}) == 3
        assert handler.reasons == ["client namespace disconnect"]


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
