"""Measure trio_sio, Node's socket.io and python-socketio side by side; print a table and the ratios.

One server at a time runs on one core, the load generator on another. Rounds are interleaved, so that a machine that
slows down slows down everybody, and the median of each cell counts.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from harness import (
    HERE,
    ROOT,
    Load,
    Row,
    build_generator,
    interleave,
    measure_idle,
    measure_load,
    parse_arguments,
    raise_file_limit,
    running,
)

IDLE_CLIENTS = 2_000


class Peer(NamedTuple):
    """One server: how to start it, and what has to be there for that."""

    command: Callable[[int], list[str]]
    needs: Sequence[Path]


OURS: Final = "trio_sio"
UVICORN = ROOT / ".venv-bench/bin/uvicorn"
PEERS: Final = {
    OURS: Peer(lambda port: [sys.executable, str(HERE / "trio_sio_server.py"), str(port)], []),
    "Node": Peer(lambda port: ["node", str(HERE / "peers/node_server.js"), str(port)], [ROOT / "node_modules/socket.io"]),
    "python-socketio": Peer(
        lambda port: [
            *(str(UVICORN), "--app-dir", str(HERE / "peers"), "--loop", "uvloop", "--http", "httptools", "--ws", "wsproto"),
            *("--log-level", "error", "--port", str(port), "python_socketio:app"),
        ],
        [UVICORN],
    ),
}
LOADS: Final = (
    Load("echo, 1 in flight", "echo", 50, 1),
    Load("echo, 16 in flight", "echo", 50, 16),
    Load("broadcast, 1 in flight", "broadcast", 500, 1),
    Load("broadcast, 4 in flight", "broadcast", 500, 4),
)
CONNECTS: Final = "connects/s"
MEMORY: Final = "KB/idle client"
COLUMNS: Final = (*(load.title for load in LOADS), CONNECTS, MEMORY)


def measure(seconds: float, peer: Peer) -> Row:
    """Measure one server once, in every column."""
    row: Row = {}
    with running(peer.command) as (pid, port):
        row[CONNECTS], row[MEMORY], _ = measure_idle(pid, port, IDLE_CLIENTS)
    with running(peer.command) as (pid, port):
        for load in LOADS:
            row[load.title] = measure_load(pid, port, load, seconds).per_s
    return row


def print_table(medians: dict[str, Row]) -> None:
    """Print the medians, and how much better than each peer we are: above 1 is better, also for memory."""
    width = max(map(len, (*medians, f"{OURS} : python-socketio")))

    def line(title: str, cells: Iterable[str]) -> None:
        padded = (cell.rjust(len(column)) for cell, column in zip(cells, COLUMNS, strict=True))
        print(f"| {' | '.join([title.ljust(width), *padded])} |")

    line("", COLUMNS)
    line("-" * width, ("-" * len(column) for column in COLUMNS))
    for name, row in medians.items():
        line(name, [f"{row[column]:.1f}" if column == MEMORY else f"{row[column]:,.0f}" for column in COLUMNS])
    if OURS not in medians:
        return
    ours = medians[OURS]
    for name, row in medians.items():
        if name != OURS:
            line(f"{OURS} : {name}", [f"{row[c] / ours[c] if c == MEMORY else ours[c] / row[c]:.2f}" for c in COLUMNS])


def main() -> None:
    """Run the benchmark."""
    arguments = parse_arguments(__doc__, "server", PEERS)
    raise_file_limit()
    build_generator()
    chosen = {}
    for name in arguments.names:
        missing = [str(path.relative_to(ROOT)) for path in PEERS[name].needs if not path.exists()]
        if missing:
            print(f"{name} is left out: {', '.join(missing)} is missing; run it through `make bench-quick`.", file=sys.stderr)
        else:
            chosen[name] = PEERS[name]
    print_table(interleave(chosen, arguments.rounds, partial(measure, arguments.seconds)))


if __name__ == "__main__":
    main()
