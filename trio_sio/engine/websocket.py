"""A WebSocket that carries a session, or probes to: the reader, the writer, and what the flusher calls."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from ..concurrency.streams import TURN_BYTES
from ..concurrency.wakeup import Wakeup
from ..errors import ConnectionFault, TransportClosed, TransportError, outcome_of, without_frames
from ..limits import PROGRESS
from ..log import get_logger
from .states import TransportState
from .traffic import is_logged

if TYPE_CHECKING:
    from ..concurrency.outbox import Outbox
    from ..concurrency.timers import Timer
    from ..protocol.frames import EncodedPacket
    from .door import MessageSink, WebSocketPipe
    from .services import Services

__all__ = ["WebSocketTransport"]

logger = get_logger("trio_sio.engine")


class _Gone:
    """The pipe of a transport that is done with its own."""

    nonblocking = False
    progress = 0

    async def pump(self, sink: MessageSink, write: Callable[[], None]) -> None:
        """Return: nothing more comes."""
        await trio.lowlevel.checkpoint()

    async def linger(self) -> None:
        """Return: nothing more is said."""
        await trio.lowlevel.checkpoint()

    async def send(self, packets: list[EncodedPacket]) -> None:
        """Drop them."""
        await trio.lowlevel.checkpoint()

    def try_send_nowait(self, packets: list[EncodedPacket]) -> bool:
        """Drop them."""
        return True

    def close(self, code: int | None) -> bool:
        """Say nothing."""
        return True

    def abort(self) -> None:
        """Do nothing, as for what follows."""

    pause = resume = stop = abort


_GONE: Final = _Gone()


class WebSocketTransport:
    """Moves packets from an outbox to a `WebSocketPipe`, and messages from the pipe to a sink.

    Output has two ways. Where the pipe can send without blocking, the flusher of the server calls `flush`, and the writer
    task is needed only while the kernel refuses something: then it owns the wire, and nobody else touches it until the
    outbox is empty again. Where the pipe cannot, the writer does everything.

    Args:
      services: What all of them share.
      sid: The id of the session, for the log.
      pipe: The wire, owned from now on.
      outbox: Where to take packets from, until `carry` says otherwise.
      base64: Whether the client wants no binary messages.
    """

    __slots__ = (
        "_accepting",
        "_base64",
        "_close_code",
        "_close_timer",
        "_closing",
        "_fault",
        "_first",
        "_held",
        "_nursery",
        "_outbox",
        "_pipe",
        "_progress",
        "_services",
        "_sid",
        "_work",
        "_writer_scope",
        "_writing",
    )

    state = TransportState.WEBSOCKET

    def __init__(self, services: Services, sid: str, pipe: WebSocketPipe, outbox: Outbox[EncodedPacket], *, base64: bool = False) -> None:
        self._services = services
        self._sid = sid
        self._pipe: WebSocketPipe = pipe
        self._outbox = outbox
        self._base64 = base64
        self._first: tuple[EncodedPacket, ...] = ()  # what goes before the outbox
        self._nursery: trio.Nursery | None = None
        self._writing = False  # whether the wire is the writer's
        self._work: Wakeup | None = None  # made with the writer task
        self._writer_scope: trio.CancelScope | None = None  # likewise
        self._close_timer: Timer | None = None  # while the peer has time for its part of the closing handshake
        self._accepting = True
        self._held = False
        self._closing = False
        self._close_code: int | None = None
        self._fault: TransportError | None = None
        self._progress = 0

    @property
    def notify(self) -> Callable[[], None]:
        """What an outbox calls when it is not empty any more."""
        return partial(self._services.mark, self) if self._pipe.nonblocking else self._write_soon

    def carry(self, outbox: Outbox[EncodedPacket]) -> None:
        """Take packets from ``outbox`` from now on; what is still in the present one goes first."""
        self._first += tuple(self._outbox.take(TURN_BYTES))
        self._outbox = outbox
        if outbox or self._first:
            self.notify()

    def accept(self, accepting: bool) -> None:
        """Receive, or leave what arrives in the network."""
        self._change_reading(accepting, self._held)

    def hold(self, holding: bool) -> None:
        """Receive nothing even when `accept` says so, or do again."""
        self._change_reading(self._accepting, holding)

    def _change_reading(self, accepting: bool, held: bool) -> None:
        before, after = self._accepting and not self._held, accepting and not held
        self._accepting, self._held = accepting, held
        if before and not after:
            self._pipe.pause()
        elif after and not before:
            self._pipe.resume()

    def is_moving(self) -> bool:
        """Tell whether a message is on its way, in or out, and has come on since the last call."""
        before, self._progress = self._progress, self._pipe.progress
        return self._progress > 0 and abs(self._progress - before) >= PROGRESS

    def end(self, fault: ConnectionFault, *, linger: float) -> bool:  # a WebSocket has no poll to wait for
        """Send what is queued and a close frame, as far as the wire still works; the session need not wait for it."""
        self.close(outcome_of(fault).close_code)
        return True

    def hurry(self, linger: float) -> None:
        """Nothing to do: it does not linger."""

    def forget(self) -> None:
        """Nothing to do: whoever runs the wire bounds its end."""

    def close(self, code: int | None) -> None:
        """Begin the closing handshake behind what is queued; the peer gets ``close_timeout`` for its part."""
        if self._closing:
            return
        self._closing = True
        self._close_code = code
        if self._nursery is not None:
            self._limit_closing()
        if self._pipe.nonblocking:
            self.flush()
        else:
            self._write_soon()

    async def run(self, nursery: trio.Nursery, sink: MessageSink, ended: Callable[[ConnectionFault], None]) -> None:
        """Read until the wire ends, tell why, and let the last words out.

        Args:
          nursery: Where the writer runs, when there is one.
          sink: Takes what arrives.
          ended: Called once, as soon as the end is known: a peer that broke the rules must not keep its session for as
            long as it holds on to the wire.
        """
        self._nursery = nursery
        if self._closing:
            self._limit_closing()
        if self._writing:
            self._start_writer(nursery)
        fault: ConnectionFault | None = None
        try:
            try:
                await self._pipe.pump(sink, self._write_soon)
            except TransportError as error:
                fault = without_frames(error)
            self._peer_is_done()
            ended(self._fault or fault or TransportClosed("the client closed the WebSocket"))
            with trio.move_on_after(self._services.config.close_timeout):
                await self._pipe.linger()
        finally:
            self._nursery = None
            self._peer_is_done()
            if self._writer_scope is not None:
                self._writer_scope.cancel()
            self._pipe.abort()
            self._pipe = _GONE  # pipes may hold on to who used them

    def _limit_closing(self) -> None:
        self._close_timer = self._services.timers.call_after(self._services.config.close_timeout, self._pipe.stop)

    def _peer_is_done(self) -> None:
        if self._close_timer is not None:
            self._close_timer.cancel()

    def flush(self) -> None:
        """Write what the kernel takes now; the writer gets the rest."""
        if self._writing:
            return
        try:
            usual = not (self._first or self._base64 or is_logged())
            while packets := self._outbox.take(TURN_BYTES) if usual else self._take():
                if not self._pipe.try_send_nowait(packets):
                    self._write_soon()
                    return
                if not self._outbox.bytes:
                    break  # which is cheaper than to take nothing, and nearly always so
            if self._closing and not self._pipe.close(self._close_code):
                self._write_soon()
        except TransportError as fault:
            self._break(fault)
        except Exception:
            logger.exception("Writing to one connection failed; it is closed, and the others go on.")
            self._break(TransportError("an internal error"))

    def _take(self) -> list[EncodedPacket]:
        packets = self._outbox.take(TURN_BYTES)
        if self._first:
            packets, self._first = [*self._first, *packets], ()
        if packets and is_logged():
            self._services.traffic.sent(self._sid, packets)
        return [part for packet in packets for part in packet.without_binary()] if self._base64 else packets

    def _write_soon(self) -> None:
        """Give the wire to the writer."""
        self._writing = True
        if self._work is not None:
            self._work.wake()
        elif self._nursery is not None:
            self._start_writer(self._nursery)

    def _start_writer(self, nursery: trio.Nursery) -> None:
        self._work = Wakeup()
        self._writer_scope = trio.CancelScope()
        nursery.start_soon(self._write, self._work, self._writer_scope)

    @trio.lowlevel.enable_ki_protection
    async def _write(self, work: Wakeup, scope: trio.CancelScope) -> None:
        with scope:
            try:
                while True:
                    # The pipe begins with what it kept when the kernel refused it.
                    await self._pipe.send(self._take())
                    if self._outbox or self._first:
                        continue
                    if self._closing:
                        if not self._pipe.close(self._close_code):
                            await self._pipe.send([])
                        return
                    self._writing = False
                    await work.wait()
            except TransportError as fault:
                self._break(fault)

    def _break(self, fault: TransportError) -> None:
        """Note why the wire cannot be written to; the reader then comes to its end and reports it."""
        self._fault = self._fault or without_frames(fault)
        self._pipe.abort()
