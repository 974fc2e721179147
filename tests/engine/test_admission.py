"""Who may open a session, and what the others are told: the statuses and bodies of the official server."""

from __future__ import annotations

import gc
import json
import logging
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.engine.exchange import FakeExchange
from trio_sio import Config, EngineServer, Limits, Server, Session, Socket
from trio_sio.protocol.http import Request
from trio_sio.testing import InMemoryServer, UpgradeRefused, open_test_server
from trio_sio.testing.raw import WebSocketClosed

NEW = "EIO=4&transport=polling"


async def handler(session: Session) -> None:
    async for _ in session:
        pass


def config(**options: Any) -> Config:
    return Config(path="/socket.io", **options)


async def ask(server: InMemoryServer, query: str, method: str = "GET") -> FakeExchange:
    exchange = FakeExchange(query, method)
    await server.server.engine.handle_http(exchange)
    return exchange


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ("", 0, "Transport unknown"),
        ("EIO=4", 0, "Transport unknown"),
        ("EIO=4&transport=", 0, "Transport unknown"),
        ("EIO=4&transport=webtransport", 0, "Transport unknown"),
        ("EIO=4&transport=__proto__", 0, "Transport unknown"),
        (f"{NEW}&sid=unknown", 1, "Session ID unknown"),
        (f"{NEW}&sid=", 1, "Session ID unknown"),
        (f"{NEW}&sid=a&sid=b", 3, "Bad request"),
        (f"{NEW}&j=0", 3, "Bad request"),
        ("EIO=4&transport=websocket", 3, "Bad request"),
        ("transport=polling", 5, "Unsupported protocol version"),
        ("EIO=3&transport=polling", 5, "Unsupported protocol version"),
        ("EIO=4&EIO=3&transport=polling", 5, "Unsupported protocol version"),
        ("EIO=5&transport=polling", 5, "Unsupported protocol version"),
        ("EIO=3&transport=polling&sid=x", 3, "Bad request"),
    ],
)
async def test_handshakes_that_are_refused(query: str, code: int, message: str) -> None:
    async with open_test_server(EngineServer(handler, config=config())) as server:
        answer = await ask(server, query)

        assert answer.status == 400
        assert json.loads(answer.body or b"") == {"code": code, "message": message}
        assert server.server.engine.clients_count == 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_a_handshake_is_a_get(method: str) -> None:
    async with open_test_server(EngineServer(handler, config=config())) as server:
        assert (await ask(server, NEW, method)).body == b'{"code":2,"message":"Bad handshake method"}'


async def test_the_open_packet_tells_the_configuration(autojump_clock: trio.testing.MockClock) -> None:
    options = config(ping_interval=1.5, ping_timeout=2, max_http_buffer_size=1_000, generate_id=lambda: "an-id")
    async with open_test_server(EngineServer(handler, config=options)) as server:
        answer = await ask(server, NEW)

    assert answer.body == b'0{"sid":"an-id","upgrades":["websocket"],"pingInterval":1500,"pingTimeout":2000,"maxPayload":1000}'


@pytest.mark.parametrize(("transport", "other"), [("polling", "websocket"), ("websocket", "polling")])
async def test_a_transport_that_is_switched_off_is_unknown(transport: str, other: str) -> None:
    async with open_test_server(EngineServer(handler, config=config(transports=(other,)))) as server:
        if transport == "polling":
            assert (await ask(server, NEW)).body == b'{"code":0,"message":"Transport unknown"}'
        else:
            with pytest.raises(UpgradeRefused, match="Transport unknown"):
                await server.websocket()


async def forbid(request: Request) -> bool:
    return False


@pytest.mark.parametrize("allow_request", [lambda request: request.method == "none", forbid], ids=["sync", "async"])
async def test_allow_request_decides_about_both_transports(allow_request: Any) -> None:
    async with open_test_server(EngineServer(handler, config=config(allow_request=allow_request))) as server:
        answer = await ask(server, NEW)
        assert (answer.status, answer.body) == (403, b'{"code":4,"message":"Forbidden"}')
        with pytest.raises(UpgradeRefused, match="403"):
            await server.websocket()


async def test_an_async_generate_id_is_awaited(autojump_clock: trio.testing.MockClock) -> None:
    async def generate_id() -> str:
        await trio.lowlevel.checkpoint()
        return "awaited"

    async with open_test_server(EngineServer(handler, config=config(generate_id=generate_id))) as server:
        assert b'"sid":"awaited"' in ((await ask(server, NEW)).body or b"")


async def test_an_id_that_is_in_use_is_not_given_out_again(
    caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_test_server(EngineServer(handler, config=config(generate_id=lambda: "same"))) as server:
        assert (await ask(server, NEW)).status == 200
        assert (await ask(server, NEW)).body == b'{"code":3,"message":"Bad request"}'
        assert server.server.engine.clients_count == 1
    assert "returned an id that is in use" in caplog.text


async def open_at_once(server: InMemoryServer, count: int) -> list[int]:
    """Return the statuses of ``count`` handshakes for WebSockets."""
    statuses = list[int]()

    async def connect() -> None:
        try:
            await server.websocket()
        except UpgradeRefused as refused:
            statuses.append(refused.response.status)
        else:
            statuses.append(101)

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(connect)
    return statuses


async def test_an_id_is_in_use_from_the_handshake_on(caplog: pytest.LogCaptureFixture) -> None:
    async with open_test_server(EngineServer(handler, config=config(generate_id=lambda: "same"))) as server:
        statuses = await open_at_once(server, 3)
        assert sorted(statuses) == [101, 400, 400]
        for connection in list(server.server.engine.sessions.running):
            connection.cancel()
    assert caplog.text.count("returned an id that is in use") == 2


async def test_a_generate_id_that_fails_refuses_one_client(caplog: pytest.LogCaptureFixture) -> None:
    def generate_id() -> str:
        raise LookupError

    async with open_test_server(EngineServer(handler, config=config(generate_id=generate_id))) as server:
        assert (await ask(server, NEW)).status == 400
    assert "Config.generate_id failed" in caplog.text


async def test_the_last_that_fits_is_let_in_and_the_next_is_told_when_to_come_back(autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_server(Server(config=config(limits=Limits(connections=3)))) as server:
        answers = [await ask(server, NEW) for _ in range(4)]

        assert [answer.status for answer in answers] == [200, 200, 200, 503]
        refused = answers[3].response
        assert refused is not None
        assert (b"Retry-After", b"5") in refused.headers
        with pytest.raises(UpgradeRefused, match="503"):
            await server.websocket()


async def test_a_full_server_asks_nobody_about_its_clients(autojump_clock: trio.testing.MockClock) -> None:
    asked = list[Request]()

    def allow_request(request: Request) -> bool:
        asked.append(request)
        return True

    options = config(limits=Limits(connections=1), allow_request=allow_request)
    async with open_test_server(Server(config=options)) as server:
        await ask(server, NEW)
        assert (await ask(server, NEW)).status == 503
        with pytest.raises(UpgradeRefused, match="503"):
            await server.websocket()
        assert len(asked) == 1
        server.server.engine.draining.set()
        assert (await ask(server, NEW)).status == 503
        assert len(asked) == 1


# Answers that are none.


async def yes(request: Request) -> bool:
    return True


class Yes:
    async def __call__(self, request: Request) -> bool:
        return True


@pytest.mark.parametrize("function", [yes, partial(yes), Yes(), lambda request: yes(request)], ids=["async", "partial", "object", "def"])  # noqa: PLW0108  # as one would write it
async def test_allow_request_is_awaited_in_whatever_form_it_comes(function: Any, autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_server(EngineServer(handler, config=config(allow_request=function))) as server:
        assert (await ask(server, NEW)).status == 200


@pytest.mark.hostile("R21")
@pytest.mark.parametrize("answer", [1, "yes", object, [False]], ids=repr)
async def test_only_true_lets_a_client_in(answer: object, caplog: pytest.LogCaptureFixture) -> None:
    options = config(allow_request=lambda request: answer)
    async with open_test_server(EngineServer(handler, config=options)) as server:
        assert (await ask(server, NEW)).body == b'{"code":4,"message":"Forbidden"}'
    assert errors(caplog) == [f"Config.allow_request returned {answer!r:.80}, which counts as no: only True is yes."]


async def test_a_coroutine_is_no_answer_of_allow_request(caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder) -> None:
    async def allow_request(request: Request) -> Any:
        return yes(request)

    async with open_test_server(EngineServer(handler, config=config(allow_request=allow_request))) as server:
        assert (await ask(server, NEW)).status == 403
    gc.collect()
    assert errors(caplog) == [
        "Config.allow_request returned something that is still to be awaited, which is no answer, so it counts as no."
    ]
    assert not recwarn.list


def fail(request: Request) -> bool:
    raise LookupError("a mistake of the application")


async def fail_later(request: Request) -> bool:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        await trio.lowlevel.checkpoint()
        fail(request)
    return True


@pytest.mark.hostile("R21")
@pytest.mark.parametrize("function", [fail, fail_later])
async def test_an_allow_request_that_raises_refuses_one_client(function: Any, caplog: pytest.LogCaptureFixture) -> None:
    heard = list[str]()
    async with open_test_server(EngineServer(handler, config=config(allow_request=function))) as server:
        server.server.engine.on_connection_error(lambda rejected: heard.append(rejected.context))
        assert (await ask(server, NEW)).body == b'{"code":4,"message":"Forbidden"}'
        with pytest.raises(UpgradeRefused, match="403"):
            await server.websocket()
        assert server.server.engine.unconnected_count == 0
    assert errors(caplog) == ["Config.allow_request failed; the handshake is refused."] * 2
    assert heard == ["allow_request failed"] * 2


@pytest.mark.parametrize("sid", [None, 5, b"id", "", ["id"]], ids=repr)
async def test_what_is_no_id_is_none(sid: object, caplog: pytest.LogCaptureFixture) -> None:
    options = config(generate_id=lambda: sid)
    async with open_test_server(EngineServer(handler, config=options)) as server:
        assert (await ask(server, NEW)).body == b'{"code":3,"message":"Bad request"}'
    assert errors(caplog) == [f"Config.generate_id returned {sid!r:.80}, which is no id; the handshake is refused."]


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


# Those who come and join nothing.


def joinable(limits: Limits) -> Server:
    server = Server(config=config(limits=limits))

    @server.on("x")
    async def take(socket: Socket) -> None:
        """Open the namespace."""

    return server


async def test_the_oldest_that_has_joined_nothing_goes_when_one_more_comes(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_test_server(joinable(Limits(unconnected_sessions=3))) as server:
        engine = server.server.engine
        joined = await server.websocket()
        await joined.receive()
        await joined.send("40")
        assert str(await joined.receive()).startswith("40")
        first = await server.websocket()
        await first.receive()
        second = ((await ask(server, NEW)).body or b"").split(b'"')[3].decode()
        third = await server.websocket()
        await third.receive()
        assert engine.unconnected_count == 3

        assert (await ask(server, NEW)).status == 200
        with pytest.raises(WebSocketClosed):
            await first.receive()
        poll = FakeExchange(f"{NEW}&sid={second}")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.handle_http, poll)
            await trio.testing.wait_all_tasks_blocked()
            await (await server.websocket()).receive()
        assert poll.body == b"1"

        assert engine.unconnected_count == 3
        statistics = server.server.statistics()
        assert (statistics.displaced_sessions, statistics.closed, statistics.turned_away) == (2, {"forced close": 2}, {})
        await third.send("40")
        assert str(await third.receive()).startswith("40")
        await joined.send('42["x"]')
        assert engine.unconnected_count == 2
        server.cancel()
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == ["3 sessions have joined no namespace, so the oldest are ended as others come. Limits.unconnected_sessions sets it."]


async def test_who_opens_sessions_and_leaves_them_alone_locks_nobody_out(autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_server(joinable(Limits(unconnected_sessions=10))) as server:
        engine = server.server.engine
        for _ in range(50):
            assert (await ask(server, NEW)).status == 200
        await trio.testing.wait_all_tasks_blocked()
        assert (engine.clients_count, len(engine.connections)) == (10, 10)
        client = await server.websocket()
        await client.receive()
        await client.send("40")
        assert str(await client.receive()).startswith("40")
        server.cancel()


class Slow:
    """An `allow_request` that answers when the test says so."""

    def __init__(self) -> None:
        self.waiting = 0
        self.asked = trio.Event()
        self.answer = trio.Event()

    async def __call__(self, request: Request) -> bool:
        self.waiting += 1
        self.asked.set()
        try:
            await self.answer.wait()
        finally:
            self.waiting -= 1
        return True


@pytest.mark.hostile("R25")
async def test_handshakes_that_wait_for_allow_request_take_a_place_and_the_oldest_goes() -> None:
    slow = Slow()
    async with open_test_server(Server(config=config(limits=Limits(unconnected_sessions=2), allow_request=slow))) as server:
        engine = server.server.engine
        exchanges = [FakeExchange(NEW) for _ in range(5)]
        async with trio.open_nursery() as nursery:
            for exchange in exchanges:
                nursery.start_soon(engine.handle_http, exchange)
                await trio.testing.wait_all_tasks_blocked()
            assert (slow.waiting, engine.unconnected_count, engine.clients_count) == (2, 2, 0)
            assert [exchange.status for exchange in exchanges] == [503, 503, 503, None, None]
            refused = exchanges[0].response
            assert refused is not None
            assert refused.body == b"Too many sessions have not joined a namespace.\n"
            assert (b"Retry-After", b"5") in refused.headers
            slow.answer.set()
        assert [exchange.status for exchange in exchanges[3:]] == [200, 200]
        assert engine.unconnected_count == 2
        server.cancel()


@pytest.mark.parametrize("limits", [Limits(connections=2), Limits(connections_per_address=2)], ids=["connections", "address"])
async def test_handshakes_that_wait_for_allow_request_count_as_connections(limits: Limits) -> None:
    slow = Slow()
    status = 503 if limits.connections else 429
    async with open_test_server(Server(config=config(limits=limits, allow_request=slow))) as server:
        engine = server.server.engine
        exchanges = [FakeExchange(NEW) for _ in range(2)]
        async with trio.open_nursery() as nursery:
            for exchange in exchanges:
                nursery.start_soon(engine.handle_http, exchange)
            await trio.testing.wait_all_tasks_blocked()
            assert (await ask(server, NEW)).status == status
            nursery.cancel_scope.cancel()
        assert engine.unconnected_count == 0
        slow.answer.set()
        assert (await ask(server, NEW)).status == 200
        server.cancel()


async def test_a_drain_waits_for_no_allow_request(autojump_clock: trio.testing.MockClock) -> None:
    slow = Slow()
    async with open_test_server(Server(config=config(allow_request=slow))) as server:
        exchange = FakeExchange(NEW)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.server.engine.handle_http, exchange)
            await trio.testing.wait_all_tasks_blocked()
            await server.server.drain()
        assert (exchange.status, exchange.body) == (503, b"The server is shutting down.\n")


async def test_who_is_let_in_while_the_server_drains_comes_too_late(autojump_clock: trio.testing.MockClock) -> None:
    slow = Slow()
    async with open_test_server(Server(config=config(allow_request=slow))) as server:
        exchange = FakeExchange(NEW)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.server.engine.handle_http, exchange)
            await trio.testing.wait_all_tasks_blocked()
            server.server.engine.draining.set()
            slow.answer.set()
        assert (exchange.status, exchange.body) == (503, b"The server is shutting down.\n")
        assert server.server.engine.clients_count == 0


async def test_allow_request_may_drain_the_server(autojump_clock: trio.testing.MockClock) -> None:
    async def allow_request(request: Request) -> bool:
        await server.drain()
        return True

    server = Server(config=config(allow_request=allow_request))
    async with open_test_server(server) as in_memory:
        assert (await ask(in_memory, NEW)).status == 503
        assert server.engine.drained.is_set()


async def test_a_listener_ends_although_somebody_waits_for_allow_request() -> None:
    slow = Slow()
    server = Server(config=config(allow_request=slow))
    with trio.fail_after(5):
        async with server, trio.open_nursery() as nursery:
            listeners = await nursery.start(server.serve, "127.0.0.1", 0)
            stream = await trio.open_tcp_stream(*listeners[0].sockname)
            await stream.send_all(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: h\r\n\r\n")
            await slow.asked.wait()
            await server.drain()
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 503 ")
        await stream.aclose()


async def test_a_websocket_that_had_to_go_while_its_101_was_on_its_way_opens_nothing() -> None:
    async with open_test_server(Server(config=config(limits=Limits(unconnected_sessions=1)))) as server:
        engine = server.server.engine
        stream = await server.connect_lockstep_stream()
        await stream.send_all(
            b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        await trio.testing.wait_all_tasks_blocked()
        assert engine.unconnected_count == 1

        assert (await ask(server, NEW)).status == 200

        received = b""
        with trio.fail_after(5):
            while not received.endswith(b"\x88\x00"):
                data = await stream.receive_some()
                assert data, received
                received += data
        assert received.startswith(b"HTTP/1.1 101 ")
        assert (engine.clients_count, engine.unconnected_count) == (1, 1)
        server.cancel()


async def test_handshakes_at_the_same_time_do_not_pass_the_limit_together() -> None:
    async with open_test_server(EngineServer(handler, config=config(limits=Limits(connections=2)))) as server:
        statuses = await open_at_once(server, 5)
        assert sorted(statuses) == [101, 101, 503, 503, 503]
        for connection in list(server.server.engine.sessions.running):
            connection.cancel()


@pytest.mark.parametrize(("path", "owned"), [("/socket.io", True), ("/socket.io/", True), ("/socket.io/x", False), ("/socket.iox", False)])
def test_the_path_is_the_engines_exactly(path: str, owned: bool) -> None:
    assert EngineServer(handler, config=config()).engine.owns(path) is owned
