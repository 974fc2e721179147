"""An echo server that speaks bare WebSocket: our doors, outbox and transport, without Engine.IO on top."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import trio

from trio_sio import Config, Limits, PerMessageDeflate
from trio_sio.concurrency.outbox import Outbox
from trio_sio.doors.native import NativeDoor, Site, open_listeners, serve_listeners
from trio_sio.doors.native.readiness import Readiness
from trio_sio.engine.door import HttpExchange, WebSocketUpgrade
from trio_sio.engine.services import Services
from trio_sio.engine.websocket import WebSocketTransport
from trio_sio.errors import ConnectionFault
from trio_sio.protocol.frames import EncodedPacket
from trio_sio.protocol.http import Response

if TYPE_CHECKING:
    from trio_sio.engine.engine import Engine

__all__ = ["WIRES", "serve_echo"]

# The two ways in which the native door moves bytes, see doors/native/wire.py; each gets a listener of its own.
WIRES: Final = ("SocketWire", "StreamWire")

_LARGEST_MESSAGE: Final = 16 * 1024 * 1024

# Autobahn's largest fragmented messages come in pieces of 64 bytes.
_FRAGMENTS: Final = _LARGEST_MESSAGE // 64

CONFIG: Final = Config(
    max_http_buffer_size=_LARGEST_MESSAGE,
    limits=Limits(ws_fragments=_FRAGMENTS, outbox_bytes=4 * _LARGEST_MESSAGE),
    # Some cases wait for the server's end; this is how long it may take its time.
    close_timeout=2,
    # Everything that the suite can negotiate.
    per_message_deflate=PerMessageDeflate(threshold=0, server_no_context_takeover=False, client_no_context_takeover=False),
)


class EchoEngine:
    """What the native door needs of an engine: every path is a WebSocket whose messages come back."""

    def __init__(self) -> None:
        self.config = CONFIG
        self.services = Services(CONFIG)
        self.draining = trio.Event()
        self.drained = trio.Event()

    def as_engine(self) -> Engine:
        """Return this object under the type that the door expects."""
        return cast("Engine", self)

    def owns(self, path: str) -> bool:
        """Tell whether ``path`` is ours: all are."""
        return True

    async def handle_http(self, exchange: HttpExchange) -> None:
        """Answer what is no WebSocket."""
        await exchange.respond(Response(426, b"This server only speaks WebSocket.\n", [(b"Upgrade", b"websocket")], close=True))

    async def open_websocket(self, upgrade: WebSocketUpgrade) -> None:
        """Send every message back until the client has closed."""
        pipe = await upgrade.accept()
        limits = self.config.limits
        outbox: Outbox[EncodedPacket] = Outbox(limits.outbox_packets, limits.outbox_bytes)
        transport = WebSocketTransport(self.services, "", pipe, outbox)
        outbox.notify = transport.notify
        async with trio.open_nursery() as nursery:
            await transport.run(nursery, Echo(outbox, transport), _ignore)
            nursery.cancel_scope.cancel()


class Echo:
    """Puts every message that arrives into the outbox (`trio_sio.engine.door.MessageSink`)."""

    def __init__(self, outbox: Outbox[EncodedPacket], transport: WebSocketTransport) -> None:
        self._outbox = outbox
        self._transport = transport

    def text(self, payload: bytes) -> None:
        """Send ``payload`` back as text."""
        self._send(EncodedPacket(payload, compress=True))

    def binary(self, payload: bytes) -> None:
        """Send ``payload`` back as binary."""
        self._send(EncodedPacket(None, [payload], compress=True))

    def _send(self, packet: EncodedPacket) -> None:
        if not self._outbox.offer(packet):
            self._transport.close(1013)


def _ignore(fault: ConnectionFault) -> None:
    """Breaking the rules is what the clients of this server are for."""


async def serve_echo(*, task_status: trio.TaskStatus[dict[str, int]] = trio.TASK_STATUS_IGNORED) -> None:
    """Serve until cancelled.

    Args:
      task_status: ``nursery.start`` returns the port of each of `WIRES`.
    """
    engine, readiness = EchoEngine(), Readiness()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.services.flusher.run)
        nursery.start_soon(readiness.run)
        ports = {}
        for wire in WIRES:
            listeners = await open_listeners("127.0.0.1", 0)
            door = NativeDoor(engine.as_engine(), Site(None, None, ""), readiness if wire == "SocketWire" else None)
            await nursery.start(serve_listeners, door, listeners)
            ports[wire] = int(listeners[0].sockname[1])
        task_status.started(ports)
