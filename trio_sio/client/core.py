"""The life of a client's socket: joining its namespace, being there, coming back, leaving.

Theory of operation
===================

A socket is ``over``, ``joining``, ``connected`` or ``leaving``. It has one task, `SocketCore.run`, and each session that the
manager opens is a new chance for it:

1. *Joining*: the credentials are asked for, CONNECT goes out, and the answer makes the socket ``connected`` or ``over``.
   Events may come before the answer: those that were missed, when the server recovers the socket.
2. *Connected*: the session takes what waits in the socket's outbox.
3. *Lost*: the session ended, and neither side wanted it. The socket is ``joining`` again, and what no session has taken
   stays in the outbox.
4. *Leaving*: nothing new is accepted, DISCONNECT goes out behind what waits, and the socket is ``over``.
5. *Over*: by `disconnect`, by the server's DISCONNECT or CONNECT_ERROR, or because the manager gave up. `connect` begins anew.

What the wire brings is taken by `take`, synchronously, in the name of the session's reader; handlers run one at a time in
a task of their own (`dispatch`), so they may wait for acknowledgements and events.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from ..concurrency.groups import raise_rest
from ..concurrency.waiters import Waiters
from ..errors import ConnectFailed, ConnectionRefused, DecodeError
from ..log import get_logger
from ..protocol.socketio import Packet, PacketType
from .events import Event, Inbox, Received
from .handlers import Handlers, dispatch
from .membership import Membership, Stage
from .sending import Question, Sender
from .session import CLOSED_HERE, Session
from .states import Connected, Ended, Lost, State, Upgraded

if TYPE_CHECKING:
    from ..config import TransportName
    from .connection import Connection

__all__ = ["Auth", "SocketCore"]

logger = get_logger("trio_sio.client")

Auth = Mapping[str, object] | Callable[[], Mapping[str, object] | Awaitable[Mapping[str, object] | None] | None]
"""Credentials, or a function (which may be async) that is asked for them each time they are needed."""


class SocketCore:
    """The life of one socket.

    Args:
      connection: Whose sessions carry it.
      namespace: Where it wants to be.
      auth: Its credentials.

    Attributes:
      membership: How far it has come.
      waiters: Who waits for acknowledgements, or in `ClientSocket.once`.
      sender: What it sends.
      handlers: Who hears events.
      inbox: The events that wait.
      entering: Whether `connect` waits for the outcome of the very next attempt.
    """

    def __init__(self, connection: Connection, namespace: str, auth: Auth | None) -> None:
        self.membership = Membership(connection, namespace)
        self.waiters: Waiters[Question, Received] = Waiters(connection)
        self.sender = Sender(self.membership, self.waiters)
        self.handlers = Handlers()
        self.inbox = Inbox(self.handlers.has, self.waiters, self.sender.acknowledge_nowait, connection.look_for_room)
        self.entering = False
        self._connection = connection
        self._namespace = namespace
        self._auth = auth
        self._asked = False  # whether the session has taken CONNECT
        self._joins = 0  # how often it was joined
        self._connecting = 0  # calls of `connect` that wait
        self._forgives = False  # whether `connect` survives the end of a session that was there before it
        self._joining = trio.CancelScope()
        self._pid: str | None = None
        self._offset: str | None = None

    # What the manager tells.

    @property
    def wants_session(self) -> bool:
        """Whether it needs one and has none."""
        return self.membership.stage is Stage.JOINING and self.membership.session is None

    def is_full(self, *, awaiting: bool) -> bool:
        """Tell whether reading should stop; ``awaiting``: whether somebody waits for what may be behind the events here."""
        return self.sender.is_overrun or self.inbox.is_full(awaiting=awaiting)

    def upgraded(self, transport: TransportName) -> None:
        """Publish that the session has moved."""
        if self.membership.stage is Stage.CONNECTED:
            self.membership.states.publish(Upgraded(transport))

    def look(self) -> None:
        """Look whether there is a session that can be used."""
        self.membership.changed.unpark_all()

    def tell(self, state: State) -> None:
        """Publish what the manager does, if this socket waits for it."""
        if self.membership.stage is Stage.JOINING:
            self.membership.states.publish(state)

    def lost(self, reason: str, detail: str, *, used: bool) -> None:
        """Learn that the session is gone; ``used``: it had carried a namespace."""
        if self.membership.session is None:
            return
        self.membership.session = None
        self.sender.lost()
        if self.membership.stage is Stage.LEAVING:
            self._end(CLOSED_HERE)
        elif self.entering and self._forgives and used:
            # Such as one that the server closes behind its DISCONNECT: that says nothing about the next one.
            self._forgives = False
        elif self.entering:
            self._end(reason, ConnectFailed(f"The connection was lost before namespace {self._namespace!r} was joined: {detail}."))
        else:
            self.membership.stage = Stage.JOINING
            self.membership.states.publish(Lost(reason, detail))
        self._joining.cancel()
        self.membership.changed.unpark_all()

    def give_up(self, reason: str, error: Exception | None) -> None:
        """Learn that there will be no further session."""
        if self.membership.stage is Stage.JOINING:
            self._end(reason, error)

    # What the wire brings.

    def take(self, session: Session, packet: Packet) -> None:
        """Take a packet for this namespace.

        Raises:
          DecodeError: if it has no place here.
        """
        if session is not self.membership.session:
            logger.debug("A packet for namespace %.80r is ignored, which is not joined: %.80r", self._namespace, packet)
        elif packet.type is PacketType.EVENT:
            self._take_event(packet)
        elif packet.type is PacketType.ACK:
            self.sender.take_ack(packet)
        elif packet.type is PacketType.DISCONNECT:
            self._end("io server disconnect")
        elif self.membership.stage is not Stage.JOINING:
            raise DecodeError(f"The server answered CONNECT for namespace {self._namespace!r:.80}, which was answered before.")
        elif packet.type is PacketType.CONNECT:
            self._take_connect(session, packet)
        else:
            self._take_refusal(packet)

    def _take_event(self, packet: Packet) -> None:
        name, *args = packet.data
        # The server that can recover this socket appends an offset, but not when it wants an acknowledgement.
        if self._pid is not None and packet.id is None and args and isinstance(args[-1], str):
            self._offset = args[-1]
        self.inbox.arrive(Received(Event(name, tuple(args)), packet.id, self.membership.sessions, packet.memory))

    def _take_connect(self, session: Session, packet: Packet) -> None:
        data = packet.data if isinstance(packet.data, dict) else {}
        sid, pid = data.get("sid"), data.get("pid")
        if not isinstance(sid, str) or not sid:
            raise DecodeError("The server's CONNECT contains no id for the socket; Socket.IO 3 and later send one.")
        self.membership.id = sid
        self.membership.recovered = isinstance(pid, str) and pid == self._pid
        if not self.membership.recovered:
            self._pid, self._offset = (pid if isinstance(pid, str) else None), None
        self.membership.stage = Stage.CONNECTED
        self._joins += 1
        self.entering = False
        self._connection.used = True
        self.membership.states.publish(Connected(sid, self.membership.recovered, session.transport))
        self.sender.connected(session)
        self.membership.changed.unpark_all()

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
        """Join whatever session there is, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dispatch, self.membership, self.inbox, self.handlers, self.sender)
            while True:
                session = self._connection.session_for(self._namespace)
                if self.wants_session and session is not None:
                    await self._join(session)
                else:
                    await self.membership.changed.park()

    async def _join(self, session: Session) -> None:
        self.membership.session, self._asked = session, False
        self.membership.sessions += 1
        self._joining = scope = trio.CancelScope()
        if not self.entering:  # else `connect` has a deadline
            scope.deadline = trio.current_time() + self._connection.connect_timeout
        with scope, self._connection.reading_on():
            try:
                packet = await self._connect_packet()
                session.require_fit(packet)
            except Exception as error:  # whatever the application's function raises
                if not self.entering:
                    logger.exception("The credentials for namespace %.80r could not be had, so it is not joined again.", self._namespace)
                self._end("auth failed", error)
                return
            except BaseExceptionGroup as group:
                raise_rest(group, self._log_clean_up_of_auth)
            await trio.lowlevel.checkpoint()  # credentials that are at hand need none
            session.outbox.put(packet)
            self._asked = True
            while self.membership.stage is Stage.JOINING and self.membership.session is session:
                await self.membership.changed.park()
        if self.membership.stage is Stage.JOINING and self.membership.session is session:
            session.end("transport error", f"the server did not answer CONNECT for namespace {self._namespace!r}")

    async def _connect_packet(self) -> Any:
        credentials: Any = self._auth() if callable(self._auth) else self._auth
        if inspect.isawaitable(credentials):
            credentials = await credentials
        if self._pid is not None:
            # Without an offset nothing has come yet, and the server knows where that is.
            offset = {} if self._offset is None else {"offset": self._offset}
            credentials = {"pid": self._pid, **offset, **(credentials or {})}
        return self._connection.parser.encode_connect(self._namespace, credentials)

    def _log_clean_up_of_auth(self, error: Exception) -> None:
        logger.error(
            "The function that has the credentials for namespace %.80r failed when it was cancelled.",
            self._namespace,
            exc_info=error,
        )

    # What the application asks for.

    async def connect(self) -> None:
        """See `ClientSocket.connect`."""
        await trio.lowlevel.checkpoint()
        joins = self._joins
        self._connecting += 1
        try:
            with trio.move_on_after(self._connection.connect_timeout) as scope:
                while self.membership.stage is Stage.LEAVING:
                    await self.membership.changed.park()
                if self.membership.stage is Stage.OVER:
                    self.membership.stage = Stage.JOINING
                    self.entering = self._forgives = True
                    self._connection.wanted.unpark_all()
                    self.membership.changed.unpark_all()
                # Whoever joined it may also be gone again already.
                while self.membership.stage is Stage.JOINING and self._joins == joins:
                    await self.membership.changed.park()
        finally:
            self._connecting -= 1
            if self.entering and not self._connecting:
                self.abort()
        if self._joins != joins or self.membership.stage is Stage.CONNECTED:
            return
        if scope.cancelled_caught:
            raise ConnectFailed(f"Namespace {self._namespace!r} was not joined within {self._connection.connect_timeout:g} seconds.")
        raise self.membership.ended.error or self.membership.gone()

    async def disconnect(self) -> None:
        """See `ClientSocket.disconnect`."""
        await trio.lowlevel.checkpoint()
        if self.membership.stage is Stage.CONNECTED:
            self.membership.stage = Stage.LEAVING
            self.membership.changed.unpark_all()
            self.sender.leave(self._connection.parser.encode_disconnect(self._namespace), partial(self._end, CLOSED_HERE))
        elif self.membership.stage is not Stage.LEAVING:
            self.abort()
        session = self.membership.session
        with trio.CancelScope(deadline=min(self._connection.close_by, trio.current_time() + self._connection.close_timeout)):
            while self.membership.stage is Stage.LEAVING:
                await self.membership.changed.park()
        # Else it is over; or not any more, when somebody has waited for that in `connect`.
        if self.membership.stage is Stage.LEAVING:
            if session is not None:
                session.end(CLOSED_HERE, "the server took nothing, not even a goodbye")
            self.abort()

    async def closed(self, timeout: float | None = None) -> Ended:
        """See `ClientSocket.closed`."""
        await trio.lowlevel.checkpoint()
        with trio.CancelScope() if timeout is None else trio.fail_after(timeout):
            while self.membership.stage is not Stage.OVER:
                await self.membership.changed.park()
        return self.membership.ended

    # How it ends.

    def abort(self) -> None:
        """Leave without waiting for anything; what has not left yet is forgotten."""
        session = self.membership.session
        if session is not None and session.closed is None:
            if self.membership.stage is Stage.CONNECTED or self.membership.stage is Stage.LEAVING:
                self._connection.say_last(session, self._namespace)
            elif self._asked:
                self._connection.abandon(self._namespace)
        self._end(CLOSED_HERE)

    def _end(self, reason: str, error: Exception | None = None) -> None:
        if self.membership.stage is Stage.OVER:
            return
        self.membership.stage = Stage.OVER
        self.membership.session = None
        self.membership.lives += 1
        self.entering = False
        self.membership.states.publish(Ended(reason, error))
        sentence = str(self.membership.gone())
        for question in self.waiters.unanswered:
            question.fail(sentence, error)
        self.waiters.fail(sentence, error)
        self.inbox.fail(sentence, error)
        self.sender.over()
        self._joining.cancel()
        self.membership.changed.unpark_all()
