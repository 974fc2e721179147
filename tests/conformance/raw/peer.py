"""The client of the cases: requests, sessions and WebSockets at one door, every wait with a bound."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Any, Final

import pytest
import trio

from tests.conformance.raw.cases import Timing
from trio_sio.testing.raw import HttpResponse, RawHttp, RawWebSocket, UpgradeRefused, WebSocketClosed

# Not part of any case: how long a run waits before it fails.
BOUND: Final = 5.0

PING: Final = "2"
RECORD_SEPARATOR: Final = b"\x1e"

# How a server closes on purpose: a close frame without a status, or, where the host insists on one, with the normal one.
CLEAN_CODES: Final = (1005, 1000)


class RawDoor:
    """A running server, as seen from outside: a port, and the connections that a test opened to it."""

    def __init__(self, port: int, path: str, timing: Timing) -> None:
        self.port = port
        self.path = path
        self.timing = timing
        self._streams: list[trio.SocketStream] = []

    async def __aenter__(self) -> RawDoor:
        return self

    async def __aexit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None) -> None:
        for stream in self._streams:
            await trio.aclose_forcefully(stream)

    async def connect(self) -> trio.SocketStream:
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        self._streams.append(stream)
        return stream

    def target(self, query: str) -> str:
        return f"{self.path}/?{query}"

    async def request(self, method: str, query: str, body: str | None = None) -> HttpResponse:
        """Send one request on a connection of its own and return the response."""
        with trio.fail_after(BOUND):
            http = RawHttp(await self.connect())
            return await http.request(method, self.target(query), body=body)

    async def settle(self) -> None:
        """Return when the server has acted on what was sent before, on whatever connection.

        Three round trips on another connection: what was in the server's receive buffers before them has been seen and
        handled by then, because one event loop serves both.
        """
        http = RawHttp(await self.connect())
        for _ in range(3):
            with trio.fail_after(BOUND):
                assert (await http.request("GET", self.target("EIO=4&transport=none"))).status == 400

    async def open_polling(self) -> PollingSession:
        response = await self.request("GET", "EIO=4&transport=polling")
        assert response.status == 200
        assert response.body[:1] == b"0"
        return PollingSession(self, json.loads(response.body[1:])["sid"])

    async def open_websocket(self, query: str = "EIO=4&transport=websocket") -> RawWebSocket:
        """Return an open WebSocket that has received nothing yet."""
        with trio.fail_after(BOUND):
            return await RawWebSocket.open(await self.connect(), self.target(query))

    async def open_session(self) -> RawWebSocket:
        """Return an open WebSocket behind its open packet."""
        websocket = await self.open_websocket()
        opened = await self.receive(websocket)
        assert isinstance(opened, str)
        assert opened[:1] == "0"
        return websocket

    async def receive(self, websocket: RawWebSocket) -> str | bytes:
        """Return the next message that is no ping."""
        with trio.fail_after(BOUND):
            while (message := await websocket.receive()) == PING:
                if self.timing.answer_pings:
                    await websocket.send("3")
        return message

    async def wait_closed(self, websocket: RawWebSocket) -> None:
        """Assert that nothing but pings arrives before the server closes with a close frame."""
        with pytest.raises(WebSocketClosed) as closed:
            await self.receive(websocket)
        assert closed.value.code in CLEAN_CODES

    async def refusal(self, query: str) -> HttpResponse:
        """Return with what the server refuses a WebSocket."""
        with pytest.raises(UpgradeRefused) as refused:
            await self.open_websocket(query)
        return refused.value.response

    def open_packet(self, sid: str, upgrades: list[str]) -> str:
        """Return the open packet that the server has to send, byte for byte."""
        handshake: dict[str, Any] = {
            "sid": sid,
            "upgrades": upgrades,
            "pingInterval": round(self.timing.ping_interval * 1000),
            "pingTimeout": round(self.timing.ping_timeout * 1000),
            "maxPayload": 1_000_000,
        }
        return "0" + json.dumps(handshake, separators=(",", ":"))


class PollingSession:
    """A session with the polling transport; every request goes over a connection of its own."""

    def __init__(self, door: RawDoor, sid: str) -> None:
        self.door = door
        self.sid = sid

    @property
    def query(self) -> str:
        return f"EIO=4&transport=polling&sid={self.sid}"

    async def get(self) -> HttpResponse:
        """Poll once."""
        return await self.door.request("GET", self.query)

    async def post(self, payload: str) -> HttpResponse:
        return await self.door.request("POST", self.query, payload)

    async def send(self, payload: str) -> None:
        """Post a payload that the server has to take."""
        response = await self.post(payload)
        assert (response.status, response.body) == (200, b"ok")

    async def poll(self) -> bytes:
        """Return the next payload, without pings."""
        while True:
            response = await self.get()
            assert response.status == 200
            records = response.body.split(RECORD_SEPARATOR)
            others = [record for record in records if record != PING.encode()]
            if others != records and self.door.timing.answer_pings:
                await self.send("3")
            if others:
                return RECORD_SEPARATOR.join(others)

    async def start_poll(self) -> RawHttp:
        """Send a poll that the server holds; return its connection, to receive the response from."""
        http = RawHttp(await self.door.connect())
        await http.send("GET", self.door.target(self.query))
        await self.door.settle()
        return http

    async def upgrade(self) -> RawWebSocket:
        """Move the session to a WebSocket and return that."""
        websocket = await self.probe()
        await websocket.send("5")
        return websocket

    async def probe(self) -> RawWebSocket:
        """Open a WebSocket for this session and exchange the probe on it."""
        websocket = await self.door.open_websocket(f"EIO=4&transport=websocket&sid={self.sid}")
        await websocket.send("2probe")
        assert await self.door.receive(websocket) == "3probe"
        return websocket


def assert_error(response: HttpResponse, code: int, message: str) -> None:
    """Assert that ``response`` is the Engine.IO error ``code``, in the words of the official server."""
    assert response.status == 400
    assert response.body == f'{{"code":{code},"message":"{message}"}}'.encode()


def assert_unknown(response: HttpResponse) -> None:
    """Assert that the session does not exist (any more)."""
    assert_error(response, 1, "Session ID unknown")
