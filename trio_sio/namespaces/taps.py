"""Those in this process who listen to what a namespace emits: room subscriptions, and `Socket.on_any_outgoing`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from ..limits import Limits

if TYPE_CHECKING:
    from collections.abc import Sized

    from ..protocol.frames import EncodedPacket
    from ..protocol.parsers import Parser
    from .socket_instrument import SocketInstrument
    from .target import Target

__all__ = ["NOBODY", "Tap", "overhear"]

# What was emitted was not bounded when it was encoded, and need not be now.
_LARGEST: Final = 1 << 62
_UNLIMITED: Final = Limits(attachments=_LARGEST, json_depth=_LARGEST, containers=_LARGEST, arguments=_LARGEST)


class Tap(Protocol):
    """Somebody who listens: one of `Namespace.taps`.

    Attributes:
      calls_back: Whether hearing calls the application, which may then emit as well.
    """

    calls_back: ClassVar[bool]

    def is_meant(self, target: Target) -> bool:
        """Tell whether a broadcast to ``target`` is for it."""

    def hear(self, event: str, args: tuple[object, ...]) -> None:
        """Take one event; must not raise."""


class _Nobody:
    """A tap that hears nothing: where it is among others there is an instrument, for which one would look in vain otherwise."""

    calls_back: ClassVar = False

    def is_meant(self, target: Target) -> bool:
        """See `Tap.is_meant`."""
        return False

    def hear(self, event: str, args: tuple[object, ...]) -> None:
        """See `Tap.hear`."""


NOBODY: Final = _Nobody()


class Rooms(Protocol):
    """Who is where; see `Adapter`."""

    def members(self, target: Target) -> Sized:
        """Return the sockets of this process that are meant."""


class Tapped(Protocol):
    """Where something is emitted: a namespace.

    Attributes:
      name: Its name.
      taps: Who listens.
      instrument: Who does in any case, if there is one.
      parser: How its packets are written.
    """

    name: str
    taps: set[Tap]
    instrument: SocketInstrument[Any] | None
    parser: Parser

    @property
    def adapter(self) -> Rooms:
        """Who is where."""


def overhear(namespace: Tapped, event: Sequence[object], target: Target, packet: EncodedPacket) -> None:
    """Let the taps hear an event that was sent to ``target``, as clients do: whatever the emitter changes afterwards.

    Tasks hear it before functions, which may emit: so for tasks the order is that of the wire. An instrument comes last.

    Args:
      namespace: Where it is emitted.
      event: Its name and its arguments, which can be encoded.
      target: Whom it is for.
      packet: What was sent.
    """
    if taps := [tap for tap in namespace.taps if tap.is_meant(target)]:
        name, *args = _copy(namespace.parser, event)
        taps.sort(key=lambda tap: tap.calls_back)
        for tap in taps:
            tap.hear(name, tuple(args))
    if (instrument := namespace.instrument) is not None:
        count = len(namespace.adapter.members(target))
        instrument.broadcast_emitted(namespace.name, str(event[0]), event[1:], target, count, packet.size)


def _copy(parser: Parser, event: Sequence[object]) -> list[str]:
    packet, decoder = parser.encode_event("/", event), parser.decoder(_UNLIMITED, _LARGEST)
    # Without Engine.IO's digit for a message.
    decoded = None if packet.text is None else decoder.text(packet.text[1:])
    for attachment in packet.attachments:
        decoded = decoder.binary(attachment)
    assert decoded is not None
    data: list[str] = decoded.data
    return data
