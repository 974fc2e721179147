"""What a namespace does with its sockets: runs the connection onion, one handler per message, and the last hooks.

`NamespaceRoutes` is what `trio_sio.namespaces` talks to. It never starts a task of its own: it runs in the socket's
dispatcher, or asks the socket to start something, so whatever runs here ends with the socket. What has to be left after
that, a controller that is an async context manager, is in the hands of scopes.py.
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
from .failures import UNANSWERED, Failures, find_refusal, log_failure, propagate
from .middleware import Chain, Context
from .scopes import ControllerScope, ScopeTerms

if TYPE_CHECKING:
    from ..namespaces.socket import Socket
    from ..protocol.socketio import Packet
    from .binding import Binding
    from .controllers import MarkedFunction
    from .markers import Reply

__all__ = ["Hook", "MessageHandler", "NamespaceRoutes", "RouteHooks"]

logger = get_logger("trio_sio.routing")


class _Controllers:
    """What routing keeps for one socket.

    Attributes:
      instances: One controller per route of the namespace.
      begun: How many of these routes have seen the connection; only they hear of the disconnection.
      scopes: Those of the controllers that are async context managers, as far as they were entered.
      slots: Limits concurrent handlers; made with the first.
    """

    __slots__ = ("begun", "instances", "scopes", "slots")

    def __init__(self, instances: tuple[Any, ...]) -> None:
        self.instances = instances
        self.begun = 0
        self.scopes: list[ControllerScope] = []
        self.slots: trio.Semaphore | None = None


class Hook:
    """One connection or disconnection hook.

    Args:
      handler: The function.
      route: The index of its route among those of the namespace.
      binding: How it is called.
      failures: What its exceptions mean.
    """

    __slots__ = ("_binding", "_get_method", "_replies", "_route", "failures", "where")

    def __init__(self, handler: MarkedFunction, route: int, binding: Binding, failures: Failures) -> None:
        self.where = handler.where
        self.failures = failures
        self._get_method = handler.get
        self._replies = handler.marks.replies
        self._route = route
        self._binding = binding

    async def run(self, ctx: Context, controllers: _Controllers, *args: object) -> None:
        """Call it, and send what it returns where its decorators say."""
        socket, binding = ctx.socket, self._binding
        method = self._get_method(controllers.instances[self._route])
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
      failures: What its exceptions mean.
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
        "_failures",
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
        failures: Failures,
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
        self._failures = failures
        self._needs_context = bool(chain.layers or binding.needs_context or binding.keywords)
        self._replies = handler.marks.replies
        self._acked_replies = tuple(reply for reply in self._replies if reply.everyone or reply.rooms is not None)
        receive = self._handle if cancel_on_disconnect else self._finish
        self.receive: Callable[[Socket, Packet], Awaitable[None]] = functools.partial(self._start, receive) if concurrent else receive

    async def _handle(self, socket: Socket, packet: Packet, controllers: _Controllers | None = None) -> None:
        ctx: Context | None = None
        ack_id = packet.id
        instances = (controllers or socket._routing).instances
        try:
            if self._needs_context:
                ctx = self._context(socket, packet)
                value = await self._chain.run(ctx, functools.partial(self._call, ctx, instances))
                if ctx._ack is not None:
                    ack_id = None
            else:
                # Nine handlers in ten come this way: no context, no onion, nothing but the call.
                value = self._get_method(instances[self._route])(*self._bind(packet.data[1:], socket, None))
                if type(value) is CoroutineType or (value is not None and hasattr(value, "__await__")):
                    value = await value
            if ack_id is not None:
                await socket._answer(ack_id, as_arguments(value))
                ack_id = None
            if self._replies and value is not None:
                await _send(socket, self._replies if packet.id is None else self._acked_replies, value)
        except Exception as exc:
            await self._fail(ctx or self._context(socket, packet), exc, ack_id)
        except BaseExceptionGroup as group:
            propagate(group, ctx or self._context(socket, packet), self._where)

    async def _call(self, ctx: Context, instances: Sequence[Any]) -> object:
        socket, binding = ctx.socket, self._binding
        method = self._get_method(instances[self._route])
        value = method(*binding.bind(list(ctx.args), socket, ctx), **binding.bind_keywords(socket, ctx))
        return await value if type(value) is CoroutineType or hasattr(value, "__await__") else value

    async def _fail(self, ctx: Context, exc: Exception, ack_id: int | None) -> None:
        answer = await self._failures.handle(ctx, exc, self._where)
        if answer is UNANSWERED:
            return
        args = as_arguments(answer)
        try:
            if ctx._ack is not None:
                await ctx._ack(*args)  # which does nothing if the handler has answered
            elif ack_id is not None:
                await ctx.socket._answer(ack_id, args)
        except Exception as second:
            log_failure(f"The answer of an exception handler for {self._where}", ctx, second)

    async def _start(self, receive: Callable[[Socket, Packet], Awaitable[None]], socket: Socket, packet: Packet) -> None:
        """Run ``receive`` in a task of the socket, and return when the handler has run up to where it first waits."""
        controllers = socket._routing
        if controllers.slots is None:
            controllers.slots = trio.Semaphore(socket.namespace.config.limits.concurrent_handlers)
        slots = controllers.slots
        await slots.acquire()
        started = trio.Event()

        async def run() -> None:
            # Waking the dispatcher first is no race: it cannot run before this task waits for something.
            started.set()
            try:
                await receive(socket, packet)
            finally:
                slots.release()

        try:
            socket.start_soon(run)
        except Disconnected:
            slots.release()
            return
        await started.wait()

    async def _finish(self, socket: Socket, packet: Packet) -> None:
        # It may go on when the socket has let go of its controllers.
        await socket._start_finisher(functools.partial(self._handle, socket, packet, socket._routing))

    def _context(self, socket: Socket, packet: Packet) -> Context:
        return Context(socket, packet.data[0], tuple(packet.data[1:]), packet.id)


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
      failures: What exceptions of that middleware mean once the socket has joined.
    """

    def __init__(
        self,
        makers: Sequence[Callable[[Socket], object]],
        hooks: Sequence[RouteHooks],
        handlers: Mapping[str | None, MessageHandler],
        chain: Chain,
        failures: Failures,
    ) -> None:
        self._makers = makers
        self._hooks = hooks
        self._handlers = dict(handlers)
        self._any_handler = handlers.get(None)
        self._chain = chain
        self._failures = failures

    async def connect(self, socket: Socket, join: Callable[[], None]) -> None:
        """Run the whole onion; its core makes the controllers, joins, enters them, and runs the connection hooks.

        Args:
          socket: Who connects.
          join: Registers the socket and sends CONNECT. Not called: the client is refused.

        Raises:
          Exception: from before ``join``; it refuses the client, `ConnectionRefused` in its own words.
        """
        ctx = Context(socket)
        joined = False
        where, failures = "Connection middleware", self._failures

        async def core() -> None:
            nonlocal joined, where, failures
            controllers = socket._routing = _Controllers(tuple(make(socket) for make in self._makers))
            join()
            joined = True
            for index, hooks in enumerate(self._hooks):
                if hooks.scope is not None:
                    where, failures = f"{hooks.scope.controller}.__aenter__", hooks.scope.failures
                    scope = ControllerScope(controllers.instances[index], hooks.scope.controller)
                    controllers.scopes.append(scope)
                    await scope.enter(socket)
                controllers.begun += 1
                for hook in hooks.connection:
                    where, failures = hook.where, hook.failures
                    await hook.run(ctx, controllers)
            where, failures = "Connection middleware", self._failures

        try:
            await (core() if socket.recovered and _skips_middleware(socket) else self._chain.run(ctx, core))
        except Exception as exc:
            if not joined:
                refusal = find_refusal(exc)
                try:
                    if refusal is exc:
                        raise
                    raise refusal from exc
                finally:
                    del refusal  # whose traceback leads here
            await failures.handle(ctx, exc, where)
            await socket.disconnect()
        except BaseExceptionGroup as group:
            propagate(group, ctx, where)

    def handles(self, event: str) -> bool:
        """Tell whether there is a handler for ``event``."""
        return event in self._handlers or self._any_handler is not None

    async def receive(self, socket: Socket, packet: Packet) -> None:
        """Handle one EVENT; its result, or what went wrong, is answered and logged here."""
        handler = self._handlers.get(packet.data[0], self._any_handler)
        if handler is None:
            await self._refuse_event(socket, packet)
        else:
            await handler.receive(socket, packet)

    async def disconnect(self, socket: Socket, reason: str) -> None:
        """Run the disconnection hooks of every route that saw the socket connect; then leave what was entered, last first."""
        controllers = socket._routing
        async with AsyncExitStack() as stack:
            for scope in controllers.scopes:
                stack.push_async_callback(scope.leave)
            await self._run_disconnection_hooks(socket, controllers, reason)

    async def _run_disconnection_hooks(self, socket: Socket, controllers: _Controllers, reason: str) -> None:
        ctx = Context(socket)
        for hooks in self._hooks[: controllers.begun]:
            for hook in hooks.disconnection:
                try:
                    await hook.run(ctx, controllers, reason)
                except Exception as exc:
                    log_failure(hook.where, ctx, exc)
                except BaseExceptionGroup as group:
                    propagate(group, ctx, hook.where)

    async def _refuse_event(self, socket: Socket, packet: Packet) -> None:
        logger.debug("No handler for event %s of socket %s in namespace %s", quote(packet.data[0]), socket.id, quote(socket.namespace.name))
        if packet.id is not None and socket.namespace.config.error_acks:
            await socket._answer(packet.id, (UNKNOWN_EVENT,))


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
