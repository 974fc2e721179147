"""What a server tells operators: figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from .engine.engine import Engine
    from .namespaces.namespace import Namespace

__all__ = ["Statistics", "measure"]


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


def measure(engine: Engine, namespaces: Iterable[Namespace], uptime: float) -> Statistics:
    """Return the figures of a server.

    All but the counters are summed up here and now, so that they cost those nothing who do not ask.

    Args:
      engine: Its engine.
      namespaces: Its namespaces.
      uptime: Seconds since it was entered.
    """
    counters = engine.counters
    sessions: Counter[str] = Counter(polling=0, upgrading=0, websocket=0)
    packets = octets = 0
    dropped = counters.dropped_packets
    for connection in engine.connections:
        sessions[connection.transport_state.value] += 1
        outbox = connection.outbox
        packets += len(outbox)
        octets += outbox.bytes
        dropped += outbox.dropped
    sockets = {}
    tasks = 0
    since = []
    for namespace in namespaces:
        if namespace.connected:
            sockets[namespace.name] = len(namespace.connected)
        for socket in namespace.connected.values():
            tasks += socket.task_count
            if socket.handling_since is not None:
                since.append(socket.handling_since)
    return Statistics(
        uptime=uptime,
        handshakes=counters.handshakes,
        sessions=dict(sessions),
        unconnected_sessions=engine.unconnected_count,
        displaced_sessions=engine.sessions.newcomers.displaced,
        sockets=sockets,
        closed={str(reason): count for reason, count in counters.closed.items()},
        refusals=dict(counters.refusals),
        turned_away=dict(counters.turned_away),
        waiting_packets=packets,
        waiting_bytes=octets,
        dropped_packets=dropped,
        crossed_packets=counters.crossed_packets,
        running_handlers=len(since),
        socket_tasks=tasks,
        handler_seconds_max=trio.current_time() - min(since) if since else 0.0,
    )
