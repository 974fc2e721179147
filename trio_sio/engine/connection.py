"""One Engine.IO session: its state, its heartbeat, and how it ends.

Theory of operation
===================

A session outlives the wires that carry it. It is born with a polling request or a WebSocket, may move from polling to
a WebSocket once, and ends exactly once, with one `ConnectionFault` that says why. Two things about it change, both in
the tables below and nowhere else:

* its state, ``opening -> open -> closing -> closed``. ``closing`` means: the decision is made, whoever listens was
  told, nothing more is received, but the transport still owes the client its last packets. Only polling needs it: the
  client may have no request pending, so the session id stays valid until it fetches them.
* its transport, ``polling -> upgrading -> websocket``, with a way back from ``upgrading`` when the probe fails.

What arrives is pushed: the transport calls `text` and `binary` synchronously, in order, from whichever task owns the
wire, and these call the `Receiver`. What leaves is appended to the outbox and taken out by the transport. Nothing here
waits for a wire, so a wire that is stuck in its host cannot hold the session.

Its receiver and its transports hold on to the session, and are held by it until `run` is over; then it lets go of them, so
that nothing of an ended session waits for the garbage collector.

The tasks are: the reader (whoever runs the transport), the writer (made by the transport on first need), the heartbeat
(`_heartbeat`), and what the receiver starts with `start_soon`. All live in one nursery, opened by `run`.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, Protocol

import trio

from ..concurrency.gate import Gate
from ..errors import (
    ConnectionFault,
    ForcedClose,
    HeartbeatError,
    PacketError,
    PingTimeout,
    ServerShuttingDown,
    SlowConsumer,
    TransportClosed,
    outcome_of,
    without_frames,
)
from ..log import get_logger
from ..protocol import engineio
from .outbox import Outbox
from .packets import are_logged, log_received

if TYPE_CHECKING:
    from ..concurrency.timers import Timer
    from ..protocol.http import Request
    from .engine import Engine
    from .polling import PollingTransport
    from .upgrade import Probe
    from .websocket import WebSocketTransport

__all__ = ["Connection", "Receiver", "State", "Transport", "TransportState"]

logger = get_logger("trio_sio.engine")

RECEIVING_TURNS: Final = 3  # turns of the scheduler until what is in the kernel has been received
GRAIN: Final = 0.002  # seconds by which a timer may be late on an idle machine: epoll counts milliseconds
LINGER: Final = 30.0  # seconds for which a session that we close waits for the poll that fetches its last packets


class State(enum.Enum):
    """How far a session has come."""

    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class TransportState(enum.Enum):
    """What carries a session."""

    POLLING = "polling"
    UPGRADING = "upgrading"
    WEBSOCKET = "websocket"


STATES: Final[dict[tuple[State, str], State]] = {
    (State.OPENING, "opened"): State.OPEN,
    (State.OPEN, "ended"): State.CLOSING,
    (State.CLOSING, "said goodbye"): State.CLOSED,
}

TRANSPORTS: Final[dict[tuple[TransportState, str], TransportState]] = {
    (TransportState.POLLING, "probe opened"): TransportState.UPGRADING,
    (TransportState.UPGRADING, "probe failed"): TransportState.POLLING,
    (TransportState.UPGRADING, "probe succeeded"): TransportState.WEBSOCKET,
}


class Receiver(Protocol):
    """What a session's messages are for: Socket.IO, or a plain Engine.IO handler."""

    def text(self, payload: bytes) -> None:
        """Take a text message. Synchronous; may raise a `ConnectionFault`, which ends the connection."""

    def binary(self, payload: bytes) -> None:
        """Take a binary message, like `text`."""

    def withdraw(self) -> None:
        """Be none of those who hear what is sent to many: the session is about to end, together with all others."""

    def ended(self, fault: ConnectionFault) -> None:
        """Learn, exactly once, that nothing more will arrive and that nothing sent from now on will leave."""


class Transport(Protocol):
    """What carries a session at the moment."""

    def notify(self) -> None:
        """Learn that the outbox is not empty any more."""

    def accept(self, accepting: bool) -> None:
        """Receive, or leave what arrives in the network."""

    def is_moving(self) -> bool:
        """Tell whether a message is on its way, in or out, and has come on since the last call."""

    def end(self, fault: ConnectionFault, *, linger: float) -> bool:
        """Say goodbye in this transport's way; tell whether the session can be forgotten now.

        If not, the transport calls `Connection.said_goodbye` later. For ``linger`` seconds what is queued should also
        reach a client that has no request pending.
        """


class Connection:
    """One Engine.IO session. Made by `Engine`; its `Receiver` and its transport hold on to it.

    Attributes:
      sid: The session id: a secret between server and client.
      request: The request that opened it.
      query: The parameters of that request.
      outbox: Where everything that leaves is queued.
      receiver: What messages are for.
      state: See the tables above.
      transport_state: Likewise.
      fault: Why it ended; ``None`` before that.
      polling: What answers its HTTP requests, if it began with one.
      probe: The WebSocket that wants to take over, while ``transport_state`` is ``UPGRADING``.
      failed_upgrades: How many of those came to nothing.
      confirmed: A time, by which the client has got everything that was sent before it; minus infinity until the first pong.
    """

    def __init__(self, engine: Engine, sid: str, request: Request, query: dict[str, str], transport_state: TransportState) -> None:
        self.engine = engine
        self.config = engine.config
        self.sid = sid
        self.request = request
        self.query = query
        self.outbox = Outbox(engine.config.limits, sid, is_socketio=engine.is_socketio)
        self.state = State.OPENING
        self.transport_state = transport_state
        self.fault: ConnectionFault | None = None
        self.polling: PollingTransport | None = None
        self.probe: Probe | None = None
        self.failed_upgrades = 0
        self.confirmed = -math.inf
        self._transport: Transport
        self._nursery: trio.Nursery | None = None
        self._waiting: list[tuple[Callable[..., Awaitable[object]], tuple[object, ...]]] = []
        self._pong: trio.Event | None = None  # the ping that is unanswered, if any
        self._confirmed_by_pong = -math.inf  # what `confirmed` becomes once it is answered
        self._pong_scope: trio.CancelScope | None = None
        self._heartbeat_scope: trio.CancelScope | None = None
        self._extended = False
        self._goodbye = trio.Event()
        self._connect_timer: Timer | None = None
        self._gate = Gate()  # shut while the transport does not read
        self.receiver: Receiver = engine.open_session(self)

    def __repr__(self) -> str:
        return f"<Connection {self.sid[:6]}… {self.transport_state.value} {self.state.value}>"

    # What the transport calls.

    def opened(self, transport: Transport) -> None:
        """Begin: ``transport`` carries the session from now on, and the open packet is its first."""
        self._become("opened")
        self.carried_by(transport)
        config = self.config
        upgrades = config.upgrades if self.transport_state is TransportState.POLLING else ()
        self.outbox.put(engineio.open_packet(self.sid, upgrades, config.ping_interval, config.ping_timeout, config.max_http_buffer_size))

        self._connect_timer = self.engine.timers.call_after(config.connect_timeout, self._not_connected)
        self.engine.newcomers.enter(self, self._displaced)

    def established(self) -> None:
        """Learn from the receiver that the client uses the session; until then `connect_timeout` runs. Idempotent."""
        if self._connect_timer is not None:
            self._connect_timer.cancel()
            self._connect_timer = None
            self.engine.newcomers.remove(self)

    def _not_connected(self) -> None:
        self.end(ForcedClose("no namespace joined within connect_timeout"))

    def _displaced(self) -> None:
        self.end(ForcedClose("it was the oldest of the sessions without a namespace, and one more came than Limits.unconnected_sessions"))

    def carried_by(self, transport: Transport) -> None:
        """Send through ``transport`` from now on."""
        self._transport = transport
        self.outbox.notify = transport.notify
        if not self._gate.is_open:
            transport.accept(False)

    def is_carried_by(self, transport: Transport) -> bool:
        """Tell whether ``transport`` carries the session."""
        return self._transport is transport

    def text(self, payload: bytes) -> None:
        """Take one Engine.IO text packet, type digit included. Never raises a fault: it ends the connection instead."""
        if self.state is not State.OPEN:
            return
        if are_logged():
            log_received(self.sid, payload, is_socketio=self.engine.is_socketio)
        try:
            if payload[:1] == b"4":
                if self._pong is not None:
                    self._extend_ping_timeout()
                self.receiver.text(payload[1:])
            else:
                self._control(payload)
        except ConnectionFault as fault:
            self.end(fault)
        except Exception as error:
            self._failed(error)

    def binary(self, payload: bytes) -> None:
        """Take one binary message, like `text`."""
        if self.state is not State.OPEN:
            return
        if are_logged():
            log_received(self.sid, payload, is_socketio=self.engine.is_socketio, binary=True)
        try:
            if self._pong is not None:
                self._extend_ping_timeout()
            self.receiver.binary(payload)
        except ConnectionFault as fault:
            self.end(fault)
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        # A firewall here, where all transports meet: an exception that went on would end a request, not the session.
        logger.error("Connection %s… failed on what its client sent and is closed; the others go on.", self.sid[:6], exc_info=error)
        self.end(ForcedClose("an internal error"))

    def said_goodbye(self) -> None:
        """Learn from the transport that the client will not be told anything more; idempotent."""
        if self.state is State.CLOSING:
            self._become("said goodbye")
            self.engine.forget(self)
            self._goodbye.set()

    def change_transport(self, event: str) -> None:
        """Note a step of the upgrade; see `TRANSPORTS`."""
        self.transport_state = TRANSPORTS[self.transport_state, event]

    # What the receiver calls.

    def start_soon(self, function: Callable[..., Awaitable[object]], *args: object) -> None:
        """Run ``function(*args)`` as a task of this connection, which waits for it before it is over."""
        if self._nursery is None:
            self._waiting.append((function, args))
        else:
            self._nursery.start_soon(function, *args)

    @property
    def accepting(self) -> bool:
        """Whether the transport reads; otherwise what the client sends stays in the network."""
        return self._gate.is_open

    def accept(self, accepting: bool) -> None:
        """Let the transport go on reading, or stop it. While stopped, a missing pong is not held against the client."""
        if accepting == self._gate.is_open or self.fault is not None:
            return
        if accepting:
            self._gate.open()
        else:
            self._gate.shut()
        self._transport.accept(accepting)
        if self._pong is not None and self._pong_scope is not None:
            self._pong_scope.deadline = trio.current_time() + self.config.ping_timeout if accepting else math.inf

    async def wait_accepting(self) -> None:
        """Return when `accepting` is true, or the session has ended."""
        await self._gate.wait()

    def withdraw(self) -> None:
        """See `Receiver.withdraw`."""
        if self.state is State.OPEN:
            self.receiver.withdraw()

    def end(self, fault: ConnectionFault, *, linger: float = 0) -> None:
        """End the session because of ``fault``; what comes second has no effect.

        Synchronous: afterwards nothing is received and the receiver knows. The goodbye travels on its own; with
        ``linger`` a polling client gets so many seconds to fetch it.
        """
        if self.state is not State.OPEN:
            return
        self._become("ended")
        self.fault = without_frames(fault)
        outcome = outcome_of(fault)
        logger.log(outcome.log_level, "Connection %s… ended: %s (%s)", self.sid[:6], outcome.reason, fault)
        if not linger:
            self.engine.forget(self)
        self.established()
        self.outbox.close()
        if self._heartbeat_scope is not None:
            self._heartbeat_scope.cancel()
        self._gate.open()
        try:
            self.receiver.ended(fault)
        except Exception:
            logger.exception("Telling the handlers of connection %s… about its end failed.", self.sid[:6])
        if self.probe is not None:
            self.probe.close()
        if self._transport.end(fault, linger=linger):
            self.said_goodbye()

    def close(self, reason: str | None = None) -> None:
        """Close from this side once what is queued has left: `end` with `ForcedClose`, lingering; ``reason`` is for the log."""
        self.end(ForcedClose("closed by the server" if reason is None else f"closed by the server: {reason!r:.200}"), linger=LINGER)

    def check_age(self) -> None:
        """End the session if its oldest packet has waited for `Limits.outbox_age`; called `AGE_SAMPLES` times in that time."""
        if self.state is State.OPEN and self.outbox.is_overdue():
            self.end(SlowConsumer("its oldest packet has waited for Limits.outbox_age"))

    # The nursery.

    async def run(self, wire: WebSocketTransport | None = None) -> None:
        """Run the session until it has ended and everything it started is done.

        Args:
          wire: The WebSocket that the session was born on, to be run in this very nursery; ``None`` when wires run
            elsewhere (polling, upgrades, hosts that may hold on to their tasks).
        """
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                try:
                    nursery.start_soon(self._heartbeat)
                    waiting, self._waiting = self._waiting, []
                    for function, args in waiting:
                        nursery.start_soon(function, *args)
                    if wire is not None:
                        await wire.run(nursery, self, self.end)
                    await self._goodbye.wait()
                finally:
                    # Only a cancelled or failing session is still open here. What arrives for an open one may start tasks, and
                    # the nursery takes none any more once this body and all tasks in it are over.
                    self.end(ServerShuttingDown("the task of the connection was cancelled"))
                    self.said_goodbye()
        finally:
            self._nursery = None
            self._let_go()

    def _let_go(self) -> None:
        if self.polling is not None:
            self.polling.forget()
            self.polling = None
        self.receiver = self._transport = _NOBODY

    def cancel(self) -> None:
        """Stop everything that runs for this session, at once."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    @trio.lowlevel.enable_ki_protection
    async def _heartbeat(self) -> None:
        """Ping, and end the connection when no pong comes (Engine.IO protocol, "Heartbeat")."""
        config = self.config
        with trio.CancelScope() as self._heartbeat_scope:
            while self.state is State.OPEN:
                due = trio.current_time() + config.ping_interval
                await trio.sleep_until(due)
                # The time-out counts from here, not from when the ping leaves: a wire that takes nothing is as dead. And from
                # when the ping was due, or the clocks' grain would add up; unless this process was busy, which is its own fault.
                if _is_late(due):
                    due = trio.current_time()
                deadline = due + config.ping_timeout
                self._extended = False
                self._pong = pong = trio.Event()
                self._transport.is_moving()
                if not self.outbox.is_awaited:
                    self._confirmed_by_pong = trio.current_time()
                self.outbox.put(engineio.PING_PACKET)
                while not await self._comes_in_time(pong, deadline):
                    # Ping and pong wait their turn: on a slow network a large message takes longer than ping_timeout.
                    if not self._transport.is_moving():
                        self.end(PingTimeout(f"no pong within {config.ping_timeout} seconds"))
                    deadline = trio.current_time() + config.ping_timeout

    async def _comes_in_time(self, pong: trio.Event, deadline: float) -> bool:
        with trio.CancelScope(deadline=deadline if self._gate.is_open else math.inf) as self._pong_scope:
            await pong.wait()
        return not self._pong_scope.cancelled_caught or await self._came_late(pong, self._pong_scope.deadline)

    async def _came_late(self, pong: trio.Event, deadline: float) -> bool:
        """Tell whether ``pong`` was only waiting to be received, because this process was busy with something else.

        A handler that blocks it for longer than ``ping_timeout`` would otherwise disconnect every client with a ping
        under way, although all of them have answered.
        """
        if _is_late(deadline):
            with trio.move_on_after(min(trio.current_time() - deadline, self.config.ping_timeout)):
                await pong.wait()
        for _ in range(RECEIVING_TURNS):
            await trio.lowlevel.checkpoint()
        return pong.is_set()

    def _extend_ping_timeout(self) -> None:
        """While a ping is unanswered the first other packet shows that the client lives: once per ping."""
        if not self._extended and self._pong_scope is not None and self._gate.is_open:
            self._extended = True
            self._pong_scope.deadline = trio.current_time() + self.config.ping_timeout

    def _control(self, payload: bytes) -> None:
        kind = payload[:1]
        if kind == b"3":
            # A pong that nobody asked for must not start any work, nor postpone the next ping.
            if self._pong is not None:
                self._pong.set()
                self._pong = None
                self.confirmed = self._confirmed_by_pong
        elif kind == b"b":
            self.binary(engineio.decode_base64(payload[1:]))
        elif kind == b"1":
            raise TransportClosed("the client closed the session")
        elif kind == b"2":
            raise HeartbeatError("the client sent a ping")
        elif kind not in (b"0", b"5", b"6"):
            raise PacketError(f"unknown packet {payload[:32]!r}")

    def _become(self, event: str) -> None:
        self.state = STATES[self.state, event]


def _is_late(due: float) -> bool:
    """Tell whether it is so long after ``due`` that this process was busy with something else."""
    return trio.current_time() - due > GRAIN


class _Nobody:
    """The receiver and the transport of a session that is over."""

    def text(self, payload: bytes) -> None:
        """Drop it."""

    binary = text

    def withdraw(self) -> None:
        """Do nothing: it has ended."""

    def ended(self, fault: ConnectionFault) -> None:
        """Tell nobody."""

    def notify(self) -> None:
        """Tell nobody."""

    def accept(self, accepting: bool) -> None:
        """Receive nothing in any case."""

    def is_moving(self) -> bool:
        """Nothing is."""
        return False

    def end(self, fault: ConnectionFault, *, linger: float) -> bool:
        """Say nothing more."""
        return True


_NOBODY: Final = _Nobody()
