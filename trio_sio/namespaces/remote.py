"""Clients of other servers, as `fetch_sockets` returns them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, TypeVarTuple, overload

from ..errors import Disconnected
from ..signatures.events import DeclaredEvent, ServerEvent, spelled
from .acks import as_arguments
from .broadcast import BroadcastOperator
from .target import Target
from .timed import TimedSocket

if TYPE_CHECKING:
    from .handshake import Handshake
    from .namespace import Namespace
    from .socket import Socket

__all__ = ["FoundSockets", "RemoteSocket"]


P = ParamSpec("P")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class FoundSockets(list["Socket | RemoteSocket"]):
    """What `fetch_sockets` returns: the sockets, and which servers did not say theirs.

    Attributes:
      missing: The servers that were asked and did not answer in time, by what they call themselves on the bus.
    """

    def __init__(self, sockets: Iterable[Socket | RemoteSocket] = (), missing: Sequence[str] = ()) -> None:
        super().__init__(sockets)
        self.missing = tuple(missing)


class RemoteSocket:
    """A client that is connected to another server (Node: ``RemoteSocket``). Made by adapters.

    Its methods reach it through the room that is named by its id. What it knows is what was so when it was fetched.

    Attributes:
      id: Its public id.
      namespace: Where it is connected.
      handshake: How it connected.
      rooms: The rooms that it was in, the one named by its id among them.
      data: What the application remembered about it; a copy, so that changing it changes nothing there.
    """

    __slots__ = ("_operator", "data", "handshake", "id", "namespace", "rooms")

    def __init__(self, namespace: Namespace, id: str, handshake: Handshake, rooms: Set[str], data: dict[str, Any]) -> None:
        self.namespace = namespace
        self.id = id
        self.handshake = handshake
        self.rooms = frozenset(rooms)
        self.data = data
        self._operator = BroadcastOperator(namespace, Target(rooms=frozenset((id,))))

    def __repr__(self) -> str:
        return f"<RemoteSocket {self.id} {self.namespace.name!r}>"

    @overload
    async def emit(self, event: str, *args: object) -> None: ...
    @overload
    async def emit(self, event: ServerEvent[P, object], *args: P.args, **named: P.kwargs) -> None: ...

    async def emit(self, event: Any, *args: Any, **named: Any) -> None:
        """Emit to this client.

        Raises:
          EncodeError: if the name is reserved or an argument cannot be encoded; nothing is sent then.
        """
        await self._operator.emit(event, *args, **named)

    @overload
    async def emit_with_ack(self, event: str, *args: object, timeout: float | None = None) -> object: ...
    @overload
    async def emit_with_ack(self, event: ServerEvent[P, R], *args: P.args, **named: P.kwargs) -> R: ...
    @overload
    async def emit_with_ack(self, event: DeclaredEvent[R, *Ts], *args: *Ts, timeout: float | None = None) -> R: ...

    async def emit_with_ack(  # type: ignore[misc]  # no declared event has a parameter `timeout`
        self, event: Any, *args: Any, timeout: float | None = None, **named: Any
    ) -> Any:
        """Emit, and return what the client answers: the one value, a tuple of several, ``None`` for none.

        Args:
          event: As for `Socket.emit`.
          args, named: Its arguments.
          timeout: Seconds to wait; ``None``: `Config.ack_timeout`.

        Raises:
          AckTimeout: if no answer came in time.
          BadAnswer: if the answer is not what was declared.
          Disconnected: if nobody has that id any more.
          EncodeError: as `emit`.
        """
        asked = event
        if isinstance(asked, ServerEvent):
            # The answer is read here, where one that does not fit can be said.
            event, args = spelled(asked, args, named, check=self.namespace.config.check_events)
            named = {}
        responses = await self._operator.emit_with_ack(event, *args, timeout=timeout, **named)
        if not responses:
            raise Disconnected(f"Socket {self.id} is not connected any more, so it cannot answer.")
        return asked.answer(as_arguments(responses[0])) if isinstance(asked, ServerEvent) else responses[0]

    def timeout(self, seconds: float) -> TimedSocket:
        """See `Socket.timeout`."""
        return TimedSocket(self.emit_with_ack, seconds)

    async def join(self, *rooms: str) -> None:
        """Let it join ``rooms``."""
        await self._operator.sockets_join(*rooms)

    async def leave(self, *rooms: str) -> None:
        """Let it leave ``rooms``."""
        await self._operator.sockets_leave(*rooms)

    async def disconnect(self, close: bool = False, *, reason: str | None = None) -> None:  # as in Node
        """Disconnect it from the namespace; with ``close`` from everything. ``reason``: see `Socket.disconnect`."""
        await self._operator.disconnect_sockets(close, reason=reason)
