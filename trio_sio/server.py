"""`Server`: a Socket.IO server, which is what users hold."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Final, Literal, Self, TypeVar

import trio

from .concurrency.functions import fault_of_sync, name_of
from .concurrency.unwrapping import unwrapping
from .config import Config
from .errors import ConfigurationError, RouteError
from .host import Host
from .namespaces.adapter import Cluster
from .namespaces.broadcast import BroadcastOperator
from .namespaces.client import Client
from .namespaces.instrument import Instrument
from .namespaces.instruments import Instruments, check_instrument
from .namespaces.namespace import Namespace
from .namespaces.registry import Namespaces
from .namespaces.running_server import RunningServer
from .routing.registration import Functions, Registrar
from .routing.table import Route, RoutingTable

if TYPE_CHECKING:
    from .concurrency.callbacks import Callbacks
    from .engine.connection import Connection
    from .namespaces.adapter import Adapter
    from .namespaces.subscriptions import Subscription
    from .protocol.http import Request, Response
    from .statistics import BusStatistics

__all__ = ["Server", "ServerNamespace"]

HAND_OVER: Final = 2.0  # seconds for sessions to go to other servers, behind `drain_timeout`; less than workers.worker.GRACE

F = TypeVar("F", bound=Callable[..., object])


class ServerNamespace(Namespace, Registrar):
    """A namespace as `Server.of` returns it: one can also register functions there, before the server starts.

    Attributes:
      functions: What was registered, as in ``@server.of("/chat").on("say")``.
    """

    def __init__(self, name: str, server: Server, config: Config, make_adapter: Callable[[Namespace], Adapter] | None) -> None:
        super().__init__(name, server, config, make_adapter, server.engine.start_finisher)
        self.functions = Functions()

    def _functions(self) -> Functions:
        return self.functions


class Server(Host, RunningServer, Registrar):
    """A Socket.IO server (Node: ``Server``).

    For whoever emits, subscribes or registers functions it is its main namespace: ``server.to("lobby").emit(...)`` reaches sockets
    in ``/``, and ``@server.on("say")`` is for what they say.

    Args:
      routes: What clients may connect to, besides what is registered with `on` and `of`.
      config: How to behave.
      lifespan: An async context manager function; ``async with lifespan(server):`` is entered before anything is
        served and left after everything was drained. Open databases there.
      cluster: What connects this server with others, such as `trio_sio.cluster.redis.RedisCluster`; ``None``: it is alone.
      adapter: Makes the adapter of a namespace, where its rooms are: a subclass of `trio_sio.namespaces.adapter.Adapter`, or a
        function of the namespace, which is not async; ``None``: the cluster's, or rooms in memory (Node: the option of the same name).
      instruments: Who is told what happens, in this order; see `Instrument`, and `add_instrument` for one that needs the server.

    Raises:
      TypeError: if one of them is something else, or there are both a cluster and an adapter.

    Attributes:
      routes: As given; from the start on, with what was registered.
      namespaces: Every namespace.
      cluster: As given.
    """

    def __init__(
        self,
        routes: RoutingTable | None = None,
        *,
        config: Config | None = None,
        lifespan: Callable[[Server], AbstractAsyncContextManager[object]] | None = None,
        cluster: Cluster | None = None,
        adapter: Callable[[Namespace], Adapter] | None = None,
        instruments: Iterable[Instrument] = (),
    ) -> None:
        if routes is not None and not isinstance(routes, RoutingTable):
            raise TypeError(f"Server() takes a RoutingTable, not {routes!r:.80}; write Server(RoutingTable(Route(...), ...)).")
        if lifespan is not None:
            _check_lifespan(lifespan)
        if adapter is not None and (fault := fault_of_sync(adapter)) is not None:
            raise TypeError(f"adapter= makes adapters at once, but {fault}; open what it needs in the server's lifespan.")
        if cluster is not None:
            if not isinstance(cluster, Cluster):
                raise TypeError(f"cluster={cluster!r:.80} is no Cluster; write cluster=RedisCluster(...), or leave it out.")
            if adapter is not None:
                raise TypeError("A cluster makes the adapters itself: give the server either cluster= or adapter=.")
            adapter = cluster.attach
        super().__init__(Config() if config is None else config, self._open_client, is_socketio=True)
        self.routes = routes if routes is not None else RoutingTable()
        self.cluster = cluster
        self._make_adapter = adapter
        self.namespaces: Namespaces = Namespaces(self._make_namespace, self.config)
        self._lifespan_function = lifespan
        self._opened = False
        self._instruments: list[Instrument] = []
        if isinstance(instruments, Instrument):
            raise TypeError(f"instruments={instruments!r:.80} is one instrument; write instruments=[...].")
        for instrument in instruments:
            self.add_instrument(instrument)
        self._main = self.of("/")

    @property
    def on_new_namespace(self) -> Callbacks[[Namespace]]:
        """Calls a function with each `Namespace` that is made from then on (Node: the event ``new_namespace``)."""
        return self.namespaces.on_new_namespace

    @property
    def instruments(self) -> Sequence[Instrument]:
        """Who is told what happens, in this order."""
        return tuple(self._instruments)

    def add_instrument(self, instrument: Instrument) -> None:
        """Let ``instrument`` be told what happens, too, behind those that the server has; before it is entered.

        Raises:
          RuntimeError: if it was entered already.
          TypeError: if it is no instrument, or one of its methods is async.
        """
        if self._opened:
            raise RuntimeError("This server was entered, and what it does is not told to newcomers: add instruments before.")
        check_instrument(instrument)
        self._instruments.append(instrument)

    def of(self, name: str) -> ServerNamespace:
        """Return the namespace called ``name``, to emit to or to register functions; asking alone opens it to nobody.

        Raises:
          TypeError: if it is no name: for a pattern write a `Route`.
        """
        namespace = self.namespaces.of(name)
        assert isinstance(namespace, ServerNamespace)
        return namespace

    def subscribe(self, *rooms: str, lag: Literal["raise", "drop"] = "raise", size: int = 256) -> Subscription:
        """Let a task of this process hear what a client in ``rooms`` of the main namespace would; see `Namespace.subscribe`."""
        return self._main.subscribe(*rooms, lag=lag, size=size)

    async def server_side_emit(self, event: str, *args: object) -> None:
        """Emit to every other server of the cluster; see `Namespace.server_side_emit`."""
        await self._main.server_side_emit(event, *args)

    async def server_side_emit_with_ack(self, event: str, *args: object, timeout: float | None = None) -> list[object]:
        """Likewise, and return what they answer; see `Namespace.server_side_emit_with_ack`."""
        return await self._main.server_side_emit_with_ack(event, *args, timeout=timeout)

    def on_server_side_emit(self, event: str, /, *, timeout: float | None = None) -> Callable[[F], F]:
        """Call the function when another server emits ``event`` to all; see `Namespace.on_server_side_emit`."""
        return self._main.on_server_side_emit(event, timeout=timeout)

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
        if self._instruments:
            instrument = self.engine.services.instrument = Instruments(self._instruments)
            self.namespaces.observe(instrument)
            if self.cluster is not None:
                self.cluster.instrument = instrument
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

    def docs_page(self, path: str) -> Response:
        """See `Host.docs_page`; from here on nothing can be registered."""
        from .contract.page import Surroundings, page

        config = self.config
        client = None
        if config.serve_client is not None:
            client = "socket.io.min.js" if config.parser == "json" else "socket.io.msgpack.min.js"
        table = self.compile_routes()
        try:
            contract = table.contract()
        except RouteError as exc:
            raise ConfigurationError(f"docs_path is {path!r:.200}, and the events cannot be described: {exc}") from exc
        return page(contract, Surroundings(path, config.path, client, config.transports))

    def metrics_page(self) -> Callable[[Request], Awaitable[Response]]:
        """See `Host.metrics_page`; with a `Metrics` of its own if it has none."""
        try:
            from .metrics.metrics import metrics_of
            from .metrics.page import metrics_page
        except ImportError as error:
            raise ConfigurationError(f"{error}.") from error
        return metrics_page(metrics_of(self).registry)

    def _open_client(self, connection: Connection) -> Client:
        return Client(connection, self.namespaces)

    def _all_namespaces(self) -> Iterable[Namespace]:
        return self.namespaces

    def _operator(self) -> BroadcastOperator:
        return BroadcastOperator(self._main)

    def _functions(self) -> Functions:
        return self._main.functions

    @asynccontextmanager
    async def _outermost(self) -> AsyncIterator[None]:
        with unwrapping() as body:
            async with trio.open_nursery() as nursery:
                with body:
                    if self.cluster is not None:
                        await nursery.start(self.cluster.run, self.config)
                    try:
                        yield
                        if self.cluster is not None:
                            with trio.move_on_after(HAND_OVER):
                                await self.cluster.hand_over()
                    finally:
                        self.namespaces.close()
                nursery.cancel_scope.cancel()

    def _bus(self) -> BusStatistics | None:
        return None if self.cluster is None else self.cluster.statistics()

    def _unready(self) -> str | None:
        return None if self.cluster is None else self.cluster.unready()

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
    try:
        inspect.signature(lifespan).bind(None)
    except TypeError as exc:
        raise TypeError(f"lifespan={name} cannot be called with the server, as its one argument: {exc}.") from exc
    except ValueError:
        pass  # some built-in callables have no signature to look at
    if inspect.iscoroutinefunction(lifespan) or inspect.isasyncgenfunction(lifespan) or inspect.isgeneratorfunction(lifespan):
        raise TypeError(f"lifespan={name} returns no async context manager.{_HINT}")
