"""Measure what must not grow with rooms and clients, on trio_sio and on Node's socket.io; print a table.

That is a delivery in a room, a disconnect, memory and heartbeats of idle clients, and others' echoes while a broadcast runs.

Each point has a process of its own. A client is a file of the server and one of the load generator, of which each may have
20,000, so no point has more than 15,000 clients.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from harness import (
    Clock,
    Load,
    Results,
    build_generator,
    cpu_seconds,
    generating,
    make_parser,
    measure_heartbeats,
    measure_load,
    raise_file_limit,
    read_until,
)
from servers import NODE, OURS, Peer, Settings, choose

NAMES: Final = (OURS, NODE)

ROOMS: Final = "cost per delivery in a room"
DISCONNECTS: Final = "cost of a disconnect"
IDLE: Final = "idle clients"
ECHOES: Final = "echo while broadcasts run"
ECHOES_ALONE: Final = "echo while nothing else runs"

LEAVING: Final = 100
ECHOES_PER_SECOND: Final = 200
IDLE_PING_INTERVAL: Final = 4.0
QUIET: Final = Settings(ping_interval=300)  # seconds: no heartbeat falls into what is measured


class Point(NamedTuple):
    """What is measured with so many clients."""

    kind: str
    clients: int


# Roughly in order of what they tell: time may run out.
POINTS: Final = (
    *(Point(ROOMS, clients) for clients in (10, 100, 1_000, 10_000)),
    *(Point(DISCONNECTS, clients) for clients in (100, 1_000, 10_000)),
    Point(IDLE, 15_000),
    *(Point(kind, 10_000) for kind in (ECHOES_ALONE, ECHOES)),
    *(Point(ECHOES, clients) for clients in (100, 1_000)),
    *(Point(kind, 3_000) for kind in (ROOMS, DISCONNECTS)),
    *(Point(IDLE, clients) for clients in (1_000, 5_000)),
)


@dataclass(frozen=True)
class Growth:
    """How one round measures a point of one server.

    Attributes:
      seconds: How long loads last.
      share: Of the clients there are only so many; for trying it out.
    """

    seconds: float
    share: float = 1

    def measure(self, peer: Peer, point: Point) -> dict[str, float]:
        """Measure one server at one point."""
        clients = max(4, int(point.clients * self.share))
        if point.kind == IDLE:
            interval = max(IDLE_PING_INTERVAL * self.share, 0.3)
            with peer.running(Settings(ping_interval=interval)) as (pid, port):
                return measure_heartbeats(pid, port, clients, 1, interval)._asdict()
        with peer.running(QUIET) as (pid, port):
            if point.kind == DISCONNECTS:
                return self._measure_disconnects(pid, port, clients)
            if point.kind == ROOMS:
                return measure_load(pid, port, Load(point.kind, "room", clients, 4), self.seconds)._asdict()
            broadcasts = int(point.kind == ECHOES)
            options = ("--rate", str(ECHOES_PER_SECOND))
            # A broadcast to 10,000 takes a slow server longer than other loads last.
            seconds = max(2 * self.seconds, 2 * self.share)
            return measure_load(pid, port, Load(point.kind, "mixed", clients, broadcasts, options=options), seconds)._asdict()

    def _measure_disconnects(self, pid: int, port: int, clients: int) -> dict[str, float]:
        """Return what it costs that one of ``clients`` clients goes, of whom each is in ten rooms."""
        leaving = min(LEAVING, clients // 2)
        with generating(port, "leave", clients, leaving, max(self.seconds, 0.3)) as output:
            read_until(output, "measuring")
            before = cpu_seconds(pid)
            read_until(output, "measured")
            used = cpu_seconds(pid) - before
            output.read()
        return {"cpu_us": used * 1e6 / leaving}


def cell(point: Point) -> str:
    """Return what the cell of a point is called."""
    return f"{point.kind}: {point.clients}"


def measure_growth(
    names: Sequence[str] = NAMES, rounds: int = 1, seconds: float = 1, clock: Clock | None = None, share: float = 1
) -> Results:
    """Measure these servers at every point, as far as there is time."""
    missing = Results()
    peers = choose(names, missing)
    growth, clock = Growth(seconds, share), clock or Clock()
    results = Results(peers)
    for _ in range(rounds):
        results.rounds += 1
        for point in POINTS:
            print(f"round {results.rounds} of {rounds}: {cell(point)} clients ...", file=sys.stderr)
            for name, peer in peers.items():
                if not clock.has_time():
                    results.miss(name, cell(point), "There was no time left for it.")
                    continue
                with results.guarding(name, cell(point)):
                    results.add(name, cell(point), growth.measure(peer, point))
    results.missing |= missing.missing
    return results


def table(results: Results) -> str:
    """Return a line for each point, in Markdown."""
    lines = [f"| what: clients | {' | '.join(results.cells)} |", f"|---|{'---|' * len(results.cells)}"]
    for point in sorted(POINTS):
        cells = {name: results.cells[name].get(cell(point), {}) for name in results.cells}
        said = [", ".join(f"{figure} {statistics.median(values):,.1f}" for figure, values in figures.items()) for figures in cells.values()]
        lines.append(f"| {cell(point)} | {' | '.join(said)} |")
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark."""
    arguments = make_parser(__doc__, "server", NAMES, rounds=1).parse_args()
    raise_file_limit()
    build_generator()
    print(table(measure_growth(arguments.names, arguments.rounds, arguments.seconds)))


if __name__ == "__main__":
    main()
