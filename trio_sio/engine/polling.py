"""HTTP long-polling: GET takes packets out, POST puts packets in (Engine.IO protocol, "HTTP long-polling")."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import trio

from ..concurrency.streams import SECONDS_PER_TURN
from ..concurrency.wakeup import Wakeup
from ..errors import ConnectionFault, TransportClosed, TransportError
from ..limits import PROGRESS
from ..log import SID_SHOWN, get_logger
from ..protocol import engineio
from ..protocol.http import Response
from .door import BodyTooLarge, ClientGone, HttpExchange
from .refusals import BAD_REQUEST, refusal
from .states import TransportState
from .traffic import is_logged

if TYPE_CHECKING:
    from ..concurrency.outbox import Outbox
    from ..concurrency.timers import Timer
    from ..protocol.frames import EncodedPacket
    from .connection import Connection

__all__ = ["PollingTransport"]

logger = get_logger("trio_sio.engine")

PACKETS_PER_TURN: Final = 256  # how many packets of one POST are taken before other tasks get a turn, if they are quick
LARGE: Final = 512  # bytes of a packet behind which it is worth a look at the clock
OVERLAP: Final = 1.0  # seconds that a poll waits while the one before it is still being answered

Packets = Iterator[tuple[bool, bytes]]  # whether it is binary, and what it says

_NO_STORE: Final = (b"Cache-Control", b"no-store")


class PollingTransport:
    """Carries a session over HTTP requests, which arrive in tasks of their own.

    At most one GET and one POST at a time; a second one means that two clients share one session id, so it ends. A client
    that has the whole answer to a GET may be quicker with the next one than the host is with telling us so: that one waits,
    for `OVERLAP` seconds, so that packets leave in order and on one way.

    The packets of a POST are taken while there is room in the inbox, and its answer tells the client to go on. When that
    takes longer than `Config.inbox_stall_timeout`, the POST is answered, lest somebody between gives it up, and a task of
    the connection takes the rest as room comes; the body of the next POST is not read before that is done. So a client is
    never disconnected for what it posted in time, and at most one body waits besides the inbox.
    """

    state = TransportState.POLLING

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._poll: HttpExchange | None = None  # the GET that waits for packets, if any
        self._woken = False  # and whether it was told that there are some
        self._answering = False  # whether a GET is being answered
        self._overlapping = False  # whether another GET waits for that
        self._answered = Wakeup()  # for that one
        self._outgoing = 0  # how many bytes of packets a GET is being answered with
        self._incoming = 0.0  # how many bytes the POST has that is being received; infinity where it does not say
        self._posting = False  # whether there is a POST that is not answered yet
        self._reading: trio.CancelScope | None = None  # in which its body is waited for, if it is
        self._rest: Packets | None = None  # what is left of one that was
        self._taken: trio.Event | None = None  # set when either is over, if somebody waits for that
        self._goodbye: EncodedPacket | None = None  # what a GET gets once the session has ended or moved on
        self._linger: Timer | None = None

    # The interface of a transport.

    def notify(self) -> None:
        """Let a waiting GET take what is queued."""
        if self._poll is not None:
            self._woken = True
            self._poll.wake()

    def accept(self, accepting: bool) -> None:
        """Nothing to do: a POST looks at `Connection.accepting` itself."""

    def is_moving(self) -> bool:
        """Tell whether a POST or the answer to a GET is on its way; the doors end those that do not come on.

        Small ones are no reason to wait for a pong: they are here at once, and a poll that comes as late as the ping would be
        answered with it is one of those.
        """
        return max(self._outgoing, self._incoming) >= PROGRESS

    def end(self, fault: ConnectionFault, *, linger: float) -> bool:
        """Answer a waiting GET with the goodbye; with ``linger``, after all that is queued, for so many seconds."""
        # A client that closed the session itself is only let go; all others must learn that it is over.
        self._goodbye = engineio.NOOP_PACKET if isinstance(fault, TransportClosed) else engineio.CLOSE_PACKET
        if self._reading is not None and isinstance(fault, TransportError):
            self._reading.cancel()
        if linger:
            self._linger = self._connection.services.timers.call_after(linger, self._connection.said_goodbye)
        self.notify()
        return not linger and self._poll is None

    def hurry(self, linger: float) -> None:
        """Wait for a poll that may never come for ``linger`` seconds only: the server stops."""
        if self._linger is not None:
            self._linger.cancel()
            self._linger = self._connection.services.timers.call_after(linger, self._connection.said_goodbye)

    def forget(self) -> None:
        """Wait for no poll any more: the session is over, or has moved."""
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None

    # What the upgrade needs.

    def release(self) -> None:
        """Answer a waiting GET with a noop, so that the client can stop polling."""
        if self._poll is not None and not self._woken:
            self._connection.outbox.put(engineio.NOOP_PACKET)

    def retire(self) -> None:
        """Leave the session to a WebSocket: a waiting GET is answered with a noop, and no other one is waited for."""
        self._goodbye = engineio.NOOP_PACKET
        self.forget()
        self.notify()

    @property
    def posting(self) -> bool:
        """Whether packets of a POST are still to be taken."""
        return self._posting or self._rest is not None

    async def wait_posted(self) -> None:
        """Return when the packets of all POSTs were taken."""
        while self.posting:
            await self._wait_taken()

    async def _wait_taken(self) -> None:
        self._taken = self._taken or trio.Event()
        await self._taken.wait()

    def _note_taken(self) -> None:
        if self._taken is not None:
            self._taken.set()
            self._taken = None

    # The requests.

    async def get(self, exchange: HttpExchange, headers: list[tuple[bytes, bytes]]) -> None:
        """Answer a GET once there are packets, or the session has ended."""
        connection = self._connection
        if not await self._is_only_poll():
            connection.end(TransportError("two polls at once"))
            await exchange.respond(refusal(BAD_REQUEST, headers))
            return
        if not connection.outbox and self._goodbye is None:
            self._poll, self._woken = exchange, False
            cancelled = True
            try:
                if not await exchange.wait_woken() and connection.transport_state is not TransportState.WEBSOCKET:
                    connection.end(TransportError("the client dropped its poll"))
                cancelled = False
            finally:
                self._poll = None
                if cancelled and self._linger is None:
                    # A session that has ended meanwhile counts on this poll, and no other one fetches its goodbye.
                    connection.said_goodbye()
        goodbye = self._goodbye
        if goodbye is not None and (self._linger is None or not connection.outbox):
            packets = [goodbye]
        else:
            # The goodbye gets a response of its own: the official client delivers the packets of a response only after
            # it has looked at all of them, and a session that is closed by then delivers nothing.
            goodbye = None
            packets = take_payload(connection.outbox, connection.config.max_http_buffer_size)
            if is_logged():
                connection.services.traffic.sent(connection.sid, packets)
        self._answering, delivered = True, False
        response = packets_response(packets, headers)
        self._outgoing = len(response.body)
        try:
            # What is compressed next to a secret tells about it, so one packet speaks for all of them.
            if all(packet.compress is not False for packet in packets):
                response = await connection.services.compressor.compress(response, exchange.request)
            await exchange.respond(response)
            delivered = True
        finally:
            self._answering = False
            if self._overlapping:
                self._answered.wake()
            self._outgoing = 0
            if not delivered:
                self._lost(packets)
            if goodbye is not None:
                if self._linger is not None:
                    self._linger.cancel()
                connection.said_goodbye()

    async def _is_only_poll(self) -> bool:
        if self._poll is not None or self._overlapping:
            return False
        if not self._answering:
            return True
        self._overlapping = True
        with trio.move_on_after(OVERLAP) as scope:
            try:
                await self._answered.wait()
            finally:
                self._overlapping = False
        return not scope.cancelled_caught

    def _lost(self, packets: list[EncodedPacket]) -> None:
        """End the session, which cannot go on as if nothing had happened, when ``packets`` were taken and have not arrived.

        One that has moved to a WebSocket can go on if they were only to release its last poll.
        """
        moved = self._connection.transport_state is TransportState.WEBSOCKET
        if not moved or any(packet is not engineio.NOOP_PACKET for packet in packets):
            self._connection.end(TransportError("a poll was given up while it was being answered"))

    async def post(self, exchange: HttpExchange, headers: list[tuple[bytes, bytes]]) -> None:
        """Take the packets of a POST, in order, and answer once the application has room for more."""
        connection = self._connection
        if self._posting:
            connection.end(TransportError("two posts at once"))
            await exchange.respond(refusal(BAD_REQUEST, headers))
            return
        response: Response | None = None
        self._posting = True
        length = exchange.request.headers.get("content-length", "")
        self._incoming = float(length) if length.isdecimal() else math.inf
        try:
            response = await self._take(exchange, headers)
        except BodyTooLarge as error:
            logger.info("Refused a POST of connection %s…: %s Config.max_http_buffer_size sets it.", connection.sid[:SID_SHOWN], error)
            response = Response(413, headers=headers)
        except ClientGone:
            connection.end(TransportError("the client dropped its post"))
            raise
        except ConnectionFault as fault:
            connection.end(fault)
        finally:
            self._posting = False
            self._incoming = 0
            self._note_taken()
        await exchange.respond(refusal(BAD_REQUEST, headers) if response is None else response)

    async def _take(self, exchange: HttpExchange, headers: list[tuple[bytes, bytes]]) -> Response:
        connection = self._connection
        if exchange.request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/octet-stream":
            raise TransportError("Engine.IO 4 posts text")
        while self._rest is not None:
            await self._wait_taken()
        if connection.fault is None:
            limit = connection.config.max_http_buffer_size
            body = exchange.body_nowait(limit)
            if body is None:
                body = await self._read_body(exchange, limit)
            if body is not None:
                deadline = trio.current_time() + connection.config.inbox_stall_timeout
                rest = await self._take_packets(engineio.decode_payload(body), deadline)
                if rest is not None:
                    self._rest = rest
                    connection.start_soon(self._take_rest, rest)
        if connection.fault is not None and not isinstance(connection.fault, TransportClosed):
            return refusal(BAD_REQUEST, headers)
        return Response(200, b"ok", [(b"Content-Type", b"text/html"), _NO_STORE, *headers])

    async def _read_body(self, exchange: HttpExchange, limit: int) -> bytes | None:
        """Wait for the body of a POST; return ``None`` if the session ends meanwhile."""
        self._reading = trio.CancelScope()
        try:
            with self._reading:
                return await exchange.read_body(limit)
        finally:
            self._reading = None
        return None

    async def _take_packets(self, packets: Packets, deadline: float = math.inf) -> Packets | None:
        """Take packets as there is room for them, until the session ends; return those that found none by ``deadline``."""
        connection = self._connection
        turn_ends = trio.current_time() + SECONDS_PER_TURN
        for number, packet in enumerate(packets, 1):
            if not connection.accepting:
                with trio.move_on_at(deadline):
                    await connection.wait_accepting()
                if not connection.accepting:
                    return itertools.chain((packet,), packets)
            is_binary, data = packet
            if is_binary:
                connection.binary(data)
            else:
                connection.text(data)
            if connection.fault is not None:
                break
            if number % PACKETS_PER_TURN == 0 or (len(data) >= LARGE and trio.current_time() >= turn_ends):
                await trio.lowlevel.checkpoint()
                turn_ends = trio.current_time() + SECONDS_PER_TURN
        return None

    async def _take_rest(self, packets: Packets) -> None:
        """Take what is left of a POST that was answered."""
        try:
            await self._take_packets(packets)
        except ConnectionFault as fault:
            self._connection.end(fault)
        finally:
            self._rest = None
            self._note_taken()


def take_payload(outbox: Outbox[EncodedPacket], max_bytes: int) -> list[EncodedPacket]:
    """Return what `Outbox.take` would, for one payload: separators, of which there is one less than packets, and base64 count, too."""
    return outbox.take_measured(max_bytes + 1, lambda packet: 1 + len(packet.polling))


def packets_response(packets: list[EncodedPacket], headers: list[tuple[bytes, bytes]]) -> Response:
    """Return the response that carries ``packets`` to a polling client."""
    body = engineio.RECORD_SEPARATOR.join(packet.polling for packet in packets)
    return Response(200, body, [(b"Content-Type", b"text/plain; charset=UTF-8"), _NO_STORE, *headers])
