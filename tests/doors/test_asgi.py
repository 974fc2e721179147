"""The ASGI door, driven by a host made of two channels, and once by hypercorn."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any, cast

import hypercorn.trio
import pytest
import trio
import trio.testing
from hypercorn.config import Config as HypercornConfig
from hypercorn.typing import ASGIFramework as HypercornApplication

from tests.doors.asgi_host import CONNECT, GONE, FakeHost, Sink, answer, application, body, calling, http, never, websocket
from tests.doors.fake_engine import FakeEngine
from trio_sio.config import Config
from trio_sio.doors.asgi.messages import ASGIFramework, Message, Receive, Scope, Send
from trio_sio.engine.door import ClientGone, HttpExchange, WebSocketUpgrade
from trio_sio.protocol.frames import EncodedPacket
from trio_sio.protocol.http import Response


async def test_a_request_and_its_response() -> None:
    engine = FakeEngine()
    scope = http(method="POST")
    status, headers, data = await answer(application(engine), scope, body(b"he", more=True), body(b"llo", more=True), body())
    assert (status, data, headers[b"content-length"]) == (200, b"POST a=b hello", b"14")
    (request,) = engine.requests
    assert (request.address, request.secure, request.scope) == ("192.0.2.1", True, scope)


async def test_hosts_that_say_less() -> None:
    engine = FakeEngine()
    scope = http()
    del scope["client"], scope["scheme"], scope["http_version"]
    assert (await answer(application(engine), scope, {"type": "http.request"}))[2] == b"GET a=b "
    assert engine.requests[0].address is None


@pytest.mark.parametrize(("path", "root"), [("/api/socket.io/", "/api"), ("/socket.io/", "/api"), ("/socket.io", "")])
async def test_a_mounted_application(path: str, root: str) -> None:
    engine = FakeEngine()
    assert (await answer(application(engine), http(path, root_path=root), body()))[0] == 200
    assert engine.requests[0].path.startswith("/socket.io")


async def test_head_and_long_bodies_and_closing() -> None:
    async def respond(exchange: HttpExchange) -> None:
        await exchange.respond(Response(200, b"a" * 100_000, [(b"Content-Type", b"text/plain")], close=True))

    app = application(FakeEngine(http=respond))
    status, headers, data = await answer(app, http(), body())
    assert (status, len(data), headers[b"connection"], headers[b"content-type"]) == (200, 100_000, b"close", b"text/plain")
    _, headers, data = await answer(app, http(method="HEAD"), body())
    assert (data, headers[b"content-length"]) == (b"", b"100000")
    _, headers, _ = await answer(app, http(http_version="2"), body())
    assert b"connection" not in headers


async def test_a_body_over_the_limit_is_received_before_the_answer(autojump_clock: trio.testing.MockClock) -> None:
    app = application(FakeEngine(Config(max_http_buffer_size=10)))
    for length in ([(b"content-length", b"300000")], []):
        async with calling(app, http(method="POST", headers=length)) as host:
            for _ in range(30):
                host.say(body(b"a" * 10_000, more=True))
            await trio.testing.wait_all_tasks_blocked()
            assert host.unread() == 0
            assert (await host.hear())["status"] == 413
            assert trio.current_time() == 0


async def test_a_body_that_never_ends_does_not_hold_the_answer_back(autojump_clock: trio.testing.MockClock) -> None:
    async def refuse(exchange: HttpExchange) -> None:
        await exchange.respond(Response(400))

    async with calling(application(FakeEngine(http=refuse)), http(method="POST"), body(b"a", more=True)) as host:
        assert (await host.hear())["status"] == 400
        assert trio.current_time() == 1


@pytest.mark.hostile("H26")
async def test_a_slow_body(autojump_clock: trio.testing.MockClock) -> None:
    async with calling(application(FakeEngine(Config(http_stall_timeout=20))), http(method="POST")) as host:
        for _ in range(5):
            host.say(body(b"a" * 1_100, more=True))
            await trio.sleep(15)
        host.say(body(b"a", more=True))
        assert (await host.hear())["status"] == 408
        assert 80 <= trio.current_time() <= 81


@pytest.mark.hostile("H34")
async def test_a_compressed_body() -> None:
    engine = FakeEngine()
    assert (await answer(application(engine), http(headers=[(b"content-encoding", b"gzip")]), body()))[0] == 415
    assert engine.requests == []


@pytest.mark.hostile("H33")
async def test_an_expectation_that_nobody_meets() -> None:
    engine = FakeEngine()
    assert (await answer(application(engine), http(headers=[(b"expect", b"more")]), body()))[0] == 417
    assert engine.requests == []
    # What the host has met already.
    assert (await answer(application(engine), http(headers=[(b"expect", b"100-Continue")]), body()))[0] == 200


async def test_a_client_that_leaves_during_its_body() -> None:
    left = trio.Event()

    async def read(exchange: HttpExchange) -> None:
        with pytest.raises(ClientGone):
            await exchange.read_body(100)
        left.set()

    async with calling(application(FakeEngine(http=read)), http(method="POST"), body(b"a", more=True), {"type": "http.disconnect"}) as host:
        assert await host.rest() == []
    assert left.is_set()


@pytest.mark.hostile("H17")
async def test_a_poll_ends_when_its_client_leaves() -> None:
    async def poll(exchange: HttpExchange) -> None:
        assert not await exchange.wait_woken()

    async with calling(application(FakeEngine(http=poll)), http(), body()) as host:
        await trio.testing.wait_all_tasks_blocked()
        assert not host.finished.is_set()
        host.say({"type": "http.disconnect"})


async def test_a_poll_is_woken() -> None:
    polls: list[HttpExchange] = []

    async def poll(exchange: HttpExchange) -> None:
        polls.append(exchange)
        assert await exchange.wait_woken()

    async with calling(application(FakeEngine(http=poll)), http(), body()) as host:
        await trio.testing.wait_all_tasks_blocked()
        assert not host.finished.is_set()
        polls[0].wake()


async def test_a_host_that_takes_no_response(autojump_clock: trio.testing.MockClock) -> None:
    failed = trio.Event()

    async def respond(exchange: HttpExchange) -> None:
        with pytest.raises(ClientGone):
            await exchange.respond(Response(200, b"a"))
        failed.set()

    engine = FakeEngine(Config(write_stall_timeout=30), http=respond)
    async with calling(application(engine), http(), body(), room=0):
        await failed.wait()
        assert trio.current_time() == 30


async def test_a_host_that_raises_when_the_client_is_gone() -> None:
    failed = trio.Event()

    async def respond(exchange: HttpExchange) -> None:
        with pytest.raises(ClientGone):
            await exchange.respond(Response(200, b"a"))
        failed.set()

    async def receive() -> Message:
        return body()

    async def send(_: Message) -> None:
        await trio.lowlevel.checkpoint()
        raise OSError("the client disconnected")

    await application(FakeEngine(http=respond))(http(), receive, send)
    assert failed.is_set()
    await application(FakeEngine())(http("/"), receive, send)


# What is not ours.


@pytest.mark.parametrize("path", ["/", "/socket.iox/", "/socket.io/x", "/other/socket.io/"])
@pytest.mark.hostile("H01", "H02", "H48")
async def test_other_paths_without_another_application(path: str) -> None:
    app = application(FakeEngine())
    assert (await answer(app, http(path), body()))[0] == 404
    async with calling(app, websocket(path), CONNECT) as host:
        start, _ = await host.rest()
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 404)
    async with calling(app, websocket(path, extensions={}), CONNECT) as host:
        assert [message["type"] for message in await host.rest()] == ["websocket.close"]
    async with calling(app, websocket(path), GONE) as host:
        assert await host.rest() == []


async def test_other_paths_go_to_the_other_application() -> None:
    seen: list[Scope] = []

    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await trio.lowlevel.checkpoint()

    app = application(FakeEngine(), other)
    scopes = [http("/"), websocket("/"), {"type": "something new"}]
    for scope in scopes:
        async with calling(app, scope):
            pass
    async with calling(app, http(), body()):
        pass
    assert seen == scopes


# Lifespan.

STARTUP: Message = {"type": "lifespan.startup"}


SHUTDOWN: Message = {"type": "lifespan.shutdown"}


async def lifespan(app: ASGIFramework, log: list[str]) -> None:
    async with calling(app, {"type": "lifespan"}, STARTUP) as host:
        log.append((await host.hear())["type"])
        await trio.testing.wait_all_tasks_blocked()
        host.say(SHUTDOWN)
        log.extend(message["type"] for message in await host.rest())


async def test_lifespan_runs_the_server() -> None:
    log: list[str] = []
    await lifespan(application(FakeHost(FakeEngine(), log)), log)
    assert log == ["server starts", "lifespan.startup.complete", "server stops", "lifespan.shutdown.complete"]


async def test_a_server_that_runs_already_is_left_alone() -> None:
    log: list[str] = []
    host = FakeHost(FakeEngine(), log)
    host.running = True
    await lifespan(application(host), log)
    assert log == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_the_other_application_lives_around_the_server() -> None:
    log: list[str] = []

    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        for verb in ("starts", "stops"):
            await receive()
            log.append(f"other {verb}")
            await send({"type": "lifespan.startup.complete" if verb == "starts" else "lifespan.shutdown.complete"})

    await lifespan(application(FakeHost(FakeEngine(), log), other), log)
    assert log == [
        "other starts",
        "server starts",
        "lifespan.startup.complete",
        "server stops",
        "other stops",
        "lifespan.shutdown.complete",
    ]


@pytest.mark.parametrize("raises", [True, False])
async def test_another_application_without_lifespan(raises: bool, caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []

    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.lowlevel.checkpoint()
        if raises:
            raise NotImplementedError

    await lifespan(application(FakeHost(FakeEngine(), log), other), log)
    assert log == ["server starts", "lifespan.startup.complete", "server stops", "lifespan.shutdown.complete"]
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * raises


async def test_another_application_that_cannot_start() -> None:
    log: list[str] = []

    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        await trio.sleep_forever()

    async with calling(application(FakeHost(FakeEngine(), log), other), {"type": "lifespan"}, STARTUP) as host:
        assert await host.rest() == [{"type": "lifespan.startup.failed", "message": "no database"}]
    assert log == []


async def test_a_server_that_cannot_start(caplog: pytest.LogCaptureFixture) -> None:
    stopped = trio.Event()

    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        assert await receive() == SHUTDOWN
        stopped.set()
        await send({"type": "lifespan.shutdown.complete"})

    for behind in (None, other):
        host = FakeHost(FakeEngine())
        host.failure = RuntimeError("no database")
        async with calling(application(host, behind), {"type": "lifespan"}, STARTUP) as caller:
            (message,) = await caller.rest()
        assert message["type"] == "lifespan.startup.failed"
        assert "no database" in message["message"]
    assert stopped.is_set()
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2


def failing(message: str) -> ASGIFramework:
    """Return an application that starts and then cannot stop."""

    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise RuntimeError(message)

    return other


@pytest.mark.hostile("R35")
@pytest.mark.parametrize(("ours", "theirs"), [(True, False), (False, True), (True, True)])
async def test_who_cannot_stop_is_named(ours: bool, theirs: bool, caplog: pytest.LogCaptureFixture) -> None:
    host = FakeHost(FakeEngine())
    host.last_failure = RuntimeError("ours") if ours else None
    async with calling(application(host, failing("theirs") if theirs else None), {"type": "lifespan"}, STARTUP) as caller:
        assert (await caller.hear())["type"] == "lifespan.startup.complete"
        caller.say(SHUTDOWN)
        (message,) = await caller.rest()
    assert message["type"] == "lifespan.shutdown.failed"
    assert ("RuntimeError('ours')" if ours else "RuntimeError('theirs')") in message["message"]
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert ("The Socket.IO server failed to stop." in told) is ours
    assert ("The application behind the Socket.IO server ended its lifespan with an exception." in told) is theirs


def test_a_host_on_asyncio_is_told_so() -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return STARTUP

    async def send(message: Message) -> None:
        sent.append(message)

    app = application(FakeEngine())
    for scope in ({"type": "lifespan"}, http()):
        with pytest.raises(RuntimeError, match="Trio worker"):
            asyncio.run(app(scope, receive, send))
    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]


# The real host.


async def test_hypercorn() -> None:
    log: list[str] = []

    async def serve(upgrade: WebSocketUpgrade) -> None:
        pipe = await upgrade.accept()
        await pipe.send([EncodedPacket(b"hello")])
        pipe.close(1001)
        await pipe.send([])
        await pipe.pump(Sink(), never)

    engine = FakeEngine(Config(max_http_buffer_size=1_000), websocket=serve)
    app = application(FakeHost(engine, log))
    config = HypercornConfig()
    config.bind = ["127.0.0.1:0"]
    shutdown = trio.Event()
    async with trio.open_nursery() as nursery:
        start: Any = partial(hypercorn.trio.serve, cast("HypercornApplication", app), config, shutdown_trigger=shutdown.wait)
        (url,) = await nursery.start(start)
        port = int(url.rpartition(":")[2])

        async def fetch(request: bytes) -> bytes:
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(request)
                return b"".join([data async for data in stream])

        head = b" /socket.io/?a=b HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
        assert (await fetch(b"POST" + head + b"Content-Length: 5\r\n\r\nhello")).endswith(b"POST a=b hello")
        large = await fetch(b"POST" + head + b"Content-Length: 200000\r\n\r\n" + b"a" * 200_000)
        assert large.startswith(b"HTTP/1.1 413 ")
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            handshake = b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            await stream.send_all(b"GET" + head.replace(b"close", b"Upgrade") + handshake)
            received = b""
            while not received.endswith(b"\x88\x02\x03\xe9"):
                received += await stream.receive_some()
            assert received.startswith(b"HTTP/1.1 101 ")
            assert b"\x81\x05hello" in received
            await stream.send_all(b"\x88\x82\x00\x00\x00\x00\x03\xe9")
            assert await stream.receive_some() == b""
        shutdown.set()
    assert log == ["server starts", "server stops"]
