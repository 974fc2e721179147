"""Namespaces: who is connected to one, and which of them exist."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import TYPE_CHECKING, Protocol
from weakref import WeakValueDictionary

from ..errors import ConfigurationError
from ..log import get_logger
from ..protocol.parsers import PARSERS
from .adapter import InMemoryAdapter
from .broadcast import BroadcastOperator, NamespaceBroadcaster

if TYPE_CHECKING:
    from ..config import Config
    from ..protocol.socketio import Packet
    from .adapter import Adapter
    from .session import SocketSession
    from .socket import Socket

__all__ = ["Namespace", "NamespaceHandler", "Namespaces"]

logger = get_logger("trio_sio.namespaces")


class NamespaceHandler(Protocol):
    """What a namespace does with its sockets; routing makes these out of controllers."""

    async def connect(self, socket: Socket, join: Callable[[], None]) -> None:
        """Decide about a client that wants to connect.

        Calling ``join()`` is the decision: it registers the socket and sends CONNECT. Raising before that refuses the
        client, and so does returning without it. What runs after it is the connection hook.
        """

    async def receive(self, socket: Socket, packet: Packet) -> None:
        """Handle one event. One at a time per socket, in the order of arrival."""

    async def disconnect(self, socket: Socket, reason: str) -> None:
        """Handle the end of a socket that had joined: once, within `cleanup_timeout`."""


class Namespace(NamespaceBroadcaster):
    """One namespace (Node: ``Namespace``): the sockets that are connected to it, and the rooms they are in.

    Attributes:
      name: With its leading slash.
      sockets: The connected sockets of this process by id, those still in connection middleware left out.
      adapter: Where the rooms are.
      config: The server's configuration.
      parser: How its packets are written.
      server: The server.
      handler: What its events are for; ``None`` as long as it is not open to clients.
      is_dynamic: Whether it was made for a pattern.
      population: How many sockets are connected to it or about to be.
    """

    __slots__ = (
        "__weakref__",
        "_ack_ids",
        "_expiry_callbacks",
        "adapter",
        "config",
        "handler",
        "is_dynamic",
        "name",
        "parser",
        "population",
        "server",
        "sockets",
    )

    def __init__(self, name: str, server: object, config: Config) -> None:
        self.name = name
        self.server = server
        self.config = config
        self.parser = PARSERS[config.parser]
        self.handler: NamespaceHandler | None = None
        self.is_dynamic = False
        self.population = 0
        self.sockets: dict[str, Socket] = {}
        self._ack_ids = count()
        self._expiry_callbacks: list[Callable[[SocketSession], object]] = []
        self.adapter: Adapter = (config.adapter or InMemoryAdapter)(self)
        if config.connection_state_recovery is not None and self.adapter.recovery is None:
            raise ConfigurationError(
                f"{type(self.adapter).__name__} does not keep sessions for clients that come back: "
                "use another Config.adapter, or leave Config.connection_state_recovery out."
            )

    def __repr__(self) -> str:
        return f"<Namespace {self.name!r} sockets={len(self.sockets)}>"

    def _operator(self) -> BroadcastOperator:
        return BroadcastOperator(self)

    def on_session_expired(self, callback: Callable[[SocketSession], object]) -> None:
        """Call ``callback(session)`` whenever a client that could have been recovered does not come back, or comes too late.

        Its disconnection hooks have run long before; this is where its ``session.id`` and ``session.data`` are of no use
        any more. The callback is not async, runs in a task of the server, and may emit with `emit_nowait`.

        Args:
          callback: Gets the session, with ``id``, ``data`` and ``rooms`` as the socket had them. What it raises is logged.
        """
        self._expiry_callbacks.append(callback)

    def session_expired(self, session: SocketSession) -> None:
        """Call what `on_session_expired` was given."""
        for callback in self._expiry_callbacks:
            try:
                callback(session)
            except Exception:
                logger.exception("A callback for the expiry of session %s in namespace %.80r failed.", session.id, self.name)

    def next_ack_id(self) -> int:
        """Return the id for the next packet that wants an acknowledgement: 0, 1, 2, ... per namespace, as in Node."""
        return next(self._ack_ids)


class Namespaces:
    """All namespaces of a server: those with a fixed name, and those made on demand for a pattern.

    The latter, and those that somebody only asked for with `of`, live as long as a socket or anybody else holds them.

    Args:
      make: Makes a namespace of that name.
      config: The server's configuration.

    Attributes:
      parser: How packets are written, in all of them.
    """

    def __init__(self, make: Callable[[str], Namespace], config: Config) -> None:
        self._make = make
        self._config = config
        self.parser = PARSERS[config.parser]
        self._kept: list[Namespace] | None = []  # what was asked for before the server started, and may yet be opened
        self._fixed: dict[str, Namespace] = {}
        self._others: WeakValueDictionary[str, Namespace] = WeakValueDictionary()
        self._patterns: list[tuple[re.Pattern[str], NamespaceHandler]] = []

    def __iter__(self) -> Iterator[Namespace]:
        return iter({**self._others, **self._fixed}.values())

    def add(self, where: str | re.Pattern[str], handler: NamespaceHandler) -> None:
        """Open ``where`` to clients."""
        if isinstance(where, str):
            namespace = self._fixed[where] = self.of(where)
            namespace.handler = handler
        else:
            self._patterns.append((where, handler))

    def start(self) -> None:
        """Forget the namespaces that nobody has opened, as soon as nobody else holds them."""
        self._kept = None

    def of(self, name: str) -> Namespace:
        """Return the namespace called ``name`` (the leading slash may be left out). This does not open it to clients."""
        name = name if name.startswith("/") else "/" + name
        namespace = self._fixed.get(name) or self._others.get(name)
        if namespace is None:
            namespace = self._others[name] = self._make(name)
            if self._kept is not None:
                self._kept.append(namespace)
        return namespace

    def enter(self, name: str) -> tuple[Namespace, Mapping[str, str]] | None:
        """Return the namespace that a client asks for and the named groups of its pattern, or ``None``.

        A fixed name wins over a pattern, an earlier pattern over a later one; patterns must match the whole name.
        """
        if name in self._fixed:
            return self._fixed[name], {}
        for pattern, handler in self._patterns:
            match = pattern.fullmatch(name)
            if match is None:
                continue
            namespace = self.of(name)
            if not namespace.population and self._populated() >= self._config.limits.dynamic_namespaces:
                return None
            namespace.handler, namespace.is_dynamic = handler, True
            return namespace, match.groupdict("")
        return None

    def _populated(self) -> int:
        return sum(1 for namespace in self._others.values() if namespace.is_dynamic and namespace.population)
