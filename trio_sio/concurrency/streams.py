"""How streams are used, by servers and by clients: so much at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

__all__ = ["DISCARDED_BYTES", "DISCARD_SECONDS", "RECEIVE_SIZE", "SECONDS_PER_TURN", "TURN_BYTES", "pieces"]

RECEIVE_SIZE: Final = 64 * 1024
"""Bytes that are received at a time, at most."""

TURN_BYTES: Final = 256 * 1024
"""Bytes that leave a bounded outbox at a time, at most: what is no longer in it counts for no limit."""

SECONDS_PER_TURN: Final = 0.005
"""For so long one task goes on with what has come, until others get a turn."""

DISCARDED_BYTES: Final = 256 * 1024
DISCARD_SECONDS: Final = 1.0
"""How much, and for how long, is read and thrown away of what nobody wants: who closes over unread bytes resets the
connection, and the peer never sees our last words."""

_PIECE: Final = 16 * 1024


def pieces(data: bytes | memoryview) -> Iterator[memoryview]:
    """Cut what is to be sent into what one write hands to the kernel.

    Progress is seen between writes only, so a piece is what even a slow peer takes within `Config.write_stall_timeout`; it is
    also what Trio lets the kernel hold unsent (TCP_NOTSENT_LOWAT).
    """
    view = memoryview(data)
    for start in range(0, len(view), _PIECE):
        yield view[start : start + _PIECE]
