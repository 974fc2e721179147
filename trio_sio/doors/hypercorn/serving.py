"""`serve`: from the start of an application under hypercorn to its end."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import trio

from ...concurrency.groups import unwrap
from ...errors import ConfigurationError
from ...log import get_logger
from ..asgi.messages import ASGIFramework
from ..native.http import NativeDoor
from .application import announce, require_application, server_in_front
from .listening import listen, socket_files
from .sorter import RequestSorter
from .worker import Worker

if TYPE_CHECKING:
    from hypercorn.config import Config as HypercornConfig

__all__ = ["require_tested_version", "serve"]

logger = get_logger("trio_sio.doors.hypercorn")

_TESTED: Final = "0.18"

_BEHIND: Final = (
    "hypercorn carries the Socket.IO connections of this application, too, which costs several times as much as our own listener: "
    "something else gets the requests first. Serve what server.asgi(...) returns, with the rest of the application behind it."
)


async def serve(
    app: ASGIFramework,
    config: HypercornConfig,
    *,
    shutdown_trigger: Callable[[], Awaitable[object]] | None = None,
    write_stall_timeout: float = 30,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an ASGI application under hypercorn until ``shutdown_trigger`` returns.

    Where ``app`` is what `Host.asgi` returns, or a Quart application whose ``asgi_app`` is, our own listener serves Socket.IO
    at these ports, as `Host.serve` does: WebSockets, and polls on connections that carried nothing else before. Everything else
    is hypercorn's, also if something stands before the server in the application.

    In the end, one after the other: every server of ours in ``app`` drains; hypercorn stops listening, and closes the
    connections that are idle; the others have ``config.graceful_timeout``; the lifespan of ``app`` ends.

    Args:
      app: Such as `Host.asgi` returns, or an application with one of these inside.
      config: hypercorn's. What it says about worker processes (``workers``, ``max_requests``) has no effect.
      shutdown_trigger: Returns when it is time to stop; without one only cancellation ends it.
      write_stall_timeout: For how many seconds a write of hypercorn's may make no progress; those of our listener have
        `Config.write_stall_timeout`.
      task_status: ``nursery.start`` returns the URLs.

    Raises:
      TypeError: if ``app`` is a server itself.
      RuntimeError: if this version of hypercorn was not tested.
      ConfigurationError: if ``config`` asks for HTTP/3.
      OSError: if an address cannot be used.
      hypercorn.utils.LifespanFailureError: if ``app`` reports that it could not start or stop, or raises after it has started.
      hypercorn.utils.LifespanTimeoutError: if that takes longer than ``config`` allows.
    """
    require_application(app)
    require_tested_version()
    from hypercorn.trio.lifespan import Lifespan
    from hypercorn.trio.statsd import StatsdLogger
    from hypercorn.utils import wrap_app

    if config.quic_bind:
        raise ConfigurationError("HTTP/3 is not served here; leave quic_bind empty.")
    config.set_statsd_logger_class(StatsdLogger)
    goodbyes: list[Callable[[], Awaitable[None]]] = []
    failures: list[Exception] = []
    # hypercorn's annotations want TypedDicts of its own.
    announced = cast("Any", partial(announce, app, goodbyes, failures, write_stall_timeout))
    wrapped = wrap_app(announced, config.wsgi_max_body_size, "asgi")
    state: dict[str, Any] = {}
    lifespan = Lifespan(wrapped, config, state)
    ssl_context = config.create_ssl_context()
    with ExitStack() as owned:
        sockets = config.create_sockets()
        for sock in (*sockets.secure_sockets, *sockets.insecure_sockets):
            owned.callback(sock.close)
        files = socket_files(config, sockets)
        for file in files.values():
            owned.callback(file.remove)
        ports, urls = listen(config, sockets, files, ssl_context)
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(lifespan.handle_lifespan)
                await lifespan.wait_for_startup()
                door = _make_door(app, config, state)
                if door is None and goodbyes:
                    logger.info(_BEHIND)
                worker = Worker(wrapped, config, state, write_stall_timeout, door)
                for url in urls:
                    await config.log.info("Running on %s (CTRL + C to quit)", url)
                await worker.run(
                    ports,
                    partial(task_status.started, urls),
                    partial(_wait_and_drain, shutdown_trigger or trio.sleep_forever, goodbyes),
                )
                await lifespan.wait_for_shutdown()
                nursery.cancel_scope.cancel()
        except ExceptionGroup as group:
            # So that whoever expects one of those above does not have to know how many nurseries are in here.
            error = unwrap(group)
            if isinstance(error, ExceptionGroup):
                raise
            raise error from error.__cause__
        finally:
            # hypercorn lets it be overtaken by the cancellation that ends its own tasks.
            if failures:
                raise failures[0]


def require_tested_version() -> None:
    """Do nothing if `serve` was tested with the hypercorn that is installed.

    Raises:
      RuntimeError: if it was not.
    """
    version = importlib.metadata.version("hypercorn")
    if not f"{version}.".startswith(f"{_TESTED}."):
        raise RuntimeError(
            f"trio_sio.doors.hypercorn relies on the inside of hypercorn and was tested with {_TESTED}; this is {version}. "
            f"Install it with `pip install 'hypercorn=={_TESTED}.*'`, or use a newer trio_sio or hypercorn's own serve()."
        )


def _make_door(app: ASGIFramework, config: HypercornConfig, state: dict[str, Any]) -> NativeDoor | None:
    """Return the door for the server that gets each request before any other application, if one does and runs."""
    server = server_in_front(app)
    if server is None or not server.running:
        return None
    return NativeDoor(server.engine, None, server.readiness, RequestSorter(server.engine, config, state))


async def _wait_and_drain(shutdown_trigger: Callable[[], Awaitable[object]], goodbyes: list[Callable[[], Awaitable[None]]]) -> None:
    await shutdown_trigger()
    async with trio.open_nursery() as nursery:
        for goodbye in goodbyes:
            nursery.start_soon(goodbye)
