"""The command line: ``trio-sio run MODULE:ATTR`` and ``trio-sio routes MODULE:ATTR``."""

from __future__ import annotations

import argparse
import dataclasses
import errno
import importlib
import inspect
import logging
import os
import re
import signal
import socket
import ssl
import sys
import traceback
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

import trio

from .config import CORS, Config
from .errors import ConfigurationError
from .routing.table import RoutingTable
from .server import Server

if TYPE_CHECKING:
    from .doors.native.listener import Listener

__all__ = ["main"]

USAGE_ERROR: Final = 2

# How much longer than `drain_timeout` stopping may take before what does not stop is named and left behind.
_GRACE: Final = 2.0

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class UsageError(Exception):
    """What was asked for cannot be done; the message is a sentence for the terminal."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    Args:
      arguments: Without the program's name; by default those of the process.
    """
    options = _parser().parse_args(arguments)
    # As `python -m` does: what is run is usually a module beside which one stands.
    sys.path.insert(0, os.getcwd())
    code = 0
    try:
        trio.run(options.command, options)
    except* UsageError as group:
        for error in _leaves(group):
            print(f"trio-sio: {error}", file=sys.stderr)
        code = USAGE_ERROR
    except* KeyboardInterrupt:
        code = 128 + signal.SIGINT
    return code


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    return [leaf for error in group.exceptions for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])]


# What can be asked for.


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="trio-sio", description="Socket.IO servers on Trio.", allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="serve until SIGINT or SIGTERM", allow_abbrev=False)
    run.set_defaults(command=_run)
    _add_target(run)
    run.add_argument(
        "--host",
        default="127.0.0.1",
        help="name or address to listen on (%(default)s); unix:/PATH for a Unix socket, fd://NUMBER for a socket that was inherited",
    )
    run.add_argument("--port", type=_port, default=3000, help="port to listen on (%(default)s), where --host is a name or an address")
    run.add_argument("--certfile", type=_file, metavar="FILE", help="speak TLS with this certificate chain (PEM)")
    run.add_argument("--keyfile", type=_file, metavar="FILE", help="the private key (PEM), unless it is in the certificate's file")
    run.add_argument("--static", type=_directory, metavar="DIR", help="serve the files of this directory on all other paths")
    run.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info", help="(%(default)s)")
    fields = run.add_argument_group("configuration", "Replace fields of Config; for a Server, which has its own, set them there.")
    fields.add_argument("--path", help="URL path of the engine")
    fields.add_argument("--client-bundle", dest="serve_client", type=_directory, metavar="DIR", help="serve the official browser client")
    fields.add_argument("--ping-interval", type=float, metavar="SECONDS")
    fields.add_argument("--ping-timeout", type=float, metavar="SECONDS")
    fields.add_argument("--max-http-buffer-size", type=int, metavar="BYTES")
    fields.add_argument("--cors-origin", action="append", metavar="ORIGIN", help="a page that may connect; may be repeated")
    routes = commands.add_parser("routes", help="print the routing table", allow_abbrev=False)
    routes.set_defaults(command=_print_routes)
    _add_target(routes)
    return parser


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target",
        metavar="MODULE:ATTR",
        help="a RoutingTable, a Server, a function that returns one, or an async context manager function that yields one",
    )


def _port(text: str) -> int:
    if text.isdecimal() and int(text) < 1 << 16:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port; write a number from 0 to 65535")


def _directory(text: str) -> Path:
    path = Path(text)
    if path.is_dir():
        return path
    raise argparse.ArgumentTypeError(f"{text!r} is not a directory")


def _file(text: str) -> Path:
    path = Path(text)
    if path.is_file():
        return path
    raise argparse.ArgumentTypeError(f"{text!r} is not a file")


def _config_changes(options: argparse.Namespace) -> dict[str, object]:
    """Return the fields of `Config` that the options name."""
    names = ("path", "serve_client", "ping_interval", "ping_timeout", "max_http_buffer_size")
    changes: dict[str, object] = {name: value for name in names if (value := getattr(options, name)) is not None}
    if "serve_client" in changes:
        changes["serve_client"] = str(changes["serve_client"])
    if (origins := options.cors_origin) is not None:
        changes["cors"] = CORS(origins="*" if origins == ["*"] else origins)
    return changes


# From MODULE:ATTR to a server.


def _load(target: str) -> object:
    module_name, colon, attribute = target.partition(":")
    if not (module_name and colon and attribute):
        raise UsageError(f"{target!r} does not name anything; write MODULE:ATTR, as in chat:routes.")
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        # A module that the named one imports is missing: then the traceback is what helps.
        if exc.name is None or not f"{module_name}.".startswith(f"{exc.name}."):
            raise
        raise UsageError(f"There is no module {module_name!r} here or on sys.path.") from None
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise UsageError(f"Module {module_name!r} has no attribute {attribute!r}.") from None
    return found


@asynccontextmanager
async def _resolve(target: str) -> AsyncIterator[RoutingTable | Server]:
    """Load ``target`` and call it, or enter it, if need be."""
    found = _load(target)
    if not isinstance(found, RoutingTable | Server) and callable(found) and _needs_no_argument(found):
        found = found()
    if isinstance(found, RoutingTable | Server):
        yield found
    elif isinstance(found, AbstractAsyncContextManager):
        async with found as entered:
            yield _checked(target, entered)
    else:
        _checked(target, found)


def _needs_no_argument(function: object) -> bool:
    try:
        inspect.signature(function).bind()  # type: ignore[arg-type]  # the caller knows that it can be called
    except (TypeError, ValueError):  # ValueError: a builtin without a signature
        return False
    return True


def _checked(target: str, found: object) -> RoutingTable | Server:
    if isinstance(found, RoutingTable | Server):
        return found
    if inspect.iscoroutine(found):
        found.close()
    raise UsageError(
        f"{target} is {type(found).__name__!r} in the end; it must be a RoutingTable, a Server, a function without parameters that "
        "returns one, or an async context manager function that yields one."
    )


def _make_server(found: RoutingTable | Server, target: str, changes: dict[str, object]) -> Server:
    if isinstance(found, RoutingTable):
        return Server(found, config=dataclasses.replace(Config(), **changes))  # type: ignore[arg-type]  # argparse made the types
    if changes:
        # Another server with another Config would not be the one that the application's own code emits with.
        names = ", ".join(changes)
        raise UsageError(f"{target} is a Server, which has a Config of its own; set {names} there, or name its RoutingTable instead.")
    return found


# The commands.


async def _print_routes(options: argparse.Namespace) -> None:
    async with _resolve(options.target) as found:
        print((found.compile_routes() if isinstance(found, Server) else found).describe())


async def _run(options: argparse.Namespace) -> None:
    logging.basicConfig(level=options.log_level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    try:
        changes = _config_changes(options)
        if changes:
            dataclasses.replace(Config(), **changes)  # type: ignore[arg-type]  # before anything is opened
    except ConfigurationError as exc:
        raise UsageError(str(exc)) from None
    ssl_context = _load_certificate(options.certfile, options.keyfile)
    async with trio.open_nursery() as watch:
        async with _resolve(options.target) as found:
            server = _make_server(found, options.target, changes)
            async with server, trio.open_nursery() as nursery:
                listeners = await _listen(nursery, server, options, ssl_context)
                await _announce_and_wait_for_signal(server, listeners, "http" if ssl_context is None else "https")
                watch.start_soon(_give_up, server.config.drain_timeout + _GRACE)
                await server.drain()
                nursery.cancel_scope.cancel()
        watch.cancel_scope.cancel()


def _load_certificate(certfile: Path | None, keyfile: Path | None) -> ssl.SSLContext | None:
    if certfile is None:
        if keyfile is not None:
            raise UsageError("--keyfile alone makes no TLS; name the certificate with --certfile as well.")
        return None

    def no_password() -> str:
        raise UsageError(f"The private key in {str(keyfile or certfile)!r} is encrypted; name one that is not.")

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        # The default is to ask for it at the terminal.
        context.load_cert_chain(certfile, keyfile, no_password)
    except ssl.SSLError as exc:
        if exc.reason == "KEY_VALUES_MISMATCH":
            raise UsageError(f"The private key in {str(keyfile or certfile)!r} does not belong to the certificate.") from None
        missing = "" if keyfile else "; name the key's file with --keyfile, if it has one of its own"
        raise UsageError(f"--certfile and --keyfile name no certificate with its private key in PEM{missing}.") from None
    except OSError as exc:
        raise UsageError(f"The certificate or its key cannot be read: {exc.strerror}.") from None
    return context


async def _listen(nursery: trio.Nursery, server: Server, options: argparse.Namespace, ssl_context: ssl.SSLContext | None) -> list[Listener]:
    host: str = options.host
    elsewhere = host.startswith(("unix:", "fd://"))
    where = host if elsewhere else f"port {options.port} of {host}"
    try:
        serve = partial(server.serve_listeners, [_open_socket(host)]) if elsewhere else partial(server.serve, host, options.port)
        listeners: list[Listener] = await nursery.start(partial(serve, ssl_context=ssl_context, static=options.static))
    except socket.gaierror:
        raise UsageError(f"{host!r} has no address here; choose another --host, such as 127.0.0.1 or 0.0.0.0.") from None
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            other = "--host" if elsewhere else "--port"
            raise UsageError(f"Another program listens on {where}; stop it, or choose another {other}.") from None
        # Python itself refuses a path that is too long, without a number.
        raise UsageError(f"Listening on {where} is not possible: {exc.strerror or exc}.") from None
    except ValueError as exc:
        raise UsageError(f"Listening on {where} is not possible: {exc}") from None
    return listeners


def _open_socket(host: str) -> socket.socket:
    """Open what ``unix:/PATH`` or ``fd://NUMBER`` names."""
    from .doors.native import open_unix_socket

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


def _announce(server: Server, listeners: list[Listener], scheme: str) -> None:
    for listener in listeners:
        address = listener.sockname
        if isinstance(address, str):
            where = f"unix:{address}:"
        else:
            where = f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"
        print(f"Serving {scheme}://{where}{server.config.path}/ over {', '.join(server.config.transports)}")
    print(server.routes.describe(), flush=True)


async def _announce_and_wait_for_signal(server: Server, listeners: list[Listener], scheme: str) -> None:
    """Return at the first SIGINT or SIGTERM; the next one ends the process at once."""
    # Not any earlier: a start that hangs must be interruptible, and there is nobody yet to say goodbye to.
    with trio.open_signal_receiver(*_SIGNALS) as received:
        _announce(server, listeners, scheme)
        async for number in received:
            print(f"{signal.Signals(number).name}: saying goodbye; once more to stop at once.", file=sys.stderr, flush=True)
            break
    for number in _SIGNALS:
        # A plain handler and no Trio task, so that it works while a handler of the application does not let go.
        signal.signal(number, _exit_at_once)


def _exit_at_once(number: int, _frame: FrameType | None) -> None:
    # No flushing: whatever this interrupts may be in the middle of writing.
    os._exit(128 + number)


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


if __name__ == "__main__":
    sys.exit(main())
