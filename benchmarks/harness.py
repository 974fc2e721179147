"""What the benchmarks share: one server at a time on one core, the load generator on another, rounds, medians."""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final, NamedTuple, TypeVar

HERE = Path(__file__).parent
ROOT = HERE.parent
GENERATOR = HERE / "sioload"
LIMIT = HERE / "limit"

PAYLOAD = 32
IDLE_SECONDS = 1.5
WARM_UP_CLIENTS = 20
WARM_UP_SECONDS = 0.3
START_TIMEOUT = 20
LOAD_TIMEOUT = 300

# What may go wrong with one server; it concerns nobody else.
FAILURES: Final = (RuntimeError, OSError, ValueError, subprocess.SubprocessError)

_Peer = TypeVar("_Peer")

Row = dict[str, float]
Cells = dict[str, dict[str, float]]


class Load(NamedTuple):
    """One kind of load that is measured per message.

    Attributes:
      title: What it is.
      mode: The load generator's.
      clients: How many.
      window: How many messages are in flight, of each client or of the one that broadcasts.
      payload: Bytes of each message.
      options: The load generator's.
    """

    title: str
    mode: str
    clients: int
    window: int
    payload: int = PAYLOAD
    options: tuple[str, ...] = ()


class Measured(NamedTuple):
    """What a server did under a load.

    Attributes:
      per_s: Acknowledged echoes, or deliveries of broadcasts, per second.
      cpu_us: Microseconds of processor time that the server took for each.
      p50_ms: In how many milliseconds half of them were there.
      p99_ms: In how many milliseconds 99 of a hundred were there.
    """

    per_s: float
    cpu_us: float
    p50_ms: float
    p99_ms: float


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


class Clock:
    """How much time a part of the benchmarks may take.

    Args:
      seconds: How long, from now.
    """

    def __init__(self, seconds: float = math.inf) -> None:
        self._start = time.monotonic()
        self._seconds = seconds
        self._longest = 0.0

    def until(self, share: float) -> Clock:
        """Return a clock that ends when ``share`` of this one's time is over."""
        return Clock(self._start + self._seconds * share - time.monotonic())

    def has_time(self) -> bool:
        """Tell whether there is time at all."""
        return time.monotonic() < self._start + self._seconds

    def allows_another(self) -> bool:
        """Tell whether there is time for what took longest so far."""
        return time.monotonic() + self._longest <= self._start + self._seconds

    @contextmanager
    def timing(self) -> Iterator[None]:
        """Remember how long it takes."""
        start = time.monotonic()
        yield
        self._longest = max(self._longest, time.monotonic() - start)


class Results:
    """What was measured of several servers, in several rounds, and what could not be.

    Args:
      names: The servers'.

    Attributes:
      rounds: How many rounds there were.
      cells: For each server, for each cell, for each figure what each round measured.
      missing: For each server, for each cell (``""``: all of them) why it could not be measured.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.rounds = 0
        self.cells: dict[str, dict[str, dict[str, list[float]]]] = {name: {} for name in names}
        self.missing: dict[str, dict[str, str]] = {}

    def add(self, name: str, cell: str, figures: Mapping[str, float]) -> None:
        """Take down what one round measured."""
        for figure, value in figures.items():
            self.cells[name].setdefault(cell, {}).setdefault(figure, []).append(round(value, 4))

    def miss(self, name: str, cell: str, reason: object) -> None:
        """Take down why there is nothing."""
        print(f"{name}{cell and ', ' + cell}: {reason}", file=sys.stderr)
        self.missing.setdefault(name, {})[cell] = str(reason).strip()

    @contextmanager
    def guarding(self, name: str, *cells: str) -> Iterator[None]:
        """Take down why something failed, and go on."""
        try:
            yield
        except FAILURES as error:
            for cell in cells:
                self.miss(name, cell, error)

    def median(self, name: str, cell: str, figure: str) -> float | None:
        """Return the median of a figure, if there is one."""
        values = self.cells.get(name, {}).get(cell, {}).get(figure)
        return statistics.median(values) if values else None

    def table(self, cells: Iterable[str], figures: Mapping[str, str]) -> str:
        """Return a line for each cell and server of which there is something, in Markdown; ``figures``: by heading."""
        lines = [f"| | | {' | '.join(figures)} |", f"|---|---|{'---|' * len(figures)}"]
        for cell in cells:
            for name in self.cells:
                values = [self.median(name, cell, figure) for figure in figures.values()]
                if any(value is not None for value in values):
                    said = ["-" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.2f}" for value in values]
                    lines.append(f"| {cell} | {name} | {' | '.join(said)} |")
        return "\n".join(lines)

    def as_json(self) -> dict[str, object]:
        """Return all of it as plain data."""
        return {"rounds": self.rounds, "cells": self.cells, "missing": self.missing}


def make_parser(
    description: str | None, kind: str, names: Collection[str], *, rounds: int = 3, seconds: float = 0.7
) -> argparse.ArgumentParser:
    """Return what reads a command line with ``names`` (all, if none is given), ``rounds`` and ``seconds``.

    Args:
      description: What the benchmark does.
      kind: What is compared, as a noun.
      names: What can be compared.
      rounds: How many, if the command line does not say.
      seconds: How long each load lasts, if it does not say.
    """

    def one_of_them(name: str) -> str:
        if name not in names:
            raise argparse.ArgumentTypeError(f"unknown {kind} {name}; choose from {', '.join(names)}")
        return name

    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    text = f"which of {', '.join(names)} (default: all)"
    parser.add_argument("names", metavar=kind, nargs="*", type=one_of_them, default=list(names), help=text)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--seconds", type=float, default=seconds, help="how long each load is measured (default: %(default)s)")
    return parser


def add_keeping(parser: argparse.ArgumentParser, path: Path) -> None:
    """Let the command line also say how long all may take, where the figures are kept, and how much smaller all of it is."""
    parser.add_argument("--minutes", type=float, default=math.inf, help="nothing is begun that would end later")
    parser.add_argument("--output", type=Path, default=path, help="where the figures are kept (default: %(default)s)")
    parser.add_argument("--share", type=float, default=1, help="have this part of the clients only, to see whether it works")


def raise_file_limit() -> None:
    """Let this process, and the servers that it starts, have as many connections as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def build_generator() -> None:
    """Compile sioload.c and what belongs to it, where that is newer than what was compiled."""
    _compile(GENERATOR, [HERE / "sioload.c", *(HERE / "load").glob("*.c")], [*(HERE / "load").glob("*.h")], "-ldl")


def build_limit() -> None:
    """Compile limit.c."""
    _compile(LIMIT, [HERE / "peers/limit.c"], [])


def _compile(program: Path, sources: list[Path], headers: list[Path], *libraries: str) -> None:
    if program.exists() and program.stat().st_mtime > max(source.stat().st_mtime for source in (*sources, *headers)):
        return
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        sys.exit("The load generator is written in C: install gcc and libc6-dev.")
    # Somebody else may build it, or run it, at the same time.
    new = program.with_name(f"{program.name}.{os.getpid()}")
    subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-o", str(new), *map(str, sources), *libraries], check=True)
    new.replace(program)


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
def running(
    command: Callable[[int], list[str]], environment: Mapping[str, str] | None = None, core: int | None = None
) -> Iterator[tuple[int, int]]:
    """Run a server; give its process id and port once it accepts connections.

    Args:
      command: What to run, with a port to listen on.
      environment: What is to be different in it.
      core: Where it runs; ``None``: on the first one.

    Raises:
      RuntimeError: if it ends, or does not listen.
    """
    port = free_port()
    variables = os.environ | {"PYTHONPATH": str(ROOT)} | dict(environment or {})
    with tempfile.TemporaryFile("w+") as errors:
        arguments = [*pinned(cores()[0] if core is None else core), *command(port)]
        process = subprocess.Popen(arguments, cwd=ROOT, env=variables, stdout=subprocess.DEVNULL, stderr=errors)
        try:
            _wait_until_it_listens(process, port, errors)
            yield process.pid, port
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, errors: IO[str]) -> None:
    for _ in range(int(START_TIMEOUT / 0.05)):
        if listens(port):
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
            raise RuntimeError(f"The server ended with {process.returncode}: {_last_line(errors)}")
    raise RuntimeError(f"The server did not listen within {START_TIMEOUT} seconds. {_last_line(errors)}")


def _last_line(output: IO[str]) -> str:
    output.seek(0)
    # A stack trace of Node's begins with what went wrong, one of Python's ends with it.
    lines = [line.strip() for line in output if line.strip()]
    return next((line for line in lines if "Error" in line), lines[-1] if lines else "")[:300]


def resident_kb(pid: int) -> int:
    """Return the resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError(f"Process {pid} has no resident memory.")


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has taken, in user and system mode, to the nanosecond."""
    # What clock_getcpuclockid(3) returns: the clock of another process.
    return time.clock_gettime((~pid << 3) | 2)


@contextmanager
def generating(
    port: int | str, mode: str, clients: int, window: int, seconds: float, payload: int = PAYLOAD, options: Iterable[str] = ()
) -> Iterator[IO[str]]:
    """Run the load generator; give what it prints.

    Raises:
      RuntimeError: if it could not do what it was asked to.
    """
    _, core = cores()
    command = [*pinned(core), str(GENERATOR), "--warm-up", str(min(WARM_UP_SECONDS, seconds)), *options]
    command += map(str, (port, clients, mode, window, seconds, payload))
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        too_late = threading.Timer(LOAD_TIMEOUT, process.kill)
        too_late.start()
        try:
            with process:
                assert process.stdout is not None
                yield process.stdout
        except (RuntimeError, ValueError):
            if not process.returncode:
                raise
        finally:
            too_late.cancel()
            process.kill()
        if process.returncode:
            raise RuntimeError(f"The load generator ended with {process.returncode}: {_last_line(errors)}")


def read_until(output: IO[str], word: str) -> None:
    """Read what the load generator prints until it says ``word``."""
    for line in output:
        if line == f"{word}\n":
            return
    raise RuntimeError(f"The load generator never said {word!r}.")


def measure_load(pids: int | Iterable[int], port: int | str, load: Load, seconds: float, *options: str) -> Measured:
    """Put a server under ``load``.

    Args:
      pids: The processes whose processor time counts.
      port: Where they listen, separated by commas.
      load: What they have to do.
      seconds: For how long.
      options: More of the load generator's.

    Raises:
      RuntimeError: if nothing came back.
    """
    processes = [pids] if isinstance(pids, int) else list(pids)
    options = (*load.options, *options)
    with generating(port, load.mode, load.clients, load.window, seconds, load.payload, options) as output:
        read_until(output, "measuring")
        before = sum(map(cpu_seconds, processes))
        read_until(output, "measured")
        used = sum(map(cpu_seconds, processes)) - before
        result = json.loads(output.read())
    if not result["messages"]:
        raise RuntimeError("Not one message came back in time.")
    return Measured(float(result["per_s"]), used * 1e6 / result["messages"], result["p50_ms"], result["p99_ms"])


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


def measure_rounds(peers: Mapping[str, _Peer], rounds: int, clock: Clock, measure: Callable[[Results, str, _Peer], None]) -> Results:
    """Let ``measure`` take down what it measures of each peer, once per round, as long as there is time; one round in any case."""
    results = Results(peers)
    while results.rounds < rounds and (not results.rounds or clock.allows_another()):
        results.rounds += 1
        with clock.timing():
            for name, peer in peers.items():
                print(f"round {results.rounds} of {rounds}: {name} ...", file=sys.stderr)
                measure(results, name, peer)
    return results
