"""One Engine.IO session, client side: it begins with an open packet, may move from polling to a WebSocket, and ends once.

Theory of operation. Three tasks live in `Session.run`: the *reader*, the *writer* and, for a while, the *move*.

* Only the reader receives on the transport, only the writer sends on it. Each holds a lock for as long as one poll, or one
  write, takes; so whoever holds both locks knows that nothing is under way, and may put another transport in its place, or
  say goodbye.
* The reader's cancel scope is the heartbeat: a ping moves its deadline, and so does a large message that comes on.
* What arrives is pushed: the reader calls the `Receiver` synchronously, in order. One that has no room says so with
  `Session.accept`; then the reader keeps the next message in its hand and reads no further, so there is no deadline either.
* What is sent is pulled: whoever has something says so with `Session.ready`, and the writer takes it when the transport is
  free. The session keeps nothing for others; its own outbox is for what has no place behind it, such as CONNECT.
* Whoever finds that the session is over calls `Session.end`, which tells the receiver: nothing is delivered from then on. It
  cancels the three tasks, which are cancelled as well when the body of `open_session` is left, or cancelled from outside;
  in each case the same goodbye follows, shielded and bounded, unless the peer or the wire is gone already. The body itself
  is never cancelled.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, Protocol, TypeVar

import trio

from ..concurrency.gate import Gate
from ..concurrency.outbox import Outbox
from ..concurrency.unwrapping import unwrapping
from ..config import TransportName
from ..errors import (
    ConnectionFault,
    DecodeError,
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
from .target import Target
from .transports import Move, Opened, Transport, open_transport

__all__ = ["MAX_MESSAGE_SIZE", "Receiver", "Session", "SessionClosed", "Source", "open_session"]

logger = get_logger("trio_sio.client")

MAX_MESSAGE_SIZE: Final = 16 * 1024 * 1024

# What waits in the session's own outbox.
OUTBOX_PACKETS: Final = 256
OUTBOX_BYTES: Final = 1024 * 1024

FAREWELL: Final = 1.0  # seconds for the goodbye of a session that is cancelled, or has failed
TURN_PACKETS: Final = 256  # how many packets without a message are taken before other tasks get a turn
TURN_BYTES: Final = 256 * 1024  # how much the writer takes at once

CLOSED_HERE: Final = "io client disconnect"

_PONG: Final = EncodedPacket(b"3")

M = TypeVar("M", str, bytes)


class Receiver(Protocol):
    """Who takes what a session brings; all of it is called synchronously, in order."""

    def text(self, message: str) -> None:
        """Take a text message, without the type digit; may raise `DecodeError`, which ends the session."""

    def binary(self, message: bytes) -> None:
        """Take a binary message, like `text`."""

    def upgraded(self, transport: TransportName) -> None:
        """Learn that another transport carries the session."""

    def ended(self, closed: SessionClosed) -> None:
        """Learn, exactly once, that nothing more comes, and nothing more is sent."""


class Source(Protocol):
    """Who has packets for a session: an `Outbox` of them, or what is in front of one."""

    def take(self, max_bytes: int, /) -> list[EncodedPacket]:
        """Give the oldest packets, up to ``max_bytes`` but at least one; empty when there are none."""


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


@asynccontextmanager
async def open_session(
    target: Target,
    receiver: Receiver,
    *,
    transports: Sequence[TransportName] = ("polling", "websocket"),
    upgrade: bool = True,
    connect_timeout: float = 20,
    close_timeout: float = 5,
    max_message_size: int = MAX_MESSAGE_SIZE,
) -> AsyncIterator[Session]:
    """Open a session, and close it behind the block; a session that ends meanwhile does not cancel the block.

    Leaving sends what waits, then the goodbye. When it is cancelled, or leaves with an exception, there is only the goodbye,
    within a second. Arguments are those of `trio_sio.open_client`; ``connect_timeout`` is until the open packet is there, for all
    transports together, and again for the upgrade. Errors are those of `open_transport`.
    """
    opened = await open_transport(target, transports, max_message_size, connect_timeout)
    moves = upgrade and opened.transport.name == "polling" and "websocket" in transports and "websocket" in opened.handshake.upgrades
    move = Move(target, max_message_size, connect_timeout).run if moves else None
    session = Session(opened, receiver, move, min(close_timeout, FAREWELL))
    with unwrapping() as body:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.run)
            with body:
                yield session
                await session.close(close_timeout)


class Session:
    """An open session; made by `open_session`.

    Args:
      opened: What it is, and what carries it first.
      receiver: Who takes what arrives.
      move: Moves it to another transport; ``None``: it stays where it is.
      farewell_timeout: Seconds for the goodbye when it is cancelled.

    Attributes:
      handshake: What the server has said about it.
      outbox: For packets of this session that have no place behind others; closed when the session is over.
      closed: Why it is over; ``None`` while it is not.
      close_by: When the goodbye must be over, however slowly the server takes it; `close` sets it.
    """

    def __init__(
        self, opened: Opened, receiver: Receiver, move: Callable[[Session], Awaitable[None]] | None, farewell_timeout: float
    ) -> None:
        self.handshake = opened.handshake
        self.outbox = Outbox[EncodedPacket](OUTBOX_PACKETS, OUTBOX_BYTES)
        self.outbox.notify = partial(self.ready, self.outbox)
        self.closed: SessionClosed | None = None
        self.close_by = math.inf
        self._transport = opened.transport
        self._packets: Iterable[str | bytes] = opened.packets
        self._receiver = receiver
        self._move = move
        self._farewell_timeout = farewell_timeout
        self._sources: dict[Source, None] = {}  # those that have something, in the order of their turns
        self._pong_due = False
        self._work = trio.Event()  # for the writer
        self._flushed = trio.Event()  # nothing waits for the writer
        self._gate = Gate()  # which messages pass
        self._receiving = trio.Lock()
        self._sending = trio.Lock()
        self._scope = trio.CancelScope()
        self._heartbeat = trio.CancelScope()  # around what reads
        self._watch_progress()
        self._over = trio.Event()
        self._closing = False
        self._said_goodbye = False

    @property
    def transport(self) -> TransportName:
        """What carries it now."""
        return self._transport.name

    def accept(self, accepting: bool) -> None:
        """Deliver messages, or leave them in the network until told otherwise."""
        if accepting:
            self._gate.open()
        else:
            self._gate.shut()

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

    def ready(self, source: Source) -> None:
        """Learn that ``source`` has something to send; it is asked until it has nothing more."""
        if self.closed is None:
            self._sources[source] = None
            self._wake_writer()

    def end(self, reason: str, detail: str = "it was ended here") -> None:
        """End the session now, unless it is over.

        Args:
          reason: Why, in the words of the official client, such as ``"parse error"``.
          detail: The same for a log.
        """
        if self.closed is not None:
            return
        self.closed = SessionClosed(reason, detail)
        logger.debug("The session %r is over (%s): %s.", self.handshake.sid, reason, detail)
        self.outbox.close()
        self._sources.clear()
        self._flushed.set()
        self._over.set()
        self._scope.cancel()
        self._receiver.ended(self.closed)

    # The tasks.

    async def run(self) -> None:
        """Carry messages until the session is over; then say goodbye and close every connection."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._read)
                    nursery.start_soon(self._write)
                    if self._move is not None:
                        nursery.start_soon(self._move, self)
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
            with self._heartbeat:
                self._expect_ping()
                while True:
                    await self._take(self._packets)
                    async with self._receiving:
                        self._packets = await self._transport.receive()
                    if self._transport.owes_pong:
                        self._wake_writer()
            fault = PingTimeout(f"no ping came for {self.handshake.patience:g} seconds")
        except DecodeError as error:
            self.end("parse error", str(error).rstrip("."))
            return
        except ConnectionFault as error:
            fault = without_frames(error)
        self._fail(fault)

    async def _take(self, packets: Iterable[str | bytes]) -> None:
        for number, packet in enumerate(packets, 1):
            if isinstance(packet, bytes):
                await self._deliver(self._receiver.binary, packet)
            elif packet.startswith("4"):
                await self._deliver(self._receiver.text, packet[1:])
            elif packet == "2":
                self._expect_ping()
                self._pong_due = True  # one pong answers all pings that came meanwhile
                self._wake_writer()
            elif packet.startswith("b"):
                await self._deliver(self._receiver.binary, decode_base64(packet[1:].encode()))
            elif packet == "1":
                raise TransportClosed("the server sent a close packet")
            elif packet != "6":
                raise PacketError(f"the server sent {packet[:20]!r}, which has no place in an open session")
            if number % TURN_PACKETS == 0:
                await trio.lowlevel.checkpoint()

    async def _deliver(self, take: Callable[[M], None], message: M) -> None:
        if not self._gate.is_open:
            self._heartbeat.deadline = math.inf  # while nothing is read, a missing ping says nothing about the server
            await self._gate.wait()
            self._expect_ping()
        # Nobody takes what arrives while it is closed, or behind what ended it.
        if not self._closing and self.closed is None:
            take(message)
            await trio.lowlevel.checkpoint()  # whoever waited for it goes on before the next one comes

    def _expect_ping(self) -> None:
        self._heartbeat.deadline = trio.current_time() + self.handshake.patience

    def _watch_progress(self) -> None:
        self._transport.progress.on_progress = partial(_prolong, self._heartbeat, self.handshake.ping_timeout)

    async def _write(self) -> None:
        try:
            while True:
                while not (self._sources or self._pong_due or self._transport.owes_pong):
                    self._flushed.set()
                    await self._work.wait()
                    self._work = trio.Event()
                async with self._sending:
                    await self._transport.send(self._next_packets())
        except ConnectionFault as fault:
            self._fail(fault)

    def _next_packets(self) -> list[EncodedPacket]:
        packets = [_PONG] if self._pong_due else []
        self._pong_due = False
        room = TURN_BYTES
        while room > 0 and self._sources:
            source = next(iter(self._sources))
            del self._sources[source]
            if taken := source.take(room):
                packets += taken
                room -= sum(packet.size for packet in taken)
                self._sources[source] = None  # behind the others
        return packets

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

    # What a move needs.

    @asynccontextmanager
    async def quiet(self) -> AsyncIterator[None]:
        """Wait until no poll and no write is under way, and let none begin."""
        # The poll is what takes long, and packets can still be sent meanwhile.
        async with self._receiving, self._sending:
            yield

    async def move(self, transport: Transport) -> None:
        """Go on with another transport; while it is `quiet`."""
        retired, self._transport = self._transport, transport
        self._watch_progress()
        self._receiver.upgraded(transport.name)
        await retired.aclose()

    # The goodbye.

    async def close(self, timeout: float) -> None:
        """Send what waits, say goodbye and wait until that is taken, within ``timeout`` seconds in all and before `close_by`."""
        # Nobody takes what still arrives, and a reader that waits for room would not come to the server's goodbye.
        self._closing = True
        self._gate.open()
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
            logger.debug("The session %r ends without a goodbye: %s.", self.handshake.sid, fault)


def _prolong(heartbeat: trio.CancelScope, seconds: float) -> None:
    """Let the next ping be missing for so many ``seconds`` from now: it waits its turn behind a large message, which comes on."""
    heartbeat.deadline = max(heartbeat.deadline, trio.current_time() + seconds)
