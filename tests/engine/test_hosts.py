"""By which names the server may be asked: what DNS rebinding does not get past."""

from __future__ import annotations

import logging

import pytest
import trio.testing

from trio_sio import Config, Server
from trio_sio.engine.hosts import HostPolicy
from trio_sio.protocol.http import Headers, Request
from trio_sio.testing import UpgradeRefused, open_test_server

HANDSHAKE = "/socket.io/?EIO=4&transport=polling"


def is_allowed(host: str | None, *allowed: str, trusted_proxies: int = 0, **headers: str) -> bool:
    fields = [] if host is None else [(b"host", host.encode("latin-1"))]
    fields += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    policy = HostPolicy(Config(allowed_hosts=allowed or None, trusted_proxies=trusted_proxies))
    return policy.allows(Request("GET", "/socket.io/", b"", Headers(fields)))


@pytest.mark.parametrize(
    ("host", "allowed", "passes"),
    [
        ("evil.example", (), True),
        (None, (), True),
        ("app.example", ("app.example",), True),
        ("app.example:3000", ("app.example",), True),
        ("APP.example", ("app.EXAMPLE",), True),
        ("app.example:3000", ("app.example:3000",), True),
        ("app.example:3001", ("app.example:3000",), False),
        ("app.example", ("app.example:3000",), False),
        ("app.example", ("app.example:443",), True),
        ("app.example:443", ("app.example:443",), True),
        ("app.example:3000", ("app.example:443",), False),
        ("localhost:3000", ("app.example", "localhost"), True),
        ("127.0.0.1:3000", ("localhost",), False),
        ("[::1]:3000", ("[::1]",), True),
        ("[::2]", ("[::1]",), False),
        ("evil.example", ("app.example",), False),
        ("sub.app.example", ("app.example",), False),
        ("app.example.evil.example", ("app.example",), False),
        ("app.example.", ("app.example",), False),
        ("app.example, evil.example", ("app.example",), False),
        ("user@app.example", ("app.example",), False),
        ("", ("app.example",), False),
        (None, ("app.example",), False),
    ],
)
async def test_a_server_may_be_asked_by_the_names_that_it_has(host: str | None, allowed: tuple[str, ...], passes: bool) -> None:
    assert is_allowed(host, *allowed) is passes


async def test_a_forwarded_host_counts_as_far_as_the_proxies_are_trusted() -> None:
    assert is_allowed("10.0.0.1:3000", "app.example", trusted_proxies=1, x_forwarded_for="192.0.2.1", x_forwarded_host="app.example")
    assert not is_allowed("10.0.0.1:3000", "app.example", x_forwarded_for="192.0.2.1", x_forwarded_host="app.example")
    assert not is_allowed("app.example", "app.example", trusted_proxies=1, x_forwarded_for="192.0.2.1", x_forwarded_host="evil.example")


async def test_a_stranger_is_told_nothing_on_either_transport(
    caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    # The page's own origin, as the browser sees it: without allowed_hosts it is let in.
    rebound = {"Host": "evil.example:3000", "Origin": "http://evil.example:3000"}
    config = Config(allowed_hosts=["localhost"])
    async with open_test_server(Server(config=config)) as server:
        async with await server.http() as http:
            for method in ("GET", "POST", "OPTIONS"):
                asked = {**rebound, "Access-Control-Request-Method": "POST"}
                answer = await http.request(method, HANDSHAKE, headers=asked)
                assert (answer.status, answer.body) == (403, b'{"code":4,"message":"Forbidden"}')
                assert "access-control-allow-origin" not in answer.headers
            opened = await http.request("GET", HANDSHAKE, headers={"Host": "localhost:3000", "Origin": "http://localhost:3000"})
            sid = opened.body.split(b'"')[3].decode()
            assert (await http.request("GET", f"{HANDSHAKE}&sid={sid}", headers=rebound)).status == 403
        with pytest.raises(UpgradeRefused, match="403"):
            await server.websocket(headers=rebound)
        assert server.server.engine.clients_count == 1
        assert server.server.statistics().refusals == {4: 5}
        server.cancel()
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [
        "Refused a request for the host 'evil.example:3000'. If that is a name of yours, add it to Config(allowed_hosts=[...])."
    ]
