"""Emitting to the clients of a cluster from a program that is no server (Node: ``@socket.io/redis-emitter``).

`Emitter` is for programs on Trio, with a coredis client; `SyncEmitter` for scripts, workers of a task queue and web applications,
with redis-py or whatever else has a ``publish(channel, bytes)``. Neither imports Trio. What they say is heard by every server,
in Node or in Python, whose classic Redis adapter has the same key.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, NoReturn, Protocol

from ...errors import EncodeError
from ...limits import Limits
from ...protocol.checks import check_emitted
from .. import payload
from ..fields import Flags, Options
from .channels import DEFAULT_KEY, Channels
from .codec import encode_broadcast, encode_request
from .requests import EMITTER, Broadcast, Disconnect, Join, Leave, Request, ServerSideEmit

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Emitter", "Publisher", "SyncEmitter", "SyncPublisher"]

_LIMITS: Final = Limits()
_RESERVED: Final = frozenset({"connect", "connection", "new_namespace"})


class Publisher(Protocol):
    """What `Emitter` needs of a client of Redis: coredis has it."""

    def publish(self, channel: str, message: bytes, /) -> Awaitable[object]:
        """Publish ``message``."""


class SyncPublisher(Protocol):
    """What `SyncEmitter` needs of a client of Redis: redis-py has it."""

    def publish(self, channel: str, message: bytes, /) -> object:
        """Publish ``message``."""


class _Message(NamedTuple):
    channel: str
    payload: bytes


class _Operator:
    """Whom to emit to, and how; immutable, so it may be kept and used again."""

    __slots__ = ("_channels", "_key", "_max_bytes", "_namespace", "_options", "_redis")

    _redis: Any
    _written: ClassVar[str]

    def __init__(self, redis: Any, *, key: str, max_bytes: int) -> None:
        if not callable(getattr(redis, "publish", None)):
            # A URL may have a password in it, so the value itself is not shown.
            raise TypeError(f"{type(self).__name__}() takes a client of Redis, not {type(redis).__name__}; write {self._written}.")
        self._redis = redis
        self._key = key
        self._max_bytes = max_bytes
        self._options = Options()
        self._enter("/")

    def _enter(self, namespace: str) -> None:
        self._namespace = namespace
        self._channels = Channels(self._key, namespace)

    def _copy(self) -> Self:
        copy = object.__new__(type(self))
        for name in _Operator.__slots__:
            setattr(copy, name, getattr(self, name))
        return copy

    def of(self, namespace: str) -> Self:
        """Return an emitter for ``namespace``; a slash in front is added where it is missing."""
        copy = self._copy()
        copy._enter(namespace if namespace.startswith("/") else f"/{namespace}")
        copy._options = Options()
        return copy

    def to(self, *rooms: str) -> Self:
        """Address the members of ``rooms`` (each once), in addition to those of earlier calls.

        Raises:
          ValueError: if there are none: without rooms everybody is addressed, which a computed list that happens to be empty
            never means.
        """
        if not rooms:
            raise ValueError("to() got no room, and without one everybody is addressed; emit without to() for that.")
        return self._with(rooms=self._options.rooms.union(_names(rooms, "to")))

    def in_(self, *rooms: str) -> Self:
        """`to`, by its other name."""
        return self.to(*rooms)

    def except_(self, *rooms: str) -> Self:
        """Leave the members of ``rooms`` out; a socket's id is a room too."""
        return self._with(excluded=self._options.excluded.union(_names(rooms, "except_")))

    def volatile(self, key: str | None = None) -> Self:
        """Send packets that may be lost: they are the first to go when a client is slow.

        Args:
          key: Of the packets with one key only the newest waits for a client; servers in Node take no notice of it.
        """
        return self._flagged(volatile=True, key=key)

    def compress(self, value: bool) -> Self:  # as in Node
        """Send packets that are compressed for each client that can do it, or for none."""
        return self._flagged(compress=value)

    def _flagged(self, **flags: Any) -> Self:
        present = self._options.flags
        given = {"volatile": present.volatile, "key": present.key, "compress": present.compress, **flags}
        return self._with(flags=Flags(**given))

    def _with(self, **changed: Any) -> Self:
        present, copy = self._options, self._copy()
        copy._options = Options(**{"rooms": present.rooms, "excluded": present.excluded, "flags": present.flags, **changed})
        return copy

    def _event(self, event: str, args: tuple[object, ...]) -> _Message:
        if isinstance(name := getattr(event, "name", None), str):
            raise EncodeError(f"An emitter takes the name of an event, and does not look at what was declared; write {name!r}.")
        check_emitted(event)
        options = self._options
        broadcast = Broadcast(uid=EMITTER, namespace=self._namespace, event=(event, *args), options=options)
        channel = self._channels.room(*options.rooms) if len(options.rooms) == 1 else self._channels.broadcasts
        return _Message(channel, encode_broadcast(broadcast, _LIMITS, self._max_bytes))

    def _server_side_event(self, event: str, args: tuple[object, ...]) -> _Message:
        if not isinstance(event, str):
            raise EncodeError(f"The name of a server-side event is {event!r:.40}; it must be a string.")
        if event in _RESERVED:
            raise EncodeError(f"The name {event!r} is reserved for Socket.IO itself; choose another one.")
        return self._request(ServerSideEmit(uid=EMITTER, event=(event, *args)))

    def _rooms(self, kind: type[Join], rooms: tuple[str, ...], method: str) -> _Message:
        return self._request(kind(options=self._options, rooms=frozenset(_names(rooms, method))))

    def _disconnect(self, close: bool) -> _Message:
        return self._request(Disconnect(options=self._options, close=close))

    def _refuse(self, what: str, instead: str) -> NoReturn:
        raise TypeError(f"This {what}: use {instead} with {type(self._redis).__name__} of {type(self._redis).__module__}.")

    def _request(self, request: Request) -> _Message:
        return _Message(self._channels.requests, encode_request(request, _LIMITS, self._max_bytes))


def _names(rooms: Iterable[object], method: str) -> list[str]:
    names = []
    for room in rooms:
        if not isinstance(room, str):
            raise TypeError(f"Room {room!r} is not a string; for several rooms write {method}('a', 'b').")
        names.append(room)
    return names


class Emitter(_Operator):
    """Emits to clients of a cluster, from a program on Trio.

    Args:
      redis: A ``coredis.Redis``, open as long as this is used.
      key: What the servers have as theirs.
      max_bytes: How large a message may be; servers in Python drop larger ones than they were told to accept.

    Raises:
      TypeError: if ``redis`` is no client of Redis; also when it is used first and turns out not to be async.

    What cannot be encoded raises `EncodeError`, and is not published; what coredis raises, passes.
    """

    __slots__ = ()
    _written = "Emitter(client) inside of `async with coredis.Redis.from_url(URL) as client`"

    def __init__(self, redis: Publisher, *, key: str = DEFAULT_KEY, max_bytes: int = payload.MAX_BYTES) -> None:
        super().__init__(redis, key=key, max_bytes=max_bytes)

    async def emit(self, event: str, *args: object) -> None:
        """Emit to everybody addressed.

        Raises:
          EncodeError: if the name is reserved or an argument cannot be encoded.
        """
        await self._publish(self._event(event, args))

    async def send(self, *args: object) -> None:
        """Emit the event ``message`` (Node: ``send``)."""
        await self.emit("message", *args)

    async def sockets_join(self, *rooms: str) -> None:
        """Let the sockets addressed join ``rooms``."""
        await self._publish(self._rooms(Join, rooms, "sockets_join"))

    async def sockets_leave(self, *rooms: str) -> None:
        """Let the sockets addressed leave ``rooms``."""
        await self._publish(self._rooms(Leave, rooms, "sockets_leave"))

    async def disconnect_sockets(self, close: bool = False) -> None:  # as in Node
        """Disconnect the sockets addressed from this namespace; with ``close`` from everything."""
        await self._publish(self._disconnect(close))

    async def server_side_emit(self, event: str, *args: object) -> None:
        """Emit to all servers, whoever is addressed; nobody can answer.

        Raises:
          EncodeError: as `emit`.
        """
        await self._publish(self._server_side_event(event, args))

    async def _publish(self, message: _Message) -> None:
        published = self._redis.publish(message.channel, message.payload)
        if not inspect.isawaitable(published):
            self._refuse("has been published, but the client is not async", "SyncEmitter")
        await published


class SyncEmitter(_Operator):
    """Emits to clients of a cluster, from a program that is not on Trio; everything else as of `Emitter`.

    Args:
      redis: What has a ``publish(channel, bytes)``, such as a ``redis.Redis``.
      key: What the servers have as theirs.
      max_bytes: How large a message may be.

    Raises:
      TypeError: if ``redis`` is no client of Redis; also when it is used first and turns out to be async.
    """

    __slots__ = ()
    _written = "SyncEmitter(redis.Redis.from_url(URL))"

    def __init__(self, redis: SyncPublisher, *, key: str = DEFAULT_KEY, max_bytes: int = payload.MAX_BYTES) -> None:
        super().__init__(redis, key=key, max_bytes=max_bytes)

    def emit(self, event: str, *args: object) -> None:
        """See `Emitter.emit`."""
        self._publish(self._event(event, args))

    def send(self, *args: object) -> None:
        """See `Emitter.send`."""
        self.emit("message", *args)

    def sockets_join(self, *rooms: str) -> None:
        """See `Emitter.sockets_join`."""
        self._publish(self._rooms(Join, rooms, "sockets_join"))

    def sockets_leave(self, *rooms: str) -> None:
        """See `Emitter.sockets_leave`."""
        self._publish(self._rooms(Leave, rooms, "sockets_leave"))

    def disconnect_sockets(self, close: bool = False) -> None:  # as in Node
        """See `Emitter.disconnect_sockets`."""
        self._publish(self._disconnect(close))

    def server_side_emit(self, event: str, *args: object) -> None:
        """See `Emitter.server_side_emit`."""
        self._publish(self._server_side_event(event, args))

    def _publish(self, message: _Message) -> None:
        published = self._redis.publish(message.channel, message.payload)
        if inspect.isawaitable(published):
            if inspect.iscoroutine(published):
                published.close()
            self._refuse("has not been published, as the client is async", "Emitter, and await it,")
