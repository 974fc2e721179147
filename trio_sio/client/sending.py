"""What one socket sends: events at once if they can leave, else through its buffer; acknowledgements, and the waiting for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import trio

from ..concurrency.answers import Answer
from ..errors import Disconnected, EncodeError
from ..log import get_logger
from .membership import Stage
from .outgoing import Outgoing, SendBuffer
from .session import Session, SessionClosed

if TYPE_CHECKING:
    from ..protocol.frames import EncodedPacket
    from ..protocol.socketio import Packet
    from .events import Received
    from .membership import Membership

__all__ = ["Sender"]

logger = get_logger("trio_sio.client")

_NO_ANSWER: Final = "The connection was lost before the server answered."


class Sender:
    """Sends for one socket.

    Args:
      membership: The socket's.

    Attributes:
      buffer: What has not left yet.
      awaited: What waits for its acknowledgement, by ack id.
      volatile_dropped: How many volatile packets were dropped.
    """

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self.buffer = SendBuffer(membership.require_open, membership.link.look_for_room)
        self.awaited: dict[int, Outgoing] = {}
        self.volatile_dropped = 0
        self._in_order = trio.StrictFIFOLock()
        self._next_id = 0

    # Events.

    def event(self, event: str, args: tuple[object, ...], id: int | None = None) -> EncodedPacket:
        """Return the packet for an event.

        Raises:
          EncodeError: if there is none, or the server would not take it.
        """
        member = self._membership
        packet = member.link.parser.encode_event(member.namespace, (event, *args), id)
        if member.session is not None:
            member.session.require_fit(packet)
        return packet

    async def send(self, packet: EncodedPacket) -> None:
        """Send ``packet`` when there is room."""
        await trio.lowlevel.checkpoint_if_cancelled()
        item = Outgoing(packet)
        if self._leave_nowait(item):
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            await self.buffer.put(item)

    def send_nowait(self, packet: EncodedPacket) -> None:
        """Send ``packet``, or raise `trio.WouldBlock`."""
        item = Outgoing(packet)
        if not self._leave_nowait(item):
            self.buffer.put_nowait(item)

    def send_or_drop(self, packet: EncodedPacket) -> None:
        """Send ``packet`` if it can leave at once."""
        if not self._leave_nowait(Outgoing(packet)):
            self.volatile_dropped += 1

    async def request(self, event: str, args: tuple[object, ...], timeout: float) -> tuple[Any, ...]:
        """Send an event, and return what the server acknowledges."""
        number, self._next_id = self._next_id, self._next_id + 1
        answer: Answer[tuple[Any, ...]] = Answer()
        item = Outgoing(self.event(event, args, number), answer=answer)
        self.awaited[number] = item
        try:
            with self._membership.link.awaiting(), trio.fail_after(timeout):
                if not self._leave_nowait(item):
                    await self.buffer.put(item)
                return await answer.wait()
        finally:
            del self.awaited[number]
            if not item.left:
                self.buffer.remove(item)

    async def request_again_and_again(self, event: str, args: tuple[object, ...], timeout: float, retries: int) -> tuple[Any, ...]:
        """`request` up to ``retries`` times more, one event after the other."""
        member, life = self._membership, self.buffer.lives
        async with self._in_order:
            for left in reversed(range(retries + 1)):
                # The time to answer begins when there is somebody to ask.
                while member.stage is Stage.JOINING and life == self.buffer.lives:
                    await member.changed.park()
                self.buffer.require_life(life)
                try:
                    return await self.request(event, args, timeout)
                except trio.TooSlowError:
                    if not left:
                        raise
                except Disconnected:
                    if not left or member.stage in (Stage.LEAVING, Stage.OVER):
                        raise
            raise AssertionError("one of the tries returns or raises")

    def _leave_nowait(self, item: Outgoing) -> bool:
        """Hand ``item`` to the session if nothing waits and it has room; tell whether it was."""
        member = self._membership
        member.require_open()
        session = member.session
        if member.stage is not Stage.CONNECTED or session is None or not self.buffer.idle:
            return False
        try:
            session.send_nowait(item.packet)
        except (trio.WouldBlock, SessionClosed):
            return False
        item.left = True
        return True

    # Acknowledgements: theirs, and ours, on the session that the event came through, by the socket that it came to, or not at all.

    def take_ack(self, packet: Packet) -> None:
        """Take an acknowledgement."""
        item = None if packet.id is None else self.awaited.get(packet.id)
        if item is None or item.answer is None:
            logger.debug("Nobody waits for acknowledgement %r in namespace %.80r (any more).", packet.id, self._membership.namespace)
        else:
            item.answer.arrive(tuple(packet.data))

    async def acknowledge(self, received: Received, number: int, values: Sequence[object]) -> None:
        """Answer an event; what cannot be sent is logged."""
        member = self._membership
        try:
            packet = member.link.parser.encode_ack(member.namespace, number, values)
            if (session := self._session_of(received)) is not None:
                session.require_fit(packet)
                await self.buffer.put(Outgoing(packet, session))
        except EncodeError:
            logger.exception("What a handler of event %.80r returned cannot be sent, so there is no answer.", received.event.name)
        except Disconnected:
            logger.debug("Nobody is there any more to be told that event %.80r was handled.", received.event.name)

    def acknowledge_nowait(self, received: Received) -> None:
        """Answer an event with nothing, if an answer is wanted."""
        if received.id is not None and (session := self._session_of(received)) is not None:
            packet = self._membership.link.parser.encode_ack(self._membership.namespace, received.id, ())
            # Whatever the bounds say, as nobody can wait here: when there are too many, nothing more is read (`Lifecycle.is_full`).
            self.buffer.force(Outgoing(packet, session))

    def _session_of(self, received: Received) -> Session | None:
        return self._membership.session if received.session == self._membership.sessions else None

    # What the life of the socket brings.

    async def empty(self, session: Session) -> None:
        """Send what waits through ``session``, until the socket leaves it or loses it.

        Raises:
          SessionClosed: if the session is over.
        """
        member = self._membership
        while member.session is session and member.stage in (Stage.CONNECTED, Stage.LEAVING):
            item = self.buffer.first
            if item is not None:
                if item.session in (None, session) and self._is_accepted(item, session):
                    await session.send(item.packet)
                    item.left = True
                    if member.session is not session and item.answer is not None:
                        item.answer.fail(_NO_ANSWER)
                self.buffer.remove(item)
            elif member.stage is Stage.CONNECTED:
                await self.buffer.news.park()
            else:
                return

    def lost(self, session: Session) -> None:
        """Learn that ``session`` is gone, and with it what it has taken and what only it could take."""
        for item in self.awaited.values():
            if item.left and item.answer is not None:
                item.answer.fail(_NO_ANSWER)
        self.buffer.forget(session)

    def over(self, gone: Disconnected) -> None:
        """Learn that the socket is over."""
        for item in self.awaited.values():
            if item.answer is not None:
                item.answer.fail(str(gone), self._membership.ended.error)
        self.buffer.clear()

    def _is_accepted(self, item: Outgoing, session: Session) -> bool:
        """Tell whether the server takes ``item``, which may have been emitted before there was one to say; log that it is dropped."""
        refusal: EncodeError | None = None
        try:
            session.require_fit(item.packet)
        except EncodeError as error:
            refusal = error
        if refusal is not None:
            logger.error("A packet in namespace %.80r is dropped: %s", self._membership.namespace, refusal)
            if item.answer is not None:
                item.answer.fail(str(refusal), refusal)
        return refusal is None
