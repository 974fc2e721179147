"""The listeners of a socket whose server has an instrument: each socket has them then, and its events go by here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

from .listeners import Listened, Listeners
from .observation import Handling, outcome_of_event

if TYPE_CHECKING:
    from ..protocol.frames import EncodedPacket
    from ..protocol.socketio import Packet
    from .handler import SocketHandler
    from .socket_instrument import SocketInstrument

__all__ = ["ObservedHandler", "ObservedListeners", "make_listeners"]


class ObservedHandler(Protocol):
    """A `SocketHandler` that tells an instrument of what it handles."""

    async def receive_within(self, packet: Packet, handling: Handling) -> None:
        """Handle one event whose handling the instrument knows of already, and tell ``handling`` what came of it."""


class ObservedListeners(Listeners):
    """`Listeners`, and an instrument that is told of each event that goes by.

    What the namespace's handlers do they tell themselves. Here is told what is done with an event besides: what middleware of
    `Socket.use` is around, and what functions of `Socket.on` are for.

    Args:
      core: The socket's core.
      instrument: What is told.
    """

    __slots__ = ("_handling", "_instrument")

    def __init__(self, core: Listened, instrument: SocketInstrument[Any]) -> None:
        super().__init__(core)
        self._instrument = instrument
        self._handling: Handling | None = None  # of the event that is handled here

    def arrived(self, packet: Packet) -> None:
        """See `Listeners.arrived`."""
        event, *args = packet.data
        self._instrument.event_received(self._core.socket, event, args, packet.size)
        super().arrived(packet)

    def only_awaited(self, packet: Packet) -> None:
        """See `Listeners.only_awaited`."""
        with Handling(self._instrument, self._core.socket, packet) as handling:
            handling.ended("ok")

    def never_handled(self, packet: Packet) -> None:
        """See `Listeners.never_handled`."""
        self._instrument.event_refused(self._core.socket, packet.data[0], str(self._core.reason))

    def sent(self, event: str, args: tuple[object, ...], packet: EncodedPacket) -> None:
        """See `Listeners.sent`."""
        super().sent(event, args, packet)
        self._instrument.event_emitted(self._core.socket, event, args, packet.size)

    async def receive(self, packet: Packet) -> None:
        """See `Listeners.receive`."""
        if not self.handles(packet.data[0]):
            await self._core.handler.receive(packet)
            return
        with Handling(self._instrument, self._core.socket, packet) as handling:
            self._handling = handling
            handling.ended("ok")
            try:
                await super().receive(packet)
            except BaseException:
                handling.ended("cancelled")
                raise
            finally:
                self._handling = None

    async def _receive_routed(self, handler: SocketHandler, packet: Packet) -> None:
        assert self._handling is not None
        await cast("ObservedHandler", handler).receive_within(packet, self._handling)

    def _log(self, what: str, packet: Packet, exc: Exception) -> None:
        super()._log(what, packet, exc)
        if self._handling is not None:
            self._handling.ended(outcome_of_event(exc, self._core.socket), exc)


def make_listeners(core: Listened, instrument: SocketInstrument[Any] | None) -> Listeners:
    """Return those of a new socket; ``instrument``: who is told of all that they hear, if anybody is."""
    return Listeners(core) if instrument is None else ObservedListeners(core, instrument)
