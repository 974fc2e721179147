"""The core of a socket: its life, from the client's CONNECT to the last disconnection hook.

Theory of operation
===================

A `Socket` is what applications hold. Behind it is its core, which is what the connection, routing and the parts hold:

* the core itself: how far the socket has come (states.py), and its end;
* `SocketTask`: the task that it has, if anything is to be done, and what runs beside that in its name;
* `SocketRooms`: where it is, and as which session;
* `Dispatcher`: the events that wait, and the loop that handles them one at a time;
* `Waiters`: who waits for acknowledgements, or in `Socket.once`;
* `SocketHandler`: what routing does with it; and `Listeners`, if the application registered something on it alone.

This is its life:

1. *Connecting*: the handler decides (connection middleware). Its decision is the call of `join`, which registers the
   socket and sends CONNECT; what runs after that is the connection hook. What is emitted before CONNECT is held back
   until it is out: see sending.py.
2. *Dispatching*: events are handled in the order of arrival. Acknowledgements do not come this way, and who waits in
   `Socket.once` hears an event before it does: the reader serves them at once, so a handler may wait for them.
3. *The end*, by `end`, synchronously, from anywhere. The socket leaves its rooms there and then, and its task comes to the
   end: at once, or, where that is orderly, behind the events that came before it.
4. *The hooks*, once, if and only if `join` was called.

What ends is gone by counting references: the core lets go of whatever may hold it as the very last thing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import trio

from ..concurrency.waiters import Waiter, Waiters
from ..errors import ConnectionRefused, Disconnected, DisconnectReason, EncodeError, SlowConsumer, without_frames
from ..log import get_logger
from .acks import ClientAnswer
from .dispatcher import Dispatcher
from .expiry import Expiry
from .failures import UNKNOWN_EVENT, quote
from .observed_listeners import make_listeners
from .rooms import SocketRooms
from .socket import Socket
from .states import CONNECTED, CONNECTING, DISCONNECTED, TRANSITIONS, Step
from .task import SocketTask

if TYPE_CHECKING:
    from ..concurrency.outbox import Outbox
    from ..concurrency.timers import Timers
    from ..config import Config
    from ..engine.connection import Connection
    from ..protocol.frames import EncodedPacket
    from ..protocol.socketio import Packet
    from .client import Client
    from .handler import SocketHandler
    from .handshake import Handshake
    from .listeners import Listeners
    from .namespace import Namespace

__all__ = ["SocketCore"]

logger = get_logger("trio_sio.namespaces")


class SocketCore:
    """What is behind a `Socket`.

    Args:
      client: The connection that carries it.
      namespace: Where it wants to be.
      handshake: How it connects.
      params: The named groups of the pattern that the namespace matched.

    Attributes:
      client: The connection that carries it.
      namespace: Where it is, or wants to be.
      outbox: Where what leaves is queued: the connection's.
      socket: What applications hold; until it is over, as the two hold each other.
      state: How far it has come.
      dispatcher: The events that wait, and what handles them.
      waiters: Who waits for acknowledgements and in `Socket.once`.
      handler: What routing does with it, until it is over.
      listeners: What the application has registered on it alone, if anything.
      rooms: Where it is, and as which session.
      task: What runs in its name.
      held: What was emitted before CONNECT is out, if anything: see sending.py.
      expiry: When its time is over, if it is limited (`Socket.expires_at`).
      reason: Why it has ended; empty before that.
    """

    __slots__ = (
        "client",
        "dispatcher",
        "expiry",
        "handler",
        "held",
        "listeners",
        "namespace",
        "outbox",
        "reason",
        "rooms",
        "socket",
        "state",
        "task",
        "waiters",
    )

    def __init__(self, client: Client, namespace: Namespace, handshake: Handshake, params: Mapping[str, str]) -> None:
        self.client = client
        self.namespace = namespace
        self.outbox: Outbox[EncodedPacket] = client.connection.outbox
        self.state = CONNECTING
        self.dispatcher = Dispatcher(client.inbox, client.connection.services.flusher)
        self.waiters: Waiters[Waiter, Sequence[object]] = Waiters(client.inbox)
        self.listeners: Listeners | None = None
        self.rooms = SocketRooms(namespace)
        self.task = SocketTask(self, client.connection)
        self.expiry: Expiry | None = None
        self.reason = ""
        self.held: list[EncodedPacket] | None = None
        self.socket = Socket(self, handshake, params)
        assert namespace.handler is not None  # otherwise nobody can ask for it
        self.handler: SocketHandler = namespace.handler.open(self)
        if namespace.instrument is not None:
            self.listeners = make_listeners(self, self.namespace.instrument)
        namespace.count(sockets=1)
        namespace.arriving.add(self.socket)

    @property
    def name(self) -> str:
        """How the log calls it."""
        return f"socket {self.socket.id} in namespace {quote(self.namespace.name)}"

    @property
    def config(self) -> Config:
        """The server's configuration."""
        return self.namespace.config

    @property
    def connection(self) -> Connection:
        """What its client is connected by."""
        return self.client.connection

    @property
    def timers(self) -> Timers:
        """Those of its engine."""
        return self.client.connection.services.timers

    @property
    def is_connecting(self) -> bool:
        """Whether its client waits for CONNECT."""
        return self.state is CONNECTING

    @property
    def is_connected(self) -> bool:
        """Whether it takes part in its namespace."""
        return self.state is CONNECTED

    @property
    def has_joined(self) -> bool:
        """Whether it is connected, or was."""
        return self.state is CONNECTED or self.state is DISCONNECTED

    @property
    def is_over(self) -> bool:
        """Whether it has ended: what still runs in its name comes to an end, too."""
        return not TRANSITIONS[self.state]

    @property
    def nursery(self) -> trio.Nursery | None:
        """See `SocketTask.nursery`."""
        return self.task.nursery

    # What the client calls, in the name of the reader.

    def receive(self, packet: Packet) -> None:
        """Take an event."""
        if self.listeners is not None:
            listeners = self.listeners
            listeners.arrived(packet)
            if self.state is not CONNECTED:
                listeners.never_handled(packet)
                return
        if self.waiters.once and self._is_only_awaited(packet):
            return
        self.dispatcher.put(packet, self)

    def _is_only_awaited(self, packet: Packet) -> bool:
        """Let all who wait in `once` hear an event; tell whether nobody else wants it: then it need not wait for its turn."""
        event = packet.data[0]
        if not self.waiters.hear(event, packet.data[1:]):
            return False
        if self.handler.handles(event) or (self.listeners is not None and self.listeners.handles(event)):
            return False
        try:
            if packet.id is not None and self.namespace.config.error_acks:
                self.client.owe_answer()
                self.outbox.put(self.namespace.parser.encode_ack(self.namespace.name, packet.id, (UNKNOWN_EVENT,)))
        finally:
            if self.listeners is not None:
                self.listeners.only_awaited(packet)
        return True

    def disconnected_by_client(self) -> None:
        """Take a DISCONNECT."""
        self.client.leave(self, told=False)
        self.end(DisconnectReason.CLIENT_NAMESPACE_DISCONNECT, orderly=True)

    # How it ends.

    def disconnect(self, *, close: bool = False, reason: str | None = None) -> None:
        """See `Socket.disconnect`."""
        if close:
            self.client.disconnect_all(reason)
        else:
            self._disconnect(DisconnectReason.SERVER_NAMESPACE_DISCONNECT, ConnectionRefused(), note=reason)

    def expires_at(self, stamp: float | None) -> None:
        """Be disconnected at ``stamp``, in seconds since 1970, or now if that is over; ``None``: stay."""
        if self.expiry is not None:
            self.expiry.cancel()
            self.expiry = None
        if stamp is not None and not self.is_over:
            self.expiry = Expiry(stamp)
            self.expiry.start(self.timers, self._expire)

    def _expire(self) -> None:
        self._disconnect(DisconnectReason.TOKEN_EXPIRED, ConnectionRefused(DisconnectReason.TOKEN_EXPIRED))

    def _disconnect(self, reason: DisconnectReason, refusal: ConnectionRefused, *, note: str | None = None) -> None:
        if self.state is CONNECTED:
            self.outbox.put(self.namespace.parser.encode_disconnect(self.namespace.name))
            self.client.leave(self, told=True)
            self.end(reason, orderly=False, note=note)
        elif self.state is CONNECTING:
            self._refuse(refusal, reason=reason, note=note)

    def end(
        self,
        reason: DisconnectReason,
        *,
        orderly: bool,
        recoverable: bool = False,
        note: str | None = None,
        refusal: str | None = None,
    ) -> None:
        """Leave the namespace because of ``reason``; what comes second has no effect.

        Rooms and waiters are released here and now. Handlers are cancelled, or get ``cleanup_timeout`` for what arrived
        before an ``orderly`` end. After a ``recoverable`` one the session is kept, if there is one. ``note`` is for the log, and
        ``refusal``, what a client was told that is not let in, for an instrument.
        """
        if (ended := TRANSITIONS[self.state].get(Step.END)) is None:
            return
        rooms = self.rooms.all(self.socket)
        self.state = ended
        self.reason = reason
        namespace = self.namespace
        namespace.arriving.discard(self.socket)
        self._log_end(note)
        self.rooms.decided()
        self.rooms.leave_for_good(self.socket, rooms)
        if self.listeners is not None:
            namespace.taps.discard(self.listeners)
        if (instrument := namespace.instrument) is not None:
            # Before the namespace may be given up, to which it may have added callbacks.
            if ended is DISCONNECTED:
                instrument.socket_left(self.socket, str(reason))
            else:
                instrument.socket_refused(namespace.name, str(reason) if refusal is None else refusal, self.socket)
        # Who was the last lets the namespace give up its adapter, unless there is a session.
        namespace.count(sockets=-1)
        if (expiry := self.expiry) is not None:
            expiry.cancel()
        if (session := self.rooms.session) is not None:
            if ended is DISCONNECTED:
                session.expires_at = None if expiry is None else expiry.stamp
            held, timers = self.held or (), self.timers if recoverable else None
            try:
                self.rooms.hand_session_back(self.socket, held, has_joined=ended is DISCONNECTED, timers=timers)
            except Exception:
                logger.exception("The adapter failed to keep the session of %r, or to let it go.", self.socket)
        self.waiters.fail(ClientAnswer.WHY_NOT)
        self.outbox.dismiss(self)
        self.task.end(orderly=orderly and ended is DISCONNECTED)

    def withdraw(self) -> None:
        """Leave all rooms for good, and be nobody whom a broadcast reaches: the end is near, as the server drains."""
        if not self.rooms.has_left:
            self.rooms.leave_for_good(self.socket, self.rooms.all(self.socket))

    def _log_end(self, note: str | None) -> None:
        if note is None:
            logger.debug("Socket %s in namespace %.80r ended: %s", self.socket.id, self.namespace.name, self.reason)
        else:
            # Whoever gives a reason wants it to be read; it may quote the client.
            logger.info("Socket %s in namespace %.80r ended: %s (%.200r)", self.socket.id, self.namespace.name, self.reason, note)

    def _refuse(
        self,
        refusal: ConnectionRefused,
        *,
        reason: DisconnectReason = DisconnectReason.SERVER_NAMESPACE_DISCONNECT,
        note: str | None = None,
    ) -> None:
        if self.state is CONNECTING:
            try:
                packet = self.namespace.parser.encode_connect_error(self.namespace.name, refusal.message, refusal.data)
                self.outbox.require_fit(packet)
            except EncodeError:
                logger.exception("The data of a refusal cannot be sent, so %r is refused without it.", self.socket)
                packet = self.namespace.parser.encode_connect_error(self.namespace.name, refusal.message)
            self.outbox.put(packet)
            self.client.leave(self, told=False)
            self.end(reason, orderly=False, note=note, refusal=refusal.message)

    # What its task calls.

    async def connect(self) -> None:
        """Let the handler decide about its client; at the end it has joined, or was refused."""
        refusal = ConnectionRefused()
        self.dispatcher.begin()
        try:
            await self.rooms.open_session(self.socket)
            if (session := self.rooms.session) is not None and session.expires_at is not None:
                self.expiry = Expiry(session.expires_at)
            self.dispatcher.watch(self)
            if (instrument := self.namespace.instrument) is None:
                await self.handler.connect(self.join)
            else:
                with instrument.connecting(self.socket):
                    await self.handler.connect(self.join)
        except ConnectionRefused as error:
            refusal = without_frames(error)
        except Disconnected:
            # The middleware disconnected the socket itself and went on; the client knows already.
            refusal = ConnectionRefused()
        except Exception:
            what = "disconnected" if self.has_joined else "refused"
            logger.exception("Connecting %r failed, so its client is %s.", self.socket, what)
            refusal = ConnectionRefused("Internal server error")
        self._refuse(refusal)

    async def run_disconnection_hooks(self) -> None:
        """Let the handler run them."""
        reason = str(self.reason)
        if (instrument := self.namespace.instrument) is None:
            await self.handler.disconnect(reason)
        else:
            with instrument.disconnecting(self.socket, reason):
                await self.handler.disconnect(reason)

    def is_slow(self, event: str | None, seconds: float) -> None:
        """See `Watched.is_slow`."""
        if (instrument := self.namespace.instrument) is not None:
            instrument.handler_slow(self.socket, event, seconds)

    def over(self) -> None:
        """Forget what holds on to this, and what the application has made for it and may do so in turn; it is over now."""
        if self.has_joined and self.rooms.session is not None:
            self.rooms.session.settled.set()
        self.listeners = None
        del self.handler
        del self.socket
        self.client.over()

    # What its handler calls.

    def join(self) -> None:
        """Be connected: register the socket, and send CONNECT and what was held back.

        Raises:
          Disconnected: if it has ended meanwhile.
          Exception: if the adapter fails to let it be in the rooms that it brings; it is disconnected then.
        """
        if self.expiry is not None and self.state is CONNECTING:
            self.expiry.start(self.timers, self._expire)
        if (joined := TRANSITIONS[self.state].get(Step.JOIN)) is None:
            raise Disconnected("The socket went before it was connected.")
        socket, namespace = self.socket, self.namespace
        rooms = self.rooms.joined(socket)
        packets: Sequence[EncodedPacket] = self.held or ()
        payload = {"sid": socket.id}
        if (session := self.rooms.session) is not None:
            missed = self.rooms.connect_session(socket, session, self.client.connection)
            if socket.recovered:
                if missed is None:
                    self.client.connection.end(SlowConsumer("it missed too much while it was let in again"))
                    raise Disconnected("The socket went before it was connected.")
                packets = missed
            payload["pid"] = session.pid
        self.held = None
        self.state = joined
        namespace.arriving.discard(socket)
        self.dispatcher.joined()
        if not self.rooms.has_left:
            namespace.connected[socket.id] = socket
        self.rooms.decided()
        self.client.joined()
        self.outbox.put(namespace.parser.encode_connect(namespace.name, payload))
        for packet in packets:
            self.outbox.put(packet)
        if namespace.instrument is not None:
            namespace.instrument.socket_joined(socket)
        # Whoever is told of that may emit to them, or disconnect this socket.
        try:
            self.rooms.enter(socket, rooms)
        except Exception:
            self.disconnect()
            raise
        if self.state is not CONNECTED:
            raise Disconnected("The socket was disconnected while it joined its rooms.")

    # What runs in its name.

    def start_finisher(self, function: Callable[..., Awaitable[object]], *args: object) -> None:
        """Run ``function(*args)`` in the server's scope, so that this socket's end does not cancel it."""
        self.client.connection.services.finishers.start_soon(function, *args)

    async def run_finisher(self, function: Callable[[], Awaitable[object]]) -> None:
        """Likewise, and wait for it; see `Finishers.run`."""
        await self.client.connection.services.finishers.run(function)

    def own_listeners(self) -> Listeners:
        """Return the `listeners`, made if there are none."""
        if self.listeners is not None:
            return self.listeners
        listeners = make_listeners(self, self.namespace.instrument)
        if not self.task.is_finishing:
            self.listeners = listeners  # otherwise there is nothing more to hear
        return listeners

    # Answering.

    def answer_nowait(self, number: int, values: Sequence[object]) -> bool:
        """Send the acknowledgement ``number``; tell whether there was room for it."""
        namespace = self.namespace
        packet = namespace.parser.encode_ack(namespace.name, number, values, compress=True)
        if self.state is not CONNECTED:
            self.outbox.lose("gone")
            return True
        return self.outbox.offer(packet)

    async def answer(self, number: int, values: Sequence[object]) -> None:
        """Send the acknowledgement ``number``; waits only if the outbox is full."""
        if not self.answer_nowait(number, values):
            packet = self.namespace.parser.encode_ack(self.namespace.name, number, values, compress=True)
            await self.outbox.send(packet, self)
