"""A line per packet, at DEBUG: its kind, its namespace, its event and its size. What else it says may be secret, and is left out."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import Final

from ..log import get_logger
from ..protocol.frames import EncodedPacket

__all__ = ["are_logged", "log_received", "log_sent"]

logger = get_logger("trio_sio.packets")

_LONGEST: Final = 200  # bytes of a packet that are shown, at most
_BINARY: Final = "a binary message"
_TYPE: Final = re.compile(rb"[0-6]")
_HEAD: Final = re.compile(
    rb"4[25](?:\d+-)?(?:/[^,\[]*,)?\d*\[\"(?:[^\"\\]|\\.)*\""  # an event, with its name
    rb"|4[0-6](?:\d+-)?(?:/[^,\[{]*,?)?\d*"  # another Socket.IO packet
    rb"|[0-6]"  # another Engine.IO packet
)


def are_logged() -> bool:
    """Tell whether anybody wants these lines; there may be very many packets."""
    return logger.logger.isEnabledFor(logging.DEBUG)


def log_received(sid: str, payload: bytes, *, is_socketio: bool, binary: bool = False) -> None:
    """Log that a packet has come.

    Args:
      sid: Of the session.
      payload: The packet, with the digit of its type; or, if it is ``binary``, a message.
      is_socketio: Whether messages are Socket.IO packets; otherwise all of them is the application's.
    """
    logger.debug("Connection %s… received %s (%d B)", sid[:6], _BINARY if binary else _head(payload, is_socketio), len(payload))


def log_sent(sid: str, packets: Iterable[EncodedPacket], *, is_socketio: bool) -> None:
    """Log that ``packets`` leave, attachments included; see `log_received`."""
    for packet in packets:
        what = _BINARY if packet.text is None else _head(packet.text, is_socketio)
        logger.debug("Connection %s… sends %s (%d B)", sid[:6], what, packet.size)


def _head(payload: bytes, is_socketio: bool) -> str:
    match = (_HEAD if is_socketio else _TYPE).match(payload, 0, _LONGEST)
    head = match[0] if match else b""
    return repr(head.decode("utf-8", "replace") + ("…" if len(head) < len(payload) else ""))
