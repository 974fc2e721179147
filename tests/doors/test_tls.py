"""TLS at our own listener: the same server, and the same clients. See test_tls_wire.py."""

from __future__ import annotations

import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
import trustme

from tests.conformance.app import make_server
from tests.conformance.official import MODES, play
from trio_sio import Config, Limits, Route, RoutingTable, Server, Socket, on_connection, on_disconnection, on_message
from trio_sio.testing import RawHttp, RawWebSocket, open_strict_client
from trio_sio.testing.strict import StrictSocket

BOUND = 10  # seconds; nothing here waits for that long unless it fails
BIG = "x" * 900_000


class Certificates:
    """A certificate for localhost, and who trusts it."""

    def __init__(self) -> None:
        self.authority = authority = trustme.CA()
        self.server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost", "127.0.0.1").configure_cert(self.server)
        self.client = ssl.create_default_context()
        authority.configure_trust(self.client)


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    return Certificates()


class App:
    """Echoes, tells everybody, floods, blocks on demand; notes how clients end."""

    def __init__(self) -> None:
        self.reasons: trio.MemorySendChannel[str]
        self.reasons, self.ended = trio.open_memory_channel[str](100)
        self.secure: list[bool] = []
        self.taken: list[int] = []
        self.unblocked = trio.Event()

    @on_connection
    async def joined(self, socket: Socket) -> None:
        self.secure.append(socket.handshake.secure)
        await socket.join("everybody")

    @on_message("echo")
    async def echo(self, value: object) -> object:
        return value

    @on_message("tell")
    async def tell(self, socket: Socket, value: object) -> None:
        await socket.namespace.to("everybody").emit("told", value)

    @on_message("flood")
    async def flood(self, socket: Socket, count: int) -> None:
        for number in range(count):
            await socket.emit("wave", number, "." * 100_000)

    @on_message("slow")
    async def slow(self, number: int) -> int:
        await self.unblocked.wait()
        self.taken.append(number)
        return number

    @on_disconnection
    def gone(self, reason: str) -> None:
        self.reasons.send_nowait(reason)


class Site:
    """A running server with TLS."""

    def __init__(self, server: Server, app: App, port: int, certificates: Certificates) -> None:
        self.server = server
        self.app = app
        self.port = port
        self._certificates = certificates

    async def connect_raw(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def connect(self) -> trio.SSLStream[trio.SocketStream]:
        stream = trio.SSLStream(await self.connect_raw(), self._certificates.client, server_hostname="localhost", https_compatible=True)
        await stream.do_handshake()
        return stream

    @asynccontextmanager
    async def client(self) -> AsyncIterator[StrictSocket]:
        async with open_strict_client(await self.connect()) as client:
            yield client


@asynccontextmanager
async def open_site(certificates: Certificates, config: Config | None = None) -> AsyncIterator[Site]:
    """Serve an `App`; leaving proves that serving ends soon once the server has drained."""
    app = App()
    server = Server(RoutingTable(Route("/", app)), config=config)
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery, server:
            (listener,) = await nursery.start(partial(server.serve, "127.0.0.1", 0, ssl_context=certificates.server))
            yield Site(server, app, listener.sockname[1], certificates)
            await server.drain()


async def test_websockets(certificates: Certificates) -> None:
    async with open_site(certificates) as site, site.client() as one, site.client() as other:
        assert site.app.secure == [True, True]
        assert await one.emit_with_ack("echo", {"a": [1, "ü"]}) == {"a": [1, "ü"]}
        await one.emit("tell", "hello")
        assert await one.once("told") == await other.once("told") == ("hello",)


async def test_binary_and_large_messages(certificates: Certificates) -> None:
    async with open_site(certificates) as site:
        stream = await site.connect()
        async with await RawWebSocket.open(stream, "/socket.io/?EIO=4&transport=websocket") as websocket:
            assert str(await websocket.receive()).startswith("0{")
            await websocket.send("40")
            assert str(await websocket.receive()).startswith("40{")
            await websocket.send('451-1["echo",{"_placeholder":true,"num":0}]')
            await websocket.send(BIG.encode())
            assert await websocket.receive() == '461-1[{"_placeholder":true,"num":0}]'
            assert await websocket.receive() == BIG.encode()
            await websocket.send(f'422["echo","{BIG}"]')
            assert await websocket.receive() == f'432["{BIG}"]'
            assert await websocket.close() == 1000
        assert await site.app.ended.receive() == "transport close"


async def test_polling_and_the_upgrade(certificates: Certificates) -> None:
    async with open_site(certificates) as site, RawHttp(await site.connect()) as http:
        opened = await http.request("GET", "/socket.io/?EIO=4&transport=polling")
        sid = json.loads(opened.body[1:])["sid"]
        target = f"/socket.io/?EIO=4&transport=polling&sid={sid}"

        async def say(body: str) -> None:
            assert (await http.request("POST", target, body=body)).body == b"ok"

        await say("40")
        assert (await http.request("GET", target)).body.startswith(b"40{")
        await say(f'421["echo","{BIG}"]')
        assert (await http.request("GET", target)).body.decode() == f'431["{BIG}"]'
        assert site.app.secure == [True]

        stream = await site.connect()
        async with await RawWebSocket.open(stream, f"/socket.io/?EIO=4&transport=websocket&sid={sid}") as websocket:
            await websocket.send("2probe")
            assert await websocket.receive() == "3probe"
            assert (await http.request("GET", target)).body == b"6"
            await websocket.send("5")
            await websocket.send('422["echo","up"]')
            assert await websocket.receive() == '432["up"]'


@pytest.mark.hostile("W28")
@pytest.mark.parametrize("how", ["end", "reset"])
async def test_a_truncated_connection_is_a_transport_close(certificates: Certificates, how: str) -> None:
    async with open_site(certificates) as site:
        stream = await site.connect()
        async with open_strict_client(stream) as client:
            await client.emit_with_ack("echo", 1)
            # Below TLS, so without its close_notify.
            if how == "reset":
                stream.transport_stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                await trio.aclose_forcefully(stream.transport_stream)
            else:
                await stream.transport_stream.send_eof()
            assert await site.app.ended.receive() == "transport close"


@pytest.mark.hostile("W28")
async def test_a_slow_hello_has_a_deadline_and_stands_in_nobodys_way(certificates: Certificates) -> None:
    async with open_site(certificates, Config(header_timeout=2)) as site, await site.connect_raw() as slow:
        await slow.send_all(b"\x16\x03\x01\x02\x00\x01")  # the first bytes of a hello
        async with site.client() as client:
            assert await client.emit_with_ack("echo", 1) == 1
            assert await slow.receive_some() == b""
            assert await client.emit_with_ack("echo", 2) == 2


async def test_draining_waits_for_nobodys_hello(certificates: Certificates) -> None:
    async with open_site(certificates, Config(header_timeout=1_000)) as site, await site.connect_raw() as silent:
        async with site.client() as client:  # which came later: so the silent one has been accepted
            assert await client.emit_with_ack("echo", 1) == 1
        await site.server.drain()
        assert await silent.receive_some() == b""


async def test_what_a_client_does_not_take_waits_and_arrives_in_order(certificates: Certificates) -> None:
    # Two bounds at work: `emit` waits for the outbox, which the writer empties piece by piece.
    config = Config(limits=Limits(outbox_bytes=300_000))
    async with open_site(certificates, config) as site, site.client() as client:
        await client.emit("flood", 50)
        assert [(await client.once("wave"))[0] for _ in range(50)] == list(range(50))


async def test_a_client_that_reads_nothing_is_a_slow_consumer(certificates: Certificates) -> None:
    config = Config(limits=Limits(outbox_bytes=1_000_000), close_timeout=0)
    async with open_site(certificates, config) as site:
        stream = await site.connect()
        websocket = await RawWebSocket.open(stream, "/socket.io/?EIO=4&transport=websocket")
        await websocket.send("40")
        async with site.client() as other:
            while not site.app.ended.statistics().current_buffer_used:
                await other.emit("tell", "." * 200_000)
                await other.once("told")
            assert await site.app.ended.receive() == "slow consumer"
        await trio.aclose_forcefully(stream)


async def test_reading_pauses_while_the_inbox_is_full(certificates: Certificates) -> None:
    async with open_site(certificates, Config(limits=Limits(inbox_events=4))) as site, site.client() as client:
        async with trio.open_nursery() as nursery:

            async def flood() -> None:
                for number in range(300):
                    await client.emit("slow", number, "." * 20_000)

            nursery.start_soon(flood)
            # More than `inbox_bytes` in all: the server would end the connection if it took them now.
            await trio.testing.wait_all_tasks_blocked(0.05)
            site.app.unblocked.set()
        assert await client.emit_with_ack("slow", 300) == 300
        assert site.app.taken == list(range(301))


async def test_draining_says_goodbye(certificates: Certificates) -> None:
    async with open_site(certificates) as site:
        stream = await site.connect()
        async with open_strict_client(stream) as client, RawHttp(await site.connect()) as http:
            opened = await http.request("GET", "/socket.io/?EIO=4&transport=polling")
            target = f"/socket.io/?EIO=4&transport=polling&sid={json.loads(opened.body[1:])['sid']}"
            await http.request("POST", target, body="40")
            assert (await http.request("GET", target)).body.startswith(b"40{")
            await client.emit("tell", BIG)
            await http.send("GET", target)
            assert (await http.receive()).body.decode() == f'42["told","{BIG}"]'
            async with trio.open_nursery() as nursery:
                nursery.start_soon(site.server.drain)
                assert (await client.closed()).close_code == 1001
                assert await client.once("told") == (BIG,)
                # On a connection of its own: one that is idle when draining begins is closed.
                async with RawHttp(await site.connect()) as late:
                    assert (await late.request("GET", target)).body.endswith(b"1")
        assert {await site.app.ended.receive(), await site.app.ended.receive()} == {"server shutting down"}


@pytest.mark.slow
@pytest.mark.needs("node", "socket.io-client")
@pytest.mark.parametrize("mode", MODES)
async def test_the_official_client_sees_no_difference(
    certificates: Certificates, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates.authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(tmp_path / "authority.pem"))
    server = make_server()
    async with server, trio.open_nursery() as nursery:
        reports = []
        for scheme, context in (("http", None), ("https", certificates.server)):
            (listener,) = await nursery.start(partial(server.serve, "127.0.0.1", 0, ssl_context=context))
            reports.append(await play(f"{scheme}://127.0.0.1:{listener.sockname[1]}", mode, "connecting", "messages"))
        await server.drain()
    plain, encrypted = reports
    for scenario in ("transport", "argument_counts", "texts", "values", "binary", "binary_from_server", "acks"):
        assert encrypted[scenario] == plain[scenario]
