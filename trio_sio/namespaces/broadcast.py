"""Whom to emit to: the immutable operators behind ``server.to("a").except_("b").emit(...)``."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import trio

from ..errors import EncodeError
from .recovery import hide_offset
from .target import EVERYBODY, Target

if TYPE_CHECKING:
    from typing import Self

    from .namespace import Namespace
    from .socket import Socket

__all__ = ["BroadcastOperator", "Broadcaster", "NamespaceBroadcaster"]


class Broadcaster(abc.ABC):
    """What a server, a namespace, a socket and an operator have in common: one can say whom to emit to from there."""

    __slots__ = ()

    @abc.abstractmethod
    def _operator(self) -> BroadcastOperator:
        """Where a chain starts from here."""

    def to(self, *rooms: str) -> BroadcastOperator:
        """Address the members of ``rooms`` (each once), in addition to those of earlier calls."""
        return self._operator().adding(rooms=rooms)

    def in_(self, *rooms: str) -> BroadcastOperator:
        """`to`, by its other name."""
        return self._operator().adding(rooms=rooms)

    def except_(self, *rooms: str) -> BroadcastOperator:
        """Leave the members of ``rooms`` out; a socket's id is a room too."""
        return self._operator().adding(excluded=rooms)

    @property
    def local(self) -> BroadcastOperator:
        """Address only sockets of this process."""
        return self._operator().only_local()


class NamespaceBroadcaster(Broadcaster):
    """A broadcaster that can be emitted to as a whole."""

    __slots__ = ()

    def volatile(self, key: str | None = None) -> BroadcastOperator:
        """Send packets that may be lost: they are the first to go when a client is slow.

        Args:
          key: Of the packets with one key only the newest waits for a client, as in ``volatile(key="cursor:7")``.
        """
        return self._operator().as_volatile(key)

    def compress(self, value: bool) -> BroadcastOperator:  # as in Node
        """Send packets whose frames are compressed for each client that can do it, or for none (the default).

        It takes time for each of them, where `Config.per_message_deflate` is on; a packet is otherwise framed once for all.
        """
        return self._operator().as_compressed(value)

    async def emit(self, event: str, *args: object) -> None:
        """Emit to everybody addressed; never waits for any of them.

        Raises:
          EncodeError: if the name is reserved or an argument cannot be encoded; nobody gets anything then.
        """
        await trio.lowlevel.checkpoint()
        self._operator().emit_nowait(event, *args)

    def emit_nowait(self, event: str, *args: object) -> None:
        """`emit`, for code that is not async."""
        self._operator().emit_nowait(event, *args)

    async def send(self, *args: object) -> None:
        """Emit the event ``message`` (Node: ``send``)."""
        await self.emit("message", *args)

    async def fetch_sockets(self) -> Sequence[Socket]:
        """Return the sockets addressed."""
        await trio.lowlevel.checkpoint()
        operator = self._operator()
        return await operator.namespace.adapter.fetch_sockets(operator.target)

    async def sockets_join(self, *rooms: str) -> None:
        """Let the sockets addressed join ``rooms``."""
        await trio.lowlevel.checkpoint()
        operator = self._operator()
        await operator.namespace.adapter.add_sockets(operator.target, rooms)

    async def sockets_leave(self, *rooms: str) -> None:
        """Let the sockets addressed leave ``rooms``."""
        await trio.lowlevel.checkpoint()
        operator = self._operator()
        await operator.namespace.adapter.remove_sockets(operator.target, rooms)

    async def disconnect_sockets(self, close: bool = False) -> None:  # as in Node
        """Disconnect the sockets addressed from this namespace; with ``close`` from everything."""
        await trio.lowlevel.checkpoint()
        operator = self._operator()
        await operator.namespace.adapter.disconnect_sockets(operator.target, close=close)


@dataclass(frozen=True, slots=True)
class BroadcastOperator(NamespaceBroadcaster):
    """One step of a chain; immutable, so it may be kept and used again (Node: ``BroadcastOperator``)."""

    namespace: Namespace
    target: Target = EVERYBODY
    is_volatile: bool = False
    key: str | None = None
    is_compressed: bool = False

    def _operator(self) -> Self:
        return self

    def adding(self, rooms: Sequence[str] = (), excluded: Sequence[str] = ()) -> BroadcastOperator:
        """Return an operator that also addresses ``rooms`` and leaves ``excluded`` out."""
        for room in (*rooms, *excluded):
            if not isinstance(room, str):
                raise TypeError(f"Room {room!r} is not a string; to address several rooms write to('a', 'b').")
        target = self.target
        return replace(self, target=replace(target, rooms=target.rooms.union(rooms), excluded=target.excluded.union(excluded)))

    def only_local(self) -> BroadcastOperator:
        """Return an operator that addresses sockets of this process only."""
        return replace(self, target=replace(self.target, local=True))

    def as_volatile(self, key: str | None) -> BroadcastOperator:
        """Return an operator whose packets may be lost."""
        return replace(self, is_volatile=True, key=key)

    def as_compressed(self, value: bool) -> BroadcastOperator:
        """Return an operator whose packets are compressed for each client, or not."""
        return replace(self, is_compressed=value)

    def emit_nowait(self, event: str, *args: object) -> None:
        """See `NamespaceBroadcaster.emit_nowait`."""
        namespace = self.namespace
        recovery = namespace.adapter.recovery
        if recovery is not None:
            args = hide_offset(args) if self.is_volatile else (*args, recovery.next_offset)
        packet = namespace.parser.encode_event(namespace.name, (event, *args))
        if packet.size > namespace.config.limits.outbox_bytes:
            raise EncodeError(
                f"This packet has {packet.size} bytes, more than any outbox holds: send it in parts, or raise Limits.outbox_bytes."
            )
        packet.compress = self.is_compressed
        if self.is_volatile:
            namespace.adapter.broadcast_volatile(packet, self.target, self.key)
        else:
            if recovery is not None:
                recovery.record(packet, self.target)
            namespace.adapter.broadcast(packet, self.target)
