"""What one server has heard of all others at one moment, and what another one has heard beyond that.

An event has the same origin everywhere, a server and a number, and each server has heard the events of each other one up to some
number. So two servers can tell which events of their logs the other has, too, although each has them in an order of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from ..namespaces.adapter import LoggedPacket, PacketLog
    from .moving import Knowledge
    from .peers import Peers

__all__ = ["Incomplete", "has_caught_up", "heard_beyond"]


class Incomplete(Exception):
    """It is not known what the other server has heard, or something that it has not heard is not here any more."""


def has_caught_up(theirs: Knowledge, peers: Peers, own_uid: str, began: float) -> bool:
    """Tell whether everything that they have heard has come here, too; if not it may yet.

    Args:
      theirs: What they had heard.
      peers: What has come here.
      own_uid: What the server here calls itself.
      began: Since when it listens.

    Raises:
      Incomplete: if something has not, and will not.
    """
    is_complete = True
    for uid, number in theirs.heard.items():
        if uid != own_uid:
            is_complete &= _has_come(uid, number, peers)
    for uid, (number, seconds) in theirs.gone.items():
        if peers.span(uid) is not None:
            is_complete &= _has_come(uid, number, peers)
        elif uid == own_uid or trio.current_time() - seconds >= began:
            raise Incomplete(f"Server {uid:.80} has gone, and nothing of it has come here.")
    return is_complete


def _has_come(uid: str, number: int, peers: Peers) -> bool:
    span = peers.span(uid)
    if span is None:
        return False
    if span.first > number + 1:
        raise Incomplete(f"What server {uid:.80} has published behind {number} has not all come here.")
    if span.last < number and span.left is not None:
        raise Incomplete(f"Server {uid:.80} has gone, and not all that it has published has come here.")
    return span.last >= number


def heard_beyond(theirs: Knowledge, sender: str, log: PacketLog, peers: Peers, own_uid: str) -> Sequence[LoggedPacket]:
    """Return the events of ``log`` that they had not heard, in order, where `has_caught_up`.

    Args:
      theirs: What they had heard.
      sender: What they call themselves.
      log: What has come here.
      peers: Of whom.
      own_uid: What the server here calls itself.

    Raises:
      Incomplete: if that is not known, or not all are kept.
    """
    if log.unnumbered > log.gone:
        raise Incomplete("Servers that do not number what they publish, such as Node's, have emitted something.")
    came = peers.span(sender)
    if came is None:
        raise Incomplete("Nothing of it has come here.")
    known: dict[str, float] = {uid: number for uid, (number, _) in theirs.gone.items()}
    known |= theirs.heard
    beyond: dict[str, float] = {}  # those with events that they have not heard, and up to where they have
    for uid, newest in log.newest.items():
        heard = known[uid] if uid in known else _heard_of_unknown(uid, came.came, peers, own_uid)
        if log.newest_gone.get(uid, 0) > heard:
            raise Incomplete(f"Not all that server {uid:.80} has published is kept.")
        if newest > heard:
            beyond[uid] = heard
    events: list[LoggedPacket] = []
    if not beyond:
        return events
    for entry in log.newest_first():
        uid, number = entry.origin or ("", None)
        if number is None or uid not in beyond:
            continue
        if number > beyond[uid]:
            events.append(entry)
        else:
            del beyond[uid]
            if not beyond:
                break
    events.reverse()
    return events


def _heard_of_unknown(uid: str, came: int, peers: Peers, own_uid: str) -> float:
    """Return up to where they have heard ``uid``, of which they do not tell; ``came``: when they came."""
    span = None if uid == own_uid else peers.span(uid)
    if span is not None and span.left is not None and span.left < came:
        return math.inf  # that was before their time
    # One that came here later may have been there earlier: what it has said then was not for whoever is there now.
    raise Incomplete(f"They do not tell what they have heard of server {uid:.80}.")
