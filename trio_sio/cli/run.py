"""``trio-sio run MODULE:ATTR``: serves until it is told to stop."""

from __future__ import annotations

import argparse
import dataclasses
import errno
import logging
import os
import re
import signal
import socket
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from ..config import CORS, Config
from ..errors import BusUnavailable, ConfigurationError
from ..namespaces.adapter import Cluster
from ..routing.table import RoutingTable
from ..server import Server
from ..stopping import SIGNALS, exit_at_once
from .admin import add_admin_options, admin_of
from .collector import collect_seldom
from .reload import run_reloading
from .service import take_service_manager
from .target import add_target, resolve
from .usage import UsageError, directory, file, port, seconds, worker_count

if TYPE_CHECKING:
    import ssl

    from ..doors.native.listener import Listener
    from .service import ServiceManager

__all__ = [
    "LOG_FORMAT",
    "add_run_options",
    "config_changes",
    "make_cluster",
    "make_server",
    "open_sockets",
    "refusing_addresses",
    "run_command",
    "url_of",
]

LOG_FORMAT: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"

# How much longer than `drain_timeout` stopping may take before what does not stop is named and left behind.
_GRACE: Final = 2.0


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add what `run_command` takes."""
    add_target(parser)
    parser.add_argument("--static", type=directory, metavar="DIR", help="serve the files of this directory on all other paths")
    parser.add_argument(
        "--health-path", metavar="PATH", help="answer load balancers here, such as /healthz: 200 if new clients may come, else 503"
    )
    parser.add_argument(
        "--docs-path", metavar="PATH", help="show people the events here, such as /events, and let them try these; for development"
    )
    parser.add_argument("--metrics-path", metavar="PATH", help="tell Prometheus here, such as /metrics; needs the extra metrics")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info", help="(%(default)s)")
    parser.add_argument("--reload", action="store_true", help="start again whenever a Python file of the current directory changes")
    _add_listening(parser)
    _add_workers(parser)
    _add_cluster(parser)
    add_admin_options(parser)
    _add_configuration(parser)


def _add_listening(run: argparse.ArgumentParser) -> None:
    group = run.add_argument_group("where to listen")
    group.add_argument(
        "--door",
        choices=("native", "hypercorn"),
        default="native",
        help="the listener of our own, or the same at hypercorn's port, which also speaks HTTP/2 (%(default)s)",
    )
    group.add_argument(
        "--host",
        default="127.0.0.1",
        help="name or address to listen on (%(default)s); unix:/PATH for a Unix socket, fd://NUMBER for a socket that was inherited",
    )
    group.add_argument("--port", type=port, default=3000, help="port to listen on (%(default)s), where --host is a name or an address")
    group.add_argument("--certfile", type=file, metavar="FILE", help="speak TLS with this certificate chain (PEM)")
    group.add_argument("--keyfile", type=file, metavar="FILE", help="the private key (PEM), unless it is in the certificate's file")


def _add_workers(run: argparse.ArgumentParser) -> None:
    group = run.add_argument_group("several processes")
    group.add_argument(
        "--workers",
        type=worker_count,
        metavar="N",
        help="serve in so many processes, or 'auto': one per core; SIGHUP replaces them one by one",
    )
    group.add_argument(
        "--worker-timeout", type=seconds, metavar="SECONDS", help="replace a worker whose event loop hangs for so long (never)"
    )


def _add_cluster(run: argparse.ArgumentParser) -> None:
    group = run.add_argument_group("other servers")
    group.add_argument(
        "--redis", metavar="URL", help="share clients with other servers, also of Node, through this Redis: redis://HOST:6379"
    )
    group.add_argument("--redis-key", metavar="KEY", help="what all channels there begin with (socket.io)")


def _add_configuration(run: argparse.ArgumentParser) -> None:
    """Add what operators set; every option is stored under the name of its field."""
    group = run.add_argument_group("configuration", "Replace fields of Config; for a Server, which has its own, set them there.")
    config = Config()
    group.add_argument("--path", help=f"URL path of the engine ({config.path})")
    group.add_argument("--client-bundle", dest="serve_client", type=directory, metavar="DIR", help="serve the official browser client")
    group.add_argument("--cors", action="append", metavar="ORIGIN", help="origin whose pages may connect, or '*'; may be repeated")
    group.add_argument(
        "--allowed-host",
        dest="allowed_hosts",
        action="append",
        metavar="HOST",
        help="name that the server may be asked by; may be repeated",
    )
    group.add_argument("--trusted-proxies", type=int, metavar="N", help=f"proxies of yours in front of it ({config.trusted_proxies})")
    group.add_argument("--cookie", metavar="NAME", help="set a cookie by which a load balancer can tell sessions apart")
    group.add_argument("--compression", action="store_true", default=None, help="compress large responses to polls")
    group.add_argument("--per-message-deflate", action="store_true", default=None, help="compress large messages on WebSockets")
    group.add_argument(
        "--max-http-buffer-size", type=int, metavar="BYTES", help=f"largest message and largest POST ({config.max_http_buffer_size})"
    )
    for name, what in [
        ("ping_interval", "from a pong to the next ping"),
        ("ping_timeout", "for how long a pong may be missing"),
        ("drain_timeout", "how long stopping may take in all"),
    ]:
        option = f"--{name.replace('_', '-')}"
        group.add_argument(option, type=float, metavar="SECONDS", help=f"{what} ({getattr(config, name):g})")


async def run_command(options: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM, drain, and return the exit code."""
    if options.reload:
        if options.host.startswith("fd://"):
            raise UsageError("--reload starts other processes, which do not inherit the socket; give a name or an address with --host.")
        return await run_reloading(options.arguments)
    if options.workers is not None:
        from .workers import run_workers

        return await run_workers(options)
    if options.worker_timeout is not None:
        raise UsageError("--worker-timeout is for workers; name their number with --workers as well.")
    logging.basicConfig(level=options.log_level.upper(), format=LOG_FORMAT)
    manager = take_service_manager()
    changes = config_changes(options)
    administer = admin_of(options)
    cluster = make_cluster(options.redis, options.redis_key)
    ssl_context = _load_certificate(options)
    async with trio.open_nursery() as watch:
        async with resolve(options.target) as found:
            server = make_server(found, options.target, changes, cluster)
            administer(server)
            async with AsyncExitStack() as stack:
                try:
                    if options.metrics_path is not None:
                        server.metrics_page()  # so that it has metrics when it is entered
                    await stack.enter_async_context(server)
                except (BusUnavailable, ConfigurationError) as exc:
                    raise UsageError(str(exc)) from None
                nursery = await stack.enter_async_context(trio.open_nursery())
                urls = await _listen(nursery, server, options, ssl_context)
                collect_seldom()
                await _announce_and_wait_for_signal(server, urls, manager, watch)
                watch.start_soon(_give_up, server.config.drain_timeout + _GRACE)
                await manager.stopping()
                await server.drain()
                nursery.cancel_scope.cancel()
        watch.cancel_scope.cancel()
    return 0


def config_changes(options: argparse.Namespace) -> dict[str, object]:
    """Return the fields of `Config` that the options name.

    Raises:
      UsageError: if one of them cannot be so.
    """
    try:
        changes = _config_changes(options)
        if changes:
            dataclasses.replace(Config(), **changes)  # type: ignore[arg-type]  # before anything is opened
    except ConfigurationError as exc:
        raise UsageError(str(exc)) from None
    return changes


def _config_changes(options: argparse.Namespace) -> dict[str, object]:
    names = [one.name for one in dataclasses.fields(Config)]
    changes: dict[str, object] = {name: value for name in names if (value := getattr(options, name, None)) is not None}
    if "serve_client" in changes:
        changes["serve_client"] = str(changes["serve_client"])
    if (origins := options.cors) is not None:
        changes["cors"] = CORS(origins=origins)
    return changes


def make_cluster(url: str | None, key: str | None) -> Cluster | None:
    """Return what ``--redis`` names.

    Raises:
      UsageError: if that is nothing.
    """
    if url is None:
        if key is not None:
            raise UsageError("--redis-key alone connects nothing; name the Redis with --redis as well.")
        return None
    from ..cluster.redis import RedisCluster

    try:
        return RedisCluster(url) if key is None else RedisCluster(url, key=key)
    except ConfigurationError as exc:
        raise UsageError(str(exc)) from None


def make_server(found: RoutingTable | Server, target: str, changes: dict[str, object], cluster: Cluster | None) -> Server:
    """Return the server for what ``target`` names.

    Raises:
      UsageError: if it is a server already, and is to be another one.
    """
    if isinstance(found, RoutingTable):
        config = dataclasses.replace(Config(), **changes)  # type: ignore[arg-type]  # argparse made the types
        return Server(found, config=config, cluster=cluster)
    if cluster is not None:
        raise UsageError(f"{target} is a Server; give it cluster=RedisCluster(...), or name its RoutingTable instead.")
    if changes:
        # Another server with another Config would not be the one that the application's own code emits with.
        names = ", ".join(changes)
        raise UsageError(f"{target} is a Server, which has a Config of its own; set {names} there, or name its RoutingTable instead.")
    return found


def _load_certificate(options: argparse.Namespace) -> ssl.SSLContext | None:
    from ..doors.native.certificate import Certificate

    try:
        certificate = Certificate.of(options.certfile, options.keyfile)
    except ConfigurationError as exc:
        raise UsageError(str(exc)) from None
    return None if certificate is None else certificate.load()


async def _listen(nursery: trio.Nursery, server: Server, options: argparse.Namespace, ssl_context: ssl.SSLContext | None) -> list[str]:
    """Listen, and return the URLs."""
    with refusing_addresses(options):
        if options.door == "hypercorn":
            hosted: list[str] = await nursery.start(_make_hypercorn(server, options))
            return [f"{url}:" if "://unix:" in url else url for url in hosted]
        host = options.host
        serve = partial(server.serve_listeners, [open_socket(host)]) if _is_elsewhere(host) else partial(server.serve, host, options.port)
        pages = {name: getattr(options, name) for name in ("health_path", "docs_path", "metrics_path")}
        serve = partial(serve, ssl_context=ssl_context, static=options.static, **pages)
        listeners: list[Listener] = await nursery.start(serve)
    return [url_of(listener, "http" if ssl_context is None else "https") for listener in listeners]


def _is_elsewhere(host: str) -> bool:
    """Tell whether ``--host`` names a socket, and no address."""
    return host.startswith(("unix:", "fd://"))


@contextmanager
def refusing_addresses(options: argparse.Namespace) -> Iterator[None]:
    """Say in a sentence why it is not possible to listen where the options say."""
    host: str = options.host
    elsewhere = _is_elsewhere(host)
    where = host if elsewhere else f"port {options.port} of {host}"
    try:
        yield
    except socket.gaierror:
        raise UsageError(f"{host!r} has no address here; choose another --host, such as 127.0.0.1 or 0.0.0.0.") from None
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            other = "--host" if elsewhere else "--port"
            raise UsageError(f"Another program listens on {where}; stop it, or choose another {other}.") from None
        # Python itself refuses a path that is too long, without a number.
        raise UsageError(f"Listening on {where} is not possible: {exc.strerror or exc}.") from None
    except ConfigurationError as exc:
        raise UsageError(str(exc)) from None
    except ValueError as exc:
        raise UsageError(f"Listening on {where} is not possible: {exc}") from None


async def open_sockets(options: argparse.Namespace) -> list[socket.socket]:
    """Return the listening sockets that the options name; within `refusing_addresses`."""
    from ..doors.native.listener import open_listeners

    if _is_elsewhere(options.host):
        return [open_socket(options.host)]
    return [listener.socket for listener in await open_listeners(options.host, options.port)]


def _make_hypercorn(server: Server, options: argparse.Namespace) -> Callable[..., Awaitable[None]]:
    """Return what serves ``server`` under hypercorn."""
    from ..doors.hypercorn import require_tested_version, serve

    if options.static is not None or options.serve_client is not None:
        raise UsageError("--door hypercorn serves no files; leave --static and --client-bundle out, or serve an ASGI application beside.")
    if options.health_path is not None:
        raise UsageError("--door hypercorn has no --health-path; leave it out, or call Server.ready() in an ASGI application beside.")
    if options.docs_path is not None:
        raise UsageError("--door hypercorn has no --docs-path; leave it out, or leave --door hypercorn out while you develop.")
    if options.metrics_path is not None:
        raise UsageError("--door hypercorn has no --metrics-path; leave it out, or mount Metrics(server).asgi() beside.")
    try:
        from hypercorn.config import Config as HypercornConfig
    except ModuleNotFoundError:
        raise UsageError("--door hypercorn needs hypercorn; install it with `pip install 'trio-sio[hypercorn]'`.") from None
    try:
        require_tested_version()
    except RuntimeError as exc:
        raise UsageError(str(exc)) from None
    config = HypercornConfig()
    config.bind = [options.host if options.host.startswith(("unix:", "fd://")) else f"{options.host}:{options.port}"]
    config.errorlog = logging.getLogger("hypercorn.error")
    if options.certfile is not None:
        config.certfile = str(options.certfile)
        config.keyfile = str(options.keyfile or options.certfile)
    return partial(serve, server.asgi(), config, write_stall_timeout=server.config.write_stall_timeout)


def open_socket(host: str) -> socket.socket:
    """Open what ``unix:/PATH`` or ``fd://NUMBER`` names."""
    from ..doors.native import open_unix_socket

    if host.startswith("unix:"):
        path = host.removeprefix("unix:")
        if not path:
            raise UsageError("'unix:' names no path; write --host unix:/PATH, as in unix:/run/chat.sock.")
        return open_unix_socket(path)
    number = host.removeprefix("fd://")
    if not re.fullmatch("[0-9]{1,9}", number):
        raise UsageError(f"{host!r} names no file descriptor; write --host fd://NUMBER, as in fd://3.")
    sock = socket.socket(fileno=int(number))
    # It was inherited in order to get here; what the application starts has no use for it.
    sock.set_inheritable(False)
    return sock


def url_of(listener: Listener, scheme: str) -> str:
    """Return where clients find ``listener``."""
    address = listener.sockname
    if isinstance(address, str):
        return f"{scheme}://unix:{address}:"
    return f"{scheme}://[{address[0]}]:{address[1]}" if ":" in address[0] else f"{scheme}://{address[0]}:{address[1]}"


def _announce(server: Server, urls: list[str]) -> None:
    for url in urls:
        print(f"Serving {url}{server.config.path.rstrip('/')}/ over {', '.join(server.config.transports)}")
    print(server.routes.describe(), flush=True)


async def _announce_and_wait_for_signal(server: Server, urls: list[str], manager: ServiceManager, watch: trio.Nursery) -> None:
    """Return at the first SIGINT or SIGTERM; the next one ends the process at once."""
    # Not any earlier: a start that hangs must be interruptible, and there is nobody yet to say goodbye to.
    for one in SIGNALS:
        # What comes into force when the receiver is left, so that no signal falls in between: a plain handler and no Trio task,
        # which works while a handler of the application does not let go.
        signal.signal(one, exit_at_once)
    with trio.open_signal_receiver(*SIGNALS) as received:
        _announce(server, urls)
        await manager.ready()
        watch.start_soon(manager.show_life)
        async for number in received:
            print(f"{signal.Signals(number).name}: saying goodbye; once more to stop at once.", file=sys.stderr, flush=True)
            break


async def _give_up(seconds: float) -> None:
    """Wait, then name the tasks that did not stop and end the process: Trio cannot abandon a task."""
    await trio.sleep(seconds)
    print(f"Still running after {seconds:g} seconds; leaving them behind:", file=sys.stderr)
    this = trio.lowlevel.current_task()
    tasks = [] if this.parent_nursery is None else [this.parent_nursery.parent_task]
    while tasks:
        task = tasks.pop()
        tasks += [child for nursery in task.child_nurseries for child in nursery.child_tasks if child is not this]
        print(f"{task.name}\n{''.join(traceback.StackSummary.extract(task.iter_await_frames()).format())}", file=sys.stderr)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
