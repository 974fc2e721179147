"""Whom to emit to: the immutable operators behind ``server.to("a").except_("b").emit(...)``."""

from __future__ import annotations

import abc
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, TypeVarTuple, overload

import trio

from ..signatures.events import DeclaredEvent, ServerEvent, spelled
from .answers import BroadcastAnswers, EventAnswers, require_patience
from .observation import Asking
from .settling import settled
from .target import EVERYBODY, PLAIN, Broadcast, Flags, Target, require_names

if TYPE_CHECKING:
    from typing import Self

    from .namespace import Namespace
    from .remote import FoundSockets

__all__ = ["BroadcastOperator", "Broadcaster", "NamespaceBroadcaster"]


P = ParamSpec("P")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")


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
        """Let `emit_with_ack` and `acks` wait so many seconds, instead of `Config.ack_timeout`, and so `fetch_sockets` and `count_sockets`.

        Raises:
          ValueError: if that is negative, or not a number.
        """
        require_patience(seconds)
        return self._operator().with_timeout(seconds)

    @overload
    async def emit(self, event: str, *args: object) -> None: ...
    @overload
    async def emit(self, event: ServerEvent[P, object], *args: P.args, **named: P.kwargs) -> None: ...

    async def emit(self, event: Any, *args: Any, **named: Any) -> None:
        """Emit to everybody addressed; never waits for any of them.

        Args:
          event: Its name, or an event that is declared with `server_event`, whose arguments may have names.
          args, named: Its arguments.

        Raises:
          EncodeError: if the name is reserved, or an argument cannot be encoded, or is not what was declared and
            `Config.check_events` is on; nobody gets anything then.
          TypeError: if there are not so many arguments as were declared.
        """
        await trio.lowlevel.checkpoint()
        self._operator().put(event, args, named)

    @overload
    def emit_nowait(self, event: str, *args: object) -> None: ...
    @overload
    def emit_nowait(self, event: ServerEvent[P, object], *args: P.args, **named: P.kwargs) -> None: ...

    def emit_nowait(self, event: Any, *args: Any, **named: Any) -> None:
        """`emit`, for code that is not async."""
        self._operator().put(event, args, named)

    async def send(self, *args: object) -> None:
        """Emit the event ``message`` (Node: ``send``)."""
        await self.emit("message", *args)

    @overload
    async def emit_with_ack(self, event: str, *args: object, timeout: float | None = None) -> list[object]: ...
    @overload
    async def emit_with_ack(self, event: ServerEvent[P, R], *args: P.args, **named: P.kwargs) -> list[R]: ...
    @overload
    async def emit_with_ack(self, event: DeclaredEvent[R, *Ts], *args: *Ts, timeout: float | None = None) -> list[R]: ...

    async def emit_with_ack(  # type: ignore[misc]  # no declared event has a parameter `timeout`
        self, event: Any, *args: Any, timeout: float | None = None, **named: Any
    ) -> Any:
        """Emit to everybody addressed, and return what they answer, in the order in which that comes.

        Of each the one value, a tuple of several, ``None`` for none. Nobody waits for a client that is disconnected before it
        answers, or for the clients of a server that dies; when nobody is addressed that is an empty list at once.
        `volatile` has no effect on what is to be answered.

        What is answered to a declared event is converted as the annotation of its result says. An answer that does not fit is
        logged, and otherwise as if that client had gone: one of many does not spoil what the others say.

        Args:
          event: As for `emit`.
          args, named: Its arguments.
          timeout: Seconds to wait; ``None``: what `timeout` says, or `Config.ack_timeout`.

        Raises:
          AckTimeout: if not all have answered in time; it has what came until then.
          EncodeError: as `emit`.
          ValueError: if the time to wait is negative.
        """
        async with self._operator().asking(event, args, named, timeout) as answers:
            async for _ in answers:
                pass
            return answers.responses

    @overload
    def acks(self, event: str, *args: object, timeout: float | None = None) -> AbstractAsyncContextManager[BroadcastAnswers]: ...
    @overload
    def acks(self, event: ServerEvent[P, R], *args: P.args, **named: P.kwargs) -> AbstractAsyncContextManager[EventAnswers[R]]: ...
    @overload
    def acks(
        self, event: DeclaredEvent[R, *Ts], *args: *Ts, timeout: float | None = None
    ) -> AbstractAsyncContextManager[EventAnswers[R]]: ...

    def acks(  # type: ignore[misc]  # no declared event has a parameter `timeout`
        self, event: Any, *args: Any, timeout: float | None = None, **named: Any
    ) -> AbstractAsyncContextManager[Any]:
        """Emit to everybody addressed when this is entered, and iterate over what they answer, each as it comes.

        As in ``async with server.acks("event", timeout=5) as answers: async for sid, args in answers``. Of clients on
        other servers ``sid`` may be ``None``, and ``args`` one value. With a declared event it is
        ``async for sid, value in answers``. Otherwise as `emit_with_ack`.
        """
        return self._operator().asking(event, args, named, timeout)

    async def fetch_sockets(self, *, timeout: float | None = None) -> FoundSockets:
        """Return a list of the sockets addressed; those that are connected to other servers as `RemoteSocket`.

        Servers that do not answer in time are its ``missing``.

        Args:
          timeout: Seconds to wait for other servers; ``None``: what `timeout` says, or the cluster's ``request_timeout``.

        Raises:
          ValueError: if that is negative, or not a number.
        """
        operator, patience = await self._asking_servers(timeout)
        adapter = await settled(operator.namespace)
        return await adapter.fetch_sockets(operator.target, patience)

    async def count_sockets(self, *, timeout: float | None = None) -> int:
        """Return how many sockets are addressed, which costs less than to fetch them; otherwise as `fetch_sockets`."""
        operator, patience = await self._asking_servers(timeout)
        adapter = await settled(operator.namespace)
        return await adapter.count_sockets(operator.target, patience)

    async def _asking_servers(self, timeout: float | None) -> tuple[BroadcastOperator, float | None]:
        await trio.lowlevel.checkpoint()
        operator = self._operator()
        if timeout is None:
            return operator, operator.flags.timeout
        require_patience(timeout)
        return operator, timeout

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
        """Disconnect the sockets addressed from this namespace; with ``close`` from everything.

        Sockets in connection middleware are among them, by the rooms that they have joined there: they are refused. So are clients
        that have lost their connection and might be recovered: they are not.

        Args:
          close: As for `Socket.disconnect`.
          reason: As for `Socket.disconnect`.
        """
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
    async def asking(
        self, event: Any, args: tuple[object, ...], named: Mapping[str, object], timeout: float | None
    ) -> AsyncIterator[BroadcastAnswers | EventAnswers[Any]]:
        """See `NamespaceBroadcaster.acks`."""
        await trio.lowlevel.checkpoint()
        namespace, flags = self.namespace, self.flags if timeout is None else replace(self.flags, timeout=timeout)
        name, sent = spelled(event, args, named, check=namespace.config.check_events)
        answers = BroadcastAnswers(namespace.config.ack_timeout if flags.timeout is None else flags.timeout)
        instrument = namespace.instrument
        with nullcontext() if instrument is None else Asking(instrument, namespace.name, name, None) as asking:
            try:
                adapter = await settled(namespace)
                adapter.broadcast_with_ack(Broadcast((name, *sent), self.target, flags), answers)
                try:
                    yield EventAnswers(event, answers) if isinstance(event, ServerEvent) else answers
                finally:
                    # Who asks may have had enough of them, or take it calmly that not all came.
                    if asking is not None:
                        asking.ended(answers.outcome)
            finally:
                answers.close()

    def put(self, event: Any, args: tuple[object, ...], named: Mapping[str, object]) -> None:
        """See `NamespaceBroadcaster.emit_nowait`."""
        if named or event.__class__ is not str:
            event, args = spelled(event, args, named, check=self.namespace.config.check_events)
        self.namespace.adapter.broadcast(Broadcast((event, *args), self.target, self.flags))
