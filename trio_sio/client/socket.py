"""One namespace of a client: what applications hold (Node: ``Socket``)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, Unpack, overload

import trio

from ..errors import ConfigurationError, Disconnected
from ..signatures.answers import acknowledged
from ..signatures.events import DeclaredEvent, ServerEvent, heard, name_of_event
from .events import Event, EventStream
from .handlers import check_event
from .membership import Stage
from .states import Ended, StateStream

if TYPE_CHECKING:
    from .core import SocketCore
    from .manager import Manager
    from .sending import Sender

__all__ = ["ClientSocket", "VolatileOperator"]

F = TypeVar("F", bound=Callable[..., object])
R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class ClientSocket:
    """One namespace of a client (Node: ``Socket``); made by `open_client` and `Manager.socket`.

    Everybody hears an event of the server: all tasks that wait in `once` for it, and the handlers that `on` and `on_any`
    registered, one event at a time, in order. What none of these heard goes to whoever takes events with ``async for``.
    Events that nobody wants yet are kept (256 of them), so nothing is missed that comes before the first handler is registered.

    While the connection is lost, `emit` keeps packets for later (4,096 of them, or 4 MiB), then waits.

    Attributes:
      manager: The connection, shared with its other sockets.
      namespace: The namespace's name.
    """

    def __init__(self, manager: Manager, core: SocketCore, *, ack_timeout: float = 60, retries: int | None = None) -> None:
        namespace = core.membership.namespace
        if not namespace.startswith("/") or "," in namespace:
            raise ConfigurationError(f"{namespace!r} is no namespace: a name begins with a slash and contains no comma.")
        if not ack_timeout > 0:
            raise ConfigurationError(f"ack_timeout is {ack_timeout!r}; give a number of seconds above 0.")
        if retries is not None and retries < 0:
            raise ConfigurationError(f"retries is {retries!r}; give 0 or more, or None to send each packet once.")
        self.manager = manager
        self.namespace = namespace
        self._core = core
        self._membership = core.membership
        self._sender = core.sender
        self._inbox = core.inbox
        self._ack_timeout = ack_timeout
        self._retries = retries

    def __repr__(self) -> str:
        return f"<ClientSocket {self.id} {self.namespace!r} {self._membership.stage.value}>"

    @property
    def id(self) -> str:
        """The socket's id, as the server knows it; another one after each reconnection that is not a recovery."""
        return self._membership.id

    @property
    def recovered(self) -> bool:
        """Whether the last reconnection was a recovery: same id, same rooms, no event missed."""
        return self._membership.recovered

    @property
    def connected(self) -> bool:
        """Whether it takes part in its namespace right now."""
        return self._membership.stage is Stage.CONNECTED

    @property
    def volatile_dropped(self) -> int:
        """How many volatile packets were dropped."""
        return self._sender.volatile_dropped

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
        await self._sender.send(self._sender.event(event, args))

    def emit_nowait(self, event: str, *args: object) -> None:
        """`emit`, for code that is not async.

        Raises:
          trio.WouldBlock: if `emit` would have to wait: too much waits already, or there are ``retries``.
          EncodeError: as `emit`.
          Disconnected: if the socket is over.
        """
        packet = self._sender.event(event, args)
        if self._retries is not None:
            raise trio.WouldBlock
        self._sender.send_nowait(packet)

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
            values = await self._sender.request(event, args, seconds)
        else:
            values = await self._sender.request_again_and_again(event, args, seconds, self._retries)
        return acknowledged(values)

    async def send_with_ack(self, *args: object, timeout: float | None = None) -> Any:
        """Emit the event ``message``, and return what the server acknowledges; see `emit_with_ack`."""
        return await self.emit_with_ack("message", *args, timeout=timeout)

    def volatile(self) -> VolatileOperator:
        """Send packets that are dropped, and counted, when they cannot leave at once."""
        return VolatileOperator(self._sender)

    # Receiving.

    @overload
    def on(self, event: str, handler: F) -> F: ...
    @overload
    def on(self, event: str) -> Callable[[F], F]: ...
    @overload
    def on(
        self, event: DeclaredEvent[R, *Ts], handler: Callable[[Unpack[Ts]], R | Awaitable[R]]
    ) -> Callable[[Unpack[Ts]], R | Awaitable[R]]: ...
    @overload
    def on(
        self, event: DeclaredEvent[R, *Ts]
    ) -> Callable[[Callable[[Unpack[Ts]], R | Awaitable[R]]], Callable[[Unpack[Ts]], R | Awaitable[R]]]: ...

    def on(self, event: Any, handler: Any = None) -> Any:
        """Call ``handler`` with the arguments of each such event, also of those that came before; a decorator, too.

        The handlers of a socket, async functions or not, run one at a time. What one returns acknowledges the event (a
        tuple: several values). Arguments that it does not take are dropped. What it raises is logged, and the socket goes on.
        Those of an event that is declared with `server_event` are converted as its annotations say.

        Raises:
          ConfigurationError: if the event is reserved: see `states` for what becomes of the connection.
        """
        if handler is None:
            return lambda function: self.on(event, function)
        self._core.handlers.add(name_of_event(event), handler, event if isinstance(event, ServerEvent) else None)
        self._inbox.handle(name_of_event(event))
        return handler

    def on_any(self, handler: F) -> F:
        """Call ``handler`` with the name and the arguments of every event, before the handlers of that event (Node: ``onAny``)."""
        self._core.handlers.add(None, handler)
        self._inbox.handle(None)
        return handler

    def off(self, event: str | ServerEvent[..., object] | None = None, handler: Callable[..., object] | None = None) -> None:
        """Forget ``handler``, or all handlers, of ``event``; without an event those of `on_any`."""
        self._core.handlers.remove(None if event is None else name_of_event(event), handler)

    @overload
    async def once(self, event: str, timeout: float | None = None) -> tuple[Any, ...]: ...
    @overload
    async def once(self, event: DeclaredEvent[object, *Ts], timeout: float | None = None) -> tuple[*Ts]: ...

    async def once(self, event: Any, timeout: float | None = None) -> Any:
        """Return the arguments of the next such event, also of one that came before and that nobody heard.

        A server with connection state recovery appends one (see `Event`): ``first, *_ = await socket.once("event")``.
        Everybody who waits hears an event, and so do its handlers, which answer it; without any it gets an empty acknowledgement.
        One that came before is heard by the first who asks, and is gone.

        Args:
          event: Its name, or an event that is declared with `server_event`: its arguments are converted, and only they are returned.
          timeout: Seconds to wait; ``None``: no limit.

        Raises:
          trio.TooSlowError: if it did not come in time.
          Disconnected: if the socket is over.
          BadMessage: if the arguments are not what was declared.
          ConfigurationError: if no such event can come.
        """
        name = name_of_event(event)
        check_event(name, "once")
        return heard(event, (await self._take_one(name, timeout)).args)

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
        if self._membership.stage is Stage.OVER:
            raise self._membership.gone()
        with trio.CancelScope() if timeout is None else trio.fail_after(timeout):
            if event is not None:
                return (await self._core.waiters.next(event)).event
            with self._membership.connection.reading_on():
                return await self._inbox.wait_for_any()

    # What becomes of it.

    @asynccontextmanager
    async def states(self) -> AsyncIterator[StateStream]:
        """Give the states of this socket from now on as an async iterator, the current one first.

        It ends when the socket is over. A reader that lags far behind loses the oldest (`StateStream.missed`).
        """
        with self._membership.states.subscribe() as stream:
            yield stream

    async def closed(self, timeout: float | None = None) -> Ended:
        """Wait until the socket is over, and return how it ended.

        Raises:
          trio.TooSlowError: if it is not after ``timeout`` seconds; ``None``: no limit.
        """
        return await self._core.closed(timeout)

    async def connect(self) -> None:
        """Join the namespace again after the socket was over, or wait until the connection is back.

        Raises:
          ConnectionRefused: if the server refuses the socket.
          ConnectFailed: if there is no connection, or no answer within ``connect_timeout``.
          Disconnected: if the socket ends before that. One that is sent away right behind it is over when this returns.
        """
        await self._core.connect()

    async def disconnect(self) -> None:
        """Leave the namespace, behind what was emitted before; the socket does not come back by itself.

        It takes at most ``close_timeout``: a server that takes nothing for so long loses the connection.
        """
        await self._core.disconnect()


class VolatileOperator:
    """Emits what may be lost (Node: ``socket.volatile``)."""

    __slots__ = ("_sender",)

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

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
        self._sender.send_or_drop(self._sender.event(event, args))

    async def send(self, *args: object) -> None:
        """Emit the event ``message``."""
        await self.emit("message", *args)
