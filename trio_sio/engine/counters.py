"""What has happened since the start, as far as nobody can count it afterwards."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..errors import DisconnectReason

__all__ = ["Counters"]


class Counters:
    """Counters of one engine, which only grow; nothing here is touched for a packet that goes its way.

    Attributes:
      handshakes: Sessions that were opened.
      refusals: Requests that were refused, by Engine.IO's code; see `ConnectionRejected`.
      turned_away: Handshakes that were told to come back later, by status: 429, 503.
      closed: Sessions that are over, by reason.
      dropped_packets: Packets for them that were dropped.
      crossed_packets: Packets of clients that crossed a DISCONNECT of ours.
    """

    __slots__ = ("closed", "crossed_packets", "dropped_packets", "handshakes", "refusals", "turned_away")

    def __init__(self) -> None:
        self.handshakes = 0
        self.refusals: Counter[int] = Counter()
        self.turned_away: Counter[int] = Counter()
        self.closed: Counter[DisconnectReason] = Counter()
        self.dropped_packets = 0
        self.crossed_packets = 0
