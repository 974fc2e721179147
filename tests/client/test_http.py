"""Requests on a connection that is kept alive, and when it is not used again."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.client.fake_server import Connection, open_fake_server
from trio_sio.client.http import HttpConnection
from trio_sio.client.target import Target
from trio_sio.errors import TransportError

LIMIT = 1_000


async def test_one_connection_serves_many_requests(autojump_clock: trio.testing.MockClock) -> None:
    connections = 0

    async def script(connection: Connection) -> None:
        nonlocal connections
        connections += 1
        while True:
            request = await connection.request()
            assert request.headers["host"] == "localhost"
            await connection.respond(request.method.encode() + request.body, headers=[("X-Number", "1")])

    async with open_fake_server(script) as target:
        http = HttpConnection(target, LIMIT)
        for _ in range(5):
            response = await http.request("GET", "/a")
            assert (response.status, response.body) == (200, b"GET")
            assert ("x-number", "1") in response.headers
            assert (await http.request("POST", "/a", "ü".encode())).body == "POSTü".encode()
            await trio.sleep(3)
        assert connections == 1
        # Its server may be about to close it.
        await trio.sleep(5)
        await http.request("GET", "/a")
        assert connections == 2
        await http.aclose()


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200",
    ],
)
async def test_a_connection_that_cannot_go_on_is_replaced(response: bytes, autojump_clock: trio.testing.MockClock) -> None:
    connections = 0

    async def script(connection: Connection) -> None:
        nonlocal connections
        connections += 1
        await connection.request()
        await connection.send(response)
        await connection.wait_ended()

    async with open_fake_server(script) as target:
        http = HttpConnection(target, LIMIT)
        for _ in range(3):
            assert (await http.request("GET", "/")).body == b"ok"
        assert connections == 3
        await http.aclose()


@pytest.mark.parametrize("at", ["request", "response"])
async def test_a_cancelled_request_does_not_leave_its_answer_to_the_next(at: str, autojump_clock: trio.testing.MockClock) -> None:
    async def script(connection: Connection) -> None:
        request = await connection.request()
        if request.path == "/before":
            await connection.respond()
            if at == "request":
                await trio.sleep(10)
            request = await connection.request()
        await trio.sleep(10)
        await connection.respond(request.path.encode())
        await connection.wait_ended()

    async with open_fake_server(script) as target:
        http = HttpConnection(target, LIMIT)
        await http.request("GET", "/before")
        with trio.move_on_after(3):
            await http.request("POST", "/first", b"x")
        assert (await http.request("POST", "/second", b"x")).body == b"/second"
        await http.aclose()
        await http.aclose()


@pytest.mark.parametrize(("size", "fits"), [(LIMIT, True), (LIMIT + 1, False)])
async def test_the_largest_body(size: int, fits: bool) -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.respond(b"x" * size)
        await connection.wait_ended()

    async with open_fake_server(script) as target:
        http = HttpConnection(target, LIMIT)
        if fits:
            assert len((await http.request("GET", "/")).body) == size
        else:
            with pytest.raises(TransportError, match="more than 1000 bytes"):
                await http.request("GET", "/")
        await http.aclose()


async def test_a_connection_that_the_server_has_closed_meanwhile_is_not_used() -> None:
    connections = 0

    async def serve(stream: trio.SocketStream) -> None:
        nonlocal connections
        connections += 1
        connection = Connection(stream)
        for _ in range(2):
            await connection.request()
            await connection.respond()
        await stream.aclose()
        closed.set()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, serve, 0)
            http = HttpConnection(Target(f"http://localhost:{listeners[0].socket.getsockname()[1]}"), LIMIT)
            for number in range(1, 4):
                closed = trio.Event()
                for _ in range(2):
                    assert (await http.request("POST", "/", b"once")).body == b"ok"
                assert connections == number
                await closed.wait()
            await http.aclose()
            nursery.cancel_scope.cancel()


async def test_a_server_that_takes_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async def script(connection: Connection) -> None:
        await trio.sleep_forever()

    async with open_fake_server(script) as target:
        http = HttpConnection(target, LIMIT)
        http.stall_timeout = 7
        start = trio.current_time()
        with pytest.raises(TransportError, match="took nothing for 7 seconds"):
            await http.request("POST", "/", b"x" * 100_000)
        assert trio.current_time() - start == 7
        await http.aclose()
