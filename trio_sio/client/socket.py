"""One namespace of a client: what applications hold (Node: ``Socket``)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar, overload

import trio

from ..concurrency.answers import Answer
from ..errors import ConfigurationError, ConnectFailed, Disconnected
from .events import Event, EventStream
from .handlers import check_event
from .lifecycle import Auth, SocketLifecycle, Stage
from .outgoing import Outgoing
from .session import SessionClosed
from .states import Ended, StateStream

if TYPE_CHECKING:
    from ..protocol.frames import EncodedPacket
    from .link import Link
    from .manager import Manager

__all__ = ["ClientSocket", "VolatileOperator"]

F = TypeVar("F", bound=Callable[..., object])


class ClientSocket(SocketLifecycle):
    """One namespace of a client (Node: ``Socket``); made by `open_client` and `Manager.socket`.

    Everybody hears an event of the server: all tasks that wait in `once` for it, and the handlers that `on` and `on_any`
    registered, one event at a time, in order. What none of these heard goes to whoever takes events with ``async for``.
    Events that nobody wants yet are kept (256 of them), so nothing is missed that comes before the first handler is registered.

    While the connection is lost, `emit` keeps packets for later (4,096 of them, or 4 MiB), then waits.

    Attributes:
      manager: The connection, shared with its other sockets.
      namespace: The namespace's name.
      id: The socket's id, as the server knows it; another one after each reconnection that is not a recovery.
      recovered: Whether the last reconnection was a recovery: same id, same rooms, no event missed.
      volatile_dropped: How many volatile packets were dropped.
    """

    def __init__(
        self, manager: Manager, link: Link, namespace: str, auth: Auth | None, *, ack_timeout: float = 60, retries: int | None = None
    ) -> None:
        if not namespace.startswith("/") or "," in namespace:
            raise ConfigurationError(f"{namespace!r} is no namespace: a name begins with a slash and contains no comma.")
        if not ack_timeout > 0:
            raise ConfigurationError(f"ack_timeout is {ack_timeout!r}; give a number of seconds above 0.")
        if retries is not None and retries < 0:
            raise ConfigurationError(f"retries is {retries!r}; give 0 or more, or None to send each packet once.")
        super().__init__(link, namespace, auth)
        self.manager = manager
        self.volatile_dropped = 0
        self._ack_timeout = ack_timeout
        self._retries = retries
        self._in_order = trio.StrictFIFOLock()
        self._next_id = 0
        self._connecting = 0  # calls of `connect` that wait

    def __repr__(self) -> str:
        return f"<ClientSocket {self.id} {self.namespace!r} {self._stage.value}>"

    @property
    def dropped(self) -> int:
        """How many events of the server were dropped because nobody took them."""
        return self._inbox.dropped

    # Sending.

    async def emit(self, event: str, *args: object) -> None:
        """Emit to the server, now or once the connection is back; wait while too much waits already.

        With ``retries`` it returns when the server has acknowledged the event; only then does the next one leave.

        Raises:
          EncodeError: if the name is reserved, an argument cannot be encoded, or the server would not take so much; nothing is
            sent then. What the server takes is known while there is a connection.
          Disconnected: if the socket is over, or ends before there was room.
          trio.TooSlowError: if there are ``retries``, and no try was acknowledged in time.
        """
        if self._retries is not None:
            await self.emit_with_ack(event, *args)
            return
        await trio.lowlevel.checkpoint_if_cancelled()
        item = Outgoing(self._event(event, args))
        if self._leave_nowait(item):
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            await self._buffer.put(item)

    def emit_nowait(self, event: str, *args: object) -> None:
        """`emit`, for code that is not async.

        Raises:
          trio.WouldBlock: if `emit` would have to wait: too much waits already, or there are ``retries``.
          EncodeError: as `emit`.
          Disconnected: if the socket is over.
        """
        item = Outgoing(self._event(event, args))
        if self._retries is not None:
            raise trio.WouldBlock
        if not self._leave_nowait(item):
            self._buffer.put_nowait(item)

    async def send(self, *args: object) -> None:
        """Emit the event ``message`` (Node: ``send``)."""
        await self.emit("message", *args)

    async def emit_with_ack(self, event: str, *args: object, timeout: float | None = None) -> Any:
        """Emit, and return what the server acknowledges: one value, a tuple of several, ``None`` for none.

        With ``retries`` it is sent again when there is no answer in time, or the connection was lost.

        Args:
          event: The event.
          args: Its arguments.
          timeout: Seconds to wait, for each try; ``None``: the socket's ``ack_timeout``.

        Raises:
          trio.TooSlowError: if there was no answer in time.
          Disconnected: if the connection on which it left is lost, or the socket is over.
          EncodeError: as `emit`.
        """
        seconds = self._ack_timeout if timeout is None else timeout
        if self._retries is None:
            values = await self._request(event, args, seconds)
        else:
            values = await self._request_again_and_again(event, args, seconds, self._retries)
        return values[0] if len(values) == 1 else values or None

    async def send_with_ack(self, *args: object, timeout: float | None = None) -> Any:
        """Emit the event ``message``, and return what the server acknowledges; see `emit_with_ack`."""
        return await self.emit_with_ack("message", *args, timeout=timeout)

    def volatile(self) -> VolatileOperator:
        """Send packets that are dropped, and counted, when they cannot leave at once."""
        return VolatileOperator(self)

    async def _request(self, event: str, args: tuple[object, ...], timeout: float) -> tuple[Any, ...]:
        number, self._next_id = self._next_id, self._next_id + 1
        answer: Answer[tuple[Any, ...]] = Answer()
        item = Outgoing(self._event(event, args, number), answer=answer)
        self._awaited[number] = item
        try:
            with self._link.awaiting(), trio.fail_after(timeout):
                if not self._leave_nowait(item):
                    await self._buffer.put(item)
                return await answer.wait()
        finally:
            del self._awaited[number]
            if not item.left:
                self._buffer.remove(item)

    async def _request_again_and_again(self, event: str, args: tuple[object, ...], timeout: float, retries: int) -> tuple[Any, ...]:
        life = self._buffer.lives
        async with self._in_order:
            for left in reversed(range(retries + 1)):
                # The time to answer begins when there is somebody to ask.
                while self._stage is Stage.JOINING and life == self._buffer.lives:
                    await self._changed.park()
                self._buffer.require_life(life)
                try:
                    return await self._request(event, args, timeout)
                except trio.TooSlowError:
                    if not left:
                        raise
                except Disconnected:
                    if not left or self._stage in (Stage.LEAVING, Stage.OVER):
                        raise
            raise AssertionError("one of the tries returns or raises")

    def _event(self, event: str, args: tuple[object, ...], id: int | None = None) -> EncodedPacket:
        packet = self._link.parser.encode_event(self.namespace, (event, *args), id)
        if self._session is not None:
            self._session.require_fit(packet)
        return packet

    def _leave_nowait(self, item: Outgoing) -> bool:
        """Hand ``item`` to the session if nothing waits and it has room; tell whether it was."""
        self._require_open()
        session = self._session
        if self._stage is not Stage.CONNECTED or session is None or not self._buffer.idle:
            return False
        try:
            session.send_nowait(item.packet)
        except (trio.WouldBlock, SessionClosed):
            return False
        item.left = True
        return True

    def _leave_or_drop(self, packet: EncodedPacket) -> None:
        if not self._leave_nowait(Outgoing(packet)):
            self.volatile_dropped += 1

    # Receiving.

    @overload
    def on(self, event: str, handler: F) -> F: ...
    @overload
    def on(self, event: str) -> Callable[[F], F]: ...

    def on(self, event: str, handler: F | None = None) -> F | Callable[[F], F]:
        """Call ``handler`` with the arguments of each such event, also of those that came before; a decorator, too.

        The handlers of a socket, async functions or not, run one at a time. What one returns acknowledges the event (a
        tuple: several values). Arguments that it does not take are dropped. What it raises is logged, and the socket goes on.

        Raises:
          ConfigurationError: if the event is reserved: see `states` for what becomes of the connection.
        """
        if handler is None:
            return lambda function: self.on(event, function)
        self._handlers.add(event, handler)
        self._inbox.handle(event)
        return handler

    def on_any(self, handler: F) -> F:
        """Call ``handler`` with the name and the arguments of every event, before the handlers of that event (Node: ``onAny``)."""
        self._handlers.add(None, handler)
        self._inbox.handle(None)
        return handler

    def off(self, event: str | None = None, handler: Callable[..., object] | None = None) -> None:
        """Forget ``handler``, or all handlers, of ``event``; without an event those of `on_any`."""
        self._handlers.remove(event, handler)

    async def once(self, event: str, timeout: float | None = None) -> tuple[Any, ...]:
        """Return the arguments of the next such event, also of one that came before and that nobody heard.

        A server with connection state recovery appends one (see `Event`): ``first, *_ = await socket.once("event")``.
        Everybody who waits hears an event, and so do its handlers, which answer it; without any it gets an empty acknowledgement.
        One that came before is heard by the first who asks, and is gone.

        Args:
          event: The event.
          timeout: Seconds to wait; ``None``: no limit.

        Raises:
          trio.TooSlowError: if it did not come in time.
          Disconnected: if the socket is over.
          ConfigurationError: if no such event can come.
        """
        check_event(event, "once")
        return (await self._take_one(event, timeout)).args

    async def receive(self, timeout: float | None = None) -> Event:
        """Return the next event that nobody else takes; arguments and errors as of `once`."""
        return await self._take_one(None, timeout)

    @property
    def pending(self) -> tuple[Event, ...]:
        """The events that have arrived and that nobody took yet, oldest first."""
        return self._inbox.pending

    def __aiter__(self) -> EventStream:
        """Iterate over the events that nobody else takes, until the socket is over.

        While an iteration is under way, nothing is dropped: when it is slow, the server has to wait.
        """
        return self._inbox.stream(self._receive_or_end)

    async def _receive_or_end(self) -> Event | None:
        try:
            return await self.receive()
        except Disconnected:
            return None

    async def _take_one(self, event: str | None, timeout: float | None) -> Event:
        await trio.lowlevel.checkpoint()
        kept = self._inbox.take_kept(event)
        if kept is not None:
            return kept
        if self._stage is Stage.OVER:
            raise self._gone()
        with self._link.awaiting(), trio.CancelScope() if timeout is None else trio.fail_after(timeout):
            return await self._inbox.wait_for(event)

    # What becomes of it.

    @asynccontextmanager
    async def states(self) -> AsyncIterator[StateStream]:
        """Give the states of this socket from now on as an async iterator, the current one first.

        It ends when the socket is over. A reader that lags far behind loses the oldest (`StateStream.missed`).
        """
        with self._states.subscribe() as stream:
            yield stream

    async def closed(self, timeout: float | None = None) -> Ended:
        """Wait until the socket is over, and return how it ended.

        Raises:
          trio.TooSlowError: if it is not after ``timeout`` seconds; ``None``: no limit.
        """
        await trio.lowlevel.checkpoint()
        with trio.CancelScope() if timeout is None else trio.fail_after(timeout):
            while self._stage is not Stage.OVER:
                await self._changed.park()
        ended = self._states.current
        assert isinstance(ended, Ended)
        return ended

    async def connect(self) -> None:
        """Join the namespace again after the socket was over, or wait until the connection is back.

        Raises:
          ConnectionRefused: if the server refuses the socket.
          ConnectFailed: if there is no connection, or no answer within ``connect_timeout``.
          Disconnected: if the socket ends before that. One that is sent away right behind it is over when this returns.
        """
        await trio.lowlevel.checkpoint()
        joins = self._joins
        self._connecting += 1
        try:
            with trio.move_on_after(self._link.connect_timeout) as scope:
                while self._stage is Stage.LEAVING:
                    await self._changed.park()
                if self._stage is Stage.OVER:
                    self._stage = Stage.JOINING
                    self._entering = self._forgives = True
                    self._link.wanted.unpark_all()
                    self.look()
                # Whoever joined it may also be gone again already.
                while self._stage is Stage.JOINING and self._joins == joins:
                    await self._changed.park()
        finally:
            self._connecting -= 1
            if self._entering and not self._connecting:
                self.abort()
        if self._joins != joins or self._stage is Stage.CONNECTED:
            return
        if scope.cancelled_caught:
            raise ConnectFailed(f"Namespace {self.namespace!r} was not joined within {self._link.connect_timeout:g} seconds.")
        ended = self._states.current
        assert isinstance(ended, Ended)
        raise ended.error or self._gone()

    async def disconnect(self) -> None:
        """Leave the namespace, behind what was emitted before; the socket does not come back by itself.

        It takes at most ``close_timeout``: a server that takes nothing for so long loses the connection.
        """
        await trio.lowlevel.checkpoint()
        if self._stage is Stage.CONNECTED:
            self._stage = Stage.LEAVING
            self._wake()
        elif self._stage is not Stage.LEAVING:
            self.abort()
        session = self._session
        with trio.CancelScope(deadline=min(self._link.close_by, trio.current_time() + self._link.close_timeout)):
            while self._stage is Stage.LEAVING:
                await self._changed.park()
        # Else it is over; or not any more, when somebody has waited for that in `connect`.
        if self._stage is Stage.LEAVING:
            if session is not None:
                session.end("io client disconnect", "the server took nothing, not even a goodbye")
            self.abort()


class VolatileOperator:
    """Emits what may be lost (Node: ``socket.volatile``)."""

    __slots__ = ("_socket",)

    def __init__(self, socket: ClientSocket) -> None:
        self._socket = socket

    async def emit(self, event: str, *args: object) -> None:
        """Emit now or never.

        Raises:
          EncodeError: as `ClientSocket.emit`.
          Disconnected: if the socket is over.
        """
        await trio.lowlevel.checkpoint()
        self.emit_nowait(event, *args)

    def emit_nowait(self, event: str, *args: object) -> None:
        """`emit`, for code that is not async."""
        self._socket._leave_or_drop(self._socket._event(event, args))

    async def send(self, *args: object) -> None:
        """Emit the event ``message``."""
        await self.emit("message", *args)
