"""Where the figures of a server come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

import trio

from .statistics import Statistics

if TYPE_CHECKING:
    from .engine.engine import Engine
    from .namespaces.namespace import Namespace
    from .statistics import BusStatistics

__all__ = ["measure"]


def measure(engine: Engine, namespaces: Iterable[Namespace], uptime: float, bus: BusStatistics | None) -> Statistics:
    """Return the figures of a server.

    All but the counters are summed up here and now, so that they cost those nothing who do not ask.

    Args:
      engine: Its engine.
      namespaces: Its namespaces.
      uptime: Seconds since it was entered.
      bus: The figures of its cluster.
    """
    counters = engine.counters
    sessions: Counter[str] = Counter(polling=0, upgrading=0, websocket=0)
    packets = octets = 0
    trips, waited = [], []
    dropped = counters.dropped_packets
    for connection in engine.connections:
        sessions[connection.transport_state.value] += 1
        outbox = connection.outbox
        packets += len(outbox)
        octets += outbox.bytes
        dropped += outbox.dropped
        if connection.heartbeat.round_trip is not None:
            trips.append(connection.heartbeat.round_trip)
        if outbox.waited is not None:
            waited.append(outbox.waited)
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
        round_trip_median=_median(trips),
        round_trip_max=max(trips, default=0.0),
        outbox_seconds_median=_median(waited),
        outbox_seconds_max=max(waited, default=0.0),
        loop_lag=engine.services.timers.lag.latest,
        loop_lag_max=engine.services.timers.lag.most,
        bus=bus,
    )


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 0.0
