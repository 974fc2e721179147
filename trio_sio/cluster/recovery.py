"""`SharedRecovery`: clients that come back to another server than the one that they were on.

Theory of operation
===================

Each server keeps the sessions that were on it, and what they miss. A server that does not know the secret of a client asks all others
of its kind, and who has that session lets it go. Three messages: a question to all (`FindSession`), the session with what its client
has missed (`FoundSession`), and whether it was taken (`Taken`).

* A session is at one place at a time. Whoever lets it go takes it out first, so of two who ask one gets it. It is put back if it
  was not taken, and given up if it is not known whether it was, as when the other server is silent: a client that begins anew has
  lost less than one of which there are two.
* What its client has missed are the events of the log that it was in, and those that the new server has heard and the old one had
  not, when it let it go. Both have come as far as they tell each other (`knowledge`), so nothing is missing between the two, and
  nothing is there twice. Where that is not certain the client begins anew.
* What it was told by one server alone, such as an event to itself, is in the log of that server.
* Of `Socket.data` only plain data can be told to another server, and what a type makes of that which both have from their routes. A
  session that has something else stays where it is, and of what the other one has no such type, its client begins anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import msgspec
import trio

from ..errors import DecodeError, EncodeError
from ..log import get_logger
from ..namespaces.adapter import InMemoryRecovery, SessionRecord, event_of, presented_with
from . import messages
from .knowledge import Incomplete, has_caught_up, heard_beyond
from .moving import Knowledge, SessionDetails
from .translation import options_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from ..namespaces.adapter import Namespace, Presented, Recovery, SocketSession
    from .peers import Peers
    from .requests import Requests

__all__ = ["NOT_SENDABLE", "Lent", "Neighbour", "Search", "SharedRecovery"]

logger = get_logger("trio_sio.cluster")

SKEW: Final = 5.0  # seconds that one server may hear of an event before another one does, if that is to be recovered
AGAIN: Final = 0.05  # seconds until others are asked once more, where a session is on its way
NOT_SENDABLE: Final = "A client that came back from another server begins anew, as what it missed cannot be sent. %s"
_STAYS: Final = "Clients of namespace %.80r are recovered only when they come back to the server that they were on. %s"
_NOT_READABLE: Final = "A client of namespace %.80r that was on another server begins anew. %s"


class Neighbour(Protocol):
    """An adapter, as its sessions see it; see `NodeAdapter`."""

    uid: str
    peers: Peers
    began: float
    requests: Requests
    request_timeout: float
    is_closed: bool

    def held(self) -> AbstractContextManager[None]:
        """Keep it in the block, during which its namespace may come to be used no more."""

    async def settled(self) -> None:
        """See `Adapter.settled`."""

    async def news(self) -> None:
        """Wait until something else has come from others."""

    def knowledge(self) -> Knowledge:
        """Return what has been heard here."""

    def open(self, name: str) -> bool:
        """Let a namespace of this server be as if a client came to it; tell whether it could."""

    def invitations(self) -> list[Callable[[], object]]:
        """Return what lets each other server begin to use this namespace, where not all do; who came last is first."""

    def respond(self, uid: str, kind: type[messages.Message], **fields: object) -> bool:
        """Tell one other server something; tell whether that can be encoded."""


class Search:
    """Who has a session?

    Args:
      peers: Who is asked.

    Attributes:
      found: The session.
      again: Whether it is on its way from one to another, so it is to be asked once more.
    """

    missing = ()

    def __init__(self, peers: Iterable[str]) -> None:
        self._waiting = dict.fromkeys(peers)
        self._news = trio.lowlevel.ParkingLot()
        self.found: messages.FoundSession | None = None
        self.again = False

    def ask(self, peers: Iterable[str]) -> None:
        """See `Request.ask`: who comes now has no session that anybody knows."""

    def arrive(self, answer: messages.FoundSession) -> None:
        """Take the answer of a server."""
        self.again |= answer.is_moving
        if answer.session is not None:
            self.found = answer
        self._settle(answer.uid)

    def lose(self, uid: str, *, is_dead: bool) -> None:
        """See `Request.lose`: who says goodbye may have let another one have it."""
        self.again |= uid in self._waiting and not is_dead
        self._settle(uid)

    def _settle(self, uid: str) -> None:
        self._waiting.pop(uid, None)
        self._news.unpark_all()

    async def wait(self) -> None:
        """Wait until it is found, or nobody has it."""
        while self.found is None and self._waiting:
            await self._news.park()


class Lent(NamedTuple):
    """A session that was let go, and perhaps taken.

    Attributes:
      uid: By whom.
      session: The session.
      until: When that one is not believed any more to say so.
      is_offered: Whether nobody has asked for it.
    """

    uid: str
    session: SocketSession
    until: float
    is_offered: bool = False


class SharedRecovery(InMemoryRecovery):
    """The sessions and events of one namespace of one server among others.

    Args:
      namespace: The namespace.
      recovery: The bounds.
      adapter: What reaches the others.
    """

    def __init__(self, namespace: Namespace, recovery: Recovery, adapter: Neighbour) -> None:
        super().__init__(namespace, recovery)
        self._adapter = adapter
        self._start_soon = namespace.start_soon
        self._lent: dict[int, Lent] = {}
        self._given = 0  # how many sessions were let go
        self._taken: dict[str, int] = {}  # the number of the last one that came, by who let it go
        self._warned: set[str] = set()
        self._answered = trio.lowlevel.ParkingLot()

    @property
    def is_needed(self) -> bool:
        """Whether somebody can miss what is emitted now: also who comes from a server that has not heard of it yet.

        Such a server may be there although nothing of it has come here.
        """
        return True

    # A client comes back whose session is not here.

    async def restore_session(self, pid: object, offset: object) -> SocketSession | None:
        """See `RecoveryStore.restore_session`."""
        presented = presented_with(pid, offset)
        if presented is None or self.has(presented.pid):
            return await super().restore_session(pid, offset)
        with self._adapter.held():
            await self._adapter.settled()
            with trio.move_on_after(self._adapter.request_timeout):
                return await self._find(presented)
        return None

    async def _find(self, presented: Presented) -> SocketSession | None:
        adapter = self._adapter
        while peers := adapter.peers.counting():
            search, session = Search(peers), None
            number = adapter.requests.open(search)
            try:
                for uid in peers:
                    adapter.respond(uid, messages.FindSession, request_id=number, pid=presented.pid, offset=presented.offset)
                await search.wait()
                if search.found is not None:
                    session = await self._take_over(search.found, presented)
            finally:
                adapter.requests.close(number)
                if search.found is not None:
                    self._answer(search.found, taken=session is not None)
            if session is not None or not search.again:
                return session
            await trio.sleep(AGAIN)
            if self.has(presented.pid):
                return await super().restore_session(*presented)
        return None

    async def _take_over(self, found: messages.FoundSession, presented: Presented) -> SocketSession | None:
        """Return a session that another server lets go, as soon as its client can have all; ``None``: it cannot."""
        details = found.session
        assert details is not None
        try:
            events = await self._catch_up(details, found.knowledge, found.uid)
        except Incomplete as error:
            logger.info("A client that came back from another server begins anew. %s", error)
            return None
        session = self.admit(details, presented.offset, (*found.events, *events))
        if session is not None:
            self.let_in(session, presented)
        return session

    def admit(self, details: SessionDetails, offset: str | None, events: Iterable[Sequence[object]]) -> SocketSession | None:
        """`adopt` a session that came over the bus; what of it is of no use here is one line in the log."""
        try:
            return self.adopt(SessionRecord(**msgspec.structs.asdict(details)), offset, events)
        except EncodeError as error:
            logger.warning(NOT_SENDABLE, error)
        except DecodeError as error:
            self._warn_once(_NOT_READABLE, error)
        return None

    def _warn_once(self, sentence: str, error: Exception) -> None:
        if sentence not in self._warned:
            self._warned.add(sentence)
            logger.warning(sentence, self._namespace.name, error)

    async def _catch_up(self, session: SessionDetails, theirs: Knowledge, uid: str) -> list[Sequence[object]]:
        """Wait until what another server had heard is here, too; return what is here beyond that, and for ``session``.

        Raises:
          Incomplete: if something is missing.
        """
        adapter = self._adapter
        while not (adapter.is_closed or has_caught_up(theirs, adapter.peers, adapter.uid, adapter.began)):
            await adapter.news()
        if adapter.is_closed:
            raise Incomplete("Its namespace is not used here any more.")
        beyond = heard_beyond(theirs, uid, self.log, adapter.peers, adapter.uid)
        rooms = {session.sid, *session.rooms}
        parser = self._namespace.parser
        return [event_of(one.packet, parser) for one in beyond if one.packet is not None and one.target.includes(rooms)]

    def _is_new(self, uid: str, number: int | None) -> bool:
        """Tell whether a session has come once."""
        if (number or 0) <= self._taken.get(uid, 0):
            return False
        if uid in self._adapter.peers:
            self._taken[uid] = number or 0
        return True

    def arrived(self, found: messages.FoundSession) -> None:
        """Take an answer to what was asked here."""
        if found.session is not None and not self._is_new(found.uid, found.number):
            return
        search = self._adapter.requests.get(found.request_id)
        if isinstance(search, Search) and search.found is None:
            search.arrive(found)
        elif found.session is not None:
            self._answer(found, taken=False)  # it comes too late

    def _answer(self, found: messages.FoundSession | messages.HandOver, *, taken: bool) -> None:
        self._adapter.respond(found.uid, messages.Taken, number=found.number, taken=taken)

    # Another server asks for one.

    def asked(self, question: messages.FindSession) -> None:
        """Let a session go, if it is here."""
        presented = presented_with(question.pid, question.offset)
        session = None if presented is None else self.take(presented)
        if presented is None or session is None:
            self._has_none(question)
        elif session.settled.is_set():
            self._let_go(session, presented, question)
        else:
            try:
                self._start_soon(self._let_go_when_settled, session, presented, question)
            except RuntimeError:
                self.return_session(session)
                self._has_none(question)

    async def _let_go_when_settled(self, session: SocketSession, presented: Presented, question: messages.FindSession) -> None:
        with self._adapter.held():
            if await self.settles(session, presented):
                self._let_go(session, presented, question)
            else:
                self._has_none(question)
                self.abandon(session)

    def _let_go(self, session: SocketSession, presented: Presented, question: messages.FindSession) -> None:
        if not session.come_to(presented.offset, self.log) or not self.can_have_all(session):
            self._has_none(question)
            self.abandon(session)  # the last, as everything here may end with it
            return
        adapter = self._adapter
        details = self._describe(session)
        if details is not None:
            self._given += 1
            fields = {"session": details, "events": tuple(map(tuple, self.events_missed(session))), "knowledge": adapter.knowledge()}
            if adapter.respond(question.uid, messages.FoundSession, request_id=question.request_id, number=self._given, **fields):
                self._lent[self._given] = Lent(question.uid, session, trio.current_time() + 2 * adapter.request_timeout)
                return
        self._has_none(question)
        self.return_session(session)

    def _describe(self, session: SocketSession) -> SessionDetails | None:
        """Return what another server needs to have ``session``, if it can be told."""
        try:
            record = self.describe_session(session)
        except EncodeError as error:
            self._warn_once(_STAYS, error)
            return None
        return SessionDetails(**{name: getattr(record, name) for name in SessionDetails.__struct_fields__})

    def _has_none(self, question: messages.FindSession) -> None:
        is_moving = self.is_on_its_way(question.pid)
        self._adapter.respond(question.uid, messages.FoundSession, request_id=question.request_id, is_moving=is_moving)

    def is_on_its_way(self, pid: str) -> bool:
        """Tell whether another server has the session with that secret in a moment, if it has not yet."""
        return False

    def taken(self, answer: messages.Taken) -> None:
        """Learn whether another server has a session that was let go."""
        lent = self._lent.get(answer.number or 0)
        if lent is None or lent.uid != answer.uid:
            return
        del self._lent[answer.number or 0]
        self._answered.unpark_all()
        if answer.taken and lent.session.is_over:
            # It was thrown out on its way, which the other one may have heard before it had it.
            self._adapter.respond(answer.uid, messages.DisconnectSockets, options=options_of(lent.session.private), close=False)
        elif answer.taken:
            self.hand_out(lent.session)
        else:
            self.was_not_taken(lent)

    def was_not_taken(self, lent: Lent) -> None:
        """Have a session again that another server did not take."""
        self.return_session(lent.session)

    # Time passes.

    def lose(self, uid: str, *, is_dead: bool) -> None:
        """Learn that a server is gone: what it has taken it has said before its goodbye; of who is silent (``is_dead``) nobody knows."""
        self._taken.pop(uid, None)
        numbers = [number for number, lent in self._lent.items() if lent.uid == uid]
        if is_dead:
            self._give_up_lent(numbers)
            return
        for number in numbers:
            self.was_not_taken(self._lent.pop(number))
        self._answered.unpark_all()

    def tick(self) -> None:
        """Give up what nobody has come back for, or has told of, in time."""
        now = trio.current_time()
        if not super().is_needed:
            self.log.forget_before(now - SKEW)
        self._give_up_lent([number for number, lent in self._lent.items() if lent.until < now])
        # What came from another server and was returned has no timer.
        for session in [session for session in self._away.values() if session.timer is None and session.expires <= now]:
            self._expire(session)

    def _give_up_lent(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self.abandon(self._lent.pop(number).session)
        self._answered.unpark_all()
