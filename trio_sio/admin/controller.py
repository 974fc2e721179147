"""What is at the admin namespace: one of these for each page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ..log import get_logger
from ..namespaces.socket import Socket
from ..routing.markers import on_connection, on_message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .commands import Commands

__all__ = ["Desk", "Page"]

logger = get_logger("trio_sio.admin")


class Desk(Protocol):
    """What all pages of a server share.

    Attributes:
      commands: What they may ask for.
      features: What they are told of that.
    """

    commands: Commands
    features: Sequence[str]

    async def sockets(self, is_wanted: Callable[[], bool]) -> list[Any] | None:
        """Return every socket, as pages are shown it; ``None``: they are shown none.

        Args:
          is_wanted: Tells whether the page is still there.
        """


class Page:
    """One page.

    Args:
      desk: What all pages share.
      socket: Its socket.
    """

    def __init__(self, desk: Desk, socket: Socket) -> None:
        self._desk = desk
        self._socket = socket

    @on_connection
    async def joined(self) -> None:
        """Say what it can do here, and who is here."""
        await self._socket.emit("config", {"supportedFeatures": list(self._desk.features)})
        if (sockets := await self._desk.sockets(lambda: self._socket.connected)) is not None:
            await self._socket.emit("all_sockets", sockets)

    @on_message("emit")
    async def emit(self, nsp: str, room: str | None, event: str, *args: Any) -> None:
        """See `Commands.emit`."""
        await self._desk.commands.emit(self._socket, nsp, room, event, args)

    @on_message("join")
    async def join(self, nsp: str, room: str, whom: str | None = None) -> None:
        """See `Commands.join`."""
        await self._desk.commands.join(self._socket, nsp, room, whom)

    @on_message("leave")
    async def leave(self, nsp: str, room: str, whom: str | None = None) -> None:
        """See `Commands.leave`."""
        await self._desk.commands.leave(self._socket, nsp, room, whom)

    @on_message("_disconnect")
    async def disconnect(self, nsp: str, close: bool = False, whom: str | None = None) -> None:
        """See `Commands.disconnect`."""
        await self._desk.commands.disconnect(self._socket, nsp, close, whom)
