"""One Engine.IO session: its state, what carries it, and how it ends.

Theory of operation
===================

A session outlives the wires that carry it. It is born with a polling request or a WebSocket, may move from polling to
a WebSocket once, and ends exactly once, with one `ConnectionFault` that says why. How far it has come, and what carries it,
change along the tables of `engine.states` and in no other way.

What arrives is pushed: the transport calls `text` and `binary` synchronously, in order, from whichever task owns the
wire, and these call the `Receiver`. What leaves is appended to the outbox and taken out by the transport. Nothing here
waits for a wire, so a wire that is stuck in its host cannot hold the session.

Its receiver and its transport hold on to the session, and are held by it until `run` is over; then it lets go of them, so
that nothing of an ended session waits for the garbage collector.

The tasks are: the reader (whoever runs the transport), the writer (made by the transport on first need), the heartbeat
(`Heartbeat.run`), and what the receiver starts with `start_soon`. All live in one nursery, opened by `run`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import trio

from ..concurrency.gate import Gate
from ..concurrency.observed_outbox import ObservedOutbox
from ..concurrency.outbox import Outbox
from ..errors import (
    ConnectionFault,
    ForcedClose,
    HeartbeatError,
    PacketError,
    ServerShuttingDown,
    SlowConsumer,
    TransportClosed,
    outcome_of,
    without_frames,
)
from ..log import SID_SHOWN, get_logger
from ..protocol import engineio
from .heartbeat import Heartbeat
from .roles import NO_RECEIVER, NO_TRANSPORT
from .states import STATES, TRANSPORTS, ConnectionState, TransportState
from .traffic import is_logged

if TYPE_CHECKING:
    from ..concurrency.timers import Timer
    from ..protocol.frames import EncodedPacket
    from ..protocol.http import Request
    from .roles import Receiver, RunnableTransport, Transport
    from .services import Services

__all__ = ["Connection", "Registry"]

logger = get_logger("trio_sio.engine")

HEARTBEAT: Final = f"{Heartbeat.run.__module__}.{Heartbeat.run.__qualname__}"  # Trio's name for its task, made once

LINGER: Final = 30.0  # seconds for which a session that we close waits for the poll that fetches its last packets

_OPEN: Final = ConnectionState.OPEN  # a member of an enumeration takes its time to look up, and this is asked per message


class Registry(Protocol):
    """Who keeps the sessions of a server, as far as one of them needs it."""

    @property
    def open_session(self) -> Callable[[Connection], Receiver]:
        """What makes the receiver of a new one."""

    def established(self, connection: Connection) -> None:
        """Learn that the client of ``connection`` uses it."""

    def forget(self, connection: Connection) -> None:
        """Let the session id of ``connection`` be unknown from now on; idempotent."""

    def over(self, connection: Connection) -> None:
        """Learn that all that ran for ``connection`` is done."""


class Connection:
    """One Engine.IO session. Its `Receiver` and its transport hold on to it.

    Args:
      services: What all sessions share.
      registry: Who keeps it.
      sid: The session id: a secret between server and client.
      request: The request that opens it.
      query: The parameters of that request.

    Attributes:
      services, sid, request, query: As given.
      config: How to behave.
      outbox: Where everything that leaves is queued.
      receiver: What messages are for.
      state: See `STATES`.
      transport: What carries it; nothing that could before `opened` and after its end.
      heartbeat: Its heartbeat.
      fault: Why it ended; ``None`` before that.
      failed_upgrades: How many probes came to nothing.
    """

    __slots__ = (
        "_connect_timer",
        "_gate",
        "_goodbye",
        "_nursery",
        "_registry",
        "_waiting",
        "config",
        "failed_upgrades",
        "fault",
        "heartbeat",
        "outbox",
        "query",
        "receiver",
        "request",
        "services",
        "sid",
        "state",
        "transport",
    )

    def __init__(self, services: Services, registry: Registry, sid: str, request: Request, query: dict[str, str]) -> None:
        limits = services.config.limits
        self.services = services
        self.config = services.config
        self.sid = sid
        self.request = request
        self.query = query
        self.outbox: Outbox[EncodedPacket]
        if services.instrument is None:
            self.outbox = Outbox(limits.outbox_packets, limits.outbox_bytes)
        else:
            dropped, waited = partial(services.instrument.packets_dropped, sid), partial(services.instrument.outbox_waited, sid)
            self.outbox = ObservedOutbox(limits.outbox_packets, limits.outbox_bytes, dropped, waited)
        self.state = ConnectionState.OPENING
        self.transport: Transport = NO_TRANSPORT[TransportState.POLLING]
        self.fault: ConnectionFault | None = None
        self.failed_upgrades = 0
        self._registry = registry
        self._nursery: trio.Nursery | None = None
        self._waiting: list[tuple[Callable[..., Awaitable[object]], tuple[object, ...], str | None]] | None = None  # for the nursery
        self._goodbye: trio.Event | None = None  # made when `run` has nothing else to wait for
        self._connect_timer: Timer | None = None
        self._gate = Gate()  # shut while the transport does not read
        self.heartbeat = Heartbeat(services.pace, self._gate)
        self.receiver: Receiver = registry.open_session(self)

    def __repr__(self) -> str:
        return f"<Connection {self.sid[:SID_SHOWN]}… {self.transport_state.value} {self.state.value}>"

    @property
    def transport_state(self) -> TransportState:
        """What kind of transport carries it; see `TRANSPORTS`."""
        return self.transport.state

    @property
    def confirmed(self) -> float:
        """See `Heartbeat.confirmed`."""
        return self.heartbeat.confirmed

    # What the transport calls.

    def opened(self, transport: Transport) -> None:
        """Begin: ``transport`` carries the session from now on, and the open packet is its first."""
        self._become("opened")
        self._carry(transport)
        config = self.config
        upgrades = config.upgrades if transport.state is TransportState.POLLING else ()
        self.outbox.put(engineio.open_packet(self.sid, upgrades, config.ping_interval, config.ping_timeout, config.max_http_buffer_size))
        self._connect_timer = self.services.timers.call_after(config.connect_timeout, self._not_connected)

    def established(self) -> None:
        """Learn from the receiver that the client uses the session; until then `connect_timeout` runs. Idempotent."""
        if self._connect_timer is not None:
            self._connect_timer.cancel()
            self._connect_timer = None
            self._registry.established(self)

    def _not_connected(self) -> None:
        self.end(ForcedClose("no namespace joined within connect_timeout"))

    def displaced(self) -> None:
        """Go, as the oldest of those that have joined no namespace."""
        self.end(ForcedClose("it was the oldest of the sessions without a namespace, and one more came than Limits.unconnected_sessions"))

    def change_transport(self, event: str, transport: Transport) -> None:
        """Send through ``transport`` from now on, which must be what ``event`` leads to in `TRANSPORTS`."""
        assert TRANSPORTS[self.transport.state, event] is transport.state
        self._carry(transport)
        if transport.state is TransportState.WEBSOCKET and self.state is _OPEN and self.services.instrument is not None:
            self.services.instrument.session_moved(self.sid, transport.state.value)

    def _carry(self, transport: Transport) -> None:
        self.transport = transport
        if self.state is _OPEN:
            self.outbox.notify = transport.notify
            if not self._gate.is_open:
                transport.accept(False)

    def is_carried_by(self, transport: Transport) -> bool:
        """Tell whether ``transport`` carries the session."""
        return self.transport is transport

    def is_moving(self) -> bool:
        """See `Transport.is_moving`."""
        return self.transport.is_moving()

    def text(self, payload: bytes) -> None:
        """Take one Engine.IO text packet, type digit included. Never raises a fault: it ends the connection instead."""
        if self.state is not _OPEN:
            return
        if is_logged():
            self.services.traffic.received(self.sid, payload)
        try:
            if payload[:1] == b"4":
                if self.heartbeat.unanswered:
                    self.heartbeat.heard()
                self.receiver.text(payload[1:])
            else:
                self._control(payload)
        except ConnectionFault as fault:
            self.end(fault)
        except Exception as error:
            self._failed(error)

    def _control(self, payload: bytes) -> None:
        kind = payload[:1]
        if kind == b"3":
            if self.heartbeat.ponged() and self.services.instrument is not None and self.heartbeat.round_trip is not None:
                self.services.instrument.pong(self.sid, self.heartbeat.round_trip)
        elif kind == b"b":
            self.binary(engineio.decode_base64(payload[1:]))
        elif kind == b"1":
            raise TransportClosed("the client closed the session")
        elif kind == b"2":
            raise HeartbeatError("the client sent a ping")
        elif kind not in (b"0", b"5", b"6"):
            raise PacketError(f"unknown packet {payload[:32]!r}")

    def binary(self, payload: bytes) -> None:
        """Take one binary message, like `text`."""
        if self.state is not _OPEN:
            return
        if is_logged():
            self.services.traffic.received(self.sid, payload, binary=True)
        try:
            if self.heartbeat.unanswered:
                self.heartbeat.heard()
            self.receiver.binary(payload)
        except ConnectionFault as fault:
            self.end(fault)
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        # A firewall here, where all transports meet: an exception that went on would end a request, not the session.
        logger.error("Connection %s… failed on what its client sent and is closed; the others go on.", self.sid[:SID_SHOWN], exc_info=error)
        self.end(ForcedClose("an internal error"))

    def said_goodbye(self) -> None:
        """Learn from the transport that the client will not be told anything more; idempotent."""
        if self.state is ConnectionState.CLOSING:
            self._become("said goodbye")
            self._registry.forget(self)
            if self._goodbye is not None:
                self._goodbye.set()

    # What the receiver calls.

    def start_soon(self, function: Callable[..., Awaitable[object]], *args: object, name: str | None = None) -> None:
        """Run ``function(*args)`` as a task of this connection, which waits for it before it is over.

        Args:
          function: An async function.
          args: What it is called with.
          name: The name of the task; ``None``: that of ``function``.
        """
        if self._nursery is not None:
            self._nursery.start_soon(function, *args, name=name)
        elif self._waiting is None:
            self._waiting = [(function, args, name)]
        else:
            self._waiting.append((function, args, name))

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
        self.transport.accept(accepting)
        self.heartbeat.accept(accepting)

    async def wait_accepting(self) -> None:
        """Return when `accepting` is true, or the session has ended."""
        await self._gate.wait()

    def withdraw(self) -> None:
        """See `Receiver.withdraw`."""
        if self.state is _OPEN:
            self.receiver.withdraw()

    def end(self, fault: ConnectionFault, *, linger: float = 0) -> None:
        """End the session because of ``fault``; what comes second has no effect.

        Synchronous: afterwards nothing is received and the receiver knows. The goodbye travels on its own; with
        ``linger`` a polling client gets so many seconds to fetch it.
        """
        if self.state is not _OPEN:
            return
        self._become("ended")
        self.fault = without_frames(fault)
        outcome = outcome_of(fault)
        logger.log(outcome.log_level, "Connection %s… ended: %s (%s)", self.sid[:SID_SHOWN], outcome.reason, fault)
        if not linger:
            self._registry.forget(self)
        self.established()
        self.outbox.close()
        self.heartbeat.stop()
        self._gate.open()
        try:
            self.receiver.ended(fault)
        except Exception:
            logger.exception("Telling the handlers of connection %s… about its end failed.", self.sid[:SID_SHOWN])
        if self.services.instrument is not None:
            self.services.instrument.session_ended(self.sid, str(outcome.reason))
        if self.transport.end(fault, linger=linger):
            self.said_goodbye()

    def hurry(self, linger: float) -> None:
        """After an `end` that lingers: do so for ``linger`` seconds only."""
        self.transport.hurry(linger)

    def close(self, reason: str | None = None) -> None:
        """Close from this side once what is queued has left: `end` with `ForcedClose`, lingering; ``reason`` is for the log."""
        self.end(ForcedClose("closed by the server" if reason is None else f"closed by the server: {reason!r:.200}"), linger=LINGER)

    def check_age(self) -> None:
        """End the session if its oldest packet has waited for `Limits.outbox_age`; called `AGE_SAMPLES` times in that time."""
        if self.state is _OPEN and self.outbox.is_overdue():
            self.end(SlowConsumer("its oldest packet has waited for Limits.outbox_age"))

    # The nursery.

    @trio.lowlevel.enable_ki_protection
    async def run(self, wire: RunnableTransport | None = None) -> None:
        """Run the session until it has ended and everything it started is done, behind a firewall: whatever fails, the others go on.

        Args:
          wire: The WebSocket that the session was born on, to be run in this very nursery; ``None`` when wires run
            elsewhere (polling, upgrades, hosts that may hold on to their tasks).
        """
        try:
            async with trio.open_nursery() as self._nursery:
                try:
                    self._start_what_waits(self._nursery)
                    if wire is not None:
                        await wire.run(self._nursery, self, self.end)
                    if self.state is not ConnectionState.CLOSED:
                        self._goodbye = self._goodbye or trio.Event()
                        await self._goodbye.wait()
                finally:
                    # Only a cancelled or failing session is still open here. What arrives for an open one may start tasks, and
                    # the nursery takes none any more once this body and all tasks in it are over.
                    self.end(ServerShuttingDown("the task of the connection was cancelled"))
                    self.said_goodbye()
        except* Exception:
            logger.exception("Connection %s… failed; the others go on.", self.sid[:SID_SHOWN])
        finally:
            self._nursery = None
            self._let_go()
            self._registry.over(self)

    def _start_what_waits(self, nursery: trio.Nursery) -> None:
        nursery.start_soon(self.heartbeat.run, self, name=HEARTBEAT)
        waiting, self._waiting = self._waiting, None
        for function, args, name in waiting or ():
            nursery.start_soon(function, *args, name=name)

    def _let_go(self) -> None:
        self.transport.forget()
        self.receiver, self.transport = NO_RECEIVER, NO_TRANSPORT[self.transport.state]

    def cancel(self) -> None:
        """Stop everything that runs for this session, at once."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    def _become(self, event: str) -> None:
        self.state = STATES[self.state, event]
