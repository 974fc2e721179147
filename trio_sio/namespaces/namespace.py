"""One namespace: who is connected to it, and what can be said there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from ..concurrency.callbacks import Callbacks
from ..concurrency.functions import let_go
from ..errors import ConfigurationError, EncodeError
from ..log import get_logger
from ..protocol.parsers import parser_for
from .adapter import Adapter, InMemoryAdapter
from .answers import Questions
from .broadcast import BroadcastOperator, NamespaceBroadcaster
from .descriptions import PlainData, describe_handshake, read_handshake
from .recovery import hide_offset
from .remote import RemoteSocket
from .server_side import ServerSide
from .subscriptions import Subscription
from .taps import NOBODY, overhear
from .target import PLAIN
from .views import Snapshots

if TYPE_CHECKING:
    from ..config import Config
    from ..protocol.frames import EncodedPacket
    from .answers import Sink
    from .core import SocketCore
    from .data_types import DataType
    from .handler import SocketHandler
    from .packet_log import Origin
    from .running_server import RunningServer
    from .session import SocketSession
    from .socket import Socket
    from .socket_instrument import SocketInstrument
    from .taps import Tap
    from .target import Broadcast

__all__ = ["Namespace", "NamespaceHandler"]

logger = get_logger("trio_sio.namespaces")

F = TypeVar("F", bound=Callable[..., object])


class Registry(Protocol):
    """Where a namespace is known; see `Namespaces`."""

    def enter(self, name: str) -> object | None:
        """Return the namespace that a client asks for, and more; ``None``: there is none."""

    def use_changed(self, namespace: Namespace) -> None:
        """Learn that ``namespace`` began to be used, or is used no more."""

    def revived(self, namespace: Namespace) -> None:
        """Learn that ``namespace`` has an adapter again."""

    def awaited_no_more(self, namespace: Namespace) -> None:
        """Learn that nobody listens to ``namespace``, who perhaps did."""


class NamespaceHandler(Protocol):
    """What a namespace does with its sockets; routing makes these out of controllers.

    Attributes:
      data_type: What `Socket.data` is; ``None``: that is not said.
    """

    data_type: DataType | None

    def open(self, core: SocketCore) -> SocketHandler:
        """Return what is done with one socket, whose client wants to connect; it may use what is behind that socket."""


def _nobody_runs(*args: object) -> None:
    raise RuntimeError("This namespace has no server that runs.")


class Namespace(NamespaceBroadcaster):
    """One namespace (Node: ``Namespace``): the sockets that are connected to it, and the rooms they are in.

    Attributes:
      name: With its leading slash.
      sockets: The connected sockets of this process by id, those still in connection middleware left out. A loop over them
        is over those that there were when it began, so it may wait for something, and meet some that have gone.
      arriving: Those in connection middleware.
      connected: The same as ``sockets``, where only the package itself changes it, and nobody waits while iterating.
      adapter: Where the rooms are. A namespace that is used no more gives it up, and gets another when it is used again.
      config: The server's configuration.
      parser: How its packets are written.
      server: The server.
      start_soon: Starts a task of the server, which must let no exception out; raises `RuntimeError` unless the server runs.
      handler: What its events are for; ``None`` as long as it is not open to clients.
      is_dynamic: Whether it was made for a pattern.
      population: How many sockets are connected to it or about to be.
      taps: Who listens to what is emitted here; with an instrument also `NOBODY`, so that it is not empty.
      instrument: Is told what happens; ``None``: nobody is.
      on_session_expired: Gets a `SocketSession` whenever a client that could have been recovered does not come back, or comes
        too late. Its disconnection hooks have run long before; this is where its ``id``, ``data`` and ``rooms`` are of no use
        any more.
    """

    __slots__ = (
        "__weakref__",
        "_ack_ids",
        "_make_adapter",
        "_plain_data",
        "_registry",
        "_server_side",
        "_sessions",
        "adapter",
        "arriving",
        "config",
        "connected",
        "handler",
        "instrument",
        "is_dynamic",
        "name",
        "on_session_expired",
        "parser",
        "population",
        "server",
        "sockets",
        "start_soon",
        "taps",
    )

    def __init__(
        self,
        name: str,
        server: RunningServer,
        config: Config,
        make_adapter: Callable[[Namespace], Adapter] | None = None,
        start_soon: Callable[..., None] = _nobody_runs,
    ) -> None:
        self.name = name
        self.start_soon = start_soon
        self.server = server
        self.config = config
        self.parser = parser_for(config.parser, config.limits.attachments)
        self.handler: NamespaceHandler | None = None
        self.is_dynamic = False
        self.population = 0
        self._sessions = 0
        self._registry: Registry | None = None
        self._make_adapter = make_adapter or InMemoryAdapter
        self.arriving: set[Socket] = set()
        self.connected: dict[str, Socket] = {}
        self.sockets: Mapping[str, Socket] = Snapshots(self.connected)
        self._ack_ids = count()
        self._server_side = ServerSide(self)
        self._plain_data = PlainData()
        self.taps: set[Tap] = set()
        self.instrument: SocketInstrument[Any] | None = None
        self.on_session_expired: Callbacks[[SocketSession]] = Callbacks("on_session_expired")
        self.adapter: Adapter = _make_adapter(self, self._make_adapter)
        if config.connection_state_recovery is not None and self.adapter.recovery is None:
            raise ConfigurationError(
                f"{type(self.adapter).__name__} does not keep sessions for clients that come back: "
                "use another adapter, or leave Config.connection_state_recovery out."
            )

    def __repr__(self) -> str:
        return f"<Namespace {self.name!r} sockets={len(self.connected)}>"

    def _operator(self) -> BroadcastOperator:
        return BroadcastOperator(self)

    def subscribe(self, *rooms: str, lag: Literal["raise", "drop"] = "raise", size: int = 256) -> Subscription:
        """Let a task of this process hear what a client in ``rooms`` would.

        As in ``async with server.of("/chat").subscribe("lobby") as channel: async for event in channel``, where ``event`` has
        a ``name`` and ``args``. It hears broadcasts only, volatile ones and those to the whole namespace included, and nothing
        that is emitted to one socket. It is nobody that `fetch_sockets` returns or an acknowledgement is awaited of.

        Args:
          rooms: The rooms; none: only what is for the whole namespace.
          lag: What happens when an event comes while ``size`` of them wait: ``"raise"``: it is lost, and receiving raises `Lagged`
            where it would have been; ``"drop"``: the oldest is lost, which only `Subscription.lost` counts.
          size: How many events may wait.

        Raises:
          ValueError: if ``lag`` or ``size`` is something else.
        """
        return Subscription(self, rooms, lag=lag, size=size)

    @property
    def is_tapped(self) -> bool:
        """Whether somebody of the application's listens to what is emitted here."""
        return len(self.taps) > (self.instrument is not None)

    def observe(self, instrument: SocketInstrument[Any]) -> None:
        """Let ``instrument`` be told what happens here; before anything does."""
        self.instrument = instrument
        self.taps.add(NOBODY)

    def tap(self, tap: Tap) -> None:
        """Let ``tap`` hear what is emitted here, also on other servers."""
        self.taps.add(tap)
        self.adapter  # noqa: B018  # which there is from now on

    def untap(self, tap: Tap) -> None:
        """Let ``tap`` hear nothing any more."""
        if tap not in self.taps:
            return
        self.taps.discard(tap)
        if self._registry is not None and not self.is_awaited:
            self._registry.awaited_no_more(self)

    # What is emitted, here or elsewhere.

    def deliver(self, broadcast: Broadcast, sent: Callable[[], object] | None = None, origin: Origin | None = None) -> None:
        """Send an event to the sockets of this process that it is for; never waits for any of them.

        This is the one way in, for what is emitted here and for what comes from other servers; adapters call it.

        Args:
          broadcast: The event.
          sent: Called as soon as they have it, before those who listen in this process may emit in turn.
          origin: Which server has published it, and its number there; ``None``: it is for this process alone.

        Raises:
          EncodeError: if the event's name is reserved or an argument cannot be encoded; nobody gets anything then.
        """
        event, target, flags = broadcast.event, broadcast.target, broadcast.flags
        adapter = self.adapter
        recovery = adapter.recovery
        if recovery is None:
            packet = self._encode(event, None, flags.compress)
        elif flags.volatile:
            packet = self._encode(hide_offset(event), None, flags.compress)
        else:
            # Nothing of the application's is called between the choice of an offset and the last outbox: it may emit, too.
            packet = self._encode((*event, recovery.next_offset), None, flags.compress)
            recovery.record(packet, target, origin)
        adapter.send(packet, target, flags)
        if sent is not None:
            sent()
        if self.taps:
            overhear(self, event, target, packet)

    def ask(self, broadcast: Broadcast, sink: Sink, sent: Callable[[], object] | None = None) -> Questions:
        """Like `deliver`, and let the answers of the sockets of this process go into ``sink``.

        Returns:
          What is still to be answered; whoever does not want the answers any more closes it.
        """
        event, target, flags = broadcast.event, broadcast.target, broadcast.flags
        number = next(self._ack_ids)
        packet = self._encode(event, number, flags.compress)
        questions = Questions(number, sink)
        try:
            questions.put(self.adapter.members(target))
            # It is not volatile: who may not get it would be waited for.
            self.adapter.send(packet, target, PLAIN)
            if sent is not None:
                sent()
        except BaseException:
            questions.close()
            raise
        if self.taps:
            overhear(self, event, target, packet)
        return questions

    def _encode(self, event: Sequence[object], number: int | None, compress: bool | None) -> EncodedPacket:
        packet = self.parser.encode_event(self.name, event, number, compress=compress)
        if packet.size > self.config.limits.outbox_bytes:
            raise EncodeError(
                f"This packet has {packet.size} bytes, more than any outbox holds: send it in parts, or raise Limits.outbox_bytes."
            )
        return packet

    # Other servers.

    async def server_side_emit(self, event: str, *args: object) -> None:
        """Emit to this namespace on every other server of the cluster, never to this one (Node: ``serverSideEmit``).

        Raises:
          EncodeError: if the name is reserved or an argument cannot be encoded; nothing is sent then.
        """
        await self._server_side.emit(event, *args)

    async def server_side_emit_with_ack(self, event: str, *args: object, timeout: float | None = None) -> list[object]:
        """Like `server_side_emit`, and return what the other servers answer; at once when there are none (Node: never).

        Args:
          event: The event.
          args: Its arguments.
          timeout: Seconds to wait; ``None``: `Config.ack_timeout`.

        Raises:
          AckTimeout: if not all have answered in time, or one of them has died meanwhile; it has what came until then.
          EncodeError: as `server_side_emit`.
        """
        return await self._server_side.emit_with_ack(event, *args, timeout=timeout)

    def on_server_side_emit(self, event: str, /, *, timeout: float | None = None) -> Callable[[F], F]:
        """Call the function when another server emits ``event`` with `server_side_emit` (Node: ``io.on(event)``).

        What it returns is the answer (a tuple: several values). It may be async: then it runs in the server's scope, each call
        in a task of its own. If it raises, or takes too long, that is logged and nothing is answered.

        Args:
          event: The event.
          timeout: Seconds that an async function may take; ``None``: `Config.ack_timeout`.

        Raises:
          RouteError: if there is one for this event already.
          EncodeError: if the name is reserved.
          TypeError: if the function is none, or a generator.
          ValueError: if the time is negative, or not a number.
        """
        return self._server_side.on(event, timeout=timeout)

    def server_side_event(self, event: str, args: Sequence[Any], reply: Callable[[tuple[object, ...]], object] | None = None) -> None:
        """Take an event of another server; adapters call this.

        Args:
          event: Its name.
          args: Its arguments.
          reply: Called with the answer, at once or later, unless there is none because nobody listens or the function failed;
            ``None``: nobody waits for it.
        """
        self._server_side.receive(event, args, reply)

    def describe(self, socket: Socket) -> dict[str, Any]:
        """Return what another server is told of ``socket``, with Node's names: ``id``, ``handshake``, ``rooms`` and ``data``."""
        return {
            "id": socket.id,
            "handshake": describe_handshake(socket.handshake, self.config.path),
            "rooms": sorted(socket.rooms),
            "data": self._plain_data.of(socket.data),
        }

    def remote_socket(self, id: str, handshake: object, rooms: Iterable[str], data: object) -> RemoteSocket:  # Socket.IO's word
        """Return a socket of another server, which told these of it.

        Raises:
          DecodeError: if ``handshake`` describes none.
        """
        return RemoteSocket(self, id, read_handshake(handshake), frozenset(rooms), data if isinstance(data, dict) else {})

    # Its life.

    def open_for(self, handler: NamespaceHandler) -> None:
        """Be open to clients because a pattern matches the name; ``handler``: that of the pattern."""
        self.handler, self.is_dynamic = handler, True

    def open_as_for_a_client(self, name: str) -> bool:
        """Let the namespace ``name`` of the same server, perhaps this one, be as if a client came to it; tell whether it could."""
        return self._registry is not None and self._registry.enter(name) is not None

    def registered(self, registry: Registry) -> None:
        """Tell ``registry`` from now on when this begins to be used, and when it ends."""
        self._registry = registry

    @property
    def data_type(self) -> DataType | None:
        """What `Socket.data` is here; ``None``: nobody says."""
        return None if self.handler is None else self.handler.data_type

    @property
    def is_used(self) -> bool:
        """Whether there are sockets, or clients that may come back."""
        return bool(self.population or self._sessions)

    @property
    def is_awaited(self) -> bool:
        """Whether the application has given it a function, or a task listens to it, that would hear of what happens here."""
        if self.is_tapped or self._server_side or self.on_session_expired:
            return True
        adapter = self.adapter
        return bool(adapter.on_create_room or adapter.on_delete_room or adapter.on_join_room or adapter.on_leave_room)

    def count(self, *, sockets: int = 0, sessions: int = 0) -> None:
        """Count sockets that come and go, and the sessions that are kept in this process."""
        was_used = self.is_used
        self.population += sockets
        self._sessions += sessions
        if self._registry is not None and was_used is not self.is_used:
            self._registry.use_changed(self)

    def retire(self) -> None:
        """Give the adapter up, as nobody uses this; whoever does again gets another one."""
        self.close()
        del self.adapter

    def close(self) -> None:
        """Close the adapter, for good where the server ends."""
        try:
            self.adapter.close()
        except Exception:
            logger.exception("The adapter of namespace %.80r failed to close.", self.name)

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            # Called for what is not there, and so costs nothing as long as it is.
            if name != "adapter":
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
            self.adapter = _make_adapter(self, self._make_adapter)
            if self._registry is not None:
                self._registry.revived(self)
            return self.adapter

    def next_ack_id(self) -> int:
        """Return the id for the next packet that wants an acknowledgement: 0, 1, 2, ... per namespace, as in Node."""
        return next(self._ack_ids)


def _make_adapter(namespace: Namespace, make: Callable[[Namespace], Adapter]) -> Adapter:
    made: object = make(namespace)
    if not isinstance(made, Adapter):
        let_go(made)
        raise ConfigurationError(f"adapter= returned {made!r:.80} for namespace {namespace.name!r:.80}; it must return an Adapter.")
    return made
