"""`Server`: a Socket.IO server, which is what users hold."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Final, Self

from .concurrency.functions import fault_of_sync, name_of
from .config import Config
from .errors import RouteError
from .host import Host
from .namespaces.broadcast import BroadcastOperator, NamespaceBroadcaster
from .namespaces.client import Client
from .namespaces.namespace import Namespace, Namespaces
from .routing.functions import Functions
from .routing.table import Route, RoutingTable

if TYPE_CHECKING:
    from .engine.connection import Connection
    from .namespaces.adapter import Adapter

__all__ = ["Server", "ServerNamespace"]


class ServerNamespace(Namespace):
    """A namespace as `Server.of` returns it: one can also register functions there, before the server starts.

    Attributes:
      functions: What was registered.
      on, on_any_message, on_connection, on_disconnection, use: Decorators of `Functions`; the first parameter of what they register is
        the socket, as in ``@server.of("/chat").on("say")``.
    """

    def __init__(self, name: str, server: Server, config: Config, make_adapter: Callable[[Namespace], Adapter] | None) -> None:
        super().__init__(name, server, config, make_adapter)
        self.functions = Functions()
        self.on = self.functions.on
        self.on_any_message = self.functions.on_any_message
        self.on_connection = self.functions.on_connection
        self.on_disconnection = self.functions.on_disconnection
        self.use = self.functions.use


class Server(Host, NamespaceBroadcaster):
    """A Socket.IO server (Node: ``Server``).

    As a broadcaster it is its main namespace: ``server.to("lobby").emit(...)`` reaches sockets in ``/``.

    Args:
      routes: What clients may connect to, besides what is registered with `on` and `of`.
      config: How to behave.
      lifespan: An async context manager function; ``async with lifespan(server):`` is entered before anything is
        served and left after everything was drained. Open databases there.
      adapter: Makes the adapter of a namespace, where its rooms are: a subclass of `trio_sio.namespaces.adapter.Adapter`, or a
        function of the namespace, which is not async; ``None``: rooms in memory (Node: the option of the same name).

    Raises:
      TypeError: if one of them is something else.

    Attributes:
      routes: As given; from the start on, with what was registered.
      namespaces: Every namespace.
      on, on_any_message, on_connection, on_disconnection, use: Those of the main namespace, see `ServerNamespace`.
      subscribe, server_side_emit, server_side_emit_with_ack, on_server_side_emit: Those of the main namespace, see `Namespace`.
      on_new_namespace: Calls a function with each `Namespace` that is made from then on.
    """

    def __init__(
        self,
        routes: RoutingTable | None = None,
        *,
        config: Config | None = None,
        lifespan: Callable[[Server], AbstractAsyncContextManager[object]] | None = None,
        adapter: Callable[[Namespace], Adapter] | None = None,
    ) -> None:
        if routes is not None and not isinstance(routes, RoutingTable):
            raise TypeError(f"Server() takes a RoutingTable, not {routes!r:.80}; write Server(RoutingTable(Route(...), ...)).")
        if lifespan is not None:
            _check_lifespan(lifespan)
        if adapter is not None and (fault := fault_of_sync(adapter)) is not None:
            raise TypeError(f"adapter= makes adapters at once, but {fault}; open what it needs in the server's lifespan.")
        super().__init__(Config() if config is None else config, self._open_client, is_socketio=True)
        self.routes = routes if routes is not None else RoutingTable()
        self._make_adapter = adapter
        self.namespaces = Namespaces(self._make_namespace, self.config)
        self._lifespan_function = lifespan
        self._opened = False
        main = self.of("/")
        self.on = main.on
        self.on_any_message = main.on_any_message
        self.on_connection = main.on_connection
        self.on_disconnection = main.on_disconnection
        self.use = main.use
        self.subscribe = main.subscribe
        self.server_side_emit = main.server_side_emit
        self.server_side_emit_with_ack = main.server_side_emit_with_ack
        self.on_server_side_emit = main.on_server_side_emit
        self.on_new_namespace = self.namespaces.on_new_namespace

    def of(self, name: str) -> ServerNamespace:
        """Return the namespace called ``name``, to emit to or to register functions; asking alone opens it to nobody.

        Raises:
          TypeError: if it is no name: for a pattern write a `Route`.
        """
        namespace = self.namespaces.of(name)
        assert isinstance(namespace, ServerNamespace)
        return namespace

    def _make_namespace(self, name: str) -> ServerNamespace:
        namespace = ServerNamespace(name, self, self.config, self._make_adapter)
        if self._opened:
            namespace.functions.close()
        return namespace

    async def __aenter__(self) -> Self:
        self.compile_routes()
        return await super().__aenter__()

    def compile_routes(self) -> RoutingTable:
        """Add what was registered to `routes` and return it; from here on nothing can be. Entering the server does it.

        Raises:
          RouteError: if what was registered contradicts the table, or cannot be called.
        """
        if self._opened:
            return self.routes
        self._opened = True
        routes = []
        for namespace in self.namespaces:
            functions = self.of(namespace.name).functions
            if functions.close():
                routes.append(Route(namespace.name, functions, connection_middleware=functions.middleware))
            elif functions.middleware:
                raise RouteError(
                    f"use() on namespace {namespace.name!r} guards nothing, as no function is registered there; "
                    "give the middleware to its Route, or to RoutingTable(connection_middleware=[...])."
                )
        self.routes = self.routes.extended(routes)
        for where, handler in self.routes.entries:
            self.namespaces.add(where, handler)
        self.namespaces.start()
        return self.routes

    def _open_client(self, connection: Connection) -> Client:
        return Client(connection, self.namespaces)

    def _all_namespaces(self) -> Iterable[Namespace]:
        return self.namespaces

    def _operator(self) -> BroadcastOperator:
        return BroadcastOperator(self.namespaces.of("/"))

    def _lifespan(self) -> AbstractAsyncContextManager[object]:
        if self._lifespan_function is None:
            return super()._lifespan()
        lifespan: object = self._lifespan_function(self)
        if not isinstance(lifespan, AbstractAsyncContextManager):
            raise TypeError(
                f"lifespan={name_of(self._lifespan_function)} returned {lifespan!r:.80}, which is no async context manager.{_HINT}"
            )
        return lifespan


_HINT: Final = " Write an async generator function under @contextlib.asynccontextmanager, and give it without calling it."


def _check_lifespan(lifespan: object) -> None:
    """Raise `TypeError` if ``lifespan`` is certainly no async context manager function."""
    name = name_of(lifespan)
    if isinstance(lifespan, AbstractAsyncContextManager):
        raise TypeError(f"lifespan={name} is an async context manager, but each server needs one of its own.{_HINT}")
    if not callable(lifespan):
        raise TypeError(f"lifespan={lifespan!r:.80} cannot be called.{_HINT}")
    if inspect.iscoroutinefunction(lifespan) or inspect.isasyncgenfunction(lifespan) or inspect.isgeneratorfunction(lifespan):
        raise TypeError(f"lifespan={name} returns no async context manager.{_HINT}")
