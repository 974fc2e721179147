"""Measure broadcasts through a real Redis to two servers with 500 clients each; print a table.

Ours with `RedisCluster`, Node's with `@socket.io/redis-adapter`, and python-socketio with `AsyncRedisManager`. One client
broadcasts, and everybody on both servers gets it. With four cores or more each server, Redis, and the load generator have
one of their own; with fewer both servers share the first, and Redis and the generator the last.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Final

from harness import (
    FAILURES,
    START_TIMEOUT,
    Clock,
    Load,
    Results,
    add_keeping,
    build_generator,
    cores,
    cpu_seconds,
    free_port,
    listens,
    make_parser,
    measure_load,
    measure_rounds,
    pinned,
    raise_file_limit,
)
from record import FIGURES, record
from servers import NODE, NODE_PACKAGES, OURS, PYTHON_SOCKETIO, Peer, Settings, choose

NAMES: Final = (OURS, NODE, PYTHON_SOCKETIO)
SERVERS: Final = 2
CLIENTS: Final = 1_000  # of all servers together

PACED: Final = "10 broadcasts a second"
LOADS: Final = (
    Load("1 in flight", "broadcast", CLIENTS, 1, options=("--each",)),
    Load("4 in flight", "broadcast", CLIENTS, 4, options=("--each",)),
    Load(PACED, "broadcast", CLIENTS, 1, options=("--each", "--rate", "10")),
)

PROBES: Final = 20
PAUSE: Final = 0.2  # seconds between two probes

# What each needs besides what it needs alone.
NEEDS: Final = {NODE: NODE_PACKAGES / "@socket.io/redis-adapter"}


@contextmanager
def redis(core: int) -> Iterator[tuple[int, int]]:
    """Run a Redis of our own that saves nothing; give its process id and port.

    Raises:
      RuntimeError: if there is none.
    """
    program = shutil.which("redis-server")
    if program is None:
        raise RuntimeError("redis-server is not installed: run `make system-deps`.")
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        command = [*pinned(core), program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", directory]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            for _ in range(int(START_TIMEOUT / 0.05)):
                if listens(port):
                    break
                time.sleep(0.05)
            else:
                raise RuntimeError("Redis does not listen.")
            yield process.pid, port
        finally:
            process.terminate()
            process.wait()


def measure(results: Results, name: str, peer: Peer, seconds: float = 1, clients: int = CLIENTS) -> None:
    """Take down what two servers do in one round."""
    available = sorted(os.sched_getaffinity(0))
    server_cores = available[:SERVERS] if len(available) >= 2 * SERVERS else available[:1] * SERVERS
    redis_core = available[SERVERS] if len(available) >= 2 * SERVERS else cores()[1]
    titles = [load.title for load in LOADS]
    with results.guarding(name, *titles), ExitStack() as stack:
        redis_pid, redis_port = stack.enter_context(redis(redis_core))
        servers = [stack.enter_context(peer.running(Settings(redis=redis_port), core)) for core in server_cores]
        ports = ",".join(str(port) for _, port in servers)
        _wait_until_they_hear_each_other([pid for pid, _ in servers], ports)
        for load in LOADS:
            with results.guarding(name, load.title):
                before = cpu_seconds(redis_pid)
                measured = measure_load([pid for pid, _ in servers], ports, load._replace(clients=clients), seconds)
                # Redis works while clients connect and while the load warms up, too, so this is a little too much.
                redis_us = (cpu_seconds(redis_pid) - before) * 1e6 / (measured.per_s * seconds)
                results.add(name, load.title, {**measured._asdict(), "redis_us": redis_us})


def _wait_until_they_hear_each_other(pids: Sequence[int], ports: str) -> None:
    """Broadcast until everybody gets something: who listens on a port need not be subscribed yet."""
    for _ in range(PROBES):
        with suppress(*FAILURES):
            measure_load(pids, ports, Load("probe", "broadcast", 2 * SERVERS, 1), PAUSE, "--warm-up", "0")
            return
        time.sleep(PAUSE)
    raise RuntimeError("The servers do not hear each other.")


def measure_cluster(
    names: Sequence[str] = NAMES, rounds: int = 5, seconds: float = 1, clock: Clock | None = None, clients: int = CLIENTS
) -> Results:
    """Measure these clusters in interleaved rounds."""
    missing = Results()
    peers = choose(names, missing)
    for name, path in NEEDS.items():
        if name in peers and not path.exists():
            del peers[name]
            missing.miss(name, "", f"{path} is missing; run it through `make`, with a network.")
    results = measure_rounds(peers, rounds, clock or Clock(), lambda results, name, peer: measure(results, name, peer, seconds, clients))
    results.missing |= missing.missing
    return results


TABLE: Final = {"deliveries/s": "per_s", "p50 in ms": "p50_ms", "p99 in ms": "p99_ms", "µs of CPU each": "cpu_us", "of Redis": "redis_us"}


def main() -> None:
    """Run the benchmark, and keep the figures."""
    parser = make_parser(__doc__, "cluster", NAMES, rounds=5, seconds=1)
    add_keeping(parser, FIGURES)
    arguments = parser.parse_args()
    raise_file_limit()
    build_generator()
    clients = max(2 * SERVERS, int(CLIENTS * arguments.share))
    results = measure_cluster(arguments.names, arguments.rounds, arguments.seconds, Clock(arguments.minutes * 60), clients)
    print(results.table([load.title for load in LOADS], TABLE))
    record("cluster", results, {"seconds": arguments.seconds, "clients": clients, "servers": SERVERS}, arguments.output)


if __name__ == "__main__":
    main()
