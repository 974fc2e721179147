"""Sessions whose messages a test asks for."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import trio

from trio_sio.client import session as client
from trio_sio.client.session import OUTBOX_BYTES, SessionClosed
from trio_sio.client.session import Session as PushingSession
from trio_sio.client.target import Target
from trio_sio.config import TransportName
from trio_sio.protocol.engineio import Handshake
from trio_sio.protocol.frames import EncodedPacket

__all__ = ["MESSAGES_KEPT", "Session", "open_session"]

MESSAGES_KEPT: Final = 64  # then no more are accepted until one is received
BYTES_KEPT: Final = 1024 * 1024


class Whole(EncodedPacket):
    """A packet of any size, which an empty outbox takes, as it takes every packet of a socket."""

    def __init__(self, packet: EncodedPacket) -> None:
        super().__init__(packet.text, packet.attachments)
        self.size = min(self.size, OUTBOX_BYTES)


class Session:
    """A session, and what it has brought: a receiver that has room for a few messages.

    Attributes:
      on_upgrade: Called with the new transport when it has changed.
    """

    def __init__(self) -> None:
        self.on_upgrade: Callable[[TransportName], None] = lambda _: None
        self.closed: SessionClosed | None = None
        self.session: PushingSession
        self._messages: deque[str | bytes] = deque()
        self._news = trio.lowlevel.ParkingLot()

    # The receiver.

    def text(self, message: str) -> None:
        self._arrive(message)

    def binary(self, message: bytes) -> None:
        self._arrive(message)

    def upgraded(self, transport: TransportName) -> None:
        self.on_upgrade(transport)

    def ended(self, closed: SessionClosed) -> None:
        assert self.closed is None
        self.closed = closed
        self._news.unpark_all()

    def _arrive(self, message: str | bytes) -> None:
        assert self.closed is None
        assert self._has_room()
        self._messages.append(message)
        self._news.unpark_all()
        self._look()

    def _has_room(self) -> bool:
        return len(self._messages) < MESSAGES_KEPT and sum(map(len, self._messages)) < BYTES_KEPT

    def _look(self) -> None:
        self.session.accept(self._has_room())

    async def receive(self) -> str | bytes:
        """Return the next message.

        Raises:
          SessionClosed: if the session is over and every message before that was received.
        """
        await trio.lowlevel.checkpoint()
        while not self._messages:
            if self.closed is not None:
                raise SessionClosed(self.closed.reason, self.closed.detail)
            await self._news.park()
        message = self._messages.popleft()
        self._look()
        return message

    # The session.

    @property
    def sid(self) -> str:
        return self.session.handshake.sid

    @property
    def handshake(self) -> Handshake:
        return self.session.handshake

    @property
    def transport(self) -> TransportName:
        return self.session.transport

    def require_fit(self, packet: EncodedPacket) -> None:
        self.session.require_fit(packet)

    async def send(self, packet: EncodedPacket) -> None:
        """Send ``packet`` when there is room.

        Raises:
          SessionClosed: if the session is over, also while waiting.
        """
        await self.session.outbox.send(Whole(packet))
        self._require_open()

    def send_nowait(self, packet: EncodedPacket) -> None:
        self._require_open()
        self.session.outbox.send_nowait(Whole(packet))

    def _require_open(self) -> None:
        if self.closed is not None:
            raise SessionClosed(self.closed.reason, self.closed.detail)

    def end(self, reason: str, detail: str = "it was ended here") -> None:
        self.session.end(reason, detail)


@asynccontextmanager
async def open_session(target: Target, **options: Any) -> AsyncIterator[Session]:
    """See `trio_sio.client.session.open_session`."""
    session = Session()
    async with client.open_session(target, session, **options) as session.session:
        yield session
