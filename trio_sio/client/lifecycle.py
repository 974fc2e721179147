"""The life of a client's socket: joining its namespace, being there, coming back, leaving.

Theory of operation
===================

A socket is ``over``, ``joining``, ``connected`` or ``leaving``. It has one task, `run`, and each session that the manager
opens is a new chance for it:

1. *Joining*: the credentials are asked for, CONNECT goes out, and the answer makes the socket ``connected`` or ``over``.
   Events may come before the answer: those that were missed, when the server recovers the socket.
2. *Connected*: what was emitted leaves at once if it can. Otherwise it waits in the buffer, which `run` empties.
3. *Lost*: the session ended, and neither side wanted it. The socket is ``joining`` again, and what no session has taken
   stays in the buffer. What a session has taken is never sent twice.
4. *Leaving*: nothing new is accepted, DISCONNECT goes out behind what waits, and the socket is ``over``.
5. *Over*: by `disconnect`, by the server's DISCONNECT or CONNECT_ERROR, or because the manager gave up. `connect` begins anew.

What the wire brings is taken by `take`, synchronously, in the name of the manager's reader; handlers run one at a time in
a task of their own, so they may wait for acknowledgements and events.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import trio

from ..concurrency.groups import raise_rest, unwrap
from ..errors import ConnectFailed, ConnectionRefused, DecodeError, Disconnected, EncodeError
from ..log import get_logger
from ..protocol.socketio import Packet, PacketType
from .events import Event, Inbox, Received
from .handlers import Handlers
from .outgoing import Outgoing, SendBuffer
from .session import SessionClosed
from .states import Connected, Ended, Lost, State, States, Upgraded

if TYPE_CHECKING:
    from ..config import TransportName
    from .link import Link
    from .session import Session

__all__ = ["Auth", "SocketLifecycle", "Stage"]

logger = get_logger("trio_sio.client")

_NO_ANSWER: Final = "The connection was lost before the server answered."

Auth = Mapping[str, object] | Callable[[], Mapping[str, object] | Awaitable[Mapping[str, object] | None] | None]
"""Credentials, or a function (which may be async) that is asked for them each time they are needed."""


class Stage(enum.Enum):
    """How far a socket has come."""

    JOINING = "joining"
    CONNECTED = "connected"
    LEAVING = "leaving"
    OVER = "over"


class SocketLifecycle:
    """What `ClientSocket` is besides its public methods.

    Args:
      link: Whose sessions carry it.
      namespace: Where it wants to be.
      auth: Its credentials.
    """

    def __init__(self, link: Link, namespace: str, auth: Auth | None) -> None:
        self.namespace = namespace
        self.id = ""
        self.recovered = False
        self._link = link
        self._auth = auth
        self._stage = Stage.OVER
        self._session: Session | None = None  # which carries it, or is about to
        self._sessions = 0  # how many it has had
        self._asked = False  # whether that one has taken CONNECT
        self._entering = False  # whether a failure is raised by `connect` instead of being followed by another attempt
        self._joins = 0  # how often it was joined
        self._forgives = False  # whether `connect` survives the end of a session that was there before it
        self._joining = trio.CancelScope()
        self._changed = trio.lowlevel.ParkingLot()
        self._states = States()
        self._handlers = Handlers()
        self._inbox = Inbox(self._handlers.has, self._acknowledge_nowait, link.look_for_room)
        self._buffer = SendBuffer(self._require_open, link.look_for_room)
        self._awaited: dict[int, Outgoing] = {}  # by ack id
        self._pid: str | None = None
        self._offset: str | None = None

    @property
    def connected(self) -> bool:
        """Whether it takes part in its namespace right now."""
        return self._stage is Stage.CONNECTED

    # What the manager tells.

    @property
    def wants_session(self) -> bool:
        """Whether it needs one and has none."""
        return self._stage is Stage.JOINING and self._session is None

    @property
    def entering(self) -> bool:
        """Whether `connect` waits for the outcome of the very next attempt."""
        return self._entering

    def is_full(self, *, awaiting: bool) -> bool:
        """Tell whether reading should stop; ``awaiting``: whether somebody waits for what may be behind the events here."""
        return self._buffer.is_overrun or self._inbox.is_full(awaiting=awaiting)

    def upgraded(self, transport: TransportName) -> None:
        """Publish that the session has moved."""
        if self._stage is Stage.CONNECTED:
            self._states.publish(Upgraded(transport))

    def look(self) -> None:
        """Look whether there is a session that can be used."""
        self._changed.unpark_all()

    def tell(self, state: State) -> None:
        """Publish what the manager does, if this socket waits for it."""
        if self._stage is Stage.JOINING:
            self._states.publish(state)

    def lost(self, reason: str, detail: str, *, used: bool) -> None:
        """Learn that the session is gone; ``used``: it had carried a namespace."""
        session, self._session = self._session, None
        if session is None:
            return
        for item in self._awaited.values():
            if item.left and item.answer is not None:
                item.answer.fail(_NO_ANSWER)
        self._buffer.forget(session)
        if self._stage is Stage.LEAVING:
            self._end("io client disconnect")
        elif self._entering and self._forgives and used:
            # Such as one that the server closes behind its DISCONNECT: that says nothing about the next one.
            self._forgives = False
        elif self._entering:
            self._end(reason, ConnectFailed(f"The connection was lost before namespace {self.namespace!r} was joined: {detail}."))
        else:
            self._stage = Stage.JOINING
            self._states.publish(Lost(reason, detail))
        self._joining.cancel()
        self._wake()

    def give_up(self, reason: str, error: Exception | None) -> None:
        """Learn that there will be no further session."""
        if self._stage is Stage.JOINING:
            self._end(reason, error)

    # What the wire brings.

    def take(self, session: Session, packet: Packet) -> None:
        """Take a packet for this namespace.

        Raises:
          DecodeError: if it has no place here.
        """
        if session is not self._session:
            logger.debug("A packet for namespace %.80r is ignored, which is not joined: %.80r", self.namespace, packet)
        elif packet.type is PacketType.EVENT:
            self._take_event(packet)
        elif packet.type is PacketType.ACK:
            self._take_ack(packet)
        elif packet.type is PacketType.DISCONNECT:
            self._end("io server disconnect")
        elif self._stage is not Stage.JOINING:
            raise DecodeError(f"The server answered CONNECT for namespace {self.namespace!r:.80}, which was answered before.")
        elif packet.type is PacketType.CONNECT:
            self._take_connect(session, packet)
        else:
            self._take_refusal(packet)

    def _take_event(self, packet: Packet) -> None:
        name, *args = packet.data
        # The server that can recover this socket appends an offset, but not when it wants an acknowledgement.
        if self._pid is not None and packet.id is None and args and isinstance(args[-1], str):
            self._offset = args[-1]
        self._inbox.arrive(Received(Event(name, tuple(args)), packet.id, self._sessions, packet.memory))

    def _take_ack(self, packet: Packet) -> None:
        item = None if packet.id is None else self._awaited.get(packet.id)
        if item is None or item.answer is None:
            logger.debug("Nobody waits for acknowledgement %r in namespace %.80r (any more).", packet.id, self.namespace)
        else:
            item.answer.arrive(tuple(packet.data))

    def _take_connect(self, session: Session, packet: Packet) -> None:
        data = packet.data if isinstance(packet.data, dict) else {}
        sid, pid = data.get("sid"), data.get("pid")
        if not isinstance(sid, str) or not sid:
            raise DecodeError("The server's CONNECT contains no id for the socket; Socket.IO 3 and later send one.")
        self.id = sid
        self.recovered = isinstance(pid, str) and pid == self._pid
        if not self.recovered:
            self._pid, self._offset = (pid if isinstance(pid, str) else None), None
        self._stage = Stage.CONNECTED
        self._joins += 1
        self._entering = False
        self._link.used = True
        self._states.publish(Connected(sid, self.recovered, session.transport))
        self._wake()

    def _take_refusal(self, packet: Packet) -> None:
        match packet.data:
            case {"message": str(message)}:
                refusal = ConnectionRefused(message, packet.data.get("data"))
            case str(message):
                refusal = ConnectionRefused(message)
            case _:
                refusal = ConnectionRefused(data=packet.data)
        self._end("connect_error", refusal)

    # Its task.

    async def run(self) -> None:
        """Join whatever session there is, and send what waits; until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._dispatch)
            while True:
                session = await self._next_session()
                try:
                    await self._join(session)
                    await self._empty_buffer(session)
                except SessionClosed:
                    continue  # the manager learns it too, and tells

    async def _next_session(self) -> Session:
        while True:
            session = self._link.session_for(self.namespace)
            if self._stage is Stage.JOINING and session is not None:
                self._session, self._asked = session, False
                self._sessions += 1
                return session
            await self._changed.park()

    async def _join(self, session: Session) -> None:
        self._joining = scope = trio.CancelScope()
        if not self._entering:  # else `connect` has a deadline
            scope.deadline = trio.current_time() + self._link.connect_timeout
        with scope, self._link.awaiting():
            try:
                packet = await self._connect_packet()
                session.require_fit(packet)
            except Exception as error:  # whatever the application's function raises
                if not self._entering:
                    logger.exception("The credentials for namespace %.80r could not be had, so it is not joined again.", self.namespace)
                self._end("auth failed", error)
                return
            except BaseExceptionGroup as group:
                raise_rest(group, self._log_clean_up_of_auth)
            await session.send(packet)
            self._asked = True
            while self._stage is Stage.JOINING and self._session is session:
                await self._changed.park()
        if self._stage is Stage.JOINING and self._session is session:
            session.end("transport error", f"the server did not answer CONNECT for namespace {self.namespace!r}")

    async def _connect_packet(self) -> Any:
        credentials: Any = self._auth() if callable(self._auth) else self._auth
        if inspect.isawaitable(credentials):
            credentials = await credentials
        if self._pid is not None:
            # Without an offset nothing has come yet, and the server knows where that is.
            offset = {} if self._offset is None else {"offset": self._offset}
            credentials = {"pid": self._pid, **offset, **(credentials or {})}
        return self._link.parser.encode_connect(self.namespace, credentials)

    def _log_clean_up_of_auth(self, error: Exception) -> None:
        logger.error(
            "The function that has the credentials for namespace %.80r failed when it was cancelled.", self.namespace, exc_info=error
        )

    async def _empty_buffer(self, session: Session) -> None:
        buffer = self._buffer
        while self._session is session and self._stage in (Stage.CONNECTED, Stage.LEAVING):
            item = buffer.first
            if item is not None:
                if item.session in (None, session) and self._is_accepted(item, session):
                    await session.send(item.packet)
                    item.left = True
                    if self._session is not session and item.answer is not None:
                        item.answer.fail(_NO_ANSWER)
                buffer.remove(item)
            elif self._stage is Stage.CONNECTED:
                await buffer.news.park()
            else:
                await session.send(self._link.parser.encode_disconnect(self.namespace))
                self._end("io client disconnect")

    def _is_accepted(self, item: Outgoing, session: Session) -> bool:
        """Tell whether the server takes ``item``, which may have been emitted before there was one to say; log that it is dropped."""
        refusal: EncodeError | None = None
        try:
            session.require_fit(item.packet)
        except EncodeError as error:
            refusal = error
        if refusal is not None:
            logger.error("A packet in namespace %.80r is dropped: %s", self.namespace, refusal)
            if item.answer is not None:
                item.answer.fail(str(refusal), refusal)
        return refusal is None

    async def _dispatch(self) -> None:
        while True:
            received = await self._inbox.next_queued()
            name, args = received.event
            handlers = self._handlers.of(name, args)
            if not handlers:
                # They were removed while the event waited for them.
                self._inbox.keep(received)
                continue
            result: object = None
            failed = False
            for handler, arguments in handlers:
                try:
                    answer = await handler(*arguments)
                    result = answer if result is None else result
                except Exception as error:
                    failed = True
                    self._log_failure(name, error)
                except BaseExceptionGroup as group:
                    raise_rest(group, partial(self._log_failure, name))
            if received.id is not None and not (failed and result is None):
                await self._acknowledge(received, received.id, result if isinstance(result, tuple) else (result,))

    def _log_failure(self, name: str, error: Exception) -> None:
        if isinstance(unwrap(error), Disconnected) and self._stage in (Stage.LEAVING, Stage.OVER):
            logger.debug("A handler of event %.80r in namespace %.80r was left alone: %s", name, self.namespace, unwrap(error))
        else:
            logger.error("A handler of event %.80r in namespace %.80r failed.", name, self.namespace, exc_info=error)

    # Acknowledging, on the session that the event came through, by the socket that it came to, or not at all.

    def _session_of(self, received: Received) -> Session | None:
        return self._session if received.session == self._sessions else None

    async def _acknowledge(self, received: Received, number: int, values: Sequence[object]) -> None:
        try:
            packet = self._link.parser.encode_ack(self.namespace, number, values)
            if (session := self._session_of(received)) is not None:
                session.require_fit(packet)
                await self._buffer.put(Outgoing(packet, session))
        except EncodeError:
            logger.exception("What a handler of event %.80r returned cannot be sent, so there is no answer.", received.event.name)
        except Disconnected:
            logger.debug("Nobody is there any more to be told that event %.80r was handled.", received.event.name)

    def _acknowledge_nowait(self, received: Received) -> None:
        if received.id is not None and (session := self._session_of(received)) is not None:
            packet = self._link.parser.encode_ack(self.namespace, received.id, ())
            # Whatever the bounds say, as nobody can wait here: when there are too many, nothing more is read (`is_full`).
            self._buffer.force(Outgoing(packet, session))

    # How it ends.

    def abort(self) -> None:
        """Leave without waiting for anything; what has not left yet is forgotten."""
        session = self._session
        if session is not None and session.closed is None:
            if self._stage in (Stage.CONNECTED, Stage.LEAVING):
                session.say_last(self._link.parser.encode_disconnect(self.namespace))
            elif self._asked:
                self._link.abandon(self.namespace)
        self._end("io client disconnect")

    def _end(self, reason: str, error: Exception | None = None) -> None:
        if self._stage is Stage.OVER:
            return
        self._stage = Stage.OVER
        self._session = None
        self._entering = False
        self._states.publish(Ended(reason, error))
        gone = self._gone()
        for item in self._awaited.values():
            if item.answer is not None:
                item.answer.fail(str(gone), error)
        self._inbox.fail(str(gone), error)
        self._buffer.clear()
        self._joining.cancel()
        self._wake()

    def _gone(self) -> Disconnected:
        ended = self._states.current
        assert isinstance(ended, Ended)
        gone = Disconnected(f"The socket in namespace {self.namespace!r} is over ({ended.reason}); connect() joins again.")
        gone.__cause__ = ended.error
        return gone

    def _require_open(self) -> None:
        if self._stage is Stage.OVER:
            raise self._gone()
        if self._stage is Stage.LEAVING:
            raise Disconnected(f"The socket in namespace {self.namespace!r} is being disconnected, so nothing more is sent.")

    def _wake(self) -> None:
        self._changed.unpark_all()
        self._buffer.news.unpark_all()
