"""How a socket is described to other servers, which then have a `RemoteSocket`: with the names of Node's fields.

All of the handshake travels, cookies and whatever else the client's headers say among it, as in Node.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import msgspec

from ..errors import DecodeError, EncodeError
from ..log import get_logger
from ..protocol import json
from ..protocol.http import Headers
from .handshake import Handshake
from .remote import RemoteSocket

if TYPE_CHECKING:
    from .namespace import Namespace
    from .socket import Socket

__all__ = ["Describer", "remote_socket"]

logger = get_logger("trio_sio.namespaces")

REMEMBERED: Final = 100  # keys of data that were warned of


class WireHandshake(msgspec.Struct, frozen=True):
    """``handshake``, as far as it is read."""

    headers: dict[str, str | list[str]] = {}
    address: str | None = None
    secure: bool = False
    issued: float = 0
    query: dict[str, Any] = {}
    auth: dict[str, Any] = {}


class WireSocket(msgspec.Struct, frozen=True):
    """A socket, as Node's adapters describe it."""

    id: str
    handshake: WireHandshake
    rooms: list[str]
    data: dict[str, Any] | None = None


class Describer:
    """Describes the sockets of one namespace.

    Of `Socket.data` only what is plain data is told: what JSON can say. Each other key is left out, with one line in the log.
    """

    def __init__(self) -> None:
        self._warned: set[str] = set()

    def describe(self, sockets: Iterable[Socket]) -> list[dict[str, Any]]:
        """Return the descriptions of ``sockets``."""
        return [self._describe(socket) for socket in sockets]

    def _describe(self, socket: Socket) -> dict[str, Any]:
        handshake = socket.handshake
        issued = datetime.fromtimestamp(handshake.issued, UTC)
        return {
            "id": socket.id,
            "handshake": {
                "headers": dict(handshake.headers),
                "time": format_datetime(issued),
                "address": handshake.address,
                "xdomain": "origin" in handshake.headers,
                "secure": handshake.secure,
                "issued": int(handshake.issued * 1000),
                "url": f"{socket.namespace.config.path}?{urlencode(handshake.query)}",
                "query": dict(handshake.query),
                "auth": handshake.auth,
            },
            "rooms": sorted(socket.rooms),
            "data": self._plain(socket.data),
        }

    def _plain(self, data: Mapping[Any, Any]) -> dict[str, Any]:
        plain = {}
        for key, value in data.items():
            try:
                text, attachments = json.dumps({key: value})
            except EncodeError:
                self._warn(key)
                continue
            if attachments:
                self._warn(key)
            else:
                # A copy: whatever becomes of the value until it is sent.
                plain.update(json.loads(text))
        return plain

    def _warn(self, key: object) -> None:
        name = f"{key!r:.80}"
        if name not in self._warned and len(self._warned) < REMEMBERED:
            self._warned.add(name)
            logger.warning("socket.data[%s] is no plain data, so other servers do not learn it with fetch_sockets().", name)


def remote_socket(namespace: Namespace, description: object) -> RemoteSocket:
    """Return the socket of another server that ``description`` is of.

    Raises:
      DecodeError: if it is none.
    """
    try:
        wire = msgspec.convert(description, WireSocket)
    except (msgspec.ValidationError, RecursionError) as error:
        raise DecodeError(f"this describes no socket: {error}") from None
    return RemoteSocket(namespace, wire.id, _handshake(wire.handshake), frozenset(wire.rooms), wire.data or {})


def _handshake(wire: WireHandshake) -> Handshake:
    fields = [
        (name.encode("latin-1", "replace"), value.encode("latin-1", "replace"))
        for name, values in wire.headers.items()
        for value in ([values] if isinstance(values, str) else values)
    ]
    query = {name: value if isinstance(value, str) else str(value) for name, value in wire.query.items()}
    return Handshake(wire.auth, Headers(fields), query, wire.address, wire.secure, None, wire.issued / 1000)
