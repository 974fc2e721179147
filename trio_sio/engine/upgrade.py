"""The hand-over from polling to a WebSocket (Engine.IO protocol, "Upgrade").

The client opens a WebSocket with its session id and sends ``2probe``; we answer ``3probe`` and, so that the client can
stop polling, answer its waiting GET with a noop, again and again. When nothing is under way any more the client sends
``5``, and from then on the WebSocket carries the session. Until that moment polling does, and whatever goes wrong with
the probe leaves the session where it was: the transport is either the old one or the new one. What a POST has brought and
the inbox has no room for yet is taken before anything that the WebSocket brings.

A client does not poll any more between the last noop and its ``5``. So where this side closes the session, the probe goes
on as long as polling waits for whoever fetches the last packets: they leave by a poll, or by the WebSocket behind a ``5``,
whichever comes first (Node does the same).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from ..concurrency.outbox import Outbox
from ..errors import ConnectionFault, ForcedClose, TransportError
from ..log import get_logger
from ..protocol import engineio
from .states import ConnectionState, TransportState
from .websocket import WebSocketTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..protocol.frames import EncodedPacket
    from .connection import Connection
    from .door import WebSocketPipe
    from .polling import PollingTransport

__all__ = ["Probe"]

logger = get_logger("trio_sio.engine")

NOOP_INTERVAL: Final = 0.1  # seconds between the noops that release a waiting poll, as in the official server


class Probe:
    """A WebSocket that wants to take a polling session over. It is the sink of that WebSocket, before and after.

    While it probes it is the transport of the session, too: it leaves all of that to polling, and learns of the end. That
    the session has this transport is all that says that it is being upgraded.

    Args:
      connection: The session; it is polling, and nobody else probes it.
      polling: What carries it so far.
      pipe: The new wire.
      base64: Whether the client wants no binary messages there.

    Attributes:
      polling: As given.
    """

    state = TransportState.UPGRADING

    def __init__(self, connection: Connection, polling: PollingTransport, pipe: WebSocketPipe, *, base64: bool) -> None:
        self._connection = connection
        self.polling = polling
        limits = connection.config.limits
        self._outbox: Outbox[EncodedPacket] = Outbox(limits.outbox_packets, limits.outbox_bytes)
        self._websocket = WebSocketTransport(connection.services, connection.sid, pipe, self._outbox, base64=base64)
        self._outbox.notify = self._websocket.notify
        self._held: list[tuple[bool, bytes]] | None = None  # what came behind a "5" that has to wait for a POST
        self._nursery: trio.Nursery | None = None
        timers = connection.services.timers
        self._timeout = timers.call_after(connection.config.upgrade_timeout, self._give_up)
        self._noop = timers.call_after(float("inf"), self._release)

    async def run(self) -> None:
        """Probe, take over if all goes well, and carry the session to its end."""
        self._connection.change_transport("probe opened", self)
        try:
            async with trio.open_nursery() as self._nursery:
                await self._websocket.run(self._nursery, self, self._ended)
                self._nursery.cancel_scope.cancel()
        finally:
            self._nursery = None
            self._ended(TransportError("the task of the WebSocket was cancelled"))
            self._outbox.close()

    # The interface of a transport.

    @property
    def notify(self) -> Callable[[], None]:
        """See `PollingTransport.notify`."""
        return self.polling.notify

    def accept(self, accepting: bool) -> None:
        """See `PollingTransport.accept`."""
        self.polling.accept(accepting)

    def is_moving(self) -> bool:
        """See `PollingTransport.is_moving`."""
        return self.polling.is_moving()

    def end(self, fault: ConnectionFault, *, linger: float) -> bool:
        """Say goodbye to whoever polls; with ``linger``, or to whoever upgrades."""
        if linger:
            self._noop.cancel()
        else:
            self._close()
            self._connection.change_transport("probe failed", self.polling)
        return self.polling.end(fault, linger=linger)

    def hurry(self, linger: float) -> None:
        """See `PollingTransport.hurry`."""
        self.polling.hurry(linger)

    def forget(self) -> None:
        """See `PollingTransport.forget`; the WebSocket is not needed any more."""
        self._close()
        self.polling.forget()

    # The sink.

    def text(self, payload: bytes) -> None:
        """Take a text message of the WebSocket."""
        if self._held is not None:
            self._held.append((False, payload))
        elif self._carries:
            self._connection.text(payload)
        elif not self._probing:
            return
        elif payload == b"2probe":
            self._outbox.put(engineio.PROBE_PONG_PACKET)
            self._release()
        elif payload == b"5":
            # Without a preceding probe too: small clients send both at once, or only this.
            self._upgrade()
        else:
            self._give_up()

    def binary(self, payload: bytes) -> None:
        """Take a binary message of the WebSocket."""
        if self._held is not None:
            self._held.append((True, payload))
        elif self._carries:
            self._connection.binary(payload)
        elif self._probing:
            self._give_up()

    @property
    def _probing(self) -> bool:
        return self._connection.is_carried_by(self)

    @property
    def _carries(self) -> bool:
        return self._connection.is_carried_by(self._websocket)

    def _release(self) -> None:
        self._noop.cancel()
        if self._probing:
            self.polling.release()
            self._noop = self._connection.services.timers.call_after(NOOP_INTERVAL, self._release)

    def _upgrade(self) -> None:
        connection = self._connection
        if connection.state is ConnectionState.CLOSED:
            return
        if connection.fault is None and self.polling.posting and self._nursery is not None:
            # What a POST brought before comes before what the WebSocket brings. That may take its time, in which the client
            # wants to hear from us, and does not poll any more.
            self._held = []
            self._websocket.hold(True)
            self._nursery.start_soon(self._read_after_post)
        self._stop_timers()
        connection.change_transport("probe succeeded", self._websocket)
        self.polling.retire()
        self._websocket.carry(connection.outbox)
        if connection.fault is not None:
            self._websocket.end(connection.fault, linger=0)
            connection.said_goodbye()

    async def _read_after_post(self) -> None:
        await self.polling.wait_posted()
        held, self._held = self._held or [], None
        for is_binary, payload in held:
            if is_binary:
                self.binary(payload)
            else:
                self.text(payload)
        self._websocket.hold(False)

    def _give_up(self) -> None:
        """Close the WebSocket; the session goes on with polling, and may be probed again at once."""
        self._fail()
        self._websocket.close(None)

    def _close(self) -> None:
        self._stop_timers()
        self._websocket.close(None)

    def _ended(self, fault: ConnectionFault) -> None:
        if self._carries:
            self._connection.end(fault)
        elif self._probing:
            self._fail()
        self._stop_timers()

    def _stop_timers(self) -> None:
        self._timeout.cancel()
        self._noop.cancel()

    def _fail(self) -> None:
        self._stop_timers()
        connection = self._connection
        logger.debug("A probe of %r failed; it goes on with polling.", connection)
        connection.change_transport("probe failed", self.polling)
        connection.failed_upgrades += 1
        if connection.failed_upgrades > connection.config.limits.failed_upgrades:
            connection.end(ForcedClose("too many failed upgrades"))
