"""hypercorn as a component: what happens to one connection ends that connection, within a bound, and nobody else's.

`serve` stands in for ``hypercorn.trio.serve``, and adds to it:

* A firewall: an exception that escapes from a connection ends that connection.
* A deadline: a write that makes no progress for ``write_stall_timeout`` ends its connection, also where nothing else can
  interrupt it.
* An early notice: servers of ours say goodbye to their clients while hypercorn still keeps all connections.
* Whole answers: an application hears that a request is over when its last message is out, and not while it is sent. So
  one that cancels itself then leaves the connection ready for the next request, or for its end.
* No file of a Unix socket is left behind.

Everything that clients see of HTTP and WebSockets remains hypercorn's own. `serve` is made of the parts of its Trio worker,
so it refuses to work with a version that it was not tested with; no other file knows them.
"""

from __future__ import annotations

import importlib.metadata
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import trio

from ..errors import ConfigurationError
from ..log import get_logger
from .asgi.lifespan import BEFORE_SHUTDOWN
from .asgi.messages import ASGIFramework, Message, Receive, Scope, Send
from .firewall import Firewall
from .native.unix import remove_socket_file

if TYPE_CHECKING:
    from hypercorn.config import Config as HypercornConfig
    from hypercorn.config import Sockets
    from hypercorn.typing import AppWrapper

__all__ = ["require_tested_version", "serve"]

logger = get_logger("trio_sio.doors.hypercorn")

_TESTED: Final = "0.18"

_PIECE: Final = 16 * 1024  # bytes; of a longer write each such piece is progress
_LAST_WORDS_SECONDS: Final = 1.0  # for writes that are under way, or begin, when everything is cancelled

_Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]
_Listener = trio.abc.Listener[trio.SocketStream] | trio.SSLListener[trio.SocketStream]


async def serve(
    app: ASGIFramework,
    config: HypercornConfig,
    *,
    shutdown_trigger: Callable[[], Awaitable[object]] | None = None,
    write_stall_timeout: float = 30,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an ASGI application under hypercorn until ``shutdown_trigger`` returns.

    Then, one after the other: every server of ours in ``app`` drains; hypercorn stops listening, and closes the
    connections that are idle; the others have ``config.graceful_timeout``; the lifespan of ``app`` ends.

    Args:
      app: Such as `Host.asgi` returns, or an application with one of these inside.
      config: hypercorn's. What it says about worker processes (``workers``, ``max_requests``) has no effect.
      shutdown_trigger: Returns when it is time to stop; without one only cancellation ends it.
      write_stall_timeout: For how many seconds a write may make no progress.
      task_status: ``nursery.start`` returns the URLs.

    Raises:
      RuntimeError: if this version of hypercorn was not tested.
      ConfigurationError: if ``config`` asks for HTTP/3.
      OSError: if an address cannot be used.
      hypercorn.utils.LifespanFailureError: if ``app`` reports that it could not start or stop, or raises after it has started.
      hypercorn.utils.LifespanTimeoutError: if that takes longer than ``config`` allows.
    """
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
    announced = cast("Any", partial(_announce, app, goodbyes, failures, write_stall_timeout))
    wrapped = wrap_app(announced, config.wsgi_max_body_size, "asgi")
    state: dict[str, Any] = {}
    lifespan = Lifespan(wrapped, config, state)
    ssl_context = config.create_ssl_context()
    with ExitStack() as owned:
        sockets = config.create_sockets()
        for sock in (*sockets.secure_sockets, *sockets.insecure_sockets):
            owned.callback(sock.close)
        files = _socket_files(config, sockets)
        for file in files.values():
            owned.callback(file.remove)
        listeners, urls = _listen(config, sockets, files, ssl_context)
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(lifespan.handle_lifespan)
                await lifespan.wait_for_startup()
                worker = _Worker(wrapped, config, state, write_stall_timeout)
                for url in urls:
                    await config.log.info("Running on %s (CTRL + C to quit)", url)
                await worker.run(
                    listeners,
                    partial(task_status.started, urls),
                    partial(_wait_and_drain, shutdown_trigger or trio.sleep_forever, goodbyes),
                )
                await lifespan.wait_for_shutdown()
                nursery.cancel_scope.cancel()
        except ExceptionGroup as group:
            # So that whoever expects one of those above does not have to know how many nurseries are in here.
            error = _only(group)
            if error is None:
                raise
            raise error from error.__cause__
        finally:
            # hypercorn lets it be overtaken by the cancellation that ends its own tasks.
            if failures:
                raise failures[0]


def _only(error: Exception) -> Exception | None:
    """Return ``error``, or what is in it, however deep, if it is a group of one exception."""
    while isinstance(error, ExceptionGroup):
        if len(error.exceptions) > 1:
            return None
        error = error.exceptions[0]
    return error


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


async def _announce(
    app: ASGIFramework,
    goodbyes: list[Callable[[], Awaitable[None]]],
    failures: list[Exception],
    write_stall_timeout: float,
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    """Call ``app``; in its lifespan it may say whom to call before the shutdown, and its failure to stop is kept."""
    if scope["type"] == "lifespan":
        scope = {**scope, "extensions": {**scope.get("extensions", {}), BEFORE_SHUTDOWN: goodbyes}}
        await _run_lifespan(app, failures, scope, receive, send)
        return
    if scope["type"] == "http":
        receive, send = _disconnect_last(receive, send, write_stall_timeout)
    await app(scope, receive, send)


async def _run_lifespan(app: ASGIFramework, failures: list[Exception], scope: Scope, receive: Receive, send: Send) -> None:
    """Run the lifespan of ``app``. What it raises once it has started is a failure to stop; hypercorn would only log it."""
    from hypercorn.utils import LifespanFailureError

    started = False

    async def listen(message: Message) -> None:
        nonlocal started
        started |= message["type"] == "lifespan.startup.complete"
        try:
            await send(message)
        except LifespanFailureError as failure:
            if started:
                failures.append(failure)
            raise

    try:
        await app(scope, receive, listen)
    except Exception as exc:
        error = _only(exc) or exc
        if not started or isinstance(error, LifespanFailureError):
            raise
        failure = LifespanFailureError("shutdown", repr(error))
        failures.append(failure)
        raise failure from exc


def _disconnect_last(receive: Receive, send: Send, patience: float) -> tuple[Receive, Send]:
    """Return both, but in such a way that the application is not told of the end while its last message is on the way.

    hypercorn reports ``http.disconnect`` in the midst of sending that message, and makes the connection ready for the next
    request after it: unless the application takes the disconnect as a reason to cancel what it does. After ``patience``
    seconds it may: over HTTP/2 a message can wait for a client that is gone.
    """
    out = trio.Event()
    out.set()

    async def receive_in_order() -> Message:
        message = await receive()
        if message["type"] == "http.disconnect":
            with trio.move_on_after(patience):
                await out.wait()
        return message

    async def send_whole(message: Message) -> None:
        nonlocal out
        if message["type"] == "http.response.body" and not message.get("more_body"):
            out = trio.Event()
        try:
            await send(message)
        finally:
            out.set()

    return receive_in_order, send_whole


async def _wait_and_drain(shutdown_trigger: Callable[[], Awaitable[object]], goodbyes: list[Callable[[], Awaitable[None]]]) -> None:
    await shutdown_trigger()
    async with trio.open_nursery() as nursery:
        for goodbye in goodbyes:
            nursery.start_soon(goodbye)


class _SocketFile:
    """The file of a Unix socket.

    Args:
      sock: Bound to it.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        # Absolute, because the file is removed in the end, and the process may be elsewhere by then.
        self._path = os.path.abspath(sock.getsockname())
        self._file = os.lstat(self._path)

    def remove(self) -> None:
        """Remove it, unless the socket was closed: until then nobody takes the path over, and no other file has its inode."""
        if self._socket.fileno() >= 0:
            remove_socket_file(self._path, self._file)


class _UnixListener(trio.abc.Listener[trio.SocketStream]):
    """A listener that removes the file of its socket.

    Args:
      listener: On the socket.
      file: Of the socket.
    """

    def __init__(self, listener: trio.SocketListener, file: _SocketFile) -> None:
        self._listener = listener
        self._file = file

    async def accept(self) -> trio.SocketStream:
        """Wait for the next connection."""
        return await self._listener.accept()

    async def aclose(self) -> None:
        """Stop listening."""
        self._file.remove()
        await self._listener.aclose()


def _socket_files(config: HypercornConfig, sockets: Sockets) -> dict[socket.socket, _SocketFile]:
    """Return the files that hypercorn has made; those of inherited sockets are not ours."""
    made = {bind.removeprefix("unix:") for bind in (*config.bind, *config.insecure_bind) if bind.startswith("unix:")}
    bound = [sock for sock in (*sockets.secure_sockets, *sockets.insecure_sockets) if sock.family == socket.AF_UNIX]
    return {sock: _SocketFile(sock) for sock in bound if sock.getsockname() in made}


def _listen(
    config: HypercornConfig, sockets: Sockets, files: dict[socket.socket, _SocketFile], ssl_context: ssl.SSLContext | None
) -> tuple[list[_Listener], list[str]]:
    """Return the listeners, and their URLs."""
    from hypercorn.utils import repr_socket_addr

    listeners: list[_Listener] = []
    urls = []
    for sock in (*sockets.secure_sockets, *sockets.insecure_sockets):
        sock.listen(config.backlog)
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
        plain = _UnixListener(listener, files[sock]) if sock in files else listener
        if ssl_context is None or sock in sockets.insecure_sockets:
            listeners.append(plain)
            scheme = "http"
        else:
            listeners.append(trio.SSLListener(plain, ssl_context, https_compatible=True))
            scheme = "https"
        urls.append(f"{scheme}://{repr_socket_addr(sock.family, sock.getsockname())}")
    return listeners, urls


class _Worker:
    """Runs hypercorn's connections, each behind the firewall.

    Args:
      app: For hypercorn.
      config: For hypercorn.
      state: Of the lifespan; every connection gets a copy.
      write_stall_timeout: As for `serve`.
    """

    def __init__(self, app: AppWrapper, config: HypercornConfig, state: dict[str, Any], write_stall_timeout: float) -> None:
        from hypercorn.trio.worker_context import WorkerContext

        self._app = app
        self._config = config
        self._state = state
        self._write_stall_timeout = write_stall_timeout
        self._context = WorkerContext(None)
        self._firewall = Firewall(logger, *_parser_errors())
        self._wires: set[_Wire] = set()

    async def run(self, listeners: list[_Listener], started: Callable[[], None], wait: Callable[[], Awaitable[None]]) -> None:
        """Call ``started`` as soon as clients can connect, ``wait`` for the time to stop, then stop gracefully."""
        async with trio.open_nursery() as everything:
            everything.start_soon(self._hurry_when_cancelled)
            async with trio.open_nursery() as handlers:
                async with trio.open_nursery() as accepting:
                    await accepting.start(partial(trio.serve_listeners, self._serve, listeners, handler_nursery=handlers))
                    started()
                    await wait()
                    accepting.cancel_scope.cancel()
                await self._context.terminated.set()
                everything.cancel_scope.deadline = trio.current_time() + self._config.graceful_timeout
            everything.cancel_scope.cancel()

    async def _hurry_when_cancelled(self) -> None:
        """Wait; when everything is cancelled, tell those who would not notice."""
        try:
            await trio.sleep_forever()
        finally:
            for wire in self._wires:
                wire.hurry(_LAST_WORDS_SECONDS)

    async def _serve(self, stream: _Stream) -> None:
        from hypercorn.trio.tcp_server import TCPServer

        wire = _Wire(stream, self._write_stall_timeout)
        self._wires.add(wire)
        try:
            async with self._firewall.around(stream):
                # It takes all of a stream from it that hypercorn uses.
                await TCPServer(self._app, self._config, self._context, self._state.copy(), cast("Any", wire)).run()
        finally:
            self._wires.discard(wire)


def _parser_errors() -> tuple[type[Exception], ...]:
    """Return what hypercorn's parsers of HTTP/2 raise."""
    from h2.exceptions import H2Error
    from hpack.exceptions import HPACKError
    from hyperframe.exceptions import HyperframeError
    from priority.priority import PriorityError

    return H2Error, HPACKError, HyperframeError, PriorityError


class _Wire:
    """A stream whose writes end, one way or the other, however much they are shielded by those who wait for them.

    Args:
      stream: The stream.
      stall_timeout: For how many seconds a write may make no progress.
    """

    def __init__(self, stream: _Stream, stall_timeout: float) -> None:
        self._stream = stream
        self._stall_timeout = stall_timeout
        self._writing = trio.CancelScope()

    def __getattr__(self, name: str) -> Any:
        # Plain streams lack what TLS streams have, and the other way round; hypercorn looks at that.
        return getattr(self._stream, name)

    def hurry(self, seconds: float) -> None:
        """Let the present write, and each later one, stall for ``seconds`` at most."""
        self._stall_timeout = min(seconds, self._stall_timeout)
        self._writing.deadline = min(self._writing.deadline, trio.current_time() + self._stall_timeout)

    async def send_all(self, data: bytes) -> None:
        """Send ``data``.

        Raises:
          trio.BrokenResourceError: if the peer takes nothing for too long; the stream is then closed.
        """
        for start in range(0, len(data), _PIECE):
            with trio.move_on_after(self._stall_timeout) as self._writing:
                await self._stream.send_all(data[start : start + _PIECE])
            if self._writing.cancelled_caught:
                await trio.aclose_forcefully(self._stream)
                raise trio.BrokenResourceError("the client takes nothing: no progress for write_stall_timeout")

    async def aclose(self) -> None:
        """Close the stream; TLS has something to say before that, which may stall too."""
        with trio.move_on_after(self._stall_timeout) as self._writing:
            await self._stream.aclose()
