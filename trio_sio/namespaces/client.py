"""One connection as Socket.IO sees it: a decoder, and at most one socket per namespace (Node: ``Client``)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, Protocol

import trio

from ..engine.inbox import WHILE_AWAITED, Inbox
from ..errors import ConnectionFault, DecodeError, InvalidState, SlowConsumer, outcome_of
from ..log import get_logger
from ..protocol.socketio import Packet, PacketType
from .core import SocketCore
from .handshake import make_handshake
from .states import CONNECTED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..concurrency.timers import Timer
    from ..engine.connection import Connection
    from ..protocol.parsers import Parser
    from .namespace import Namespace
    from .socket_instrument import SocketInstrument

__all__ = ["Client"]

logger = get_logger("trio_sio.namespaces")

_EVENT: Final = PacketType.EVENT  # a member of an enumeration takes its time to look up, and this is asked per message

INVALID_NAMESPACE: Final = "Invalid namespace"  # Node's words

BAD_ACKS: Final = 1_000  # acknowledgements that nobody asked for, after which the client is not just late


class Entrance(Protocol):
    """Where clients may go; see `Namespaces`.

    Attributes:
      parser: How packets are written, in all of them.
      instrument: Is told what happens there, if there is one.
    """

    parser: Parser
    instrument: SocketInstrument[Any] | None

    def enter(self, name: str) -> tuple[Namespace, Mapping[str, str]] | None:
        """Return the namespace that a client asks for and the named groups of its pattern, or ``None``."""


class Client:
    """Receives the messages of one `Connection` and hands each packet to the socket that it is for.

    Everything happens synchronously, in the name of the connection's reader: acknowledgements and `once` waiters are
    served at once, events go to the queue of their socket.

    Args:
      connection: The connection.
      namespaces: Where clients may go.

    Attributes:
      inbox: Bounds what waits for handlers, whichever socket it is for.
    """

    __slots__ = (
        "_attachment_due",
        "_attachment_timer",
        "_bad_acks",
        "_decoder",
        "_left",
        "_living",
        "_namespaces",
        "_part",
        "_sockets",
        "_withdrawn",
        "connection",
        "inbox",
    )

    def __init__(self, connection: Connection, namespaces: Entrance) -> None:
        limits = connection.config.limits
        self.connection = connection
        self.inbox = Inbox(connection)
        self._namespaces = namespaces
        self._decoder = namespaces.parser.decoder(limits, connection.config.max_http_buffer_size)
        self._sockets: dict[str, SocketCore] = {}
        self._living = 0  # sockets whose task is not over: those that have left clean up
        self._left: dict[str, None] = {}  # namespaces that this side left, which the client may not know yet; oldest first
        self._part = 0  # how much memory that takes which has come of a packet whose attachments are missing
        self._withdrawn = False
        self._bad_acks = 0
        self._attachment_due = math.inf
        self._attachment_timer: Timer | None = None

    @property
    def resting(self) -> int:
        """How many of its sockets have no task."""
        return sum(socket.task.rests for socket in self._sockets.values())

    # What the connection calls.

    def text(self, payload: bytes) -> None:
        """Take one text message: a packet, or the beginning of one with attachments."""
        self._take(self._decoder.text(payload))

    def binary(self, payload: bytes) -> None:
        """Take one binary message: an attachment."""
        packet = self._decoder.binary(payload)
        self._attachment_due = math.inf
        if packet is not None:
            self.inbox.part_arrived(-self._part)
            self._part = 0
        self._take(packet)

    def _take(self, packet: Packet | None) -> None:
        if packet is None:
            self._expect_attachment()
        elif packet.type is not _EVENT:
            self._other(packet)
        elif (socket := self._sockets.get(packet.namespace)) is not None and socket.state is CONNECTED:
            socket.receive(packet)
        else:
            self._drop(packet)

    def withdraw(self) -> None:
        """Let every socket leave its rooms and its namespace's broadcasts, and those that are still to come not enter them."""
        self._withdrawn = True
        for socket in list(self._sockets.values()):
            socket.withdraw()

    def ended(self, fault: ConnectionFault) -> None:
        """End every socket; the connection is over."""
        outcome = outcome_of(fault)
        if self._attachment_timer is not None:
            self._attachment_timer.cancel()
        self.inbox.part_arrived(-self._part)
        self._part = 0
        sockets, self._sockets = list(self._sockets.values()), {}
        for socket in sockets:
            socket.end(outcome.reason, orderly=outcome.orderly, recoverable=outcome.recoverable)

    # What sockets call.

    def owe_answer(self) -> None:
        """Count one more packet that is put whatever the bounds of the outbox say, because the client has asked for it.

        Raises:
          SlowConsumer: if too many of them wait (`Outbox.owe`).
        """
        if not self.connection.outbox.owe():
            raise SlowConsumer("it asks and does not take the answers")

    def joined(self) -> None:
        """Learn that a socket is connected, so the connection is in use."""
        self.connection.established()

    def leave(self, socket: SocketCore, *, told: bool) -> None:
        """Forget ``socket``; ``told``: its client has been sent a DISCONNECT and may not have read it yet."""
        name = socket.namespace.name
        if self._sockets.get(name) is socket:
            del self._sockets[name]
            if told:
                self._left[name] = None
                if len(self._left) > self.connection.config.limits.namespaces_per_connection:
                    del self._left[next(iter(self._left))]

    def over(self) -> None:
        """Learn that the task of a socket is over, cleanup included."""
        self._living -= 1
        if self._living == self.connection.config.limits.namespaces_per_connection:
            self.inbox.hold(False)

    def disconnect_all(self, reason: str | None = None) -> None:
        """Disconnect from every namespace, then close the connection (Node: ``client._disconnect``); ``reason`` is for the log."""
        for socket in list(self._sockets.values()):
            socket.disconnect(reason=reason)
        self.connection.close(reason)

    # Packets.

    def _other(self, packet: Packet) -> None:
        kind = packet.type
        if kind is PacketType.CONNECT:
            self._connect(packet)
            return
        socket = self._sockets.get(packet.namespace)
        if kind is PacketType.CONNECT_ERROR:
            raise InvalidState("a client does not send CONNECT_ERROR")
        if socket is None or socket.state is not CONNECTED:
            self._drop(packet)
        elif kind is PacketType.DISCONNECT:
            socket.disconnected_by_client()
        elif not socket.waiters.answered(packet.id, packet.data):
            self._bad_acks += 1
            if self._bad_acks > BAD_ACKS:
                raise InvalidState("too many acknowledgements that nobody asked for")

    def _drop(self, packet: Packet) -> None:
        self._require_known(packet)
        self.connection.services.counters.crossed_packets += 1

    def _require_known(self, packet: Packet) -> None:
        """Refuse a packet for a namespace that is not joined, unless it may have crossed our DISCONNECT."""
        if packet.namespace not in self._left:
            raise InvalidState(f"{packet.type.name} for namespace {packet.namespace[:64]!r}, which is not joined")

    def _expect_attachment(self) -> None:
        header = self._decoder.pending
        assert header is not None
        socket = self._sockets.get(header.namespace)
        if socket is None or socket.state is not CONNECTED:
            self._require_known(header)
        arrived, self._part = header.memory - self._part, header.memory
        self.inbox.part_arrived(arrived)
        self._attachment_due = trio.current_time() + self.connection.config.attachment_stall_timeout
        if self._attachment_timer is None:
            self._watch_attachments()

    def _watch_attachments(self) -> None:
        """Look again when the attachment is due: one timer per connection, however many attachments come."""
        self._attachment_timer = None
        if self._attachment_due == math.inf:
            return
        timeout = self.connection.config.attachment_stall_timeout
        # It cannot come while nothing is read.
        left = timeout if self.inbox.paused else max(self._attachment_due, self.inbox.resumed + timeout) - trio.current_time()
        if left <= 0:
            self.connection.end(DecodeError("an announced attachment did not come within attachment_stall_timeout"))
        else:
            self._attachment_timer = self.connection.services.timers.call_after(left, self._watch_attachments)

    def _connect(self, packet: Packet) -> None:
        name = packet.namespace
        if name in self._sockets:
            raise InvalidState(f"a second CONNECT for namespace {name[:64]!r}")
        self.owe_answer()
        most = self.connection.config.limits.namespaces_per_connection
        if len(self._sockets) >= most:
            raise InvalidState("too many namespaces on one connection")
        if self._living >= WHILE_AWAITED * most:
            raise InvalidState("it leaves and joins namespaces faster than its sockets are cleaned up")
        # Only now: a namespace may be made for whoever enters.
        entered = self._namespaces.enter(name)
        if entered is None:
            self.connection.outbox.put(self._namespaces.parser.encode_connect_error(name, INVALID_NAMESPACE))
            if (instrument := self._namespaces.instrument) is not None:
                instrument.socket_refused(name, INVALID_NAMESPACE, None)
            return
        namespace, params = entered
        handshake = make_handshake(self.connection.request, self.connection.query, packet.data)
        self._left.pop(name, None)
        socket = self._sockets[name] = SocketCore(self, namespace, handshake, params)
        self._living += 1
        if self._living > most:
            self.inbox.hold(True)
        if self._withdrawn:
            socket.withdraw()
        socket.task.start()
