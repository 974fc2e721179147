"""`Socket.once`: who waits for an event, and who answers it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from tests.namespaces.serving import Handler, open_namespaces, settle
from trio_sio import Config, Disconnected, Limits
from trio_sio.namespaces.socket import Socket
from trio_sio.protocol.socketio import Packet

Clock = trio.testing.MockClock  # every time-out passes at once


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
