"""`LeavingRecovery`: the sessions that a server which ends leaves to the others.

Theory of operation
===================

A server that has drained offers the sessions whose clients are away to another one (`HandOver`): to that which has come last, so in a
rolling restart to one that stays; whom that one refuses to the next. In a namespace by pattern there may be no other one; then it asks
the others, one by one until nobody is left, to begin to use it, as if a client came to them (`OpenNamespace`). It does not know how far
its clients have come, but where they are at least; so it tells what they may have missed since, each event with its place in its log, and
the other one leaves out what a client has when that says so (`Past`). What is emitted meanwhile is in the log of the other one, which
begins where that of the first ends (see recovery.py). A client that comes while its session is on its way is asked for again.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from ..errors import EncodeError
from ..log import get_logger
from ..namespaces.adapter import event_of, place_of
from . import messages
from .knowledge import Incomplete
from .moving import Past
from .recovery import NOT_SENDABLE, Lent, SharedRecovery

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..namespaces.adapter import Namespace, Presented, Recovery, SocketSession
    from .recovery import Neighbour

__all__ = ["LeavingRecovery"]

logger = get_logger("trio_sio.cluster")

WINDOW: Final = 32  # sessions that are offered at once
OPENING: Final = 0.25  # seconds within which a server that is asked has begun to use a namespace
PARTING: Final = 0.1  # seconds until all have heard that one uses it no longer


class LeavingRecovery(SharedRecovery):
    """Arguments as of `SharedRecovery`."""

    def __init__(self, namespace: Namespace, recovery: Recovery, adapter: Neighbour) -> None:
        super().__init__(namespace, recovery, adapter)
        self._is_leaving = False
        self._left: set[str] = set()  # the secrets of those that others have, or may have, once it leaves
        self._refused: list[SocketSession] = []  # by the one to which they are offered now
        self._pasts: dict[str, tuple[Past, int]] = {}  # by secret: of sessions whose clients have not come since; and the bytes
        self._past_bytes = 0

    def is_on_its_way(self, pid: str) -> bool:
        """See `SharedRecovery.is_on_its_way`."""
        return pid in self._left

    def was_not_taken(self, lent: Lent) -> None:
        """See `SharedRecovery.was_not_taken`; what was offered is offered to the next one."""
        if lent.is_offered:
            self._left.discard(lent.session.pid)
            self._refused.append(lent.session)
        else:
            super().was_not_taken(lent)

    # This server ends.

    async def hand_over(self) -> None:
        """Let another server have the sessions whose clients are away, or others, where that one does not take them."""
        self._is_leaving = True
        peers = self._adapter.peers
        for uid in reversed(peers.counting()):
            await self._leave_to(uid)
        if all(self._describe(session) is None for session in self._away.values()):
            return  # nobody could be told of them
        for invite in self._adapter.invitations():
            known, new = peers.counting(), list[str]()
            invite()
            with trio.move_on_after(OPENING):
                while not new:
                    await self._adapter.news()
                    new = [uid for uid in peers.counting() if uid not in known]
            for uid in new:
                await self._leave_to(uid)
            if not self._away:
                break
            if new:
                # It ends there again, and who begins to listen while that is said cannot know what was said before.
                await trio.sleep(PARTING)

    async def _leave_to(self, uid: str) -> None:
        while self._away and uid in self._adapter.peers:
            while self._away and len(self._lent) < WINDOW:
                session = self._away.pop(next(iter(self._away)))
                if not session.settled.is_set() or not self._offer(uid, session):
                    self._refused.append(session)
            await self._wait_for_answers()
        refused, self._refused = self._refused, []
        for session in refused:
            self.return_session(session)

    async def _wait_for_answers(self) -> None:
        while self._lent:
            await self._answered.park()

    def _offer(self, uid: str, session: SocketSession) -> bool:
        """Offer a session to the server ``uid``; tell whether that can be told."""
        details, past = self._describe(session), self._past_of(session)
        if details is None or past is None:
            return False
        self._given += 1
        fields = {"session": details, "past": past, "knowledge": self._adapter.knowledge()}
        if not self._adapter.respond(uid, messages.HandOver, number=self._given, **fields):
            return False
        self._lent[self._given] = Lent(uid, session, math.inf, is_offered=True)
        self._left.add(session.pid)
        return True

    def _past_of(self, session: SocketSession) -> Past | None:
        before = self._pasts.get(session.pid)
        if before is None:
            session.come_to_what_is_certain(self.log)
        if not self.can_have_all(session):
            return None
        parser = self._namespace.parser
        events = [(place, tuple(event_of(packet, parser))) for place, packet in session.events_after(self.log)]
        if before is None:
            return Past(prefix=self.log.prefix, newest=self.log.position, offset=session.first_offset, events=tuple(events))
        past = before[0]
        return msgspec.structs.replace(past, events=(*past.events, *((0, event) for _, event in events)))

    # Another server ends.

    def invited(self, invitation: messages.OpenNamespace) -> None:
        """Begin to use a namespace, of which another server has sessions."""
        if not self._is_leaving:
            self._adapter.open(invitation.name)

    def offered(self, offer: messages.HandOver) -> None:
        """Take a session that another server leaves, if that is possible."""
        if not self._is_new(offer.uid, offer.number):
            return
        # What was only asked for here, to emit to it perhaps, has no handler yet, and does not count as one by pattern.
        if self._is_leaving or not self._adapter.open(offer.namespace):
            self._answer(offer, taken=False)
            return
        # So that nothing here ends meanwhile. With this it does, if nothing comes of it, so in both cases it is the last.
        self._namespace.count(sessions=1)
        try:
            self._start_soon(self._accept, offer)
        except RuntimeError:
            self._answer(offer, taken=False)
            self._namespace.count(sessions=-1)

    async def _accept(self, offer: messages.HandOver) -> None:
        is_taken = False
        with self._adapter.held():
            try:
                with trio.move_on_after(self._adapter.request_timeout):
                    is_taken = await self._take_in(offer)
            finally:
                self._answer(offer, taken=is_taken)
                self._namespace.count(sessions=-1)

    async def _take_in(self, offer: messages.HandOver) -> bool:
        details, past = offer.session, offer.past
        try:
            events = await self._catch_up(details, offer.knowledge, offer.uid)
        except Incomplete as error:
            logger.info("A session of a server that ends is not taken. %s", error)
            return False
        past = msgspec.structs.replace(past, events=(*past.events, *((0, tuple(event)) for event in events)))
        size = len(msgspec.msgpack.encode(past.events))
        if self._past_bytes + size > self._recovery.bytes:
            return False
        session = self.admit(details, past.offset, ())
        if session is None:
            return False
        self._pasts[session.pid] = past, size
        self._past_bytes += size
        self.return_session(session)
        return True

    def take(self, presented: Presented) -> SocketSession | None:
        """See `InMemoryRecovery.take`; one that another server has left begins here."""
        session = super().take(presented)
        past = None if session is None else self._forget_past(session)
        if session is None or past is None:
            return session
        events = _missed_since(past, presented.offset)
        if events is not None and self.can_have_all(session):
            missed = (*events, *self.events_missed(session))
            try:
                self.replay(session, tuple(session.memberships.rooms), presented.offset, missed)
            except EncodeError as error:
                logger.warning(NOT_SENDABLE, error)
            else:
                return session
        self.abandon(session)
        return None

    def drop_session(self, session: SocketSession) -> None:
        """See `RecoveryStore.drop_session`."""
        self._forget_past(session)
        super().drop_session(session)

    def _forget_past(self, session: SocketSession) -> Past | None:
        past, size = self._pasts.pop(session.pid, (None, 0))
        self._past_bytes -= size
        return past


def _missed_since(past: Past, offset: str | None) -> list[Sequence[object]] | None:
    """Return the events that a client has not got that comes back with ``offset``; ``None``: it never had that."""
    place = 0 if offset is None or offset == past.offset else place_of(offset, past.prefix, past.newest)
    return None if place is None else [event for at, event in past.events if not 0 < at <= place]
