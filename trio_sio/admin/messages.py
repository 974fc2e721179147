"""What servers tell an admin page, and what it may ask of them: the protocol of ``@socket.io/admin-ui`` 0.5.1, as values.

Differences to Node's server part: the address of a client is the one that the server has decided on, not what a header says;
``clientId`` is made of the session's id, which is a secret as long as the session lasts, and says nothing about it; the values of
headers that are credentials are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import blake2s
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from ..namespaces.descriptions import describe_handshake, members_of
from .cutting import MOST_SHOWN, cut

if TYPE_CHECKING:
    from ..namespaces.handshake import Handshake

__all__ = ["NAMESPACE", "Mode", "SocketShown", "client_id", "features", "show_socket", "timestamp"]

NAMESPACE: Final = "/admin"

Mode = Literal["development", "production"]
"""``"production"``: figures only; ``"development"``: also every socket, room and event."""

HIDDEN: Final = "(hidden)"
_CREDENTIALS: Final = ("authorization", "cookie", "proxy-authorization")
_COMMANDS: Final = ("EMIT", "JOIN", "LEAVE", "DISCONNECT", "MJOIN", "MLEAVE", "MDISCONNECT")
_CLIENT_ID_OCTETS: Final = 6  # 12 characters, as in Node


class SocketShown(msgspec.Struct, frozen=True, rename="camel"):
    """One socket, as pages know it (Node: ``SerializedSocket``).

    Attributes:
      id: Its public id.
      client_id: What the sockets of one connection have in common.
      transport: ``"polling"`` or ``"websocket"``.
      nsp: Its namespace.
      data: Of `Socket.data` what can be shown.
      handshake: How it connected.
      rooms: Where it is, the one named by its id among them.
    """

    id: str
    client_id: str | None
    transport: str | None
    nsp: str
    data: dict[str, Any]
    handshake: dict[str, Any]
    rooms: list[str]


def features(mode: Mode, *, readonly: bool) -> list[str]:
    """Return what a page can do here (Node: ``supportedFeatures``)."""
    return [*(() if readonly else _COMMANDS), "AGGREGATED_EVENTS", *(("ALL_EVENTS",) if mode == "development" else ())]


def timestamp(seconds: float) -> str:
    """Return ``seconds`` since 1970 as JavaScript writes a ``Date``."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def client_id(sid: str) -> str:
    """Return by what a page knows the connection whose session has the id ``sid``."""
    return blake2s(sid.encode("utf-8", "surrogatepass"), digest_size=_CLIENT_ID_OCTETS).hexdigest()


def show_socket(
    id: str,  # Socket.IO's word
    nsp: str,
    handshake: Handshake,
    rooms: Iterable[str],
    data: object,
    *,
    path: str,
    client: str | None,
    transport: str | None,
) -> SocketShown:
    """Return what a page is shown of a socket.

    Args:
      id: Its id.
      nsp: The name of its namespace.
      handshake: How it connected.
      rooms: Where it is.
      data: Its data.
      path: Where clients connect.
      client: See `client_id`.
      transport: How it is connected now.
    """
    described = describe_handshake(handshake, path)
    headers = {name: HIDDEN if name.lower() in _CREDENTIALS else value for name, value in described["headers"].items()}
    shown = {
        "address": handshake.address or "",
        "headers": cut(headers),
        "query": cut(described["query"]),
        "issued": described["issued"],
        "secure": described["secure"],
        "time": described["time"],
        "url": cut(described["url"], MOST_SHOWN),
        "xdomain": described["xdomain"],
    }
    return SocketShown(id, client, transport, nsp, _show_data(data), shown, _show_rooms(id, rooms))


def _show_data(data: object) -> dict[str, Any]:
    try:
        members = {key: value for key, value in members_of(data) if key != "_admin"}
    except Exception:  # a class of the application's says what it consists of
        members = {"data": f"<{type(data).__name__}>"}
    shown: dict[str, Any] = cut(members)
    return shown


def _show_rooms(id: str, rooms: Iterable[str]) -> list[str]:  # Socket.IO's word
    """Return the rooms whose names fit, in order; the one that each socket has of its own in any case."""
    shown = []
    room_left = MOST_SHOWN
    for room in sorted(rooms):
        if room == id:
            shown.append(room)
        elif len(room) <= room_left:
            room_left -= len(room)
            shown.append(room)
    return shown
