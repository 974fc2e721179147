"""What a server tells operators: figures."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["BusStatistics", "Statistics", "add_up"]

_MOST_COUNTS: Final = {
    "uptime",
    "handler_seconds_max",
    "round_trip_median",
    "round_trip_max",
    "outbox_seconds_median",
    "outbox_seconds_max",
    "loop_lag",
    "loop_lag_max",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class BusStatistics:
    """The figures of what connects a server with others, all since the start.

    Attributes:
      gaps: How often something may not have reached the other servers, or not come from there; see `Cluster.on_gap`.
      lost: How many messages that were, as far as that is known, by what happened to them. With Redis: ``full`` and ``stale``
        never left, ``refused`` and ``unanswered`` may not have got there, ``oversized`` came; ``interrupted`` is how often the
        connection was away, and nobody knows what was missed.
      bad_messages: Messages of others that were dropped, by what was wrong with them: ``size``, ``format``, ``schema``,
        ``pickle``, ``unknown`` kinds, ``undeliverable`` ones, and what ``failed`` here.
    """

    gaps: int
    lost: Mapping[str, int]
    bad_messages: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistics:
    """The figures of a server, at one moment; those "since the start" only grow.

    Attributes:
      uptime: Seconds since it was entered.
      handshakes: Sessions that were opened since the start.
      sessions: Sessions that are there, by transport: ``polling``, ``upgrading``, ``websocket``.
      unconnected_sessions: Those of them that have joined no namespace yet, and handshakes that wait for `Config.allow_request`.
      displaced_sessions: How many of these were ended since the start, as the oldest of more than `Limits.unconnected_sessions`.
      sockets: Connected sockets, by namespace; namespaces without one are left out.
      closed: Sessions that ended since the start, by `DisconnectReason`: ``"slow consumer"``, ``"ping timeout"`` and so on.
      refusals: Requests that were refused since the start, by Engine.IO's code; see `ConnectionRejected`.
      turned_away: Handshakes that were told to come back later since the start, by status: 429 for an address that takes more
        than its share, 503 for a server that is full or stops.
      waiting_packets: Packets that wait until clients take them.
      waiting_bytes: How many bytes these have.
      dropped_packets: Packets that were not sent since the start: volatile ones, those that ``slow_consumer="drop"`` costs, and
        those to clients that had gone, as long as their session was not quite over.
      crossed_packets: Packets of clients since the start that crossed a DISCONNECT of ours, and so were for nobody.
      running_handlers: Sockets with a handler, or a connection hook, that runs right now; handlers marked ``concurrent`` count
        only as long as they wait for their turn.
      socket_tasks: Handlers marked ``concurrent`` that run, and what was started with `Socket.start_soon`.
      handler_seconds_max: For how long the one of `running_handlers` has run that has run the longest; 0 if there is none.
      round_trip_median, round_trip_max: Seconds from a ping, which waits for its turn, to its pong: the latest of each session.
      outbox_seconds_median, outbox_seconds_max: Seconds that a packet waits until it is given to the wire: the latest ping of
        each session.
      loop_lag, loop_lag_max: Seconds by which what was due was late, as the event loop had other things to do: the last time
        that something was due, as heartbeats are, and the worst of the last half minute or so.
      bus: What connects it with other servers; ``None``: nothing does.
    """

    uptime: float
    handshakes: int
    sessions: Mapping[str, int]
    unconnected_sessions: int
    displaced_sessions: int
    sockets: Mapping[str, int]
    closed: Mapping[str, int]
    refusals: Mapping[int, int]
    turned_away: Mapping[int, int]
    waiting_packets: int
    waiting_bytes: int
    dropped_packets: int
    crossed_packets: int
    running_handlers: int
    socket_tasks: int
    handler_seconds_max: float
    round_trip_median: float = 0.0
    round_trip_max: float = 0.0
    outbox_seconds_median: float = 0.0
    outbox_seconds_max: float = 0.0
    loop_lag: float = 0.0
    loop_lag_max: float = 0.0
    bus: BusStatistics | None = None


def add_up(parts: Sequence[Statistics]) -> Statistics:
    """Return the figures of several servers as those of one; of seconds the most."""
    return Statistics(**_total(Statistics, parts))


def _total(kind: type[Statistics | BusStatistics], parts: Sequence[Any]) -> dict[str, Any]:
    total: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        values = [value for part in parts if (value := getattr(part, field.name)) is not None]
        if field.name in _MOST_COUNTS:
            total[field.name] = max(values, default=0.0)
        elif field.name == "bus":
            total[field.name] = BusStatistics(**_total(BusStatistics, values)) if values else None
        elif str(field.type).startswith("Mapping"):
            counts: Counter[Any] = Counter()
            for value in values:
                counts.update(value)
            total[field.name] = dict(counts)
        else:
            total[field.name] = sum(values)
    return total
