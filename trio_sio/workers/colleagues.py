"""What one worker does about the others: whose a request is, and who accepts the next connection.

A connection is for another worker when its next request belongs to a session there; also, when this worker drains while another one does
not, and it would open a session, or nothing has come on it. Everything else, such as files, any worker serves.

Balance: a worker accepts as long as it has not clearly more connections than the one with the fewest. Otherwise it leaves the next one to
the others for a moment; only if they do not come for it, since they are busy, it takes one all the same.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import trio

from ..doors.native.exchange import encode_response
from ..log import get_logger
from ..protocol.http import plain_text
from .board import State, now
from .ids import owner_of
from .scrapes import QUESTION

if TYPE_CHECKING:
    from ..doors.native.head import Head
    from ..engine.engine import Engine
    from ..protocol.http import Request
    from .board import Board
    from .handover import Mailbox, PostBox

__all__ = ["Colleagues"]

logger = get_logger("trio_sio.workers")

ACCEPTS: Final = 64  # how many connections one wake-up accepts at most
_SLACK: Final = 4  # how many connections more than another worker one may have, and a twentieth
_PAUSE: Final = 0.005
_GRACE: Final = 0.1  # seconds that a connection is left to others
_GRACE_FOR_STARTS: Final = 0.5  # the same, while one of them starts: those who come then are mostly those whom its predecessor had
_START: Final = 3_000  # milliseconds within which a worker that starts should have come


class Colleagues:
    """The other workers, as one of them sees them (`trio_sio.doors.native.listener.Colleagues`; `trio_sio.doors.native.http.Sorter`).

    Args:
      engine: Of this worker.
      number: Of this worker.
      board: What all of them know.
      mailbox: Where connections come that others hand over.
      postboxes: Where they go, by worker.

    Attributes:
      on_question: Called with the socket of a colleague that asks something (`Scrapes`); by default it hears nothing.
    """

    def __init__(self, engine: Engine, number: int, board: Board, mailbox: Mailbox, postboxes: Sequence[PostBox]) -> None:
        self._engine = engine
        self._number = number
        self._board = board
        self._mailbox = mailbox
        self._postboxes = postboxes
        self.on_question: Callable[[socket.socket], object] = socket.socket.close
        self._connections = 0
        self._destinations: dict[int, int] = {}  # of connections that are about to be handed over, by descriptor

    # Whose a request is.

    def is_mine(self, sid: str) -> bool:
        """Tell whether a session of this id is, or would be, of this worker."""
        return owner_of(sid, self._board.count) == self._number

    def is_ours(self, start: bytearray) -> bool:
        """See `Sorter.is_ours`: the whole head tells."""
        return True

    def adopt(self, head: Head, stream: trio.abc.Stream) -> Head | None:
        """See `Sorter.adopt`."""
        request = head.request
        if not self._engine.owns(request.path):
            return head
        destination = self._destination(request)
        if destination is None or destination == self._number:
            return head
        self._send(stream, destination)
        return None

    def gives_away(self, stream: trio.abc.Stream) -> bool:
        """See `Sorter.gives_away`: who has just come, and a proxy that keeps its connections, notice nothing of a worker's end."""
        destination = self._lightest()
        if destination is not None:
            self._send(stream, destination)
        return destination is not None

    def _send(self, stream: trio.abc.Stream, destination: int) -> None:
        assert isinstance(stream, trio.SocketStream)
        self._destinations[stream.socket.fileno()] = destination

    def _destination(self, request: Request) -> int | None:
        """Return which worker a request to the engine is for; ``None``: this one as well as any."""
        sids = [value for name, value in request.query_pairs if name == "sid"]
        if sids:
            owner = owner_of(sids[0], self._board.count)
            # Several are refused, by whomever; and so is one of a worker that has ended, as its sessions have with it.
            return owner if len(sids) == 1 and self._board.state(owner) in (State.SERVING, State.DRAINING) else None
        return self._lightest() if self._engine.draining.is_set() else None

    # Who accepts.

    async def turn(self) -> int:
        """See `trio_sio.doors.native.listener.Colleagues.turn`."""
        waited = 0.0
        while (most := self._share()) <= 0:
            await trio.sleep(_PAUSE)
            waited += _PAUSE
            grace = _GRACE_FOR_STARTS if self._somebody_starts() else _GRACE
            if waited >= grace and not self._engine.draining.is_set():
                return 1
        return most

    def _somebody_starts(self) -> bool:
        return any(self._board.state(number) is State.STARTING and self._counts(number) for number in range(self._board.count))

    def _share(self) -> int:
        """Return how many connections this worker may accept before it has clearly more than another one."""
        board = self._board
        others = [board.connections(number) for number in range(board.count) if number != self._number and self._counts(number)]
        if not others:
            return ACCEPTS
        if self._engine.draining.is_set():
            return 0
        fewest = min(others)
        return min(ACCEPTS, fewest + max(_SLACK, fewest // 20) - self._connections)

    def _counts(self, number: int) -> bool:
        """Tell whether that worker accepts, or is about to."""
        board = self._board
        match board.state(number):
            case State.SERVING:
                return not board.hangs(number)
            case State.STARTING:
                return not self._engine.draining.is_set() and now() - board.since(number) < _START
            case _:
                return False

    def _lightest(self) -> int | None:
        others = [number for number in range(self._board.count) if number != self._number and self._counts(number)]
        return min(others, key=self._board.connections, default=None)

    def took(self) -> None:
        """See `trio_sio.doors.native.listener.Colleagues.took`."""
        self._connections += 1
        self._board.set_connections(self._number, self._connections)

    def gone(self) -> None:
        """See `trio_sio.doors.native.listener.Colleagues.gone`."""
        self._connections -= 1
        self._board.set_connections(self._number, self._connections)

    # From one to another.

    async def hand_over(self, sock: socket.socket, address: str | None, received: bytes) -> None:
        """See `trio_sio.doors.native.listener.Colleagues.hand_over`."""
        destination = self._destinations.pop(sock.fileno())
        if not await self._postboxes[destination].put(sock, address, received):
            logger.warning("Worker %d takes no connections, so a client of a session there is told to come back later.", destination)
            _turn_away(sock)

    async def take_over(self, run: Callable[[socket.socket, str | None, bytes], None]) -> None:
        """See `trio_sio.doors.native.listener.Colleagues.take_over`."""

        def take(sock: socket.socket, address: str | None, received: bytes) -> None:
            if address == QUESTION:
                self.on_question(sock)
            else:
                self.took()
                run(sock, address, received)

        await self._mailbox.take(take)


def _turn_away(sock: socket.socket) -> None:
    response = plain_text(503, "The process that has this session is busy.", [(b"Retry-After", b"1")], close=True)
    try:
        sock.send(encode_response(response, close=True))
        sock.shutdown(socket.SHUT_WR)
    except OSError as error:
        logger.debug("A client is gone before it was told to come back later: %r", error)
