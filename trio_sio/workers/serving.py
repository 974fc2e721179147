"""Serving in several processes, from a program: what it says, checked, and the listening sockets; the rest is the supervisor's."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Final

import orjson
import trio

from ..concurrency.groups import leaves_of
from ..doors.native.certificate import Certificate
from ..doors.native.listener import listen_on, open_listeners
from ..errors import ConfigurationError, TrioSioError
from .board import MOST_WORKERS
from .channel import LARGEST_SETUP
from .factory import describe
from .supervisor import SHORTEST_TIMEOUT, Workers

if TYPE_CHECKING:
    from pathlib import Path

    from ..doors.native.listener import Listener
    from .channel import Message
    from .factory import Factory

__all__ = ["serve", "serve_listeners"]

_ARGUMENTS: Final = "arguments are told to other processes, so give strings, numbers, lists and dicts"


async def serve(
    factory: Factory,
    host: str | None,
    port: int,
    *,
    workers: int,
    static: Path | str | None = None,
    health_path: str | None = None,
    docs_path: str | None = None,
    metrics_path: str | None = None,
    certfile: Path | str | None = None,
    keyfile: Path | str | None = None,
    worker_timeout: float | None = None,
    task_status: trio.TaskStatus[Workers] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Listen on a port and serve in several processes until `Workers.drain`; cancelling it kills them.

    Clients may use all transports, and nothing in front has to know about the processes: a request that comes to another one than has its
    session is handed over there.

    Args:
      factory: Returns the `Server`, or the `RoutingTable`, of a worker, or is an async context manager function that yields one. It is a
        function at the top of a module, and is called in each process. A server needs a cluster, such as
        `trio_sio.cluster.local.LocalCluster`.
      host: The name or address to listen on; ``None``: every interface.
      port: The port; 0: the kernel chooses.
      workers: How many processes.
      static: A directory to serve on every path that is not the engine's.
      health_path: Where load balancers are told whether new clients may come: as long as one worker takes any.
      docs_path: Where people read about the events, and try them; for development.
      metrics_path: Where Prometheus is told, of all workers; needs the extra ``metrics``.
      certfile: Makes it TLS: a certificate chain, in PEM, which each process reads when it starts. With several workers the server's
        ``Config.transports`` is WebSocket alone then, as a connection with TLS cannot go from one process to another.
      keyfile: The private key, in PEM; ``None``: it is in ``certfile``, too.
      worker_timeout: Seconds, at least one, after which a worker whose event loop does not turn is killed, its stack in the log; ``None``:
        never.
      task_status: ``nursery.start`` returns the `Workers`, once all of them serve.

    Raises:
      ConfigurationError: if an argument, or the server that ``factory`` makes, is of no use here.
      WorkersFailed: if the workers do not start, or end again and again.
      OSError: if the address cannot be used.
    """
    described = _check(factory, workers, worker_timeout)
    certificate = Certificate.of(certfile, keyfile)
    setup = _setup(described, (), static, health_path, docs_path, metrics_path)
    listeners = await open_listeners(host, port)
    await _run(listeners, partial(Workers, listeners, setup, workers, worker_timeout, certificate), task_status)


async def serve_listeners(
    factory: Factory,
    sockets: Iterable[socket.socket],
    *,
    workers: int,
    arguments: Sequence[object] = (),
    static: Path | str | None = None,
    health_path: str | None = None,
    docs_path: str | None = None,
    metrics_path: str | None = None,
    certfile: Path | str | None = None,
    keyfile: Path | str | None = None,
    worker_timeout: float | None = None,
    task_status: trio.TaskStatus[Workers] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve on sockets that are there already: Unix sockets, inherited ones; otherwise as `serve`.

    Args:
      factory: As of `serve`.
      sockets: As of `Server.serve_listeners`.
      workers: As of `serve`.
      arguments: What ``factory`` is called with: strings, numbers, lists and dicts of these, not too many for a packet.
      static: As of `serve`.
      health_path: As of `serve`.
      docs_path: As of `serve`.
      metrics_path: As of `serve`.
      certfile: As of `serve`.
      keyfile: As of `serve`.
      worker_timeout: As of `serve`.
      task_status: As of `serve`.

    Raises:
      ValueError: if there is no socket, or one of them is no stream socket, or not bound.
      ConfigurationError, WorkersFailed, OSError: as `serve`.
    """
    with ExitStack() as owned:
        for sock in (given := list(sockets)):
            owned.callback(sock.close)
        if not given:
            raise ValueError("serve_listeners() got no socket, so nothing would listen; give it at least one.")
        described = _check(factory, workers, worker_timeout)
        certificate = Certificate.of(certfile, keyfile)
        listeners = [listen_on(sock) for sock in given]
        setup = _setup(described, arguments, static, health_path, docs_path, metrics_path)
        await _run(listeners, partial(Workers, listeners, setup, workers, worker_timeout, certificate), task_status)


def _check(factory: Factory, workers: int, worker_timeout: float | None) -> dict[str, str | None]:
    if sys.platform != "linux":
        raise ConfigurationError("Several workers need Linux; serve in one process here.")
    if type(workers) is not int or not 1 <= workers <= MOST_WORKERS:
        raise ConfigurationError(f"workers={workers!r:.80} is no number of workers; write one from 1 to {MOST_WORKERS}.")
    if worker_timeout is not None and not (type(worker_timeout) in (int, float) and worker_timeout >= SHORTEST_TIMEOUT):
        raise ConfigurationError(
            f"worker_timeout={worker_timeout!r:.80} is no time after which a worker hangs, which tells four times a second that it does "
            f"not; write {SHORTEST_TIMEOUT:g} second or more, or None for no limit."
        )
    return describe(factory)


def _setup(
    factory: dict[str, str | None],
    arguments: Sequence[object],
    static: Path | str | None,
    health_path: str | None,
    docs_path: str | None,
    metrics_path: str | None,
) -> Message:
    setup = {
        "factory": factory,
        "arguments": list(arguments),
        "path": sys.path,
        "static": None if static is None else str(static),
        "health_path": health_path,
        "docs_path": docs_path,
        "metrics_path": metrics_path,
    }
    try:
        told = orjson.dumps(setup)
    except TypeError as error:
        raise ConfigurationError(f"{_ARGUMENTS}: {error}.") from error
    if len(told) > LARGEST_SETUP:
        raise ConfigurationError(
            f"What each worker is told are {len(told):,} bytes; let the function read such large arguments from a file."
        )
    if (come := orjson.loads(told)["arguments"]) != setup["arguments"]:
        raise ConfigurationError(f"{_ARGUMENTS}: these would come as {come!r:.80}.")
    return setup


async def _run(listeners: Sequence[Listener], make: Callable[[], Workers], task_status: trio.TaskStatus[Workers]) -> None:
    try:
        await make().run(task_status)
    except ExceptionGroup as group:
        # Where several workers have failed, they have the same reason.
        error = next(leaves_of(group))
        if not isinstance(error, TrioSioError):
            raise
        raise error from error.__cause__
    finally:
        for listener in listeners:
            listener.close()
