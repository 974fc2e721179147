"""What a page gets when it comes: every socket of every server."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from ..errors import BusUnavailable
from ..log import get_logger
from ..namespaces.answers import AckTimeout
from .cutting import SHARE, size_of
from .messages import SocketShown, show_socket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ..namespaces.namespace import Namespace
    from .administered import Administered

__all__ = ["MOST_SOCKETS", "Everybody"]

logger = get_logger("trio_sio.admin")

MOST_SOCKETS: Final = 2_000
"""How many sockets a page is shown of each server, and in all, when it comes; of others it hears when something happens to them."""

_PATIENCE: Final = 2.0  # seconds that the other servers have to answer
_SOCKETS: Final = "admin:sockets"


class Everybody:
    """Finds the sockets of all servers.

    Args:
      server: The server.
      namespace: The admin namespace.
      sockets: Returns those of this server.
    """

    def __init__(self, server: Administered, namespace: Namespace, sockets: Callable[[], Iterator[SocketShown]]) -> None:
        self._server = server
        self._namespace = namespace
        self._sockets = sockets
        namespace.on_server_side_emit(_SOCKETS)(self._own)

    async def find(self) -> list[Any]:
        """Return what a page is shown, as far as that is to be had within a few seconds."""
        others, fetched = await self._others()
        # Those of this server are looked up last, so that nothing happens to them between here and the page; and what others say of
        # their own is more than what can be fetched.
        # There may be many more than are shown, and each takes its time to look at.
        return self._fitting(_each_once(chain(self._sockets(), others, fetched)))

    def _own(self) -> list[Any]:
        return self._fitting(self._sockets())

    def _fitting(self, sockets: Iterable[SocketShown]) -> list[Any]:
        return _fitting(sockets, self._server.config.limits.outbox_bytes // SHARE)

    async def _others(self) -> tuple[list[SocketShown], list[SocketShown]]:
        """Return the sockets of the servers that have an admin page, and of those that have none, or Node's."""
        try:
            answers = await self._namespace.server_side_emit_with_ack(_SOCKETS, timeout=_PATIENCE)
        except AckTimeout as timeout:
            return _read(timeout.responses), await self._fetched()
        return _read(answers), [] if await self._is_all(len(answers) + 1) else await self._fetched()

    async def _is_all(self, servers: int) -> bool:
        """Tell whether there are no more than so many: those that do not know the admin namespace are not waited for."""
        if (cluster := self._server.cluster) is None:
            return True
        try:
            return servers >= await cluster.server_count()
        except BusUnavailable:
            return True  # and cannot be asked

    async def _fetched(self) -> list[SocketShown]:
        found: list[SocketShown] = []
        with trio.move_on_after(_PATIENCE):
            for namespace in list(self._server.namespaces):
                for socket in await namespace.fetch_sockets():
                    # Where Node keeps what it shows.
                    kept = socket.data.get("_admin") if isinstance(socket.data, dict) else None
                    node = kept if isinstance(kept, dict) else {}
                    found.append(
                        show_socket(
                            socket.id,
                            namespace.name,
                            socket.handshake,
                            socket.rooms,
                            socket.data,
                            path=self._server.config.path,
                            client=_text(node.get("clientId")),
                            transport=_text(node.get("transport")),
                        )
                    )
        return found


def _each_once(sockets: Iterable[SocketShown]) -> Iterator[SocketShown]:
    found = set()
    for socket in sockets:
        if socket.id not in found:
            found.add(socket.id)
            yield socket


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _read(answers: Iterable[object]) -> list[SocketShown]:
    """Return what other servers have answered, as far as it is that."""
    found: list[SocketShown] = []
    for answer in answers:
        try:
            found += msgspec.convert(answer, list[SocketShown])[:MOST_SOCKETS]
        except (msgspec.ValidationError, RecursionError) as error:
            logger.warning("Another server told its admin sockets in a form that is none: %.200s", error)
    return found


def _fitting(sockets: Iterable[SocketShown], room: int) -> list[Any]:
    """Return as many as fit into ``room`` bytes, as JSON."""
    shown: list[Any] = []
    for socket in sockets:
        one = msgspec.to_builtins(socket)
        room -= size_of(one)
        if room < 0 or len(shown) == MOST_SOCKETS:
            logger.info("There are more sockets than an admin page is shown when it comes: %d.", len(shown))
            break
        shown.append(one)
    return shown
