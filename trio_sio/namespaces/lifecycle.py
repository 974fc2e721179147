"""The life of a socket, from the client's CONNECT to the last disconnection hook.

Theory of operation
===================

A socket is ``connecting``, then ``connected``, then ``disconnected``; it may skip the middle. It has one task, `run`,
whose nursery holds everything that runs in its name:

1. *Connecting*: the namespace's handler decides (connection middleware). Its decision is the call of `_join`, which
   registers the socket and sends CONNECT; what runs after that is the connection hook. What is emitted before CONNECT
   is held back until it is out.
2. *Dispatching*: events are handled one at a time in the order of arrival. Acknowledgements do not come this way, and who
   waits in `once` hears an event before it does: the reader serves them at once, so a handler may wait for them.
3. *The end*, by `end`, synchronously, from anywhere. The socket leaves its rooms there and then. An abrupt end cancels
   the nursery; an orderly one is put into the inbox behind what came before it and sets a deadline.
4. *The hooks*, once, shielded, within ``cleanup_timeout``, if and only if `_join` was called.

With `Config.connection_state_recovery` it also has a session, which may be that of an earlier socket and outlive this
one: see recovery.py. Rooms that connection middleware lets it join, or that the session brings, count from CONNECT on.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import trio

from ..concurrency.wakeup import Wakeup
from ..config import generate_id
from ..errors import ConnectionRefused, Disconnected, DisconnectReason, EncodeError, SlowConsumer, without_frames
from ..log import get_logger
from .failures import UNKNOWN_EVENT
from .slow_handlers import SLOW_HANDLER, SlowHandlerWatch, warn_about_disconnection

if TYPE_CHECKING:
    from ..concurrency.outbox import Outbox
    from ..protocol.frames import EncodedPacket
    from ..protocol.socketio import Packet
    from .acks import Answer, Waiter
    from .client import Client
    from .listeners import Listeners
    from .namespace import Namespace
    from .recovery import RecoveryStore
    from .session import SocketSession
    from .socket import Socket

__all__ = ["SocketLifecycle", "State"]

logger = get_logger("trio_sio.namespaces")

EVENTS_PER_TURN: Final = 16  # events of one socket that are handled before other tasks get a turn
HELD_PACKETS: Final = 64  # packets that connection middleware may emit before CONNECT is out


class State(enum.Enum):
    """How far a socket has come."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"


class SocketLifecycle:
    """What `Socket` is besides its public methods.

    Args:
      client: The connection that carries it.
      namespace: Where it wants to be.
    """

    __slots__ = (
        "__weakref__",
        "_answers",
        "_early_rooms",
        "_final_rooms",
        "_handling",
        "_handling_since",
        "_held",
        "_inbox",
        "_joined",
        "_listeners",
        "_nursery",
        "_once",
        "_queued_since",
        "_reason",
        "_routing",
        "_session",
        "_state",
        "_watch",
        "_work",
        "client",
        "id",
        "namespace",
        "outbox",
        "recovered",
    )

    def __init__(self, client: Client, namespace: Namespace) -> None:
        self.id = generate_id()
        self.client = client
        self.outbox: Outbox[EncodedPacket] = client.connection.outbox
        self.namespace = namespace
        self._state = State.CONNECTING
        self._reason = ""
        self._routing: Any = None  # what routing keeps per socket
        self._inbox: deque[Packet | None] = deque()  # None: the orderly end
        self._queued_since = 0.0  # since when the oldest event in the inbox waits for what runs now
        self._handling: Packet | None = None  # the event whose handler runs
        self._handling_since: float | None = None  # since when it connects, or a handler runs
        self._watch: SlowHandlerWatch | None = None
        self._work = Wakeup()
        self._nursery: trio.Nursery | None = None
        self._joined = False
        self._held: list[EncodedPacket] = []
        self._answers: dict[int, Waiter] | None = None
        self._once: dict[str, dict[Answer, None]] | None = None  # who waits, in order, by event
        self._early_rooms: set[str] | None = None  # those it will be in once it is connected
        self._final_rooms: frozenset[str] | None = None
        self._listeners: Listeners | None = None
        self._session: SocketSession | None = None  # whoever has it after this socket
        self.recovered = False
        namespace.count(sockets=1)

    @property
    def _this(self) -> Socket:
        return cast("Socket", self)  # this class is one half of Socket, and never stands alone

    @property
    def connected(self) -> bool:
        """Whether it takes part in its namespace: from CONNECT on, until either side leaves."""
        return self._state is State.CONNECTED

    @property
    def handling_since(self) -> float | None:
        """Since when a handler, or what runs while it connects, has run, in Trio's time; ``None`` if nothing does."""
        return self._handling_since

    @property
    def task_count(self) -> int:
        """How many tasks run in its name, besides its own."""
        return 0 if self._nursery is None else len(self._nursery.child_tasks)

    @property
    def rooms(self) -> frozenset[str]:
        """The rooms that it is in, the one named by its id among them; once it has left, those it was in."""
        if self._final_rooms is not None:
            return self._final_rooms
        return frozenset((self.id, *self._joined_rooms()))

    # What the client calls, in the name of the reader.

    def receive(self, packet: Packet) -> None:
        """Take an event."""
        if self._listeners is not None:
            self._listeners.any.fire(*packet.data)
            if self._state is not State.CONNECTED:
                return
        if self._once and self._only_awaited(packet):
            return
        if not self._inbox:
            self._queued_since = trio.current_time()
            if self._handling_since is not None and self._watch is None:
                self._watch = SlowHandlerWatch(self._this)
        self._inbox.append(packet)
        self.client.inbox.queued(packet.memory)
        self._work.wake()

    def _only_awaited(self, packet: Packet) -> bool:
        """Let all who wait in `once` hear an event; tell whether nobody else wants it: then it need not wait for its turn."""
        assert self._once is not None
        event = packet.data[0]
        waiters = self._once.pop(event, None)
        if waiters is None:
            return False
        for answer in waiters:
            answer.arrive(packet.data[1:])
        handler = self.namespace.handler
        assert handler is not None
        if handler.handles(event) or (self._listeners is not None and self._listeners.handles(event)):
            return False
        if packet.id is not None and self.namespace.config.error_acks:
            self.client.owe_answer()
            self.outbox.put(self.namespace.parser.encode_ack(self.namespace.name, packet.id, (UNKNOWN_EVENT,)))
        return True

    def answered(self, packet: Packet) -> bool:
        """Take an acknowledgement; tell whether anybody waits for it."""
        if self._answers is None or packet.id is None or (answer := self._answers.pop(packet.id, None)) is None:
            return False
        answer.arrive(packet.data)
        return True

    def expect_answer(self, number: int, waiter: Waiter) -> None:
        """Let ``waiter`` have the acknowledgement ``number``; `forget_answer` is to follow, whether it comes or not."""
        answers = self._answers = {} if self._answers is None else self._answers
        answers[number] = waiter
        self.client.awaiting(1)

    def forget_answer(self, number: int) -> None:
        """Expect the acknowledgement ``number`` no longer."""
        if self._answers is not None:
            self._answers.pop(number, None)
        self.client.awaiting(-1)

    def disconnected_by_client(self) -> None:
        """Take a DISCONNECT."""
        self.client.leave(self._this, told=False)
        self.end(DisconnectReason.CLIENT_NAMESPACE_DISCONNECT, orderly=True)

    # How it ends.

    def disconnect_nowait(self, *, close: bool = False, reason: str | None = None) -> None:
        """`Socket.disconnect`, for code that is not async."""
        if close:
            self.client.disconnect_all(reason)
        elif self._state is State.CONNECTED:
            self.outbox.put(self.namespace.parser.encode_disconnect(self.namespace.name))
            self.client.leave(self._this, told=True)
            self.end(DisconnectReason.SERVER_NAMESPACE_DISCONNECT, orderly=False, note=reason)
        elif self._state is State.CONNECTING:
            self._refuse(ConnectionRefused(), note=reason)

    def end(self, reason: DisconnectReason, *, orderly: bool, recoverable: bool = False, note: str | None = None) -> None:
        """Leave the namespace because of ``reason``; what comes second has no effect.

        Rooms and waiters are released here and now. Handlers are cancelled, or get ``cleanup_timeout`` for what arrived
        before an ``orderly`` end. After a ``recoverable`` one the session is kept, if there is one. ``note`` is for the log.
        """
        if self._state is State.DISCONNECTED:
            return
        rooms = self.rooms
        self._state = State.DISCONNECTED
        self._reason = reason
        namespace = self.namespace
        self._log_end(note)
        namespace.count(sockets=-1)
        self._leave_for_good(rooms)
        if self._session is not None:
            try:
                self._hand_session_back(self._session, recoverable=recoverable)
            except Exception:
                logger.exception("The adapter failed to keep the session of %r, or to let it go.", self)
        if self._listeners is not None:
            namespace.taps.discard(self._listeners)
        answers, self._answers = self._answers or {}, None
        for waiter in answers.values():
            waiter.fail()
        for waiting in (self._once or {}).values():
            for answer in waiting:
                answer.fail()
        self.outbox.dismiss(self)
        if self._nursery is None:
            return  # its task has not begun yet, or is past this
        if orderly and self._joined:
            self._inbox.append(None)
            self._work.wake()
            self._nursery.cancel_scope.deadline = trio.current_time() + namespace.config.cleanup_timeout
        else:
            self._nursery.cancel_scope.cancel()

    def withdraw(self) -> None:
        """Leave all rooms for good, and be nobody whom a broadcast reaches: the end is near, as the server drains."""
        self._leave_for_good(self.rooms)

    def _leave_for_good(self, rooms: frozenset[str]) -> None:
        if self._final_rooms is not None:
            return
        self._final_rooms = rooms
        self.namespace.connected.pop(self.id, None)
        try:
            self.namespace.adapter.remove(self._this, rooms)
        except Exception:
            # Adapters may be the application's: what still runs for this client, and its other namespaces, end all the same.
            logger.exception("The adapter failed to let %r go.", self)

    def _log_end(self, note: str | None) -> None:
        if note is None:
            logger.debug("Socket %s in namespace %.80r ended: %s", self.id, self.namespace.name, self._reason)
        else:
            # Whoever gives a reason wants it to be read; it may quote the client.
            logger.info("Socket %s in namespace %.80r ended: %s (%.200r)", self.id, self.namespace.name, self._reason, note)

    def has_lost_packet(self) -> None:
        """Learn that a packet for it was dropped, so that its client cannot come back as if nothing had happened."""
        if self._session is not None:
            self._session.is_whole = False

    def _refuse(self, refusal: ConnectionRefused, *, note: str | None = None) -> None:
        if self._state is State.CONNECTING:
            try:
                packet = self.namespace.parser.encode_connect_error(self.namespace.name, refusal.message, refusal.data)
                self.outbox.require_fit(packet)
            except EncodeError:
                logger.exception("The data of a refusal cannot be sent, so %r is refused without it.", self)
                packet = self.namespace.parser.encode_connect_error(self.namespace.name, refusal.message)
            self.outbox.put(packet)
            self.client.leave(self._this, told=False)
            self.end(DisconnectReason.SERVER_NAMESPACE_DISCONNECT, orderly=False, note=note)

    # Its task.

    async def run(self) -> None:
        """Live: connect, dispatch, and run the disconnection hooks once all of that is over."""
        try:
            if self._state is State.CONNECTING:
                async with trio.open_nursery() as self._nursery:
                    await self._connect()
                    await self._dispatch()
                    self._nursery.cancel_scope.cancel()
        finally:
            self._nursery = None
            self._watch_no_more()
            # Only a task that was cancelled from outside, or failed because of a bug, is still connected here.
            self.end(DisconnectReason.SERVER_SHUTTING_DOWN, orderly=False)
            self._empty_inbox()
            if self._joined:
                cleanups = self.client.connection.services.cleanups
                try:
                    with trio.move_on_after(cleanups.timeout, shield=True) as scope, cleanups.watch(scope):
                        await self._run_disconnection_hooks()
                finally:
                    if self._session is not None:
                        self._session.settled.set()
                    self._let_go()
            else:
                self._let_go()

    def _let_go(self) -> None:
        """Forget what the application has made for this socket, and what may hold on to it in turn; it is over now."""
        self._routing = self._listeners = None
        self.client.over()

    async def _connect(self) -> None:
        handler = self.namespace.handler
        assert handler is not None
        refusal = ConnectionRefused()
        self._handling_since = self._queued_since = trio.current_time()
        try:
            if (recovery := self.namespace.adapter.recovery) is not None:
                await self._open_session(recovery)
            self._watch = SlowHandlerWatch(self._this)
            await handler.connect(self._this, self._join)
        except ConnectionRefused as error:
            refusal = without_frames(error)
        except Disconnected:
            # The middleware disconnected the socket itself and went on; the client knows already.
            refusal = ConnectionRefused()
        except Exception:
            logger.exception("Connecting %r failed, so its client is %s.", self, "disconnected" if self._joined else "refused")
            refusal = ConnectionRefused("Internal server error")
        self._refuse(refusal)

    def _join(self) -> None:
        if self._state is not State.CONNECTING:
            raise Disconnected("The socket went before it was connected.")
        rooms = self._joined_rooms()
        packets = self._held
        payload = {"sid": self.id}
        if self._session is not None:
            packets = self._connect_session(self._session, packets)
            payload["pid"] = self._session.pid
        self._held = []
        self._state = State.CONNECTED
        if self._handling_since is not None:
            # Its client does not wait any longer; events may, from now on, for the hooks.
            self._watch_no_more()
            self._handling_since = trio.current_time()
        self._joined = True
        if self._final_rooms is None:
            self.namespace.connected[self.id] = self._this
        self._early_rooms = None
        self.client.joined()
        self.outbox.put(self.namespace.parser.encode_connect(self.namespace.name, payload))
        for packet in packets:
            self.outbox.put(packet)
        if rooms:
            # Whoever is told of that may emit to them, or disconnect this socket.
            try:
                self._join_rooms(rooms)
            except Exception:
                self.disconnect_nowait()
                raise
            if not self.connected:
                raise Disconnected("The socket was disconnected while it joined its rooms.")

    async def _dispatch(self) -> None:
        """Handle events, one at a time, until the orderly end."""
        this, inbox, bounds, work = self._this, self._inbox, self.client.inbox, self._work
        handler = self.namespace.handler
        assert handler is not None
        handled = 0
        if inbox:
            # What came while the connection hook ran has not waited behind a handler.
            self._queued_since = trio.current_time()
        while True:
            while inbox:
                packet = inbox.popleft()
                if packet is None:
                    return
                bounds.taken(packet.memory)
                self._handling = packet
                # The time at which it was the next one, which is as good as reading the clock, and costs nothing.
                self._handling_since = self._queued_since
                if inbox and self._watch is None:
                    self._watch = SlowHandlerWatch(this)
                await (handler.receive(this, packet) if self._listeners is None else self._listeners.receive(packet))
                handled += 1
                if handled % EVENTS_PER_TURN == 0:
                    await trio.lowlevel.checkpoint()
                if inbox:
                    # What the next one has waited for until now is over.
                    self._queued_since = trio.current_time()
            self._handling = self._handling_since = None
            handled = 0
            await work.wait()

    @property
    def _is_waited_for(self) -> bool:
        """Whether something waits until what runs in its name has come back: its client for CONNECT, later on an event."""
        if self._state is State.CONNECTING:
            return True
        if not self._inbox or self._inbox[0] is None:
            return False
        return self._nursery is not None and not self._nursery.cancel_scope.cancel_called

    def _watch_no_more(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()

    async def _run_disconnection_hooks(self) -> None:
        handler = self.namespace.handler
        assert handler is not None
        timers, task = self.client.connection.services.timers, trio.lowlevel.current_task()
        timer = timers.call_after(SLOW_HANDLER, partial(warn_about_disconnection, self._this, task))
        try:
            await handler.disconnect(self._this, str(self._reason))
        except Exception:
            logger.exception("A disconnection hook of %r failed.", self)
        finally:
            timer.cancel()

    def _empty_inbox(self) -> None:
        while self._inbox:
            if (packet := self._inbox.popleft()) is not None:
                self.client.inbox.taken(packet.memory)

    # Sending, as far as it depends on how far the socket has come.

    async def _send(self, packet: EncodedPacket, *, recorded: bool = False) -> None:
        """Send ``packet``; ``recorded``: an event for the log, in which it has to take the next place."""
        if self._state is not State.CONNECTED:
            await trio.lowlevel.checkpoint_if_cancelled()
            self._send_early_or_late(packet, recorded=recorded)
            await trio.lowlevel.cancel_shielded_checkpoint()
        elif recorded and self._session is not None:
            await self._send_recorded(self._session, packet)
        else:
            await self.outbox.send(packet, self)

    def _send_early_or_late(self, packet: EncodedPacket, *, recorded: bool) -> None:
        """Hold back what is emitted before CONNECT is out; drop what is emitted to somebody who has gone for good."""
        self.outbox.require_fit(packet)
        session = self._session
        if self._state is State.DISCONNECTED:
            if not recorded or session is None or not session.outlives(self.client.connection):
                self.outbox.dropped += 1
                return
        elif len(self._held) < HELD_PACKETS:
            self._held.append(packet)
        else:
            raise Disconnected(f"More than {HELD_PACKETS} packets before CONNECT: emit them in the connection hook.")
        if recorded and session is not None:
            self._recovery.record(packet, session.private)

    async def _send_recorded(self, session: SocketSession, packet: EncodedPacket) -> None:
        self.outbox.require_fit(packet)
        recovery = self._recovery
        recovery.record(packet, session.private)
        try:
            await self.outbox.send(packet, self)
        except trio.Cancelled:
            recovery.retract(packet)
            raise

    async def _answer(self, number: int, values: Sequence[object]) -> None:
        """Send the acknowledgement ``number``; waits only if the outbox is full."""
        packet = self.namespace.parser.encode_ack(self.namespace.name, number, values, compress=True)
        if self._state is not State.CONNECTED:
            self.outbox.dropped += 1
        elif not self.outbox.offer(packet):
            await self.outbox.send(packet, self)

    async def _start_finisher(self, function: Callable[[], Awaitable[object]]) -> None:
        """Run ``function()`` in the server's scope, so that this socket's end does not cancel it, and wait for it."""
        await self.client.connection.services.finishers.run(function)

    # Rooms.

    def _joined_rooms(self) -> Collection[str]:
        """The rooms besides the private one; before CONNECT those that it is going to be in."""
        if self._state is State.CONNECTING:
            return self._early_rooms or ()
        return self.namespace.adapter.rooms_of(self._this)

    def _join_rooms(self, rooms: Collection[str]) -> None:
        if self._final_rooms is not None:
            return  # it has left for good
        if self._state is State.CONNECTING:
            self._early_rooms = {*(self._early_rooms or ()), *rooms}
            return
        # The adapter's callbacks may emit to these rooms, or leave them.
        if self._session is not None:
            self._recovery.join(self._session, rooms)
        try:
            self.namespace.adapter.add(self._this, rooms)
        except Exception:
            if self._session is not None:
                self._recovery.leave(self._session, rooms)
            raise

    def _leave_rooms(self, rooms: Collection[str]) -> None:
        if self._state is State.DISCONNECTED:
            return
        if self._early_rooms is not None:
            self._early_rooms.difference_update(rooms)
        if self._session is not None:
            self._recovery.leave(self._session, rooms)
        self.namespace.adapter.remove(self._this, rooms)

    # The session.

    @property
    def _recovery(self) -> RecoveryStore:
        recovery = self.namespace.adapter.recovery
        assert recovery is not None
        return recovery

    async def _open_session(self, recovery: RecoveryStore) -> None:
        """Take the session that the client asks for, or a new one."""
        this = self._this
        pid, offset = this.handshake.auth.get("pid"), this.handshake.auth.get("offset")
        session = await recovery.restore_session(pid, offset)
        if session is None:
            self._session = recovery.open_session(this, offset)
            return
        self._session = session
        self._early_rooms = set(session.memberships.rooms)
        self.recovered = True
        self.id, this.data = session.id, session.data

    def _connect_session(self, session: SocketSession, held: list[EncodedPacket]) -> list[EncodedPacket]:
        """Let ``session`` belong to this socket; return what follows CONNECT: what the client missed, or what was held back."""
        missed = self._recovery.connect_session(session, self.client.connection)
        if not self.recovered:
            return held
        if missed is None:
            self.client.connection.end(SlowConsumer("it missed too much while it was let in again"))
            raise Disconnected("The socket went before it was connected.")
        logger.debug("%r came back and gets %d events that it missed.", self, len(missed))
        return missed

    def _hand_session_back(self, session: SocketSession, *, recoverable: bool) -> None:
        session.data = self._this.data
        for packet in self._held:
            self._recovery.retract(packet)
        if self.recovered and not self._joined:
            self._recovery.return_session(session)
        elif self._joined and recoverable and session.is_whole:
            self._recovery.persist_session(session, self.client.connection.services.timers)
        else:
            self._recovery.drop_session(session)
