"""How one function of a controller is called: a hook, or the handler of an event with the middleware around it.

What a handler returns, or raises, is answered here. Nothing here starts a task of its own: it runs in the socket's
dispatcher, or asks the socket to start something, so whatever runs here ends with the socket.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import trio

from ..concurrency.functions import let_go, name_of
from ..errors import Disconnected
from ..namespaces.acks import as_arguments
from ..namespaces.observation import outcome_of_event
from .exception_handlers import UNANSWERED, ExceptionHandling, log_failure, propagate
from .middleware import Chain, Context

if TYPE_CHECKING:
    from ..namespaces.core import SocketCore
    from ..namespaces.observation import Handling
    from ..namespaces.socket import Socket
    from ..protocol.socketio import Packet
    from .binding import Binding
    from .controllers import MarkedFunction
    from .markers import ChooseRooms, Reply

__all__ = ["Addressee", "Hook", "MessageHandler", "Observer"]


class Addressee(Protocol):
    """Whose message it is.

    Attributes:
      core, socket: The socket, and what is behind it.
      instances: Its controllers, one per route.
      slots: Limits its concurrent handlers; made with the first.
    """

    core: SocketCore
    socket: Socket
    instances: tuple[Any, ...]
    slots: trio.Semaphore | None

    def never_handled(self, packet: Packet) -> None:
        """Learn that its socket has ended before a message was handled that was to have a task of its own."""


class Observer(Addressee, Protocol):
    """The same, with an instrument that is told what becomes of a message."""

    def handling(self, packet: Packet) -> Handling:
        """Return what surrounds its handling."""


A = TypeVar("A", bound=Addressee)

Receive = Callable[[A, "Packet"], Awaitable[object]]


class Hook:
    """One connection or disconnection hook.

    Args:
      handler: The function.
      route: The index of its route among those of the namespace.
      binding: How it is called.
      exceptions: What its exceptions mean.
    """

    __slots__ = ("_binding", "_get_method", "_replies", "_route", "exceptions", "where")

    def __init__(self, handler: MarkedFunction, route: int, binding: Binding, exceptions: ExceptionHandling) -> None:
        self.where = handler.where
        self.exceptions = exceptions
        self._get_method = handler.get
        self._replies = handler.marks.replies
        self._route = route
        self._binding = binding

    async def run(self, ctx: Context, instances: Sequence[Any], *args: object) -> None:
        """Call it, and send what it returns where its decorators say."""
        socket, binding = ctx.socket, self._binding
        method = self._get_method(instances[self._route])
        value = method(*binding.bind_hook(args, socket, ctx), **binding.bind_keywords(socket, ctx))
        if type(value) is CoroutineType or hasattr(value, "__await__"):
            value = await value
        if value is not None:
            await _send(socket, self._replies, value, ctx)


class MessageHandler:
    """One handler for one event, or for any.

    Args:
      handler: The function.
      route: The index of its route among those of the namespace.
      binding: How it is called.
      chain: The middleware around it.
      exceptions: What its exceptions mean.
      concurrent: Whether later events may overtake it.
      cancel_on_disconnect: Whether it ends with the socket.

    Attributes:
      receive: Takes one message; returns when the next may be taken.
      receive_observed: The same, where an instrument is told of that.
      stays: Whether it is handled in the task that calls ``receive``.
    """

    __slots__ = (
        "_acked_replies",
        "_bind",
        "_binding",
        "_chain",
        "_exceptions",
        "_get_method",
        "_needs_context",
        "_replies",
        "_route",
        "_where",
        "receive",
        "receive_observed",
        "stays",
    )

    def __init__(
        self,
        handler: MarkedFunction,
        route: int,
        binding: Binding,
        chain: Chain,
        exceptions: ExceptionHandling,
        *,
        concurrent: bool,
        cancel_on_disconnect: bool,
    ) -> None:
        self._where = handler.where
        self._get_method = handler.get
        self._route = route
        self._binding = binding
        self._bind = binding.bind
        self._chain = chain
        self._exceptions = exceptions
        self._replies = handler.marks.replies
        self._acked_replies = tuple(reply for reply in self._replies if reply.everyone or reply.has_rooms)
        chooses = any(reply.choose is not None for reply in self._replies)
        self._needs_context = bool(chain.layers or binding.needs_context or binding.keywords or chooses)
        self.stays = cancel_on_disconnect and not concurrent
        self.receive: Receive[Addressee] = self._handle
        self.receive_observed: Receive[Observer] = self._handle_observed
        if not cancel_on_disconnect:
            self.receive = functools.partial(self._finish, self.receive)
            self.receive_observed = functools.partial(self._finish, self.receive_observed)
        if concurrent:
            self.receive = functools.partial(self._start, self.receive)
            self.receive_observed = functools.partial(self._start, self.receive_observed)

    async def handle_within(self, routes: Addressee, packet: Packet, handling: Handling) -> None:
        """Handle one message, which `stays`, and tell ``handling`` what came of it."""
        error = await self._handle(routes, packet)
        handling.ended(outcome_of_event(error, routes.socket), error)

    async def _handle_observed(self, routes: Observer, packet: Packet) -> None:
        with routes.handling(packet) as handling:
            await self.handle_within(routes, packet, handling)

    async def _handle(self, routes: Addressee, packet: Packet) -> Exception | None:
        """Handle one message; return what was raised, about which everything is done."""
        ctx: Context | None = None
        ack_id = packet.id
        try:
            if self._needs_context:
                ctx = self._context(routes, packet)
                value = await self._chain.run(ctx, functools.partial(self._call, ctx, routes.instances))
                if ctx._ack is not None:
                    ack_id = None
            else:
                # Nine handlers in ten come this way: no context, no onion, nothing but the call.
                value = self._get_method(routes.instances[self._route])(*self._bind(packet.data[1:], routes.socket, None))
                if type(value) is CoroutineType or (value is not None and hasattr(value, "__await__")):
                    value = await value
            if ack_id is not None:
                values = as_arguments(value)
                if not routes.core.answer_nowait(ack_id, values):
                    await routes.core.answer(ack_id, values)
                ack_id = None
            if self._replies and value is not None:
                await _send(routes.socket, self._replies if packet.id is None else self._acked_replies, value, ctx)
        except Exception as exc:
            await self._fail(ctx or self._context(routes, packet), exc, routes, ack_id)
            return exc
        except BaseExceptionGroup as group:
            propagate(group, ctx or self._context(routes, packet), self._where)
        else:
            return None

    async def _call(self, ctx: Context, instances: Sequence[Any]) -> object:
        socket, binding = ctx.socket, self._binding
        method = self._get_method(instances[self._route])
        value = method(*binding.bind(list(ctx.args), socket, ctx), **binding.bind_keywords(socket, ctx))
        return await value if type(value) is CoroutineType or hasattr(value, "__await__") else value

    async def _fail(self, ctx: Context, exc: Exception, routes: Addressee, ack_id: int | None) -> None:
        answer = await self._exceptions.handle(ctx, exc, self._where)
        if answer is UNANSWERED:
            return
        args = as_arguments(answer)
        try:
            if ctx._ack is not None:
                await ctx._ack(*args)  # which does nothing if the handler has answered
            elif ack_id is not None:
                await routes.core.answer(ack_id, args)
        except Exception as second:
            log_failure(f"The answer of an exception handler for {self._where}", ctx, second)

    async def _start(self, receive: Receive[A], routes: A, packet: Packet) -> None:
        """Run ``receive`` in a task of the socket, and return when the handler has run up to where it first waits."""
        slots = routes.slots
        if slots is None:
            slots = routes.slots = trio.Semaphore(routes.core.config.limits.concurrent_handlers)
        try:
            await slots.acquire()
        except trio.Cancelled:
            routes.never_handled(packet)
            raise
        started = trio.Event()

        async def run() -> None:
            # Waking the dispatcher first is no race: it cannot run before this task waits for something.
            started.set()
            try:
                await receive(routes, packet)
            finally:
                slots.release()

        try:
            routes.socket.start_soon(run)
        except Disconnected:
            slots.release()
            routes.never_handled(packet)
            return
        await started.wait()

    async def _finish(self, receive: Receive[A], routes: A, packet: Packet) -> None:
        try:
            await routes.core.run_finisher(functools.partial(receive, routes, packet))
        except Disconnected:
            routes.never_handled(packet)

    def _context(self, routes: Addressee, packet: Packet) -> Context:
        return Context(routes.socket, packet.data[0], tuple(packet.data[1:]), packet.id, routes.core)


async def _send(socket: Socket, replies: Sequence[Reply], value: object, ctx: Context | None) -> None:
    args = as_arguments(value)
    for reply in replies:
        rooms = reply.rooms
        if reply.choose is not None and ctx is not None:
            rooms = _chosen(reply.choose, ctx)
            if not rooms:
                continue
        target: Any = socket.namespace if reply.everyone else socket
        if rooms is not None:
            target = target.to(*rooms)
        await target.emit(reply.event if reply.declared is None else reply.declared, *args)


def _chosen(choose: ChooseRooms, ctx: Context) -> tuple[str, ...]:
    rooms: object = choose(ctx)
    if isinstance(rooms, str):
        return (rooms,)
    if not isinstance(rooms, Iterable):
        let_go(rooms)
        raise TypeError(f"to={name_of(choose)} returned {rooms!r:.80}, which is no room; return one or more strings, or () for nobody.")
    return tuple(rooms)
