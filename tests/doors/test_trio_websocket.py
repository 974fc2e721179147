"""The trio-websocket door: inside of a real server of that library, and over memory where time matters."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from trio_websocket import WebSocketRequest, WebSocketServer, open_websocket_url, serve_websocket, wrap_server_stream

from tests.level import level, unchanged
from trio_sio import CORS, Config, Limits, Server, Socket
from trio_sio.engine.origins import OriginPolicy
from trio_sio.protocol.http import Request
from trio_sio.testing import RawWebSocket, UpgradeRefused, WebSocketClosed
from trio_sio.testing.level import restored

TARGET = "/socket.io/?EIO=4&transport=websocket"
BOUND = 5.0


class Application:
    """A server with an echo, which keeps what it saw."""

    def __init__(self, config: Config | None = None) -> None:
        self.server = Server(config=config)
        self.sockets: list[Socket] = []
        self.reasons: list[str] = []
        self.gone = trio.Event()
        self.server.on_connection(self._joined)
        self.server.on_disconnection(self._left)
        self.server.on("echo")(self._echo)

    async def _joined(self, socket: Socket) -> None:
        self.sockets.append(socket)
        await socket.join("lobby")

    async def _left(self, socket: Socket, reason: str) -> None:
        self.reasons.append(reason)
        self.gone.set()

    async def _echo(self, socket: Socket, *args: object) -> None:
        await socket.emit("echo", *args)


class Hosted:
    """An application behind a trio-websocket server.

    Attributes:
      application: The application.
      server: Its server.
      port: Where it listens.
      hosting: Cancels the trio-websocket server and its handlers.
      handled: Set when a handler has returned.
    """

    def __init__(self, application: Application) -> None:
        self.application = application
        self.server = application.server
        self.port = 0
        self.hosting = trio.CancelScope()
        self.handled = trio.Event()

    async def handle(self, request: WebSocketRequest) -> None:
        await self.server.handle_trio_websocket(request)
        self.handled.set()

    async def connect(self, target: str = TARGET, **fields: str) -> RawWebSocket:
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        try:
            return await RawWebSocket.open(stream, target, headers=fields, host=f"127.0.0.1:{self.port}")
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise

    async def refusal(self, target: str = TARGET, **fields: str) -> tuple[int, bytes, dict[str, str]]:
        with pytest.raises(UpgradeRefused) as info:
            await self.connect(target, **fields)
        response = info.value.response
        return response.status, response.body, dict(response.headers)

    async def join(self) -> RawWebSocket:
        websocket = await self.connect()
        await joined(websocket)
        return websocket


async def joined(websocket: RawWebSocket) -> None:
    """Join the main namespace."""
    opened = await websocket.receive()
    assert isinstance(opened, str)
    assert json.loads(opened[1:])["upgrades"] == []
    await websocket.send("40")
    assert str(await websocket.receive()).startswith('40{"sid"')


async def closed(websocket: RawWebSocket) -> int:
    """Return the code with which the server closes."""
    with trio.fail_after(BOUND), pytest.raises(WebSocketClosed) as info:
        while True:
            await websocket.receive()
    await trio.aclose_forcefully(websocket.stream)
    return info.value.code


@asynccontextmanager
async def hosted(config: Config | None = None, max_message_size: int = 2**20) -> AsyncIterator[Hosted]:
    """Run an application inside of a trio-websocket server; whatever happened, nothing may be left in the end."""
    here = Hosted(Application(config))

    async def host(*, task_status: trio.TaskStatus[WebSocketServer]) -> None:
        with here.hosting:
            await serve_websocket(here.handle, "127.0.0.1", 0, None, task_status=task_status, max_message_size=max_message_size)

    async with here.server, unchanged(here.server), trio.open_nursery() as nursery:
        server: WebSocketServer = await nursery.start(host)
        here.port = server.port
        before = level(here.server)
        yield here
        if not here.hosting.cancel_called:
            await restored(here.server, before)
            here.hosting.cancel()


async def test_messages_in_both_directions() -> None:
    async with hosted() as here:
        websocket = await here.join()
        await websocket.send('42["echo","é",{"a":1}]')
        assert await websocket.receive() == '42["echo","é",{"a":1}]'
        await websocket.send('451-["echo",{"_placeholder":true,"num":0}]')
        await websocket.send(b"\x00\xff")
        assert await websocket.receive() == '451-["echo",{"_placeholder":true,"num":0}]'
        assert await websocket.receive() == b"\x00\xff"
        assert await websocket.close() == 1000
        await here.application.gone.wait()
        assert here.application.reasons == ["transport close"]


async def test_the_handshake_is_that_of_the_request() -> None:
    async with hosted() as here:
        websocket = await here.connect(TARGET + "&colour=sky%20blue", **{"X-Colour": "red"})
        await joined(websocket)
        (sock,) = here.application.sockets
        assert sock.handshake.query["colour"] == "sky blue"
        assert sock.handshake.headers["x-colour"] == "red"
        assert sock.handshake.headers["host"] == f"127.0.0.1:{here.port}"
        assert (sock.handshake.address, sock.handshake.secure) == ("127.0.0.1", False)
        await websocket.close()


async def test_the_first_subprotocol_is_taken() -> None:
    async with hosted() as here:
        url = f"ws://127.0.0.1:{here.port}{TARGET}"
        async with open_websocket_url(url, subprotocols=["a", "b"]) as client:
            assert client.subprotocol == "a"


async def test_origins_are_checked_against_the_host() -> None:
    async with hosted(Config(allow_loopback_origins=False, cors=CORS(origins="https://app.example"))) as here:
        for origin in (f"http://127.0.0.1:{here.port}", "https://app.example"):
            await (await here.connect(Origin=origin)).close()
        status, body, _ = await here.refusal(Origin="https://elsewhere.example")
        assert (status, json.loads(body)) == (403, {"code": 4, "message": "Forbidden"})


async def test_hosts_are_checked_here_as_well() -> None:
    async with hosted(Config(allowed_hosts=["127.0.0.1"])) as here:
        await (await here.connect()).close()
    async with hosted(Config(allowed_hosts=["app.example", "localhost"])) as here:
        status, body, _ = await here.refusal()
        assert (status, json.loads(body)) == (403, {"code": 4, "message": "Forbidden"})


async def test_refusals_have_status_and_body() -> None:
    async with hosted(Config(limits=Limits(connections=1))) as here:
        status, body, _ = await here.refusal("/socket.io/?EIO=4&transport=polling")
        assert (status, json.loads(body)["code"]) == (400, 3)
        status, body, _ = await here.refusal("/socket.io/?EIO=4&transport=websocket&sid=unknown")
        assert (status, json.loads(body)["code"]) == (400, 1)
        websocket = await here.join()
        status, body, headers = await here.refusal()
        assert (status, body, headers["retry-after"]) == (503, b"The server is full.\n", "5")
        await websocket.close()


async def test_an_address_that_takes_too_much() -> None:
    async with hosted(Config(limits=Limits(connections_per_address=1))) as here:
        websocket = await here.join()
        status, _, headers = await here.refusal()
        assert status == 429
        assert "retry-after" in headers
        await websocket.close()


@pytest.mark.parametrize("target", ["/", "/socket.iox/?EIO=4&transport=websocket", "/chat/socket.io/?EIO=4&transport=websocket"])
async def test_other_paths_are_not_found(target: str) -> None:
    async with hosted() as here:
        status, body, _ = await here.refusal(target)
        assert (status, body) == (404, b"There is nothing at this address.\n")


async def test_a_refused_client_cannot_hold_on() -> None:
    async with hosted() as here:
        stream = await trio.open_tcp_stream("127.0.0.1", here.port)
        with pytest.raises(UpgradeRefused):
            await RawWebSocket.open(stream, "/")
        with trio.fail_after(BOUND):
            assert await stream.receive_some() == b""
            await here.handled.wait()
        await stream.aclose()


async def test_a_server_that_does_not_run() -> None:
    server = Server()
    client_side, server_side = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(RawWebSocket.open, client_side, TARGET))
        request = await wrap_server_stream(nursery, server_side)
        with pytest.raises(RuntimeError, match="enter `async with server:` first"):
            await server.handle_trio_websocket(request)
        nursery.cancel_scope.cancel()


async def test_what_fails_does_not_reach_the_host(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fail(policy: OriginPolicy, request: Request) -> None:
        raise ZeroDivisionError("as with a mistake of ours")

    monkeypatch.setattr(OriginPolicy, "headers", fail)
    async with hosted() as here:
        for _ in range(2):
            assert (await here.refusal())[0] == 500
    records = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.name for record in records] == ["trio_sio.doors.trio_websocket"] * 2


async def test_a_request_that_cannot_be_read_does_not_reach_the_host_either(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def read_request(asked: WebSocketRequest, host: str) -> Request:
        raise AttributeError("as with another version of trio-websocket")

    monkeypatch.setattr("trio_sio.doors.trio_websocket._read_request", read_request)
    async with hosted() as here:
        with trio.fail_after(BOUND):
            with pytest.raises(trio.BrokenResourceError, match="did not send a complete response"):
                await here.connect()
            await here.handled.wait()
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.name == "trio_sio.doors.trio_websocket"


async def test_the_limit_counts_bytes() -> None:
    async with hosted(Config(max_http_buffer_size=20)) as here:
        websocket = await here.join()
        await websocket.send('42["echo","' + "é" * 3 + 'x"]')  # 20 bytes
        assert "é" in str(await websocket.receive())
        await websocket.send('42["echo","' + "é" * 4 + '"]')  # 21 bytes, 17 characters
        assert await closed(websocket) == 1009


async def test_a_message_over_the_limit_of_the_host_ends_the_connection() -> None:
    async with hosted(max_message_size=100) as here:
        websocket = await here.join()
        await websocket.send('42["echo","' + "x" * 100 + '"]')
        # The client was told, and then does nothing. It must not keep the connection.
        with trio.fail_after(BOUND):
            while await websocket.stream.receive_some():
                pass
        await here.application.gone.wait()
        await trio.aclose_forcefully(websocket.stream)


@pytest.mark.parametrize("way", ["FIN", "RST"])
async def test_a_client_that_goes_without_a_goodbye(way: str) -> None:
    async with hosted() as here:
        websocket = await here.join()
        assert isinstance(websocket.stream, trio.SocketStream)
        if way == "RST":
            websocket.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await trio.aclose_forcefully(websocket.stream)
        with trio.fail_after(BOUND):
            await here.application.gone.wait()
        assert here.application.reasons == ["transport close"]


async def test_draining_says_goodbye_and_waits_for_the_answer() -> None:
    async with hosted() as here:
        websockets = [await here.join() for _ in range(3)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.server.drain)
            for websocket in websockets:
                assert await closed(websocket) == 1001
        assert (await here.refusal())[0] == 503
        assert here.application.reasons == ["server shutting down"] * 3


async def test_the_host_that_is_cancelled_ends_every_session() -> None:
    async with hosted() as here:
        websockets = [await here.join() for _ in range(3)]
        here.hosting.cancel()
        for websocket in websockets:
            assert await closed(websocket) == 1006
        await here.application.gone.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert here.application.reasons == ["server shutting down"] * 3


async def test_a_server_that_is_cancelled_leaves_no_handler_behind() -> None:
    application = Application(Config(close_timeout=0.1))
    async with trio.open_nursery() as nursery:
        here = Hosted(application)
        with trio.CancelScope() as scope:
            async with application.server:
                host: WebSocketServer = await nursery.start(serve_websocket, here.handle, "127.0.0.1", 0, None)
                here.port = host.port
                websocket = await here.join()
                scope.cancel()
                await trio.lowlevel.checkpoint()
        assert application.reasons == ["server shutting down"]
        await closed(websocket)
        with trio.fail_after(BOUND):
            await here.handled.wait()
        nursery.cancel_scope.cancel()


async def test_a_unix_socket_has_no_address(tmp_path: Path) -> None:
    application = Application()
    listener = trio.socket.socket(socket.AF_UNIX)
    await listener.bind(str(tmp_path / "socket"))
    listener.listen()
    async with application.server, trio.open_nursery() as nursery:
        stream = await trio.open_unix_socket(tmp_path / "socket")
        accepted = trio.SocketStream((await listener.accept())[0])

        async def serve() -> None:
            await application.server.handle_trio_websocket(await wrap_server_stream(nursery, accepted))

        nursery.start_soon(serve)
        websocket = await RawWebSocket.open(stream, TARGET)
        await joined(websocket)
        assert application.sockets[0].handshake.address is None
        await websocket.close()
        listener.close()


# Over memory, with a clock of our own: a client that receives only when it is told to.


@asynccontextmanager
async def in_memory(config: Config) -> AsyncIterator[tuple[Application, RawWebSocket, trio.CancelScope]]:
    """Join over a stream on which a send waits until it is received; the scope is that of the handler."""
    application = Application(config)
    client_side, server_side = trio.testing.lockstep_stream_pair()
    scope = trio.CancelScope()
    async with application.server, unchanged(application.server), trio.open_nursery() as nursery:

        async def host() -> None:
            with scope:
                async with trio.open_nursery() as reading:
                    await application.server.handle_trio_websocket(await wrap_server_stream(reading, server_side))

        nursery.start_soon(host)
        websocket = await RawWebSocket.open(client_side, TARGET)
        await joined(websocket)
        yield application, websocket, scope
        await trio.aclose_forcefully(client_side)


async def rest(websocket: RawWebSocket) -> bytes:
    """Return what is on the wire until its end."""
    data = bytearray()
    try:
        while piece := await websocket.stream.receive_some():
            data += piece
    except trio.BrokenResourceError:
        pass
    return bytes(data)


async def test_a_client_that_takes_nothing(autojump_clock: trio.testing.MockClock) -> None:
    config = Config(write_stall_timeout=30, ping_interval=1_000, close_timeout=10)
    async with in_memory(config) as (application, websocket, _):
        application.sockets[0].emit_nowait("big", "x" * 100_000)
        application.sockets[0].emit_nowait("next")
        begin = trio.current_time()
        await trio.testing.wait_all_tasks_blocked()
        # The host's reader has a pong to send, as soon as it may.
        await websocket.send_frame(9, b"ping")
        await application.gone.wait()
        assert trio.current_time() - begin == pytest.approx(30)
        assert application.reasons == ["transport error"]
        await trio.testing.wait_all_tasks_blocked()
        # Nothing follows the frame that stalled: no other frame, no pong, no close frame.
        assert (await rest(websocket)).endswith(b"x" * 100_000 + b'"]')
        assert trio.current_time() - begin == pytest.approx(30)


@pytest.mark.hostile("W30", door="trio-websocket")
async def test_half_a_frame_is_followed_by_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async with in_memory(Config(ping_interval=1_000)) as (application, websocket, scope):
        application.sockets[0].emit_nowait("big", "x" * 100_000)
        await trio.testing.wait_all_tasks_blocked()
        half = await websocket.stream.receive_some(1_000)
        assert len(half) == 1_000
        # The host's reader has a pong to send, behind the frame.
        with trio.move_on_after(1):
            await websocket.send_frame(9, b"ping")
        scope.cancel()
        assert (half + await rest(websocket)).endswith(b"x" * 100_000 + b'"]')
        await application.gone.wait()
        assert application.reasons == ["server shutting down"]
        assert trio.current_time() < 2


async def test_a_client_that_does_not_answer_the_close_frame(autojump_clock: trio.testing.MockClock) -> None:
    async with in_memory(Config(close_timeout=10)) as (application, websocket, _):
        await application.sockets[0].disconnect(close=True)
        begin = trio.current_time()
        data = await rest(websocket)
        assert data[-2:] == b"\x03\xe8"
        assert trio.current_time() - begin == pytest.approx(10, abs=0.1)
