"""What a socket sends, as far as that depends on how far it has come.

Before CONNECT is out packets are held back, up to `HELD_PACKETS`. Once the socket has ended they are dropped, and counted;
but what is emitted to a client that may come back is recorded for it, also from when a server that drains has let it leave
its rooms. In between they go to the outbox. These are functions
and no part of the core with a state of its own, so that an `emit` takes no detour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import trio

from ..errors import Disconnected
from ..log import get_logger
from .acks import ClientAnswer
from .states import CONNECTED, CONNECTING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..concurrency.outbox import Outbox
    from ..concurrency.waiters import Waiter, Waiters
    from ..engine.connection import Connection
    from ..protocol.frames import EncodedPacket
    from .recovery import RecoveryStore
    from .session import SocketSession
    from .states import SocketState

__all__ = ["HELD_PACKETS", "Sender", "ask", "send", "send_nowait", "with_offset"]

logger = get_logger("trio_sio.namespaces")

HELD_PACKETS: Final = 64  # packets that connection middleware may emit before CONNECT is out


_EARLIER_SOCKET: Final = (
    "What is emitted to socket %s is dropped, as its client has come back as another socket, which whoever emits does not have. "
    "A method or a closure that was made with the earlier one has to be made anew in the connection hook; or emit to the room "
    "that is named by its id."
)


class Recorded(Protocol):
    """Where what is sent is recorded: see `SocketRooms`.

    Attributes:
      session: Its session, if there are any.
    """

    session: SocketSession | None

    @property
    def has_left(self) -> bool:
        """Whether it has left for good."""

    @property
    def recovery(self) -> RecoveryStore:
        """Where its session is from."""


class Told(Protocol):
    """Who hears what is emitted: see `Listeners`."""

    def sent(self, event: str, args: tuple[object, ...], packet: EncodedPacket) -> None:
        """Learn that an event was emitted."""


class Sender(Protocol):
    """What sending needs of a core.

    Attributes:
      held: What was emitted before CONNECT is out, if anything.
      outbox: Where what leaves is queued.
      state: How far the socket has come.
      waiters: Who waits for acknowledgements.
    """

    held: list[EncodedPacket] | None
    outbox: Outbox[EncodedPacket]
    state: SocketState
    waiters: Waiters[Waiter, Sequence[object]]

    @property
    def listeners(self) -> Told | None:
        """Who hears what is emitted, if anybody does."""

    @property
    def connection(self) -> Connection:
        """What its client is connected by."""

    @property
    def rooms(self) -> Recorded:
        """Where the socket is, and as which session."""


def with_offset(core: Sender, args: tuple[object, ...]) -> tuple[object, ...]:
    """Return the arguments of an event for the log with its place there, unless nobody will read it."""
    session = core.rooms.session
    return args if session is not None and session.is_over else (*args, core.rooms.recovery.next_offset)


async def send(core: Sender, packet: EncodedPacket, *, recorded: bool = False) -> None:
    """Send ``packet``; ``recorded``: an event for the log, in which it has to take the next place."""
    if core.state is not CONNECTED:
        await trio.lowlevel.checkpoint_if_cancelled()
        _send_early_or_late(core, packet, recorded=recorded)
        await trio.lowlevel.cancel_shielded_checkpoint()
    elif recorded and core.rooms.session is not None:
        await _send_recorded(core, core.rooms.session, packet)
    else:
        await core.outbox.send(packet, core)


def send_nowait(core: Sender, packet: EncodedPacket) -> None:
    """Send an event for the log.

    Raises:
      trio.WouldBlock: if the outbox is full.
    """
    if core.state is not CONNECTED:
        _send_early_or_late(core, packet, recorded=True)
    elif (session := core.rooms.session) is None:
        core.outbox.send_nowait(packet)
    elif core.rooms.has_left:
        _send_early_or_late(core, packet, recorded=True)
    else:
        core.outbox.send_nowait(packet)
        core.rooms.recovery.record(packet, session.private)


def _send_early_or_late(core: Sender, packet: EncodedPacket, *, recorded: bool) -> None:
    """Hold back what is emitted before CONNECT is out; keep what is emitted to who may come back, or drop it."""
    core.outbox.require_fit(packet)
    session = core.rooms.session
    if core.state is not CONNECTING:
        if not recorded or session is None or not session.outlives(core.connection):
            if session is not None and session.is_elsewhere(core.connection) and not session.has_warned:
                session.has_warned = True
                logger.warning(_EARLIER_SOCKET, session.id)
            core.outbox.lose("gone")
            return
    else:
        held = core.held = [] if core.held is None else core.held
        if len(held) >= HELD_PACKETS:
            raise Disconnected(f"More than {HELD_PACKETS} packets before CONNECT: emit them in the connection hook.")
        held.append(packet)
    if recorded and session is not None:
        core.rooms.recovery.record(packet, session.private)


async def _send_recorded(core: Sender, session: SocketSession, packet: EncodedPacket) -> None:
    if core.rooms.has_left:
        # The server drains. Broadcasts do not reach it any more, so its client must not come to have what is behind them.
        await trio.lowlevel.checkpoint_if_cancelled()
        _send_early_or_late(core, packet, recorded=True)
        await trio.lowlevel.cancel_shielded_checkpoint()
        return
    core.outbox.require_fit(packet)
    recovery = core.rooms.recovery
    recovery.record(packet, session.private)
    try:
        await core.outbox.send(packet, core)
    except trio.Cancelled:
        recovery.retract(packet)
        raise


async def ask(core: Sender, number: int, packet: EncodedPacket, event: str, args: tuple[Any, ...]) -> Sequence[Any]:
    """Send an event that is to be acknowledged with ``number``, and return what the client answers.

    Raises:
      Disconnected: if it goes meanwhile.
    """
    answer = ClientAnswer()
    core.waiters.expect(number, answer)
    try:
        await send(core, packet)
        if core.listeners is not None:
            core.listeners.sent(event, args, packet)
        return await answer.wait()
    finally:
        core.waiters.forget(number)
