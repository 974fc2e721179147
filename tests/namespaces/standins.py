"""Connected sockets without connections: real ones down to their outboxes, and nothing below."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from tests.namespaces.serving import Handler
from trio_sio import Config, Server
from trio_sio.concurrency.cleanup import Cleanups
from trio_sio.concurrency.outbox import Outbox
from trio_sio.engine.flusher import Flusher
from trio_sio.engine.inbox import Inbox
from trio_sio.errors import ConnectionFault, DisconnectReason, outcome_of
from trio_sio.namespaces.adapter import Adapter, InMemoryAdapter
from trio_sio.namespaces.core import SocketCore
from trio_sio.namespaces.handshake import Handshake
from trio_sio.namespaces.namespace import Namespace
from trio_sio.namespaces.socket import Socket
from trio_sio.protocol.frames import EncodedPacket
from trio_sio.protocol.http import Headers

if TYPE_CHECKING:
    from trio_sio.namespaces.client import Client

__all__ = ["Standins"]


class Standins:
    """A namespace with ``count`` connected sockets that take nothing out of their outboxes.

    Attributes:
      namespace: The namespace.
      sockets: The sockets.
      ended: Of each connection that was ended: its number, the reason, and how many packets the others had by then.
    """

    def __init__(self, count: int, config: Config | None = None, adapter: Callable[[Namespace], Adapter] | None = None) -> None:
        self.config = config or Config()
        self.namespace = Namespace("/", Server(config=self.config), self.config, adapter)
        self.namespace.handler = Handler()
        self.ended: list[tuple[int, str, list[int]]] = []
        self.sockets = [self._connect(number) for number in range(count)]

    @property
    def adapter(self) -> InMemoryAdapter:
        assert isinstance(self.namespace.adapter, InMemoryAdapter)
        return self.namespace.adapter

    def received(self) -> list[int]:
        """How many packets each socket got so far, fillers not counted."""
        return [len(self.texts(number)) for number in range(len(self.sockets))]

    def texts(self, number: int) -> list[bytes]:
        """What one socket got so far."""
        return [packet.text for packet in self.sockets[number].outbox._queue if packet.size and packet.text]

    def fill(self, number: int) -> None:
        """Let the outbox of one socket take nothing more."""
        while self.sockets[number].outbox.offer(EncodedPacket(None)):
            pass

    def leave(self, number: int) -> None:
        """Disconnect one socket."""
        self.sockets[number]._core.end(DisconnectReason.TRANSPORT_CLOSE, orderly=False)

    def _connect(self, number: int) -> Socket:
        core = self.connecting(number)
        core.join()
        socket = core.socket
        socket.outbox.take(self.config.limits.outbox_bytes)  # its CONNECT
        return socket

    def connecting(self, number: int) -> SocketCore:
        """Return what is behind a socket that is not connected yet."""

        def end(fault: ConnectionFault) -> None:
            others = [count for other, count in enumerate(self.received()) if other != number]
            self.ended.append((number, str(outcome_of(fault).reason), others))

        limits = self.config.limits
        outbox: Outbox[EncodedPacket] = Outbox(limits.outbox_packets, limits.outbox_bytes)
        services = SimpleNamespace(flusher=Flusher(), cleanups=Cleanups(self.config.cleanup_timeout))
        connection: Any = SimpleNamespace(config=self.config, outbox=outbox, end=end, services=services)
        client = cast("Client", SimpleNamespace(connection=connection, inbox=Inbox(connection), joined=lambda: None))
        return SocketCore(client, self.namespace, Handshake({}, Headers(), {}, None, False), {})
