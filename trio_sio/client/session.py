"""One Engine.IO session, client side: it begins with an open packet, may move from polling to a WebSocket, and ends once.

Theory of operation. Three tasks live in `open_session`: the *reader*, the *writer* and, for a while, the *upgrade*.

* Only the reader receives on the transport, only the writer sends on it. Each holds a lock for as long as one poll, or one
  write, takes; so whoever holds both locks knows that the wire is quiet, and may put another transport in its place, or say
  goodbye.
* The reader's cancel scope is the heartbeat's: a ping moves its deadline, and so does a large message that comes on. While
  the application does not take messages there is no deadline, because nothing is read.
* What arrives waits in a bounded inbox, what is sent in a bounded outbox.
* Whoever finds that the session is over calls `Session.end`. That cancels the three tasks, which are cancelled as well
  when the body of `open_session` is left, or cancelled from outside; in each case the same goodbye follows, shielded and
  bounded, unless the peer or the wire is gone already. The body itself is never cancelled: it finds out by `SessionClosed`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol

import trio

from ..concurrency.bounded_queue import BoundedQueue
from ..concurrency.unwrapping import unwrapping
from ..config import TransportName
from ..errors import (
    ConfigurationError,
    ConnectFailed,
    ConnectionFault,
    EncodeError,
    PacketError,
    PingTimeout,
    TransportClosed,
    TransportError,
    outcome_of,
    without_frames,
)
from ..log import get_logger
from ..protocol.engineio import decode_base64
from ..protocol.frames import EncodedPacket
from .handshake import Handshake
from .heartbeat import Heartbeat, Progress
from .polling import PollingTransport
from .target import Target
from .upgrade import Upgrade
from .websocket import WebSocketTransport

__all__ = ["Session", "SessionClosed", "Transport", "open_session"]

logger = get_logger("trio_sio.client")

MAX_MESSAGE_SIZE: Final = 16 * 1024 * 1024

# What waits in either direction. The reader stops at the one bound, `Session.send` waits at the other.
INBOX_MESSAGES: Final = 64
INBOX_BYTES: Final = 1024 * 1024
OUTBOX_PACKETS: Final = 256
OUTBOX_BYTES: Final = 1024 * 1024

FAREWELL: Final = 1.0  # seconds for the goodbye of a session that is cancelled, or has failed
TURN_PACKETS: Final = 256  # how many packets of one response are taken before other tasks get a turn
TURN_BYTES: Final = 256 * 1024  # how much the writer takes from the outbox at once

_TRANSPORTS: Final[dict[str, type[PollingTransport] | type[WebSocketTransport]]] = {
    "polling": PollingTransport,
    "websocket": WebSocketTransport,
}

CLOSED_HERE: Final = "io client disconnect"

_PONG: Final = EncodedPacket(b"3")


class Transport(Protocol):
    """What carries a session: `PollingTransport` or `WebSocketTransport`."""

    name: TransportName
    says_goodbye_back: bool
    """Whether `say_goodbye` is answered, so that `receive` comes to an end."""
    progress: Progress
    """Of the message, or the response, that is being received."""

    @property
    def owes_pong(self) -> bool:
        """Whether a pong of its own waits for the next `send`."""

    @property
    def owes_close(self) -> bool:
        """Whether a server that is done wants to be told that we are, by `say_goodbye`."""

    async def receive(self) -> Iterable[str | bytes]:
        """Wait for packets: text with the type digit, or a binary message."""

    async def send(self, packets: Sequence[EncodedPacket]) -> None:
        """Send packets."""

    async def say_goodbye(self) -> None:
        """Tell the server that the session is over."""

    async def aclose(self) -> None:
        """Close every connection at once."""


class SessionClosed(Exception):
    """The session is over.

    Attributes:
      reason: Why, in the words of the official client.
      detail: The same for a log, as a sentence.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"The session is over ({reason}): {detail}.")
        self.reason = reason
        self.detail = detail


class Session:
    """An open session; see `open_session`.

    Attributes:
      sid: Its id.
      handshake: What else the server has said about it.
      closed: Why it is over; ``None`` while it is not.
      close_by: When the goodbye must be over, however slowly the server takes it; `close` sets it.
      on_upgrade: Called with the new transport when it has changed.
    """

    def __init__(
        self,
        transport: Transport,
        handshake: Handshake,
        packets: Iterable[str | bytes],
        upgrade: Upgrade | None,
        farewell_timeout: float,
    ) -> None:
        self.sid = handshake.sid
        self.handshake = handshake
        self.closed: SessionClosed | None = None
        self.close_by = math.inf
        self.on_upgrade: Callable[[TransportName], None] | None = None
        self._transport = transport
        self._packets = packets
        self._upgrade = upgrade
        self._farewell_timeout = farewell_timeout
        self._inbox = BoundedQueue[str | bytes](INBOX_MESSAGES, INBOX_BYTES)
        self._outbox = BoundedQueue[EncodedPacket](OUTBOX_PACKETS, OUTBOX_BYTES)
        self._pong_due = False
        self._work = trio.Event()  # for the writer
        self._flushed = trio.Event()  # nothing waits for the writer
        self._receiving = trio.Lock()
        self._sending = trio.Lock()
        self._scope = trio.CancelScope()
        self._heartbeat = Heartbeat(handshake)
        transport.progress.on_progress = self._heartbeat.prolong
        self._over = trio.Event()
        self._closing = False
        self._said_goodbye = False

    @property
    def transport(self) -> TransportName:
        """What carries it now."""
        return self._transport.name

    async def receive(self) -> str | bytes:
        """Return the next message, text without the type digit.

        Raises:
          SessionClosed: if the session is over and every message before that was received.
        """
        try:
            return await self._inbox.get()
        except trio.EndOfChannel:
            raise self._why() from None

    def require_fit(self, packet: EncodedPacket) -> None:
        """Raise `EncodeError` if a message of ``packet`` is larger than the server takes, which would end the session."""
        most = self.handshake.max_payload
        if packet.size > most:
            largest = max(map(len, (packet.text or b"", *packet.attachments)))
            if largest > most:
                raise EncodeError(
                    f"This packet has a message of {largest} bytes, and the server takes {most}: send it in parts, or raise the "
                    "server's Config.max_http_buffer_size (Node: maxHttpBufferSize)."
                )

    async def send(self, packet: EncodedPacket) -> None:
        """Queue a packet, when there is room; when it is cancelled, the packet was not queued.

        Raises:
          SessionClosed: if the session is over.
        """
        try:
            await self._outbox.put(packet, packet.size)
        except trio.ClosedResourceError:
            raise self._why() from None
        self._wake_writer()

    def send_nowait(self, packet: EncodedPacket) -> None:
        """Queue a packet.

        Raises:
          trio.WouldBlock: if there is no room, or others wait for it.
          SessionClosed: if the session is over.
        """
        try:
            self._outbox.put_nowait(packet, packet.size)
        except trio.ClosedResourceError:
            raise self._why() from None
        self._wake_writer()

    def end(self, reason: str, detail: str = "it was ended here") -> None:
        """End the session now, unless it is over; what has arrived can still be received.

        Args:
          reason: Why, in the words of the official client, such as ``"parse error"``.
          detail: The same for a log.
        """
        if self.closed is not None:
            return
        self.closed = SessionClosed(reason, detail)
        logger.debug("The session %r is over (%s): %s.", self.sid, reason, detail)
        self._inbox.close()
        self._outbox.close()
        self._flushed.set()
        self._over.set()
        self._scope.cancel()

    def _why(self) -> SessionClosed:
        assert self.closed is not None
        # Made anew, because an exception that is raised twice shows where it was raised first.
        return SessionClosed(self.closed.reason, self.closed.detail)

    # The tasks.

    async def run(self) -> None:
        """Carry messages until the session is over; then say goodbye and close every connection."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._read)
                    nursery.start_soon(self._write)
                    if self._upgrade is not None:
                        nursery.start_soon(self._upgrade.run, self)
        finally:
            self.end(CLOSED_HERE, "it was cancelled")
            try:
                with trio.CancelScope(deadline=min(self.close_by, trio.current_time() + self._farewell_timeout), shield=True):
                    await self._hang_up()
            finally:
                with trio.move_on_after(FAREWELL, shield=True):
                    await self._transport.aclose()

    async def _read(self) -> None:
        fault: ConnectionFault
        try:
            with self._heartbeat.scope:
                self._heartbeat.restart()
                while True:
                    await self._take(self._packets)
                    async with self._receiving:
                        self._packets = await self._transport.receive()
                    if self._transport.owes_pong:
                        self._wake_writer()
            fault = PingTimeout(f"no ping came for {self.handshake.patience:g} seconds")
        except ConnectionFault as error:
            fault = without_frames(error)
        except trio.ClosedResourceError:
            return  # the session is over, so that nothing more is delivered
        self._fail(fault)

    async def _take(self, packets: Iterable[str | bytes]) -> None:
        for number, packet in enumerate(packets, 1):
            if isinstance(packet, bytes):
                await self._deliver(packet)
            elif packet.startswith("4"):
                await self._deliver(packet[1:])
            elif packet == "2":
                self._heartbeat.restart()
                self._pong_due = True  # one pong answers all pings that came meanwhile
                self._wake_writer()
            elif packet.startswith("b"):
                await self._deliver(decode_base64(packet[1:].encode()))
            elif packet == "1":
                raise TransportClosed("the server sent a close packet")
            elif packet != "6":
                raise PacketError(f"the server sent {packet[:20]!r}, which has no place in an open session")
            if number % TURN_PACKETS == 0:
                await trio.lowlevel.checkpoint()

    async def _deliver(self, message: str | bytes) -> None:
        size = len(message)
        if self._closing:
            return
        if self._inbox.has_room(size):
            self._inbox.put_nowait(message, size)
            return
        self._heartbeat.pause()
        await self._inbox.put(message, size)
        self._heartbeat.restart()

    async def _write(self) -> None:
        try:
            while True:
                while not (self._outbox or self._pong_due or self._transport.owes_pong):
                    self._flushed.set()
                    await self._work.wait()
                    self._work = trio.Event()
                async with self._sending:
                    packets = self._outbox.take(TURN_BYTES)
                    if self._pong_due:
                        self._pong_due = False
                        packets.insert(0, _PONG)
                    await self._transport.send(packets)
        except ConnectionFault as fault:
            self._fail(fault)

    def _wake_writer(self) -> None:
        self._work.set()
        if self._flushed.is_set() and self.closed is None:
            self._flushed = trio.Event()

    def _fail(self, fault: ConnectionFault) -> None:
        if self._closing:
            self.end(CLOSED_HERE, "it was closed")
        if isinstance(fault, TransportError | TransportClosed) and not self._transport.owes_close:
            self._said_goodbye = True  # nobody is there to take it
        self.end(outcome_of(fault).reason.value, str(fault).rstrip("."))

    # What the upgrade needs.

    @asynccontextmanager
    async def quiet(self) -> AsyncIterator[None]:
        """Wait until no poll and no write is under way, and let none begin."""
        # The poll is what takes long, and packets can still be sent meanwhile.
        async with self._receiving, self._sending:
            yield

    async def move(self, transport: Transport) -> None:
        """Go on with another transport; while it is `quiet`."""
        retired, self._transport = self._transport, transport
        transport.progress.on_progress = self._heartbeat.prolong
        if self.on_upgrade is not None:
            self.on_upgrade(transport.name)
        await retired.aclose()

    # The goodbye.

    async def close(self, timeout: float) -> None:
        """Send what is queued, say goodbye and wait until that is taken, within ``timeout`` seconds in all and before `close_by`."""
        # Nobody takes what still arrives, and a reader that waits for room would not come to the server's goodbye.
        self._closing = True
        self._inbox.take(sys.maxsize)
        self.close_by = min(self.close_by, trio.current_time() + timeout)
        with trio.CancelScope(deadline=self.close_by):
            await self._flushed.wait()
            # The reader goes on meanwhile: a poll that is dropped is a broken transport, and a close frame has an answer.
            async with self._sending:
                if not self._over.is_set():
                    await self._say_goodbye()
            if self._transport.says_goodbye_back:
                await self._over.wait()
        self.end(CLOSED_HERE, "it was closed")

    async def _hang_up(self) -> None:
        """Say goodbye when nobody reads and writes any more, and wait for the answer if there is one."""
        if self._said_goodbye:
            return
        await self._say_goodbye()
        try:
            while self._transport.says_goodbye_back:
                await self._transport.receive()
        except ConnectionFault:
            return

    async def _say_goodbye(self) -> None:
        self._said_goodbye = True
        try:
            await self._transport.say_goodbye()
        except ConnectionFault as fault:
            logger.debug("The session %r ends without a goodbye: %s.", self.sid, fault)


@asynccontextmanager
async def open_session(
    target: Target,
    *,
    transports: Sequence[TransportName] = ("polling", "websocket"),
    upgrade: bool = True,
    connect_timeout: float = 20,
    close_timeout: float = 5,
    max_message_size: int = MAX_MESSAGE_SIZE,
) -> AsyncIterator[Session]:
    """Open a session, and close it behind the block; a session that ends meanwhile does not cancel the block.

    Leaving sends what is queued, then the goodbye. When it is cancelled, or leaves with an exception, there is only the
    goodbye.

    Args:
      target: Where to.
      transports: What to try, in this order, until one opens. A refusal (4xx) is final.
      upgrade: Whether a polling session moves to a WebSocket when both sides can.
      connect_timeout: Seconds until the open packet is there, for all transports together; and for the upgrade.
      close_timeout: Seconds for leaving; at most one second of it when leaving is cancelled.
      max_message_size: The largest message, and the largest response body, in bytes.

    Raises:
      ConfigurationError: if there is no transport to try.
      ConnectFailed: if no transport opens.
    """
    session = await _open(target, transports, upgrade, connect_timeout, min(close_timeout, FAREWELL), max_message_size)
    with unwrapping() as body:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.run)
            with body:
                yield session
                await session.close(close_timeout)


async def _open(
    target: Target,
    transports: Sequence[TransportName],
    upgrade: bool,
    connect_timeout: float,
    farewell_timeout: float,
    max_message_size: int,
) -> Session:
    if not transports or set(transports) - set(_TRANSPORTS):
        raise ConfigurationError(f'transports is {transports!r}; choose from ("polling", "websocket").')
    deadline = trio.current_time() + connect_timeout
    failures: list[ConnectFailed] = []
    for number, name in enumerate(transports):
        # So that one that hangs leaves time for the next.
        share = (deadline - trio.current_time()) / (len(transports) - number)
        try:
            with trio.fail_after(max(0, share)):
                transport, handshake, packets = await _TRANSPORTS[name].open(target, max_message_size)
        except trio.TooSlowError:
            failures.append(ConnectFailed(f"{target.description} did not answer the {name} handshake within {share:g} seconds."))
        except ConnectFailed as failure:
            failures.append(failure)
            if not failure.retryable or (failure.status is not None and 400 <= failure.status < 500):
                break
        else:
            moves = upgrade and name == "polling" and "websocket" in transports and "websocket" in handshake.upgrades
            move = Upgrade(target, max_message_size, connect_timeout) if moves else None
            return Session(transport, handshake, packets, move, farewell_timeout)
    raise _summary(failures)


def _summary(failures: list[ConnectFailed]) -> ConnectFailed:
    if len(failures) == 1:
        return failures[0]
    # The last one decides whether to try again: the others gave way to it.
    last = failures[-1]
    return ConnectFailed(" ".join(dict.fromkeys(map(str, failures))), status=last.status, retryable=last.retryable)
