"""A line per packet, at DEBUG: its kind, its namespace, its event and its size. What else it says may be secret, and is left out."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from functools import partial
from typing import Final

from ..log import SID_SHOWN, get_logger
from ..protocol.frames import EncodedPacket

__all__ = ["Traffic", "is_logged"]

logger = get_logger("trio_sio.packets")

is_logged: Final = partial(logger.logger.isEnabledFor, logging.DEBUG)
"""Tells whether anybody wants these lines; ask before each, as there may be very many packets."""

_LONGEST: Final = 200  # bytes of a packet that are shown, at most
_BINARY: Final = "a binary message"
_TYPE: Final = re.compile(rb"[0-6]")
_HEAD: Final = re.compile(
    rb"4[25](?:\d+-)?(?:/[^,\[]*,)?\d*\[\"(?:[^\"\\]|\\.)*\""  # an event, with its name
    rb"|4[0-6](?:\d+-)?(?:/[^,\[{]*,?)?\d*"  # another Socket.IO packet
    rb"|[0-6]"  # another Engine.IO packet
)


class Traffic:
    """Writes these lines for one server.

    Args:
      is_socketio: Whether messages are Socket.IO packets; otherwise all of them is the application's.
    """

    __slots__ = ("_head",)

    def __init__(self, *, is_socketio: bool) -> None:
        self._head = _HEAD if is_socketio else _TYPE

    def received(self, sid: str, payload: bytes, *, binary: bool = False) -> None:
        """Log that a packet has come.

        Args:
          sid: Of the session.
          payload: The packet, with the digit of its type; or, if it is ``binary``, a message.
          binary: Whether it is.
        """
        logger.debug("Connection %s… received %s (%d B)", sid[:SID_SHOWN], _BINARY if binary else self._shown(payload), len(payload))

    def sent(self, sid: str, packets: Iterable[EncodedPacket]) -> None:
        """Log that ``packets`` of the session ``sid`` leave, attachments included."""
        for packet in packets:
            what = _BINARY if packet.text is None else self._shown(packet.text)
            logger.debug("Connection %s… sends %s (%d B)", sid[:SID_SHOWN], what, packet.size)

    def _shown(self, payload: bytes) -> str:
        match = self._head.match(payload, 0, _LONGEST)
        head = match[0] if match else b""
        return repr(head.decode("utf-8", "replace") + ("…" if len(head) < len(payload) else ""))
