"""The access line: what it tells about a request, and what it keeps to itself."""

from __future__ import annotations

import logging
import re

import pytest
import trio

from trio_sio import Config, Route, RoutingTable, on_message
from trio_sio.testing import UpgradeRefused, open_test_server

LOGGER = "trio_sio.doors.native.access"


class Echo:
    @on_message("echo")
    def echo(self, value: object) -> object:
        return value


@pytest.fixture
def routes() -> RoutingTable:
    return RoutingTable(Route("/", Echo()))


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the access lines, with the milliseconds left out."""
    return [re.sub(r"in \d+\.\d ms$", "in", record.getMessage()) for record in caplog.records if record.name == LOGGER]


async def test_a_line_per_request(routes: RoutingTable, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, LOGGER)
    async with open_test_server(routes) as memory, await memory.http() as http:
        response = await http.request("GET", "/socket.io/?EIO=4&transport=polling&t&token=s3cret&s3cret")
        sid = response.body.split(b'"')[3].decode()
        await http.request("POST", f"/socket.io/?EIO=4&transport=polling&sid={sid}", body="40")
        await http.request("GET", "/no/page?password=s3cret")
        await http.request("PUT", "/")
        memory.cancel()
    assert lines(caplog) == [
        "GET '/socket.io/?EIO=4&transport=polling&t&token=…&…' from test: 200 in",
        f"POST '/socket.io/?EIO=4&transport=polling&sid={sid[:6]}…' from test: 200 in",
        "GET '/no/page?password=…' from test: 404 in",
        "PUT '/' from test: 405 in",
    ]
    assert "s3cret" not in caplog.text
    assert sid not in "".join(lines(caplog))


async def test_websockets(routes: RoutingTable, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, LOGGER)
    async with open_test_server(routes) as memory:
        async with memory.strict_client() as client:
            # Not when the session is over, which may be tomorrow.
            assert lines(caplog) == ["GET '/socket.io/?EIO=4&transport=websocket' from test: 101 in"]
            assert await client.emit_with_ack("echo", 1) == 1
        with pytest.raises(UpgradeRefused):
            await memory.websocket("EIO=4&transport=websocket&sid=nobody-has-this")
    assert lines(caplog)[1:] == ["GET '/socket.io/?EIO=4&transport=websocket&sid=nobody…' from test: 400 in"]


async def test_a_body_that_does_not_arrive(routes: RoutingTable, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, LOGGER)
    async with open_test_server(routes) as memory, await memory.http() as http:
        sid = (await http.request("GET", "/socket.io/?EIO=4&transport=polling")).body.split(b'"')[3].decode()
        head = f"POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n"
        await http.stream.send_all(head.encode())
        await http.stream.receive_some()
    assert lines(caplog)[1:] == [f"POST '/socket.io/?EIO=4&transport=polling&sid={sid[:6]}…' from test: 400 in"]


async def test_the_time_is_that_until_the_answer(
    routes: RoutingTable, caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    caplog.set_level(logging.DEBUG, LOGGER)
    async with open_test_server(routes, Config(ping_interval=2)) as memory, await memory.http() as http:
        sid = (await http.request("GET", "/socket.io/?EIO=4&transport=polling")).body.split(b'"')[3].decode()
        await http.request("GET", f"/socket.io/?EIO=4&transport=polling&sid={sid}")  # a ping
        memory.cancel()
    assert caplog.records[-1].getMessage().endswith(": 200 in 2000.0 ms")


async def test_only_at_debug(routes: RoutingTable, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with open_test_server(routes) as memory, await memory.http() as http:
        await http.request("GET", "/")
    assert lines(caplog) == []
