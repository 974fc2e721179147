"""The other end of a client under test, below Engine.IO: it says what the test tells it to, and knows what is left open."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

import h11
import pytest
import trio
import trio.testing
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side
from websockets.utils import accept_key

from trio_sio.client.target import Target
from trio_sio.protocol.frames import binary_frame, text_frame

SID: Final = "the-session-id-12345"


def open_packet(**changes: Any) -> bytes:
    """Return an open packet; ``changes`` replace its fields."""
    said = {"sid": SID, "upgrades": [], "pingInterval": 25_000, "pingTimeout": 20_000, "maxPayload": 1_000_000}
    return b"0" + json.dumps(said | changes).encode()


class Request(NamedTuple):
    """One request of the client."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


class Connection:
    """One connection that the client has opened."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._http = h11.Connection(h11.SERVER)
        self._websocket = Protocol(Side.SERVER, max_size=None)

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        await self.stream.send_all(data)

    async def request(self) -> Request:
        """Return the client's next request.

        Raises:
          trio.EndOfChannel: if it closes the connection instead.
        """
        if self._http.our_state is h11.DONE:
            self._http.start_next_cycle()
        head: h11.Request | None = None
        body = b""
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._receive())
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage) or (event is h11.PAUSED and head is not None):
                break
            else:
                raise trio.EndOfChannel
        assert head is not None
        parts = urlsplit(head.target.decode())
        headers = {name.decode(): value.decode() for name, value in head.headers}
        return Request(
            head.method.decode(), parts.path, {name: values[-1] for name, values in parse_qs(parts.query).items()}, headers, body
        )

    async def respond(self, body: bytes = b"ok", *, status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> None:
        """Answer the request."""
        head = h11.Response(status_code=status, headers=[("Content-Length", str(len(body))), *headers])
        parts = [self._http.send(head), self._http.send(h11.Data(data=body)), self._http.send(h11.EndOfMessage())]
        await self.send(b"".join(part or b"" for part in parts))

    async def accept(self, request: Request, *, behind: bytes = b"", headers: Sequence[tuple[str, str]] = ()) -> None:
        """Answer a WebSocket handshake with 101; ``behind`` goes out with it."""
        fields = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", accept_key(request.headers["sec-websocket-key"])),
            *headers,
        ]
        head = "HTTP/1.1 101 Switching Protocols\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\n"
        await self.send(head.encode() + behind)

    async def send_message(self, message: str | bytes) -> None:
        """Send a WebSocket message."""
        await self.send(text_frame(message.encode()) if isinstance(message, str) else binary_frame(message))

    async def frame(self) -> Frame:
        """Return the client's next WebSocket frame.

        Raises:
          trio.EndOfChannel: if it closes the connection instead.
        """
        while not (events := self._websocket.events_received()):
            data = await self._receive()
            if not data:
                raise trio.EndOfChannel
            self._websocket.receive_data(data)
        first, *others = events
        self._websocket.events = others
        assert isinstance(first, Frame)
        return first

    async def message(self) -> str | bytes:
        """Return the client's next WebSocket message.

        Raises:
          trio.EndOfChannel: if it closes instead.
        """
        while True:
            frame = await self.frame()
            if frame.opcode is Opcode.CLOSE:
                raise trio.EndOfChannel
            if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
                return bytes(frame.data).decode() if frame.opcode is Opcode.TEXT else bytes(frame.data)

    async def wait_ended(self) -> None:
        """Return when the client has closed the connection."""
        while await self._receive():
            pass

    async def _receive(self) -> bytes:
        try:
            return bytes(await self.stream.receive_some(65_536))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""


class FakeServer:
    """Runs a script for every connection that the client opens.

    Args:
      nursery: Where the scripts run.
      script: The script. When the client closes the connection, or the script has come to its end, nothing more happens.
      wrap: Puts another stream around the client's end.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        script: Callable[[Connection], Awaitable[None]],
        wrap: Callable[[trio.abc.Stream], trio.abc.Stream] | None = None,
    ) -> None:
        self.streams: list[trio.abc.Stream] = []  # the client's ends
        self._nursery = nursery
        self._script = script
        self._wrap = wrap

    def __repr__(self) -> str:
        return "the fake server"

    async def connect_stream(self) -> trio.abc.Stream:
        """Open a connection and return the client's end."""
        await trio.lowlevel.checkpoint()
        ours, theirs = trio.testing.lockstep_stream_pair() if self._wrap is None else trio.testing.memory_stream_pair()
        self.streams.append(ours)
        self._nursery.start_soon(self._run, Connection(theirs))
        return ours if self._wrap is None else self._wrap(ours)

    async def _run(self, connection: Connection) -> None:
        try:
            await self._script(connection)
        except (trio.EndOfChannel, trio.BrokenResourceError):
            return


@asynccontextmanager
async def open_fake_server(
    script: Callable[[Connection], Awaitable[None]],
    wrap: Callable[[trio.abc.Stream], trio.abc.Stream] | None = None,
    **options: Any,
) -> AsyncIterator[Target]:
    """Yield a target that is served by ``script``. Leaving proves that the client has left no task and no connection.

    Args:
      script: See `FakeServer`.
      wrap: See `FakeServer`.
      options: See `Target`.
    """
    tasks = trio.lowlevel.current_statistics().tasks_living
    async with trio.open_nursery() as scripts:
        server = FakeServer(scripts, script, wrap)
        yield Target(server, **options)
        scripts.cancel_scope.cancel()
    for stream in server.streams:
        with pytest.raises(trio.ClosedResourceError), trio.fail_after(5):
            await stream.receive_some(1)
    assert trio.lowlevel.current_statistics().tasks_living == tasks
