"""The hand-over from polling to a WebSocket (Engine.IO protocol, "Upgrade").

The client opens a WebSocket with its session id and sends ``2probe``; we answer ``3probe`` and, so that the client can
stop polling, answer its waiting GET with a noop, again and again. When nothing is under way any more the client sends
``5``, and from then on the WebSocket carries the session. Until that moment polling does, and whatever goes wrong with
the probe leaves the session where it was: the transport is either the old one or the new one. What a POST has brought and
the inbox has no room for yet is taken before anything that the WebSocket brings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from ..errors import ConnectionFault, ForcedClose, TransportError
from ..log import get_logger
from ..protocol import engineio
from .connection import State
from .outbox import Outbox
from .polling import PollingTransport
from .websocket import WebSocketTransport

if TYPE_CHECKING:
    from .connection import Connection
    from .door import WebSocketPipe

__all__ = ["Probe"]

logger = get_logger("trio_sio.engine")

NOOP_INTERVAL: Final = 0.1  # seconds between the noops that release a waiting poll, as in the official server


class Probe:
    """A WebSocket that wants to take a polling session over. It is the sink of that WebSocket, before and after.

    Args:
      connection: The session; it is polling, and nobody else probes it.
      polling: What carries it so far.
      pipe: The new wire.
      base64: Whether the client wants no binary messages there.
    """

    def __init__(self, connection: Connection, polling: PollingTransport, pipe: WebSocketPipe, *, base64: bool) -> None:
        self._connection = connection
        self._polling = polling
        self._outbox = Outbox(connection.config.limits, connection.sid)
        self._transport = WebSocketTransport(connection.engine, pipe, self._outbox, base64=base64)
        self._outbox.notify = self._transport.notify
        self._held: list[tuple[bool, bytes]] | None = None  # what came behind a "5" that has to wait for a POST
        self._nursery: trio.Nursery | None = None
        timers = connection.engine.timers
        self._timeout = timers.call_after(connection.config.upgrade_timeout, self._give_up)
        self._noop = timers.call_after(float("inf"), self._release)

    async def run(self) -> None:
        """Probe, take over if all goes well, and carry the session to its end."""
        connection = self._connection
        connection.probe = self
        connection.change_transport("probe opened")
        try:
            async with trio.open_nursery() as self._nursery:
                await self._transport.run(self._nursery, self, self._ended)
                self._nursery.cancel_scope.cancel()
        finally:
            self._nursery = None
            self._ended(TransportError("the task of the WebSocket was cancelled"))
            self._outbox.close()

    def close(self) -> None:
        """The session ended while it was being probed."""
        self._transport.close(None)

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
        return self._connection.probe is self

    @property
    def _carries(self) -> bool:
        return self._connection.is_carried_by(self._transport)

    def _release(self) -> None:
        self._noop.cancel()
        if self._probing:
            self._polling.release()
            self._noop = self._connection.engine.timers.call_after(NOOP_INTERVAL, self._release)

    def _upgrade(self) -> None:
        if not self._probing or self._connection.state is not State.OPEN:
            return
        if self._polling.posting and self._nursery is not None:
            # What a POST brought before comes before what the WebSocket brings. That may take its time, in which the client
            # wants to hear from us, and does not poll any more.
            self._held = []
            self._transport.hold(True)
            self._nursery.start_soon(self._read_after_post)
        self._timeout.cancel()
        self._noop.cancel()
        connection = self._connection
        connection.probe = None
        connection.change_transport("probe succeeded")
        self._polling.retire()
        connection.carried_by(self._transport)
        self._transport.carry(connection.outbox)

    async def _read_after_post(self) -> None:
        await self._polling.wait_posted()
        held, self._held = self._held or [], None
        for is_binary, payload in held:
            if is_binary:
                self.binary(payload)
            else:
                self.text(payload)
        self._transport.hold(False)

    def _give_up(self) -> None:
        """Close the WebSocket; the session goes on with polling, and may be probed again at once."""
        self._fail()
        self._transport.close(None)

    def _ended(self, fault: ConnectionFault) -> None:
        if self._carries:
            self._connection.end(fault)
        elif self._probing:
            self._fail()

    def _fail(self) -> None:
        self._timeout.cancel()
        self._noop.cancel()
        connection = self._connection
        logger.debug("A probe of %r failed; it goes on with polling.", connection)
        connection.probe = None
        connection.change_transport("probe failed")
        connection.failed_upgrades += 1
        if connection.failed_upgrades > connection.config.limits.failed_upgrades:
            connection.end(ForcedClose("too many failed upgrades"))
