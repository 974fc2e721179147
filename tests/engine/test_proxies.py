"""Whose address a request has behind proxies, and which host it asked for."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from tests.engine.test_addresses import PROXY, TRANSPORTS, engine_server, handshake, request
from trio_sio import Config, ConfigurationError, Route, RoutingTable, Socket, on_connection
from trio_sio.engine.proxies import forwarded, requested_host
from trio_sio.protocol.http import Headers, Request
from trio_sio.testing import HttpResponse, RawWebSocket, open_test_server


@pytest.mark.parametrize(
    ("hops", "trusted", "address"),
    [
        ("192.0.2.1", 0, PROXY),
        ("192.0.2.1", 1, "192.0.2.1"),
        ("6.6.6.6, 192.0.2.1", 1, "192.0.2.1"),
        ("6.6.6.6,192.0.2.1", 1, "192.0.2.1"),
        ("6.6.6.6, 192.0.2.1 , 10.0.0.2", 2, "192.0.2.1"),
        ("what, ever, , 192.0.2.1, 10.0.0.3, 10.0.0.2", 3, "192.0.2.1"),
        ("192.0.2.1, whatever", 2, "192.0.2.1"),
        ("192.0.2.1:50000", 1, "192.0.2.1"),
        ("2001:db8::1", 1, "2001:db8::1"),
        ("2001:DB8:0::0:1", 1, "2001:db8::1"),
        ("[2001:db8::1]", 1, "2001:db8::1"),
        ("[2001:db8::1]:50000", 1, "2001:db8::1"),
        ("::ffff:192.0.2.1", 1, "192.0.2.1"),
        # Fewer hops than proxies: it did not come through all of them.
        ("192.0.2.1", 2, PROXY),
        ("192.0.2.1, 10.0.0.2", 3, PROXY),
        (None, 1, PROXY),
        # No address where one should stand.
        ("", 1, PROXY),
        (",", 1, PROXY),
        ("192.0.2.1,", 1, PROXY),
        ("192.0.2.1, ,", 2, PROXY),
        ("192.0.2.1;10.0.0.2", 1, PROXY),
        ("192.0.2.1 10.0.0.2", 1, PROXY),
        ("unknown", 1, PROXY),
        ("_hidden", 1, PROXY),
        ("app.example", 1, PROXY),
        ("192.0.2", 1, PROXY),
        ("192.0.2.256", 1, PROXY),
        ("3221225985", 1, PROXY),
        ("0x7f.1", 1, PROXY),
        ("192.0.2.1:", 1, PROXY),
        ("192.0.2.1:http", 1, PROXY),
        ("192.0.2.1:500000", 1, PROXY),
        ("[192.0.2.1", 1, PROXY),
        ("2001:db8::1]", 1, PROXY),
        ("[2001:db8::1]x", 1, PROXY),
        ("2001:db8::1%eth0", 1, PROXY),
        ("2001:db8:::1", 1, PROXY),
        ('"[2001:db8::1]"', 1, PROXY),
        ("\u00b9.2.3.4", 1, PROXY),
        ("," * 10_000, 1, PROXY),
    ],
)
def test_the_address_is_what_the_outermost_trusted_proxy_saw(hops: str | None, trusted: int, address: str) -> None:
    came = request() if hops is None else request(x_forwarded_for=hops)

    assert forwarded(came, trusted).address == address


def test_only_the_address_changes() -> None:
    came = request(host="localhost", x_forwarded_for="192.0.2.1", x_forwarded_host="app.example")

    found = forwarded(came, 1)

    assert (found.method, found.path, found.headers, found.secure) == (came.method, came.path, came.headers, came.secure)
    assert forwarded(came, 0) is came


def test_a_field_that_came_twice_is_one_list() -> None:
    headers = Headers([(b"X-Forwarded-For", b"6.6.6.6"), (b"x-forwarded-for", b"192.0.2.1")])

    assert forwarded(Request("GET", "/", b"", headers, None), 1).address == "192.0.2.1"
    assert forwarded(Request("GET", "/", b"", headers, None), 2).address == "6.6.6.6"
    assert forwarded(Request("GET", "/", b"", headers, None), 3).address is None


@pytest.mark.parametrize(
    ("headers", "trusted", "host"),
    [
        ({"host": "own", "x_forwarded_for": "192.0.2.1", "x_forwarded_host": "app.example"}, 0, "own"),
        ({"host": "own", "x_forwarded_for": "192.0.2.1", "x_forwarded_host": "app.example"}, 1, "app.example"),
        ({"host": "own", "x_forwarded_for": "192.0.2.1", "x_forwarded_host": "evil, app.example:8443"}, 1, "app.example:8443"),
        ({"host": "own", "x_forwarded_for": "192.0.2.1, 10.0.0.2", "x_forwarded_host": "app.example"}, 2, "app.example"),
        ({"host": "own", "x_forwarded_for": "192.0.2.1, 10.0.0.2", "x_forwarded_host": "app.example, inner"}, 2, "app.example"),
        ({"host": "own", "x_forwarded_for": "192.0.2.1, 10.0.0.2", "x_forwarded_host": "evil, app.example, inner"}, 2, "app.example"),
        ({"host": "own", "x_forwarded_for": "192.0.2.1"}, 1, "own"),
        ({"host": "own", "x_forwarded_host": "app.example"}, 1, "own"),
        ({"host": "own", "x_forwarded_for": "192.0.2.1", "x_forwarded_host": "app.example"}, 2, "own"),
        ({"host": "own", "x_forwarded_for": "unknown", "x_forwarded_host": "app.example"}, 1, "own"),
        ({}, 1, ""),
    ],
)
def test_the_host_is_what_the_outermost_trusted_proxy_was_asked_for(headers: dict[str, str], trusted: int, host: str) -> None:
    assert requested_host(request(**headers), trusted) == host


@pytest.mark.parametrize("value", [-1, 1.0, True, None, "1"])
def test_proxies_are_counted(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"Config\.trusted_proxies is .*; it must be an integer of at least 0\."):
        Config(trusted_proxies=value)


@pytest.mark.parametrize(("trusted", "address"), [(0, "test"), (1, "192.0.2.1"), (2, "test")])
async def test_handlers_see_the_address_of_the_client(trusted: int, address: str, autojump_clock: trio.testing.MockClock) -> None:
    seen: list[str | None] = []

    class Looks:
        @on_connection
        def joined(self, socket: Socket) -> None:
            seen.append(socket.handshake.address)

    def allow_request(request: Request) -> bool:
        seen.append(request.address)
        return True

    config = Config(trusted_proxies=trusted, allow_request=allow_request)
    async with (
        open_test_server(RoutingTable(Route("/", Looks())), config) as server,
        server.strict_client(headers={"X-Forwarded-For": "192.0.2.1"}) as client,
    ):
        await client.disconnect()
    assert seen == [address, address]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("trusted", [0, 1])
async def test_a_page_of_the_forwarded_host(transport: str, trusted: int, autojump_clock: trio.testing.MockClock) -> None:
    headers = {"Origin": "https://app.example", "X-Forwarded-For": "192.0.2.1", "X-Forwarded-Host": "app.example"}
    async with open_test_server(engine_server(trusted_proxies=trusted)) as server:
        answer = await handshake(server, transport, headers=headers)
        if trusted:
            assert isinstance(answer, RawWebSocket) or answer.status == 200
            without = await handshake(server, transport, headers=headers | {"Origin": "http://localhost.evil.example"})
            assert isinstance(without, HttpResponse)
            assert without.status == 403
        else:
            assert isinstance(answer, HttpResponse)
            assert answer.status == 403
