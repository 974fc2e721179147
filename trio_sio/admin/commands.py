"""What an admin page asks for: emit, join, leave, disconnect. All of it comes from a browser, and is checked as such."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ..errors import BadMessage, EncodeError
from ..log import get_logger
from .messages import NAMESPACE

if TYPE_CHECKING:
    from ..namespaces.broadcast import NamespaceBroadcaster
    from ..namespaces.namespace import Namespace
    from ..namespaces.socket import Socket
    from .administered import Administered
    from .counts import Counts

__all__ = ["Commands"]

logger = get_logger("trio_sio.admin")

_LONGEST: Final = 1_024  # characters of a room


class Commands:
    """Carries out what pages ask for, on all servers of the cluster.

    Args:
      server: The server.
      readonly: Whether they may ask for nothing.
      is_alone: Whether there are no other servers, whose namespaces this one may not know.
      counts: Where commands are counted.
    """

    def __init__(self, server: Administered, counts: Counts, *, readonly: bool, is_alone: bool) -> None:
        self._server = server
        self._counts = counts
        self._readonly = readonly
        self._is_alone = is_alone

    async def emit(self, admin: Socket, nsp: str, room: str | None, event: str, args: tuple[object, ...]) -> None:
        """Emit to a room of ``nsp``, or to all of it.

        Raises:
          BadMessage: if that is not possible, as all of these.
        """
        with self._checked():
            if self._namespace(nsp).name == NAMESPACE:
                raise BadMessage("Pages hear what servers tell them, and nothing of each other.")
            await self._addressed(nsp, room).emit(event, *args)
        self._log(admin, f"emitted {event[:80]!r}", nsp, room)

    async def join(self, admin: Socket, nsp: str, room: str, whom: str | None) -> None:
        """Let a socket, or all in a room, or in ``nsp``, join ``room``."""
        with self._checked():
            await self._addressed(nsp, whom).sockets_join(_checked_room(room))
        self._log(admin, f"let join room {room[:80]!r}", nsp, whom)

    async def leave(self, admin: Socket, nsp: str, room: str, whom: str | None) -> None:
        """Let them leave ``room``."""
        with self._checked():
            await self._addressed(nsp, whom).sockets_leave(_checked_room(room))
        self._log(admin, f"let leave room {room[:80]!r}", nsp, whom)

    async def disconnect(self, admin: Socket, nsp: str, close: bool, whom: str | None) -> None:
        """Disconnect them; with ``close`` from everything."""
        with self._checked():
            await self._addressed(nsp, whom).disconnect_sockets(close, reason="an admin page asked for it")
        self._log(admin, "disconnected", nsp, whom)

    def refused(self) -> None:
        """Count a command that was refused."""
        self._counts.refused_commands += 1

    @contextmanager
    def _checked(self) -> Iterator[None]:
        if self._readonly:
            raise BadMessage("This admin page is for reading only.")
        try:
            yield
        except (EncodeError, ValueError) as error:
            raise BadMessage(str(error)) from error
        self._counts.commands += 1

    def _addressed(self, nsp: str, room: str | None) -> NamespaceBroadcaster:
        namespace = self._namespace(nsp)
        return namespace if room is None else namespace.in_(_checked_room(room))

    def _namespace(self, name: str) -> Namespace:
        for namespace in self._server.namespaces:
            if namespace.name == name:
                return namespace
        longest = self._server.config.limits.namespace_length
        if self._is_alone or not name.startswith("/") or len(name) > longest:
            raise BadMessage("There is no such namespace.")
        return self._server.of(name)

    def _log(self, admin: Socket, what: str, nsp: str, whom: str | None) -> None:
        sockets = "all sockets" if whom is None else f"{whom[:80]!r}"
        logger.info("Admin page %s (%s) %s: %s in namespace %.80r.", admin.id, admin.handshake.address, what, sockets, nsp)


def _checked_room(room: str) -> str:
    if not room or len(room) > _LONGEST:
        raise BadMessage("A room has a name of 1 to 1024 characters.")
    return room
