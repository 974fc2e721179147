"""Measure what clients cost that only answer pings, on trio_sio, on Node's socket.io and on Bun's, side by side; print a table.

One server at a time runs on one core, the load generator on another. Pings come often, so that a run is short. Both processes
have a file open for each client, so 20,000 is the most that is asked of them.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import Final

from harness import Clock, Results, build_generator, measure_heartbeats, measure_rounds, raise_file_limit
from servers import BUN, NODE, OURS, Peer, Settings, choose

CLIENTS: Final = 10_000
MOST_CLIENTS: Final = 20_000
PING_INTERVAL: Final = 4.0  # seconds
INTERVALS: Final = 3

NAMES: Final = (OURS, NODE, BUN)

KB: Final = "KB per client"
CPU: Final = "µs of CPU per heartbeat"
HEARTBEATS: Final = "heartbeats/s"
FIGURES: Final = {KB: "kb", CPU: "cpu_us", HEARTBEATS: "per_s"}


def measure_idle_clients(
    names: Sequence[str] = NAMES, clients: int = CLIENTS, rounds: int = 5, clock: Clock | None = None, intervals: int = INTERVALS
) -> Results:
    """Measure every server whose packages are here, in interleaved rounds."""

    def measure(results: Results, name: str, peer: Peer) -> None:
        with results.guarding(name, cell(clients)), peer.running(Settings(ping_interval=PING_INTERVAL)) as (pid, port):
            results.add(name, cell(clients), measure_heartbeats(pid, port, clients, intervals, PING_INTERVAL)._asdict())

    missing = Results()
    peers = choose(names, missing)
    results = measure_rounds(peers, rounds, clock or Clock(), measure)
    results.missing |= missing.missing
    return results


def cell(clients: int) -> str:
    """Return what the cell about so many clients is called."""
    return f"{clients:,} idle clients"


def table(results: Results, clients: int) -> str:
    """Return a line per server, in Markdown."""
    lines = [f"| {' | '.join(['server', *FIGURES])} |", "|---" * (len(FIGURES) + 1) + "|"]
    for name in results.cells:
        figures = {title: results.median(name, cell(clients), figure) for title, figure in FIGURES.items()}
        said = ["-" if value is None else f"{value:,.1f}" if title == KB else f"{value:,.0f}" for title, value in figures.items()]
        lines.append(f"| {' | '.join([name, *said])} |")
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=CLIENTS, help=f"how many, up to {MOST_CLIENTS}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=math.inf, help="no round is begun that would end later")
    arguments = parser.parse_args()
    if not 0 < arguments.clients <= MOST_CLIENTS:
        parser.error(f"--clients must be between 1 and {MOST_CLIENTS}")
    raise_file_limit()
    build_generator()
    results = measure_idle_clients(NAMES, arguments.clients, arguments.rounds, Clock(arguments.minutes * 60))
    print(table(results, arguments.clients))


if __name__ == "__main__":
    main()
