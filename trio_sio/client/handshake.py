"""What a server says about a new session, checked: nothing in it is believed."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import orjson

from ..errors import ConnectFailed
from .target import Target

__all__ = ["Handshake", "parse_open_packet"]

_SID_LENGTH: Final = 255
# pingInterval + pingTimeout: what the official clients can wait for.
_MAX_MILLISECONDS: Final = 2**31 - 1
# Servers of before 2022 do not say how much they take.
_ANY_PAYLOAD: Final = 2**53 - 1


class Handshake(NamedTuple):
    """The open packet of a session.

    Attributes:
      sid: The session's id.
      upgrades: The transports that it may move to.
      ping_interval: Seconds from one ping to the next.
      ping_timeout: For how many seconds more the server's ping may be missing.
      max_payload: The largest message, or POST body, that the server takes, in bytes.
    """

    sid: str
    upgrades: tuple[str, ...]
    ping_interval: float
    ping_timeout: float
    max_payload: int

    @property
    def patience(self) -> float:
        """Seconds after which a server that has not sent a ping is given up."""
        return self.ping_interval + self.ping_timeout


def parse_open_packet(target: Target, packet: str | bytes) -> Handshake:
    """Return what the first packet of a session says.

    Raises:
      ConnectFailed: if it is no open packet, or says what cannot be.
    """

    def refuse(what: str) -> ConnectFailed:
        return ConnectFailed(f"{target.description} is no Socket.IO server that this client can talk to: {what}.")

    if not isinstance(packet, str) or not packet.startswith("0"):
        raise refuse(f"it began with {packet[:100]!r} instead of an open packet")
    try:
        said = orjson.loads(packet[1:])
    except ValueError as error:
        raise refuse(f"its open packet is not JSON: {error}") from error
    if not isinstance(said, dict):
        raise refuse("its open packet is not an object")
    sid, upgrades = said.get("sid"), said.get("upgrades")
    if not isinstance(sid, str) or not 1 <= len(sid) <= _SID_LENGTH or not sid.isprintable():
        raise refuse(f"the session's id must be a string of 1 to {_SID_LENGTH} printable characters")
    if not isinstance(upgrades, list) or not all(isinstance(name, str) for name in upgrades):
        raise refuse("the open packet does not list the upgrades")
    times: list[float] = []
    for name in ("pingInterval", "pingTimeout"):
        value = said.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
            raise refuse(f"{name} is {str(value)[:40]!r}, which is no time in milliseconds")
        times.append(value)
    if sum(times) > _MAX_MILLISECONDS:
        raise refuse(f"its heartbeat of {sum(times):g} milliseconds would never notice a dead connection")
    max_payload = said.get("maxPayload", _ANY_PAYLOAD)
    if type(max_payload) is not int or max_payload < 1:
        raise refuse(f"maxPayload is {str(max_payload)[:40]!r}, so that nothing could be sent")
    return Handshake(sid, tuple(upgrades), times[0] / 1000, times[1] / 1000, max_payload)
