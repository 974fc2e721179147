"""What is told an instrument in pairs: an event and what came of it, a question and its answer."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final, Self

import trio

from ..concurrency.failures import says_that_it_ended
from ..concurrency.groups import unwrap
from ..errors import BadMessage, ConnectionRefused, Disconnected, NoAck
from ..protocol.socketio import Packet

if TYPE_CHECKING:
    from types import TracebackType

    from .failures import Concerned
    from .socket_instrument import AckOutcome, EventOutcome, SocketInstrument

__all__ = ["Asking", "Handling", "as_it_came", "outcome_of_event"]

_REFUSALS: Final = (BadMessage, ConnectionRefused, NoAck)


def outcome_of_event(error: Exception | None, socket: Concerned) -> EventOutcome:
    """Return what came of an event of ``socket`` where this was raised, or nothing."""
    if error is None:
        return "ok"
    if isinstance(unwrap(error), _REFUSALS):
        return "refused"
    return "cancelled" if says_that_it_ended(error) and not socket.connected else "failed"


class _Moved(Packet, frozen=True):
    """An event on its way to a task of its own, where middleware of the socket may have made another of it.

    Attributes:
      came: The event as it came.
    """

    came: Packet


def as_it_came(packet: Packet) -> Packet:
    """Return the event that an instrument was told has been received."""
    return packet.came if isinstance(packet, _Moved) else packet


class Handling(AbstractContextManager["Handling"]):
    """The handling of one event, of which an instrument is told; it was cancelled, unless somebody says what came of it.

    Args:
      instrument: What is told.
      socket: Whose event it is.
      packet: The event.
    """

    __slots__ = ("_args", "_error", "_event", "_instrument", "_is_told", "_outcome", "_packet", "_socket", "_started", "_surroundings")

    def __init__(self, instrument: SocketInstrument[Any], socket: Concerned, packet: Packet) -> None:
        self._packet = as_it_came(packet)
        self._event, *self._args = self._packet.data
        self._instrument = instrument
        self._socket = socket
        self._outcome: EventOutcome = "cancelled"
        self._error: BaseException | None = None
        self._is_told = True

    def __enter__(self) -> Self:
        self._surroundings = self._instrument.handling(self._socket, self._event, self._args)
        self._surroundings.__enter__()
        self._started = trio.current_time()
        return self

    def ended(self, outcome: EventOutcome, error: Exception | None = None) -> None:
        """Learn what came of it."""
        self._outcome, self._error = outcome, error

    def moves(self, packet: Packet) -> Packet:
        """Learn that it is handled in a task of its own, where the instrument is told of that; return ``packet`` as it goes there."""
        self._is_told = False
        return _Moved(packet.type, packet.namespace, packet.data, packet.id, packet.size, packet.memory, self._packet)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            if self._is_told:
                seconds, failure = trio.current_time() - self._started, self._error or error
                self._instrument.event_handled(self._socket, self._event, seconds, self._outcome, failure)
        finally:
            self._error = None  # whose traceback leads here
            self._surroundings.__exit__(kind, error, traceback)


class Asking(AbstractContextManager["Asking"]):
    """A question to a client, or to many, of which an instrument is told.

    Args:
      instrument: What is told.
      namespace: The name of the namespace.
      event: What is asked.
      socket: Who; ``None``: all to whom it is broadcast.
    """

    __slots__ = ("_asked", "_instrument", "_outcome", "_started", "_surroundings")

    def __init__(self, instrument: SocketInstrument[Any], namespace: str, event: str, socket: object) -> None:
        self._instrument = instrument
        self._asked = (namespace, event, socket)
        self._outcome: AckOutcome | None = None

    def __enter__(self) -> Self:
        self._surroundings = self._instrument.asking(*self._asked)
        self._surroundings.__enter__()
        self._started = trio.current_time()
        self._instrument.ack_asked(*self._asked)
        return self

    def ended(self, outcome: AckOutcome) -> None:
        """Learn what came of it, whatever is raised."""
        self._outcome = outcome

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            outcome = _outcome_of_question(error) if self._outcome is None else self._outcome
            self._instrument.ack_settled(*self._asked, trio.current_time() - self._started, outcome)
        finally:
            self._surroundings.__exit__(kind, error, traceback)


def _outcome_of_question(error: BaseException | None) -> AckOutcome:
    match error:
        case None:
            return "answered"
        case trio.TooSlowError():
            return "timeout"
        case Disconnected():
            return "disconnected"
        case Exception():
            return "failed"
        case _:
            return "cancelled"
