"""One client in one namespace: what applications hold (Node: ``Socket``)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar, TypeVarTuple, cast, overload

import trio

from ..config import generate_id
from ..errors import Disconnected
from ..signatures.events import DeclaredEvent, ServerEvent, heard, name_of_event, spelled
from .acks import acknowledged
from .broadcast import Broadcaster, BroadcastOperator
from .children import required, run_child
from .expiry import stamp_of
from .listeners import SocketMiddleware, check_awaited_event, check_forgotten
from .observation import Asking
from .sending import ask, send, send_nowait, with_offset
from .states import CONNECTED
from .target import Target, require_names
from .timed import TimedSocket

if TYPE_CHECKING:
    import datetime

    # Only its default is missing in `typing`, up to Python 3.12, and only type checkers need that.
    from typing_extensions import TypeVar as TypeVarWithDefault

    from .acks import Waiter
    from .core import SocketCore
    from .handshake import Handshake
    from .running_server import RunningServer

    Data = TypeVarWithDefault("Data", default=Any)
else:
    Data = TypeVar("Data")

__all__ = ["Socket"]

_NOTHING: Final[AbstractContextManager[None]] = nullcontext()

F = TypeVar("F", bound=Callable[..., object])
P = ParamSpec("P")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class Socket(Broadcaster, Generic[Data]):
    """One client in one namespace (Node: ``Socket``).

    Everything that runs for it, its handlers and what they start, runs in one task with one nursery (`run`), one
    handler at a time, in the order of arrival. When the client goes *abruptly*, all of that is cancelled at once; when
    it says goodbye, what it sent before is still handled, within `cleanup_timeout`. Then the disconnection hooks run.

    Attributes:
      id: Its public id, also the name of a room that only it is in.
      namespace: Where it is connected.
      handshake: How it connected.
      params: The named groups of the pattern that its namespace matched.
      data: Whatever the application wants to remember about it: a dict, or what `Route` makes with ``data=``. ``Socket[SessionData]``
        is, to type checkers, a socket with such data.
      recovered: Whether it is the continuation of an earlier connection (`Config.connection_state_recovery`): then it has
        its ``id``, ``data`` and rooms, and its client gets all that it has missed. Its controllers are new ones, and what they
        remembered is lost, unless `Recovery.keep_controllers` is on.
      client: The connection that carries it, shared with the other namespaces of the same client.
      outbox: Where what leaves is queued: the connection's.
    """

    __slots__ = ("__weakref__", "_core", "client", "data", "handshake", "id", "namespace", "outbox", "params", "recovered")

    def __init__(self, core: SocketCore, handshake: Handshake, params: Mapping[str, str]) -> None:
        self._core = core
        self.id = generate_id()
        self.client = core.client
        self.namespace = core.namespace
        self.outbox = core.outbox
        self.handshake = handshake
        self.params = params
        self.data = cast("Data", {})
        self.recovered = False

    def __repr__(self) -> str:
        return f"<Socket {self.id} {self.namespace.name!r} {self._core.state.value}>"

    # What it is.

    @property
    def server(self) -> RunningServer:
        """The server."""
        return self.namespace.server

    @property
    def connected(self) -> bool:
        """Whether it takes part in its namespace: from CONNECT on, until either side leaves."""
        return self._core.state is CONNECTED

    @property
    def rooms(self) -> frozenset[str]:
        """The rooms that it is in, the one named by its id among them; once it has left, those it was in."""
        return self._core.rooms.all(self)

    @property
    def handling_since(self) -> float | None:
        """Since when a handler, or what runs while it connects, has run, in Trio's time; ``None`` if nothing does."""
        return self._core.dispatcher.handling_since

    @property
    def task_count(self) -> int:
        """How many tasks run in its name, besides its own."""
        return self._core.task.children

    # Sending.

    @overload
    async def emit(self, event: str, *args: object) -> None: ...
    @overload
    async def emit(self, event: ServerEvent[P, object], *args: P.args, **named: P.kwargs) -> None: ...

    async def emit(self, event: Any, *args: Any, **named: Any) -> None:
        """Emit to this client, waiting for room if its outbox is full. Dropped once it has gone.

        Args:
          event: Its name, or an event that is declared with `server_event`, whose arguments may have names.
          args, named: Its arguments.

        Raises:
          EncodeError: if the name is reserved, or an argument cannot be encoded, or is not what was declared and
            `Config.check_events` is on; nothing is queued then.
          TypeError: if there are not so many arguments as were declared.
        """
        namespace, core = self.namespace, self._core
        if named or event.__class__ is not str:
            event, args = spelled(event, args, named, check=namespace.config.check_events)
        sent = args if namespace.config.connection_state_recovery is None else with_offset(core, args)
        packet = namespace.parser.encode_event(namespace.name, (event, *sent), compress=True)
        await send(core, packet, recorded=True)
        if core.listeners is not None:
            core.listeners.sent(event, args, packet)

    @overload
    def emit_nowait(self, event: str, *args: object) -> None: ...
    @overload
    def emit_nowait(self, event: ServerEvent[P, object], *args: P.args, **named: P.kwargs) -> None: ...

    def emit_nowait(self, event: Any, *args: Any, **named: Any) -> None:
        """Emit to this client.

        Raises:
          trio.WouldBlock: if its outbox is full.
          EncodeError: as `emit`.
        """
        namespace, core = self.namespace, self._core
        if named or event.__class__ is not str:
            event, args = spelled(event, args, named, check=namespace.config.check_events)
        sent = args if namespace.config.connection_state_recovery is None else with_offset(core, args)
        packet = namespace.parser.encode_event(namespace.name, (event, *sent), compress=True)
        send_nowait(core, packet)
        if core.listeners is not None:
            core.listeners.sent(event, args, packet)

    async def send(self, *args: object) -> None:
        """Emit the event ``message`` (Node: ``send``)."""
        await self.emit("message", *args)

    @overload
    async def emit_with_ack(self, event: str, *args: object, timeout: float | None = None) -> object: ...
    @overload
    async def emit_with_ack(self, event: ServerEvent[P, R], *args: P.args, **named: P.kwargs) -> R: ...
    @overload
    async def emit_with_ack(self, event: DeclaredEvent[R, *Ts], *args: *Ts, timeout: float | None = None) -> R: ...

    async def emit_with_ack(  # type: ignore[misc]  # no declared event has a parameter `timeout`
        self, event: Any, *args: Any, timeout: float | None = None, **named: Any
    ) -> Any:
        """Emit, and return what the client answers: the one value, a tuple of several, ``None`` for none.

        The answer to a declared event is converted as the annotation of its result says.

        Args:
          event: As for `emit`.
          args, named: Its arguments.
          timeout: Seconds to wait; ``None``: `Config.ack_timeout`.

        Raises:
          trio.TooSlowError: if no answer came in time.
          Disconnected: if the client is gone, or goes meanwhile.
          BadAnswer: if the answer is not what was declared.
          EncodeError: as `emit`.
        """
        namespace, asked = self.namespace, event
        if named or event.__class__ is not str:
            event, args = spelled(event, args, named, check=namespace.config.check_events)
        number = namespace.next_ack_id()
        packet = namespace.parser.encode_event(namespace.name, (event, *args), number, compress=True)
        core = self._core
        if core.state is not CONNECTED:
            await trio.lowlevel.checkpoint()
            raise Disconnected("The socket is not connected, so nobody can answer.")
        instrument = namespace.instrument
        with _NOTHING if instrument is None else Asking(instrument, namespace.name, event, self):
            with trio.fail_after(namespace.config.ack_timeout if timeout is None else timeout):
                values = await ask(core, number, packet, event, args)
            return asked.answer(values) if isinstance(asked, ServerEvent) else acknowledged(values)

    def timeout(self, seconds: float) -> TimedSocket:
        """Let `emit_with_ack` wait so many seconds, instead of `Config.ack_timeout` (Node: ``socket.timeout``); ``timeout=`` says the same.

        Raises:
          ValueError: if that is negative, or not a number.
        """
        return TimedSocket(self.emit_with_ack, seconds)

    @overload
    async def once(self, event: str, *, timeout: float | None = None) -> tuple[Any, ...]: ...
    @overload
    async def once(self, event: DeclaredEvent[object, *Ts], *, timeout: float | None = None) -> tuple[*Ts]: ...

    async def once(self, event: Any, *, timeout: float | None = None) -> Any:
        """Wait for the next ``event`` of this client and return its arguments, without waiting behind a handler (Node: ``once``).

        Everybody who waits hears it, and so does the handler that there is for it, in its turn, whose answer is the client's;
        without one the answer is that of an unknown event.

        Args:
          event: Its name, or a declared event that clients emit as well, whose arguments are converted.
          timeout: Seconds to wait; ``None``: no limit.

        Raises:
          trio.TooSlowError: if it did not come in time.
          Disconnected: if the client is gone, or goes meanwhile.
          BadMessage: if the arguments are not what was declared.
          ValueError: if no client can emit such an event.
        """
        name = name_of_event(event)
        check_awaited_event(name)
        if self._core.is_over:
            await trio.lowlevel.checkpoint()
            raise Disconnected("The socket is disconnected, so no event can come.")
        with trio.CancelScope() if timeout is None else trio.fail_after(timeout):
            args = await self._core.waiters.next(name)
        return heard(event, args)

    @property
    def broadcast(self) -> BroadcastOperator:
        """Address everybody in the namespace but this client."""
        return self._operator()

    def volatile(self, key: str | None = None) -> BroadcastOperator:
        """Send this client packets that may be lost; see `NamespaceBroadcaster.volatile`."""
        return self._alone().as_volatile(key)

    def compress(self, value: bool) -> BroadcastOperator:  # as in Node
        """Send this client packets that are compressed, if it can do it, or are not; like every operator, without waiting for room.

        What `emit` sends is compressed on a WebSocket from `PerMessageDeflate.threshold` on, where `Config.per_message_deflate` is
        on. The response to a poll is compressed, where `Config.compression` is on, unless a packet in it is not to be.
        """
        return self._alone().as_compressed(value)

    def _alone(self) -> BroadcastOperator:
        # Nobody else is in that room, so no other server needs to hear of it.
        return BroadcastOperator(self.namespace, Target(rooms=frozenset((self.id,)), local=True))

    def _operator(self) -> BroadcastOperator:
        return BroadcastOperator(self.namespace, Target(excluded=frozenset((self.id,))))

    # Listening, for those who come from Node.

    @overload
    def on(self, event: str, handler: F) -> F: ...
    @overload
    def on(self, event: str) -> Callable[[F], F]: ...

    def on(self, event: str, handler: F | None = None) -> F | Callable[[F], F]:
        """Call ``handler(*args)``, async or not, for each such event of this client; a decorator, too (Node: ``socket.on``).

        It takes its turn like other handlers, behind the one that the routes have for the event, which then answers;
        otherwise what the first of these functions returns is the answer (a tuple: several values). What it raises is logged.

        Raises:
          ValueError: if no client can emit such an event.
          TypeError: if the handler is no function, or a generator function.
        """
        if handler is None:
            return lambda function: self.on(event, function)
        self._core.own_listeners().add(event, handler)
        return handler

    def off(self, event: str, handler: Callable[..., object] | None = None) -> None:
        """Forget ``handler``, or all of them, that `on` was given for ``event`` (Node: ``socket.off``)."""
        check_forgotten("off", event, handler)
        if (listeners := self._core.listeners) is not None:
            listeners.remove(event, handler)

    def on_any(self, callback: F) -> F:
        """Call ``callback(event, *args)`` for every event of this client, as soon as it arrives (Node: ``onAny``).

        It is not async and must not block: until it returns nothing else is read from this client. What it raises is logged.
        """
        self._core.own_listeners().any(callback)
        return callback

    def off_any(self, callback: Callable[..., object] | None = None) -> None:
        """Forget ``callback``, or all of them, that `on_any` was given (Node: ``offAny``)."""
        check_forgotten("off_any", "*", callback)
        if (listeners := self._core.listeners) is not None:
            listeners.any.remove(callback)

    def on_any_outgoing(self, callback: F) -> F:
        """Call ``callback(event, *args)`` for every event that is emitted to this client, broadcasts included (Node: ``onAnyOutgoing``).

        It is not async. What it raises is logged.
        """
        listeners = self._core.own_listeners()
        listeners.any_outgoing(callback)
        if not self._core.is_over:
            self.namespace.taps.add(listeners)
        return callback

    def off_any_outgoing(self, callback: Callable[..., object] | None = None) -> None:
        """Forget ``callback``, or all of them, that `on_any_outgoing` was given (Node: ``offAnyOutgoing``)."""
        check_forgotten("off_any_outgoing", "*", callback)
        if (listeners := self._core.listeners) is not None:
            listeners.any_outgoing.remove(callback)
            if not listeners.any_outgoing:
                self.namespace.taps.discard(listeners)

    def use(self, middleware: SocketMiddleware) -> SocketMiddleware:
        """Run ``await middleware(event, call_next)`` around the handlers of every event of this client (Node: ``socket.use``).

        An event is dropped when ``call_next()`` is not awaited. If the middleware raises before that, it is logged and the client
        gets an error as the answer, as from a handler.

        Args:
          middleware: Gets a list of the event's name and arguments, which it may change. Those that were added earlier are outside.

        Raises:
          TypeError: if it is not async.
        """
        self._core.own_listeners().use(middleware)
        return middleware

    # Rooms.

    async def join(self, *rooms: str) -> None:
        """Join ``rooms``. Does nothing once the client has gone.

        Raises:
          ValueError: if there are too many (`Limits.rooms_per_socket`), or one is named by another socket's id.
        """
        await trio.lowlevel.checkpoint()
        self.join_nowait(*rooms)

    def join_nowait(self, *rooms: str) -> None:
        """`join`, for code that is not async."""
        core = self._core
        if core.is_over:
            return
        joined = core.rooms.joined(self)
        require_names(rooms, "join", "join")
        self.require_joinable(rooms)
        new = {room for room in rooms if room != self.id}.difference(joined)
        most = self.namespace.config.limits.rooms_per_socket
        if len(joined) + len(new) > most:
            raise ValueError(f"The socket would be in more than {most} rooms (Limits.rooms_per_socket).")
        if new:
            core.rooms.join(self, new)

    def require_joinable(self, rooms: Sequence[str]) -> None:
        """Raise `ValueError` if one of ``rooms`` is named by another socket's id."""
        recovery = self.namespace.adapter.recovery
        for room in rooms:
            if room != self.id and (room in self.namespace.connected or (recovery is not None and recovery.knows(room))):
                raise ValueError(f"Room {room!r} is the id of another socket: its private room cannot be joined.")

    async def leave(self, *rooms: str) -> None:
        """Leave ``rooms``."""
        await trio.lowlevel.checkpoint()
        self.leave_nowait(*rooms)

    def leave_nowait(self, *rooms: str) -> None:
        """`leave`, for code that is not async."""
        require_names(rooms, "leave", "leave")
        if not self._core.is_over:
            self._core.rooms.leave(self, rooms)

    # Ending.

    async def disconnect(self, close: bool = False, *, reason: str | None = None) -> None:  # as in Node
        """Disconnect this client from the namespace, or with ``close`` from everything.

        This requests it and returns: a handler that waited for its own end would wait for ever. Afterwards the handlers
        of this socket are cancelled wherever they next wait, this one too.

        Args:
          close: Whether the other namespaces of this client and its connection end as well.
          reason: Why, for the log, where the end of the socket is then a line at INFO instead of DEBUG. The client does not
            learn it, and disconnection hooks get ``"server namespace disconnect"`` in any case.
        """
        self._core.disconnect(close=close, reason=reason)
        await trio.lowlevel.cancel_shielded_checkpoint()

    def disconnect_nowait(self, *, close: bool = False, reason: str | None = None) -> None:
        """`disconnect`, for code that is not async."""
        self._core.disconnect(close=close, reason=reason)

    def expires_at(self, when: float | datetime.datetime | None) -> None:
        """Let this client be disconnected at a certain time, as what lets it in is valid until then; the last call counts.

        When that time has come it is as after `disconnect`, also while a handler runs, with the reason ``"token expired"`` for
        disconnection hooks. A client in connection middleware is refused with these words. One that is away is not recovered; if it comes
        back before, the time it brings counts from when middleware lets it in without calling this. Does nothing once it has gone.

        Args:
          when: Seconds since 1970, such as ``exp`` of a JWT, or a datetime with a time zone; ``None``, or `math.inf`: it may stay.

        Raises:
          TypeError: if it is no time.
          ValueError: if it is one that nobody can mean: without a time zone, in milliseconds, a span.
        """
        self._core.expires_at(stamp_of(when))

    def start_soon(self, function: Callable[..., Awaitable[object]], *args: object) -> None:
        """Run ``function(*args)`` as a task that dies with this socket.

        An exception in it is logged and disconnects this socket, nobody else.

        Raises:
          Disconnected: if the socket is gone.
        """
        if self._core.is_over:
            raise Disconnected("The socket is disconnected, so nothing can be started for it.")
        self._core.task.start_soon(run_child, self, required(function), args, name=function)

    # What adapters call.

    def expect_answer(self, number: int, waiter: Waiter) -> None:
        """Let ``waiter`` have the acknowledgement ``number``; `forget_answer` is to follow, whether it comes or not."""
        self._core.waiters.expect(number, waiter)

    def forget_answer(self, number: int) -> None:
        """Expect the acknowledgement ``number`` no longer."""
        self._core.waiters.forget(number)

    def has_lost_packet(self) -> None:
        """Learn that a packet for it was dropped, so that its client cannot come back as if nothing had happened."""
        if (session := self._core.rooms.session) is not None:
            session.is_whole = False
