"""Running hypercorn's connections: each behind a firewall, and none holds up the others by taking nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import trio

from ...concurrency.streams import pieces
from ...log import get_logger
from ..firewall import Firewall

if TYPE_CHECKING:
    from hypercorn.config import Config as HypercornConfig
    from hypercorn.typing import AppWrapper

    from .listening import Listener

__all__ = ["PatientStream", "Worker"]

logger = get_logger("trio_sio.doors.hypercorn")

_LAST_WORDS_SECONDS: Final = 1.0  # for writes that are under way, or begin, when everything is cancelled

_Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


class Worker:
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
        self._streams: set[PatientStream] = set()

    async def run(self, listeners: list[Listener], started: Callable[[], None], wait: Callable[[], Awaitable[None]]) -> None:
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
            for stream in self._streams:
                stream.hurry(_LAST_WORDS_SECONDS)

    async def _serve(self, stream: _Stream) -> None:
        from hypercorn.trio.tcp_server import TCPServer

        patient = PatientStream(stream, self._write_stall_timeout)
        self._streams.add(patient)
        try:
            async with self._firewall.around(stream):
                # It takes all of a stream from it that hypercorn uses.
                await TCPServer(self._app, self._config, self._context, self._state.copy(), cast("Any", patient)).run()
        finally:
            self._streams.discard(patient)


def _parser_errors() -> tuple[type[Exception], ...]:
    """Return what hypercorn's parsers of HTTP/2 raise."""
    from h2.exceptions import H2Error
    from hpack.exceptions import HPACKError
    from hyperframe.exceptions import HyperframeError
    from priority.priority import PriorityError

    return H2Error, HPACKError, HyperframeError, PriorityError


class PatientStream:
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
        for piece in pieces(data):
            with trio.move_on_after(self._stall_timeout) as self._writing:
                await self._stream.send_all(piece)
            if self._writing.cancelled_caught:
                await trio.aclose_forcefully(self._stream)
                raise trio.BrokenResourceError("the client takes nothing: no progress for write_stall_timeout")

    async def aclose(self) -> None:
        """Close the stream; TLS has something to say before that, which may stall too."""
        with trio.move_on_after(self._stall_timeout) as self._writing:
            await self._stream.aclose()
