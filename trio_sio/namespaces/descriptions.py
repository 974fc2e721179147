"""How a socket is described to other servers, which then have a `RemoteSocket`: with the names of Node's fields.

All of the handshake travels, cookies and whatever else the client's headers say among it, as in Node. Of `Socket.data` only
what is plain data travels: what JSON can say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from ..errors import DecodeError, EncodeError
from ..log import get_logger
from ..protocol import json
from ..protocol.http import Headers
from .handshake import Handshake

__all__ = ["PlainData", "describe_handshake", "members_of", "read_handshake"]

logger = get_logger("trio_sio.namespaces")

REMEMBERED: Final = 100  # keys of data that were warned of


class _Handshake(msgspec.Struct, frozen=True):
    """A handshake, as far as it is read."""

    headers: dict[str, str | list[str]] = {}
    address: str | None = None
    secure: bool = False
    issued: float = 0
    query: dict[str, Any] = {}
    auth: dict[str, Any] | None = None


def describe_handshake(handshake: Handshake, path: str) -> dict[str, Any]:
    """Return what other servers are told of ``handshake``; ``path``: where clients connect."""
    return {
        "headers": dict(handshake.headers),
        "time": format_datetime(datetime.fromtimestamp(handshake.issued, UTC)),
        "address": handshake.address,
        "xdomain": "origin" in handshake.headers,
        "secure": handshake.secure,
        "issued": int(handshake.issued * 1000),
        "url": f"{path.rstrip('/')}/?{urlencode(handshake.query)}",
        "query": dict(handshake.query),
        "auth": handshake.auth,
    }


def read_handshake(description: object) -> Handshake:
    """Return the handshake that another server tells of.

    Raises:
      DecodeError: if it is none.
    """
    try:
        wire = msgspec.convert(description, _Handshake)
    except (msgspec.ValidationError, RecursionError) as error:
        raise DecodeError(f"this describes no handshake: {error}") from None
    fields = [
        (name.encode("latin-1", "replace"), value.encode("latin-1", "replace"))
        for name, values in wire.headers.items()
        for value in ([values] if isinstance(values, str) else values)
    ]
    query = {name: value if isinstance(value, str) else str(value) for name, value in wire.query.items()}
    return Handshake(wire.auth or {}, Headers(fields), query, wire.address, wire.secure, None, wire.issued / 1000)


class PlainData:
    """Copies what is plain of `Socket.data`; whatever else there is costs one line in the log for each key."""

    def __init__(self) -> None:
        self._warned: set[str] = set()

    def of(self, data: object) -> dict[str, Any]:
        """Return a copy of what other servers can be told; of a record its fields, of any other object its attributes."""
        plain: dict[str, Any] = {}
        for key, value in members_of(data):
            try:
                text, attachments = json.dumps({key: value})
            except EncodeError:
                self._warn(key)
                continue
            if attachments:
                self._warn(key)
            else:
                plain.update(json.loads(text))
        return plain

    def _warn(self, key: object) -> None:
        name = f"{key!r:.80}"
        if name not in self._warned and len(self._warned) < REMEMBERED:
            self._warned.add(name)
            logger.warning("socket.data[%s] is no plain data, so other servers do not learn it with fetch_sockets().", name)


def members_of(data: object) -> Iterable[tuple[Any, Any]]:
    """Return what `Socket.data` consists of: the items of a mapping, the fields of a record, the attributes of any other object."""
    if isinstance(data, Mapping):
        return data.items()
    slots = [name for cls in type(data).__mro__ for name in getattr(cls, "__slots__", ()) if name not in ("__dict__", "__weakref__")]
    names = [*getattr(data, "__dict__", ()), *slots]
    return [(name, getattr(data, name)) for name in names if hasattr(data, name)]
