"""The figures that a server counts anyway (`Statistics`), as Prometheus wants them: looked up when somebody asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from ..health import Ready
    from ..statistics import Statistics

__all__ = ["PREFIX", "Figures"]

PREFIX: Final = "trio_sio_"

_GAUGES: Final = {
    "uptime": ("uptime_seconds", "Since the server was entered."),
    "unconnected_sessions": ("unconnected_sessions", "Sessions that have joined no namespace yet, and handshakes that wait."),
    "waiting_packets": ("waiting_packets", "Packets that wait until clients take them."),
    "waiting_bytes": ("waiting_bytes", "How many bytes these have."),
    "running_handlers": ("running_handlers", "Sockets with a handler, or a connection hook, that runs."),
    "socket_tasks": ("socket_tasks", "Concurrent handlers that run, and what sockets have started."),
    "handler_seconds_max": ("handler_seconds_max", "For how long the one of the running handlers has run that has run the longest."),
}
_COUNTERS: Final = {
    "handshakes": ("handshakes", "Sessions that were opened."),
    "displaced_sessions": ("displaced_sessions", "Sessions that ended as the oldest of too many unconnected ones."),
    "crossed_packets": ("crossed_packets", "Packets of clients that crossed a DISCONNECT of ours."),
}
_LABELLED: Final = {
    "closed": ("sessions_closed", "Sessions that ended.", "reason"),
    "refusals": ("refusals", "Requests that were refused, by Engine.IO's code.", "code"),
    "turned_away": ("turned_away", "Handshakes that were told to come back later, by HTTP status.", "status"),
}
_BUS: Final = {
    "lost": ("bus_lost", "Messages of a cluster that may be lost.", "what"),
    "bad_messages": ("bus_bad_messages", "Messages of others that were dropped.", "what"),
}


class Figures(Collector):
    """Collects what a server tells in `Server.statistics`.

    Args:
      statistics: Returns it; ``None`` where there is nothing to tell yet.
      ready: Tells whether it takes new clients.
      namespace: Returns what a namespace is called.
    """

    def __init__(self, statistics: Callable[[], Statistics | None], ready: Callable[[], Ready], namespace: Callable[[str], str]) -> None:
        self._statistics = statistics
        self._ready = ready
        self._namespace = namespace

    def collect(self) -> Iterator[Metric]:
        """See `prometheus_client.registry.Collector`."""
        statistics = self._statistics()
        if statistics is None:
            return
        yield GaugeMetricFamily(f"{PREFIX}ready", "1 if new clients may come, else 0.", value=self._ready().ready)
        for field, (name, documentation) in _GAUGES.items():
            yield GaugeMetricFamily(PREFIX + name, documentation, value=getattr(statistics, field))
        for field, (name, documentation) in _COUNTERS.items():
            yield CounterMetricFamily(PREFIX + name, documentation, value=getattr(statistics, field))
        sockets: Counter[str] = Counter()
        for namespace, count in statistics.sockets.items():
            sockets[self._namespace(namespace)] += count
        yield _labelled(GaugeMetricFamily, "sessions", "Sessions that are there.", "transport", statistics.sessions)
        yield _labelled(GaugeMetricFamily, "sockets", "Connected sockets.", "namespace", sockets)
        for field, terms in _LABELLED.items():
            yield _labelled(CounterMetricFamily, *terms, getattr(statistics, field))
        if statistics.bus is not None:
            gaps = "How often something may not have reached the other servers, or not come from there."
            yield CounterMetricFamily(f"{PREFIX}bus_gaps", gaps, value=statistics.bus.gaps)
            for field, terms in _BUS.items():
                yield _labelled(CounterMetricFamily, *terms, getattr(statistics.bus, field))


def _labelled(
    family: type[GaugeMetricFamily | CounterMetricFamily], name: str, documentation: str, label: str, values: Mapping[Any, float]
) -> Metric:
    metric = family(PREFIX + name, documentation, labels=[label])
    for value, number in values.items():
        metric.add_metric([str(value)], number)
    return metric
