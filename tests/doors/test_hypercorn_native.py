"""Our own listener at hypercorn's ports: whose a request is, and what becomes of a connection that has had requests of both."""

from __future__ import annotations

import json
import logging
import math
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import h2.config
import h2.connection
import h2.events
import pytest
import trio
import trustme
from hypercorn.trio.tcp_server import TCPServer

from tests.doors.hypercorn_site import BOUND, POLLING, TARGET, Served, behind, below_quart, hypercorn_config, lives, rest, served
from tests.doors.pages_behind import with_pages
from trio_sio import Config, Limits, Server, open_client
from trio_sio.doors.asgi.messages import ASGIFramework, Receive, Scope, Send
from trio_sio.doors.hypercorn import serve, worker
from trio_sio.doors.native import listener
from trio_sio.doors.native.below_tls import SocketBelowTls
from trio_sio.testing import RawHttp, RawWebSocket

PAGE = b"GET /page HTTP/1.1\r\nHost: localhost\r\n"


async def open_polling(http: RawHttp) -> str:
    response = await http.request("GET", POLLING)
    assert response.status == 200
    sid: str = json.loads(response.body[1:])["sid"]
    return f"{POLLING}&sid={sid}"


async def end_polling(http: RawHttp, session: str) -> None:
    assert (await http.request("POST", session, body="1")).status == 200


# Who serves what.


@pytest.mark.parametrize("app", [Server.asgi, below_quart, with_pages])
async def test_a_websocket_is_served_natively(app: Callable[[Server], ASGIFramework], natively: Callable[[], int]) -> None:
    async with served(app=app) as here:
        websocket = await here.join()
        assert natively() == 1
        if here.server.readiness is not None:
            assert len(here.server.readiness) == 1  # as at a port of our own: no task waits for this socket alone
        await lives(websocket)
        await websocket.close()


async def test_polls_are_served_natively_until_a_page_is_asked_for() -> None:
    async with served(app=with_pages) as here, RawHttp(await here.connect()) as http:
        session = await open_polling(http)
        response = await http.request("POST", session, body="40")
        assert "server" not in response.headers
        page = await http.request("POST", "/page?a=b", body="hello")
        assert (page.status, page.body) == (200, b"POST /page hello")
        assert page.headers["server"] == "hypercorn-h11"
        # From now on this connection is hypercorn's, with whatever is asked for on it.
        response = await http.request("GET", session)
        assert response.body.startswith(b"40")
        assert response.headers["server"] == "hypercorn-h11"
        await end_polling(http, session)


@pytest.mark.parametrize("first", ["page", "poll"])
async def test_a_session_begins_at_one_door_and_upgrades_at_the_other(first: str, natively: Callable[[], int]) -> None:
    async with served(app=with_pages) as here, RawHttp(await here.connect()) as http:
        if first == "page":
            await http.request("GET", "/page")
        session = await open_polling(http)
        assert (await http.request("POST", session, body="40")).status == 200
        assert (await http.request("GET", session)).body.startswith(b"40")
        stream = await here.connect()
        if first == "poll":
            assert (await RawHttp(stream).request("GET", "/page")).status == 200
        websocket = await RawWebSocket.open(stream, session.replace("polling", "websocket"))
        await websocket.send("2probe")
        assert await websocket.receive() == "3probe"
        assert natively() == (first == "page")
        await websocket.send("5")
        await lives(websocket)
        await websocket.close()


@pytest.mark.parametrize("app", [with_pages, behind])
async def test_every_transport_of_a_client(app: Callable[[Server], ASGIFramework]) -> None:
    async with served(app=app) as here:
        for transports in (["polling"], ["websocket"], ["polling", "websocket"]):
            async with open_client(f"http://127.0.0.1:{here.port}", transports=cast("Any", transports)) as client:
                assert await client.emit_with_ack("echo", "x" * 100_000) == "x" * 100_000


async def test_a_page_in_many_pieces() -> None:
    async with served(app=with_pages) as here, await here.connect() as stream:
        request = (
            b"POST /page HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nConnection: close\r\nX: " + b"y" * 1_000 + b"\r\n\r\nhello"
        )
        for position in range(len(request)):
            await stream.send_all(request[position : position + 1])
            await trio.lowlevel.checkpoint()
        answer = await rest(stream)
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"x-fields: 4\r\n" in answer
        assert b"POST /page hello" in answer


async def test_what_is_pipelined_behind_a_poll() -> None:
    async with served(app=with_pages) as here, await here.connect() as stream:
        poll = f"GET {POLLING} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        await stream.send_all(poll + PAGE + b"\r\n" + PAGE + b"Connection: close\r\n\r\n")
        answer = await rest(stream)
        assert answer.count(b"HTTP/1.1 200") == 3
        assert answer.count(b"GET /page") == 2


@pytest.mark.parametrize("app", [with_pages, behind])
async def test_a_path_with_escapes_is_ours_at_both_sides(app: Callable[[Server], ASGIFramework]) -> None:
    async with served(app=app) as here:
        assert await here.request("/socket%2Eio/?EIO=4&transport=polling") == 200


async def test_the_absolute_form_of_another_host_is_not_ours() -> None:
    async with served(app=with_pages) as here, await here.connect() as stream:
        own = b"http://localhost/socket.io/?EIO=4&transport=polling"
        response = await RawHttp(stream).request("GET", own.decode(), headers={"Host": "localhost"})
        assert (response.status, response.body[:1]) == (200, b"0")
        await stream.send_all(b"GET " + own + b" HTTP/1.1\r\nHost: elsewhere\r\nConnection: close\r\n\r\n")
        assert b"GET http://localhost/socket.io/ " in await rest(stream)


@pytest.mark.parametrize("path", ["/socket.io/", "/api/socket.io/", "/api/socket%2Eio", "/api/api/socket.io/"])
async def test_root_path(path: str) -> None:
    statuses = []
    for app in (with_pages, behind):
        async with served(app=app, root_path="/api") as here, RawHttp(await here.connect()) as http:
            response = await http.request("GET", path)  # without a query our server says 400
            statuses.append((response.status, response.body[:8] == b'{"code":'))
    assert statuses[0] == ((200, False) if path.startswith("/api/api") else (400, True))
    assert statuses[1] == ((404, False) if path.startswith("/api/api") else (400, True))


async def test_other_server_names_are_refused_as_by_hypercorn() -> None:
    async with served(app=with_pages, server_names=["app.example"]) as here:
        for target in (POLLING, "/page"):
            for host, status in (("app.example", 200), ("elsewhere.example", 404)):
                async with RawHttp(await here.connect()) as http:
                    assert (await http.request("GET", target, headers={"Host": host})).status == status


async def test_hosts_and_proxies_are_looked_at_as_by_the_native_door() -> None:
    async with served(Config(allowed_hosts=["app.example"], trusted_proxies=1, drain_timeout=0.4), with_pages) as here:
        for host, status in (("app.example", 200), ("elsewhere.example", 403)):
            async with RawHttp(await here.connect()) as http:
                assert (await http.request("GET", POLLING, headers={"Host": host})).status == status
        stream = await here.connect()
        fields = {"Host": "app.example", "X-Forwarded-For": "192.0.2.1"}
        websocket = await RawWebSocket.open(stream, TARGET, headers=fields)
        await websocket.receive()
        await websocket.send("40")
        await websocket.receive()
        assert here.sockets[-1].handshake.address == "192.0.2.1"
        await websocket.close()


# Time and size.


async def test_a_client_that_says_nothing_is_let_go() -> None:
    async with served(Config(header_timeout=0.1), with_pages) as here, await here.connect() as stream:
        assert await rest(stream) == b""


@pytest.mark.parametrize("start", [b"GET", b"GET /pa", b"GET /socket.io/?", b"GET /socket.io/? HTTP/1.1\r\nHost: local"])
async def test_a_head_that_does_not_come_on_is_answered(start: bytes) -> None:
    async with served(Config(header_timeout=0.1), with_pages) as here, await here.connect() as stream:
        await stream.send_all(start)
        assert (await rest(stream)).startswith(b"HTTP/1.1 408 ")


async def test_once_a_head_is_a_pages_it_has_hypercorns_time() -> None:
    async with served(Config(header_timeout=0.1), with_pages) as here, await here.connect() as stream:
        await stream.send_all(PAGE)
        await trio.sleep(0.3)
        await stream.send_all(b"Connection: close\r\n\r\n")
        assert (await rest(stream)).startswith(b"HTTP/1.1 200 ")


async def test_the_kernels_patience_with_a_page_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds: list[float] = []
    monkeypatch.setattr(listener, "_set_user_timeout", lambda _, patience: seconds.append(patience))
    async with served(Config(write_stall_timeout=20), with_pages) as here:
        websocket = await here.join()
        assert await here.request("/page") == 200
        await websocket.close()
    assert seconds == [20, 20, math.inf]


async def test_limits_of_heads_are_ours_for_our_requests_only() -> None:
    async with served(Config(limits=Limits(header_bytes=1_000)), with_pages) as here:
        for target, status in ((POLLING, 431), ("/page", 200)):
            async with RawHttp(await here.connect()) as http:
                assert (await http.request("GET", target, headers={"X": "y" * 1_000})).status == status


async def test_idle_connections_are_kept_by_who_has_them() -> None:
    async with served(Config(keep_alive_timeout=0.1, drain_timeout=0.4), with_pages, keep_alive_timeout=3_600) as here:
        ours, others = RawHttp(await here.connect()), RawHttp(await here.connect())
        assert (await ours.request("GET", POLLING)).status == 200
        assert (await others.request("GET", "/page")).status == 200
        assert await rest(ours.stream) == b""
        assert (await others.request("GET", "/page")).status == 200
        for http in (ours, others):
            await http.stream.aclose()


async def test_an_error_in_our_server_ends_one_connection(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    async with served(app=with_pages) as here:
        bystander = await here.join()

        async def fail(exchange: object) -> None:
            raise OSError("the disk is full")

        monkeypatch.setattr(here.server.engine, "handle_http", fail)
        assert await here.request(POLLING) == 500
        await lives(bystander)
        await bystander.close()
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.getMessage().startswith("A connection from 127.0.0.1 ended with an error that is not its client's")


async def test_an_error_in_hypercorn_ends_one_connection(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    async with served(app=with_pages) as here:
        bystander = await here.join()

        async def fail(self: TCPServer) -> None:
            assert (await self.stream.receive_some(4)) + (await self.stream.receive_some(1_000)) == PAGE
            raise ZeroDivisionError

        monkeypatch.setattr(TCPServer, "_read_data", fail)
        async with await here.connect() as stream:
            await stream.send_all(PAGE)
            assert await rest(stream) == b""
        await lives(bystander)
        await bystander.close()
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.getMessage().startswith("One connection failed; it is closed, and the others go on.")


# The end.


async def test_whoever_is_in_the_midst_of_a_head_does_not_hold_up_the_end() -> None:
    async with served(app=with_pages, graceful_timeout=3_600) as here:
        streams = [await here.connect() for _ in range(4)]
        for stream, start in zip(streams, (b"", b"GET", b"GET /socket.io/?", PAGE), strict=True):
            await stream.send_all(start)
        http = RawHttp(await here.connect())
        assert (await http.request("GET", POLLING)).status == 200
        await http.stream.send_all(b"GET /socket.io")
        assert await here.request("/page") == 200  # and by then all that was sent before has been seen
        here.stop.set()
        with trio.fail_after(BOUND):
            await here.stopped.wait()
        for stream in (*streams, cast("trio.SocketStream", http.stream)):
            assert await rest(stream) == b""
            await stream.aclose()


async def test_a_page_under_way_has_the_graceful_timeout() -> None:
    asked, go_on = trio.Event(), trio.Event()

    def slow(server: Server) -> ASGIFramework:
        async def page(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                asked.set()
                await go_on.wait()
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"done"})

        return server.asgi(page)

    async with served(app=slow, graceful_timeout=3_600) as here:
        websocket = await here.join()
        stream = await here.connect()
        await stream.send_all(PAGE + b"\r\n")
        await asked.wait()
        here.stop.set()
        await rest(cast("trio.SocketStream", websocket.stream))
        assert here.reasons == ["server shutting down"]
        assert not here.stopped.is_set()
        go_on.set()
        assert (await rest(stream)).endswith(b"done\r\n0\r\n\r\n")
        for end in (stream, websocket.stream):
            await trio.aclose_forcefully(end)


async def test_pages_go_on_when_the_server_has_drained() -> None:
    async with served(app=with_pages) as here:
        with trio.fail_after(BOUND):
            await here.server.drain()
        for target, status in (("/page", 200), (POLLING, 503), ("/page", 200)):
            assert await here.request(target) == status


async def test_cancellation_leaves_nothing() -> None:
    async with served(app=with_pages) as here:
        websocket = await here.join()
        streams = [await here.connect() for _ in range(3)]
        for stream, start in zip(streams, (b"", PAGE, f"GET {POLLING} HTTP/1.1\r\n".encode()), strict=True):
            await stream.send_all(start)
        here.serving.cancel()
        with trio.fail_after(BOUND):
            await here.stopped.wait()
        for end in (*streams, cast("trio.SocketStream", websocket.stream)):
            await rest(end)
            await trio.aclose_forcefully(end)


# The scope.


@pytest.mark.parametrize("app", [with_pages, behind])
@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_the_scope_is_there_whoever_has_the_connection(app: Callable[[Server], ASGIFramework], transport: str) -> None:
    async with served(app=app, root_path="/api") as here:
        async with open_client(
            f"http://127.0.0.1:{here.port}?a=b", path="/api/socket.io", transports=cast("Any", [transport]), headers={"X-Name": "Ann"}
        ):
            assert len(here.sockets) == 1
        scope = here.sockets[0].handshake.scope
    assert scope is not None
    kind, scheme = ("websocket", "ws") if transport == "websocket" else ("http", "http")
    expected = {"type": kind, "scheme": scheme, "path": "/api/socket.io/", "raw_path": b"/api/socket.io/", "root_path": "/api", "state": {}}
    assert {name: scope[name] for name in expected} == expected
    assert scope.get("method") == (None if transport == "websocket" else "GET")
    assert cast("Any", scope["server"]) == ("127.0.0.1", here.port)
    assert cast("Any", scope["client"])[0] == "127.0.0.1"
    assert (b"x-name", b"Ann") in cast("Any", scope["headers"])
    assert b"a=b" in cast("bytes", scope["query_string"])
    assert len(scope) == len(list(scope))


# HTTP/2, TLS, and Unix sockets.


async def ask_by_http_2(stream: trio.abc.Stream, target: str) -> tuple[int, bytes]:
    """Ask for ``target`` with HTTP/2; return status and body."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
    connection.initiate_connection()
    fields = [(":method", "GET"), (":path", target), (":scheme", "http"), (":authority", "localhost")]
    connection.send_headers(1, fields, end_stream=True)
    await stream.send_all(connection.data_to_send())
    status, body = 0, b""
    with trio.fail_after(BOUND):
        while True:
            for event in connection.receive_data(await stream.receive_some(65_536)):
                if isinstance(event, h2.events.ResponseReceived):
                    status = int(dict(cast("Any", event.headers))[":status"])
                elif isinstance(event, h2.events.DataReceived):
                    body += event.data or b""
                elif isinstance(event, h2.events.StreamEnded):
                    return status, body


async def test_http_2_with_prior_knowledge() -> None:
    async with served(app=with_pages) as here, await here.connect() as stream:
        assert await ask_by_http_2(stream, "/page") == (200, b"GET /page ")


@asynccontextmanager
async def secured(
    tmp_path: Path, config: Config | None = None
) -> AsyncIterator[tuple[Served, Callable[..., Awaitable[trio.SSLStream[trio.SocketStream]]]]]:
    """Serve over TLS; give what connects, and offers the protocols that it gets."""
    authority = trustme.CA()
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "key"))
    context = ssl.create_default_context()
    authority.configure_trust(context)

    async def connect(here: Served, *protocols: str) -> trio.SSLStream[trio.SocketStream]:
        context.set_alpn_protocols(list(protocols))
        return trio.SSLStream(await here.connect(), context, server_hostname="localhost", https_compatible=True)

    async with served(config, with_pages, certfile=str(tmp_path / "key"), keyfile=str(tmp_path / "key")) as here:
        yield here, partial(connect, here)


@pytest.mark.parametrize("protocols", [["http/1.1"], ["h2", "http/1.1"], []], ids=["HTTP/1.1", "either", "none offered"])
async def test_tls(protocols: list[str], tmp_path: Path, natively: Callable[[], int]) -> None:
    async with secured(tmp_path) as (here, connect):
        stream = await connect(*protocols)
        if protocols[:1] == ["h2"]:
            assert await ask_by_http_2(stream, "/page") == (200, b"GET /page ")
            await trio.aclose_forcefully(stream)
            stream = await connect(*protocols)
            status, body = await ask_by_http_2(stream, POLLING)
            assert (status, body[:1]) == (200, b"0")
            await trio.aclose_forcefully(stream)
        else:
            websocket = await RawWebSocket.open(stream, TARGET)
            await websocket.receive()
            await websocket.send("40")
            await websocket.receive()
            assert natively() == 1
            assert here.sockets[0].handshake.secure
            assert cast("Any", here.sockets[0].handshake.scope)["scheme"] == "wss"
            await lives(websocket)
            await websocket.close()
            async with RawHttp(await connect(*protocols)) as http:
                assert (await http.request("GET", POLLING)).status == 200
                assert (await http.request("GET", "/page")).body == b"GET /page "


async def test_a_write_under_tls_has_the_deadline_of_who_has_the_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deadlines: list[float] = []

    class Noting(SocketBelowTls):
        async def send_all(self, data: bytes | bytearray | memoryview) -> None:
            deadlines.append(self.write_stall_timeout)
            await super().send_all(data)

    monkeypatch.setattr(worker, "SocketBelowTls", Noting)
    async with secured(tmp_path, Config(write_stall_timeout=20)) as (_, connect), RawHttp(await connect()) as http:
        await end_polling(http, await open_polling(http))
        assert set(deadlines) == {20}
        deadlines.clear()
        assert (await http.request("GET", "/page")).status == 200
        assert set(deadlines) == {math.inf}


async def test_a_tls_handshake_that_fails(tmp_path: Path) -> None:
    async with secured(tmp_path) as (here, connect):
        for hello in (b"GET / HTTP/1.1\r\n\r\n", b""):
            async with await here.connect() as stream:
                await stream.send_all(hello)
                await stream.send_eof()
                await rest(stream)
        async with RawHttp(await connect()) as http:
            assert (await http.request("GET", "/page")).status == 200


async def test_a_unix_socket(tmp_path: Path, natively: Callable[[], int]) -> None:
    server = Server()
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        start = partial(serve, with_pages(server), hypercorn_config(bind=[f"unix:{tmp_path}/sock"]), shutdown_trigger=stop.wait)
        await nursery.start(start)
        websocket = await RawWebSocket.open(await trio.open_unix_socket(tmp_path / "sock"), TARGET)
        assert str(await websocket.receive()).startswith("0{")
        assert natively() == 1
        await websocket.close()
        async with RawHttp(await trio.open_unix_socket(tmp_path / "sock")) as http:
            assert (await http.request("GET", "/page")).status == 200
        stop.set()
