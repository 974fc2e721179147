"""What `Server` and `EngineServer` share: a scope to run in, and the doors that connections come through."""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import trio

from .concurrency.under_trio import require_trio
from .config import Config
from .engine.background import Background
from .engine.engine import Engine
from .engine.hosts import HostPolicy
from .engine.refusals import NOT_RUNNING, SHUTTING_DOWN
from .errors import ConfigurationError
from .health import Health, Ready
from .measuring import measure
from .stopping import serve_until_signal

if TYPE_CHECKING:
    from types import TracebackType

    from trio_websocket import WebSocketRequest

    from .doors.asgi import ASGIApplication
    from .doors.asgi.messages import ASGIFramework
    from .doors.native.listener import Listener
    from .doors.native.readiness import Readiness
    from .doors.native.site import Page
    from .engine.connection import Connection
    from .engine.roles import Receiver
    from .namespaces.namespace import Namespace
    from .protocol.http import Request, Response
    from .statistics import BusStatistics, Statistics

__all__ = ["Host"]

_WRITTEN: Final = "server.run(HOST, PORT), or trio.run(server.serve, HOST, PORT)"


class Host:
    """Something that clients connect to.

    Entering it (``async with``) starts what all connections share; leaving it drains; cancelling it is immediate.
    `serve` and the ASGI lifespan enter it when nobody has.

    Args:
      config: How to behave.
      open_session: Makes the receiver of a new session.
      is_socketio: Whether messages are Socket.IO packets, for the log.

    Attributes:
      config: As given.
      engine: Every session.
      readiness: What receives for plain sockets at doors of our own while it runs, where there is an epoll.
    """

    def __init__(self, config: Config, open_session: Callable[[Connection], Receiver], *, is_socketio: bool = False) -> None:
        if not isinstance(config, Config):
            raise TypeError(f"config={config!r:.80} is no Config; write config=Config(...).")
        self.config = config
        self.engine = Engine(config, open_session, is_socketio=is_socketio)
        self.readiness: Readiness | None = None
        self._background = Background()
        self._scope: AsyncExitStack | None = None
        self._entered = False
        self._entered_at = 0.0

    # The scope.

    async def __aenter__(self) -> Self:
        require_trio("A server", _WRITTEN)
        if self._entered:
            raise RuntimeError("This server was entered before. A server runs once: make a new one to run again.")
        self._entered = True
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._outermost())
            await stack.enter_async_context(self._lifespan())
            await stack.enter_async_context(self._background.running(self.engine.draining))
            self.readiness = _make_readiness()
            services: list[Callable[[], Awaitable[object]]] = [] if self.readiness is None else [self.readiness.run]
            await stack.enter_async_context(self.engine.running(*services))
            self._scope = stack.pop_all()
        self._entered_at = trio.current_time()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        scope, self._scope = self._scope, None
        assert scope is not None
        return await scope.__aexit__(kind, error, traceback)  # noqa: ASYNC102  # what it awaits is bounded by drain_timeout

    def start_soon(self, function: Callable[..., Awaitable[object]], *args: object, failure: Literal["log", "raise"] = "log") -> None:
        """Run ``function(*args)`` as long as the server runs: from now on, or from when it is entered; cancelled when it drains.

        It begins behind the lifespan, whose resources it may use, and has ended before these are closed. What belongs to one
        client goes to `Socket.start_soon`.

        Args:
          function: An async function.
          args: Its arguments.
          failure: What an exception in it means: ``"log"`` is a line with its traceback; ``"raise"`` ends the server, and
            ``async with server``, or `serve`, raises it in a group.

        Raises:
          RuntimeError: if the server drains, or is over.
          TypeError: if the function is not async.
        """
        self._background.start_soon(function, *args, failure=failure)

    @property
    def running(self) -> bool:
        """Whether it has been entered and not left."""
        return self._scope is not None

    async def drain(self) -> None:
        """Say goodbye to every client and wait until all is done, for `Config.drain_timeout` at most.

        New handshakes get 503 with Retry-After from now on, and `serve` returns. Leaving the server drains as well.
        """
        await self.engine.drain()

    # What operators want to know.

    def health(self) -> Health:
        """Tell whether the server lives, for whoever restarts it if it does not; a busy or draining server does."""
        return Health(alive=self.running, uptime=self._uptime())

    def ready(self) -> Ready:
        """Tell whether the server takes new clients, for whoever sends them to it."""
        if not self.running:
            return Ready(ready=False, reason=NOT_RUNNING)
        if self.engine.draining.is_set():
            return Ready(ready=False, reason=SHUTTING_DOWN)
        if (reason := self._unready()) is not None:
            return Ready(ready=False, reason=reason)
        return Ready(ready=True)

    def statistics(self) -> Statistics:
        """Return the figures of this moment. Takes milliseconds with thousands of clients, so ask every few seconds."""
        return measure(self.engine, self._all_namespaces(), self._uptime(), self._bus())

    def _uptime(self) -> float:
        return trio.current_time() - self._entered_at if self.running else 0.0

    def _all_namespaces(self) -> Iterable[Namespace]:
        return ()

    def _bus(self) -> BusStatistics | None:
        """Return the figures of what connects this with other servers, if there is something."""
        return None

    def _unready(self) -> str | None:
        """Return why new clients should go elsewhere, if there is a reason that the engine does not know."""
        return None

    def _outermost(self) -> AbstractAsyncContextManager[object]:
        """What is there before all else, and until the last goodbye is out."""
        return AsyncExitStack()

    def _lifespan(self) -> AbstractAsyncContextManager[object]:
        """What is entered before the engine starts and left after it has drained."""
        return AsyncExitStack()

    # The doors.

    async def serve(
        self,
        host: str | None,
        port: int,
        *,
        ssl_context: ssl.SSLContext | None = None,
        static: Path | str | None = None,
        health_path: str | None = None,
        docs_path: str | None = None,
        metrics_path: str | None = None,
        task_status: trio.TaskStatus[list[Listener]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Listen on a port of our own and serve until `drain`.

        Several may run at once, each with or without TLS; their clients share namespaces and rooms. Enter the server
        first then, so that no listener's end is the end of the server.

        Args:
          host: The name or address to listen on; ``None``: every interface.
          port: The port; 0: the kernel chooses.
          ssl_context: Makes it TLS.
          static: A directory to serve on every path that is not the engine's.
          health_path: Where `ready` is told to load balancers: 200 or 503, with JSON.
          docs_path: Where people read about the events, and try them: a page made from the contract, for development.
          metrics_path: Where Prometheus is told; needs the extra ``metrics``.
          task_status: ``nursery.start`` returns the listeners, each with its ``sockname``.

        Raises:
          OSError: if the address cannot be used.
          ConfigurationError: if one of the paths is the engine's, or none, or something else is there; if there is ``static`` and
            the engine's path is ``"/"``; if something that is needed is not installed.
        """
        from .doors.native.http import NativeDoor
        from .doors.native.listener import serve
        from .doors.native.site import make_site

        site = make_site(self.engine, static, self.pages(health_path, docs_path, metrics_path))
        async with AsyncExitStack() as scope:
            if not self.running:
                await scope.enter_async_context(self)
            door = NativeDoor(self.engine, site, self.readiness)
            await serve(door, host, port, ssl_context=ssl_context, task_status=task_status)

    def run(
        self,
        host: str | None = "127.0.0.1",
        port: int = 3000,
        *,
        ssl_context: ssl.SSLContext | None = None,
        static: Path | str | None = None,
        health_path: str | None = None,
        docs_path: str | None = None,
        metrics_path: str | None = None,
    ) -> int:
        """Run Trio and serve until SIGINT or SIGTERM, for programs that do nothing else: ``sys.exit(server.run())``.

        Arguments and errors are those of `serve`. For a program with a nursery of its own there is `serve_until_signal`.

        Returns:
          The exit code. A second signal ends the process at once, with 128 and its number.
        """
        beside: dict[str, Any] = {"static": static, "health_path": health_path, "docs_path": docs_path, "metrics_path": metrics_path}
        serve = partial(self.serve, host, port, ssl_context=ssl_context, **beside)
        return trio.run(partial(serve_until_signal, serve, self.drain, trio.TASK_STATUS_IGNORED, exits=True))

    async def serve_until_signal(
        self,
        host: str | None,
        port: int,
        *,
        ssl_context: ssl.SSLContext | None = None,
        static: Path | str | None = None,
        health_path: str | None = None,
        docs_path: str | None = None,
        metrics_path: str | None = None,
        task_status: trio.TaskStatus[list[Listener]] = trio.TASK_STATUS_IGNORED,
    ) -> int:
        """`serve` until SIGINT or SIGTERM comes, then `drain`; a second signal cancels that.

        Returns:
          The exit code: 0, or 128 and the number of the second signal.
        """
        require_trio("A server", _WRITTEN)
        beside: dict[str, Any] = {"static": static, "health_path": health_path, "docs_path": docs_path, "metrics_path": metrics_path}
        serve = partial(self.serve, host, port, ssl_context=ssl_context, **beside)
        return await serve_until_signal(serve, self.drain, task_status, exits=False)

    async def serve_listeners(
        self,
        sockets: Iterable[socket.socket],
        *,
        ssl_context: ssl.SSLContext | None = None,
        static: Path | str | None = None,
        health_path: str | None = None,
        docs_path: str | None = None,
        metrics_path: str | None = None,
        task_status: trio.TaskStatus[list[Listener]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve on sockets that are there already, until `drain`: Unix sockets, inherited ones; otherwise as `serve`.

        Args:
          sockets: Bound stream sockets, closed in the end, whatever that is. `trio_sio.doors.native.open_unix_socket`
            makes one that also removes its file.
          ssl_context: Makes it TLS.
          static: A directory to serve on every path that is not the engine's.
          health_path: Where `ready` is told to load balancers: 200 or 503, with JSON.
          docs_path: Where people read about the events, and try them: a page made from the contract, for development.
          metrics_path: Where Prometheus is told; needs the extra ``metrics``.
          task_status: ``nursery.start`` returns the listeners, each with its ``sockname``.

        Raises:
          ValueError: if there is none, or one of them is no stream socket, or not bound.
          OSError: if one cannot listen on one of them.
          ConfigurationError: if one of the paths is the engine's, or none, or something else is there; if there is ``static`` and
            the engine's path is ``"/"``; if something that is needed is not installed.
        """
        from .doors.native.http import NativeDoor
        from .doors.native.listener import listen_on, serve_listeners
        from .doors.native.site import make_site

        with ExitStack() as owned:
            for sock in (given := list(sockets)):
                owned.callback(sock.close)
            if not given:
                raise ValueError("serve_listeners() got no socket, so nothing would listen; give it at least one.")
            site = make_site(self.engine, static, self.pages(health_path, docs_path, metrics_path))
            listeners = [listen_on(sock) for sock in given]
            async with AsyncExitStack() as scope:
                if not self.running:
                    await scope.enter_async_context(self)
                door = NativeDoor(self.engine, site, self.readiness)
                await serve_listeners(door, listeners, ssl_context=ssl_context, task_status=task_status)

    def pages(
        self,
        health_path: str | None,
        docs_path: str | None = None,
        metrics_path: str | None = None,
        ready: Callable[[], Ready] | None = None,
    ) -> list[Page]:
        """Return the pages of ours that stand beside the engine at our own listener.

        Args:
          health_path: Where ``ready`` is told, if anywhere.
          docs_path: Where the events are described, if anywhere.
          metrics_path: Where Prometheus is told, if anywhere.
          ready: What is told; `ready` of this server unless given.

        Raises:
          ConfigurationError: if there are no events to describe, or there is no JSON Schema for one of the types, or if there are no
            metrics.
        """
        from .doors.native.site import Page, docs_page, health_page

        # First, as it may add an instrument, which is too late when the routes are closed.
        metrics = None if metrics_path is None else self.metrics_page()
        pages = []
        if health_path is not None:
            pages.append(health_page(health_path, ready or self.ready))
        if docs_path is not None:
            pages.append(docs_page(docs_path, self.docs_page(docs_path), HostPolicy(self.config).allows))
        if metrics_path is not None and metrics is not None:
            pages.append(Page("metrics_path", metrics_path, metrics, "/metrics"))
        return pages

    def docs_page(self, path: str) -> Response:
        """Return the page about the events that ``docs_path`` is for, with the fields of its head.

        Args:
          path: Where it will be, which is what the ways on the page begin at.

        Raises:
          ConfigurationError: if there are no events, as on an `EngineServer`, or there is no JSON Schema for one of the types.
        """
        raise ConfigurationError(f"docs_path is {path!r:.200}, and an EngineServer has no events; leave it out.")

    def metrics_page(self) -> Callable[[Request], Awaitable[Response]]:
        """Return what answers scrapes.

        Raises:
          ConfigurationError: if there are no metrics, as on an `EngineServer`, or ``prometheus_client`` is not installed.
        """
        raise ConfigurationError("There are metrics of a Server, and not of an EngineServer; leave metrics_path out.")

    def asgi(self, other: ASGIFramework | None = None) -> ASGIApplication:
        """Return an ASGI 3 application for `trio_sio.doors.hypercorn.serve`, or another ASGI server that runs on Trio.

        The former gives the sockets to our own listener. Under another, such as ``hypercorn -k trio``, an exception in one of its
        own tasks, which clients can cause, is the end for everybody: do not open its port to strangers.

        Args:
          other: The application for all other paths, such as ``quart_app`` or ``quart_app.asgi_app``.

        Raises:
          ConfigurationError: if the engine's path is ``"/"`` and there is another application.
          TypeError: if that cannot be called.
        """
        from .doors.asgi import ASGIApplication

        if other is not None:
            if not callable(other):
                raise TypeError(f"asgi() takes another ASGI application, not {other!r:.80}; leave it out if there is none.")
            self.engine.require_room_for("the other application")
        return ASGIApplication(self, other)

    async def handle_trio_websocket(self, request: WebSocketRequest) -> None:
        """Carry the session of one WebSocket; call it in the handler of a trio-websocket server, without accepting before.

        It returns when the session is over. What fails in there is logged and does not reach the handler. What fails in a task
        of trio-websocket itself, as clients can cause it, ends ``serve_websocket`` for everybody: on a port that is open to
        strangers use `trio_sio.doors.trio_websocket.serve`.

        Args:
          request: As the handler got it. A path that is not the engine's is answered with 404.

        Raises:
          RuntimeError: if the server does not run.
        """
        from .doors.trio_websocket import handle_trio_websocket

        if not self.running:
            raise RuntimeError(NOT_RUNNING)
        await handle_trio_websocket(self.engine, request)


def _make_readiness() -> Readiness | None:
    if not hasattr(select, "epoll"):
        return None
    from .doors.native.readiness import Readiness

    return Readiness()
