"""What every page gets from every server, every two seconds: how it is."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from socket import gethostname
from typing import TYPE_CHECKING, Any, Final

from ..namespaces.handshake import wall_clock
from ..namespaces.instrument import Instrument
from .cutting import SHARE, size_of
from .messages import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ..namespaces.namespace import Namespace
    from ..namespaces.socket import Socket
    from ..namespaces.target import Target
    from ..statistics import Statistics
    from .administered import Administered

__all__ = ["INTERVAL", "MOST_NAMESPACES", "Figures", "Traffic"]

INTERVAL: Final = 2.0
"""Seconds, as in Node; the page calls a server unhealthy after ten without any."""

MOST_NAMESPACES: Final = 1_000
"""How many namespaces are named, if their names are not too long: those with the most sockets."""

_numbers: Final = itertools.count(1)  # of the servers of this process that have admin pages


class Traffic(Instrument):
    """Counts events of clients and to clients, and their bytes. (Node counts whatever has data, and the pages' own.)"""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def take(self) -> Counter[str]:
        """Return what was counted since the last time."""
        counts, self._counts = self._counts, Counter()
        return counts

    def event_received(self, socket: Socket, event: str, args: Sequence[Any], size: int) -> None:
        """See `Instrument.event_received`."""
        if socket.namespace.name != NAMESPACE:
            self._counts["packetsIn"] += 1
            self._counts["bytesIn"] += size

    def event_emitted(self, socket: Socket, event: str, args: Sequence[object], size: int) -> None:
        """See `Instrument.event_emitted`."""
        self._sent(socket.namespace.name, 1, size)

    def broadcast_emitted(self, namespace: str, event: str, args: Sequence[object], target: Target, count: int, size: int) -> None:
        """See `Instrument.broadcast_emitted`."""
        self._sent(namespace, count, size)

    def _sent(self, namespace: str, count: int, size: int) -> None:
        if namespace != NAMESPACE:
            self._counts["packetsOut"] += count
            self._counts["bytesOut"] += count * size


class Figures:
    """Makes ``server_stats``.

    Args:
      server: The server.
      traffic: What has counted its events.
    """

    def __init__(self, server: Administered, traffic: Traffic) -> None:
        self._server = server
        self._traffic = traffic
        host, process, number = gethostname(), os.getpid(), next(_numbers)
        # Node's is the name of the host, with the process where there are workers; each server needs one of its own.
        self._who = {"serverId": f"{host}#{process}" + (f"-{number}" if number > 1 else ""), "hostname": host, "pid": process}
        self._last: Statistics | None = None

    def take(self) -> dict[str, Any]:
        """Return what has happened since the last time, and how things are."""
        statistics = self._server.statistics()
        sessions = statistics.sessions
        last, self._last = self._last, statistics
        traffic = self._traffic.take()
        return {
            **self._who,
            "uptime": statistics.uptime,
            "clientsCount": sum(sessions.values()),
            "pollingClientsCount": sessions["polling"] + sessions["upgrading"],
            "aggregatedEvents": [] if last is None else list(_events(last, statistics, traffic)),
            "namespaces": _namespaces(self._server.namespaces, self._server.config.limits.outbox_bytes // SHARE),
        }

    def skip(self) -> None:
        """Forget the last time, as nobody looks: what has happened meanwhile is not of one moment."""
        self._last = None


def _events(last: Statistics, now: Statistics, traffic: Counter[str]) -> Iterator[dict[str, Any]]:
    stamp = int(wall_clock()) * 1000
    for kind, count in ({"rawConnection": now.handshakes - last.handshakes} | traffic).items():
        if count:
            yield {"timestamp": stamp, "type": kind, "count": count}
    for reason, count in now.closed.items():
        if more := count - last.closed.get(reason, 0):
            yield {"timestamp": stamp, "type": "rawDisconnection", "subType": reason, "count": more}


def _namespaces(namespaces: Iterable[Namespace], room: int) -> list[dict[str, Any]]:
    """Return all of them, or the fullest of those that fit into ``room`` bytes: clients may have made up their names."""
    shown = [{"name": namespace.name, "socketsCount": len(namespace.connected)} for namespace in namespaces]
    if len(shown) <= MOST_NAMESPACES and size_of(shown) <= room:
        return shown
    shown = sorted(shown, key=_count, reverse=True)[:MOST_NAMESPACES]
    ends = itertools.accumulate(map(size_of, shown))
    return [one for one, end in zip(shown, ends, strict=True) if end <= room]


def _count(shown: Mapping[str, Any]) -> int:
    count: int = shown["socketsCount"]
    return count
