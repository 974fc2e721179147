"""What lies between client and server: name servers, certificates, proxies, redirects."""

from __future__ import annotations

import json
import ssl
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
import trustme

from tests.client.fake_server import Connection, open_fake_server, open_packet
from tests.client.misbehaving import DEADLINE, fails
from tests.client.sessions import open_session
from trio_sio.client.target import Target
from trio_sio.config import TransportName
from trio_sio.errors import ConnectFailed

pytestmark = pytest.mark.hostile("P35")


@pytest.mark.parametrize("transports", [("polling",), ("websocket",), ("polling", "websocket")])
async def test_a_name_server_that_hangs(transports: tuple[TransportName, ...], autojump_clock: trio.testing.MockClock) -> None:
    class HangingResolver(trio.abc.HostnameResolver):
        async def getaddrinfo(self, *_: object, **__: object) -> Any:
            await trio.sleep_forever()
            raise AssertionError("should never complete")

        async def getnameinfo(self, *_: object) -> tuple[str, str]:
            raise AssertionError("nobody asks")

    trio.socket.set_custom_hostname_resolver(HangingResolver())
    tasks = trio.lowlevel.current_statistics().tasks_living
    start = trio.current_time()
    with pytest.raises(ConnectFailed) as caught:
        async with open_session(Target("http://chat.example"), transports=transports, connect_timeout=DEADLINE):
            raise AssertionError("a session was opened")
    assert trio.current_time() - start == pytest.approx(DEADLINE)
    assert caught.value.retryable
    assert trio.lowlevel.current_statistics().tasks_living == tasks


async def test_a_connection_that_never_comes(autojump_clock: trio.testing.MockClock) -> None:
    class Unreachable:
        async def connect_stream(self) -> trio.abc.Stream:
            await trio.sleep_forever()
            raise AssertionError("should never complete")

    start = trio.current_time()
    with pytest.raises(ConnectFailed, match="Unreachable did not answer the polling handshake within 10 seconds"):
        async with open_session(Target(Unreachable()), connect_timeout=DEADLINE):
            raise AssertionError("a session was opened")
    assert trio.current_time() - start == pytest.approx(DEADLINE)


async def test_nobody_listens() -> None:
    with trio.socket.socket() as sock:
        await sock.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectFailed, match=r"No connection to http://127\.0\.0\.1") as caught:
            async with open_session(Target(f"http://127.0.0.1:{sock.getsockname()[1]}")):
                raise AssertionError("a session was opened")
    assert caught.value.retryable
    assert caught.value.status is None


@pytest.mark.parametrize("why", ["unknown authority", "another name"])
@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_a_certificate_that_is_not_trusted(transport: TransportName, why: str) -> None:
    authority = trustme.CA()
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost" if why == "unknown authority" else "another.example").configure_cert(theirs)
    ours = ssl.create_default_context()
    if why == "another name":
        authority.configure_trust(ours)
    connections = 0

    async def serve(stream: trio.SSLStream[trio.SocketStream]) -> None:
        nonlocal connections
        connections += 1
        with pytest.raises(trio.BrokenResourceError):
            await stream.do_handshake()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(trio.serve_ssl_over_tcp, serve, 0, theirs, host="127.0.0.1"))
            port = listeners[0].transport_listener.socket.getsockname()[1]
            with pytest.raises(ConnectFailed, match="is not trusted") as caught:
                async with open_session(Target(f"https://localhost:{port}", ssl_context=ours), transports=[transport, "polling"]):
                    raise AssertionError("a session was opened")
            nursery.cancel_scope.cancel()
    assert not caught.value.retryable
    assert connections == 1


async def refuse(connection: Connection, status: int, body: bytes = b"", headers: tuple[tuple[str, str], ...] = ()) -> None:
    await connection.request()
    await connection.respond(body, status=status, headers=headers)
    await connection.wait_ended()


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_a_redirect_is_named_and_not_followed(transport: TransportName, autojump_clock: trio.testing.MockClock) -> None:
    location = "https://elsewhere.example/socket.io/?EIO=4"
    failure = await fails(partial(refuse, status=302, headers=(("Location", location),)), transports=(transport,))
    assert (failure.status, failure.retryable) == (302, True)
    assert f"it redirects to '{location}'" in str(failure)


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_the_page_of_a_proxy(transport: TransportName, autojump_clock: trio.testing.MockClock) -> None:
    page = b"<html><h1>502 Bad Gateway</h1>" + b"x" * 10_000
    failure = await fails(partial(refuse, status=502, body=page), transports=(transport,))
    assert (failure.status, failure.retryable) == (502, True)
    assert "<h1>502 Bad Gateway</h1>" in str(failure)
    assert len(str(failure)) < 500


@pytest.mark.parametrize(
    ("status", "retryable"), [(400, False), (401, False), (403, False), (404, False), (408, True), (429, True), (503, True)]
)
@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_refusals_and_their_reasons(
    transport: TransportName, status: int, retryable: bool, autojump_clock: trio.testing.MockClock
) -> None:
    body = json.dumps({"code": 4, "message": "Not today"}).encode()
    failure = await fails(partial(refuse, status=status, body=body), transports=(transport,))
    assert (failure.status, failure.retryable) == (status, retryable)
    assert f"answered the {transport} handshake with {status}: Not today (code 4)." in str(failure)


@pytest.mark.parametrize("status", [400, 403, 429])
async def test_a_refusal_is_final_for_the_other_transport_too(status: int, autojump_clock: trio.testing.MockClock) -> None:
    asked: list[str] = []

    async def script(connection: Connection) -> None:
        asked.append((await connection.request()).query["transport"])
        await connection.respond(status=status)
        await connection.wait_ended()

    await fails(script, transports=("polling", "websocket"))
    assert asked == ["polling"]


@pytest.mark.parametrize("how", ["drops it", "answers 502", "says nothing", "breaks it"])
async def test_polling_takes_over_where_a_proxy_has_no_websockets(how: str, autojump_clock: trio.testing.MockClock) -> None:
    async def script(connection: Connection) -> None:
        request = await connection.request()
        if request.query["transport"] == "polling":
            await connection.respond(open_packet())
            await connection.request()
            await connection.respond(b"4hello")
        elif how == "answers 502":
            await connection.respond(b"<html>", status=502)
        elif how == "says nothing":
            await trio.sleep_forever()
        elif how == "breaks it":
            await connection.accept(request, behind=b"<html>502 Bad Gateway</html>")
        await connection.stream.aclose()

    start = trio.current_time()
    async with (
        open_fake_server(script) as target,
        open_session(target, transports=["websocket", "polling"], connect_timeout=DEADLINE) as session,
    ):
        assert session.transport == "polling"
        assert await session.receive() == "hello"
    assert trio.current_time() - start <= DEADLINE


async def test_nobody_listens_on_either_transport_and_that_is_said_once(autojump_clock: trio.testing.MockClock) -> None:
    class Nobody:
        async def connect_stream(self) -> trio.abc.Stream:
            raise OSError("nobody listens")

    with pytest.raises(ConnectFailed) as caught:
        async with open_session(Target(Nobody())):
            raise AssertionError("a session was opened")
    assert str(caught.value).count("nobody listens") == 1


async def test_two_failures_are_both_told(autojump_clock: trio.testing.MockClock) -> None:
    failure = await fails(partial(refuse, status=502), transports=("websocket", "polling"))
    assert "websocket handshake with 502" in str(failure)
    assert "polling handshake with 502" in str(failure)
