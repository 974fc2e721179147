"""``trio_sio.doors.hypercorn.serve``: how it starts and stops, what fails in there, and the files of Unix sockets."""

from __future__ import annotations

import gc
import importlib.metadata
import socket
import ssl
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
import trustme
from hypercorn.config import Sockets
from hypercorn.utils import LifespanFailureError, LifespanTimeoutError
from quart_trio import QuartTrio

from tests.doors.hypercorn_site import BOUND, POLLING, TARGET, behind, below_quart, hypercorn_config, rest, served
from tests.level import unchanged
from trio_sio import ConfigurationError, Server
from trio_sio.doors.asgi.messages import ASGIFramework, Message, Receive, Scope, Send
from trio_sio.doors.hypercorn import serve
from trio_sio.doors.hypercorn.application import announce
from trio_sio.testing import RawHttp, RawWebSocket, WebSocketClosed

# Starting and stopping.


@pytest.mark.parametrize("app", [Server.asgi, below_quart, behind])
async def test_clients_hear_of_the_end_before_their_connections_close(app: Callable[[Server], ASGIFramework]) -> None:
    async with served(app=app, graceful_timeout=3_600) as here:
        statuses: list[int] = []

        async def look_around() -> None:
            # hypercorn listens, and serves; we do not take anybody else.
            statuses.append(await here.request(POLLING))

        here.while_leaving = look_around
        websocket = await here.join()
        idle = RawHttp(await here.connect())
        await idle.request("GET", "/somewhere")
        here.stop.set()
        with trio.fail_after(BOUND), pytest.raises(WebSocketClosed) as info:
            await websocket.receive()
        assert info.value.code == 1001
        await rest(idle.stream)
        with trio.fail_after(BOUND):
            await here.stopped.wait()
        assert (statuses, here.reasons) == ([503], ["server shutting down"])
        assert not here.server.running
        for stream in (websocket.stream, idle.stream):
            await trio.aclose_forcefully(stream)


@pytest.mark.parametrize("app", [Server.asgi, below_quart, behind])
async def test_connections_are_not_kept_for_longer_than_keep_alive_timeout(app: Callable[[Server], ASGIFramework]) -> None:
    async with served(app=app, keep_alive_timeout=0.1) as here:
        kept = RawHttp(await here.connect())
        for _ in range(2):
            assert (await kept.request("GET", "/somewhere")).status == 404
        assert await rest(kept.stream) == b""
        await kept.stream.aclose()


@pytest.mark.parametrize(("more", "told_at"), [(False, 30), (True, 0)])
async def test_a_disconnect_waits_for_the_last_message_only(more: bool, told_at: float, autojump_clock: trio.testing.MockClock) -> None:
    sending = trio.Event()

    async def send(message: Message) -> None:
        sending.set()
        await trio.sleep_forever()

    async def receive() -> Message:
        await sending.wait()
        return {"type": "http.disconnect"}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, {"type": "http.response.body", "more_body": more})
            await receive()
            assert trio.current_time() == told_at
            nursery.cancel_scope.cancel()

    await announce(app, [], [], 30, {"type": "http"}, receive, send)


@pytest.mark.slow
async def test_what_is_cancelled_leaves_nothing() -> None:
    server = Server()
    async with server, trio.open_nursery() as nursery, unchanged(server):
        port, scope = await nursery.start(serving, server)
        streams = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(2)]
        websocket = await RawWebSocket.open(streams[0], TARGET)
        await websocket.receive()
        assert (await RawHttp(streams[1]).request("GET", "/elsewhere")).status == 404
        scope.cancel()
        for stream in streams:
            await rest(stream)
            await trio.aclose_forcefully(stream)


async def serving(server: Server, *, task_status: trio.TaskStatus[tuple[int, trio.CancelScope]]) -> None:
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            (url,) = await nursery.start(serve, server.asgi(), hypercorn_config())
            task_status.started((int(url.rpartition(":")[2]), scope))


async def test_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "key"))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with trio.open_nursery() as nursery:
        server = Server()
        config = hypercorn_config(certfile=str(tmp_path / "key"), keyfile=str(tmp_path / "key"))
        (url,) = await nursery.start(serve, server.asgi(), config)
        assert url.startswith("https://127.0.0.1:")
        plain = await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2]))
        async with RawHttp(trio.SSLStream(plain, context, server_hostname="localhost")) as http:
            assert (await http.request("GET", POLLING)).status == 200
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("version", ["0.17.3", "0.19.0", "0.180.0", "1.0"])
async def test_another_version_is_refused(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: version)
    with trio.fail_after(BOUND), pytest.raises(RuntimeError, match=rf"tested with 0\.18; this is {version}\. Install it with"):
        await serve(Server().asgi(), hypercorn_config())


async def test_http_3_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="leave quic_bind empty"):
        await serve(Server().asgi(), hypercorn_config(quic_bind=["127.0.0.1:0"]))


async def test_an_address_that_is_taken() -> None:
    server = Server()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = hypercorn_config(bind=[f"127.0.0.1:{taken.getsockname()[1]}"])
        with warnings.catch_warnings(action="ignore", category=ResourceWarning):
            with pytest.raises(OSError, match="in use"):
                await serve(server.asgi(), config)
            # hypercorn leaves the socket that it could not bind to the garbage collector.
            gc.collect()
    # It can still be started, as its lifespan had not begun.
    async with server:
        pass


async def test_an_application_that_cannot_start() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(LifespanFailureError, match="no database"):
        await serve(app, hypercorn_config())


@pytest.mark.parametrize("behind", [False, True], ids=["alone", "behind ours"])
@pytest.mark.parametrize("how", ["says so", "raises", "raises a group", "says so and raises"])
async def test_an_application_that_cannot_stop(how: str, behind: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if "says so" in how:
            await send({"type": "lifespan.shutdown.failed", "message": "the disk is full"})
        if "raises" in how:
            error = OSError("the disk is full")
            raise ExceptionGroup("stopping", [error]) if "group" in how else error

    server = Server()
    stop = trio.Event()
    stop.set()
    with trio.fail_after(BOUND), pytest.raises(LifespanFailureError, match="the disk is full"):
        await serve(server.asgi(app) if behind else app, hypercorn_config(), shutdown_trigger=stop.wait)
    assert not server.running


async def test_an_application_that_dies_is_not_served_on() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        raise ZeroDivisionError

    with trio.fail_after(BOUND), pytest.raises(LifespanFailureError, match="ZeroDivisionError"):
        await serve(app, hypercorn_config())


@pytest.mark.parametrize("app", [Server.asgi, below_quart, behind])
async def test_a_lifespan_that_raises_in_the_end(app: Callable[[Server], ASGIFramework]) -> None:
    @asynccontextmanager
    async def lifespan(server: Server) -> AsyncIterator[None]:
        yield
        raise OSError("the disk is full")

    stop = trio.Event()
    stop.set()
    with trio.fail_after(BOUND), pytest.raises(LifespanFailureError, match="the disk is full"):
        await serve(app(Server(lifespan=lifespan)), hypercorn_config(), shutdown_trigger=stop.wait)


async def test_what_quart_does_after_serving_raises() -> None:
    site: Any = QuartTrio("failing")
    server = Server()
    site.asgi_app = server.asgi(site.asgi_app)

    async def fail() -> None:
        raise OSError("the disk is full")

    site.after_serving(fail)
    stop = trio.Event()
    stop.set()
    with trio.fail_after(BOUND), pytest.raises(LifespanFailureError, match="the disk is full"):
        await serve(site, hypercorn_config(), shutdown_trigger=stop.wait)


async def test_an_application_that_does_not_start_in_time(autojump_clock: trio.testing.MockClock) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep_forever()

    with pytest.raises(LifespanTimeoutError, match="startup_timeout"):
        await serve(app, hypercorn_config(startup_timeout=30))
    assert trio.current_time() == 30


async def test_several_failures_come_in_a_group() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()

    async def fail() -> None:
        async with trio.open_nursery() as nursery:
            for error in (KeyError(1), ValueError(2)):
                nursery.start_soon(raising, error)

    async def raising(error: Exception) -> None:
        raise error

    with pytest.RaisesGroup(KeyError, ValueError, flatten_subgroups=True):
        await serve(app, hypercorn_config(), shutdown_trigger=fail)


async def test_a_socket_that_cannot_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    server, config = Server(), hypercorn_config()
    create_sockets = config.create_sockets

    with socket.socket() as rival:
        rival.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        rival.bind(("127.0.0.1", 0))
        config.bind = [f"127.0.0.1:{rival.getsockname()[1]}"]

        def create_too_late() -> Sockets:
            sockets = create_sockets()
            rival.listen()
            return sockets

        monkeypatch.setattr(config, "create_sockets", create_too_late)
        with pytest.raises(OSError, match="in use"):
            await serve(server.asgi(), config)
    # It can still be started, as its lifespan had not begun.
    async with server:
        pass


# The files of Unix sockets.


@pytest.mark.parametrize("way", ["stop", "cancel", "fail"])
async def test_the_file_of_a_unix_socket_is_removed(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sock"
    monkeypatch.chdir(tmp_path)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert path.is_socket()
        await receive()
        if way == "fail":
            await send({"type": "lifespan.startup.failed"})
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def stop() -> None:
        await (await trio.open_unix_socket(path)).aclose()
        # Elsewhere by then.
        monkeypatch.chdir("/")
        if way == "cancel":
            scope.cancel()

    with trio.CancelScope() as scope, suppress(LifespanFailureError):
        await serve(app, hypercorn_config(bind=["unix:sock"]), shutdown_trigger=stop)
    assert not path.exists()


@pytest.mark.parametrize("inherited", [False, True], ids=["another's", "inherited"])
async def test_the_file_of_another_stays(inherited: bool, tmp_path: Path) -> None:
    path = tmp_path / "sock"

    async def take_over() -> None:
        if not inherited:
            path.rename(tmp_path / "old")
            successor.bind(str(path))

    with socket.socket(socket.AF_UNIX) as successor, socket.socket(socket.AF_UNIX) as given:
        bind = f"unix:{path}"
        if inherited:
            given.bind(str(path))
            bind = f"fd://{given.detach()}"
        await serve(Server().asgi(), hypercorn_config(bind=[bind]), shutdown_trigger=take_over)
        assert path.is_socket()
