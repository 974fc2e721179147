"""Measure trio_sio, Node's socket.io and python-socketio side by side; print a table and the ratios.

One server at a time runs on one core, the load generator on another. Rounds are interleaved, so that a machine that
slows down slows down everybody, and the median of each cell counts.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parent
GENERATOR = HERE / "sioload"

PAYLOAD = 32
IDLE_CLIENTS = 2_000
IDLE_SECONDS = 3
WARM_UP_CLIENTS = 20
START_TIMEOUT = 20
LOAD_TIMEOUT = 120


class Peer(NamedTuple):
    """One server: how to start it, and what has to be there for that."""

    command: Callable[[int], list[str]]
    needs: Sequence[Path]


class Load(NamedTuple):
    """One throughput column."""

    title: str
    mode: str
    clients: int
    window: int


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

Row = dict[str, float]


def build_generator() -> None:
    """Compile sioload.c, where it is newer than what was compiled."""
    source = HERE / "sioload.c"
    if GENERATOR.exists() and GENERATOR.stat().st_mtime > source.stat().st_mtime:
        return
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        sys.exit("The load generator is written in C: install gcc and libc6-dev.")
    subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-o", str(GENERATOR), str(source)], check=True)


def pinned(core: int) -> list[str]:
    """Return the command prefix that keeps a process on one core."""
    return ["taskset", "--cpu-list", str(core)]


def cores() -> tuple[int, int]:
    """Return one core for the server and another one for the load."""
    available = sorted(os.sched_getaffinity(0))
    if len(available) < 2:
        print("Only one core: server and load generator share it, and the figures are worth little.", file=sys.stderr)
    return available[0], available[-1]


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Tell whether somebody accepts connections on ``port``."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def running(peer: Peer, core: int) -> Iterator[tuple[int, int]]:
    """Run a server; give its process id and port once it accepts connections."""
    port = free_port()
    process = subprocess.Popen([*pinned(core), *peer.command(port)], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    try:
        for _ in range(int(START_TIMEOUT / 0.05)):
            if listens(port):
                break
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
                raise RuntimeError(f"{process.args!r} ended with {process.returncode}.")
        else:
            raise RuntimeError(f"{process.args!r} does not listen on port {port}.")
        yield process.pid, port
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def resident_kb(pid: int) -> int:
    """Return the resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError(f"Process {pid} has no resident memory.")


def generator(core: int, port: int, mode: str, clients: int, window: int, seconds: float) -> list[str]:
    """Return the load generator's command line."""
    return [*pinned(core), str(GENERATOR), *map(str, (port, clients, mode, window, seconds, PAYLOAD))]


def measure_load(core: int, port: int, load: Load, seconds: float) -> float:
    """Return acknowledged echoes, or delivered broadcasts, per second."""
    command = generator(core, port, load.mode, load.clients, load.window, seconds)
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=LOAD_TIMEOUT).stdout
    return float(json.loads(output.splitlines()[-1])["per_s"])


def measure_idle(core: int, pid: int, port: int) -> tuple[float, float]:
    """Return connects per second, and the server's memory per idle client in KB."""
    # What the first clients load lazily is not theirs.
    subprocess.run(generator(core, port, "idle", WARM_UP_CLIENTS, 1, 0.2), check=True, stdout=subprocess.DEVNULL, timeout=LOAD_TIMEOUT)
    before = resident_kb(pid)
    command = generator(core, port, "idle", IDLE_CLIENTS, 1, IDLE_SECONDS)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("The load generator could not connect.")
        time.sleep(IDLE_SECONDS / 2)
        after = resident_kb(pid)
        result = json.loads(process.stdout.readline())
    return float(result["connects_per_s"]), (after - before) / IDLE_CLIENTS


def measure(peer: Peer, seconds: float) -> Row:
    """Measure one server once, in every column."""
    server_core, load_core = cores()
    row: Row = {}
    with running(peer, server_core) as (pid, port):
        row[CONNECTS], row[MEMORY] = measure_idle(load_core, pid, port)
    with running(peer, server_core) as (_, port):
        for load in LOADS:
            row[load.title] = measure_load(load_core, port, load, seconds)
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("servers", nargs="*", help=f"which of {', '.join(PEERS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2, help="how long each throughput cell is measured")
    arguments = parser.parse_args()
    if unknown := set(arguments.servers) - set(PEERS):
        parser.error(f"unknown server {', '.join(sorted(unknown))}; choose from {', '.join(PEERS)}")

    build_generator()
    chosen = {}
    for name in arguments.servers or PEERS:
        missing = [str(path.relative_to(ROOT)) for path in PEERS[name].needs if not path.exists()]
        if missing:
            print(f"{name} is left out: {', '.join(missing)} is missing; run it through `make bench-quick`.", file=sys.stderr)
        else:
            chosen[name] = PEERS[name]

    rows: dict[str, list[Row]] = {name: [] for name in chosen}
    for number in range(1, arguments.rounds + 1):
        for name, peer in chosen.items():
            print(f"round {number} of {arguments.rounds}: {name} ...", file=sys.stderr)
            rows[name].append(measure(peer, arguments.seconds))
    print_table({name: {column: statistics.median(row[column] for row in rounds) for column in COLUMNS} for name, rounds in rows.items()})


if __name__ == "__main__":
    main()
