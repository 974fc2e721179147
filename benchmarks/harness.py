"""What the benchmarks share: one server at a time on one core, the load generator on another, rounds, medians."""

from __future__ import annotations

import argparse
import functools
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

HERE = Path(__file__).parent
ROOT = HERE.parent
GENERATOR = HERE / "sioload"

PAYLOAD = 32
IDLE_SECONDS = 3
WARM_UP_CLIENTS = 20
START_TIMEOUT = 20
LOAD_TIMEOUT = 300

_Peer = TypeVar("_Peer")

Row = dict[str, float]


class Load(NamedTuple):
    """One kind of load that is measured per message."""

    title: str
    mode: str
    clients: int
    window: int


class Throughput(NamedTuple):
    """What a server did under a load.

    Attributes:
      per_s: Acknowledged echoes, or delivered broadcasts, per second.
      cpu_us: Microseconds of processor time that the server took for each.
    """

    per_s: float
    cpu_us: float


class Heartbeats(NamedTuple):
    """What many clients cost that only answer pings.

    Attributes:
      kb: Growth of the server's resident memory by each.
      cpu_us: Microseconds of processor time that the server took for each ping and its pong.
      per_s: How many pings were answered per second: as many as came due, or the server could not keep up.
    """

    kb: float
    cpu_us: float
    per_s: float


class Idle(NamedTuple):
    """What clients cost that are only there.

    Attributes:
      connects_per_s: How many connected per second.
      kb: Growth of the server's resident memory by each.
      connect_cpu_us: Microseconds of processor time that the server took for each connect.
    """

    connects_per_s: float
    kb: float
    connect_cpu_us: float


def parse_arguments(description: str | None, kind: str, names: Collection[str]) -> argparse.Namespace:
    """Return the command line's ``names`` (all, if none was given), ``rounds`` and ``seconds``.

    Args:
      description: What the benchmark does.
      kind: What is compared, as a noun.
      names: What can be compared.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", metavar=kind, nargs="*", help=f"which of {', '.join(names)} (default: all)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2, help="how long each throughput cell is measured")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(names):
        parser.error(f"unknown {kind} {', '.join(sorted(unknown))}; choose from {', '.join(names)}")
    arguments.names = arguments.names or list(names)
    return arguments


def raise_file_limit() -> None:
    """Let this process, and the servers that it starts, have as many connections as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


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


@functools.cache
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
def running(command: Callable[[int], list[str]]) -> Iterator[tuple[int, int]]:
    """Run a server; give its process id and port once it accepts connections."""
    port = free_port()
    core, _ = cores()
    process = subprocess.Popen([*pinned(core), *command(port)], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
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


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has taken, in user and system mode."""
    # The second field is the program's name, which may contain anything.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def generating(port: int, mode: str, clients: int, window: int, seconds: float) -> Iterator[IO[str]]:
    """Run the load generator; give what it prints."""
    _, core = cores()
    command = [*pinned(core), str(GENERATOR), *map(str, (port, clients, mode, window, seconds, PAYLOAD))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    too_late = threading.Timer(LOAD_TIMEOUT, process.kill)
    too_late.start()
    try:
        with process:
            assert process.stdout is not None
            yield process.stdout
    finally:
        too_late.cancel()
    if process.returncode:
        raise RuntimeError(f"{process.args!r} ended with {process.returncode}.")


def read_until(output: IO[str], word: str) -> None:
    """Read what the load generator prints until it says ``word``."""
    for line in output:
        if line == f"{word}\n":
            return
    raise RuntimeError(f"The load generator never said {word!r}.")


def measure_load(pid: int, port: int, load: Load, seconds: float) -> Throughput:
    """Put a server under ``load``."""
    with generating(port, load.mode, load.clients, load.window, seconds) as output:
        read_until(output, "measuring")
        before = cpu_seconds(pid)
        read_until(output, "measured")
        used = cpu_seconds(pid) - before
        result = json.loads(output.read())
    return Throughput(float(result["per_s"]), used * 1e6 / max(result["messages"], 1))


def measure_idle(pid: int, port: int, clients: int, mode: str = "idle") -> Idle:
    """Connect WebSocket clients that then only answer pings."""
    # What the first clients load lazily is not theirs.
    with generating(port, mode, WARM_UP_CLIENTS, 1, 0.2) as output:
        output.read()
    before, cpu = resident_kb(pid), cpu_seconds(pid)
    with generating(port, mode, clients, 1, IDLE_SECONDS) as output:
        read_until(output, "ready")
        connecting = cpu_seconds(pid) - cpu
        time.sleep(IDLE_SECONDS / 2)
        after = resident_kb(pid)
        read_until(output, "measured")
        result = json.loads(output.read())
    return Idle(float(result["connects_per_s"]), (after - before) / clients, connecting * 1e6 / clients)


def measure_heartbeats(pid: int, port: int, clients: int, intervals: int, ping_interval: float) -> Heartbeats:
    """Connect WebSocket clients that then only answer pings, and let ``intervals`` times ``ping_interval`` pass.

    Args:
      pid: The server's process.
      port: Where it listens.
      clients: How many; each takes a file of the server and one of the load generator.
      intervals: For how many of its intervals the server is watched.
      ping_interval: The server's, in seconds.
    """
    with generating(port, "idle", WARM_UP_CLIENTS, 1, 0.2) as output:
        output.read()
    memory = resident_kb(pid)
    with generating(port, "idle", clients, 1, intervals * ping_interval) as output:
        read_until(output, "measuring")
        before = cpu_seconds(pid)
        read_until(output, "measured")
        used = cpu_seconds(pid) - before
        kb = (resident_kb(pid) - memory) / clients
        result = json.loads(output.read())
    pings = max(result["pings"], 1)
    return Heartbeats(kb, used * 1e6 / pings, pings / (intervals * ping_interval))


def interleave(peers: Mapping[str, _Peer], rounds: int, measure: Callable[[_Peer], Row]) -> dict[str, Row]:
    """Measure each peer once per round; return the median of each cell."""
    rows: dict[str, list[Row]] = {name: [] for name in peers}
    for number in range(1, rounds + 1):
        for name, peer in peers.items():
            print(f"round {number} of {rounds}: {name} ...", file=sys.stderr)
            rows[name].append(measure(peer))
    return {name: {column: statistics.median(row[column] for row in measured) for column in measured[0]} for name, measured in rows.items()}
