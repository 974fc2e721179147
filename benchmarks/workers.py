"""Measure what workers cost: two of them beside one, a hand-over, and their own bus beside one Redis; print a table.

Processor time counts, of all processes of a server together, and of Redis: for each echo and each delivery, two workers beside
one. The rates beside it say little on a machine with two cores, where both workers share one and the load generator has the
other. With four cores or more, each worker has one of its own, and so has Redis.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cluster import redis
from harness import (
    HERE,
    START_TIMEOUT,
    Clock,
    Load,
    Results,
    add_keeping,
    build_generator,
    cores,
    cpu_seconds,
    make_parser,
    measure_load,
    measure_rounds,
    raise_file_limit,
    running,
)
from record import FIGURES, record

from trio_sio.workers.ids import owner_of

ONE: Final = "1 worker"
TWO: Final = "2 workers"
THROUGH_REDIS: Final = "2 workers, Redis"

CLIENTS: Final = 1_000  # of both workers together, for what goes over the bus

LOADS: Final = (
    Load("echo, 1 in flight", "echo", 50, 1),
    Load("echo, 16 in flight", "echo", 50, 16),
    Load("broadcast to 500, 1 in flight", "broadcast", 500, 1),
    Load("broadcast to 500, 4 in flight", "broadcast", 500, 4),
)
BUS_LOADS: Final = (
    Load("broadcast to 10 + 10, 1 in flight", "broadcast", 20, 1, options=("--each",)),
    Load("broadcast to 10 + 10, 4 in flight", "broadcast", 20, 4, options=("--each",)),
    Load("broadcast to 500 + 500, 1 in flight", "broadcast", CLIENTS, 1, options=("--each",)),
    Load("broadcast to 500 + 500, 4 in flight", "broadcast", CLIENTS, 4, options=("--each",)),
)
HANDOVER: Final = "hand-over"
AT_HOME: Final = "request that stays"


@dataclass(frozen=True)
class Crew:
    """Some workers.

    Attributes:
      workers: How many.
      redis: Whether they hear each other through one.
      loads: What is measured.
    """

    workers: int
    redis: bool
    loads: Sequence[Load]


CREWS: Final = {
    ONE: Crew(1, redis=False, loads=LOADS),
    TWO: Crew(2, redis=False, loads=(*LOADS, *BUS_LOADS)),
    THROUGH_REDIS: Crew(2, redis=True, loads=BUS_LOADS),
}
CELLS: Final = (*(load.title for load in (*LOADS, *BUS_LOADS)), HANDOVER, AT_HOME)


def processes_of(pid: int) -> list[int]:
    """Return a process and those that it has started."""
    # Trio starts them in threads.
    children = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [pid, *(int(one) for text in children for one in text.split())]


@contextmanager
def serving(crew: Crew) -> Iterator[tuple[list[int], int]]:
    """Run workers; give the ids of all processes, Redis' among them, and the port once all of them serve."""
    available = sorted(os.sched_getaffinity(0))
    own = available[:2] if len(available) >= 4 else available[:1]
    with ExitStack() as stack:
        pids = list[int]()
        options = ["--workers", str(crew.workers), "--cores", ",".join(map(str, own))]
        if crew.redis:
            redis_pid, redis_port = stack.enter_context(redis(available[2] if len(available) >= 4 else cores()[1]))
            pids.append(redis_pid)
            options += ["--redis", str(redis_port)]
        script = [sys.executable, str(HERE / "workers_server.py")]
        pid, port = stack.enter_context(running(lambda port: [*script, str(port), *options]))
        _wait_until_all_serve(port, crew.workers)
        yield [*pids, *processes_of(pid)], port


def _wait_until_all_serve(port: int, count: int) -> None:
    for _ in range(int(START_TIMEOUT / 0.05)):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=START_TIMEOUT) as response:
            if [one["state"] for one in json.load(response)["workers"]] == ["serving"] * count:
                return
        time.sleep(0.05)
    raise RuntimeError("Not all workers serve.")


class Polling:
    """A client that asks on one connection for one session or another, and does as little else as it can."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=START_TIMEOUT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Polling:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._socket.close()

    def open_session(self) -> str:
        """Open a session, and return its id."""
        return self._request("GET", "", "").partition('"sid":"')[2].partition('"')[0]

    def post(self, sid: str) -> None:
        """Post a pong."""
        self._request("POST", f"&sid={sid}", "3")

    def _request(self, method: str, query: str, body: str) -> str:
        head = f"{method} /socket.io/?EIO=4&transport=polling{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}"
        self._socket.sendall(f"{head}\r\n\r\n{body}".encode())
        response = self._socket.recv(65_536).decode()
        if not response.startswith("HTTP/1.1 200 "):
            raise RuntimeError(f"The server answered {response[:80]!r}.")
        return response


def open_sessions(port: int) -> list[str]:
    """Return a session of each of two workers."""
    found: dict[int, str] = {}
    while len(found) < 2:
        with Polling(port) as client:
            sid = client.open_session()
        found[owner_of(sid, 2)] = sid
    return [found[0], found[1]]


def measure_posts(pids: Sequence[int], port: int, sids: Sequence[str], seconds: float) -> dict[str, float]:
    """Post to these sessions in turn, on one connection; return what each took."""
    affinity = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cores()[1]})
    try:
        with Polling(port) as client:
            for sid in sids * 20:
                client.post(sid)
            taken = list[float]()
            before, end = sum(map(cpu_seconds, pids)), time.perf_counter() + seconds
            while (start := time.perf_counter()) < end:
                client.post(sids[len(taken) % len(sids)])
                taken.append((time.perf_counter() - start) * 1e3)
            used = sum(map(cpu_seconds, pids)) - before
    finally:
        os.sched_setaffinity(0, affinity)
    taken.sort()
    figures = {"p50_ms": statistics.median(taken), "p99_ms": taken[len(taken) * 99 // 100]}
    return {"per_s": len(taken) / seconds, "cpu_us": used * 1e6 / len(taken), **figures}


def measure(results: Results, name: str, crew: Crew, seconds: float, share: float = 1) -> None:
    """Take down what workers do in one round."""
    cells = [*(load.title for load in crew.loads), *([HANDOVER, AT_HOME] if name == TWO else [])]
    with results.guarding(name, *cells), serving(crew) as (pids, port):
        if name == TWO:
            sids = open_sessions(port)
            results.add(name, HANDOVER, measure_posts(pids, port, sids, seconds))
            results.add(name, AT_HOME, measure_posts(pids, port, sids[:1], seconds))
        for load in crew.loads:
            with results.guarding(name, load.title):
                fewer = load._replace(clients=max(4, int(load.clients * share)))
                results.add(name, load.title, measure_load(pids, port, fewer, seconds)._asdict())


def measure_workers(
    names: Sequence[str] = tuple(CREWS), rounds: int = 5, seconds: float = 1, clock: Clock | None = None, share: float = 1
) -> Results:
    """Measure these in interleaved rounds."""
    crews = {name: CREWS[name] for name in names}
    return measure_rounds(crews, rounds, clock or Clock(), lambda results, name, crew: measure(results, name, crew, seconds, share))


TABLE: Final = {"per second": "per_s", "µs of CPU each": "cpu_us", "p50 in ms": "p50_ms", "p99 in ms": "p99_ms"}


def main() -> None:
    """Run the benchmark, and keep the figures."""
    parser = make_parser(__doc__, "crew", CREWS, rounds=5, seconds=1)
    add_keeping(parser, FIGURES)
    arguments = parser.parse_args()
    raise_file_limit()
    build_generator()
    clock = Clock(arguments.minutes * 60)
    results = measure_workers(arguments.names, arguments.rounds, arguments.seconds, clock, arguments.share)
    print(results.table(CELLS, TABLE))
    record("workers", results, {"seconds": arguments.seconds, "clients": int(CLIENTS * arguments.share)}, arguments.output)


if __name__ == "__main__":
    main()
