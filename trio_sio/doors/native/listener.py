"""Listening and accepting: every connection in a task of its own, behind a firewall.

Why not `trio.serve_listeners`: there an exception of one connection ends the server for everybody; and the readiness task
needs the plain sockets below the streams, which Trio keeps to itself.
"""

from __future__ import annotations

import errno
import math
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, Protocol

import trio

from ...limits import MINUTE
from ...log import get_logger
from ..served import LAST_WORDS_SECONDS
from .below_tls import SocketBelowTls
from .http import NativeDoor, open_session

__all__ = ["Colleagues", "Listener", "accept_connections", "listen_on", "open_listeners", "open_stream", "serve", "serve_listeners"]

logger = get_logger("trio_sio.doors.native")

# As many as the kernel allows; it cuts the number by itself.
_BACKLOG: Final = 65_535

# How many connections one wake-up accepts before everybody else gets a turn.
_ACCEPTS: Final = 64

# The process, or the machine, has no room for another connection; wait until some were closed.
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
_EXHAUSTED_SLEEP: Final = 0.1

# accept(2) also reports what happened to the connection that it would have returned; that one is gone, others are not.
_CONNECTION_LOST: Final = frozenset(
    {
        errno.ECONNABORTED,
        errno.EPERM,
        errno.EPROTO,
        errno.ENETDOWN,
        errno.ENOPROTOOPT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EOPNOTSUPP,
        errno.ENETUNREACH,
        errno.ETIMEDOUT,
    }
)

_LARGEST_INT: Final = 2**31 - 1  # that setsockopt takes

_CONNECTION: Final = f"{__name__}.connection"  # one name for all these tasks, where Trio would make a string for each

_ADVICE: Final = {
    errno.EADDRINUSE: " Another program listens there: stop it, or choose another port.",
    errno.EACCES: " Ports below 1024 are for those who may: choose another one.",
}
_NO_SUCH_FAMILY: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})


class Listener:
    """A listening socket.

    Args:
      sock: A stream socket on which ``listen`` was called; from now on the listener owns it.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = sock

    @property
    def sockname(self) -> tuple[str, int] | str:
        """Host and port that it is bound to; for a Unix socket its path."""
        name = self.socket.getsockname()
        if isinstance(name, bytes):  # in Linux' abstract namespace
            return os.fsdecode(name)
        return name if isinstance(name, str) else (name[0], name[1])

    def close(self) -> None:
        """Stop listening; idempotent."""
        if self.socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self.socket)
            self.socket.close()


class Colleagues(Protocol):
    """Other processes that serve the same port: they accept from the same sockets, and each has sessions of its own."""

    async def turn(self) -> int:
        """Wait until this process may accept; return how many connections at most."""

    def took(self) -> None:
        """Learn that this process has one more connection."""

    def gone(self) -> None:
        """Learn that it has one less."""

    async def hand_over(self, sock: socket.socket, address: str | None, received: bytes) -> None:
        """Give a connection to the one that it is for; ``sock`` is closed here then, whatever becomes of that.

        Args:
          sock: Nobody waits for it.
          address: The peer's host.
          received: What was read and not served yet.
        """

    async def take_over(self, run: Callable[[socket.socket, str | None, bytes], None]) -> None:
        """Call ``run`` with each connection that another one hands over, until cancelled."""


def listen_on(sock: socket.socket) -> Listener:
    """Make a listener of a bound socket, whether or not ``listen`` was called on it.

    Args:
      sock: A TCP or Unix socket; owned by the listener, unless this raises.

    Raises:
      ValueError: if it is no stream socket, or is bound to nothing.
      OSError: if one cannot listen on it, for instance because it is closed or connected.
    """
    if sock.type != socket.SOCK_STREAM:
        raise ValueError(f"A socket of type {sock.type.name} takes no connections; give a bound socket of type SOCK_STREAM.")
    name = sock.getsockname()
    if not name or (isinstance(name, tuple) and name[1] == 0):
        raise ValueError("The socket has no address yet, so nobody could find it; call bind() on it first.")
    # Whoever made it, such as systemd, may have chosen another backlog.
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.listen(_BACKLOG)
    return Listener(sock)


async def open_listeners(host: str | None, port: int) -> list[Listener]:
    """Listen on every address of ``host``.

    Args:
      host: A name or an address; ``None`` for all interfaces.
      port: The port; 0 lets the kernel choose one for each address.

    Raises:
      OSError: if an address cannot be used, or ``host`` has none.
    """
    addresses = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listeners: list[Listener] = []
    missing: OSError | None = None
    try:
        for family, kind, protocol, _, address in addresses:
            try:
                listeners.append(Listener(_listen(family, kind, protocol, address)))
            except OSError as exc:
                # "localhost" has an IPv6 address even where IPv6 is switched off.
                if exc.errno not in _NO_SUCH_FAMILY:
                    raise
                missing = exc
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    if not listeners:
        raise missing or OSError(errno.EADDRNOTAVAIL, f"{host} has no address to listen on")
    return listeners


def _listen(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    try:
        # Without it a restarted server waits for the connections of its predecessor to be forgotten.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except BaseException as exc:
        sock.close()
        if isinstance(exc, OSError):
            exc.add_note(f"It is about {address[0]}, port {address[1]}.{_ADVICE.get(exc.errno or 0, '')}")
        raise
    return sock


async def serve(
    door: NativeDoor,
    host: str | None,
    port: int,
    *,
    ssl_context: ssl.SSLContext | None = None,
    task_status: trio.TaskStatus[list[Listener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Listen on ``host`` and ``port`` and serve; see `open_listeners` and `serve_listeners`."""
    listeners = await open_listeners(host, port)
    await serve_listeners(door, listeners, ssl_context=ssl_context, task_status=task_status)


async def serve_listeners(
    door: NativeDoor,
    listeners: Sequence[Listener],
    *,
    ssl_context: ssl.SSLContext | None = None,
    colleagues: Colleagues | None = None,
    task_status: trio.TaskStatus[list[Listener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Accept connections until the engine has drained, then return as soon as the last one has ended.

    A response that is still under way when ``drain_timeout`` has passed is given up.

    An exception that escapes from a connection is logged with its traceback and ends that connection only.

    Args:
      door: Where the connections go.
      listeners: They are closed when accepting ends.
      ssl_context: Makes every connection speak TLS.
      colleagues: Who else serves the port, where ``door`` has a sorter that tells what is for them.
      task_status: ``nursery.start`` returns the listeners, once connections are accepted.
    """
    run = partial(_run_connection, door, ssl_context, colleagues)
    async with trio.open_nursery() as connections:
        try:
            async with trio.open_nursery() as accepting:
                for listener in listeners:
                    accepting.start_soon(accept_connections, listener, connections, run, colleagues)
                if colleagues is not None:
                    accepting.start_soon(colleagues.take_over, partial(connections.start_soon, run, name=_CONNECTION))
                task_status.started(list(listeners))
                await door.engine.draining.wait()
                give_up_at = trio.current_time() + door.engine.config.drain_timeout
                door.close_idle()
                # Until then polling clients still fetch their last packets, and newcomers are told when to come back.
                await door.engine.drained.wait()
                accepting.cancel_scope.cancel()
                # A client that takes a large file slowly is no session, so draining knows nothing of it.
                connections.cancel_scope.deadline = max(give_up_at, trio.current_time() + LAST_WORDS_SECONDS)
        finally:
            for listener in listeners:
                listener.close()
        door.close_idle()


@trio.lowlevel.enable_ki_protection
async def accept_connections(
    listener: Listener,
    connections: trio.Nursery,
    run: Callable[[socket.socket, str | None], Awaitable[None]],
    colleagues: Colleagues | None = None,
) -> None:
    """Accept until cancelled, and start ``run`` in ``connections`` with each socket, which it owns, and the peer's host.

    Args:
      listener: Where they come.
      connections: What they run in.
      run: What runs them.
      colleagues: Who else accepts there; ``None``: nobody.

    Raises:
      OSError: if one cannot accept any more.
    """
    silent_until = -math.inf
    while True:
        await trio.lowlevel.wait_readable(listener.socket)
        for _ in range(_ACCEPTS if colleagues is None else await colleagues.turn()):
            try:
                sock, address = listener.socket.accept()
            except BlockingIOError:
                break
            except OSError as exc:
                if exc.errno in _CONNECTION_LOST:
                    continue
                if exc.errno not in _EXHAUSTED:
                    raise
                if trio.current_time() >= silent_until:
                    logger.exception(
                        "There is no room for another connection; raise the limit of open files. Accepting goes on when some close."
                    )
                    silent_until = trio.current_time() + MINUTE
                await trio.sleep(_EXHAUSTED_SLEEP)
                break
            host = address[0] if isinstance(address, tuple) else None
            if colleagues is not None:
                colleagues.took()
            connections.start_soon(run, sock, host, name=_CONNECTION)


# Ctrl-C may strike between any two instructions. In here it would break one connection's bookkeeping; so it goes to the
# main task, or to a handler of the application, and these are cancelled in an orderly way.
@trio.lowlevel.enable_ki_protection
async def _run_connection(
    door: NativeDoor,
    ssl_context: ssl.SSLContext | None,
    colleagues: Colleagues | None,
    sock: socket.socket,
    address: str | None,
    received: bytes = b"",
) -> None:
    try:
        with sock:
            stream = open_stream(sock, door.engine.config.write_stall_timeout)
            if stream is None:
                return
            if ssl_context is None:
                opening = open_session(door, stream, sock, address=address, secure=False, received=received)
            else:
                below = SocketBelowTls(stream, sock, door.engine.config.write_stall_timeout)
                opening = _open_encrypted(door, below.encrypted(ssl_context), address)
                del below
            del stream, received  # or they would live for as long as the session, which may not need them
            session = await opening
            del opening
            if isinstance(session, bytes):
                assert colleagues is not None, "this door has no sorter"
                await colleagues.hand_over(sock, address, session)
            elif session is not None:
                await session
    except* Exception:
        logger.exception("A connection from %s ended with an error that is not its client's; the others go on.", address)
    finally:
        if colleagues is not None:
            colleagues.gone()


async def _open_encrypted(
    door: NativeDoor, encrypted: trio.SSLStream[SocketBelowTls], address: str | None
) -> Awaitable[None] | bytes | None:
    if await _shake_hands(door, encrypted, address):
        return await open_session(door, encrypted, None, address=address, secure=True)
    await trio.aclose_forcefully(encrypted)
    return None


def open_stream(sock: socket.socket, write_stall_timeout: float) -> trio.SocketStream | None:
    """Return a stream above ``sock``, or ``None`` if that was reset before we got to it."""
    sock.setblocking(False)
    try:
        _set_user_timeout(sock, write_stall_timeout)
        # Sets TCP_NODELAY as well, which also serves those who write to the socket below.
        return trio.SocketStream(trio.socket.from_stdlib_socket(sock))
    except OSError:
        return None


async def _shake_hands(door: NativeDoor, encrypted: trio.SSLStream[SocketBelowTls], address: str | None) -> bool:
    """Make the TLS handshake; tell whether it came about."""
    done = False
    # Idle, since nothing was asked for yet: draining waits for nobody's hello.
    with door.idle(door.engine.config.header_timeout):
        try:
            await encrypted.do_handshake()
            done = True
        except trio.BrokenResourceError as exc:
            logger.debug("%s: the TLS handshake failed: %r", address, exc.__cause__ or exc)
    return done


def _set_user_timeout(sock: socket.socket, seconds: float) -> None:
    # Finds a peer that vanished while we do not read from it, and so do not expect a pong.
    if hasattr(socket, "TCP_USER_TIMEOUT") and sock.family != socket.AF_UNIX:
        milliseconds = 0 if seconds == math.inf else min(max(1, round(seconds * 1000)), _LARGEST_INT)  # 0: the kernel's own
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
