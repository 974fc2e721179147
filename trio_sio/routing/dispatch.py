"""What a namespace does with its sockets: runs the connection onion, one handler per message, and the last hooks.

`NamespaceRoutes` is what `trio_sio.namespaces` talks to, and `SocketRoutes` what it makes of that for one socket. Neither
starts a task of its own: they run in the socket's dispatcher, or ask the socket to start something, so whatever runs here
ends with the socket. What has to be left after that, a controller that is an async context manager, is in the hands of
scopes.py.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from types import CoroutineType
from typing import TYPE_CHECKING, Any, NamedTuple

import trio

from ..errors import Disconnected
from ..log import get_logger
from ..namespaces.acks import as_arguments
from ..namespaces.failures import UNKNOWN_EVENT, quote
from .exception_handlers import UNANSWERED, ExceptionHandling, find_refusal, log_failure, propagate
from .middleware import Chain, Context
from .scopes import ControllerScope, ScopeTerms

if TYPE_CHECKING:
    from ..namespaces.core import SocketCore
    from ..namespaces.socket import Socket
    from ..protocol.socketio import Packet
    from .binding import Binding
    from .controllers import MarkedFunction
    from .markers import Reply

__all__ = ["Hook", "MessageHandler", "NamespaceRoutes", "RouteHooks", "SocketRoutes"]

logger = get_logger("trio_sio.routing")


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
            await _send(socket, self._replies, value)


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
        self._needs_context = bool(chain.layers or binding.needs_context or binding.keywords)
        self._replies = handler.marks.replies
        self._acked_replies = tuple(reply for reply in self._replies if reply.everyone or reply.rooms is not None)
        receive = self._handle if cancel_on_disconnect else self._finish
        self.receive: Callable[[SocketRoutes, Packet], Awaitable[None]] = functools.partial(self._start, receive) if concurrent else receive

    async def _handle(self, routes: SocketRoutes, packet: Packet) -> None:
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
                await routes.core.answer(ack_id, as_arguments(value))
                ack_id = None
            if self._replies and value is not None:
                await _send(routes.socket, self._replies if packet.id is None else self._acked_replies, value)
        except Exception as exc:
            await self._fail(ctx or self._context(routes, packet), exc, routes, ack_id)
        except BaseExceptionGroup as group:
            propagate(group, ctx or self._context(routes, packet), self._where)

    async def _call(self, ctx: Context, instances: Sequence[Any]) -> object:
        socket, binding = ctx.socket, self._binding
        method = self._get_method(instances[self._route])
        value = method(*binding.bind(list(ctx.args), socket, ctx), **binding.bind_keywords(socket, ctx))
        return await value if type(value) is CoroutineType or hasattr(value, "__await__") else value

    async def _fail(self, ctx: Context, exc: Exception, routes: SocketRoutes, ack_id: int | None) -> None:
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

    async def _start(self, receive: Callable[[SocketRoutes, Packet], Awaitable[None]], routes: SocketRoutes, packet: Packet) -> None:
        """Run ``receive`` in a task of the socket, and return when the handler has run up to where it first waits."""
        slots = routes.slots
        if slots is None:
            slots = routes.slots = trio.Semaphore(routes.core.config.limits.concurrent_handlers)
        await slots.acquire()
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
            return
        await started.wait()

    async def _finish(self, routes: SocketRoutes, packet: Packet) -> None:
        await routes.core.run_finisher(functools.partial(self._handle, routes, packet))

    def _context(self, routes: SocketRoutes, packet: Packet) -> Context:
        return Context(routes.socket, packet.data[0], tuple(packet.data[1:]), packet.id, routes.core)


class RouteHooks(NamedTuple):
    """What one route does when a client comes and goes.

    Attributes:
      scope: How its controller is entered, if it is an async context manager.
      connection: The connection hooks, in the order in which they run.
      disconnection: The disconnection hooks, in the order in which they run.
    """

    scope: ScopeTerms | None
    connection: Sequence[Hook]
    disconnection: Sequence[Hook]


class NamespaceRoutes:
    """All routes of one namespace.

    Args:
      makers: One per route: returns the controller of a socket.
      hooks: One per route.
      handlers: Of all routes, by event; ``None``: the one for all other events.
      chain: The middleware around connecting.
      exceptions: What exceptions of that middleware mean once the socket has joined.

    Attributes:
      makers, hooks, handlers, chain, exceptions: As given.
      any_handler: The one for all events that have no other.
    """

    __slots__ = ("any_handler", "chain", "exceptions", "handlers", "hooks", "makers")

    def __init__(
        self,
        makers: Sequence[Callable[[Socket], object]],
        hooks: Sequence[RouteHooks],
        handlers: Mapping[str | None, MessageHandler],
        chain: Chain,
        exceptions: ExceptionHandling,
    ) -> None:
        self.makers = makers
        self.hooks = hooks
        self.handlers = dict(handlers)
        self.any_handler = handlers.get(None)
        self.chain = chain
        self.exceptions = exceptions

    def open(self, core: SocketCore) -> SocketRoutes:
        """See `NamespaceHandler.open`."""
        return SocketRoutes(self, core)


class SocketRoutes:
    """What the routes of a namespace do with one socket: see `SocketHandler`.

    Args:
      routes: The routes.
      core: What is behind the socket.

    Attributes:
      core, socket: Both.
      instances: One controller per route; none before the socket joins.
      slots: Limits concurrent handlers; made with the first.
    """

    __slots__ = ("_begun", "_routes", "_scopes", "core", "instances", "slots", "socket")

    def __init__(self, routes: NamespaceRoutes, core: SocketCore) -> None:
        self.core = core
        self.socket = core.socket
        self.instances: tuple[Any, ...] = ()
        self.slots: trio.Semaphore | None = None
        self._routes = routes
        self._begun = 0  # so many routes have seen the connection; only they hear of the disconnection
        self._scopes: tuple[ControllerScope, ...] = ()  # of controllers that are async context managers, as far as they were entered

    async def connect(self, join: Callable[[], None]) -> None:
        """Run the whole onion; its core makes the controllers, joins, enters them, and runs the connection hooks.

        Args:
          join: Registers the socket and sends CONNECT. Not called: the client is refused.

        Raises:
          Exception: from before ``join``; it refuses the client, `ConnectionRefused` in its own words.
        """
        socket, routes = self.socket, self._routes
        ctx = Context(socket)
        joined = False
        where, exceptions = "Connection middleware", routes.exceptions

        async def core() -> None:
            nonlocal joined, where, exceptions
            self.instances = tuple(make(socket) for make in routes.makers)
            join()
            joined = True
            for index, hooks in enumerate(routes.hooks):
                if hooks.scope is not None:
                    where, exceptions = f"{hooks.scope.controller}.__aenter__", hooks.scope.exceptions
                    scope = ControllerScope(self.instances[index], hooks.scope.controller)
                    self._scopes += (scope,)
                    await scope.enter(self.core)
                self._begun += 1
                for hook in hooks.connection:
                    where, exceptions = hook.where, hook.exceptions
                    await hook.run(ctx, self.instances)
            where, exceptions = "Connection middleware", routes.exceptions

        try:
            await (core() if socket.recovered and _skips_middleware(socket) else routes.chain.run(ctx, core))
        except Exception as exc:
            if not joined:
                refusal = find_refusal(exc)
                try:
                    if refusal is exc:
                        raise
                    raise refusal from exc
                finally:
                    del refusal  # whose traceback leads here
            await exceptions.handle(ctx, exc, where)
            await socket.disconnect()
        except BaseExceptionGroup as group:
            propagate(group, ctx, where)

    def handles(self, event: str) -> bool:
        """Tell whether there is a handler for ``event``."""
        return event in self._routes.handlers or self._routes.any_handler is not None

    async def receive(self, packet: Packet) -> None:
        """Handle one EVENT; its result, or what went wrong, is answered and logged here."""
        routes = self._routes
        handler = routes.handlers.get(packet.data[0], routes.any_handler)
        if handler is None:
            await self._refuse_event(packet)
        else:
            await handler.receive(self, packet)

    async def disconnect(self, reason: str) -> None:
        """Run the disconnection hooks of every route that saw the socket connect; then leave what was entered, last first."""
        async with AsyncExitStack() as stack:
            for scope in self._scopes:
                stack.push_async_callback(scope.leave)
            await self._run_disconnection_hooks(reason)

    async def _run_disconnection_hooks(self, reason: str) -> None:
        ctx = Context(self.socket)
        for hooks in self._routes.hooks[: self._begun]:
            for hook in hooks.disconnection:
                try:
                    await hook.run(ctx, self.instances, reason)
                except Exception as exc:
                    log_failure(hook.where, ctx, exc)
                except BaseExceptionGroup as group:
                    propagate(group, ctx, hook.where)

    async def _refuse_event(self, packet: Packet) -> None:
        socket = self.socket
        logger.debug("No handler for event %s of socket %s in namespace %s", quote(packet.data[0]), socket.id, quote(socket.namespace.name))
        if packet.id is not None and socket.namespace.config.error_acks:
            await self.core.answer(packet.id, (UNKNOWN_EVENT,))


def _skips_middleware(socket: Socket) -> bool:
    recovery = socket.namespace.config.connection_state_recovery
    return recovery is not None and recovery.skip_middlewares


async def _send(socket: Socket, replies: Sequence[Reply], value: object) -> None:
    args = as_arguments(value)
    for reply in replies:
        target: Any = socket.namespace if reply.everyone else socket
        if reply.rooms is not None:
            target = target.to(*reply.rooms)
        await target.emit(reply.event, *args)
