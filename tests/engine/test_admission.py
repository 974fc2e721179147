"""Who may open a session, and what the others are told: the statuses and bodies of the official server."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
import trio.testing

from tests.engine.exchange import FakeExchange
from trio_sio import Config, EngineServer, Limits, Server, Session
from trio_sio.engine.door import Request
from trio_sio.testing import InMemoryServer, UpgradeRefused, open_test_server

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
        for connection in list(server.server.engine._running):
            connection.cancel()
    assert caplog.text.count("returned an id that is in use") == 2


async def test_a_generate_id_that_fails_refuses_one_client(caplog: pytest.LogCaptureFixture) -> None:
    def generate_id() -> str:
        raise LookupError

    async with open_test_server(EngineServer(handler, config=config(generate_id=generate_id))) as server:
        assert (await ask(server, NEW)).status == 400
    assert "Config.generate_id failed" in caplog.text


@pytest.mark.parametrize("limits", [Limits(connections=3), Limits(unconnected_sessions=3)], ids=["connections", "unconnected"])
async def test_the_last_that_fits_is_let_in_and_the_next_is_told_when_to_come_back(
    limits: Limits, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_test_server(Server(config=config(limits=limits))) as server:
        answers = [await ask(server, NEW) for _ in range(4)]

        assert [answer.status for answer in answers] == [200, 200, 200, 503]
        refused = answers[3].response
        assert refused is not None
        assert (b"Retry-After", b"5") in refused.headers
        with pytest.raises(UpgradeRefused, match="503"):
            await server.websocket()


async def test_handshakes_at_the_same_time_do_not_pass_the_limit_together() -> None:
    async with open_test_server(EngineServer(handler, config=config(limits=Limits(connections=2)))) as server:
        statuses = await open_at_once(server, 5)
        assert sorted(statuses) == [101, 101, 503, 503, 503]
        for connection in list(server.server.engine._running):
            connection.cancel()


@pytest.mark.parametrize(("path", "owned"), [("/socket.io", True), ("/socket.io/", True), ("/socket.io/x", False), ("/socket.iox", False)])
def test_the_path_is_the_engines_exactly(path: str, owned: bool) -> None:
    assert EngineServer(handler, config=config()).engine.owns(path) is owned
