"""What one socket sends, from `emit` until a session takes it, and the waiting for what the server acknowledges.

There is one queue, the socket's outbox, and it outlives sessions: the present one takes packets from it as long as the socket
is connected, and what no session has taken waits for the next one. What a session has taken is never sent twice. Some
packets belong to one session, as acknowledgements do, and are dropped with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import trio

from ..concurrency.answers import Answer
from ..concurrency.outbox import Outbox
from ..concurrency.waiters import Waiters
from ..errors import Disconnected, EncodeError
from ..log import get_logger
from .membership import Stage

if TYPE_CHECKING:
    from ..protocol.frames import EncodedPacket
    from ..protocol.socketio import Packet
    from .events import Received
    from .membership import Membership
    from .session import Session

__all__ = ["Outgoing", "Question", "Sender"]

logger = get_logger("trio_sio.client")

PACKETS: Final = 4_096  # as many as a server's outbox holds
BYTES: Final = 4 * 1024 * 1024
# What may wait, so that a volatile packet behind it leaves at once all the same.
PACKETS_AT_ONCE: Final = 256
BYTES_AT_ONCE: Final = 1024 * 1024

_THERE: Final = (Stage.CONNECTED, Stage.LEAVING)
_NO_ANSWER: Final = "The connection was lost before the server answered."


def _no_session() -> None:
    """What an outbox notifies as long as its socket is not connected."""


class Outgoing:
    """One packet on its way.

    Attributes:
      packet: The packet.
      size: What counts against the bound; at most all of it, so that an empty outbox takes a packet of any size.
      session: The only session that it may leave through; ``None``: any.
      left: Whether a session has taken it.
      dismissed: Whether it waited for room when the socket was disconnected, or ended.
    """

    __slots__ = ("_on_gone", "dismissed", "left", "packet", "session", "size")

    def __init__(self, packet: EncodedPacket, session: Session | None = None, on_gone: Callable[[bool], None] | None = None) -> None:
        self.packet = packet
        self.size = min(packet.size, BYTES)
        self.session = session
        self.left = False
        self.dismissed = False
        self._on_gone = on_gone

    def gone(self, *, left: bool) -> None:
        """Learn that it waits no longer."""
        self.left = left
        if self._on_gone is not None:
            self._on_gone(left)

    def refuse(self, refusal: EncodeError) -> None:
        """Learn that the server would not take it."""


class Question(Outgoing):
    """An event that the server is to acknowledge.

    Attributes:
      answer: Where that is waited for.
    """

    __slots__ = ("answer",)

    def __init__(self, packet: EncodedPacket) -> None:
        super().__init__(packet)
        self.answer: Answer[tuple[Any, ...]] = Answer()

    def refuse(self, refusal: EncodeError) -> None:
        """See `Outgoing.refuse`."""
        self.fail(str(refusal), refusal)

    def arrive(self, values: Sequence[object]) -> None:
        """Take the acknowledgement."""
        self.answer.arrive(tuple(values))

    def fail(self, sentence: str | None = None, cause: Exception | None = None) -> None:
        """Learn that it will not come, and why."""
        self.answer.fail(sentence, cause)


class Sender:
    """Sends for one socket.

    Args:
      membership: The socket's.
      waiters: Who waits for what the server sends.

    Attributes:
      outbox: What has not left yet.
      volatile_dropped: How many volatile packets were dropped.
    """

    def __init__(self, membership: Membership, waiters: Waiters[Question, Any]) -> None:
        self._membership = membership
        self._waiters = waiters
        self.outbox = Outbox[Outgoing](PACKETS, BYTES)
        self.volatile_dropped = 0
        self._acks = 0  # of those that nobody waits with, until there is room
        self._in_order = trio.StrictFIFOLock()
        self._next_id = 0

    @property
    def is_overrun(self) -> bool:
        """Whether so many acknowledgements wait that nothing which wants one should be read."""
        return self._acks > PACKETS

    # Events.

    def event(self, event: str, args: tuple[object, ...], id: int | None = None) -> EncodedPacket:
        """Return the packet for an event.

        Raises:
          EncodeError: if there is none, or the server would not take it.
        """
        member = self._membership
        packet = member.connection.parser.encode_event(member.namespace, (event, *args), id)
        if member.session is not None:
            member.session.require_fit(packet)
        return packet

    async def send(self, packet: EncodedPacket) -> None:
        """Send ``packet`` when there is room."""
        await trio.lowlevel.checkpoint_if_cancelled()
        await self._put(Outgoing(packet))

    def send_nowait(self, packet: EncodedPacket) -> None:
        """Send ``packet``, or raise `trio.WouldBlock`."""
        self._membership.require_open()
        self.outbox.send_nowait(Outgoing(packet))

    def send_or_drop(self, packet: EncodedPacket) -> None:
        """Send ``packet`` if it can leave at once."""
        member, outbox = self._membership, self.outbox
        member.require_open()
        has_room = len(outbox) < PACKETS_AT_ONCE and outbox.bytes + packet.size <= BYTES_AT_ONCE and not outbox.is_awaited
        if member.stage is Stage.CONNECTED and has_room:
            outbox.put(Outgoing(packet, member.session, self._count_volatile))
        else:
            self._count_volatile(False)

    async def request(self, event: str, args: tuple[object, ...], timeout: float) -> tuple[Any, ...]:
        """Send an event, and return what the server acknowledges."""
        number, self._next_id = self._next_id, self._next_id + 1
        question = Question(self.event(event, args, number))
        self._waiters.expect(number, question)
        try:
            with trio.fail_after(timeout):
                await self._put(question)
                return await question.answer.wait()
        finally:
            self._waiters.forget(number)
            if not question.left:
                self.outbox.withdraw(question)

    async def request_again_and_again(self, event: str, args: tuple[object, ...], timeout: float, retries: int) -> tuple[Any, ...]:
        """`request` up to ``retries`` times more, one event after the other."""
        member, life = self._membership, self._membership.lives
        async with self._in_order:
            for left in reversed(range(retries + 1)):
                # The time to answer begins when there is somebody to ask.
                while member.stage is Stage.JOINING and life == member.lives:
                    await member.changed.park()
                member.require_open(life)
                try:
                    return await self.request(event, args, timeout)
                except trio.TooSlowError:
                    if not left:
                        raise
                except Disconnected:
                    if not left or member.stage is Stage.LEAVING:
                        raise
            raise AssertionError("one of the tries returns or raises")

    async def _put(self, item: Outgoing) -> None:
        member = self._membership
        member.require_open()
        life = member.lives
        await self.outbox.send(item, self)
        if item.dismissed:
            member.require_open(life)

    # Acknowledgements: theirs, and ours, on the session that the event came through, by the socket that it came to, or not at all.

    def take_ack(self, packet: Packet) -> None:
        """Take an acknowledgement."""
        if not self._waiters.answered(packet.id, packet.data):
            logger.debug("Nobody waits for acknowledgement %r in namespace %.80r (any more).", packet.id, self._membership.namespace)

    async def acknowledge(self, received: Received, number: int, values: Sequence[object]) -> None:
        """Answer an event; what cannot be sent is logged."""
        member = self._membership
        try:
            packet = member.connection.parser.encode_ack(member.namespace, number, values)
            if (session := member.session_of(received)) is not None:
                session.require_fit(packet)
                await self._put(Outgoing(packet, session))
        except EncodeError:
            logger.exception("What a handler of event %.80r returned cannot be sent, so there is no answer.", received.event.name)
        except Disconnected:
            logger.debug("Nobody is there any more to be told that event %.80r was handled.", received.event.name)

    def acknowledge_nowait(self, received: Received) -> None:
        """Answer an event with nothing, if an answer is wanted."""
        if received.id is not None and (session := self._membership.session_of(received)) is not None:
            packet = self._membership.connection.parser.encode_ack(self._membership.namespace, received.id, ())
            # Whatever the bounds say, as nobody can wait here: when there are too many, nothing more is read (`SocketCore.is_full`).
            self._count_ack(1)
            self.outbox.put(Outgoing(packet, session, lambda _: self._count_ack(-1)))

    # What the session asks for, and what the life of the socket brings.

    def connected(self, session: Session) -> None:
        """Let ``session`` take what waits, from now on."""
        self.outbox.notify = partial(session.ready, self)
        if len(self.outbox) > 0:
            session.ready(self)

    def take(self, max_bytes: int, /) -> list[EncodedPacket]:
        """See `Source.take`."""
        packets: list[EncodedPacket] = []
        while not packets and self._membership.stage in _THERE and (items := self.outbox.take(max_bytes)):
            for item in items:
                accepted = self._is_accepted(item)
                if accepted:
                    packets.append(item.packet)
                item.gone(left=accepted)
        return packets

    def leave(self, packet: EncodedPacket, left: Callable[[], None]) -> None:
        """Send ``packet`` behind what waits, as the last one, and call ``left`` when it is out; who waits for room does so no more."""
        self._dismiss()
        self.outbox.put(Outgoing(packet, self._membership.session, lambda was_sent: left() if was_sent else None))

    def lost(self) -> None:
        """Learn that the session is gone, and with it what it has taken and what only it could take."""
        for question in self._waiters.unanswered:
            if question.left:
                question.fail(_NO_ANSWER)
        self.outbox.notify = _no_session
        self._discard(lambda item: item.session is not None)

    def over(self) -> None:
        """Learn that the socket is over."""
        self.outbox.notify = _no_session
        self._dismiss()
        self._discard(lambda _: True)

    def _discard(self, unwanted: Callable[[Outgoing], bool]) -> None:
        for item in self.outbox.discard(unwanted):
            item.gone(left=False)

    def _dismiss(self) -> None:
        for item in self.outbox.dismiss(self):
            item.dismissed = True

    def _count_ack(self, change: int) -> None:
        self._acks += change
        if change < 0:
            self._membership.connection.look_for_room()

    def _count_volatile(self, left: bool) -> None:
        self.volatile_dropped += not left

    def _is_accepted(self, item: Outgoing) -> bool:
        """Tell whether ``item`` may leave now; it may have been emitted before there was a server to say how much it takes."""
        session = self._membership.session
        if session is None or item.session not in (None, session):
            return False
        refusal = _refusal_of(session, item.packet)
        if refusal is not None:
            logger.error("A packet in namespace %.80r is dropped: %s", self._membership.namespace, refusal)
            item.refuse(refusal)
        return refusal is None


def _refusal_of(session: Session, packet: EncodedPacket) -> EncodeError | None:
    try:
        session.require_fit(packet)
    except EncodeError as error:
        return error
    return None
