"""What a namespace does with its sockets: runs the connection onion, one handler per message, and the last hooks.

`NamespaceRoutes` is what `trio_sio.namespaces` talks to, and `SocketRoutes` what it makes of that for one socket. Neither
starts a task of its own. How a single function is called is in calling.py; what has to be left in the end, a controller
that is an async context manager, is in the hands of scopes.py.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

from ..concurrency.functions import let_go
from ..errors import ConnectionRefused, DisconnectReason
from ..log import get_logger
from ..namespaces.failures import UNKNOWN_EVENT, quote
from ..namespaces.observation import Handling, as_it_came
from .exception_handlers import ExceptionHandling, find_refusal, log_failure, propagate
from .keeping import KeptControllers
from .middleware import Chain, Context
from .scopes import ControllerScope, ScopeTerms

if TYPE_CHECKING:
    import trio

    from ..namespaces.core import SocketCore
    from ..namespaces.data_types import DataType
    from ..namespaces.socket import Socket
    from ..namespaces.socket_instrument import SocketInstrument
    from ..protocol.socketio import Packet
    from .calling import Hook, MessageHandler

__all__ = ["NamespaceRoutes", "RouteHooks", "SocketRoutes"]

logger = get_logger("trio_sio.routing")


class RouteHooks(NamedTuple):
    """What one route does when a client comes and goes.

    Attributes:
      scope: How its controller is entered, if it is an async context manager.
      connection: The connection hooks, in the order in which they run.
      disconnection: The disconnection hooks, in the order in which they run.
      keeps: Whether its controller is a plain object of one socket, so that it can be kept with the session.
    """

    scope: ScopeTerms | None
    connection: Sequence[Hook]
    disconnection: Sequence[Hook]
    keeps: bool


class NamespaceRoutes:
    """All routes of one namespace.

    Args:
      makers: One per route: returns the controller of a socket.
      hooks: One per route.
      handlers: Of all routes, by event; ``None``: the one for all other events.
      chain: The middleware around connecting.
      exceptions: What exceptions of that middleware mean once the socket has joined.
      make_data: Makes the data of a socket; ``None``: a dict will do.
      data_type: What that makes, if that is known.

    Attributes:
      makers, hooks, handlers, chain, exceptions, make_data, data_type: As given.
      any_handler: The one for all events that have no other.
    """

    __slots__ = ("any_handler", "chain", "data_type", "exceptions", "handlers", "hooks", "make_data", "makers")

    def __init__(
        self,
        makers: Sequence[Callable[[Socket], object]],
        hooks: Sequence[RouteHooks],
        handlers: Mapping[str | None, MessageHandler],
        chain: Chain,
        exceptions: ExceptionHandling,
        make_data: Callable[[Socket], object] | None = None,
        data_type: DataType | None = None,
    ) -> None:
        self.make_data = make_data
        self.data_type = data_type
        self.makers = makers
        self.hooks = hooks
        self.handlers = dict(handlers)
        self.any_handler = handlers.get(None)
        self.chain = chain
        self.exceptions = exceptions

    def open(self, core: SocketCore) -> SocketRoutes:
        """See `NamespaceHandler.open`."""
        instrument = core.namespace.instrument
        return SocketRoutes(self, core) if instrument is None else ObservedRoutes(self, core, instrument)


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
        if routes.make_data is not None and not socket.recovered:
            socket.data = routes.make_data(socket)
        ctx = Context(socket)
        joined = False
        where, exceptions = "Connection middleware", routes.exceptions

        async def core() -> None:
            nonlocal joined, where, exceptions
            self.instances = self._controllers()
            join()
            self._keep_controllers()
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
            result = await (core() if socket.recovered and _skips_middleware(socket) else routes.chain.run(ctx, core))
            if not joined and let_go(result):
                logger.error(
                    "Connection middleware of namespace %.80r returned something that is still to be awaited, so the client is refused; "
                    "write `return await call_next()`.",
                    socket.namespace.name,
                )
        except Exception as exc:
            if not joined:
                refusal = find_refusal(exc)
                try:
                    if refusal is exc:
                        raise
                    raise refusal from exc
                finally:
                    del refusal  # whose traceback leads here
            if isinstance(find_refusal(exc), ConnectionRefused):
                logger.warning("%s raised ConnectionRefused, but its client is in by then; refuse it in connection middleware.", where)
            await exceptions.handle(ctx, exc, where)
            await socket.disconnect()
        except BaseExceptionGroup as group:
            propagate(group, ctx, where)

    def _controllers(self) -> tuple[Any, ...]:
        """Return the controllers: made for this socket, or kept from an earlier one of the same session."""
        socket, routes, session = self.socket, self._routes, self.core.rooms.session
        if session is not None and socket.recovered and isinstance(session.controllers, KeptControllers):
            return session.controllers.move(socket, routes.makers)
        return tuple(make(socket) for make in routes.makers)

    def _keep_controllers(self) -> None:
        session = self.core.rooms.session
        if session is None or session.is_over:
            return
        recovery = self.core.config.connection_state_recovery
        if recovery is not None and recovery.keep_controllers:
            session.controllers = KeptControllers(self.instances, [hooks.keeps for hooks in self._routes.hooks], self.socket)

    def handles(self, event: str) -> bool:
        """Tell whether there is a handler for ``event``."""
        return event in self._routes.handlers or self._routes.any_handler is not None

    def receive(self, packet: Packet) -> Awaitable[object]:
        """Handle one EVENT; its result, or what went wrong, is answered and logged here."""
        routes = self._routes
        handler = routes.handlers.get(packet.data[0], routes.any_handler)
        return self._refuse_event(packet) if handler is None else handler.receive(self, packet)

    def never_handled(self, packet: Packet) -> None:
        """See `Addressee.never_handled`."""

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


class ObservedRoutes(SocketRoutes):
    """`SocketRoutes` that tell an instrument of each event what came of it.

    Args:
      routes: The routes.
      core: What is behind the socket.
      instrument: What is told.
    """

    __slots__ = ("_instrument",)

    def __init__(self, routes: NamespaceRoutes, core: SocketCore, instrument: SocketInstrument[Any]) -> None:
        super().__init__(routes, core)
        self._instrument = instrument

    def handling(self, packet: Packet) -> Handling:
        """See `Observer.handling`."""
        return Handling(self._instrument, self.socket, packet)

    def never_handled(self, packet: Packet) -> None:
        """See `Addressee.never_handled`."""
        # Where it was cancelled from outside its socket is about to end for that reason.
        reason = self.core.reason or DisconnectReason.SERVER_SHUTTING_DOWN
        self._instrument.event_refused(self.socket, as_it_came(packet).data[0], str(reason))

    def receive(self, packet: Packet) -> Awaitable[object]:
        """See `SocketRoutes.receive`."""
        handler = self._handler_for(packet)
        return self._receive_unknown(packet) if handler is None else handler.receive_observed(self, packet)

    async def receive_within(self, packet: Packet, handling: Handling) -> None:
        """See `ObservedHandler.receive_within`."""
        handler = self._handler_for(packet)
        if handler is None:
            handling.ended("unknown")
            await self._refuse_event(packet)
        elif handler.stays:
            await handler.handle_within(self, packet, handling)
        else:
            await handler.receive_observed(self, handling.moves(packet))

    async def _receive_unknown(self, packet: Packet) -> None:
        with self.handling(packet) as handling:
            await self.receive_within(packet, handling)

    def _handler_for(self, packet: Packet) -> MessageHandler | None:
        return self._routes.handlers.get(packet.data[0], self._routes.any_handler)


def _skips_middleware(socket: Socket) -> bool:
    recovery = socket.namespace.config.connection_state_recovery
    return recovery is not None and recovery.skip_middlewares
