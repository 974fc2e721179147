"""An instrument that writes down all it is told, and checks the books: what comes in pairs has come so, and in this order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from trio_sio import Instrument, Socket
from trio_sio.namespaces.socket_instrument import AckOutcome, EventOutcome
from trio_sio.namespaces.target import Target
from trio_sio.protocol.http import Request

__all__ = ["Ledger"]


class Ledger(Instrument):
    """Remembers everything.

    Attributes:
      lines: What it was told: the name of the method, and what tests want to know of its arguments.
      open: What has begun and not ended: sessions, sockets, rooms, events, questions, and what is surrounded.
      faults: What it should not have been told then. Raising would not do: of what an instrument raises the server takes no notice.
    """

    def __init__(self) -> None:
        self.lines: list[tuple[Any, ...]] = []
        self.open: Counter[tuple[Any, ...]] = Counter()
        self.faults: list[str] = []

    def names(self, *wanted: str) -> list[str]:
        """Return the names of the methods that were called, of ``wanted`` or of all."""
        return [name for name, *_ in self.lines if not wanted or name in wanted]

    def of(self, name: str) -> list[tuple[Any, ...]]:
        """Return what ``name`` was told, each time."""
        return [tuple(rest) for called, *rest in self.lines if called == name]

    def require_balanced(self) -> None:
        """Fail if anything has begun that has not ended, or was told at the wrong time."""
        assert not self.faults, self.faults
        assert not +self.open, self.open

    def _require(self, condition: object, *what: Any) -> None:
        if not condition:
            self.faults.append(f"{what}, after {self.lines[-10:]}")

    def _write(self, *line: Any) -> None:
        self.lines.append(line)

    def _begin(self, *key: Any, once: bool = True) -> None:
        self._require(not once or not self.open[key], key, "begins twice")
        self.open[key] += 1

    def _end(self, *key: Any) -> None:
        self._require(self.open[key] > 0, key, "ends and has not begun")
        self.open[key] -= 1

    @contextmanager
    def _within(self, *key: Any) -> Iterator[None]:
        self._begin(*key, once=False)
        self._write(*key)
        try:
            yield
        finally:
            self._end(*key)
            self._write(f"end of {key[0]}", *key[1:])

    # Sessions.

    def session_opened(self, sid: str, transport: str, request: Request) -> None:
        self._begin("session", sid)
        self._write("session_opened", transport)

    def session_moved(self, sid: str, transport: str) -> None:
        self._require(self.open["session", sid], "too early or too late")
        self._write("session_moved", transport)

    def session_ended(self, sid: str, reason: str) -> None:
        self._end("session", sid)
        self._write("session_ended", reason)

    def session_refused(self, request: Request, reason: str, status: int) -> None:
        self._write("session_refused", reason, status)

    def pong(self, sid: str, seconds: float) -> None:
        self._require(self.open["session", sid], "too early or too late")
        self._write("pong", seconds)

    def outbox_waited(self, sid: str, seconds: float) -> None:
        self._write("outbox_waited", seconds)

    def loop_lag(self, seconds: float) -> None:
        self._write("loop_lag", seconds)

    def loop_blocked(self, seconds: float, where: str) -> None:
        self._write("loop_blocked", seconds, where)

    def packets_dropped(self, sid: str, count: int, reason: str) -> None:
        self._write("packets_dropped", count, reason)

    def drain_began(self, sessions: int) -> None:
        self._begin("drain")
        self._write("drain_began", sessions)

    def drain_ended(self, left: int) -> None:
        self._end("drain")
        self._write("drain_ended", left)

    # Sockets.

    def socket_joined(self, socket: Socket) -> None:
        self._begin("socket", socket.id)
        self._write("socket_joined", socket.namespace.name)

    def socket_left(self, socket: Socket, reason: str) -> None:
        self._end("socket", socket.id)
        self._require(not [key for key in +self.open if key[0] == "room" and key[1] == socket.id], "a socket that left is in rooms")
        self._require(not socket.connected, "a socket that left is connected")
        self._write("socket_left", socket.namespace.name, reason)

    def socket_refused(self, namespace: str, reason: str, socket: Socket | None) -> None:
        self._require(socket is None or not self.open["socket", socket.id], "a socket that joined is refused")
        self._write("socket_refused", namespace, reason)

    def room_joined(self, socket: Socket, room: str) -> None:
        self._require(self.open["socket", socket.id], "too early or too late")
        self._begin("room", socket.id, room)
        self._write("room_joined", room)

    def room_left(self, socket: Socket, room: str) -> None:
        self._require(self.open["socket", socket.id], "too early or too late")
        self._end("room", socket.id, room)
        self._write("room_left", room)

    @contextmanager
    def connecting(self, socket: Socket) -> Iterator[None]:
        with self._within("connecting", socket.namespace.name):
            yield

    @contextmanager
    def disconnecting(self, socket: Socket, reason: str) -> Iterator[None]:
        with self._within("disconnecting", socket.namespace.name, reason):
            yield

    # Events.

    def event_received(self, socket: Socket, event: str, args: Sequence[Any], size: int) -> None:
        self._begin("event", socket.id, event, once=False)
        self._write("event_received", event, list(args))

    @contextmanager
    def handling(self, socket: Socket, event: str, args: Sequence[Any]) -> Iterator[None]:
        self._require(self.open["event", socket.id, event], "too early or too late")
        with self._within("handling", event):
            yield

    def event_handled(self, socket: Socket, event: str, seconds: float, outcome: EventOutcome, error: BaseException | None) -> None:
        self._require(seconds >= 0, "a negative time")
        self._require(self.open["handling", event], "too early or too late")
        self._end("event", socket.id, event)
        self._write("event_handled", event, outcome, type(error).__name__ if isinstance(error, Exception) else None)

    def event_refused(self, socket: Socket, event: str, reason: str) -> None:
        self._end("event", socket.id, event)
        self._write("event_refused", event, reason)

    def handler_slow(self, socket: Socket, event: str | None, seconds: float) -> None:
        self._write("handler_slow", event, seconds)

    def event_emitted(self, socket: Socket, event: str, args: Sequence[object], size: int) -> None:
        self._write("event_emitted", event, list(args), size)

    def broadcast_emitted(self, namespace: str, event: str, args: Sequence[object], target: Target, count: int, size: int) -> None:
        self._write("broadcast_emitted", namespace, event, list(args), count, size)

    # Questions.

    @contextmanager
    def asking(self, namespace: str, event: str, socket: Socket | None) -> Iterator[None]:
        with self._within("asking", event):
            yield

    def ack_asked(self, namespace: str, event: str, socket: Socket | None) -> None:
        self._require(self.open["asking", event], "too early or too late")
        self._begin("question", namespace, event, socket, once=False)
        self._write("ack_asked", event, socket is not None)

    def ack_settled(self, namespace: str, event: str, socket: Socket | None, seconds: float, outcome: AckOutcome) -> None:
        self._require(seconds >= 0, "a negative time")
        self._require(self.open["asking", event], "too early or too late")
        self._end("question", namespace, event, socket)
        self._write("ack_settled", event, outcome)

    # Other servers.

    @contextmanager
    def delivering(self, namespace: str, event: str, carried: Mapping[str, str]) -> Iterator[None]:
        with self._within("delivering", namespace, event, tuple(carried.items())):
            yield

    def bus_up(self) -> None:
        self._begin("bus")
        self._write("bus_up")

    def bus_down(self, reason: str) -> None:
        self._end("bus")
        self._write("bus_down", reason)

    def bus_gap(self, reason: str) -> None:
        self._write("bus_gap", reason)

    def bus_lag(self, seconds: float) -> None:
        self._write("bus_lag", seconds)
