"""A client of the native door that sees every byte."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import trio
import trio.testing

from tests.doors.fake_engine import FakeEngine, Http, WebSocket
from trio_sio.config import Config
from trio_sio.doors.native.http import NativeDoor, handle_connection
from trio_sio.doors.native.site import Site

__all__ = ["Client", "chunked", "connect", "get", "post"]


class Client:
    """The client's end of one connection, and what was said to it."""

    def __init__(
        self, stream: trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream], engine: FakeEngine
    ) -> None:
        self.stream = stream
        self.engine = engine
        self.buffer = b""

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            await self.stream.send_all(part)

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        """Return status, header fields and body of the next response."""
        while b"\r\n\r\n" not in self.buffer:
            await self._more()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        while len(self.buffer) < int(fields.get("content-length", 0)):
            await self._more()
        length = int(fields.get("content-length", 0))
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return int(status.split()[1]), fields, body

    async def rest(self) -> bytes:
        """Return everything until the server closes."""
        try:
            while data := await self.stream.receive_some():
                self.buffer += data
        except trio.BrokenResourceError:
            pass  # closed by force
        return self.buffer

    async def _more(self) -> None:
        data = await self.stream.receive_some()
        assert data, f"the server closed after {self.buffer!r}"
        self.buffer += data


@asynccontextmanager
async def connect(
    config: Config | None = None, http: Http | None = None, websocket: WebSocket | None = None, received: bytes = b""
) -> AsyncIterator[Client]:
    """Open one in-memory connection to a native door."""
    engine = FakeEngine(config or Config(), http, websocket)
    door = NativeDoor(engine.as_engine(), Site(None, None, "/socket.io"))
    ours, theirs = trio.testing.memory_stream_pair()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(handle_connection, door, theirs, None, address="192.0.2.1", secure=False, received=received))
        yield Client(ours, engine)
        await ours.aclose()  # whatever happened before, the server's side ends now, or this test never does


def post(body: bytes = b"hello", *fields: bytes) -> bytes:
    head = [b"POST /socket.io/?a=b HTTP/1.1", b"Host: h", b"Content-Length: %d" % len(body), *fields]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def get(*fields: bytes, target: bytes = b"/socket.io/?a=b", version: bytes = b"1.1") -> bytes:
    return b"\r\n".join([b"GET " + target + b" HTTP/" + version, b"Host: h", *fields]) + b"\r\n\r\n"


def chunked(*chunks: bytes) -> bytes:
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))
    return b"POST /socket.io/?a=b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + body
