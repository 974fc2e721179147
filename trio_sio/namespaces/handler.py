"""What is done with one socket: what whoever handles events, which is routing, gives the namespaces."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..protocol.socketio import Packet

__all__ = ["SocketHandler"]


class SocketHandler(Protocol):
    """What is done with one socket; `NamespaceHandler.open` makes it, and it is forgotten when the socket is over."""

    async def connect(self, join: Callable[[], None]) -> None:
        """Decide about a client that wants to connect.

        Calling ``join()`` is the decision: it registers the socket and sends CONNECT. Raising before that refuses the
        client, and so does returning without it. What runs after it is the connection hook.
        """

    def handles(self, event: str) -> bool:
        """Tell whether there is a handler for ``event``."""

    def receive(self, packet: Packet) -> Awaitable[object]:
        """Handle one event. One at a time, in the order of arrival. A plain function may return the coroutine of another."""

    async def disconnect(self, reason: str) -> None:
        """Handle the end of a socket that had joined: once, within `cleanup_timeout`."""
