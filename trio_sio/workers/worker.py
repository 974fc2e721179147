"""One worker: a process that serves what comes to the sockets that it shares with the others."""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from ..cluster.local import LocalCluster
from ..concurrency.groups import leaves_of
from ..doors.native.certificate import Certificate
from ..doors.native.http import NativeDoor
from ..doors.native.listener import Listener, serve_listeners
from ..doors.native.site import Page, make_site
from ..errors import BusUnavailable, ConfigurationError
from ..log import get_logger
from ..namespaces.adapter import InMemoryAdapter
from ..server import Server
from .board import Board, State
from .channel import Channel
from .colleagues import Colleagues
from .factory import find, open_factory
from .handover import Mailbox, PostBox
from .health import WorkersReady
from .scrapes import Scrapes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from ssl import SSLContext

    from ..health import Ready
    from ..protocol.http import Request, Response
    from ..routing.table import RoutingTable
    from .channel import Message

__all__ = ["main", "worker_number"]

logger = get_logger("trio_sio.workers")

BEAT: Final = 0.25  # seconds
GRACE: Final = 3.0
"""How many seconds longer than `Config.drain_timeout` the end of a worker may take."""

_DEAF: Final = (
    "The servers of several workers must hear each other, and this one has no cluster; "
    "write Server(..., cluster=LocalCluster()), from trio_sio.cluster.local, or let the function return the RoutingTable."
)

_ENCRYPTED: Final = (
    "A connection with TLS cannot go from one worker to another, as requests by polling may have to: write "
    'Config(transports=["websocket"]); or let a proxy in front of the workers speak TLS, instead of certfile; '
    "or serve with one process per port behind one (examples/behind_nginx)."
)

_LONGEST_SLEEP: Final = 1e9  # seconds, thirty years: `time.sleep` takes no infinity

_numbers: Final[list[int]] = []  # of this process: one, if it is a worker


def worker_number() -> int:
    """Return which worker this process is, from 0; 0 as well without workers. For what exactly one process shall do.

    One that was restarted has the number of its predecessor, which has ended by then.
    """
    return _numbers[0] if _numbers else 0


def main(descriptor: int) -> int:
    """Be a worker, and return the exit code.

    Args:
      descriptor: Of the channel to the supervisor.
    """
    # Where the supervisor ends a worker that hangs, its stack is what one wants to see.
    faulthandler.enable()
    os.set_inheritable(descriptor, False)  # what the application starts is no worker
    channel = Channel(socket.socket(fileno=descriptor))
    started = channel.receive_blocking()
    if started is None:
        return 1
    setup, descriptors = started
    sys.path[:] = setup["path"]
    _numbers.append(setup["number"])
    return trio.run(_Worker(channel, setup, descriptors).run)


class _Worker:
    """What there is in this process.

    Args:
      channel: To the supervisor.
      setup: What that has said.
      descriptors: What it has sent with that.
    """

    def __init__(self, channel: Channel, setup: Message, descriptors: list[int]) -> None:
        self._channel = channel
        self._setup = setup
        self._number: int = setup["number"]
        count: int = setup["count"]
        self._lifeline, board, mailbox, *rest = descriptors
        self._board = Board(board, count)
        self._mailbox = Mailbox(socket.socket(fileno=mailbox))
        self._postboxes = [PostBox(socket.socket(fileno=one)) for one in rest[:count]]
        self._listeners = [Listener(socket.socket(fileno=one)) for one in rest[count:]]
        self._links: list[socket.socket] = []
        self._server: Server | None = None
        self._wanted = trio.Event()  # the end
        self._patience = GRACE  # seconds that this process may outlive the supervisor

    async def run(self) -> int:
        """Serve until told to stop; return the exit code."""
        self._watch_supervisor()
        code = 0
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen)
                async with open_factory(find(self._setup["factory"]), *self._setup["arguments"]) as found:
                    server = _make_server(found, self._board.count)
                    self._patience = server.config.drain_timeout + GRACE
                    await self._serve(server)
                nursery.cancel_scope.cancel()
        except* (ConfigurationError, BusUnavailable) as group:
            # With a sentence that says what to do; anything else is a traceback.
            self._channel.send({"is": "refused", "why": str(next(leaves_of(group)))})
            code = 1
        return code

    async def _serve(self, server: Server) -> None:
        engine, board = server.engine, self._board
        colleagues = Colleagues(engine, self._number, board, self._mailbox, self._postboxes)
        engine.sessions.is_mine = colleagues.is_mine
        self._server = server
        for sock in self._links:
            self._link(sock)
        ssl_context: SSLContext | None = None
        sorter: Colleagues | None = colleagues
        if (files := self._setup["certificate"]) is not None:
            ssl_context, sorter = Certificate(*files).load(), None  # what is encrypted stays
            if board.count > 1 and "polling" in server.config.transports:
                raise ConfigurationError(_ENCRYPTED)
        scrapes, pages = None, []
        if (path := self._setup["metrics_path"]) is not None:
            scrapes, respond = self._make_scrapes(server)
            pages.append(Page("metrics_path", path, respond, "/metrics"))
        pages += server.pages(self._setup["health_path"], self._setup["docs_path"], ready=partial(self._ready, server))
        site = make_site(engine, self._setup["static"], pages)
        async with server, trio.open_nursery() as nursery:
            if scrapes is not None:
                colleagues.on_question = partial(scrapes.answer_soon, nursery)
            door = NativeDoor(engine, site, server.readiness, sorter)
            nursery.start_soon(self._beat, server)
            # It returns when all that was said has got to the clients, and nobody needs to be cut off.
            async with trio.open_nursery() as serving:
                await serving.start(partial(serve_listeners, door, self._listeners, ssl_context=ssl_context, colleagues=colleagues))
                await self._serve_until_wanted(server)
            nursery.cancel_scope.cancel()

    def _make_scrapes(self, server: Server) -> tuple[Scrapes, Callable[[Request], Awaitable[Response]]]:
        """Return what asks the others for their metrics, and what answers Prometheus.

        Raises:
          ConfigurationError: if there cannot be any.
        """
        server.metrics_page()  # which says what is missing
        from ..metrics.metrics import metrics_of
        from ..metrics.page import metrics_page, metrics_text

        registry = metrics_of(server).registry
        scrapes = Scrapes(self._number, self._board, self._postboxes, partial(metrics_text, registry))
        return scrapes, metrics_page(registry, self._number, scrapes.ask_all)

    async def _serve_until_wanted(self, server: Server) -> None:
        """Tell the supervisor that all is well; when the end is wanted, drain."""
        self._enter(State.SERVING, server)
        ready = {
            "is": "ready",
            "drain_timeout": server.config.drain_timeout,
            "path": server.config.path,
            "transports": list(server.config.transports),
            "routes": server.routes.describe(),
        }
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._stop_at_signal, signals)
                self._channel.send(ready)
                await self._wanted.wait()
                self._enter(State.DRAINING, server)
                await server.drain()
                nursery.cancel_scope.cancel()

    def _enter(self, state: State, server: Server) -> None:
        self._board.enter(self._number, state)
        self._note(server)

    def _note(self, server: Server) -> None:
        self._board.set_beat(self._number, server.engine.clients_count, server.ready().ready)

    async def _beat(self, server: Server) -> None:
        while True:
            self._note(server)
            await trio.sleep(BEAT)

    async def _stop_at_signal(self, signals: AsyncIterator[int]) -> None:
        async for _ in signals:
            self._wanted.set()

    def _ready(self, server: Server) -> Ready:
        return WorkersReady.of(self._board, server.ready(), self._number)

    # What the supervisor says.

    async def _listen(self) -> None:
        while (received := await self._channel.receive()) is not None:
            message, descriptors = received
            match message["do"]:
                case "link" if descriptors:
                    self._link(socket.socket(fileno=descriptors[0]))
                case "link":
                    # The other one sees the end of the link, so nobody waits for anybody.
                    logger.error("This worker does not hear a new one, as there is no room for the link; raise the limit of open files.")
                case "stop":
                    self._wanted.set()
                case "statistics":
                    self._tell_statistics(message["number"])
        self._wanted.set()  # the supervisor is gone

    def _link(self, sock: socket.socket) -> None:
        cluster = None if self._server is None else self._server.cluster
        if isinstance(cluster, LocalCluster):
            cluster.link(sock)
        elif self._server is None:
            self._links.append(sock)
        else:
            sock.close()  # they hear each other on other ways

    def _tell_statistics(self, number: int) -> None:
        value = None if self._server is None or not self._server.running else self._server.statistics()
        figures = None if value is None else msgspec.to_builtins(value, str_keys=True)
        message = {"is": "statistics", "number": number, "figures": figures}
        if not self._channel.send(message):
            self._channel.send(message | {"figures": None})

    def _watch_supervisor(self) -> None:
        """End this process when the supervisor has, also if the event loop does not turn: nobody else would."""

        def watch() -> None:
            os.read(self._lifeline, 1)
            time.sleep(min(self._patience, _LONGEST_SLEEP))
            os._exit(1)

        threading.Thread(target=watch, name="trio_sio.workers.watch", daemon=True).start()


def _make_server(found: RoutingTable | Server, count: int) -> Server:
    if not isinstance(found, Server):
        return Server(found, cluster=LocalCluster())
    if count > 1 and found.cluster is None and type(found.of("/").adapter) is InMemoryAdapter:
        raise ConfigurationError(_DEAF)
    return found
