"""Measure what clients cost that only answer pings, on trio_sio and on Node's socket.io, side by side; print a table.

One server at a time runs on one core, the load generator on another. Pings come often, so that a run is short. Both processes
have a file open for each client, so 20,000 is the most that is asked of them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from harness import HERE, ROOT, Row, build_generator, interleave, measure_heartbeats, raise_file_limit, running

CLIENTS: Final = 10_000
MOST_CLIENTS: Final = 20_000
PING_INTERVAL: Final = 4.0  # seconds
INTERVALS: Final = 3

KB: Final = "KB per client"
CPU: Final = "µs of CPU per heartbeat"
HEARTBEATS: Final = "heartbeats/s"

PEERS: Final[Mapping[str, Callable[[int], list[str]]]] = {
    "trio_sio": lambda port: [sys.executable, str(HERE / "trio_sio_server.py"), str(port), str(PING_INTERVAL)],
    "Node": lambda port: ["node", str(HERE / "peers/node_server.js"), str(port), str(PING_INTERVAL)],
}


def measure(clients: int, command: Callable[[int], list[str]]) -> Row:
    """Measure one server once; its clients must be pinged every `PING_INTERVAL`."""
    with running(command) as (pid, port):
        kb, cpu, heartbeats = measure_heartbeats(pid, port, clients, INTERVALS, PING_INTERVAL)
    return {KB: kb, CPU: cpu, HEARTBEATS: heartbeats}


def measure_idle_clients(clients: int = CLIENTS, rounds: int = 5) -> dict[str, Row]:
    """Measure every server whose packages are here; return the medians of ``rounds`` interleaved rounds."""
    peers = dict(PEERS)
    if not (ROOT / "node_modules/socket.io").exists():
        print("Node is left out: node_modules/socket.io is missing; run it through `make bench-idle`.", file=sys.stderr)
        del peers["Node"]
    return interleave(peers, rounds, partial(measure, clients))


def print_table(medians: Mapping[str, Row]) -> None:
    """Print a line per server, in Markdown."""
    columns = list(next(iter(medians.values())))
    print(f"| {' | '.join(['server', *columns])} |")
    print("|---" * (len(columns) + 1) + "|")
    for name, row in medians.items():
        print(f"| {' | '.join([name, *(f'{row[column]:,.1f}' if column == KB else f'{row[column]:,.0f}' for column in columns)])} |")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=CLIENTS, help=f"how many, up to {MOST_CLIENTS}")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if not 0 < arguments.clients <= MOST_CLIENTS:
        parser.error(f"--clients must be between 1 and {MOST_CLIENTS}")
    raise_file_limit()
    build_generator()
    print_table(measure_idle_clients(arguments.clients, arguments.rounds))


if __name__ == "__main__":
    main()
