"""What a page gets when it comes: every socket of every server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from ..errors import BusUnavailable
from ..log import get_logger
from ..namespaces.answers import AckTimeout
from .cutting import SHARE
from .messages import SocketShown, show_socket
from .survey import Fitting, Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..namespaces.namespace import Namespace
    from .administered import Administered
    from .watch import Watch

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
      watch: Knows those of this server.
    """

    def __init__(self, server: Administered, namespace: Namespace, watch: Watch) -> None:
        self._server = server
        self._namespace = namespace
        self._watch = watch
        namespace.on_server_side_emit(_SOCKETS)(self._own)

    async def find(self, is_wanted: Callable[[], bool]) -> list[Any]:
        """Return what a page is shown, as far as that is to be had within a few seconds.

        Args:
          is_wanted: Tells whether the page is still there.
        """
        others, turn = self._fitting(), Turn()
        for socket in await self._others():
            if others.may_have(socket.id):
                others.put(socket.id, socket)
                await turn.may_end()
        # Those of this server are looked up last, and it is their turn until they are on their way, so that nothing happens to them
        # between here and the page. They come first, as what others say of them is what can be fetched.
        shown = await self._watch.survey(self._fitting(), is_wanted)
        shown.add(others)
        return _told(shown)

    async def _own(self) -> list[Any]:
        with trio.move_on_after(_PATIENCE):  # who asks waits no longer
            return _told(await self._watch.survey(self._fitting(), lambda: True))
        return []

    def _fitting(self) -> Fitting:
        return Fitting(MOST_SOCKETS, self._server.config.limits.outbox_bytes // SHARE)

    async def _others(self) -> list[SocketShown]:
        """Return the sockets of the servers that have an admin page, and then those of the ones that have none, or Node's."""
        try:
            answers = await self._namespace.server_side_emit_with_ack(_SOCKETS, timeout=_PATIENCE)
        except AckTimeout as timeout:
            return await _read(timeout.responses) + await self._fetched()
        return await _read(answers) + ([] if await self._is_all(len(answers) + 1) else await self._fetched())

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
                sockets, turn = await namespace.fetch_sockets(), Turn()
                for socket in sockets:
                    if len(found) > MOST_SOCKETS:
                        return found
                    await turn.may_end()
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


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


async def _read(answers: Iterable[object]) -> list[SocketShown]:
    """Return what other servers have answered, as far as it is that."""
    found: list[SocketShown] = []
    turn = Turn()
    for answer in answers:
        await turn.may_end()
        try:
            found += msgspec.convert(answer, list[SocketShown])[:MOST_SOCKETS]
        except (msgspec.ValidationError, RecursionError) as error:
            logger.warning("Another server told its admin sockets in a form that is none: %.200s", error)
    return found


def _told(shown: Fitting) -> list[Any]:
    sockets = shown.all()
    if shown.is_full:
        logger.info("There are more sockets than an admin page is shown when it comes: %d.", len(sockets))
    return sockets
