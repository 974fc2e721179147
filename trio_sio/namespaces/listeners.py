"""What an application registers on one socket: for those who come from Node."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import msgspec

from ..concurrency.callbacks import Callbacks
from ..concurrency.functions import fault_of_awaited, fault_of_handler, not_awaitable
from ..concurrency.groups import raise_rest, unwrap
from ..errors import BadMessage, NoAck, Refused
from ..log import get_logger
from ..protocol.checks import RESERVED_EVENTS
from .acks import Asker, as_arguments
from .failures import Concerned, error_object, log_bad_message, log_failure_of, log_refusal, quote

if TYPE_CHECKING:
    from ..config import Config
    from ..protocol.frames import EncodedPacket
    from ..protocol.socketio import Packet
    from .handler import SocketHandler
    from .target import Target

__all__ = ["Listened", "Listeners", "SocketMiddleware", "check_awaited_event", "check_forgotten"]

logger = get_logger("trio_sio.namespaces")

SocketMiddleware = Callable[[list[Any], Callable[[], Awaitable[None]]], Awaitable[object]]
"""``async def middleware(event, call_next)``; ``event`` is a list of the name and the arguments, and may be changed."""


class Heard(Concerned, Protocol):
    """A socket, as far as one may listen to it."""

    @property
    def rooms(self) -> frozenset[str]:
        """See `Socket.rooms`."""


class Listened(Asker, Protocol):
    """The core of a socket, as far as one may listen to it.

    Attributes:
      handler: What its namespace's routes do with it.
      reason: Why it has ended; empty before that.
    """

    handler: SocketHandler
    reason: str

    @property
    def socket(self) -> Heard:
        """The socket."""

    @property
    def config(self) -> Config:
        """The server's configuration."""


class Listeners:
    """The functions that were registered on one socket.

    An event passes, in this order: `any`, as soon as it arrives; the middleware; the handler that the namespace's routes
    have for it; the functions for this event. The routes' handler answers, or else the first of the functions.

    Args:
      core: The socket's core.

    Attributes:
      any: Hears every event that arrives.
      any_outgoing: Hears every event that is emitted to the socket.
    """

    __slots__ = ("_core", "_functions", "_middleware", "any", "any_outgoing")

    calls_back: ClassVar = True

    def __init__(self, core: Listened) -> None:
        self._core = core
        self._functions: dict[str, tuple[Callable[..., object], ...]] = {}
        self._middleware: tuple[SocketMiddleware, ...] = ()
        self.any: Callbacks[...] = Callbacks("on_any")
        self.any_outgoing: Callbacks[...] = Callbacks("on_any_outgoing")

    def add(self, event: str, function: Callable[..., object]) -> None:
        """See `Socket.on`."""
        if not isinstance(event, str):
            raise TypeError(f'`on` on {event!r:.80} names no event; write `socket.on("event", function)`.')
        if event in RESERVED_EVENTS:
            raise ValueError(f"No client emits {event!r}, which is reserved; for the end of a socket register an on_disconnection hook.")
        if event == "connection":
            raise ValueError(
                "'connection' is no event of a socket, which exists because its client has joined; register an on_connection hook."
            )
        if (fault := fault_of_handler(function)) is not None:
            raise TypeError(f"{fault}, so it cannot handle events; write it with `def` or `async def`.")
        self._functions[event] = (*self._functions.get(event, ()), function)

    def remove(self, event: str, function: Callable[..., object] | None) -> None:
        """See `Socket.off`."""
        functions = tuple(one for one in self._functions.pop(event, ()) if function is not None and one != function)
        if functions:
            self._functions[event] = functions

    def use(self, middleware: SocketMiddleware) -> None:
        """See `Socket.use`."""
        if (fault := fault_of_awaited(middleware)) is not None:
            raise TypeError(f"{fault}, so it cannot be middleware; write `async def (event, call_next)`.")
        self._middleware = (*self._middleware, middleware)

    def handles(self, event: str) -> bool:
        """Tell whether a function, or middleware, wants ``event``."""
        return bool(self._middleware) or event in self._functions

    # What the core calls, and the socket when something was sent to it alone.

    def arrived(self, packet: Packet) -> None:
        """Let those hear an event who want to know of all."""
        self.any.fire(*packet.data)

    def only_awaited(self, packet: Packet) -> None:
        """Learn that an event was for `Socket.once` and nobody else."""

    def never_handled(self, packet: Packet) -> None:
        """Learn that the socket has ended before the turn of an event came."""

    def sent(self, event: str, args: tuple[object, ...], packet: EncodedPacket) -> None:
        """Let those hear an event who want to know what is emitted to the socket; ``packet`` is how it left."""
        self.hear(event, args)

    # What `overhear` calls.

    def is_meant(self, target: Target) -> bool:
        """See `Tap.is_meant`."""
        socket = self._core.socket
        return socket.connected and target.includes(socket.rooms)

    def hear(self, event: str, args: tuple[object, ...]) -> None:
        """See `Tap.hear`."""
        self.any_outgoing.fire(event, *args)

    # What the dispatcher calls.

    async def receive(self, packet: Packet) -> None:
        """Handle one event, instead of the namespace's handler."""
        if not self._middleware:
            await self._handle(packet)
            return
        passage = _Passage(self._middleware, packet, self._handle)
        try:
            await passage.go_on(0)
        except Exception as exc:
            self._log("Middleware of socket.use", packet, exc)
            if not passage.is_through:
                await self._refuse(packet, exc)
        except BaseExceptionGroup as group:
            raise_rest(group, partial(self._log, "Middleware of socket.use", packet))

    async def _handle(self, packet: Packet) -> None:
        handler, event = self._core.handler, packet.data[0]
        functions = self._functions.get(event, ())
        routed = handler.handles(event)
        if routed or not functions:
            await self._receive_routed(handler, packet)
        for number, function in enumerate(functions):
            await self._call(function, packet, answers=number == 0 and not routed)

    async def _receive_routed(self, handler: SocketHandler, packet: Packet) -> None:
        await handler.receive(packet)

    async def _call(self, function: Callable[..., object], packet: Packet, *, answers: bool) -> None:
        try:
            value = function(*packet.data[1:])
            if inspect.isawaitable(value):
                value = await value
            if answers and packet.id is not None:
                await self._core.answer(packet.id, as_arguments(value))
        except Exception as exc:
            if isinstance(unwrap(exc), NoAck):
                return
            self._log("A function of socket.on", packet, exc)
            if answers:
                await self._refuse(packet, exc)
        except BaseExceptionGroup as group:
            raise_rest(group, partial(self._log, "A function of socket.on", packet))

    def _log(self, what: str, packet: Packet, exc: Exception) -> None:
        error, event = unwrap(exc), packet.data[0]
        if isinstance(error, BadMessage):
            log_bad_message(what, event, self._core.socket, error, logger)
        elif isinstance(error, Refused):
            log_refusal(what, event, self._core.socket, error, logger)
        else:
            log_failure_of(what, f"on event {quote(event)}", self._core.socket, exc, logger)

    async def _refuse(self, packet: Packet, exc: Exception) -> None:
        if packet.id is not None and self._core.config.error_acks:
            await self._core.answer(packet.id, (error_object(unwrap(exc)),))


def check_awaited_event(event: object) -> None:
    """Raise unless ``event`` is something that a client may emit, so that waiting for it makes sense."""
    if not isinstance(event, str):
        raise TypeError(f'`once` on {event!r:.80} names no event; write `await socket.once("event")`, which returns the arguments.')
    if event in RESERVED_EVENTS:
        raise ValueError(f"No client emits {event!r}, which is reserved; for the end of a socket register an on_disconnection hook.")


def check_forgotten(name: str, event: object, function: object) -> None:
    """Raise `TypeError` unless ``event`` may be one, and ``function`` a function or ``None``, that ``name`` forgets."""
    if not isinstance(event, str):
        raise TypeError(f'`{name}` on {event!r:.80} names no event; write `socket.{name}("event", function)`.')
    if function is not None and not callable(function):
        raise TypeError(f"{function!r:.80} is not a function, so `{name}` cannot forget it; leave it out to forget all.")


class _Passage:
    """The way of one event through the middleware.

    Args:
      middleware: The middleware.
      packet: The event.
      handle: Where it goes then.

    Attributes:
      is_through: Whether it has got there.
    """

    __slots__ = ("_event", "_handle", "_middleware", "_packet", "is_through")

    def __init__(self, middleware: tuple[SocketMiddleware, ...], packet: Packet, handle: Callable[[Packet], Awaitable[None]]) -> None:
        self._event = list(packet.data)
        self._handle = handle
        self._middleware = middleware
        self._packet = packet
        self.is_through = False

    async def go_on(self, index: int) -> None:
        """Call the middleware at ``index``, or the handler behind the last."""
        event = self._event
        if index < len(self._middleware):
            middleware = self._middleware[index]
            result: object = middleware(event, partial(self.go_on, index + 1))
            if not inspect.isawaitable(result):
                not_awaitable(middleware, result)
            await result
            return
        if self.is_through:
            raise RuntimeError("call_next() was called twice; an event is handled once.")
        if not event or not isinstance(event[0], str):
            raise ValueError(
                f"Middleware has made {event!r:.80} of an event; leave its name, a string, in the first place, "
                "or drop the event by not awaiting call_next()."
            )
        self.is_through = True
        await self._handle(msgspec.structs.replace(self._packet, data=event))
