"""The test client against a scripted server, so that no bug of our server can hide one of the client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from tests.testing.scripted import OPEN_PACKET, ScriptedServer
from trio_sio.client import Event
from trio_sio.errors import ConnectionRefused, Disconnected, EncodeError
from trio_sio.testing.raw import UpgradeRefused
from trio_sio.testing.strict import Ended, StrictSocket, open_strict_client

JOINED = '40{"sid":"socket-id"}'


@asynccontextmanager
async def connected(*, answer_pings: bool = True) -> AsyncIterator[tuple[StrictSocket, ScriptedServer]]:
    """Yield a client in the main namespace, and the server that it is connected to."""
    ours, theirs = trio.testing.memory_stream_pair()
    server = ScriptedServer(theirs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.accept_session, JOINED)
        async with open_strict_client(ours, answer_pings=answer_pings) as client:
            yield client, server
            nursery.start_soon(answer_close, server)


async def answer_close(server: ScriptedServer) -> None:
    await server.receive_close()
    await server.stream.aclose()


async def open_client(stream: trio.abc.Stream, namespace: str = "/", auth: dict[str, object] | None = None) -> None:
    async with open_strict_client(stream, namespace, auth):
        pass


async def test_connecting() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    server = ScriptedServer(theirs)

    async def serve() -> None:
        request = await server.accept()
        assert request.path == "/path/?room=a+b&EIO=4&transport=websocket"
        assert request.headers["cookie"] == "io=1"
        await server.send(OPEN_PACKET)
        assert await server.receive() == '40/chat,{"token":"secret"}'
        await server.send('40/chat,{"sid":"socket-id"}')
        assert await server.receive_close() == 1000
        await theirs.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        async with open_strict_client(
            ours, "/chat", {"token": "secret"}, path="/path", query={"room": "a b"}, headers={"Cookie": "io=1"}
        ) as client:
            assert (client.id, client.namespace, client.connected) == ("socket-id", "/chat", True)
            assert client.connection.handshake["sid"] == "engine-id"
        assert not client.connected


async def test_refused_by_connect_error() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    server = ScriptedServer(theirs)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.accept_session, '44{"message":"bad token","data":{"code":4001}}')
        with pytest.raises(ConnectionRefused) as refused:
            await open_client(ours)

    assert (refused.value.message, refused.value.data) == ("bad token", {"code": 4001})
    assert await server.receive_close() is None


async def test_refused_by_http() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    with pytest.raises(UpgradeRefused):
        await open_client(ours)


@pytest.mark.parametrize("open_packet", [[], [OPEN_PACKET]])
async def test_closed_before_joining(open_packet: list[str]) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    server = ScriptedServer(theirs)

    async def serve() -> None:
        await server.accept()
        await server.send(*open_packet)
        await server.close(1013)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        with pytest.raises(Disconnected, match="1013"):
            await open_client(ours)


async def test_several_namespaces_share_a_connection() -> None:
    async with connected() as (main, server):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.answer_connects, '40/chat,{"sid":"other-id"}')
            chat = await main.connection.join("/chat")
        await server.send('42/chat,["x",1]', '42["x",2]')

        assert await main.once("x") == (2,)
        assert await chat.once("x") == (1,)
        assert (main.id, chat.id) == ("socket-id", "other-id")

        await server.send("41/chat,")
        assert await chat.closed() == Ended(disconnected=True, close_code=None)
        assert main.connected


async def test_emit() -> None:
    async with connected() as (client, server):
        await client.emit("x", 1, {"a": [b"\x01", "é"]})

        assert await server.receive() == '451-["x",1,{"a":[{"_placeholder":true,"num":0},"é"]}]'
        assert await server.receive() == b"\x01"
        with pytest.raises(EncodeError):
            await client.emit("disconnect")


async def test_attachments_of_two_tasks_do_not_mix() -> None:
    async with connected() as (client, server):
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(client.emit, "x", b"\x01", b"\x02")

        for _ in range(2):
            header = await server.receive()
            assert isinstance(header, str)
            assert [await server.receive() for _ in range(2)] == [b"\x01", b"\x02"]


@pytest.mark.parametrize(("sent", "result"), [("430[1]", 1), ("430[1,2]", (1, 2)), ("430[]", None), ("430[null]", None), ("430[[]]", [])])
async def test_emit_with_ack(sent: str, result: object) -> None:
    async with connected() as (client, server):
        await server.send(sent)

        async def acknowledged() -> None:
            assert await client.emit_with_ack("x", 1) == result

        async with trio.open_nursery() as nursery:
            nursery.start_soon(acknowledged)
            assert await server.receive() == '420["x",1]'


async def test_acks_find_their_events() -> None:
    async with connected() as (client, server):

        async def ask(value: str) -> None:
            assert await client.emit_with_ack("x", value) == value

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "a")
            nursery.start_soon(ask, "b")
            requests = [await server.receive() for _ in range(2)]
            for request in reversed(requests):
                assert isinstance(request, str)
                await server.send(f'43{request[2]}["{request[-3]}"]')


async def test_an_ack_that_comes_too_late_is_ignored(autojump_clock: trio.testing.MockClock) -> None:
    async with connected() as (client, server):
        with pytest.raises(trio.TooSlowError, match="'x' did not come within 5 seconds"):
            await client.emit_with_ack("x", timeout=5)

        await server.send("430[]", '42["next"]')

        assert await client.once("next") == ()


@pytest.mark.parametrize(
    "sent",
    [
        ["430[]"],
        ['42/chat,["x"]'],
        ["6"],
        ["abc"],
    ],
)
async def test_what_no_correct_server_sends_fails_the_test(sent: list[str]) -> None:
    with pytest.RaisesGroup(pytest.RaisesGroup(AssertionError)):
        async with connected() as (client, server):
            await server.send(*sent)
            await client.receive()


async def test_a_second_ack_fails_the_test() -> None:
    with pytest.RaisesGroup(pytest.RaisesGroup(pytest.RaisesExc(AssertionError, match="number 0"))):
        async with connected() as (client, server):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.emit_with_ack, "x")
                await server.receive()
                await server.send("430[]")
            await server.send("430[]")
            await client.receive()


async def test_once_finds_earlier_and_later_events() -> None:
    async with connected() as (client, server):
        await server.send('42["a",1]', '42["b",2]', '42["a",3]')

        assert await client.once("b") == (2,)
        assert client.pending == (Event("a", (1,)), Event("a", (3,)))
        assert await client.once("a") == (1,)
        assert await client.once("a") == (3,)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.send, '42["a"]')
            assert await client.once("a") == ()


async def test_receive_gives_events_in_order() -> None:
    async with connected() as (client, server):
        await server.send('451-["a",{"_placeholder":true,"num":0}]', b"\x01", '42["b"]')

        name, args = await client.receive()
        assert (name, args) == ("a", (b"\x01",))
        assert await client.receive() == Event("b", ())


async def test_waiting_has_a_deadline(autojump_clock: trio.testing.MockClock) -> None:
    waits: list[Callable[[StrictSocket], Awaitable[object]]] = [
        lambda client: client.once("x", timeout=1),
        lambda client: client.receive(timeout=1),
        lambda client: client.closed(timeout=1),
        lambda client: client.connection.closed(timeout=1),
    ]
    async with connected() as (client, _server):
        for wait in waits:
            start = trio.current_time()
            with pytest.raises(trio.TooSlowError, match="did not come within 1 seconds"):
                await wait(client)
            assert trio.current_time() - start == pytest.approx(1)


async def test_handlers_answer_acks() -> None:
    async with connected() as (client, server):
        seen: list[object] = []
        never = trio.Event()

        async def later(value: int) -> int:
            await trio.lowlevel.checkpoint()
            return value

        async def nothing() -> None:
            await never.wait()

        client.on("add", lambda a, b: a + b)
        client.on("two", lambda: (1, b"\x02"))
        client.on("none", seen.append)
        client.on("later", later)
        client.on("never", nothing)
        await server.send('4210["add",1,2]', '4211["two"]', '4212["none",7]', '42["none",8]', '4213["never"]', '4214["later",9]')

        assert await server.receive() == "4310[3]"
        assert await server.receive() == '461-11[1,{"_placeholder":true,"num":0}]'
        assert await server.receive() == b"\x02"
        assert await server.receive() == "4312[null]"
        assert await server.receive() == "4314[9]"
        assert seen == [7, 8]
        assert client.pending == ()


async def test_an_error_in_a_handler_fails_the_test() -> None:
    def fail() -> None:
        raise KeyError("handler")

    with pytest.RaisesGroup(pytest.RaisesGroup(KeyError)):
        async with connected() as (client, server):
            client.on("x", fail)
            await server.send('42["x"]')
            await client.receive()


async def test_pings_are_answered_unless_told_otherwise() -> None:
    async with connected() as (client, server):
        await server.send("2")
        assert await server.receive() == "3"

        client.connection.answer_pings = False
        await server.send("2", '42["behind"]')
        await client.once("behind")
        await client.emit("next")
        assert await server.receive() == '42["next"]'


async def test_disconnect_leaves_the_connection_open() -> None:
    async with connected() as (client, server):
        await client.disconnect()

        assert await server.receive() == "41"
        assert not client.connected
        assert await client.closed() == Ended(disconnected=True, close_code=None)
        await server.send('42["on its way"]', "2")
        assert await server.receive() == "3"
        assert client.pending == ()


async def test_the_server_disconnects() -> None:
    async with connected() as (client, server):
        await server.send('42["last"]', "41")

        assert await client.closed() == Ended(disconnected=True, close_code=None)
        assert await client.once("last") == ()
        with pytest.raises(Disconnected):
            await client.once("more")


@pytest.mark.parametrize(("code", "seen"), [(None, 1005), (1001, 1001)])
async def test_the_server_closes(code: int | None, seen: int) -> None:
    async with connected() as (client, server):
        await server.close(code)

        assert await client.connection.closed() == seen
        assert await client.closed() == Ended(disconnected=False, close_code=seen)
        waits: list[Callable[[], Awaitable[object]]] = [
            client.receive,
            lambda: client.once("x"),
            lambda: client.emit("x"),
            lambda: client.emit_with_ack("x"),
            lambda: client.connection.join("/chat"),
            client.disconnect,
        ]
        for wait in waits:
            with pytest.raises(Disconnected):
                await wait()


async def test_waiting_ends_with_the_connection() -> None:
    async with connected() as (client, server):

        async def expect_end(wait: Callable[[], Awaitable[object]]) -> None:
            with pytest.raises(Disconnected):
                await wait()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_end, client.receive)
            nursery.start_soon(expect_end, lambda: client.once("x"))
            nursery.start_soon(expect_end, lambda: client.emit_with_ack("x"))
            nursery.start_soon(expect_end, lambda: client.connection.join("/chat"))
            await trio.testing.wait_all_tasks_blocked()
            await server.close()


async def test_abort_says_nothing() -> None:
    async with connected() as (client, server):
        await client.connection.abort()

        assert await client.closed() == Ended(disconnected=False, close_code=1006)
        assert await server.receive_close() is None


async def test_an_error_in_the_block_drops_the_connection() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    server = ScriptedServer(theirs)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.accept_session, JOINED)
        with pytest.raises(KeyError):
            async with open_strict_client(ours):
                raise KeyError

    assert await server.receive_close() is None


async def test_events_that_nobody_takes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_sio.testing.strict._EVENTS_KEPT", 2)

    with pytest.RaisesGroup(pytest.RaisesGroup(pytest.RaisesExc(AssertionError, match="2 events"))):
        async with connected() as (client, server):
            await server.send('42["a"]', '42["b"]', '42["c"]')
            await client.once("d")
