"""Clients of a server in memory, from the first byte to the last."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from tests.client.fake_server import Connection, FakeServer, open_packet
from tests.level import unchanged
from trio_sio import Config, ConnectionRefused, Context, Next, Server, Socket, open_client, open_manager
from trio_sio.client.session import OUTBOX_PACKETS
from trio_sio.client.states import Connected, Connecting, Ended, Lost, State, Waiting
from trio_sio.errors import ConfigurationError, ConnectFailed, Disconnected
from trio_sio.testing import InMemoryServer, open_test_server

Clock = trio.testing.MockClock  # every time-out passes at once


def make_server(config: Config | None = None) -> Server:
    server = Server(config=config or Config())

    @server.on("echo")
    async def echo(socket: Socket, *args: Any) -> tuple[Any, ...]:
        return args

    @server.on("send me away")
    async def send_away(socket: Socket) -> None:
        await socket.disconnect(close=True)

    async def refuse(ctx: Context, call_next: Next) -> object:
        if ctx.socket.handshake.auth.get("token") != "secret":
            raise ConnectionRefused("bad token", data={"code": 4001})
        return await call_next()

    private = server.of("/private")
    private.use(refuse)
    private.on("echo")(echo)
    return server


async def talk(server: InMemoryServer) -> None:
    async with open_client(server) as socket:
        assert await socket.emit_with_ack("echo", 1, b"x") == (1, b"x")


async def be_refused(server: InMemoryServer) -> None:
    with pytest.raises(ConnectionRefused) as raised:
        async with open_client(server, "/private", auth={"token": "guessed"}):
            pass
    assert (raised.value.message, raised.value.data) == ("bad token", {"code": 4001})


async def share(server: InMemoryServer) -> None:
    async with open_manager(server) as manager, manager.socket() as main:
        async with manager.socket("/private", auth=lambda: {"token": "secret"}) as private:
            assert await private.emit_with_ack("echo", 1) == 1
        assert await main.emit_with_ack("echo", 2) == 2
        assert manager.connected


async def fail_in_the_block(server: InMemoryServer) -> None:
    with pytest.raises(KeyError):
        async with open_client(server):
            raise KeyError


async def be_cancelled(server: InMemoryServer) -> None:
    with trio.move_on_after(1):
        async with open_client(server) as socket:
            await socket.once("never")
    assert trio.current_time() <= 2.5


async def be_cancelled_while_connecting(server: InMemoryServer) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        async with open_client(server):
            pass


async def come_back_by_hand(server: InMemoryServer) -> None:
    async with open_client(server) as socket:
        await socket.emit("send me away")
        assert (await socket.closed()).reason == "io server disconnect"
        await socket.connect()
        assert await socket.emit_with_ack("echo", 1) == 1


@pytest.mark.parametrize(
    "visit", [talk, be_refused, share, fail_in_the_block, be_cancelled, be_cancelled_while_connecting, come_back_by_hand]
)
async def test_nothing_is_left_of_a_visit(visit: Callable[[InMemoryServer], Awaitable[None]], autojump_clock: Clock) -> None:
    async with open_test_server(make_server()) as server, unchanged(server.server):
        await visit(server)


class Unreliable:
    """Leads to a server, or to nobody; and can cut what it led to."""

    def __init__(self, server: InMemoryServer) -> None:
        self.server = server
        self.attempts: list[float] = []
        self.down = False
        self.response = b""
        self._streams: list[trio.abc.Stream] = []

    async def connect_stream(self) -> trio.abc.Stream:
        self.attempts.append(trio.current_time())
        if self.down:
            await trio.lowlevel.checkpoint()
            raise OSError("connection refused")
        if self.response:
            ours, theirs = trio.testing.memory_stream_pair()
            await theirs.send_all(self.response)
            self._streams.append(theirs)
            return ours
        stream = await self.server.connect_stream()
        self._streams.append(stream)
        return stream

    async def cut(self) -> None:
        for stream in self._streams:
            await trio.aclose_forcefully(stream)


async def test_a_first_connection_that_fails_raises_at_once(autojump_clock: Clock) -> None:
    async with open_test_server(make_server()) as server:
        unreliable = Unreliable(server)
        unreliable.down = True
        with pytest.raises(ConnectFailed, match="connection refused"):
            async with open_client(unreliable):
                pass
        assert trio.current_time() == 0


async def test_it_comes_back(autojump_clock: Clock) -> None:
    async with open_test_server(make_server()) as server, unchanged(server.server):
        unreliable = Unreliable(server)
        async with open_client(unreliable, transports=["websocket"]) as socket, socket.states() as states:
            assert isinstance(await anext(states), Connected)
            unreliable.down = True
            await unreliable.cut()
            await socket.emit("echo", "offline")
            seen: list[State] = []
            async for state in states:
                seen.append(state)
                if isinstance(state, Waiting) and state.attempt == 3:
                    unreliable.down = False
                if isinstance(state, Connected):
                    break
            assert [type(state) for state in seen] == [Lost, *[Waiting, Connecting] * 3, Connected]
            assert await socket.emit_with_ack("echo", 1) == 1
        for number, (low, high) in enumerate([(0.5, 1.5), (1, 3), (2, 5)], 1):
            # Rounded, as the difference of two times is not exactly the delay.
            assert low <= round(unreliable.attempts[number] - unreliable.attempts[number - 1], 9) <= high


@pytest.mark.parametrize(("status", "tried_again"), [(b"401 Unauthorized", False), (b"403 Forbidden", False), (b"502 Bad Gateway", True)])
@pytest.mark.hostile("P35")
async def test_a_refusal_over_http_is_not_tried_again_and_a_failure_is(status: bytes, tried_again: bool, autojump_clock: Clock) -> None:
    async with open_test_server(make_server()) as server:
        unreliable = Unreliable(server)
        async with open_client(unreliable) as socket:
            unreliable.response = b"HTTP/1.1 %b\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno" % status
            await unreliable.cut()
            if tried_again:
                await trio.sleep(20)
                assert len(unreliable.attempts) - 2 >= 4
                unreliable.response = b""
                await socket.connect()
            else:
                ended = await socket.closed()
                assert isinstance(ended.error, ConnectFailed)
                assert not ended.error.retryable
                attempts = len(unreliable.attempts)
                await trio.sleep(1_000)
                assert len(unreliable.attempts) == attempts
                with pytest.raises(Disconnected) as raised:
                    await socket.emit("echo")
                assert raised.value.__cause__ is ended.error


async def test_a_server_that_stops_answering_is_noticed_by_its_missing_pings(autojump_clock: Clock) -> None:
    config = Config(ping_interval=3, ping_timeout=2)
    async with open_test_server(make_server(config)) as server, open_client(server, transports=["websocket"], reconnection=None) as socket:
        for connection in list(server.server.engine.sessions.running):
            connection.cancel()
        ended = await socket.closed()
    assert isinstance(ended, Ended)
    assert ended.reason in ("ping timeout", "transport close")


@pytest.mark.parametrize("taken", [0, 5_000])
async def test_leaving_takes_close_timeout_at_most(taken: int, autojump_clock: Clock) -> None:
    """Both its steps together: leaving the namespace, and then the session; ``taken``: bytes that the server takes amid that."""

    async def script(connection: Connection) -> None:
        await connection.accept(await connection.request())
        await connection.send_message(open_packet().decode())
        assert await connection.message() == "40"
        await connection.send_message('40{"sid":"s"}')
        await left.wait()
        await trio.sleep(4)
        size = 0
        while size < taken:
            size += len(await connection.stream.receive_some(1_000))
        await trio.sleep_forever()

    left = trio.Event()
    async with trio.open_nursery() as scripts:
        async with open_client(FakeServer(scripts, script), transports=["websocket"], close_timeout=5) as socket:
            for _ in range(OUTBOX_PACKETS):
                socket.emit_nowait("a")
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(OUTBOX_PACKETS + 100):  # more than the session takes before the server does
                socket.emit_nowait("a")
            await trio.testing.wait_all_tasks_blocked()
            assert len(socket._sender.outbox) > 0
            left.set()
            start = trio.current_time()
        assert trio.current_time() - start == pytest.approx(5)
        scripts.cancel_scope.cancel()


async def test_the_path_the_query_and_the_headers(autojump_clock: Clock) -> None:
    server = Server(config=Config(path="/live"))

    @server.on("handshake")
    async def handshake(socket: Socket) -> list[object]:
        handshake = socket.handshake
        return [handshake.query["room"], handshake.headers["x-colour"], handshake.cookies["a"]]

    async with (
        open_test_server(server) as memory,
        open_client(memory, path="/live", query={"room": "5"}, headers={"X-Colour": "red"}, cookies={"a": "b"}) as socket,
    ):
        assert await socket.emit_with_ack("handshake") == ["5", "red", "b"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parser": "xml"}, "There is no parser 'xml'; choose from 'json'"),
        ({"connect_timeout": 0}, "connect_timeout is 0; give a number of seconds above 0"),
        ({"close_timeout": -1}, "close_timeout is -1; give"),
        ({"transports": ["carrier pigeon"]}, "carrier pigeon"),
        ({"transports": []}, "transports is"),
        ({"namespace": "chat"}, "'chat' is no namespace"),
        ({"retries": -1}, "retries is -1"),
    ],
)
async def test_mistakes(options: dict[str, Any], message: str, autojump_clock: Clock) -> None:
    async with open_test_server(make_server()) as server:
        with pytest.raises(ConfigurationError, match=message):
            async with open_client(server, **options):
                pass
