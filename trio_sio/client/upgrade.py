"""The move of a polling session to a WebSocket (Engine.IO protocol, "Upgrade"; Node: ``Socket._probe``).

A WebSocket is opened beside the polls and probed. When it answers, the wire is made quiet: the server lets go of the poll
that waits, the packets of its answer are taken like those of every other, and no further request begins. Then ``5`` goes
out on the WebSocket, and both directions go on there. So a packet is sent, and received, on exactly one of the two.
Whatever goes wrong before that leaves polling as it was.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

import trio

from ..errors import ConnectFailed, ConnectionFault, TransportError, without_frames
from ..log import get_logger
from ..protocol.frames import EncodedPacket
from .target import Target
from .websocket import WebSocketTransport

if TYPE_CHECKING:
    from .session import Session

__all__ = ["Upgrade"]

logger = get_logger("trio_sio.client")

_PROBE: Final = EncodedPacket(b"2probe")
_UPGRADE: Final = EncodedPacket(b"5")

# Seconds for the one packet that must not be cancelled half-way: nobody would know which transport carries the session.
_DECISION: Final = 1.0


class Upgrade:
    """One attempt to move a session.

    Args:
      target: Where to.
      max_message_size: The largest message, in bytes.
      timeout: Seconds for all of it.
    """

    def __init__(self, target: Target, max_message_size: int, timeout: float) -> None:
        self._target = target
        self._max_message_size = max_message_size
        self._timeout = timeout
        self._fault: ConnectionFault | None = None

    async def run(self, session: Session) -> None:
        """Move ``session`` if the server can; otherwise leave it as it is."""
        with trio.move_on_after(self._timeout):
            try:
                websocket = await WebSocketTransport.connect(self._target, self._max_message_size, session.sid)
            except ConnectFailed as failure:
                logger.debug("The session %r stays with polling: %s", session.sid, failure)
                return
            moved = False
            try:
                websocket.stall_timeout = session.handshake.patience
                await self._probe(websocket)
                async with AsyncExitStack() as quiet:
                    await self._make_quiet(session, websocket, quiet)
                    with trio.move_on_after(_DECISION, shield=True):
                        await websocket.send([_UPGRADE])
                        moved = True
                        await session.move(websocket)
            except ConnectionFault as fault:
                logger.debug("The session %r stays with polling: %s.", session.sid, without_frames(fault))
            finally:
                if not moved:
                    await websocket.aclose()

    async def _probe(self, websocket: WebSocketTransport) -> None:
        await websocket.send([_PROBE])
        while not (received := list(await websocket.receive())):
            if websocket.owes_pong:
                await websocket.send([])
        if received != ["3probe"]:
            raise TransportError(f"the server answered the probe with {str(received[0])[:20]!r}")

    async def _make_quiet(self, session: Session, websocket: WebSocketTransport, quiet: AsyncExitStack) -> None:
        """Let no poll and no write be under way until ``quiet`` is closed.

        Raises:
          ConnectionFault: if the WebSocket fails meanwhile: a server waits for ``5`` only so long.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, websocket, nursery.cancel_scope)
            await quiet.enter_async_context(session.quiet())
            nursery.cancel_scope.cancel()
        if self._fault is not None:
            raise self._fault

    async def _watch(self, websocket: WebSocketTransport, waiting: trio.CancelScope) -> None:
        try:
            while not (received := list(await websocket.receive())):
                pass
            self._fault = TransportError(f"the server sent {str(received[0])[:20]!r} before it was told that the session has moved")
        except ConnectionFault as fault:
            self._fault = fault
        waiting.cancel()
