"""Sessions without a wire, for what depends on time, and for what a server would do only if it were told to."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Final, cast

import trio

from trio_sio.client.connection import Connection
from trio_sio.client.manager import Manager
from trio_sio.client.open import run_manager
from trio_sio.client.reconnection import Reconnection
from trio_sio.client.session import OUTBOX_BYTES, OUTBOX_PACKETS, Receiver, Session, SessionClosed, Source
from trio_sio.concurrency.outbox import Outbox
from trio_sio.concurrency.unwrapping import unwrapping
from trio_sio.config import TransportName
from trio_sio.errors import ConnectFailed, DecodeError, EncodeError
from trio_sio.protocol.frames import EncodedPacket
from trio_sio.protocol.parsers import JSON

MIDDLE: Final = 0.5  # randomness that is none: no jitter
OFFICIAL: Final = Reconnection()
PATIENCE: Final = 100_000.0


class FakeSession:
    """What `Session` is to a manager; the other end of it is the test.

    Attributes:
      sent: The messages that nobody asked for with `next_sent` yet.
      room: How many packets it still takes.
      joins: Whether it answers CONNECT by itself.
      answers: What it answers the next CONNECT with instead.
    """

    def __init__(self, number: int, receiver: Receiver | None = None, *, joins: bool = True) -> None:
        self.number = number
        self.receiver = receiver
        self.joins = joins
        self.answers: tuple[str | bytes, ...] = ()
        self.transport: TransportName = "websocket"
        self.closed: SessionClosed | None = None
        self.close_by = math.inf
        self.accepting = True
        self.sent: deque[str | bytes] = deque()
        self.room = 1_000_000
        self.takes = 1_000_000
        self.unread: deque[str | bytes] = deque()
        self.outbox = Outbox[EncodedPacket](OUTBOX_PACKETS, OUTBOX_BYTES)
        self.outbox.notify = partial(self.ready, self.outbox)
        self._sources: dict[Source, None] = {}
        self._taking = False
        self._news = trio.lowlevel.ParkingLot()

    # What the manager calls.

    def accept(self, accepting: bool) -> None:
        self.accepting = accepting
        self._news.unpark_all()

    def require_fit(self, packet: EncodedPacket) -> None:
        if packet.size > self.takes:
            raise EncodeError("more than the server takes")

    def ready(self, source: Source) -> None:
        self._sources[source] = None
        self._take()

    def _take(self) -> None:
        """Take packets one by one as long as there is room, as the writer does as long as the server takes them."""
        while self.room and self._sources and not self._taking:
            self._taking = True
            source = next(iter(self._sources))
            packets = source.take(0)
            if not packets:
                self._sources.pop(source, None)
            self.room -= len(packets)
            self._taking = False
            for packet in packets:
                self._send(packet)
        self._news.unpark_all()

    def _send(self, packet: EncodedPacket) -> None:
        for message in packet.messages():
            self.sent.append(message[1:] if isinstance(message, str) else message)
            if isinstance(message, str) and message.startswith("40"):
                self._connect(message[2:])

    def _connect(self, rest: str) -> None:
        answers, self.answers = self.answers, ()
        if self.joins and not answers:
            namespace = rest.partition(",")[0] + "," if rest.startswith("/") else ""
            answers = (f'0{namespace}{{"sid":"id{self.number}"}}',)
        self.deliver(*answers)

    def end(self, reason: str, detail: str = "") -> None:
        if self.closed is None:
            self.closed = SessionClosed(reason, detail)
            self.outbox.close()
            self._sources.clear()
            self._news.unpark_all()
            if self.receiver is not None:
                self.receiver.ended(self.closed)

    async def read(self) -> None:
        """Deliver what has arrived until it is over, as the reader does."""
        assert self.receiver is not None
        while self.closed is None:
            if not self.unread or not self.accepting:
                await self._news.park()
                continue
            message = self.unread.popleft()
            try:
                if isinstance(message, str):
                    self.receiver.text(message)
                else:
                    self.receiver.binary(message)
            except DecodeError as error:
                self.end("parse error", str(error).rstrip("."))
            self._news.unpark_all()
            await trio.lowlevel.checkpoint()

    # What the test calls.

    def deliver(self, *messages: str | bytes) -> None:
        """Let messages arrive."""
        self.unread.extend(messages)
        self._news.unpark_all()

    def lose(self, reason: str = "transport close", detail: str = "the network is gone") -> None:
        """End it, as the network does."""
        self.end(reason, detail)

    def take_room(self, packets: int) -> None:
        """Let it take that many more packets, and then none."""
        self.room = packets
        self._take()

    async def next_sent(self) -> str | bytes:
        """Return the next message that the client has sent, without Engine.IO's ``4``."""
        with trio.fail_after(1_000):
            while not self.sent:
                await self._news.park()
        return self.sent.popleft()

    async def wait_read(self) -> None:
        """Wait until everything that arrived was read."""
        with trio.fail_after(1_000):
            while self.unread:
                await self._news.park()
            await trio.testing.wait_all_tasks_blocked()


class FakeServer:
    """Opens fake sessions, or fails to.

    Attributes:
      sessions: Every session that was opened.
      attempts: When each attempt was made.
      failures: How the next attempts end; ``None`` and nothing: they succeed.
      joins: Whether sessions answer CONNECT by themselves.
    """

    def __init__(self, *, joins: bool = True) -> None:
        self.joins = joins
        self.sessions: list[FakeSession] = []
        self.attempts: list[float] = []
        self.failures: deque[ConnectFailed | None] = deque()
        self.always_fails: ConnectFailed | None = None
        self._news = trio.lowlevel.ParkingLot()

    @property
    def session(self) -> FakeSession:
        """The newest session."""
        return self.sessions[-1]

    async def wait_session(self, number: int) -> FakeSession:
        """Wait for that session, the first being 1."""
        with trio.fail_after(10_000):
            while len(self.sessions) < number:
                await self._news.park()
        return self.sessions[number - 1]

    def open(self, receiver: Receiver) -> AbstractAsyncContextManager[Session]:
        """See `trio_sio.client.session.open_session`."""
        return cast("AbstractAsyncContextManager[Session]", self._open(receiver))

    @asynccontextmanager
    async def _open(self, receiver: Receiver) -> AsyncIterator[FakeSession]:
        self.attempts.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        failure = self.failures.popleft() if self.failures else self.always_fails
        if failure is not None:
            raise failure
        session = FakeSession(len(self.sessions) + 1, receiver, joins=self.joins)
        self.sessions.append(session)
        self._news.unpark_all()
        with unwrapping() as body:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(session.read)
                with body:
                    try:
                        yield session
                    finally:
                        session.end("io client disconnect")

    @asynccontextmanager
    async def manager(
        self, *, reconnection: Reconnection | None = OFFICIAL, connect_timeout: float = 20, close_timeout: float = 5
    ) -> AsyncIterator[Manager]:
        """Run a manager on these sessions; its back-off has no jitter."""
        connection = Connection(self.open, JSON, connect_timeout=connect_timeout, close_timeout=close_timeout, max_message_size=1_000_000)
        manager = Manager(connection, reconnection, random=lambda: MIDDLE)
        # A test that waits for what never comes fails; no time passes meanwhile.
        with trio.fail_after(PATIENCE):
            async with run_manager(manager):
                yield manager
