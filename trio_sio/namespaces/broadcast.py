"""Whom to emit to: the immutable operators behind ``server.to("a").except_("b").emit(...)``."""

from __future__ import annotations

import abc
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import trio

from .answers import BroadcastAnswers
from .settling import settled
from .target import EVERYBODY, PLAIN, Broadcast, Flags, Target, require_names

if TYPE_CHECKING:
    from typing import Self

    from .namespace import Namespace
    from .remote import FoundSockets

__all__ = ["BroadcastOperator", "Broadcaster", "NamespaceBroadcaster"]


class Broadcaster(abc.ABC):
    """What a server, a namespace, a socket and an operator have in common: one can say whom to emit to from there."""

    __slots__ = ()

    @abc.abstractmethod
    def _operator(self) -> BroadcastOperator:
        """Where a chain starts from here."""

    def to(self, *rooms: str) -> BroadcastOperator:
        """Address the members of ``rooms`` (each once), in addition to those of earlier calls.

        Raises:
          ValueError: if there are none: an operator without rooms addresses everybody, which a computed list that happens to
            be empty never means.
        """
        if not rooms:
            raise ValueError("to() got no room, and without one everybody is addressed; emit without to() for that.")
        return self._operator().adding(rooms=rooms)

    def in_(self, *rooms: str) -> BroadcastOperator:
        """`to`, by its other name."""
        return self.to(*rooms)

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
          key: Of the packets of this namespace with one key only the newest waits for a client, behind all that was emitted before
            it, as in ``volatile(key="cursor:7")``.
        """
        return self._operator().as_volatile(key)

    def compress(self, value: bool) -> BroadcastOperator:  # as in Node
        """Send packets that are compressed for each client that can do it, or for none.

        On WebSockets, with `Config.per_message_deflate`, the default is for none: it takes time for each of them, and a packet is
        otherwise framed once for all. The response to a poll, with `Config.compression`, is compressed unless a packet in it is
        not to be.
        """
        return self._operator().as_compressed(value)

    def timeout(self, seconds: float) -> BroadcastOperator:
        """Let `emit_with_ack` and `acks` wait so many seconds, instead of `Config.ack_timeout`."""
        return self._operator().with_timeout(seconds)

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

    async def emit_with_ack(self, event: str, *args: object) -> list[object]:
        """Emit to everybody addressed, and return what they answer, in the order in which that comes.

        Of each the one value, a tuple of several, ``None`` for none. Nobody waits for a client that is disconnected before it
        answers, or for the clients of a server that dies; when nobody is addressed that is an empty list at once.
        `volatile` has no effect on what is to be answered.

        Raises:
          AckTimeout: if not all have answered in time; it has what came until then.
          EncodeError: as `emit`.
          ValueError: if the time to wait is negative.
        """
        async with self.acks(event, *args) as answers:
            async for _ in answers:
                pass
            return answers.responses

    def acks(self, event: str, *args: object) -> AbstractAsyncContextManager[BroadcastAnswers]:
        """Emit to everybody addressed when this is entered, and iterate over what they answer, each as it comes.

        As in ``async with server.timeout(5).acks("event") as answers: async for sid, args in answers``. Of clients on
        other servers ``sid`` may be ``None``, and ``args`` one value. Otherwise as `emit_with_ack`.
        """
        return self._operator().asking(event, *args)

    async def fetch_sockets(self) -> FoundSockets:
        """Return a list of the sockets addressed; those that are connected to other servers as `RemoteSocket`.

        Servers that do not answer in time are its ``missing``.
        """
        await trio.lowlevel.checkpoint()
        operator = self._operator()
        adapter = await settled(operator.namespace)
        return await adapter.fetch_sockets(operator.target)

    async def count_sockets(self) -> int:
        """Return how many sockets are addressed, which costs less than to fetch them."""
        await trio.lowlevel.checkpoint()
        operator = self._operator()
        adapter = await settled(operator.namespace)
        return await adapter.count_sockets(operator.target)

    async def sockets_join(self, *rooms: str) -> None:
        """Let the sockets addressed join ``rooms``. Whoever is in too many (`Limits.rooms_per_socket`) does not; the log says so.

        Raises:
          ValueError: if one of ``rooms`` is named by another socket's id; nobody has joined anything then.
        """
        await trio.lowlevel.checkpoint()
        require_names(rooms, "join", "sockets_join")
        operator = self._operator()
        await operator.namespace.adapter.add_sockets(operator.target, rooms)

    async def sockets_leave(self, *rooms: str) -> None:
        """Let the sockets addressed leave ``rooms``."""
        await trio.lowlevel.checkpoint()
        require_names(rooms, "leave", "sockets_leave")
        operator = self._operator()
        await operator.namespace.adapter.remove_sockets(operator.target, rooms)

    async def disconnect_sockets(self, close: bool = False, *, reason: str | None = None) -> None:  # as in Node
        """Disconnect the sockets addressed from this namespace; with ``close`` from everything. ``reason``: see `Socket.disconnect`."""
        await trio.lowlevel.checkpoint()
        operator = self._operator()
        await operator.namespace.adapter.disconnect_sockets(operator.target, close=close, reason=reason)


@dataclass(frozen=True, slots=True)
class BroadcastOperator(NamespaceBroadcaster):
    """One step of a chain; immutable, so it may be kept and used again (Node: ``BroadcastOperator``)."""

    namespace: Namespace
    target: Target = EVERYBODY
    flags: Flags = PLAIN

    def _operator(self) -> Self:
        return self

    def adding(self, rooms: Sequence[str] = (), excluded: Sequence[str] = ()) -> BroadcastOperator:
        """Return an operator that also addresses ``rooms`` and leaves ``excluded`` out."""
        require_names((*rooms, *excluded), "address", "to")
        target = self.target
        return replace(self, target=replace(target, rooms=target.rooms.union(rooms), excluded=target.excluded.union(excluded)))

    def only_local(self) -> BroadcastOperator:
        """Return an operator that addresses sockets of this process only."""
        return replace(self, target=replace(self.target, local=True))

    def as_volatile(self, key: str | None) -> BroadcastOperator:
        """Return an operator whose packets may be lost."""
        return replace(self, flags=replace(self.flags, volatile=True, key=key))

    def as_compressed(self, value: bool) -> BroadcastOperator:
        """Return an operator whose packets are compressed for each client, or not."""
        return replace(self, flags=replace(self.flags, compress=value))

    def with_timeout(self, seconds: float) -> BroadcastOperator:
        """Return an operator that waits so long for answers."""
        return replace(self, flags=replace(self.flags, timeout=seconds))

    @asynccontextmanager
    async def asking(self, event: str, *args: object) -> AsyncIterator[BroadcastAnswers]:
        """See `NamespaceBroadcaster.acks`."""
        await trio.lowlevel.checkpoint()
        namespace, flags = self.namespace, self.flags
        answers = BroadcastAnswers(namespace.config.ack_timeout if flags.timeout is None else flags.timeout)
        try:
            adapter = await settled(namespace)
            adapter.broadcast_with_ack(Broadcast((event, *args), self.target, flags), answers)
            yield answers
        finally:
            answers.close()

    def emit_nowait(self, event: str, *args: object) -> None:
        """See `NamespaceBroadcaster.emit_nowait`."""
        self.namespace.adapter.broadcast(Broadcast((event, *args), self.target, self.flags))
