"""A server under attack, as its attacker sees it, and what its application saw."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal

import pytest
import trio

from tests.hostile.journal import Journal
from trio_sio import Config, Route, RoutingTable, Server, Socket, on_disconnection, on_message
from trio_sio.engine.states import TransportState
from trio_sio.testing.raw import HttpResponse, RawHttp, RawWebSocket, UpgradeRefused, WebSocketClosed

__all__ = [
    "BOUND",
    "CLEAN_CODES",
    "DOORS",
    "HTTP_DOORS",
    "NATIVE_DOORS",
    "POLLING",
    "RECORD_SEPARATOR",
    "TRANSPORTS",
    "WEBSOCKET",
    "Door",
    "PollingSession",
    "Session",
    "Victim",
    "WebSocketSession",
    "assert_refused",
    "listener_only",
    "native_only",
]

Door = Literal["native", "hypercorn", "asgi", "trio-websocket"]

# "asgi" is hypercorn, too, where something stands before the server in the application, so that it gets all requests.
DOORS: Final[tuple[Door, ...]] = ("native", "hypercorn", "asgi", "trio-websocket")
HTTP_DOORS: Final[tuple[Door, ...]] = ("native", "hypercorn", "asgi")
TRANSPORTS: Final[Mapping[Door, Sequence[str]]] = {
    door: ("websocket", "polling") if door in HTTP_DOORS else ("websocket",) for door in DOORS
}

NATIVE_DOORS: Final[tuple[Door, ...]] = ("native", "hypercorn")

native_only: Final = pytest.mark.parametrize("door", ["native", pytest.param("hypercorn", marks=pytest.mark.slow)])
"""For what a host answers before we see it, unless it lets our own listener; the catalogue says how (`asgi`, `trio_websocket`)."""

listener_only: Final = pytest.mark.parametrize("door", ["native"])
"""For requests to other paths, and what is no request: at hypercorn's ports these are hypercorn's."""

# How long a test waits before it fails. Nothing here lasts that long unless it is broken.
BOUND: Final = 5.0

RECORD_SEPARATOR: Final = b"\x1e"
POLLING: Final = "EIO=4&transport=polling"
WEBSOCKET: Final = "EIO=4&transport=websocket"

# A host may keep what it knows of an idle connection for a while, although that is closed; so none is left idle.
LAST: Final = {"Connection": "close"}

# How a server closes on purpose: without a status, or, where the host insists on one, with the normal one.
CLEAN_CODES: Final = (1005, 1000)

MESSAGES: Final = {
    0: "Transport unknown",
    1: "Session ID unknown",
    2: "Bad handshake method",
    3: "Bad request",
    4: "Forbidden",
    5: "Unsupported protocol version",
}


class Application:
    """Echoes for the bystander, and notes down what the attacker's sessions bring."""

    def __init__(self, victim: Victim, socket: Socket) -> None:
        self.victim = victim
        self.socket = socket

    @on_message("echo")
    async def echo(self, value: object) -> object:
        return value

    @on_message("note")
    async def note(self, value: object) -> None:
        await self.victim.noted.send(value)

    @on_disconnection
    async def gone(self, reason: str) -> None:
        self.victim.reasons[self.socket.id] = reason
        await self.victim.ended.send(None)


class Victim:
    """A running server at one door, and the connections that a test opened to it.

    Args:
      door: Where it is attacked.
      config: Of the server.
      routes: Besides the main namespace.
      journal: Where to expect the log lines of what these classes do.

    Attributes:
      door, journal: As given.
      server: The server itself.
      port: Its port.
      noted: Send side of what `notes` reads.
      ended: Tells `reason` to look again.
      reasons: Why sockets were disconnected, by their id.
    """

    def __init__(self, door: Door, config: Config, routes: Sequence[Route], journal: Journal) -> None:
        self.door = door
        self.journal = journal
        self.server = Server(RoutingTable(Route("/", partial(Application, self)), *routes), config=config)
        self.port = 0
        self.noted, self._notes = trio.open_memory_channel[object](1_000)
        self.ended, self._ends = trio.open_memory_channel[None](1_000)
        self.reasons: dict[str, str] = {}
        self._streams: list[trio.SocketStream] = []
        self._sessions: list[PollingSession] = []

    @property
    def is_native(self) -> bool:
        """Whether requests to the engine, and its WebSockets, are our own listener's."""
        return self.door in NATIVE_DOORS

    async def leave(self) -> None:
        """End every session and connection that the test has left open."""
        for session in self._sessions:
            connection = self.server.engine.sessions.by_id.get(session.sid)
            if connection is not None and connection.transport_state is not TransportState.WEBSOCKET:
                await session.post("1")
        for stream in self._streams:
            await trio.aclose_forcefully(stream)

    # What the application saw.

    async def note(self) -> object:
        """Return the argument of the next ``note`` event."""
        with trio.fail_after(BOUND):
            return await self._notes.receive()

    def no_note(self) -> None:
        """Assert that no further ``note`` event was handled so far."""
        with pytest.raises(trio.WouldBlock):
            self._notes.receive_nowait()

    async def reason(self, socket_id: str) -> str:
        """Return why the socket was disconnected, once it was."""
        with trio.fail_after(BOUND):
            while socket_id not in self.reasons:
                await self._ends.receive()
        return self.reasons[socket_id]

    # HTTP.

    async def connect(self) -> trio.SocketStream:
        """Open a TCP connection."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        self._streams.append(stream)
        return stream

    async def http(self) -> RawHttp:
        """Open a connection for HTTP requests."""
        return RawHttp(await self.connect())

    async def request(
        self,
        query: str,
        *,
        method: str = "GET",
        body: str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        path: str = "/socket.io/",
    ) -> HttpResponse:
        """Send one request on a connection of its own and return the response."""
        with trio.fail_after(BOUND):
            return await (await self.http()).request(method, f"{path}?{query}", headers=LAST | dict(headers or {}), body=body)

    async def say(self, data: bytes) -> bytes:
        """Send ``data`` on a connection of its own and return everything that the server says until it closes.

        It may close before all of ``data`` is out; what it said before that counts.
        """
        stream = await self.connect()
        answer = bytearray()
        with trio.fail_after(BOUND):
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(data)
            with contextlib.suppress(trio.BrokenResourceError):
                while received := await stream.receive_some(65_536):
                    answer += received
        return bytes(answer)

    async def refusal(self, query: str = WEBSOCKET, headers: Mapping[str, str] | None = None, path: str = "/socket.io/") -> HttpResponse:
        """Return with what the server refuses a WebSocket."""
        with pytest.raises(UpgradeRefused) as refused:
            await self.open_websocket(query, headers, path)
        return refused.value.response

    async def settle(self) -> None:
        """Return when the server has acted on what was sent before, on whatever connection.

        Three round trips on another connection, or on three: what was in the server's receive buffers before them has
        been seen and handled by then, because one event loop serves both.
        """
        if self.door not in HTTP_DOORS:
            for _ in range(3):
                assert (await self.refusal(path="/elsewhere")).status == 404
            return
        http = await self.http()
        for headers in ({}, {}, LAST):
            with trio.fail_after(BOUND):
                assert (await http.request("GET", "/elsewhere", headers=headers)).status == 404

    # Sessions.

    async def open_websocket(
        self, query: str = WEBSOCKET, headers: Mapping[str, str] | None = None, path: str = "/socket.io/"
    ) -> RawWebSocket:
        """Return an open WebSocket that has received nothing yet."""
        with trio.fail_after(BOUND):
            return await RawWebSocket.open(await self.connect(), f"{path}?{query}", headers=headers)

    async def join(self, transport: str) -> Session:
        """Return a session on ``transport`` that has joined the main namespace."""
        return await (self.websocket() if transport == "websocket" else self.polling())

    async def polling(self) -> PollingSession:
        """Return a polling session that has joined the main namespace."""
        response = await self.request(POLLING)
        assert response.status == 200, response
        session = PollingSession(self, json.loads(response.body[1:]))
        self._sessions.append(session)
        await session.send("40")
        session.socket_id = _socket_id((await session.poll()).decode())
        return session

    async def websocket(self) -> WebSocketSession:
        """Return a session on a WebSocket that has joined the main namespace."""
        websocket = await self.open_websocket()
        with trio.fail_after(BOUND):
            opened = json.loads(str(await websocket.receive())[1:])
            await websocket.send("40")
            return WebSocketSession(self, websocket, opened, _socket_id(await websocket.receive()))


def _socket_id(connected: str | bytes) -> str:
    assert isinstance(connected, str)
    assert connected.startswith("40{")
    socket_id: str = json.loads(connected[2:])["sid"]
    return socket_id


class PollingSession:
    """A session with the polling transport; every request goes over a connection of its own."""

    def __init__(self, victim: Victim, opened: dict[str, Any]) -> None:
        self.victim = victim
        self.opened = opened
        self.sid: str = opened["sid"]
        self.socket_id = ""

    @property
    def query(self) -> str:
        return f"{POLLING}&sid={self.sid}"

    async def get(self) -> HttpResponse:
        """Poll once."""
        return await self.victim.request(self.query)

    async def post(self, payload: str | bytes, headers: Mapping[str, str] | None = None) -> HttpResponse:
        """Post ``payload``, whatever becomes of it."""
        return await self.victim.request(self.query, method="POST", body=payload, headers=headers)

    async def send(self, payload: str | bytes) -> None:
        """Post a payload that the server has to take."""
        response = await self.post(payload)
        assert (response.status, response.body) == (200, b"ok")

    async def poll(self) -> bytes:
        """Return the next payload."""
        response = await self.get()
        assert response.status == 200
        return response.body

    async def fetch_goodbye(self) -> list[bytes]:
        """Poll until the server says that the session is over; return all packets, that one included."""
        packets: list[bytes] = []
        while packets[-1:] != [b"1"]:
            packets += (await self.poll()).split(RECORD_SEPARATOR)
        return packets

    async def start_poll(self) -> RawHttp:
        """Send a poll that the server holds; return its connection, to receive the response from."""
        http = await self.victim.http()
        await http.send("GET", f"/socket.io/?{self.query}", headers=LAST)
        await self.victim.settle()
        return http

    async def open_probe(self) -> RawWebSocket:
        """Open a WebSocket for this session, and say nothing on it."""
        return await self.victim.open_websocket(f"{WEBSOCKET}&sid={self.sid}")

    async def probe(self) -> RawWebSocket:
        """Open a WebSocket for this session and exchange the probe on it."""
        websocket = await self.open_probe()
        with trio.fail_after(BOUND):
            await websocket.send("2probe")
            assert await websocket.receive() == "3probe"
        return websocket

    async def assert_lives(self) -> None:
        """Assert that it takes and handles an event, and answers a poll."""
        await self.send('42["note","alive"]\x1e427["echo",1]')
        assert await self.victim.note() == "alive"
        assert await self.poll() == b"437[1]"

    async def assert_over(self, reason: str) -> None:
        """Assert that it ended because of ``reason``, and that its id is forgotten."""
        assert await self.victim.reason(self.socket_id) == reason
        assert_refused(await self.get(), 1)
        self.victim.journal.expect(f"INFO Refused GET .*: session id '{self.sid[:6]}'…")


class WebSocketSession:
    """A session on a WebSocket."""

    def __init__(self, victim: Victim, websocket: RawWebSocket, opened: dict[str, Any], socket_id: str) -> None:
        self.victim = victim
        self.websocket = websocket
        self.opened = opened
        self.sid: str = opened["sid"]
        self.socket_id = socket_id
        self.answers_pings = False

    async def send(self, *messages: str | bytes) -> None:
        """Send messages."""
        with trio.fail_after(BOUND):
            for message in messages:
                await self.websocket.send(message)

    async def receive(self) -> str | bytes:
        """Return the next message; with ``answers_pings`` the next that is no ping."""
        with trio.fail_after(BOUND):
            while (message := await self.websocket.receive()) == "2" and self.answers_pings:
                await self.websocket.send("3")
        return message

    async def closed(self) -> int:
        """Return the code with which the server closes; assert that it says nothing before."""
        with pytest.raises(WebSocketClosed) as closed:
            await self.receive()
        return closed.value.code

    async def assert_lives(self) -> None:
        """Assert that it takes and handles an event, and answers it."""
        await self.send('427["echo",1]')
        assert await self.receive() == "437[1]"

    async def assert_over(self, reason: str, *codes: int) -> None:
        """Assert that the server closes with one of ``codes`` (a clean close, unless given) because of ``reason``.

        Hang up in between, as clients do that were told what they did wrong.
        """
        assert await self.closed() in (codes or CLEAN_CODES)
        await trio.aclose_forcefully(self.websocket.stream)
        assert await self.victim.reason(self.socket_id) == reason


Session = WebSocketSession | PollingSession


def assert_refused(response: HttpResponse, code: int, status: int = 400) -> None:
    """Assert that ``response`` is the Engine.IO error ``code``, in the words of the official server."""
    assert (response.status, response.body) == (status, f'{{"code":{code},"message":"{MESSAGES[code]}"}}'.encode())
